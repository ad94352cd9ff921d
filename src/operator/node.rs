//! The node that a command is about: its runtime's directories, Braid's configuration there, and
//! the ledger that this configuration names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::fault;
use super::installation::{self, Installation};
use super::records::Records;
use super::runtime::{Kind, Runtime, RuntimeError};
use crate::conf_file::ConfFileError;
use crate::config::{Config, ConfigError};
use crate::definition::NodeDefinitions;
use crate::ledger::Ledger;
use crate::plan::Role;
use crate::reservation::{self, Reservations, Store};
use crate::verb::leftovers;
use cni::deadline::Deadline;
use cni::netconf::NetworkConfig;
use cni::request::Environment;

/// How long addresses are looked at.
const LOOK: Duration = Duration::from_secs(50);

/// The runtime's directories, for those who have them elsewhere.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Directories {
    /// The runtime's directory of configurations [default: what the runtime's own configuration
    /// says]
    #[arg(long, value_name = "DIR")]
    pub(super) conf_dir: Option<PathBuf>,
    /// A directory of plugins; may be given several times [default: as for --conf-dir]
    #[arg(long, value_name = "DIR")]
    pub(super) bin_dir: Vec<PathBuf>,
    /// The runtime, if it cannot be told from its files
    #[arg(long, value_enum, value_name = "NAME")]
    pub(super) runtime: Option<Kind>,
}

/// Where things are on this node.
#[derive(Args, Debug, Default)]
pub(super) struct NodeOptions {
    #[command(flatten)]
    pub(super) directories: Directories,
    /// The file that Braid's configuration is in [default: the first of the directory]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Why nothing can be said about the node.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodeError {
    /// The runtime's configuration cannot be read.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Braid stands nowhere.
    #[error(
        "no configuration in {} has braid in it: install it, or name its file with \
         --config{unreadable}",
        directory.display()
    )]
    NotInstalled {
        /// The runtime's directory.
        directory: PathBuf,
        /// The files in which it may stand, each with `; ` in front and the reason behind.
        unreadable: String,
    },
    /// The file that was named cannot be read.
    #[error("braid's configuration cannot be read: {0}")]
    Unreadable(#[from] ConfFileError),
    /// The file that was named has no entry of Braid's.
    #[error("{} has no entry of type \"braid\" in it: name the file that has braid's \
             configuration", .0.display())]
    NotInFile(PathBuf),
    /// Braid's configuration is not valid.
    #[error("{}: {source}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<ConfigError>,
    },
}

/// The node with Braid's configuration.
#[derive(Debug)]
pub(super) struct Node {
    /// Its runtime, with the directories that were named on the command line.
    pub(super) runtime: Runtime,
    /// Braid's place on it.
    pub(super) place: Installation,
    /// Its configuration there.
    pub(super) config: Config,
}

impl Node {
    /// Finds Braid on this node.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(super) fn find(options: &NodeOptions) -> Result<Self, NodeError> {
        Self::find_with(options, Installation::config)
    }

    /// Finds it for what ends attachments or lists them, which works with an invalid configuration
    /// too.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(super) fn find_for_teardown(options: &NodeOptions) -> Result<Self, NodeError> {
        Self::find_with(options, Installation::config_for_teardown)
    }

    fn find_with(options: &NodeOptions, read: Read) -> Result<Self, NodeError> {
        let runtime = runtime(&options.directories, Path::new("/"))?;
        let place = match &options.config {
            Some(file) => place_in(file)?,
            None => {
                let first = Installation::all(&runtime.conf_dir, &["braid"]).into_iter().next();
                first.ok_or_else(|| not_installed(&runtime.conf_dir))?
            }
        };
        let config = config_of(&place, read)?;
        Ok(Self { runtime, place, config })
    }

    /// Where plugins are, as a runtime would have it.
    pub(super) fn plugin_path(&self) -> Vec<PathBuf> {
        self.config.plugin_path(&self.runtime.bin_dirs)
    }

    /// The ledger.
    pub(super) fn ledger(&self) -> Ledger {
        Ledger::new(&self.config.state_dir)
    }

    /// What a person's call of a plugin stands in for.
    pub(super) fn request(&self) -> cni::request::Request {
        crate::verb::repair::request(self.plugin_path(), Environment::of_process())
    }
}

fn not_installed(directory: &Path) -> NodeError {
    let problems =
        Installation::unreadable(directory).into_iter().map(|(_, error)| format!("; {error}"));
    NodeError::NotInstalled { directory: directory.to_owned(), unreadable: problems.collect() }
}

/// Braid's configuration in `file`.
///
/// # Errors
/// [`NodeError`].
pub(super) fn config_in(file: &Path) -> Result<Config, NodeError> {
    config_of(&place_in(file)?, Installation::config)
}

/// How strictly a configuration is read.
type Read = fn(&Installation) -> Result<Config, ConfigError>;

/// Braid's place in `file`.
///
/// # Errors
/// [`NodeError`].
pub(super) fn place_in(file: &Path) -> Result<Installation, NodeError> {
    installation::document(file)?;
    let first = Installation::in_file(file, &["braid"]).into_iter().next();
    first.ok_or_else(|| NodeError::NotInFile(file.to_owned()))
}

fn config_of(place: &Installation, read: Read) -> Result<Config, NodeError> {
    read(place)
        .map_err(|source| NodeError::Config { file: place.file.clone(), source: Box::new(source) })
}

/// The runtime of the node below `root`; what was said on the command line counts first.
pub(super) fn runtime(options: &Directories, root: &Path) -> Result<Runtime, RuntimeError> {
    // A configuration that cannot be read matters only if it is needed.
    let all_said = options.conf_dir.is_some() && !options.bin_dir.is_empty();
    let found = match Runtime::detect(root, options.runtime) {
        Err(_) if all_said => Runtime::unknown(options.runtime),
        found => found?,
    };
    let bin_dirs =
        if options.bin_dir.is_empty() { found.bin_dirs } else { options.bin_dir.clone() };
    Ok(Runtime { conf_dir: options.conf_dir.clone().unwrap_or(found.conf_dir), bin_dirs, ..found })
}

/// Addresses that host-local holds for containers which no record knows: of the primary, of the
/// networks of this node's definitions, and of those in the records. Behind a chained Braid the
/// primary's are the runtime's business.
pub(super) fn unknown_addresses(config: &Config, records: &Records) -> Vec<Reservations> {
    let primary = primary(config);
    let definitions = NodeDefinitions::read(&config.conf_dirs).networks(config.version);
    let mut stores = reservation::stores(definitions.iter().chain(&primary));
    for recorded in records.live.iter().flat_map(|listed| &listed.header().attachments) {
        let directories = recorded.reservations.iter();
        stores
            .extend(directories.map(|directory| Store::new(&recorded.network, directory.clone())));
    }
    let ledger = Ledger::new(&config.state_dir);
    leftovers::unknown_addresses(&stores, &ledger, &config.state_dir, Deadline::after(LOOK))
}

/// Those of them that have leaked rather than belong to a pod that is older than Braid's
/// installation.
pub(super) fn leaked_addresses(config: &Config, records: &Records) -> Vec<Reservations> {
    let primary = primary(config);
    let recorded = records.live.iter().flat_map(|listed| &listed.header().attachments);
    let recorded = recorded.filter(|attachment| attachment.role == Role::Primary);
    let of_node = primary.iter().map(|network| network.name.as_str());
    let primaries = recorded.map(|attachment| attachment.network.as_str()).chain(of_node).collect();
    let mut found = unknown_addresses(config, records);
    found.retain(|found| leftovers::is_suspect(found, &primaries));
    found
}

/// The primary network of a delegating Braid, if it is there.
fn primary(config: &Config) -> Option<NetworkConfig> {
    fault::primary(config)?.ok()
}
