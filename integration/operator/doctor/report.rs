//! The whole report of `doctor`, of a node that is fit, one that is not, and one without Braid.

use insta::assert_snapshot;
use serde_json::json;

use crate::node::Node;
use crate::operator::explain::{braid, node};

/// The kernel's line is the machine's own.
fn diagnosis(node: &Node, more: &[&str]) -> String {
    let said = braid(node, &[&["doctor"], more].concat()).run();
    let lines: Vec<&str> = said.stdout.lines().collect();
    let at = lines.iter().position(|line| line.contains("  kernel  ")).unwrap_or(lines.len());
    let advice = lines.get(at).is_some_and(|line| line.starts_with("warn"));
    // What it has in the default state directory is its own business, too.
    let is_own = |line: &str| line.contains(" /var/lib/cni/braid: ");
    let kept = lines.iter().enumerate().filter(|(_, line)| !is_own(line));
    let kept = kept.filter(|(line, _)| *line != at && !(advice && *line == at + 1));
    let kept: Vec<&str> = kept.map(|(_, line)| *line).collect();
    let text = format!("status {}\n{}\n{}", said.status, kept.join("\n"), said.stderr);
    // Whether the machine that runs the tests has a containerd is its own business.
    text.replace(" (/etc/containerd/config.toml)", "")
}

#[test]
fn a_node_that_is_fit() {
    let node = node(json!({}));
    let before = node.dump();
    assert_snapshot!(diagnosis(&node, &[]));
    assert_eq!(node.dump(), before);
    let json = braid(&node, &["doctor", "-o", "json"]).run().json();
    assert_eq!(json["findings"][0]["check"], "runtime");
}

#[test]
fn a_node_that_is_not() {
    let node = node(
        json!({"drain": true, "clusterNetwrk": "x", "capabilities": {}, "kubeconfig": "/none/kubeconfig"}),
    );
    node.write(
        "net.d/00-a.conf",
        "{\"name\": \"first\", \"type\": \"absent\", \"capabilities\": {\"portMappings\": true}}",
    );
    node.write("braid.d/torn.json", "{");
    node.write("state/records/x@eth0", "damage");
    std::fs::remove_file(node.path("bin/braid")).unwrap();
    for directory in ["state", "state/records"] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(node.path(directory), std::fs::Permissions::from_mode(0o700))
            .unwrap();
    }
    assert_snapshot!(diagnosis(&node, &[]));
}

#[test]
fn a_node_without_braid() {
    let node = Node::new();
    assert_snapshot!(diagnosis(&node, &[]));
    node.write(
        "net.d/10-primary.conflist",
        "{\"name\": \"p\", \"plugins\": [{\"type\": \"ptp\"}]}",
    );
    node.write("net.d/10-primary.conflist.before-braid", "{}");
    assert!(diagnosis(&node, &[]).contains("--mode chained-file"));
}
