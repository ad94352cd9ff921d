//! Records on the disk: those of Braid 0.1, and what an older Braid makes of a newer one's.

use std::fs;

use serde_json::{Value, json};

use super::{attach, detach, must_end_clean, must_have, node, running};
use crate::node::Node;
use crate::pod::Pod;

fn path(pod: &Pod<'_>) -> std::path::PathBuf {
    pod.node.path("state/records").join(format!("{}@eth0", pod.container))
}

/// The JSON of each line.
fn lines(pod: &Pod<'_>) -> Vec<Value> {
    let text = fs::read_to_string(path(pod)).unwrap();
    text.lines().map(|line| serde_json::from_str(line.get(9..).unwrap()).unwrap()).collect()
}

fn write(pod: &Pod<'_>, lines: &[Value]) {
    let line = |value: &Value| {
        let json = value.to_string();
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
    };
    fs::write(path(pod), lines.iter().map(line).collect::<String>()).unwrap();
}

/// A record as Braid 0.1 has written it: no header, and no word of what has come since.
fn as_of_0_1(pod: &Pod<'_>) {
    let mut lines = lines(pod);
    let plan = lines[0].as_object_mut().unwrap();
    for key in ["summary", "sum", "primary", "declined"] {
        plan.remove(key);
    }
    for attachment in plan["attachments"].as_array_mut().unwrap() {
        attachment.as_object_mut().unwrap().remove("origin");
    }
    plan["netns"].as_object_mut().unwrap().remove("cookie");
    for line in &mut lines[1..] {
        let links = line.pointer_mut("/complete/links").and_then(Value::as_array_mut);
        for link in links.into_iter().flatten() {
            let link = link.as_object_mut().unwrap();
            link.remove("parent");
            link["mtu"] = Value::Null;
        }
    }
    write(pod, &lines);
}

#[test]
fn a_record_of_braid_0_1_grows_and_shrinks() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue,red@data0");
    as_of_0_1(&web);
    attach(&node, &["green"]).assert_status(0);
    detach(&node, "net1").assert_status(0);
    must_have(&web, &["eth0", "data0", "net2"]);
    must_end_clean(&web, &before);
}

/// What an older Braid does not know, it passes over; the plan itself has what it tears down.
#[test]
fn a_record_that_has_grown_is_whole_for_an_older_braid() {
    let node = node();
    let web = running(&node, "blue");
    attach(&node, &["red"]).assert_status(0);
    let lines = lines(&web);
    let plan = &lines[0];
    assert_eq!(plan["layout"], 1);
    let interfaces = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|it| it["interface"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(interfaces(&plan["attachments"]), ["eth0", "net1", "net2"]);
    assert_eq!(interfaces(&plan["summary"]), ["eth0", "net1", "net2"]);
    let events: Vec<&String> =
        lines[1..].iter().flat_map(|line| line.as_object().unwrap().keys()).collect();
    assert_eq!(events, ["attached", "attached", "complete", "pending", "attached", "complete"]);
}

/// An event and a source that only a later Braid knows cost nothing of the rest.
#[test]
fn what_a_later_braid_adds_is_passed_over() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue");
    let mut lines = lines(&web);
    let plan = lines[0].as_object_mut().unwrap();
    plan.remove("summary");
    plan.remove("sum");
    plan.insert("later".to_owned(), json!({"x": 1}));
    plan["attachments"][1]["origin"] = json!({"from": "moon", "phase": 3});
    lines.push(json!({"later": [1, 2]}));
    write(&web, &lines);
    attach(&node, &["red"]).assert_status(0);
    must_have(&web, &["eth0", "net1", "net2"]);
    must_end_clean(&web, &before);
}

/// Many changes leave no trace of those before.
#[test]
fn a_record_is_no_larger_for_having_changed_often() {
    let node = node();
    let web = running(&node, "blue");
    let size = |pod: &Pod<'_>| fs::metadata(path(pod)).unwrap().len();
    let change = |node: &Node| {
        attach(node, &["red"]).assert_status(0);
        detach(node, "net2").assert_status(0);
    };
    change(&node);
    let first = size(&web);
    for _ in 0..5 {
        change(&node);
    }
    assert_eq!(size(&web), first);
}
