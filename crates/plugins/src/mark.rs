//! Whose call has made a file of the node: an extended attribute that GC reads, and that the
//! reference plugins do not see.

use std::fs::File;
use std::time::{Duration, SystemTime};

use cni::plugin::Call;
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use crate::caller::is_braid;

/// The attribute: `trusted` is for file systems without user attributes (tmpfs before Linux 6.6).
const NAMES: [&str; 2] = ["user.braid", "trusted.braid"];

/// A caller's word and the name of a network are shorter.
const MAX_BYTES: usize = 1024;

/// How long a list of valid attachments may be old when Braid's GC hands it to a plugin: GC ends
/// earlier.
const AGE_OF_BRAIDS_LIST: Duration = Duration::from_secs(60);

/// The word for a call that is not Braid's.
pub(crate) const RUNTIME: &str = "runtime";

/// Who calls: Braid, or a runtime or plugin on its own.
pub(crate) fn caller(call: &Call) -> &'static str {
    if is_braid(&call.environment) { "braid" } else { RUNTIME }
}

/// Who calls, and for which network.
pub(crate) fn of(call: &Call) -> String {
    format!("{} {}", caller(call), call.network.as_str())
}

/// The mark of a file, if it has one.
pub(crate) fn read(file: &File) -> Option<String> {
    let mut buffer = [0_u8; MAX_BYTES];
    let length = NAMES.iter().find_map(|name| fgetxattr(file, *name, &mut buffer[..]).ok())?;
    String::from_utf8(buffer.get(..length)?.to_vec()).ok()
}

/// Marks a file. GC leaves one alone that cannot be marked.
pub(crate) fn write(file: &File, mark: &str) {
    let marked = NAMES
        .iter()
        .any(|name| fsetxattr(file, *name, mark.as_bytes(), XattrFlags::empty()).is_ok());
    if !marked {
        log::debug!("the file system has no extended attributes: GC will not remove this file");
    }
}

/// When the list of valid attachments of a GC that starts now was made, at the latest: what is
/// newer stays.
pub(crate) fn listed_at(call: &Call, now: SystemTime) -> SystemTime {
    let age = if is_braid(&call.environment) { AGE_OF_BRAIDS_LIST } else { Duration::ZERO };
    now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}
