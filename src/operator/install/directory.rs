//! The directory that runtimes read networks from, as an installation finds it: Braid's file, the
//! primary's, and those of plugins that exclude Braid.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::InstallError;
use crate::conf_file;
use crate::operator::installation::Installation;
use cni::netconf::{Missing, NetworkConfig};
use plugins::facts::{self, Property};

/// The name of Braid's own file: it sorts first.
pub(in crate::operator) const FILE: &str = "00-braid.conflist";
/// What a primary's file is kept under while Braid is in its chain. No runtime reads files of this
/// ending.
pub(in crate::operator) const BACKUP: &str = "before-braid";
/// Plugins that delegate as Braid does.
pub(in crate::operator) const MULTUS: [&str; 2] = ["multus", "multus-shim"];

/// The primary network of the node.
pub(in crate::operator) struct Primary {
    pub(in crate::operator) file: PathBuf,
    pub(in crate::operator) network: NetworkConfig,
}

/// Held while the directory's files are changed; gone with the process.
pub(in crate::operator) fn lock(directory: &Path) -> Result<Flock<std::fs::File>, InstallError> {
    let failed = |source: std::io::Error| InstallError::Lock { path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let file = std::fs::File::open(directory).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => InstallError::Busy(directory.to_owned()),
        errno => failed(errno.into()),
    })
}

/// The one place where Braid stands.
pub(super) fn existing(directory: &Path) -> Result<Option<Installation>, InstallError> {
    let ours = directory.join(FILE);
    if let Some((_, error)) =
        Installation::unreadable(directory).into_iter().find(|(it, _)| *it == ours)
    {
        return Err(InstallError::Unreadable(error));
    }
    let mut found = Installation::all(directory, &["braid"]);
    if let [_, _, ..] = found.as_slice() {
        let files: Vec<_> = found.iter().map(|place| place.file.display().to_string()).collect();
        return Err(InstallError::Several(files.join(", ")));
    }
    match (found.pop(), Installation::all(directory, &MULTUS).pop()) {
        (None, Some(multus)) => Err(InstallError::Multus(multus.file)),
        (found, _) => Ok(found),
    }
}

pub(super) fn first_place(directory: &Path) -> Result<PathBuf, InstallError> {
    let ours = directory.join(FILE);
    let files = conf_file::list(directory, &conf_file::EXTENSIONS).unwrap_or_default();
    match files.into_iter().next().filter(|first| *first < ours) {
        Some(first) => Err(InstallError::NotFirst(first)),
        None => Ok(ours),
    }
}

pub(super) fn primary(directory: &Path) -> Option<Primary> {
    primaries(directory).next()
}

/// What can be the primary, in the order in which a runtime looks.
pub(in crate::operator) fn primaries(directory: &Path) -> impl Iterator<Item = Primary> {
    let files = conf_file::list(directory, &conf_file::EXTENSIONS).unwrap_or_default();
    files.into_iter().filter_map(|file| {
        let network = conf_file::load(&file, &Missing::default()).ok()?;
        (!facts::has_meta_plugin(&network)).then_some(Primary { file, network })
    })
}

/// The types of the plugins that the networks of a directory name, IPAM included.
pub(in crate::operator) fn named_plugins(directory: &Path) -> BTreeSet<String> {
    let files = conf_file::list(directory, &conf_file::EXTENSIONS).unwrap_or_default();
    let networks = files.iter().filter_map(|file| conf_file::load(file, &Missing::default()).ok());
    let kinds = networks.flat_map(|network| network.plugins).flat_map(|plugin| {
        let ipam = plugin.ipam().map(str::to_owned);
        std::iter::once(plugin.kind.to_string()).chain(ipam)
    });
    kinds.collect()
}

/// Cilium, unless its `cni.exclusive` is off, renames every other file of the directory.
pub(super) fn removes_others(directory: &Path) -> bool {
    let has_removed =
        conf_file::list(directory, &["cilium_bak"]).is_ok_and(|files| !files.is_empty());
    let removes =
        |primary: Primary| facts::chain_has(&primary.network, Property::RemovesOtherConfs);
    has_removed || primaries(directory).any(removes)
}

/// Where a primary's file is kept as it was.
pub(in crate::operator) fn backup(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{BACKUP}"));
    name.into()
}
