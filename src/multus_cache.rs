//! What Multus remembers of the pods it started: read once, when such a pod is deleted under Braid.
//!
//! `<cniDir>/<container ID>` is a JSON list of delegates, the primary first; each carries its
//! configuration in `Bytes`, base64 of the JSON that Multus ran.

use std::path::{Path, PathBuf};

use base64::Engine;
use serde_json::{Map, Value};

use crate::cni::keys;
use crate::cni::netconf::{self, Missing, NetworkConfig};
use crate::cni::request::{CniArgs, ContainerId};
use crate::cni::version::Version;
use crate::plan::{Attachment, Role};

/// Where Multus keeps its records unless its `cniDir` says otherwise.
const MULTUS_STATE_DIR: &str = "/var/lib/cni/multus";

/// Multus's record of one container.
#[derive(Debug)]
pub struct MultusCache {
    path: PathBuf,
}

/// Multus's record of `container`, in the directory that a migrated configuration names or in Multus's own.
pub fn find(state_dir: &Path, container: &ContainerId) -> Option<MultusCache> {
    let directories = [state_dir, Path::new(MULTUS_STATE_DIR)];
    let path = directories.into_iter().map(|dir| dir.join(container.as_str())).find(|path| path.is_file())?;
    Some(MultusCache { path })
}

/// A directory in which Multus still remembers containers, if there is one.
pub fn any(state_dir: &Path) -> Option<PathBuf> {
    let remembers = |dir: &PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
    };
    [state_dir.to_owned(), PathBuf::from(MULTUS_STATE_DIR)].into_iter().find(remembers)
}

impl MultusCache {
    /// The record's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The networks beside the primary, as attachments to be torn down.
    ///
    /// # Errors
    /// What is wrong with the record, to follow its path in a sentence.
    pub fn extras(&self, args: &CniArgs, version: Version) -> Result<Vec<Attachment>, String> {
        let text = netconf::read_file(&self.path).map_err(|error| format!("cannot be read: {error}"))?;
        let delegates: Vec<Map<String, Value>> = serde_json::from_str(&text)
            .map_err(|error| format!("is not valid: {error}; look at it and remove it"))?;
        let extras = delegates.iter().enumerate().skip(1);
        extras.map(|(at, delegate)| read_delegate(at, delegate, args, version)).collect()
    }

    /// Moves a record that cannot be read out of the way: nobody can tear down by it, and the pod must go.
    pub fn set_aside(&self) {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".unreadable");
        if let Err(error) = std::fs::rename(&self.path, &aside) {
            log::warn!("cannot set multus's record {} aside: {error}", self.path.display());
        }
    }

    /// Removes the record, once nothing of it is left.
    pub fn remove(&self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove multus's record {}: {error}", self.path.display());
        }
    }
}

fn read_delegate(
    at: usize,
    delegate: &Map<String, Value>,
    args: &CniArgs,
    version: Version,
) -> Result<Attachment, String> {
    let invalid =
        |problem: String| format!("has an entry {at} that is not valid: {problem}; look at it and remove it");
    let text =
        |key: &'static str| keys::decode::<String>(delegate, key).map_err(|error| invalid(error.to_string()));
    let bytes = text("Bytes")?.ok_or_else(|| invalid("\"Bytes\" is missing".to_owned()))?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(bytes)
        .map_err(|error| invalid(error.to_string()))?;
    let name = text("Name")?;
    let missing = Missing { name: name.as_deref(), version };
    let network = NetworkConfig::parse(&String::from_utf8_lossy(&bytes), &missing)
        .map_err(|error| invalid(error.to_string()))?;
    let interface =
        text("ifnameRequest")?.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("net{at}"));
    let interface =
        interface.parse().map_err(|error: crate::name::InvalidInterfaceName| invalid(error.to_string()))?;
    Ok(Attachment::new(network.name.to_string(), Role::Extra, interface, network, args.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cache(content: &str) -> (tempfile::TempDir, MultusCache) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c1"), content).unwrap();
        let found = find(dir.path(), &"c1".parse().unwrap()).unwrap();
        (dir, found)
    }

    #[test]
    fn extras_are_read_with_their_interfaces() {
        let encode = |value: Value| base64::engine::general_purpose::STANDARD.encode(value.to_string());
        let content = json!([
            {"Name": "primary", "Bytes": encode(json!({"type": "ptp", "name": "primary"}))},
            {"Name": "blue", "Bytes": encode(json!({"type": "bridge"}))},
            {"Name": "red", "ifnameRequest": "data0", "Bytes": encode(json!({"name": "r", "plugins": [{"type": "a"}]}))},
        ]);
        let (_dir, cache) = cache(&content.to_string());
        let extras = cache.extras(&"".into(), Version::V0_3_1).unwrap();
        let shown: Vec<_> =
            extras.iter().map(|extra| (extra.label.as_str(), extra.interface.as_str())).collect();
        assert_eq!(shown, [("blue", "net1"), ("r", "data0")]);
    }

    #[test]
    fn braids_own_directories_are_no_memory_of_multus() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("records")).unwrap();
        std::fs::write(dir.path().join("records/c1@eth0"), "").unwrap();
        let here = || any(dir.path()).filter(|found| found == dir.path());
        assert_eq!(here(), None);
        std::fs::write(dir.path().join("c1"), "[]").unwrap();
        assert_eq!(here(), Some(dir.path().to_owned()));
    }

    #[test]
    fn a_record_that_is_broken_says_so() {
        for content in ["", "{", "[1]", "[{}, {}]", "[{}, {\"Bytes\": \"!\"}]", "[{}, {\"Bytes\": \"e30=\"}]"]
        {
            let (_dir, cache) = cache(content);
            assert!(cache.extras(&"".into(), Version::V0_3_1).is_err(), "{content}");
        }
    }
}
