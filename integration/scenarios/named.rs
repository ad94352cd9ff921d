//! What networks are for: control data apart from application data, a network of its own for each
//! tenant, a pod between two networks, an unusual protocol, a chain of primary plugins.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::chain::Chain;
use crate::node::{Node, text};
use crate::pod::Pod;
use crate::wire::{Ear, Member, ask, cannot_reach, reaches, serve, shout, tell};

/// What tests put into packets to know them again.
pub(super) const MARKER: &str = "b1adc0de5eed";
/// An Ethernet protocol that none has: IEEE's first for local experiments.
const ETHERTYPE: &str = "88b5";

/// A dual-stack primary on bridge `cni0`.
pub(super) fn primary(node: &Node) -> Value {
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd00:1::/64")]})
}

/// A bridge without a gateway: pods on it reach each other alone.
pub(super) fn lan(node: &Node, bridge: &str, subnets: &str) -> Value {
    json!({"type": "bridge", "bridge": bridge, "ipam": node.host_local(subnets)})
}

/// A network of several plugins.
pub(super) fn list(name: &str, plugins: Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
}

/// A network with portmap in it. portmap 1.1.1 looks for the rules of each family in both families'
/// tables, so its CHECK fails wherever `ip6tables` is; braid's own look at the kernel remains.
pub(super) fn list_with_portmap(name: &str, plugins: Value) -> Value {
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
pub(super) fn addresses(pod: &Pod<'_>, interface: &str) -> Vec<String> {
    let bare = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
    pod.addresses(interface).iter().map(bare).collect()
}

pub(super) fn pings(pod: &Pod<'_>, address: &str) -> bool {
    reaches(pod.netns(), address, MARKER)
}

/// CHECK passes, DEL succeeds, and what `before` did not show is gone.
pub(super) fn check_and_delete(node: &Node, pods: &[&Pod<'_>], before: &BTreeSet<String>) {
    for pod in pods {
        pod.check().run().assert_success();
    }
    for pod in pods {
        pod.del().run().assert_success();
        assert_eq!(pod.links(), Vec::<String>::new(), "{}", pod.name);
    }
    assert_eq!(node.leftovers(before), Vec::<String>::new());
}

pub(super) fn control_and_operation_data_apart_from_application_data(node: &Node) {
    let networks = [
        ("control", "10.16.0.0/24 fd00:16::/64"),
        ("operation", "10.17.0.0/24"),
        ("data", "10.18.0.0/24"),
    ];
    for (name, subnets) in networks {
        node.define("default", name, lan(node, &format!("br-{name}"), subnets));
    }
    let before = node.dump();
    let pods = [node.pod("plant", "press"), node.pod("plant", "robot")];
    for pod in &pods {
        let asked = "default/control@control0, default/operation@operation0, default/data@data0";
        pod.add(primary(node)).networks(asked).run().assert_success();
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
            assert_eq!(heard, ports(node, &format!("br-{name}")), "{name}: {address} on the node");
        }
    }
    check_and_delete(node, &[press, robot], &before);
}

pub(super) fn a_network_of_its_own_per_tenant(node: &Node) {
    for (tenant, subnets) in
        [("blue", "10.20.0.0/24 fd00:20::/64"), ("red", "10.21.0.0/24 fd00:21::/64")]
    {
        let mut network = lan(node, &format!("br-{tenant}"), subnets);
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
        pod.add(primary(node)).networks("private").run().assert_success();
    }
    // A tenant that gives itself the other's addresses, one that is free there and one that is
    // taken.
    let intruder = node.pod("red", "intruder");
    let taken = addresses(&blue[1], "net1");
    let asked = json!([{"name": "static", "ips": [format!("{}/24", taken[0]), "10.20.0.66/24", format!("{}/64", taken[1])]}]);
    intruder.add(primary(node)).networks_json(asked).run().assert_success();

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
    // Blue's own packets go to blue, though red has the address, too.
    let ear = Ear::at(intruder.netns(), MARKER);
    assert!(taken.iter().all(|address| pings(&blue[0], address)));
    assert_eq!(ear.heard_at(), Vec::<String>::new(), "red hears blue");

    let thief = node.pod("red", "thief");
    thief
        .add(primary(node))
        .networks("blue/private")
        .run()
        .assert_error(7, ["blue/private", "is not shared with namespace red"]);
    assert_eq!(thief.links(), Vec::<String>::new());
    check_and_delete(node, &[&blue[0], &blue[1], &red[0], &red[1], &intruder], &before);
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

pub(super) fn a_pod_between_two_networks(node: &Node) {
    define_both_sides(node);
    let before = node.dump();
    let pods = ["client", "server", "router"].map(|name| node.pod("nfv", name));
    let [client, server, router] = &pods;
    client.add(primary(node)).networks("left").run().assert_success();
    server.add(primary(node)).networks("right").run().assert_success();
    let both = json!([
        {"name": "left-router", "interface": "left0", "ips": ["10.31.0.254/24", "fd00:31::fe/64"]},
        {"name": "right-router", "interface": "right0", "ips": ["10.32.0.254/24", "fd00:32::fe/64"]},
    ]);
    router.add(primary(node)).networks_json(both).run().assert_success();

    for address in addresses(server, "net1") {
        let (node_ear, router_ear) =
            (Ear::at(node.host(), MARKER), Ear::at(router.netns(), MARKER));
        assert!(pings(client, &address), "{address}");
        assert_eq!(router_ear.heard_at(), ["left0", "right0"], "{address} in the router");
        let wires: BTreeSet<String> =
            ports(node, "br-left").union(&ports(node, "br-right")).cloned().collect();
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
    check_and_delete(node, &[client, server, router], &before);
}

pub(super) fn an_unusual_protocol(node: &Node) {
    node.define("plant", "fieldbus", lan(node, "br-field", "10.41.0.0/24 fd00:41::/64"));
    node.define("plant", "other", lan(node, "br-other", "10.42.0.0/24 fd00:42::/64"));
    let before = node.dump();
    let pods = ["master", "drive", "valve", "stranger"].map(|name| node.pod("plant", name));
    for pod in &pods {
        let network = if pod.name == "stranger" { "other" } else { "fieldbus" };
        pod.add(primary(node)).networks(network).run().assert_success();
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
    check_and_delete(node, &[master, drive, valve, stranger], &before);
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

pub(super) const HOST_PORT: u64 = 8080;

pub(super) fn host_port() -> Value {
    json!([{"hostPort": HOST_PORT, "containerPort": 80, "protocol": "tcp"}])
}

/// What both chains must show: three plugins' work on eth0, an extra network beside it.
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
pub(super) fn host_port_rules(node: &Node) -> Vec<String> {
    let saved = node.host().command("iptables-save").output().unwrap();
    let text = String::from_utf8(saved.stdout).unwrap();
    text.lines().filter(|line| line.contains("CNI-DN-")).map(str::to_owned).collect()
}

pub(super) fn a_chain_of_primary_plugins_with_braid_last(node: &Node) {
    node.define("blue", "lan", lan(node, "br-lan", "10.9.0.0/24"));
    let before = node.dump();
    let pod = node.pod("blue", "web");
    let mut plugins = primary_plugins(node);
    // Reference plugins take an extra network's addresses for their own when they CHECK a merged
    // result.
    plugins.as_array_mut().unwrap().push(json!({"type": "braid", "resultScope": "primary"}));
    let chain = Chain::new(node, plugins.clone())
        .networks("lan")
        .runtime_config("portMappings", host_port());
    let result = chain.add(&pod).unwrap();
    assert_chained(node, &pod, &result);
    // All but portmap: see `list_with_portmap`.
    plugins.as_array_mut().unwrap().retain(|plugin| plugin["type"] != "portmap");
    Chain::new(node, plugins).networks("lan").check(&pod, &result).unwrap();
    chain.del(&pod, &result).unwrap();
    assert_eq!(pod.links(), Vec::<String>::new());
    assert_eq!(host_port_rules(node), Vec::<String>::new());
    assert_eq!(without_portmap_base(node.leftovers(&before)), Vec::<String>::new());
}

pub(super) fn a_chain_of_primary_plugins_with_braid_first(node: &Node) {
    node.recorder("behind");
    node.define("blue", "lan", lan(node, "br-lan", "10.9.0.0/24"));
    node.write(
        "net.d/10-primary.conflist",
        &list_with_portmap("cluster", primary_plugins(node)).to_string(),
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
    let chain = Chain::new(node, json!([braid, sysctl, {"type": "behind"}]))
        .networks("lan")
        .runtime_config("portMappings", host_port());
    let result = chain.add(&pod).unwrap();
    assert_chained(node, &pod, &result);
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
pub(super) fn without_portmap_base(leftovers: Vec<String>) -> Vec<String> {
    let kept = |line: &String| line.contains("CNI-HOSTPORT-") && !line.contains("CNI-DN-");
    leftovers.into_iter().filter(|line| !kept(line)).collect()
}
