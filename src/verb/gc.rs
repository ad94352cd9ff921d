//! GC (CNI 1.1.0, section 2): tears down recorded attachments that the runtime no longer has, then
//! lets the networks clean up behind them.
//!
//! Only records of the request's own network are touched: a node may have several conflists, and
//! each is collected with a list of its own.

mod networks;
mod orphans;

use std::collections::HashSet;

use self::networks::GoneNetworks;
use super::{Session, leftovers, releases, running, teardown};
use crate::config::ValidAttachment;
use crate::ledger::{Depth, LedgerError, Listed, RecordHeader, Sweep};
use cni::deadline::Deadline;
use cni::error::{Code, Error};

pub(super) fn gc(session: &mut Session<'_>) -> Result<(), Error> {
    session.config.require(&["cni.dev/valid-attachments"])?;
    let Some(valid) = session.config.from_runtime.valid_attachments.clone() else {
        let problem = "GC without \"cni.dev/valid-attachments\" would take every attachment for a \
                       stale one; nothing was done";
        return Err(Error::new(Code::CONFIG, problem));
    };
    let deadline = Deadline::after(super::limit::OTHER);
    let mut failures: Vec<Error> = Vec::new();
    let (records, unreadable) = read_records(session, Vec::new(), deadline.share(4))?;
    failures.extend(unreadable.into_iter().map(Error::from));
    let (gone, failed) = tear_down_stale(session, &records, &valid, deadline);
    failures.extend(failed);
    let (ended, failed) = running::end_broken_off(session, deadline.share(4));
    for pod in ended {
        log::info!("pod {pod}: what a killed attach or detach had left was taken back");
    }
    failures.extend(failed);
    leftovers::tear_down_elsewhere(session, &records, deadline);
    failures.extend(orphans::retry(session, deadline));
    failures.extend(networks::collect(session, records, gone, &valid, deadline));
    releases::carry_on(&session.config.state_dir, deadline.share(4));
    session.ledger.sweep();
    session.definitions().copies.sweep();
    if failures.is_empty() {
        return Ok(());
    }
    let sentences: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let code = if let [only] = failures.as_slice() { only.code } else { Code::TEARDOWN };
    Err(Error::new(code, sentences.join("; ")))
}

/// Reads what each record says of itself, but for those of `known` that have not changed since.
fn read_records(
    session: &Session<'_>,
    known: Vec<Listed>,
    deadline: Deadline,
) -> Result<(Vec<Listed>, Vec<LedgerError>), Error> {
    let mut scan = session.ledger.scan(Sweep::Gc, Depth::Whole, deadline)?.knowing(known);
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for record in &mut scan {
        match record {
            Ok(record) => records.push(record),
            Err(error) => unreadable.push(error),
        }
    }
    if scan.unread() > 0 {
        unreadable.push(LedgerError::NoTime(scan.unread()));
    }
    Ok((records, unreadable))
}

fn tear_down_stale(
    session: &mut Session<'_>,
    records: &[Listed],
    valid: &[ValidAttachment],
    deadline: Deadline,
) -> (GoneNetworks, Vec<Error>) {
    let valid: HashSet<(&str, &str)> = valid
        .iter()
        .map(|attachment| (attachment.container.as_str(), attachment.interface.as_str()))
        .collect();
    let is_stale = |record: &&Listed| {
        let RecordHeader { key, network, .. } = record.header();
        *network == session.config.network
            && !valid.contains(&(key.container.as_str(), key.interface.as_str()))
    };
    let stale: Vec<&Listed> = records.iter().filter(is_stale).collect();
    let (mut gone, mut failures) = (GoneNetworks::default(), Vec::new());
    for (done, record) in stale.iter().enumerate() {
        if deadline.remaining().is_zero() {
            failures.push(LedgerError::NoTime(stale.len() - done).into());
            break;
        }
        session.ledger.stopped_at(Sweep::Gc, &record.name());
        match teardown::collect(session, record, deadline.share(stale.len() - done)) {
            Ok(Some(record)) => gone.keep(&record),
            Ok(None) => {}
            Err(error) => failures.push(error),
        }
    }
    (gone, failures)
}
