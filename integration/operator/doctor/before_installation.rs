//! A node on which Braid is not installed yet, or whose root is mounted elsewhere.

use std::fs;

use serde_json::json;

use super::{assert_finds, doctor_of, node};
use crate::node::Node;
use crate::operator::{Said, Tool};

/// A `doctor` on a root of its own.
fn doctor_below(node: &Node, more: &[&str]) -> Said {
    let root = node.path_text("root");
    Tool::new(node, &[&["doctor", "--root", &root], more].concat()).run()
}

/// A root with a primary network, on which Braid is not installed.
fn root() -> Node {
    let node = Node::new();
    node.write("root/etc/containerd/config.toml", "version = 2\n");
    let plugins = json!([{"type": "ptp", "ipam": {"type": "host-local"}}]);
    let primary = json!({"cniVersion": "1.0.0", "name": "primary", "plugins": plugins});
    node.write("root/etc/cni/net.d/10-primary.conflist", &primary.to_string());
    node
}

/// An administrator asks before there is anything to repair.
#[test]
fn a_node_is_examined_before_braid_is_installed() {
    let node = root();
    let before = node.dump();
    let said = doctor_below(&node, &[]).assert_status(1);
    let directory = "NODE/root/etc/cni/net.d";
    let runtime = "containerd (/etc/containerd/config.toml), configurations in /etc/cni/net.d";
    assert_finds(&said, "ok", "runtime", runtime, "");
    let nowhere = format!("no configuration in {directory} has braid in it");
    assert_finds(&said, "fail", "installation", &nowhere, "run braid install");
    let planned = format!("braid install would write {directory}/00-braid.conflist (delegating)");
    assert_finds(&said, "ok", "configuration", &planned, "");
    assert_finds(&said, "ok", "order", "the runtime reads braid's file first", "");
    assert_finds(&said, "ok", "primary", "network \"primary\"", "");
    let missing = |kind: &str| {
        let place = "NODE/root/opt/cni/bin";
        format!("plugin \"{kind}\" is not installed: no executable of that name in {place}")
    };
    let both = format!("{}; {}", missing("ptp"), missing("host-local"));
    assert_finds(&said, "fail", "plugins", &both, "install them, or set binDir to where they are");
    assert_eq!(node.dump(), before);
    for plugin in ["ptp", "host-local"] {
        node.write(&format!("root/opt/cni/bin/{plugin}"), "of another architecture");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(node.path(&format!("root/opt/cni/bin/{plugin}")), mode).unwrap();
    }
    let said = doctor_below(&node, &[]);
    assert_finds(&said, "ok", "plugins", "every plugin of the primary is installed", "");

    fs::remove_file(node.path("root/etc/cni/net.d/10-primary.conflist")).unwrap();
    let said = doctor_below(&node, &[]).assert_status(1);
    let none = format!(
        "no primary network in {directory} yet: no configuration there without braid or multus in \
         it"
    );
    assert_finds(&said, "fail", "primary", &none, "see why the primary has written no file");
    node.write("root/etc/cni/net.d/00-a.conf", r#"{"name": "a", "type": "ptp"}"#);
    let said = doctor_below(&node, &[]).assert_status(1);
    let refused = format!(
        "{directory}/00-a.conf sorts before 00-braid.conflist, so that the runtime would not read \
         braid's: rename it, or use --mode chained"
    );
    assert_finds(&said, "fail", "installation", &refused, "braid install refuses until then");
}

#[test]
fn a_mounted_root_is_examined_as_it_is_installed() {
    let node = root();
    let path = node.path_text("root");
    Tool::new(&node, &["install", "--root", &path]).run().assert_status(0);
    let said = doctor_below(&node, &[]);
    assert_finds(&said, "ok", "binary", "NODE/root/opt/cni/bin/braid", "");
    let file = "NODE/root/etc/cni/net.d/00-braid.conflist";
    assert_finds(&said, "ok", "configuration", &format!("{file} (delegating)"), "");
    assert_finds(&said, "ok", "state", "NODE/root/var/lib/cni/braid: 0 records", "");
    assert!(!said.stdout.contains("would"), "{}", said.stdout);
}

/// The key that is misspelt is named with what it takes down.
#[test]
fn a_braid_without_a_primary() {
    let node = node(json!({}), json!({}));
    let entry = json!({"type": "braid", "clusterNetwrk": "auto", "capabilities": {"io.kubernetes.cri.pod-annotations": true}});
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("net.d/00-braid.conflist", &conflist.to_string());
    let said = doctor_of(&node, "containerd").assert_status(1);
    let message = "braid is the first plugin and has no primary network, so that no pod starts: \
                   set \"clusterNetwork\" or \"delegates\"; unknown key \"clusterNetwrk\" in \
                   braid's configuration: did you mean \"clusterNetwork\"?";
    assert_finds(&said, "fail", "primary", message, "correct it; until then no pod starts");
    // ADD agrees.
    let pod = node.pod("team-a", "web");
    pod.add(json!({"clusterNetwrk": "auto"})).run().assert_error(7, ["no primary network"]);
}
