//! Braid's own configuration: the plugin entry that the runtime hands over on standard input, with
//! Multus's vocabulary, defaults resolved.
//!
//! What stands in it is the administrator's word: an unknown key is a warning,
//! never an outage; a known key with a wrong value is an error that names it.

mod keys;
mod log;
mod node_interfaces;
mod read;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::keys::{MULTUS_DAEMON_KEYS, known_keys};
pub(crate) use self::keys::{OWN_KEYS, PROTOCOL_KEYS};
pub(crate) use self::node_interfaces::NodeInterfaces;
pub(crate) use self::value::parse_duration;

use crate::delegate::BuiltInPlugins;
use crate::policy::Tenancy;
use crate::selection::{Limits, UnknownKeys};
use cni::keys::KeyError;
use cni::netconf::{NetconfError, NetworkName};
use cni::version::Version;

pub(crate) use self::log::{Level, LogConfig, LogFormat, Rotation};

/// Where definitions are unless `confDir` says otherwise.
pub const DEFAULT_CONF_DIR: &str = "/etc/cni/net.d/braid.d";
/// Where definitions of a Multus installation are: read after the default, never after a `confDir`.
pub const MULTUS_CONF_DIR: &str = "/etc/cni/multus/net.d";

/// What is wrong with Braid's configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Standard input is not JSON.
    #[error("the configuration on standard input is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// Standard input is JSON, but no object.
    #[error("the configuration on standard input must be a JSON object")]
    NotAnObject,
    /// A key has the wrong type.
    #[error("braid's configuration, {0}")]
    Key(#[from] KeyError),
    /// A key has a value that it cannot have.
    #[error("braid's configuration, key \"{key}\": \"{value}\" {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, shortened.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The name or version is wrong.
    #[error("braid's configuration: {0}")]
    Netconf(#[from] NetconfError),
    /// A key cannot be read that is needed.
    #[error(transparent)]
    Unread(Arc<Self>),
}

/// Where the primary network's configuration comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum PrimarySource {
    /// The first of the inline `delegates`.
    Inline(Value),
    /// `"auto"`: the first conf of `primaryConfDir` that holds no meta-plugin.
    Auto,
    /// A file or a directory, by its absolute path.
    Path(PathBuf),
    /// A definition in `multusNamespace`, or a conf file's network name.
    Named(String),
}

impl PrimarySource {
    /// The keys that name the directories and the namespace in which it is looked up.
    pub fn places(&self) -> &'static [&'static str] {
        match self {
            Self::Inline(_) | Self::Path(_) => &[],
            Self::Auto => &["primaryConfDir"],
            Self::Named(_) => &["primaryConfDir", "confDir", "multusNamespace"],
        }
    }
}

/// Which entries the printed result has (`resultScope`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ResultScope {
    /// The primary's, then every extra network's.
    All,
    /// The primary's alone.
    Primary,
}

/// What becomes of a request for `ips` or `mac` that no plugin declares (`capabilityPolicy`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum CapabilityPolicy {
    /// It travels in `CNI_ARGS`, and the result is held against it.
    Verify,
    /// The plan refuses it.
    Strict,
}

/// What CHECK looks at (`checkNetworks`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum CheckNetworks {
    /// Every delegate's CHECK, then the kernel.
    All,
    /// The primary's CHECK; extra networks by the kernel alone.
    Kernel,
    /// The primary alone.
    Primary,
}

/// Which pods get the network-status annotation (NPWG 1.3, section 5).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum StatusPolicy {
    /// Pods with extra networks.
    Attached,
    /// Every pod.
    Always,
    /// None.
    Never,
}

/// An attachment that the runtime says is alive (CNI 1.1.0, section 2, "GC").
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ValidAttachment {
    /// The container, as the runtime wrote it.
    pub container: String,
    /// The primary's interface.
    pub interface: String,
}

/// What tells that the primary network is ready (`readinessindicatorfile`).
#[derive(Clone, Debug)]
pub struct Readiness {
    /// ADD waits for this file; STATUS reports its absence.
    pub file: Option<PathBuf>,
    /// How long ADD waits for it.
    pub timeout: Duration,
}

/// Braid's configuration with every default resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network that the runtime calls us for.
    pub network: NetworkName,
    /// The version that the runtime speaks in this call.
    pub version: Version,
    /// Where the primary comes from; `None` if Braid stands in the primary's chain.
    pub primary: Option<PrimarySource>,
    /// Inline delegates after the first: networks for every pod.
    pub inline_networks: Vec<Value>,
    /// Networks for every pod outside `systemNamespaces`, named as `clusterNetwork` is.
    pub default_networks: Vec<PrimarySource>,
    /// Where `"auto"` looks.
    pub primary_conf_dir: PathBuf,
    /// Where definitions are, in order.
    pub conf_dirs: Vec<PathBuf>,
    /// Braid's state.
    pub state_dir: PathBuf,
    /// Where plugins are that `CNI_PATH` has not.
    pub bin_dir: Option<PathBuf>,
    /// What it says of tenants.
    pub tenancy: Tenancy,
    /// Namespaces whose pods get no default networks.
    pub system_namespaces: Vec<String>,
    /// Whether the annotation `cni` of CNI-Genie chooses a pod's primary.
    pub genie_annotation: bool,
    /// What tells that the primary network is ready.
    pub readiness: Readiness,
    /// A chain of files that every pod gets as a network of its own.
    pub auxiliary_chain: Option<NetworkName>,
    /// Whether a record stays until its teardown succeeded.
    pub retry_delete: bool,
    /// After how long of failing an extra network that cannot be torn down is set aside.
    pub delete_give_up: Duration,
    /// How long one delegate may take.
    pub delegate_timeout: Duration,
    /// The printed result's scope.
    pub result_scope: ResultScope,
    /// When a built-in plugin runs in the process.
    pub built_in_plugins: BuiltInPlugins,
    /// What becomes of requests that no plugin declares.
    pub capability_policy: CapabilityPolicy,
    /// What CHECK looks at.
    pub check_networks: CheckNetworks,
    /// The most networks that one annotation may ask for.
    pub max_networks: usize,
    /// What becomes of unknown keys in a pod's annotation.
    pub unknown_keys: UnknownKeys,
    /// Variables that delegates get from our environment.
    pub pass_environment: Vec<String>,
    /// How to reach the cluster's API; without it, the in-cluster files, else the API is not used.
    pub kubeconfig: Option<PathBuf>,
    /// How long connecting to the API, and asking it altogether, may take.
    pub api_timeout: Duration,
    /// Which pods get the network-status annotation.
    pub status_policy: StatusPolicy,
    /// How old a last-known-good copy of a definition may be; zero keeps none.
    pub definition_cache_max_age: Duration,
    /// Where the kubelet says which devices a pod has.
    pub kubelet_socket: PathBuf,
    /// Where device-info files are.
    pub device_info_dir: PathBuf,
    /// What definitions call interfaces of this node.
    pub node_interfaces: NodeInterfaces,
    /// Whether Braid is leaving this node: no new extra network is attached.
    pub drain: bool,
    /// How to log.
    pub log: LogConfig,
    /// What the runtime has put in for this one call.
    pub from_runtime: FromRuntime,
    /// What an administrator should know but no pod should suffer for.
    pub warnings: Vec<String>,
    /// Keys that cannot be read and count as missing; empty unless the configuration is read for
    /// teardown.
    unread: Vec<UnreadKey>,
}

/// A key of the configuration whose value cannot be read.
#[derive(Clone, Debug)]
struct UnreadKey {
    key: &'static str,
    error: Arc<ConfigError>,
}

/// What a runtime puts into the configuration for one call (CNI 1.1.0, section 2).
#[derive(Clone, Debug, Default)]
pub struct FromRuntime {
    /// Capability arguments.
    pub runtime_config: Map<String, Value>,
    /// Capabilities that Braid's entry declares, if the runtime left them in.
    pub declared_capabilities: Option<Map<String, Value>>,
    /// The result so far (ADD), or of the whole ADD (DEL, CHECK).
    pub prev_result: Option<Value>,
    /// GC's list, if the runtime sent one.
    pub valid_attachments: Option<Vec<ValidAttachment>>,
}

impl Config {
    /// Reads the configuration from standard input's text.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key and what it must be.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let config = Self::read(&object(text)?)?;
        match config.unread.first() {
            Some(UnreadKey { error, .. }) => Err(ConfigError::Unread(Arc::clone(error))),
            None => Ok(config),
        }
    }

    /// Reads the configuration for DEL, CHECK and GC, which must work for pods that were attached
    /// before it became invalid. A key that cannot be read is a warning and counts as missing,
    /// unless the call needs it: see [`Config::require`].
    ///
    /// # Errors
    /// [`ConfigError`] for a text that is no JSON object, for the name, the version and `cniDir`:
    /// in another directory than the one that holds the records, teardown would succeed without
    /// doing anything.
    pub fn parse_for_teardown(text: &[u8]) -> Result<Self, ConfigError> {
        let mut config = Self::read(&object(text)?)?;
        config.require(&["cniDir"])?;
        let missing = config.unread.iter().map(|UnreadKey { error, .. }| {
            format!(
                "{error}; this call goes on as if the key were missing, but no pod starts until it \
                 is mended"
            )
        });
        config.warnings.extend(missing.collect::<Vec<_>>());
        Ok(config)
    }

    /// Whether the keys that a step needs could be read.
    ///
    /// # Errors
    /// [`ConfigError::Unread`] for the first that could not.
    pub fn require(&self, keys: &[&str]) -> Result<(), ConfigError> {
        match self.unread.iter().find(|unread| keys.contains(&unread.key)) {
            Some(UnreadKey { error, .. }) => Err(ConfigError::Unread(Arc::clone(error))),
            None => Ok(()),
        }
    }

    /// How much an annotation may ask for, and in which words.
    pub fn limits(&self) -> Limits {
        Limits { networks: self.max_networks, unknown_keys: self.unknown_keys }
    }

    /// Whether Braid runs the primary itself, rather than standing in its chain.
    pub fn is_delegating(&self) -> bool {
        self.primary.is_some()
    }

    /// Where plugins are searched: the runtime's `CNI_PATH`, then `binDir`.
    pub fn plugin_path(&self, runtime: &[PathBuf]) -> Vec<PathBuf> {
        let mut path = runtime.to_vec();
        path.extend(self.bin_dir.iter().filter(|dir| !runtime.contains(dir)).cloned());
        path
    }
}

/// The JSON object that `text` is.
fn object(text: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    match serde_json::from_slice(text).map_err(ConfigError::Json)? {
        Value::Object(object) => Ok(object),
        _ => Err(ConfigError::NotAnObject),
    }
}

#[cfg(test)]
mod tests;
