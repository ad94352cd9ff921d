//! What runtimes do beyond the letter of the specification: containerd calls DEL twice and with the
//! configuration of the day, CRI-O runs CHECK right after ADD and kills a DEL after a minute, and
//! both have pods from before Braid was there.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::call::Call;
use crate::chain::Chain;
use crate::node::{Node, PLUGIN_DIR};
use crate::pod::Pod;

const NOTHING: [&str; 0] = [];

/// CRI-O kills a DEL after this long, and does not come back.
const CRIO_KILLS_AFTER: Duration = Duration::from_secs(60);

/// A node with real bridges, dual stack: the primary `cni0` in `net.d`, and `br1`, which is `lan`
/// of team-a.
fn real_node() -> Node {
    let node = Node::new();
    let plugins = json!([node.bridge("cni0", "10.1.0.0/24 fd01::/64")]);
    let primary = json!({"cniVersion": "1.0.0", "name": "cni0", "plugins": plugins});
    node.write("net.d/10-primary.conflist", &primary.to_string());
    node.define("team-a", "lan", node.bridge("br1", "10.9.0.0/24 fd09::/64"));
    node
}

fn delegating() -> Value {
    json!({"clusterNetwork": "auto"})
}

/// A node with recorders: a primary, and `blue` and `red` of team-a.
fn recorded_node() -> Node {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.8.0.2/24"], "link": true}));
    node.network("red", json!({"addresses": ["10.9.0.2/24"], "link": true}));
    node
}

#[track_caller]
fn assert_nothing_left(node: &Node, pod: &Pod<'_>, what: &str) {
    assert_eq!(pod.links(), NOTHING, "{what}");
    for network in ["cni0", "br1"] {
        assert_eq!(node.reservations(network), NOTHING, "{what}");
    }
    for directory in ["records", "locks", "orphans", "aside"] {
        assert_eq!(node.state(directory), NOTHING, "{what}");
    }
}

#[test]
fn del_with_an_empty_netns() {
    let node = real_node();
    let pod = node.pod("team-a", "web");
    pod.add(delegating()).networks("lan").run().assert_success();
    pod.del().env("CNI_NETNS", "").run().assert_success();
    assert_nothing_left(&node, &pod, "the recorded namespace is used");
    // With neither namespace nor record: again, and of a pod that is not known.
    pod.del().env("CNI_NETNS", "").run().assert_success();
    let unknown = node.pod("team-a", "unknown");
    node.call("DEL", delegating()).of_pod(&unknown).env("CNI_NETNS", "").run().assert_success();
}

/// What a runtime sends as `prevResult` on DEL, in a version and its layout.
fn with_result_of<'c>(call: Call<'c>, version: &str, pod: &Pod<'_>) -> Call<'c> {
    let sandbox = pod.netns_path();
    let result = match version {
        "0.2.0" => {
            json!({"cniVersion": version, "ip4": {"ip": "10.1.0.2/24"}, "ip6": {"ip": "fd01::2/64"}})
        }
        "0.3.1" | "0.4.0" => json!({
            "cniVersion": version, "interfaces": [{"name": "eth0", "sandbox": sandbox}],
            "ips": [{"version": "4", "address": "10.1.0.2/24", "interface": 0}],
        }),
        _ => json!({
            "cniVersion": version, "interfaces": [{"name": "eth0", "sandbox": sandbox}],
            "ips": [{"address": "10.1.0.2/24", "interface": 0}],
        }),
    };
    call.with(json!({"cniVersion": version})).prev_result(result)
}

/// The runtime was updated, or lost its cache, between ADD and DEL.
#[test]
fn del_with_a_prev_result_that_is_missing_or_of_another_version() {
    let node = real_node();
    let odd = [
        json!(null),
        json!({}),
        json!({"cniVersion": "0.4.0"}),
        json!({"cniVersion": "9.9.9", "ips": 1}),
    ];
    for has_record in [true, false] {
        let added = |what: &str| {
            let pod = node.pod("team-a", "web");
            pod.add(delegating())
                .networks(if has_record { "lan" } else { "" })
                .run()
                .assert_success();
            if !has_record {
                std::fs::remove_file(
                    node.path("state/records").join(node.state("records").remove(0)),
                )
                .unwrap();
            }
            assert!(!node.reservations("cni0").is_empty(), "{what}");
            pod
        };
        for version in ["0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let pod = added(version);
            with_result_of(pod.del(), version, &pod).run().assert_success();
            assert_nothing_left(&node, &pod, &format!("{version}, with a record: {has_record}"));
        }
        for result in &odd {
            let what = format!("{result}, with a record: {has_record}");
            let pod = added(&what);
            pod.del().with(json!({"prevResult": result})).run().assert_success();
            assert_nothing_left(&node, &pod, &what);
        }
    }
}

#[test]
fn an_add_after_a_failed_one() {
    let node = recorded_node();
    for dels_between in [0, 1, 2] {
        let pod = node.pod("team-a", "web");
        node.script("red", json!({"ADD": {"link": true, "error": {"code": 42, "msg": "not yet"}}}));
        pod.add(node.delegating()).networks("blue,red").run().assert_error(42, ["not yet"]);
        assert_eq!((pod.links(), node.state("records")), (vec![], vec![]));
        node.script("red", json!({}));
        for _ in 0..dels_between {
            pod.del().run().assert_success();
        }
        // CRI-O keeps the container ID, containerd makes a new one; the sandbox may be the same.
        pod.add(node.delegating()).networks("blue,red").run().assert_success();
        assert_eq!(pod.links(), ["net1", "net2"], "after {dels_between} DELs");
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!((pod.links(), node.state("records")), (vec![], vec![]));
    }
}

#[test]
fn an_add_after_a_failed_one_that_could_not_be_undone() {
    let node = recorded_node();
    let pod = node.pod("team-a", "web");
    node.script("red", json!({"ADD": {"error": {"code": 42, "msg": "not yet"}}}));
    node.script("blue", json!({"DEL": {"error": {"code": 43, "msg": "not now"}}}));
    pod.add(node.delegating()).networks("blue,red").run().assert_error(42, ["not yet"]);
    assert_eq!((pod.links(), node.state("records").len()), (vec!["net1".to_owned()], 1));
    // What is left is in the way of the next ADD: it goes first, or the ADD says why it does not.
    node.script("red", json!({}));
    pod.add(node.delegating()).networks("blue,red").run().assert_error(43, ["not now"]);
    node.script("blue", json!({}));
    pod.add(node.delegating()).networks("blue,red").run().assert_success();
    assert_eq!(pod.links(), ["net1", "net2"]);
    pod.del().run().assert_success();
    assert_eq!((pod.links(), node.state("records")), (vec![], vec![]));
}

/// As CRI-O does, in each version that has CHECK; the result is the primary's, as its configuration
/// says.
#[test]
fn check_right_after_add() {
    let node = real_node();
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let pod = node.pod("team-a", "web");
        let config =
            json!({"cniVersion": version, "clusterNetwork": "auto", "resultScope": "primary"});
        pod.add(config).networks("lan").run().assert_success();
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        // Debian's plugins are older than 1.1.0, and in a chain no plugin speaks for
        // them.
        if version == "1.1.0" {
            continue;
        }
        let plugins = json!([
            node.bridge("cni0", "10.1.0.0/24 fd01::/64"), {"type": "braid", "resultScope": "primary"}
        ]);
        let chain = Chain::new(&node, plugins).version(version).networks("lan");
        let result = chain.add(&pod).unwrap();
        chain.check(&pod, &result).unwrap();
        chain.del(&pod, &result).unwrap();
        // The runtime's own network is `node` there.
        assert_eq!(node.reservations("node"), NOTHING);
        assert_nothing_left(&node, &pod, version);
    }
}

#[test]
fn del_of_a_pod_that_started_before_braid_was_installed() {
    let node = real_node();
    // Delegating: the primary's own plugin has started it, under the name that it has still.
    let pod = node.pod("team-a", "old");
    let bridge = node.bridge("cni0", "10.1.0.0/24 fd01::/64");
    let add =
        node.call("ADD", bridge.clone()).of_pod(&pod).program(Path::new(PLUGIN_DIR).join("bridge"));
    let result = add.with(json!({"name": "cni0", "runtimeConfig": null})).run().assert_success();
    assert_eq!((pod.links(), node.reservations("cni0").len()), (vec!["eth0".to_owned()], 2));
    let braid = |verb: &str| node.call(verb, delegating()).of_pod(&pod).prev_result(result.clone());
    braid("CHECK").run().assert_success();
    // The pod's annotation asks for a network that it never got.
    braid("DEL").networks("lan").run().assert_success();
    braid("DEL").networks("lan").run().assert_success();
    assert_nothing_left(&node, &pod, "delegating");
    // Chained: the chain had no Braid when the pod was started.
    let pod = node.pod("team-a", "older");
    let before = Chain::new(&node, json!([bridge.clone()]));
    let result = before.add(&pod).unwrap();
    let now = Chain::new(&node, json!([bridge, {"type": "braid"}])).networks("lan");
    now.check(&pod, &result).unwrap();
    now.del(&pod, &result).unwrap();
    assert_eq!(node.reservations("node"), NOTHING);
    assert_nothing_left(&node, &pod, "chained");
}

#[test]
fn del_with_another_configuration_than_add() {
    let node = real_node();
    let pod = node.pod("team-a", "web");
    pod.add(delegating()).networks("lan").run().assert_success();
    // Another primary, no definitions, another version, another mode: the record counts.
    let other = json!({"cniVersion": "1.0.0", "name": "other", "plugins": [node.bridge("cni9", "10.99.0.0/24")]});
    node.write("net.d/10-primary.conflist", &other.to_string());
    std::fs::remove_dir_all(node.path("braid.d")).unwrap();
    let chained = json!({"clusterNetwork": null, "cniVersion": "0.4.0", "name": "renamed", "prevResult": null});
    pod.del().with(chained).run().assert_success();
    assert_nothing_left(&node, &pod, "renamed and chained");
}

#[test]
fn a_del_that_is_killed_is_finished_by_the_next() {
    let node = recorded_node();
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue,red").run().assert_success();
    node.script("blue", json!({"DEL": {"sleep_ms": 120_000}}));
    node.forget_calls();
    let killed = pod.del().start();
    let blue = node.wait_for_call("DEL blue net1");
    killed.signal(Signal::SIGKILL);
    assert!(killed.wait().status.code().is_none());
    let alive = || Path::new("/proc").join(blue.process().to_string()).exists();
    for _ in 0..500 {
        if !alive() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!alive(), "the plugin dies with braid");
    node.script("blue", json!({}));
    node.forget_calls();
    pod.del().env("CNI_NETNS", "").run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        ["DEL blue net1", "DEL primary eth0"],
        "red was torn down before"
    );
    assert_eq!((pod.links(), node.state("records"), node.state("locks")), (vec![], vec![], vec![]));
}

/// Every plugin hangs, and no limit is configured: DEL ends by itself, each plugin has had its
/// turn, and the record says what is left.
#[test]
fn a_del_whose_plugins_all_hang_ends_before_crio_kills_it() {
    let node = recorded_node();
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue,red").run().assert_success();
    for kind in ["primary", "blue", "red"] {
        node.script(kind, json!({"DEL": {"sleep_ms": 600_000}}));
    }
    node.forget_calls();
    let outcome = pod.del().run();
    assert!(outcome.took < CRIO_KILLS_AFTER, "{:?}", outcome.took);
    outcome.assert_error(102, ["3 of 3 networks", "did not end within"]);
    assert_eq!(node.calls_in_order(), ["DEL red net2", "DEL blue net1", "DEL primary eth0"]);
    for kind in ["primary", "blue", "red"] {
        node.script(kind, json!({}));
    }
    pod.del().run().assert_success();
    assert_eq!((pod.links(), node.state("records")), (vec![], vec![]));
}

#[test]
fn gc_with_an_empty_list_takes_all_of_its_own_conflist_and_nothing_of_another() {
    let node = real_node();
    let pods = [node.pod("team-a", "one"), node.pod("team-a", "two"), node.pod("team-a", "other")];
    pods[0].add(delegating()).networks("lan").run().assert_success();
    pods[1].add(delegating()).networks("lan").run().assert_success();
    pods[2].add(delegating()).with(json!({"name": "other"})).networks("lan").run().assert_success();
    let gc = |more: Value| {
        node.call("GC", delegating()).with(json!({"cniVersion": "1.1.0"})).with(more).run()
    };
    gc(json!({})).assert_error(7, ["cni.dev/valid-attachments"]);
    assert_eq!(node.state("records").len(), 3, "without the list nothing is done");
    gc(json!({"cni.dev/valid-attachments": []})).assert_success();
    assert_eq!((pods[0].links(), pods[1].links()), (vec![], vec![]));
    assert_eq!(pods[2].links(), ["eth0", "net1"]);
    pods[2].check().run().assert_success();
    assert_eq!((node.reservations("cni0").len(), node.reservations("br1").len()), (2, 2));
    gc(json!({"name": "other", "cni.dev/valid-attachments": []})).assert_success();
    assert_nothing_left(&node, &pods[2], "its own GC");
}
