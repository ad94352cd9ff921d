//! Addresses given back, at once or later: what the API does not take now stays due on the node,
//! and is carried on by every later call.

use std::path::Path;
use std::time::Duration;

use cni::deadline::Deadline;

use super::elsewhere;
use super::engine;
use super::entry::Owner;
use super::journal::{self, Header, Journal, JournalError, Recorded, Wanted, Written};
use super::release::{Lot, Release};
use super::store::{AddressStore, ApiAccess, OpenStore, Opened, StoreError};

/// How long DEL tries to give an address back.
pub(crate) const TRY: Duration = Duration::from_secs(2);
/// How many releases that are due a call carries on beside its own work.
const BESIDE: usize = 8;
/// How long that may take.
const BESIDE_LIMIT: Duration = Duration::from_millis(500);
/// The most releases that are carried on at once.
const ALL: Wanted<'static> = Wanted { limit: 4096, server: None };
/// How long opening one of several stores may take.
const OPEN: Duration = Duration::from_secs(5);

/// What has become of the releases that are due.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CarriedOn {
    /// So many attachments' addresses were given back, or are another's by now.
    pub done: usize,
    /// So many are still due, those included whose time has not come.
    pub left: usize,
    /// Why the first of them is.
    pub problem: Option<String>,
}

/// Gives back what the node's journal in `directory` holds as due, until `deadline`.
///
/// # Errors
/// A sentence if the journal cannot be read.
pub fn carry_on(
    directory: &Path,
    stores: &dyn OpenStore,
    deadline: Deadline,
) -> Result<CarriedOn, String> {
    some(&Journal::new(directory), stores, &ALL, deadline).map_err(|error| error.to_string())
}

/// The same for a few of what is due on this node, beside a call's own work, which has just found that
/// `server` answers: others could hold it up.
pub(crate) fn a_few(own: &Journal, server: &str, stores: &dyn OpenStore, deadline: Deadline) {
    let deadline = deadline.within(BESIDE_LIMIT);
    let mut left = BESIDE;
    for journal in elsewhere::journals(own.root()).iter().map(|root| Journal::new(root)) {
        if journal.count_due() == 0 {
            continue;
        }
        if left == 0 || deadline.remaining().is_zero() {
            return;
        }
        match some(&journal, stores, &Wanted { limit: left, server: Some(server) }, deadline) {
            Ok(carried) => left = left.saturating_sub(carried.done.max(1)),
            Err(error) => log::warn!("{error}"),
        }
    }
}

/// Carries on all that is due.
///
/// # Errors
/// [`JournalError`] if the journal cannot be read.
pub(crate) fn all(
    journal: &Journal,
    stores: &dyn OpenStore,
    deadline: Deadline,
) -> Result<(), JournalError> {
    let carried = some(journal, stores, &ALL, deadline)?;
    if let Some(problem) = carried.problem {
        log::warn!("{} releases of addresses are due: {problem}", carried.left);
    }
    Ok(())
}

/// The stores of what is due, each opened once: a kubeconfig may name a program that hangs.
struct Stores<'s> {
    stores: &'s dyn OpenStore,
    opened: Vec<(ApiAccess, Result<Opened, StoreError>)>,
}

impl Stores<'_> {
    fn of(
        &mut self,
        access: &ApiAccess,
        deadline: Deadline,
    ) -> Option<&mut Result<Opened, StoreError>> {
        if !self.opened.iter().any(|(known, _)| known == access) {
            let deadline = deadline.within(OPEN);
            self.opened.push((access.clone(), self.stores.open(access, deadline)));
        }
        let mut opened = self.opened.iter_mut();
        opened.find(|(known, _)| known == access).map(|(_, outcome)| outcome)
    }
}

fn some(
    journal: &Journal,
    stores: &dyn OpenStore,
    wanted: &Wanted<'_>,
    deadline: Deadline,
) -> Result<CarriedOn, JournalError> {
    let mut carried = CarriedOn::default();
    let mut stores = Stores { stores, opened: Vec::new() };
    for claimed in journal.claim_due(journal::now(), wanted, deadline)? {
        if deadline.remaining().is_zero() {
            break;
        }
        let recorded = &claimed.recorded;
        let Some(outcome) = stores.of(&access_of(&recorded.header), deadline) else { break };
        let given = outcome.as_mut().map_err(|error| error.clone()).and_then(|opened| {
            let was_kept = recorded.header.not_before.is_some();
            release(recorded, opened, None, was_kept, deadline)
        });
        if let Err(error) = given {
            carried.problem.get_or_insert(error.to_string());
            // The others of this server would wait for the same.
            if error.is_outage() {
                *outcome = Err(error);
            }
        } else {
            journal::remove(&recorded.path)?;
            carried.done = carried.done.saturating_add(1);
        }
    }
    carried.left = journal.count_due();
    Ok(carried)
}

/// What has become of the addresses of an attachment that has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// The API had not to be asked.
    Unasked,
    /// This server has taken them.
    Answered(String),
    /// The API has not taken them: they are due.
    Unanswered,
}

/// Gives back what is recorded of an attachment that has ended, within [`TRY`]; what the API does
/// not take is due.
///
/// # Errors
/// [`JournalError`] if that cannot be noted: the record stays.
pub(crate) fn end(
    journal: &Journal,
    recorded: &Recorded,
    stores: &dyn OpenStore,
    deadline: Deadline,
) -> Result<Ended, JournalError> {
    if recorded.holds_nothing() {
        journal::remove(&recorded.path)?;
        return Ok(Ended::Unasked);
    }
    let deadline = deadline.within(TRY);
    let keep_until = recorded.header.keep_until();
    let outcome = stores.open(&access_of(&recorded.header), deadline).and_then(|mut opened| {
        release(recorded, &mut opened, keep_until, false, deadline).map(|()| opened.server)
    });
    match (&outcome, keep_until) {
        (Ok(_), None) => journal::remove(&recorded.path)?,
        _ => journal.make_due(recorded, keep_until)?,
    }
    Ok(match outcome {
        Ok(server) => Ended::Answered(server),
        Err(error) => {
            let Header { podref, interface, .. } = &recorded.header;
            log::warn!("the address of pod {podref} on {interface} is given back later: {error}");
            Ended::Unanswered
        }
    })
}

/// Releases each place that was written. A store that is another server by now knows none of them.
///
/// # Errors
/// [`StoreError`]; what is left is to be tried again.
pub(crate) fn release(
    recorded: &Recorded,
    opened: &mut Opened,
    keep_until: Option<u64>,
    was_kept: bool,
    deadline: Deadline,
) -> Result<(), StoreError> {
    let header = &recorded.header;
    if opened.server != header.server {
        return Err(StoreError::Refused(format!(
            "{} leads to {}, and the address was taken at {}",
            header.kubeconfig.display(),
            opened.server,
            header.server
        )));
    }
    let lots = recorded.written.iter().map(|written| lot(header, written, keep_until));
    let mut releases: Vec<Release> = lots.map(|lot| Release::new(lot, was_kept)).collect();
    let store: &mut dyn AddressStore = &mut *opened.store;
    engine::release(&mut releases, store, deadline)
}

fn lot(header: &Header, written: &Written, keep_until: Option<u64>) -> Lot {
    Lot {
        namespace: header.namespace.clone(),
        pool: written.pool.clone(),
        offset: written.offset(),
        address: written.address,
        network: header.network_name.clone(),
        overlapping: header.overlapping,
        by_whereabouts: header.by_whereabouts,
        owner: owner_of(header),
        keep_until,
    }
}

/// Whose the record is.
pub(crate) fn owner_of(header: &Header) -> Owner {
    Owner {
        container: header.container.clone(),
        podref: header.podref.clone(),
        interface: header.interface.clone(),
    }
}

/// How the record's server is reached.
pub(crate) fn access_of(header: &Header) -> ApiAccess {
    ApiAccess { kubeconfig: Some(header.kubeconfig.clone()), server: header.api_root.clone() }
}
