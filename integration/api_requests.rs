//! The whole plugin against the double of the API server alone: what a call asks, request for
//! request, and what it does about answers that no API server gives when it is told to. What holds
//! for every API server is in `kubernetes.rs`.

use std::time::{Duration, Instant};

use linux::netns::Netns;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Fault, Setup};
use crate::call::Call;
use crate::node::Node;
use crate::pod::Pod;

const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
const DEFINITIONS: &str = "/apis/k8s.cni.cncf.io/v1/namespaces";
const STATUS_OF_WEB: &str = "PATCH /api/v1/namespaces/team-a/pods/web/status";
const UID: &str = "0f7c8d1e-0000-4000-8000-000000000001";

/// A node with its API server, which listens where braid runs: in the node's namespace.
pub(crate) struct Cluster {
    pub(crate) node: Node,
    pub(crate) server: ApiServer,
}

impl Cluster {
    fn new() -> Self {
        Self::with(Setup::default())
    }

    fn with(setup: Setup) -> Self {
        let node = Node::new();
        node.recorders(["primary", "blue", "red"]);
        let host = Netns::open(node.host().path().as_ref()).unwrap();
        let server = host.run(move || ApiServer::with(setup)).unwrap();
        Self { node, server }
    }

    /// Definitions `team-a/blue` and `team-a/red`, and the pod `team-a/web`.
    pub(crate) fn usual() -> Self {
        let cluster = Self::new();
        cluster.define("blue", json!({"addresses": ["10.9.0.2/24"]}));
        cluster.define("red", json!({"addresses": ["10.8.0.2/24", "fd08::2/64"]}));
        cluster.server.add_pod("team-a", "web", UID, json!({}));
        cluster
    }

    fn define(&self, name: &str, more: Value) {
        let mut config = json!({"cniVersion": "1.0.0", "type": name});
        config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.server.define("team-a", name, &config.to_string());
    }

    pub(crate) fn pod(&self) -> Pod<'_> {
        self.node.pod("team-a", "web")
    }

    pub(crate) fn config(&self, more: Value) -> Value {
        let mut config = json!({
            "kubeconfig": self.server.usual_kubeconfig(),
            "delegates": [{"type": "primary", "name": "cluster", "addresses": ["10.1.0.2/24"]}],
            "apiTimeout": "2s",
        });
        config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        config
    }

    /// The status annotation of `team-a/web` as the API has it.
    pub(crate) fn status(&self) -> Value {
        let objects = self.server.objects();
        let pod = objects.get("pods", "team-a", "web").unwrap();
        pod["metadata"]["annotations"][STATUS]
            .as_str()
            .map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    }
}

/// With the UID that the API knows.
pub(crate) fn known<'c>(call: Call<'c>, pod: &Pod<'_>) -> Call<'c> {
    call.env("CNI_ARGS", &format!("{};K8S_POD_UID={UID}", pod.args()))
}

fn blue() -> String {
    format!("GET {DEFINITIONS}/team-a/network-attachment-definitions/blue")
}

/// NPWG 1.3, sections 3.4.1 and 5: definitions from the API, one request each, and one for the
/// status.
#[test]
fn networks_cost_a_request_for_each_definition_and_one_for_the_status() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    known(pod.add(cluster.config(json!({}))), &pod)
        .networks("blue,red,blue")
        .run()
        .assert_success();
    let mut lines = cluster.server.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            blue(),
            format!("GET {DEFINITIONS}/team-a/network-attachment-definitions/red"),
            STATUS_OF_WEB.to_owned(),
        ]
    );
    assert_eq!(cluster.server.connections(), 1);
    pod.check().run().assert_success();
    let kept = json!([{"containerID": pod.container, "ifname": "eth0"}]);
    for (verb, attachments) in [("STATUS", json!([])), ("GC", kept), ("GC", json!([]))] {
        let more = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": attachments});
        cluster.node.call(verb, cluster.config(more)).run().assert_success();
    }
    assert_eq!(cluster.node.state("records"), Vec::<String>::new(), "GC has torn it down");
    known(pod.add(cluster.config(json!({}))), &pod).networks("blue,red").run().assert_success();
    pod.del().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        (cluster.server.requests().len(), cluster.server.connections()),
        (6, 2),
        "CHECK, STATUS, GC and DEL ask nothing"
    );
}

fn no_right_yet(verb: &str, resource: &str) -> Fault {
    let words = format!(
        "x is forbidden: User \"system:serviceaccount:braid:braid\" cannot {verb} resource \
         \"{resource}\""
    );
    Fault::status(403, "Forbidden", &words)
}

/// The reason and the words of each event that was told.
fn told(cluster: &Cluster) -> Vec<(String, String)> {
    let events = cluster.server.requests().into_iter().filter(|request| request.method == "POST");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events.map(|event| (text(&event.body["reason"]), text(&event.body["note"]))).collect()
}

/// A kube-apiserver that starts refuses for some hundred milliseconds, and the pod does not notice.
#[test]
fn an_api_server_that_starts_costs_an_add_nothing_but_time() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    for _ in 0..3 {
        cluster.server.next("/blue", no_right_yet("get", "network-attachment-definitions"));
        cluster.server.next("PATCH", no_right_yet("patch", "pods/status"));
    }
    known(pod.add(cluster.config(json!({}))), &pod).networks("blue").run().assert_success();
    assert_eq!(
        cluster.node.calls_in_order(),
        ["ADD primary eth0", "ADD blue net1"],
        "nothing was undone"
    );
    assert_eq!((told(&cluster), cluster.node.path("state/refusals").exists()), (vec![], false));
}

/// The runtime tries again by itself, so that the first event is of a delay. A right that is
/// missing has its advice at the next try.
#[test]
fn a_refusal_that_lasts_is_a_delay_at_first_and_advice_when_it_stays() {
    let refusals = [
        ("/blue", no_right_yet("get", "network-attachment-definitions"), "NetworkRefused"),
        ("PATCH", no_right_yet("patch", "pods/status"), "FailedNetworkAttachment"),
    ];
    for (part, fault, reason) in refusals {
        let cluster = Cluster::usual();
        let add = || {
            (0..30).for_each(|_| cluster.server.next(part, fault.clone()));
            let pod = cluster.pod();
            let outcome = known(pod.add(cluster.config(json!({"apiTimeout": "10s"}))), &pod)
                .networks("blue")
                .run();
            assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
            cluster.server.forget_faults();
            outcome
        };
        let first = add();
        let error = first.assert_error(11, ["may not", "so far", "has just started"]);
        assert!(!error["msg"].as_str().unwrap().contains("kubectl"), "{error:?}");
        cluster.node.age_refusals();
        add().assert_error(7, ["may not", "grant it with: kubectl create clusterrole"]);
        let told = told(&cluster);
        let reasons: Vec<&str> = told.iter().map(|(reason, _)| reason.as_str()).collect();
        assert_eq!(reasons, ["NetworkDelayed", reason], "{told:?}");
        assert!(!told[0].1.contains("kubectl") && told[1].1.contains("kubectl"), "{told:?}");
    }
}

/// What hangs on the way to the API costs its limit once: the event is not worth another one.
#[test]
fn a_credential_that_hangs_costs_an_add_its_limit_once() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    let program = cluster.server.program("sleep 3600");
    let kubeconfig = cluster.server.kubeconfig(json!({"exec": {"command": program}}));
    let more = json!({"kubeconfig": kubeconfig, "apiTimeout": "1500ms"});
    let add = known(pod.add(cluster.config(more)), &pod).networks("blue").run();
    add.assert_error(7, ["did not give a credential in 1.5 s"]);
    assert!(
        add.took >= Duration::from_millis(1500) && add.took < Duration::from_millis(2900),
        "{:?}",
        add.took
    );
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_refused_at_once() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    let fifo = cluster.node.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let token = cluster.server.kubeconfig(json!({"tokenFile": fifo}));
    for kubeconfig in [json!(fifo), json!(token)] {
        let add = pod.add(cluster.config(json!({"kubeconfig": kubeconfig})));
        let add = known(add, &pod).networks("blue").run();
        add.assert_error(7, ["it is not a regular file"]);
        assert!(add.took < Duration::from_secs(1), "{:?}", add.took);
    }
}

#[test]
fn a_status_that_is_not_taken_undoes_the_attachment() {
    let cluster = Cluster::usual();
    let before = cluster.node.dump();
    let pod = cluster.pod();
    cluster.server.next("PATCH", Fault::status(422, "Invalid", "annotation too long"));
    let call = known(pod.add(cluster.config(json!({}))), &pod).networks("blue");
    call.run().assert_error(7, ["pod team-a/web", "annotation too long"]);
    // No pod that is owed a status starts without the API: a copy of the definition is of no use.
    assert_eq!(cluster.node.leftovers(&before), Vec::<String>::new());
}

/// The pod was attached and its status could not be written for as long as that may be tried.
#[test]
fn a_status_that_is_never_taken_undoes_the_attachment_too() {
    let cluster = Cluster::usual();
    let before = cluster.node.dump();
    let faults = [
        Fault::status(503, "ServiceUnavailable", "the server is restarting"),
        Fault::status(409, "Conflict", "the object has been modified; please apply your changes"),
        Fault::Close,
        Fault::Hang,
    ];
    for fault in faults {
        (0..100).for_each(|_| cluster.server.next("PATCH", fault.clone()));
        cluster.node.forget_calls();
        let pod = cluster.pod();
        let call =
            known(pod.add(cluster.config(json!({"apiTimeout": "1s"}))), &pod).networks("blue");
        let outcome = call.run();
        outcome.assert_error(11, ["pod team-a/web"]);
        assert!(outcome.took < Duration::from_secs(10), "{fault:?}: {:?}", outcome.took);
        let undone = ["ADD primary eth0", "ADD blue net1", "DEL blue net1", "DEL primary eth0"];
        assert_eq!(cluster.node.calls_in_order(), undone, "{fault:?}");
        assert_eq!(cluster.node.leftovers(&before), Vec::<String>::new());
        assert_eq!(cluster.status(), Value::Null);
        cluster.server.forget_faults();
    }
}

#[test]
fn a_clear_no_is_never_overruled_by_a_copy() {
    let cluster = Cluster::usual();
    let config = cluster.config(json!({"statusPolicy": "never"}));
    cluster.pod().add(config.clone()).networks("blue").run().assert_success();
    let refusals = [
        (403, "Forbidden", "403"),
        (401, "Unauthorized", "does not accept"),
        (404, "NotFound", "has no NetworkAttachmentDefinitions"),
    ];
    for (code, reason, text) in refusals {
        cluster
            .server
            .next("network-attachment-definitions/blue", Fault::status(code, reason, "no"));
        let pod = cluster.node.pod("team-a", "other");
        pod.add(config.clone()).networks("blue").run().assert_error(7, [text]);
    }
}

#[test]
fn the_pod_is_fetched_only_if_the_runtime_is_silent() {
    let cluster =
        Cluster::with(Setup { manifests: vec!["rbac.yaml", "rbac-pods.yaml"], ..Setup::default() });
    cluster.define("blue", json!({}));
    cluster.server.add_pod("team-a", "web", UID, json!({"k8s.v1.cni.cncf.io/networks": "blue"}));
    let pod = cluster.pod();
    known(pod.add(cluster.config(json!({}))), &pod).without_annotations().run().assert_success();
    let lines =
        ["GET /api/v1/namespaces/team-a/pods/web".to_owned(), blue(), STATUS_OF_WEB.to_owned()];
    assert_eq!(cluster.server.lines(), lines);
}

/// A real server would keep the pod, and the test's namespace with it, until an administrator takes
/// a finalizer off.
#[test]
fn a_pod_that_is_being_deleted_gets_nothing() {
    let cluster =
        Cluster::with(Setup { manifests: vec!["rbac.yaml", "rbac-pods.yaml"], ..Setup::default() });
    cluster.define("blue", json!({}));
    let going = |annotations: Value| {
        cluster.server.objects().put(json!({"kind": "Pod", "spec": {}, "metadata": {
            "namespace": "team-a", "name": "web", "uid": UID, "deletionTimestamp": "2026-01-01T00:00:00Z",
            "annotations": annotations,
        }}));
    };
    let pod = cluster.pod();
    let add = || known(pod.add(cluster.config(json!({}))), &pod).without_annotations().run();
    going(json!({"k8s.v1.cni.cncf.io/networks": "blue"}));
    add().assert_error(11, ["pod team-a/web: the pod is being deleted"]);
    assert!(cluster.node.calls().is_empty(), "nothing was attached");
    // The mirror of a static pod is deleted and made anew while that pod runs on.
    going(json!({"k8s.v1.cni.cncf.io/networks": "blue", "kubernetes.io/config.source": "file"}));
    add().assert_success();
}

/// What cannot be told is told to the runtime alone: no second failure, and the first one's words.
#[test]
fn an_event_that_is_not_taken_changes_nothing() {
    let cluster = Cluster::usual();
    let faults = [
        Fault::status(
            403,
            "Forbidden",
            "events.events.k8s.io is forbidden: User \"x\" cannot create resource",
        ),
        Fault::status(500, "InternalError", "etcdserver: request timed out"),
        Fault::Close,
        Fault::Hang,
    ];
    for fault in faults {
        cluster.server.next("POST", fault.clone());
        let pod = cluster.pod();
        let call = known(pod.add(cluster.config(json!({}))), &pod).networks("team-b/blue");
        let outcome = call.run();
        let error = outcome.assert_error(7, ["is not shared with namespace team-a"]);
        assert!(!error["msg"].as_str().unwrap().contains("event"), "{fault:?}: {error:?}");
        assert!(outcome.took < Duration::from_secs(10), "{fault:?}: {:?}", outcome.took);
    }
    let told = cluster.server.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert!(told >= 4, "each met its fault: {told}");
}

/// A definition that is named in several ways is asked for once.
#[test]
fn a_definition_named_twice_costs_one_request() {
    let cluster = Cluster::usual();
    let config = cluster.config(json!({"defaultNetworks": ["blue"], "multusNamespace": "team-a"}));
    let pod = cluster.pod();
    known(pod.add(config), &pod).networks("blue").run().assert_success();
    assert_eq!(
        cluster.node.calls_in_order(),
        ["ADD primary eth0", "ADD blue net1", "ADD blue net2"]
    );
    assert_eq!(cluster.server.lines().iter().filter(|line| **line == blue()).count(), 1);
}

#[test]
fn a_status_is_tried_for_as_long_as_it_may_take() {
    let cluster = Cluster::usual();
    let fault = Fault::status(503, "ServiceUnavailable", "the server is restarting");
    (0..7).for_each(|_| cluster.server.next("PATCH", fault.clone()));
    let pod = cluster.pod();
    let config = cluster.config(json!({"apiTimeout": "60s"}));
    known(pod.add(config), &pod).networks("blue").run().assert_success();
    assert_eq!(cluster.status()[1]["name"], "team-a/blue");
}

#[test]
fn sigterm_ends_a_question() {
    let cluster = Cluster::usual();
    for part in ["GET", "PATCH"] {
        let before = cluster.node.dump();
        cluster.server.next(part, Fault::Hang);
        let pod = cluster.node.pod("team-a", "stopped");
        let call = pod.add(cluster.config(json!({"apiTimeout": "100s"}))).networks("red").start();
        let asked = |line: &String| line.starts_with(part);
        wait_until(|| cluster.server.lines().iter().any(asked));
        call.signal(Signal::SIGTERM);
        let outcome = call.wait();
        outcome.assert_error(11, ["braid was asked to stop"]);
        assert!(outcome.took < Duration::from_secs(50), "{:?}", outcome.took);
        let left = cluster.node.leftovers(&before);
        assert!(left.iter().all(|line| line == "file state/definitions/team-a_red"), "{left:?}");
    }
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
