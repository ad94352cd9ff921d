//! The scenarios of the user's book, on real plugins and with packets wherever packets can show
//! them, and each of the reference plugins as an extra network.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::chain::Chain;
use crate::node::{Namespace, Node, text};
use crate::pod::Pod;
use crate::wire::{Ear, Member, ask, cannot_reach, reaches, serve, shout, tell};

/// What tests put into packets to know them again.
const MARKER: &str = "b1adc0de5eed";
/// Nobody's Ethernet protocol: IEEE's first for local experiments.
const ETHERTYPE: &str = "88b5";

/// A dual-stack primary on bridge `cni0`.
fn primary(node: &Node) -> Value {
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd00:1::/64")]})
}

/// A bridge without a gateway: pods on it reach each other and nobody else.
fn lan(node: &Node, bridge: &str, subnets: &str) -> Value {
    json!({"type": "bridge", "bridge": bridge, "ipam": node.host_local(subnets)})
}

/// A network of several plugins.
fn list(name: &str, plugins: Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
}

/// A network with portmap in it. portmap 1.1.1 looks for the rules of each family in both families'
/// tables, so its CHECK fails wherever `ip6tables` is; braid's own look at the kernel remains.
fn list_with_portmap(name: &str, plugins: Value) -> Value {
    let mut list = list(name, plugins);
    list["disableCheck"] = json!(true);
    list
}

/// The ports of a bridge on the node.
fn ports(node: &Node, bridge: &str) -> BTreeSet<String> {
    let links = node.host().ip_json(&format!("link show master {bridge}"));
    links.iter().map(|link| text(&link["ifname"]).to_owned()).collect()
}

/// The addresses of an interface without their prefix lengths.
fn addresses(pod: &Pod<'_>, interface: &str) -> Vec<String> {
    let bare = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
    pod.addresses(interface).iter().map(bare).collect()
}

fn pings(pod: &Pod<'_>, address: &str) -> bool {
    reaches(pod.netns(), address, MARKER)
}

/// CHECK passes, DEL succeeds, and what `before` did not show is gone.
fn check_and_delete(node: &Node, pods: &[&Pod<'_>], before: &BTreeSet<String>) {
    for pod in pods {
        pod.check().run().assert_success();
    }
    for pod in pods {
        pod.del().run().assert_success();
        assert_eq!(pod.links(), Vec::<String>::new(), "{}", pod.name);
    }
    assert_eq!(node.leftovers(before), Vec::<String>::new());
}

#[test]
fn control_and_operation_data_apart_from_application_data() {
    let node = Node::new();
    let networks = [
        ("control", "10.16.0.0/24 fd00:16::/64"),
        ("operation", "10.17.0.0/24"),
        ("data", "10.18.0.0/24"),
    ];
    for (name, subnets) in networks {
        node.define("default", name, lan(&node, &format!("br-{name}"), subnets));
    }
    let before = node.dump();
    let pods = [node.pod("plant", "press"), node.pod("plant", "robot")];
    for pod in &pods {
        let asked = "default/control@control0, default/operation@operation0, default/data@data0";
        pod.add(primary(&node)).networks(asked).run().assert_success();
        assert_eq!(pod.links(), ["control0", "data0", "eth0", "operation0"]);
    }
    let [press, robot] = &pods;
    for (name, _) in networks {
        let interface = format!("{name}0");
        for address in addresses(robot, &interface) {
            let (node_ear, pod_ear) =
                (Ear::at(node.host(), MARKER), Ear::at(robot.netns(), MARKER));
            assert!(pings(press, &address), "{name}: {address}");
            assert_eq!(pod_ear.heard_at(), [interface.as_str()], "{name}: {address} in the pod");
            let heard: BTreeSet<String> = node_ear.heard_at().into_iter().collect();
            assert_eq!(heard, ports(&node, &format!("br-{name}")), "{name}: {address} on the node");
        }
    }
    check_and_delete(&node, &[press, robot], &before);
}

#[test]
fn a_network_of_its_own_per_tenant() {
    let node = Node::new();
    for (tenant, subnets) in
        [("blue", "10.20.0.0/24 fd00:20::/64"), ("red", "10.21.0.0/24 fd00:21::/64")]
    {
        let mut network = lan(&node, &format!("br-{tenant}"), subnets);
        network["name"] = json!(format!("{tenant}-private"));
        node.define(tenant, "private", network);
    }
    let static_lan = json!({
        "name": "red-static", "type": "bridge", "bridge": "br-red", "capabilities": {"ips": true}, "ipam": {"type": "static"}
    });
    node.define("red", "static", static_lan);
    let before = node.dump();
    let blue = [node.pod("blue", "web"), node.pod("blue", "db")];
    let red = [node.pod("red", "web"), node.pod("red", "db")];
    for pod in blue.iter().chain(&red) {
        pod.add(primary(&node)).networks("private").run().assert_success();
    }
    // A tenant that gives itself the other's addresses, one that is free there and one that is
    // taken.
    let intruder = node.pod("red", "intruder");
    let taken = addresses(&blue[1], "net1");
    let asked = json!([{"name": "static", "ips": [format!("{}/24", taken[0]), "10.20.0.66/24", format!("{}/64", taken[1])]}]);
    intruder.add(primary(&node)).networks_json(asked).run().assert_success();

    for [web, db] in [&blue, &red] {
        for address in addresses(db, "net1") {
            assert!(pings(web, &address), "{}: {address} is the tenant's own", web.namespace);
        }
    }
    let ears: Vec<Ear> = blue.iter().map(|pod| Ear::at(pod.netns(), MARKER)).collect();
    let of_blue = addresses(&blue[0], "net1");
    for pod in [&red[0], &intruder] {
        for address in &of_blue {
            assert!(
                cannot_reach(pod.netns(), address, MARKER),
                "{} reaches blue's {address}",
                pod.name
            );
        }
    }
    for ear in ears {
        assert_eq!(ear.heard_at(), Vec::<String>::new(), "blue hears red");
    }
    // Blue's own packets go to blue, whoever else has the address.
    let ear = Ear::at(intruder.netns(), MARKER);
    assert!(taken.iter().all(|address| pings(&blue[0], address)));
    assert_eq!(ear.heard_at(), Vec::<String>::new(), "red hears blue");

    let thief = node.pod("red", "thief");
    thief
        .add(primary(&node))
        .networks("blue/private")
        .run()
        .assert_error(7, ["blue/private", "is not shared with namespace red"]);
    assert_eq!(thief.links(), Vec::<String>::new());
    check_and_delete(&node, &[&blue[0], &blue[1], &red[0], &red[1], &intruder], &before);
}

/// Definitions of two networks, one on each side of a router pod: ends get addresses and a route to
/// the other side from theirs, the router brings its own addresses and forwards.
fn define_both_sides(node: &Node) {
    let ends = |side: &str, subnets: &str, routes: Value| {
        let mut network = lan(node, &format!("br-{side}"), subnets);
        network["ipam"]["routes"] = routes;
        node.define("nfv", side, network);
    };
    let routes = |v4: &str, gateway4: &str, v6: &str, gateway6: &str| json!([{"dst": v4, "gw": gateway4}, {"dst": v6, "gw": gateway6}]);
    let (left, right) = ("10.31.0.0/24 fd00:31::/64", "10.32.0.0/24 fd00:32::/64");
    ends("left", left, routes("10.32.0.0/24", "10.31.0.254", "fd00:32::/64", "fd00:31::fe"));
    ends("right", right, routes("10.31.0.0/24", "10.32.0.254", "fd00:31::/64", "fd00:32::fe"));
    for side in ["left", "right"] {
        let bridge = json!({
            "type": "bridge", "bridge": format!("br-{side}"), "capabilities": {"ips": true}, "ipam": {"type": "static"}
        });
        let forward = json!({
            "type": "tuning", "dataDir": node.path_text("tuning"),
            "sysctl": {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"}
        });
        let name = format!("{side}-router");
        node.define("nfv", &name, list(&name, json!([bridge, forward])));
    }
}

#[test]
fn a_pod_between_two_networks() {
    let node = Node::new();
    define_both_sides(&node);
    let before = node.dump();
    let pods = ["client", "server", "router"].map(|name| node.pod("nfv", name));
    let [client, server, router] = &pods;
    client.add(primary(&node)).networks("left").run().assert_success();
    server.add(primary(&node)).networks("right").run().assert_success();
    let both = json!([
        {"name": "left-router", "interface": "left0", "ips": ["10.31.0.254/24", "fd00:31::fe/64"]},
        {"name": "right-router", "interface": "right0", "ips": ["10.32.0.254/24", "fd00:32::fe/64"]},
    ]);
    router.add(primary(&node)).networks_json(both).run().assert_success();

    for address in addresses(server, "net1") {
        let (node_ear, router_ear) =
            (Ear::at(node.host(), MARKER), Ear::at(router.netns(), MARKER));
        assert!(pings(client, &address), "{address}");
        assert_eq!(router_ear.heard_at(), ["left0", "right0"], "{address} in the router");
        let wires: BTreeSet<String> =
            ports(&node, "br-left").union(&ports(&node, "br-right")).cloned().collect();
        assert_eq!(
            node_ear.heard_at().into_iter().collect::<BTreeSet<_>>(),
            wires,
            "{address} on the node"
        );
    }
    // Without the router's consent there is no other way.
    let stop =
        "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding";
    assert!(router.command("sh").args(["-c", stop]).status().unwrap().success());
    for address in addresses(server, "net1") {
        assert!(
            cannot_reach(client.netns(), &address, MARKER),
            "{address} is reached around the router"
        );
    }
    let start =
        "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
    assert!(router.command("sh").args(["-c", start]).status().unwrap().success());
    check_and_delete(&node, &[client, server, router], &before);
}

#[test]
fn an_unusual_protocol() {
    let node = Node::new();
    node.define("plant", "fieldbus", lan(&node, "br-field", "10.41.0.0/24 fd00:41::/64"));
    node.define("plant", "other", lan(&node, "br-other", "10.42.0.0/24 fd00:42::/64"));
    let before = node.dump();
    let pods = ["master", "drive", "valve", "stranger"].map(|name| node.pod("plant", name));
    for pod in &pods {
        let network = if pod.name == "stranger" { "other" } else { "fieldbus" };
        pod.add(primary(&node)).networks(network).run().assert_success();
    }
    let [master, drive, valve, stranger] = &pods;

    // Raw Ethernet, to all on the network.
    let ears = [drive, valve, stranger].map(|pod| Ear::at(pod.netns(), MARKER));
    shout(master.netns(), "net1", ETHERTYPE, MARKER);
    let heard = ears.map(Ear::heard);
    for frames in &heard[..2] {
        assert_eq!(frames.iter().collect::<Vec<_>>(), [(&"net1".to_owned(), &5)]);
    }
    assert!(heard[2].is_empty(), "another network hears {:?}", heard[2]);

    // IPv6 multicast, to the members of a group.
    let group = "ff15::b1ad";
    let members = [drive, valve].map(|pod| Member::join(pod.netns(), "net1", group, "5"));
    let outsider = Member::join(stranger.netns(), "net1", group, "2");
    tell(master.netns(), "net1", group, "go");
    let sender = &addresses(master, "net1")[1];
    for member in members {
        let heard = member.heard();
        assert!(
            heard.ends_with(" go") && heard.starts_with(sender.as_str()),
            "{heard} from {sender}"
        );
    }
    assert_eq!(outsider.heard(), "");
    check_and_delete(&node, &[master, drive, valve, stranger], &before);
}

/// A primary of three plugins: `bridge`, `tuning` for a MAC, `portmap`.
fn primary_plugins(node: &Node) -> Value {
    let mut bridge = node.bridge("cni0", "10.1.0.0/24");
    bridge["hairpinMode"] = json!(true);
    json!([
        bridge,
        {"type": "tuning", "mac": "02:00:00:00:01:07", "dataDir": node.path_text("tuning")},
        {"type": "portmap", "capabilities": {"portMappings": true}},
    ])
}

const HOST_PORT: u64 = 8080;

fn host_port() -> Value {
    json!([{"hostPort": HOST_PORT, "containerPort": 80, "protocol": "tcp"}])
}

/// What both chains must come to: three plugins' work on eth0, an extra network beside it.
fn assert_chained(node: &Node, pod: &Pod<'_>, result: &Value) {
    assert_eq!(pod.links(), ["eth0", "net1"]);
    assert_eq!(pod.link("eth0")["address"], "02:00:00:00:01:07");
    assert_eq!(pod.addresses("eth0"), ["10.1.0.2/24"]);
    assert_eq!(pod.addresses("net1"), ["10.9.0.2/24"]);
    assert_eq!(result["ips"][0]["address"], "10.1.0.2/24");
    let _server = serve(pod.netns(), "80", "served");
    assert_eq!(ask(node.host(), "10.1.0.1", &HOST_PORT.to_string()), "served");
}

/// portmap's rules for one pod: its chains, and jumps to them.
fn host_port_rules(node: &Node) -> Vec<String> {
    let saved = node.host().command("iptables-save").output().unwrap();
    let text = String::from_utf8(saved.stdout).unwrap();
    text.lines().filter(|line| line.contains("CNI-DN-")).map(str::to_owned).collect()
}

#[test]
fn a_chain_of_primary_plugins_with_braid_last() {
    let node = Node::new();
    node.define("blue", "lan", lan(&node, "br-lan", "10.9.0.0/24"));
    let before = node.dump();
    let pod = node.pod("blue", "web");
    let mut plugins = primary_plugins(&node);
    // Reference plugins take an extra network's addresses for their own when they CHECK a merged
    // result.
    plugins.as_array_mut().unwrap().push(json!({"type": "braid", "resultScope": "primary"}));
    let chain = Chain::new(&node, plugins.clone())
        .networks("lan")
        .runtime_config("portMappings", host_port());
    let result = chain.add(&pod).unwrap();
    assert_chained(&node, &pod, &result);
    // All but portmap: see `list_with_portmap`.
    plugins.as_array_mut().unwrap().retain(|plugin| plugin["type"] != "portmap");
    Chain::new(&node, plugins).networks("lan").check(&pod, &result).unwrap();
    chain.del(&pod, &result).unwrap();
    assert_eq!(pod.links(), Vec::<String>::new());
    assert_eq!(host_port_rules(&node), Vec::<String>::new());
    assert_eq!(without_portmap_base(node.leftovers(&before)), Vec::<String>::new());
}

#[test]
fn a_chain_of_primary_plugins_with_braid_first() {
    let node = Node::new();
    node.recorder("behind");
    node.define("blue", "lan", lan(&node, "br-lan", "10.9.0.0/24"));
    node.write(
        "net.d/10-primary.conflist",
        &list_with_portmap("cluster", primary_plugins(&node)).to_string(),
    );
    let before = node.dump();
    let pod = node.pod("blue", "web");
    let braid = json!({
        "type": "braid", "clusterNetwork": "auto",
        "capabilities": {"io.kubernetes.cri.pod-annotations": true, "portMappings": true}
    });
    let sysctl = json!({
        "type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_ignore": "1"}, "dataDir": node.path_text("tuning")
    });
    let chain = Chain::new(&node, json!([braid, sysctl, {"type": "behind"}]))
        .networks("lan")
        .runtime_config("portMappings", host_port());
    let result = chain.add(&pod).unwrap();
    assert_chained(&node, &pod, &result);
    let behind = node.only_call("ADD", "behind");
    let interfaces = behind.stdin()["prevResult"]["interfaces"].as_array().unwrap();
    let sandboxed = interfaces.iter().filter(|interface| interface["sandbox"] == pod.netns_path());
    assert_eq!(
        sandboxed.map(|interface| text(&interface["name"])).collect::<Vec<_>>(),
        ["eth0", "net1"]
    );
    let sysctl =
        pod.command("cat").arg("/proc/sys/net/ipv4/conf/eth0/arp_ignore").output().unwrap();
    assert_eq!(sysctl.stdout, b"1\n", "what stands behind braid works on the primary");
    chain.check(&pod, &result).unwrap();
    chain.del(&pod, &result).unwrap();
    assert_eq!(pod.links(), Vec::<String>::new());
    assert_eq!(without_portmap_base(node.leftovers(&before)), Vec::<String>::new());
}

/// Leaves out the chains and jumps that portmap makes once and keeps for every pod.
fn without_portmap_base(leftovers: Vec<String>) -> Vec<String> {
    let kept = |line: &String| line.contains("CNI-HOSTPORT-") && !line.contains("CNI-DN-");
    leftovers.into_iter().filter(|line| !kept(line)).collect()
}

/// An extra network of its own for each kind of plugin.
mod extras {
    use super::*;

    /// A machine on a wire that ends in the node's bridge `uplink`, with these addresses.
    fn neighbour(node: &Node, addresses: &str) -> Namespace {
        let neighbour = Namespace::new("neighbour");
        node.host().ip("link add uplink type bridge");
        node.host().ip("link set uplink up");
        node.host()
            .ip(&format!("link add port type veth peer name wire netns {}", neighbour.name()));
        node.host().ip("link set port addrgenmode none");
        node.host().ip("link set port master uplink up");
        neighbour.ip("link set wire up");
        for address in addresses.split_whitespace() {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            neighbour.ip(&format!("addr add {address} dev wire{nodad}"));
        }
        neighbour
    }

    #[test]
    fn macvlan_over_a_wire() {
        let node = Node::new();
        let _neighbour = neighbour(&node, "10.11.0.200/24 fd00:11::200/64");
        let ipam = node.host_local("10.11.0.0/24 fd00:11::/64");
        node.define("blue", "lan", json!({"type": "macvlan", "master": "uplink", "ipam": ipam}));
        let before = node.dump();
        let pods = [node.pod("blue", "web"), node.pod("blue", "db")];
        for pod in &pods {
            pod.add(primary(&node)).networks("lan").run().assert_success();
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
        check_and_delete(&node, &[web, db], &before);
    }

    #[test]
    fn ptp_through_the_node() {
        let node = Node::new();
        let ipam = node.host_local("10.13.0.0/24 fd00:13::/64");
        node.define("blue", "link", json!({"type": "ptp", "ipam": ipam}));
        let before = node.dump();
        let pods = [node.pod("blue", "web"), node.pod("blue", "db")];
        for pod in &pods {
            pod.add(primary(&node)).networks("link@link0").run().assert_success();
        }
        let [web, db] = &pods;
        for address in addresses(db, "link0") {
            let ear = Ear::at(web.netns(), MARKER);
            assert!(pings(web, &address), "{address}");
            assert_eq!(ear.heard_at(), ["link0"], "{address}");
        }
        check_and_delete(&node, &[web, db], &before);
    }

    #[test]
    fn static_addresses_by_the_ips_capability() {
        let node = Node::new();
        let network = json!({
            "type": "bridge", "bridge": "br-lan", "capabilities": {"ips": true}, "ipam": {"type": "static"}
        });
        node.define("blue", "lan", network);
        let before = node.dump();
        let pods = [node.pod("blue", "web"), node.pod("blue", "db")];
        for (pod, last) in pods.iter().zip(["10", "11"]) {
            let ips = [format!("10.14.0.{last}/24"), format!("fd00:14::{last}/64")];
            pod.add(primary(&node))
                .networks_json(json!([{"name": "lan", "ips": ips}]))
                .run()
                .assert_success();
            assert_eq!(pod.addresses("net1"), ips);
        }
        let [web, db] = &pods;
        assert!(addresses(db, "net1").iter().all(|address| pings(web, address)));
        check_and_delete(&node, &[web, db], &before);
    }

    #[test]
    fn chosen_addresses_from_host_local() {
        let node = Node::new();
        let mut network = lan(&node, "br-lan", "10.10.0.0/24 fd00:10::/64");
        network["capabilities"] = json!({"ips": true});
        node.define("blue", "lan", network);
        let before = node.dump();
        let pod = node.pod("blue", "web");
        let ips = json!(["10.10.0.50/24", "fd00:10::50/64"]);
        pod.add(primary(&node))
            .networks_json(json!([{"name": "lan", "ips": ips}]))
            .run()
            .assert_success();
        assert_eq!(json!(pod.addresses("net1")), ips);
        assert_eq!(node.reservations("lan"), ["10.10.0.50", "fd00:10::50"]);
        // The same address once more is refused by the plugin, and its word arrives.
        let second = node.pod("blue", "db");
        let failed =
            second.add(primary(&node)).networks_json(json!([{"name": "lan", "ips": ips}])).run();
        assert!(text(&failed.json()["msg"]).contains("10.10.0.50"), "{}", failed.stdout);
        assert!(!failed.status.success());
        assert_eq!(second.links(), Vec::<String>::new());
        check_and_delete(&node, &[&pod], &before);
    }

    #[test]
    fn a_mac_by_tuning() {
        let node = Node::new();
        let tuning = json!({"type": "tuning", "capabilities": {"mac": true}, "dataDir": node.path_text("tuning")});
        let plugins = json!([lan(&node, "br-lan", "10.10.0.0/24"), tuning]);
        node.define("blue", "lan", list("lan", plugins));
        let before = node.dump();
        let pod = node.pod("blue", "web");
        let asked = json!([{"name": "lan", "mac": "02:23:45:67:89:01"}]);
        let result = pod.add(primary(&node)).networks_json(asked).run().assert_success();
        assert_eq!(pod.link("net1")["address"], "02:23:45:67:89:01");
        let interfaces = result["interfaces"].as_array().unwrap();
        let net1 = interfaces.iter().find(|interface| interface["name"] == "net1").unwrap();
        assert_eq!(net1["mac"], "02:23:45:67:89:01");
        check_and_delete(&node, &[&pod], &before);
    }

    #[test]
    fn a_port_of_the_node_by_portmap() {
        let node = Node::new();
        let mut bridge = lan(&node, "br-lan", "10.10.0.0/24");
        bridge["isGateway"] = json!(true);
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
        node.define("blue", "lan", list_with_portmap("lan", json!([bridge, portmap])));
        let before = node.dump();
        let pod = node.pod("blue", "web");
        pod.add(primary(&node))
            .networks_json(json!([{"name": "lan", "portMappings": host_port()}]))
            .run()
            .assert_success();
        let rules = host_port_rules(&node).join("\n");
        assert!(rules.contains("--to-destination 10.10.0.2:80"), "{rules}");
        assert!(!rules.contains("10.1.0."), "the primary has no port: {rules}");
        let server = serve(pod.netns(), "80", "served");
        let ear = Ear::at(pod.netns(), "736572766564");
        assert_eq!(ask(node.host(), "10.10.0.1", &HOST_PORT.to_string()), "served");
        assert_eq!(ear.heard_at(), ["net1"]);
        drop(server);
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(host_port_rules(&node), Vec::<String>::new());
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

    #[test]
    fn a_rate_by_bandwidth() {
        let node = Node::new();
        let bandwidth = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
        node.define(
            "blue",
            "lan",
            list("lan", json!([lan(&node, "br-lan", "10.10.0.0/24"), bandwidth])),
        );
        let before = node.dump();
        let pod = node.pod("blue", "web");
        let rate = json!({"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000});
        pod.add(primary(&node))
            .networks_json(json!([{"name": "lan", "bandwidth": rate}]))
            .run()
            .assert_success();
        assert_eq!(limits(&node), 2, "one queue for each direction");
        check_and_delete(&node, &[&pod], &before);
        assert_eq!(limits(&node), 0);
    }

    #[test]
    fn the_kubelets_host_ports_are_the_primarys_alone() {
        let node = Node::new();
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
        let bandwidth = json!({"type": "bandwidth", "capabilities": {"bandwidth": true}});
        let extra = json!([lan(&node, "br-lan", "10.10.0.0/24"), portmap, bandwidth]);
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
        let rules = host_port_rules(&node).join("\n");
        assert!(rules.contains("--to-destination 10.1.0.2:80"), "{rules}");
        assert!(!rules.contains("10.10.0."), "the extra network got the primary's port: {rules}");
        assert_eq!(limits(&node), 0, "the extra network got the primary's bandwidth");
        let _server = serve(pod.netns(), "80", "served");
        assert_eq!(ask(node.host(), "10.1.0.1", &HOST_PORT.to_string()), "served");
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(host_port_rules(&node), Vec::<String>::new());
        assert_eq!(without_portmap_base(node.leftovers(&before)), Vec::<String>::new());
    }

    /// Somewhere else, behind the gateway of a network.
    const ELSEWHERE: [&str; 2] = ["198.51.100.1", "2001:db8::1"];

    #[test]
    fn a_default_route_through_an_extra_network() {
        let node = Node::new();
        for address in ELSEWHERE {
            node.host().ip(&format!("addr add {address} dev lo"));
        }
        let mut uplink = lan(&node, "br-uplink", "10.19.0.0/24 fd00:19::/64");
        uplink["isGateway"] = json!(true);
        node.define("blue", "uplink", uplink);
        let before = node.dump();
        let pod = node.pod("blue", "web");
        let asked = json!([{"name": "uplink", "interface": "uplink0", "default-route": ["10.19.0.1", "fd00:19::1"]}]);
        let result = pod.add(primary(&node)).networks_json(asked).run().assert_success();
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
        check_and_delete(&node, &[&pod], &before);
    }

    #[test]
    fn a_default_route_of_one_family_leaves_the_other() {
        let node = Node::new();
        let mut uplink = lan(&node, "br-uplink", "10.19.0.0/24 fd00:19::/64");
        uplink["isGateway"] = json!(true);
        node.define("blue", "uplink", uplink);
        let before = node.dump();
        let pod = node.pod("blue", "web");
        let asked = json!([{"name": "uplink", "default-route": ["fd00:19::1"]}]);
        pod.add(primary(&node)).networks_json(asked).run().assert_success();
        assert_eq!(pod.default_routes(4), ["via 10.1.0.1 dev eth0"]);
        assert_eq!(pod.default_routes(6), ["via fd00:19::1 dev net1"]);
        check_and_delete(&node, &[&pod], &before);
    }
}
