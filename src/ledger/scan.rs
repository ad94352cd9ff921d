//! Going through the records one after the other: what each says of itself, and no more of it in
//! memory at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::vec;

use super::header::{self, RecordHeader};
use super::kept::record_name;
use super::outline::{self, Configuration};
use super::reading::{self, Summary, Unread, Version};
use super::record::Record;
use super::{Ledger, LedgerError, directory, name_of, sweep_state};
use crate::plan::Attachment;
use cni::deadline::Deadline;
use linux::file::FileError;

/// How much of each record is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Depth {
    /// The header. The rest may be damaged, and what is gone is not known.
    Header,
    /// All of it, a few KiB at a time: its plan is whole. One that is not is set aside.
    Whole,
    /// The same, and one that is not whole stays where it is: for those who only look.
    Survey,
}

/// Which sweep of the records. Each remembers where it stopped, since what it tried there may fail
/// every time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sweep {
    /// An ADD, which tries a few.
    Add,
    /// GC.
    Gc,
    /// GC, among networks that could not be torn down.
    Orphans,
}

impl Sweep {
    pub(super) const fn file_name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Gc => "gc",
            Self::Orphans => "orphans",
        }
    }
}

/// A record as a scan shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    path: PathBuf,
    summary: Summary,
}

impl Listed {
    /// What it holds, without the configurations.
    pub fn header(&self) -> &RecordHeader {
        &self.summary.header
    }

    /// Whether two scans have shown the same file.
    pub fn is_same(&self, other: &Self) -> bool {
        self.path == other.path
    }

    /// The attachments that may still be there, with their positions; all of them if only the
    /// header was read.
    pub fn remaining(&self) -> impl Iterator<Item = (usize, &header::AttachmentHeader)> {
        let attachments = self.summary.header.attachments.iter().enumerate();
        attachments.filter(|(at, _)| !self.summary.gone.contains(at))
    }

    /// The name of its file, by which sweeps are ordered.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }
}

/// Records, one after the other.
#[derive(Debug)]
pub struct Scan<'l> {
    ledger: &'l Ledger,
    files: vec::IntoIter<PathBuf>,
    depth: Depth,
    /// What a file's record is called.
    record_name: fn(&Path) -> String,
    deadline: Deadline,
    /// What was read before, by name: a record that has not changed since is not read again.
    known: HashMap<String, Listed>,
}

impl Scan<'_> {
    /// How many records the deadline has left unread.
    pub fn unread(&self) -> usize {
        self.files.len()
    }

    /// Has records that have not changed since they were `listed` taken from there.
    #[must_use]
    pub fn knowing(mut self, listed: Vec<Listed>) -> Self {
        self.known = listed.into_iter().map(|listed| (listed.name(), listed)).collect();
        self
    }

    fn read(&mut self, path: PathBuf) -> Option<Result<Listed, LedgerError>> {
        let name = (self.record_name)(&path);
        if let Some(known) = self.known.remove(&name)
            && path.symlink_metadata().is_ok_and(|now| Version::of(&now) == known.summary.version)
        {
            return Some(Ok(known));
        }
        let read = match self.depth {
            Depth::Header => reading::read_header(&path, &name),
            Depth::Whole | Depth::Survey => reading::read_summary(&path, &name),
        };
        Some(match read {
            Ok(summary) => Ok(Listed { path, summary }),
            Err(Unread::Missing) => return None,
            Err(Unread::Refused(error)) => Err(FileError::of("read", &path)(error).into()),
            Err(Unread::Damaged(problem)) if self.depth == Depth::Whole => {
                Err(self.ledger.set_aside(&path, problem))
            }
            Err(Unread::Damaged(problem)) => Err(LedgerError::Damaged { path, problem }),
        })
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Listed, LedgerError>;

    /// Ends at the deadline, too.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.deadline.remaining().is_zero() {
            let path = self.files.next()?;
            if let Some(read) = self.read(path) {
                return Some(read);
            }
        }
        None
    }
}

impl Ledger {
    /// Goes through the records until `deadline`, beginning behind the one at which the last such
    /// sweep has stopped.
    ///
    /// # Errors
    /// [`LedgerError`] if the directory cannot be listed; one that is missing has none.
    pub fn scan(
        &self,
        sweep: Sweep,
        depth: Depth,
        deadline: Deadline,
    ) -> Result<Scan<'_>, LedgerError> {
        let files = self.files_behind(&self.records(), sweep)?;
        Ok(self.scan_files(files, name_of, depth, deadline))
    }

    /// Goes through the orphans until `deadline`, as [`Ledger::scan`] does through the records.
    ///
    /// # Errors
    /// As [`Ledger::scan`].
    pub fn scan_orphans(&self, depth: Depth, deadline: Deadline) -> Result<Scan<'_>, LedgerError> {
        let files = self.files_behind(&self.orphans(), Sweep::Orphans)?;
        Ok(self.scan_files(files, record_name, depth, deadline))
    }

    /// The files of a directory, beginning behind the one at which the last sweep has stopped.
    fn files_behind(&self, directory: &Path, sweep: Sweep) -> Result<Vec<PathBuf>, LedgerError> {
        let mut files = directory::list(&self.root, directory)?;
        let last = sweep_state::last_tried(&self.root, sweep.file_name());
        let behind = files.partition_point(|path| name_of(path) <= last);
        files.rotate_left(behind);
        Ok(files)
    }

    fn scan_files(
        &self,
        files: Vec<PathBuf>,
        record_name: fn(&Path) -> String,
        depth: Depth,
        deadline: Deadline,
    ) -> Scan<'_> {
        let (files, known) = (files.into_iter(), HashMap::new());
        Scan { ledger: self, files, depth, record_name, deadline, known }
    }

    /// All of a record or orphan that a scan has shown; nothing if it has gone since.
    ///
    /// # Errors
    /// As [`Ledger::read`]: one that cannot be read is set aside.
    pub fn read_listed(&self, listed: &Listed) -> Result<Option<Record>, LedgerError> {
        self.read_file(&listed.path, &listed.header().key.file_name())
    }

    /// The same for those who only look.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], and [`LedgerError::File`] if trying again may help.
    pub fn open(&self, listed: &Listed) -> Result<Option<Record>, LedgerError> {
        let record = |bytes: &[u8]| Record::parse(bytes, &listed.header().key.file_name());
        read_bytes(listed, record)
    }

    /// The same without the configurations of plugins but their types, and without capability
    /// arguments: a record is as large as tenants have made it.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_outline(&self, listed: &Listed) -> Result<Option<Record>, LedgerError> {
        let outline = |bytes: &[u8]| Record::outline(bytes, &listed.header().key.file_name());
        read_bytes(listed, outline)
    }

    /// What it holds for the plugins of each attachment, as it was written; nothing if it has gone
    /// since.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub(crate) fn configurations(
        &self,
        listed: &Listed,
    ) -> Result<Option<Vec<Configuration>>, LedgerError> {
        read_bytes(listed, |bytes| {
            let json = reading::first_line(bytes)?;
            outline::configurations(json).map_err(|error| error.to_string())
        })
    }

    /// Has the next sweep of this kind begin behind the record of this name. If that cannot be
    /// written down, it begins where this one did.
    pub fn stopped_at(&self, sweep: Sweep, name: &str) {
        sweep_state::note_tried(&self.root, sweep.file_name(), name);
    }

    /// Whether a record is still what a scan has shown: no call has changed, replaced or removed
    /// it.
    pub fn is_unchanged(&self, listed: &Listed) -> bool {
        let now = listed.path.symlink_metadata();
        now.is_ok_and(|now| Version::of(&now) == listed.summary.version)
    }

    /// Attachments of a record, by their positions, each read alone; those that it has not are left
    /// out.
    ///
    /// # Errors
    /// [`LedgerError`] if the record cannot be read any more.
    pub fn attachments(
        &self,
        listed: &Listed,
        positions: &[usize],
    ) -> Result<Vec<Attachment>, LedgerError> {
        let chosen = |bytes: &[u8]| header::attachments(reading::first_line(bytes)?, positions);
        Ok(read_bytes(listed, chosen)?.unwrap_or_default())
    }
}

/// What `read` finds in the bytes of a listed record or orphan; nothing if it has gone since.
fn read_bytes<T>(
    listed: &Listed,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Option<T>, LedgerError> {
    let damaged = |problem| LedgerError::Damaged { path: listed.path.clone(), problem };
    match reading::read_whole(&listed.path) {
        Ok(bytes) => read(&bytes).map(Some).map_err(damaged),
        Err(Unread::Missing) => Ok(None),
        Err(Unread::Refused(error)) => Err(FileError::of("read", &listed.path)(error).into()),
        Err(Unread::Damaged(problem)) => Err(damaged(problem)),
    }
}

/// The record's file of a listed one, for messages.
impl AsRef<Path> for Listed {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}
