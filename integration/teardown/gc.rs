//! GC tears down what is in no list and keeps what lives.

use std::fs;

use serde_json::{Value, json};

use super::{node, valid_attachments};
use crate::node::{NOTHING, Node};
use crate::pod::Pod;

/// Two pods with blue; the first one is still in use.
fn two_pods(node: &Node) -> (Pod<'_>, Pod<'_>) {
    let (live, stale) = (node.pod("team-a", "live"), node.pod("team-a", "stale"));
    for pod in [&live, &stale] {
        pod.add(node.delegating()).networks("blue").run().assert_success();
    }
    node.forget_calls();
    (live, stale)
}

fn attachment(pod: &Pod<'_>, interface: &str) -> Value {
    json!({"containerID": pod.container, "ifname": interface})
}

#[test]
fn gc_without_a_list_does_nothing() {
    let node = node();
    let (_live, _stale) = two_pods(&node);
    let call = node.call("GC", node.delegating()).with(json!({"cniVersion": "1.1.0"}));
    call.run().assert_error(7, ["cni.dev/valid-attachments"]);
    assert_eq!((node.calls_in_order(), node.state("records").len()), (vec![], 2));
}

#[test]
fn gc_tears_down_what_is_stale_and_keeps_what_lives() {
    let node = node();
    let (live, stale) = two_pods(&node);
    let gc = |list: Value| {
        node.call("GC", node.delegating()).with(valid_attachments(list)).run().assert_success()
    };
    gc(json!([attachment(&live, "eth0")]));
    assert_eq!(node.calls_in_order(), ["DEL blue net1", "DEL primary eth0"]);
    assert!(node.calls().iter().all(|call| call.variable("CNI_CONTAINERID") == stale.container));
    assert_eq!((live.links(), stale.links()), (vec!["net1".to_owned()], vec![]));
    live.check().run().assert_success();
    // Again: nothing to do.
    node.forget_calls();
    gc(json!([attachment(&live, "eth0")]));
    assert_eq!(node.calls_in_order(), NOTHING);
    // The right container with the wrong interface is another attachment.
    gc(json!([attachment(&live, "eth1")]));
    assert_eq!(node.calls_in_order(), ["DEL blue net1", "DEL primary eth0"]);
}

#[test]
fn gc_gives_back_the_addresses_of_pods_whose_namespace_is_gone() {
    let node = Node::new();
    node.define("team-a", "lan", node.bridge("br1", "10.9.0.0/24"));
    let pod = node.pod("team-a", "web");
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    pod.add(config.clone()).networks("lan").run().assert_success();
    pod.lose_netns();
    node.call("GC", config).with(valid_attachments(json!([]))).run().assert_success();
    assert_eq!((node.reservations("cni0"), node.reservations("br1")), (vec![], vec![]));
}

#[test]
fn gc_leaves_other_networks_records_alone() {
    let node = node();
    let (_live, _stale) = two_pods(&node);
    let call = node.call("GC", node.delegating()).with(json!({"name": "other"}));
    call.with(valid_attachments(json!([]))).run().assert_success();
    assert_eq!((node.calls_in_order(), node.state("records").len()), (vec![], 2));
}

#[test]
fn gc_of_each_network_has_the_list_that_it_may_trust() {
    let node = Node::new();
    let mut config = node.delegating();
    config["delegates"][0]["cniVersion"] = json!("1.1.0");
    node.network("blue", json!({"cniVersion": "1.1.0"}));
    node.network("old", json!({"cniVersion": "1.0.0"}));
    let pods =
        [node.pod("team-a", "live"), node.pod("team-a", "other"), node.pod("team-a", "stale")];
    pods[0].add(config.clone()).networks("blue,old,blue@data0").run().assert_success();
    // A pod of another runtime network shares blue: it must be in the list too.
    pods[1]
        .add(config.clone())
        .with(json!({"name": "other"}))
        .networks("blue")
        .run()
        .assert_success();
    pods[2].add(config.clone()).networks("blue").run().assert_success();
    node.forget_calls();
    let list = json!([attachment(&pods[0], "eth0")]);
    node.call("GC", config).with(valid_attachments(list)).run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        ["DEL blue net1", "DEL primary eth0", "GC primary", "GC blue"]
    );
    let listed = |kind: &str| {
        let stdin = node.only_call("GC", kind).stdin().clone();
        assert_eq!(stdin["cni.dev/valid-attachments"], stdin["cni.dev/attachments"]);
        stdin["cni.dev/valid-attachments"].clone()
    };
    assert_eq!(
        listed("primary"),
        json!([attachment(&pods[0], "eth0"), attachment(&pods[1], "eth0")])
    );
    let expected = json!([
        attachment(&pods[0], "data0"),
        attachment(&pods[0], "net1"),
        attachment(&pods[1], "net1")
    ]);
    assert_eq!(listed("blue"), expected);
    assert!(
        node.only_call("GC", "blue")
            .environment()
            .iter()
            .all(|(name, _)| name != "CNI_CONTAINERID")
    );
}

#[test]
fn a_record_that_was_set_aside_keeps_gc_off_the_extra_networks() {
    let node = Node::new();
    node.network("blue", json!({"cniVersion": "1.1.0"}));
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue").run().assert_success();
    node.write("state/aside/x@eth0.1", "garbage");
    fs::set_permissions(
        node.path("state/aside"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    node.forget_calls();
    let gc = || {
        let list = valid_attachments(json!([attachment(&pod, "eth0")]));
        node.call("GC", node.delegating()).with(list).run()
    };
    let outcome = gc();
    outcome.assert_success();
    assert!(outcome.stderr.contains("aside"), "{}", outcome.stderr);
    assert_eq!(node.calls_in_order(), NOTHING);
    fs::remove_file(node.path("state/aside/x@eth0.1")).unwrap();
    gc().assert_success();
    assert_eq!(node.calls_in_order(), ["GC blue"]);
}

#[test]
fn gc_is_switched_off_if_a_network_says_so() {
    let node = Node::new();
    node.recorder("blue");
    let plugins = json!([{"type": "blue"}]);
    let lan = json!({"cniVersion": "1.1.0", "name": "lan", "disableGC": true, "plugins": plugins});
    node.define("team-a", "lan", lan);
    let pod = node.pod("team-a", "web");
    pod.add_chained(json!({})).networks("lan").run().assert_success();
    node.call("GC", json!({}))
        .with(valid_attachments(json!([attachment(&pod, "eth0")])))
        .run()
        .assert_success();
    assert_eq!(node.calls_in_order(), ["ADD blue net1"]);
}

#[test]
fn gc_does_not_touch_a_pod_that_is_being_added() {
    let node = node();
    node.script("red", json!({"ADD": {"wait_for": node.path("go")}}));
    let pod = node.pod("team-a", "web");
    let add = pod.add(node.delegating()).networks("blue,red").start();
    node.wait_for_call("ADD red net2");
    node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run().assert_success();
    node.write("go", "");
    add.wait().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0", "ADD blue net1", "ADD red net2"]);
}
