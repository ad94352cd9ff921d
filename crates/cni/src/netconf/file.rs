//! Configurations in files: one conf or conflist, and the plugins of a sub-directory that belong to
//! it.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Missing, NetconfError, NetworkConfig, PluginConfig};

/// The largest configuration file that is read.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a conf or conflist from a file, with the plugin files of `<directory>/<network
/// name>/*.conf` where the conflist leaves room for them (CNI 1.1.0, section 1; libcni from 1.3).
///
/// # Errors
/// [`NetconfError`] for this file or one that it appends.
pub fn load(path: &Path, missing: &Missing<'_>) -> Result<NetworkConfig, NetconfError> {
    let value = serde_json::from_str(&read_file(path)?).map_err(NetconfError::Json)?;
    let mut config = NetworkConfig::read(&value, missing)?;
    if config.appends_files
        && let Some(directory) = path.parent()
    {
        config.plugins.extend(load_plugins(&directory.join(config.name.as_str()))?);
    }
    config.complete()
}

/// The plugins of a sub-directory chain, in the order of their file names; none without the
/// directory.
///
/// # Errors
/// [`NetconfError`] for the first file that cannot be read.
pub fn load_plugins(directory: &Path) -> Result<Vec<PluginConfig>, NetconfError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut plugins = Vec::new();
    for path in list(directory, &["conf"])? {
        let value: Value = serde_json::from_str(&read_file(&path)?).map_err(NetconfError::Json)?;
        plugins.push(PluginConfig::read(&value)?);
    }
    Ok(plugins)
}

/// The files of a directory with one of `extensions`, sorted by name as runtimes sort them. As with
/// them, a directory of such a name is passed over.
///
/// # Errors
/// [`NetconfError::File`] if the directory cannot be read.
pub fn list(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, NetconfError> {
    let file_error = |source| NetconfError::File { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(file_error)? {
        let entry = entry.map_err(file_error)?;
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory && extension.is_some_and(|extension| extensions.contains(&extension)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A regular file's text, at most [`MAX_FILE_BYTES`] of it.
///
/// # Errors
/// As [`read_file_within`].
pub fn read_file(path: &Path) -> Result<String, NetconfError> {
    read_file_within(path, MAX_FILE_BYTES, "is larger than 1 MiB")
}

/// A regular file's text, at most `max_bytes` of it; `too_large` is what is said of more.
///
/// # Errors
/// [`NetconfError`] if it cannot be read, is no regular file, is too large or not UTF-8.
pub fn read_file_within(
    path: &Path,
    max_bytes: u64,
    too_large: &'static str,
) -> Result<String, NetconfError> {
    let file_error = |source| NetconfError::File { path: path.to_owned(), source };
    let not_a_file = |problem| NetconfError::NotAFile { path: path.to_owned(), problem };
    // Looked at before it is opened, since opening a FIFO would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(file_error)?;
    if !metadata.is_file() {
        return Err(not_a_file("is not a regular file"));
    }
    // Room for all of it and its end, so that it is read in one go.
    let mut text = String::with_capacity(
        usize::try_from(metadata.len().min(max_bytes) + 1).unwrap_or_default(),
    );
    let file = std::fs::File::open(path).map_err(file_error)?;
    file.take(max_bytes + 1).read_to_string(&mut text).map_err(file_error)?;
    if text.len() as u64 > max_bytes { Err(not_a_file(too_large)) } else { Ok(text) }
}
