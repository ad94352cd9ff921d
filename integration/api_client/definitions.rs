//! A definition as it is in the cluster, and the requests and connections that reading it takes.

use std::path::Path;

use braid::internals::kube::{Cluster, ClusterConfig, ClusterError};
use cni::request::Environment;
use serde_json::json;

use super::{BLUE, blue, cluster, cluster_within, ms, server_and_cluster, timed, wanted, web};
use crate::apiserver::{ApiServer, Fault, Setup};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn a_definition_has_what_the_cluster_has() {
    let (server, mut cluster) = server_and_cluster();
    server.objects().put(json!({
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"namespace": "team-a", "name": "bare", "annotations": {"a": "b"}},
    }));
    let answers = cluster.definitions(&wanted(&["team-a/bare", "team-a/blue"]));
    let bare = answers[0].as_ref().unwrap();
    assert_eq!((bare.name.as_str(), &bare.config), ("bare", &None));
    assert_eq!(bare.annotations["a"], "b");
    let blue = answers[1].as_ref().unwrap();
    assert_eq!((blue.namespace.as_str(), blue.config.as_deref()), ("team-a", Some(BLUE)));
    assert_eq!(blue.resource_version, "1");
    let requests = server.requests();
    assert_eq!(requests[0].user.as_deref(), Some("system:serviceaccount:braid:braid"));
    assert_eq!((requests[0].accept.as_str(), requests[0].query.as_str()), ("application/json", ""));
}

#[test]
fn each_distinct_definition_is_one_request_and_all_share_a_connection() {
    let (server, mut cluster) = server_and_cluster();
    server.define("ops", "red", BLUE);
    server.times(3, &Fault::Late(ms(1000)));
    let asked = wanted(&["team-a/blue", "ops/red", "team-a/blue", "ops/none", "ops/red"]);
    let answers = timed(ms(1000), ms(2900), || cluster.definitions(&asked));
    let names: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map_or("-", |found| found.name.as_str()))
        .collect();
    assert_eq!(names, ["blue", "red", "blue", "-", "red"]);
    let mut lines = server.lines();
    lines.sort();
    let path = |rest| format!("GET /apis/k8s.cni.cncf.io/v1/namespaces/{rest}");
    assert_eq!(
        lines,
        [
            path("ops/network-attachment-definitions/none"),
            path("ops/network-attachment-definitions/red"),
            path("team-a/network-attachment-definitions/blue"),
        ]
    );
    assert_eq!(server.connections(), 1);
    assert!(server.requests().iter().all(|request| request.version == http::Version::HTTP_2));
}

#[test]
fn questions_of_a_process_share_a_connection() {
    let (server, mut cluster) = server_and_cluster();
    server.add_pod("team-a", "web", "u-1", json!({}));
    blue(&mut cluster).unwrap();
    cluster.publish_status(&web(Some("u-1")), "[]").unwrap();
    cluster.publish_event(&web(Some("u-1")), "Refused", "because").unwrap();
    assert_eq!((server.requests().len(), server.connections()), (3, 1));
}

#[test]
fn a_server_without_http2_is_asked_one_thing_at_a_time_on_one_connection() {
    let server = ApiServer::with(Setup { protocols: vec!["http/1.1"], ..Setup::default() });
    server.define("team-a", "blue", BLUE);
    let mut cluster = cluster(&server.usual_kubeconfig());
    let answers = cluster.definitions(&wanted(&["team-a/blue", "team-a/red", "team-a/green"]));
    assert!(answers[0].is_ok());
    assert!(matches!(&answers[1], Err(ClusterError::NotFound { .. })), "{answers:?}");
    assert_eq!((server.requests().len(), server.connections()), (3, 1));
    assert!(server.requests().iter().all(|request| request.version == http::Version::HTTP_11));
}

#[test]
fn a_server_without_protocol_negotiation_speaks_http1() {
    let server = ApiServer::with(Setup { protocols: vec![], ..Setup::default() });
    server.define("team-a", "blue", BLUE);
    blue(&mut cluster(&server.usual_kubeconfig())).unwrap();
}

#[test]
fn nothing_is_started_before_the_first_question() {
    let server = ApiServer::start();
    let before = threads();
    let cluster = cluster(Path::new("/does/not/exist"));
    let other = cluster_within(&server.usual_kubeconfig(), ms(1000));
    assert_eq!((threads(), server.connections()), (before, 0));
    drop((cluster, other));
    assert_eq!((threads(), server.connections()), (before, 0));
}

#[test]
fn a_question_needs_no_thread() {
    let (_server, mut cluster) = server_and_cluster();
    let before = threads();
    blue(&mut cluster).unwrap();
    assert_eq!(threads(), before);
}

#[test]
fn without_a_kubeconfig_and_outside_a_cluster_there_is_none() {
    assert!(Cluster::configured(&ClusterConfig::default(), &Environment::default()).is_none());
}

#[test]
fn what_does_not_exist_is_named() {
    let (server, mut cluster) = server_and_cluster();
    let error = cluster.definitions(&wanted(&["team-a/bleu"])).remove(0).unwrap_err();
    assert_eq!(error.to_string(), "network \"team-a/bleu\" does not exist in the cluster");
    let error = cluster.publish_status(&web(None), "[]").unwrap_err();
    assert_eq!(error, ClusterError::NotFound { what: "pod \"team-a/web\"".to_owned() });
    assert!(!error.is_outage());
    server.objects().has_no_definitions = true;
    let error = blue(&mut cluster).unwrap_err();
    assert_eq!(error, ClusterError::NoDefinitions { server: server.name() });
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn the_names_that_exist_are_listed_as_metadata() {
    let server = ApiServer::with(Setup { manifests: vec!["rbac-names.yaml"], ..Setup::default() });
    for name in ["blue", "green"] {
        server.define("team-a", name, BLUE);
    }
    server.define("ops", "secret", BLUE);
    let mut cluster = cluster(&server.usual_kubeconfig());
    assert_eq!(cluster.definition_names(&"team-a".parse().unwrap()).unwrap(), ["blue", "green"]);
    let request = &server.requests()[0];
    assert!(
        request.query.contains("limit=500") && request.accept.contains("PartialObjectMetadataList")
    );
}
