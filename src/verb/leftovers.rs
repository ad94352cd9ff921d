//! What is left of sandboxes that are gone: records that no DEL will come for, and addresses that
//! no record knows. GC tears down every such record. ADD looks once in a while and tears down a
//! few, because there are runtimes that never call GC. Addresses are told of and stay: whose they
//! are is not known here.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use log::Level;

use super::{Session, boot_id, moment, teardown};
use crate::definition::Copies;
use crate::ledger::{AttachmentHeader, Depth, Ledger, LedgerError, Listed, RecordedNetns, Sweep};
use crate::multus::cache;
use crate::plan::Role;
use crate::reservation::{self, Reservations, Store};
use cni::deadline::Deadline;
use linux::netns::Living;

/// How many records an ADD tears down, and how long it takes for that at most: a pod waits for it.
const A_FEW: usize = 4;
const LIMIT: Duration = Duration::from_secs(5);
/// How long after its start a node may take to get rid of the sandboxes of its last life by itself.
const SETTLING: Duration = Duration::from_mins(15);
/// As many records as an ADD reads.
const MAX_RECORDS: usize = 2048;
/// Sentences about addresses in the log, for one look.
const MAX_SENTENCES: usize = 8;

/// Tells records whose sandbox is gone from those whose sandbox may be alive: by the ID of the
/// boot, and by device, inode and cookie of the namespace. What is alive on the node is looked up
/// once, if it has to be.
#[derive(Debug, Default)]
pub(crate) struct StaleSandboxDetector {
    living: Option<Living>,
}

impl StaleSandboxDetector {
    /// Whether nothing of a record's sandbox can be in use any more.
    pub(crate) fn is_gone(&mut self, recorded: &RecordedNetns) -> bool {
        // If the ID of either boot could not be read, nothing is certain.
        match recorded.is_of_boot(&boot_id()) {
            None => return false,
            Some(false) => return true,
            Some(true) => {}
        }
        // Looked at hundreds of times: one that is mounted where it was is not visited, too, to
        // make sure.
        if !teardown::living_netns(recorded, &recorded.path).is_empty() {
            return false;
        }
        let living = self.living.get_or_insert_with(Living::scan);
        !living.may_hold(recorded.id, recorded.cookie, Path::new(&recorded.path))
    }
}

/// ADD's part: nothing if a sweep ran lately.
pub(super) fn tear_down_a_few(session: &mut Session<'_>) {
    if session.delegates.signals().stop_requested() || !session.ledger.claim_sweep(&boot_id()) {
        return;
    }
    let deadline = Deadline::after(LIMIT);
    session.ledger.sweep();
    let (root, max_age) = (&session.config.state_dir, session.config.definition_cache_max_age);
    Copies::new(root, max_age, SystemTime::now).sweep();
    // A disk that is slow leaves time for what is found.
    let records = match read_some(session, deadline.share(2)) {
        Ok(records) => records,
        Err(error) => return log::warn!("{error}"),
    };
    let mut detective = StaleSandboxDetector::default();
    let gone: Vec<&Listed> =
        records.iter().filter(|record| detective.is_gone(&record.header().netns)).collect();
    let tried = gone.get(..A_FEW.min(gone.len())).unwrap_or_default();
    let last = tear_down(session, tried, deadline);
    // Records that were not reached count as read: the next look goes on behind the last of these.
    if let Some(last) = last.or(records.last().filter(|_| gone.is_empty())) {
        session.ledger.stopped_at(Sweep::Add, &last.name());
    }
    let more = gone.len().saturating_sub(A_FEW);
    if more > 0 {
        let (level, sentence) = said_of_more(more, Duration::from_secs(moment().uptime));
        log::log!(level, "{sentence}");
    }
    report_addresses(session, &records, deadline);
}

/// The headers of as many records as an ADD reads. One that is damaged is the next GC's to set
/// aside.
fn read_some(session: &Session<'_>, deadline: Deadline) -> Result<Vec<Listed>, LedgerError> {
    let scan = session.ledger.scan(Sweep::Add, Depth::Header, deadline)?;
    Ok(scan.take(MAX_RECORDS).filter_map(Result::ok).collect())
}

/// What is told of records that a look has left. After a start of the node every record is of a
/// sandbox that is gone, and the runtime's own DELs are still coming: there is nothing to do for a
/// person yet.
fn said_of_more(more: usize, since_start: Duration) -> (Level, String) {
    let left = format!("{more} more records of sandboxes that are gone are left");
    if since_start < SETTLING {
        let sentence = "after a start of the node DEL, GC and later ADDs tear them down";
        return (Level::Info, format!("{left}: {sentence}"));
    }
    (Level::Warn, format!("{left}: braid gc tears them down at once"))
}

/// GC's part: records of other networks than the request's. They have a list of their own, and what
/// is gone is in none.
pub(super) fn tear_down_elsewhere(
    session: &mut Session<'_>,
    records: &[Listed],
    deadline: Deadline,
) {
    let mut detective = StaleSandboxDetector::default();
    let network = session.config.network.clone();
    let elsewhere = records.iter().filter(|record| record.header().network != network);
    let gone: Vec<&Listed> =
        elsewhere.filter(|record| detective.is_gone(&record.header().netns)).collect();
    tear_down(session, &gone, deadline.share(2));
}

/// Returns the last one that was tried. What resists stays recorded, and is tried again at a later
/// look.
fn tear_down<'r>(
    session: &mut Session<'_>,
    gone: &[&'r Listed],
    deadline: Deadline,
) -> Option<&'r Listed> {
    let mut last = None;
    for (done, record) in gone.iter().enumerate() {
        // One that has taken all the time leaves the others to the next look.
        if deadline.remaining().is_zero() {
            break;
        }
        last = Some(*record);
        let share = deadline.share(gone.len() - done);
        if let Err(error) = teardown::collect(session, record, share) {
            log::warn!("{error}");
        }
    }
    last
}

/// Tells in the log of addresses that may have leaked.
pub(super) fn report_addresses(session: &Session<'_>, records: &[Listed], deadline: Deadline) {
    let attachments = records.iter().flat_map(|record| &record.header().attachments);
    let (mut stores, mut primaries) = (BTreeSet::new(), BTreeSet::new());
    for AttachmentHeader { network, role, reservations, .. } in attachments {
        stores.extend(reservations.iter().map(|directory| Store::new(network, directory.clone())));
        if *role == Role::Primary {
            primaries.insert(network.as_str());
        }
    }
    let found = unknown_addresses(&stores, &session.ledger, &session.config.state_dir, deadline);
    let leaks: Vec<_> = found.iter().filter(|found| is_suspect(found, &primaries)).collect();
    for leak in leaks.iter().take(MAX_SENTENCES) {
        log::warn!("{}", sentence(leak));
    }
    if leaks.len() > MAX_SENTENCES {
        log::warn!(
            "{} more containers have such addresses: braid gc --dry-run lists them",
            leaks.len() - MAX_SENTENCES
        );
    }
}

/// Addresses in `stores` that are reserved for containers which neither the ledger nor Multus
/// knows.
pub(crate) fn unknown_addresses(
    stores: &BTreeSet<Store>,
    ledger: &Ledger,
    state_dir: &Path,
    deadline: Deadline,
) -> Vec<Reservations> {
    let mut found = reservation::unknown(stores, deadline, || ledger.containers().ok());
    found.retain(|found| cache::find(state_dir, &found.container).is_none());
    found
}

/// Whether addresses have leaked rather than belong to a pod that is older than Braid's
/// installation: nothing is older than the node's start, and extra networks come from Braid alone.
pub(crate) fn is_suspect(found: &Reservations, primaries: &BTreeSet<&str>) -> bool {
    let outlived = started().is_some_and(|started| found.made < started);
    outlived || !primaries.contains(found.network.as_str())
}

/// What a person is told.
pub(crate) fn sentence(found: &Reservations) -> String {
    let directory =
        found.files.values().next().and_then(|file| file.parent()).unwrap_or(Path::new("/"));
    format!(
        "network \"{}\": {} reserved for container {}, which braid has no record of; if it is \
         gone, remove {} from {}",
        found.network,
        found.addresses(),
        found.container,
        if found.files.len() == 1 { "the file" } else { "the files" },
        directory.display()
    )
}

/// When the node was started, as its clock has it.
fn started() -> Option<SystemTime> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braid_gc_is_advised_only_some_time_after_a_start() {
        for minutes in [0, 1, 14] {
            let (level, sentence) = said_of_more(26, Duration::from_mins(minutes));
            assert!(level == Level::Info && !sentence.contains("braid gc"), "{level} {sentence}");
        }
        let (level, sentence) = said_of_more(26, SETTLING);
        assert_eq!(level, Level::Warn);
        assert_eq!(
            sentence,
            "26 more records of sandboxes that are gone are left: braid gc tears them down at once"
        );
    }
}
