//! Reading a pod, patching its status, and the events about it.

use braid::internals::kube::ClusterError;
use braid::internals::pod::name::Namespace;
use serde_json::json;

use super::{BLUE, blue, cluster, cluster_within, ms, server_and_cluster, timed, web};
use crate::apiserver::{ApiServer, Fault, Setup};

#[test]
fn a_pod_is_read_with_what_identifies_it() {
    let server = ApiServer::with(Setup { manifests: vec!["rbac-pods.yaml"], ..Setup::default() });
    server.add_pod("team-a", "web", "u-1", json!({"k8s.v1.cni.cncf.io/networks": "blue"}));
    server.add_pod(
        "team-a",
        "etcd-n1",
        "u-2",
        json!({"kubernetes.io/config.source": "file", "kubernetes.io/config.mirror": "hash"}),
    );
    let mut cluster = cluster(&server.usual_kubeconfig());
    let namespace: Namespace = "team-a".parse().unwrap();
    let pod = cluster.pod(&namespace, "web").unwrap();
    assert_eq!((pod.uid.as_str(), pod.deletion, pod.is_static()), ("u-1", false, false));
    assert_eq!(
        (pod.service_account.as_deref(), pod.node_name.as_deref()),
        (Some("default"), Some("node-1"))
    );
    assert_eq!(pod.annotations["k8s.v1.cni.cncf.io/networks"], "blue");
    assert!(cluster.pod(&namespace, "etcd-n1").unwrap().is_static());
    server.objects().put(json!({"kind": "Pod", "metadata": {
        "namespace": "team-a", "name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    assert!(cluster.pod(&namespace, "going").unwrap().deletion);
    assert!(matches!(
        cluster.pod(&namespace, "../../nodes/n1"),
        Err(ClusterError::NotFound { .. })
    ));
    assert_eq!(server.requests().len(), 3, "a name that no pod has is not asked for");
}

#[test]
fn a_status_is_one_merge_patch_that_leaves_the_rest_alone() {
    let (server, mut cluster) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({"mine": "stays"}));
    let status = r#"[{"name": "team-a/blue"}]"#;
    cluster.publish_status(&web(Some("u-1")), status).unwrap();
    let requests = server.requests();
    assert_eq!(server.lines(), ["PATCH /api/v1/namespaces/team-a/pods/web/status"]);
    assert_eq!(requests[0].content_type, "application/merge-patch+json");
    assert!(requests[0].query.contains("fieldManager=braid"), "{}", requests[0].query);
    assert!(requests[0].accept.contains("as=PartialObjectMetadata"), "{}", requests[0].accept);
    let annotation = json!({"k8s.v1.cni.cncf.io/network-status": status});
    assert_eq!(requests[0].body, json!({"metadata": {"uid": "u-1", "annotations": annotation}}));
    let objects = server.objects();
    let pod = objects.get("pods", "team-a", "web").unwrap();
    let annotations = json!({"mine": "stays", "k8s.v1.cni.cncf.io/network-status": status});
    assert_eq!(pod["metadata"]["annotations"], annotations);
    assert_eq!(
        (&pod["status"]["phase"], &pod["spec"]["nodeName"]),
        (&json!("Pending"), &json!("node-1"))
    );
}

#[test]
fn another_pod_of_the_name_is_a_conflict_in_every_way_a_server_says_so() {
    for is_conflict in [false, true] {
        let (server, mut cluster) = server_and_cluster();
        server.add_pod("team-a", "web", "u-2", json!({}));
        server.objects().other_uid_is_conflict = is_conflict;
        let error = cluster.publish_status(&web(Some("u-1")), "[]").unwrap_err();
        assert!(matches!(error, ClusterError::Conflict { .. }), "{error:?}");
        assert!(
            error.to_string().starts_with("pod \"team-a/web\" is not the one that was asked for: "),
            "{error}"
        );
        assert!(!error.is_outage());
        assert_eq!(server.requests().len(), 1);
        assert_eq!(
            server.objects().get("pods", "team-a", "web").unwrap()["metadata"]["annotations"],
            json!({})
        );
        cluster.publish_status(&web(None), "[]").unwrap();
        assert_eq!(server.requests()[1].body["metadata"].get("uid"), None);
    }
}

#[test]
fn a_race_for_the_object_is_run_again() {
    let (server, mut cluster) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({}));
    let words = "Operation cannot be fulfilled on pods \"web\": the object has been modified; \
                 please apply your changes";
    server.next("PATCH", Fault::status(409, "Conflict", words));
    cluster.publish_status(&web(Some("u-1")), "[]").unwrap();
    assert_eq!(server.requests().len(), 2);
}

/// Another client is quicker each time: no outage, for the server answers well, and worth another
/// ADD.
#[test]
fn a_race_that_is_never_won_is_no_outage() {
    let (server, _) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({}));
    let words = "Operation cannot be fulfilled on pods \"web\": the object has been modified; \
                 please apply your changes";
    server.times(100, &Fault::status(409, "Conflict", words));
    let mut cluster = cluster_within(&server.usual_kubeconfig(), ms(1500));
    let error = cluster.publish_status(&web(Some("u-1")), "[]").unwrap_err();
    assert!(matches!(error, ClusterError::Contended { .. }), "{error:?}");
    assert!(!error.is_outage() && error.is_transient());
    assert!(server.requests().len() > 3, "{}", server.requests().len());
}

#[test]
fn an_answer_about_another_object_is_not_used() {
    let (server, mut cluster) = server_and_cluster();
    let other =
        json!({"metadata": {"namespace": "team-b", "name": "blue"}, "spec": {"config": BLUE}});
    server.next("", Fault::Answer(200, vec![], other.to_string()));
    let error = blue(&mut cluster).unwrap_err();
    assert!(
        error.to_string().ends_with("cannot be used: it is \"team-b/blue\"") && !error.is_outage(),
        "{error}"
    );
}

#[test]
fn a_status_that_is_not_valid_is_an_answer_in_the_servers_words() {
    let (server, mut cluster) = server_and_cluster();
    server.next(
        "PATCH",
        Fault::status(422, "Invalid", "Pod \"web\" is invalid: metadata.annotations: Too long"),
    );
    let error = cluster.publish_status(&web(None), "[]").unwrap_err();
    assert!(matches!(error, ClusterError::Answer { .. }), "{error:?}");
    assert!(
        error.to_string().contains("422: Pod \"web\" is invalid: metadata.annotations: Too long"),
        "{error}"
    );
}

#[test]
fn an_event_says_what_the_error_says_and_says_it_once() {
    let (server, mut cluster) = server_and_cluster();
    let words =
        format!("network \"team-a/bleu\" does not exist in the cluster{}", "x".repeat(2000));
    for _ in 0..3 {
        cluster.publish_event(&web(Some("u-1")), "NetworkRefused", &words).unwrap();
    }
    let events = server.objects().all("events");
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(
        (&event["apiVersion"], &event["kind"]),
        (&json!("events.k8s.io/v1"), &json!("Event"))
    );
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("NetworkRefused")));
    assert_eq!(event["reportingController"], "braid");
    let regarding = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "team-a", "name": "web", "uid": "u-1"});
    assert_eq!(event["regarding"], regarding);
    let note = event["note"].as_str().unwrap();
    assert!(note.len() == 1024 && note.ends_with("x…"), "{note}");
    assert_eq!(server.lines()[0], "POST /apis/events.k8s.io/v1/namespaces/team-a/events");
    cluster.publish_event(&web(Some("u-1")), "NetworkRefused", "something else").unwrap();
    assert_eq!(server.objects().all("events").len(), 2);
}

#[test]
fn an_event_is_tried_once_and_not_for_long() {
    let (server, mut cluster) = server_and_cluster();
    server.next("POST", Fault::busy(503, 1));
    assert!(cluster.publish_event(&web(None), "r", "m").unwrap_err().is_outage());
    assert_eq!(server.requests().len(), 1);
    blue(&mut cluster).unwrap();
    server.next("POST", Fault::Hang);
    let error =
        timed(ms(2900), ms(5500), || cluster.publish_event(&web(None), "r", "m")).unwrap_err();
    assert!(matches!(error, ClusterError::TimedOut { .. }), "{error:?}");
}

#[test]
fn no_event_is_sent_to_a_server_that_was_silent_a_moment_ago() {
    let (mut server, mut cluster) = server_and_cluster();
    server.stop();
    assert!(blue(&mut cluster).unwrap_err().is_outage());
    timed(ms(0), ms(500), || cluster.publish_event(&web(None), "r", "m")).unwrap();
}
