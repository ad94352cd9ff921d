//! A running pod while its container's lock is held: the record, the sandbox, and what they were
//! found to be.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Target, names, unrecorded};
use crate::attach::snapshot::Snapshot;
use crate::ledger::{Key, Lock, Record, RecordPlan, State};
use crate::plan::Attachment;
use crate::pod::Pod;
use crate::verb::add::growth::Grown;
use crate::verb::teardown::{Teardown, living_netns};
use crate::verb::{Session, netns_at};
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::request::Sandbox;
use linux::netns::Netns;
use plugins::kernel::kernel_error;

/// A running pod that no other call changes.
pub(super) struct Held {
    _lock: Option<Lock>,
    pub(super) record: Record,
    /// Whether the record is in the ledger.
    pub(super) is_recorded: bool,
    pub(super) sandbox: Sandbox,
    pub(super) netns: Netns,
    pub(super) pod: Pod,
}

impl Held {
    /// Waits for other calls of the container, and reads its record.
    ///
    /// # Errors
    /// [`Error`] if the pod is not running: its ADD has not ended, or its DEL has begun.
    pub(super) fn open(
        session: &mut Session<'_>,
        target: &Target,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let lock = session.hold(&target.key.container, deadline)?;
        let (record, is_recorded) = match session.ledger.read(&target.key)? {
            Some(record) => (record, true),
            None => (unrecorded::record(session, target)?, false),
        };
        check_running(&record)?;
        Self::of(record, is_recorded, Some(lock))
    }

    /// The pod of a record, if its sandbox is there. Without a `lock` the caller holds it.
    ///
    /// # Errors
    /// [`Error`] if the sandbox is gone.
    pub(super) fn of(record: Record, is_recorded: bool, lock: Option<Lock>) -> Result<Self, Error> {
        let path = living_netns(&record.plan.netns, "");
        let netns = netns_at(&path).map_err(kernel_error)?;
        let netns = netns.ok_or_else(|| gone(&record.plan.key))?;
        let key = &record.plan.key;
        let sandbox = Sandbox {
            container: key.container.clone(),
            netns: path,
            interface: key.interface.clone(),
            args: record.plan.args.clone(),
        };
        let pod = Pod::from_args(&record.plan.args)?;
        Ok(Self { _lock: lock, record, is_recorded, sandbox, netns, pod })
    }

    /// The attachments that the pod has, with their results.
    pub(super) fn living(&self) -> impl Iterator<Item = (usize, &Attachment, &Value)> {
        let remaining = self.record.remaining();
        remaining.filter_map(|(at, attachment, result)| {
            Some((at, attachment, result?)).filter(|_| !self.record.pending.contains(&at))
        })
    }

    /// The attachments that the pod has no more, or has never had, and that are not torn down.
    pub(super) fn resisting(&self) -> impl Iterator<Item = &Attachment> {
        let living: BTreeSet<usize> = self.living().map(|(at, ..)| at).collect();
        let remaining = self.record.remaining();
        remaining.filter(move |(at, ..)| !living.contains(at)).map(|(_, attachment, _)| attachment)
    }

    /// Ends what an earlier change has left, or this one has marked: tears down what is pending.
    /// What resists stays recorded.
    ///
    /// # Errors
    /// [`Error`] of what resists.
    pub(super) fn tear_down_pending(
        &mut self,
        session: &mut Session<'_>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let pending = self.record.remaining().map(|(at, ..)| at);
        let pending: Vec<usize> = pending.filter(|at| self.record.pending.contains(at)).collect();
        if pending.is_empty() {
            return Ok(());
        }
        for at in &pending {
            names::give_back(&self.record, *at, &self.netns);
        }
        let teardown = Teardown::of(session, &self.record, &self.sandbox.netns, deadline.share(2));
        let outcome = teardown.run_some(&pending);
        for at in &pending {
            names::restore_aside(&self.record, *at, &self.netns);
        }
        if let Some(record) = session.ledger.read(&self.record.plan.key)? {
            self.record = record;
        }
        outcome
    }

    /// Puts the record in place as it is now, without what is gone.
    ///
    /// # Errors
    /// [`Error`] if it cannot be written.
    pub(super) fn shrink(
        &mut self,
        session: &Session<'_>,
        snapshot: Snapshot,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let record = compacted(&self.record, &[], snapshot);
        let mut journal = session.ledger.replace(&record)?;
        journal.wait_for_disk(deadline)?;
        (self.record, self.is_recorded) = (record, true);
        Ok(())
    }

    /// Writes the record with `added` attachments, pending; `former` is it without them.
    ///
    /// # Errors
    /// [`Error`] if it cannot be written.
    pub(super) fn grow(
        session: &Session<'_>,
        former: &Record,
        added: &[Attachment],
    ) -> Result<Grown, Error> {
        let snapshot = former.complete.clone().unwrap_or_default();
        let record = compacted(former, added, snapshot);
        let journal = session.ledger.replace(&record)?;
        let is_old = |at: &usize| {
            let interface = record.plan.attachments.get(*at).map(|it| &it.interface);
            !added.iter().any(|new| Some(&new.interface) == interface)
        };
        let resisting = record.pending.iter().copied().filter(is_old).collect();
        Ok(Grown { journal, resisting })
    }

    /// Reads the record again, which a change has written.
    ///
    /// # Errors
    /// [`Error`] if it cannot be read.
    pub(super) fn reread(&mut self, session: &Session<'_>) -> Result<(), Error> {
        if let Some(record) = session.ledger.read(&self.record.plan.key)? {
            (self.record, self.is_recorded) = (record, true);
        }
        Ok(())
    }

    /// The record without what is gone.
    pub(super) fn compacted(&self) -> Record {
        compacted(&self.record, &[], self.record.complete.clone().unwrap_or_default())
    }
}

/// A pod whose ADD has not ended is not running yet, and one whose DEL has failed is on its way
/// out.
fn check_running(record: &Record) -> Result<(), Error> {
    let container = &record.plan.key.container;
    let problem = if record.complete.is_none() {
        format!("the ADD of container {container} has not ended: try again when the pod runs")
    } else if record.failing_since.is_some() || record.resisting_since.is_some() {
        format!("container {container} is being deleted: its networks are left to DEL")
    } else {
        return Ok(());
    };
    Err(Error::new(Code::TRY_AGAIN, problem))
}

pub(super) fn gone(key: &Key) -> Error {
    let problem = format!(
        "the sandbox of container {} is gone: its networks are left to DEL and braid gc",
        key.container
    );
    Error::new(Code::UNKNOWN_CONTAINER, problem)
}

/// A record with the attachments that are there, then those that are `added`, then those of which
/// something may be left or that the pod lacks. What a change has taken away is not in it.
fn compacted(record: &Record, added: &[Attachment], snapshot: Snapshot) -> Record {
    let states = record.plan.attachments.iter().zip(&record.states).enumerate();
    let is_pending = |at: &usize| record.pending.contains(at);
    let is_replaced = |attachment: &Attachment, state: &State| {
        let has_name = |new: &Attachment| new.interface == attachment.interface;
        *state == State::Gone && added.iter().any(has_name)
    };
    let (mut living, mut rest) = (Vec::new(), Vec::new());
    for (at, (attachment, state)) in states {
        match (state, is_pending(&at)) {
            (State::Gone, true) => {}
            (State::Attached(_), false) => living.push((at, attachment, state)),
            _ if is_replaced(attachment, state) => {}
            _ => rest.push((at, attachment, state)),
        }
    }
    let plan = RecordPlan { attachments: Vec::new(), ..record.plan.clone() };
    let mut grown = Record::new(plan, snapshot);
    let planned = State::Planned;
    let new = added.iter().map(|attachment| (usize::MAX, attachment, &planned));
    for (place, (at, attachment, state)) in living.into_iter().chain(new).chain(rest).enumerate() {
        grown.plan.attachments.push(attachment.clone());
        grown.states.push(state.clone());
        if is_pending(&at) || at == usize::MAX {
            grown.pending.insert(place);
        }
        grown.refusals.extend(record.refusals.get(&at).map(|words| (place, words.clone())));
    }
    grown
}

/// Whose attachment it is that a change may touch.
///
/// # Errors
/// [`Error`] if it is the primary, which only the pod's end takes away.
pub(super) fn check_detachable(attachment: &Attachment) -> Result<(), Error> {
    if attachment.role == crate::plan::Role::Extra {
        return Ok(());
    }
    let problem = format!(
        "network \"{}\" on {} is the pod's primary network, which cannot be detached: delete the \
         pod instead",
        attachment.label, attachment.interface
    );
    Err(Error::new(Code::CONFIG, problem))
}
