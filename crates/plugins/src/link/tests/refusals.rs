//! Configurations that are refused before anything is changed.

use cni::error::Code;
use cni::request::Command;
use serde_json::{Value, json};

use crate::testing::node::{Node, Who};
use crate::testing::twins::{l2, network};

const ONE: &[(&str, Option<&str>)] = &[("10.1.0.5/24", Some("10.1.0.1"))];

fn refused(config: &Value, code: Code, sentence: &str) {
    let node = Node::new();
    let error = node.call(Who::Ours, Command::Add, config).unwrap_err();
    assert_eq!(error.code, code, "{config}: {error}");
    assert!(error.msg.contains(sentence), "{config}: {error}");
    assert!(
        !node.has_interface() && node.host_links().is_empty(),
        "{config}: {:?}",
        node.host_links()
    );
}

#[test]
fn wrong_types_and_values_are_code_7() {
    let bridge = |key: &str, value: Value| {
        let mut config = l2(json!({"type": "bridge"}));
        config[key] = value;
        config
    };
    for (config, sentence) in [
        (bridge("vlan", json!(4095)), "\"vlan\" must be a whole number from 0 to 4094, not 4095"),
        (bridge("vlan", json!("5")), "\"vlan\" must be"),
        (bridge("mtu", json!(-1)), "\"mtu\" must be"),
        (bridge("bridge", json!("a/b")), "\"bridge\" must be the name of an interface"),
        (
            bridge("bridge", json!("abcdefghijklmnop")),
            "\"bridge\" must be the name of an interface",
        ),
        (bridge("isGateway", json!("yes")), "\"isGateway\" must be true or false"),
        (bridge("vlanTrunk", json!([{"minID": 5}])), "\"minID\" and \"maxID\" belong together"),
        (
            bridge("vlanTrunk", json!([{"minID": 5, "maxID": 4}])),
            "\"minID\" and \"maxID\" belong together",
        ),
        (bridge("vlanTrunk", json!([{"id": 0}])), "\"id\" of \"vlanTrunk\" must be 1 to 4094"),
        (bridge("vlanTrunk", json!([5])), "\"vlanTrunk\" must be a list of objects"),
        (
            bridge("runtimeConfig", json!({"mac": "x"})),
            "\"runtimeConfig.mac\" must be a hardware address",
        ),
        (bridge("dns", json!([])), "\"dns\" must be an object"),
        (
            l2(json!({"type": "macvlan", "master": "gone0"})),
            "\"master\" is \"gone0\", an interface that the host does not have",
        ),
        (
            l2(json!({"type": "macvlan", "master": "eth0", "mode": "x"})),
            "\"mode\" must be one of bridge, private",
        ),
        (
            l2(json!({"type": "macvlan", "master": "eth0", "mtu": 1501})),
            "\"mtu\" must be at most 1500",
        ),
        (
            l2(json!({"type": "macvlan", "linkInContainer": true})),
            "the container has no default route to take it from",
        ),
        (l2(json!({"type": "ptp"})), "the network has no \"ipam\""),
        (l2(json!({"type": "vlan", "master": "eth0"})), "the network has no \"ipam\""),
        (network(json!({"type": "vlan"}), ONE, json!([])), "the network has no \"master\""),
        (
            network(json!({"type": "vlan", "master": "eth0", "vlanId": 4095}), ONE, json!([])),
            "\"vlanId\" must be",
        ),
        (l2(json!({"type": "dummy"})), "the network has no \"ipam\""),
        (
            l2(json!({"type": "ipvlan", "master": "eth0", "mode": "l4"})),
            "\"mode\" must be one of l2, l3, l3s",
        ),
        (l2(json!({"type": "ipvlan", "master": "eth0"})), "the network has no \"ipam\""),
        (bridge("hairpinMode", json!(true)), ""),
    ] {
        if !sentence.is_empty() {
            refused(&config, Code::CONFIG, sentence);
        }
    }
}

#[test]
fn keys_that_exclude_each_other_are_code_7() {
    refused(
        &l2(json!({"type": "bridge", "hairpinMode": true, "promiscMode": true})),
        Code::CONFIG,
        "exclude each other",
    );
    let down =
        network(json!({"type": "bridge", "disableContainerInterface": true}), ONE, json!([]));
    refused(&down, Code::CONFIG, "leave out \"ipam\"");
    let long = network(
        json!({"type": "bridge", "bridge": "abcdefghijklm", "vlan": 55, "isGateway": true}),
        ONE,
        json!([]),
    );
    refused(&long, Code::CONFIG, "give the bridge a shorter name");
}

#[test]
fn a_bridge_that_is_none_is_refused() {
    refused(
        &l2(json!({"type": "bridge", "bridge": "eth0"})),
        Code::CONFIG,
        "\"bridge\" names \"eth0\", which is a veth and no bridge",
    );
}

#[test]
fn an_unknown_key_is_passed_over() {
    let node = Node::new();
    node.call(Who::Ours, Command::Add, &l2(json!({"type": "bridge", "colour": "blue"}))).unwrap();
    assert!(node.has_interface());
}
