//! The page of addresses: its rights are enough, its network is valid, its commands do what is
//! said.

use std::process::{Command, Output};

use serde_json::json;

use super::REPOSITORY;
use super::page::{block, blocks};
use crate::apiserver::{ApiServer, Setup, User};
use crate::kustomize::documents;
use crate::node::BRAID;

/// A cluster on which the page's manifests are applied.
struct Cluster {
    server: ApiServer,
}

impl Cluster {
    fn new() -> Self {
        Self { server: ApiServer::bare_with(Setup::default()) }
    }

    /// What `kubectl apply -f` would do.
    fn apply(&self, file: &str) {
        for document in documents(&std::path::Path::new(REPOSITORY).join(file)) {
            let kind = document["kind"].as_str().unwrap();
            let mut objects = self.server.objects();
            match kind {
                "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => {
                    objects.rbac.add(document);
                }
                _ => objects.put(document),
            }
        }
    }

    /// Each line of a block, with the administrator's kubeconfig.
    fn run(&self, text: &str) -> Vec<Output> {
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.filter_map(|line| self.run_line(line)).collect()
    }

    fn run_line(&self, line: &str) -> Option<Output> {
        if let Some(files) = line.strip_prefix("kubectl apply -f ") {
            files.split(" -f ").for_each(|file| self.apply(file));
            return None;
        }
        let arguments =
            line.strip_prefix("braid ").unwrap_or_else(|| panic!("{line} is not known"));
        let mut command = Command::new(BRAID);
        command.args(arguments.split(' ')).env_clear();
        let kubeconfig = self.server.administrators_kubeconfig();
        Some(command.arg("--kubeconfig").arg(kubeconfig).output().unwrap())
    }

    fn pod(&self, name: &str, phase: &str, address: &str) {
        let status = json!([{"name": "team-a/lan", "interface": "net1", "ips": [address]}]);
        let annotations = json!({"k8s.v1.cni.cncf.io/network-status": status.to_string()});
        self.server.objects().put(json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {}, "status": {"phase": phase},
            "metadata": {"namespace": "team-a", "name": name, "annotations": annotations},
        }));
    }
}

#[test]
fn the_rights_for_addresses_are_applied_and_are_enough() {
    let cluster = Cluster::new();
    cluster.run(&block("addresses", "rights").text);
    let said = cluster.run(&block("addresses", "reconcile").text);
    assert!(said[0].status.success(), "{said:?}");
    let objects = cluster.server.objects();
    assert!(objects.get("cronjobs", "braid", "braid-addresses").is_some());
    let right = |verb: &str, resource: &str| crate::apiserver::Right {
        verb: verb.to_owned(),
        group: "whereabouts.cni.cncf.io".to_owned(),
        resource: resource.to_owned(),
    };
    let allowed = |user: &User, verb, resource| {
        objects.rbac.allows(user, &right(verb, resource), "kube-system", None)
    };
    let (node, job) = (User::braid(), User::service_account("braid", "braid-addresses"));
    assert!(allowed(&node, "patch", "ippools") && !allowed(&node, "list", "ippools"));
    assert!(allowed(&job, "list", "ippools") && !allowed(&job, "create", "ippools"));
}

/// The page's network is one that the program takes.
#[test]
fn the_network_of_the_page_of_addresses_is_valid() {
    let definition = block("address-definition", "lan");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lan.yaml");
    std::fs::write(&file, &definition.text).unwrap();
    let output = Command::new(BRAID).arg("validate").arg(file).env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_screen_of_addresses_is_as_shown() {
    let cluster = Cluster::new();
    cluster.apply("conf/kubernetes/optional/crd-addresses.yaml");
    cluster.pod("web", "Running", "10.9.0.10");
    cluster.pod("db", "Pending", "");
    let entry = |id: &str, pod: &str| json!({"id": id, "podref": format!("team-a/{pod}"), "ifname": "net1"});
    cluster.server.objects().put(json!({
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool",
        "metadata": {"namespace": "kube-system", "name": "10.9.0.0-20"},
        "spec": {"range": "10.9.0.0/20", "allocations": {
            "10": entry("3f1c9a2b7d4e5f60", "web"), "11": entry("8b0d1e6f2a3c4d5e", "db"),
            "12": entry("c5a7e9b1d3f20a4c", "gone"),
        }},
    }));
    let shown = &block("address-screen", "list").text;
    let commands = shown.lines().filter_map(|line| line.strip_prefix("$ "));
    let said: String = commands
        .map(|command| {
            let output = cluster.run_line(command).unwrap();
            format!("$ {command}\n{}", String::from_utf8(output.stdout).unwrap())
        })
        .collect();
    assert_eq!(said, *shown);
    assert_eq!(blocks("address-screen").len() + blocks("addresses").len(), 3);
}
