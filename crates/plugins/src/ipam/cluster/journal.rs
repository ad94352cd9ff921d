//! The node's journal: what each attachment of this node may hold in the API. Entries of a pool do
//! not say whose node they are, so DEL, CHECK and GC act on the journal alone.
//!
//! ```text
//! <dataDir>/held/<container>@<interface>           what an attachment holds
//! <dataDir>/due/<container>@<interface>@<server>   what is to be given back
//! <dataDir>/locks/<container>@<interface>          there while an ADD works on it
//! ```
//!
//! A file is one line of JSON for the attachment, and one for each address that was ever written
//! for it; each is on the disk before the write that it tells of. A line that a power loss has torn
//! stands for a write that was not made. Whether a write was done, only the pool tells.

mod lock;
mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cni::deadline::Deadline;
use linux::directory::{self, DirectoryError};
use linux::file::{FileError, is_missing, read_regular};
use nix::fcntl::{Flock, FlockArg, OFlag};

use self::record::{due_name, line, lines, name_of, parse};

use super::elsewhere;
use super::engine::random;

use self::lock::Lock;
pub(crate) use self::record::{Header, Recorded, Written, version};

/// The largest file: the most tries of an ADD, for the most ranges, need less.
const MAX_BYTES: u64 = 1 << 20;
/// The most files of a directory that are read.
const MAX_FILES: usize = 16_384;
/// How many files are looked at for each that is wanted of one server.
const LOOKED_AT: usize = 16;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// A file could not be read, written or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory cannot be trusted.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file holds something else.
    #[error("{} is no record of addresses: {problem}; move it away", path.display())]
    Unreadable { path: PathBuf, problem: String },
    /// A file has reached its limit.
    #[error("{} is larger than {} KiB", .0.display(), MAX_BYTES >> 10)]
    Full(PathBuf),
    /// Another call works on the file.
    #[error("{} is held by another call", .0.display())]
    Busy(PathBuf),
}

/// Which releases that are due are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'w> {
    /// The most.
    pub(crate) limit: usize,
    /// Those of this server alone.
    pub(crate) server: Option<&'w str>,
}

impl Wanted<'_> {
    fn has(&self, header: &Header, now: u64) -> bool {
        self.server.is_none_or(|server| server == header.server)
            && header.not_before.is_none_or(|not_before| not_before <= now)
    }
}

/// A record that no other call works on.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) recorded: Recorded,
    _lock: Flock<File>,
}

/// A record that ADD writes to.
#[derive(Debug)]
pub(crate) struct Open {
    file: File,
    path: PathBuf,
    written: Vec<Written>,
    bytes: u64,
    /// The attachment is this call's for as long.
    _lock: Lock,
}

/// The journal.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    root: PathBuf,
}

impl Journal {
    /// The journal in this directory, which need not be there.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The journal's directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn held(&self) -> PathBuf {
        self.root.join("held")
    }

    fn due(&self) -> PathBuf {
        self.root.join("due")
    }

    /// Begins the record of an attachment, on the disk with its name, once no other call works on it.
    /// What an earlier ADD of the same attachment has written, it takes over.
    ///
    /// # Errors
    /// [`JournalError`]: without a record, nothing may be written to the API.
    pub(crate) fn begin(&self, header: &Header, until: Deadline) -> Result<Open, JournalError> {
        directory::prepare(&self.root, &self.held())?;
        elsewhere::note(&self.root);
        let lock = self.hold(&header.container, &header.interface, until)?;
        let name = name_of(&header.container, &header.interface);
        let mut written = Vec::new();
        match self.find(&header.container, &header.interface)? {
            Some(known) if is_same_place(&known.header, header) => written = known.written,
            // Of another server or network: it is given back there.
            Some(known) => self.postpone(&known)?,
            None => {}
        }
        let due = self.due().join(due_name(header));
        if let Some(claimed) = claim(&due, until)? {
            written.extend(claimed.recorded.written.iter().cloned());
            self.write(&header.clone(), &written)?;
            remove(&due)?;
        } else {
            self.write(header, &written)?;
        }
        let path = self.held().join(name);
        let file =
            OpenOptions::new().append(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path);
        let file = file.map_err(FileError::of("open", &path))?;
        let bytes = file.metadata().map_err(FileError::of("read", &path))?.size();
        Ok(Open { file, path, written, bytes, _lock: lock })
    }

    fn write(&self, header: &Header, written: &[Written]) -> Result<(), JournalError> {
        let name = name_of(&header.container, &header.interface);
        directory::write_and_sync(&self.held(), &name, &lines(header, written))?;
        Ok(())
    }

    /// The record of an attachment that holds something.
    ///
    /// # Errors
    /// [`JournalError`] if there may be one that cannot be read.
    pub(crate) fn find(
        &self,
        container: &str,
        interface: &str,
    ) -> Result<Option<Recorded>, JournalError> {
        if !directory::is_trusted(&self.root, &self.held())? {
            return Ok(None);
        }
        read(&self.held().join(name_of(container, interface)))
    }

    /// Removes what an ADD that was killed had begun to write of an attachment. Another call for
    /// the same attachment is not under way when the runtime takes it away.
    pub(crate) fn forget_begun(&self, container: &str, interface: &str) {
        if directory::is_trusted(&self.root, &self.held()).unwrap_or(false) {
            let name = name_of(container, interface);
            let _ = std::fs::remove_file(directory::temporary_path(&self.held(), &name));
        }
    }

    /// The records of attachments that hold something, as far as they can be read.
    ///
    /// # Errors
    /// [`JournalError`] if the directory cannot be read.
    pub(crate) fn all_held(&self) -> Result<Vec<Recorded>, JournalError> {
        let files = directory::list(&self.root, &self.held())?;
        Ok(files.iter().take(MAX_FILES).filter_map(|path| readable(read(path))).collect())
    }

    /// Moves a record to those that are due, on the disk. Nothing is given back before
    /// `not_before`, in seconds since 1970.
    ///
    /// # Errors
    /// [`JournalError`]; the record stays then.
    pub(crate) fn make_due(
        &self,
        recorded: &Recorded,
        not_before: Option<u64>,
    ) -> Result<(), JournalError> {
        let header = Header { not_before, ..recorded.header.clone() };
        self.add_due(&header, &recorded.written)?;
        remove(&recorded.path)
    }

    /// Ends a record without asking the API: what the attachment holds is due.
    ///
    /// # Errors
    /// [`JournalError`]; the record stays then.
    pub(crate) fn postpone(&self, recorded: &Recorded) -> Result<(), JournalError> {
        if recorded.holds_nothing() {
            return remove(&recorded.path);
        }
        self.make_due(recorded, recorded.header.keep_until())
    }

    /// Notes, on the disk, what is to be given back.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) fn add_due(&self, header: &Header, written: &[Written]) -> Result<(), JournalError> {
        directory::prepare(&self.root, &self.due())?;
        elsewhere::note(&self.root);
        directory::write_and_sync(&self.due(), &due_name(header), &lines(header, written))?;
        Ok(())
    }

    /// What is to be given back and may be by now (`now`: seconds since 1970), of that which no
    /// other call works on. If only some is wanted, the search begins anywhere: what is refused
    /// again and again stands before nothing else for long.
    ///
    /// # Errors
    /// [`JournalError`] if the directory cannot be read.
    pub(crate) fn claim_due(
        &self,
        now: u64,
        wanted: &Wanted<'_>,
        until: Deadline,
    ) -> Result<Vec<Claimed>, JournalError> {
        let mut files = directory::list(&self.root, &self.due())?;
        if wanted.server.is_some() && !files.is_empty() {
            let start = usize::try_from(random()).unwrap_or_default() % files.len();
            files.rotate_left(start);
            files.truncate(wanted.limit.saturating_mul(LOOKED_AT));
        }
        let mut claimed = Vec::new();
        for path in files.iter().take(MAX_FILES) {
            if claimed.len() >= wanted.limit || until.remaining().is_zero() {
                break;
            }
            let found = readable(claim(path, Deadline::after(Duration::ZERO)))
                .filter(|found| wanted.has(&found.recorded.header, now));
            claimed.extend(found);
        }
        Ok(claimed)
    }

    /// Whether something of the attachment is to be given back already.
    pub(crate) fn is_due(&self, container: &str, interface: &str) -> bool {
        let start = format!("{}@", name_of(container, interface));
        let files = directory::list(&self.root, &self.due()).unwrap_or_default();
        let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
        files.iter().filter_map(name).any(|name| name.starts_with(&start))
    }

    /// How many attachments hold something; 0 if that cannot be told.
    pub(crate) fn count_held(&self) -> usize {
        directory::list(&self.root, &self.held()).map_or(0, |files| files.len())
    }

    /// How many releases are due; 0 if that cannot be told.
    pub(crate) fn count_due(&self) -> usize {
        directory::list(&self.root, &self.due()).map_or(0, |files| files.len())
    }
}

impl Open {
    /// What was written down.
    pub(crate) fn written(&self) -> &[Written] {
        &self.written
    }

    /// Whether the record is still the attachment's: a DEL may not have waited for its lock.
    pub(crate) fn is_in_place(&self) -> bool {
        is_at(&self.file, &self.path)
    }

    /// Notes a place that is about to be written, on the disk.
    ///
    /// # Errors
    /// [`JournalError`]: the write must not be made then.
    pub(crate) fn note(&mut self, written: Written) -> Result<(), JournalError> {
        if self.written.contains(&written) {
            return Ok(());
        }
        let line = line(&written);
        self.bytes = self.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        if self.bytes > MAX_BYTES {
            return Err(JournalError::Full(self.path.clone()));
        }
        self.file.write_all(&line).map_err(FileError::of("write", &self.path))?;
        self.file.sync_data().map_err(FileError::of("sync", &self.path))?;
        self.written.push(written);
        Ok(())
    }
}

/// Removes a record: nothing of it is left.
///
/// # Errors
/// [`JournalError`].
pub(crate) fn remove(path: &Path) -> Result<(), JournalError> {
    match std::fs::remove_file(path) {
        Err(error) if !is_missing(&error) => Err(FileError::of("remove", path)(error).into()),
        _ => Ok(()),
    }
}

/// Whether two records are about objects of the same server.
fn is_same_place(one: &Header, other: &Header) -> bool {
    one.server == other.server && one.namespace == other.namespace
}

/// A record that cannot be read is left as it is, for a person.
fn readable<T>(read: Result<Option<T>, JournalError>) -> Option<T> {
    match read {
        Ok(found) => found,
        Err(JournalError::Busy(_)) => None,
        Err(error) => {
            log::warn!("{error}");
            None
        }
    }
}

fn read(path: &Path) -> Result<Option<Recorded>, JournalError> {
    match read_regular(path, MAX_BYTES) {
        Ok(bytes) => parse(path, &bytes).map(Some),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(FileError::of("read", path)(error).into()),
    }
}

/// The record at `path`, if it is there, held until it is dropped; waits for another call until
/// `until`.
fn claim(path: &Path, until: Deadline) -> Result<Option<Claimed>, JournalError> {
    loop {
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(FileError::of("open", path)(error).into()),
        };
        if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // It may have been removed, or made anew, since it was opened.
            if is_at(&lock, path) {
                let recorded = read(path)?;
                return Ok(recorded.map(|recorded| Claimed { recorded, _lock: lock }));
            }
        } else if until.remaining().is_zero() {
            return Err(JournalError::Busy(path.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5).min(until.remaining()));
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: io::Result<std::fs::Metadata>| {
        metadata.ok().map(|metadata| (metadata.dev(), metadata.ino()))
    };
    identity(file.metadata()) == identity(path.symlink_metadata())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
