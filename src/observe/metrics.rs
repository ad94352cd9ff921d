//! Counts of the runtime's calls, for node-exporter's textfile collector: a file that every call
//! reads, adds to and replaces as a whole.
//!
//! ```text
//! <metricsFile>            the counts, in Prometheus's text format; what was counted so far is read from it
//! .<its name>.lock         held from the reading to the rename, so that no count is lost; what was read of records
//!                          is kept in it, so that the next count reads those alone that have changed
//! ```
//!
//! A call never fails for it, and waits for no lock longer than `LOCK_LIMIT`. A file that is not
//! ours, a link among them, is left as it is; one of ours that cannot be read any more begins again
//! at nothing, which readers of counters know as a restart.

mod exposition;

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

pub(crate) use exposition::Counts;

use crate::ledger::{Census, Tally};
use crate::observe::event_log::Outcome;
use cni::deadline::Deadline;
use linux::directory;
use linux::file::FileError;

/// How long a call waits for others that count.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
/// The largest file that is read: ours has some 12 KiB.
const MAX_BYTES: u64 = 256 << 10;
/// The same for the lock: thousands of records have room.
const MAX_TALLY_BYTES: u64 = 4 << 20;

/// Why a call was not counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetricsError {
    /// The system does not let us.
    #[error(transparent)]
    File(#[from] FileError),
    /// Other calls hold the lock, or a stopped one does.
    #[error("{} is held by another call", .0.display())]
    Busy(PathBuf),
    /// The file was not written by Braid.
    #[error("{} is no file of braid's: remove it, or give \"metricsFile\" a path of its own", .0.display())]
    Foreign(PathBuf),
}

/// One call of the runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    /// The verb.
    pub verb: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// Adds a call to the counts in `path`. The gauges are read while no other call counts, so that the
/// last of several calls leaves what is true.
///
/// # Errors
/// [`MetricsError`]; the file is as it was then.
pub(crate) fn count(
    path: &Path,
    observation: Observation,
    gauges: impl FnOnce(&mut Tally) -> Option<Census>,
) -> Result<(), MetricsError> {
    let (Some(parent), Some(name)) =
        (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Err(MetricsError::Foreign(path.to_owned()));
    };
    let mut lock = lock(&parent.join(format!(".{name}.lock")))?;
    let mut counts = read(path)?;
    counts.add(observation);
    counts.gauges = read_gauges(&mut lock, gauges).unwrap_or(counts.gauges);
    Ok(replace(parent, name, &counts.to_string()).map_err(FileError::of("write", path))?)
}

/// The counts in `path` as text.
///
/// # Errors
/// [`MetricsError`] if the file is not Braid's, or cannot be read.
pub(crate) fn exposed(path: &Path) -> Result<String, MetricsError> {
    Ok(read(path)?.to_string())
}

/// Reads the gauges with what is known from earlier reads, and stores what is known then. It can be
/// read anew at any time, so a file that cannot be read or written costs no more than that.
fn read_gauges(
    file: &mut File,
    gauges: impl FnOnce(&mut Tally) -> Option<Census>,
) -> Option<Census> {
    let mut before = Vec::new();
    let _ = file.take(MAX_TALLY_BYTES).read_to_end(&mut before);
    let mut tally = Tally::decode(&before);
    let census = gauges(&mut tally)?;
    let after = tally.encode();
    if after != before {
        let _ = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(&after));
    }
    Some(census)
}

/// Neither through a link, nor waiting for a FIFO's other end.
fn flags() -> i32 {
    (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()
}

fn lock(path: &Path) -> Result<Flock<File>, MetricsError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags());
    let mut file = options.open(path).map_err(FileError::of("open", path))?;
    let deadline = Deadline::after(LOCK_LIMIT);
    let mut pause = Duration::from_micros(500);
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(FileError::of("lock", path)(errno.into()).into()),
        };
        if deadline.remaining().is_zero() {
            return Err(MetricsError::Busy(path.to_owned()));
        }
        std::thread::sleep(pause.min(deadline.remaining()));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn read(path: &Path) -> Result<Counts, MetricsError> {
    let file = match OpenOptions::new().read(true).custom_flags(flags()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Counts::default()),
        // That is how a link says that it is one.
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err(MetricsError::Foreign(path.to_owned()));
        }
        Err(error) => return Err(FileError::of("open", path)(error).into()),
    };
    let metadata = file.metadata().map_err(FileError::of("look at", path))?;
    let mut bytes = Vec::new();
    if metadata.is_file() {
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(FileError::of("read", path))?;
    }
    // A power loss may leave an empty file behind.
    let is_ours = metadata.is_file()
        && (bytes.is_empty() || bytes.starts_with(exposition::FIRST_LINE.as_bytes()));
    if !is_ours {
        return Err(MetricsError::Foreign(path.to_owned()));
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.parse().unwrap_or_else(|problem| {
        if !bytes.is_empty() {
            log::warn!(
                "{} cannot be read, and counts from nothing again: {problem}",
                path.display()
            );
        }
        Counts::default()
    }))
}

/// Not brought to the disk: counts are worth no wait.
fn replace(parent: &Path, name: &str, text: &str) -> io::Result<()> {
    // The exporter reads whatever ends with ".prom".
    let mut file = directory::temporary(parent, &format!("{name}.new"))?;
    file.write_all(text.as_bytes())?;
    // The exporter is another user.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(parent.join(name)).map_err(|failure| failure.error)?;
    Ok(())
}

#[cfg(test)]
mod tests;
