//! Attaches and detaches that are killed, and calls that come meanwhile.

use std::io::Read;
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;

use super::{attach, braid, detach, must_end_clean, must_have, node, running};
use crate::node::{BRAID, Node};
use crate::pod::Pod;

/// `braid attach` or `detach`, started and killed once a plugin works for it.
fn killed(node: &Node, arguments: &[&str], call: &str) {
    let conf_dir = node.path_text("net.d");
    let mut command = node.host().command(BRAID);
    let path = std::env::var("PATH").unwrap_or_default();
    command.args([arguments, &["--conf-dir", &conf_dir]].concat()).env_clear().env("PATH", path);
    let mut child = command.spawn().unwrap();
    node.wait_for_call(call);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
}

fn killed_attach<'n>(node: &'n Node) -> Pod<'n> {
    let web = running(node, "blue");
    node.forget_calls();
    node.script("red", json!({"ADD": {"link": true, "sleep_ms": 20000}}));
    killed(node, &["attach", "team-a/web", "red"], "ADD red net2");
    node.script("red", json!({}));
    node.forget_calls();
    web
}

#[test]
fn a_killed_attach_is_taken_away_by_the_next_change() {
    let node = node();
    let before = node.dump();
    let web = killed_attach(&node);
    web.check().run().assert_success();
    attach(&node, &["green"]).assert_status(0);
    assert_eq!(node.calls_in_order().last().unwrap(), "ADD green net2");
    assert!(node.calls_in_order().contains(&"DEL red net2".to_owned()));
    must_have(&web, &["eth0", "net1", "net2"]);
    must_end_clean(&web, &before);
}

#[test]
fn a_killed_attach_is_taken_away_by_repair() {
    let node = node();
    let before = node.dump();
    let web = killed_attach(&node);
    let said = braid(&node, &["repair", "team-a/web"]).assert_status(0);
    assert!(said.stdout.contains("its attach or detach has not ended"), "{}", said.stdout);
    must_have(&web, &["eth0", "net1"]);
    must_end_clean(&web, &before);
}

#[test]
fn a_killed_attach_is_torn_down_by_del() {
    let node = node();
    let before = node.dump();
    let web = killed_attach(&node);
    must_end_clean(&web, &before);
    assert!(node.calls_in_order().contains(&"DEL red net2".to_owned()));
}

#[test]
fn a_killed_detach_is_ended_by_the_next_one() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue,red");
    node.forget_calls();
    node.script("blue", json!({"DEL": {"sleep_ms": 20000}}));
    killed(&node, &["detach", "team-a/web", "net1"], "DEL blue net1");
    node.script("blue", json!({}));
    web.check().run().assert_success();
    detach(&node, "net1").assert_status(0);
    must_have(&web, &["eth0", "net2"]);
    must_end_clean(&web, &before);
}

/// DEL waits for the attach, and takes what it has made.
#[test]
fn a_del_waits_for_an_attach_that_is_under_way() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue");
    node.forget_calls();
    node.script("red", json!({"ADD": {"sleep_ms": 700}}));
    std::thread::scope(|scope| {
        let attaching = scope.spawn(|| attach(&node, &["red"]).status);
        node.wait_for_call("ADD red net2");
        web.del().run().assert_success();
        assert_eq!(attaching.join().unwrap(), 0);
    });
    assert_eq!(node.leftovers(&before), crate::node::NOTHING);
    let said = attach(&node, &["red"]).assert_status(1);
    assert!(said.stderr.contains("no record of"), "{}", said.stderr);
}

/// What the runtime says when it has the pod.
fn gc(web: &Pod<'_>) -> crate::call::Outcome {
    let valid = json!([{"containerID": web.container, "ifname": "eth0"}]);
    let scope = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": valid});
    web.node
        .call("GC", json!({"delegates": [crate::operator::records::primary()]}))
        .with(scope)
        .run()
}

#[test]
fn a_killed_attach_is_taken_away_by_gc() {
    let node = node();
    let before = node.dump();
    let web = killed_attach(&node);
    gc(&web).assert_success();
    assert_eq!(node.calls_in_order().first().unwrap(), "DEL red net2");
    must_have(&web, &["eth0", "net1"]);
    must_end_clean(&web, &before);
}

#[test]
fn gc_leaves_an_attach_alone_that_is_at_work() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue");
    node.forget_calls();
    node.script("red", json!({"ADD": {"sleep_ms": 1500}}));
    std::thread::scope(|scope| {
        let attaching = scope.spawn(|| attach(&node, &["red"]));
        node.wait_for_call("ADD red net2");
        gc(&web).assert_success();
        attaching.join().unwrap().assert_status(0);
    });
    must_have(&web, &["eth0", "net1", "net2"]);
    must_end_clean(&web, &before);
}

#[test]
fn a_killed_attach_is_taken_away_by_keep() {
    let node = node();
    let before = node.dump();
    let web = killed_attach(&node);
    let (conf_dir, bin_dir) = (node.path_text("net.d"), node.path_text("bin"));
    let mut keep = node
        .host()
        .command(BRAID)
        .args(["keep", "--conf-dir", &conf_dir, "--bin-dir", &bin_dir])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What it has begun it ends.
    node.wait_for_call("DEL red net2");
    let id = Pid::from_raw(i32::try_from(keep.id()).unwrap());
    nix::sys::signal::kill(id, Signal::SIGTERM).unwrap();
    let status = keep.wait().unwrap();
    let mut said = String::new();
    keep.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{status}: {said}");
    assert!(
        said.contains("taken back: team-a/web: an attach or a detach that was killed"),
        "{said}"
    );
    must_have(&web, &["eth0", "net1"]);
    must_end_clean(&web, &before);
}
