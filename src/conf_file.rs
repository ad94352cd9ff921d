//! Files of configurations: one conf or conflist, and the plugins of a sub-directory that belong to
//! it. What is in them is read by [`cni::netconf`].

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cni::netconf::{Missing, NetconfError, NetworkConfig, PluginConfig};
use linux::file::open_regular;
use serde_json::Value;

/// What runtimes take for configurations, in one directory sorted by name.
pub(crate) const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// The largest configuration file that is read.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is wrong with a configuration in a file.
#[derive(Debug, thiserror::Error)]
pub enum ConfFileError {
    /// The file could not be read.
    #[error("{}: {}", path.display(), source)]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is larger than is read, or not a regular file.
    #[error("{}: {problem}", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// Which of the two.
        problem: &'static str,
    },
    /// What it holds is no configuration.
    #[error(transparent)]
    Netconf(#[from] NetconfError),
}

/// Reads a conf or conflist from a file, with the plugin files of `<directory>/<network
/// name>/*.conf` if the conflist leaves room for them (CNI 1.1.0, section 1; libcni from 1.3).
///
/// # Errors
/// [`ConfFileError`] for this file or one that it appends.
pub(crate) fn load(path: &Path, missing: &Missing<'_>) -> Result<NetworkConfig, ConfFileError> {
    let mut config = NetworkConfig::read(&read_value(path)?, missing)?;
    if config.appends_files()
        && let Some(directory) = path.parent()
    {
        config.plugins.extend(load_plugins(&directory.join(config.name.as_str()))?);
    }
    Ok(config.complete()?)
}

/// The plugins of a sub-directory chain, in the order of their file names; none without the
/// directory.
///
/// # Errors
/// [`ConfFileError`] for the first file that cannot be read.
pub(crate) fn load_plugins(directory: &Path) -> Result<Vec<PluginConfig>, ConfFileError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let files = list(directory, &["conf"])?;
    files.iter().map(|path| Ok(PluginConfig::read(&read_value(path)?)?)).collect()
}

fn read_value(path: &Path) -> Result<Value, ConfFileError> {
    parse(&read(path)?)
}

/// The JSON of a configuration file.
///
/// # Errors
/// [`NetconfError::Json`] inside.
pub(crate) fn parse(text: &str) -> Result<Value, ConfFileError> {
    Ok(serde_json::from_str(text).map_err(NetconfError::Json)?)
}

/// The files of a directory with one of `extensions`, sorted by name as runtimes sort them. As with
/// them, a directory of such a name is passed over.
///
/// # Errors
/// [`ConfFileError::File`] if the directory cannot be read.
pub(crate) fn list(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, ConfFileError> {
    let file_error = |source| ConfFileError::File { path: directory.to_owned(), source };
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
/// As [`read_within`].
pub(crate) fn read(path: &Path) -> Result<String, ConfFileError> {
    read_within(path, MAX_FILE_BYTES, "is larger than 1 MiB")
}

/// A regular file's text, at most `max_bytes` of it; `too_large` is what is said of more.
///
/// # Errors
/// [`ConfFileError`] if it cannot be read, is no regular file, is too large or not UTF-8.
pub(crate) fn read_within(
    path: &Path,
    max_bytes: u64,
    too_large: &'static str,
) -> Result<String, ConfFileError> {
    let not_a_file = |problem| ConfFileError::NotAFile { path: path.to_owned(), problem };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidInput => not_a_file("is not a regular file"),
        _ => ConfFileError::File { path: path.to_owned(), source },
    };
    let file = open_regular(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    // Room for all of it and its end, so that it is read in one go.
    let room = usize::try_from(length.min(max_bytes).saturating_add(1)).unwrap_or_default();
    let mut text = String::with_capacity(room);
    file.take(max_bytes.saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > max_bytes { Err(not_a_file(too_large)) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_of_the_sub_directory_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("10-n.conflist");
        std::fs::write(&file, r#"{"name": "n", "plugins": [{"type": "a"}]}"#).unwrap();
        std::fs::create_dir_all(dir.path().join("n/15-directory.conf")).unwrap();
        for (name, kind) in [("20-c.conf", "c"), ("10-b.conf", "b"), ("00-ignored.json", "z")] {
            let path = dir.path().join("n").join(name);
            std::fs::write(path, json!({"type": kind}).to_string()).unwrap();
        }
        let kinds = |file: &Path| {
            let network = load(file, &Missing::default()).unwrap();
            network.plugins.iter().map(|plugin| plugin.kind.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&file), ["a", "b", "c"]);
        let alone = r#"{"name": "n", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "a"}]}"#;
        std::fs::write(&file, alone).unwrap();
        assert_eq!(kinds(&file), ["a"]);
        // Without plugins of its own the network has those of the files, unless it excludes them.
        std::fs::write(&file, r#"{"name": "n"}"#).unwrap();
        assert_eq!(kinds(&file), ["b", "c"]);
        std::fs::write(&file, r#"{"name": "n", "loadOnlyInlinedPlugins": true}"#).unwrap();
        assert!(load(&file, &Missing::default()).is_err());
    }

    #[test]
    fn files_that_are_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), Err(ConfFileError::NotAFile { .. })));
        let large = dir.path().join("large.conf");
        std::fs::write(&large, vec![b' '; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]).unwrap();
        assert!(matches!(read(&large), Err(ConfFileError::NotAFile { .. })));
    }
}
