//! Refusals and failures as events on the pod, which `kubectl describe pod` shows.

use serde_json::json;

use super::Cluster;

#[test]
fn a_refusal_is_an_event_with_the_same_sentence() {
    let cluster = Cluster::usual();
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let call = cluster.add(&pod, &uid, json!({})).networks("kube-public/blue");
    let shared = format!("is not shared with namespace {}", cluster.namespace());
    let error = call.run().assert_error(7, [&shared]);
    let note = error["msg"].as_str().unwrap().to_owned();
    assert_eq!(cluster.events(), [("NetworkRefused".to_owned(), uid, note)]);
    let plain = cluster.sandbox("plain");
    cluster.node.script("primary", json!({"ADD": {"error": {"code": 99, "msg": "no"}}}));
    plain.add(cluster.config(json!({}))).run().assert_error(99, []);
    assert_eq!(cluster.events().len(), 1, "a pod that asks for nothing costs no request");
}

#[test]
fn the_event_tells_a_refusal_from_a_failure_and_a_delay() {
    let cluster = Cluster::usual();
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let reasons_after = |call: crate::call::Call<'_>| {
        let outcome = call.run();
        assert!(!outcome.status.success(), "{outcome:?}");
        let mut reasons: Vec<_> = cluster.events().into_iter().map(|(reason, ..)| reason).collect();
        reasons.sort();
        reasons
    };
    let add = |networks| cluster.add(&pod, &uid, json!({})).networks(networks);
    assert_eq!(reasons_after(add("kube-public/blue")), ["NetworkRefused"]);
    cluster.node.script("blue", json!({"ADD": {"error": {"code": 7, "msg": "no"}}}));
    assert_eq!(reasons_after(add("blue")), ["FailedNetworkAttachment", "NetworkRefused"]);
    let waits =
        add("blue").with(json!({"readinessindicatorfile": "/nowhere", "readinessTimeout": "0s"}));
    assert_eq!(
        reasons_after(waits),
        ["FailedNetworkAttachment", "NetworkDelayed", "NetworkRefused"]
    );
    assert_eq!(
        reasons_after(add("kube-public/blue")).len(),
        3,
        "the same sentence again is the same event"
    );
}

/// `kubectl describe pod` shows a static pod's events by the UID that the kubelet knows.
#[test]
fn the_event_of_a_static_pod_has_the_kubelets_uid() {
    let cluster = Cluster::usual();
    cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let call = cluster.add(&pod, "5d41402abc4b2a76", json!({})).networks("kube-public/blue");
    call.annotation("kubernetes.io/config.source", "file").run().assert_error(7, []);
    let events: Vec<_> =
        cluster.events().into_iter().map(|(reason, uid, _)| (reason, uid)).collect();
    assert_eq!(events, [("NetworkRefused".to_owned(), "5d41402abc4b2a76".to_owned())]);
}

#[test]
fn a_pod_that_was_fetched_has_its_event_too() {
    let cluster = Cluster::granted(&["rbac.yaml", "rbac-pods.yaml"]);
    let uid = cluster.create_pod("web", json!({"k8s.v1.cni.cncf.io/networks": "kube-public/blue"}));
    let pod = cluster.sandbox("web");
    let error = cluster
        .add(&pod, &uid, json!({}))
        .without_annotations()
        .run()
        .assert_error(7, ["is not shared"]);
    let notes: Vec<_> = cluster.events().into_iter().map(|(.., note)| note).collect();
    assert_eq!(notes, [error["msg"].as_str().unwrap()]);
}
