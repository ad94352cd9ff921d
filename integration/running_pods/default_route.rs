//! The default route of a running pod: with the network that asks for it, and back.

use serde_json::json;

use super::braid;
use crate::node::Node;
use crate::pod::Pod;

/// A node whose primary is a real bridge, and a running pod on it.
fn node() -> Node {
    let node = Node::new();
    let entry = json!({
        "type": "braid", "confDir": node.path("braid.d"), "cniDir": node.path("state"),
        "binDir": "/usr/lib/cni", "delegates": [node.bridge("cni0", "10.1.0.0/24 fd01::/64")],
    });
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("net.d/00-braid.conflist", &conflist.to_string());
    node.define("team-a", "lan", node.bridge("lan0", "10.9.0.0/24"));
    let p2p = json!({"cniVersion": "1.0.0", "type": "ptp", "ipam": node.host_local("10.7.0.0/24")});
    node.define("team-a", "p2p", p2p);
    node.define("team-a", "wan", node.bridge("wan0", "10.8.0.0/24"));
    node
}

fn running<'n>(node: &'n Node, networks: serde_json::Value) -> Pod<'n> {
    let pod = node.pod("team-a", "web");
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd01::/64")]});
    pod.add(config).networks_json(networks).run().assert_success();
    pod
}

const LAN: &str = r#"[{"name": "lan", "default-route": ["10.9.0.1"]}]"#;

#[test]
fn the_default_route_moves_with_an_attach_and_back_with_its_detach() {
    let node = node();
    let web = running(&node, json!([]));
    let (first, first6) = (web.default_routes(4), web.default_routes(6));
    assert_eq!(first, ["via 10.1.0.1 dev eth0"]);
    braid(&node, &["attach", "team-a/web", LAN]).assert_status(0);
    assert_eq!(web.default_routes(4), ["via 10.9.0.1 dev net1"]);
    assert_eq!(web.default_routes(6), first6, "the other family stays");
    web.check().run().assert_success();
    let said = braid(&node, &["attach", "team-a/web", &LAN.replace("lan", "wan")]).assert_status(1);
    assert!(
        said.stderr.contains(
            "network \"team-a/wan\" cannot have the default route: network \
                              \"team-a/lan\" on net1 has it"
        ),
        "{}",
        said.stderr
    );
    // One that does not ask for it takes it from nothing.
    braid(&node, &["attach", "team-a/web", "wan"]).assert_status(0);
    assert_eq!(web.default_routes(4), ["via 10.9.0.1 dev net1"]);
    web.check().run().assert_success();
    braid(&node, &["detach", "team-a/web", "net1"]).assert_status(0);
    assert_eq!((web.default_routes(4), web.default_routes(6)), (first, first6));
    web.check().run().assert_success();
    braid(&node, &["list"]).assert_status(0);
    web.del().run().assert_success();
}

#[test]
fn the_network_that_had_it_from_the_start_gives_it_back() {
    let node = node();
    let web = running(&node, serde_json::from_str(LAN).unwrap());
    assert_eq!(web.default_routes(4), ["via 10.9.0.1 dev net1"]);
    braid(&node, &["detach", "team-a/web", "net1"]).assert_status(0);
    assert_eq!(web.default_routes(4), ["via 10.1.0.1 dev eth0"]);
    web.check().run().assert_success();
    web.del().run().assert_success();
}

/// The cluster's networks have routes of their own while another network has the default route, and
/// no longer. Those that were there before stay.
#[test]
fn the_routes_of_the_cluster_go_with_the_network_that_made_them_necessary() {
    let node = node();
    let path = node.path("net.d/00-braid.conflist");
    let text = std::fs::read_to_string(&path).unwrap();
    let keep = "\"type\":\"braid\",\"keepClusterRoutes\":[\"10.96.0.0/12\",\"10.128.0.0/14\",\"fd02::/64\"]";
    std::fs::write(&path, text.replace("\"type\":\"braid\"", keep)).unwrap();
    let web = running(&node, json!([]));
    web.ip("route add 10.128.0.0/14 via 10.1.0.1 dev eth0");
    let routes = || {
        [web.ip("-4 route show"), web.ip("-6 route show")].map(|it| it.replace(" proto static", ""))
    };
    let before = routes();
    let both = r#"[{"name": "lan", "default-route": ["10.9.0.1"]}]"#;
    for _ in 0..2 {
        braid(&node, &["attach", "team-a/web", both]).assert_status(0);
        assert!(web.ip("route show").contains("10.96.0.0/12 via 10.1.0.1 dev eth0"));
        braid(&node, &["attach", "team-a/web", "wan"]).assert_status(0);
        braid(&node, &["detach", "team-a/web", "net2"]).assert_status(0);
        assert!(web.ip("route show").contains("10.96.0.0/12"), "still needed");
        braid(&node, &["detach", "team-a/web", "net1"]).assert_status(0);
        assert_eq!(routes(), before);
    }
    web.check().run().assert_success();
    web.del().run().assert_success();
}

#[test]
fn an_attach_that_fails_behind_the_move_leaves_the_route_where_it_was() {
    let node = node();
    let web = running(&node, json!([]));
    let asked = json!([{"name": "p2p", "default-route": ["10.7.0.1"], "mac": "02:00:00:00:00:09"}])
        .to_string();
    let said = braid(&node, &["attach", "team-a/web", &asked]).assert_status(1);
    assert!(said.stderr.contains("mac"), "{}", said.stderr);
    assert_eq!(web.default_routes(4), ["via 10.1.0.1 dev eth0"]);
    assert_eq!(web.links(), ["eth0"]);
    web.check().run().assert_success();
    web.del().run().assert_success();
}
