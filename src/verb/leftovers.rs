//! What is left of sandboxes that are gone: records that no DEL will come for, and addresses that no record
//! knows. GC tears down every such record. ADD looks once in a while and tears down a few, because there are
//! runtimes that never call GC. Addresses are told of and stay: whose they are is not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use log::Level;

use super::{Session, boot_id, del, gc, moment};
use crate::definition::Copies;
use crate::ledger::{Ledger, Record};
use crate::multus_cache;
use crate::plan::Role;
use crate::reservation::{self, Reservations};
use cni::deadline::Deadline;
use cni::netconf::NetworkConfig;
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

/// Tells records whose sandbox is gone from those whose sandbox may be alive: by the ID of the boot, and by
/// device, inode and cookie of the namespace. What is alive on the node is looked up once, where it has to be.
#[derive(Debug, Default)]
pub struct Detective {
    living: Option<Living>,
}

impl Detective {
    /// Whether nothing of the record's sandbox can be in use any more.
    pub fn is_gone(&mut self, record: &Record) -> bool {
        let recorded = &record.plan.netns;
        // Where the ID of either boot could not be read, nothing is certain.
        match recorded.is_of_boot(&boot_id()) {
            None => return false,
            Some(false) => return true,
            Some(true) => {}
        }
        // Looked at hundreds of times: one that is mounted where it was is not visited, too, to make sure.
        if !del::living_netns(record, &recorded.path).is_empty() {
            return false;
        }
        let living = self.living.get_or_insert_with(Living::look);
        !living.may_hold(recorded.id, recorded.cookie, Path::new(&recorded.path))
    }
}

/// ADD's part: nothing where somebody has looked lately.
pub(super) fn tear_down_a_few(session: &mut Session<'_>) {
    if session.delegates.signals().stop_requested() || !session.ledger.claim_look(&boot_id()) {
        return;
    }
    session.ledger.sweep();
    Copies::new(&session.config.state_dir, session.config.definition_cache_max_age).sweep();
    let records = match session.ledger.look_at_some(MAX_RECORDS) {
        Ok(seen) => seen.into_iter().filter_map(|seen| seen.record.ok()).collect::<Vec<_>>(),
        Err(error) => return log::warn!("{error}"),
    };
    let mut detective = Detective::default();
    let gone: Vec<&Record> = records.iter().filter(|record| detective.is_gone(record)).collect();
    let limit = Deadline::after(LIMIT);
    tear_down(session, gone.iter().take(A_FEW).copied(), limit);
    let more = gone.len().saturating_sub(A_FEW);
    if more > 0 {
        let (level, sentence) = said_of_more(more, Duration::from_secs(moment().uptime));
        log::log!(level, "{sentence}");
    }
    report_addresses(session, &records);
}

/// What is told of records that a look has left. After a start of the node every record is of a sandbox that is
/// gone, and the runtime's own DELs are still coming: there is nothing to do for a person yet.
fn said_of_more(more: usize, since_start: Duration) -> (Level, String) {
    let left = format!("{more} more records of sandboxes that are gone are left");
    if since_start < SETTLING {
        let sentence = "after a start of the node DEL, GC and later ADDs tear them down";
        return (Level::Info, format!("{left}: {sentence}"));
    }
    (Level::Warn, format!("{left}: braid gc tears them down at once"))
}

/// GC's part: records of other networks than the request's. They have a list of their own, and what is gone
/// is in none.
pub(super) fn tear_down_elsewhere(session: &mut Session<'_>, records: &[Record], deadline: Deadline) {
    let mut detective = Detective::default();
    let network = session.config.network.clone();
    let elsewhere = records.iter().filter(|record| record.plan.network != network);
    let gone: Vec<&Record> = elsewhere.filter(|record| detective.is_gone(record)).collect();
    tear_down(session, gone.into_iter(), deadline.share(2));
}

/// What resists stays recorded, and is tried again at the next look.
fn tear_down<'r>(
    session: &mut Session<'_>,
    gone: impl ExactSizeIterator<Item = &'r Record>,
    deadline: Deadline,
) {
    let count = gone.len();
    for (done, record) in gone.enumerate() {
        // One that has taken all the time leaves the others to the next look.
        if deadline.remaining().is_zero() {
            return;
        }
        if let Err(error) = gc::tear_down_one(session, record, deadline.share(count - done)) {
            log::warn!("{error}");
        }
    }
}

/// Tells in the log of addresses that may have leaked.
pub(super) fn report_addresses(session: &Session<'_>, records: &[Record]) {
    let mut networks: BTreeMap<&str, (&NetworkConfig, Role)> = BTreeMap::new();
    for attachment in records.iter().flat_map(|record| &record.plan.attachments) {
        networks.insert(attachment.network.name.as_str(), (&attachment.network, attachment.role));
    }
    let primaries: BTreeSet<&str> =
        networks.iter().filter(|(_, (_, role))| *role == Role::Primary).map(|(name, _)| *name).collect();
    let networks = networks.values().map(|(network, _)| *network);
    let found = unknown_addresses(networks, &session.ledger, &session.config.state_dir);
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

/// Addresses of `networks` that are reserved for containers which neither the ledger nor Multus knows.
pub fn unknown_addresses<'n>(
    networks: impl IntoIterator<Item = &'n NetworkConfig>,
    ledger: &Ledger,
    state_dir: &Path,
) -> Vec<Reservations> {
    let known = || ledger.containers().ok();
    let mut found = reservation::unknown(&reservation::stores(networks), known);
    found.retain(|found| multus_cache::find(state_dir, &found.container).is_none());
    found
}

/// Whether addresses have leaked rather than belong to a pod that is older than Braid's installation: nothing
/// is older than the node's start, and extra networks come from Braid alone.
pub fn is_suspect(found: &Reservations, primaries: &BTreeSet<&str>) -> bool {
    let outlived = started().is_some_and(|started| found.made < started);
    outlived || !primaries.contains(found.network.as_str())
}

/// What a person is told.
pub fn sentence(found: &Reservations) -> String {
    let directory = found.files.values().next().and_then(|file| file.parent()).unwrap_or(Path::new("/"));
    format!(
        "network \"{}\": {} reserved for container {}, which braid has no record of; if it is gone, remove {} \
         from {}",
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
    fn nobody_is_sent_to_collect_what_goes_by_itself_after_a_start() {
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
