//! A Kubernetes API server for tests, as it looks from the wire: TLS with an authority of its own,
//! HTTP/2 and HTTP/1.1, tokens and client certificates, RBAC from the manifests in
//! `conf/kubernetes`, and the objects that Braid deals with. It writes down every request, and
//! misbehaves when it is told to.

mod connection;
mod identity;
mod objects;
mod pod_watch;
mod rbac;
mod watch;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;

pub(crate) use identity::User;
use identity::{Authority, Pair, Users};
use objects::Objects;
pub(crate) use objects::status;
use pod_watch::Watches;
pub(crate) use rbac::{Right, path_of};

use crate::apiserver::connection::serve;

/// What the server does in place of answering.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with this status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Answers, but later.
    Late(Duration),
    /// Never answers, and keeps the connection.
    Hang,
    /// Closes the connection.
    Close,
    /// Says that it will send nothing more, and keeps reading.
    HalfClose,
    /// Sends half of the answer and closes.
    Cut,
    /// Answers with so many bytes of JSON.
    Flood(usize),
    /// Resets the connection.
    Reset,
    /// Does what it is asked to do, and then this in place of the answer.
    Afterwards(Box<Fault>),
}

/// Says which fault a request of this `METHOD path` meets.
pub(crate) type Weather = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

impl Fault {
    /// A refusal in an API server's words.
    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        Self::Answer(code, Vec::new(), status(code, reason, message, None).1.to_string())
    }

    /// A refusal that names the time to wait.
    pub(crate) fn busy(code: u16, seconds: u64) -> Self {
        let body =
            status(code, "TooManyRequests", "Too many requests, please try again later.", None).1;
        Self::Answer(code, vec![("retry-after", seconds.to_string())], body.to_string())
    }
}

/// A request as it came, and the status that it got; 0 if there was none.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) body: Value,
    pub(crate) user: Option<String>,
    pub(crate) version: http::Version,
    pub(crate) status: u16,
}

impl Recorded {
    /// `GET /api/v1/...`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How the server is set up.
pub(crate) struct Setup {
    /// What it offers in TLS, the best first.
    pub(crate) protocols: Vec<&'static str>,
    /// The names in its certificate.
    pub(crate) names: Vec<&'static str>,
    /// What stands before every path.
    pub(crate) prefix: &'static str,
    /// The manifests of `conf/kubernetes` that are in force.
    pub(crate) manifests: Vec<&'static str>,
    /// A directory with the private keys `ca.key` and `apiserver.key` in PEM, as kubeadm names
    /// them. Without it the keys are new ones on an elliptic curve, which cost less.
    pub(crate) pki: Option<PathBuf>,
    /// How long each request takes.
    pub(crate) latency: Latency,
}

/// How long a request takes from its arrival to the answer: an API server reads and writes etcd.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latency {
    /// Of a GET.
    pub(crate) read: Duration,
    /// Of any other request.
    pub(crate) write: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            protocols: vec!["h2", "http/1.1"],
            names: vec!["127.0.0.1", "localhost"],
            prefix: "",
            manifests: vec!["rbac.yaml"],
            pki: None,
            latency: Latency::default(),
        }
    }
}

/// What the server's thread and the test share.
struct Shared {
    objects: Mutex<Objects>,
    users: Mutex<Users>,
    requests: Mutex<Vec<Recorded>>,
    faults: Mutex<VecDeque<(String, Fault)>>,
    weather: Mutex<Option<Weather>>,
    connections: AtomicUsize,
    /// Whether connections are taken, and never spoken on.
    is_mute: AtomicBool,
    prefix: String,
    latency: Mutex<Latency>,
    watches: Watches,
}

/// A running server. It stops when it goes.
pub(crate) struct ApiServer {
    shared: Arc<Shared>,
    authority: Authority,
    tls: Arc<ServerConfig>,
    address: SocketAddr,
    running: Option<(Arc<Notify>, JoinHandle<()>)>,
    directory: TempDir,
    files: AtomicUsize,
}

impl ApiServer {
    /// A server with what every API server has.
    pub(crate) fn start() -> Self {
        Self::with(Setup::default())
    }

    /// A server of which nothing but its own is there: no definitions, no rights of Braid's.
    pub(crate) fn bare() -> Self {
        Self::bare_with(Setup::default())
    }

    /// The same, set up as `setup` says but for the manifests.
    pub(crate) fn bare_with(setup: Setup) -> Self {
        let server = Self::with(Setup { manifests: Vec::new(), ..setup });
        server.objects().has_no_definitions = true;
        server.objects().has_no_pools = true;
        server
    }

    /// The socket is opened in the caller's network namespace.
    pub(crate) fn with(setup: Setup) -> Self {
        let key = |name: &str| {
            setup.pki.as_ref().map(|pki| std::fs::read_to_string(pki.join(name)).unwrap())
        };
        let authority = Authority::new(key("ca.key").as_deref());
        let pair = authority.server(&setup.names, key("apiserver.key").as_deref());
        let tls = authority.server_config(&pair, &setup.protocols);
        let mut objects = Objects::default();
        for manifest in setup.manifests {
            objects.rbac.apply(manifest);
        }
        let shared = Shared {
            objects: Mutex::new(objects),
            users: Mutex::default(),
            requests: Mutex::default(),
            faults: Mutex::default(),
            weather: Mutex::default(),
            connections: AtomicUsize::new(0),
            is_mute: AtomicBool::new(false),
            prefix: setup.prefix.to_owned(),
            latency: Mutex::new(setup.latency),
            watches: Watches::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let files = AtomicUsize::new(0);
        let mut server = Self {
            shared: Arc::new(shared),
            authority,
            tls,
            address,
            running: None,
            directory,
            files,
        };
        server.serve(listener);
        server
    }

    fn serve(&mut self, listener: TcpListener) {
        let stop = Arc::new(Notify::new());
        let (shared, tls, stopped) = (self.shared.clone(), self.tls.clone(), stop.clone());
        let thread = std::thread::spawn(move || serve(listener, shared, tls, &stopped));
        self.running = Some((stop, thread));
    }

    /// Closes the socket and every connection; returns when they are closed.
    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.notify_one();
            thread.join().unwrap();
        }
    }

    /// Starts again, at the same address, with the same objects.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.serve(TcpListener::bind(self.address).unwrap());
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// `127.0.0.1:<port>`.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}{}", self.address, self.shared.prefix)
    }

    pub(crate) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.shared.objects.lock().unwrap()
    }

    /// A definition in a namespace.
    pub(crate) fn define(&self, namespace: &str, name: &str, config: &str) {
        self.objects().put(json!({
            "apiVersion": "k8s.cni.cncf.io/v1",
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"config": config},
        }));
    }

    /// A pod that runs on this node.
    pub(crate) fn add_pod(&self, namespace: &str, name: &str, uid: &str, annotations: Value) {
        self.objects().put(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "uid": uid, "annotations": annotations},
            "spec": {"serviceAccountName": "default", "nodeName": "node-1", "containers": [{"name": "c"}]},
            "status": {"phase": "Pending"},
        }));
    }

    /// Everything that was asked so far.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The requests so far as `METHOD path`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Recorded::line).collect()
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The next request whose `METHOD path` contains `part` meets `fault`; faults queue.
    pub(crate) fn next(&self, part: &str, fault: Fault) {
        self.shared.faults.lock().unwrap().push_back((part.to_owned(), fault));
    }

    /// The next `times` requests meet `fault`.
    pub(crate) fn times(&self, times: usize, fault: &Fault) {
        for _ in 0..times {
            self.next("", fault.clone());
        }
    }

    /// Each request that meets no fault of the queue meets the one that `weather` says.
    pub(crate) fn weather(&self, weather: impl FnMut(&str) -> Option<Fault> + Send + 'static) {
        *self.shared.weather.lock().unwrap() = Some(Box::new(weather));
    }

    /// Nothing more goes wrong.
    pub(crate) fn forget_faults(&self) {
        self.shared.faults.lock().unwrap().clear();
        *self.shared.weather.lock().unwrap() = None;
    }

    /// How long each request takes from now on.
    pub(crate) fn take_time(&self, latency: Latency) {
        *self.shared.latency.lock().unwrap() = latency;
    }

    /// Takes connections from now on and says nothing on them, not even in TLS; or speaks again.
    pub(crate) fn be_mute(&self, is_mute: bool) {
        self.shared.is_mute.store(is_mute, Ordering::SeqCst);
    }

    /// A token of `user` that ends so many seconds from now.
    pub(crate) fn token(&self, user: &User, seconds: i64) -> String {
        self.shared.users.lock().unwrap().add_token(user, seconds)
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.shared.users.lock().unwrap().revoke(token);
    }

    /// A certificate that the server takes for `user`.
    pub(crate) fn certificate(&self, user: &User) -> Pair {
        let pair = self.authority.client(&user.name, false);
        self.shared.users.lock().unwrap().add_certificate(user, &pair);
        pair
    }

    /// A certificate of the right authority that ended in 2020.
    pub(crate) fn expired_certificate(&self) -> Pair {
        self.authority.client("late", true)
    }

    /// The certificate authority, in PEM.
    pub(crate) fn authority(&self) -> &str {
        &self.authority.pem
    }

    /// A file for this test.
    pub(crate) fn file(&self, contents: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::SeqCst);
        let path = self.directory.path().join(format!("file-{number}"));
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// A program for this test.
    pub(crate) fn program(&self, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(&format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The `cluster` of a kubeconfig.
    pub(crate) fn cluster_entry(&self) -> Value {
        json!({"server": self.url(), "certificate-authority-data": STANDARD.encode(self.authority())})
    }

    /// A kubeconfig with this `user`.
    pub(crate) fn kubeconfig(&self, user: Value) -> PathBuf {
        self.kubeconfig_for(self.cluster_entry(), user)
    }

    /// A kubeconfig with this `cluster` and `user`.
    pub(crate) fn kubeconfig_for(&self, cluster: Value, user: Value) -> PathBuf {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "preferences": {},
            "clusters": [{"name": "the-cluster", "cluster": cluster}],
            "users": [{"name": "braid", "user": user}],
            "contexts": [{"name": "braid-context", "context": {"cluster": "the-cluster", "user": "braid"}}],
            "current-context": "braid-context",
        });
        self.file(&config.to_string())
    }

    /// A kubeconfig with a token of Braid's service account: the usual form.
    pub(crate) fn usual_kubeconfig(&self) -> PathBuf {
        self.kubeconfig(json!({"token": self.token(&User::braid(), 3600)}))
    }

    /// A kubeconfig with which everything is allowed, as a new cluster has one: with a client
    /// certificate.
    pub(crate) fn administrators_kubeconfig(&self) -> PathBuf {
        let pair = self.certificate(&User::administrator());
        self.kubeconfig(json!({
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }))
    }

    /// What Kubernetes puts into a container for its service account.
    pub(crate) fn service_account(&self) -> PathBuf {
        self.service_account_of(&User::braid())
    }

    pub(crate) fn service_account_of(&self, user: &User) -> PathBuf {
        let directory = self.directory.path().join("serviceaccount");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("token"), self.token(user, 3600)).unwrap();
        std::fs::write(directory.join("ca.crt"), self.authority()).unwrap();
        std::fs::write(directory.join("namespace"), "braid").unwrap();
        directory
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}
