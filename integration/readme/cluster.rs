//! The page's way to a cluster, walked from one end to the other, and what Braid says where it ends
//! early.

use std::collections::BTreeSet;
use std::path::PathBuf;

use linux::netns::Netns;
use serde_json::{Value, json};

use super::machine::Machine;
use super::messages::{in_sentences, with_codes};
use super::page::{block, tables};
use super::{installed, primary, start};
use crate::apiserver::{ApiServer, Fault, Setup, User};
use crate::call::{Call, Outcome};
use crate::kubelet::{Kubelet, pod as allocated};
use crate::node::{Node, text};
use crate::pod::Pod;

const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// Where the page has its API server.
const SERVER: &str = "https://10.0.0.1:6443";

pub(super) fn server_in(node: &Node, setup: impl FnOnce() -> ApiServer + Send) -> ApiServer {
    Netns::open(node.host().path().as_ref()).unwrap().run(setup).unwrap()
}

/// A `kubectl` that writes down what it is to apply, and says what the API server would.
fn kubectl(machine: &Machine, server: &ApiServer) {
    let node = &machine.node;
    node.write("token", &server.token(&User::braid(), 3600));
    let [applied, token, status] = ["applied", "token", "status"].map(|file| node.path_text(file));
    let jsonpath = r"jsonpath={.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/network-status}";
    machine.shim(
        "kubectl",
        &format!(
            "case \"$*\" in\n\"apply -f \"*) for word; do case \"$word\" in apply|-f) ;; *) cat \
             \"$word\"; echo; echo ---; esac; done >>{applied};;\n\"create token braid --namespace \
             braid --duration 8760h\") cat {token};;\n\"--namespace team-a get \
             network-attachment-definitions\") grep -q lan {applied} && echo lan;;\n\"--namespace \
             team-a get pod web -o {jsonpath}\") cat {status};;\n*) echo \"kubectl $*: not known \
             here\" >&2; exit 1;;\nesac"
        ),
    );
}

/// Gives the API server what was applied so far.
fn apply(machine: &Machine, server: &ApiServer) {
    let path = machine.node.path("applied");
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap();
    let documents: Vec<Value> =
        documents.into_iter().filter(|document| !document.is_null()).collect();
    assert!(documents.len() > 1);
    documents.into_iter().for_each(|document| server.objects().put(document));
}

/// The address and the authority that the page leaves to the reader.
pub(super) fn fill_in(machine: &Machine, server: &ApiServer) {
    let kubeconfig = "net.d/braid.d/braid.kubeconfig";
    let text = std::fs::read_to_string(machine.node.path(kubeconfig)).unwrap();
    assert!(text.contains(SERVER) && text.contains("/etc/kubernetes/pki/ca.crt"), "{text}");
    machine.node.write(kubeconfig, &text.replace(SERVER, &server.url()));
    machine.node.write("etc/kubernetes/pki/ca.crt", server.authority());
}

/// The credential that the page makes on a node, and the API server that takes it.
pub(super) fn credential(machine: &Machine) -> ApiServer {
    let server = server_in(&machine.node, || {
        ApiServer::with(Setup { manifests: vec!["rbac.yaml"], ..Setup::default() })
    });
    let text = super::conf::read("conf/kubernetes/braid.kubeconfig");
    machine.node.write("net.d/braid.d/braid.kubeconfig", &text);
    fill_in(machine, &server);
    machine.node.write("net.d/braid.d/braid.token", &server.token(&User::braid(), 3600));
    server
}

#[test]
fn the_way_to_a_cluster_is_as_the_page_says() {
    let machine = installed();
    primary(&machine);
    machine.sh("rm -r /etc/cni/net.d/braid.d/*");
    let server = server_in(&machine.node, ApiServer::bare);
    kubectl(&machine, &server);
    machine.sh(&block("cluster", "rights").text);
    machine.sh(&block("cluster", "credentials").text);
    assert_eq!(
        machine.sh("cd /etc/cni/net.d/braid.d && stat -c '%a %n' *"),
        "600 braid.kubeconfig\n600 braid.token\n"
    );
    let lan = super::blocks("definition")
        .into_iter()
        .find(|block| block.text.contains("name: lan\n"))
        .unwrap();
    machine.node.write("repo/lan.yaml", &lan.text);
    machine.sh(&block("cluster", "definition").text);
    apply(&machine, &server);
    fill_in(&machine, &server);
    let mut conflist: Value = block("file", "conf/00-delegating.conflist").json();
    conflist["plugins"][0]["kubeconfig"] = json!("/etc/cni/net.d/braid.d/braid.kubeconfig");
    machine.node.write("net.d/00-braid.conflist", &conflist.to_string());

    server.add_pod("team-a", "web", "uid-web", json!({}));
    let web = start(&machine, "short");
    assert_eq!(web.pod.addresses("net1"), ["10.30.0.2/24", "fd00:30::2/64"]);
    let pod = server.objects().get("pods", "team-a", "web").cloned().unwrap();
    machine.node.write("status", text(&pod["metadata"]["annotations"][STATUS]));
    let shown = machine.sh(&block("cluster", "status").text);
    assert_eq!(
        anonymous(serde_json::from_str(&shown).unwrap()),
        block("output", "of status").json()
    );
    web.del();
    let rights = server.objects().rights.clone();
    assert!(
        rights.iter().all(|(_, granted)| *granted),
        "the rights of the page are enough: {rights:?}"
    );
}

/// A status with the MAC addresses numbered, as the page shows it.
fn anonymous(mut status: Value) -> Value {
    for (at, entry) in status.as_array_mut().unwrap().iter_mut().enumerate() {
        assert_eq!(text(&entry["mac"]).len(), 17, "{entry}");
        entry["mac"] = json!(format!("02:00:00:00:00:{:02x}", at + 1));
    }
    status
}

/// A node with `team-a/lan` in its cluster, whose files have the page's names.
struct Scene {
    node: Node,
    server: ApiServer,
    kubeconfig: PathBuf,
}

impl Scene {
    fn new(manifests: &[&'static str]) -> Self {
        let node = Node::new();
        node.recorders(["primary", "blue", "whereabouts"]);
        let setup = Setup { manifests: manifests.to_vec(), ..Setup::default() };
        let server = server_in(&node, move || ApiServer::with(setup));
        server.define("team-a", "lan", r#"{"cniVersion": "1.0.0", "type": "blue"}"#);
        server.add_pod("team-a", "web", "uid-web", json!({}));
        let scene = Self { kubeconfig: node.path("braid.d/braid.kubeconfig"), node, server };
        let text = super::conf::read("conf/kubernetes/braid.kubeconfig")
            .replace(SERVER, &scene.server.url());
        let text = text.replace("/etc/kubernetes/pki", &scene.node.path_text("pki"));
        let text = text.replace("/etc/cni/net.d/braid.d", &scene.node.path_text("braid.d"));
        scene.node.write("braid.d/braid.kubeconfig", &text);
        scene.node.write("braid.d/braid.token", &scene.server.token(&User::braid(), 3600));
        scene.node.write("pki/ca.crt", scene.server.authority());
        scene
    }

    fn add<'p>(&self, pod: &'p Pod<'_>) -> Call<'p> {
        let delegates =
            json!([{"type": "primary", "name": "cluster", "addresses": ["10.1.0.2/24"]}]);
        pod.add(json!({"kubeconfig": self.kubeconfig, "delegates": delegates, "apiTimeout": "1s"}))
    }

    /// The error of an ADD that asks for `lan`, as the page writes it.
    #[track_caller]
    fn asked(&self, more: Value) -> (u64, String) {
        let pod = self.node.pod("team-a", "web");
        self.error_of(&self.add(&pod).networks("lan").with(more).run())
    }

    #[track_caller]
    fn error_of(&self, outcome: &Outcome) -> (u64, String) {
        let (code, message) = outcome.error();
        (code, self.as_on_the_page(&message))
    }

    fn as_on_the_page(&self, message: &str) -> String {
        let mut message = message.strip_prefix("pod team-a/web: ").unwrap_or(message).to_owned();
        if let Some(rest) = message.strip_prefix("network \"team-a/lan\" cannot be looked up: ") {
            message = rest.to_owned();
        }
        let ours = self.server.name();
        let places = [
            (ours.as_str(), "10.0.0.1:6443"),
            (&self.node.path_text("braid.d"), "/etc/cni/net.d/braid.d"),
            (&self.node.path_text("pki"), "/etc/kubernetes/pki"),
            (&self.node.path_text("kubelet"), "/var/lib/kubelet/pod-resources"),
        ];
        for (ours, shown) in places {
            message = message.replace(ours, shown);
        }
        match message.split_once("it expired at ") {
            Some((before, _)) => format!("{before}it expired at 2026-01-01T00:00:00Z"),
            None => message,
        }
    }

    /// What an ADD that succeeds warns of.
    #[track_caller]
    fn warnings(&self, call: Call<'_>) -> Vec<String> {
        let outcome = call.run();
        outcome.assert_success();
        let messages = outcome.stderr.lines().filter_map(|line| line.split_once("]: "));
        messages.map(|(_, message)| self.as_on_the_page(message)).collect()
    }

    /// What is said of a network whose plugin may have a device, for a pod that the kubelet has
    /// given none.
    fn without_device(&self) -> Vec<String> {
        self.server.objects().put(json!({
            "kind": "NetworkAttachmentDefinition",
            "metadata": {
                "namespace": "team-a", "name": "fast",
                "annotations": {"k8s.v1.cni.cncf.io/resourceName": "nic.example.com/vf"},
            },
            "spec": {"config": json!({"cniVersion": "1.0.0", "type": "blue"}).to_string()},
        }));
        let socket = self.node.path("kubelet/kubelet.sock");
        let _kubelet = Kubelet::start(&socket).get([allocated("team-a", "web", json!([]))]);
        let pod = self.node.pod("team-a", "web");
        let more = json!({"statusPolicy": "never", "kubeletSocket": socket});
        self.warnings(self.add(&pod).networks("fast").with(more))
    }
}

fn credentials() -> Vec<(u64, String)> {
    let scene = Scene::new(&["rbac.yaml"]);
    let mut said = Vec::new();
    scene.node.write("braid.d/braid.token", &scene.server.token(&User::braid(), -60));
    said.push(scene.asked(json!({})));
    std::fs::remove_file(scene.node.path("braid.d/braid.token")).unwrap();
    said.push(scene.asked(json!({})));
    let other = server_in(&scene.node, ApiServer::bare);
    scene.node.write("braid.d/braid.token", &scene.server.token(&User::braid(), 3600));
    scene.node.write("pki/ca.crt", other.authority());
    said.push(scene.asked(json!({})));
    std::fs::remove_file(&scene.kubeconfig).unwrap();
    said.push(scene.asked(json!({})));
    let without_rights = Scene::new(&[]);
    said.push(without_rights.asked(json!({"apiTimeout": "5s"})));
    without_rights.node.age_refusals();
    said.push(without_rights.asked(json!({"apiTimeout": "5s"})));
    said
}

fn refusals() -> Vec<(u64, String)> {
    let scene = Scene::new(&["rbac.yaml", "rbac-names.yaml", "rbac-pods.yaml"]);
    let pod = scene.node.pod("team-a", "web");
    let mut said = vec![scene.error_of(&scene.add(&pod).networks("lann").run())];
    let too_long =
        "Pod \"web\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes";
    scene.server.next("PATCH", Fault::status(422, "Invalid", too_long));
    said.push(scene.asked(json!({})));
    let namesake = format!("{};K8S_POD_UID=another", pod.args());
    let call = scene.add(&pod).without_annotations().env("CNI_ARGS", &namesake);
    said.push(scene.error_of(&call.run()));
    scene.server.objects().put(json!({"kind": "Pod", "spec": {}, "metadata": {
        "namespace": "team-a", "name": "web", "uid": "uid-web", "deletionTimestamp": "2026-01-01T00:00:00Z",
    }}));
    said.push(scene.error_of(&scene.add(&pod).without_annotations().run()));
    let gone = scene.node.pod("team-a", "gone");
    let (code, message) = scene.error_of(&scene.add(&gone).without_annotations().run());
    said.push((code, message.replace("pod team-a/gone: ", "").replace("gone", "web")));
    scene.server.objects().has_no_definitions = true;
    said.push(scene.asked(json!({})));
    said
}

fn outages() -> Vec<(u64, String)> {
    let mut scene = Scene::new(&["rbac.yaml"]);
    let mut said = Vec::new();
    scene.server.next("GET", Fault::busy(429, 60));
    said.push(scene.asked(json!({})));
    scene.server.times(8, &Fault::status(503, "ServiceUnavailable", "etcdserver: no leader"));
    said.push(scene.asked(json!({})));
    let scene_of_silence = Scene::new(&["rbac.yaml"]);
    scene_of_silence.server.next("GET", Fault::Hang);
    said.push(scene_of_silence.asked(json!({})));
    scene.server.stop();
    said.push(scene.asked(json!({})));
    said.push(scene.asked(json!({"statusPolicy": "never"})));
    said
}

fn devices() -> Vec<(u64, String)> {
    let scene = Scene::new(&["rbac.yaml"]);
    let resource = "nic.example.com/vf";
    scene.server.objects().put(json!({
        "kind": "NetworkAttachmentDefinition",
        "metadata": {
            "namespace": "team-a", "name": "lan", "annotations": {"k8s.v1.cni.cncf.io/resourceName": resource},
        },
        "spec": {"config": json!({"cniVersion": "1.0.0", "type": "blue", "capabilities": {"deviceID": true}}).to_string()},
    }));
    let socket = scene.node.path("kubelet/kubelet.sock");
    let asked = |networks: &str| {
        let pod = scene.node.pod("team-a", "web");
        scene.error_of(
            &scene.add(&pod).networks(networks).with(json!({"kubeletSocket": socket})).run(),
        )
    };
    let mut said = vec![asked("lan")];
    let devices =
        |devices: Value| Kubelet::start(&socket).get([allocated("team-a", "web", devices)]);
    let kubelet = devices(json!([]));
    said.push(asked("lan"));
    drop(kubelet);
    let _kubelet = devices(json!([{"resourceName": resource, "deviceIds": ["0000:18:02.5"]}]));
    said.push(asked("lan,lan"));
    said
}

#[test]
fn messages_from_the_api_and_the_kubelet() {
    let said = [credentials(), refusals(), outages(), devices()].concat();
    let said: BTreeSet<(u64, String)> = said.into_iter().collect();
    assert_eq!(said, with_codes(&tables("From the API and the kubelet")[0]));
}

#[test]
fn warnings_of_a_node_with_a_cluster() {
    let mut scene = Scene::new(&["rbac.yaml", "rbac-pods.yaml"]);
    let mut said = Vec::new();
    let pod = |name: &str| scene.node.pod("team-a", name);
    let web = pod("web");
    said.extend(scene.warnings(scene.add(&web).without_annotations()));
    let config = r#"{"cniVersion": "1.0.0", "type": "blue", "ipam": {"type": "whereabouts"}}"#;
    scene.server.define("team-a", "lan", config);
    let never = json!({"statusPolicy": "never"});
    let first = pod("web");
    said.extend(scene.warnings(scene.add(&first).networks("lan").with(never.clone())));
    said.extend(scene.without_device());
    let gone = pod("gone");
    let of_gone = scene.warnings(scene.add(&gone).networks("lan"));
    said.extend(of_gone.into_iter().map(|message| message.replace("team-a/gone", "team-a/web")));
    scene.server.stop();
    let scene = &scene;
    let second = scene.node.pod("team-a", "web");
    said.extend(scene.warnings(scene.add(&second).networks("lan").with(never)));
    let third = scene.node.pod("team-a", "web");
    said.extend(scene.warnings(scene.add(&third).with(json!({"statusPolicy": "always"}))));
    let said: BTreeSet<String> = said.into_iter().collect();
    assert_eq!(said, in_sentences(&tables("From the API and the kubelet")[1]));
}
