//! What Multus remembers of a sandbox becomes a record of Braid's when the sandbox goes: so what
//! cannot be torn down then is tried again, counted and given up as any other network.

use super::{Session, boot_id, key_of, netns_at, now};
use crate::ledger::{Event, LAYOUT, LedgerError, Mode, Record, RecordPlan, RecordedNetns};
use crate::multus::cache::{MultusCache, Remembered};
use crate::pod::Pod;
use cni::deadline::Deadline;
use cni::request::Sandbox;
use linux::netns::NetnsId;

/// The record, on the disk; Multus's own goes then. The lock of the container must be held.
///
/// # Errors
/// [`LedgerError`] if it cannot be written; Multus's record stays.
pub(super) fn adopt(
    session: &Session<'_>,
    sandbox: &Sandbox,
    cache: &MultusCache,
    remembered: &[Remembered],
    deadline: Deadline,
) -> Result<Option<Record>, LedgerError> {
    let key = key_of(sandbox);
    if let Err(error) = record(session, sandbox, remembered, deadline) {
        let _ = session.ledger.remove(&key);
        return Err(error);
    }
    cache.remove(&sandbox.container, remembered);
    session.ledger.read(&key)
}

fn record(
    session: &Session<'_>,
    sandbox: &Sandbox,
    remembered: &[Remembered],
    deadline: Deadline,
) -> Result<(), LedgerError> {
    let mut journal = session.ledger.create(plan(session, sandbox, remembered))?;
    for (at, remembered) in remembered.iter().enumerate() {
        if let Some(result) = &remembered.result {
            journal.append(&Event::Attached(at, result.clone()))?;
        }
    }
    journal.wait_for_disk(deadline)
}

fn plan(session: &Session<'_>, sandbox: &Sandbox, remembered: &[Remembered]) -> RecordPlan {
    let mode = if session.config.is_delegating() { Mode::Delegating } else { Mode::Chained };
    RecordPlan {
        layout: LAYOUT,
        key: key_of(sandbox),
        network: session.config.network.clone(),
        mode,
        netns: recorded_netns(sandbox),
        pod: Pod::from_args(&sandbox.args).map(|pod| pod.to_string()).unwrap_or_default(),
        args: sandbox.args.clone(),
        created: now(),
        attachments: remembered.iter().map(|remembered| remembered.attachment.clone()).collect(),
        primary: None,
        declined: Vec::new(),
    }
}

/// The namespace that the runtime names. No namespace has the inode 0: if it is gone, it is
/// nowhere.
fn recorded_netns(sandbox: &Sandbox) -> RecordedNetns {
    let netns = netns_at(&sandbox.netns).ok().flatten();
    RecordedNetns {
        boot: boot_id(),
        id: netns.as_ref().map_or(NetnsId { device: 0, inode: 0 }, |netns| netns.id()),
        cookie: netns.and_then(|netns| netns.cookie()),
        path: sandbox.netns.clone(),
    }
}
