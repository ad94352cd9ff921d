//! Default routes: taken from the primary if a pod asks for it, and kept with it otherwise.

use serde_json::{Value, json};

use crate::node::{NOTHING, Node};
use crate::pod::Pod;

/// Braid delegating to a recorder with a real eth0 and default routes in both families.
fn routed(node: &Node) -> Value {
    node.recorder("primary");
    let primary = json!({
        "cniVersion": "1.0.0", "name": "cluster", "type": "primary", "link": true,
        "addresses": ["10.1.0.2/24", "fd01::2/64"], "gateway": "10.1.0.1", "gateway6": "fd01::1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "::/0", "gw": "fd01::1"}],
    });
    json!({"delegates": [primary]})
}

/// An extra network with a real interface in both families.
fn dual_stack(node: &Node, more: Value) {
    let mut config = json!({"link": true, "addresses": ["10.9.0.2/24", "fd09::2/64"]});
    config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    node.network("blue", config);
}

/// ADD with `blue` and this `default-route`; the routes of both families and the result.
fn with_default_route(
    pod: &Pod<'_>,
    config: Value,
    gateways: Value,
) -> (Vec<String>, Vec<String>, Value) {
    let call = pod.add(config).networks_json(json!([{"name": "blue", "default-route": gateways}]));
    let result = call.run().assert_success();
    (pod.default_routes(4), pod.default_routes(6), result["routes"].clone())
}

const OLD: [&str; 2] = ["via 10.1.0.1 dev eth0", "via fd01::1 dev eth0"];

#[test]
fn a_default_route_moves_in_both_families_through_each_gateway() {
    let node = Node::new();
    dual_stack(&node, json!({}));
    let pod = node.pod("team-a", "web");
    let gateways = json!(["10.9.0.1", "fd09::1", "10.9.0.254", "fd09::fe"]);
    let (v4, v6, routes) = with_default_route(&pod, routed(&node), gateways);
    assert_eq!(v4, ["via 10.9.0.1 dev net1", "via 10.9.0.254 dev net1"]);
    assert_eq!(v6, ["via fd09::1 dev net1", "via fd09::fe dev net1"]);
    let expected = json!([
        {"dst": "0.0.0.0/0", "gw": "10.9.0.1"}, {"dst": "0.0.0.0/0", "gw": "10.9.0.254"},
        {"dst": "::/0", "gw": "fd09::1"}, {"dst": "::/0", "gw": "fd09::fe"},
    ]);
    assert_eq!(routes, expected);
    pod.check().run().assert_success();
    // The primary's CHECK is not held against a route that is ours now.
    let checked = node.only_call("CHECK", "primary").stdin()["prevResult"]["routes"].clone();
    assert_eq!(checked, Value::Null);
    pod.del().run().assert_success();
}

#[test]
fn a_default_route_of_one_family_leaves_the_other_alone() {
    let node = Node::new();
    dual_stack(&node, json!({}));
    let pod = node.pod("team-a", "web");
    let (v4, v6, routes) = with_default_route(&pod, routed(&node), json!(["10.9.0.1"]));
    assert_eq!((v4, v6), (vec!["via 10.9.0.1 dev net1".to_owned()], vec![OLD[1].to_owned()]));
    assert_eq!(
        routes,
        json!([{"dst": "::/0", "gw": "fd01::1"}, {"dst": "0.0.0.0/0", "gw": "10.9.0.1"}])
    );
    pod.check().run().assert_success();
}

#[test]
fn an_empty_list_means_the_networks_own_gateways() {
    let node = Node::new();
    dual_stack(&node, json!({"gateway": "10.9.0.9"}));
    let pod = node.pod("team-a", "web");
    let (v4, v6, routes) = with_default_route(&pod, routed(&node), json!([]));
    assert_eq!((v4, v6), (vec!["via 10.9.0.9 dev net1".to_owned()], vec![OLD[1].to_owned()]));
    assert_eq!(
        routes,
        json!([{"dst": "::/0", "gw": "fd01::1"}, {"dst": "0.0.0.0/0", "gw": "10.9.0.9"}])
    );
}

#[test]
fn an_empty_list_without_a_gateway_takes_the_route_away_in_result_and_kernel() {
    let node = Node::new();
    dual_stack(&node, json!({}));
    let pod = node.pod("team-a", "web");
    let (v4, v6, routes) = with_default_route(&pod, routed(&node), json!([]));
    assert_eq!((v4, v6), (vec![], vec![]));
    assert_eq!(routes, Value::Null);
    pod.check().run().assert_success();
}

#[test]
fn a_networks_own_default_route_stays_as_its_plugin_made_it() {
    let node = Node::new();
    node.network(
        "blue",
        json!({
            "addresses": ["10.9.0.2/32", "fd09::2/128"],
            "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.9"}, {"dst": "::/0"}],
        }),
    );
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 10.9.0.2/32 dev \
                 net1; ip addr add fd09::2/128 dev net1; ip -6 route add default dev net1 metric \
                 7; ip route add default via 192.0.2.9 dev net1 onlink mtu 1400 metric 7";
    node.script(
        "blue",
        json!({"ADD": {"shell": format!("nsenter --net=$CNI_NETNS sh -ec '{lines}'")}}),
    );
    let pod = node.pod("team-a", "web");
    let (v4, v6, routes) = with_default_route(&pod, routed(&node), json!([]));
    assert_eq!(
        (v4, v6),
        (vec!["via 192.0.2.9 dev net1".to_owned()], vec!["via  dev net1".to_owned()])
    );
    let kept = pod.ip("route show default");
    assert!(kept.contains("onlink") && kept.contains("mtu 1400"), "{kept}");
    assert_eq!(routes, json!([{"dst": "0.0.0.0/0", "gw": "192.0.2.9"}, {"dst": "::/0"}]));
    pod.check().run().assert_success();
}

#[test]
fn a_default_route_without_any_gateway_is_on_the_link() {
    let node = Node::new();
    dual_stack(&node, json!({}));
    node.script(
        "blue",
        json!({"ADD": {"add_to_result": {"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}}),
    );
    let pod = node.pod("team-a", "web");
    let (v4, v6, routes) = with_default_route(&pod, routed(&node), json!([]));
    assert_eq!((v4, v6), (vec!["via  dev net1".to_owned()], vec!["via  dev net1".to_owned()]));
    assert_eq!(routes, json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]));
    pod.check().run().assert_success();
}

/// The bridge plugin puts a default route of its own before that of eth0, and IPv6 shares the
/// traffic between both.
#[test]
fn a_default_route_stays_with_the_primary_unless_it_is_asked_for() {
    let node = Node::new();
    let mut blue = node.bridge("br-blue", "10.9.0.0/24 fd09::/64");
    blue["isDefaultGateway"] = json!(true);
    blue["ipam"]["routes"] = json!([]);
    node.define("team-a", "blue", blue);
    let primary = node.bridge("cni0", "10.1.0.0/24 fd01::/64");
    let config = json!({"delegates": [primary.clone()]});
    let pod = node.pod("team-a", "web");
    let add = pod.add(config.clone()).networks("blue").run();
    let result = add.assert_success();
    let routes = || (pod.default_routes(4), pod.default_routes(6));
    assert_eq!(routes(), (vec![OLD[0].to_owned()], vec![OLD[1].to_owned()]));
    assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]));
    let said = "pod team-a/web: network \"team-a/blue\" has made a default route on net1 that the \
                pod has not asked for";
    assert_eq!(add.stderr.matches(said).count(), 1, "{}", add.stderr);
    // The bridge plugin's CHECK looks for each route of the result that it gets.
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    // Asked for, it moves.
    let asked = node.pod("team-a", "asked");
    asked
        .add(config.clone())
        .networks_json(json!([{"name": "blue", "default-route": []}]))
        .run()
        .assert_success();
    assert_eq!(asked.default_routes(4), ["via 10.9.0.1 dev net1"]);
    assert_eq!(asked.default_routes(6), ["via fd09::1 dev net1"]);
    asked.check().run().assert_success();
    // Asked for in one family, it stays in the other.
    let half = node.pod("team-a", "half");
    half.add(config)
        .networks_json(json!([{"name": "blue", "default-route": ["fd09::1"]}]))
        .run()
        .assert_success();
    assert_eq!(
        (half.default_routes(4), half.default_routes(6)),
        (vec![OLD[0].to_owned()], vec!["via fd09::1 dev net1".to_owned()],)
    );
    half.check().run().assert_success();
}

/// The real sbr moves every route of the interface into a table of its own, the subnet's too: a
/// gateway is on the link all the same.
#[test]
fn a_default_route_moves_to_a_network_with_source_based_routing() {
    for gateways in [json!(["10.9.0.1", "fd09::1"]), json!([])] {
        let node = Node::new();
        let blue = node.bridge("br-blue", "10.9.0.0/24 fd09::/64");
        let plugins = json!([blue, {"type": "sbr"}]);
        node.define(
            "team-a",
            "blue",
            json!({"cniVersion": "1.0.0", "name": "blue", "plugins": plugins}),
        );
        let pod = node.pod("team-a", "web");
        let (v4, v6, _) = with_default_route(&pod, routed(&node), gateways.clone());
        assert_eq!(
            (v4, v6),
            (vec!["via 10.9.0.1 dev net1".to_owned()], vec!["via fd09::1 dev net1".to_owned()])
        );
        let [main, rules] = ["route show table main", "rule show"].map(|what| pod.ip(what));
        assert!(!main.contains("10.9.0.0/24") && main.contains("onlink"), "{main}");
        assert!(rules.contains("from 10.9.0.2"), "sbr did its work: {rules}");
        assert!(
            pod.ip("route get 192.0.2.1").contains("via 10.9.0.1 dev net1 src 10.9.0.2"),
            "{gateways}"
        );
        assert!(pod.pings("10.9.0.1"), "{gateways}");
        pod.del().run().assert_success();
        assert_eq!(pod.links(), Vec::<String>::new());
    }
}

/// One that is in none of its subnets is refused as before: it is not on the link.
#[test]
fn a_gateway_outside_the_network_is_refused_behind_sbr_too() {
    let node = Node::new();
    let blue = node.bridge("br-blue", "10.9.0.0/24 fd09::/64");
    let plugins = json!([blue, {"type": "sbr"}]);
    node.define(
        "team-a",
        "blue",
        json!({"cniVersion": "1.0.0", "name": "blue", "plugins": plugins}),
    );
    let config = routed(&node);
    for gateway in ["192.0.2.1", "2001:db8::1"] {
        let pod = node.pod("team-a", "web");
        let networks = json!([{"name": "blue", "default-route": [gateway]}]);
        let outcome = pod.add(config.clone()).networks_json(networks).run();
        let said = format!("gateway {gateway} is in no subnet of the interface");
        outcome.assert_error(104, ["network \"team-a/blue\" on net1", &said]);
        assert_eq!(pod.links(), Vec::<String>::new());
    }
}

/// One that a plugin has removed to have its own comes back, behind the runtime's primary too. A
/// way out if there was none is welcome.
#[test]
fn a_default_route_that_a_plugin_has_replaced_is_given_back() {
    let node = Node::new();
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]);
    node.network("blue", json!({"addresses": ["10.9.0.2/24"], "routes": routes}));
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 10.9.0.2/24 dev \
                 net1; ip route replace default via 10.9.0.1 dev net1";
    node.script(
        "blue",
        json!({"ADD": {"shell": format!("nsenter --net=$CNI_NETNS sh -ec '{lines}'")}}),
    );
    let pod = node.pod("team-a", "web");
    pod.ip("link add eth0 type bridge");
    pod.ip("link set eth0 up");
    pod.ip("addr add 10.1.0.2/24 dev eth0");
    pod.ip("route add default via 10.1.0.1 mtu 1400");
    pod.add_chained(json!({})).networks("blue").run().assert_success();
    assert_eq!(pod.default_routes(4), [OLD[0]]);
    assert!(pod.ip("route show default").contains("mtu 1400"), "{}", pod.ip("route show default"));
    pod.check().run().assert_success();
    let bare = node.pod("team-a", "bare");
    let result = bare.add_chained(json!({})).networks("blue").run().assert_success();
    assert_eq!(bare.default_routes(4), ["via 10.9.0.1 dev net1"]);
    assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]));
    bare.check().run().assert_success();
}

/// What is recorded is what the kernel shows once the route is back, else CHECK would miss it.
#[test]
fn a_default_route_that_was_replaced_by_one_behind_it_is_back() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 10.9.0.2/24 dev \
                 net1; ip route del default; ip route add default via 10.9.0.1 dev net1 metric 500";
    node.script(
        "blue",
        json!({"ADD": {"shell": format!("nsenter --net=$CNI_NETNS sh -ec '{lines}'")}}),
    );
    let pod = node.pod("team-a", "web");
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    pod.add(config).networks("blue").run().assert_success();
    assert_eq!(pod.default_routes(4), [OLD[0], "via 10.9.0.1 dev net1"]);
    pod.check().run().assert_success();
}

/// A plugin that replaces the default route is one thing, a second way out for when the first is
/// gone another.
#[test]
fn a_default_route_behind_the_primary_s_stays() {
    let node = Node::new();
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1", "priority": 500}]);
    node.network("blue", json!({"addresses": ["10.9.0.2/24"], "routes": routes}));
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 10.9.0.2/24 dev \
                 net1; ip route add default via 10.9.0.1 dev net1 metric 500";
    node.script(
        "blue",
        json!({"ADD": {"shell": format!("nsenter --net=$CNI_NETNS sh -ec '{lines}'")}}),
    );
    let pod = node.pod("team-a", "web");
    let add =
        pod.add(json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]})).networks("blue").run();
    add.assert_success();
    assert_eq!(pod.default_routes(4), [OLD[0], "via 10.9.0.1 dev net1"]);
    assert!(!add.stderr.contains("default route"), "{}", add.stderr);
    pod.check().run().assert_success();
}

#[test]
fn a_default_route_that_leads_nowhere_is_not_left_in_front() {
    let node = Node::new();
    dual_stack(&node, json!({}));
    let config = routed(&node);
    let lines = "ip route add throw default metric 1; ip route add blackhole default metric 7; ip \
                 -6 route add unreachable default metric 10; ip -6 route add prohibit default \
                 metric 2000";
    node.script(
        "primary",
        json!({"ADD": {"shell": format!("nsenter --net=$CNI_NETNS sh -ec '{lines}'")}}),
    );
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "blue", "default-route": ["10.9.0.1", "10.9.0.9", "fd09::1"]}]);
    pod.add(config.clone()).networks_json(asked).run().assert_success();
    let left = |pod: &Pod<'_>, family: &str| {
        let routes = pod.ip(&format!("{family} route show default"));
        routes
            .lines()
            .map(|line| line.split_whitespace().next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // Those behind it close the way once it is gone.
    assert_eq!(left(&pod, "-4"), ["default", "default", "blackhole"]);
    assert_eq!(left(&pod, "-6"), ["default", "prohibit"]);
    assert!(pod.ip("route get 192.0.2.1").contains("via 10.9.0.1 dev net1"));
    assert!(pod.ip("route get 2001:db8::1").contains("via fd09::1 dev net1"));
    pod.check().run().assert_success();
    // They are back if the ADD fails.
    let failed = node.pod("team-a", "failed");
    let asked = json!([{"name": "blue", "default-route": ["fd09::1", "192.0.2.77"]}]);
    failed.add(config).networks_json(asked).run().assert_error(104, ["192.0.2.77"]);
    assert_eq!(left(&failed, "-4"), ["throw", "blackhole"]);
    assert_eq!(left(&failed, "-6"), ["unreachable", "prohibit"]);
}

#[test]
fn cluster_routes_stay_with_the_primary() {
    let node = Node::new();
    dual_stack(&node, json!({}));
    let mut config = routed(&node);
    config["keepClusterRoutes"] = json!(["10.96.0.0/12", "fd96::/108"]);
    let pod = node.pod("team-a", "web");
    with_default_route(&pod, config, json!(["10.9.0.1", "fd09::1"]));
    let through = |destination: &str| pod.ip(&format!("route get {destination}"));
    assert!(through("10.96.0.10").contains("via 10.1.0.1 dev eth0"), "{}", through("10.96.0.10"));
    assert!(through("fd96::a").contains("via fd01::1 dev eth0"), "{}", through("fd96::a"));
    assert!(through("192.0.2.1").contains("via 10.9.0.1 dev net1"), "{}", through("192.0.2.1"));
    pod.check().run().assert_success();
}

#[test]
fn a_gateway_out_of_reach_is_an_error_and_the_old_routes_are_back() {
    let node = Node::new();
    dual_stack(&node, json!({}));
    let pod = node.pod("team-a", "web");
    for (interface, address, gateway) in
        [("eth0", "10.1.0.2/24", "10.1.0.1"), ("eth1", "10.2.0.2/24", "10.2.0.1")]
    {
        pod.ip(&format!("link add {interface} type bridge"));
        pod.ip(&format!("link set {interface} up"));
        pod.ip(&format!("addr add {address} dev {interface}"));
        let metric = if interface == "eth0" { 0 } else { 50 };
        pod.ip(&format!(
            "route add default via {gateway} dev {interface} metric {metric} mtu 1400"
        ));
    }
    // One of the cluster's routes is there already, and is not Braid's to take away.
    pod.ip("route add 10.244.0.0/16 via 10.1.0.1");
    let before = pod.ip("route show");
    let asked = json!([{"name": "blue", "default-route": ["10.9.0.1", "192.0.2.77"]}]);
    let keep = json!({"keepClusterRoutes": ["10.96.0.0/12", "10.244.0.0/16", "fd96::/108"]});
    pod.add_chained(keep).networks_json(asked).run().assert_error(104, ["net1", "192.0.2.77"]);
    assert_eq!(pod.ip("route show"), before);
    assert_eq!(pod.links(), ["eth0", "eth1"]);
    assert_eq!(node.calls_in_order(), ["ADD blue net1", "DEL blue net1"]);
    assert_eq!(node.state("records"), NOTHING);
}
