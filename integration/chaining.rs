//! Both ways to stand on a node, every way to name a network, and what a pod may ask of one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::chain::Chain;
use crate::node::{Node, cluster, text};
use crate::pod::Pod;

const NOTHING: [&str; 0] = [];

/// The addresses of a result.
fn addresses(result: &Value) -> Vec<&str> {
    result["ips"].as_array().unwrap().iter().map(|ip| text(&ip["address"])).collect()
}

// Chained.

#[test]
fn chained_behind_a_real_primary() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"], "link": true}));
    let before = node.dump();
    let ptp = json!({"type": "ptp", "ipam": node.host_local("10.1.0.0/24")});
    let pod = node.pod("team-a", "web");
    let chain = Chain::new(&node, json!([ptp, {"type": "braid"}])).networks("blue");
    let result = chain.add(&pod).unwrap();
    assert_eq!(addresses(&result), ["10.1.0.2/24", "10.9.0.2/24"]);
    // ptp reports the host's end of the pair too; what it reported stays first.
    assert_eq!(
        (&result["ips"][0]["interface"], &result["ips"][1]["interface"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(pod.links(), ["eth0", "net1"]);
    // Each reference plugin compares every address with its own interface: on CRI-O, which runs
    // CHECK after ADD, resultScope has to be "primary", as in the next test.
    chain
        .check(&pod, &result)
        .map_err(|outcome| outcome.stdout)
        .expect_err("ptp finds the extra address on eth0");
    chain.del(&pod, &result).unwrap();
    assert_eq!(pod.links(), NOTHING);
    assert_eq!(node.leftovers(&before), NOTHING);
}

#[test]
fn chained_with_the_primarys_result_alone_passes_every_check() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"], "link": true}));
    let ptp = json!({"type": "ptp", "ipam": node.host_local("10.1.0.0/24")});
    let braid = json!({"type": "braid", "resultScope": "primary"});
    let chain = Chain::new(&node, json!([ptp, braid])).version("0.4.0").networks("blue");
    let pod = node.pod("team-a", "web");
    let result = chain.add(&pod).unwrap();
    assert_eq!(addresses(&result), ["10.1.0.2/24"]);
    assert_eq!(pod.addresses("net1"), ["10.9.0.2/24"]);
    chain.check(&pod, &result).unwrap();
    chain.del(&pod, &result).unwrap();
    assert_eq!(node.reservations("node"), NOTHING);
}

#[test]
fn a_plain_pod_behind_a_primary_gets_its_result_back_verbatim() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    let odd = json!({
        "cniVersion": "0.3.1", "interfaces": [{"name": "", "x": null}], "ips": [{"address": "nonsense", "interface": 99}],
        "routes": null, "dns": {"x": 1.5}, "vendor": [1],
    });
    let printed = pod.add(json!({})).prev_result(odd.clone()).run().assert_success();
    assert_eq!(printed, odd);
    pod.add(json!({})).prev_result(odd.clone()).networks("  ").run().assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert!(!node.path("state").exists(), "a pod that asks for nothing leaves no trace");
}

#[test]
fn a_chained_braid_that_is_not_told_the_annotations_refuses() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.add_chained(json!({}))
        .without_annotations()
        .run()
        .assert_error(7, ["io.kubernetes.cri.pod-annotations"]);
    // null is the runtime's word for none.
    pod.add_chained(json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": null}}))
        .run()
        .assert_success();
}

#[test]
fn a_delegating_braid_that_is_not_told_the_annotations_warns() {
    let node = Node::new();
    let outcome = node.pod("team-a", "web").add(node.delegating()).without_annotations().run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("io.kubernetes.cri.pod-annotations"), "{}", outcome.stderr);
}

#[test]
fn configuration_and_request_must_agree_on_the_mode() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.add(json!({})).run().assert_error(7, ["no prevResult and no primary network"]);
    pod.add_chained(node.delegating())
        .run()
        .assert_error(7, ["prevResult and has a primary network of its own"]);
    assert_eq!(node.calls_in_order(), NOTHING);
}

// The primary.

fn chain_of_two() -> Value {
    json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [
        {"type": "primary", "addresses": ["10.1.0.2/24"]}, {"type": "meta"}
    ]})
}

/// A node whose primary is a chain of two plugins, in this file.
fn node_with_primary(file: &str) -> Node {
    let node = Node::new();
    node.recorders(["primary", "meta"]);
    node.write(file, &chain_of_two().to_string());
    node
}

/// Brings a pod up and down; every plugin of the primary's chain is run, with the whole of it.
fn assert_primary_is_run(node: &Node, cluster_network: &str) {
    let pod = node.pod("team-a", "web");
    let result = pod.add(json!({"clusterNetwork": cluster_network})).run().assert_success();
    assert_eq!(addresses(&result), ["10.1.0.2/24"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    let verbs =
        ["ADD primary", "ADD meta", "CHECK primary", "CHECK meta", "DEL meta", "DEL primary"];
    let expected: Vec<_> = verbs.iter().map(|call| format!("{call} eth0")).collect();
    assert_eq!(node.calls_in_order(), expected, "clusterNetwork {cluster_network}");
    assert!(node.calls().iter().all(|call| call.stdin()["name"] == "cluster"));
}

#[test]
fn the_primary_by_a_definitions_name() {
    let node = node_with_primary("unused");
    node.define("kube-system", "main", chain_of_two());
    assert_primary_is_run(&node, "main");
}

#[test]
fn the_primary_by_a_definitions_name_in_another_namespace() {
    let node = node_with_primary("unused");
    node.define("infra", "main", chain_of_two());
    let config = json!({"clusterNetwork": "main", "multusNamespace": "infra"});
    node.pod("team-a", "web").add(config).run().assert_success();
}

#[test]
fn the_primary_by_a_files_network_name() {
    assert_primary_is_run(&node_with_primary("net.d/10-x.conflist"), "cluster");
    assert_primary_is_run(&node_with_primary("braid.d/10-x.conflist"), "cluster");
}

#[test]
fn the_primary_by_its_file_or_directory() {
    let node = node_with_primary("elsewhere/10-x.conflist");
    assert_primary_is_run(&node, &node.path_text("elsewhere/10-x.conflist"));
    node.forget_calls();
    assert_primary_is_run(&node, &node.path_text("elsewhere"));
}

#[test]
fn the_primary_by_auto() {
    assert_primary_is_run(&node_with_primary("net.d/10-x.conflist"), "auto");
}

#[test]
fn a_primary_that_is_not_there_yet_is_worth_another_try() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.add(json!({"clusterNetwork": "auto"}))
        .run()
        .assert_error(11, ["no primary network in", "net.d"]);
    pod.add(json!({"clusterNetwork": "absent"})).run().assert_error(11, ["absent"]);
    pod.del().run().assert_success();
}

#[test]
fn files_of_a_sub_directory_belong_to_the_chain() {
    let node = node_with_primary("net.d/10-x.conflist");
    node.recorder("late");
    node.write("net.d/cluster/20-late.conf", r#"{"type": "late", "vendor": 1}"#);
    node.pod("team-a", "web").add(json!({"clusterNetwork": "auto"})).run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0", "ADD meta eth0", "ADD late eth0"]);
    node.forget_calls();
    let mut alone = chain_of_two();
    alone["loadOnlyInlinedPlugins"] = json!(true);
    node.write("net.d/10-x.conflist", &alone.to_string());
    node.pod("team-a", "db").add(json!({"clusterNetwork": "auto"})).run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0", "ADD meta eth0"]);
}

#[test]
fn a_primary_that_rewrites_its_file_is_followed_and_pods_keep_theirs() {
    let node = node_with_primary("net.d/10-x.conflist");
    node.recorder("newer");
    let pod = node.pod("team-a", "web");
    pod.add(json!({"clusterNetwork": "auto"})).run().assert_success();
    node.write(
        "net.d/10-x.conflist",
        r#"{"cniVersion": "1.0.0", "name": "next", "plugins": [{"type": "newer"}]}"#,
    );
    node.pod("team-a", "db").add(json!({"clusterNetwork": "auto"})).run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        [
            "ADD primary eth0",
            "ADD meta eth0",
            "ADD newer eth0",
            "DEL meta eth0",
            "DEL primary eth0"
        ]
    );
}

#[test]
fn delegates_after_the_first_are_networks_of_every_pod() {
    let node = Node::new();
    node.recorders(["primary", "second"]);
    node.network("blue", json!({}));
    let second = json!({"cniVersion": "0.3.1", "name": "second", "type": "second"});
    let config = json!({"delegates": [cluster(), second]});
    let pod = node.pod("team-a", "web");
    pod.add(config).networks("blue").run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        [
            "ADD primary eth0",
            "ADD second net1",
            "ADD blue net2",
            "DEL blue net2",
            "DEL second net1",
            "DEL primary eth0"
        ]
    );
}

#[test]
fn default_networks_come_to_every_pod_outside_system_namespaces() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.recorders(["storage", "logs"]);
    node.define("kube-system", "storage", json!({"type": "storage"}));
    node.write("braid.d/logs.conf", r#"{"name": "logs", "type": "logs"}"#);
    let mut config = node.delegating();
    config["defaultNetworks"] = json!(["storage", "logs"]);
    node.pod("team-a", "web").add(config.clone()).networks("blue").run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        ["ADD primary eth0", "ADD storage net1", "ADD logs net2", "ADD blue net3"]
    );
    node.forget_calls();
    node.pod("kube-system", "dns").add(config.clone()).run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0"]);
    node.forget_calls();
    config["systemNamespaces"] = json!(["team-a"]);
    node.pod("team-a", "db").add(config.clone()).run().assert_success();
    node.pod("kube-system", "proxy").add(config).run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        ["ADD primary eth0", "ADD primary eth0", "ADD storage net1", "ADD logs net2"]
    );
}

#[test]
fn default_networks_work_chained_too() {
    let node = Node::new();
    node.recorder("storage");
    node.define("kube-system", "storage", json!({"type": "storage"}));
    let pod = node.pod("team-a", "web");
    pod.add_chained(json!({"defaultNetworks": ["storage"]})).run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD storage net1", "DEL storage net1"]);
}

#[test]
fn the_auxiliary_chain_is_a_network_of_every_pod() {
    let node = Node::new();
    node.recorders(["primary", "one", "two"]);
    node.write("net.d/10-cluster.conf", &cluster().to_string());
    node.write("net.d/aux/10-one.conf", r#"{"type": "one"}"#);
    node.write("net.d/aux/20-two.conf", r#"{"type": "two"}"#);
    let config = json!({"clusterNetwork": "auto", "auxiliaryCNIChainName": "aux"});
    let pod = node.pod("team-a", "web");
    pod.add(config).run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        [
            "ADD primary eth0",
            "ADD one net1",
            "ADD two net1",
            "DEL two net1",
            "DEL one net1",
            "DEL primary eth0"
        ]
    );
    assert_eq!(node.only_call("ADD", "one").stdin()["name"], "aux");
}

#[test]
fn the_default_network_annotation_replaces_the_primary() {
    let node = Node::new();
    node.network("own", json!({"addresses": ["10.5.0.2/24"]}));
    node.recorder("special");
    node.define("kube-system", "special", json!({"type": "special", "addresses": ["10.6.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    let result = pod.add(node.delegating()).default_network("special").run().assert_success();
    assert_eq!(addresses(&result), ["10.6.0.2/24"]);
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD special eth0", "DEL special eth0"]);
    node.forget_calls();
    let call = node
        .pod("team-a", "db")
        .add(node.delegating())
        .default_network("team-a/own")
        .networks("own")
        .run();
    call.assert_success();
    assert_eq!(node.calls_in_order(), ["ADD own eth0", "ADD own net1"]);
}

#[test]
fn the_default_network_annotation_has_limits() {
    let node = Node::new();
    node.network("own", json!({}));
    node.recorder("green");
    node.define("team-b", "green", json!({"type": "green"}));
    let pod = node.pod("team-a", "web");
    let refused = |value: &str, said: &str| {
        pod.add(node.delegating()).default_network(value).run().assert_error(7, [said]);
    };
    refused("team-b/green", "team-b/green");
    refused("team-a/own,team-a/own", "more than one network");
    refused("team-a/own@eth1", "\"interface\"");
    refused("absent", "absent");
    pod.add_chained(json!({}))
        .default_network("team-a/own")
        .run()
        .assert_error(7, ["behind the primary network"]);
    assert_eq!(node.calls_in_order(), NOTHING);
}

#[test]
fn add_waits_for_the_readiness_file() {
    let node = Node::new();
    let mut config = node.delegating();
    config["readinessindicatorfile"] = json!(node.path("ready"));
    let pod = node.pod("team-a", "web");
    let call = pod.add(config).start();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(node.calls_in_order(), NOTHING);
    node.write("ready", "");
    call.wait().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0"]);
}

#[test]
fn add_does_not_wait_longer_than_it_may_and_status_not_at_all() {
    let node = Node::new();
    let mut config = node.delegating();
    config["readinessindicatorfile"] = json!(node.path("ready"));
    let status = node.call("STATUS", config.clone()).with(json!({"cniVersion": "1.1.0"})).run();
    status.assert_error(50, ["readinessindicatorfile"]);
    assert!(status.took < Duration::from_secs(15), "{:?}", status.took);
    config["readinessTimeout"] = json!("200ms");
    let pod = node.pod("team-a", "web");
    pod.add(config).run().assert_error(11, ["readinessindicatorfile", "pod team-a/web"]);
    // Deleting does not wait either.
    let deleted = pod.del().run();
    deleted.assert_success();
    assert!(deleted.took < Duration::from_secs(15), "{:?}", deleted.took);
}

#[test]
fn result_scope_primary_prints_the_primarys_entries_alone() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let mut config = node.delegating();
    config["resultScope"] = json!("primary");
    let pod = node.pod("team-a", "web");
    let result = pod.add(config).networks("blue").run().assert_success();
    assert_eq!(addresses(&result), ["10.1.0.2/24"]);
    assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(1));
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    node.only_call("DEL", "blue");
}

#[test]
fn an_address_of_an_extra_network_never_goes_without_an_interface() {
    let node = Node::new();
    node.network("blue", json!({}));
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]});
    node.script("blue", json!({"ADD": {"result": result}}));
    let result =
        node.pod("team-a", "web").add(node.delegating()).networks("blue").run().assert_success();
    assert_eq!(result["ips"][1], json!({"address": "10.9.0.2/24", "interface": 1}));
    assert_eq!(result["interfaces"][1]["name"], "net1");
}

// Default routes.

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
fn a_result_of_the_primary_that_is_none_is_refused_before_anything_is_done() {
    let node = Node::new();
    node.network("blue", json!({}));
    for (result, said) in
        [(json!([]), "must be an object"), (json!({"cniVersion": "7.0.0"}), "7.0.0")]
    {
        let call =
            node.pod("team-a", "web").add(json!({})).prev_result(result).networks("blue").run();
        call.assert_error(6, ["pod team-a/web: prevResult: ", said]);
    }
    assert_eq!((node.calls_in_order(), node.state("records")), (vec![], vec![]));
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
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 10.9.0.2/32 dev net1; \
                 ip addr add fd09::2/128 dev net1; ip -6 route add default dev net1 metric 7; \
                 ip route add default via 192.0.2.9 dev net1 onlink mtu 1400 metric 7";
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
    let said = "pod team-a/web: network \"team-a/blue\" has made a default route on net1 that the pod has not asked for";
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
/// way out where there was none is welcome.
#[test]
fn a_default_route_that_a_plugin_has_replaced_is_given_back() {
    let node = Node::new();
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "10.9.0.1"}]);
    node.network("blue", json!({"addresses": ["10.9.0.2/24"], "routes": routes}));
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 10.9.0.2/24 dev net1; \
                 ip route replace default via 10.9.0.1 dev net1";
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
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 10.9.0.2/24 dev net1; \
                 ip route del default; ip route add default via 10.9.0.1 dev net1 metric 500";
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
    let lines = "ip link add net1 type bridge; ip link set net1 up; ip addr add 10.9.0.2/24 dev net1; \
                 ip route add default via 10.9.0.1 dev net1 metric 500";
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
    let lines = "ip route add throw default metric 1; ip route add blackhole default metric 7; \
                 ip -6 route add unreachable default metric 10; ip -6 route add prohibit default metric 2000";
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
    // They are back where the ADD fails.
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

// What is asked is what is there.

#[test]
fn an_address_is_given_by_static_through_its_capability() {
    let node = Node::new();
    let lan = json!({"type": "bridge", "bridge": "br1", "ipam": {"type": "static"}, "capabilities": {"ips": true}});
    node.define("team-a", "lan", lan);
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "lan", "ips": ["10.7.0.77/24", "fd07::77/64"]}]);
    pod.add_chained(json!({})).networks_json(asked).run().assert_success();
    assert_eq!(pod.addresses("net1"), ["10.7.0.77/24", "fd07::77/64"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(pod.links(), NOTHING);
}

#[test]
fn an_address_is_given_by_host_local_with_the_capability_or_without() {
    for capabilities in [json!({"ips": true}), json!({})] {
        let node = Node::new();
        let ipam = node.host_local("10.7.0.0/24");
        let lan =
            json!({"type": "bridge", "bridge": "br1", "ipam": ipam, "capabilities": capabilities});
        node.define("team-a", "lan", lan);
        let pod = node.pod("team-a", "web");
        pod.add_chained(json!({}))
            .networks_json(json!([{"name": "lan", "ips": ["10.7.0.77"]}]))
            .run()
            .assert_success();
        assert_eq!(pod.addresses("net1"), ["10.7.0.77/24"]);
        pod.del().run().assert_success();
        assert_eq!(node.reservations("lan"), NOTHING);
    }
}

#[test]
fn a_mac_is_given_by_tuning() {
    let node = Node::new();
    let lan = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": [
        {"type": "bridge", "bridge": "br1", "ipam": node.host_local("10.7.0.0/24")},
        {"type": "tuning", "capabilities": {"mac": true}},
    ]});
    node.define("team-a", "lan", lan);
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "lan", "mac": "02:23:45:67:89:01"}]);
    pod.add_chained(json!({})).networks_json(asked).run().assert_success();
    assert_eq!(pod.link("net1")["address"], "02:23:45:67:89:01");
    pod.check().run().assert_success();
    pod.del().run().assert_success();
}

#[test]
fn what_was_asked_and_not_given_is_an_error_with_the_remedy_and_everything_undone() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"], "link": true}));
    let before = node.dump();
    let asked = [
        (
            json!({"name": "blue", "ips": ["10.9.0.77/24"]}),
            ["ips 10.9.0.77", "10.9.0.2/24", "{\"ips\": true}"],
        ),
        (
            json!({"name": "blue", "mac": "02:00:00:00:00:77"}),
            ["mac 02:00:00:00:00:77", "net1", "{\"mac\": true}"],
        ),
    ];
    for (element, said) in asked {
        let pod = node.pod("team-a", "web");
        pod.add_chained(json!({})).networks_json(json!([element])).run().assert_error(103, said);
        assert_eq!(pod.links(), NOTHING);
    }
    assert_eq!(node.leftovers(&before), NOTHING);
    assert_eq!(
        node.calls_in_order(),
        ["ADD blue net1", "DEL blue net1", "ADD blue net1", "DEL blue net1"]
    );
}

#[test]
fn addresses_and_mac_travel_in_cni_args_too() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "blue", "ips": ["10.9.0.2/24"], "cni-args": {"vlan": 7}}]);
    pod.add_chained(json!({})).networks_json(asked).run().assert_success();
    let call = node.only_call("ADD", "blue");
    let args = call.variable("CNI_ARGS");
    assert!(args.split(';').any(|pair| pair == "IP=10.9.0.2/24"), "{args}");
    assert_eq!(call.stdin()["args"]["cni"], json!({"vlan": 7}));
    assert_eq!(call.stdin()["runtimeConfig"], Value::Null, "not declared");
}

#[test]
fn capability_arguments_of_a_pods_network_are_there_on_add_and_del() {
    let node = Node::new();
    let all =
        json!({"portMappings": true, "bandwidth": true, "infinibandGUID": true, "deviceID": true});
    node.network("blue", json!({"capabilities": all}));
    let pod = node.pod("team-a", "web");
    let asked = json!([{
        "name": "blue", "portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 2000}, "infiniband-guid": "24:8a:07:03:00:8d:ae:2f",
        "deviceID": "0000:00:1f.6",
    }]);
    pod.add_chained(json!({})).networks_json(asked).run().assert_success();
    pod.del().run().assert_success();
    for verb in ["ADD", "DEL"] {
        let arguments = node.only_call(verb, "blue").stdin()["runtimeConfig"].clone();
        assert_eq!(arguments["portMappings"][0]["hostPort"], 80, "{verb}");
        assert_eq!(
            arguments["bandwidth"],
            json!({"ingressRate": 1000, "ingressBurst": 2000}),
            "{verb}"
        );
        assert_eq!(arguments["infinibandGUID"], "24:8a:07:03:00:8d:ae:2f", "{verb}");
        assert_eq!(arguments["deviceID"], "0000:00:1f.6", "{verb}");
    }
}

#[test]
fn interface_names_count_by_position_and_skip_what_is_taken() {
    let node = Node::new();
    for name in ["blue", "red", "green"] {
        node.network(name, json!({}));
    }
    let names = |pod: &Pod<'_>, networks: &str| {
        node.forget_calls();
        pod.add_chained(json!({})).networks(networks).run().assert_success();
        node.calls_in_order()
    };
    let pod = node.pod("team-a", "web");
    assert_eq!(names(&pod, "blue@x0,red"), ["ADD blue x0", "ADD red net2"]);
    let pod = node.pod("team-a", "db");
    pod.ip("link add net1 type bridge");
    assert_eq!(
        names(&pod, "blue,red@net2,green"),
        ["ADD blue net3", "ADD red net2", "ADD green net4"]
    );
}

#[test]
fn a_refused_plan_runs_no_plugin_and_leaves_nothing() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.network("red", json!({}));
    node.define("team-a", "no-plugin", json!({"type": "absent"}));
    node.define("team-a", "no-ipam", json!({"type": "blue", "ipam": {"type": "absent-ipam"}}));
    node.define("team-a", "no-master", json!({"type": "macvlan", "master": "eth9"}));
    node.define("team-a", "bad-version", json!({"cniVersion": "9.9.9", "type": "blue"}));
    node.define("team-a", "bad-args", json!({"type": "blue", "args": 7}));
    node.define("team-a", "empty", json!({"name": "empty", "plugins": []}));
    node.define("team-b", "theirs", json!({"type": "blue"}));
    let pod = node.pod("team-a", "web");
    pod.ip("link add data0 type bridge");
    let before = node.dump();
    let refused: [(u64, &str, &str); 24] = [
        (7, "blue,absent", "team-a/absent"),
        (7, "blue,bleu", "bleu"),
        (7, "blue,team-b/theirs", "team-b/theirs"),
        (7, "blue,no-plugin", "\"absent\" is not installed"),
        (7, "blue,no-ipam", "\"absent-ipam\" is not installed"),
        (7, "blue,no-master", "eth9"),
        (1, "blue,bad-version", "9.9.9"),
        (7, "blue,empty", "no plugin is named: a network has a \"type\", or \"plugins\""),
        (7, "blue,red@eth0", "the pod's primary interface"),
        (7, "blue,red@data0", "already has an interface"),
        (7, "blue@x0,red@x0", "x0"),
        (7, "blue,", "networks"),
        (7, "blue@", "networks"),
        (7, "Blue", "networks"),
        (7, "[null]", "networks"),
        (7, "[{\"name\": \"blue\"", "networks"),
        (7, "[{\"name\": \"blue\", \"ipz\": []}]", "ips"),
        (7, "[{\"name\": \"blue\", \"ips\": [\"10.0.0.300\"]}]", "10.0.0.300"),
        (
            7,
            "[{\"name\": \"blue\", \"portMappings\": [{\"hostPort\": 1, \"containerPort\": 1}]}]",
            "portMappings",
        ),
        (7, "[{\"name\": \"blue\", \"bandwidth\": {\"ingressRate\": 1}}]", "bandwidth"),
        (
            7,
            "[{\"name\": \"blue\", \"infiniband-guid\": \"24:8a:07:03:00:8d:ae:2f\"}]",
            "infinibandGUID",
        ),
        (7, "[{\"name\": \"bad-args\", \"cni-args\": {\"a\": 1}}]", "args"),
        (
            7,
            "[{\"name\": \"blue\", \"default-route\": []}, {\"name\": \"red\", \"default-route\": []}]",
            "default-route",
        ),
        (7, "[{\"name\": \"blue\", \"mac\": \"01:00:00:00:00:00\"}]", "mac"),
    ];
    for (code, networks, said) in refused {
        for call in [pod.add(node.delegating()), pod.add_chained(json!({}))] {
            call.networks(networks).run().assert_error(code, ["pod team-a/web", said]);
        }
        assert_eq!(node.calls_in_order(), NOTHING, "{networks}");
    }
    let strict = json!({"capabilityPolicy": "strict"});
    let asked = json!([{"name": "blue", "ips": ["10.9.0.2/24"]}]);
    pod.add_chained(strict).networks_json(asked).run().assert_error(7, ["{\"ips\": true}"]);
    assert_eq!(node.calls_in_order(), NOTHING);
    assert_eq!(node.state("records"), NOTHING);
    let left: Vec<_> = node.leftovers(&before);
    assert_eq!(left, NOTHING);
}

#[test]
fn one_broken_file_breaks_nothing_else() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.write("braid.d/00-broken.yaml", "kind: [");
    node.write("braid.d/01-broken.conf", "{");
    node.write("braid.d/02-broken.json", "{\"kind\": 7}");
    let outcome = node.pod("team-a", "web").add_chained(json!({})).networks("blue").run();
    outcome.assert_success();
    for file in ["00-broken.yaml", "01-broken.conf", "02-broken.json"] {
        assert!(outcome.stderr.contains(file), "{file}: {}", outcome.stderr);
    }
}

#[test]
fn definitions_are_found_in_the_order_of_the_standard() {
    let node = Node::new();
    for name in ["manifest", "list", "single"] {
        node.recorder(name);
    }
    let pod = node.pod("team-a", "web");
    let chosen = || {
        node.forget_calls();
        node.pod("team-a", "web").add_chained(json!({})).networks("blue").run().assert_success();
        node.calls_in_order()
    };
    pod.add_chained(json!({}))
        .networks("blue")
        .run()
        .assert_error(7, ["team-a/blue", &node.path_text("braid.d")]);
    node.write("braid.d/10.conf", r#"{"cniVersion": "1.0.0", "name": "blue", "type": "single"}"#);
    assert_eq!(chosen(), ["ADD single net1"]);
    node.write(
        "braid.d/20.conflist",
        r#"{"cniVersion": "1.0.0", "name": "blue", "plugins": [{"type": "list"}]}"#,
    );
    assert_eq!(chosen(), ["ADD list net1"]);
    // A manifest without a configuration stands for the file.
    let manifest = "kind: NetworkAttachmentDefinition\nmetadata: {name: blue, namespace: team-a}\n";
    node.write("braid.d/30.yaml", manifest);
    assert_eq!(chosen(), ["ADD list net1"]);
    node.write(
        "braid.d/30.yaml",
        &format!("{manifest}spec: {{config: '{{\"type\": \"manifest\"}}'}}\n"),
    );
    assert_eq!(chosen(), ["ADD manifest net1"]);
    // Name and version are filled in.
    let sent = node.only_call("ADD", "manifest").stdin().clone();
    assert_eq!((&sent["name"], &sent["cniVersion"]), (&json!("blue"), &json!("1.0.0")));
}
