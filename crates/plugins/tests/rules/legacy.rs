//! iptables over the kernel's older interface, whose lock its calls wait for.

use std::os::unix::fs::symlink;
use std::thread;

use cni::request::Command::{self, Add, Check, Del};
use serde_json::{Value, json};

use super::node::Who::Ours;
use super::node::{About, Node, path_of};

/// A directory in which the usual names are those of the older programs.
fn programs() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for family in ["iptables", "ip6tables"] {
        for (name, older) in [("", "-legacy"), ("-restore", "-legacy-restore")] {
            let program = format!("/usr/sbin/{family}{older}");
            symlink(program, directory.path().join(format!("{family}{name}"))).unwrap();
        }
    }
    directory
}

fn network(node: &Node, kind: &str, at: u16) -> Value {
    let ips = json!([{"address": format!("10.1.0.{}/24", at + 10)}, {"address": format!("fd01::{at:x}a/64")}]);
    let mapping = json!({"hostPort": 8000 + at, "containerPort": 80, "protocol": "tcp"});
    let sandbox = path_of(&node.container);
    json!({
        "cniVersion": "1.0.0", "name": "blue", "type": kind, "backend": "iptables",
        "runtimeConfig": {"portMappings": [mapping]},
        "prevResult": {"cniVersion": "1.0.0", "ips": ips, "interfaces": [{"name": "eth0", "sandbox": sandbox}]},
    })
}

#[test]
fn calls_at_once_wait_for_each_other_and_leave_nothing() {
    let node = Node::new();
    node.on_host(
        "ip link add br0 type bridge; ip link set br0 up; ip addr add 10.1.0.1/24 dev br0",
    );
    let programs = programs();
    let path = programs.path().display().to_string();
    let saved = || node.on_host("iptables-legacy-save; ip6tables-legacy-save");
    let all = |kind: &str, verb: Command| {
        let call = |at: u16| {
            let id = format!("at-once-{at}");
            let about = About { path: path.clone(), ..node.about(&id, "eth0") };
            let outcome = node.call(Ours, verb, &network(&node, kind, at), &about);
            outcome.unwrap_or_else(|error| panic!("{verb} of {kind}: {error}"));
        };
        let call = &call;
        thread::scope(|scope| (0..8).for_each(|at| drop(scope.spawn(move || call(at)))));
    };
    for (kind, shared) in [
        ("portmap", "--dst-type LOCAL -j CNI-HOSTPORT-DNAT"),
        ("firewall", "rules\" -j CNI-FORWARD"),
    ] {
        all(kind, Add);
        let count = saved().matches(shared).count();
        assert!(count == if kind == "portmap" { 4 } else { 2 }, "{count} times {shared}");
        all(kind, Check);
        all(kind, Del);
        let left = saved();
        assert!(
            !left.contains("at-once") && !left.contains("10.1.0.") && !left.contains("fd01"),
            "{left}"
        );
    }
    assert_eq!(node.rules(), "", "the newer interface has some");
}
