//! How the ledger's files are read: regular ones alone, within a bound, and what is damaged told
//! apart from what cannot be read now.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Take};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use serde::Deserialize;

use super::header::{MAX_HEADER_BYTES, RecordHeader};
use super::record::{Key, decode_line};
use linux::file::is_missing;

/// As many bytes of a record as are read: what Braid before 0.2 has written is larger than
/// [`super::MAX_RECORD_BYTES`] at times.
pub(super) const MAX_READ_BYTES: u64 = 64 << 20;
/// As many bytes as hold the header of nearly every record.
const FIRST_BYTES: usize = 4 << 10;
/// More than the longest line has that says that an attachment is gone.
const MAX_GONE_BYTES: usize = 64;
/// What a line's checksum and the space behind it take.
const CHECKSUM_BYTES: usize = 9;

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// Nothing is there.
    Missing,
    /// It never will be: another kind of file, a part of the disk that is broken.
    Damaged(String),
    /// Another time it may be: no memory, no descriptor, no right.
    Refused(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        use Errno::{EACCES, EAGAIN, EINTR, EMFILE, ENFILE, ENOMEM, EPERM, ETIMEDOUT};
        if is_missing(&error) {
            return Self::Missing;
        }
        match error.raw_os_error().map(Errno::from_raw) {
            Some(EACCES | EAGAIN | EINTR | EMFILE | ENFILE | ENOMEM | EPERM | ETIMEDOUT) => {
                Self::Refused(error)
            }
            Some(Errno::ELOOP) => Self::Damaged("it is a symbolic link".to_owned()),
            Some(Errno::ENXIO | Errno::ENODEV) => Self::Damaged("it is no regular file".to_owned()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// Inode, size and time of change, in seconds and nanoseconds: another one shows that a file has
/// changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Version(pub(super) u64, pub(super) u64, pub(super) i64, pub(super) i64);

impl Version {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
    }
}

/// Opens a regular file, neither through a link nor waiting for a FIFO's writer.
pub(super) fn open(path: &Path) -> Result<(File, Version), Unread> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Unread::Damaged("it is no regular file".to_owned()));
    }
    Ok((file, Version::of(&metadata)))
}

/// A file's bytes, no more than [`MAX_READ_BYTES`] of them.
pub(super) fn read_whole(path: &Path) -> Result<Vec<u8>, Unread> {
    let (file, version) = open(path)?;
    // Room for all of it and its end, so that it is read in one go.
    let room = usize::try_from(version.1.min(MAX_READ_BYTES) + 1).unwrap_or_default();
    let mut bytes = Vec::with_capacity(room);
    file.take(MAX_READ_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A record as a sweep reads it.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) version: Version,
    pub(super) header: RecordHeader,
    /// Positions of the attachments of which nothing is left; none if only the header was read.
    pub(super) gone: Vec<usize>,
}

/// Reads the header of a record alone. The rest of it may be damaged.
pub(super) fn read_header(path: &Path, name: &str) -> Result<Summary, Unread> {
    let (file, version) = open(path)?;
    let mut start = Vec::with_capacity(FIRST_BYTES);
    for limit in [FIRST_BYTES, MAX_HEADER_BYTES] {
        let more = limit.saturating_sub(start.len());
        (&file).take(u64::try_from(more).unwrap_or_default()).read_to_end(&mut start)?;
        if let Some(header) =
            RecordHeader::find(&start).filter(|header| header.key.file_name() == name)
        {
            return Ok(Summary { version, header, gone: Vec::new() });
        }
    }
    Ok(Summary { version, header: header_of_whole(path, name)?, gone: Vec::new() })
}

/// Reads the header of a record, whether its plan is whole, and what is gone of it; of the rest no
/// more at a time than a few KiB.
pub(super) fn read_summary(path: &Path, name: &str) -> Result<Summary, Unread> {
    let (file, version) = open(path)?;
    let mut lines = Lines::new(file);
    let first = lines.next(MAX_HEADER_BYTES)?.unwrap_or_default();
    let header = RecordHeader::find(&first.start).filter(|header| header.key.file_name() == name);
    let header = match header {
        Some(_) if !first.is_whole => {
            Err(Unread::Damaged("its first line is not whole".to_owned()))
        }
        Some(header) => Ok(header),
        None => header_of_whole(path, name),
    }?;
    let mut gone = Vec::new();
    while let Some(line) = lines.next(MAX_GONE_BYTES)? {
        gone.extend(line.gone());
    }
    Ok(Summary { version, header, gone })
}

/// The header of a record that was written without one, or whose header does not say what the plan
/// does.
fn header_of_whole(path: &Path, name: &str) -> Result<RecordHeader, Unread> {
    let bytes = read_whole(path)?;
    let header =
        first_line(&bytes).and_then(RecordHeader::of_whole_plan).map_err(Unread::Damaged)?;
    check_key(&header.key, name).map_err(Unread::Damaged)?;
    Ok(header)
}

/// The JSON of a record's first line.
pub(super) fn first_line(bytes: &[u8]) -> Result<&[u8], String> {
    let first = bytes.split_inclusive(|byte| *byte == b'\n').next().ok_or("it is empty")?;
    Ok(decode_line(first).ok_or("its first line is not whole")?)
}

/// Whether the record is of the container that the file's name says.
pub(super) fn check_key(key: &Key, name: &str) -> Result<(), String> {
    if name == key.file_name() { Ok(()) } else { Err("it is another container's".to_owned()) }
}

/// The lines of a file, of each its first bytes and whether its checksum is right.
struct Lines(BufReader<Take<File>>);

#[derive(Default)]
struct Line {
    start: Vec<u8>,
    is_whole: bool,
}

impl Line {
    /// Which attachment it says is gone.
    fn gone(&self) -> Option<usize> {
        #[derive(Deserialize)]
        struct Gone {
            gone: usize,
        }
        let json = self.start.get(CHECKSUM_BYTES..).filter(|_| self.is_whole)?;
        let event =
            json.starts_with(b"{\"gone\"").then(|| serde_json::from_slice::<Gone>(json).ok());
        event.flatten().map(|event| event.gone)
    }
}

impl Lines {
    fn new(file: File) -> Self {
        Self(BufReader::with_capacity(MAX_HEADER_BYTES, file.take(MAX_READ_BYTES)))
    }

    /// The next line with as many of its first bytes as `keep`, its end left out.
    fn next(&mut self, keep: usize) -> io::Result<Option<Line>> {
        let mut line = Line::default();
        let (mut hash, mut skipped, mut ends) = (crc32fast::Hasher::new(), 0, false);
        while !ends {
            let bytes = self.0.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', bytes);
            ends = end.is_some();
            let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            let room = keep.saturating_sub(line.start.len()).min(part.len());
            line.start.extend_from_slice(part.get(..room).unwrap_or_default());
            let before = CHECKSUM_BYTES.saturating_sub(skipped).min(part.len());
            hash.update(part.get(before..).unwrap_or_default());
            skipped += before;
            let used = part.len() + usize::from(ends);
            self.0.consume(used);
        }
        if line.start.is_empty() && !ends {
            return Ok(None);
        }
        let sum = line
            .start
            .get(..8)
            .and_then(|sum| u32::from_str_radix(str::from_utf8(sum).ok()?, 16).ok());
        line.is_whole = ends && line.start.get(8) == Some(&b' ') && sum == Some(hash.finalize());
        Ok(Some(line))
    }
}
