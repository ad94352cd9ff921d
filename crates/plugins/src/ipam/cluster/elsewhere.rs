//! Journals in directories of their own (`dataDir`): the node notes where they are, so that what is
//! due there is carried on by the calls of every network, and by the commands for a node.
//!
//! ```text
//! <home>/elsewhere/<hash of the directory>   the directory
//! ```
//!
//! A note is made before the first record of its directory, and stays until the directory is gone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use linux::directory::{self, DirectoryError};
use linux::file::read_regular;

use super::JOURNAL;

/// Where the notes are, in the node's own journal.
const NOTES: &str = "elsewhere";
/// The most directories that are noted.
const MOST: usize = 64;
/// The longest path.
const MOST_BYTES: u64 = 4096;

/// The node's own journal.
static HOME: OnceLock<PathBuf> = OnceLock::new();

/// Hands in the node's own journal, which notes those of other directories.
pub(super) fn provide(home: &Path) {
    HOME.get_or_init(|| home.to_owned());
}

/// Notes that there is a journal in `directory`. That it cannot be noted stops no call: the calls of
/// its own networks find what is due there.
pub(super) fn note(directory: &Path) {
    let Some(home) = HOME.get() else { return };
    if let Err(error) = note_in(home, directory) {
        log::warn!("what is due in {} is carried on there alone: {error}", directory.display());
    }
}

fn note_in(home: &Path, directory: &Path) -> Result<(), DirectoryError> {
    // Where Braid has no state, nothing reads a note.
    let has_state = home.parent().is_some_and(Path::is_dir);
    if directory == home || directory == Path::new(JOURNAL) || !has_state {
        return Ok(());
    }
    let notes = home.join(NOTES);
    let name = format!("{:016x}", hash(directory.as_os_str().as_bytes()));
    if notes.join(&name).symlink_metadata().is_ok() {
        return Ok(());
    }
    if directory::list(home, &notes)?.len() >= MOST {
        log::warn!("{} names {MOST} directories, which is the most", notes.display());
        return Ok(());
    }
    directory::prepare(home, &notes)?;
    directory::write_and_sync(&notes, &name, directory.as_os_str().as_bytes())?;
    Ok(())
}

/// The directories that `home` has notes of, of a node whose files are below `root`. A note of a
/// directory that is gone is removed.
#[must_use]
pub fn noted(home: &Path, root: &Path) -> Vec<PathBuf> {
    let notes = directory::list(home, &home.join(NOTES)).unwrap_or_else(|error| {
        log::warn!("{error}");
        Vec::new()
    });
    let mut found = Vec::new();
    for note in notes.iter().take(MOST) {
        let Ok(bytes) = read_regular(note, MOST_BYTES) else { continue };
        let named = Path::new(OsStr::from_bytes(&bytes));
        let directory = root.join(named.strip_prefix("/").unwrap_or(named));
        if directory.is_dir() {
            found.push(directory);
        } else {
            let _ = std::fs::remove_file(note);
        }
    }
    found
}

/// The journals that a call beside the one in `own` looks into: this one first.
pub(super) fn journals(own: &Path) -> Vec<PathBuf> {
    let mut all = vec![own.to_owned()];
    let Some(home) = HOME.get() else { return all };
    let known =
        [home.clone(), PathBuf::from(JOURNAL)].into_iter().chain(noted(home, Path::new("/")));
    for directory in known {
        if !all.contains(&directory) {
            all.push(directory);
        }
    }
    all
}

/// The same on every architecture and in every release (FNV-1a).
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_noted_once_and_forgotten_when_they_are_gone() {
        let state = tempfile::tempdir().unwrap();
        let home = state.path().join("addresses");
        let other = state.path().join("other");
        std::fs::create_dir(&other).unwrap();
        for _ in 0..2 {
            note_in(&home, &other).unwrap();
            note_in(&home, &home).unwrap();
            assert_eq!(noted(&home, Path::new("/")), std::slice::from_ref(&other));
        }
        std::fs::remove_dir(&other).unwrap();
        assert_eq!(noted(&home, Path::new("/")), Vec::<PathBuf>::new());
        assert_eq!(directory::list(&home, &home.join(NOTES)).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn notes_are_bounded_and_are_made_only_where_the_node_has_state() {
        let state = tempfile::tempdir().unwrap();
        let home = state.path().join("addresses");
        for number in 0..MOST + 3 {
            let directory = state.path().join(number.to_string());
            std::fs::create_dir(&directory).unwrap();
            note_in(&home, &directory).unwrap();
        }
        assert_eq!(noted(&home, Path::new("/")).len(), MOST);
        let nowhere = state.path().join("none/addresses");
        note_in(&nowhere, state.path()).unwrap();
        assert!(!nowhere.exists());
    }
}
