//! Where the files of an installation are.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::InstallError;
use crate::conf_file;
use crate::operator::change::Change;
use crate::operator::installation::Installation;
use crate::operator::runtime::Runtime;

/// Makes a runtime read the file of a chain that Braid has, or had, of its own.
pub(in crate::operator) fn renewal(root: &Path, place: &Installation) -> Option<Change> {
    let chain = on_node(root, place.chain()?);
    Some(Change::Renewed { file: on_node(root, &place.network_file), chain })
}

/// Why no runtime appends files to the chain of a primary's file.
pub(super) fn not_appending(file: &Path) -> InstallError {
    let text = conf_file::read(file).unwrap_or_default();
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let is_list = document.get("plugins").is_some_and(Value::is_array);
    let file = file.to_owned();
    if is_list { InstallError::OnlyInlined(file) } else { InstallError::NotAList(file) }
}

/// A file below `root`, as the node sees it.
pub(in crate::operator) fn on_node(root: &Path, file: &Path) -> PathBuf {
    file.strip_prefix(root).map_or_else(|_| file.to_owned(), |rest| Path::new("/").join(rest))
}

/// Where the binary is.
pub(in crate::operator) fn binary(runtime: &Runtime) -> PathBuf {
    runtime.bin_dirs.first().map_or_else(|| "/opt/cni/bin".into(), Clone::clone).join("braid")
}

/// The directory of definitions, in which Braid's credential is too.
pub(in crate::operator) fn definitions(runtime: &Runtime) -> PathBuf {
    runtime.conf_dir.join("braid.d")
}

/// This program, which is the plugin that is installed.
pub(in crate::operator) fn program() -> Result<Vec<u8>, InstallError> {
    std::fs::read("/proc/self/exe").map_err(InstallError::Program)
}
