//! A record being written: the plan on its way to the disk, and events appended to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use nix::fcntl::OFlag;

use super::record::{self, Event};
use super::{LedgerError, MAX_RECORD_BYTES};
use cni::deadline::Deadline;
use linux::file::FileError;

/// More than a line has without a result or a snapshot.
const FEW_BYTES: u64 = 1 << 10;

/// A record being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Whether the last append was cut short.
    torn: bool,
    syncing: Option<Receiver<io::Result<()>>>,
}

impl Journal {
    /// One whose plan has just been written. A thread brings it to the disk, with its name in
    /// `records`.
    pub(super) fn begin(path: PathBuf, file: File, records: &Path) -> Result<Self, LedgerError> {
        let syncing = start_sync(&file, records).map_err(FileError::of("sync", &path))?;
        Ok(Self { path, file, torn: false, syncing: Some(syncing) })
    }

    /// One that is there already.
    pub(super) fn open(path: PathBuf) -> Result<Self, LedgerError> {
        let file = open_to_append(&path).map_err(FileError::of("open", &path))?;
        let torn = ends_within_a_line(&file).map_err(FileError::of("read", &path))?;
        Ok(Self { path, file, torn, syncing: None })
    }

    /// Appends an event.
    ///
    /// # Errors
    /// [`LedgerError::File`], on a full disk for example.
    pub fn append(&mut self, event: &Event) -> Result<(), LedgerError> {
        self.append_all(std::slice::from_ref(event))
    }

    /// Appends events by one write: a call that is killed has appended all of them or none.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_all(&mut self, events: &[Event]) -> Result<(), LedgerError> {
        let lines: io::Result<Vec<Vec<u8>>> = events.iter().map(record::event_line).collect();
        let mut line = lines.map_err(FileError::of("encode", &self.path))?.concat();
        if self.torn {
            line.insert(0, b'\n');
        }
        self.check_room(&line).map_err(FileError::of("append to", &self.path))?;
        let outcome = self.file.write_all(&line);
        self.torn = outcome.is_err();
        Ok(outcome.map_err(FileError::of("append to", &self.path))?)
    }

    /// What is written can be read back. A few words, that an attachment is gone say, always have
    /// room.
    fn check_room(&self, line: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if bytes > FEW_BYTES && self.file.metadata()?.len().saturating_add(bytes) > MAX_RECORD_BYTES
        {
            let problem = format!(
                "the results of the pod's networks are too large: a record of them may have \
                 {MAX_RECORD_BYTES} bytes"
            );
            return Err(io::Error::other(problem));
        }
        Ok(())
    }

    /// Waits until the plan is on the disk, or until `deadline`.
    ///
    /// # Errors
    /// [`LedgerError::File`] if the disk failed, or does not answer.
    pub fn wait_for_disk(&mut self, deadline: Deadline) -> Result<(), LedgerError> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        let no_answer =
            |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"));
        let outcome = syncing.recv_timeout(deadline.remaining()).unwrap_or_else(no_answer);
        Ok(outcome.map_err(FileError::of("sync", &self.path))?)
    }
}

fn start_sync(file: &File, directory: &Path) -> io::Result<Receiver<io::Result<()>>> {
    let (file, directory) = (file.try_clone()?, File::open(directory)?);
    let (done, syncing) = channel();
    std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
        // The receiver is gone if the call has failed meanwhile.
        let _ = done.send(file.sync_all().and_then(|()| directory.sync_all()));
    })?;
    Ok(syncing)
}

fn open_to_append(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).append(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

fn ends_within_a_line(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}
