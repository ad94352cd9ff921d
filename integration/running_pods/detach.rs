//! `braid detach`.

use serde_json::json;

use super::{attach, braid, detach, must_end_clean, must_have, node, running};
use crate::node::NOTHING;
use crate::operator::records::primary;

#[test]
fn what_the_annotation_asked_for_at_the_start_is_detached() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue,red@data0");
    node.forget_calls();
    let said = detach(&node, "net1").assert_status(0);
    assert_eq!(said.stdout, "detached: team-a/blue on net1\n");
    assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
    must_have(&web, &["eth0", "data0"]);
    detach(&node, "data0").assert_status(0);
    must_have(&web, &["eth0"]);
    attach(&node, &["green"]).assert_status(0);
    must_have(&web, &["eth0", "net1"]);
    must_end_clean(&web, &before);
}

#[test]
fn the_primary_cannot_be_detached_nor_what_is_not_there() {
    let node = node();
    let web = running(&node, "blue");
    node.forget_calls();
    let said = detach(&node, "eth0").assert_status(1);
    assert!(
        said.stderr.contains("network \"cluster\" on eth0 is the pod's primary network"),
        "{}",
        said.stderr
    );
    let said = detach(&node, "net7").assert_status(1);
    assert!(
        said.stderr.contains(
            "no network is attached on \"net7\"; braid has attached cluster \
                                  on eth0, team-a/blue on net1"
        ),
        "{}",
        said.stderr
    );
    assert_eq!(node.calls_in_order(), NOTHING);
    must_have(&web, &["eth0", "net1"]);
}

/// DEL of the pod has it again, and CHECK does not miss it.
#[test]
fn a_detach_that_fails_is_left_to_the_next_one_and_to_del() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue,red");
    node.script("blue", json!({"DEL": {"error": {"code": 102, "msg": "no such luck"}}}));
    let said = detach(&node, "net1").assert_status(1);
    assert!(said.stderr.contains("no such luck"), "{}", said.stderr);
    web.check().run().assert_success();
    braid(&node, &["list"]).assert_status(0);
    let said = detach(&node, "net1").assert_status(1);
    assert!(said.stderr.contains("no such luck"), "{}", said.stderr);
    node.script("blue", json!({}));
    detach(&node, "net1").assert_status(0);
    must_have(&web, &["eth0", "net2"]);
    must_end_clean(&web, &before);
}

/// Records of sandboxes that are gone are DEL's and GC's.
#[test]
fn a_pod_whose_sandbox_is_gone_or_that_is_being_deleted_is_left_to_del() {
    let node = node();
    let web = running(&node, "blue");
    node.script("blue", json!({"DEL": {"error": {"code": 102, "msg": "broken"}}}));
    web.del().run().assert_error(102, ["broken"]);
    let said = attach(&node, &["red"]).assert_status(3);
    assert!(
        said.stderr.contains("is being deleted: its networks are left to DEL"),
        "{}",
        said.stderr
    );
    detach(&node, "net1").assert_status(3);
    node.script("blue", json!({}));
    let gone = crate::operator::records::attached(&node, "gone", "blue");
    gone.lose_netns();
    let said = braid(&node, &["detach", "team-a/gone", "net1"]).assert_status(1);
    assert!(said.stderr.contains("is gone: braid gc tears down what is left"), "{}", said.stderr);
    web.del().run().assert_success();
}

/// GC of a runtime that has the pod leaves what was attached, and one that has it no more takes it.
#[test]
fn gc_knows_what_was_attached() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue");
    attach(&node, &["red"]).assert_status(0);
    let gc = |valid: serde_json::Value| {
        let config = json!({"cniVersion": "1.1.0", "delegates": [primary()], "cni.dev/valid-attachments": valid});
        node.call("GC", config).run().assert_success()
    };
    gc(json!([{"containerID": web.container, "ifname": "eth0"}]));
    must_have(&web, &["eth0", "net1", "net2"]);
    detach(&node, "net1").assert_status(0);
    gc(json!([{"containerID": web.container, "ifname": "eth0"}]));
    must_have(&web, &["eth0", "net2"]);
    node.forget_calls();
    gc(json!([]));
    assert!(
        node.calls_in_order().contains(&"DEL red net2".to_owned()),
        "{:?}",
        node.calls_in_order()
    );
    assert_eq!(node.leftovers(&before), NOTHING);
}
