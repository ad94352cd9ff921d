//! `braid admission` as an API server meets it: over TLS on this machine's loopback, with reviews
//! as Kubernetes writes them.

mod certificates;
mod definitions;
mod executables;
mod limits;
mod manifests;
mod policies;
mod reviews;
mod webhook;

use serde_json::{Value, json};

/// A review of a new object in `team-a`, as an API server sends it.
fn review(object: &Value) -> Value {
    let kind = object["kind"].as_str().unwrap();
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "0df28fbd-5f5f-11e8-bc74-36e6bb280816",
            "kind": {"group": "", "version": "v1", "kind": kind},
            "resource": {"group": "", "version": "v1", "resource": kind.to_lowercase() + "s"},
            "requestKind": {"group": "", "version": "v1", "kind": kind},
            "name": object["metadata"]["name"],
            "namespace": "team-a",
            "operation": "CREATE",
            "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
            "object": object,
            "oldObject": null,
            "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
}

/// A pod with this networks annotation, with what `kubectl` and the API server add to one.
fn pod(networks: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "web", "namespace": "team-a", "creationTimestamp": null,
            "annotations": {
                "k8s.v1.cni.cncf.io/networks": networks,
                "kubectl.kubernetes.io/last-applied-configuration": "{\"kind\":\"Pod\"}\n",
            },
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:metadata": {"f:annotations": {".": {}}}}}],
        },
        "spec": {
            "containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 8080}]}],
            "serviceAccountName": "default",
        },
        "status": {},
    })
}
