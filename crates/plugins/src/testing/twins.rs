//! The same calls by the reference plugin and by ours, in twin namespaces, and crosswise: each also
//! checks and tears down what the other has made. What differs by chance is left out: numbers,
//! random names and addresses.

use std::thread::sleep;
use std::time::{Duration, Instant};

use cni::request::Command;
use linux::family::Family;
use linux::netns::Netns;
use linux::sysctl::Sysctl;
use serde_json::{Map, Value, json};

use super::node::{Node, Who};

/// How a scenario differs from the usual one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Twist {
    /// Lines of `ip` on the host before the first call.
    pub(crate) before: &'static str,
    /// `CNI_ARGS`.
    pub(crate) args: &'static str,
    /// The reference's CHECK fails on what is right: it is left out.
    pub(crate) reference_check_fails: bool,
    /// The version has no CHECK.
    pub(crate) ours_has_no_check: bool,
    /// The reference's DEL leaves something that ours does not.
    pub(crate) differs_after_del: bool,
}

/// A network configuration with IPAM of `addresses`, each with its gateway, and of `routes`.
pub(crate) fn network(plugin: Value, addresses: &[(&str, Option<&str>)], routes: Value) -> Value {
    let entry = |(address, gateway): &(&str, Option<&str>)| match gateway {
        Some(gateway) => json!({"address": address, "gateway": gateway}),
        None => json!({"address": address}),
    };
    let mut network = l2(plugin);
    let addresses: Vec<Value> = addresses.iter().map(entry).collect();
    network["ipam"] = json!({"type": "static", "addresses": addresses, "routes": routes});
    network
}

/// A network configuration without IPAM.
pub(crate) fn l2(plugin: Value) -> Value {
    let mut network = json!({"cniVersion": "0.4.0", "name": "blue"});
    network.as_object_mut().unwrap().extend(plugin.as_object().unwrap().clone());
    network
}

pub(crate) fn with_result(config: &Value, result: &Value) -> Value {
    let mut config = config.clone();
    config["prevResult"] = result.clone();
    config
}

/// Runs ADD, CHECK, DEL and a second DEL by each, and compares after each step; then crosswise.
pub(crate) fn compare(config: &Value, twist: Twist) {
    let nodes = [Who::Reference, Who::Ours].map(|who| (who, prepared(twist)));
    let results = nodes.each_ref().map(|(who, node)| {
        let added = node.call_with_args(*who, Command::Add, config, twist.args);
        added.unwrap_or_else(|error| panic!("{who:?}: {error}"))
    });
    assert_eq!(without_chance(&results[0]), without_chance(&results[1]), "the results differ");
    assert_same(&nodes, "ADD");
    for ((who, node), result) in nodes.iter().zip(&results) {
        let config = with_result(config, result);
        if !twist.ours_has_no_check {
            node.call(Who::Ours, Command::Check, &config)
                .unwrap_or_else(|error| panic!("our CHECK of {who:?}: {error}"));
        }
        if !twist.reference_check_fails {
            let checked = node.call(Who::Reference, Command::Check, &config);
            checked.unwrap_or_else(|error| panic!("the reference's CHECK of {who:?}: {error}"));
        }
        let other = if *who == Who::Ours { Who::Reference } else { Who::Ours };
        for who in [other, Who::Ours] {
            node.call(who, Command::Del, &config)
                .unwrap_or_else(|error| panic!("DEL by {who:?}: {error}"));
        }
        assert!(!node.has_interface(), "DEL by {other:?}");
    }
    if !twist.differs_after_del {
        assert_same(&nodes, "DEL");
    }
}

fn prepared(twist: Twist) -> Node {
    let node = Node::new();
    if !twist.before.is_empty() {
        node.on_host(twist.before);
    }
    node
}

/// The kernel shows the state of a carrier, and of an address without duplicate detection, a moment
/// later.
fn assert_same(nodes: &[(Who, Node); 2], step: &str) {
    let started = Instant::now();
    let [mut reference, mut ours] = nodes.each_ref().map(|(_, node)| snapshot(node));
    while reference != ours && started.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(50));
        [reference, ours] = nodes.each_ref().map(|(_, node)| snapshot(node));
    }
    for (what, reference) in reference.as_object().unwrap() {
        let (reference, ours) = (pretty(reference), pretty(&ours[what]));
        assert!(
            reference == ours,
            "{what} after {step}: the reference's\n{reference}\nours\n{ours}"
        );
    }
}

pub(crate) fn pretty(value: &Value) -> String {
    let list: Vec<String> = value.as_array().into_iter().flatten().map(Value::to_string).collect();
    list.join("\n")
}

/// What the kernel shows of both namespaces.
pub(crate) fn snapshot(node: &Node) -> Value {
    json!({
        "links of the host": links(&node.on_host("-d -j addr")),
        "links of the container": links(&node.in_container("-d -j addr")),
        "IPv4 routes of the host": routes(&node.on_host("-4 -j route show table all")),
        "IPv6 routes of the host": routes(&node.on_host("-6 -j route show table all")),
        "IPv4 routes of the container": routes(&node.in_container("-4 -j route show table all")),
        "IPv6 routes of the container": routes(&node.in_container("-6 -j route show table all")),
        "settings of the host": settings(&node.host, &[(Family::V4, "all", "forwarding"), (Family::V6, "all", "forwarding")]),
        "settings of the container": settings(&node.container, &[
            (Family::V4, "eth0", "arp_notify"), (Family::V6, "eth0", "accept_dad"), (Family::V6, "eth0", "disable_ipv6"),
        ]),
    })
}

fn settings(netns: &Netns, names: &[(Family, &str, &str)]) -> Value {
    let read = |(family, interface, key): &(Family, &str, &str)| {
        let value = Sysctl::of_interface(*family, interface, key).read().unwrap_or_default();
        Value::from(format!("{family} {interface} {key} = {value}"))
    };
    netns.run(|| Value::Array(names.iter().map(read).collect())).unwrap()
}

fn links(text: &str) -> Value {
    let mut links: Vec<Value> =
        serde_json::from_str::<Vec<Value>>(text).unwrap().iter().map(link).collect();
    links.sort_by_key(Value::to_string);
    Value::Array(links)
}

fn link(shown: &Value) -> Value {
    let info = &shown["linkinfo"];
    let addresses = shown["addr_info"].as_array().unwrap().iter();
    let addresses: Vec<Value> =
        addresses.filter(|entry| entry["scope"] != "link").map(address).collect();
    let name = without_random_name(shown["ifname"].as_str().unwrap());
    json!({
        "name": name,
        "flags": shown["flags"],
        "mtu": shown["mtu"],
        // Which of the two it is depends on the order in which both ends went down.
        "state": shown["operstate"].as_str().unwrap().replace("LOWERLAYERDOWN", "DOWN"),
        "master": shown["master"],
        "mac": fixed_mac(&shown["address"]),
        // Our mark of the device that limits what a container sends.
        "alias": shown["ifalias"].as_str().filter(|alias| !alias.starts_with("braid-bandwidth ")),
        "kind": info["info_kind"],
        "data": chosen(&info["info_data"], &["mode", "vlan_filtering", "protocol", "id", "flags"]),
        "port": chosen(&info["info_slave_data"], &["hairpin", "isolated"]),
        "addresses": addresses,
    })
}

fn address(shown: &Value) -> Value {
    let keys =
        ["family", "local", "prefixlen", "broadcast", "scope", "tentative", "valid_life_time"];
    chosen(shown, &keys)
}

/// Addresses that the tests ask for begin with 02:00:00:00, which the kernel chooses once in
/// billions of times.
fn fixed_mac(mac: &Value) -> Option<&str> {
    mac.as_str().filter(|mac| mac.starts_with("02:00:00:00:") || mac.starts_with("00:00:00:00:"))
}

fn chosen(object: &Value, keys: &[&str]) -> Value {
    let kept = keys.iter().filter_map(|key| Some(((*key).to_owned(), object.get(*key)?.clone())));
    Value::Object(kept.collect::<Map<String, Value>>())
}

fn routes(text: &str) -> Value {
    let is_automatic = |route: &&Value| {
        let destination = route["dst"].as_str().unwrap();
        destination.starts_with("fe80")
            || destination.starts_with("ff00")
            || route["type"] == "anycast"
    };
    let routes: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut routes: Vec<Value> =
        routes.iter().filter(|route| !is_automatic(route)).map(route).collect();
    routes.sort_by_key(Value::to_string);
    Value::Array(routes)
}

fn route(shown: &Value) -> Value {
    let mut route = shown.clone();
    if let Some(name) = shown["dev"].as_str() {
        route["dev"] = without_random_name(name).into();
    }
    route.as_object_mut().unwrap().retain(|key, _| !matches!(key.as_str(), "flags" | "cache"));
    route
}

fn without_random_name(name: &str) -> &str {
    if name.len() == 12 && name.starts_with("veth") { "vethXXXXXXXX" } else { name }
}

/// A result without random names and addresses, and without keys that say nothing.
pub(crate) fn without_chance(result: &Value) -> Value {
    let mut result = result.clone();
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        interface["name"] = without_random_name(interface["name"].as_str().unwrap()).into();
        interface["mac"] = fixed_mac(&interface["mac"].clone()).map_or("random", |mac| mac).into();
        if interface.get("sandbox").is_some() {
            interface["sandbox"] = "sandbox".into();
        }
    }
    if result["dns"] == json!({}) {
        result.as_object_mut().unwrap().remove("dns");
    }
    result
}
