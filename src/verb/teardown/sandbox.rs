//! Where the sandbox of a record is.

use crate::ledger::RecordedNetns;
use crate::verb::{boot_id, netns_at};

/// The path of a recorded namespace, or nothing once it is gone. A path alone proves nothing: it
/// may belong to another sandbox by now.
pub(in crate::verb) fn living_netns(recorded: &RecordedNetns, given: &str) -> String {
    if recorded.is_of_boot(&boot_id()) == Some(false) {
        return String::new();
    }
    let is_it = |path: &&str| {
        let Some(netns) = netns_at(path).ok().flatten() else { return false };
        // The runtime knows where it has mounted its sandbox, and is not held up. A process'
        // number, and what a record says, may lead elsewhere by now.
        let is_certain = *path == given && !given.starts_with("/proc/");
        if is_certain { netns.id() == recorded.id } else { recorded.is(&netns) }
    };
    [given, &recorded.path].into_iter().find(is_it).unwrap_or_default().to_owned()
}
