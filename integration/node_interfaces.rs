//! `nodeInterfaces`: one definition, and an interface of another name on each node.

use serde_json::{Value, json};

use crate::node::{Node, text};
use crate::operator::explain;

const NETWORKS: &str = r#"{"name": "lan"}"#;

/// A node whose uplink has that name, with `team-a/lan` on "uplink".
fn node(uplink: &str) -> Node {
    let node = Node::new();
    node.host().ip(&format!("link add {uplink} type veth peer name far0"));
    for link in [uplink, "far0"] {
        node.host().ip(&format!("link set {link} up"));
    }
    let mut lan = json!({"type": "macvlan", "master": "uplink", "mode": "bridge"});
    lan["ipam"] = node.host_local("10.30.0.0/24");
    node.define("team-a", "lan", lan);
    node
}

/// A primary, and what the node calls its interfaces.
fn config(node: &Node, interfaces: Value) -> Value {
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")], "nodeInterfaces": interfaces})
}

/// The interface of the host that the pod's `net1` is on.
fn lower_link(node: &Node, pod: &crate::pod::Pod<'_>) -> String {
    let index = &pod.link("net1")["link_index"];
    let links = node.host().ip_json("link show");
    let lower = links.iter().find(|link| link["ifindex"] == *index);
    text(&lower.expect("an interface of the host")["ifname"]).to_owned()
}

#[test]
fn one_definition_builds_on_another_interface_of_each_node() {
    for uplink in ["ens3f0", "eno1"] {
        let node = node(uplink);
        let before = node.dump();
        let config = config(&node, json!({"uplink": ["ens3f0", "eno1"]}));
        let pod = node.pod("team-a", "web");
        pod.add(config).networks("lan").run().assert_success();
        assert_eq!(lower_link(&node, &pod), uplink);
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(node.leftovers(&before), Vec::<String>::new());
    }
}

/// The record holds the interface: a pod goes as it came, whatever the node says by then.
#[test]
fn del_and_check_use_the_interface_of_the_record() {
    let node = node("ens3f0");
    node.recorder("late");
    node.define("team-a", "late", json!({"type": "late", "master": "uplink", "bridge": "br0"}));
    let pod = node.pod("team-a", "web");
    pod.add(config(&node, json!({"uplink": "ens3f0"}))).networks("late").run().assert_success();
    let config = config(&node, json!({"uplink": "eno1", "br0": "br1"}));
    pod.check().with(config.clone()).run().assert_success();
    pod.del().with(config).run().assert_success();
    for verb in ["ADD", "CHECK", "DEL"] {
        let call = node.only_call(verb, "late");
        assert_eq!(call.stdin()["master"], "ens3f0", "{verb}");
        assert_eq!(call.stdin()["bridge"], "br0", "{verb}");
    }
}

/// The node's own networks, too: inline delegates, and networks for every pod.
#[test]
fn networks_of_the_node_are_given_their_interfaces() {
    let node = node("ens3f0");
    node.recorders(["first", "second", "third"]);
    node.define("kube-system", "storage", json!({"type": "third", "master": "uplink"}));
    let inline = |kind: &str| json!({"type": kind, "name": kind, "master": "uplink"});
    let pod = node.pod("team-a", "web");
    pod.add(json!({
        "delegates": [inline("first"), inline("second")], "defaultNetworks": ["storage"],
        "nodeInterfaces": {"uplink": "ens3f0"},
    }))
    .run()
    .assert_success();
    for kind in ["first", "second", "third"] {
        assert_eq!(node.only_call("ADD", kind).stdin()["master"], "ens3f0", "{kind}");
    }
    pod.del().run().assert_success();
}

#[test]
fn a_name_without_an_interface_is_refused_and_says_where_to_give_it_one() {
    let node = node("ens3f0");
    let pod = node.pod("team-a", "web");
    let unnamed = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    pod.add(unnamed).networks("lan").run().assert_error(7, ["\"uplink\"", "\"nodeInterfaces\""]);
    let wrong = config(&node, json!({"uplink": "ens9"}));
    pod.add(wrong).networks("lan").run().assert_error(7, ["builds on interface \"ens9\""]);
}

#[test]
fn explain_and_doctor_show_the_interface() {
    let node = explain::node(json!({"nodeInterfaces": {"uplink": ["ens3f0", "eno1"]}}));
    node.define("team-a", "lan", json!({"type": "shared", "master": "uplink"}));
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "team-a", "annotations": {
            "k8s.v1.cni.cncf.io/networks": format!("[{NETWORKS}]"),
        }},
    });
    node.host().ip("link add eno1 type bridge");
    let explained = explain::braid(&node, &["explain", "-"]).input(&manifest.to_string()).run();
    let line = "net1: uplink is this node's eno1 (nodeInterfaces)\n";
    assert!(explained.stdout.contains(line), "{}", explained.stdout);
    let said = explain::braid(&node, &["doctor"]).run();
    assert!(said.stdout.contains("ok    interfaces    uplink is eno1\n"), "{}", said.stdout);
    node.host().ip("link del eno1");
    let said = explain::braid(&node, &["doctor"]).run();
    let missing = "warn  interfaces    uplink is ens3f0 or eno1, which this node does not have";
    assert!(said.stdout.contains(missing), "{}", said.stdout);
}
