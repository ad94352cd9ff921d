//! CHECK: each delegate with its own result, then the kernel against the record.

use serde_json::json;

use crate::node::Node;
use crate::teardown::{node, pod_with_both};

#[test]
fn check_names_what_has_changed() {
    let node = node();
    let table = [
        ("addr del 10.8.0.2/24 dev net1", "interface net1 has lost address 10.8.0.2/24"),
        ("link del net2", "interface net2 is gone"),
        ("link set net1 down", "interface net1 is down"),
        ("link set net2 address 02:00:00:00:00:99", "interface net2 has MAC 02:00:00:00:00:99"),
        ("route add default via 10.8.0.1", "default route via 10.8.0.1 on net1 was not there"),
    ];
    for (change, said) in table {
        let pod = node.pod("team-a", "web");
        pod.add(node.delegating()).networks("blue,red").run().assert_success();
        pod.check().run().assert_success();
        pod.ip(change);
        pod.check().run().assert_error(101, ["pod team-a/web", said]);
        pod.check().with(json!({"checkNetworks": "kernel"})).run().assert_error(101, [said]);
        pod.del().run().assert_success();
    }
}

#[test]
fn check_passes_with_real_plugins_and_a_moved_default_route() {
    let node = Node::new();
    node.define("team-a", "lan", node.bridge("br1", "10.9.0.0/24 fd09::/64"));
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd01::/64")]});
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "lan", "default-route": ["10.9.0.1", "fd09::1"]}]);
    pod.add(config).networks_json(asked).run().assert_success();
    assert_eq!(pod.default_routes(4), ["via 10.9.0.1 dev net1"]);
    assert_eq!(pod.default_routes(6), ["via fd09::1 dev net1"]);
    pod.check().run().assert_success();
    pod.ip("route del default");
    let drifted = pod.check().with(json!({"checkNetworks": "kernel"})).run();
    drifted.assert_error(101, ["the IPv4 default route via 10.9.0.1 on net1 is gone"]);
    pod.del().run().assert_success();
}

#[test]
fn check_runs_each_delegates_own_with_its_own_result() {
    let node = node();
    let pod = pod_with_both(&node);
    pod.check().run().assert_success();
    assert_eq!(node.calls_in_order(), ["CHECK primary eth0", "CHECK blue net1", "CHECK red net2"]);
    let result = node.only_call("CHECK", "red").stdin()["prevResult"].clone();
    assert_eq!(result["ips"], json!([{"address": "10.9.0.2/24", "interface": 0}]));
    node.script("blue", json!({"CHECK": {"error": {"code": 55, "msg": "port is gone"}}}));
    pod.check().run().assert_error(55, ["network \"team-a/blue\" on net1", "port is gone"]);
}

#[test]
fn check_networks_says_how_far_check_goes() {
    let node = node();
    let pod = pod_with_both(&node);
    let check = |scope: &str| pod.check().with(json!({"checkNetworks": scope})).run();
    check("kernel").assert_success();
    assert_eq!(node.calls_in_order(), ["CHECK primary eth0"]);
    pod.ip("link del net1");
    check("kernel").assert_error(101, ["interface net1 is gone"]);
    check("primary").assert_success();
}

#[test]
fn check_is_switched_off_if_a_network_says_so() {
    let node = Node::new();
    node.recorder("blue");
    let plugins = json!([{"type": "blue", "link": true}]);
    let lan =
        json!({"cniVersion": "1.0.0", "name": "lan", "disableCheck": "true", "plugins": plugins});
    node.define("team-a", "lan", lan);
    let pod = node.pod("team-a", "web");
    pod.add_chained(json!({})).networks("lan").run().assert_success();
    pod.check().run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD blue net1"]);
    // The kernel is still asked.
    pod.ip("link del net1");
    pod.check().run().assert_error(101, ["interface net1 is gone"]);
}

#[test]
fn check_in_another_namespace_or_without_a_record() {
    let node = node();
    let pod = pod_with_both(&node);
    let other = pod.replace_netns();
    pod.check().run().assert_error(101, ["not the network namespace"]);
    drop(other);
    let unknown = node.pod("team-a", "unknown");
    node.call("CHECK", json!({})).of_pod(&unknown).run().assert_success();
    node.call("CHECK", node.delegating()).of_pod(&unknown).run().assert_success();
    assert_eq!(node.calls_in_order(), ["CHECK primary eth0"]);
}
