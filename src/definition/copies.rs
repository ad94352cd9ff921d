//! Last-known-good copies of definitions from the API: `<cniDir>/definitions/<namespace>_<name>`,
//! JSON; a name that no file could have is cut, and ends in its checksum.
//!
//! Used only while the API cannot be reached, and by verbs that must not ask it. A copy that cannot
//! be read or written is as good as none; it never holds anything up.
//!
//! Kept only of what a pod was admitted to, since owners fill the disk of all with what is not
//! used, and within bounds: of a namespace that has too many the oldest goes, and of all namespaces
//! that of the largest.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::conf_file;
use crate::kube::ClusterDefinition;
use crate::pod::name::{DefinitionName, Namespace};
use cni::request::ContainerId;
use linux::directory;

/// Where they are, beside the records.
pub(crate) const COPIES_DIRECTORY: &str = "definitions";

/// A copy is written again when it is older than this share of its greatest age, or has changed.
const RENEWALS: u32 = 8;
/// As many copies as there are of one namespace, and as many bytes as they have together.
const OF_NAMESPACE: Bound = Bound { copies: 64, bytes: 2 << 20 };
/// And of all namespaces.
const OF_ALL: Bound = Bound { copies: 512, bytes: 16 << 20 };
/// The longest name of a file.
const MAX_FILE_NAME: usize = 254;

/// Says what time it is: [`SystemTime::now`], but for tests. A call can wait for the API for
/// seconds while others write copies, so one time for the whole call would not do.
type Clock = fn() -> SystemTime;

/// The copies in the state directory.
#[derive(Clone, Debug)]
pub(crate) struct Copies {
    root: PathBuf,
    max_age: Duration,
    clock: Clock,
    /// The container whose lock is held, so that a copy that was begun has an owner; without one,
    /// none is kept.
    pub writer: Option<ContainerId>,
}

/// How much there may be.
#[derive(Clone, Copy, Debug)]
struct Bound {
    copies: usize,
    bytes: u64,
}

impl Bound {
    fn holds(self, copies: usize, bytes: u64) -> bool {
        copies <= self.copies && bytes <= self.bytes
    }
}

/// A file of the directory.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

impl Kept {
    fn namespace(&self) -> &str {
        let name = self.path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.split('_').next().unwrap_or_default()
    }
}

/// Neither a namespace nor a definition's name has an underscore, so two never share a file; of
/// those that are cut, two may in theory, and then each is read as none by the other.
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
    pub(crate) fn new(root: &Path, max_age: Duration, clock: Clock) -> Self {
        Self { root: root.to_owned(), max_age, clock, writer: None }
    }

    /// Seconds since 1970.
    fn seconds(&self) -> u64 {
        (self.clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    fn directory(&self) -> PathBuf {
        self.root.join(COPIES_DIRECTORY)
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
        if let Err(problem) = self.write(definition, writer) {
            log::warn!(
                "no copy of network \"{}/{}\" is kept: {problem}",
                definition.namespace,
                definition.name
            );
        }
    }

    fn write(&self, definition: &ClusterDefinition, writer: &ContainerId) -> Result<(), String> {
        let bytes = serde_json::to_vec(&Copy::of(definition, self.seconds()))
            .map_err(|error| error.to_string())?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > conf_file::MAX_FILE_BYTES {
            return Err(format!(
                "it has {length} bytes, and {} are read",
                conf_file::MAX_FILE_BYTES
            ));
        }
        directory::prepare(&self.root, &self.directory()).map_err(|error| error.to_string())?;
        let path = self.path(&definition.namespace, &definition.name);
        self.make_room(&path, length);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Of two calls at once, each begins a file of its own.
        let begun_as = format!("{writer}@{:08x}", crc32fast::hash(name.as_bytes()));
        let written = directory::write_file(&self.directory(), &begun_as, &name, &bytes);
        written.map(drop).map_err(|error| error.to_string())
    }

    /// Removes what is too much once there is a copy of `bytes` at `path`.
    fn make_room(&self, path: &Path, bytes: u64) {
        let mut kept = self.kept();
        kept.retain(|kept| kept.path != path);
        kept.push(Kept { path: path.to_owned(), bytes, written: (self.clock)() });
        shrink(&mut kept);
    }

    /// Every copy, the oldest first.
    fn kept(&self) -> Vec<Kept> {
        let files = directory::list(&self.root, &self.directory()).unwrap_or_default().into_iter();
        let of = |path: PathBuf| {
            let metadata = path.symlink_metadata().ok()?;
            Some(Kept { path, bytes: metadata.len(), written: metadata.modified().ok()? })
        };
        let mut kept: Vec<Kept> = files.filter_map(of).collect();
        kept.sort_by_key(|kept| kept.written);
        kept
    }

    fn is_current(&self, definition: &ClusterDefinition) -> bool {
        let copy = self.read(&definition.namespace, &definition.name);
        copy.is_some_and(|copy| {
            copy.age(self.seconds()) < self.max_age / RENEWALS
                && copy.into_definition() == *definition
        })
    }

    /// Drops a copy of what the API says otherwise now: a network that was closed since must not
    /// open in an outage.
    pub(super) fn forget_outdated(&self, definition: &ClusterDefinition) {
        let copy = self.any(&definition.namespace, &definition.name);
        if copy.is_some_and(|copy| copy != *definition) {
            self.forget(&definition.namespace, &definition.name);
        }
    }

    /// Drops the copy of a definition that the API no longer has.
    pub(super) fn forget(&self, namespace: &Namespace, name: &DefinitionName) {
        let _ = std::fs::remove_file(self.path(namespace, name));
    }

    /// The copy, if it is young enough to stand in.
    pub(super) fn fresh(
        &self,
        namespace: &Namespace,
        name: &DefinitionName,
    ) -> Option<ClusterDefinition> {
        let copy =
            self.read(namespace, name).filter(|copy| copy.age(self.seconds()) < self.max_age)?;
        Some(copy.into_definition())
    }

    /// The copy, whatever its age.
    pub(super) fn any(
        &self,
        namespace: &Namespace,
        name: &DefinitionName,
    ) -> Option<ClusterDefinition> {
        self.read(namespace, name).map(Copy::into_definition)
    }

    fn read(&self, namespace: &Namespace, name: &DefinitionName) -> Option<Copy> {
        let trusted = directory::is_trusted(&self.root, &self.directory()).unwrap_or(false);
        let text = trusted.then(|| conf_file::read(&self.path(namespace, name)).ok()).flatten()?;
        let copy: Copy = serde_json::from_str(&text).ok()?;
        // A file under another's name would hand one tenant's network to the other.
        (copy.namespace == *namespace && copy.name == *name).then_some(copy)
    }

    /// Removes copies past their age, and those that are too many, without reading them.
    pub(crate) fn sweep(&self) {
        let mut kept = self.kept();
        kept.retain(|kept| {
            let age = (self.clock)().duration_since(kept.written);
            let is_young = age.is_ok_and(|age| age < self.max_age);
            if !is_young {
                let _ = std::fs::remove_file(&kept.path);
            }
            is_young
        });
        shrink(&mut kept);
    }
}

/// Removes the oldest copies of namespaces that have too many, and then of the largest namespace as
/// long as there are too many of all.
fn shrink(kept: &mut Vec<Kept>) {
    loop {
        let mut namespaces: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
        for one in kept.iter() {
            let (copies, bytes) = namespaces.entry(one.namespace()).or_default();
            (*copies, *bytes) = (*copies + 1, bytes.saturating_add(one.bytes));
        }
        let all = kept.iter().map(|kept| kept.bytes).fold(0, u64::saturating_add);
        let is_full = !OF_ALL.holds(kept.len(), all);
        let largest = namespaces.into_iter().max_by_key(|(_, (copies, bytes))| (*bytes, *copies));
        let Some((namespace, (copies, bytes))) = largest else { return };
        if !is_full && OF_NAMESPACE.holds(copies, bytes) {
            return;
        }
        let Some(oldest) = kept.iter().position(|kept| kept.namespace() == namespace) else {
            return;
        };
        let _ = std::fs::remove_file(kept.remove(oldest).path);
    }
}

impl Copy {
    /// A copy fetched at `fetched`, in seconds since 1970.
    fn of(definition: &ClusterDefinition, fetched: u64) -> Self {
        let ClusterDefinition { namespace, name, config, annotations, resource_version } =
            definition.clone();
        Self { fetched, namespace, name, config, annotations, resource_version }
    }

    fn into_definition(self) -> ClusterDefinition {
        let Self { namespace, name, config, annotations, resource_version, .. } = self;
        ClusterDefinition { namespace, name, config, annotations, resource_version }
    }

    /// A copy from the future, after the clock was set back, is of no age that can be trusted.
    fn age(&self, now: u64) -> Duration {
        now.checked_sub(self.fetched).map_or(Duration::MAX, Duration::from_secs)
    }
}

#[cfg(test)]
mod tests;
