//! `eventLog` and `metricsFile`: what a node's calls leave behind for those who watch it.

use std::fs;

use serde_json::{Value, json};

use crate::call::Outcome;
use crate::node::{Node, text};

/// A delegating configuration with both files.
fn watched(node: &Node) -> Value {
    let mut config = node.delegating();
    config["eventLog"] = json!(node.path("events.log"));
    config["metricsFile"] = json!(node.path("braid.prom"));
    config
}

fn node() -> Node {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    node
}

fn events(node: &Node) -> Vec<Value> {
    let text = fs::read_to_string(node.path("events.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sample(node: &Node, name: &str) -> u64 {
    let text = fs::read_to_string(node.path("braid.prom")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn operations(node: &Node, verb: &str, outcome: &str) -> u64 {
    sample(node, &format!("braid_operations_total{{verb=\"{verb}\",outcome=\"{outcome}\"}}"))
}

/// Without a warning about either file.
#[track_caller]
fn assert_quiet(outcome: &Outcome) {
    assert_eq!(outcome.stderr, "", "{outcome:?}");
}

#[test]
fn every_call_leaves_a_line_and_counts() {
    let node = node();
    let pod = node.pod("team-a", "web");
    let added = pod.add(watched(&node)).networks("blue").run();
    added.assert_success();
    assert_quiet(&added);
    let attachments = |role: &str| sample(&node, &format!("braid_attachments{{role=\"{role}\"}}"));
    assert_eq!((attachments("primary"), attachments("extra")), (1, 1));
    pod.check().run().assert_success();
    node.script("blue", json!({"DEL": {"error": {"code": 77, "msg": "the switch is away"}}}));
    pod.del().run().assert_error(77, ["away"]);
    assert_eq!((attachments("primary"), attachments("extra")), (0, 1), "the primary is gone");
    node.script("blue", json!({}));
    pod.del().run().assert_success();
    assert_eq!((attachments("primary"), attachments("extra")), (0, 0));
    let late = node.pod("team-a", "late");
    late.add(watched(&node)).networks("nowhere").run().assert_error(7, ["nowhere"]);
    node.call("STATUS", watched(&node)).run().assert_success();
    node.call("GC", watched(&node)).run().assert_error(7, ["valid-attachments"]);

    let told: Vec<_> = events(&node)
        .iter()
        .map(|event| {
            format!("{} {} {}", text(&event["verb"]), text(&event["outcome"]), event["code"])
        })
        .collect();
    let expected = [
        "ADD success null",
        "CHECK success null",
        "DEL failed 77",
        "DEL success null",
        "ADD refused 7",
        "STATUS success null",
        "GC refused 7",
    ];
    assert_eq!(told, expected);
    let add = &events(&node)[0];
    assert_eq!((&add["pod"], &add["container"]), (&json!("team-a/web"), &json!(pod.container)));
    assert_eq!((&add["network"], &add["interface"]), (&json!("node"), &json!("eth0")));
    let networks: Vec<_> = add["networks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (text(&it["name"]), text(&it["interface"]), text(&it["delegates"][0]["plugin"])))
        .collect();
    assert_eq!(networks, [("cluster", "eth0", "primary"), ("team-a/blue", "net1", "blue")]);
    let delegates: f64 =
        (0..2).map(|at| add["networks"][at]["delegates"][0]["ms"].as_f64().unwrap()).sum();
    assert!(delegates > 0.0 && add["ms"].as_f64().unwrap() >= delegates, "{add}");
    let failed = &events(&node)[2];
    assert_eq!(failed["networks"][0]["delegates"][0]["code"], 77, "{failed}");

    let counted = [
        ("ADD", "success", 1),
        ("ADD", "refused", 1),
        ("CHECK", "success", 1),
        ("DEL", "failed", 1),
    ];
    for (verb, outcome, count) in counted {
        assert_eq!(operations(&node, verb, outcome), count, "{verb} {outcome}");
    }
    assert_eq!(sample(&node, "braid_operation_duration_seconds_count{verb=\"ADD\"}"), 2);
}

/// Twenty pods at once: every call is counted, and every line is whole.
#[test]
fn calls_at_once_lose_no_count_and_no_line() {
    let node = node();
    let pods: Vec<_> = (0..20).map(|number| node.pod("team-a", &format!("web{number}"))).collect();
    let running: Vec<_> =
        pods.iter().map(|pod| pod.add(watched(&node)).networks("blue").start()).collect();
    running.into_iter().for_each(|running| {
        running.wait().assert_success();
    });
    assert_eq!(operations(&node, "ADD", "success"), 20);
    assert_eq!(sample(&node, "braid_attachments{role=\"extra\"}"), 20);
    let running: Vec<_> = pods.iter().map(|pod| pod.del().start()).collect();
    running.into_iter().for_each(|running| {
        running.wait().assert_success();
    });
    assert_eq!((operations(&node, "DEL", "success"), events(&node).len()), (20, 40));
    assert_eq!(sample(&node, "braid_attachments{role=\"extra\"}"), 0);
}

#[test]
fn nothing_is_written_if_no_log_is_configured() {
    let node = node();
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue").run().assert_success();
    pod.del().run().assert_success();
    for file in ["events.log", "braid.prom", ".braid.prom.lock"] {
        assert!(!node.path(file).exists(), "{file}");
    }
}

/// The pod starts, the log says what could not be written, and what was there stays.
#[test]
fn a_full_disk_costs_the_counts_and_nothing_else() {
    let node = node();
    node.mount("small", "size=24k");
    let mut config = watched(&node);
    config["eventLog"] = json!(node.path("small/events.log"));
    config["metricsFile"] = json!(node.path("small/braid.prom"));
    let pod = node.pod("team-a", "web");
    pod.add(config).networks("blue").run().assert_success();
    let before = fs::read(node.path("small/braid.prom")).unwrap();
    fs::write(node.path("small/filler"), vec![b'x'; 64 << 10]).unwrap_err();
    let outcome = pod.del().run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("the call is not counted: cannot write"), "{}", outcome.stderr);
    assert_eq!(fs::read(node.path("small/braid.prom")).unwrap(), before);
    assert!(!node.path("small/.braid.prom.new").exists());
}

/// Neither file is written through a link, and a pod starts all the same.
#[test]
fn links_and_files_of_others_are_left_alone() {
    let node = node();
    node.write("target", "kept");
    for file in ["events.log", "braid.prom"] {
        std::os::unix::fs::symlink(node.path("target"), node.path(file)).unwrap();
    }
    let pod = node.pod("team-a", "web");
    let outcome = pod.add(watched(&node)).networks("blue").run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("is no file of braid's"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("events.log cannot be written"), "{}", outcome.stderr);
    assert_eq!(fs::read_to_string(node.path("target")).unwrap(), "kept");
}

/// The log is set aside when it is full, as the log file is, and the oldest goes.
#[test]
fn the_event_log_is_bounded() {
    let node = node();
    let mut config = watched(&node);
    config["logOptions"] = json!({"maxSize": 1, "maxBackups": 1});
    for number in 0..3 {
        node.write("events.log", &"x".repeat(1 << 20));
        let pod = node.pod("team-a", &format!("web{number}"));
        pod.add(config.clone()).run().assert_success();
        assert_eq!(events(&node).len(), 1);
    }
    let logs = fs::read_dir(node.path("")).unwrap().flatten();
    assert_eq!(
        logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("events.log")).count(),
        2
    );
}
