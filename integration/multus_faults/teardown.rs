//! Faults in DEL, CHECK and GC, and in what they read of an ADD.

use std::fs;

use serde_json::json;

use super::{cluster, define_uplink, node, real};
use crate::node::{NOTHING, Node};

#[test]
fn fault_05_a_cluster_network_by_conflist_path_leaks_no_address() {
    let node = Node::new();
    let conflist = json!({"cniVersion": "1.0.0", "name": "cni0", "plugins": [node.bridge("cni0", "10.1.0.0/24")]});
    node.write("net.d/10-cluster.conflist", &conflist.to_string());
    let pod = node.pod("team-a", "web");
    let config = json!({"clusterNetwork": node.path_text("net.d/10-cluster.conflist")});
    pod.add(config).run().assert_success();
    assert_eq!(node.reservations("cni0"), ["10.1.0.2"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.reservations("cni0"), NOTHING);
}

#[test]
fn fault_06_del_has_the_port_mappings_and_bandwidth_of_add() {
    let node = node();
    let capabilities = json!({"portMappings": true, "bandwidth": true});
    node.define("team-a", "blue", json!({"type": "blue", "capabilities": capabilities}));
    let pod = node.pod("team-a", "web");
    let asked = json!([{
        "name": "blue", "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 1000, "egressRate": 1000, "egressBurst": 1000}
    }]);
    pod.add(cluster()).networks_json(asked).run().assert_success();
    pod.del().run().assert_success();
    let arguments = |verb: &str| node.only_call(verb, "blue").stdin()["runtimeConfig"].clone();
    assert_eq!(arguments("ADD")["portMappings"][0]["hostPort"], 8080);
    assert_eq!(arguments("ADD")["bandwidth"]["egressRate"], 1000);
    assert_eq!(arguments("DEL"), arguments("ADD"));
}

#[test]
fn fault_07_gc_honours_the_list_and_covers_extra_networks() {
    let node = node();
    let mut config = cluster();
    config["cniVersion"] = json!("1.1.0");
    config["delegates"][0]["cniVersion"] = json!("1.1.0");
    node.define("team-a", "blue", json!({"cniVersion": "1.1.0", "type": "blue", "link": true}));
    let pods = [node.pod("team-a", "live"), node.pod("team-a", "stale")];
    for pod in &pods {
        pod.add(config.clone()).networks("blue").run().assert_success();
    }
    node.forget_calls();
    let list = json!([{"containerID": pods[0].container, "ifname": "eth0"}]);
    node.call("GC", config).with(json!({"cni.dev/valid-attachments": list})).run().assert_success();
    let calls = node.calls_in_order();
    assert_eq!(calls, ["DEL blue net1", "DEL cluster eth0", "GC cluster", "GC blue"]);
    for call in node.calls().iter().filter(|call| call.verb() == "DEL") {
        assert_eq!(call.variable("CNI_CONTAINERID"), pods[1].container);
    }
    let collected = node.only_call("GC", "blue");
    assert_eq!(
        collected.stdin()["cni.dev/valid-attachments"],
        json!([{"containerID": pods[0].container, "ifname": "net1"}])
    );
    pods[0].check().run().assert_success();
}

/// What becomes of a record's content.
type Spoiler = fn(&[u8]) -> Vec<u8>;

/// Gives the one record another content.
fn spoil(node: &Node, content: impl Fn(&[u8]) -> Vec<u8>) {
    let path = node.path("state/records").join(node.state("records").remove(0));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, content(&whole)).unwrap();
}

#[test]
fn fault_09_a_truncated_delegate_cache_is_neither_believed_nor_fatal() {
    let contents: [Spoiler; 5] = [
        |_| Vec::new(),
        |_| b"[]".to_vec(),
        |_| b"null\n".to_vec(),
        |whole| whole[..200].to_vec(),
        |whole| whole.iter().map(|byte| byte ^ 1).collect(),
    ];
    for content in contents {
        let node = node();
        let pod = node.pod("team-a", "web");
        pod.add(cluster()).networks("blue").run().assert_success();
        spoil(&node, content);
        node.forget_calls();
        let outcome = pod.del().run();
        outcome.assert_success();
        // The primary goes by its configuration; what else there was is said aloud and kept to be
        // read.
        assert_eq!(node.calls_in_order(), ["DEL cluster eth0"]);
        assert!(outcome.stderr.contains("cannot be read"), "{}", outcome.stderr);
        assert_eq!((node.state("records").len(), node.state("aside").len()), (0, 1));
    }
}

#[test]
fn fault_10_a_truncated_result_cache_does_not_keep_the_pod() {
    // Wherever behind the plan the record ends: everything goes, in the first DEL.
    for part in 0..6 {
        let node = node();
        let pod = node.pod("team-a", "web");
        pod.add(cluster()).networks("blue, red").run().assert_success();
        spoil(&node, |whole| {
            let plan = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            whole[..plan + (whole.len() - plan) * part / 6].to_vec()
        });
        node.forget_calls();
        pod.del().run().assert_success();
        assert_eq!(
            node.calls_in_order(),
            ["DEL red net2", "DEL blue net1", "DEL cluster eth0"],
            "{part}"
        );
        assert_eq!(pod.links(), NOTHING, "{part}");
        assert_eq!(node.state("records"), NOTHING, "{part}");
    }
}

#[test]
fn fault_11_check_covers_the_primary_and_every_extra_network() {
    let node = node();
    let network = json!({
        "cniVersion": "1.0.0", "name": "cluster", "plugins": [{"type": "cluster", "link": true, "addresses": ["10.1.0.2/24"]}]
    });
    node.write("net.d/10-cluster.conflist", &network.to_string());
    let by_path = json!({"clusterNetwork": node.path_text("net.d/10-cluster.conflist")});
    for config in [cluster(), by_path] {
        let pod = node.pod("team-a", "web");
        pod.add(config).networks("blue").run().assert_success();
        node.forget_calls();
        pod.check().run().assert_success();
        assert_eq!(node.calls_in_order(), ["CHECK cluster eth0", "CHECK blue net1"]);
        for kind in ["cluster", "blue"] {
            let failing = json!({"CHECK": {"error": {"code": 44, "msg": "it is broken"}}});
            node.script(kind, failing);
            pod.check().run().assert_error(44, [kind, "it is broken"]);
            node.script(kind, json!({}));
        }
        pod.ip("addr del 10.9.0.2/24 dev net1");
        pod.check().run().assert_error(101, ["net1", "10.9.0.2"]);
        pod.del().run().assert_success();
    }
}

#[test]
fn fault_14_an_add_that_fails_late_leaves_nothing_and_can_be_tried_again() {
    let node = Node::new();
    define_uplink(&node);
    let warm = node.pod("team-a", "warm");
    warm.add(real(&node)).networks("uplink").run().assert_success();
    warm.del().run().assert_success();
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    // A gateway that is not on the network: the kernel refuses it when everything is attached.
    let wrong = json!([{"name": "uplink", "default-route": ["10.77.0.1"]}]);
    pod.add(real(&node)).networks_json(wrong).run().assert_error(104, ["default route", "net1"]);
    assert_eq!(pod.links(), NOTHING);
    assert_eq!(node.leftovers(&before), NOTHING);
    // The runtime may call DEL for it, and tries again, in this sandbox even.
    pod.del().run().assert_success();
    let right = json!([{"name": "uplink", "default-route": ["10.19.0.1"]}]);
    pod.add(real(&node)).networks_json(right).run().assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.leftovers(&before), NOTHING);
}

#[test]
fn fault_17_two_interfaces_of_one_container_have_a_record_each() {
    let node = node();
    let pod = node.pod("team-a", "web");
    pod.add(cluster()).networks("blue").run().assert_success();
    let add =
        |interface: &str| node.call("ADD", cluster()).of_pod(&pod).env("CNI_IFNAME", interface);
    add("eth1").networks("red").run().assert_success();
    assert_eq!(node.state("records").len(), 2);
    assert_eq!(pod.links().len(), 4, "{:?}", pod.links());
    let del =
        |interface: &str| node.call("DEL", cluster()).of_pod(&pod).env("CNI_IFNAME", interface);
    node.forget_calls();
    del("eth1").run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL red net2", "DEL cluster eth1"]);
    assert_eq!(pod.links(), ["eth0", "net1"]);
    pod.check().run().assert_success();
    del("eth0").run().assert_success();
    assert_eq!(pod.links(), NOTHING);
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn fault_18_del_needs_no_kubeconfig() {
    let node = node();
    let pod = node.pod("team-a", "web");
    node.write("kubeconfig", "garbage");
    let mut config = cluster();
    config["kubeconfig"] = json!(node.path_text("kubeconfig"));
    // No status is due, so that ADD has nothing to ask either.
    config["statusPolicy"] = json!("never");
    pod.add(config).networks("blue").run().assert_success();
    fs::remove_file(node.path("kubeconfig")).unwrap();
    fs::create_dir(node.path("kubeconfig")).unwrap();
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL blue net1", "DEL cluster eth0"]);
    assert_eq!(pod.links(), NOTHING);
}
