//! The built-in plugins under their own names in the runtime's plugin directory: links to one file
//! in a directory of its own, so that an installer that writes over a plugin does not write over
//! Braid's executable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::change::{Change, entry};
use super::install::{self, InstallError};
use super::runtime::Runtime;

/// The directory below the plugin directory. It is there because an installer in a container has
/// the plugin directory alone, and because a rename needs one file system.
const DIRECTORY: &str = ".braid";
/// The executable that the links lead to.
const FILE: &str = "plugins";
/// The directory of the plugins that were there before.
const REPLACED: &str = "replaced";

/// Which built-in plugins are put onto the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Plugins {
    /// Those of whose name the node has none
    Missing,
    /// All; those that are there are kept, and come back with `uninstall`
    Replace,
}

/// What the plugin directory has under the name of a built-in plugin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    Nothing,
    /// The link that an installation has made.
    OurLink,
    Foreign,
}

/// The places of the built-in plugins on a node.
pub(super) struct Places<'a> {
    root: &'a Path,
    bin_dirs: &'a [PathBuf],
    directory: PathBuf,
}

impl<'a> Places<'a> {
    /// The places that the runtime's plugin directory has; `root` is that of the node's files.
    pub(super) fn new(runtime: &'a Runtime, root: &'a Path) -> Self {
        let binary = install::binary(runtime);
        let directory = binary.parent().unwrap_or(Path::new("/")).to_owned();
        Self { root, bin_dirs: &runtime.bin_dirs, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.join(DIRECTORY).join(FILE)
    }

    fn link(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn replaced(&self, name: &str) -> PathBuf {
        self.directory.join(DIRECTORY).join(REPLACED).join(name)
    }

    fn found(&self, name: &str) -> Found {
        let target = Path::new(DIRECTORY).join(FILE);
        if std::fs::read_link(entry(self.root, &self.link(name))).is_ok_and(|it| it == target) {
            return Found::OurLink;
        }
        let there = |directory: &PathBuf| {
            entry(self.root, &directory.join(name)).symlink_metadata().is_ok()
        };
        let is_there = self.bin_dirs.iter().any(there) || there(&self.directory);
        if is_there { Found::Foreign } else { Found::Nothing }
    }

    /// What puts the built-in plugins onto the node, the file that the links lead to first.
    ///
    /// # Errors
    /// [`InstallError::Program`].
    pub(super) fn installation(&self, which: Plugins) -> Result<Vec<Change>, InstallError> {
        let (path, contents) = (self.file(), install::program()?);
        let mut changes = vec![Change::File { path, contents, mode: 0o755 }];
        let target = Path::new(DIRECTORY).join(FILE);
        for name in plugins::names() {
            let link = Change::Link { path: self.link(name), target: target.clone() };
            match (self.found(name), which) {
                (Found::Nothing | Found::OurLink, _) => changes.push(link),
                (Found::Foreign, Plugins::Missing) => {}
                (Found::Foreign, Plugins::Replace) => {
                    changes.extend(self.kept(name));
                    changes.push(link);
                }
            }
        }
        Ok(changes)
    }

    /// The plugin that is there, kept under another name before the link takes its place.
    fn kept(&self, name: &str) -> Option<Change> {
        let from = self.link(name);
        let is_there = entry(self.root, &from).symlink_metadata().is_ok();
        is_there.then(|| Change::Kept { from, to: self.replaced(name) })
    }

    /// What takes the built-in plugins from the node again. Those that were there before come
    /// back. Others that a configuration or a record names, `needed`, stay: they are returned, and
    /// so does the file that they lead to.
    pub(super) fn removal(&self, needed: &BTreeSet<String>) -> (Vec<Change>, Vec<PathBuf>) {
        let (mut changes, mut stay) = (Vec::new(), Vec::new());
        for name in plugins::names() {
            let (link, replaced) = (self.link(name), self.replaced(name));
            let was_replaced = entry(self.root, &replaced).symlink_metadata().is_ok();
            match self.found(name) {
                // Even if the link is gone: the plugin was the node's.
                Found::OurLink | Found::Nothing if was_replaced => {
                    changes.push(Change::Moved { from: replaced, to: link });
                }
                Found::OurLink if needed.contains(name) => stay.push(link),
                Found::OurLink => changes.push(Change::Gone(link)),
                // Another installer has been here since: what it wrote stays.
                Found::Foreign if was_replaced => changes.push(Change::Gone(replaced)),
                Found::Foreign | Found::Nothing => {}
            }
        }
        if stay.is_empty() {
            changes.push(Change::AllGone(self.directory.join(DIRECTORY)));
        }
        (changes, stay)
    }
}
