//! GC tries orphans again, within a share of its time: the networks that work have theirs.

use crate::ledger::{Depth, Listed, Sweep};
use crate::verb::Session;
use crate::verb::teardown::Teardown;
use cni::deadline::Deadline;
use cni::error::Error;

/// The share of GC's time that orphans have, as one of so many.
const SHARE: usize = 5;

/// Tries the orphans of the request's network, one of them in memory at a time. The next GC begins
/// behind the last one. One that resists again is logged and is no failure of GC: it was given up,
/// and stays as it was. Returns what cannot be read.
pub(super) fn retry(session: &mut Session<'_>, deadline: Deadline) -> Vec<Error> {
    let until = deadline.share(SHARE);
    let ledger = session.ledger.clone();
    let mut orphans = match ledger.scan_orphans(Depth::Whole, until) {
        Ok(orphans) => orphans,
        Err(error) => return vec![error.into()],
    };
    let (mut failures, mut last) = (Vec::new(), None);
    for orphan in &mut orphans {
        match orphan {
            Ok(orphan) if orphan.header().network == session.config.network => {
                ledger.stopped_at(Sweep::Orphans, &orphan.name());
                if let Err(error) = retry_one(session, &orphan, until) {
                    log::warn!("{}: {error}", orphan.header().pod);
                }
            }
            Ok(orphan) => last = Some(orphan.name()),
            Err(error) => failures.push(error.into()),
        }
    }
    if orphans.unread() > 0 {
        // Also behind those that are another network's.
        last.iter().for_each(|name| ledger.stopped_at(Sweep::Orphans, name));
        log::warn!(
            "there was no time for {} networks that could not be torn down: the next GC goes on \
             with them",
            orphans.unread()
        );
    }
    failures
}

fn retry_one(session: &mut Session<'_>, orphan: &Listed, deadline: Deadline) -> Result<(), Error> {
    let Some(record) = session.ledger.read_listed(orphan)? else { return Ok(()) };
    Teardown::of(session, &record, "", deadline.share(2)).run_orphan(orphan.as_ref())
}
