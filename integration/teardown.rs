//! Teardown: DEL and GC from the record, after every way in which an ADD can end, and on a state
//! directory that is broken, full or read-only.

mod damaged_record;
mod del;
mod gc;
mod give_up;
mod interrupted_add;
mod state_directory;
mod without_record;

use std::fs;

use serde_json::{Value, json};

use crate::call::Outcome;
use crate::node::Node;
use crate::pod::Pod;

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

/// containerd takes these words for a DEL that succeeded.
#[track_caller]
pub(crate) fn assert_not_taken_for_success(outcome: &Outcome) {
    assert!(!outcome.status.success());
    let printed = outcome.json().to_string().to_lowercase();
    for words in ["not found", "no such file or directory"] {
        assert!(!printed.contains(words), "{printed}");
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
