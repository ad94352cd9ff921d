//! The pods of a node, listed and watched as any API server does it.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use braid::internals::kube::{ClusterConfig, PodNetworks, PodWatch, Seen};
use cni::request::Environment;
use serde_json::json;

use super::Cluster;

const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// What a watch of `node` sees, until the test ends.
fn watch(cluster: &Cluster, node: &str) -> Receiver<Seen> {
    let (tell, seen) = channel();
    let config = ClusterConfig {
        kubeconfig: Some(cluster.kubeconfig().clone()),
        ..ClusterConfig::default()
    };
    let (node, host) = (node.to_owned(), cluster.node.host().path());
    std::thread::spawn(move || {
        let netns = linux::netns::Netns::open(host.as_ref()).unwrap();
        let mut see = |it: Seen| tell.send(it).is_err();
        netns
            .run(|| PodWatch::run(&config, &Environment::default(), &node, &mut see, &|| false))
            .unwrap()
            .unwrap();
    });
    seen
}

/// The next that is seen of a pod.
#[track_caller]
fn next(seen: &Receiver<Seen>) -> Seen {
    loop {
        match seen.recv_timeout(Duration::from_secs(60)).expect("nothing is seen") {
            Seen::Alive | Seen::ListBegins => {}
            Seen::Failing(error) => panic!("{error}"),
            other => return other,
        }
    }
}

#[test]
fn the_pods_of_one_node_are_seen_as_they_change() {
    let cluster = Cluster::granted(&["rbac.yaml", "watch-pods/rbac-watch-pods.yaml"]);
    let node = format!("braid-test-{}", std::process::id());
    let create = |name: &str, node: &str| {
        cluster.server.apply(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "annotations": {NETWORKS: "blue"}},
            "spec": {
                "nodeName": node, "serviceAccountName": "braid", "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "none"}],
            },
        }))
    };
    let uid = create("web", &node);
    create("elsewhere", &format!("{node}-other"));
    let seen = watch(&cluster, &node);
    let pod = |networks: &str| {
        Seen::Pod(PodNetworks {
            namespace: cluster.namespace().to_owned(),
            name: "web".to_owned(),
            uid: uid.clone(),
            networks: networks.to_owned(),
            is_left_alone: false,
        })
    };
    assert_eq!(next(&seen), pod("blue"));
    assert_eq!(next(&seen), Seen::ListEnds);
    cluster.server.apply(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "db", "annotations": {NETWORKS: "red"}},
        "spec": {
            "nodeName": node, "serviceAccountName": "braid", "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "none"}],
        },
    }));
    loop {
        match next(&seen) {
            Seen::Pod(other) if other.name == "db" => break assert_eq!(other.networks, "red"),
            same => assert_eq!(same, pod("blue")),
        }
    }
}
