//! What the ledger keeps of pods that are gone, within a bound: extra networks that could not be
//! torn down, and records that could not be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::reading;
use super::record::Record;
use super::{Ledger, LedgerError, directory, name_of, remove};
use linux::file::FileError;

/// As many bytes of a directory as are kept, in blocks of 4 KiB: 16,384 files at most.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// What a file takes of the disk at least.
const BLOCK: u64 = 4 << 10;

/// A file that is kept.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Kept {
    since: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl Ledger {
    /// Keeps one attachment of a record as an orphan, for GC and repair to try again. It is on the
    /// disk then: nothing else will know of it. If there are too many, the namespace that has most
    /// loses its oldest.
    ///
    /// # Errors
    /// [`LedgerError::File`].
    pub fn orphan(&self, record: &Record, attachment: usize) -> Result<(), LedgerError> {
        let orphans = self.orphans();
        directory::prepare(&self.root, &orphans)?;
        let Some(lines) = record.orphan_lines(attachment) else { return Ok(()) };
        let lines = lines.map_err(FileError::of("encode", &orphans))?;
        let name = format!("{}.{attachment}", record.plan.key.file_name());
        self.make_room_for_orphan(u64::try_from(lines.len()).unwrap_or(u64::MAX), MAX_BYTES);
        Ok(directory::write_and_sync(&orphans, &name, &lines)?)
    }

    /// Removes the file of an orphan.
    ///
    /// # Errors
    /// [`LedgerError::File`].
    pub fn remove_orphan(&self, path: &Path) -> Result<(), LedgerError> {
        Ok(remove(path)?)
    }

    pub(super) fn make_room_for_orphan(&self, bytes: u64, limit: u64) {
        let files = kept(directory::list(&self.root, &self.orphans()).unwrap_or_default());
        let mut excess = excess(&files, bytes, limit);
        if excess == 0 {
            return;
        }
        let mut namespaces: BTreeMap<String, Vec<Kept>> = BTreeMap::new();
        for file in files {
            namespaces.entry(namespace_of(&file.path)).or_default().push(file);
        }
        while excess > 0 {
            let size = |files: &Vec<Kept>| files.iter().map(|file| file.bytes).sum::<u64>();
            let Some(largest) = namespaces.values_mut().max_by_key(|files| size(files)) else {
                return;
            };
            if largest.is_empty() {
                return;
            }
            let oldest = largest.remove(0);
            log::error!(
                "{} is forgotten: too many networks could not be torn down, and what is left of \
                 this one stays",
                oldest.path.display()
            );
            let _ = std::fs::remove_file(&oldest.path);
            excess = excess.saturating_sub(oldest.bytes);
        }
    }

    /// Removes the oldest of the records that were set aside, if there are too many; never the
    /// newest.
    pub(super) fn bound_set_aside(&self, limit: u64) {
        let mut files = kept(directory::list(&self.root, &self.aside()).unwrap_or_default());
        let mut excess = excess(&files, 0, limit);
        files.pop();
        for oldest in files {
            if excess == 0 {
                return;
            }
            log::error!("{} is removed: too many records could not be read", oldest.path.display());
            let _ = std::fs::remove_file(&oldest.path);
            excess = excess.saturating_sub(oldest.bytes);
        }
    }
}

/// The files, the oldest first.
fn kept(files: Vec<PathBuf>) -> Vec<Kept> {
    let kept = |path: PathBuf| {
        let metadata = path.symlink_metadata().ok()?;
        let since = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Kept { since, bytes: on_disk(metadata.len()), path })
    };
    let mut kept: Vec<Kept> = files.into_iter().filter_map(kept).collect();
    kept.sort();
    kept
}

/// How much is to go, if a file of `more` bytes comes.
fn excess(files: &[Kept], more: u64, limit: u64) -> u64 {
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    bytes.saturating_add(on_disk(more)).saturating_sub(limit)
}

fn on_disk(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// An orphan's name is its record's, and the attachment's position.
pub(super) fn record_name(path: &Path) -> String {
    let name = name_of(path);
    name.rsplit_once('.').map_or(name.as_str(), |(name, _)| name).to_owned()
}

/// Whose pod an orphan is of; empty if it is not known.
fn namespace_of(path: &Path) -> String {
    let pod = reading::read_header(path, &record_name(path)).map(|summary| summary.header.pod);
    pod.unwrap_or_default().split('/').next().unwrap_or_default().to_owned()
}
