//! The built-in IPAM plugin `whereabouts` on a node with an API server: in Braid's process and as a
//! plugin of its own.

mod del_in_time;
mod due;
mod refused;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use linux::netns::Netns;
use serde_json::{Value, json};

use crate::api_requests::known;
use crate::apiserver::{ApiServer, Fault, Latency, Setup, User};
use crate::node::{BRAID, Node};
use crate::pod::Pod;

const POOLS: &str = "/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/kube-system/ippools";
const POOL: &str = "10.7.0.0-24";
const UID: &str = "0f7c8d1e-0000-4000-8000-000000000001";

struct Cluster {
    node: Node,
    server: ApiServer,
    kubeconfig: PathBuf,
}

impl Cluster {
    fn new() -> Self {
        Self::granted(vec!["rbac.yaml", "optional/rbac-addresses.yaml"])
    }

    fn granted(manifests: Vec<&'static str>) -> Self {
        let node = Node::new();
        node.recorder("primary");
        node.built_ins(["bridge", "whereabouts"]);
        let host = Netns::open(node.host().path().as_ref()).unwrap();
        let setup = Setup { manifests, ..Setup::default() };
        let server = host.run(move || ApiServer::with(setup)).unwrap();
        server.add_pod("team-a", "web", UID, json!({}));
        let kubeconfig = server.usual_kubeconfig();
        Self { node, server, kubeconfig }
    }

    fn network(&self, more: Value) -> Value {
        let mut ipam = json!({
            "type": "whereabouts", "range": "10.7.0.0/24", "enable_overlapping_ranges": false,
            "kubernetes": {"kubeconfig": self.kubeconfig},
            "dataDir": self.node.path_text("state/addresses"),
        });
        ipam.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"cniVersion": "1.1.0", "name": "lan", "type": "bridge", "bridge": "lan0", "ipam": ipam})
    }

    /// Braid's configuration, with the definition `team-a/lan` in the API.
    fn config(&self, more: Value) -> Value {
        self.server.define("team-a", "lan", &self.network(more).to_string());
        json!({
            "kubeconfig": self.kubeconfig, "apiTimeout": "2s",
            "delegates": [{"type": "primary", "name": "cluster", "addresses": ["10.1.0.2/24"]}],
        })
    }

    fn pod(&self) -> Pod<'_> {
        self.node.pod("team-a", "web")
    }

    /// A kubeconfig of the network's own, with the same credential.
    fn own_kubeconfig(&self) -> PathBuf {
        let path = self.node.path("lan.kubeconfig");
        fs::copy(&self.kubeconfig, &path).unwrap();
        path
    }

    fn put_pool(&self, name: &str, range: &str, allocations: Value) {
        self.server.objects().put(json!({
            "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool",
            "metadata": {"namespace": "kube-system", "name": name},
            "spec": {"range": range, "allocations": allocations},
        }));
    }

    /// GC of a node on which nothing runs any more.
    fn gc(&self, config: &Value) {
        let request = self.node.call("GC", config.clone()).with(json!({"cniVersion": "1.1.0"}));
        request.with(json!({"cni.dev/valid-attachments": []})).run().assert_success();
    }

    /// The containers in the pool.
    fn containers(&self) -> Vec<String> {
        let objects = self.server.objects();
        let Some(pool) = objects.get("ippools", "kube-system", POOL) else { return Vec::new() };
        let entries = pool["spec"]["allocations"].as_object().unwrap();
        entries.values().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }

    fn has(&self, resource: &str, name: &str) -> bool {
        self.server.objects().get(resource, "kube-system", name).is_some()
    }
}

#[test]
fn an_address_costs_two_requests_on_the_connection_of_the_call() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({}));
    let first = cluster.node.pod("team-a", "first");
    first.add(config.clone()).networks("lan").run();
    let (before, connections) = (cluster.server.lines().len(), cluster.server.connections());
    let pod = cluster.pod();
    known(pod.add(config), &pod).networks("lan").run().assert_success();
    let lines = cluster.server.lines();
    let expected = [
        "GET /apis/k8s.cni.cncf.io/v1/namespaces/team-a/network-attachment-definitions/lan",
        &format!("GET {POOLS}/{POOL}"),
        &format!("PATCH {POOLS}/{POOL}"),
        "PATCH /api/v1/namespaces/team-a/pods/web/status",
    ];
    assert_eq!(lines[before..], expected);
    assert_eq!(cluster.server.connections(), connections + 1);
    assert_eq!(pod.addresses("net1"), ["10.7.0.2/24"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert!(!cluster.containers().contains(&pod.container));
}

#[test]
fn del_with_the_api_away_ends_in_time_and_the_next_call_gives_the_address_back() {
    let mut cluster = Cluster::new();
    let config = cluster.config(json!({"enable_overlapping_ranges": true}));
    let pod = cluster.node.pod("team-a", "web");
    let container = pod.container.clone();
    known(pod.add(config.clone()), &pod).networks("lan").run().assert_success();
    assert!(cluster.has("overlappingrangeipreservations", "10.7.0.1"));
    cluster.server.times(99, &Fault::Hang);
    let started = Instant::now();
    pod.del().run().assert_success();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(cluster.containers(), std::slice::from_ref(&container));
    assert_eq!(cluster.node.state("addresses/due").len(), 1);
    assert_eq!(cluster.node.state("records"), Vec::<String>::new(), "the pod is gone");
    drop(pod);
    cluster.server.forget_faults();
    let request = cluster.node.call("GC", config.clone());
    request.with(json!({"cni.dev/valid-attachments": []})).run().assert_success();
    assert_eq!(cluster.containers(), Vec::<String>::new());
    assert!(!cluster.has("overlappingrangeipreservations", "10.7.0.1"));
    assert_eq!(cluster.node.state("addresses/due"), Vec::<String>::new());
    cluster.server.stop();
}

#[test]
fn an_add_that_fails_behind_its_address_gives_it_back() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({}));
    let pod = cluster.pod();
    let status = "/pods/web/status";
    let refusal = Fault::status(400, "BadRequest", "no status today");
    for _ in 0..8 {
        cluster.server.next(status, refusal.clone());
    }
    let failed = known(pod.add(config), &pod).networks("lan").run();
    assert!(!failed.status.success(), "{}", failed.stdout);
    assert_eq!(cluster.containers(), Vec::<String>::new());
    assert_eq!(cluster.node.state("addresses/held"), Vec::<String>::new());
    assert_eq!(cluster.node.state("addresses/due"), Vec::<String>::new());
}

#[test]
fn an_answer_that_is_lost_after_the_write_gives_no_second_address() {
    let cluster = Cluster::new();
    let config = cluster.config(json!({}));
    cluster.node.pod("team-a", "first").add(config.clone()).networks("lan").run();
    for fault in [Fault::Reset, Fault::Close, Fault::busy(429, 1), Fault::status(500, "x", "x")] {
        let pod = cluster.pod();
        let lost = Fault::Afterwards(Box::new(fault.clone()));
        cluster.server.next(&format!("PATCH {POOLS}"), lost);
        known(pod.add(config.clone()), &pod).networks("lan").run().assert_success();
        let mine = cluster.containers().iter().filter(|id| **id == pod.container).count();
        assert_eq!(mine, 1, "{fault:?}");
        pod.del().run().assert_success();
        assert!(!cluster.containers().contains(&pod.container), "{fault:?}");
    }
}

#[test]
fn the_executable_is_the_plugin_under_its_name() {
    let cluster = Cluster::new();
    let plugin = cluster.node.path("bin/whereabouts");
    let network = cluster.network(json!({"ipRanges": [{"range": "fd07::/64"}]}));
    let pod = cluster.pod();
    let run = |verb: &str, more: Value| {
        let mut config = network.clone();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let call = pod.add(json!({})).program(&plugin).env("CNI_COMMAND", verb);
        call.input(config.to_string()).run()
    };
    let result = run("ADD", json!({})).assert_success();
    let addresses: Vec<&str> = result["ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| ip["address"].as_str().unwrap())
        .collect();
    assert_eq!(addresses, ["10.7.0.1/24", "fd07::1/64"]);
    run("CHECK", json!({"prevResult": result})).assert_success();
    run("STATUS", json!({})).assert_success();
    run("DEL", json!({"prevResult": result})).assert_success();
    assert_eq!(cluster.containers(), Vec::<String>::new());
    let without = json!({"type": "whereabouts", "range": "10.7.0.0/24"});
    run("STATUS", json!({"ipam": without})).assert_error(50, ["kubernetes.kubeconfig"]);
    run("ADD", json!({"ipam": without})).assert_error(7, ["kubernetes.kubeconfig"]);
}

#[test]
fn status_names_the_right_that_is_missing() {
    let cluster = Cluster::granted(vec!["rbac.yaml"]);
    let plugin = cluster.node.path("bin/whereabouts");
    let pod = cluster.pod();
    let run = |verb: &str| {
        let call = pod.add(json!({})).program(&plugin).env("CNI_COMMAND", verb);
        call.input(cluster.network(json!({})).to_string()).run()
    };
    run("STATUS")
        .assert_error(50, ["patch ippools.whereabouts.cni.cncf.io", "rbac-addresses.yaml"]);
    run("ADD").assert_error(7, ["ippools.whereabouts.cni.cncf.io", "grant it with"]);
}

/// Two kubeconfigs of one server share a connection if their credentials are equal, and never
/// otherwise.
#[test]
fn another_credential_has_a_connection_of_its_own() {
    let cluster = Cluster::new();
    let copy = cluster.node.path("copy.kubeconfig");
    fs::copy(&cluster.kubeconfig, &copy).unwrap();
    for (kubeconfig, connections) in [(copy, 1), (cluster.server.administrators_kubeconfig(), 2)] {
        let kubernetes = json!({"kubernetes": {"kubeconfig": kubeconfig}});
        let config = cluster.config(kubernetes);
        let before = cluster.server.connections();
        let pod = cluster.pod();
        known(pod.add(config), &pod).networks("lan").run().assert_success();
        assert_eq!(cluster.server.connections() - before, connections);
        pod.del().run().assert_success();
    }
}

#[test]
fn a_link_under_another_name_is_no_plugin() {
    let node = Node::new();
    symlink(BRAID, node.path("bin/whereabout")).unwrap();
    let pod = node.pod("team-a", "web");
    let network = json!({"cniVersion": "1.0.0", "name": "n", "type": "whereabout"});
    pod.add(json!({"delegates": [network]})).run().assert_error(7, ["braid"]);
}
