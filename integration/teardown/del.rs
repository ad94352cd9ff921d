//! DEL follows the record: idempotent, in reverse, past failures, in namespaces that are gone.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ALL_DELETED, assert_not_taken_for_success, failing, node, pod_with_both};
use crate::node::{NOTHING, Node};

#[test]
fn del_as_containerd_calls_it_twice() {
    let node = node();
    let before = node.dump();
    let pod = pod_with_both(&node);
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!(pod.links(), NOTHING);
    assert_eq!(node.leftovers(&before), NOTHING);
    // The sandbox is removed: neither namespace nor result. Only the primary, of which we know no
    // record, hears of it.
    node.forget_calls();
    pod.del().env("CNI_NETNS", "").with(json!({"prevResult": null})).run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
    assert_eq!(node.only_call("DEL", "primary").variable("CNI_NETNS"), "");
}

#[test]
fn del_without_a_namespace_in_the_request_uses_the_recorded_one() {
    let node = node();
    let pod = pod_with_both(&node);
    pod.del().without("CNI_NETNS").run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!(pod.links(), NOTHING);
}

#[test]
fn del_of_a_namespace_that_is_gone() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    node.define("team-a", "lan", node.bridge("br1", "10.9.0.0/24"));
    let primary = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    pod.add(primary).networks("lan").run().assert_success();
    assert_eq!((node.reservations("cni0").len(), node.reservations("br1").len()), (1, 1));
    pod.lose_netns();
    pod.del().run().assert_success();
    assert_eq!((node.reservations("cni0"), node.reservations("br1")), (vec![], vec![]));
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn del_of_a_path_that_leads_elsewhere_touches_nothing_there() {
    let node = node();
    let pod = pod_with_both(&node);
    let other = pod.replace_netns();
    for name in ["eth0", "net1", "net2"] {
        other.ip(&format!("link add {name} type bridge"));
    }
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert!(node.calls().iter().all(|call| call.variable("CNI_NETNS").is_empty()));
    assert_eq!(pod.links(), ["eth0", "net1", "net2"]);
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn del_with_a_path_that_is_no_namespace() {
    let node = node();
    for path in ["/etc/passwd", "/dev/null", "/nowhere/at/all"] {
        let pod = node.pod("team-a", "web");
        pod.add(node.delegating()).networks("blue").run().assert_success();
        pod.del().env("CNI_NETNS", path).run().assert_success();
        assert_eq!(pod.links(), NOTHING, "{path}: the recorded one is there");
        node.call("DEL", node.delegating())
            .of_pod(&pod)
            .env("CNI_NETNS", path)
            .run()
            .assert_success();
    }
}

#[test]
fn del_follows_the_record_whatever_the_configuration_says_now() {
    let node = node();
    node.recorder("newer");
    let newer = json!({"delegates": [{"cniVersion": "1.0.0", "name": "newer", "type": "newer"}]});
    let chained = json!({"delegates": null, "prevResult": null});
    let absent = json!({"delegates": null, "clusterNetwork": "auto"});
    for now in [newer, chained, absent] {
        let pod = pod_with_both(&node);
        fs::rename(node.path("braid.d"), node.path("braid.d.away")).unwrap();
        pod.del()
            .with(now)
            .runtime_config("io.kubernetes.cri.pod-annotations", Value::Null)
            .run()
            .assert_success();
        fs::rename(node.path("braid.d.away"), node.path("braid.d")).unwrap();
        assert_eq!(node.calls_in_order(), ALL_DELETED);
        node.forget_calls();
    }
}

#[test]
fn del_goes_past_failures_says_what_remains_and_finishes_the_rest_later() {
    let node = node();
    let pod = pod_with_both(&node);
    node.script("blue", failing(77, "switch is away"));
    let said =
        ["pod team-a/web", "1 of 3 networks", "network \"team-a/blue\" on net1", "switch is away"];
    pod.del().run().assert_error(77, said);
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!(node.state("records").len(), 1);
    node.forget_calls();
    node.script("blue", json!({}));
    pod.del().env("CNI_NETNS", "").run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

#[test]
fn several_failures_are_one_error() {
    let node = node();
    let pod = pod_with_both(&node);
    node.script("blue", failing(77, "blue is away"));
    node.script("primary", failing(78, "primary is away"));
    pod.del().run().assert_error(102, ["2 of 3 networks", "blue is away", "primary is away"]);
}

#[test]
fn a_plugin_of_a_chain_that_fails_does_not_keep_the_others_from_deleting() {
    let node = Node::new();
    node.recorders(["one", "two", "three"]);
    let plugins = json!([{"type": "one"}, {"type": "two"}, {"type": "three"}]);
    node.define("team-a", "lan", json!({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins}));
    node.script("two", failing(77, "no"));
    let pod = node.pod("team-a", "web");
    pod.add_chained(json!({})).networks("lan").run().assert_success();
    node.forget_calls();
    pod.del().run().assert_error(77, ["plugin \"two\": no"]);
    assert_eq!(node.calls_in_order(), ["DEL three net1", "DEL two net1", "DEL one net1"]);
}

#[test]
fn no_error_of_del_reads_as_success() {
    let node = node();
    let answers = [
        json!({"error": {"code": 5, "msg": "Link Not Found", "details": "open /x: No such file or directory"}}),
        json!({"error": {"code": 5, "msg": "link not\nfound: no such file\tor directory"}}),
        json!({"error": {"code": 5, "msg": "not not foundfound"}}),
        json!({"stdout": "", "stderr": "stat /x: no such file or directory", "exit": 1}),
        json!({"stdout": "netns not found", "exit": 1}),
    ];
    for answer in answers {
        let pod = node.pod("team-a", "web");
        node.script("blue", json!({"DEL": answer}));
        pod.add(node.delegating()).networks("blue").run().assert_success();
        assert_not_taken_for_success(&pod.del().run());
        node.script("blue", json!({}));
        pod.del().run().assert_success();
    }
}

#[test]
fn no_error_of_a_del_that_is_wrong_itself_reads_as_success() {
    let node = node();
    let pod = node.pod("team-a", "web");
    let del = |more: Value| node.call("DEL", node.delegating()).of_pod(&pod).with(more);
    for more in [
        json!({"name": "not found"}),
        json!({"cniDir": "no such file or directory"}),
        json!({"cniVersion": "not found"}),
        json!({"clusterNetwork": "/not found/x.conf"}),
        json!({"clusterNetwork": "/nowhere/x.conf"}),
        json!({"clusterNetwork": "not found/x"}),
    ] {
        assert_not_taken_for_success(&del(more).run());
    }
    assert_not_taken_for_success(&del(json!({})).env("CNI_IFNAME", "not found").run());
    assert_not_taken_for_success(&del(json!({})).input("not found").run());
}

#[test]
fn del_with_a_plugin_that_is_gone_says_so_and_the_rest_is_torn_down() {
    let node = node();
    let pod = pod_with_both(&node);
    fs::remove_file(node.path("bin/blue")).unwrap();
    let outcome = pod.del().run();
    outcome.assert_error(7, ["plugin \"blue\" is not installed"]);
    assert_not_taken_for_success(&outcome);
    assert_eq!(node.calls_in_order(), ["DEL red net2", "DEL primary eth0"]);
}

#[test]
fn del_does_not_wait_for_ever_for_a_plugin_that_hangs() {
    let node = node();
    let pod = pod_with_both(&node);
    node.script("blue", json!({"DEL": {"sleep_ms": 60_000}}));
    let outcome = pod.del().with(json!({"delegateTimeout": "2s"})).run();
    outcome.assert_error(11, ["did not end within"]);
    assert!(outcome.took < Duration::from_secs(30), "{:?}", outcome.took);
    assert_eq!(node.calls_in_order(), ALL_DELETED);
}

#[test]
fn del_waits_for_an_add_that_is_under_way() {
    let node = node();
    node.script("red", json!({"ADD": {"wait_for": node.path("go")}}));
    let pod = node.pod("team-a", "web");
    let add = pod.add(node.delegating()).networks("blue,red").start();
    node.wait_for_call("ADD red net2");
    let del = node.call("DEL", node.delegating()).of_pod(&pod).start();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(node.calls_in_order().len(), 3, "{:?}", node.calls_in_order());
    node.write("go", "");
    add.wait().assert_success();
    del.wait().assert_success();
    assert_eq!(node.calls_in_order()[3..], ALL_DELETED);
    assert_eq!(node.state("records"), NOTHING);
}
