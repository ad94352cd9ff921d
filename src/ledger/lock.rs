//! One call at a time for each container: runtimes promise it (CNI 1.1.0, section 2), and break it
//! when they restart or time out.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::LedgerError;
use cni::deadline::Deadline;
use cni::request::ContainerId;
use linux::file::FileError;
use linux::signal::Signals;

/// Where the lock of a container is.
pub(super) fn path_of(directory: &Path, container: &ContainerId) -> PathBuf {
    directory.join(container.as_str())
}

/// The lock of a container; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: Flock<File>,
    was_left: bool,
}

impl Lock {
    /// Whether the call that held it before was killed: each other one removes it.
    pub fn was_left(&self) -> bool {
        self.was_left
    }

    pub(super) fn acquire(
        directory: &Path,
        container: &ContainerId,
        deadline: Deadline,
        signals: &mut Signals,
    ) -> Result<Self, LedgerError> {
        let path = path_of(directory, container);
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(lock) = try_lock(&path)? {
                return Ok(lock);
            }
            if signals.stop_requested() {
                return Err(LedgerError::Stopped);
            }
            if deadline.remaining().is_zero() {
                return Err(LedgerError::Busy(container.clone()));
            }
            std::thread::sleep(pause.min(deadline.remaining()));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// The lock at `path`, unless another call holds it.
pub(super) fn try_lock(path: &Path) -> Result<Option<Lock>, LedgerError> {
    let Some((file, was_left)) = open(path).map_err(FileError::of("open", path))? else {
        return Ok(None);
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // Its last holder may have removed the file between our open and our lock.
        Ok(file) if is_file_at(&file, path) => {
            Ok(Some(Lock { path: path.to_owned(), _file: file, was_left }))
        }
        Ok(_) | Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(FileError::of("lock", path)(errno.into()).into()),
    }
}

/// The lock's file, and whether it was there already; none if it has gone meanwhile.
fn open(path: &Path) -> io::Result<Option<(File, bool)>> {
    // Neither through a link, nor waiting for a FIFO's reader.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let made =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map(|file| Some((file, false))),
    }
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(|file| Some((file, true))),
    }
}

fn is_file_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().map(identity).ok() == path.symlink_metadata().map(identity).ok()
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held, so that a lock costs a container nothing once the call is over.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes locks that no call holds.
pub(super) fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        drop(try_lock(&entry.path()));
    }
}
