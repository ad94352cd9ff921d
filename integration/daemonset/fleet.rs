//! A cluster that moves from Multus to Braid and back, node by node, by the DaemonSet of
//! `conf/kubernetes/migration`: three nodes with root directories of their own, and one API server.
//!
//! `fixtures` holds what Multus's own manifests leave on a node, per version and kind: the
//! runtime's directory, and for the thick plugin what its daemon is told.

mod failures;
mod fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::kubernetes;
use crate::apiserver::ApiServer;
use crate::kustomize::{object, render};
use crate::node::{BRAID, Node, text};

/// The label that says what a node is to run.
const LABEL: &str = "braid-cni.example/network";
/// The manifests that are in force.
const RIGHTS: [&str; 3] = ["rbac.yaml", "rbac-installer.yaml", "rbac-nodes.yaml"];

fn objects(runtime: &str) -> Vec<Value> {
    render(&kubernetes().join("migration").join(runtime))
}

fn server(node: &Node, objects: &[Value]) -> Rc<ApiServer> {
    Cluster::server(node, RIGHTS.to_vec(), objects)
}

/// A node of the cluster as Multus's manifest leaves it.
fn multus_node<'n>(
    node: &'n Node,
    name: &str,
    server: &Rc<ApiServer>,
    objects: &[Value],
    fixture: &str,
) -> Cluster<'n> {
    let cluster =
        Cluster::of(node, &format!("{name}-"), server.clone(), objects, PathBuf::from(BRAID));
    label(server, name, None);
    for (file, contents) in files(&fixtures::directory(fixture)) {
        match file.as_str() {
            "daemon-config.json" => {
                fs::create_dir_all(cluster.daemon_config()).unwrap();
                fs::write(cluster.daemon_config().join(file), contents).unwrap();
            }
            _ => cluster.host.write(&cluster.conf(&file), str::from_utf8(&contents).unwrap()),
        }
    }
    for plugin in ["multus", "multus-shim"] {
        let path = format!("{}/{plugin}", cluster.variable("BIN_DIR"));
        cluster.host.copy(Path::new("/bin/true"), &path);
    }
    cluster
}

/// Every file below a directory, by its path in it.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn make_executable(path: &Path) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Sets or removes the label of a node, as `kubectl label` does.
fn label(server: &ApiServer, node: &str, value: Option<&str>) {
    let labels = value.map_or(json!({}), |value| json!({LABEL: value}));
    server.objects().put(json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels},
    }));
}

impl Cluster<'_> {
    fn conf_files(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.host.path(&self.variable("CONF_DIR")))
    }

    /// What the runtime reads first.
    fn first(&self) -> String {
        let is_read = |name: &&String| {
            !name.contains('/') && (name.ends_with(".conf") || name.ends_with(".conflist"))
        };
        self.conf_files().keys().find(is_read).unwrap().clone()
    }
}

/// What Multus remembers of a pod that it has attached to the primary network and to `blue`, with
/// the addresses that host-local keeps for it.
fn started_by_multus(cluster: &Cluster<'_>, container: &str) {
    let conf = |name: &str, bridge: &str, subnet: &str| {
        let plugin = json!({
            "cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": bridge,
            "ipam": {"type": "host-local", "subnet": subnet},
        });
        json!({
            "Conf": {"cniVersion": "1.0.0", "name": name, "type": "bridge", "ipam": {"type": "host-local"}, "dns": {}},
            "ConfList": {"dns": {}}, "Name": name, "Bytes": STANDARD.encode(plugin.to_string()),
        })
    };
    let mut delegates =
        [conf("cluster", "cni0", "10.244.0.0/24"), conf("blue", "blue", "10.20.0.0/24")];
    delegates[0]["MasterPlugin"] = json!(true);
    delegates[1]["IfnameRequest"] = json!("net1");
    let path = format!("/var/lib/cni/multus/{container}");
    cluster.host.write(&path, &json!(delegates).to_string());
    for (network, address, interface) in
        [("cluster", "10.244.0.9", "eth0"), ("blue", "10.20.0.9", "net1")]
    {
        cluster.host.write(
            &format!("/var/lib/cni/networks/{network}/{address}"),
            &format!("{container}\r\n{interface}"),
        );
    }
}

#[test]
fn three_nodes_move_by_label_and_by_the_rollout_and_go_back() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    let names = [("n1", "4.2-thin"), ("n2", "4.1-thick"), ("n3", "4.0-thin")];
    let mut nodes =
        names.map(|(name, fixture)| multus_node(&node, name, &server, &objects, fixture));
    let before = nodes.each_ref().map(|node| node.conf_files());
    let definition =
        || server.objects().get("network-attachment-definitions", "team-a", "blue").cloned();
    let defined = definition();

    // The manifest as it is shows what would change.
    for (node, before) in nodes.iter().zip(&before) {
        node.installed();
        assert_eq!(node.conf_files(), *before);
        let report = node.report();
        assert!(
            report.starts_with("runs multus; a migration would make ")
                && report.lines().count() == 1,
            "{report}"
        );
    }

    // The canary: one node is labelled, and its pod notices.
    let pod = node.pod("team-a", "web");
    started_by_multus(&nodes[0], &pod.container);
    label(&server, "n1", Some("braid"));
    let keeper = nodes[0].keep();
    keeper.wait_until("migrated", || nodes[0].first() == "00-braid.conflist");
    keeper.wait_until_it_waits();
    assert_eq!(nodes[1].conf_files(), before[1], "the others stay Multus's");
    assert_eq!(nodes[2].conf_files(), before[2]);
    let entry = nodes[0].entry();
    assert_eq!(text(&entry["kubeconfig"]), nodes[0].conf("braid.d/braid.kubeconfig"));
    assert_eq!(entry["namespaceIsolation"], true, "as Multus had it");
    nodes[0].call("DEL", &pod, "blue").run().assert_success();
    let remembered = nodes[0].host.path(&format!("/var/lib/cni/multus/{}", pod.container));
    let address = nodes[0].host.path("/var/lib/cni/networks/blue/10.20.0.9");
    assert!(!remembered.exists() && !address.exists(), "a pod of Multus's is torn down wholly");

    // A new pod there has its networks and its status, by Braid's own account.
    let result = nodes[0].call("ADD", &pod, "blue").run().assert_success();
    assert_eq!(pod.addresses("net1"), ["10.20.0.2/24"]);
    let status = server.objects().get("pods", "team-a", "web").cloned().unwrap();
    let status = &status["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"];
    assert!(text(status).contains("team-a/blue"), "{status}");
    keeper.stop();
    let (code, log) = keeper.end();
    assert_eq!(code, Some(0), "{log}");

    // The others follow with the mode, as the rollout replaces their pods.
    for node in &mut nodes[1..] {
        node.set_variable("MODE", "migrate");
        node.installed();
        assert_eq!(node.first(), "00-braid.conflist");
        assert!(node.report().starts_with("runs braid; "), "{}", node.report());
    }
    assert_eq!(nodes[1].entry()["globalNamespaces"], "default,ops", "the daemon's word");
    nodes[2].installed();
    assert_eq!(nodes[2].report(), "runs braid; 0 changes made\n");

    // One goes back by its label, whatever the mode says; its pods with it.
    let state = nodes[0].host.path("/var/lib/cni/braid/records");
    nodes[0].set_variable("MODE", "migrate");
    label(&server, "n1", Some("multus"));
    nodes[0].installed();
    assert_eq!(nodes[0].first(), "00-multus.conflist");
    assert!(remembered.exists() && fs::read_dir(&state).unwrap().next().is_none());
    assert_eq!(pod.addresses("net1"), ["10.20.0.2/24"], "and runs on");
    // And forth again, so that Braid tears it down by what Multus was told.
    label(&server, "n1", None);
    nodes[0].installed();
    nodes[0].call("DEL", &pod, "blue").prev_result(result).run().assert_success();
    assert!(!remembered.exists() && pod.links().is_empty());

    for (node, before) in nodes.iter_mut().zip(&before) {
        node.set_variable("MODE", "migrate-back");
        node.installed();
        assert_eq!(node.conf_files(), *before, "byte for byte, and no credential is left");
        assert!(node.report().starts_with("runs multus; "), "{}", node.report());
        node.installed();
    }
    assert_eq!(definition(), defined, "definitions stay");
    let rights = server.objects().rights.clone();
    assert!(rights.iter().all(|(_, granted)| *granted), "{rights:?}");
}

/// The manifests of every runtime: the DaemonSet's own arguments, and a few more.
#[test]
fn a_migration_has_one_right_more_and_the_overlays_arguments() {
    for runtime in super::OVERLAYS {
        let (plain, more) =
            (render(&kubernetes().join("overlays").join(runtime)), objects(runtime));
        let added: Vec<&str> = more
            .iter()
            .filter(|each| {
                !plain.iter().any(|known| {
                    known["kind"] == each["kind"]
                        && known["metadata"]["name"] == each["metadata"]["name"]
                })
            })
            .map(|each| text(&each["metadata"]["name"]))
            .collect();
        assert_eq!(added, ["braid-node-label"; 2], "{runtime}");
        let container = |objects: &[Value], list: &str| {
            object(objects, "DaemonSet", "braid")["spec"]["template"]["spec"][list][0].clone()
        };
        for list in ["initContainers", "containers"] {
            let arguments =
                |objects: &[Value]| container(objects, list)["args"].as_array().unwrap().clone();
            let (plain, more) = (arguments(&plain), arguments(&more));
            assert_eq!(more[..plain.len()], plain[..], "{runtime}");
            assert_eq!(more[plain.len() + 1], format!("--node-label={LABEL}"), "{runtime}");
        }
    }
}
