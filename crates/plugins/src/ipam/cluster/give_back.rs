//! Addresses given back, at once or later: what the API does not take now stays due on the node,
//! and is carried on by every later call.

use std::path::Path;
use std::time::Duration;

use cni::deadline::Deadline;

use super::engine;
use super::entry::Owner;
use super::journal::{self, Header, Journal, JournalError, Recorded, Written};
use super::release::{Lot, Release};
use super::store::{AddressStore, ApiAccess, OpenStore, Opened, StoreError};

/// How long DEL tries to give an address back.
pub(crate) const TRY: Duration = Duration::from_secs(2);
/// How many releases that are due a call carries on beside its own work.
const BESIDE: usize = 8;
/// How long that may take.
const BESIDE_LIMIT: Duration = Duration::from_millis(500);
/// The most releases that are carried on at once.
const MOST: usize = 4096;

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
    some(&Journal::new(directory), stores, MOST, deadline).map_err(|error| error.to_string())
}

/// The same for a few, beside a call's own work, which has just found that the API answers.
pub(crate) fn a_few(journal: &Journal, stores: &dyn OpenStore, deadline: Deadline) {
    if journal.count_due() == 0 {
        return;
    }
    if let Err(error) = some(journal, stores, BESIDE, deadline.within(BESIDE_LIMIT)) {
        log::warn!("{error}");
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
    let carried = some(journal, stores, MOST, deadline)?;
    if let Some(problem) = carried.problem {
        log::warn!("{} releases of addresses are due: {problem}", carried.left);
    }
    Ok(())
}

fn some(
    journal: &Journal,
    stores: &dyn OpenStore,
    limit: usize,
    deadline: Deadline,
) -> Result<CarriedOn, JournalError> {
    let mut carried = CarriedOn::default();
    let mut opened: Option<(ApiAccess, Result<Opened, StoreError>)> = None;
    for claimed in journal.claim_due(journal::now(), limit)? {
        if deadline.remaining().is_zero() {
            break;
        }
        let recorded = &claimed.recorded;
        let access = access_of(&recorded.header);
        if opened.as_ref().is_none_or(|(other, _)| *other != access) {
            opened = Some((access.clone(), stores.open(&access)));
        }
        let Some((_, outcome)) = &mut opened else { break };
        let given = outcome.as_mut().map_err(|error| error.clone()).and_then(|opened| {
            let was_kept = recorded.header.not_before.is_some();
            release(recorded, opened, None, was_kept, deadline)
        });
        match given {
            Ok(()) => {
                journal::remove(&recorded.path)?;
                carried.done = carried.done.saturating_add(1);
            }
            // The others of this server would wait for the same.
            Err(error) if error.is_outage() => {
                carried.problem.get_or_insert(error.to_string());
                if let Some((_, outcome)) = &mut opened {
                    *outcome = Err(error);
                }
            }
            Err(error) => drop(carried.problem.get_or_insert(error.to_string())),
        }
    }
    carried.left = journal.count_due();
    Ok(carried)
}

/// Gives back what is recorded of an attachment that has ended, within [`TRY`]; what the API does
/// not take is due. Returns whether the API answers.
///
/// # Errors
/// [`JournalError`] if that cannot be noted: the record stays.
pub(crate) fn end(
    journal: &Journal,
    recorded: &Recorded,
    stores: &dyn OpenStore,
    deadline: Deadline,
) -> Result<bool, JournalError> {
    // A claim keeps its addresses for as long as it exists.
    if recorded.header.claim.is_some() || recorded.written.is_empty() {
        journal::remove(&recorded.path)?;
        return Ok(true);
    }
    let keep_until = recorded.header.sticky.map(|kept| journal::now().saturating_add(kept));
    let outcome = stores.open(&access_of(&recorded.header)).and_then(|mut opened| {
        release(recorded, &mut opened, keep_until, false, deadline.within(TRY))
    });
    match (&outcome, keep_until) {
        (Ok(()), None) => journal::remove(&recorded.path)?,
        _ => journal.make_due(recorded, keep_until)?,
    }
    if let Err(error) = &outcome {
        let Header { podref, interface, .. } = &recorded.header;
        log::warn!("the address of pod {podref} on {interface} is given back later: {error}");
    }
    Ok(outcome.is_ok())
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
