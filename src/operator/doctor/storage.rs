//! Where Braid writes: the state directory, with room in it, and the files for those who watch.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::{Finding, fail, ok, warn};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::operator::node;
use crate::operator::records::{Entry, Kernel, Records};

/// Less room than this is worth a warning.
const LITTLE: u64 = 16 << 20;

/// The state directory.
pub(super) fn state(config: &Config) -> Vec<Finding> {
    const USELESS: &str = "without it no pod gets an extra network";
    let directory = config.state_dir.display();
    let records = match Records::read(&Ledger::new(&config.state_dir)) {
        Ok(records) => records,
        Err(error) => {
            return vec![fail("state", error.to_string(), format!("repair it: {USELESS}"))];
        }
    };
    let mut findings = vec![match room(&config.state_dir) {
        Room::Enough => ok("state", format!("{directory}: {} records", records.live.len())),
        Room::Little(bytes) => {
            let message = format!("{directory}: {} KiB are left on its file system", bytes >> 10);
            warn("state", message, format!("make room: {USELESS}"))
        }
        Room::None => fail(
            "state",
            format!("{directory}: its file system is full"),
            format!("make room: {USELESS}"),
        ),
        Room::Denied(problem) => fail(
            "state",
            format!("{directory} cannot be written: {problem}"),
            format!("make it writable: {USELESS}"),
        ),
    }];
    findings.extend(of_records(config, &records));
    findings
}

/// What the kernel shows otherwise than the records of living pods.
fn of_live_records(records: &Records) -> Vec<Finding> {
    let mut findings = Vec::new();
    let opened =
        records.live.iter().filter_map(|listed| records.open_outline(listed).ok().flatten());
    let entries: Vec<Entry> = opened.map(|record| Entry::of(&record).without_results()).collect();
    let of_kernel = |kernel: Kernel| entries.iter().filter(move |entry| entry.kernel == kernel);
    if let Some(first) = of_kernel(Kernel::Drifted).next() {
        let pods = of_kernel(Kernel::Drifted).count();
        let message = format!(
            "{pods} pods differ from what was attached, {} first: {}",
            first.pod,
            first.drift.join("; ")
        );
        findings.push(warn(
            "records",
            message,
            "braid list has them all; delete a pod to have it attached anew",
        ));
    }
    let stale = of_kernel(Kernel::Gone).count();
    if stale > 0 {
        findings.push(warn(
            "records",
            format!("{stale} of sandboxes that are gone"),
            "run braid gc",
        ));
    }
    findings
}

fn of_records(config: &Config, records: &Records) -> Vec<Finding> {
    let mut findings = of_live_records(records);
    if !records.orphans.is_empty() {
        let message = format!("{} networks could not be torn down", records.orphans.len());
        findings.push(warn(
            "records",
            message,
            "see to their plugins, then run braid gc; braid gc --forget drops them",
        ));
    }
    let leaked: usize =
        node::leaked_addresses(config, records).iter().map(|leaked| leaked.files.len()).sum();
    if leaked > 0 {
        let message = format!("{leaked} are reserved for containers that braid has no record of");
        findings.push(warn("addresses", message, "braid gc --dry-run names them"));
    }
    for unreadable in &records.unreadable {
        let message = format!("{}: {}", unreadable.file.display(), unreadable.problem);
        findings.push(warn("records", message, "look at it, then remove it"));
    }
    findings
}

/// How much can be written somewhere.
enum Room {
    Enough,
    Little(u64),
    None,
    Denied(String),
}

/// Looks at a directory, or at the nearest one above it that is there.
fn room(directory: &Path) -> Room {
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if let Err(errno) = access(there, AccessFlags::W_OK) {
        return Room::Denied(errno.to_string());
    }
    let Ok(file_system) = statvfs(there) else { return Room::Enough };
    // Some file systems, btrfs among them, count no files.
    let no_files = file_system.files() > 0 && file_system.files_available() == 0;
    #[allow(clippy::useless_conversion, reason = "the types depend on the architecture")]
    let bytes = u64::from(file_system.blocks_available())
        .saturating_mul(u64::from(file_system.fragment_size()));
    match bytes {
        _ if no_files => Room::None,
        0 => Room::None,
        LITTLE.. => Room::Enough,
        little => Room::Little(little),
    }
}

/// The files of the configuration that Braid appends to: nothing fails for them, but a reader
/// expects them.
pub(super) fn files(config: &Config) -> Vec<Finding> {
    let files = [
        ("logFile", &config.log.file),
        ("auditLog", &config.log.audit),
        ("eventLog", &config.log.events),
        ("metricsFile", &config.log.metrics),
    ];
    let named = files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?)));
    let problems = named.filter_map(|(key, file)| Some((key, file, problem_with(file)?)));
    problems
        .map(|(key, file, problem)| {
            let message = format!("{key}: {} {problem}", file.display());
            warn("files", message, "nothing is written there until then; pods are not held up")
        })
        .collect()
}

fn problem_with(file: &Path) -> Option<String> {
    let metadata = file.symlink_metadata();
    if metadata.is_ok_and(|metadata| !metadata.is_file()) {
        return Some("is no regular file, and is not followed".to_owned());
    }
    let parent = file.parent().unwrap_or(Path::new("/"));
    if !parent.is_dir() {
        return Some("has no directory to be in".to_owned());
    }
    match room(parent) {
        Room::Denied(problem) => Some(format!("cannot be written: {problem}")),
        Room::None => Some("is on a file system that is full".to_owned()),
        Room::Enough | Room::Little(_) => None,
    }
}
