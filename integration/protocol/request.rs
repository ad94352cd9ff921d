//! What comes in: verbs, variables and standard input, and the errors of what cannot be read.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::node::{BRAID, Node, text};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

#[test]
fn version_lists_every_version() {
    let node = Node::new();
    for version in VERSIONS {
        let printed = node
            .call("VERSION", json!({}))
            .input(format!("{{\"cniVersion\": \"{version}\"}}"))
            .run();
        let printed = printed.assert_success();
        assert_eq!(printed, json!({"cniVersion": version, "supportedVersions": VERSIONS}));
    }
    for input in ["", "garbage", "{}", "{\"cniVersion\": \"7.0.0\"}"] {
        let printed = node.call("VERSION", json!({})).input(input).run().assert_success();
        assert_eq!(printed["supportedVersions"], json!(VERSIONS), "{input}");
    }
}

#[test]
fn without_a_command_it_shows_help_and_reads_nothing() {
    let mut child = Command::new(BRAID)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let never_closed = child.stdin.take();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = child.try_wait().unwrap();
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    drop(never_closed);
    assert!(ended.expect("it waits for standard input").success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("CNI"), "{output:?}");
}

#[test]
fn missing_variables_are_named_at_once() {
    let node = Node::new();
    let table: [(&str, &[&str]); 3] = [
        ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]),
    ];
    for (verb, missing) in table {
        let error = node.call(verb, json!({})).run().assert_error(4, [verb]);
        for name in missing {
            assert!(text(&error["msg"]).contains(name), "{verb} does not name {name}: {error:?}");
        }
    }
    let pod = node.pod("team-a", "web");
    pod.add(json!({}))
        .env("CNI_CONTAINERID", "../x")
        .env("CNI_IFNAME", "a/b")
        .run()
        .assert_error(4, ["CNI_CONTAINERID", "CNI_IFNAME"]);
}

#[test]
fn requests_that_cannot_be_read_have_the_codes_of_the_specification() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.add(json!({"cniVersion": "9.9.9"})).run().assert_error(1, ["9.9.9", "1.1.0"]);
    for garbage in ["", "garbage", "[]", "{\"name\": \"x\"", "\u{0}"] {
        pod.add(json!({})).input(garbage).run().assert_error(6, ["standard input"]);
    }
    pod.add(json!({"name": null})).run().assert_error(7, ["name"]);
    node.call("add", json!({})).run().assert_error(4, ["CNI_COMMAND", "add"]);
    node.call("", json!({})).run().assert_error(4, ["CNI_COMMAND"]);
}

#[test]
fn errors_come_in_the_version_of_the_request() {
    let node = Node::new();
    for version in VERSIONS {
        let error =
            node.pod("team-a", "web").add(json!({"cniVersion": version})).run().assert_error(7, []);
        assert_eq!(error["cniVersion"], version);
    }
}

#[test]
fn keys_of_braid_are_read_in_any_case() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.define("team-b", "green", json!({"type": "blue"}));
    let pod = node.pod("team-a", "web");
    let mut config = node.delegating();
    config["readinessIndicatorFile"] = json!(node.path("absent"));
    config["readinesstimeout"] = json!("50ms");
    pod.add(config).run().assert_error(11, ["readinessindicatorfile"]);
    pod.add(node.delegating()).networks("team-b/green").run().assert_error(7, ["team-b/green"]);
    pod.add(node.delegating())
        .with(json!({"NAMESPACEISOLATION": false}))
        .networks("team-b/green")
        .run()
        .assert_success();
}

#[test]
fn a_namespace_that_is_none_is_refused() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    for path in ["/nowhere", "/etc/passwd", "/proc/self/ns/mnt", "/dev/null"] {
        pod.add(node.delegating()).env("CNI_NETNS", path).run().assert_error(4, [path]);
    }
    let host = node.host().path();
    pod.add(node.delegating()).env("CNI_NETNS", &host).run().assert_error(4, ["the host's own"]);
    assert_eq!(node.calls_in_order(), Vec::<String>::new());
}
