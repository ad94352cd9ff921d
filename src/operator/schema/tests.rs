use std::collections::BTreeSet;

use super::*;
use crate::config::{MULTUS_DAEMON_KEYS, OWN_KEYS};

/// What is wrong with a value, by a schema.
fn problems(name: &str, value: &Value) -> Vec<String> {
    let schema = of(name).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[track_caller]
fn must_hold(name: &str, value: Value) {
    assert_eq!(problems(name, &value), Vec::<String>::new(), "{name}: {value}");
}

#[track_caller]
fn must_not_hold(name: &str, value: Value) {
    assert_ne!(problems(name, &value), Vec::<String>::new(), "{name}: {value}");
}

fn network(plugin: Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "x", "plugins": [plugin]})
}

#[test]
fn every_schema_is_one() {
    for name in names() {
        let schema = of(name).unwrap();
        assert_eq!(schema.as_object().unwrap().keys().next().unwrap(), "$schema");
        jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert!(of("noodle").is_none());
}

#[test]
fn every_key_of_the_configuration_and_of_a_plugin_is_described() {
    let described: BTreeSet<String> = configuration::described().into_iter().collect();
    assert_eq!(described, OWN_KEYS.map(str::to_owned).into());
    for kind in plugins::names() {
        let facts = ::plugins::facts(kind).unwrap();
        let keys: BTreeSet<String> = facts.keys.iter().map(|key| key.name.to_owned()).collect();
        let described: BTreeSet<String> = plugin::descriptions(kind).map(|(key, _)| key).collect();
        assert_eq!(described, keys, "{kind}: docs/schema.md has a row for each key");
    }
}

#[test]
fn a_value_of_another_type_is_found_in_braids_entry() {
    let entry = |key: &str, value: Value| json!({"type": "braid", key: value});
    for (key, good, bad) in [
        ("clusterNetwork", json!("auto"), json!(7)),
        ("maxNetworks", json!(4), json!("many")),
        ("namespaceIsolation", json!(false), json!("no")),
        ("apiTimeout", json!("1m30s"), json!("soon")),
        ("apiTimeout", json!(2.5), json!([])),
        ("globalNamespaces", json!("default,ops"), json!({})),
        ("binDir", json!("/opt/cni/bin"), json!("opt")),
        ("statusPolicy", json!("never"), json!("sometimes")),
        ("keepClusterRoutes", json!(["10.96.0.0/12"]), json!(["here"])),
        ("policy", json!({"mode": "audit", "// a": "b"}), json!({"mode": "maybe"})),
        ("policy", json!({"allowedVlans": {"7": ["blue"]}}), json!({"allowedVlan": []})),
        ("// a comment", json!("with a slash"), json!("x")),
    ] {
        must_hold("braid", entry(key, good.clone()));
        must_hold("network", network(entry(key, good)));
        if key != "// a comment" {
            must_not_hold("braid", entry(key, bad.clone()));
            must_not_hold("network", network(entry(key, bad)));
        }
    }
    must_not_hold("braid", entry("clusterNetwrok", json!("auto")));
    for key in MULTUS_DAEMON_KEYS {
        must_hold("braid", entry(key, json!("/run")));
    }
    must_hold("settings", json!({"policy": {"mode": "audit"}, "logLevel": null}));
    must_not_hold("settings", json!({"type": "braid"}));
}

#[test]
fn a_value_of_another_type_is_found_in_each_plugin() {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]});
    let cases = [
        (
            json!({"type": "bridge", "vlan": 7, "ipam": ipam}),
            json!({"type": "bridge", "vlan": "7"}),
        ),
        (
            json!({"type": "macvlan", "mode": "bridge"}),
            json!({"type": "macvlan", "mode": "brigde"}),
        ),
        (
            json!({"type": "tuning", "sysctl": {"a": "1"}}),
            json!({"type": "tuning", "sysctl": {"a": 1}}),
        ),
        (
            json!({"type": "bandwidth", "ingressRate": 1, "ingressBurst": 1}),
            json!({"type": "bandwidth", "ingressRate": 1}),
        ),
        (json!({"type": "vlan", "vlanId": 4094}), json!({"type": "vlan", "vlanId": 4095})),
        (json!({"type": "noodle", "vlan": "7"}), json!({"vlan": 7})),
        (
            json!({"type": "ptp", "ipam": {"type": "static", "addresses": [{"address": "10.0.0.5/24"}]}}),
            json!({"type": "ptp", "ipam": {"type": "static", "addresses": [{"address": "10.0.0.5"}]}}),
        ),
        (
            json!({"type": "ptp", "ipam": {"type": "dhcp"}}),
            json!({"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{}]]}}),
        ),
    ];
    for (good, bad) in cases {
        must_hold("network", network(good.clone()));
        must_not_hold("network", network(bad.clone()));
        let alone = |mut plugin: Value| {
            plugin["cniVersion"] = json!("1.0.0");
            plugin
        };
        must_hold("network", alone(good));
        must_not_hold("network", alone(bad));
    }
    must_not_hold("network", json!({"cniVersion": "9.9.9", "name": "x", "type": "bridge"}));
    must_not_hold("network", json!({"cniVersion": "1.0.0", "name": "x"}));
}

#[test]
fn the_schema_of_a_plugin_wants_that_plugin() {
    must_hold("bridge", network(json!({"type": "bridge"})));
    must_hold("bridge", json!({"cniVersion": "1.0.0", "type": "bridge", "vlan": 7}));
    must_not_hold("bridge", network(json!({"type": "ptp"})));
    must_not_hold("bridge", network(json!({"type": "bridge", "vlan": "7"})));
    let from = |kind: &str| network(json!({"type": "bridge", "ipam": {"type": kind}}));
    must_hold("static", from("static"));
    must_not_hold("static", from("host-local"));
}

/// What Braid ships, and what is published as examples, is valid by its own schema.
#[test]
fn every_file_of_conf_holds() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut seen = 0;
    for pattern in ["*.conf", "*.conflist", "definitions/*"] {
        for file in glob::glob(conf.join(pattern).to_str().unwrap()).unwrap().flatten() {
            let text = std::fs::read_to_string(&file).unwrap();
            for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
                let config = document.pointer("/spec/config").and_then(Value::as_str);
                // A definition without one stands for a file of the node.
                if config.is_none() && document.get("kind").is_some() {
                    continue;
                }
                let network =
                    config.map_or(document.clone(), |text| serde_json::from_str(text).unwrap());
                let problems = problems(NETWORK, &network);
                assert!(problems.is_empty(), "{}: {problems:?}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 15, "{seen}");
}
