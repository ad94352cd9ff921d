//! Behind a chained Braid: a pod that has asked for nothing has no record, and gets one.

use serde_json::{Value, json};

use super::braid;
use crate::node::{NOTHING, Node};
use crate::pod::Pod;

/// A node with Braid behind a primary.
fn node() -> Node {
    let node = Node::new();
    let entry = json!({
        "type": "braid", "confDir": node.path("braid.d"), "cniDir": node.path("state"), "binDir": node.path("bin"),
    });
    let chain =
        json!({"cniVersion": "1.0.0", "name": "node", "plugins": [{"type": "primary"}, entry]});
    node.write("net.d/00-braid.conflist", &chain.to_string());
    node.network("blue", json!({"link": true, "addresses": ["10.9.0.2/24"]}));
    node.network("red", json!({"link": true, "addresses": ["10.8.0.2/24"]}));
    node
}

fn running<'n>(node: &'n Node, networks: &str) -> Pod<'n> {
    let pod = node.pod("team-a", "web");
    pod.ip("link add eth0 type veth peer name eth0-peer");
    pod.ip("link set eth0 up");
    pod.add_chained(json!({})).networks(networks).run().assert_success();
    pod
}

/// What libcni writes once a pod's chain has succeeded.
fn cache(pod: &Pod<'_>, more: &Value) {
    let args: Vec<[&str; 2]> = vec![
        ["IgnoreUnknown", "1"],
        ["K8S_POD_NAMESPACE", "team-a"],
        ["K8S_POD_NAME", "web"],
        ["K8S_POD_UID", "uid-web"],
    ];
    let mut cached = json!({
        "kind": "cniCacheV1", "containerId": pod.container, "config": "e30=", "ifName": "eth0",
        "networkName": "node", "cniArgs": args, "result": pod.primary_result(),
    });
    cached.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    pod.node.write(&format!("results/node-{}-eth0", pod.container), &cached.to_string());
}

#[test]
fn a_pod_with_a_record_grows_and_shrinks() {
    let node = node();
    let web = running(&node, "blue");
    braid(&node, &["attach", "team-a/web", "red"]).assert_status(0);
    web.check().prev_result(web.primary_result()).run().assert_success();
    braid(&node, &["detach", "team-a/web", "net1"]).assert_status(0);
    braid(&node, &["detach", "team-a/web", "net2"]).assert_status(0);
    web.check().prev_result(web.primary_result()).run().assert_success();
    braid(&node, &["attach", "team-a/web", "red"]).assert_status(0);
    node.forget_calls();
    web.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL red net1"]);
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn a_pod_that_has_asked_for_nothing_is_found_in_the_runtimes_cache() {
    let node = node();
    for more in [json!({}), json!({"netns": "set below"})] {
        let web = running(&node, "");
        assert_eq!(node.state("records"), NOTHING);
        let said = braid(&node, &["attach", "team-a/web", "blue"]).assert_status(1);
        assert!(said.stderr.contains("no record of \"team-a/web\""), "{}", said.stderr);
        let more = match more["netns"].is_null() {
            true => more,
            false => json!({"netns": web.netns_path(), "result": {"cniVersion": "1.0.0"}}),
        };
        cache(&web, &more);
        braid(&node, &["attach", "team-a/web", "blue"]).assert_status(0);
        assert_eq!(node.state("records").len(), 1);
        web.check().prev_result(web.primary_result()).run().assert_success();
        braid(&node, &["list"]).assert_status(0);
        node.forget_calls();
        web.del().run().assert_success();
        assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
        assert_eq!(node.state("records"), NOTHING);
        std::fs::remove_dir_all(node.path("results")).unwrap();
    }
}

#[test]
fn an_attach_that_fails_leaves_no_record_if_there_was_none() {
    let node = node();
    let web = running(&node, "");
    cache(&web, &json!({}));
    node.script("blue", json!({"ADD": {"error": {"code": 102, "msg": "no more"}}}));
    braid(&node, &["attach", "team-a/web", "blue"]).assert_status(1);
    assert_eq!(node.state("records"), NOTHING);
    web.del().run().assert_success();
}

/// The cache is root's, and a name in it is no path.
#[test]
fn a_cache_that_others_can_write_is_not_read() {
    use std::os::unix::fs::PermissionsExt;
    let node = node();
    let web = running(&node, "");
    cache(&web, &json!({}));
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(node.path("results"), open).unwrap();
    braid(&node, &["attach", "team-a/web", "blue"]).assert_status(1);
    assert_eq!(node.calls_in_order(), NOTHING);
}
