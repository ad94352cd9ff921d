//! Braid's own configuration: the plugin entry that the runtime hands over on standard input, with
//! Multus's vocabulary, defaults resolved.
//!
//! What stands in it is the administrator's word (design decision 16): an unknown key is a warning,
//! never an outage; a known key with a wrong value is an error that names it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::cni::error::one_line;
use crate::cni::keys::{self, KeyError};
use crate::cni::netconf::{self, NetconfError, NetworkName};
use crate::cni::version::Version;
use crate::device::{DEVICE_INFO_DIR, KUBELET_SOCKET};
use crate::logging::{Level, LogConfig, Rotation};
use crate::name::Namespace;
use crate::policy::{Namespaces, Policy, PolicyError};

/// The capability through which a runtime hands over a pod's annotations.
pub const ANNOTATIONS_CAPABILITY: &str = "io.kubernetes.cri.pod-annotations";

/// Where definitions are unless `confDir` says otherwise.
pub const DEFAULT_CONF_DIR: &str = "/etc/cni/net.d/braid.d";
/// Where definitions of a Multus installation are: read after the default, never after a `confDir`.
pub const MULTUS_CONF_DIR: &str = "/etc/cni/multus/net.d";

/// Keys that mean something to Braid or to the protocol.
pub const KNOWN_KEYS: [&str; 49] = [
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "capabilities",
    "runtimeConfig",
    "prevResult",
    "args",
    "dns",
    "ipam",
    "clusterNetwork",
    "delegates",
    "defaultNetworks",
    "primaryConfDir",
    "confDir",
    "cniDir",
    "binDir",
    "kubeconfig",
    "namespaceIsolation",
    "globalNamespaces",
    "systemNamespaces",
    "multusNamespace",
    "readinessindicatorfile",
    "readinessTimeout",
    "auxiliaryCNIChainName",
    "retryDeleteOnError",
    "logFile",
    "logLevel",
    "logToStderr",
    "logOptions",
    "resultScope",
    "capabilityPolicy",
    "checkNetworks",
    "keepClusterRoutes",
    "delegateTimeout",
    "deleteGiveUp",
    "maxNetworks",
    "passEnvironment",
    "apiTimeout",
    "statusPolicy",
    "definitionCacheMaxAge",
    "kubeletSocket",
    "deviceInfoDir",
    "drain",
    "policy",
    "auditLog",
    "eventLog",
    "metricsFile",
    "genieAnnotation",
];

/// Keys of Multus's that have no meaning without its daemon; accepted, so that a configuration moves as it is.
pub const MULTUS_DAEMON_KEYS: [&str; 7] = [
    "daemonSocketDir",
    "socketDir",
    "chrootDir",
    "cniConfigDir",
    "multusConfigFile",
    "multusAutoconfigDir",
    "perNodeCertificate",
];

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

/// Which entries the printed result has (design decision 7).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ResultScope {
    /// The primary's, then every extra network's.
    All,
    /// The primary's alone.
    Primary,
}

/// What becomes of a request for `ips` or `mac` that no plugin declares (design decision 9).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum CapabilityPolicy {
    /// It travels in `CNI_ARGS`, and the result is held against it.
    Verify,
    /// The plan refuses it.
    Strict,
}

/// What CHECK looks at (design decision 5).
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

/// Braid's configuration with every default resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network that the runtime calls us for.
    pub network: NetworkName,
    /// The version that the runtime speaks in this call.
    pub version: Version,
    /// Where the primary comes from; `None` where Braid stands in the primary's chain.
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
    /// Whether a pod reaches only its own namespace's definitions and the global ones.
    pub namespace_isolation: bool,
    /// Namespaces whose definitions every pod may use.
    pub global_namespaces: Vec<String>,
    /// Namespaces whose pods get no default networks.
    pub system_namespaces: Vec<String>,
    /// The rules for what tenants ask for and define, or why nobody can tell them. An unclear policy holds up
    /// what pods ask for, and nothing else.
    pub policy: Result<Option<Policy>, PolicyError>,
    /// Whether the annotation `cni` of CNI-Genie chooses a pod's primary.
    pub genie_annotation: bool,
    /// Where the definitions of `clusterNetwork`, `defaultNetworks` and the default-network annotation are.
    pub multus_namespace: Namespace,
    /// ADD waits for this file; STATUS reports its absence.
    pub readiness_file: Option<PathBuf>,
    /// How long ADD waits for it.
    pub readiness_timeout: Duration,
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
    /// What becomes of requests that no plugin declares.
    pub capability_policy: CapabilityPolicy,
    /// What CHECK looks at.
    pub check_networks: CheckNetworks,
    /// Destinations that stay on the primary when the default route moves.
    pub keep_cluster_routes: Vec<IpNetwork>,
    /// The most networks that one annotation may ask for.
    pub max_networks: usize,
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
    /// Whether Braid is leaving this node: no new extra network is attached.
    pub drain: bool,
    /// How to log.
    pub log: LogConfig,
    /// Where each call leaves a line of JSON.
    pub event_log: Option<PathBuf>,
    /// Where calls are counted, for node-exporter's textfile collector.
    pub metrics_file: Option<PathBuf>,
    /// Capability arguments from the runtime.
    pub runtime_config: Map<String, Value>,
    /// Capabilities that Braid's entry declares, where the runtime left them in.
    pub declared_capabilities: Option<Map<String, Value>>,
    /// The result so far (ADD), or of the whole ADD (DEL, CHECK).
    pub prev_result: Option<Value>,
    /// GC's list, where the runtime sent one.
    pub valid_attachments: Option<Vec<ValidAttachment>>,
    /// What an administrator should know but no pod should suffer for.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the configuration from standard input's text.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key and what it must be.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_slice(text).map_err(ConfigError::Json)?;
        let Value::Object(object) = value else { return Err(ConfigError::NotAnObject) };
        Self::read(&object)
    }

    fn read(object: &Map<String, Value>) -> Result<Self, ConfigError> {
        let mut delegates = decode::<Vec<Value>>(object, "delegates")?.unwrap_or_default();
        let cluster_network = text(object, "clusterNetwork")?;
        let primary = match cluster_network {
            Some(name) => Some(source(&name, "clusterNetwork")?),
            None if delegates.is_empty() => None,
            None => Some(PrimarySource::Inline(delegates.remove(0))),
        };
        // Multus ignores `delegates` beside `clusterNetwork`; so do we, and say so.
        let ignored = matches!(primary, Some(ref source) if !matches!(source, PrimarySource::Inline(_)))
            && !delegates.is_empty();
        let mut warnings = unknown_keys(object);
        if ignored {
            warnings.push("\"delegates\" is ignored because \"clusterNetwork\" is set".to_owned());
            delegates.clear();
        }
        let policy = read_policy(object)?;
        match &policy {
            Ok(policy) => warnings.extend(policy.iter().flat_map(|policy| policy.warnings.clone())),
            Err(problem) => warnings.push(problem.to_string()),
        }
        Ok(Self {
            network: name(object)?,
            version: netconf::read_version(object, Version::V0_1_0)?,
            primary,
            inline_networks: delegates,
            default_networks: texts(object, "defaultNetworks")?
                .unwrap_or_default()
                .iter()
                .map(|name| source(name, "defaultNetworks"))
                .collect::<Result<_, _>>()?,
            primary_conf_dir: path(object, "primaryConfDir")?.unwrap_or_else(|| "/etc/cni/net.d".into()),
            conf_dirs: path(object, "confDir")?
                .map_or_else(|| vec![DEFAULT_CONF_DIR.into(), MULTUS_CONF_DIR.into()], |dir| vec![dir]),
            state_dir: path(object, "cniDir")?.unwrap_or_else(|| "/var/lib/cni/braid".into()),
            bin_dir: path(object, "binDir")?,
            namespace_isolation: decode(object, "namespaceIsolation")?.unwrap_or(true),
            global_namespaces: texts(object, "globalNamespaces")?
                .unwrap_or_else(|| vec!["default".to_owned()]),
            system_namespaces: system_namespaces(object)?,
            policy,
            genie_annotation: decode(object, "genieAnnotation")?.unwrap_or(false),
            multus_namespace: multus_namespace(object)?,
            readiness_file: path(object, "readinessindicatorfile")?,
            readiness_timeout: duration(object, "readinessTimeout")?.unwrap_or(Duration::from_secs(45)),
            auxiliary_chain: text(object, "auxiliaryCNIChainName")?.map(|name| name.parse()).transpose()?,
            retry_delete: decode(object, "retryDeleteOnError")?.unwrap_or(true),
            delete_give_up: duration(object, "deleteGiveUp")?.unwrap_or(Duration::from_mins(15)),
            delegate_timeout: positive(object, "delegateTimeout")?.unwrap_or(Duration::from_secs(90)),
            result_scope: decode(object, "resultScope")?.unwrap_or(ResultScope::All),
            capability_policy: decode(object, "capabilityPolicy")?.unwrap_or(CapabilityPolicy::Verify),
            check_networks: decode(object, "checkNetworks")?.unwrap_or(CheckNetworks::All),
            keep_cluster_routes: decode(object, "keepClusterRoutes")?.unwrap_or_default(),
            max_networks: decode(object, "maxNetworks")?.unwrap_or(16),
            pass_environment: decode(object, "passEnvironment")?.unwrap_or_default(),
            kubeconfig: path(object, "kubeconfig")?,
            api_timeout: positive(object, "apiTimeout")?.unwrap_or(Duration::from_secs(10)),
            status_policy: decode(object, "statusPolicy")?.unwrap_or(StatusPolicy::Attached),
            definition_cache_max_age: duration(object, "definitionCacheMaxAge")?
                .unwrap_or(Duration::from_hours(24)),
            kubelet_socket: path(object, "kubeletSocket")?.unwrap_or_else(|| KUBELET_SOCKET.into()),
            device_info_dir: path(object, "deviceInfoDir")?.unwrap_or_else(|| DEVICE_INFO_DIR.into()),
            drain: decode(object, "drain")?.unwrap_or(false),
            log: log_config(object, &mut warnings)?,
            event_log: path(object, "eventLog")?,
            metrics_file: path(object, "metricsFile")?,
            runtime_config: decode(object, "runtimeConfig")?.unwrap_or_default(),
            declared_capabilities: decode(object, "capabilities")?,
            prev_result: keys::get(object, "prevResult").cloned(),
            valid_attachments: valid_attachments(object)?,
            warnings,
        })
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

fn decode<T: DeserializeOwned>(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<T>, ConfigError> {
    Ok(keys::decode(object, key)?)
}

/// A text; empty counts as missing, as it does for a Go program.
fn text(object: &Map<String, Value>, key: &'static str) -> Result<Option<String>, ConfigError> {
    Ok(decode::<String>(object, key)?.filter(|text| !text.is_empty()))
}

/// A list of texts, or one text with commas: Multus has both.
fn texts(object: &Map<String, Value>, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(Value::String(joined)) = keys::get(object, key) else { return decode(object, key) };
    let words = joined.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(Some(words.map(str::to_owned).collect()).filter(|words: &Vec<_>| !words.is_empty()))
}

fn path(object: &Map<String, Value>, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
    match text(object, key)? {
        Some(path) if !Path::new(&path).is_absolute() => Err(wrong(key, &path, "must be an absolute path")),
        path => Ok(path.map(PathBuf::from)),
    }
}

/// Seconds, or a number with a unit: `"500ms"`, `"90s"`, `"15m"`, `"24h"`.
fn duration(object: &Map<String, Value>, key: &'static str) -> Result<Option<Duration>, ConfigError> {
    const RULE: &str = "must be seconds, or a number with one of the units ms, s, m, h";
    let Some(value) = keys::get(object, key) else { return Ok(None) };
    let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    parse_duration(&written).map(Some).ok_or_else(|| wrong(key, &written, RULE))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let milliseconds = match text.strip_prefix(digits)? {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// A duration that zero would make useless.
fn positive(object: &Map<String, Value>, key: &'static str) -> Result<Option<Duration>, ConfigError> {
    match duration(object, key)? {
        Some(Duration::ZERO) => Err(wrong(key, "0", "must be more than zero")),
        limit => Ok(limit),
    }
}

fn wrong(key: &'static str, value: &str, rule: &'static str) -> ConfigError {
    ConfigError::Value { key, value: one_line(value, 80), rule }
}

fn name(object: &Map<String, Value>) -> Result<NetworkName, ConfigError> {
    let name = text(object, "name")?.ok_or(NetconfError::NoName)?;
    Ok(name.parse()?)
}

fn multus_namespace(object: &Map<String, Value>) -> Result<Namespace, ConfigError> {
    const KEY: &str = "multusNamespace";
    let name = text(object, KEY)?.unwrap_or_else(|| "kube-system".to_owned());
    name.parse().map_err(|_| wrong(KEY, &name, "must be the name of a namespace"))
}

fn system_namespaces(object: &Map<String, Value>) -> Result<Vec<String>, ConfigError> {
    Ok(texts(object, "systemNamespaces")?.unwrap_or_else(|| vec!["kube-system".to_owned()]))
}

/// The policy, none without the key. A policy that cannot be understood is no error yet: teardown, and pods
/// that ask for nothing, have no need of it.
fn read_policy(object: &Map<String, Value>) -> Result<Result<Option<Policy>, PolicyError>, ConfigError> {
    let system = system_namespaces(object)?;
    let offered = multus_namespace(object)?;
    let trusted = system.iter().map(String::as_str).filter(|name| name.parse::<Namespace>().is_ok());
    let trusted = Namespaces::from_words(trusted.chain([offered.as_str()])).unwrap_or_default();
    Ok(keys::get(object, "policy").map(|value| Policy::read(value, trusted)).transpose())
}

/// How `clusterNetwork` and `defaultNetworks` name a network.
fn source(name: &str, key: &'static str) -> Result<PrimarySource, ConfigError> {
    match name {
        "auto" if key == "clusterNetwork" => Ok(PrimarySource::Auto),
        path if path.starts_with('/') => Ok(PrimarySource::Path(path.into())),
        name if name.contains('/') => Err(wrong(key, name, "must be a network's name, or an absolute path")),
        name => Ok(PrimarySource::Named(name.to_owned())),
    }
}

fn log_config(object: &Map<String, Value>, warnings: &mut Vec<String>) -> Result<LogConfig, ConfigError> {
    let options = decode::<Map<String, Value>>(object, "logOptions")?.unwrap_or_default();
    let level = text(object, "logLevel")?;
    let known = level.as_deref().map(str::parse::<Level>);
    if let Some(Err(unknown)) = &known {
        warnings.push(unknown.to_string());
    }
    Ok(LogConfig {
        level: known.and_then(Result::ok).unwrap_or_default(),
        file: path(object, "logFile")?,
        audit: path(object, "auditLog")?,
        to_stderr: decode(object, "logToStderr")?.unwrap_or(true),
        rotation: Rotation {
            max_size_mib: decode(&options, "maxSize")?,
            max_age_days: decode(&options, "maxAge")?,
            max_backups: decode(&options, "maxBackups")?,
            compress: decode(&options, "compress")?.unwrap_or(false),
        },
    })
}

/// GC's list. `null` is one without entries: Go writes it so, and CRI-O sends it for a network without pods.
fn valid_attachments(object: &Map<String, Value>) -> Result<Option<Vec<ValidAttachment>>, ConfigError> {
    const KEY: &str = "cni.dev/valid-attachments";
    if object.get(KEY).is_some_and(Value::is_null) {
        return Ok(Some(Vec::new()));
    }
    let Some(list) = decode::<Vec<Map<String, Value>>>(object, KEY)? else { return Ok(None) };
    let read = |entry: &Map<String, Value>| {
        let container =
            text(entry, "containerID")?.ok_or_else(|| wrong(KEY, "", "needs a containerID in each entry"))?;
        let interface =
            text(entry, "ifname")?.ok_or_else(|| wrong(KEY, "", "needs an ifname in each entry"))?;
        Ok(ValidAttachment { container, interface })
    };
    list.iter().map(read).collect::<Result<_, _>>().map(Some)
}

/// A warning for each key that nobody reads, with the nearest one that somebody does.
fn unknown_keys(object: &Map<String, Value>) -> Vec<String> {
    let known =
        |key: &str| KNOWN_KEYS.iter().chain(&MULTUS_DAEMON_KEYS).any(|known| known.eq_ignore_ascii_case(key));
    let dotted = |key: &str| key.contains(['.', '/']);
    let unknown = object.keys().filter(|key| !known(key) && !dotted(key));
    unknown
        .map(|key| match keys::nearest(key, KNOWN_KEYS) {
            Some(near) => format!(
                "unknown key \"{}\" in braid's configuration: did you mean \"{near}\"?",
                one_line(key, 64)
            ),
            None => format!("unknown key \"{}\" in braid's configuration", one_line(key, 64)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(more: Value) -> Result<Config, ConfigError> {
        let mut value = json!({"cniVersion": "1.1.0", "name": "node", "type": "braid"});
        value.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        Config::parse(value.to_string().as_bytes())
    }

    #[test]
    fn nothing_configured_is_chained_with_safe_defaults() {
        let config = parse(json!({})).unwrap();
        assert!(!config.is_delegating() && config.namespace_isolation && config.retry_delete);
        assert_eq!(config.conf_dirs, [PathBuf::from(DEFAULT_CONF_DIR), PathBuf::from(MULTUS_CONF_DIR)]);
        assert_eq!((config.global_namespaces, config.warnings), (vec!["default".to_owned()], vec![]));
    }

    #[test]
    fn a_primary_makes_it_delegating() {
        let table = [
            (json!({"clusterNetwork": "auto"}), PrimarySource::Auto),
            (json!({"clusterNetwork": "/etc/cni/x.conf"}), PrimarySource::Path("/etc/cni/x.conf".into())),
            (json!({"CLUSTERNETWORK": "calico"}), PrimarySource::Named("calico".into())),
            (
                json!({"delegates": [{"type": "a"}, {"type": "b"}]}),
                PrimarySource::Inline(json!({"type": "a"})),
            ),
        ];
        for (more, expected) in table {
            assert_eq!(parse(more).unwrap().primary, Some(expected));
        }
    }

    #[test]
    fn cluster_network_wins_over_delegates_and_says_so() {
        let config = parse(json!({"clusterNetwork": "auto", "delegates": [{"type": "a"}]})).unwrap();
        assert!(config.inline_networks.is_empty());
        assert_eq!(config.warnings, ["\"delegates\" is ignored because \"clusterNetwork\" is set"]);
    }

    #[test]
    fn lists_may_be_texts_with_commas() {
        let config = parse(json!({"globalNamespaces": "default, ops", "systemNamespaces": ["a"]})).unwrap();
        assert_eq!(config.global_namespaces, ["default", "ops"]);
        assert_eq!(config.system_namespaces, ["a"]);
    }

    #[test]
    fn unknown_keys_are_warnings_with_a_hint() {
        let config =
            parse(json!({"clusterNetwrk": "x", "daemonSocketDir": "/run", "org.example.note": 1})).unwrap();
        assert_eq!(
            config.warnings,
            ["unknown key \"clusterNetwrk\" in braid's configuration: did you mean \"clusterNetwork\"?"]
        );
    }

    #[test]
    fn wrong_values_name_their_key() {
        let table = [
            (json!({"confDir": "relative"}), "confDir"),
            (json!({"namespaceIsolation": "yes"}), "namespaceIsolation"),
            (json!({"delegateTimeout": "soon"}), "delegateTimeout"),
            (json!({"delegateTimeout": 0}), "delegateTimeout"),
            (json!({"keepClusterRoutes": ["10.0.0.0/99"]}), "keepClusterRoutes"),
            (json!({"multusNamespace": "Not A Name"}), "multusNamespace"),
            (json!({"resultScope": "some"}), "resultScope"),
            (json!({"cni.dev/valid-attachments": [{"containerID": "x"}]}), "valid-attachments"),
            (json!({"runtimeConfig": []}), "runtimeConfig"),
        ];
        for (more, key) in table {
            let error = parse(more).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn durations_have_units() {
        let table = [("90", 90_000), ("90s", 90_000), ("15m", 900_000), ("24h", 86_400_000), ("500ms", 500)];
        for (text, expected) in table {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(expected)), "{text}");
        }
        for text in ["", "s", "-1", "1d", "1.5s", "99999999999999999999", "18446744073709551615h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn gc_needs_the_list_to_be_there() {
        assert_eq!(parse(json!({})).unwrap().valid_attachments, None);
        for none in [json!(null), json!([])] {
            let config = parse(json!({"cni.dev/valid-attachments": none})).unwrap();
            assert_eq!(config.valid_attachments, Some(Vec::new()));
        }
        let config =
            parse(json!({"cni.dev/valid-attachments": [{"containerID": "c", "ifname": "eth0"}]})).unwrap();
        assert_eq!(
            config.valid_attachments,
            Some(vec![ValidAttachment { container: "c".to_owned(), interface: "eth0".to_owned() }])
        );
    }

    #[test]
    fn an_unknown_log_level_is_a_warning() {
        let config = parse(json!({"logLevel": "loud"})).unwrap();
        assert_eq!(config.warnings.len(), 1);
    }
}
