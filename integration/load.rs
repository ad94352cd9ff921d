//! Many calls, many at once, and some that fail: afterwards nothing is left.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::call::{Call, Outcome, Running};
use crate::node::{Node, PLUGIN_DIR, text};
use crate::pod::Pod;

const NOTHING: [String; 0] = [];

/// Defines `lan` (bridge, dual stack), `ported` (bridge with portmap) and `link` (ptp, which would wait a
/// second for each IPv6 address), with room for a thousand pods.
fn define_extras(node: &Node) {
    let bridge = |name: &str, subnets: &str| json!({"type": "bridge", "bridge": name, "isGateway": true, "ipam": node.host_local(subnets)});
    node.define("team-a", "lan", bridge("br-lan", "10.10.0.0/22 fd00:10::/64"));
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let ported = json!({
        "cniVersion": "1.0.0", "name": "ported", "plugins": [bridge("br-ported", "10.12.0.0/22"), portmap]
    });
    node.define("team-a", "ported", ported);
    let ipam = node.host_local("10.13.0.0/22");
    node.define("team-a", "link", json!({"type": "ptp", "ipam": ipam}));
}

fn primary(node: &Node) -> Value {
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/22 fd00:1::/64")]})
}

/// What is left of the calls since `before`, everything that was given away and lost included.
fn difference(node: &Node, before: &BTreeSet<String>) -> Vec<String> {
    let now = node.dump();
    // Bridges have no address of their own while they have no port.
    let lost = before.difference(&now).filter(|line| !line.contains("br-") && !line.contains("cni0"));
    node.leftovers(before).into_iter().chain(lost.map(|line| format!("lost: {line}"))).collect()
}

#[test]
fn a_hundred_adds_and_dels_leave_nothing() {
    let node = Node::new();
    define_extras(&node);
    let pod = node.pod("team-a", "web");
    let round = || {
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let asked = json!([{"name": "lan"}, {"name": "ported", "portMappings": ports}, {"name": "link"}]);
        pod.add(primary(&node)).networks_json(asked).run().assert_success();
        assert_eq!(pod.links(), ["eth0", "net1", "net2", "net3"]);
        pod.del().run().assert_success();
    };
    // The first round makes what plugins keep for every pod: bridges, portmap's chains, directories.
    round();
    let inside = || [pod.ip("addr show"), pod.ip("route show table all"), pod.ip("-6 route show table all")];
    let (before, inside_before) = (node.dump(), inside());
    for _ in 0..100 {
        round();
    }
    assert_eq!(difference(&node, &before), NOTHING);
    assert_eq!(inside(), inside_before);
    for directory in ["records", "locks", "orphans", "aside"] {
        assert_eq!(node.state(directory), NOTHING, "{directory}");
    }
    for network in ["cni0", "lan", "ported", "link"] {
        assert_eq!(node.reservations(network), NOTHING, "{network}");
    }
}

/// Runs calls, at most `limit` of them at once, and returns what came of each in order.
fn run_many<'a>(limit: usize, calls: impl Iterator<Item = Call<'a>>) -> Vec<Outcome> {
    let mut running: VecDeque<Running<'a>> = VecDeque::new();
    let mut outcomes = Vec::new();
    for call in calls {
        if running.len() == limit {
            outcomes.extend(running.pop_front().map(Running::wait));
        }
        running.push_back(call.start());
    }
    outcomes.extend(running.into_iter().map(Running::wait));
    outcomes
}

/// Addresses of the results, one set for each position; each address must come once.
fn assert_distinct(results: &[Value]) {
    let mut seen = BTreeSet::new();
    for result in results {
        let ips = result["ips"].as_array().unwrap();
        assert_eq!(ips.len(), 4, "{result}");
        for ip in ips {
            assert!(seen.insert(text(&ip["address"]).to_owned()), "{} is given twice", ip["address"]);
        }
    }
}

#[test]
fn two_hundred_pods_by_sixteen_processes() {
    const PODS: usize = 200;
    const PROCESSES: usize = 16;
    let node = Node::new();
    define_extras(&node);
    let first = node.pod("team-a", "first");
    first.add(primary(&node)).networks("lan").run().assert_success();
    first.del().run().assert_success();
    let before = node.dump();

    let pods: Vec<Pod<'_>> = (0..PODS).map(|number| node.pod("team-a", &format!("p{number}"))).collect();
    let adds = pods.iter().map(|pod| pod.add(primary(&node)).networks("lan"));
    let results: Vec<Value> = run_many(PROCESSES, adds).iter().map(Outcome::assert_success).collect();
    assert_eq!(results.len(), PODS);
    assert_distinct(&results);
    // Two families on each network.
    assert_eq!((node.reservations("cni0").len(), node.reservations("lan").len()), (2 * PODS, 2 * PODS));
    assert_eq!(node.state("records").len(), PODS);

    let some = pods.iter().step_by(10);
    for pod in some.clone() {
        assert_eq!(pod.links(), ["eth0", "net1"], "{}", pod.name);
    }
    run_many(PROCESSES, some.map(Pod::check)).iter().for_each(|outcome| drop(outcome.assert_success()));
    let neighbour = pods[PODS - 1].addresses("net1")[0].split('/').next().unwrap().to_owned();
    assert!(pods[0].pings(&neighbour), "the first pod does not reach the last");

    run_many(PROCESSES, pods.iter().map(Pod::del)).iter().for_each(|outcome| drop(outcome.assert_success()));
    assert!(pods.iter().step_by(10).all(|pod| pod.links().is_empty()));
    assert_eq!(difference(&node, &before), NOTHING);
}

/// A call that may fail, but not fall over.
#[track_caller]
fn assert_orderly(outcome: &Outcome) {
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    if !outcome.status.success() {
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert!(outcome.json()["code"].as_u64().is_some_and(|code| code > 0), "{outcome:?}");
    }
}

#[test]
fn calls_for_one_container_at_once() {
    let node = Node::new();
    define_extras(&node);
    let warm = node.pod("team-a", "warm");
    warm.add(primary(&node)).networks("lan, link").run().assert_success();
    warm.del().run().assert_success();
    let before = node.dump();
    for round in 0..10 {
        let pod = node.pod("team-a", &format!("twice{round}"));
        let add = || pod.add(primary(&node)).networks("lan, link");
        let outcomes = [add().start(), add().start()].map(Running::wait);
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.status.success());
        assert_eq!((won.len(), lost.len()), (1, 1), "{outcomes:?}");
        won[0].assert_success();
        lost[0].assert_error(7, [&pod.container, "already"]);
        assert_eq!(pod.links(), ["eth0", "net1", "net2"]);
        // The winner's result, whichever of the two has ended last.
        pod.memory.borrow_mut().result = Some(won[0].json());
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(pod.links(), NOTHING);
        assert_eq!(difference(&node, &before), NOTHING, "after two ADDs");

        let pod = node.pod("team-a", &format!("both{round}"));
        let add = pod.add(primary(&node)).networks("lan, link").start();
        let del = pod.del().start();
        assert_orderly(&add.wait());
        assert_orderly(&del.wait());
        pod.del().run().assert_success();
        assert_eq!(pod.links(), NOTHING);
        assert_eq!(difference(&node, &before), NOTHING, "after ADD and DEL");
    }
}

/// A bridge plugin that fails one call in ten, in an order that the seed decides: half of them before it
/// has done anything, half after.
fn flaky_bridge(node: &Node, seed: &str) {
    let counter = node.path_text("flaky-calls");
    let script = format!(
        r#"#!/bin/bash
echo >> {counter}
number=$(wc -l < {counter})
dice=$(( 16#$(echo "{seed} $number" | md5sum | cut -c1-7) % 20 ))
fail() {{ echo '{{"code": 99, "msg": "out of luck"}}'; exit 1; }}
[ $dice = 0 ] && fail
if [ $dice = 1 ]; then {PLUGIN_DIR}/bridge > /dev/null; fail; fi
exec {PLUGIN_DIR}/bridge
"#
    );
    node.write("bin/flaky", &script);
    std::fs::set_permissions(node.path("bin/flaky"), PermissionsExt::from_mode(0o755)).unwrap();
}

/// Deletes a pod as the runtime does: again and again until it succeeds. Returns how often it failed.
fn delete(pod: &Pod<'_>) -> usize {
    for failures in 0..10 {
        let outcome = pod.del().run();
        if outcome.status.success() {
            return failures;
        }
        outcome.assert_error(99, ["out of luck"]);
    }
    panic!("{} cannot be deleted", pod.name);
}

#[test]
fn a_delegate_that_fails_at_random() {
    let node = Node::new();
    flaky_bridge(&node, "braid");
    let flaky = |name: &str, subnet: &str| json!({"cniVersion": "1.0.0", "name": name, "type": "flaky", "bridge": name, "ipam": node.host_local(subnet)});
    node.define("team-a", "lan", flaky("br-lan", "10.10.0.0/24"));
    node.define("team-a", "wan", flaky("br-wan", "10.11.0.0/24"));
    let before = node.dump();
    let (mut failed_adds, mut failed_dels) = (0, 0);
    for number in 0..40 {
        // The kubelet makes a new sandbox, with a new container ID, for each try.
        let pod = loop {
            let pod = node.pod("team-a", &format!("p{number}"));
            let outcome =
                pod.add(json!({"delegates": [flaky("cni0", "10.1.0.0/24")]})).networks("lan, wan").run();
            if outcome.status.success() {
                break pod;
            }
            failed_adds += 1;
            assert!(failed_adds < 100, "{}", outcome.stdout);
            outcome.assert_error(99, ["out of luck"]);
            failed_dels += delete(&pod);
            assert_eq!(pod.links(), NOTHING);
        };
        assert_eq!(pod.links(), ["eth0", "net1", "net2"]);
        failed_dels += delete(&pod);
        assert_eq!(pod.links(), NOTHING);
    }
    assert!(failed_adds > 3 && failed_dels > 3, "{failed_adds} ADDs and {failed_dels} DELs failed");
    assert_eq!(node.leftovers(&before), NOTHING);
}
