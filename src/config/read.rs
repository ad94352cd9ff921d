//! Braid's configuration, read key by key over its defaults.

use std::time::Duration;

use serde_json::{Map, Value};

use super::keys::unknown_keys;
use super::value::{decode, duration, path, positive, text, texts, wrong};
use super::{
    CapabilityPolicy, CheckNetworks, Config, ConfigError, DEFAULT_CONF_DIR, MULTUS_CONF_DIR, PrimarySource,
    ResultScope, StatusPolicy, ValidAttachment,
};
use crate::cni::keys;
use crate::cni::netconf::{self, NetconfError, NetworkName};
use crate::cni::version::Version;
use crate::device::{DEVICE_INFO_DIR, KUBELET_SOCKET};
use crate::logging::{Level, LogConfig, Rotation};
use crate::name::Namespace;
use crate::policy::{Namespaces, Policy, PolicyError};

type Object = Map<String, Value>;

impl Config {
    /// What holds where a configuration has nothing but the three keys that cannot be left out, or whose default
    /// has to be read.
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
            namespace_isolation: true,
            global_namespaces: vec!["default".to_owned()],
            system_namespaces: vec!["kube-system".to_owned()],
            policy: Ok(None),
            genie_annotation: false,
            multus_namespace,
            readiness_file: None,
            readiness_timeout: Duration::from_secs(45),
            auxiliary_chain: None,
            retry_delete: true,
            delete_give_up: Duration::from_mins(15),
            delegate_timeout: Duration::from_secs(90),
            result_scope: ResultScope::All,
            capability_policy: CapabilityPolicy::Verify,
            check_networks: CheckNetworks::All,
            keep_cluster_routes: Vec::new(),
            max_networks: 16,
            pass_environment: Vec::new(),
            kubeconfig: None,
            api_timeout: Duration::from_secs(10),
            status_policy: StatusPolicy::Attached,
            definition_cache_max_age: Duration::from_hours(24),
            kubelet_socket: KUBELET_SOCKET.into(),
            device_info_dir: DEVICE_INFO_DIR.into(),
            drain: false,
            log: LogConfig { to_stderr: true, ..LogConfig::default() },
            event_log: None,
            metrics_file: None,
            runtime_config: Map::new(),
            declared_capabilities: None,
            prev_result: None,
            valid_attachments: None,
            warnings: Vec::new(),
        }
    }

    pub(super) fn read(object: &Object) -> Result<Self, ConfigError> {
        let version = netconf::read_version(object, Version::V0_1_0)?;
        let mut config = Self::new(name(object)?, version, multus_namespace(object)?);
        config.warnings = unknown_keys(object);
        config.read_networks(object)?;
        config.read_primary(object)?;
        config.read_places(object)?;
        config.read_tenancy(object)?;
        config.read_limits(object)?;
        config.read_behaviour(object)?;
        config.read_cluster(object)?;
        config.read_logs(object)?;
        config.read_request(object)?;
        Ok(config)
    }

    /// Networks of the node's own beside the primary.
    fn read_networks(&mut self, object: &Object) -> Result<(), ConfigError> {
        let names = texts(object, "defaultNetworks")?.unwrap_or_default();
        self.default_networks =
            names.iter().map(|name| source(name, "defaultNetworks")).collect::<Result<_, _>>()?;
        self.auxiliary_chain = text(object, "auxiliaryCNIChainName")?.map(|name| name.parse()).transpose()?;
        Ok(())
    }

    fn read_primary(&mut self, object: &Object) -> Result<(), ConfigError> {
        let mut delegates = decode::<Vec<Value>>(object, "delegates")?.unwrap_or_default();
        if let Some(name) = text(object, "clusterNetwork")? {
            self.primary = Some(source(&name, "clusterNetwork")?);
            // Multus ignores `delegates` beside `clusterNetwork`; so do we, and say so.
            if !delegates.is_empty() {
                let ignored = "\"delegates\" is ignored because \"clusterNetwork\" is set";
                self.warnings.push(ignored.to_owned());
            }
        } else if !delegates.is_empty() {
            self.primary = Some(PrimarySource::Inline(delegates.remove(0)));
            self.inline_networks = delegates;
        }
        Ok(())
    }

    fn read_places(&mut self, object: &Object) -> Result<(), ConfigError> {
        set(&mut self.primary_conf_dir, path(object, "primaryConfDir")?);
        set(&mut self.conf_dirs, path(object, "confDir")?.map(|dir| vec![dir]));
        set(&mut self.state_dir, path(object, "cniDir")?);
        self.bin_dir = path(object, "binDir")?;
        set(&mut self.kubelet_socket, path(object, "kubeletSocket")?);
        set(&mut self.device_info_dir, path(object, "deviceInfoDir")?);
        self.readiness_file = path(object, "readinessindicatorfile")?;
        Ok(())
    }

    fn read_tenancy(&mut self, object: &Object) -> Result<(), ConfigError> {
        set(&mut self.namespace_isolation, decode(object, "namespaceIsolation")?);
        set(&mut self.global_namespaces, texts(object, "globalNamespaces")?);
        set(&mut self.system_namespaces, texts(object, "systemNamespaces")?);
        set(&mut self.genie_annotation, decode(object, "genieAnnotation")?);
        self.policy = read_policy(object, &self.system_namespaces, &self.multus_namespace);
        match &self.policy {
            Ok(policy) => self.warnings.extend(policy.iter().flat_map(|policy| policy.warnings.clone())),
            Err(problem) => self.warnings.push(problem.to_string()),
        }
        Ok(())
    }

    fn read_limits(&mut self, object: &Object) -> Result<(), ConfigError> {
        set(&mut self.readiness_timeout, duration(object, "readinessTimeout")?);
        set(&mut self.delegate_timeout, positive(object, "delegateTimeout")?);
        set(&mut self.delete_give_up, duration(object, "deleteGiveUp")?);
        set(&mut self.max_networks, decode(object, "maxNetworks")?);
        Ok(())
    }

    fn read_behaviour(&mut self, object: &Object) -> Result<(), ConfigError> {
        set(&mut self.retry_delete, decode(object, "retryDeleteOnError")?);
        set(&mut self.result_scope, decode(object, "resultScope")?);
        set(&mut self.capability_policy, decode(object, "capabilityPolicy")?);
        set(&mut self.check_networks, decode(object, "checkNetworks")?);
        set(&mut self.keep_cluster_routes, decode(object, "keepClusterRoutes")?);
        set(&mut self.pass_environment, decode(object, "passEnvironment")?);
        set(&mut self.drain, decode(object, "drain")?);
        Ok(())
    }

    fn read_cluster(&mut self, object: &Object) -> Result<(), ConfigError> {
        self.kubeconfig = path(object, "kubeconfig")?;
        set(&mut self.api_timeout, positive(object, "apiTimeout")?);
        set(&mut self.status_policy, decode(object, "statusPolicy")?);
        set(&mut self.definition_cache_max_age, duration(object, "definitionCacheMaxAge")?);
        Ok(())
    }

    fn read_logs(&mut self, object: &Object) -> Result<(), ConfigError> {
        set(&mut self.log.to_stderr, decode(object, "logToStderr")?);
        match text(object, "logLevel")?.map(|level| level.parse::<Level>()) {
            Some(Err(unknown)) => self.warnings.push(unknown.to_string()),
            level => set(&mut self.log.level, level.and_then(Result::ok)),
        }
        self.log.file = path(object, "logFile")?;
        self.log.audit = path(object, "auditLog")?;
        self.log.rotation = rotation(&decode(object, "logOptions")?.unwrap_or_default())?;
        self.event_log = path(object, "eventLog")?;
        self.metrics_file = path(object, "metricsFile")?;
        Ok(())
    }

    /// What the runtime has put in for this one call.
    fn read_request(&mut self, object: &Object) -> Result<(), ConfigError> {
        set(&mut self.runtime_config, decode(object, "runtimeConfig")?);
        self.declared_capabilities = decode(object, "capabilities")?;
        self.prev_result = keys::get(object, "prevResult").cloned();
        self.valid_attachments = valid_attachments(object)?;
        Ok(())
    }
}

/// Takes a value in place of the default where there is one.
fn set<T>(default: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *default = value;
    }
}

fn rotation(options: &Object) -> Result<Rotation, ConfigError> {
    Ok(Rotation {
        max_size_mib: decode(options, "maxSize")?,
        max_age_days: decode(options, "maxAge")?,
        max_backups: decode(options, "maxBackups")?,
        compress: decode(options, "compress")?.unwrap_or(false),
    })
}

fn name(object: &Object) -> Result<NetworkName, ConfigError> {
    let name = text(object, "name")?.ok_or(NetconfError::NoName)?;
    Ok(name.parse()?)
}

fn multus_namespace(object: &Object) -> Result<Namespace, ConfigError> {
    const KEY: &str = "multusNamespace";
    let name = text(object, KEY)?.unwrap_or_else(|| "kube-system".to_owned());
    name.parse().map_err(|_| wrong(KEY, &name, "must be the name of a namespace"))
}

/// The policy, none without the key. A policy that cannot be understood is no error yet: teardown, and pods
/// that ask for nothing, have no need of it.
fn read_policy(
    object: &Object,
    system: &[String],
    offered: &Namespace,
) -> Result<Option<Policy>, PolicyError> {
    let trusted = system.iter().map(String::as_str).filter(|name| name.parse::<Namespace>().is_ok());
    let trusted = Namespaces::from_words(trusted.chain([offered.as_str()])).unwrap_or_default();
    keys::get(object, "policy").map(|value| Policy::read(value, trusted)).transpose()
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

/// GC's list. `null` is one without entries: Go writes it so, and CRI-O sends it for a network without pods.
fn valid_attachments(object: &Object) -> Result<Option<Vec<ValidAttachment>>, ConfigError> {
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
