//! What is remembered of sweeps for records of sandboxes that are gone: `looks/last`, which holds
//! the ID of the boot and whose time is that of the last sweep, and where each kind of sweep
//! stopped. A sweep costs a call for each record; to see that none is due costs four.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg, OFlag};

use super::directory;

/// How often a sweep is made. The first ADD after a start makes one in any case.
const INTERVAL: Duration = Duration::from_secs(600);
/// As many as a file's name has.
const MAX_NAME_BYTES: u64 = 255;
/// More than an ID of a boot has.
const MAX_BYTES: u64 = 64;

/// Whether a sweep is due, and no other call is about to make it. One that cannot be written down
/// is not made: every call would take it again.
pub(super) fn claim(root: &Path, boot: &str) -> bool {
    let looks = root.join("looks");
    let file = looks.join("last");
    if open(&file, false).is_ok_and(|file| is_recent(&file, boot)) {
        return false;
    }
    if directory::prepare(root, &looks).is_err() {
        return false;
    }
    let Ok(file) = open(&file, true) else { return false };
    let Ok(mut held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return false };
    !is_recent(&held, boot) && write(&mut held, boot).is_ok()
}

/// The name of the record at which the last sweep of a kind stopped; empty if none has.
pub(super) fn last_tried(root: &Path, kind: &str) -> String {
    let mut name = String::new();
    let read = open(&root.join("looks").join(kind), false)
        .and_then(|file| file.take(MAX_NAME_BYTES).read_to_string(&mut name));
    read.map(|_| name).unwrap_or_default()
}

/// Writes it down.
pub(super) fn note_tried(root: &Path, kind: &str, name: &str) {
    let looks = root.join("looks");
    if directory::prepare(root, &looks).is_ok() {
        // Without it, the next sweep begins where this one did.
        let _ = open(&looks.join(kind), true).and_then(|mut file| write(&mut file, name));
    }
}

fn open(path: &Path, to_write: bool) -> std::io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(to_write).create(to_write).truncate(false).mode(0o600);
    options.custom_flags(flags.bits()).open(path)
}

fn is_recent(file: &File, boot: &str) -> bool {
    let age = file.metadata().and_then(|metadata| metadata.modified()).map(|at| at.elapsed());
    let mut known = String::new();
    let read = file.take(MAX_BYTES).read_to_string(&mut known);
    read.is_ok() && known == boot && age.is_ok_and(|age| age.is_ok_and(|age| age < INTERVAL))
}

fn write(file: &mut File, text: &str) -> std::io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}
