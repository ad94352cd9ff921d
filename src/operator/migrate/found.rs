//! Whose files are in the runtime's directory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{RENAMED_BY_CILIUM, RETIRED};
use crate::conf_file;
use crate::operator::install::MULTUS;
use crate::operator::installation::Installation;
use cni::keys;

/// Who stands where in the runtime's directory.
pub(super) struct Found {
    pub(super) ours: Option<Installation>,
    pub(super) theirs: Vec<Installation>,
    /// Files of Multus's that were taken out of the runtime's sight, with their names of before.
    pub(super) retired: Vec<(PathBuf, PathBuf)>,
    /// Files of Multus's or ours that Cilium has renamed.
    pub(super) renamed: Vec<PathBuf>,
}

impl Found {
    /// Reads the runtime's directory.
    pub(super) fn in_directory(directory: &Path) -> Self {
        let retired = conf_file::list(directory, &[RETIRED]).unwrap_or_default();
        let mut renamed = conf_file::list(directory, &[RENAMED_BY_CILIUM]).unwrap_or_default();
        renamed.retain(|file| {
            !Installation::in_file(file, &["braid", "multus", "multus-shim"]).is_empty()
        });
        Self {
            renamed,
            ours: Installation::all(directory, &["braid"]).into_iter().next(),
            theirs: Installation::all(directory, &MULTUS),
            retired: retired
                .into_iter()
                .map(|file| (file.clone(), file.with_extension("")))
                .collect(),
        }
    }

    /// Multus's place, before the migration or now.
    pub(super) fn multus(&self) -> Option<Installation> {
        let before = self.retired.iter().flat_map(|(file, _)| Installation::in_file(file, &MULTUS));
        self.theirs.iter().cloned().chain(before).next()
    }
}

/// Whether Multus's primary network is Braid: a pod of Multus's that starts on a node of Braid's
/// takes the first file of the directory that is not its own.
pub(super) fn runs_braid(multus: &Installation, ours: &OsStr) -> bool {
    let Some(entry) = multus.request.as_object() else { return false };
    let named = keys::get(entry, "clusterNetwork").and_then(Value::as_str).map(Path::new);
    let delegates = keys::get(entry, "delegates").and_then(Value::as_array);
    named.and_then(Path::file_name) == Some(ours)
        || delegates.into_iter().flatten().any(|delegate| {
            !Installation::in_document(&multus.file, delegate, &["braid"]).is_empty()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn multus_that_runs_braid_is_recognised() {
        let runs = |document: Value| {
            let places =
                Installation::in_document(Path::new("/c/00-multus.conf"), &document, &MULTUS);
            places.iter().any(|place| runs_braid(place, OsStr::new("00-braid.conflist")))
        };
        let ours = json!({"name": "n", "plugins": [{"type": "braid", "clusterNetwork": "auto"}]});
        assert!(runs(json!({"name": "m", "type": "multus", "delegates": [ours]})));
        let thick =
            |file: &str| json!({"name": "m", "type": "multus-shim", "clusterNetwork": file});
        assert!(runs(thick("/host/etc/cni/net.d/00-braid.conflist")));
        assert!(!runs(thick("/host/etc/cni/net.d/10-primary.conflist")));
        let primary = json!({"name": "p", "plugins": [{"type": "ptp"}]});
        assert!(!runs(json!({"name": "m", "type": "multus", "delegates": [primary]})));
    }
}
