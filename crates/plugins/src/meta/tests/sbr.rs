//! sbr, beside the reference plugin.

use cni::error::Code;
use cni::request::Command;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::chain::{Side, add_both, assert_same, config, container, more, result_of};
use crate::testing::cases;
use crate::testing::node::{Node, Who, reference_is_recent};
use crate::testing::twins::network;

/// What happens to the container before the first call.
fn prepared(lines: &str) -> Node {
    let node = container();
    if !lines.is_empty() {
        node.in_container(lines);
    }
    node
}

fn sides(keys: &Value, version: &str, lines: &str) -> [Side; 2] {
    let mut keys = keys.clone();
    keys["type"] = json!("sbr");
    [Who::Reference, Who::Ours]
        .map(|who| Side::new(who, prepared(lines), &config(keys.clone(), version)))
}

fn compare(sides: &mut [Side; 2]) {
    if !add_both(sides, &more, "") {
        return;
    }
    for side in sides.iter() {
        if side.config["cniVersion"] != "0.3.1" {
            side.call(Who::Ours, Command::Check).unwrap();
            side.call(side.other(), Command::Check).unwrap();
        }
        side.call(side.other(), Command::Del).unwrap();
        side.call(Who::Ours, Command::Del).unwrap();
        assert!(!rules(&side.node).contains("10.1.0.") && !rules(&side.node).contains("fd01:"));
    }
    assert_same(sides, &more, "DEL");
}

fn rules(node: &Node) -> String {
    node.in_container("-4 rule") + &node.in_container("-6 rule")
}

const LINES: [&str; 5] = [
    "",
    "rule add from 192.0.2.9 lookup 100; rule add from 192.0.2.9 lookup 102",
    "addr add 10.1.0.6/24 dev eth0; route add 10.9.0.0/16 via 10.1.0.9 dev eth0 src 10.1.0.6",
    "route add 10.8.0.0/16 dev eth0 scope link; -6 route add fd08::/32 via fd01::9 dev eth0 metric \
     7",
    "link add net9 type bridge; link set net9 up; addr add 10.7.0.1/24 dev net9; route add \
     10.6.0.0/16 via 10.7.0.9",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(10), max_shrink_iters: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sbr_is_the_reference_s(
        table in any::<bool>(), lines in 0_usize..5, version in 0_usize..3,
        gateways in proptest::collection::vec(any::<bool>(), 2), index in any::<bool>(),
    ) {
        // Before 1.6 the reference has no key `table`.
        let keys = if table && reference_is_recent() { json!({"table": 300}) } else { json!({}) };
        let mut sides = sides(&keys, ["0.3.1", "0.4.0", "1.0.0"][version], LINES[lines]);
        for side in &mut sides {
            let ips = side.config["prevResult"]["ips"].as_array_mut().unwrap();
            for (ip, has_gateway) in ips.iter_mut().zip(&gateways) {
                if !has_gateway { ip.as_object_mut().unwrap().remove("gateway"); }
                if !index { ip.as_object_mut().unwrap().remove("interface"); }
            }
        }
        compare(&mut sides);
    }
}

#[test]
fn two_addresses_of_one_subnet_have_a_table_each() {
    let mut sides = sides(&json!({}), "1.0.0", LINES[2]);
    for side in &mut sides {
        let second = json!({"interface": 1, "address": "10.1.0.6/24", "gateway": "10.1.0.1"});
        side.config["prevResult"]["ips"].as_array_mut().unwrap().push(second);
    }
    compare(&mut sides);
}

fn ours(keys: Value, lines: &str) -> Side {
    let mut keys = keys;
    keys["type"] = json!("sbr");
    Side::new(Who::Ours, prepared(lines), &config(keys, "1.1.0"))
}

/// All routes, but for those that the kernel adds by itself a moment later.
fn routes(node: &Node) -> String {
    let all = node.in_container("-4 route show table all")
        + &node.in_container("-6 route show table all");
    let is_automatic = |line: &&str| line.contains("fe80:") || line.contains("table local");
    let mut lines: Vec<&str> = all.lines().filter(|line| !is_automatic(line)).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn gateways_of_the_configuration_replace_those_of_the_addresses() {
    let side = ours(json!({"gateways": ["10.1.0.77", "fd01::77"]}), "");
    side.call(Who::Ours, Command::Add).unwrap();
    let shown = routes(&side.node);
    assert!(shown.contains("default via 10.1.0.77 dev eth0 table 100"), "{shown}");
    assert!(shown.contains("default via fd01::77 dev eth0 table 101"), "{shown}");
    assert!(!side.node.in_container("-4 route show table main").contains("10.1.0.0/24"));
}

#[test]
fn source_hints_keep_the_subnets_in_the_main_table() {
    let side = ours(json!({"addSourceHints": true}), "");
    side.call(Who::Ours, Command::Add).unwrap();
    let shown = side.node.in_container("-4 route show table main");
    assert_eq!(shown.trim(), "10.1.0.0/24 dev eth0 scope link src 10.1.0.5");
    let shown = side.node.in_container("-6 route show table main");
    assert!(
        shown.contains("fd01::/64 dev eth0 src fd01::5") && !shown.contains("default"),
        "{shown}"
    );
}

#[test]
fn a_table_that_holds_routes_without_a_rule_is_not_free() {
    let side = ours(json!({}), "route add 10.50.0.0/16 dev eth0 table 100");
    side.call(Who::Ours, Command::Add).unwrap();
    assert!(rules(&side.node).contains("from 10.1.0.5 lookup 101"), "{}", rules(&side.node));
}

#[test]
fn a_failed_add_leaves_the_routes_as_they_were() {
    // No link leads to the gateway.
    let mut side = ours(json!({"gateways": ["192.0.2.77"]}), LINES[3]);
    let before = (routes(&side.node), rules(&side.node));
    let error = side.call(Who::Ours, Command::Add).unwrap_err();
    assert!(error.msg.contains("192.0.2.77"), "{error}");
    assert_eq!((routes(&side.node), rules(&side.node)), before);
    // The second address's rule is refused.
    side.config["prevResult"]["ips"][1]["address"] = json!("10.1.0.5/24");
    let error = side.call(Who::Ours, Command::Add).unwrap_err();
    assert_eq!((routes(&side.node), rules(&side.node)), before, "{error}");
}

#[test]
fn del_needs_no_namespace_and_makes_none() {
    let side = ours(json!({}), "");
    side.call(Who::Ours, Command::Add).unwrap();
    let path = std::env::temp_dir().join(format!("braid-sbr-{}", std::process::id()));
    for path in ["", path.to_str().unwrap()] {
        side.node.call_without_netns(Command::Del, &side.config, path).unwrap();
    }
    assert!(!path.exists());
    // The result of ADD says the addresses that the interface has lost.
    side.node.in_container("link delete eth0");
    side.call(Who::Ours, Command::Del).unwrap();
    assert!(!rules(&side.node).contains("10.1.0.5"), "{}", rules(&side.node));
}

#[test]
fn check_names_the_address_whose_rule_is_gone() {
    let side = ours(json!({}), "");
    side.call(Who::Ours, Command::Add).unwrap();
    side.call(Who::Ours, Command::Check).unwrap();
    side.node.in_container("-6 rule delete from fd01::5");
    let error = side.call(Who::Ours, Command::Check).unwrap_err();
    assert!(error.code == Code::DRIFT && error.msg.contains("fd01::5"), "{error}");
}

#[test]
fn a_wrong_value_is_refused_before_anything_is_changed() {
    let table = [
        (json!({"table": "main"}), "\"table\" must be"),
        (json!({"table": -1}), "\"table\" must be"),
        (json!({"gateways": "10.1.0.1"}), "\"gateways\" must be"),
        (json!({"gateways": ["x"]}), "\"gateways\" must be"),
        (json!({"gateways": ["10.1.0.1", "10.1.0.2"]}), "two of IPv4"),
        (json!({"addSourceHints": 1}), "\"addSourceHints\" must be"),
        (json!({"prevResult": null}), "no \"prevResult\""),
    ];
    for (keys, words) in table {
        let mut side = ours(json!({}), "");
        side.config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let before = routes(&side.node);
        let error = side.call(Who::Ours, Command::Add).unwrap_err();
        assert!(error.code == Code::CONFIG && error.msg.contains(words), "{keys}: {error}");
        assert_eq!(routes(&side.node), before, "{keys}");
    }
    let mut side = ours(json!({}), "");
    side.config["prevResult"] = result_of(&side.node, "1.1.0");
    side.config["prevResult"]["ips"] = json!([]);
    let error = side.call(Who::Ours, Command::Add).unwrap_err();
    assert!(error.msg.contains("no address"), "{error}");
}

/// The reference's CHECK of bridge fails here: it reads the main table alone.
#[test]
fn check_of_the_plugin_before_passes_behind_sbr() {
    let plugins = [
        json!({"type": "bridge", "bridge": "br0", "isGateway": true}),
        json!({"type": "ptp"}),
        json!({"type": "macvlan", "master": "eth0"}),
    ];
    let addresses = [("10.1.0.5/24", Some("10.1.0.1")), ("fd01::5/64", Some("fd01::1"))];
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16"}]);
    for plugin in plugins {
        for keys in [json!({}), json!({"addSourceHints": true})] {
            let node = Node::new();
            let mut first = network(plugin.clone(), &addresses, routes.clone());
            first["prevResult"] = node.call(Who::Ours, Command::Add, &first).unwrap();
            let mut second = config(keys, "0.4.0");
            second["type"] = json!("sbr");
            second["prevResult"] = first["prevResult"].clone();
            let result = node.call(Who::Ours, Command::Add, &second).unwrap();
            assert_eq!(result, first["prevResult"]);
            node.call(Who::Ours, Command::Check, &first)
                .unwrap_or_else(|error| panic!("{first}: {error}"));
        }
    }
}
