//! The commands of docs/fleet.md and docs/upgrading.md: each names what there is. What they do on
//! nodes is tested in `daemonset::fleet`.

use std::path::Path;

use serde_json::Value;

use super::REPOSITORY;
use super::page::{block, blocks};
use crate::kustomize;
use crate::node::text;

const LABEL: &str = "braid-cni.example/network";
const BLOCKS: [&str; 9] = [
    "daemon-config",
    "plan",
    "report",
    "canary",
    "roll-out",
    "roll-back",
    "end",
    "upgrade",
    "undo",
];

fn rendered(directory: &str) -> Vec<Value> {
    kustomize::render(&Path::new(REPOSITORY).join(directory))
}

/// The DaemonSet's containers, both lists.
fn containers(objects: &[Value]) -> Vec<Value> {
    let spec = &kustomize::object(objects, "DaemonSet", "braid")["spec"]["template"]["spec"];
    let lists = ["initContainers", "containers"].map(|list| spec[list].as_array().unwrap().clone());
    lists.concat()
}

#[track_caller]
fn assert_label(word: &str) {
    let value = word.strip_prefix(LABEL).unwrap_or_else(|| panic!("{word}"));
    assert!(["=braid", "=multus", "-"].contains(&value), "{word}");
}

/// A command that is not known here fails.
fn check(command: &str) {
    let migration = rendered("conf/kubernetes/migration/containerd");
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["kubectl", "apply", "-f", file] => {
            let documents = kustomize::documents(&Path::new(REPOSITORY).join(file));
            documents.iter().for_each(kustomize::check);
        }
        ["kubectl", "apply", "-k", directory] => drop(rendered(directory)),
        ["kubectl", "label", "node" | "nodes", rest @ ..] => {
            let label: Vec<_> = rest.iter().filter(|word| word.contains('/')).collect();
            assert_eq!(label.len(), 1, "{command}");
            assert_label(label[0]);
            let overwrites = rest.contains(&"--overwrite");
            assert_eq!(overwrites, label[0].ends_with("=multus"), "{command}");
        }
        ["kubectl", "-n", "braid", "set", "env", "daemonset/braid", variable] => {
            let (name, value) = variable.split_once('=').unwrap();
            let has_it = |container: &Value| {
                container["env"].as_array().unwrap().iter().any(|it| it["name"] == name)
            };
            assert!(containers(&migration).iter().all(has_it), "{command}");
            assert!(["migrate-dry-run", "migrate", "migrate-back"].contains(&value), "{command}");
        }
        // A DaemonSet's name would be that of any of its pods: the node's own is asked for.
        ["kubectl", "-n", "braid", "logs", "-c", name, pod @ ..] => {
            let pod = pod.join(" ").replace("--follow ", "");
            let of_node =
                "$(kubectl -n braid get pods --field-selector spec.nodeName=worker-1 -o name)";
            assert_eq!(pod, of_node, "{command}");
            assert!(containers(&migration).iter().any(|it| it["name"] == *name), "{command}");
        }
        ["kubectl", "-n", "braid", "create", "configmap", name, from] => {
            let spec = &kustomize::object(&migration, "DaemonSet", "braid")["spec"];
            let volumes = spec["template"]["spec"]["volumes"].as_array().unwrap();
            assert!(volumes.iter().any(|it| it["configMap"]["name"] == *name), "{command}");
            let file = from.strip_prefix("--from-file=").unwrap();
            let argument = format!("--daemon-config=/etc/multus/{file}");
            let takes =
                |it: &Value| it["args"].as_array().unwrap().contains(&argument.clone().into());
            assert!(containers(&migration).iter().all(takes), "{command}");
        }
        ["kubectl", "delete", "clusterrole,clusterrolebinding", name] => {
            for kind in ["ClusterRole", "ClusterRoleBinding"] {
                kustomize::object(&migration, kind, name);
            }
        }
        ["kubectl", "-n", "braid", "get", "pods", "-o", columns] => {
            assert!(columns.contains("initContainerStatuses[0].state.terminated.message"));
            let first = &containers(&migration)[0];
            assert!(
                first["args"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|it| *it == "--report=/dev/termination-log")
            );
            assert_eq!(text(&first["terminationMessagePolicy"]), "FallbackToLogsOnError");
        }
        ["kubectl", "-n", "braid", "set", "image", "daemonset/braid", images @ ..] => {
            let names: Vec<Value> =
                containers(&migration).iter().map(|it| it["name"].clone()).collect();
            let set = images.iter().map(|it| it.split_once('=').unwrap());
            let (set, image): (Vec<&str>, Vec<&str>) = set.unzip();
            assert_eq!(set, names);
            assert!(image.iter().all(|image| *image == crate::image::NAME), "{command}");
        }
        ["kubectl", "-n", "braid", "rollout", "undo", "daemonset/braid"] => {}
        // Multus's own names, of its manifests.
        ["kubectl", "-n", "kube-system", "delete", "daemonset", "kube-multus-ds"]
        | ["kubectl", "-n", "kube-system", "get", "configmap", "multus-daemon-config", ..]
        | ["kubectl", "-n", "braid", "rollout", "status", "daemonset", "braid"] => {}
        _ => panic!("what does {command} do?"),
    }
}

#[test]
fn every_command_of_the_pages_names_what_there_is() {
    let about: Vec<&str> = blocks("fleet").into_iter().map(|block| block.about).collect();
    assert_eq!(about, BLOCKS);
    for name in BLOCKS {
        for line in block("fleet", name).text.lines() {
            check(line.split(" #").next().unwrap().trim());
        }
    }
}
