//! Cluster-wide addresses that the node's pods hold.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{arguments, node};
use crate::apiserver::{ApiServer, Setup};
use crate::node::{BRAID, Node};

const NAMESPACE: &str = "kube-system";

fn doctor(node: &Node) -> String {
    let output =
        Command::new(BRAID).args(arguments(node, "containerd", &[])).env_clear().output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A server with a pool in which so many addresses are taken.
pub(crate) fn server(taken: u32) -> ApiServer {
    let manifests = vec!["rbac.yaml", "rbac-addresses.yaml"];
    let server = ApiServer::with(Setup { manifests, ..Setup::default() });
    let entry = |at: u32| (at.to_string(), json!({"id": "c", "podref": "shop/web"}));
    let entries: serde_json::Map<String, Value> = (1..=taken).map(entry).collect();
    server.objects().put(json!({
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool",
        "metadata": {"namespace": NAMESPACE, "name": "10.9.0.0-28"},
        "spec": {"range": "10.9.0.0/28", "allocations": entries},
    }));
    server
}

/// What the plugin has written down of an attachment.
pub(crate) fn journal(node: &Node, server: &ApiServer, kubeconfig: &Path, more: Value) {
    let mut header = json!({
        "version": 1, "server": server.name(), "namespace": NAMESPACE, "kubeconfig": kubeconfig, "network": "lan",
        "caller": "runtime", "container": "c", "interface": "net1", "podref": "shop/web", "overlapping": true,
        "made": 1_700_000_000,
    });
    header.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let written = json!({"pool": "10.9.0.0-28", "offset": "1", "address": "10.9.0.1"});
    node.write("state/addresses/held/c@net1", &format!("{header}\n{written}\n"));
}

#[test]
fn a_pool_that_is_nearly_full_is_a_warning() {
    for (taken, is_nearly_full) in [(12, false), (13, true)] {
        let server = server(taken);
        let kubeconfig = server.usual_kubeconfig();
        let node = node(json!({"kubeconfig": kubeconfig}), json!({}));
        journal(&node, &server, &kubeconfig, json!({}));
        let said = doctor(&node);
        let line = "warn  addresses     pool 10.9.0.0-28 has 13 of 14 addresses in use";
        assert_eq!(said.contains(line), is_nearly_full, "{said}");
    }
}

/// A pool is one object, whatever its range: from 256 KiB on each ADD feels it.
#[test]
fn a_pool_that_is_large_is_a_warning() {
    let server = server(0);
    let entry = |at: u32| {
        let podref = format!("shop/{}-{at}", "web".repeat(60));
        (at.to_string(), json!({"id": format!("{at:064}"), "podref": podref, "ifname": "net1"}))
    };
    let entries: serde_json::Map<String, Value> = (1..=1000).map(entry).collect();
    server.objects().put(json!({
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool",
        "metadata": {"namespace": NAMESPACE, "name": "10.9.0.0-28"},
        "spec": {"range": "10.9.0.0/16", "allocations": entries},
    }));
    let kubeconfig = server.usual_kubeconfig();
    let node = node(json!({"kubeconfig": kubeconfig}), json!({}));
    journal(&node, &server, &kubeconfig, json!({}));
    let said = doctor(&node);
    let words = "KiB, which each ADD and DEL reads and writes";
    let line =
        said.lines().find(|line| line.starts_with("warn  addresses     pool 10.9.0.0-28 has"));
    assert!(line.is_some_and(|line| line.contains(words)), "{said}");
}

/// A definition may have a directory of its own for the journal, which the node's own notes.
#[test]
fn a_journal_in_a_directory_of_its_own_is_read() {
    let server = server(13);
    let kubeconfig = server.usual_kubeconfig();
    let node = node(json!({"kubeconfig": kubeconfig}), json!({}));
    journal(&node, &server, &kubeconfig, json!({}));
    std::fs::rename(node.path("state/addresses"), node.path("own")).unwrap();
    assert!(!doctor(&node).contains("pool 10.9.0.0-28"));
    node.write("state/addresses/elsewhere/1", &node.path_text("own"));
    let said = doctor(&node);
    assert!(said.contains("pool 10.9.0.0-28 has 13 of 14 addresses in use"), "{said}");
}

/// Its process is known by its name: here a `sleep` that has it.
#[test]
fn whereabouts_reconciler_beside_addresses_that_are_kept_is_a_failure() {
    let server = server(1);
    let kubeconfig = server.usual_kubeconfig();
    let node = node(json!({"kubeconfig": kubeconfig}), json!({}));
    let program = node.path("ip-control-loop");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let mut reconciler = Command::new(program).arg("60").spawn().unwrap();
    let line = "fail  addresses     whereabouts' reconciler runs here";
    journal(&node, &server, &kubeconfig, json!({}));
    let without = doctor(&node);
    journal(&node, &server, &kubeconfig, json!({"sticky": 600}));
    let with = doctor(&node);
    reconciler.kill().unwrap();
    reconciler.wait().unwrap();
    assert!(!without.contains(line) && with.contains(line), "{without}\n{with}");
}
