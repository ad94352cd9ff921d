//! State directories: 0700, root's own, never behind a symbolic link; files that are there whole or
//! not at all.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::file::{FileError, is_missing};

/// Temporary files start with it.
const TEMPORARY: &str = ".";

/// What is wrong with a state directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file or directory could not be read, written, renamed or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory is a symbolic link, another user's, or writable by others.
    #[error("state directory {} {problem}: braid keeps its records only where root alone can \
             write", path.display())]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Makes `directory` in `root` if it is missing, and sees that both can be trusted.
pub fn prepare(root: &Path, directory: &Path) -> Result<(), DirectoryError> {
    if is_trusted(root, directory)? {
        return Ok(());
    }
    let parents: Vec<&Path> = root.ancestors().skip(1).take_while(|path| !path.exists()).collect();
    for path in parents.into_iter().rev() {
        make(path, 0o777)?;
    }
    for path in [root, directory] {
        make(path, 0o700)?;
        trusted(path)?;
    }
    Ok(())
}

/// Makes a directory if it is missing. It is on the disk then: what is synced in a directory
/// would be lost with it.
fn make(path: &Path, mode: u32) -> Result<(), FileError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(FileError::of("create", path)(error)),
        Ok(()) => path.parent().map_or(Ok(()), sync),
    }
}

/// Brings the names in a directory to the disk.
fn sync(directory: &Path) -> Result<(), FileError> {
    File::open(directory).and_then(|open| open.sync_all()).map_err(FileError::of("sync", directory))
}

/// Whether `directory` in `root` is there; an error if one of the two is there and not to be
/// trusted. What is read is run as root, so reading needs it no less than writing.
pub fn is_trusted(root: &Path, directory: &Path) -> Result<bool, DirectoryError> {
    Ok(trusted(root)? && trusted(directory)?)
}

/// Why a directory cannot be trusted: another user than ours could change what is in it. `metadata`
/// is of the path itself, not of what a link leads to.
pub fn distrust(metadata: &Metadata) -> Option<&'static str> {
    if metadata.is_symlink() {
        Some("is a symbolic link")
    } else if !metadata.is_dir() {
        Some("is no directory")
    } else if metadata.uid() != nix::unistd::geteuid().as_raw() {
        Some("belongs to another user")
    } else {
        (metadata.mode() & 0o022 != 0).then_some("can be written by others")
    }
}

/// Whether the directory is there; an error if it is there and cannot be trusted.
fn trusted(path: &Path) -> Result<bool, DirectoryError> {
    let metadata = match path.symlink_metadata() {
        Err(error) if is_missing(&error) => return Ok(false),
        outcome => outcome.map_err(FileError::of("look at", path))?,
    };
    match distrust(&metadata) {
        Some(problem) => Err(DirectoryError::Untrusted { path: path.to_owned(), problem }),
        None => Ok(true),
    }
}

/// The files in a directory of `root`, sorted; none if the directory is missing.
pub fn list(root: &Path, directory: &Path) -> Result<Vec<PathBuf>, DirectoryError> {
    if !is_trusted(root, directory)? {
        return Ok(Vec::new());
    }
    let entries = match std::fs::read_dir(directory) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        outcome => outcome.map_err(FileError::of("list", directory))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::of("list", directory))?;
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// A temporary file for `name`, with what a killed call left under its name gone.
pub fn temporary(directory: &Path, name: &str) -> io::Result<NamedTempFile> {
    let temporary = format!("{TEMPORARY}{name}");
    let _ = std::fs::remove_file(temporary_path(directory, name));
    tempfile::Builder::new().prefix(&temporary).rand_bytes(0).make_in(directory, |path| {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
    })
}

/// Writes a file whole or not at all. What it is begun as is fixed, and starts with the container
/// whose lock is held and `@`: so a killed call's can be told, and the next call takes it away.
pub fn write_file(
    directory: &Path,
    begun_as: &str,
    name: &str,
    bytes: &[u8],
) -> Result<File, FileError> {
    let path = directory.join(name);
    finish(begin(directory, begun_as, &path, bytes)?, &path)
}

/// The same, and it is on the disk then, with its name: never the name without the rest of it.
pub fn write_and_sync(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), FileError> {
    let path = directory.join(name);
    let begun = begin(directory, name, &path, bytes)?;
    begun.as_file().sync_all().map_err(FileError::of("sync", &path))?;
    finish(begun, &path)?;
    sync(directory)
}

fn begin(
    directory: &Path,
    begun_as: &str,
    path: &Path,
    bytes: &[u8],
) -> Result<NamedTempFile, FileError> {
    let temporary = temporary(directory, begun_as).map_err(FileError::of("write", path))?;
    temporary.as_file().write_all(bytes).map_err(FileError::of("write", path))?;
    Ok(temporary)
}

fn finish(begun: NamedTempFile, path: &Path) -> Result<File, FileError> {
    begun.persist(path).map_err(|failure| FileError::of("rename", path)(failure.error))
}

/// Where a file is that is begun as `name`.
pub fn temporary_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{TEMPORARY}{name}"))
}

/// The files of `directory` that were begun, with what they were begun as; none if the directory is
/// missing or not to be trusted.
pub fn temporaries(root: &Path, directory: &Path) -> Vec<(PathBuf, String)> {
    if !is_trusted(root, directory).unwrap_or(false) {
        return Vec::new();
    }
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let begun = entries.filter_map(|entry| {
        let name = entry.file_name().to_str()?.strip_prefix(TEMPORARY)?.to_owned();
        Some((entry.path(), name))
    });
    begun.collect()
}

/// Whether a file was begun before any call that may still be at work.
pub fn is_old(path: &Path) -> bool {
    let modified = path.symlink_metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        modified.elapsed().is_ok_and(|age| age > std::time::Duration::from_secs(600))
    })
}
