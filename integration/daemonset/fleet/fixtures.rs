//! The files of Multus 4.0 to 4.3, thin and thick, are translated and come back as they were.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{multus_node, objects, server};
use crate::node::Node;

/// Each fixture with what its translation must say beside the primary network.
fn table() -> Vec<(&'static str, Value)> {
    vec![
        ("4.0-thin", json!({"namespaceIsolation": false})),
        ("4.1-thin", json!({"namespaceIsolation": false})),
        (
            "4.2-thin",
            json!({"namespaceIsolation": true, "globalNamespaces": "default", "logLevel": "debug"}),
        ),
        (
            "4.3-thin",
            json!({"logToStderr": false, "logFile": "/var/log/multus.log", "binDir": "/opt/multus/bin"}),
        ),
        ("4.0-thick", json!({"namespaceIsolation": false, "logLevel": "verbose"})),
        ("4.1-thick", json!({"namespaceIsolation": true, "globalNamespaces": "default,ops"})),
        (
            "4.2-thick",
            json!({
                "auxiliaryCNIChainName": "vendor-cni-chain", "readinessindicatorfile": "/run/flannel/subnet.env",
            }),
        ),
        ("4.3-thick", json!({"logFile": "/var/log/multus.log"})),
    ]
}

/// What Multus's manifest of a version leaves on a node.
pub(super) fn directory(fixture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/daemonset/fleet/fixtures").join(fixture)
}

#[test]
fn each_version_of_multus_is_translated_and_comes_back_as_it_was() {
    let all = directory("").read_dir().unwrap().count();
    assert_eq!(all, table().len(), "a fixture that is in no row");
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    for (fixture, expected) in table() {
        let name = fixture.replace('.', "");
        let mut cluster = multus_node(&node, &name, &server, &objects, fixture);
        let before = cluster.conf_files();
        cluster.set_variable("MODE", "migrate");
        cluster.installed();
        assert_eq!(cluster.first(), "00-braid.conflist", "{fixture}");
        let document = cluster.read_conf("00-braid.conflist");
        assert_eq!(document["name"], "multus-cni-network", "{fixture}: libcni's cache goes on");
        let entry = cluster.entry();
        assert_eq!(entry["clusterNetwork"], "auto", "{fixture}");
        assert_eq!(entry["capabilities"]["ips"], true, "{fixture}");
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(entry[key], *value, "{fixture}: {key}");
        }
        cluster.set_variable("MODE", "migrate-back");
        cluster.installed();
        assert_eq!(cluster.conf_files(), before, "{fixture}");
    }
}

/// The thick plugin's settings are in another namespace's ConfigMap: a node does not move without.
#[test]
fn a_thick_node_without_the_configmap_stays_and_says_why() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    let mut cluster = multus_node(&node, "n1", &server, &objects, "4.3-thick");
    std::fs::remove_file(cluster.daemon_config().join("daemon-config.json")).unwrap();
    let before = cluster.conf_files();
    cluster.set_variable("MODE", "migrate");
    let output = cluster.install();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("multus-daemon-config"), "{said}");
    let mut after = cluster.conf_files();
    after.retain(|name, _| !name.starts_with("braid.d/"));
    assert_eq!(after, before);
}
