//! Why no pod starts on a node that is configured so, or none through Braid. `validate`, `doctor`,
//! `explain` and `install` report the same faults in the same words.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::installation::{InstallMode, Installation};
use super::runtime::{Runtime, below};
use crate::conf_file;
use crate::config::{Config, ConfigError, PrimarySource};
use crate::definition::{Api, NodeDefinitions, OnOutage};
use crate::prepare;
use crate::prepare::primary::{self, PrimaryError};
use cni::netconf::{Missing, NetworkConfig};

/// What is wrong with an entry of Braid's by itself, wherever it stands.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum EntryFault {
    /// Braid is first, and knows no primary network.
    #[error(
        "braid is the first plugin and has no primary network, so that no pod starts: \
         set \"clusterNetwork\" or \"delegates\"{typo}"
    )]
    NoPrimary {
        /// The warning about a misspelt key, with `; ` in front; may be empty.
        typo: String,
    },
    /// Braid stands behind the primary's plugins, and runs a primary of its own.
    #[error(
        "braid stands behind other plugins and has a primary network of its own, so that no pod \
         starts: put it first, or remove \"clusterNetwork\" and \"delegates\""
    )]
    TwoPrimaries,
}

impl EntryFault {
    /// The fault of an entry in that place.
    pub(super) fn of(stance: InstallMode, config: &Config) -> Option<Self> {
        match stance {
            InstallMode::Delegating if config.primary.is_none() => {
                let is_meant = |it: &&String| {
                    it.contains("\"clusterNetwork\"") || it.contains("\"delegates\"")
                };
                let typo = config.warnings.iter().find(is_meant);
                Some(Self::NoPrimary { typo: typo.map(|it| format!("; {it}")).unwrap_or_default() })
            }
            InstallMode::Chained | InstallMode::ChainedFile if config.primary.is_some() => {
                Some(Self::TwoPrimaries)
            }
            _ => None,
        }
    }
}

/// What is wrong with Braid's place on a node.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The configuration is not valid.
    #[error("{}: {source}", file.display())]
    Config {
        /// Braid's file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<ConfigError>,
    },
    /// The entry cannot work where it stands.
    #[error("{}: {source}", file.display())]
    Entry {
        /// Braid's file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: EntryFault,
    },
    /// The rules for tenants cannot be told.
    #[error("{}: {problem}: until then pods get no network that they ask for", file.display())]
    Policy {
        /// Braid's file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The primary network cannot be resolved.
    #[error("{source}: until then no pod starts")]
    Primary {
        /// What is wrong.
        #[source]
        source: PrimaryError,
    },
    /// The primary's file takes no file of a chain.
    #[error(
        "{} is a single plugin, or has \"loadOnlyInlinedPlugins\": true, so that no runtime reads \
         {}: run braid uninstall, then braid install with another --mode",
        network.display(),
        file.display()
    )]
    NotAppended {
        /// The primary's file.
        network: PathBuf,
        /// Braid's file.
        file: PathBuf,
    },
    /// The runtime reads another file.
    #[error(
        "the runtime reads {} first, and not {}, so that pods get nothing from braid: \
         rename one of the two, so that braid's sorts first",
        first.display(),
        file.display()
    )]
    NotFirst {
        /// The file that sorts first.
        first: PathBuf,
        /// Braid's file.
        file: PathBuf,
    },
}

impl Fault {
    /// Whether the node may be fit later, though nothing is corrected: the primary comes up after
    /// Braid.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Primary { source } if source.is_transient())
    }

    /// Whether it is other files of the node, and not Braid's own, that make it a fault.
    pub(super) fn is_of_node(&self) -> bool {
        matches!(self, Self::Primary { .. } | Self::NotFirst { .. })
    }

    /// All that is wrong with Braid's place. `runtime` has the node's own paths, `place` those
    /// below `root`.
    pub(super) fn all(place: &Installation, runtime: &Runtime, root: &Path) -> Vec<Self> {
        let file = || place.file.clone();
        let directory = below(root, &runtime.conf_dir);
        let mut faults: Vec<Self> = not_first(place, &directory).into_iter().collect();
        faults.extend(not_appended(place));
        let config = match place.config() {
            Ok(config) => below_root(config, root),
            Err(source) => {
                faults.push(Self::Config { file: file(), source: Box::new(source) });
                return faults;
            }
        };
        if let Some(source) = EntryFault::of(place.stance, &config) {
            faults.push(Self::Entry { file: file(), source });
        } else if let Some(Err(source)) = primary(&config) {
            faults.push(Self::Primary { source });
        }
        if let Err(problem) = &config.tenancy.policy {
            faults.push(Self::Policy { file: file(), problem: problem.to_string() });
        }
        faults
    }
}

/// The primary network of a delegating Braid, as far as the node's own files say it: the API is not
/// asked.
pub(super) fn primary(config: &Config) -> Option<Result<NetworkConfig, PrimaryError>> {
    let source = config.primary.as_ref()?;
    let definitions = NodeDefinitions::read(&config.conf_dirs);
    let mut finder = prepare::finder(config, definitions, Api::Absent, OnOutage::Refuse);
    match primary::resolve(source, config, &mut finder) {
        // The API may have a definition of the name, which only an ADD asks for.
        Err(PrimaryError::Unknown(..)) if config.kubeconfig.is_some() => None,
        resolved => Some(resolved.map(|resolved| resolved.network)),
    }
}

/// The file that the runtime reads instead of Braid's, whose own need not be there yet.
fn not_first(place: &Installation, directory: &Path) -> Option<Fault> {
    let file = place.file.clone();
    let first = conf_file::list(directory, &conf_file::EXTENSIONS).ok()?.into_iter().next()?;
    let is_other = match place.stance {
        // It is appended to the chain of one network: that of the first file.
        InstallMode::ChainedFile => {
            let network = file.parent()?;
            let named = |name: &str| network.file_name() == Some(OsStr::new(name));
            network.parent() == Some(directory)
                && conf_file::load(&first, &Missing::default())
                    .is_ok_and(|it| !named(it.name.as_str()))
        }
        InstallMode::Delegating | InstallMode::Chained => {
            first < file && file.parent() == Some(directory)
        }
    };
    is_other.then_some(Fault::NotFirst { first, file })
}

/// libcni appends files to a conflist that does not exclude them.
fn not_appended(place: &Installation) -> Option<Fault> {
    let (network, file) = (place.network_file.clone(), place.file.clone());
    // The network's file of a place that is only planned is not known, and was looked at before.
    if place.stance != InstallMode::ChainedFile || network == file {
        return None;
    }
    let config = conf_file::load(&network, &Missing::default()).ok()?;
    (!config.appends_files()).then_some(Fault::NotAppended { network, file })
}

/// The configuration of a node whose files are below `root`, with the paths by which we reach them.
pub(super) fn below_root(mut config: Config, root: &Path) -> Config {
    if root == Path::new("/") {
        return config;
    }
    let seen = |path: &mut PathBuf| *path = below(root, path);
    [&mut config.primary_conf_dir, &mut config.state_dir].into_iter().for_each(seen);
    [&mut config.kubelet_socket, &mut config.device_info_dir].into_iter().for_each(seen);
    config.conf_dirs.iter_mut().for_each(seen);
    let files = [&mut config.bin_dir, &mut config.readiness.file, &mut config.kubeconfig];
    files.into_iter().flatten().for_each(seen);
    let written = [&mut config.log.file, &mut config.log.audit, &mut config.log.events];
    written.into_iter().flatten().chain(&mut config.log.metrics).for_each(seen);
    let sources = config.primary.iter_mut().chain(&mut config.default_networks);
    sources.for_each(|source| {
        if let PrimarySource::Path(path) = source {
            seen(path);
        }
    });
    config
}
