//! A node, the API server that it belongs to, and what the API shows.

use std::path::PathBuf;

use linux::netns::Netns;
use serde_json::{Value, json};

use super::relay::Relay;
use super::server::Server;
use super::with_uid;
use crate::call::Call;
use crate::node::{Node, text};
use crate::pod::Pod;

const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// See the module's head.
pub(crate) struct Cluster {
    pub(crate) node: Node,
    pub(crate) relay: Relay,
    pub(crate) server: Server,
    kubeconfig: PathBuf,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::granted(&["rbac.yaml"])
    }

    /// With these manifests of `conf/kubernetes` in force.
    pub(crate) fn granted(manifests: &[&str]) -> Self {
        let node = Node::new();
        node.recorders(["primary", "blue", "red"]);
        let server = Server::start();
        server.grant(manifests);
        let host = Netns::open(node.host().path().as_ref()).unwrap();
        let relay = Relay::start(&host, server.address());
        let kubeconfig = server.kubeconfig(relay.address(), json!({"token": server.token()}));
        Self { node, relay, server, kubeconfig }
    }

    /// Definitions `blue` and `red`.
    pub(crate) fn usual() -> Self {
        let cluster = Self::new();
        cluster.define("blue", json!({"addresses": ["10.9.0.2/24"]}));
        cluster.define("red", json!({"addresses": ["10.8.0.2/24", "fd08::2/64"]}));
        cluster
    }

    pub(crate) fn namespace(&self) -> &str {
        self.server.namespace()
    }

    /// `namespace/name`, as messages and the status have it.
    pub(crate) fn label(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace())
    }

    /// A definition whose plugin is the recorder of its name.
    pub(crate) fn define(&self, name: &str, more: Value) {
        let mut config = json!({"cniVersion": "1.0.0", "type": name});
        config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.define_as(name, json!({}), &json!({"config": config.to_string()}));
    }

    /// A definition with these annotations and this `spec`.
    pub(crate) fn define_as(&self, name: &str, annotations: Value, spec: &Value) {
        self.server.apply(&json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "annotations": annotations}, "spec": spec,
        }));
    }

    /// Creates a pod in the API, which no scheduler takes. Returns its UID.
    pub(crate) fn create_pod(&self, name: &str, annotations: Value) -> String {
        self.server.apply(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations},
            "spec": {
                "schedulerName": "braid-test", "serviceAccountName": "braid", "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "none"}],
            },
        }))
    }

    /// The sandbox of a pod, which the API need not have.
    pub(crate) fn sandbox(&self, name: &str) -> Pod<'_> {
        self.node.pod(self.namespace(), name)
    }

    /// ADD of a pod that the API has, as the runtime calls it.
    pub(crate) fn add<'p>(&self, pod: &'p Pod<'_>, uid: &str, more: Value) -> Call<'p> {
        with_uid(pod.add(self.config(more)), &pod.args(), uid)
    }

    pub(crate) fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    pub(crate) fn config(&self, more: Value) -> Value {
        let mut config = json!({
            "kubeconfig": self.kubeconfig,
            "delegates": [{"type": "primary", "name": "cluster", "addresses": ["10.1.0.2/24"]}],
            "multusNamespace": self.namespace(),
        });
        config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        config
    }

    /// A pod's status annotation as the API has it.
    pub(crate) fn status(&self, pod: &str) -> Value {
        let pod = self.server.get("Pod", pod).unwrap();
        let status = pod["metadata"]["annotations"][STATUS].as_str();
        status.map_or(Value::Null, |status| serde_json::from_str(status).unwrap())
    }

    /// Name, interface and `default` of each of its entries.
    pub(crate) fn entries(&self, pod: &str) -> Vec<(String, String, bool)> {
        let status = self.status(pod);
        let entries = status.as_array().unwrap().iter();
        let shown = |entry: &Value| {
            let is_default = entry["default"].as_bool().expect("\"default\" is required");
            (text(&entry["name"]).to_owned(), text(&entry["interface"]).to_owned(), is_default)
        };
        entries.map(shown).collect()
    }

    /// Braid's events: reason, the UID that they are about, and the note.
    pub(crate) fn events(&self) -> Vec<(String, String, String)> {
        let mut events = self.server.all("Event");
        events.retain(|event| event["reportingController"] == "braid");
        let shown = |event: &Value| {
            let [reason, uid, note] =
                [&event["reason"], &event["regarding"]["uid"], &event["note"]];
            (text(reason).to_owned(), text(uid).to_owned(), text(note).to_owned())
        };
        events.iter().map(shown).collect()
    }
}
