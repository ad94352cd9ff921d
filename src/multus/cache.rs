//! What Multus remembers of the pods it started: read once, when such a pod is deleted under Braid,
//! and written when a node goes back to Multus.
//!
//! ```text
//! <cniDir>/<container>                                  a JSON list of delegates, the primary first; each
//!                                                       has its configuration in `Bytes`, base64 of JSON
//!         /results/<network>-<container>-<interface>    libcni's own: see [`results`]
//! ```

mod results;
mod write;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

pub use write::write;

use crate::plan::{Attachment, Role};
use cni::keys;
use cni::netconf::{Missing, NetworkConfig};
use cni::request::{ContainerId, Sandbox};
use cni::version::Version;
use linux::directory;
use linux::file::read_regular;

/// Where Multus keeps its records unless its `cniDir` says otherwise.
pub const MULTUS_STATE_DIR: &str = "/var/lib/cni/multus";

/// The largest file of Multus's that is read. Its record of a container has the definitions of all
/// its networks in base64, each of which the API takes up to 1.5 MiB of.
const MAX_BYTES: u64 = 64 << 20;

/// Multus's record of one container.
#[derive(Debug)]
pub struct MultusCache {
    path: PathBuf,
}

/// An attachment that Multus made, with the result that its plugins get on DEL.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The attachment.
    pub attachment: Attachment,
    /// Its result in its network's version, if libcni has kept it.
    pub result: Option<Value>,
}

/// Multus's record of `container`, in the directory that a migrated configuration names or in
/// Multus's own. What is in it is run as root, so it counts only if root alone can have written
/// it.
pub fn find(state_dir: &Path, container: &ContainerId) -> Option<MultusCache> {
    let directories = [state_dir, Path::new(MULTUS_STATE_DIR)];
    let file = |dir: &Path| {
        Some((dir.to_owned(), dir.join(container.as_str()))).filter(|(_, path)| path.is_file())
    };
    let (directory, path) = directories.into_iter().find_map(file)?;
    match trusted_file(&directory, &path) {
        Ok(()) => Some(MultusCache { path }),
        Err(problem) => {
            log::error!("multus's record {} is ignored: {problem}", path.display());
            None
        }
    }
}

fn trusted_file(directory: &Path, path: &Path) -> Result<(), String> {
    directory::is_trusted(directory, directory).map_err(|error| error.to_string())?;
    let metadata = path.symlink_metadata().map_err(|error| error.to_string())?;
    let is_ours = metadata.is_file() && metadata.uid() == nix::unistd::geteuid().as_raw();
    if is_ours && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err("it is a symbolic link, belongs to another user, or can be written by others"
            .to_owned())
    }
}

/// A directory in which Multus still remembers containers, if there is one.
pub fn any(state_dir: &Path) -> Option<PathBuf> {
    [state_dir.to_owned(), PathBuf::from(MULTUS_STATE_DIR)].into_iter().find(|dir| count(dir) > 0)
}

/// How many containers Multus remembers in a directory of its.
pub fn count(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).count()
}

impl MultusCache {
    /// The record's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The networks of the sandbox, the primary first, as attachments to be torn down. A primary
    /// that cannot be read is left out, since the configuration knows one, too.
    ///
    /// # Errors
    /// What is wrong with the record, to follow its path in a sentence.
    pub fn attachments(
        &self,
        sandbox: &Sandbox,
        version: Version,
    ) -> Result<Vec<Remembered>, String> {
        let bytes = read_regular(&self.path, MAX_BYTES)
            .map_err(|error| format!("cannot be read: {error}"))?;
        let delegates: Vec<Map<String, Value>> = serde_json::from_slice(&bytes)
            .map_err(|error| format!("is not valid: {error}; look at it and remove it"))?;
        let mut found = Vec::new();
        for (at, delegate) in delegates.iter().enumerate() {
            match read_delegate(at, delegate, sandbox, version) {
                Ok(attachment) => {
                    found.push(results::complete(self.directory(), sandbox, attachment))
                }
                Err(problem) if at == 0 => {
                    log::warn!("multus's record {} {problem}", self.path.display())
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(found)
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Moves a record that cannot be read out of the way: it cannot be used for teardown, and the
    /// pod must go.
    pub fn set_aside(&self) {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".unreadable");
        if let Err(error) = std::fs::rename(&self.path, &aside) {
            log::warn!("cannot set multus's record {} aside: {error}", self.path.display());
        }
    }

    /// Removes the record and the results, once nothing of `attachments` is left.
    pub fn remove(&self, container: &ContainerId, attachments: &[Remembered]) {
        for Remembered { attachment, .. } in attachments {
            results::remove(self.directory(), container, attachment);
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove multus's record {}: {error}", self.path.display());
        }
    }
}

fn read_delegate(
    at: usize,
    delegate: &Map<String, Value>,
    sandbox: &Sandbox,
    version: Version,
) -> Result<Attachment, String> {
    let invalid = |problem: String| {
        format!("has an entry {at} that is not valid: {problem}; look at it and remove it")
    };
    let text = |key: &'static str| {
        keys::decode::<String>(delegate, key).map_err(|error| invalid(error.to_string()))
    };
    let bytes = text("Bytes")?.ok_or_else(|| invalid("\"Bytes\" is missing".to_owned()))?;
    let bytes = STANDARD.decode(bytes).map_err(|error| invalid(error.to_string()))?;
    let name = text("Name")?;
    let missing = Missing { name: name.as_deref(), version };
    let network = NetworkConfig::parse(&String::from_utf8_lossy(&bytes), &missing)
        .map_err(|error| invalid(error.to_string()))?;
    let (role, interface) = match (at, text("ifnameRequest")?.filter(|name| !name.is_empty())) {
        (0, _) => (Role::Primary, sandbox.interface.to_string()),
        (_, Some(asked)) => (Role::Extra, asked),
        (at, None) => (Role::Extra, format!("net{at}")),
    };
    let interface = interface
        .parse()
        .map_err(|error: cni::name::InvalidInterfaceName| invalid(error.to_string()))?;
    Ok(Attachment::new(network.name.to_string(), role, interface, network, sandbox.args.clone()))
}

#[cfg(test)]
mod tests;
