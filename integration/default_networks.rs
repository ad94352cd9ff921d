//! Networks that the configuration gives to every pod.

use serde_json::json;

use crate::node::{Node, cluster};

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
