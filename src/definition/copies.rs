//! Last-known-good copies of definitions from the API: `<cniDir>/definitions/<namespace>_<name>`, JSON; a
//! name that no file could have is cut, and ends in its checksum.
//!
//! Used only while the API cannot be reached, and by verbs that must not ask it. A copy that cannot be
//! read or written is as good as none; it never holds anything up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterDefinition;
use crate::name::{DefinitionName, Namespace};
use cni::netconf;
use cni::request::ContainerId;
use linux::directory;

/// A copy is written again when it is older than this share of its greatest age, or has changed.
const RENEWALS: u32 = 8;
/// The longest name of a file.
const MAX_FILE_NAME: usize = 254;

/// The copies in the state directory.
#[derive(Clone, Debug)]
pub struct Copies {
    root: PathBuf,
    max_age: Duration,
    /// The container whose lock is held, so that a copy that was begun has an owner; without one, none is kept.
    pub writer: Option<ContainerId>,
}

/// Neither a namespace nor a definition's name has an underscore, so two never share a file; of those that
/// are cut, two may in theory, and then each is read as none by the other.
fn file_name(namespace: &Namespace, name: &DefinitionName) -> String {
    let whole = format!("{namespace}_{name}");
    if whole.len() <= MAX_FILE_NAME {
        return whole;
    }
    let start: String = whole.chars().take(MAX_FILE_NAME - 9).collect();
    format!("{start}_{:08x}", crc32fast::hash(whole.as_bytes()))
}

#[derive(Deserialize, Serialize)]
struct Copy {
    /// Seconds since 1970.
    fetched: u64,
    namespace: Namespace,
    name: DefinitionName,
    config: Option<String>,
    annotations: BTreeMap<String, String>,
    resource_version: String,
}

impl Copies {
    /// Copies in the state directory `root`, none older than `max_age`; zero keeps none.
    pub fn new(root: &Path, max_age: Duration) -> Self {
        Self { root: root.to_owned(), max_age, writer: None }
    }

    fn directory(&self) -> PathBuf {
        self.root.join(crate::ledger::DEFINITIONS)
    }

    fn path(&self, namespace: &Namespace, name: &DefinitionName) -> PathBuf {
        self.directory().join(file_name(namespace, name))
    }

    /// Keeps what the API said.
    pub(super) fn keep(&self, definition: &ClusterDefinition) {
        let Some(writer) = &self.writer else { return };
        if self.max_age.is_zero() || self.is_current(definition) {
            return;
        }
        let copy = Copy::of(definition);
        let path = self.path(&definition.namespace, &definition.name);
        let written = serde_json::to_vec(&copy).map_err(|error| error.to_string()).and_then(|bytes| {
            directory::prepare(&self.root, &self.directory()).map_err(|error| error.to_string())?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Of two calls at once, each begins a file of its own.
            let begun_as = format!("{writer}@{:08x}", crc32fast::hash(name.as_bytes()));
            directory::write_file(&self.directory(), &begun_as, &name, &bytes)
                .map_err(|error| error.to_string())
        });
        if let Err(problem) = written {
            log::warn!(
                "no copy of network \"{}/{}\" is kept: {problem}",
                definition.namespace,
                definition.name
            );
        }
    }

    fn is_current(&self, definition: &ClusterDefinition) -> bool {
        let copy = self.read(&definition.namespace, &definition.name);
        copy.is_some_and(|copy| copy.age() < self.max_age / RENEWALS && copy.into_definition() == *definition)
    }

    /// Drops the copy of a definition that the API no longer has.
    pub(super) fn forget(&self, namespace: &Namespace, name: &DefinitionName) {
        let _ = std::fs::remove_file(self.path(namespace, name));
    }

    /// The copy, if it is young enough to stand in.
    pub(super) fn fresh(&self, namespace: &Namespace, name: &DefinitionName) -> Option<ClusterDefinition> {
        let copy = self.read(namespace, name).filter(|copy| copy.age() < self.max_age)?;
        Some(copy.into_definition())
    }

    /// The copy, whatever its age.
    pub(super) fn any(&self, namespace: &Namespace, name: &DefinitionName) -> Option<ClusterDefinition> {
        self.read(namespace, name).map(Copy::into_definition)
    }

    fn read(&self, namespace: &Namespace, name: &DefinitionName) -> Option<Copy> {
        let trusted = directory::is_trusted(&self.root, &self.directory()).unwrap_or(false);
        let text = trusted.then(|| netconf::read_file(&self.path(namespace, name)).ok()).flatten()?;
        let copy: Copy = serde_json::from_str(&text).ok()?;
        // A file under another's name would hand one tenant's network to the other.
        (copy.namespace == *namespace && copy.name == *name).then_some(copy)
    }

    /// Removes copies past their age; GC's business.
    pub fn sweep(&self) {
        let files = directory::list(&self.root, &self.directory()).unwrap_or_default();
        for path in files {
            let text = netconf::read_file(&path).unwrap_or_default();
            let copy: Option<Copy> = serde_json::from_str(&text).ok();
            if copy.is_none_or(|copy| copy.age() >= self.max_age) {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

impl Copy {
    fn of(definition: &ClusterDefinition) -> Self {
        let ClusterDefinition { namespace, name, config, annotations, resource_version } = definition.clone();
        Self { fetched: now(), namespace, name, config, annotations, resource_version }
    }

    fn into_definition(self) -> ClusterDefinition {
        let Self { namespace, name, config, annotations, resource_version, .. } = self;
        ClusterDefinition { namespace, name, config, annotations, resource_version }
    }

    /// A copy from the future, after the clock was set back, is of no age that can be trusted.
    fn age(&self) -> Duration {
        now().checked_sub(self.fetched).map_or(Duration::MAX, Duration::from_secs)
    }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str) -> ClusterDefinition {
        ClusterDefinition {
            namespace: "team-a".parse().unwrap(),
            name: name.parse().unwrap(),
            config: Some("{}".to_owned()),
            annotations: BTreeMap::new(),
            resource_version: "1".to_owned(),
        }
    }

    fn copies(max_age: u64) -> (tempfile::TempDir, Copies) {
        let dir = tempfile::tempdir().unwrap();
        let mut copies = Copies::new(&dir.path().join("state"), Duration::from_secs(max_age));
        copies.writer = Some("c1".parse().unwrap());
        (dir, copies)
    }

    #[test]
    fn a_copy_is_kept_until_it_is_too_old() {
        let (_dir, copies) = copies(100);
        let blue = definition("blue");
        copies.keep(&blue);
        assert_eq!(copies.fresh(&blue.namespace, &blue.name), Some(blue.clone()));
        let stale = Copies { max_age: Duration::ZERO, ..copies.clone() };
        assert_eq!(stale.fresh(&blue.namespace, &blue.name), None);
        assert_eq!(stale.any(&blue.namespace, &blue.name), Some(blue.clone()));
        stale.sweep();
        assert_eq!(copies.any(&blue.namespace, &blue.name), None);
    }

    /// A namespace has up to 63 bytes and a name up to 253, a file's name up to 255.
    #[test]
    fn the_longest_name_has_a_copy_too() {
        let (_dir, copies) = copies(100);
        let long = |last: &str| {
            let name = format!("{}{last}", "a".repeat(252)).parse().unwrap();
            ClusterDefinition { namespace: "n".repeat(63).parse().unwrap(), name, ..definition("x") }
        };
        for definition in [long("b"), long("c")] {
            copies.keep(&definition);
            assert_eq!(copies.fresh(&definition.namespace, &definition.name), Some(definition));
        }
        let first = long("b");
        assert_eq!(copies.any(&first.namespace, &first.name), Some(first));
    }

    #[test]
    fn zero_keeps_none() {
        let (dir, copies) = copies(0);
        copies.keep(&definition("blue"));
        assert!(!dir.path().join("state").exists());
    }

    #[test]
    fn a_copy_under_another_name_does_not_count() {
        let (_dir, copies) = copies(100);
        let blue = definition("blue");
        copies.keep(&blue);
        let red = definition("red");
        std::fs::copy(copies.path(&blue.namespace, &blue.name), copies.path(&red.namespace, &red.name))
            .unwrap();
        assert_eq!(copies.any(&red.namespace, &red.name), None);
    }

    #[test]
    fn a_broken_copy_is_none() {
        let (_dir, copies) = copies(100);
        let blue = definition("blue");
        copies.keep(&blue);
        std::fs::write(copies.path(&blue.namespace, &blue.name), "{").unwrap();
        assert_eq!(copies.any(&blue.namespace, &blue.name), None);
    }
}
