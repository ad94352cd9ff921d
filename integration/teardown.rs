//! DEL, GC and CHECK from the ledger; ADDs that fail, are killed or are stopped; a state directory
//! that is broken, full or read-only.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::call::Outcome;
use crate::node::{Node, cluster, text};
use crate::pod::Pod;

const NOTHING: [&str; 0] = [];

/// A node with networks blue and red of team-a, each with a real interface, beside a recorded
/// primary.
pub(crate) fn node() -> Node {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.8.0.2/24"], "link": true}));
    node.network("red", json!({"addresses": ["10.9.0.2/24"], "link": true}));
    node
}

/// A pod of that node with both networks.
pub(crate) fn pod_with_both(node: &Node) -> Pod<'_> {
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue,red").run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0", "ADD blue net1", "ADD red net2"]);
    node.forget_calls();
    pod
}

pub(crate) const ALL_DELETED: [&str; 3] = ["DEL red net2", "DEL blue net1", "DEL primary eth0"];

fn failing(code: u64, message: &str) -> Value {
    json!({"DEL": {"error": {"code": code, "msg": message}}})
}

pub(crate) fn valid_attachments(list: Value) -> Value {
    json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list})
}

// DEL.

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
fn an_extra_network_that_resists_for_too_long_becomes_an_orphan_that_gc_tries_again() {
    let node = node();
    let pod = pod_with_both(&node);
    node.script("blue", failing(77, "switch is away"));
    let del = || pod.del().with(json!({"deleteGiveUp": "2s"})).run();
    del().assert_error(77, ["switch is away"]);
    std::thread::sleep(Duration::from_millis(3100)); // whole seconds are counted
    let given_up = del();
    given_up.assert_success();
    assert!(given_up.stderr.contains("switch is away"), "{}", given_up.stderr);
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (0, 1));
    let gc = || node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run();
    gc().assert_error(77, ["switch is away"]);
    assert_eq!(node.state("orphans").len(), 1);
    node.script("blue", json!({}));
    node.forget_calls();
    gc().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
    assert_eq!((node.state("orphans").len(), pod.links()), (0, vec![]));
}

/// What was counted is changed in the pod's record, as another clock or another boot would have
/// left it.
fn set_in_events(node: &Node, pod: &Pod<'_>, pointer: &str, value: Value) {
    let file = node.path("state/records").join(format!("{}@eth0", pod.container));
    let content = fs::read_to_string(&file).unwrap();
    let (plan, events) = content.split_once('\n').unwrap();
    let rewritten = events.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        if let Some(known) = event.pointer_mut(pointer) {
            *known = value.clone();
        }
        let event = event.to_string();
        format!("{:08x} {event}\n", crc32fast::hash(event.as_bytes()))
    });
    fs::write(&file, format!("{plan}\n{}", rewritten.collect::<String>())).unwrap();
}

#[test]
fn a_clock_that_is_set_neither_gives_a_network_up_nor_keeps_it() {
    let node = node();
    let pod = pod_with_both(&node);
    node.script("blue", failing(77, "switch is away"));
    let del = |limit: &str| pod.del().with(json!({"deleteGiveUp": limit})).run();
    let set = |pointer, value| set_in_events(&node, &pod, pointer, value);
    del("15m").assert_error(77, ["switch is away"]);
    // The clock goes forward by fifty years, then back by a hundred.
    set("/failing", json!(1));
    del("15m").assert_error(77, ["switch is away"]);
    set("/failing", json!(9_999_999_999_u64));
    del("24h").assert_error(77, ["switch is away"]);
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (1, 0));
    // The node was started just now, and long ago it had counted for long.
    set("/resisting/uptime", json!(0));
    set("/resisting/boot", json!("00000000-0000-4000-8000-000000000000"));
    del("1s").assert_error(77, ["switch is away"]);
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (1, 0));
    // What counts is for how long the node has run.
    set("/resisting/uptime", json!(0));
    del("1s").assert_success();
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (0, 1));
}

#[test]
fn an_orphan_that_cannot_be_read_is_set_aside_and_told_of() {
    let node = node();
    let pod = pod_with_both(&node);
    node.script("blue", failing(77, "switch is away"));
    pod.del().with(json!({"deleteGiveUp": 0})).run().assert_success();
    let orphan = node.path("state/orphans").join(node.state("orphans").remove(0));
    fs::write(&orphan, "torn").unwrap();
    let gc = || node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run();
    gc().assert_error(5, ["orphans/", "its first line is not whole", "was set aside"]);
    gc().assert_success();
    assert_eq!((node.state("orphans").len(), node.state("aside").len()), (0, 1));
}

#[test]
fn the_primary_is_never_given_up() {
    let node = node();
    let pod = pod_with_both(&node);
    node.script("primary", failing(77, "agent is away"));
    for _ in 0..3 {
        pod.del().with(json!({"deleteGiveUp": 0})).run().assert_error(77, ["agent is away"]);
    }
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (1, 0));
}

#[test]
fn with_retry_delete_on_error_off_the_record_goes_at_once_and_an_orphan_stays() {
    let node = node();
    let pod = pod_with_both(&node);
    node.script("blue", failing(77, "switch is away"));
    pod.del().with(json!({"retryDeleteOnError": false})).run().assert_error(77, ["switch is away"]);
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (0, 1));
}

/// containerd takes these words for a DEL that succeeded.
#[track_caller]
pub(crate) fn assert_not_taken_for_success(outcome: &Outcome) {
    assert!(!outcome.status.success());
    let printed = outcome.json().to_string().to_lowercase();
    for words in ["not found", "no such file or directory"] {
        assert!(!printed.contains(words), "{printed}");
    }
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

/// Where no record can be written, Multus's own is gone by, and stays as long as something is left.
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

// ADD that does not come to its end.

#[test]
fn an_add_that_fails_in_the_middle_is_undone_in_reverse_the_failing_one_included() {
    let node = node();
    node.network("green", json!({}));
    node.script("red", json!({"ADD": {"link": true, "error": {"code": 42, "msg": "too late"}}}));
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue,red,green").run().assert_error(42, ["too late"]);
    assert_eq!(node.calls_in_order()[..3], ["ADD primary eth0", "ADD blue net1", "ADD red net2"]);
    assert_eq!(node.calls_in_order()[3..], ALL_DELETED);
    assert_eq!(pod.links(), NOTHING);
    assert_eq!(node.leftovers(&before), NOTHING);
    // And the runtime's DEL after it finds nothing left of the extras.
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
}

#[test]
fn an_add_whose_undoing_fails_leaves_the_rest_to_del() {
    let node = node();
    node.script("red", json!({"ADD": {"error": {"code": 42, "msg": "no"}}}));
    node.script("blue", failing(77, "switch is away"));
    let pod = node.pod("team-a", "web");
    let error = pod.add(node.delegating()).networks("blue,red").run().assert_error(42, ["no"]);
    assert!(text(&error["details"]).contains("switch is away"), "{error:?}");
    assert_eq!(node.state("records").len(), 1);
    node.script("blue", json!({}));
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

fn is_alive(process: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().unwrap_or_default().trim().chars().next();
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

fn assert_dies(process: u64) {
    for _ in 0..200 {
        if !is_alive(process) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("process {process} lives on");
}

#[test]
fn an_add_after_a_killed_one_tears_that_down_first() {
    let node = node();
    node.script("red", json!({"ADD": {"link": true, "sleep_ms": 60_000}}));
    let pod = node.pod("team-a", "web");
    let killed = pod.add(node.delegating()).networks("blue,red").start();
    let red = node.wait_for_call("ADD red net2");
    killed.signal(Signal::SIGKILL);
    assert!(!killed.wait().status.success());
    assert_dies(red.process());
    assert_eq!(node.state("records").len(), 1);
    node.script("red", json!({}));
    node.forget_calls();
    pod.add(node.delegating()).networks("red").run().assert_success();
    assert_eq!(node.calls_in_order()[..3], ALL_DELETED);
    assert_eq!(node.calls_in_order()[3..], ["ADD primary eth0", "ADD red net1"]);
    assert_eq!(pod.links(), ["net1"]);
    pod.del().run().assert_success();
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

#[test]
fn del_after_a_killed_add() {
    let node = node();
    node.script("primary", json!({"ADD": {"sleep_ms": 60_000}}));
    let pod = node.pod("team-a", "web");
    let killed = pod.add(node.delegating()).networks("blue,red").start();
    let primary = node.wait_for_call("ADD primary eth0");
    killed.signal(Signal::SIGKILL);
    killed.wait();
    assert_dies(primary.process());
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!((node.state("records").len(), node.state("locks").len()), (0, 0));
}

#[test]
fn an_add_that_is_asked_to_stop_undoes() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let node = node();
        node.script("red", json!({"ADD": {"link": true, "sleep_ms": 60_000}}));
        let pod = node.pod("team-a", "web");
        let call = pod.add(node.delegating()).networks("blue,red").start();
        let red = node.wait_for_call("ADD red net2");
        std::thread::sleep(Duration::from_millis(100)); // its interface is there
        call.signal(signal);
        let outcome = call.wait();
        outcome.assert_error(11, ["asked to stop"]);
        assert_dies(red.process());
        assert_eq!(node.calls_in_order()[3..], ALL_DELETED);
        assert_eq!((pod.links(), node.state("records").len()), (vec![], 0));
    }
}

#[test]
fn a_second_add_of_a_pod_that_has_its_networks_is_refused() {
    let node = node();
    let pod = pod_with_both(&node);
    let again = node.call("ADD", node.delegating()).of_pod(&pod).networks("blue");
    again.run().assert_error(7, ["call DEL first"]);
    assert_eq!(node.calls_in_order(), NOTHING);
    pod.check().run().assert_success();
}

#[test]
fn a_container_whose_sandbox_was_made_anew_is_attached_anew() {
    let node = node();
    let pod = pod_with_both(&node);
    let _other = pod.replace_netns();
    let again = node.call("ADD", node.delegating()).of_pod(&pod).networks("blue");
    again.run().assert_success();
    assert_eq!(node.calls_in_order()[..3], ALL_DELETED);
    assert_eq!(node.calls_in_order()[3..], ["ADD primary eth0", "ADD blue net1"]);
    assert_eq!(pod.links(), ["net1"]);
}

// Records and their directory.

/// Spoils the one record.
fn spoil(node: &Node, how: impl Fn(Vec<u8>) -> Vec<u8>) {
    let path = node.path("state/records").join(node.state("records").remove(0));
    let content = fs::read(&path).unwrap();
    fs::write(&path, how(content)).unwrap();
}

#[test]
fn a_record_that_cannot_be_read_is_set_aside_and_del_goes_on_without_it() {
    let spoilers: [fn(Vec<u8>) -> Vec<u8>; 5] = [
        |_| Vec::new(),
        |_| b"garbage\n".to_vec(),
        |content| content[..content.len() / 8].to_vec(),
        |content| [&content[..20], b"X", &content[21..]].concat(),
        |_| b"00000000 {}\n".to_vec(),
    ];
    for spoiler in spoilers {
        let node = node();
        let pod = pod_with_both(&node);
        spoil(&node, spoiler);
        let outcome = pod.del().run();
        outcome.assert_success();
        assert!(outcome.stderr.contains("was set aside"), "{}", outcome.stderr);
        assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
        assert_eq!((node.state("records").len(), node.state("aside").len()), (0, 1));
    }
}

/// A name of the state directory's file system behind which something else is, until it is dropped.
struct Covered(PathBuf);

impl Covered {
    /// The kernel answers EIO to who reads the memory of a process at 0, as it does for a disk that
    /// is broken.
    fn by_a_broken_disk(path: PathBuf) -> Self {
        run(
            "mount",
            &["--bind", &format!("/proc/{}/mem", std::process::id()), path.to_str().unwrap()],
        );
        Self(path)
    }
}

impl Drop for Covered {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    assert!(
        std::process::Command::new(program).args(arguments).status().unwrap().success(),
        "{program}"
    );
}

#[test]
fn a_record_in_whose_place_something_else_is_is_set_aside_and_del_goes_on_without_it() {
    let makers: [fn(&Path); 3] = [
        |path| fs::create_dir(path).unwrap(),
        |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
    ];
    for make in makers {
        let node = node();
        let pod = pod_with_both(&node);
        let other = node.pod("team-a", "other");
        other.add(node.delegating()).networks("blue").run().assert_success();
        node.forget_calls();
        let record = node.path("state/records").join(format!("{}@eth0", pod.container));
        fs::remove_file(&record).unwrap();
        make(&record);
        let outcome = pod.del().run();
        outcome.assert_success();
        assert!(outcome.stderr.contains("was set aside"), "{}", outcome.stderr);
        assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
        assert_eq!((node.state("records").len(), node.state("aside").len()), (1, 1));
        // So does GC, which goes on with the others.
        make(&record);
        let gc = node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run();
        gc.assert_error(5, ["was set aside"]);
        assert_eq!((node.state("records").len(), node.state("aside").len()), (0, 2));
    }
}

#[test]
fn a_record_on_a_part_of_the_disk_that_is_broken_holds_nothing_up() {
    let node = node();
    let pod = pod_with_both(&node);
    let record = node.path("state/records").join(node.state("records").remove(0));
    let broken = Covered::by_a_broken_disk(record);
    let outcome = pod.del().run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("Input/output error"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("could not be set aside"), "{}", outcome.stderr);
    assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
    let gc = node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run();
    gc.assert_error(5, ["could not be set aside"]);
    // The record is there still: what can be read of it later is torn down then.
    drop(broken);
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
}

/// 33 definitions of 1 MB made a record that no DEL could read.
#[test]
fn networks_that_are_too_large_for_a_record_are_refused_and_the_largest_that_are_not_are_torn_down()
{
    let node = node();
    for (name, bytes) in [("large", 1_000_000), ("small", 120_000)] {
        node.define(
            "team-a",
            name,
            json!({"type": "blue", "link": true, "filler": "x".repeat(bytes)}),
        );
    }
    let pod = node.pod("team-a", "web");
    let config = || {
        let mut config = node.delegating();
        config["maxNetworks"] = json!(33);
        config
    };
    let refused = pod.add(config()).networks(&vec!["large"; 33].join(",")).run();
    refused.assert_error(7, ["more than 4 MiB of configuration together", "\"team-a/large\""]);
    assert_eq!((node.calls_in_order().len(), node.state("records").len()), (0, 0));
    pod.add(config()).networks(&vec!["small"; 33].join(",")).run().assert_success();
    assert_eq!(pod.links().len(), 33);
    pod.del().run().assert_success();
    assert_eq!((pod.links(), node.state("records").len()), (vec![], 0));
}

#[test]
fn a_record_whose_last_lines_are_cut_is_enough_to_tear_down() {
    let node = node();
    let pod = pod_with_both(&node);
    spoil(&node, |content| {
        let first = content.iter().position(|byte| *byte == b'\n').unwrap();
        content[..first + 10].to_vec()
    });
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
}

#[test]
fn records_are_roots_alone() {
    use std::os::unix::fs::MetadataExt;
    let node = node();
    let _pod = pod_with_both(&node);
    let mode = |path: &Path| path.symlink_metadata().unwrap().mode() & 0o777;
    let record = node.path("state/records").join(node.state("records").remove(0));
    assert_eq!(
        (mode(&node.path("state")), mode(&node.path("state/records")), mode(&record)),
        (0o700, 0o700, 0o600)
    );
}

#[test]
fn a_state_directory_that_others_can_write_is_not_used() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    for linked in [true, false] {
        let node = node();
        if linked {
            fs::create_dir(node.path("elsewhere")).unwrap();
            symlink(node.path("elsewhere"), node.path("state")).unwrap();
        } else {
            fs::create_dir(node.path("state")).unwrap();
            fs::set_permissions(node.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let pod = node.pod("team-a", "web");
        pod.add(node.delegating()).networks("blue").run().assert_error(5, ["state directory"]);
        assert_eq!(node.calls_in_order(), NOTHING);
        pod.add(node.delegating()).run().assert_success();
        assert_eq!(node.dump().iter().filter(|line| line.contains("file state")).count(), 0);
    }
}

/// Nothing can be written to the state directory: a plain pod starts and goes, an extra network is
/// refused before anything happens.
pub(crate) fn assert_only_plain_pods_start(node: &Node) {
    let plain = node.pod("team-a", "plain");
    let started = plain.add(node.delegating()).run();
    started.assert_success();
    assert!(started.stderr.contains("unrecorded"), "{}", started.stderr);
    plain.check().run().assert_success();
    plain.del().run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        ["ADD primary eth0", "CHECK primary eth0", "DEL primary eth0"]
    );
    node.forget_calls();
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue").run().assert_error(5, ["pod team-a/web", "state"]);
    assert_eq!((node.calls_in_order(), pod.links()), (vec![], vec![]));
    node.pod("team-a", "chained").add_chained(json!({})).run().assert_success();
}

#[test]
fn a_read_only_state_directory() {
    let node = node();
    node.mount("state", "mode=0700");
    let pod = pod_with_both(&node);
    node.remount("state", "ro");
    assert_only_plain_pods_start(&node);
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!(pod.links(), NOTHING);
    // What could not be written then is made good by GC.
    node.remount("state", "rw");
    node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run().assert_success();
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn a_full_state_directory() {
    let node = node();
    node.mount("state", "mode=0700,size=64k");
    let pod = pod_with_both(&node);
    let filled = fs::write(node.path("state/filler"), vec![0; 1 << 20]);
    assert!(filled.is_err(), "the disk takes more than it should");
    assert_only_plain_pods_start(&node);
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

#[test]
fn a_state_directory_without_inodes() {
    let node = node();
    node.mount("state", "mode=0700,nr_inodes=1");
    assert_only_plain_pods_start(&node);
}

#[test]
fn a_disk_that_fills_up_during_add_undoes_it() {
    let node = node();
    node.mount("state", "mode=0700,size=64k");
    let filler = node.path_text("state/filler");
    node.script(
        "blue",
        json!({"ADD": {"shell": format!("head -c 1M /dev/zero > {filler} 2>/dev/null; true")}}),
    );
    let long = json!({"cniVersion": "1.0.0", "note": "x".repeat(8192)});
    node.script("red", json!({"ADD": {"link": true, "result": long}}));
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue,red").run().assert_error(5, ["cannot append to"]);
    assert_eq!(node.calls_in_order()[3..], ALL_DELETED);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

// GC.

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
fn gc_is_switched_off_where_a_network_says_so() {
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

// STATUS.

#[test]
fn status_is_the_primarys_own() {
    let node = node();
    let mut config = node.delegating();
    config["delegates"][0]["cniVersion"] = json!("1.1.0");
    let status = || node.call("STATUS", config.clone()).with(json!({"cniVersion": "1.1.0"})).run();
    status().assert_success();
    assert_eq!(node.calls_in_order(), ["STATUS primary"]);
    for (code, expected) in [(50, 50), (51, 51), (11, 50), (999, 50)] {
        node.script("primary", json!({"STATUS": {"error": {"code": code, "msg": "no leases"}}}));
        status().assert_error(expected, ["no leases", "cluster"]);
    }
    fs::remove_file(node.path("bin/primary")).unwrap();
    status().assert_error(50, ["plugin \"primary\" is not installed"]);
}

#[test]
fn status_of_a_primary_that_is_not_there_yet_is_50_and_of_a_chained_braid_fine() {
    let node = node();
    let status =
        |config: Value| node.call("STATUS", config).with(json!({"cniVersion": "1.1.0"})).run();
    status(json!({"clusterNetwork": "auto"})).assert_error(50, ["no primary network in"]);
    status(json!({})).assert_success();
    // A primary older than STATUS is ready.
    status(node.delegating()).assert_success();
    assert_eq!(node.calls_in_order(), NOTHING);
}

// CHECK.

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
fn check_is_switched_off_where_a_network_says_so() {
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
