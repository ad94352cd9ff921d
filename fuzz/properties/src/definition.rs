//! The configuration of a network: what its owner wrote, or the node's administrator.

use std::path::Path;
use std::sync::OnceLock;

use braid::internals::config::Config;
use braid::internals::definition::{Annotations, Definition, DefinitionKind, Source};
use braid::internals::pod::name::Namespace;
use braid::internals::policy::{self, Account, Case, View};
use braid::internals::selection::Selection;
use cni::keys;
use cni::netconf::{Inputs, Missing, NetworkConfig, PluginConfig};
use cni::version::Version;
use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};

use super::{assert_file_name, assert_told_well};

/// A network has valid names and a bounded chain, reads the same from the ledger, and derives
/// requests that say of the runtime what the runtime said; what the fence lets through keeps to its
/// lists.
pub fn definition(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let missing = Missing { name: Some("team-a.blue"), version: Version::V1_0_0 };
    match NetworkConfig::parse(text, &missing) {
        Ok(network) => {
            check_network(&network);
            check_fence(network, text.len());
        }
        Err(error) => assert_told_well(&error),
    }
}

/// What holds for every network, wherever it was read.
pub(crate) fn check_network(network: &NetworkConfig) {
    assert!((1..=32).contains(&network.plugins.len()));
    assert_file_name(network.name.as_str());
    assert_eq!(network.name.as_str().parse().ok(), Some(network.name.clone()));
    for plugin in &network.plugins {
        assert_file_name(plugin.kind.as_str());
        check_request(network, plugin);
    }
    let written = network.to_value();
    let again = NetworkConfig::read(&written, &Missing::default())
        .and_then(NetworkConfig::complete)
        .unwrap();
    assert_eq!(again.to_value(), written);
    assert_eq!((&again.plugins, again.version), (&network.plugins, network.version));
}

fn check_request(network: &NetworkConfig, plugin: &PluginConfig) {
    let offered =
        json!({"mac": "02:00:00:00:00:01", "ips": ["10.0.0.2/24"], "deviceID": "0000:01:02.3"});
    let offered = offered.as_object().unwrap();
    let (result, list) = (json!({"cniVersion": "1.0.0"}), json!([]));
    let inputs = Inputs {
        prev_result: Some(&result),
        runtime_config: offered,
        valid_attachments: Some(&list),
    };
    let request = plugin.request(network, &inputs);
    let request = request.as_object().unwrap();
    let spellings =
        |key: &str| request.keys().filter(|name| name.eq_ignore_ascii_case(key)).count();
    assert_eq!(request["cniVersion"], network.version.as_str());
    assert_eq!(request["name"], network.name.as_str());
    assert_eq!((&request["prevResult"], &request["cni.dev/valid-attachments"]), (&result, &list));
    assert_eq!(["cniVersion", "name", "prevResult", "capabilities"].map(spellings), [1, 1, 1, 0]);
    assert_eq!(keys::get(request, "type").and_then(Value::as_str), Some(plugin.kind.as_str()));
    let declared: Vec<&String> = offered.keys().filter(|key| plugin.declares(key)).collect();
    if !declared.is_empty() {
        let given: Vec<&String> = request["runtimeConfig"].as_object().unwrap().keys().collect();
        assert!(given.len() == declared.len() && declared.iter().all(|key| given.contains(key)));
    }
}

/// A node that fences tenants in; `mode` is `enforce` or `audit`.
fn node(mode: &'static str) -> Config {
    let policy = json!({
        "mode": mode,
        "allowedHostInterfaces": {"br-a*": ["team-a"], "br-b": ["team-b"]},
        "allowedSubnets": {"10.20.0.0/16": ["team-a"], "fd00:20::/48": ["team-a"], "10.21.0.0/16": ["team-b"]},
    });
    let config = json!({"cniVersion": "1.0.0", "name": "node", "policy": policy});
    Config::parse(config.to_string().as_bytes()).unwrap()
}

fn check_fence(network: NetworkConfig, bytes: usize) {
    static NODES: OnceLock<[Config; 2]> = OnceLock::new();
    let [enforcing, auditing] = NODES.get_or_init(|| [node("enforce"), node("audit")]);
    let definition = Definition {
        source: Source::File(Path::new("/x").into()),
        kind: DefinitionKind::Object,
        annotations: Annotations::new(),
        bytes,
        network,
    };
    let namespace: Namespace = "team-a".parse().unwrap();
    let selection = Selection::new(namespace.clone(), "blue".parse().unwrap(), 0);
    let account = Account::Unknown(String::new());
    let judge = |config: &Config| {
        let view =
            View { tenancy: &config.tenancy, namespace: &namespace, path: policy::Path::Networks };
        policy::judge(&Case {
            view,
            account: &account,
            selection: &selection,
            definition: &definition,
            host: Ok(&[]),
        })
    };
    let (verdict, audited) = (judge(enforcing), judge(auditing));
    assert_eq!((&audited.refusal, audited.would_refuse.first()), (&None, verdict.refusal.as_ref()));
    match verdict.refusal {
        Some(refusal) => assert_told_well(&refusal),
        None => check_allowed(&definition),
    }
}

/// An independent look at what was let through.
fn check_allowed(definition: &Definition) {
    assert!(definition.bytes <= policy::MAX_BYTES);
    assert!(definition.network.name.as_str().starts_with("team-a."));
    for plugin in &definition.network.plugins {
        check_plugin(plugin.object());
    }
}

const PLUGINS: [&str; 10] = [
    "bridge",
    "macvlan",
    "ipvlan",
    "vlan",
    "ptp",
    "tuning",
    "bandwidth",
    "host-local",
    "static",
    "whereabouts",
];

/// Keys that reach for the node, in whatever case.
const FORBIDDEN: [&str; 16] = [
    "dataDir",
    "resolvConf",
    "ipMasq",
    "runtimeConfig",
    "args",
    "prevResult",
    "promiscMode",
    "linkInContainer",
    "log_file",
    "kubernetes",
    "delegate",
    "delegates",
    "forceAddress",
    "isDefaultGateway",
    "socket",
    "device",
];

fn check_plugin(object: &Map<String, Value>) {
    let kind = object["type"].as_str().unwrap();
    assert!(PLUGINS.contains(&kind), "{kind} was let through");
    match kind {
        "bridge" => assert!(object["bridge"].as_str().unwrap().starts_with("br-a")),
        "macvlan" | "ipvlan" | "vlan" => {
            assert!(object["master"].as_str().unwrap().starts_with("br-a"))
        }
        _ => {}
    }
    object.iter().for_each(|(key, value)| check_member(kind, key, value));
}

fn check_member(kind: &str, key: &str, value: &Value) {
    assert!(
        !FORBIDDEN.iter().any(|word| word.eq_ignore_ascii_case(key)),
        "{kind} was let through with {key}"
    );
    match value {
        Value::Object(declared) if key == "capabilities" => {
            assert!(declared.values().all(Value::is_boolean))
        }
        Value::Object(settings) if key == "sysctl" && kind == "tuning" => {
            assert!(settings.keys().all(|name| name.starts_with("net.") && !name.contains("..")));
        }
        Value::Object(ipam) if key == "ipam" && ipam.is_empty() => {}
        Value::Object(inner) if inner.keys().any(|key| key.eq_ignore_ascii_case("type")) => {
            check_plugin(inner)
        }
        Value::Object(inner) => {
            inner.iter().for_each(|(key, value)| check_member(kind, key, value))
        }
        Value::Array(list) => list.iter().for_each(|value| check_member(kind, key, value)),
        Value::String(text) => check_text(text),
        _ => {}
    }
}

/// A text that is an address or a network is the namespace's own.
fn check_text(text: &str) {
    let Ok(network) = text.parse::<IpNetwork>() else { return };
    let own = ["10.20.0.0/16", "fd00:20::/48"].map(|own| own.parse::<IpNetwork>().unwrap());
    let inside =
        |own: &IpNetwork| own.contains(network.network()) && own.prefix() <= network.prefix();
    assert!(own.iter().any(inside), "{text} was let through");
}
