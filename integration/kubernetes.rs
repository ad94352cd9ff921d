//! The whole plugin with a cluster behind it: definitions from the API, the network status, events and
//! devices, each with what it costs in requests.

use std::time::{Duration, Instant};

use braid::netns::Netns;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Fault, Setup};
use crate::call::Call;
use crate::kubelet::{Kubelet, pod as allocated};
use crate::node::{Node, Recorded};
use crate::pod::Pod;

const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
const DEFINITIONS: &str = "/apis/k8s.cni.cncf.io/v1/namespaces";
const RESOURCE: &str = "k8s.v1.cni.cncf.io/resourceName";
const VF: &str = "nic.example.com/vf";
const UID: &str = "0f7c8d1e-0000-4000-8000-000000000001";

/// A node with its API server, which listens where braid runs: in the node's namespace.
struct Cluster {
    node: Node,
    server: ApiServer,
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
    fn usual() -> Self {
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

    fn pod(&self) -> Pod<'_> {
        self.node.pod("team-a", "web")
    }

    fn config(&self, more: Value) -> Value {
        let mut config = json!({
            "kubeconfig": self.server.usual_kubeconfig(),
            "delegates": [{"type": "primary", "name": "cluster", "addresses": ["10.1.0.2/24"]}],
            "apiTimeout": "2s",
        });
        config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        config
    }

    /// The status annotation of `team-a/web` as the API has it.
    fn status(&self) -> Value {
        let objects = self.server.objects();
        let pod = objects.get("pods", "team-a", "web").unwrap();
        pod["metadata"]["annotations"][STATUS]
            .as_str()
            .map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    }

    fn notes(&self) -> Vec<String> {
        let events = self.server.objects().all("events");
        events.iter().map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Reason and the pod's UID of each event.
    fn reasons(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = self.server.objects().all("events");
        events.iter().map(|event| (text(&event["reason"]), text(&event["regarding"]["uid"]))).collect()
    }

    /// A definition whose devices come from [`VF`]; its plugin is told the device in every way.
    fn define_with_devices(&self, name: &str, kind: &str) {
        let config = json!({
            "cniVersion": "1.0.0", "type": kind, "capabilities": {"deviceID": true, "CNIDeviceInfoFile": true},
        });
        self.server.objects().put(json!({
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"namespace": "team-a", "name": name, "annotations": {RESOURCE: VF}},
            "spec": {"config": config.to_string()},
        }));
    }

    /// The devices that plugins were given with ADD, in order.
    fn devices(&self) -> Vec<(String, String)> {
        let calls = self.node.calls().into_iter().filter(|call| call.verb() == "ADD");
        let device = |call: Recorded| {
            let stdin = call.stdin();
            let [argument, key, legacy] =
                [&stdin["runtimeConfig"]["deviceID"], &stdin["deviceID"], &stdin["pciBusID"]];
            assert!(argument == key && key == legacy, "{stdin}");
            Some((call.plugin().to_owned(), argument.as_str()?.to_owned()))
        };
        calls.filter_map(device).collect()
    }
}

/// With the UID that the API knows.
fn known<'c>(call: Call<'c>, pod: &Pod<'_>) -> Call<'c> {
    call.env("CNI_ARGS", &format!("{};K8S_POD_UID={UID}", pod.args()))
}

fn blue() -> String {
    format!("GET {DEFINITIONS}/team-a/network-attachment-definitions/blue")
}

/// NPWG 1.3, sections 3.4.1 and 5: definitions from the API, one request each, and one for the status.
#[test]
fn networks_cost_a_request_for_each_definition_and_one_for_the_status() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    known(pod.add(cluster.config(json!({}))), &pod).networks("blue,red,blue").run().assert_success();
    let mut lines = cluster.server.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            blue(),
            format!("GET {DEFINITIONS}/team-a/network-attachment-definitions/red"),
            "PATCH /api/v1/namespaces/team-a/pods/web/status".to_owned(),
        ]
    );
    assert_eq!(cluster.server.connections(), 1);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        (cluster.server.requests().len(), cluster.server.connections()),
        (3, 1),
        "CHECK and DEL ask nothing"
    );
}

#[test]
fn a_pod_that_asks_for_nothing_costs_no_connection() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    pod.add(cluster.config(json!({}))).run().assert_success();
    pod.del().run().assert_success();
    let chained = cluster.node.pod("team-a", "plain");
    chained.add_chained(json!({"kubeconfig": cluster.server.usual_kubeconfig()})).run().assert_success();
    assert_eq!(cluster.server.connections(), 0);
}

/// NPWG 1.3, section 5.3: every attachment has an entry, the primary's is the default.
#[test]
fn the_status_has_an_entry_for_every_attachment() {
    let cluster = Cluster::usual();
    cluster.define("blue", json!({"link": true, "addresses": ["10.9.0.2/24"]}));
    let pod = cluster.pod();
    let asked = json!([{"name": "blue", "default-route": ["10.9.0.1"]}, {"name": "red"}]);
    known(pod.add(cluster.config(json!({}))), &pod).networks_json(asked).run().assert_success();
    let status = cluster.status();
    let shown: Vec<_> = status
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["name"].as_str().unwrap(),
                entry["interface"].as_str().unwrap(),
                entry["default"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("cluster", "eth0", true), ("team-a/blue", "net1", false), ("team-a/red", "net2", false)]
    );
    assert_eq!(status[2]["ips"], json!(["10.8.0.2", "fd08::2"]));
    assert_eq!(status[1]["default-route"], json!(["10.9.0.1"]));
    assert_eq!(status[1]["gateway"], json!(["10.9.0.1"]));
    assert!(status[1]["mac"].as_str().unwrap().contains(':'));
    let patch = cluster.server.requests().pop().unwrap();
    assert_eq!(patch.body["metadata"]["uid"], UID);
}

/// NPWG 1.3, section 5.2: behind a primary that is not ours, its entry is there all the same.
#[test]
fn the_status_of_a_chained_braid_has_the_primary_too() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    let config = json!({"kubeconfig": cluster.server.usual_kubeconfig()});
    known(pod.add_chained(config), &pod).networks("blue").run().assert_success();
    let status = cluster.status();
    assert_eq!((&status[0]["default"], &status[0]["interface"]), (&json!(true), &json!("eth0")));
    assert_eq!((&status[1]["name"], &status[1]["default"]), (&json!("team-a/blue"), &json!(false)));
}

#[test]
fn the_status_policy_decides_who_gets_one() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    known(pod.add(cluster.config(json!({"statusPolicy": "always"}))), &pod).run().assert_success();
    assert_eq!(cluster.status()[0]["name"], "cluster");
    pod.del().run().assert_success();
    let quiet = cluster.node.pod("team-a", "quiet");
    quiet.add(cluster.config(json!({"statusPolicy": "never"}))).networks("blue").run().assert_success();
    assert!(cluster.server.lines().iter().filter(|line| line.starts_with("PATCH")).count() == 1);
}

#[test]
fn a_status_that_is_not_taken_undoes_the_attachment() {
    let cluster = Cluster::usual();
    let before = cluster.node.dump();
    let pod = cluster.pod();
    cluster.server.next("PATCH", Fault::status(422, "Invalid", "annotation too long"));
    let call = known(pod.add(cluster.config(json!({}))), &pod).networks("blue");
    call.run().assert_error(7, ["pod team-a/web", "annotation too long"]);
    let copy = "file state/definitions/team-a_blue".to_owned();
    assert_eq!(cluster.node.leftovers(&before), [copy], "the last-known-good copy alone");
    assert_eq!(cluster.node.state("records"), Vec::<String>::new());
}

#[test]
fn a_pod_that_has_gone_meanwhile_needs_no_status() {
    let cluster = Cluster::usual();
    let gone = cluster.node.pod("team-a", "gone");
    gone.add(cluster.config(json!({}))).networks("blue").run().assert_success();
    let pod = cluster.pod();
    let other = format!("{};K8S_POD_UID=another", pod.args());
    pod.add(cluster.config(json!({}))).networks("blue").env("CNI_ARGS", &other).run().assert_success();
    assert_eq!(cluster.status(), Value::Null, "the namesake's status is not ours to write");
}

#[test]
fn a_static_pod_is_known_by_another_uid() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    let hashed = format!("{};K8S_POD_UID=5d41402abc4b2a76", pod.args());
    let call =
        pod.add(cluster.config(json!({}))).networks("blue").annotation("kubernetes.io/config.source", "file");
    call.env("CNI_ARGS", &hashed).run().assert_success();
    assert_eq!(cluster.status()[1]["name"], "team-a/blue");
}

#[test]
fn an_unknown_network_names_those_that_there_are() {
    let cluster =
        Cluster::with(Setup { manifests: vec!["rbac.yaml", "rbac-names.yaml"], ..Setup::default() });
    cluster.define("blue", json!({}));
    let pod = cluster.pod();
    let call = pod.add(cluster.config(json!({}))).networks("bleu");
    call.run().assert_error(
        7,
        ["network \"team-a/bleu\" is not defined in the cluster or on this node", "team-a has blue"],
    );
    assert!(cluster.node.calls().is_empty(), "nothing was attached");
}

#[test]
fn a_definition_without_a_configuration_stands_for_a_file_of_the_node() {
    let cluster = Cluster::usual();
    cluster.server.objects().put(json!({
        "kind": "NetworkAttachmentDefinition", "metadata": {"namespace": "team-a", "name": "shared"},
    }));
    cluster.node.network("shared", json!({"type": "red"}));
    let pod = cluster.pod();
    known(pod.add(cluster.config(json!({}))), &pod).networks("shared").run().assert_success();
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "ADD red net1"]);
}

#[test]
fn an_outage_refuses_the_plan_where_a_status_is_due() {
    let mut cluster = Cluster::usual();
    let config = cluster.config(json!({}));
    cluster.server.stop();
    let pod = cluster.pod();
    pod.add(config).networks("blue").run().assert_error(11, ["team-a/blue", "cannot be reached"]);
    assert!(cluster.node.calls().is_empty(), "nothing was attached");
}

#[test]
fn a_copy_stands_in_where_no_status_is_due() {
    let mut cluster = Cluster::usual();
    let config = cluster.config(json!({"statusPolicy": "never", "logLevel": "warning"}));
    let first = cluster.pod();
    first.add(config.clone()).networks("blue").run().assert_success();
    cluster.server.stop();
    let second = cluster.node.pod("team-a", "second");
    let outcome = second.add(config.clone()).networks("blue").run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("last-known-good copy of network \"team-a/blue\""), "{}", outcome.stderr);
    let third = cluster.node.pod("team-a", "third");
    let call = third.add(config.clone()).networks("red");
    call.run().assert_error(11, ["team-a/red", "no copy"]);
    let fourth = cluster.node.pod("team-a", "fourth");
    let call = fourth.add(config).with(json!({"definitionCacheMaxAge": 0})).networks("blue");
    call.run().assert_error(11, ["team-a/blue"]);
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
        cluster.server.next("network-attachment-definitions/blue", Fault::status(code, reason, "no"));
        let pod = cluster.node.pod("team-a", "other");
        pod.add(config.clone()).networks("blue").run().assert_error(7, [text]);
    }
}

#[test]
fn the_pod_is_fetched_only_where_the_runtime_is_silent() {
    let cluster = Cluster::with(Setup { manifests: vec!["rbac.yaml", "rbac-pods.yaml"], ..Setup::default() });
    cluster.define("blue", json!({}));
    cluster.server.add_pod("team-a", "web", UID, json!({"k8s.v1.cni.cncf.io/networks": "blue"}));
    let pod = cluster.pod();
    let outcome = known(pod.add(cluster.config(json!({}))), &pod).without_annotations().run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("until then every pod costs a request to the API"), "{}", outcome.stderr);
    assert_eq!(cluster.server.lines().first().unwrap(), "GET /api/v1/namespaces/team-a/pods/web");
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "ADD blue net1"]);
    pod.del().run().assert_success();
    let stranger = format!("{};K8S_POD_UID=another", pod.args());
    let call = pod.add(cluster.config(json!({}))).without_annotations().env("CNI_ARGS", &stranger);
    call.run().assert_error(11, ["another pod of this name"]);
    let absent = cluster.node.pod("team-a", "absent");
    absent.add(cluster.config(json!({}))).without_annotations().run().assert_error(11, ["does not exist"]);
}

#[test]
fn a_refusal_is_an_event_with_the_same_sentence() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    let call = known(pod.add(cluster.config(json!({}))), &pod).networks("team-b/blue");
    let error = call.run().assert_error(7, ["is not shared with namespace team-a"]);
    assert_eq!(cluster.notes(), [error["msg"].as_str().unwrap()]);
    let plain = cluster.node.pod("team-a", "plain");
    cluster.node.script("primary", json!({"ADD": {"error": {"code": 99, "msg": "no"}}}));
    plain.add(cluster.config(json!({}))).run();
    assert_eq!(cluster.notes().len(), 1, "a pod that asks for nothing costs no request");
}

#[test]
fn the_primary_may_be_a_definition_of_the_cluster() {
    let mut cluster = Cluster::usual();
    let primary = json!({"cniVersion": "1.0.0", "type": "primary", "addresses": ["10.1.0.2/24"]});
    cluster.server.define("kube-system", "main", &primary.to_string());
    let config = json!({"kubeconfig": cluster.server.usual_kubeconfig(), "clusterNetwork": "main", "apiTimeout": "2s"});
    let pod = cluster.node.pod("team-a", "web");
    pod.add(config.clone()).run().assert_success();
    cluster.server.stop();
    pod.check().run().assert_success();
    cluster.node.call("STATUS", config).run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "CHECK primary eth0", "DEL primary eth0"]);
}

/// Device Information Specification, sections 4 and 5; Multus gives one device to two attachments and
/// ignores an exhausted pool (peers, fault 19).
#[test]
fn each_attachment_has_a_device_of_its_own() {
    let cluster = Cluster::usual();
    cluster.define_with_devices("fast", "blue");
    let socket = cluster.node.path("kubelet/kubelet.sock");
    let vfs = json!([{"resourceName": VF, "deviceIds": ["0000:18:02.5", "0000:18:02.6"]}]);
    let kubelet = Kubelet::start(&socket).get([allocated("team-a", "web", vfs)]);
    let info = json!({"type": "pci", "version": "1.1.0", "pci": {"pci-address": "0000:18:02.5"}});
    cluster.node.write("devinfo/dp/nic.example.com-vf-0000:18:02.5-device.json", &info.to_string());
    let config =
        cluster.config(json!({"kubeletSocket": socket, "deviceInfoDir": cluster.node.path("devinfo")}));
    let pod = cluster.pod();
    known(pod.add(config.clone()), &pod).networks("fast,fast").run().assert_success();
    assert_eq!(kubelet.requests(), ["Get team-a/web"], "one question for the whole pod");
    let blue = |id: &str| ("blue".to_owned(), id.to_owned());
    assert_eq!(cluster.devices(), [blue("0000:18:02.5"), blue("0000:18:02.6")]);
    assert_eq!(cluster.status()[1]["device-info"], info);
    pod.del().run().assert_success();
    let left = std::fs::read_dir(cluster.node.path("devinfo/cni")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "device-info files of the attachments are gone");
    cluster.node.forget_calls();
    let call = known(pod.add(config), &pod).networks("fast,fast,fast");
    call.run().assert_error(7, [VF, "2"]);
    assert!(cluster.node.calls().is_empty(), "nothing was attached");
}

/// Networks that the node's configuration names take part in the pod's bookkeeping.
#[test]
fn networks_of_the_node_have_devices_too() {
    let cluster = Cluster::usual();
    cluster.define_with_devices("main", "primary");
    cluster.define_with_devices("always", "red");
    cluster.define_with_devices("fast", "blue");
    let socket = cluster.node.path("kubelet/kubelet.sock");
    let vfs = json!([{"resourceName": VF, "deviceIds": ["0000:18:02.1", "0000:18:02.2", "0000:18:02.3"]}]);
    let kubelet = Kubelet::start(&socket).get([allocated("team-a", "web", vfs)]);
    let config = cluster.config(json!({
        "delegates": [], "clusterNetwork": "main", "defaultNetworks": ["always"], "multusNamespace": "team-a",
        "kubeletSocket": socket, "deviceInfoDir": cluster.node.path("devinfo"),
    }));
    let pod = cluster.pod();
    known(pod.add(config), &pod).networks("fast").run().assert_success();
    let given = [("primary", "0000:18:02.1"), ("red", "0000:18:02.2"), ("blue", "0000:18:02.3")];
    assert_eq!(cluster.devices(), given.map(|(kind, id)| (kind.to_owned(), id.to_owned())));
    assert_eq!(kubelet.requests().len(), 1);
    let gets = cluster.server.lines().iter().filter(|line| line.starts_with("GET")).count();
    assert_eq!((gets, cluster.server.connections()), (3, 1));
}

/// A definition that is named in several ways is asked for once.
#[test]
fn a_definition_named_twice_costs_one_request() {
    let cluster = Cluster::usual();
    let config = cluster.config(json!({"defaultNetworks": ["blue"], "multusNamespace": "team-a"}));
    let pod = cluster.pod();
    known(pod.add(config), &pod).networks("blue").run().assert_success();
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "ADD blue net1", "ADD blue net2"]);
    assert_eq!(cluster.server.lines().iter().filter(|line| **line == blue()).count(), 1);
}

/// A node that is NotReady would never see the ADD that fetches the definition.
#[test]
fn status_does_not_wait_for_the_first_add_to_fetch_the_primary() {
    let cluster = Cluster::usual();
    let config = json!({"kubeconfig": cluster.server.usual_kubeconfig(), "clusterNetwork": "main"});
    cluster.node.call("STATUS", config).run().assert_success();
    assert_eq!(cluster.server.connections(), 0);
    let alone = json!({"clusterNetwork": "main"});
    cluster.node.call("STATUS", alone).run().assert_error(50, ["main"]);
}

/// The reconciler of whereabouts takes back every address that it finds in no pod's status.
#[test]
fn whereabouts_without_a_status_is_a_warning() {
    let cluster = Cluster::usual();
    cluster.node.recorder("whereabouts");
    cluster.define("blue", json!({"ipam": {"type": "whereabouts"}, "addresses": ["10.9.0.2/24"]}));
    let warns = |policy: &str| {
        let pod = cluster.node.pod("team-a", policy);
        let outcome = pod.add(cluster.config(json!({"statusPolicy": policy}))).networks("blue").run();
        outcome.assert_success();
        outcome.stderr.contains("has its addresses from whereabouts")
    };
    assert!(warns("never") && !warns("attached"));
}

#[test]
fn a_pod_that_asks_for_nothing_does_not_wait_for_its_status() {
    let mut cluster = Cluster::usual();
    let config = cluster.config(json!({"statusPolicy": "always", "apiTimeout": "1s"}));
    cluster.server.stop();
    let outcome = cluster.pod().add(config).run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("the network status is not published"), "{}", outcome.stderr);
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
fn the_event_tells_a_refusal_from_a_failure_and_a_delay() {
    let cluster = Cluster::usual();
    let reason_of = |outcome: crate::call::Outcome| {
        assert!(!outcome.status.success(), "{outcome:?}");
        cluster.reasons().into_iter().map(|(reason, _)| reason).collect::<Vec<_>>()
    };
    let pod = cluster.pod();
    let add = |networks| known(pod.add(cluster.config(json!({}))), &pod).networks(networks);
    assert_eq!(reason_of(add("team-b/blue").run()), ["NetworkRefused"]);
    cluster.node.script("blue", json!({"ADD": {"error": {"code": 7, "msg": "no"}}}));
    let mut reasons = reason_of(add("blue").run());
    reasons.sort();
    assert_eq!(reasons, ["FailedNetworkAttachment", "NetworkRefused"]);
    let waits = add("blue").with(json!({"readinessindicatorfile": "/nowhere", "readinessTimeout": "0s"}));
    assert!(reason_of(waits.run()).contains(&"NetworkDelayed".to_owned()));
}

/// `kubectl describe pod` shows a static pod's events by the UID that the kubelet knows.
#[test]
fn the_event_of_a_static_pod_has_the_kubelets_uid() {
    let cluster = Cluster::usual();
    let pod = cluster.pod();
    let call = pod.add(cluster.config(json!({}))).networks("team-b/blue");
    let call = call.annotation("kubernetes.io/config.source", "file");
    call.env("CNI_ARGS", &format!("{};K8S_POD_UID=5d41402abc4b2a76", pod.args())).run().assert_error(7, []);
    assert_eq!(cluster.reasons(), [("NetworkRefused".to_owned(), "5d41402abc4b2a76".to_owned())]);
}

#[test]
fn a_pod_that_was_fetched_has_its_event_too() {
    let cluster = Cluster::with(Setup { manifests: vec!["rbac.yaml", "rbac-pods.yaml"], ..Setup::default() });
    cluster.server.add_pod("team-a", "web", UID, json!({"k8s.v1.cni.cncf.io/networks": "team-b/blue"}));
    let pod = cluster.pod();
    let call = known(pod.add(cluster.config(json!({}))), &pod).without_annotations();
    let error = call.run().assert_error(7, ["is not shared"]);
    assert_eq!(cluster.notes(), [error["msg"].as_str().unwrap()]);
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

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "it did not come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}
