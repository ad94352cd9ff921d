//! What changes of running pods leave behind for those who watch a node: the event log, the counts,
//! and the audit log.

use std::fs;

use serde_json::{Value, json};

use super::{attach, detach, node, running};
use crate::node::{Node, text};

/// A node whose configuration has the three files.
fn watched() -> Node {
    let node = node();
    let path = node.path("net.d/00-braid.conflist");
    let mut conflist: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let braid = &mut conflist["plugins"][0];
    braid["eventLog"] = json!(node.path("events.log"));
    braid["metricsFile"] = json!(node.path("braid.prom"));
    braid["auditLog"] = json!(node.path("audit.log"));
    fs::write(path, conflist.to_string()).unwrap();
    node
}

fn lines(node: &Node, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(node.path(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_attach_and_detach_leaves_a_line_and_counts() {
    let node = watched();
    let web = running(&node, "blue");
    attach(&node, &["red"]).assert_status(0);
    attach(&node, &["yellow"]).assert_status(1);
    node.script("red", json!({"DEL": {"error": {"code": 77, "msg": "the switch is away"}}}));
    detach(&node, "net2").assert_status(1);
    node.script("red", json!({}));
    detach(&node, "net2").assert_status(0);
    let events = lines(&node, "events.log");
    let told: Vec<_> = events
        .iter()
        .map(|it| format!("{} {} {}", text(&it["verb"]), text(&it["outcome"]), it["code"]))
        .collect();
    let expected =
        ["ATTACH success null", "ATTACH refused 7", "DETACH failed 77", "DETACH success null"];
    assert_eq!(told, expected);
    for event in &events {
        assert_eq!(event["pod"], "team-a/web", "{event}");
        assert_eq!(
            (&event["container"], &event["interface"]),
            (&json!(web.container), &json!("eth0"))
        );
    }
    let network = &events[0]["networks"][0];
    assert_eq!((&network["name"], &network["interface"]), (&json!("team-a/red"), &json!("net2")));
    assert_eq!(network["delegates"][0]["verb"], "ADD", "{network}");
    assert_eq!(events[0]["networks"].as_array().unwrap().len(), 1, "of this change alone");
    assert_eq!(events[3]["networks"][0]["delegates"][0]["verb"], "DEL");
    let counts = fs::read_to_string(node.path("braid.prom")).unwrap();
    for (verb, outcome, count) in [
        ("ATTACH", "success", 1),
        ("ATTACH", "refused", 1),
        ("DETACH", "failed", 1),
        ("DETACH", "success", 1),
    ] {
        let line =
            format!("braid_operations_total{{verb=\"{verb}\",outcome=\"{outcome}\"}} {count}\n");
        assert!(counts.contains(&line), "{line}{counts}");
    }
    assert!(counts.contains("braid_attachments{role=\"extra\"} 1\n"), "{counts}");
}

#[test]
fn what_is_decided_about_an_attach_is_in_the_audit_log() {
    let node = watched();
    node.define("ops", "storage", json!({"cniVersion": "1.0.0", "type": "blue"}));
    let _web = running(&node, "blue");
    attach(&node, &["red"]).assert_status(0);
    attach(&node, &["ops/storage"]).assert_status(1);
    let decisions: Vec<_> = lines(&node, "audit.log")
        .iter()
        .map(|it| (text(&it["decision"]).to_owned(), it["network"].clone(), it["pod"].clone()))
        .collect();
    let expected = [("allowed", "team-a/red"), ("refused", "ops/storage")]
        .map(|(word, network)| (word.to_owned(), json!(network), json!("team-a/web")));
    assert_eq!(decisions, expected);
}
