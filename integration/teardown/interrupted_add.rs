//! ADDs that fail, are killed or are stopped, and the ADD or DEL that follows.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{ALL_DELETED, failing, node, pod_with_both};
use crate::node::{NOTHING, text};

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
