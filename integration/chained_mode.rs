//! Braid chained behind a primary, and where configuration and request disagree on the mode.

use serde_json::json;

use crate::call::addresses;
use crate::chain::Chain;
use crate::node::{NOTHING, Node};

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
