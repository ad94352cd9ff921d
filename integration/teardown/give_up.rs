//! An extra network that cannot be torn down is given up in time and becomes an orphan; the primary
//! never is.

use std::fs;
use std::time::Duration;

use serde_json::json;

use super::{failing, node, pod_with_both, set_in_events, valid_attachments};

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
    let resisted = gc();
    resisted.assert_success();
    assert!(resisted.stderr.contains("switch is away"), "{}", resisted.stderr);
    assert_eq!(node.state("orphans").len(), 1);
    node.script("blue", json!({}));
    node.forget_calls();
    gc().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
    assert_eq!((node.state("orphans").len(), pod.links()), (0, vec![]));
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
