//! The manifests of each overlay: whole, modest, and without a file too many.

use std::fs;

use serde_json::{Value, json};

use super::{OVERLAYS, items, kubernetes};
use crate::kustomize::{check, documents, object, render};
use crate::node::text;

#[test]
fn every_manifest_belongs_to_something() {
    let mut there: Vec<_> =
        fs::read_dir(kubernetes()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(
        there,
        ["base", "braid.kubeconfig", "crd.yaml", "metrics", "migration", "optional", "overlays"]
    );
    let mut overlays: Vec<_> = fs::read_dir(kubernetes().join("overlays"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    overlays.sort();
    assert_eq!(overlays, OVERLAYS);
    let definition = &documents(&kubernetes().join("crd.yaml"))[0];
    assert_eq!(definition["metadata"]["name"], "network-attachment-definitions.k8s.cni.cncf.io");
    assert_eq!(definition["spec"]["versions"][0]["name"], "v1");
    documents(&kubernetes().join("crd.yaml")).iter().for_each(check);
    for entry in fs::read_dir(kubernetes().join("optional")).unwrap() {
        let path = entry.unwrap().path();
        // `admission::manifests` has the directory.
        if path.is_file() {
            documents(&path).iter().for_each(check);
        }
    }
}

#[test]
fn each_overlay_is_whole() {
    for overlay in OVERLAYS {
        let objects = render(&kubernetes().join("overlays").join(overlay));
        let namespace = object(&objects, "Namespace", "braid");
        assert_eq!(
            namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
            "privileged"
        );
        for each in &objects {
            let is_of_cluster =
                ["Namespace", "ClusterRole", "ClusterRoleBinding"].contains(&text(&each["kind"]));
            assert_eq!(each["metadata"]["namespace"].is_null(), is_of_cluster, "{each}");
            // Deleting it would delete every definition of the cluster.
            assert_ne!(each["kind"], "CustomResourceDefinition");
        }
        let set = object(&objects, "DaemonSet", "braid");
        assert_eq!(
            set["spec"]["selector"]["matchLabels"],
            set["spec"]["template"]["metadata"]["labels"]
        );
        must_be_modest(&set["spec"]["template"]["spec"], &objects);
    }
}

/// The pod has what it needs and no more: no privileges, no host but the directories, no network of
/// pods.
fn must_be_modest(spec: &Value, objects: &[Value]) {
    object(objects, "ServiceAccount", text(&spec["serviceAccountName"]));
    assert_eq!(
        (&spec["hostNetwork"], &spec["tolerations"]),
        (&json!(true), &json!([{"operator": "Exists"}]))
    );
    assert!(spec.get("hostPID").is_none() && spec.get("hostIPC").is_none());
    let volumes: Vec<&str> = items(&spec["volumes"]).map(|volume| text(&volume["name"])).collect();
    for volume in items(&spec["volumes"]) {
        if let Some(map) = volume.get("configMap") {
            object(objects, "ConfigMap", text(&map["name"]));
        } else {
            assert_ne!(volume["hostPath"]["path"], "/", "{volume}");
        }
    }
    for container in items(&spec["initContainers"]).chain(items(&spec["containers"])) {
        assert_eq!(container["image"], crate::image::NAME);
        assert_eq!(container["resources"]["limits"].as_object().unwrap().len(), 1, "memory alone");
        let security = &container["securityContext"];
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]},
        });
        assert_eq!(*security, expected);
        let mounted: Vec<&str> =
            items(&container["volumeMounts"]).map(|mount| text(&mount["name"])).collect();
        assert!(
            mounted.iter().all(|name| volumes.contains(name)) && mounted.len() == volumes.len()
        );
    }
}

/// The overlay that watches pods adds the one right, and what the plugins need that it starts, to
/// the one container; without it nothing of that is there.
#[test]
fn watching_pods_is_an_overlay_of_its_own() {
    let with = render(&kubernetes().join("optional/watch-pods"));
    let without = render(&kubernetes().join("overlays/containerd"));
    let names = |objects: &[Value]| -> Vec<String> {
        objects.iter().map(|it| format!("{} {}", it["kind"], it["metadata"]["name"])).collect()
    };
    let mut added = names(&with);
    added.retain(|name| !names(&without).contains(name));
    assert_eq!(
        added,
        ["\"ClusterRole\" \"braid-watch-pods\"", "\"ClusterRoleBinding\" \"braid-watch-pods\""]
    );
    let role = object(&with, "ClusterRole", "braid-watch-pods");
    let rule = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]);
    assert_eq!(role["rules"], rule);
    let set = |objects: &[Value]| {
        object(objects, "DaemonSet", "braid")["spec"]["template"]["spec"].clone()
    };
    let (spec, plain) = (set(&with), set(&without));
    let binding = object(&with, "ClusterRoleBinding", "braid-watch-pods");
    assert_eq!(binding["subjects"][0]["name"], spec["serviceAccountName"]);
    assert_eq!(spec["hostPID"], true);
    assert_eq!(spec["initContainers"], plain["initContainers"], "the installation is as it was");
    let (keep, before) = (&spec["containers"][0], &plain["containers"][0]);
    let mut arguments = before["args"].as_array().unwrap().clone();
    arguments.push(json!("--watch-pods"));
    assert_eq!(keep["args"], json!(arguments));
    assert_eq!(keep["securityContext"]["privileged"], true);
    let mount =
        json!({"name": "node", "mountPath": "/host", "mountPropagation": "HostToContainer"});
    assert!(items(&keep["volumeMounts"]).any(|it| *it == mount));
    let node = json!({"name": "node", "hostPath": {"path": "/", "type": "Directory"}});
    assert!(items(&spec["volumes"]).any(|volume| *volume == node));
    assert!(items(&keep["env"]).any(|it| it["name"] == "NODE_NAME"));
}
