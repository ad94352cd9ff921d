//! vrf, beside the reference plugin, on a kernel that has it.

use cni::error::Code;
use cni::request::Command;
use serde_json::{Value, json};

use super::chain::{Side, add_both, assert_same, config, container, more};
use crate::testing::node::{Node, Who};
use crate::testing::twins::network;

/// Before 1.9.1 the reference loses routes by gateways: it is compared without any.
const NO_GATEWAY: &str = "route delete default; -6 route delete default";

fn prepared(lines: &str) -> Node {
    let node = container();
    lines.split(';').filter(|line| !line.trim().is_empty()).for_each(|line| {
        node.in_container(line);
    });
    node
}

fn vrf(keys: Value, version: &str) -> Value {
    let mut keys = keys;
    keys["type"] = json!("vrf");
    config(keys, version)
}

fn compare(keys: &Value, version: &str, lines: &str) {
    let config = vrf(keys.clone(), version);
    let mut sides = [Who::Reference, Who::Ours].map(|who| Side::new(who, prepared(lines), &config));
    if !add_both(&mut sides, &more, "") {
        return;
    }
    for side in &sides {
        for who in [Who::Reference, Who::Ours].into_iter().filter(|_| version != "0.3.1") {
            side.call(who, Command::Check)
                .unwrap_or_else(|error| panic!("CHECK by {who:?}: {error}"));
        }
        side.call(side.other(), Command::Del).unwrap();
        side.call(Who::Ours, Command::Del).unwrap();
    }
    assert_same(&sides, &more, "DEL");
}

#[test]
#[ignore = "needs a kernel with vrf: run it by scripts/vm"]
fn vrf_is_the_reference_s() {
    let other = "link add red type vrf table 1; link set red up";
    let existing = "link add blue type vrf table 77; link set blue up";
    let member = "link add net9 type veth peer name far9; link set net9 master blue up";
    let table = [
        (json!({"vrfname": "blue"}), "0.3.1", String::new()),
        (json!({"vrfname": "blue"}), "1.0.0", other.to_owned()),
        (json!({"vrfname": "blue", "table": 300}), "0.4.0", String::new()),
        (json!({"vrfname": "blue", "table": 77}), "1.0.0", existing.to_owned()),
        (json!({"vrfname": "blue", "table": 78}), "1.0.0", existing.to_owned()),
        (json!({"vrfname": "blue"}), "1.0.0", format!("{existing}; {member}")),
        (json!({"vrfname": "lo"}), "1.0.0", String::new()),
        (json!({"vrfname": "blue"}), "1.0.0", format!("{other}; link set eth0 master red")),
    ];
    for (keys, version, lines) in table {
        compare(&keys, version, &format!("{NO_GATEWAY}; {lines}"));
    }
}

fn ours(keys: Value, lines: &str) -> Side {
    Side::new(Who::Ours, prepared(lines), &vrf(keys, "1.1.0"))
}

#[test]
#[ignore = "needs a kernel with vrf: run it by scripts/vm"]
fn routes_and_addresses_move_to_the_table_of_the_vrf() {
    for keep in ["0", "1"] {
        let side = ours(
            json!({"vrfname": "blue", "table": 300}),
            "route add 10.8.0.0/16 dev eth0 scope link",
        );
        let setting = "/proc/sys/net/ipv6/conf/eth0/keep_addr_on_down";
        side.node.container.run(|| std::fs::write(setting, keep)).unwrap().unwrap();
        side.call(Who::Ours, Command::Add).unwrap();
        side.call(Who::Ours, Command::Check).unwrap();
        let shown = side.node.in_container("-4 route show table 300")
            + &side.node.in_container("-6 route show table 300");
        for route in [
            "default via 10.1.0.1 dev eth0",
            "10.1.0.0/24 dev eth0",
            "10.8.0.0/16 dev eth0",
            "default via fd01::1 dev eth0",
            "fd01::/64 dev eth0",
        ] {
            assert!(shown.contains(route), "{route}, keep_addr_on_down {keep}: {shown}");
        }
        assert!(!side.node.in_container("route show table main").contains("eth0"));
        assert!(side.node.in_container("addr show eth0").contains("fd01::5/64"));
    }
}

#[test]
#[ignore = "needs a kernel with vrf: run it by scripts/vm"]
fn a_table_that_holds_routes_is_not_free() {
    let side = ours(json!({"vrfname": "blue"}), "route add 10.50.0.0/16 dev eth0 table 1");
    side.call(Who::Ours, Command::Add).unwrap();
    assert!(side.node.in_container("-d link show blue").contains("table 2"));
}

#[test]
#[ignore = "needs a kernel with vrf: run it by scripts/vm"]
fn the_last_member_takes_the_vrf_with_it_even_if_it_is_gone() {
    let member = "link add net9 type veth peer name far9";
    let side = ours(json!({"vrfname": "blue"}), member);
    side.call(Who::Ours, Command::Add).unwrap();
    side.node.in_container("link set net9 master blue");
    side.node.in_container("link delete eth0");
    side.call(Who::Ours, Command::Del).unwrap();
    assert!(side.node.in_container("-br link").contains("blue"));
    side.node.in_container("link set net9 nomaster");
    side.call(Who::Ours, Command::Del).unwrap();
    assert!(!side.node.in_container("-br link").contains("blue"));
    for path in ["", "/run/netns/gone"] {
        side.node.call_without_netns(Command::Del, &side.config, path).unwrap();
    }
}

#[test]
#[ignore = "needs a kernel with vrf: run it by scripts/vm"]
fn a_failed_add_leaves_neither_vrf_nor_member() {
    let side =
        ours(json!({"vrfname": "blue"}), "link add br9 type bridge; link set eth0 master br9");
    let before = side.node.in_container("-d -j link");
    let error = side.call(Who::Ours, Command::Add).unwrap_err();
    assert!(error.code == Code::CONFIG && error.msg.contains("another master"), "{error}");
    assert_eq!(side.node.in_container("-d -j link"), before);
}

#[test]
#[ignore = "needs a kernel with vrf: run it by scripts/vm"]
fn check_names_what_has_changed() {
    for (change, words) in [
        ("link set eth0 nomaster", "no member"),
        ("link delete blue", "is gone"),
        ("link delete eth0", "no member"),
    ] {
        let side = ours(json!({"vrfname": "blue", "table": 300}), "");
        side.call(Who::Ours, Command::Add).unwrap();
        side.node.in_container(change);
        let error = side.call(Who::Ours, Command::Check).unwrap_err();
        assert!(error.code == Code::DRIFT && error.msg.contains(words), "{change}: {error}");
    }
}

#[test]
#[ignore = "needs a kernel with vrf: run it by scripts/vm"]
fn check_of_the_plugin_before_passes_behind_vrf() {
    for plugin in [
        json!({"type": "bridge", "bridge": "br0", "isGateway": true}),
        json!({"type": "macvlan", "master": "eth0"}),
    ] {
        let node = Node::new();
        let addresses = [("10.1.0.5/24", Some("10.1.0.1")), ("fd01::5/64", Some("fd01::1"))];
        let mut first =
            network(plugin, &addresses, json!([{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16"}]));
        first["prevResult"] = node.call(Who::Ours, Command::Add, &first).unwrap();
        let mut second = vrf(json!({"vrfname": "blue"}), "0.4.0");
        second["prevResult"] = first["prevResult"].clone();
        assert_eq!(node.call(Who::Ours, Command::Add, &second).unwrap(), first["prevResult"]);
        node.call(Who::Ours, Command::Check, &first)
            .unwrap_or_else(|error| panic!("{first}: {error}"));
    }
}

#[test]
fn a_wrong_value_is_refused() {
    for (keys, words) in [
        (json!({}), "\"vrfname\""),
        (json!({"vrfname": 5}), "\"vrfname\" must be"),
        (json!({"vrfname": "a/b"}), "\"vrfname\" must be"),
        (json!({"vrfname": "a-name-of-17-char"}), "15 characters"),
        (json!({"vrfname": "blue", "table": "x"}), "\"table\" must be"),
        (json!({"vrfname": "blue", "table": -1}), "\"table\" must be"),
    ] {
        let side = ours(keys.clone(), "");
        let error = side.call(Who::Ours, Command::Add).unwrap_err();
        assert!(error.code == Code::CONFIG && error.msg.contains(words), "{keys}: {error}");
    }
}
