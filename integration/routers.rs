//! Who may lead a pod's traffic away from its primary network: router advertisements on extra
//! networks, and routes that take the default route without being it.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node::{Namespace, Node};
use crate::pod::Pod;

/// A router that offers itself for half an hour, with a prefix for addresses (RFC 4861, section
/// 4.2).
const ADVERTISE: &str = r#"
import socket, struct, sys
interface = sys.argv[1]
index = socket.if_nametoindex(interface)
mouth = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
head = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
mouth.sendto(head + prefix, ("ff02::1", 0, 0, index))
"#;

const ACCEPT_RA: &str = "/proc/sys/net/ipv6/conf";

fn accept_ra(pod: &Pod<'_>, interface: &str) -> String {
    let Output { stdout, .. } =
        pod.command("cat").arg(format!("{ACCEPT_RA}/{interface}/accept_ra")).output().unwrap();
    String::from_utf8(stdout).unwrap().trim().to_owned()
}

/// Fails as long as the interface has no address to speak from.
fn advertise(host: &Namespace, interface: &str) -> bool {
    host.command("/usr/bin/python3")
        .args(["-c", ADVERTISE, interface])
        .output()
        .unwrap()
        .status
        .success()
}

/// Whether the pod has a route by advertisement within a time, while a router speaks.
fn follows(node: &Node, pod: &Pod<'_>, bridge: &str, interface: &str, limit: Duration) -> bool {
    let ready = Instant::now() + Duration::from_secs(10);
    while !advertise(node.host(), bridge) {
        assert!(Instant::now() < ready, "{bridge} has no address to speak from");
        std::thread::sleep(Duration::from_millis(100));
    }
    let end = Instant::now() + limit;
    while Instant::now() < end {
        assert!(advertise(node.host(), bridge));
        std::thread::sleep(Duration::from_millis(200));
        if pod.ip(&format!("-6 route show default dev {interface}")).contains("proto ra") {
            return true;
        }
    }
    false
}

/// A pod on two shared networks: the definition of the second one sets `accept_ra`.
fn two_networks(node: &Node) -> Value {
    let [closed, open] = ["br-closed", "br-open"].map(|bridge| {
        let mut plugin =
            node.bridge(bridge, if bridge == "br-open" { "fd08::/64" } else { "fd09::/64" });
        plugin["ipam"]["routes"] = json!([]);
        plugin
    });
    node.define("team-a", "closed", closed);
    let tuning = json!({"type": "tuning", "sysctl": {"net.ipv6.conf.net2.accept_ra": "1"}});
    let plugins = json!([open, tuning]);
    node.define(
        "team-a",
        "open",
        json!({"cniVersion": "1.0.0", "name": "open", "plugins": plugins}),
    );
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd01::/64")]})
}

#[test]
fn an_extra_interface_takes_a_router_advertisement_only_if_its_definition_says_so() {
    let node = Node::new();
    let config = two_networks(&node);
    let pod = node.pod("team-a", "web");
    let before = accept_ra(&pod, "default");
    pod.add(config).networks("closed,open").run().assert_success();
    let set = ["eth0", "net1", "net2", "default"].map(|interface| accept_ra(&pod, interface));
    assert_eq!(
        set,
        [before.as_str(), "0", "1", before.as_str()],
        "interfaces that the pod makes keep its settings"
    );
    assert!(follows(&node, &pod, "br-open", "net2", Duration::from_secs(10)), "the router speaks");
    assert!(!follows(&node, &pod, "br-closed", "net1", Duration::from_secs(1)), "net1 follows");
    assert!(!pod.addresses("net1").iter().any(|address| address.starts_with("2001:db8:bad")));
    pod.check().run().assert_success();
    // A route that comes all the same is seen.
    let taken =
        pod.command("sh").args(["-c", &format!("echo 1 > {ACCEPT_RA}/net1/accept_ra")]).status();
    assert!(taken.unwrap().success());
    assert!(
        follows(&node, &pod, "br-closed", "net1", Duration::from_secs(10)),
        "net1 takes it now"
    );
    let said = "on net1 comes from a router advertisement, which the network's definition does not \
                ask for";
    pod.check().run().assert_error(101, [said]);
}

/// The setting of the sandbox is put back although a network fails, the call is killed at worst.
#[test]
fn a_network_that_fails_leaves_the_sandbox_its_own_setting() {
    let node = Node::new();
    let config = two_networks(&node);
    node.network("blue", json!({}));
    node.script("blue", json!({"ADD": {"error": {"code": 100, "msg": "no switch"}}}));
    let pod = node.pod("team-a", "web");
    let before = accept_ra(&pod, "default");
    pod.add(config).networks("closed,blue").run().assert_error(100, ["no switch"]);
    assert_eq!(accept_ra(&pod, "default"), before);
}

/// Real bridges, whose CHECK looks for each route of the result that it gets.
#[test]
fn routes_that_together_take_the_default_route_are_given_back() {
    let node = Node::new();
    let mut blue = node.bridge("br-blue", "10.9.0.0/24 fd09::/64");
    let wide = ["0.0.0.0/1", "128.0.0.0/1", "2000::/4", "3000::/4", "10.77.0.0/16", "fd77::/32"];
    let gateway =
        |destination: &str| if destination.contains(':') { "fd09::1" } else { "10.9.0.1" };
    let route = |destination: &&str| json!({"dst": destination, "gw": gateway(destination)});
    blue["ipam"]["routes"] = wide.iter().map(route).collect();
    node.define("team-a", "blue", blue);
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd01::/64")]});
    let way = |pod: &Pod<'_>, address: &str| {
        let route = pod.ip(&format!("route get {address}"));
        route.split(" dev ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    let ways = |pod: &Pod<'_>| {
        ["8.8.8.8", "203.0.113.1", "2001:db8::1", "10.77.0.1", "fd77::1"].map(|it| way(pod, it))
    };
    let pod = node.pod("team-a", "web");
    let add = pod.add(config.clone()).networks("blue").run();
    let result = add.assert_success();
    assert_eq!(ways(&pod), ["eth0", "eth0", "eth0", "net1", "net1"]);
    let said = "pod team-a/web: network \"team-a/blue\" has made routes on net1 that together take \
                the default route";
    assert_eq!(add.stderr.matches(said).count(), 2, "once for each family: {}", add.stderr);
    assert!(add.stderr.contains("(0.0.0.0/1, 128.0.0.0/1)"), "{}", add.stderr);
    let kept: Vec<&str> =
        result["routes"].as_array().unwrap().iter().filter_map(|it| it["dst"].as_str()).collect();
    assert_eq!(kept, ["0.0.0.0/0", "::/0", "10.77.0.0/16", "fd77::/32"]);
    pod.check().run().assert_success();
    // Asked for, they stay; and another network's do not take the default route from the one that
    // asked.
    let asked = node.pod("team-a", "asked");
    let networks = json!([{"name": "blue", "default-route": []}]);
    asked.add(config.clone()).networks_json(networks).run().assert_success();
    assert_eq!(ways(&asked), ["net1", "net1", "net1", "net1", "net1"]);
    asked.check().run().assert_success();
    node.define("team-a", "green", node.bridge("br-green", "10.8.0.0/24 fd08::/64"));
    let both = node.pod("team-a", "both");
    let networks = json!([{"name": "green", "default-route": []}, {"name": "blue"}]);
    both.add(config).networks_json(networks).run().assert_success();
    assert_eq!(ways(&both), ["net1", "net1", "net1", "net2", "net2"]);
    both.check().run().assert_success();
}

/// The subnet of an address that is as wide takes it, too.
#[test]
fn a_wide_address_takes_no_default_route() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["1.2.3.4/1"]}));
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 1.2.3.4/1 dev net1";
    node.script(
        "blue",
        json!({"ADD": {"shell": format!("nsenter --net=$CNI_NETNS sh -ec '{lines}'")}}),
    );
    let pod = node.pod("team-a", "web");
    pod.ip("link add eth0 type bridge");
    pod.ip("link set eth0 up");
    pod.ip("addr add 10.1.0.2/24 dev eth0");
    pod.ip("route add default via 10.1.0.1");
    pod.add_chained(json!({})).networks("blue").run().assert_success();
    assert!(pod.ip("route get 8.8.8.8").contains("dev eth0"), "{}", pod.ip("route show"));
    pod.check().run().assert_success();
}
