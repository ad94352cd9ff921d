//! DEL and GC of pods that Braid has no record of: never attached, or started by Multus.

use std::fs;

use base64::Engine;
use serde_json::{Value, json};

use super::{failing, node, set_in_events, valid_attachments};
use crate::node::{NOTHING, Node, cluster};
use crate::pod::Pod;

#[test]
fn del_without_add() {
    let node = node();
    let pod = node.pod("team-a", "web");
    let result = pod.primary_result();
    node.call("DEL", json!({})).of_pod(&pod).networks("blue").run().assert_success();
    assert_eq!(node.calls_in_order(), NOTHING, "chained, the primary is the runtime's business");
    assert!(!node.path("state").exists());
    let call = node
        .call("DEL", node.delegating())
        .of_pod(&pod)
        .networks("blue")
        .prev_result(result.clone());
    call.run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
    assert_eq!(node.only_call("DEL", "primary").stdin()["prevResult"], result);
}

/// A pod with a primary, `lan` and `wan`, of which Multus alone knows.
fn pod_of_multus(node: &Node) -> Pod<'_> {
    let pod = node.pod("team-a", "web");
    pod.ip("link add net1 type bridge");
    let encode =
        |config: Value| base64::engine::general_purpose::STANDARD.encode(config.to_string());
    let blue = json!({"cniVersion": "1.0.0", "name": "lan", "type": "blue"});
    let red = json!({"cniVersion": "1.0.0", "name": "wan", "plugins": [{"type": "red"}]});
    let cache = json!([
        {"Conf": {"name": "cluster", "type": "primary"}, "MasterPlugin": true, "Bytes": encode(cluster())},
        {"Conf": {"name": "lan", "type": "blue"}, "Name": "blue", "Bytes": encode(blue)},
        {"Conf": {"name": "wan"}, "Name": "red", "ifnameRequest": "data0", "Bytes": encode(red)},
    ]);
    node.write(&format!("state/{}", pod.container), &cache.to_string());
    pod
}

#[test]
fn del_of_a_pod_that_multus_started() {
    let node = node();
    let pod = pod_of_multus(&node);
    node.script("red", failing(77, "away"));
    let del = || node.call("DEL", node.delegating()).of_pod(&pod).run();
    del().assert_error(77, ["away"]);
    assert_eq!(node.calls_in_order(), ["DEL red data0", "DEL blue net1", "DEL primary eth0"]);
    assert_eq!(node.only_call("DEL", "blue").stdin()["name"], "lan");
    assert_eq!(pod.links(), NOTHING);
    assert!(
        !node.path("state").join(&pod.container).exists(),
        "multus would tear down again what is gone"
    );
    assert_eq!(node.state("records").len(), 1, "a record stays until all is gone");
    node.script("red", json!({}));
    node.forget_calls();
    del().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL red data0"]);
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn an_extra_network_of_a_pod_that_multus_started_is_given_up_as_any_other() {
    let node = node();
    let pod = pod_of_multus(&node);
    node.script("red", failing(77, "away"));
    let del = |limit: &str| {
        node.call("DEL", node.delegating()).with(json!({"deleteGiveUp": limit})).of_pod(&pod).run()
    };
    del("15m").assert_error(77, ["away"]);
    set_in_events(&node, &pod, "/resisting/uptime", json!(0));
    del("1s").assert_success();
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (0, 1));
    node.script("red", json!({}));
    node.forget_calls();
    node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL red data0"]);
    assert_eq!(node.state("orphans"), NOTHING);
}

/// If no record can be written, Multus's own is gone by, and stays as long as something is left.
#[test]
fn del_of_a_pod_that_multus_started_with_no_place_for_a_record() {
    let node = node();
    let pod = pod_of_multus(&node);
    node.write("state/records", "no directory");
    node.script("red", failing(77, "away"));
    let del = || node.call("DEL", node.delegating()).of_pod(&pod).run();
    del().assert_error(77, ["away"]);
    assert!(node.path("state").join(&pod.container).exists());
    node.script("red", json!({}));
    del().assert_success();
    assert!(!node.path("state").join(&pod.container).exists());
}

/// The node's primary may be another by now, and libcni has kept what the plugins need.
#[test]
fn del_of_a_pod_that_multus_started_runs_the_primary_that_multus_ran() {
    let node = node();
    node.recorder("before");
    let pod = node.pod("team-a", "web");
    let before = json!({
        "cniVersion": "1.0.0", "name": "before", "plugins": [{"type": "before", "capabilities": {"portMappings": true}}],
    });
    let encoded = base64::engine::general_purpose::STANDARD.encode(before.to_string());
    node.write(
        &format!("state/{}", pod.container),
        &json!([{"Name": "", "Bytes": encoded}]).to_string(),
    );
    let ports = json!([{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]);
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.2/24"}]});
    let cached = json!({
        "kind": "cniCacheV1", "containerId": pod.container, "config": "", "ifName": "eth0", "networkName": "before",
        "cniArgs": [["IgnoreUnknown", "1"], ["MAC", "02:00:00:00:00:0a"]],
        "capabilityArgs": {"portMappings": ports}, "result": result,
    });
    let results = format!("state/results/before-{}-eth0", pod.container);
    node.write(&results, &cached.to_string());
    node.call("DEL", node.delegating()).of_pod(&pod).run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL before eth0"]);
    let call = node.only_call("DEL", "before");
    assert_eq!(
        (&call.stdin()["prevResult"], &call.stdin()["runtimeConfig"]["portMappings"]),
        (&result, &ports)
    );
    assert_eq!(call.variable("CNI_ARGS"), "IgnoreUnknown=1;MAC=02:00:00:00:00:0a");
    assert!(!node.path(&results).exists());
}

#[test]
fn a_record_of_multus_that_is_broken_is_set_aside_and_the_pod_can_go() {
    let node = node();
    for (number, content) in ["", "[", "[1]", "[{}, {\"Bytes\": \"!\"}]"].into_iter().enumerate() {
        let pod = node.pod("team-a", "web");
        node.write(&format!("state/{}", pod.container), content);
        let outcome = node.call("DEL", node.delegating()).of_pod(&pod).run();
        outcome.assert_success();
        assert!(outcome.stderr.contains("multus's record"), "{}", outcome.stderr);
        assert_eq!(node.calls_in_order().len(), number + 1, "the primary's DEL is run");
        let kept = fs::read_to_string(node.path(&format!("state/{}.unreadable", pod.container)));
        assert_eq!(kept.unwrap(), content);
    }
}
