//! Pods that live through a migration, and through the way back.

use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{KUBECONFIG, install, thin};
use crate::node::{Node, text};
use crate::operator::Tool;

/// A pod of Braid's is handed over to Multus and taken back, and is torn down by what Multus was
/// told: addresses, rules for host ports and the record go.
#[test]
fn a_running_pod_lives_through_both_ways_and_is_torn_down() {
    let node = Node::new();
    let lan = json!({
        "cniVersion": "1.0.0", "name": "lan", "plugins": [
            node.bridge("br-lan", "10.30.0.0/24"), {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    node.define("team-a", "lan", lan);
    node.write("etc/containerd/config.toml", "version = 2\n");
    install(&node, "opt/cni/bin", &["multus", "bridge", "host-local"]);
    let multus = json!({
        "cniVersion": "1.0.0", "name": "node", "type": "multus", "kubeconfig": "/multus.kubeconfig", "cniDir": "/state",
        "delegates": [node.bridge("cni0", "10.1.0.0/24")],
    });
    node.write("etc/cni/net.d/00-multus.conf", &multus.to_string());
    node.write("multus.kubeconfig", KUBECONFIG);
    let root = node.path_text("");
    let root = root.trim_end_matches('/');
    let migrate = |more: &[&str]| {
        Tool::new(&node, &[&["migrate", "multus", "--root", root], more].concat())
            .run()
            .assert_status(0)
    };
    migrate(&[]);
    // portmap keeps the chains that all its containers share, so its own for the pod are what
    // counts.
    let rules = || {
        let saved = node.host().command("iptables-save").output().unwrap();
        let saved = String::from_utf8(saved.stdout).unwrap();
        saved.lines().filter(|line| line.contains("CNI-DN-")).count()
    };

    let pod = node.pod("team-a", "web");
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    pod.add(json!({"delegates": multus["delegates"]}))
        .networks_json(json!([{"name": "lan", "portMappings": ports}]))
        .run()
        .assert_success();
    assert_ne!(rules(), 0);

    let said = migrate(&["--back"]);
    assert!(said.stdout.contains("hand over team-a/web\n"), "{}", said.stdout);
    assert_eq!(node.state("records"), Vec::<String>::new());
    let cache = fs::read_to_string(node.path("state").join(&pod.container)).unwrap();
    let delegates: Vec<Value> = serde_json::from_str(&cache).unwrap();
    let names: Vec<&str> = delegates.iter().map(|delegate| text(&delegate["Name"])).collect();
    assert_eq!(names, ["cni0", "lan"]);

    migrate(&[]);
    pod.del().run().assert_success();
    assert_eq!((rules(), pod.links()), (0, Vec::<String>::new()));
    assert_eq!((node.reservations("cni0").len(), node.reservations("lan").len()), (0, 0));
    assert!(!node.path("state").join(&pod.container).exists());
    assert_eq!(node.state("results"), Vec::<String>::new());
}

/// What Multus's list cannot say holds the way back up: its first entry is always the primary.
#[test]
fn a_chained_pod_holds_the_way_back_up() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.write("etc/containerd/config.toml", "version = 2\n");
    install(&node, "opt/cni/bin", &["multus", "bridge", "host-local"]);
    let entry = json!({"type": "braid", "cniDir": "/state"});
    node.write(
        "etc/cni/net.d/00-braid.conflist",
        &json!({"name": "node", "plugins": [entry]}).to_string(),
    );
    node.write("etc/cni/net.d/00-multus.conf.before-migration", &thin());
    let pod = node.pod("team-a", "web");
    pod.add_chained(json!({})).networks("blue").run().assert_success();
    let root = node.path_text("");
    let root = root.trim_end_matches('/');
    let back = || Tool::new(&node, &["migrate", "multus", "--back", "--root", root]).run();
    assert_snapshot!(back().snapshot());
    assert!(node.path("etc/cni/net.d/00-braid.conflist").exists());
    pod.del().run().assert_success();
    back().assert_status(0);
    assert!(node.path("etc/cni/net.d/00-multus.conf").exists());
}
