//! STATUS: what a node lacks.

use cni::error::Code;
use cni::request::Command;
use serde_json::json;

use crate::testing::node::{Node, Who};
use crate::testing::twins::l2;

/// Whether ip can make a link of this kind.
fn can_make(node: &Node, kind: &str) -> bool {
    let words = ["link", "add", "probe0", "type", kind];
    let words: Vec<&str> = match kind {
        "vlan" => words.into_iter().chain(["id", "5"]).collect(),
        _ => words.into(),
    };
    let words = if matches!(kind, "vlan" | "macvlan" | "ipvlan") {
        [&words[..3], &["link", "eth0"], &words[3..]].concat()
    } else {
        words
    };
    let run = || std::process::Command::new("ip").args(&words).output().unwrap();
    let made = node.host.run(run).unwrap().status.success();
    if made {
        node.on_host("link delete probe0");
    }
    made
}

#[test]
fn a_kind_that_the_kernel_lacks_and_a_master_that_the_host_lacks_are_named() {
    let node = Node::new();
    let ipam = json!({"type": "given"});
    for (kind, keys) in [
        ("macvlan", json!({"master": "eth0", "mode": "vepa"})),
        ("ipvlan", json!({"master": "eth0"})),
        ("vlan", json!({"master": "eth0", "vlanId": 5})),
        ("dummy", json!({})),
        ("bridge", json!({})),
        ("ptp", json!({})),
    ] {
        let mut config = l2(json!({"type": kind, "cniVersion": "1.1.0", "ipam": ipam}));
        config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let outcome = node.call(Who::Ours, Command::Status, &config);
        let made = if kind == "ptp" { "veth" } else { kind };
        if !can_make(&node, made) {
            let error = outcome.unwrap_err();
            assert!(
                error.code == Code::NOT_AVAILABLE && error.msg.contains(made),
                "{kind}: {error}"
            );
            continue;
        }
        outcome.unwrap_or_else(|error| panic!("{kind}: {error}"));
        if keys.get("master").is_some() {
            config["master"] = json!("gone0");
            let error = node.call(Who::Ours, Command::Status, &config).unwrap_err();
            assert!(
                error.code == Code::NOT_AVAILABLE && error.msg.contains("gone0"),
                "{kind}: {error}"
            );
        }
    }
    assert_eq!(node.host_links(), Vec::<String>::new(), "STATUS makes nothing");
}
