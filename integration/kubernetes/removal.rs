//! The suite itself: whatever server it runs against has nothing of it in the end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use super::Cluster;
use super::server::Server;

#[test]
fn a_test_that_panics_leaves_nothing() {
    let watcher = Server::start();
    let mut names = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let another = watcher.another();
        another.grant(&["rbac.yaml"]);
        names = another.names();
        assert!(
            names.len() == 3 && names.iter().all(|(kind, name)| watcher.get(kind, name).is_some())
        );
        panic!("on purpose");
    }));
    assert!(outcome.is_err_and(|words| words.downcast_ref() == Some(&"on purpose")));
    for (kind, name) in names {
        let left = watcher
            .get(kind, &name)
            .filter(|found| found["metadata"]["deletionTimestamp"].is_null());
        assert_eq!(left, None, "{kind} {name}");
    }
}

/// The service account has the rights of the manifests that a test names, and no others.
#[test]
fn no_right_is_there_that_was_not_granted() {
    let cluster = Cluster::granted(&["rbac.yaml"]);
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    let call = cluster.add(&pod, &uid, json!({})).without_annotations();
    call.run().assert_error(11, ["may not get pods", "so far"]);
}
