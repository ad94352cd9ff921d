//! A node of a cluster, on which the containers of the DaemonSet's pod run as the kubelet starts
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use linux::netns::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{items, kubernetes};
use crate::apiserver::{ApiServer, Setup, User};
use crate::call::{ANNOTATIONS, Call, NETWORKS};
use crate::chroot::{Chroot, executable};
use crate::kustomize::{object, render};
use crate::node::{BRAID, Node, text};
use crate::pod::Pod;

const TIMEOUT: Duration = Duration::from_secs(30);

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// One node of a cluster, and the cluster behind it.
pub(super) struct Cluster<'n> {
    pub(super) node: &'n Node,
    pub(super) server: Rc<ApiServer>,
    /// The node's root directory.
    pub(super) host: Chroot<'n>,
    pub(super) set: Value,
    pub(super) settings: PathBuf,
    account: PathBuf,
    /// What stands before the names of this node's directories.
    name: String,
    /// The executable of the image.
    program: PathBuf,
}

impl<'n> Cluster<'n> {
    pub(super) fn new(node: &'n Node, overlay: &str) -> Self {
        let objects = render(&kubernetes().join("overlays").join(overlay));
        let server = Self::server(node, vec!["rbac.yaml", "rbac-installer.yaml"], &objects);
        let cluster = Self::of(node, "", server, &objects, executable());
        let primary = json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [bridge("cni0", "10.1.0.0/24")]});
        cluster.host.write(&cluster.conf("10-primary.conflist"), &primary.to_string());
        cluster
    }

    /// The API server that the objects are applied to.
    pub(super) fn server(
        node: &Node,
        manifests: Vec<&'static str>,
        objects: &[Value],
    ) -> Rc<ApiServer> {
        let inside = Netns::open(node.host().path().as_ref()).unwrap();
        let setup = Setup { manifests, ..Setup::default() };
        let server = inside.run(|| ApiServer::with(setup)).unwrap();
        server.objects().put(object(objects, "DaemonSet", "braid").clone());
        server.objects().put(object(objects, "ServiceAccount", "braid").clone());
        server.define("team-a", "blue", &bridge("blue", "10.20.0.0/24").to_string());
        server.add_pod("team-a", "web", "uid-web", json!({}));
        Rc::new(server)
    }

    /// A node whose files are below a directory of that name; without a primary network.
    pub(super) fn of(
        node: &'n Node,
        name: &str,
        server: Rc<ApiServer>,
        objects: &[Value],
        program: PathBuf,
    ) -> Self {
        let set = object(objects, "DaemonSet", "braid").clone();
        let mut host = Chroot::new(node, &format!("{name}host"));
        host.mount(Path::new("/proc"), "/proc");
        host.mount(Path::new("/run/netns"), "/run/netns");
        let settings = node.path(&format!("{name}settings"));
        let map = object(objects, "ConfigMap", "braid-settings");
        fs::create_dir_all(&settings).unwrap();
        for (name, contents) in map["data"].as_object().unwrap() {
            fs::write(settings.join(name), text(contents)).unwrap();
        }
        let account = server.service_account_of(&User::installer());
        let name = name.to_owned();
        let cluster = Self { node, server, host, set, settings, account, name, program };
        for plugin in ["bridge", "host-local"] {
            cluster.host.copy_plugin(plugin, &cluster.variable("BIN_DIR"));
        }
        if cluster.is_linked() {
            cluster.host.copy_libraries(&cluster.program);
        }
        cluster
    }

    /// Whether the program is not the static one, which needs nothing beside it.
    fn is_linked(&self) -> bool {
        self.program == Path::new(BRAID)
    }

    /// The token that the pod's service account has in the container.
    pub(super) fn account_token(&self) -> String {
        fs::read_to_string(self.account.join("token")).unwrap()
    }

    /// Gives the pod's service account a new token, as a pod that starts has one.
    pub(super) fn new_account_token(&self) {
        assert_eq!(self.server.service_account_of(&User::installer()), self.account);
    }

    /// The directory of the ConfigMap with what the thick Multus's daemon is told.
    pub(super) fn daemon_config(&self) -> PathBuf {
        self.node.path(&format!("{}daemon-config", self.name))
    }

    /// The file that a container has left its last words in.
    pub(super) fn report(&self) -> String {
        let pod = self.node.path(&format!("{}pod-install", self.name));
        fs::read_to_string(pod.join("dev/termination-log")).unwrap()
    }

    /// Changes a variable of every container, as `kubectl set env` does; it counts for pods that
    /// start from now on.
    pub(super) fn set_variable(&mut self, name: &str, value: &str) {
        let spec = &mut self.set["spec"]["template"]["spec"];
        for containers in ["initContainers", "containers"] {
            for container in spec[containers].as_array_mut().unwrap() {
                let variables = container["env"].as_array_mut().unwrap();
                variables.iter_mut().find(|it| it["name"] == name).unwrap()["value"] = json!(value);
            }
        }
    }

    pub(super) fn spec(&self) -> &Value {
        &self.set["spec"]["template"]["spec"]
    }

    pub(super) fn container(&self, name: &str) -> &Value {
        let all = items(&self.spec()["initContainers"]).chain(items(&self.spec()["containers"]));
        let mut found = all.filter(|container| container["name"] == name);
        found.next().unwrap()
    }

    pub(super) fn variable(&self, name: &str) -> String {
        let found = items(&self.container("keep")["env"])
            .find(|variable| variable["name"] == name)
            .unwrap();
        match found["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => "braid".to_owned(),
            Some("spec.nodeName") => self.name.trim_end_matches('-').to_owned(),
            _ => text(&found["value"]).to_owned(),
        }
    }

    /// A file of the runtime's directory, as the node sees it.
    pub(super) fn conf(&self, name: &str) -> String {
        format!("{}/{name}", self.variable("CONF_DIR"))
    }

    pub(super) fn read_conf(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.host.path(&self.conf(name))).unwrap()).unwrap()
    }

    pub(super) fn entry(&self) -> Value {
        self.read_conf("00-braid.conflist")["plugins"][0].clone()
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.host.path(&self.conf("braid.d/braid.token"))
    }

    pub(super) fn token(&self) -> String {
        fs::read_to_string(self.token_file()).unwrap()
    }

    pub(super) fn set_settings(&self, settings: &Value) {
        // By rename, as the kubelet does it.
        fs::write(self.settings.join("new"), settings.to_string()).unwrap();
        fs::rename(self.settings.join("new"), self.settings.join("settings.json")).unwrap();
    }

    /// A container of the pod, as the kubelet starts it.
    pub(super) fn command(&self, name: &str) -> Command {
        let container = self.container(name);
        let mut pod = Chroot::new(self.node, &format!("{}pod-{name}", self.name));
        pod.copy(&self.program, "/braid");
        if self.is_linked() {
            pod.copy_libraries(&self.program);
        }
        fs::create_dir_all(pod.path("/dev")).unwrap();
        for mount in items(&container["volumeMounts"]) {
            let volume = items(&self.spec()["volumes"])
                .find(|volume| volume["name"] == mount["name"])
                .unwrap();
            let from = match (volume["hostPath"]["path"].as_str(), &volume["configMap"]["name"]) {
                (Some(path), _) => self.host.path(path),
                (None, name) if *name == "multus-daemon-config" => self.daemon_config(),
                (None, _) => self.settings.clone(),
            };
            fs::create_dir_all(&from).unwrap();
            pod.mount(&from, text(&mount["mountPath"]));
        }
        pod.mount(&self.account, SERVICE_ACCOUNT);
        // For /proc/self/exe, which is in every container.
        pod.mount(Path::new("/proc"), "/proc");
        let mut command = pod.command("/braid");
        command.args(items(&container["args"]).map(|argument| self.expand(text(argument))));
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1");
        command.env("KUBERNETES_SERVICE_PORT", self.server.port().to_string());
        command
    }

    /// `$(NAME)`, as Kubernetes replaces it in arguments.
    pub(super) fn expand(&self, argument: &str) -> String {
        let Some((before, rest)) = argument.split_once("$(") else { return argument.to_owned() };
        let (name, after) = rest.split_once(')').unwrap();
        format!("{before}{}{}", self.variable(name), self.expand(after))
    }

    pub(super) fn install(&self) -> Output {
        self.command("install").output().unwrap()
    }

    #[track_caller]
    pub(super) fn installed(&self) {
        let output = self.install();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) fn keep(&self) -> Keeper {
        self.keep_with(|command| command)
    }

    pub(super) fn keep_with(&self, change: impl FnOnce(&mut Command) -> &mut Command) -> Keeper {
        let mut command = self.command("keep");
        change(&mut command);
        let log = self.node.path(&format!("{}keep.log", self.name));
        let file = fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Keeper { child: command.spawn().unwrap(), log }
    }

    /// A call by the runtime: of what its directories hold, on the node.
    pub(super) fn call<'a>(&'a self, verb: &str, pod: &'a Pod<'a>, networks: &str) -> Call<'a> {
        let conflist = self.read_conf("00-braid.conflist");
        let mut config = conflist["plugins"][0].clone();
        config["name"] = conflist["name"].clone();
        config["cniVersion"] = conflist["cniVersion"].clone();
        config["runtimeConfig"] = json!({ANNOTATIONS: {NETWORKS: networks}});
        config.as_object_mut().unwrap().remove("capabilities");
        let bin = self.variable("BIN_DIR");
        let door = self.host.door(&format!("{bin}/braid"));
        Call::again(self.node, verb, config).of_pod(pod).program(door).env("CNI_PATH", &bin)
    }
}

/// The main container.
pub(super) struct Keeper {
    pub(super) child: Child,
    log: PathBuf,
}

impl Keeper {
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    pub(super) fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < TIMEOUT, "not {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it has looked once and has begun to wait: a signal before would end it at once.
    #[track_caller]
    pub(super) fn wait_until_it_waits(&self) {
        let wchan = format!("/proc/{}/wchan", self.child.id());
        self.wait_until("waiting", || {
            fs::read_to_string(&wchan).is_ok_and(|at| at.contains("poll"))
        });
    }

    pub(super) fn stop(&self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    }

    /// The status, and what it said.
    pub(super) fn end(self) -> (Option<i32>, String) {
        self.end_within(TIMEOUT)
    }

    pub(super) fn end_within(mut self, limit: Duration) -> (Option<i32>, String) {
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < limit, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        (self.child.wait().unwrap().code(), self.log())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn bridge(name: &str, subnet: &str) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": name,
        "ipam": {"type": "host-local", "subnet": subnet},
    })
}
