//! What the DaemonSet's pod does on its node, from the installation to its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use linux::netns::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{OVERLAYS, items, kubernetes};
use crate::apiserver::{ApiServer, Fault, Setup, User};
use crate::call::{ANNOTATIONS, Call, NETWORKS};
use crate::chroot::{Chroot, executable};
use crate::kustomize::{object, render};
use crate::node::{Node, text};
use crate::pod::Pod;

const PATIENCE: Duration = Duration::from_secs(30);

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

struct Cluster<'n> {
    node: &'n Node,
    server: ApiServer,
    host: Chroot<'n>,
    set: Value,
    settings: PathBuf,
    account: PathBuf,
}

impl<'n> Cluster<'n> {
    fn new(node: &'n Node, overlay: &str) -> Self {
        let objects = render(&kubernetes().join("overlays").join(overlay));
        let inside = Netns::open(node.host().path().as_ref()).unwrap();
        let setup =
            Setup { manifests: vec!["rbac.yaml", "rbac-installer.yaml"], ..Setup::default() };
        let server = inside.run(|| ApiServer::with(setup)).unwrap();
        let set = object(&objects, "DaemonSet", "braid").clone();
        server.objects().put(set.clone());
        server.objects().put(object(&objects, "ServiceAccount", "braid").clone());
        server.define("team-a", "blue", &bridge("blue", "10.20.0.0/24").to_string());
        server.add_pod("team-a", "web", "uid-web", json!({}));

        let mut host = Chroot::new(node, "host");
        host.mount(Path::new("/proc"), "/proc");
        host.mount(Path::new("/run/netns"), "/run/netns");
        let settings = node.path("settings");
        let map = object(&objects, "ConfigMap", "braid-settings");
        fs::create_dir_all(&settings).unwrap();
        for (name, contents) in map["data"].as_object().unwrap() {
            fs::write(settings.join(name), text(contents)).unwrap();
        }
        let account = server.service_account_of(&User::installer());
        let cluster = Self { node, server, host, set, settings, account };
        for plugin in ["bridge", "host-local"] {
            cluster.host.copy_plugin(plugin, &cluster.variable("BIN_DIR"));
        }
        let primary = json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [bridge("cni0", "10.1.0.0/24")]});
        cluster.host.write(&cluster.conf("10-primary.conflist"), &primary.to_string());
        cluster
    }

    fn spec(&self) -> &Value {
        &self.set["spec"]["template"]["spec"]
    }

    fn container(&self, name: &str) -> &Value {
        let all = items(&self.spec()["initContainers"]).chain(items(&self.spec()["containers"]));
        let mut found = all.filter(|container| container["name"] == name);
        found.next().unwrap()
    }

    fn variable(&self, name: &str) -> String {
        let found = items(&self.container("keep")["env"])
            .find(|variable| variable["name"] == name)
            .unwrap();
        let is_namespace = found["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace";
        if is_namespace { "braid".to_owned() } else { text(&found["value"]).to_owned() }
    }

    /// A file of the runtime's directory, as the node sees it.
    fn conf(&self, name: &str) -> String {
        format!("{}/{name}", self.variable("CONF_DIR"))
    }

    fn read_conf(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.host.path(&self.conf(name))).unwrap()).unwrap()
    }

    fn entry(&self) -> Value {
        self.read_conf("00-braid.conflist")["plugins"][0].clone()
    }

    fn token_file(&self) -> PathBuf {
        self.host.path(&self.conf("braid.d/braid.token"))
    }

    fn token(&self) -> String {
        fs::read_to_string(self.token_file()).unwrap()
    }

    fn set_settings(&self, settings: &Value) {
        // By rename, as the kubelet does it.
        fs::write(self.settings.join("new"), settings.to_string()).unwrap();
        fs::rename(self.settings.join("new"), self.settings.join("settings.json")).unwrap();
    }

    /// A container of the pod, as the kubelet starts it.
    fn command(&self, name: &str) -> Command {
        let container = self.container(name);
        let mut pod = Chroot::new(self.node, &format!("pod-{name}"));
        pod.copy(&executable(), "/braid");
        for mount in items(&container["volumeMounts"]) {
            let volume = items(&self.spec()["volumes"])
                .find(|volume| volume["name"] == mount["name"])
                .unwrap();
            let from = match volume["hostPath"]["path"].as_str() {
                Some(path) => self.host.path(path),
                None => self.settings.clone(),
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
    fn expand(&self, argument: &str) -> String {
        let Some((before, rest)) = argument.split_once("$(") else { return argument.to_owned() };
        let (name, after) = rest.split_once(')').unwrap();
        format!("{before}{}{}", self.variable(name), self.expand(after))
    }

    fn install(&self) -> Output {
        self.command("install").output().unwrap()
    }

    #[track_caller]
    fn installed(&self) {
        let output = self.install();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn keep(&self) -> Keeper {
        self.keep_with(|command| command)
    }

    fn keep_with(&self, change: impl FnOnce(&mut Command) -> &mut Command) -> Keeper {
        let mut command = self.command("keep");
        change(&mut command);
        let log = self.node.path("keep.log");
        let file = fs::File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Keeper { child: command.spawn().unwrap(), log }
    }

    /// A call by the runtime: of what its directories hold, on the node.
    fn call<'a>(&'a self, verb: &str, pod: &'a Pod<'a>, networks: &str) -> Call<'a> {
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
struct Keeper {
    child: Child,
    log: PathBuf,
}

impl Keeper {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < PATIENCE, "not {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it has looked once and has begun to wait: a signal before would end it at once.
    #[track_caller]
    fn wait_until_it_waits(&self) {
        let wchan = format!("/proc/{}/wchan", self.child.id());
        self.wait_until("waiting", || {
            fs::read_to_string(&wchan).is_ok_and(|at| at.contains("poll"))
        });
    }

    fn stop(&self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    }

    /// The status, and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "it does not end: {}", self.log());
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

fn bridge(name: &str, subnet: &str) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": name,
        "ipam": {"type": "host-local", "subnet": subnet},
    })
}

#[test]
fn each_overlay_makes_a_node_that_attaches_networks() {
    for overlay in OVERLAYS {
        let node = Node::new();
        let cluster = Cluster::new(&node, overlay);
        cluster.installed();
        let bin = cluster.host.path(&format!("{}/braid", cluster.variable("BIN_DIR")));
        assert_eq!(fs::read(bin).unwrap(), fs::read(executable()).unwrap());
        let (kubeconfig, scope) =
            (cluster.entry()["kubeconfig"].clone(), cluster.entry()["resultScope"].clone());
        assert_eq!(text(&kubeconfig), cluster.conf("braid.d/braid.kubeconfig"));
        assert_eq!(scope == "primary", overlay == "crio");
        for file in ["braid.d/braid.kubeconfig", "braid.d/braid.token"] {
            let metadata = fs::metadata(cluster.host.path(&cluster.conf(file))).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, 0o600, "{file}");
        }

        let pod = node.pod("team-a", "web");
        let result = cluster.call("ADD", &pod, "blue").run().assert_success();
        assert_eq!(pod.addresses("net1"), ["10.20.0.2/24"]);
        let asked = cluster.server.requests();
        let user = asked.last().unwrap().user.clone().unwrap();
        assert_eq!(user, "system:serviceaccount:braid:braid", "the node is not the installer");
        cluster.call("DEL", &pod, "blue").prev_result(result).run().assert_success();
        assert_eq!(pod.links(), Vec::<String>::new());
    }
}

/// Without a token nothing of the node changes, and a try later helps.
#[test]
fn an_api_that_gives_no_token_leaves_the_node_as_it_is() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.server.objects().remove("serviceaccounts", "braid", "braid");
    let output = cluster.install();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("a token of service account \"braid/braid\" does not exist in the cluster"),
        "{said}"
    );
    cluster.server.times(20, &Fault::status(503, "ServiceUnavailable", "not yet"));
    assert_eq!(cluster.install().status.code(), Some(3));
    let there = fs::read_dir(cluster.host.path(&cluster.variable("CONF_DIR"))).unwrap().flatten();
    let there: Vec<_> = there.map(|entry| entry.file_name()).collect();
    assert_eq!(there, ["10-primary.conflist"]);
}

#[test]
fn a_token_is_shown_to_nobody() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    let mut all = String::new();
    for more in [&["-o", "json"][..], &["--dry-run"], &["--dry-run", "-o", "json"], &[]] {
        let output = cluster.command("install").args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        all.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    assert!(all.contains("braid.token") && !all.contains(&cluster.token()), "{all}");
    let requests = cluster.server.lines();
    let tokens = requests.iter().filter(|line| line.ends_with("/serviceaccounts/braid/token"));
    assert_eq!(tokens.count(), 2, "a rehearsal asks for none: {requests:?}");
}

#[test]
fn what_changes_reaches_the_node() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.installed();
    let token = cluster.token();
    let keeper = cluster.keep();
    cluster.set_settings(&json!({"maxNetworks": 4}));
    keeper.wait_until("the setting", || cluster.entry()["maxNetworks"] == 4);

    // Settings that would stop every pod do not arrive, and are named.
    cluster.set_settings(&json!({"maxNetworks": "many"}));
    keeper.wait_until("a complaint", || keeper.log().contains("maxNetworks"));
    assert_eq!(cluster.entry()["maxNetworks"], 4);
    cluster.set_settings(&json!({"maxNetworks": null, "logLevel": "debug"}));
    keeper.wait_until("the other", || cluster.entry()["logLevel"] == "debug");
    assert!(cluster.entry()["maxNetworks"].is_null());

    // Somebody takes Braid off: it comes back. Somebody drains it: that goes on.
    fs::remove_file(cluster.host.path(&cluster.conf("00-braid.conflist"))).unwrap();
    let ours = cluster.host.path(&cluster.conf("00-braid.conflist"));
    keeper.wait_until("the file", || ours.exists());
    let mut drained = cluster.read_conf("00-braid.conflist");
    drained["plugins"][0]["drain"] = json!(true);
    fs::write(&ours, drained.to_string()).unwrap();
    cluster.set_settings(&json!({"logLevel": "info"}));
    keeper.wait_until("the level", || cluster.entry()["logLevel"] == "info");
    assert_eq!(cluster.entry()["drain"], true);

    assert_eq!(cluster.token(), token, "a token that is good is kept");
    keeper.stop();
    let (status, log) = keeper.end();
    assert!(status == Some(0) && log.contains("is still there: braid stays"), "{status:?} {log}");
    assert!(ours.exists() && !log.contains(&token));
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.server.objects().token_seconds = Some(6);
    cluster.installed();
    let first = cluster.token();
    let keeper = cluster.keep();
    keeper.wait_until("renewed", || cluster.token() != first);
    assert_eq!(fs::metadata(cluster.token_file()).unwrap().permissions().mode() & 0o7777, 0o600);
    cluster.server.revoke(&first);
    let pod = node.pod("team-a", "web");
    cluster.call("ADD", &pod, "blue").run().assert_success();
    keeper.stop();
    assert_eq!(keeper.end().0, Some(0));
}

#[test]
fn deleted_for_good_it_leaves_once_no_pod_has_an_extra_network() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.installed();
    let pod = node.pod("team-a", "web");
    let result = cluster.call("ADD", &pod, "blue").run().assert_success();
    let keeper = cluster.keep();
    keeper.wait_until_it_waits();
    cluster.server.objects().remove("daemonsets", "braid", "braid");
    keeper.stop();
    keeper
        .wait_until("waiting", || keeper.log().contains("waiting: team-a/web has extra networks"));
    assert_eq!(cluster.entry()["drain"], true);
    let late = node.pod("team-a", "late");
    cluster.call("ADD", &late, "blue").run().assert_error(11, ["leaving this node (drain)"]);

    cluster.call("DEL", &pod, "blue").prev_result(result).run().assert_success();
    let (status, log) = keeper.end();
    assert_eq!(status, Some(0), "{log}");
    let left = fs::read_dir(cluster.host.path(&cluster.variable("CONF_DIR"))).unwrap().flatten();
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["10-primary.conflist"]);
    assert!(
        !log.contains("--wait") && log.contains("braid leaves by itself when they are gone"),
        "{log}"
    );
    let bin = cluster.host.path(&format!("{}/braid", cluster.variable("BIN_DIR")));
    assert!(!bin.exists() && !cluster.host.path("/var/lib/cni/braid").exists());
}

/// The user changes their mind while pods are still leaving.
#[test]
fn what_is_installed_again_stays() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.installed();
    let pod = node.pod("team-a", "web");
    cluster.call("ADD", &pod, "blue").run().assert_success();
    let keeper = cluster.keep();
    keeper.wait_until_it_waits();
    cluster.server.objects().remove("daemonsets", "braid", "braid");
    keeper.stop();
    keeper.wait_until("waiting", || keeper.log().contains("waiting: "));
    cluster.server.objects().put(cluster.set.clone());
    cluster.installed();
    let (status, log) = keeper.end();
    assert!(status == Some(0) && log.contains("installed again meanwhile"), "{log}");
    assert!(cluster.entry()["drain"].is_null());
}

/// It says once what is wrong, and tries again; and it ends as ever.
#[test]
fn without_an_api_it_stays() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.installed();
    fs::remove_file(cluster.token_file()).unwrap();
    let keeper = cluster.keep_with(|command| command.env_remove("KUBERNETES_SERVICE_HOST"));
    keeper.wait_until_it_waits();
    keeper.wait_until("a complaint", || keeper.log().contains("braid: "));
    keeper.stop();
    let (status, log) = keeper.end();
    assert!(status == Some(0) && log.contains("no API to ask"), "{log}");
    assert_eq!(log.matches("braid: ").count(), 1, "{log}");
    assert!(cluster.entry()["drain"].is_null());
}

#[test]
fn without_knowing_it_stays() {
    let page = Fault::Answer(404, Vec::new(), "404 page not found\n".to_owned());
    let refusal = Fault::status(403, "Forbidden", "no");
    let unauthorized = Fault::status(401, "Unauthorized", "Unauthorized");
    for fault in [page, refusal, unauthorized] {
        let node = Node::new();
        let cluster = Cluster::new(&node, "containerd");
        cluster.installed();
        let keeper = cluster.keep();
        keeper.wait_until_it_waits();
        cluster.server.objects().remove("daemonsets", "braid", "braid");
        cluster.server.next("daemonsets", fault.clone());
        keeper.stop();
        let (status, log) = keeper.end();
        assert!(
            status == Some(0)
                && log.contains("cannot tell whether DaemonSet braid/braid is deleted"),
            "{log}"
        );
        assert!(cluster.entry()["drain"].is_null(), "{fault:?}");
    }
}
