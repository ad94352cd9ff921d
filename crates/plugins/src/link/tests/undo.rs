//! What a failed ADD and a DEL leave behind, for each plugin.

use std::path::Path;

use cni::request::Command;
use serde_json::{Value, json};

use crate::testing::node::{Node, Who};
use crate::testing::twins::network;

const ONE: &[(&str, Option<&str>)] = &[("10.1.0.5/24", Some("10.1.0.1"))];

/// The plugins that this machine's kernel can carry out.
fn plugins() -> [Value; 3] {
    [
        json!({"type": "bridge", "bridge": "br0"}),
        json!({"type": "ptp"}),
        json!({"type": "macvlan", "master": "eth0"}),
    ]
}

#[test]
fn a_failed_add_leaves_no_link() {
    for plugin in plugins() {
        let mut broken = network(plugin.clone(), ONE, json!([]));
        broken["ipam"] = json!({"type": "broken"});
        let unreachable = network(plugin, ONE, json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.77"}]));
        for config in [broken, unreachable] {
            let node = Node::new();
            node.on_host("link add br0 type bridge");
            let error = node.call(Who::Ours, Command::Add, &config).unwrap_err();
            assert!(!node.has_interface(), "{config}: {error}");
            assert_eq!(node.host_links(), ["br0"], "{config}: {error}");
        }
    }
}

/// The files of host-local's directory that are reservations: they are named after their addresses.
fn reservations(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("blue")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("10.")).collect()
}

#[test]
fn a_failed_add_leaves_no_lease_and_del_gives_it_back() {
    let directory = tempfile::tempdir().unwrap();
    for plugin in plugins() {
        let node = Node::new();
        let mut config = network(plugin, ONE, json!([]));
        let ipam = |routes: Value| json!({"type": "host-local", "dataDir": directory.path(), "subnet": "10.1.0.0/24", "routes": routes});
        config["ipam"] = ipam(json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.77"}]));
        let error = node.call(Who::Ours, Command::Add, &config).unwrap_err();
        assert!(error.msg.contains("192.0.2.77"), "{error}");
        assert_eq!(reservations(directory.path()), Vec::<String>::new(), "{config}");
        config["ipam"] = ipam(json!([]));
        node.call(Who::Ours, Command::Add, &config).unwrap();
        assert_eq!(reservations(directory.path()).len(), 1, "{config}");
        node.call_without_netns(Command::Del, &config, "").unwrap();
        assert_eq!(reservations(directory.path()), Vec::<String>::new(), "{config}");
    }
}

#[test]
fn an_interface_that_is_there_already_stays() {
    for plugin in plugins() {
        let node = Node::new();
        node.on_host("link add br0 type bridge");
        node.in_container("link add eth0 type bridge");
        let config = network(plugin, ONE, json!([]));
        let error = node.call(Who::Ours, Command::Add, &config).unwrap_err();
        assert!(error.msg.contains("already"), "{error}");
        node.call(Who::Ours, Command::Del, &config).unwrap();
        assert!(node.has_interface(), "{config}");
        assert_eq!(node.host_links(), ["br0"]);
        assert_eq!(node.in_container("-br link").lines().count(), 2, "{config}");
    }
}

#[test]
fn del_needs_neither_namespace_nor_master_nor_result() {
    let directory = std::env::temp_dir();
    let file = directory.join(format!("netns-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let mut plugins = plugins().to_vec();
    plugins.push(json!({"type": "vlan", "master": "gone0", "vlanId": 5}));
    plugins.push(json!({"type": "ipvlan"}));
    plugins.push(json!({"type": "dummy"}));
    plugins.push(json!({"type": "macvlan", "master": "gone0"}));
    for plugin in plugins {
        let node = Node::new();
        let config = network(plugin, ONE, json!([]));
        for path in ["", "/run/netns/gone", file.to_str().unwrap()] {
            let outcome = node.call_without_netns(Command::Del, &config, path);
            outcome.unwrap_or_else(|error| panic!("{config} {path:?}: {error}"));
        }
        node.call(Who::Ours, Command::Del, &config).unwrap();
    }
    std::fs::remove_file(file).unwrap();
}
