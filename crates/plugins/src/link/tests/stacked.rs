//! macvlan and loopback, and on a kernel that has them vlan, ipvlan and dummy, beside the reference
//! plugins.

use cni::request::Command;
use serde_json::json;

use crate::testing::node::{Node, Who, reference_is_recent};
use crate::testing::twins::{Twist, compare, l2, network, with_result};

const BOTH: &[(&str, Option<&str>)] =
    &[("10.1.0.5/24", Some("10.1.0.1")), ("fd01::5/64", Some("fd01::1"))];

#[test]
fn macvlan_is_the_reference_s_in_each_mode() {
    for mode in ["bridge", "private", "vepa"] {
        let plugin = json!({"type": "macvlan", "master": "eth0", "mode": mode, "mtu": 1400, "mac": "02:00:00:00:00:05"});
        compare(&network(plugin, &BOTH[..1], json!([{"dst": "0.0.0.0/0"}])), Twist::default());
    }
}

#[test]
fn macvlan_takes_the_interface_of_the_default_route_and_waits_for_duplicate_detection() {
    let args = "IgnoreUnknown=1;MAC=02:00:00:00:00:07";
    compare(
        &network(json!({"type": "macvlan"}), BOTH, json!([])),
        Twist { args, ..Twist::default() },
    );
}

#[test]
fn macvlan_without_addresses_passes_check() {
    compare(&l2(json!({"type": "macvlan", "master": "eth0"})), Twist::default());
    compare(
        &l2(json!({"type": "macvlan", "master": "eth0", "mode": "passthru"})),
        Twist::default(),
    );
}

#[test]
fn macvlan_on_an_interface_of_the_container_is_made_there() {
    let node = Node::new();
    node.in_container(
        "link add net1 type veth peer name peer1; link set net1 up; link set peer1 up",
    );
    let plugin = json!({"type": "macvlan", "master": "net1", "linkInContainer": true});
    let config = network(plugin, &BOTH[..1], json!([]));
    let result = node.call(Who::Ours, Command::Add, &config).unwrap();
    node.call(Who::Ours, Command::Check, &with_result(&config, &result)).unwrap();
    node.call(Who::Ours, Command::Del, &config).unwrap();
    assert!(!node.has_interface());
}

#[test]
fn loopback_is_the_reference_s() {
    compare_loopback(Who::Reference);
    compare_loopback(Who::Ours);
}

fn compare_loopback(who: Who) {
    let node = Node::new();
    let config = l2(json!({"type": "loopback", "cniVersion": "1.0.0"}));
    let result = node.call(who, Command::Add, &config).unwrap();
    assert_eq!(result["interfaces"][0]["name"], "lo");
    assert_eq!(result["interfaces"][0]["mac"], "00:00:00:00:00:00");
    let addresses: Vec<_> =
        result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].clone()).collect();
    assert_eq!(addresses, ["127.0.0.1/8", "::1/128"], "{who:?}");
    node.call(Who::Ours, Command::Check, &config).unwrap();
    node.call(Who::Ours, Command::Del, &config).unwrap();
    assert!(node.call(Who::Ours, Command::Check, &config).is_err());
}

#[test]
#[ignore = "needs a kernel with vlan: run it by scripts/vm"]
fn vlan_is_the_reference_s() {
    let plugin = json!({"type": "vlan", "master": "eth0", "vlanId": 5, "mtu": 1400});
    compare(&network(plugin, BOTH, json!([{"dst": "0.0.0.0/0"}])), Twist::default());
}

#[test]
#[ignore = "needs a kernel with ipvlan: run it by scripts/vm"]
fn ipvlan_is_the_reference_s() {
    let plugin = json!({"type": "ipvlan", "master": "eth0", "mode": "l3", "mtu": 1400});
    compare(&network(plugin, &BOTH[..1], json!([])), Twist::default());
}

/// Before 1.2 the reference has no such plugin.
#[test]
#[ignore = "needs a kernel with dummy: run it by scripts/vm"]
fn dummy_is_the_reference_s() {
    if reference_is_recent() {
        compare(&network(json!({"type": "dummy"}), BOTH, json!([])), Twist::default());
    }
}

#[test]
#[ignore = "needs a kernel with dummy: run it by scripts/vm"]
fn dummy_passes_check_and_is_torn_down() {
    let node = Node::new();
    let config = network(json!({"type": "dummy"}), BOTH, json!([]));
    let result = node.call(Who::Ours, Command::Add, &config).unwrap();
    let config = with_result(&config, &result);
    node.call(Who::Ours, Command::Check, &config).unwrap();
    node.in_container("link set eth0 down");
    assert_eq!(
        node.call(Who::Ours, Command::Check, &config).unwrap_err().msg,
        "interface \"eth0\" is down"
    );
    node.call(Who::Ours, Command::Del, &config).unwrap();
    assert!(!node.has_interface());
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: run it by scripts/vm"]
fn vlans_of_a_bridge_port_are_the_reference_s() {
    let plugin = |keys: serde_json::Value| {
        let mut plugin = json!({"type": "bridge", "bridge": "br0", "cniVersion": "0.4.0"});
        plugin.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        network(plugin, &BOTH[..1], json!([]))
    };
    for keys in [
        json!({"vlan": 5, "preserveDefaultVlan": false}),
        json!({"vlan": 5, "isGateway": true, "preserveDefaultVlan": false}),
    ] {
        compare(&plugin(keys), Twist::default());
    }
}

/// Before 1.3 the reference has no trunks.
#[test]
#[ignore = "needs a kernel with VLAN filtering: run it by scripts/vm"]
fn a_trunk_is_tagged_but_for_its_native_vlan() {
    let trunk = json!([{"minID": 7, "maxID": 9}, {"id": 8}, {"id": 20}, {"id": 5}]);
    for (keys, expected) in [
        (json!({"vlanTrunk": trunk}), "1 PVID Egress Untagged 5 7 8 9 20"),
        (json!({"vlanTrunk": trunk, "vlan": 5}), "5 PVID Egress Untagged 7 8 9 20"),
        (
            json!({"vlanTrunk": [{"id": 7}], "vlan": 5, "preserveDefaultVlan": true}),
            "1 Egress Untagged 5 PVID Egress Untagged 7",
        ),
        (json!({"vlanTrunk": []}), "1 PVID Egress Untagged"),
    ] {
        let node = Node::new();
        let mut config = l2(json!({"type": "bridge", "bridge": "br0"}));
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let result = node.call(Who::Ours, Command::Add, &config).unwrap();
        let port = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
        let show =
            || std::process::Command::new("bridge").args(["vlan", "show", "dev", &port]).output();
        let shown = String::from_utf8(node.host.run(show).unwrap().unwrap().stdout).unwrap();
        let words: Vec<&str> = shown.split_whitespace().skip(3).collect();
        assert_eq!(words.join(" "), expected, "{keys}");
    }
}
