//! The manifests of `conf/kubernetes/optional/admission`: whole, modest, and what the API server
//! asks about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::policies::holds;
use super::{pod, review};
use crate::kustomize::{check, documents, object, render};
use crate::node::text;

pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/kubernetes/optional/admission")
}

const NAME: &str = "braid-admission";
const OVERLAYS: [&str; 2] = ["cert-manager", "self-signed"];

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[test]
fn every_manifest_belongs_to_something() {
    let there: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = ["base", "cert-manager", "policies.yaml", "self-signed"].map(str::to_owned);
    assert_eq!(there, expected.into());
    documents(&directory().join("policies.yaml")).iter().for_each(check);
}

#[test]
fn each_overlay_is_whole_and_asks_for_little() {
    for overlay in OVERLAYS {
        let objects = render(&directory().join(overlay));
        let deployment = object(&objects, "Deployment", NAME);
        assert_eq!(deployment["spec"]["replicas"], 2);
        let template = &deployment["spec"]["template"];
        for (kind, pointer) in
            [("Service", "/spec/selector"), ("PodDisruptionBudget", "/spec/selector/matchLabels")]
        {
            let selector = object(&objects, kind, NAME).pointer(pointer).unwrap();
            assert_eq!(*selector, template["metadata"]["labels"], "{kind}");
        }
        let spec = &template["spec"];
        object(&objects, "ServiceAccount", text(&spec["serviceAccountName"]));
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert!(spec.get("hostNetwork").is_none() && spec.get("hostPID").is_none());
        let container = &spec["containers"][0];
        assert_eq!(container["image"], crate::image::NAME);
        let security = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], security);
        let volumes: BTreeSet<&str> =
            items(&spec["volumes"]).map(|volume| text(&volume["name"])).collect();
        let mounted: BTreeSet<&str> =
            items(&container["volumeMounts"]).map(|mount| text(&mount["name"])).collect();
        assert_eq!(volumes, mounted);
        assert!(items(&spec["volumes"]).all(|volume| volume.get("hostPath").is_none()));
    }
}

#[test]
fn nothing_is_held_up_and_the_system_is_not_asked_about() {
    for overlay in OVERLAYS {
        let objects = render(&directory().join(overlay));
        let configuration = object(&objects, "ValidatingWebhookConfiguration", NAME);
        let webhook = &configuration["webhooks"][0];
        assert_eq!(
            (&webhook["failurePolicy"], &webhook["sideEffects"]),
            (&json!("Ignore"), &json!("None"))
        );
        assert!(webhook["timeoutSeconds"].as_u64().unwrap() <= 2);
        let excluded = &webhook["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(excluded["operator"], "NotIn");
        for namespace in ["braid", "kube-system"] {
            assert!(items(&excluded["values"]).any(|value| value == namespace), "{namespace}");
        }
        let service = &webhook["clientConfig"]["service"];
        let there = object(&objects, "Service", text(&service["name"]));
        assert_eq!(there["metadata"]["namespace"], service["namespace"]);
        assert_eq!(there["spec"]["ports"][0]["port"], service["port"]);
        assert_eq!(service["path"], "/validate");
        let resources: BTreeSet<&str> =
            items(&webhook["rules"]).flat_map(|rule| items(&rule["resources"])).map(text).collect();
        for resource in [
            "pods",
            "deployments",
            "daemonsets",
            "statefulsets",
            "replicasets",
            "jobs",
            "cronjobs",
            "replicationcontrollers",
            "podtemplates",
            "virtualmachines",
            "network-attachment-definitions",
        ] {
            assert!(resources.contains(resource), "{resource}");
        }
    }
}

#[test]
fn a_pod_without_a_word_of_networks_is_not_asked_about() {
    let webhook = &documents(&directory().join("base/webhook.yaml"))[0]["webhooks"][0];
    let condition = text(&webhook["matchConditions"][0]["expression"]);
    let asked = |object: &Value| holds(condition, object, &review(object)["request"], &json!({}));
    let with = |place: &str, key: &str| {
        let mut pod = pod("blue");
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.source": "api"});
        pod["metadata"]["labels"] = json!({"app": "web"});
        pod["metadata"][place][key] = json!("blue");
        pod
    };
    assert!(!asked(&with("annotations", "prometheus.io/scrape")));
    let mut bare = pod("blue");
    bare["metadata"].as_object_mut().unwrap().remove("annotations");
    assert!(!asked(&bare));
    for key in [
        "k8s.v1.cni.cncf.io/networks",
        "k8s.v1.cncf.io/networks",
        "v1.multus-cni.io/default-network",
        "Networks",
        "cni",
    ] {
        assert!(asked(&with("annotations", key)) && asked(&with("labels", key)), "{key}");
    }
    assert!(asked(&json!({"kind": "Deployment", "metadata": {"name": "web"}})));
}

/// The commands of the page name what is there, and its example is what the webhook says.
#[test]
fn the_page_says_what_is_so() {
    let mut paths = 0;
    for block in crate::readme::page::blocks("admission") {
        if block.about == "screen" {
            let refusal = braid::internals::selection::parse(
                "blue, Storage",
                &"team-a".parse().unwrap(),
                braid::internals::selection::Limits::default(),
            );
            let said = refusal.unwrap_err().to_string();
            assert!(
                block.text.contains(&format!(
                    "metadata.annotations[k8s.v1.cni.cncf.io/networks]: {said}"
                )),
                "{said}"
            );
            continue;
        }
        for line in block.text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (verb, target) = (words[1], words.last().unwrap());
            match (words[0], verb, words[2]) {
                ("kubectl", "apply" | "delete", "-k") => {
                    render(&Path::new(env!("CARGO_MANIFEST_DIR")).join(target));
                }
                ("kubectl", "apply", "-f") => {
                    documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join(target))
                        .iter()
                        .for_each(check);
                }
                ("kubectl", "delete", "validatingwebhookconfiguration") => {
                    assert_eq!(*target, NAME)
                }
                _ => panic!("{line}"),
            }
            paths += 1;
        }
    }
    assert_eq!(paths, 5);
}
