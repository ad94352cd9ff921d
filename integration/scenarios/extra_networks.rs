//! An extra network of its own for each kind of plugin.

use serde_json::{Value, json};

use super::named::{
    HOST_PORT, MARKER, addresses, check_and_delete, host_port, host_port_rules, lan, list,
    list_with_portmap, pings, primary, without_portmap_base,
};
use crate::node::{Namespace, Node, text};
use crate::wire::{Ear, ask, serve};

/// A machine on a wire that ends in the node's bridge `uplink`, with these addresses.
fn neighbour(node: &Node, addresses: &str) -> Namespace {
    let neighbour = Namespace::new("neighbour");
    node.host().ip("link add uplink type bridge");
    node.host().ip("link set uplink up");
    node.host().ip(&format!("link add port type veth peer name wire netns {}", neighbour.name()));
    node.host().ip("link set port addrgenmode none");
    node.host().ip("link set port master uplink up");
    neighbour.ip("link set wire up");
    for address in addresses.split_whitespace() {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        neighbour.ip(&format!("addr add {address} dev wire{nodad}"));
    }
    neighbour
}

pub(super) fn macvlan_over_a_wire(node: &Node) {
    let _neighbour = neighbour(node, "10.11.0.200/24 fd00:11::200/64");
    let ipam = node.host_local("10.11.0.0/24 fd00:11::/64");
    node.define("blue", "lan", json!({"type": "macvlan", "master": "uplink", "ipam": ipam}));
    let before = node.dump();
    let pods = [node.pod("blue", "web"), node.pod("blue", "db")];
    for pod in &pods {
        pod.add(primary(node)).networks("lan").run().assert_success();
    }
    let [web, db] = &pods;
    assert_eq!(web.link("net1")["linkinfo"]["info_kind"], "macvlan");
    let there = addresses(db, "net1");
    assert_eq!(there.len(), 2, "{there:?}");
    for address in there.iter().map(String::as_str).chain(["10.11.0.200", "fd00:11::200"]) {
        let ear = Ear::at(web.netns(), MARKER);
        assert!(pings(web, address), "{address}");
        assert_eq!(ear.heard_at(), ["net1"], "{address}");
    }
    check_and_delete(node, &[web, db], &before);
}

pub(super) fn ptp_through_the_node(node: &Node) {
    let ipam = node.host_local("10.13.0.0/24 fd00:13::/64");
    node.define("blue", "link", json!({"type": "ptp", "ipam": ipam}));
    let before = node.dump();
    let pods = [node.pod("blue", "web"), node.pod("blue", "db")];
    for pod in &pods {
        pod.add(primary(node)).networks("link@link0").run().assert_success();
    }
    let [web, db] = &pods;
    for address in addresses(db, "link0") {
        let ear = Ear::at(web.netns(), MARKER);
        assert!(pings(web, &address), "{address}");
        assert_eq!(ear.heard_at(), ["link0"], "{address}");
    }
    check_and_delete(node, &[web, db], &before);
}

pub(super) fn static_addresses_by_the_ips_capability(node: &Node) {
    let network = json!({
        "type": "bridge", "bridge": "br-lan", "capabilities": {"ips": true}, "ipam": {"type": "static"}
    });
    node.define("blue", "lan", network);
    let before = node.dump();
    let pods = [node.pod("blue", "web"), node.pod("blue", "db")];
    for (pod, last) in pods.iter().zip(["10", "11"]) {
        let ips = [format!("10.14.0.{last}/24"), format!("fd00:14::{last}/64")];
        pod.add(primary(node))
            .networks_json(json!([{"name": "lan", "ips": ips}]))
            .run()
            .assert_success();
        assert_eq!(pod.addresses("net1"), ips);
    }
    let [web, db] = &pods;
    assert!(addresses(db, "net1").iter().all(|address| pings(web, address)));
    check_and_delete(node, &[web, db], &before);
}

pub(super) fn chosen_addresses_from_host_local(node: &Node) {
    let mut network = lan(node, "br-lan", "10.10.0.0/24 fd00:10::/64");
    network["capabilities"] = json!({"ips": true});
    node.define("blue", "lan", network);
    let before = node.dump();
    let pod = node.pod("blue", "web");
    let ips = json!(["10.10.0.50/24", "fd00:10::50/64"]);
    pod.add(primary(node))
        .networks_json(json!([{"name": "lan", "ips": ips}]))
        .run()
        .assert_success();
    assert_eq!(json!(pod.addresses("net1")), ips);
    assert_eq!(node.reservations("lan"), ["10.10.0.50", "fd00:10::50"]);
    // The same address once more is refused by the plugin, and its word arrives.
    let second = node.pod("blue", "db");
    let failed =
        second.add(primary(node)).networks_json(json!([{"name": "lan", "ips": ips}])).run();
    assert!(text(&failed.json()["msg"]).contains("10.10.0.50"), "{}", failed.stdout);
    assert!(!failed.status.success());
    assert_eq!(second.links(), Vec::<String>::new());
    check_and_delete(node, &[&pod], &before);
}

pub(super) fn a_mac_by_tuning(node: &Node) {
    let tuning = json!({"type": "tuning", "capabilities": {"mac": true}, "dataDir": node.path_text("tuning")});
    let plugins = json!([lan(node, "br-lan", "10.10.0.0/24"), tuning]);
    node.define("blue", "lan", list("lan", plugins));
    let before = node.dump();
    let pod = node.pod("blue", "web");
    let asked = json!([{"name": "lan", "mac": "02:23:45:67:89:01"}]);
    let result = pod.add(primary(node)).networks_json(asked).run().assert_success();
    assert_eq!(pod.link("net1")["address"], "02:23:45:67:89:01");
    let interfaces = result["interfaces"].as_array().unwrap();
    let net1 = interfaces.iter().find(|interface| interface["name"] == "net1").unwrap();
    assert_eq!(net1["mac"], "02:23:45:67:89:01");
    check_and_delete(node, &[&pod], &before);
}

pub(super) fn a_port_of_the_node_by_portmap(node: &Node) {
    let mut bridge = lan(node, "br-lan", "10.10.0.0/24");
    bridge["isGateway"] = json!(true);
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    node.define("blue", "lan", list_with_portmap("lan", json!([bridge, portmap])));
    let before = node.dump();
    let pod = node.pod("blue", "web");
    pod.add(primary(node))
        .networks_json(json!([{"name": "lan", "portMappings": host_port()}]))
        .run()
        .assert_success();
    let rules = host_port_rules(node).join("\n");
    assert!(rules.contains("--to-destination 10.10.0.2:80"), "{rules}");
    assert!(!rules.contains("10.1.0."), "the primary has no port: {rules}");
    let server = serve(pod.netns(), "80", "served");
    let ear = Ear::at(pod.netns(), "736572766564");
    assert_eq!(ask(node.host(), "10.10.0.1", &HOST_PORT.to_string()), "served");
    assert_eq!(ear.heard_at(), ["net1"]);
    drop(server);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(host_port_rules(node), Vec::<String>::new());
    assert_eq!(without_portmap_base(node.leftovers(&before)), Vec::<String>::new());
}

/// Queues that limit a rate, on any interface of the node.
fn limits(node: &Node) -> usize {
    let shown = node.host().command("tc").args(["qdisc", "show"]).output().unwrap();
    assert!(shown.status.success(), "tc is missing: install iproute2");
    String::from_utf8(shown.stdout)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("qdisc tbf"))
        .count()
}

pub(super) fn a_rate_by_bandwidth(node: &Node) {
    let bandwidth = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
    node.define(
        "blue",
        "lan",
        list("lan", json!([lan(node, "br-lan", "10.10.0.0/24"), bandwidth])),
    );
    let before = node.dump();
    let pod = node.pod("blue", "web");
    let rate = json!({"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000});
    pod.add(primary(node))
        .networks_json(json!([{"name": "lan", "bandwidth": rate}]))
        .run()
        .assert_success();
    assert_eq!(limits(node), 2, "one queue for each direction");
    check_and_delete(node, &[&pod], &before);
    assert_eq!(limits(node), 0);
}

pub(super) fn the_kubelets_host_ports_are_the_primarys_alone(node: &Node) {
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let bandwidth = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
    let extra = json!([lan(node, "br-lan", "10.10.0.0/24"), portmap, bandwidth]);
    node.define("blue", "lan", list_with_portmap("lan", extra));
    let primary =
        list_with_portmap("cluster", json!([node.bridge("cni0", "10.1.0.0/24"), portmap]));
    let before = node.dump();
    let pod = node.pod("blue", "web");
    pod.add(json!({"delegates": [primary]}))
        .runtime_config("portMappings", host_port())
        .runtime_config("bandwidth", json!({"ingressRate": 8_000_000, "ingressBurst": 800_000}))
        .networks("lan")
        .run()
        .assert_success();
    let rules = host_port_rules(node).join("\n");
    assert!(rules.contains("--to-destination 10.1.0.2:80"), "{rules}");
    assert!(!rules.contains("10.10.0."), "the extra network got the primary's port: {rules}");
    assert_eq!(limits(node), 0, "the extra network got the primary's bandwidth");
    let _server = serve(pod.netns(), "80", "served");
    assert_eq!(ask(node.host(), "10.1.0.1", &HOST_PORT.to_string()), "served");
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(host_port_rules(node), Vec::<String>::new());
    assert_eq!(without_portmap_base(node.leftovers(&before)), Vec::<String>::new());
}

/// Somewhere else, behind the gateway of a network.
const ELSEWHERE: [&str; 2] = ["198.51.100.1", "2001:db8::1"];

pub(super) fn a_default_route_through_an_extra_network(node: &Node) {
    for address in ELSEWHERE {
        node.host().ip(&format!("addr add {address} dev lo"));
    }
    let mut uplink = lan(node, "br-uplink", "10.19.0.0/24 fd00:19::/64");
    uplink["isGateway"] = json!(true);
    node.define("blue", "uplink", uplink);
    let before = node.dump();
    let pod = node.pod("blue", "web");
    let asked = json!([{"name": "uplink", "interface": "uplink0", "default-route": ["10.19.0.1", "fd00:19::1"]}]);
    let result = pod.add(primary(node)).networks_json(asked).run().assert_success();
    assert_eq!(pod.default_routes(4), ["via 10.19.0.1 dev uplink0"]);
    assert_eq!(pod.default_routes(6), ["via fd00:19::1 dev uplink0"]);
    for address in ELSEWHERE {
        let ear = Ear::at(pod.netns(), MARKER);
        assert!(pings(&pod, address), "{address}");
        assert_eq!(ear.heard_at(), ["uplink0"], "{address}");
    }
    let gateways: Vec<&Value> = result["routes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|route| text(&route["dst"]).ends_with("/0"))
        .map(|route| &route["gw"])
        .collect();
    assert_eq!(gateways, ["10.19.0.1", "fd00:19::1"]);
    check_and_delete(node, &[&pod], &before);
}

pub(super) fn a_default_route_of_one_family_leaves_the_other(node: &Node) {
    let mut uplink = lan(node, "br-uplink", "10.19.0.0/24 fd00:19::/64");
    uplink["isGateway"] = json!(true);
    node.define("blue", "uplink", uplink);
    let before = node.dump();
    let pod = node.pod("blue", "web");
    let asked = json!([{"name": "uplink", "default-route": ["fd00:19::1"]}]);
    pod.add(primary(node)).networks_json(asked).run().assert_success();
    assert_eq!(pod.default_routes(4), ["via 10.1.0.1 dev eth0"]);
    assert_eq!(pod.default_routes(6), ["via fd00:19::1 dev net1"]);
    check_and_delete(node, &[&pod], &before);
}
