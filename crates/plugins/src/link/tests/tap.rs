//! tap: what the kernel shows of the device, beside the reference plugin if that has it (1.3).

use cni::error::Code;
use cni::request::Command;
use serde_json::{Value, json};

use crate::testing::node::{Node, Who, reference_is_recent};
use crate::testing::twins::{Twist, compare, l2, network, with_result};

const BOTH: &[(&str, Option<&str>)] =
    &[("10.1.0.5/24", Some("10.1.0.1")), ("fd01::5/64", Some("fd01::1"))];

fn tap(keys: Value) -> Value {
    let mut plugin = json!({"type": "tap", "cniVersion": "1.0.0"});
    plugin.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    plugin
}

fn device(node: &Node) -> Value {
    let shown: Value = serde_json::from_str(&node.in_container("-d -j link show eth0")).unwrap();
    shown[0].clone()
}

#[test]
fn the_flags_are_those_of_the_reference_s_two_ways() {
    for (keys, pi, vnet_hdr) in [
        (json!({}), false, false),
        (json!({"multiQueue": true}), false, false),
        (json!({"owner": 7}), false, false),
        (json!({"owner": 7, "group": 8}), true, true),
        (json!({"owner": 7, "group": 8, "multiQueue": true}), false, true),
    ] {
        let config = l2(tap(keys.clone()));
        let mut shown = Vec::new();
        for who in [Who::Ours, Who::Reference] {
            // Before 1.3 the reference has no such plugin.
            if who == Who::Reference && !reference_is_recent() {
                continue;
            }
            let node = Node::new();
            node.call(who, Command::Add, &config)
                .unwrap_or_else(|error| panic!("{who:?} {keys}: {error}"));
            shown.push(device(&node)["linkinfo"]["info_data"].clone());
        }
        let data = &shown[0];
        assert_eq!((&data["type"], &data["persist"]), (&json!("tap"), &json!(true)), "{keys}");
        assert_eq!((&data["pi"], &data["vnet_hdr"]), (&json!(pi), &json!(vnet_hdr)), "{keys}");
        assert_eq!(data["multi_queue"], json!(keys.get("multiQueue").is_some()), "{keys}");
        assert!(shown.iter().all(|it| it == data), "{keys}: {shown:?}");
    }
}

#[test]
fn tap_is_the_reference_s() {
    let routes = json!([{"dst": "10.9.0.0/16"}]);
    let configs = [
        l2(tap(json!({"mtu": 1400, "mac": "02:00:00:00:00:05"}))),
        network(tap(json!({})), &BOTH[..1], routes),
        network(tap(json!({"owner": 7, "group": 8})), BOTH, json!([])),
    ];
    for config in configs {
        if reference_is_recent() {
            let args = "IgnoreUnknown=1;MAC=02:00:00:00:00:06";
            let is_direct = config.get("owner").is_some();
            let args = if is_direct { "" } else { args };
            compare(&config, Twist { args, ..Twist::default() });
        }
        let node = Node::new();
        let result = node.call(Who::Ours, Command::Add, &config).unwrap();
        let config = with_result(&config, &result);
        node.call(Who::Ours, Command::Check, &config).unwrap();
        node.call(Who::Ours, Command::Del, &config).unwrap();
        assert!(!node.has_interface());
        for path in ["", "/run/netns/gone"] {
            node.call_without_netns(Command::Del, &config, path).unwrap();
        }
    }
}

#[test]
fn address_and_mtu_count_in_both_ways_and_the_bridge_is_the_container_s() {
    let node = Node::new();
    node.in_container("link add br0 type bridge");
    let keys =
        json!({"owner": 7, "group": 8, "mtu": 1400, "mac": "02:00:00:00:00:05", "bridge": "br0"});
    let result = node.call(Who::Ours, Command::Add, &l2(tap(keys))).unwrap();
    assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:05");
    let shown = device(&node);
    assert_eq!((&shown["mtu"], &shown["master"]), (&json!(1400), &json!("br0")), "{shown}");
    assert!(shown["flags"].to_string().contains("\"UP\""));
}

#[test]
fn a_failed_add_leaves_no_device() {
    let mut broken = network(tap(json!({})), BOTH, json!([]));
    broken["ipam"] = json!({"type": "broken"});
    let unreachable = json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.77"}]);
    let table = [
        broken,
        network(tap(json!({})), BOTH, unreachable),
        l2(tap(json!({"mtu": 70_000_000}))),
        l2(tap(json!({"mac": "01:00:00:00:00:05"}))),
        l2(tap(json!({"selinuxContext": "system_u:system_r:no_such_t:s0"}))),
    ];
    for config in table {
        let node = Node::new();
        let error = node.call(Who::Ours, Command::Add, &config).unwrap_err();
        assert!(!node.has_interface(), "{config}: {error}");
    }
}

#[test]
fn a_wrong_value_is_refused() {
    for (keys, words) in [
        (json!({"multiQueue": "yes"}), "\"multiQueue\" must be"),
        (json!({"mtu": -1}), "\"mtu\" must be"),
        (json!({"owner": "root"}), "\"owner\" must be"),
        (json!({"group": 4_294_967_296_u64}), "\"group\" must be"),
        (json!({"selinuxContext": "a\nb"}), "\"selinuxContext\" must be"),
        (json!({"bridge": "br0"}), "the container does not have"),
        (json!({"bridge": "lo"}), "no bridge"),
        (json!({"mac": "x"}), "\"mac\" must be"),
    ] {
        let node = Node::new();
        let error = node.call(Who::Ours, Command::Add, &l2(tap(keys.clone()))).unwrap_err();
        assert!(error.code == Code::CONFIG && error.msg.contains(words), "{keys}: {error}");
        assert!(!node.has_interface());
    }
    let mut status = l2(tap(json!({})));
    status["cniVersion"] = json!("1.1.0");
    Node::new().call(Who::Ours, Command::Status, &status).unwrap();
}
