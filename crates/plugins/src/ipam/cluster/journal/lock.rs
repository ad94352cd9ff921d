//! One call at a time for an attachment: two ADDs would write the same record, and each lose what the
//! other has written down.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::deadline::Deadline;
use linux::directory;
use linux::file::FileError;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::record::name_of;
use super::{Journal, JournalError, is_at};

/// How long is waited before the lock is tried again.
const PAUSE: Duration = Duration::from_millis(5);

/// The attachment is this call's. The lock's file goes with it.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // It is still locked: nothing else has put a file in its place.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Journal {
    fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Waits until no other call works on the attachment.
    ///
    /// # Errors
    /// [`JournalError::Busy`] after `until`, and if there can be no lock.
    pub(crate) fn hold(
        &self,
        container: &str,
        interface: &str,
        until: Deadline,
    ) -> Result<Lock, JournalError> {
        directory::prepare(&self.root, &self.locks())?;
        let path = self.locks().join(name_of(container, interface));
        loop {
            if let Some(lock) = try_lock(&path)? {
                return Ok(lock);
            }
            if until.remaining().is_zero() {
                return Err(JournalError::Busy(path));
            }
            std::thread::sleep(PAUSE.min(until.remaining()));
        }
    }

    /// The same for a call that ends the attachment, and does so all the same without a lock. Where
    /// there is no journal, it makes none.
    pub(crate) fn hold_to_end(
        &self,
        container: &str,
        interface: &str,
        until: Deadline,
    ) -> Option<Lock> {
        if !directory::is_trusted(&self.root, &self.locks()).unwrap_or(false) {
            return None;
        }
        let held = self.hold(container, interface, until);
        held.inspect_err(|error| log::warn!("{error}")).ok()
    }

    /// Removes the locks of calls that were killed.
    pub(crate) fn sweep_locks(&self) {
        for path in directory::list(&self.root, &self.locks()).unwrap_or_default() {
            drop(try_lock(&path));
        }
    }
}

fn try_lock(path: &Path) -> Result<Option<Lock>, JournalError> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path).map_err(FileError::of("open", path))?;
    let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
    // It may have been removed, or made anew, since it was opened.
    Ok(is_at(&lock, path).then(|| Lock { path: path.to_owned(), _lock: lock }))
}
