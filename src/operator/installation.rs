//! Braid's place in a node's configuration directory: which file it stands in, and how.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::conf_file::{self, ConfFileError};
use crate::config::{Config, ConfigError};
use cni::keys;
use cni::netconf;
use cni::version::Version;

/// How Braid stands on a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum InstallMode {
    /// In a file of its own, running the primary.
    Delegating,
    /// In the primary's conflist.
    Chained,
    /// In a file of its own that newer runtimes append to the primary's chain.
    ChainedFile,
}

/// A file that Braid stands in.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    /// The file.
    pub(super) file: PathBuf,
    /// The file of the network whose chain it belongs to: the same one, unless Braid has a file of
    /// the chain.
    pub(super) network_file: PathBuf,
    /// How Braid stands there.
    pub(super) stance: InstallMode,
    /// The whole file.
    pub(super) document: Value,
    /// What a runtime would send of it: the entry, with name and version of the network.
    pub(super) request: Value,
}

impl Installation {
    /// Every file of `conf_dir` in which a plugin of type `kind` stands, in the order in which a
    /// runtime looks.
    pub(super) fn all(conf_dir: &Path, kind: &[&str]) -> Vec<Self> {
        let files = conf_file::list(conf_dir, &conf_file::EXTENSIONS).unwrap_or_default();
        files.iter().flat_map(|file| Self::in_file(file, kind)).collect()
    }

    /// Configurations that cannot be read, each with the reason: Braid may stand in them. The
    /// directory itself is one of them if it is there and cannot be listed.
    pub(super) fn unreadable(conf_dir: &Path) -> Vec<(PathBuf, ConfFileError)> {
        let files = match conf_file::list(conf_dir, &conf_file::EXTENSIONS) {
            Ok(files) => files,
            Err(_) if !conf_dir.exists() => Vec::new(),
            Err(error) => return vec![(conf_dir.to_owned(), error)],
        };
        let problem = |file: PathBuf| document(&file).err().map(|error| (file, error));
        files.into_iter().filter_map(problem).collect()
    }

    /// The places in a file, and in the sub-directory of its network.
    pub(super) fn in_file(file: &Path, kind: &[&str]) -> Vec<Self> {
        let Some(document) = read(file) else { return Vec::new() };
        let Some(object) = document.as_object() else { return Vec::new() };
        let mut found = Self::in_document(file, &document, kind);
        let name = keys::get(object, "name").and_then(Value::as_str).unwrap_or_default();
        // The name becomes a path; one that is no name is not the runtime's either.
        if let (Some(directory), Ok(name)) = (file.parent(), name.parse::<netconf::NetworkName>()) {
            let files =
                conf_file::list(&directory.join(name.as_str()), &["conf"]).unwrap_or_default();
            found.extend(files.into_iter().filter_map(|chained| {
                let entry = read(&chained)?;
                let place = Self::of_entry(file, &document, &entry, false, kind)?;
                Some(Self {
                    file: chained,
                    stance: InstallMode::ChainedFile,
                    document: entry,
                    ..place
                })
            }));
        }
        found
    }

    /// The places in a document, which is, or will be, that of `file`.
    pub(super) fn in_document(file: &Path, document: &Value, kind: &[&str]) -> Vec<Self> {
        let Some(object) = document.as_object() else { return Vec::new() };
        let plugins = keys::get(object, "plugins").and_then(Value::as_array);
        let entries = plugins.map_or_else(|| vec![document], |plugins| plugins.iter().collect());
        let place =
            |(at, entry): (usize, &&Value)| Self::of_entry(file, document, entry, at == 0, kind);
        entries.iter().enumerate().filter_map(place).collect()
    }

    /// The place of an entry that is, or will be, a file of its own behind the chain of `network`.
    pub(super) fn behind(network: &str, file: &Path, entry: &Value) -> Option<Self> {
        let place = Self::of_entry(file, &json!({ "name": network }), entry, false, &["braid"])?;
        Some(Self { stance: InstallMode::ChainedFile, document: entry.clone(), ..place })
    }

    fn of_entry(
        file: &Path,
        document: &Value,
        entry: &Value,
        is_first: bool,
        kind: &[&str],
    ) -> Option<Self> {
        let (list, entry) = (document.as_object()?, entry.as_object()?);
        let named = keys::get(entry, "type").and_then(Value::as_str)?;
        kind.contains(&named).then(|| Self {
            file: file.to_owned(),
            network_file: file.to_owned(),
            stance: if is_first { InstallMode::Delegating } else { InstallMode::Chained },
            document: document.clone(),
            request: request(list, entry),
        })
    }

    /// Whether it refuses new extra networks.
    pub(super) fn is_draining(&self) -> bool {
        let entry = self.request.as_object();
        entry.and_then(|entry| keys::get(entry, "drain")) == Some(&Value::Bool(true))
    }

    /// The network's name.
    pub(super) fn network(&self) -> &str {
        self.request.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The directory of the chain that a file of its own belongs to.
    pub(super) fn chain(&self) -> Option<&Path> {
        self.file.parent().filter(|_| self.stance == InstallMode::ChainedFile)
    }

    /// Braid's configuration as a runtime would send it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        Config::parse(self.request.to_string().as_bytes())
    }

    /// The same for what ends attachments or lists them, as DEL reads it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(super) fn config_for_teardown(&self) -> Result<Config, ConfigError> {
        Config::parse_for_teardown(self.request.to_string().as_bytes())
    }
}

/// The entry as libcni sends it: with the network's name, and its version.
fn request(list: &Map<String, Value>, entry: &Map<String, Value>) -> Value {
    let mut request = entry.clone();
    if let Some(name) = keys::get(list, "name") {
        keys::set(&mut request, "name", name.clone());
    }
    // A version that is not known stays, so that the error about it comes from the configuration's
    // reader.
    let version =
        netconf::read_version(list, Version::V0_1_0).map(|version| Value::from(version.as_str()));
    let version = version.ok().or_else(|| keys::get(list, "cniVersion").cloned());
    keys::set(&mut request, "cniVersion", version.unwrap_or_default());
    Value::Object(request)
}

fn read(file: &Path) -> Option<Value> {
    document(file).ok()
}

/// The JSON of a file.
///
/// # Errors
/// [`ConfFileError`], which names the file.
pub(super) fn document(file: &Path) -> Result<Value, ConfFileError> {
    let in_file = |error: serde_json::Error| {
        let source = std::io::Error::other(format!("not valid JSON: {error}"));
        ConfFileError::File { path: file.to_owned(), source }
    };
    serde_json::from_str(&conf_file::read(file)?).map_err(in_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, Value)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        }
        dir
    }

    #[test]
    fn every_way_to_stand_is_found_in_the_runtimes_order() {
        let dir = directory(&[
            ("20-single.conf", json!({"name": "s", "type": "braid", "clusterNetwork": "auto"})),
            (
                "00-list.conflist",
                json!({"cniVersion": "1.0.0", "cniVersions": ["1.1.0"], "name": "l", "plugins": [{"type": "braid"}]}),
            ),
            (
                "10-chain.conflist",
                json!({"name": "c", "plugins": [{"type": "ptp"}, {"type": "braid"}]}),
            ),
            ("30-other.conflist", json!({"name": "o", "plugins": [{"type": "ptp"}]})),
            ("o/braid.conf", json!({"type": "braid"})),
            ("40-broken.conf", json!(["braid"])),
        ]);
        let found = Installation::all(dir.path(), &["braid"]);
        let shown: Vec<_> = found
            .iter()
            .map(|place| {
                (place.file.strip_prefix(dir.path()).unwrap().to_str().unwrap(), place.stance)
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("00-list.conflist", InstallMode::Delegating),
                ("10-chain.conflist", InstallMode::Chained),
                ("20-single.conf", InstallMode::Delegating),
                ("o/braid.conf", InstallMode::ChainedFile),
            ]
        );
        let broken = dir.path().join("50-torn.conflist");
        std::fs::write(&broken, "{").unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("60-away.conf")).unwrap();
        let unreadable = Installation::unreadable(dir.path());
        let names: Vec<_> = unreadable.iter().map(|(file, _)| file.file_name().unwrap()).collect();
        assert_eq!(names, ["50-torn.conflist", "60-away.conf"]);
        assert!(
            Installation::unreadable(&dir.path().join("away")).is_empty(),
            "nothing is installed yet"
        );
        assert_eq!(Installation::unreadable(&broken).len(), 1, "a file in the directory's place");
        let config = found[0].config().unwrap();
        assert_eq!((config.network.as_str(), config.version), ("l", Version::V1_1_0));
        assert_eq!(found[3].config().unwrap().network.as_str(), "o");
    }
}
