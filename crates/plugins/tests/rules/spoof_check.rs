//! `macspoofchk` of bridge.

use cni::request::Command::{Add, Check, Del, Gc, Status};
use serde_json::{Value, json};

use super::node::Who::{Ours, Reference};
use super::node::{Node, merged, same, with_result, with_valid};

const OWN: &[&str] = &["container-1"];

fn network(keys: &Value) -> Value {
    let base = json!({
        "cniVersion": "0.4.0", "name": "blue", "type": "bridge", "macspoofchk": true,
        "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]},
    });
    merged(base, keys)
}

#[test]
fn rules_are_the_reference_s_and_go_by_either() {
    let nodes = [(Reference, Node::new()), (Ours, Node::new())];
    let config = network(&json!({}));
    let results = nodes.each_ref().map(|(who, node)| node.must(*who, Add, &config));
    let [reference, ours] = nodes.each_ref().map(|(_, node)| node.rules());
    same(&reference, &ours, "macspoofchk");
    assert!(ours.contains("macspoofchk-container-1-eth0"), "{ours}");
    for ((who, node), result) in nodes.iter().zip(&results) {
        let config = with_result(&config, result);
        node.must(Ours, Check, &config);
        node.must(who.other(), Del, &config);
        assert_eq!(node.leftovers(OWN), [""; 0], "DEL of {who:?}'s by the other");
    }
}

#[test]
fn del_needs_no_namespace_and_leaves_the_rules_of_others() {
    let node = Node::new();
    let config = network(&json!({"ipam": {}}));
    let about = ["container-1", "container-11"].map(|id| node.about(id, "eth0"));
    for about in &about {
        let outcome = node.call(Ours, Add, &config, about);
        assert!(outcome.is_ok() || about.container == "container-11", "{outcome:?}");
    }
    node.call(Ours, Add, &config, &node.about("container-11", "net1")).unwrap();
    let add = node.rules();
    assert!(add.contains("macspoofchk-container-1-eth0"), "{add}");
    for _ in 0..2 {
        node.call(Ours, Del, &config, &about[0].without_netns()).unwrap();
        assert_eq!(node.leftovers(&["container-1-eth0"]), [""; 0]);
        assert!(!node.leftovers(&["container-11-net1"]).is_empty());
    }
    node.call(Ours, Gc, &with_valid(&config, &[]), &about[0]).unwrap();
    assert_eq!(node.leftovers(OWN), [""; 0]);
}

#[test]
fn an_add_that_the_reference_has_made_twice_leaves_nothing() {
    let node = Node::new();
    let config = network(&json!({}));
    node.must(Reference, Add, &config);
    node.on_host(
        "nft add rule bridge nat PREROUTING iifname x jump cni-br-iface-container-1-eth0 \
         comment \\\"macspoofchk-container-1-eth0\\\"",
    );
    node.must(Ours, Del, &config);
    assert_eq!(node.leftovers(OWN), [""; 0]);
}

#[test]
fn frames_from_another_address_are_dropped() {
    let node = Node::new();
    let config = network(&json!({"isGateway": true}));
    let config = with_result(&config, &node.must(Ours, Add, &config));
    node.in_container("ping -c1 -W2 10.1.0.1");
    node.in_container("ip link set eth0 address 02:00:00:00:00:99");
    node.in_container("! ping -c1 -W1 10.1.0.1");
    node.on_host("nft flush chain bridge nat PREROUTING");
    node.in_container("ping -c1 -W2 10.1.0.1");
    let error = node.call(Ours, Check, &config, &node.about("container-1", "eth0")).unwrap_err();
    assert!(error.msg.contains("hardware address"), "{error}");
}

#[test]
fn what_cannot_be_checked_is_refused_before_anything_is_changed() {
    let node = Node::new();
    let config = network(&json!({}));
    let long = node.about(&"c".repeat(150), "eth0");
    let error = node.call(Ours, Add, &config, &long).unwrap_err();
    assert!(error.msg.contains("container ID as long as this one"), "{error}");
    assert_eq!(node.on_host("ip -o link | grep -c cni0 || true").trim(), "0");
    let mut about = node.about("container-1", "eth0");
    about.path = "/nowhere".to_owned();
    let status = merged(config.clone(), &json!({"cniVersion": "1.1.0"}));
    assert_eq!(node.call(Ours, Status, &status, &about).unwrap_err().code.0, 50);
    let error = node.call(Ours, Add, &config, &about).unwrap_err();
    assert!(error.msg.contains("install the package nftables"), "{error}");
    assert_eq!(node.on_host("ip -o link | grep -c veth || true").trim(), "0");
}

#[test]
fn an_interface_may_have_any_name_that_the_kernel_takes() {
    let node = Node::new();
    let config = network(&json!({}));
    for name in ["a@b", "x;y{", "q\"d\\", "eth0.5"] {
        let about = node.about("container-1", name);
        node.call(Ours, Add, &config, &about).unwrap();
        node.call(Ours, Del, &config, &about.without_netns()).unwrap();
        assert_eq!(node.leftovers(OWN), [""; 0], "{name}");
        node.in_container(&format!("ip link del '{name}'"));
    }
}
