//! The node-local record of attachments: the truth for DEL, CHECK and GC.
//!
//! ```text
//! <cniDir>/records/<container>@<interface>   one record, while anything of it may be there
//!         /orphans/<container>@<interface>…  extra networks that could not be torn down
//!         /aside/…                           records that could not be read
//!         /locks/<container>                 held during a call, gone after it
//!         /looks/last                        the time of the last sweep for records of sandboxes that are gone
//!         /looks/add, /looks/gc, /looks/orphans              the record that such a sweep tried last: the next one begins behind it
//!         /definitions/…                     copies of definitions: see [`crate::definition::Copies`]
//!         /<directory>/.<container>@…        the beginning of a file; its writer holds the container's lock
//!
//! a record:   <crc32, 8 hex digits> <space> <JSON> <newline>     the plan: whole or absent; see [`header`]
//!             <crc32, 8 hex digits> <space> <JSON> <newline>     one event each: what has happened since
//! ```
//!
//! The plan is written to a temporary file and renamed before the first side effect, so that a
//! killed Braid leaves it behind; a thread brings it to the disk while the delegates run, so that a
//! power loss does too. A directory that was made is on the disk before anything is in it, and an
//! orphan before its record goes. Events are appended, one write each. They say how far the call
//! came, and matter only as long as the node stays up: after a power loss the plan alone is enough
//! to tear down, so nothing waits for them to reach the disk. A line that is not whole is passed
//! over.
//!
//! Files are 0600 in directories of 0700; no symbolic link is followed. What a record means is not
//! decided here.

mod census;
mod error;
mod header;
mod journal;
mod kept;
mod lock;
mod outline;
mod reading;
mod record;
mod rewrite;
mod scan;
mod sweep_state;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use census::{Census, Tally};
pub(crate) use error::LedgerError;
pub(crate) use header::{AttachmentHeader, RecordHeader};
pub(crate) use journal::Journal;
pub(crate) use lock::Lock;
pub(crate) use outline::Configuration;
pub(crate) use record::{Declined, Key, LAYOUT, Mode, Moment, RecordedNetns};
pub use record::{Event, Record, RecordPlan, State, event_line, plan_line};
pub(crate) use scan::{Depth, Listed, Sweep};

use cni::deadline::Deadline;
use cni::request::ContainerId;
use linux::directory;
use linux::file::{FileError, is_missing};
use linux::signal::Signals;

use crate::definition::COPIES_DIRECTORY;
use crate::plan;
use reading::Unread;

/// The largest record that is written, results and all. More is read: see
/// [`reading::MAX_READ_BYTES`].
const MAX_RECORD_BYTES: u64 = 8 << 20;

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The ledger in its directory. Nothing is created before the first record.
#[derive(Clone, Debug)]
pub struct Ledger {
    root: PathBuf,
}

impl Ledger {
    /// The ledger in `root` (`cniDir`).
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    fn orphans(&self) -> PathBuf {
        self.root.join("orphans")
    }

    fn aside(&self) -> PathBuf {
        self.root.join("aside")
    }

    fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    fn failure(
        &self,
        action: &'static str,
        key: &Key,
    ) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = self.path_of(key);
        move |source| FileError { action, path, source }
    }

    fn path_of(&self, key: &Key) -> PathBuf {
        self.records().join(key.file_name())
    }

    /// Holds off other calls for `container` until the lock is dropped.
    ///
    /// # Errors
    /// [`LedgerError::Busy`] at the deadline, or if the state directory cannot be used.
    pub fn lock(
        &self,
        container: &ContainerId,
        deadline: Deadline,
        signals: &mut Signals,
    ) -> Result<Lock, LedgerError> {
        let locks = self.locks();
        directory::prepare(&self.root, &locks)?;
        Lock::acquire(&locks, container, deadline, signals)
    }

    /// Whether there is a record, readable or not. Costs one system call.
    pub fn has(&self, key: &Key) -> bool {
        self.path_of(key).symlink_metadata().is_ok()
    }

    /// Whether a call for `key` is at work, or has left anything: a record, or the lock, which one
    /// that was killed leaves with all else. Costs two system calls if there is nothing.
    pub fn has_traces(&self, key: &Key) -> bool {
        self.has(key) || lock::path_of(&self.locks(), &key.container).symlink_metadata().is_ok()
    }

    /// Writes a plan before its first side effect. The lock of the container must be held.
    ///
    /// # Errors
    /// [`LedgerError::File`] or [`LedgerError::Directory`]; no record is left then.
    pub fn create(&self, plan: RecordPlan) -> Result<Journal, LedgerError> {
        let line = record::plan_line(&plan).map_err(self.failure("encode", &plan.key))?;
        self.write(&plan.key, line, &[])
    }

    /// Writes a record in place of the one of its key: its plan, and the lines behind it.
    fn write(&self, key: &Key, line: Vec<u8>, events: &[u8]) -> Result<Journal, LedgerError> {
        let records = self.records();
        directory::prepare(&self.root, &records)?;
        let path = self.path_of(key);
        // The plan sees to it; what Multus remembers makes a record without one.
        if line.len() > plan::MAX_BYTES + header::MAX_HEADER_BYTES {
            let problem = format!("it has {} bytes, and may have {}", line.len(), plan::MAX_BYTES);
            return Err(FileError {
                action: "record the plan in",
                path,
                source: io::Error::other(problem),
            }
            .into());
        }
        // What DEL could not read would be set aside then, and its networks leak: too deep a
        // nesting, say.
        if let Err(problem) = Record::parse(&line, &key.file_name()) {
            let source = io::Error::other(format!("it could not be read again: {problem}"));
            return Err(FileError { action: "record the plan in", path, source }.into());
        }
        let (name, bytes) = (key.file_name(), [line.as_slice(), events].concat());
        let file = directory::write_file(&records, &name, &name, &bytes)?;
        Journal::begin(path, file, &records)
    }

    /// Opens the record of `key` to append events to it.
    ///
    /// # Errors
    /// [`LedgerError::File`].
    pub fn journal(&self, key: &Key) -> Result<Journal, LedgerError> {
        Journal::open(self.path_of(key))
    }

    /// Reads the record of `key`, if there is one.
    ///
    /// # Errors
    /// [`LedgerError::Unreadable`] once it has been set aside, [`LedgerError::Stuck`] if it could
    /// not be; [`LedgerError::File`] if trying again may help.
    pub fn read(&self, key: &Key) -> Result<Option<Record>, LedgerError> {
        // If there is none, the state directory need not be fit for one either.
        if !self.has(key) {
            return Ok(None);
        }
        self.read_file(&self.path_of(key), &key.file_name())
    }

    /// Reads a record that must be of the key with this file name.
    fn read_file(&self, path: &Path, name: &str) -> Result<Option<Record>, LedgerError> {
        let directory = path.parent().unwrap_or(&self.root);
        if !directory::is_trusted(&self.root, directory)? {
            return Ok(None);
        }
        let problem = match reading::read_whole(path) {
            Ok(bytes) => match Record::parse(&bytes, name) {
                Ok(record) => return Ok(Some(record)),
                Err(problem) => problem,
            },
            Err(Unread::Missing) => return Ok(None),
            Err(Unread::Refused(error)) => return Err(FileError::of("read", path)(error).into()),
            Err(Unread::Damaged(problem)) => problem,
        };
        Err(self.set_aside(path, problem))
    }

    /// Moves a file that cannot be read out of the way; nothing is deleted unread. If it cannot
    /// be moved either, on a disk that is broken or read-only, it stays, and is told of as well.
    fn set_aside(&self, path: &Path, problem: String) -> LedgerError {
        let aside = self.aside();
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let place = aside.join(format!("{}.{since}", name_of(path)));
        let moved =
            directory::prepare(&self.root, &aside).map_err(LedgerError::from).and_then(|()| {
                Ok(std::fs::rename(path, place).map_err(FileError::of("set aside", path))?)
            });
        let path = path.to_owned();
        self.bound_set_aside(kept::MAX_BYTES);
        match moved {
            Ok(()) => LedgerError::Unreadable { path, problem },
            Err(error) => LedgerError::Stuck { path, problem, source: Box::new(error) },
        }
    }

    /// Removes the record of `key`; missing is as good as removed.
    ///
    /// # Errors
    /// [`LedgerError::File`], on a read-only disk for example.
    pub fn remove(&self, key: &Key) -> Result<(), LedgerError> {
        Ok(remove(&self.path_of(key))?)
    }

    /// Removes the beginnings of files that a killed call for `container` has left. The lock of the
    /// container must be held.
    pub fn remove_beginnings(&self, container: &ContainerId) {
        for (path, name) in self.beginnings() {
            if name.split_once('@').is_some_and(|(writer, _)| writer == container.as_str()) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Every file that was begun, with what it was begun as.
    fn beginnings(&self) -> impl Iterator<Item = (PathBuf, String)> {
        let directories = [self.records(), self.orphans(), self.root.join(COPIES_DIRECTORY)];
        directories.into_iter().flat_map(|directory| directory::temporaries(&self.root, &directory))
    }

    /// Whether it is time to look for what is left of sandboxes that are gone, `boot` being the
    /// kernel's boot ID. The sweep is the caller's then, and for a while no other call's.
    pub fn claim_sweep(&self, boot: &str) -> bool {
        sweep_state::claim(&self.root, boot)
    }

    /// Every container of which there is a file: a record, an orphan, what was set aside, or the
    /// lock of a call that is at work.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be listed; one that is missing has none.
    pub fn containers(&self) -> Result<HashSet<ContainerId>, LedgerError> {
        let mut containers = HashSet::new();
        for directory in [self.records(), self.orphans(), self.aside(), self.root.join("locks")] {
            let files = directory::list(&self.root, &directory)?;
            let ids = files
                .iter()
                .map(|file| name_of(file).split('@').next().unwrap_or_default().parse());
            containers.extend(ids.filter_map(Result::ok));
        }
        Ok(containers)
    }

    /// The files of records that were set aside.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be listed; one that is missing has none.
    pub fn set_aside_files(&self) -> Result<Vec<PathBuf>, LedgerError> {
        Ok(directory::list(&self.root, &self.aside())?)
    }

    /// Whether a record was ever set aside and still waits for an administrator.
    pub fn has_set_aside(&self) -> bool {
        directory::list(&self.root, &self.aside()).is_ok_and(|files| !files.is_empty())
    }

    /// The containers for which a call is at work. Locks that no call holds any more are removed.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be listed; one that is missing has none.
    pub fn calls_at_work(&self) -> Result<Vec<String>, LedgerError> {
        let locks = self.locks();
        if !directory::is_trusted(&self.root, &locks)? {
            return Ok(Vec::new());
        }
        lock::sweep(&locks);
        Ok(directory::list(&self.root, &locks)?.iter().map(|path| name_of(path)).collect())
    }

    /// The containers that have a lock: a call is at work for each, or was killed.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be listed; one that is missing has none.
    pub fn locked(&self) -> Result<Vec<ContainerId>, LedgerError> {
        let locks = directory::list(&self.root, &self.locks())?;
        Ok(locks.iter().filter_map(|path| name_of(path).parse().ok()).collect())
    }

    /// What the records of a container are found by.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be listed; one that is missing has none.
    pub fn keys_of(&self, container: &ContainerId) -> Result<Vec<Key>, LedgerError> {
        let records = directory::list(&self.root, &self.records())?;
        let key = |path: &PathBuf| {
            let name = name_of(path);
            let (of, interface) = name.split_once('@')?;
            let interface = interface.parse().ok().filter(|_| of == container.as_str())?;
            Some(Key { container: container.clone(), interface })
        };
        Ok(records.iter().filter_map(key).collect())
    }

    /// Removes the beginnings of files and the locks that killed calls have left.
    pub fn sweep(&self) {
        self.beginnings().for_each(|(path, name)| self.sweep_beginning(&path, &name));
        if directory::is_trusted(&self.root, &self.locks()).unwrap_or(false) {
            lock::sweep(&self.locks());
        }
    }

    /// The writer of a container's file holds its lock: if the lock is free, there is no writer any
    /// more.
    fn sweep_beginning(&self, path: &Path, name: &str) {
        let container = name.split_once('@').and_then(|(container, _)| container.parse().ok());
        let Some(container) = container else {
            if directory::is_old(path) {
                let _ = std::fs::remove_file(path);
            }
            return;
        };
        let locks = self.locks();
        if directory::prepare(&self.root, &locks).is_ok()
            && let Ok(Some(_lock)) = lock::try_lock(&lock::path_of(&locks, &container))
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if is_missing(&error) => Ok(()),
        outcome => outcome.map_err(FileError::of("remove", path)),
    }
}

#[cfg(test)]
mod tests;
