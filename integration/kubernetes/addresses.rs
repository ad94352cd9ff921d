//! Networks with cluster-wide addresses, on a node whose plugins are Braid's own: what the pools of
//! the API hold.

use linux::netns::Netns;
use serde_json::{Value, json};

use super::Cluster;
use crate::pod::Pod;

const POOL: &str = "10.9.0.0-24";

/// A cluster with the resources and the rights of addresses, and network `lan` with a range.
fn cluster(more: Value) -> Cluster {
    let cluster = Cluster::granted(&["rbac.yaml", "rbac-addresses.yaml"]);
    cluster.server.install("crd-addresses.yaml");
    cluster.server.install("crd-ipam-claims.yaml");
    cluster.node.built_ins(["bridge", "whereabouts"]);
    let mut ipam = json!({
        "type": "whereabouts", "range": "10.9.0.0/24", "kubernetes": {"kubeconfig": cluster.kubeconfig()},
        "dataDir": cluster.node.path("addresses"),
    });
    ipam.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let config = json!({"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-lan", "ipam": ipam});
    cluster.define_as("lan", json!({}), &json!({"config": config.to_string()}));
    cluster
}

/// Starts a pod with the network.
fn start<'c>(cluster: &'c Cluster, name: &str) -> Pod<'c> {
    let uid = cluster.create_pod(name, json!({}));
    let pod = cluster.sandbox(name);
    cluster.add(&pod, &uid, json!({})).networks("lan").run().assert_success();
    pod
}

/// Offset and pod of each entry.
fn entries(cluster: &Cluster) -> Vec<(String, String)> {
    let pool = cluster.server.get("IPPool", POOL).unwrap();
    let entries = pool["spec"]["allocations"].as_object().unwrap();
    let shown = |(key, entry): (&String, &Value)| {
        (key.clone(), entry["podref"].as_str().unwrap().to_owned())
    };
    let mut entries: Vec<_> = entries.iter().map(shown).collect();
    entries.sort();
    entries
}

fn reservations(cluster: &Cluster) -> Vec<String> {
    let found = cluster.server.all("OverlappingRangeIPReservation");
    found.iter().map(|it| it["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_address_is_taken_in_the_pool_and_given_back() {
    let cluster = cluster(json!({}));
    let web = start(&cluster, "web");
    let db = start(&cluster, "db");
    assert_eq!(
        (web.addresses("net1"), db.addresses("net1")),
        (vec!["10.9.0.1/24".to_owned()], vec!["10.9.0.2/24".to_owned()])
    );
    assert_eq!(
        entries(&cluster),
        [("1".to_owned(), cluster.label("web")), ("2".to_owned(), cluster.label("db"))]
    );
    assert_eq!(reservations(&cluster), ["10.9.0.1", "10.9.0.2"]);
    web.check().run().assert_success();
    assert_eq!(cluster.status("web")[1]["ips"], json!(["10.9.0.1"]));
    web.del().run().assert_success();
    assert_eq!(entries(&cluster), [("2".to_owned(), cluster.label("db"))]);
    assert_eq!(reservations(&cluster), ["10.9.0.2"]);
    db.del().run().assert_success();
    assert_eq!((entries(&cluster), reservations(&cluster)), (vec![], vec![]));
}

/// Entries of whereabouts, of which nothing is known here.
#[test]
fn the_entries_of_others_are_passed_over_and_stay() {
    let cluster = cluster(json!({"enable_overlapping_ranges": false}));
    let others = json!({"1": {"id": "x", "podref": "other/pod"}, "2": {"id": "y", "podref": "other/pod-2", "ifname": "net1"}});
    cluster.server.apply(&json!({
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool", "metadata": {"name": POOL},
        "spec": {"range": "10.9.0.0/24", "allocations": others},
    }));
    let web = start(&cluster, "web");
    assert_eq!(web.addresses("net1"), ["10.9.0.3/24"]);
    assert_eq!(reservations(&cluster), Vec::<String>::new());
    web.del().run().assert_success();
    let pool = cluster.server.get("IPPool", POOL).unwrap();
    assert_eq!(pool["spec"]["allocations"], others);
}

/// DEL does not wait; the next call gives back what it could not.
#[test]
fn what_an_outage_keeps_is_given_back_later() {
    let cluster = cluster(json!({}));
    let web = start(&cluster, "web");
    cluster.relay.cut();
    web.del().run().assert_success();
    assert_eq!(entries(&cluster).len(), 1, "the API was away");
    let host = Netns::open(cluster.node.host().path().as_ref()).unwrap();
    cluster.relay.resume(&host, cluster.server.address());
    let db = start(&cluster, "db");
    assert_eq!(entries(&cluster).iter().filter(|(_, pod)| *pod == cluster.label("web")).count(), 0);
    db.del().run().assert_success();
    assert_eq!((entries(&cluster), reservations(&cluster)), (vec![], vec![]));
}

/// `sticky` keeps the address for a pod of the same name.
#[test]
fn a_pod_that_is_made_anew_has_its_address_again() {
    let cluster = cluster(json!({"sticky": "10m"}));
    let first = start(&cluster, "web-0");
    first.del().run().assert_success();
    let other = start(&cluster, "web-1");
    let again = start(&cluster, "web-0");
    assert_eq!(
        (other.addresses("net1"), again.addresses("net1")),
        (vec!["10.9.0.2/24".to_owned()], vec!["10.9.0.1/24".to_owned()])
    );
    let pool = cluster.server.get("IPPool", POOL).unwrap();
    assert_eq!(pool["metadata"]["annotations"].get("braid.io/expires-1"), None);
}

/// NPWG 1.3, section 8: the claim's status says which addresses it has, whichever pod has them.
#[test]
fn a_claim_keeps_its_address_and_says_so() {
    let cluster = cluster(json!({}));
    cluster.server.apply(&json!({
        "apiVersion": "k8s.cni.cncf.io/v1alpha1", "kind": "IPAMClaim", "metadata": {"name": "vm.net1"},
        "spec": {"interface": "net1", "network": "lan"},
    }));
    let mut last = Vec::new();
    for name in ["vm-source", "vm-target"] {
        let uid = cluster.create_pod(name, json!({}));
        let pod = cluster.sandbox(name);
        let asked = json!([{"name": "lan", "ipam-claim-reference": "vm.net1"}]);
        cluster.add(&pod, &uid, json!({})).networks_json(asked).run().assert_success();
        last = pod.addresses("net1");
        let claim = cluster.server.get("IPAMClaim", "vm.net1").unwrap();
        assert_eq!(claim["status"], json!({"ips": ["10.9.0.1/24"], "ownerPod": name}));
        pod.del().run().assert_success();
    }
    assert_eq!(last, ["10.9.0.1/24"]);
    assert_eq!(entries(&cluster), [("1".to_owned(), cluster.label("vm-target"))]);
}
