//! Where the primary network's configuration comes from, resolved anew at each call: a primary that
//! rewrites its file is followed without a watcher. Networks for every pod are named the same way.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::conf_file::{self, ConfFileError};
use crate::config::{Config, PrimarySource};
use crate::definition::{
    Administrator, Api, Definition, DefinitionError, Finder, NodeDefinitions, Wanted,
};
use crate::pod::name::{DefinitionName, Namespace};
use crate::prepare::node_interfaces;
use cni::netconf::{Missing, NetworkConfig, NetworkName};
use plugins::facts;

/// Why a network of the node's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrimaryError {
    /// A file, or an inline delegate, is not a valid configuration.
    #[error("{origin} is not a valid network configuration: {source}")]
    Invalid {
        /// The file or key.
        origin: String,
        /// What is wrong.
        #[source]
        source: ConfFileError,
    },
    /// A directory has no configuration that could be the primary.
    #[error("no primary network in {} yet: no configuration there without braid or multus in \
             it{problems}", directory.display())]
    None {
        /// The directory.
        directory: PathBuf,
        /// Files that could not be read.
        problems: String,
    },
    /// No definition and no file has the name.
    #[error("{0}, and no configuration file there or in {1} has that network name")]
    Unknown(#[source] DefinitionError, String),
    /// The definition of the name is not valid.
    #[error(transparent)]
    Definition(DefinitionError),
    /// No configuration file has a network or a plugin that a pod has chosen.
    #[error("{} has no network \"{word}\", nor one whose first plugin is of that type", directory.display())]
    NotThere {
        /// What the pod wrote.
        word: NetworkName,
        /// The directory.
        directory: PathBuf,
    },
    /// The primary would be Braid again.
    #[error("{0} has braid or multus in its chain, which cannot be delegated to")]
    Recursive(String),
}

impl PrimaryError {
    /// Whether waiting may help: the primary has not written its file yet.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::None { .. } | Self::Unknown(..) => true,
            Self::Definition(error) => error.is_transient(),
            Self::Invalid { .. } | Self::NotThere { .. } | Self::Recursive(_) => false,
        }
    }
}

/// A network that the node's configuration names, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolved {
    /// The chain.
    pub network: NetworkConfig,
    /// The device resource that its definition names; a file and an inline delegate have none.
    pub resource: Option<String>,
}

impl From<NetworkConfig> for Resolved {
    fn from(network: NetworkConfig) -> Self {
        Self { network, resource: None }
    }
}

impl From<Definition> for Resolved {
    fn from(definition: Definition) -> Self {
        Self { resource: definition.resource().cloned(), network: definition.network }
    }
}

/// Resolves the primary.
///
/// # Errors
/// [`PrimaryError`].
pub(crate) fn resolve(
    source: &PrimarySource,
    config: &Config,
    definitions: &mut Finder<'_>,
) -> Result<Resolved, PrimaryError> {
    let missing = Missing { name: Some(config.network.as_str()), version: config.version };
    let mut resolved: Resolved = match source {
        PrimarySource::Inline(value) => {
            inline(value, &missing, "the first of \"delegates\"")?.into()
        }
        PrimarySource::Auto => first_of(&config.primary_conf_dir, &missing)?.into(),
        PrimarySource::Path(path) if path.is_dir() => first_of(path, &missing)?.into(),
        PrimarySource::Path(path) => load(path, &missing)?.into(),
        PrimarySource::Named(name) => named(name, config, definitions)?.into(),
    };
    resolved.network = node_interfaces::resolve_of_node(config, resolved.network, definitions);
    if facts::has_meta_plugin(&resolved.network) {
        Err(PrimaryError::Recursive(format!("network \"{}\"", resolved.network.name)))
    } else {
        Ok(resolved)
    }
}

/// Reads a delegate that stands in Braid's own configuration.
///
/// # Errors
/// [`PrimaryError::Invalid`].
pub(crate) fn inline(
    value: &Value,
    missing: &Missing<'_>,
    origin: &str,
) -> Result<NetworkConfig, PrimaryError> {
    NetworkConfig::read(value, missing).and_then(NetworkConfig::complete).map_err(|source| {
        PrimaryError::Invalid { origin: origin.to_owned(), source: source.into() }
    })
}

fn load(path: &Path, missing: &Missing<'_>) -> Result<NetworkConfig, PrimaryError> {
    conf_file::load(path, missing)
        .map_err(|source| PrimaryError::Invalid { origin: path.display().to_string(), source })
}

/// The first configuration of a directory that loads and holds no plugin of Braid's kind.
fn first_of(directory: &Path, missing: &Missing<'_>) -> Result<NetworkConfig, PrimaryError> {
    let files = conf_file::list(directory, &conf_file::EXTENSIONS);
    let mut problems = String::new();
    for path in files.unwrap_or_default() {
        match load(&path, missing) {
            Ok(network) if facts::has_meta_plugin(&network) => {}
            Ok(network) => return Ok(network),
            Err(error) => problems.push_str(&format!("; {error}")),
        }
    }
    Err(PrimaryError::None { directory: directory.to_owned(), problems })
}

/// The networks of a conf directory that pods may choose among: each with its file, in the order of
/// the files' names, none with a plugin of Braid's kind.
#[derive(Debug)]
pub(crate) struct Choices {
    directory: PathBuf,
    networks: Vec<(PathBuf, NetworkConfig)>,
    /// Files that cannot be read.
    pub warnings: Vec<String>,
}

impl Choices {
    /// Reads `primaryConfDir`.
    pub(crate) fn read(config: &Config) -> Self {
        let directory = config.primary_conf_dir.clone();
        let missing = Missing { name: Some(config.network.as_str()), version: config.version };
        let (mut networks, mut warnings) = (Vec::new(), Vec::new());
        for path in conf_file::list(&directory, &conf_file::EXTENSIONS).unwrap_or_default() {
            match load(&path, &missing) {
                Ok(network) if facts::has_meta_plugin(&network) => {}
                Ok(network) => networks.push((path, network)),
                Err(error) => warnings.push(error.to_string()),
            }
        }
        Self { directory, networks, warnings }
    }

    /// The network of that name; else the first whose first plugin is of that type.
    ///
    /// # Errors
    /// [`PrimaryError::NotThere`].
    pub(crate) fn find(
        &self,
        word: &NetworkName,
    ) -> Result<&(PathBuf, NetworkConfig), PrimaryError> {
        let is_named = |(_, network): &&(PathBuf, NetworkConfig)| network.name == *word;
        let is_typed = |(_, network): &&(PathBuf, NetworkConfig)| {
            network.plugins.first().is_some_and(|plugin| plugin.kind.as_str() == word.as_str())
        };
        let found =
            self.networks.iter().find(is_named).or_else(|| self.networks.iter().find(is_typed));
        let (word, directory) = (word.clone(), self.directory.clone());
        found.ok_or(PrimaryError::NotThere { word, directory })
    }
}

fn named(
    name: &str,
    config: &Config,
    definitions: &mut Finder<'_>,
) -> Result<Definition, PrimaryError> {
    let unknown = match on_node(name, config, &definitions.node) {
        Err(error @ DefinitionError::Unknown { .. }) => error,
        found => return found.map_err(PrimaryError::Definition),
    };
    match (name.parse(), &definitions.api) {
        (Ok(object), Api::Asked(_) | Api::NotAsked) => of_cluster(object, config, definitions),
        _ => Err(PrimaryError::Unknown(unknown, config.primary_conf_dir.display().to_string())),
    }
}

/// What the node knows comes first, so that a pod that asks for nothing costs no request.
fn on_node(
    name: &str,
    config: &Config,
    node: &NodeDefinitions,
) -> Result<Definition, DefinitionError> {
    let unknown = match node.find(&config.tenancy.multus_namespace, name, config.version) {
        Err(error @ DefinitionError::Unknown { .. }) => error,
        found => return found,
    };
    let primaries = NodeDefinitions::read(std::slice::from_ref(&config.primary_conf_dir));
    // The administrator's word needs no manifest: if one stands for the file, it is for the
    // pods.
    let file = node.find_file(name, config.version);
    file.or_else(|| primaries.find_file(name, config.version)).unwrap_or(Err(unknown))
}

/// The definition that the API will be asked for to resolve `source`, so that it can be asked for
/// together with others; none if the node knows the network.
pub(crate) fn wanted_of_cluster(
    source: &PrimarySource,
    config: &Config,
    node: &NodeDefinitions,
) -> Option<(Namespace, DefinitionName)> {
    let PrimarySource::Named(name) = source else { return None };
    let is_unknown = matches!(on_node(name, config, node), Err(DefinitionError::Unknown { .. }));
    is_unknown.then(|| Some((config.tenancy.multus_namespace.clone(), name.parse().ok()?)))?
}

fn of_cluster(
    name: DefinitionName,
    config: &Config,
    definitions: &mut Finder<'_>,
) -> Result<Definition, PrimaryError> {
    let wanted =
        Wanted { namespace: &config.tenancy.multus_namespace, name: &name, viewer: &Administrator };
    match definitions.find_all(&[wanted]).pop() {
        Some(Ok(definition)) => Ok(definition),
        None => Err(PrimaryError::None {
            directory: config.primary_conf_dir.clone(),
            problems: String::new(),
        }),
        Some(Err(error @ DefinitionError::Unknown { .. })) => {
            Err(PrimaryError::Unknown(error, config.primary_conf_dir.display().to_string()))
        }
        Some(Err(error)) => Err(PrimaryError::Definition(error)),
    }
}

/// The chain of files that every pod gets as a network of its own (Multus's
/// `auxiliaryCNIChainName`): `<directory of the primary's file>/<chain>/*.conf`, or none if there
/// are no files.
///
/// # Errors
/// [`PrimaryError::Invalid`].
pub(crate) fn auxiliary_chain(
    chain: &NetworkName,
    config: &Config,
) -> Result<Option<NetworkConfig>, PrimaryError> {
    let base = match &config.primary {
        Some(PrimarySource::Path(path)) if path.is_dir() => path,
        Some(PrimarySource::Path(path)) => path.parent().unwrap_or(&config.primary_conf_dir),
        _ => &config.primary_conf_dir,
    };
    let directory = base.join(chain.as_str());
    let invalid =
        |source| PrimaryError::Invalid { origin: directory.display().to_string(), source };
    let plugins = conf_file::load_plugins(&directory).map_err(invalid)?;
    if plugins.is_empty() {
        return Ok(None);
    }
    let plugins: Vec<Value> =
        plugins.iter().map(|plugin| Value::Object(plugin.object().clone())).collect();
    let value = serde_json::json!({
        "cniVersion": config.version.as_str(), "name": chain.as_str(), "loadOnlyInlinedPlugins": true, "plugins": plugins,
    });
    inline(&value, &Missing::default(), &directory.display().to_string()).map(Some)
}

#[cfg(test)]
mod tests;
