//! The keys of Braid's configuration, and those that are not read.

use serde_json::{Map, Value};

use cni::error::one_line;

/// The protocol's own keys: they stand around Braid's entry, or the runtime puts them in.
pub(crate) const PROTOCOL_KEYS: [&str; 10] = [
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
];

/// Keys that mean something to Braid alone.
pub(crate) const OWN_KEYS: [&str; 43] = [
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
    "logFormat",
    "logLevel",
    "logToStderr",
    "logOptions",
    "resultScope",
    "builtinPlugins",
    "capabilityPolicy",
    "checkNetworks",
    "keepClusterRoutes",
    "delegateTimeout",
    "deleteGiveUp",
    "maxNetworks",
    "lenientAnnotations",
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
    "nodeInterfaces",
];

/// Keys of Multus's that have no meaning without its daemon; accepted, so that a configuration
/// moves as it is.
pub const MULTUS_DAEMON_KEYS: [&str; 7] = [
    "daemonSocketDir",
    "socketDir",
    "chrootDir",
    "cniConfigDir",
    "multusConfigFile",
    "multusAutoconfigDir",
    "perNodeCertificate",
];

/// Keys that mean something to the protocol or to Braid.
pub fn known_keys() -> impl Iterator<Item = &'static str> {
    PROTOCOL_KEYS.into_iter().chain(OWN_KEYS)
}

/// A warning for each unknown key, with the nearest known one.
pub(super) fn unknown_keys(object: &Map<String, Value>) -> Vec<String> {
    let known = |key: &str| {
        known_keys().chain(MULTUS_DAEMON_KEYS).any(|known| known.eq_ignore_ascii_case(key))
    };
    let dotted = |key: &str| key.contains(['.', '/']);
    let unknown = object.keys().filter(|key| !known(key) && !dotted(key));
    unknown
        .map(|key| match crate::spelling::nearest(key, known_keys()) {
            Some(near) => format!(
                "unknown key \"{}\" in braid's configuration: did you mean \"{near}\"?",
                one_line(key, 64)
            ),
            None => format!("unknown key \"{}\" in braid's configuration", one_line(key, 64)),
        })
        .collect()
}
