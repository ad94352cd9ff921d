//! Teardown: DEL of what a record or an orphan holds, in reverse and past failures (CNI 1.1.0,
//! section 2). DEL, an ADD that is undone, GC, the sweep for leftovers, `braid gc` and `braid
//! repair` all take this way; they differ in what they begin with, and in what they make of a
//! failure.
//!
//! ```text
//! a record      run        gone, or what resists for too long becomes an orphan
//! a part of it  run_some   the record stays
//! an orphan     run_orphan its file goes; of an earlier boot also without a DEL that succeeds
//! ```

mod give_up;
mod sandbox;

use std::path::Path;

pub(super) use sandbox::living_netns;

use super::{Session, netns_at};
use crate::attach::{AttachError, Place, absence, delete_links_together};
use crate::delegate;
use crate::ledger::{Event, LedgerError, Listed, Record};
use crate::plan::Attachment;
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use serde_json::Value;

/// An attachment that could not be torn down.
struct Failure<'r> {
    at: usize,
    attachment: &'r Attachment,
    errors: Vec<AttachError>,
}

/// What is torn down, and where.
pub(super) struct Teardown<'t, 's> {
    session: &'t mut Session<'s>,
    record: &'t Record,
    /// The path of the sandbox's namespace; empty once it is gone.
    netns: String,
    deadline: Deadline,
}

impl<'t, 's> Teardown<'t, 's> {
    /// The teardown of what `record` holds. The lock of its container must be held; `given` is
    /// where the runtime says that the namespace is, empty if it does not say.
    pub(super) fn of(
        session: &'t mut Session<'s>,
        record: &'t Record,
        given: &str,
        deadline: Deadline,
    ) -> Self {
        let netns = living_netns(&record.plan.netns, given);
        Self { session, record, netns, deadline }
    }

    /// Tears down all that the record holds. The record goes when nothing of it is left.
    ///
    /// # Errors
    /// One [`Error`] that lists what remains.
    pub(super) fn run(mut self) -> Result<(), Error> {
        if self.record.complete.is_none() {
            delegate::reap_orphaned_plugins(&self.record.plan.key.container);
        }
        let mut failures = self.del_each(|_| true, note_gone);
        if !failures.is_empty() {
            self.give_up(&mut failures);
        }
        self.finish(&failures)
    }

    /// Tears down the attachments at some positions, and leaves the record.
    ///
    /// # Errors
    /// As [`Teardown::run`].
    pub(super) fn run_some(mut self, positions: &[usize]) -> Result<(), Error> {
        let failures = self.del_each(|at| positions.contains(&at), note_gone);
        if failures.is_empty() { Ok(()) } else { Err(self.error(&failures)) }
    }

    /// Tears down an orphan, whose file goes with it: also if its DEL fails, once its sandbox is of
    /// an earlier boot and nothing of it that outlives a boot is left.
    ///
    /// # Errors
    /// As [`Teardown::run`].
    pub(super) fn run_orphan(mut self, file: &Path) -> Result<(), Error> {
        let failures = self.del_each(|_| true, |_, _, _| {});
        if !failures.is_empty() {
            self.end_with_boot(&failures)?;
        }
        Ok(self.session.ledger.remove_orphan(file)?)
    }

    /// Tears down an orphan with another definition than the recorded one: what that one proves to
    /// be left says nothing about the recorded one, so only a DEL that succeeds counts.
    ///
    /// # Errors
    /// As [`Teardown::run`].
    pub(super) fn run_redefined_orphan(mut self, file: &Path) -> Result<(), Error> {
        let failures = self.del_each(|_| true, |_, _, _| {});
        if failures.is_empty() {
            Ok(self.session.ledger.remove_orphan(file)?)
        } else {
            Err(self.error(&failures))
        }
    }

    /// Whether an orphan that resists has ended: its sandbox is of an earlier boot, and nothing of
    /// it that outlives a boot is left.
    fn end_with_boot(&self, failures: &[Failure<'_>]) -> Result<(), Error> {
        let (plan, error) = (&self.record.plan, self.error(failures));
        if plan.netns.is_of_boot(&super::boot_id()) != Some(false) {
            return Err(error);
        }
        let container = &plan.key.container;
        let prove =
            |failure: &Failure<'_>| absence::prove_after_boot(failure.attachment, container);
        match failures.iter().try_for_each(prove) {
            Ok(()) => {
                log::warn!(
                    "{error}; its sandbox is of an earlier start of the node, and nothing of it is \
                     left: it is no orphan any more"
                );
                Ok(())
            }
            Err(trace) => {
                let msg = format!(
                    "{}; its sandbox is of an earlier start of the node, but something may be \
                     left: {trace}",
                    error.msg
                );
                Err(Error { details: error.details, ..Error::new(error.code, msg) })
            }
        }
    }

    /// DEL of the attachments that are chosen by their positions; `on_gone` hears of each that is
    /// gone, at once, since the call may be killed during the next one.
    fn del_each(
        &mut self,
        is_chosen: impl Fn(usize) -> bool,
        on_gone: fn(&Session<'_>, &Record, usize),
    ) -> Vec<Failure<'t>> {
        let record = self.record;
        let chosen: Vec<_> = record.remaining().filter(|(at, ..)| is_chosen(*at)).collect();
        if let Some(netns) = netns_at(&self.netns).ok().flatten().filter(|_| chosen.len() > 1) {
            let attachments = chosen.iter().map(|(_, attachment, _)| *attachment);
            delete_links_together(attachments, self.session.delegates.installed(), &netns);
        }
        let mut failures = Vec::new();
        for (left, (at, attachment, result)) in chosen.into_iter().enumerate().rev() {
            let place = Place { container: &record.plan.key.container, netns: &self.netns };
            let is_refused = record.refusals.contains_key(&at);
            let share = self.deadline.share(left + 1);
            let errors = one(self.session, place, attachment, result, is_refused, share);
            if errors.is_empty() {
                on_gone(self.session, record, at);
            } else {
                failures.push(Failure { at, attachment, errors });
            }
        }
        failures
    }

    fn finish(&self, failures: &[Failure<'_>]) -> Result<(), Error> {
        if failures.is_empty() || !self.session.config.retry_delete {
            // On a read-only disk the record stays; GC removes it, and running DEL again is
            // harmless.
            if let Err(error) = self.session.ledger.remove(&self.record.plan.key) {
                log::warn!("{error}");
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(self.error(failures)) }
    }

    /// What could not be torn down, in one error: the code of the one plugin that failed, or our
    /// own for several.
    fn error(&self, failures: &[Failure<'_>]) -> Error {
        let errors: Vec<&AttachError> =
            failures.iter().flat_map(|failure| &failure.errors).collect();
        let sentences: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let problem = format!(
            "{} of {} networks could not be torn down: {}",
            failures.len(),
            self.record.plan.attachments.len(),
            sentences.join("; ")
        );
        Error::new(code_of(errors.into_iter()), problem)
    }
}

/// The code of the one plugin that failed, or our own for several.
pub(super) fn code_of<'e>(mut errors: impl Iterator<Item = &'e AttachError>) -> Code {
    match (errors.next(), errors.next()) {
        (Some(only), None) => only.to_protocol().code,
        _ => Code::TEARDOWN,
    }
}

/// DEL of one attachment; what failed, and nothing if it is torn down. One whose ADD was refused
/// for good (`is_refused`) counts as torn down if it is proven that nothing of it is there.
pub(super) fn one(
    session: &mut Session<'_>,
    place: Place<'_>,
    attachment: &Attachment,
    result: Option<&Value>,
    is_refused: bool,
    deadline: Deadline,
) -> Vec<AttachError> {
    let mut failed = session.attacher(place).undo(attachment, result, deadline);
    if is_refused && !failed.is_empty() && never_was(attachment, place, &failed) {
        failed.clear();
    }
    failed
}

/// Whether an attachment whose ADD was refused for good is proven to have left nothing, so that it
/// needs no successful DEL: what its plugins have left of a link in the sandbox is removed first. A
/// sandbox that is gone proves nothing.
fn never_was(attachment: &Attachment, place: Place<'_>, failed: &[AttachError]) -> bool {
    let (Some(first), Ok(Some(netns))) = (failed.first(), netns_at(place.netns)) else {
        return false;
    };
    delegate::reap_orphaned_plugins(place.container);
    let proven = absence::remove_link(attachment, &netns)
        .and_then(|()| absence::prove(attachment, place.container, &netns));
    match proven {
        Ok(()) => {
            log::warn!(
                "{first}; its ADD was refused as well, and nothing of it is there: it counts as \
                 torn down"
            );
            true
        }
        Err(trace) => {
            log::warn!(
                "network \"{}\" whose ADD was refused stays recorded: {trace}",
                attachment.label
            );
            false
        }
    }
}

/// Tears down what a listed record holds, and returns it; nothing if it has gone, or come anew,
/// since it was listed. A container whose lock is held is being added or deleted right now, and is
/// left to that call.
///
/// # Errors
/// As [`Teardown::run`].
pub(super) fn collect(
    session: &mut Session<'_>,
    listed: &Listed,
    deadline: Deadline,
) -> Result<Option<Record>, Error> {
    let key = &listed.header().key;
    let now = Deadline::after(std::time::Duration::ZERO);
    let _lock = match session.hold(&key.container, now) {
        Ok(lock) => lock,
        Err(LedgerError::Busy(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !session.ledger.is_unchanged(listed) {
        return Ok(None);
    }
    let Some(record) = session.ledger.read(key)? else { return Ok(None) };
    log::info!("container {} is gone: its networks are torn down", key.container);
    Teardown::of(session, &record, "", deadline)
        .run()
        .map_err(|error| error.about(format!("pod {}", record.plan.pod)))?;
    Ok(Some(record))
}

fn note_gone(session: &Session<'_>, record: &Record, at: usize) {
    note(session, record, &Event::Gone(at));
}

/// Appends an event to a record. Without it, the next call does what this one did.
fn note(session: &Session<'_>, record: &Record, event: &Event) {
    let noted =
        session.ledger.journal(&record.plan.key).and_then(|mut journal| journal.append(event));
    if let Err(error) = noted {
        log::warn!("{error}");
    }
}
