//! One plugin of a chain, by the reference and by ours, in twin namespaces and crosswise.

use std::thread::sleep;
use std::time::{Duration, Instant};

use cni::error::Error;
use cni::request::Command;
use serde_json::{Value, json};

use crate::testing::node::{Node, Who, reference_is_recent};
use crate::testing::twins::{pretty, snapshot, without_chance};

/// A container with `eth0`, one end of a veth pair whose other end on the host is `peer0`, and two
/// addresses.
pub(super) fn container() -> Node {
    let node = Node::new();
    node.on_host("link add peer0 address 02:00:00:00:00:01 type veth peer name eth9");
    move_in(&node, "eth9");
    node.in_container(
        "link set eth9 address 02:00:00:00:00:02 name eth0; link set lo up; link set eth0 up",
    );
    node.on_host("link set peer0 up");
    node.in_container("addr add 10.1.0.5/24 dev eth0; addr add fd01::5/64 dev eth0 nodad");
    node.in_container("route add default via 10.1.0.1; -6 route add default via fd01::1");
    node
}

/// Moves a link of the host into the container.
pub(super) fn move_in(node: &Node, name: &str) {
    let path = node.netns_path();
    node.on_host(&format!("link set {name} netns {path}"));
}

/// What the plugin before reports of that container.
pub(super) fn result_of(node: &Node, version: &str) -> Value {
    let family = |digit: &str, mut ip: Value| {
        if version.starts_with('0') {
            ip["version"] = digit.into();
        }
        ip
    };
    json!({
        "cniVersion": version,
        "interfaces": [
            {"name": "peer0", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": node.netns_path()},
        ],
        "ips": [
            family("4", json!({"interface": 1, "address": "10.1.0.5/24", "gateway": "10.1.0.1"})),
            family("6", json!({"interface": 1, "address": "fd01::5/64", "gateway": "fd01::1"})),
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd01::1"}],
        "dns": {"nameservers": ["10.1.0.1"]},
    })
}

pub(super) fn config(keys: Value, version: &str) -> Value {
    let mut config = json!({"cniVersion": version, "name": "blue"});
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    config
}

/// One side of a comparison.
pub(super) struct Side {
    pub(super) who: Who,
    pub(super) node: Node,
    pub(super) config: Value,
}

impl Side {
    /// A prepared node, and the configuration with the result of the plugin before.
    pub(super) fn new(who: Who, node: Node, config: &Value) -> Self {
        let mut config = config.clone();
        if config.get("prevResult").is_none() {
            config["prevResult"] = result_of(&node, config["cniVersion"].as_str().unwrap());
        }
        Self { who, node, config }
    }

    pub(super) fn call(&self, who: Who, command: Command) -> Result<Value, Error> {
        self.node.call(who, command, &self.config)
    }

    pub(super) fn other(&self) -> Who {
        if self.who == Who::Ours { Who::Reference } else { Who::Ours }
    }
}

/// Runs ADD by each, and compares the results and what the kernel shows. Both may fail.
pub(super) fn add_both(sides: &mut [Side; 2], shown: &dyn Fn(&Node) -> Value, args: &str) -> bool {
    let outcomes = sides
        .each_ref()
        .map(|side| side.node.call_with_args(side.who, Command::Add, &side.config, args));
    let [reference, ours] = &outcomes;
    assert_eq!(reference.is_ok(), ours.is_ok(), "{reference:?} {ours:?}: {}", sides[0].config);
    let Ok([reference, ours]) = outcomes
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map(|it| <[Value; 2]>::try_from(it).unwrap())
    else {
        return false;
    };
    assert_eq!(without_chance(&reference), without_chance(&ours), "{}", sides[0].config);
    for (side, result) in sides.iter_mut().zip([reference, ours]) {
        side.config["prevResult"] = result;
    }
    assert_same(sides, shown, "ADD");
    true
}

/// The kernel shows some states a moment later.
pub(super) fn assert_same(sides: &[Side; 2], shown: &dyn Fn(&Node) -> Value, step: &str) {
    let look = |side: &Side| {
        let mut all = snapshot(&side.node);
        all["more"] = shown(&side.node);
        all
    };
    let started = Instant::now();
    let [mut reference, mut ours] = sides.each_ref().map(look);
    while reference != ours && started.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(50));
        [reference, ours] = sides.each_ref().map(look);
    }
    for (what, reference) in reference.as_object().unwrap() {
        let (reference, ours) = (pretty(reference), pretty(&ours[what]));
        let config = &sides[0].config;
        assert!(
            reference == ours,
            "{what} after {step} of {config}: the reference's\n{reference}\nours\n{ours}"
        );
    }
}

/// Rules of both families, and the queue, alias and master of each link of the container.
pub(super) fn more(node: &Node) -> Value {
    let parse = |text: String| serde_json::from_str::<Vec<Value>>(&text).unwrap();
    let mut list = parse(node.in_container("-4 -j rule"));
    list.extend(parse(node.in_container("-6 -j rule")));
    for link in parse(node.in_container("-d -j link")) {
        list.push(json!({
            "name": link["ifname"], "queue": Some(&link["txqlen"]).filter(|_| reference_is_recent()), "alias": link["ifalias"], "master": link["master"],
        }));
    }
    Value::Array(list)
}
