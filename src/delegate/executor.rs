//! What carries a plugin's calls out: the executable that its type resolves to, or the built-in in
//! this process.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cni::netconf::PluginType;
use cni::plugin::Plugin;
use linux::executable::OwnExecutable;
use serde::Deserialize;

use super::DelegateError;

/// When a built-in plugin runs in the process (`builtinPlugins`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum BuiltInPlugins {
    /// If its type resolves to Braid's own executable.
    #[default]
    Linked,
    /// Whatever is installed under its type, and if nothing is.
    Prefer,
    /// Never: it is started as every plugin is.
    Never,
}

/// What carries a plugin's calls out.
#[derive(Clone)]
pub(crate) enum Executor {
    /// A process of this executable.
    Process(PathBuf),
    /// A call in this process.
    InProcess(&'static dyn Plugin),
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(file) => f.debug_tuple("Process").field(file).finish(),
            Self::InProcess(_) => f.write_str("InProcess"),
        }
    }
}

/// The plugins of the node: what is in the directories of the plugin path, and what is built in.
#[derive(Debug)]
pub(crate) struct Installed {
    path: Vec<PathBuf>,
    built_in: BuiltInPlugins,
    own: OwnExecutable,
}

impl Installed {
    /// Plugins found in `path`, in order.
    pub(crate) fn new(path: Vec<PathBuf>, built_in: BuiltInPlugins) -> Self {
        Self { path, built_in, own: OwnExecutable::of_process() }
    }

    /// The plugin path.
    pub(crate) fn path(&self) -> &[PathBuf] {
        &self.path
    }

    /// Where a plugin comes from.
    ///
    /// # Errors
    /// As [`Installed::executor`].
    pub(crate) fn origin(&self, plugin: &PluginType) -> Result<Origin, DelegateError> {
        Ok(match (self.executor(plugin)?, self.built_in) {
            (Executor::InProcess(_), BuiltInPlugins::Prefer) => Origin::BuiltIn,
            (Executor::InProcess(_), _) => Origin::Linked(find(plugin, &self.path)?),
            (Executor::Process(file), _) if self.own.is_at(&file) => Origin::Started(file),
            (Executor::Process(file), _) => Origin::Foreign(file),
        })
    }

    /// What carries the calls of a plugin out.
    ///
    /// # Errors
    /// [`DelegateError::NotInstalled`], naming the directories; [`DelegateError::IsBraid`] for a
    /// type that resolves to Braid and is no built-in plugin's.
    pub(crate) fn executor(&self, plugin: &PluginType) -> Result<Executor, DelegateError> {
        let built_in = plugins::find(plugin.as_str());
        match (built_in, self.built_in) {
            (Some(built_in), BuiltInPlugins::Prefer) => return Ok(Executor::InProcess(built_in)),
            (Some(_), BuiltInPlugins::Never) => {
                return find(plugin, &self.path).map(Executor::Process);
            }
            (Some(_), BuiltInPlugins::Linked) | (None, _) => {}
        }
        let file = find(plugin, &self.path)?;
        match built_in {
            _ if !self.own.is_at(&file) => Ok(Executor::Process(file)),
            Some(built_in) => Ok(Executor::InProcess(built_in)),
            None => Err(DelegateError::IsBraid { plugin: plugin.clone(), file }),
        }
    }
}

/// Where a plugin comes from, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// It is called in the process, whatever is installed.
    BuiltIn,
    /// It is called in the process, because this file is Braid's executable.
    Linked(PathBuf),
    /// It is started, and is Braid's executable all the same.
    Started(PathBuf),
    /// Another's executable.
    Foreign(PathBuf),
}

impl Origin {
    /// Whether it is called in the process.
    pub(crate) fn is_in_process(&self) -> bool {
        matches!(self, Self::BuiltIn | Self::Linked(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built into braid"),
            Self::Linked(file) => write!(f, "built into braid, by {}", file.display()),
            Self::Started(file) => write!(f, "braid as a process, by {}", file.display()),
            Self::Foreign(file) => write!(f, "{}", file.display()),
        }
    }
}

/// The executable of a plugin in the directories of `path`: a regular file that may be executed.
///
/// # Errors
/// [`DelegateError::NotInstalled`], naming the directories.
pub(crate) fn find(plugin: &PluginType, path: &[PathBuf]) -> Result<PathBuf, DelegateError> {
    path.iter()
        .map(|dir| dir.join(plugin.as_str()))
        .find(|file| is_executable(file))
        .ok_or_else(|| DelegateError::NotInstalled { plugin: plugin.clone(), path: path.to_vec() })
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A directory with the plugins: `bridge`, `disguised` and `braid`, links to the executable
    /// that runs, and `host-local` and `other`, which are not.
    fn executor(built_in: BuiltInPlugins, kind: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let own = std::env::current_exe().unwrap();
        for name in ["bridge", "disguised", "braid"] {
            symlink(&own, at(name)).unwrap();
        }
        for name in ["host-local", "other"] {
            symlink("/bin/true", at(name)).unwrap();
        }
        let installed = Installed::new(vec![dir.path().into()], built_in);
        match installed.executor(&kind.parse().unwrap()) {
            Ok(Executor::InProcess(_)) => "in the process".to_owned(),
            Ok(Executor::Process(file)) => {
                assert_eq!(file, at(kind));
                "a process".to_owned()
            }
            Err(DelegateError::NotInstalled { .. }) => "missing".to_owned(),
            Err(DelegateError::IsBraid { .. }) => "braid".to_owned(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_the_type_resolves_to_and_the_mode_decide() {
        use BuiltInPlugins::{Linked, Never, Prefer};
        for (kind, linked, prefer, never) in [
            ("bridge", "in the process", "in the process", "a process"),
            ("host-local", "a process", "in the process", "a process"),
            ("macvlan", "missing", "in the process", "missing"),
            ("other", "a process", "a process", "a process"),
            ("absent", "missing", "missing", "missing"),
            ("disguised", "braid", "braid", "braid"),
            ("braid", "braid", "braid", "braid"),
        ] {
            for (mode, expected) in [(Linked, linked), (Prefer, prefer), (Never, never)] {
                assert_eq!(executor(mode, kind), expected, "{mode:?} {kind}");
            }
        }
    }
}
