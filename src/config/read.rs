//! Braid's configuration, read key by key over its defaults.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::keys::unknown_keys;
use super::value::{decode, duration, path, positive, text, texts, wrong};
use super::{
    CapabilityPolicy, CheckNetworks, Config, ConfigError, DEFAULT_CONF_DIR, FromRuntime,
    MULTUS_CONF_DIR, NodeInterfaces, PrimarySource, Readiness, ResultScope, StatusPolicy,
    UnreadKey, ValidAttachment,
};
use super::{Level, LogConfig, Rotation};
use crate::delegate::BuiltInPlugins;
use crate::device::{DEVICE_INFO_DIR, KUBELET_SOCKET};
use crate::pod::name::Namespace;
use crate::policy::{Namespaces, Policy, PolicyError, Tenancy};
use crate::selection::UnknownKeys;
use cni::keys::{self, KeyError};
use cni::netconf::{self, NetconfError, NetworkName};
use cni::version::Version;

type Object = Map<String, Value>;

/// The name that `multusNamespace` has by default.
const DEFAULT_MULTUS_NAMESPACE: &str = "kube-system";

/// The keys of one configuration, and those whose values cannot be read.
struct Keys<'o> {
    object: &'o Object,
    unread: Vec<UnreadKey>,
}

impl Keys<'_> {
    /// The value of `key`, or `None` if it is missing or cannot be read.
    fn read<T>(
        &mut self,
        key: &'static str,
        how: impl FnOnce(&Object, &'static str) -> Result<Option<T>, ConfigError>,
    ) -> Option<T> {
        how(self.object, key).unwrap_or_else(|error| {
            self.unread.push(UnreadKey { key, error: error.into() });
            None
        })
    }

    /// Replaces a default by the value of `key`.
    fn set<T>(
        &mut self,
        default: &mut T,
        key: &'static str,
        how: impl FnOnce(&Object, &'static str) -> Result<Option<T>, ConfigError>,
    ) {
        if let Some(value) = self.read(key, how) {
            *default = value;
        }
    }
}

impl Config {
    /// What holds if a configuration has nothing but the three keys that cannot be left out, or
    /// whose default has to be read.
    fn new(network: NetworkName, version: Version, multus_namespace: Namespace) -> Self {
        Self {
            network,
            version,
            primary: None,
            inline_networks: Vec::new(),
            default_networks: Vec::new(),
            primary_conf_dir: "/etc/cni/net.d".into(),
            conf_dirs: vec![DEFAULT_CONF_DIR.into(), MULTUS_CONF_DIR.into()],
            state_dir: "/var/lib/cni/braid".into(),
            bin_dir: None,
            tenancy: Tenancy::open_to_default(multus_namespace),
            system_namespaces: vec!["kube-system".to_owned()],
            genie_annotation: false,
            readiness: Readiness { file: None, timeout: Duration::from_secs(45) },
            auxiliary_chain: None,
            retry_delete: true,
            delete_give_up: Duration::from_mins(15),
            delegate_timeout: Duration::from_secs(90),
            result_scope: ResultScope::All,
            built_in_plugins: BuiltInPlugins::Linked,
            capability_policy: CapabilityPolicy::Verify,
            check_networks: CheckNetworks::All,
            max_networks: 16,
            unknown_keys: UnknownKeys::Refuse,
            pass_environment: Vec::new(),
            kubeconfig: None,
            api_timeout: Duration::from_secs(10),
            status_policy: StatusPolicy::Attached,
            definition_cache_max_age: Duration::from_hours(24),
            kubelet_socket: KUBELET_SOCKET.into(),
            device_info_dir: DEVICE_INFO_DIR.into(),
            node_interfaces: NodeInterfaces::default(),
            drain: false,
            log: LogConfig { to_stderr: true, ..LogConfig::default() },
            from_runtime: FromRuntime::default(),
            warnings: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// Reads every key. One that cannot be read counts as missing and is listed in `unread`.
    ///
    /// # Errors
    /// [`ConfigError`] for the name or the version, which the runtime itself puts in.
    pub(super) fn read(object: &Object) -> Result<Self, ConfigError> {
        let version = netconf::read_version(object, Version::V0_1_0)?;
        let mut keys = Keys { object, unread: Vec::new() };
        let multus_namespace = match keys.read("multusNamespace", namespace) {
            Some(namespace) => namespace,
            None => parse_namespace("multusNamespace", DEFAULT_MULTUS_NAMESPACE)?,
        };
        let mut config = Self::new(name(object)?, version, multus_namespace);
        config.warnings = unknown_keys(object);
        config.read_networks(&mut keys);
        config.read_primary(&mut keys);
        config.read_places(&mut keys);
        config.read_tenancy(&mut keys);
        config.read_limits(&mut keys);
        config.read_behaviour(&mut keys);
        config.read_cluster(&mut keys);
        config.read_logs(&mut keys);
        config.read_request(&mut keys);
        config.unread = keys.unread;
        Ok(config)
    }

    /// Networks of the node's own beside the primary.
    fn read_networks(&mut self, keys: &mut Keys<'_>) {
        keys.set(&mut self.default_networks, "defaultNetworks", sources);
        self.auxiliary_chain = keys.read("auxiliaryCNIChainName", network_name);
    }

    fn read_primary(&mut self, keys: &mut Keys<'_>) {
        let mut delegates = keys.read("delegates", decode::<Vec<Value>>).unwrap_or_default();
        let named = keys.read("clusterNetwork", |object, key| {
            text(object, key)?.map(|name| source(&name, key)).transpose()
        });
        if named.is_some() {
            self.primary = named;
            // Multus ignores `delegates` beside `clusterNetwork`; so do we, and say so.
            if !delegates.is_empty() {
                let ignored = "\"delegates\" is ignored because \"clusterNetwork\" is set";
                self.warnings.push(ignored.to_owned());
            }
        } else if !delegates.is_empty() {
            self.primary = Some(PrimarySource::Inline(delegates.remove(0)));
            self.inline_networks = delegates;
        }
    }

    fn read_places(&mut self, keys: &mut Keys<'_>) {
        keys.set(&mut self.primary_conf_dir, "primaryConfDir", path);
        let conf_dir = keys.read("confDir", path);
        self.conf_dirs = conf_dir.map_or_else(|| self.conf_dirs.clone(), |dir| vec![dir]);
        keys.set(&mut self.state_dir, "cniDir", path);
        self.bin_dir = keys.read("binDir", path);
        keys.set(&mut self.kubelet_socket, "kubeletSocket", path);
        keys.set(&mut self.device_info_dir, "deviceInfoDir", path);
        self.readiness.file = keys.read("readinessindicatorfile", path);
        keys.set(&mut self.node_interfaces, "nodeInterfaces", NodeInterfaces::read);
    }

    fn read_tenancy(&mut self, keys: &mut Keys<'_>) {
        keys.set(&mut self.tenancy.isolation, "namespaceIsolation", decode);
        keys.set(&mut self.tenancy.global_namespaces, "globalNamespaces", texts);
        keys.set(&mut self.system_namespaces, "systemNamespaces", texts);
        keys.set(&mut self.genie_annotation, "genieAnnotation", decode);
        self.tenancy.policy =
            read_policy(keys.object, &self.system_namespaces, &self.tenancy.multus_namespace);
        match &self.tenancy.policy {
            Ok(policy) => {
                self.warnings.extend(policy.iter().flat_map(|policy| policy.warnings.clone()))
            }
            Err(problem) => self.warnings.push(problem.to_string()),
        }
    }

    fn read_limits(&mut self, keys: &mut Keys<'_>) {
        keys.set(&mut self.readiness.timeout, "readinessTimeout", duration);
        keys.set(&mut self.delegate_timeout, "delegateTimeout", positive);
        keys.set(&mut self.delete_give_up, "deleteGiveUp", duration);
        keys.set(&mut self.max_networks, "maxNetworks", decode);
        if keys.read("lenientAnnotations", decode).unwrap_or(false) {
            self.unknown_keys = UnknownKeys::Ignore;
        }
    }

    fn read_behaviour(&mut self, keys: &mut Keys<'_>) {
        keys.set(&mut self.retry_delete, "retryDeleteOnError", decode);
        keys.set(&mut self.result_scope, "resultScope", decode);
        keys.set(&mut self.built_in_plugins, "builtinPlugins", decode);
        keys.set(&mut self.capability_policy, "capabilityPolicy", decode);
        keys.set(&mut self.check_networks, "checkNetworks", decode);
        keys.set(&mut self.tenancy.keep_cluster_routes, "keepClusterRoutes", decode);
        keys.set(&mut self.pass_environment, "passEnvironment", decode);
        keys.set(&mut self.drain, "drain", decode);
    }

    fn read_cluster(&mut self, keys: &mut Keys<'_>) {
        self.kubeconfig = keys.read("kubeconfig", path);
        keys.set(&mut self.api_timeout, "apiTimeout", positive);
        keys.set(&mut self.status_policy, "statusPolicy", decode);
        keys.set(&mut self.definition_cache_max_age, "definitionCacheMaxAge", duration);
    }

    fn read_logs(&mut self, keys: &mut Keys<'_>) {
        keys.set(&mut self.log.to_stderr, "logToStderr", decode);
        match keys.read("logLevel", text).map(|level| level.parse::<Level>()) {
            Some(Err(unknown)) => self.warnings.push(unknown.to_string()),
            Some(Ok(level)) => self.log.level = level,
            None => {}
        }
        keys.set(&mut self.log.format, "logFormat", decode);
        self.log.file = keys.read("logFile", path);
        self.log.audit = keys.read("auditLog", path);
        keys.set(&mut self.log.rotation, "logOptions", rotation);
        self.log.events = keys.read("eventLog", path);
        self.log.metrics = keys.read("metricsFile", path);
    }

    /// What the runtime has put in for this one call.
    fn read_request(&mut self, keys: &mut Keys<'_>) {
        let inputs = &mut self.from_runtime;
        keys.set(&mut inputs.runtime_config, "runtimeConfig", decode);
        inputs.declared_capabilities = keys.read("capabilities", decode);
        inputs.prev_result = keys::get(keys.object, "prevResult").cloned();
        inputs.valid_attachments = keys.read("cni.dev/valid-attachments", valid_attachments);
    }
}

fn rotation(object: &Object, key: &'static str) -> Result<Option<Rotation>, ConfigError> {
    let Some(options) = decode::<Object>(object, key)? else { return Ok(None) };
    Ok(Some(Rotation {
        max_size_mib: log_option(&options, "maxSize", "logOptions.maxSize")?,
        max_age_days: log_option(&options, "maxAge", "logOptions.maxAge")?,
        max_backups: log_option(&options, "maxBackups", "logOptions.maxBackups")?,
        compress: log_option(&options, "compress", "logOptions.compress")?.unwrap_or(false),
    }))
}

/// `path` is how an error names the key.
fn log_option<T: DeserializeOwned>(
    options: &Object,
    key: &'static str,
    path: &'static str,
) -> Result<Option<T>, ConfigError> {
    Ok(keys::decode(options, key).map_err(|error| KeyError { key: path, ..error })?)
}

fn name(object: &Object) -> Result<NetworkName, ConfigError> {
    let name = text(object, "name")?.ok_or(NetconfError::NoName)?;
    Ok(name.parse()?)
}

fn namespace(object: &Object, key: &'static str) -> Result<Option<Namespace>, ConfigError> {
    text(object, key)?.map(|name| parse_namespace(key, &name)).transpose()
}

fn parse_namespace(key: &'static str, name: &str) -> Result<Namespace, ConfigError> {
    name.parse().map_err(|_| wrong(key, name, "must be the name of a namespace"))
}

/// The policy, none without the key. A policy that cannot be understood is no error yet: teardown,
/// and pods that ask for nothing, have no need of it.
fn read_policy(
    object: &Object,
    system: &[String],
    offered: &Namespace,
) -> Result<Option<Policy>, PolicyError> {
    let trusted =
        system.iter().map(String::as_str).filter(|name| name.parse::<Namespace>().is_ok());
    let trusted = Namespaces::from_words(trusted.chain([offered.as_str()])).unwrap_or_default();
    keys::get(object, "policy").map(|value| Policy::read(value, trusted)).transpose()
}

/// How `clusterNetwork` and `defaultNetworks` name a network.
fn source(name: &str, key: &'static str) -> Result<PrimarySource, ConfigError> {
    match name {
        "auto" if key == "clusterNetwork" => Ok(PrimarySource::Auto),
        path if path.starts_with('/') => Ok(PrimarySource::Path(path.into())),
        name if name.contains('/') => {
            Err(wrong(key, name, "must be a network's name, or an absolute path"))
        }
        name => Ok(PrimarySource::Named(name.to_owned())),
    }
}

fn network_name(object: &Object, key: &'static str) -> Result<Option<NetworkName>, ConfigError> {
    const RULE: &str = "must be a network's name: 1 to 200 letters, digits, \"_\", \".\" or \"-\", \
                        the first a letter or digit";
    let parse = |name: String| name.parse().map_err(|_| wrong(key, &name, RULE));
    text(object, key)?.map(parse).transpose()
}

fn sources(object: &Object, key: &'static str) -> Result<Option<Vec<PrimarySource>>, ConfigError> {
    let names = texts(object, key)?;
    names.map(|names| names.iter().map(|name| source(name, key)).collect()).transpose()
}

/// GC's list. `null` is one without entries: Go writes it so, and CRI-O sends it for a network
/// without pods.
fn valid_attachments(
    object: &Object,
    key: &'static str,
) -> Result<Option<Vec<ValidAttachment>>, ConfigError> {
    if object.get(key).is_some_and(Value::is_null) {
        return Ok(Some(Vec::new()));
    }
    let Some(list) = decode::<Vec<Map<String, Value>>>(object, key)? else { return Ok(None) };
    let read = |entry: &Map<String, Value>| {
        let container = text(entry, "containerID")?
            .ok_or_else(|| wrong(key, "", "needs a containerID in each entry"))?;
        let interface = text(entry, "ifname")?
            .ok_or_else(|| wrong(key, "", "needs an ifname in each entry"))?;
        Ok(ValidAttachment { container, interface })
    };
    list.iter().map(read).collect::<Result<_, _>>().map(Some)
}
