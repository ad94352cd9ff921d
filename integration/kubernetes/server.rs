//! The API server that the suite runs against, as its administrator: the one of
//! `BRAID_TEST_KUBECONFIG`, else a double of the test's own. Both are spoken to over the wire
//! alone.
//!
//! A test has a namespace of its own, in which Braid's service account and all of its objects are,
//! and roles that begin with the namespace's name. The resource definition is applied if it is
//! missing, and goes with the last test that needs it. Everything is removed when the value goes,
//! on panic too; what a killed test has left, the next one takes away.

use std::cell::Cell;
use std::fs::File;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::apiserver::{ApiServer, path_of};

/// Names a kubeconfig of an administrator.
const GIVEN: &str = "BRAID_TEST_KUBECONFIG";
/// On everything that a test makes outside its namespace, and on the namespace: who made it.
const LABEL: &str = "braid-test";
/// Definitions of resources, of which a test has the first.
const RESOURCES: [&str; 3] = ["crd.yaml", "crd-addresses.yaml", "crd-ipam-claims.yaml"];
/// How long a server may take to do what it has accepted.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to the server, and this test's place on it.
pub(crate) struct Server {
    runtime: Runtime,
    client: Client,
    /// The administrator's.
    kubeconfig: PathBuf,
    /// The `cluster` of the administrator's kubeconfig.
    entry: Value,
    namespace: String,
    files: TempDir,
    made: Cell<u32>,
    /// A server that other tests use at the same time; the double has but one.
    is_shared: bool,
    _double: Option<ApiServer>,
}

impl Server {
    pub(crate) fn start() -> Self {
        match std::env::var_os(GIVEN) {
            Some(path) => Self::at(Path::new(&path), None),
            None => {
                let double = ApiServer::bare();
                Self::at(&double.administrators_kubeconfig(), Some(double))
            }
        }
    }

    /// Another test's place on the same server.
    pub(crate) fn another(&self) -> Self {
        Self::at(&self.kubeconfig, None)
    }

    fn at(kubeconfig: &Path, double: Option<ApiServer>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let server = Self {
            client: runtime.block_on(client(kubeconfig)),
            runtime,
            kubeconfig: kubeconfig.to_owned(),
            entry: entry_of(&Kubeconfig::read_from(kubeconfig).unwrap()),
            namespace: unused_name(),
            files: tempfile::tempdir().unwrap(),
            made: Cell::new(0),
            is_shared: double.is_none(),
            _double: double,
        };
        server.move_in();
        server
    }

    /// The namespace of the test.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Kind and name of what is outside the namespace, once `rbac.yaml` is in force; and the
    /// namespace.
    pub(crate) fn names(&self) -> Vec<(&'static str, String)> {
        let of_role = |kind| (kind, format!("{}-braid", self.namespace));
        vec![
            ("Namespace", self.namespace.clone()),
            of_role("ClusterRole"),
            of_role("ClusterRoleBinding"),
        ]
    }

    /// Where the server is.
    pub(crate) fn address(&self) -> SocketAddr {
        let url: http::Uri = self.entry["server"].as_str().unwrap().parse().unwrap();
        let host = url.host().unwrap().trim_matches(['[', ']']);
        let mut found = (host, url.port_u16().unwrap_or(443)).to_socket_addrs().unwrap();
        found.next().unwrap_or_else(|| panic!("{url} has no address"))
    }

    /// A kubeconfig with this `user`, for a client that reaches the server at `address`.
    pub(crate) fn kubeconfig(&self, address: SocketAddr, user: Value) -> PathBuf {
        let mut entry = self.entry.clone();
        let url: http::Uri = entry["server"].as_str().unwrap().parse().unwrap();
        if entry["tls-server-name"].is_null() {
            entry["tls-server-name"] = json!(url.host().unwrap().trim_matches(['[', ']']));
        }
        entry["server"] = json!(format!("https://{address}{}", url.path().trim_end_matches('/')));
        let config = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": entry}],
            "users": [{"name": "braid", "user": user}],
            "contexts": [{"name": "braid", "context": {
                "cluster": "cluster", "user": "braid", "namespace": self.namespace,
            }}],
            "current-context": "braid",
        });
        let number = self.made.replace(self.made.get() + 1);
        let path = self.files.path().join(format!("kubeconfig-{number}"));
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// A token of Braid's service account.
    pub(crate) fn token(&self) -> String {
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600},
        });
        let path = format!("{}/braid/token", self.collection("ServiceAccount"));
        let answer = self.ask("POST", &path, Some(&request)).unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Puts manifests of `conf/kubernetes` in force for this test's service account, and waits
    /// until they are.
    pub(crate) fn grant(&self, manifests: &[&str]) {
        for manifest in manifests {
            for document in self.documents(manifest) {
                self.apply(&document);
            }
        }
        let token = self.token();
        let probes = [
            ("rbac.yaml", format!("{}/none", self.collection("NetworkAttachmentDefinition"))),
            ("rbac-names.yaml", self.collection("NetworkAttachmentDefinition")),
            ("rbac-pods.yaml", format!("{}/none", self.collection("Pod"))),
            ("rbac-addresses.yaml", format!("{}/none", self.collection("IPPool"))),
        ];
        for (manifest, path) in probes {
            if manifests.contains(&manifest) {
                self.until(&format!("{manifest} is in force"), || {
                    self.status_for(&token, &path) != 403
                });
            }
        }
    }

    /// A manifest's documents with this test's names in place of those that a cluster has once.
    fn documents(&self, manifest: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(path_of(manifest)).unwrap();
        let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for document in &mut documents {
            match document["kind"].as_str().unwrap() {
                "Namespace" => document["metadata"]["name"] = json!(self.namespace),
                "ServiceAccount" => document["metadata"]["namespace"] = json!(self.namespace),
                "ClusterRole" => self.rename(&mut document["metadata"]["name"]),
                "ClusterRoleBinding" => {
                    self.rename(&mut document["metadata"]["name"]);
                    self.rename(&mut document["roleRef"]["name"]);
                    document["subjects"][0]["namespace"] = json!(self.namespace);
                    document["subjects"][0]["name"] = json!("braid");
                }
                "Role" => document["metadata"]["namespace"] = json!(self.namespace),
                "RoleBinding" => {
                    document["metadata"]["namespace"] = json!(self.namespace);
                    document["subjects"][0]["namespace"] = json!(self.namespace);
                }
                "CustomResourceDefinition" => {}
                other => panic!("{manifest} has a {other}"),
            }
            if document["kind"] != "ServiceAccount" {
                document["metadata"]["labels"] = json!({LABEL: maker()});
            }
        }
        documents
    }

    fn rename(&self, name: &mut Value) {
        *name = json!(format!("{}-{}", self.namespace, name.as_str().unwrap()));
    }

    /// Creates an object, or changes the one that is there. Returns its UID.
    pub(crate) fn apply(&self, object: &Value) -> String {
        let collection = self.collection(object["kind"].as_str().unwrap());
        let answer = match self.ask("POST", &collection, Some(object)) {
            Err(409) => {
                let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
                self.ask("PATCH", &path, Some(object))
            }
            answer => answer,
        };
        let answer = answer.unwrap_or_else(|code| panic!("{code} for {object}"));
        answer["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        match self.ask("GET", &format!("{}/{name}", self.collection(kind)), None) {
            Err(404) => None,
            answer => Some(answer.unwrap()),
        }
    }

    pub(crate) fn all(&self, kind: &str) -> Vec<Value> {
        match self.ask("GET", &self.collection(kind), None) {
            Err(404) => Vec::new(),
            answer => answer.unwrap()["items"].as_array().cloned().unwrap_or_default(),
        }
    }

    /// Whether it was there.
    pub(crate) fn delete(&self, kind: &str, name: &str) -> bool {
        match self.ask("DELETE", &format!("{}/{name}", self.collection(kind)), None) {
            Err(404) => false,
            answer => answer.is_ok(),
        }
    }

    /// What objects of a kind stand under: this test's namespace, or the whole cluster.
    pub(super) fn collection(&self, kind: &str) -> String {
        let (group, resource) = match kind {
            "Namespace" => return "/api/v1/namespaces".to_owned(),
            "CustomResourceDefinition" => {
                return "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned();
            }
            "ClusterRole" => return "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
            "ClusterRoleBinding" => {
                return "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned();
            }
            "NetworkAttachmentDefinition" => {
                ("/apis/k8s.cni.cncf.io/v1", "network-attachment-definitions")
            }
            "Event" => ("/apis/events.k8s.io/v1", "events"),
            "Pod" => ("/api/v1", "pods"),
            "ServiceAccount" => ("/api/v1", "serviceaccounts"),
            "Role" => ("/apis/rbac.authorization.k8s.io/v1", "roles"),
            "RoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
            "IPPool" => ("/apis/whereabouts.cni.cncf.io/v1alpha1", "ippools"),
            "OverlappingRangeIPReservation" => {
                ("/apis/whereabouts.cni.cncf.io/v1alpha1", "overlappingrangeipreservations")
            }
            "NodeSlicePool" => ("/apis/whereabouts.cni.cncf.io/v1alpha1", "nodeslicepools"),
            "IPAMClaim" => ("/apis/k8s.cni.cncf.io/v1alpha1", "ipamclaims"),
            other => panic!("no test has a {other}"),
        };
        format!("{group}/namespaces/{}/{resource}", self.namespace)
    }

    /// The answer, or the status of a refusal.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, u16> {
        let kind =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = body.map(Value::to_string).unwrap_or_default();
        self.request(method, path, kind, body).map_err(|status| status.code)
    }

    /// The answer to a request with a body of this type, or the refusal.
    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: String,
    ) -> Result<Value, Box<Status>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(body.into_bytes())
            .unwrap();
        match self.runtime.block_on(self.client.request::<Value>(request)) {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(status),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// The status of a GET with this token; 200 if it is answered.
    fn status_for(&self, token: &str, path: &str) -> u16 {
        let kubeconfig = self.kubeconfig(self.address(), json!({"token": token}));
        self.runtime.block_on(async {
            match client(&kubeconfig)
                .await
                .request::<Value>(Request::get(path).body(Vec::new()).unwrap())
                .await
            {
                Err(kube::Error::Api(status)) => status.code,
                answer => answer.map(|_| 200).unwrap(),
            }
        })
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < TIMEOUT, "it does not become true that {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    // Moving in and out.

    fn move_in(&self) {
        let _turn = self.turn();
        self.sweep();
        let mut namespace = self.documents("namespace.yaml").remove(0);
        // Pods of these tests run nowhere, whatever the cluster demands of those that do.
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("privileged");
        self.apply(&namespace);
        self.apply(&self.documents("serviceaccount.yaml")[0]);
        self.install(RESOURCES[0]);
    }

    /// Applies definitions of resources if the server does not have them, and waits until it serves
    /// them.
    pub(super) fn install(&self, manifest: &str) {
        for definition in self.documents(manifest) {
            let name = definition["metadata"]["name"].as_str().unwrap();
            self.until("an old resource definition is gone", || {
                self.get("CustomResourceDefinition", name).is_none_or(|found| !is_going(&found))
            });
            if self.get("CustomResourceDefinition", name).is_none() {
                self.apply(&definition);
            }
            let objects = self.collection(definition["spec"]["names"]["kind"].as_str().unwrap());
            self.until("a resource is served", || self.ask("GET", &objects, None).is_ok());
        }
    }

    fn move_out(&self) {
        let _turn = self.turn();
        for kind in ["ClusterRoleBinding", "ClusterRole"] {
            for found in self.all(kind) {
                let name = found["metadata"]["name"].as_str().unwrap();
                if name.starts_with(&format!("{}-", self.namespace)) {
                    self.delete(kind, name);
                }
            }
        }
        self.delete("Namespace", &self.namespace);
        self.remove_definitions();
    }

    /// Removes the resource definitions that are of these tests, if none of them is under way.
    fn remove_definitions(&self) {
        let is_used =
            self.all("Namespace").iter().any(|found| maker_of(found).is_some() && !is_going(found));
        if is_used {
            return;
        }
        for definition in RESOURCES.iter().flat_map(|manifest| self.documents(manifest)) {
            let name = definition["metadata"]["name"].as_str().unwrap();
            let found = self.get("CustomResourceDefinition", name);
            if found.is_some_and(|found| maker_of(&found).is_some()) {
                self.delete("CustomResourceDefinition", name);
            }
        }
    }

    /// Removes what tests of this machine have left that are no more.
    fn sweep(&self) {
        for kind in ["ClusterRoleBinding", "ClusterRole", "Namespace"] {
            for found in self.all(kind) {
                if maker_of(&found).is_some_and(|maker| is_dead(&maker)) && !is_going(&found) {
                    self.delete(kind, found["metadata"]["name"].as_str().unwrap());
                }
            }
        }
    }

    /// Tests of this machine move in and out of a shared server one after the other.
    fn turn(&self) -> Option<File> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("braid-test-kubeconfig.lock");
        self.is_shared.then(|| {
            let file = File::create(path).unwrap();
            file.lock().unwrap();
            file
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.move_out();
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// The `cluster` of the current context.
fn entry_of(kubeconfig: &Kubeconfig) -> Value {
    let wanted = kubeconfig.current_context.as_ref().expect("the kubeconfig has a current-context");
    let context = kubeconfig.contexts.iter().find(|context| context.name == *wanted).unwrap();
    let name = &context.context.as_ref().unwrap().cluster;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == *name).unwrap();
    serde_json::to_value(cluster.cluster.as_ref().unwrap()).unwrap()
}

fn unused_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let time = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_micros();
    format!("braid-test-{}-{number}-{time}", std::process::id())
}

/// This process, as a label: the machine's boot, the space that process IDs are counted in, the ID.
fn maker() -> String {
    format!("{}.{}", machine(), std::process::id())
}

fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    let space = space.trim_matches(|c: char| !c.is_ascii_digit());
    format!("{}.{space}", boot.split('-').next().unwrap())
}

fn maker_of(object: &Value) -> Option<String> {
    object["metadata"]["labels"][LABEL].as_str().map(str::to_owned)
}

fn is_dead(maker: &str) -> bool {
    maker
        .strip_prefix(&format!("{}.", machine()))
        .is_some_and(|process| !Path::new("/proc").join(process).exists())
}

fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}
