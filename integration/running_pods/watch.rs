//! `braid keep --watch-pods`: pods whose annotation changes, against an API server.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use linux::netns::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{attach, braid, detach};
use crate::apiserver::{ApiServer, User};
use crate::node::{BRAID, Node};
use crate::operator::records::primary;
use crate::pod::Pod;

const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";
const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
const TIMEOUT: Duration = Duration::from_secs(40);

/// A node that belongs to an API server.
pub(super) struct Cluster {
    pub(super) server: ApiServer,
    pub(super) node: Node,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let node = super::node();
        let host = Netns::open(node.host().path().as_ref()).unwrap();
        let server = host.run(ApiServer::start).unwrap();
        let cluster = Self { server, node };
        cluster.use_kubeconfig(&cluster.server.administrators_kubeconfig());
        cluster
    }

    /// The node's configuration has this kubeconfig from now on.
    fn use_kubeconfig(&self, kubeconfig: &Path) {
        let path = self.node.path("net.d/00-braid.conflist");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut conflist: Value = serde_json::from_str(&text).unwrap();
        conflist["plugins"][0]["kubeconfig"] = json!(kubeconfig);
        std::fs::write(path, conflist.to_string()).unwrap();
    }

    /// A pod that the API has and that runs with these networks.
    pub(super) fn running(&self, name: &str, networks: &str) -> Pod<'_> {
        self.server.add_pod("team-a", name, &format!("uid-{name}"), json!({NETWORKS: networks}));
        let pod = self.node.pod("team-a", name);
        let config = json!({"delegates": [primary()], "kubeconfig": self.server.administrators_kubeconfig()});
        pod.add(config).networks(networks).run().assert_success();
        pod
    }

    fn change(&self, name: &str, change: impl Fn(&mut Value)) {
        let mut objects = self.server.objects();
        let mut pod = objects.get("pods", "team-a", name).unwrap().clone();
        change(&mut pod);
        objects.put(pod);
    }

    pub(super) fn annotate(&self, name: &str, networks: &str) {
        self.change(name, |pod| pod["metadata"]["annotations"][NETWORKS] = json!(networks));
    }

    /// The interfaces in the pod's status.
    pub(super) fn status(&self, name: &str) -> Vec<String> {
        let objects = self.server.objects();
        let pod = objects.get("pods", "team-a", name).unwrap();
        let status = pod["metadata"]["annotations"][STATUS].as_str().unwrap_or("[]");
        let status: Value = serde_json::from_str(status).unwrap();
        let interface = |entry: &Value| entry["interface"].as_str().unwrap().to_owned();
        status.as_array().unwrap().iter().map(interface).collect()
    }

    pub(super) fn events(&self) -> Vec<(String, String)> {
        let events = self.server.objects().all("events");
        let shown = |event: &Value| {
            (
                event["reason"].as_str().unwrap().to_owned(),
                event["note"].as_str().unwrap().to_owned(),
            )
        };
        events.iter().map(shown).collect()
    }

    /// `braid keep --watch-pods`, until it is dropped.
    pub(super) fn keep(&self) -> Keeper {
        let mut command = self.node.host().command(BRAID);
        let (conf_dir, bin_dir) = (self.node.path_text("net.d"), self.node.path_text("bin"));
        command.args(["keep", "--watch-pods", "--node-name", "node-1"]);
        command.args(["--conf-dir", &conf_dir, "--bin-dir", &bin_dir, "--bin-dir", "/usr/lib/cni"]);
        command.env_clear().env("PATH", std::env::var("PATH").unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let begun = self.server.watches();
        let keeper = Keeper(Some(command.spawn().unwrap()));
        wait_until("it watches", || self.server.watches() > begun);
        keeper
    }
}

/// A running `braid keep`.
pub(super) struct Keeper(Option<Child>);

impl Keeper {
    fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Tells it to stop; returns its standard error.
    fn stop(mut self) -> String {
        let mut child = self.0.take().unwrap();
        let id = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(id, Signal::SIGTERM).unwrap();
        let started = Instant::now();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

#[track_caller]
pub(super) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < TIMEOUT, "it does not come that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
pub(super) fn wait_for_links(pod: &Pod<'_>, links: &[&str]) {
    wait_until(&format!("the pod has {links:?}"), || pod.links() == links);
}

/// The pod's own record agrees with the kernel, once no change is under way.
#[track_caller]
fn must_agree(pod: &Pod<'_>) {
    wait_until("CHECK passes", || pod.check().run().status.success());
    wait_until("the record agrees", || {
        let listed = braid(pod.node, &["list", "-o", "json"]).json();
        listed["records"].as_array().unwrap().iter().all(|record| record["kernel"] == "agrees")
    });
}

#[test]
fn a_changed_annotation_is_followed_and_told_of() {
    let cluster = Cluster::new();
    let before = cluster.node.dump();
    let web = cluster.running("web", "blue");
    let keeper = cluster.keep();
    cluster.annotate("web", "blue,red@data0");
    wait_for_links(&web, &["data0", "eth0", "net1"]);
    wait_until("the status shows it", || cluster.status("web") == ["eth0", "net1", "data0"]);
    must_agree(&web);
    cluster.annotate("web", "red@data0,green");
    wait_for_links(&web, &["data0", "eth0", "net1"]);
    wait_until("the status shows it", || cluster.status("web") == ["eth0", "data0", "net1"]);
    assert_eq!(web.addresses("net1"), ["10.7.0.2/24"]);
    must_agree(&web);
    cluster.annotate("web", "");
    wait_for_links(&web, &["eth0"]);
    must_agree(&web);
    wait_until("each change has an event", || cluster.events().len() == 5);
    let attached = cluster.events().into_iter().filter(|(reason, _)| reason == "NetworkAttached");
    let mut notes: Vec<String> = attached.map(|(_, note)| note).collect();
    notes.sort();
    assert_eq!(
        notes,
        [
            "network team-a/green on net1 is attached, as the annotation asks",
            "network team-a/red on data0 is attached, as the annotation asks",
        ]
    );
    let said = keeper.stop();
    assert!(said.contains("team-a/web: attached: team-a/red on data0"), "{said}");
    web.del().run().assert_success();
    assert_eq!(cluster.node.leftovers(&before), Vec::<String>::new());
}

#[test]
fn what_has_changed_while_it_was_away_is_caught_up_with() {
    let cluster = Cluster::new();
    let (web, db) = (cluster.running("web", "blue"), cluster.running("db", "blue,red"));
    let plain = cluster.running("plain", "");
    cluster.annotate("web", "");
    cluster.annotate("plain", "green");
    let keeper = cluster.keep();
    wait_for_links(&web, &["eth0"]);
    wait_for_links(&plain, &["eth0", "net1"]);
    keeper.stop();
    cluster.annotate("db", "red");
    let _keeper = cluster.keep();
    wait_for_links(&db, &["eth0", "net2"]);
    must_agree(&db);
}

/// The two triggers do not undo each other.
#[test]
fn what_an_administrator_has_done_is_left_alone() {
    let cluster = Cluster::new();
    let web = cluster.running("web", "blue,red");
    let keeper = cluster.keep();
    attach(&cluster.node, &["green@own0"]).assert_status(0);
    detach(&cluster.node, "net1").assert_status(0);
    cluster.annotate("web", "blue,red,green");
    wait_for_links(&web, &["eth0", "net1", "net2", "own0"]);
    wait_until("the new network is green", || web.addresses("net1") == ["10.7.0.2/24"]);
    keeper.stop();
    // Nor does one that begins anew bring back what was taken away.
    let _keeper = cluster.keep();
    cluster.annotate("web", "blue,red");
    wait_for_links(&web, &["eth0", "net2", "own0"]);
    // The annotation may ask for it again once it has not asked for it.
    cluster.annotate("web", "red");
    cluster.annotate("web", "red,blue");
    wait_until("blue is back", || {
        web.links().len() == 4 || {
            cluster.annotate("web", "red");
            std::thread::sleep(Duration::from_secs(1));
            cluster.annotate("web", "red,blue");
            std::thread::sleep(Duration::from_secs(1));
            false
        }
    });
    must_agree(&web);
}

#[test]
fn what_is_refused_is_said_in_the_words_of_add_and_tried_again() {
    let cluster = Cluster::new();
    let web = cluster.running("web", "blue");
    let keeper = cluster.keep();
    cluster.annotate("web", "blue,yellow,red");
    // One network that is refused keeps no other from the pod.
    wait_for_links(&web, &["eth0", "net1", "net2"]);
    let refused = || cluster.events().into_iter().find(|(reason, _)| reason == "NetworkRefused");
    wait_until("the refusal is told of", || refused().is_some());
    let (_, note) = refused().unwrap();
    assert!(note.contains("pod team-a/web: network \"team-a/yellow\""), "{note}");
    cluster.node.network("yellow", json!({"link": true, "addresses": ["10.6.0.2/24"]}));
    wait_for_links(&web, &["eth0", "net1", "net2", "net3"]);
    cluster.annotate("web", "blue,,red");
    wait_until("an invalid annotation is told of", || {
        cluster.events().iter().any(|(_, note)| note.contains("element 2 is \"\""))
    });
    assert_eq!(web.links(), ["eth0", "net1", "net2", "net3"], "nothing is changed by it");
    let said = keeper.stop();
    assert_eq!(said.matches("\"team-a/yellow\" is not defined").count(), 1, "{said}");
}

#[test]
fn a_pod_whose_plugin_hangs_holds_up_no_other() {
    let cluster = Cluster::new();
    let (web, db) = (cluster.running("web", ""), cluster.running("db", ""));
    let _keeper = cluster.keep();
    cluster.node.script("red", json!({"ADD": {"sleep_ms": 30_000}}));
    cluster.annotate("web", "red");
    cluster.node.wait_for_call("ADD red net1");
    let started = Instant::now();
    cluster.annotate("db", "blue");
    wait_for_links(&db, &["eth0", "net1"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(web.links(), ["eth0"]);
}

/// Nor do all pods of a tenant, each with a plugin that hangs, the tenants beside.
#[test]
fn a_tenant_whose_plugins_hang_holds_up_no_other_tenant() {
    let cluster = Cluster::new();
    let pods: Vec<_> = (0..6).map(|at| cluster.running(&format!("slow{at}"), "")).collect();
    let lan = json!({"cniVersion": "1.0.0", "type": "green", "link": true});
    cluster.node.define("team-b", "lan", lan);
    cluster.server.add_pod("team-b", "db", "uid-db", json!({NETWORKS: ""}));
    let db = cluster.node.pod("team-b", "db");
    let config =
        json!({"delegates": [primary()], "kubeconfig": cluster.server.administrators_kubeconfig()});
    db.add(config).networks("").run().assert_success();
    let _keeper = cluster.keep();
    cluster.node.script("red", json!({"ADD": {"sleep_ms": 30_000}}));
    (0..6).for_each(|at| cluster.annotate(&format!("slow{at}"), "red"));
    cluster.node.wait_for_call("ADD red net1");
    let started = Instant::now();
    let mut objects = cluster.server.objects();
    let mut pod = objects.get("pods", "team-b", "db").unwrap().clone();
    pod["metadata"]["annotations"][NETWORKS] = json!("lan");
    objects.put(pod);
    drop(objects);
    wait_for_links(&db, &["eth0", "net1"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(pods[5].links(), ["eth0"]);
}

/// Told to stop, it undoes what is under way.
#[test]
fn sigterm_ends_it_and_undoes_what_is_under_way() {
    let cluster = Cluster::new();
    let web = cluster.running("web", "");
    let keeper = cluster.keep();
    cluster.node.script("red", json!({"ADD": {"link": true, "sleep_ms": 3_000}}));
    cluster.annotate("web", "red");
    cluster.node.wait_for_call("ADD red net1");
    keeper.stop();
    assert_eq!(web.links(), ["eth0"]);
    web.check().run().assert_success();
}

#[test]
fn a_pod_that_is_being_deleted_or_is_static_is_left_alone() {
    let cluster = Cluster::new();
    let (web, mirror) = (cluster.running("web", "blue"), cluster.running("mirror", "blue"));
    let last = cluster.running("last", "");
    let _keeper = cluster.keep();
    cluster.change("web", |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["annotations"][NETWORKS] = json!("");
    });
    cluster.change("mirror", |pod| {
        pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] = json!("x");
        pod["metadata"]["annotations"][NETWORKS] = json!("");
    });
    cluster.annotate("last", "blue");
    wait_for_links(&last, &["eth0", "net1"]);
    assert_eq!((web.links(), mirror.links()), (last.links(), last.links()));
}

/// Streams that are compressed, that end, whose place is forgotten (410), and a server that starts
/// again.
#[test]
fn it_goes_on_whatever_becomes_of_the_watch() {
    let mut cluster = Cluster::new();
    cluster.server.compress_pods();
    let keeper = cluster.keep();
    {
        let web = cluster.running("web", "");
        cluster.annotate("web", "blue");
        wait_for_links(&web, &["eth0", "net1"]);
        cluster.server.end_watches();
        cluster.annotate("web", "blue,red");
        wait_for_links(&web, &["eth0", "net1", "net2"]);
        cluster.server.forget_versions();
        cluster.annotate("web", "red");
        wait_for_links(&web, &["eth0", "net2"]);
        web.del().run().assert_success();
    }
    let host = Netns::open(cluster.node.host().path().as_ref()).unwrap();
    host.run(|| cluster.server.restart()).unwrap();
    let db = cluster.running("db", "");
    cluster.annotate("db", "green");
    wait_for_links(&db, &["eth0", "net1"]);
    let rights: Vec<String> = cluster
        .server
        .objects()
        .rights
        .iter()
        .filter(|(right, _)| right.resource == "pods")
        .map(|(right, _)| right.verb.clone())
        .collect();
    assert!(rights.iter().all(|verb| verb == "list" || verb == "watch"), "{rights:?}");
    let said = keeper.stop();
    assert!(said.matches("pods are not watched now").count() <= 2, "{said}");
}

/// The token is replaced in the kubeconfig, and the old one does not count any more.
#[test]
fn a_credential_that_is_replaced_is_read_again() {
    let cluster = Cluster::new();
    let old = cluster.server.token(&User::administrator(), 3600);
    let kubeconfig = cluster.server.kubeconfig(json!({"token": old}));
    cluster.use_kubeconfig(&kubeconfig);
    let web = cluster.running("web", "");
    let keeper = cluster.keep();
    cluster.annotate("web", "blue");
    wait_for_links(&web, &["eth0", "net1"]);
    let new = cluster.server.token(&User::administrator(), 7200);
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    std::fs::write(&kubeconfig, text.replace(&old, &new)).unwrap();
    cluster.server.revoke(&old);
    cluster.server.end_watches();
    cluster.annotate("web", "blue,red");
    wait_for_links(&web, &["eth0", "net1", "net2"]);
    let said = keeper.stop();
    assert!(said.contains("pods are not watched now"), "{said}");
}

/// A tenant who writes the annotation all the time has what it asks for at the end, and has cost the
/// node a few changes in the meantime.
#[test]
fn an_annotation_that_changes_all_the_time_is_followed_at_a_pace() {
    let cluster = Cluster::new();
    let (web, db) = (cluster.running("web", ""), cluster.running("db", ""));
    let keeper = cluster.keep();
    let began = Instant::now();
    for round in 0..600 {
        cluster.annotate("web", if round % 2 == 0 { "blue" } else { "red,green" });
        if round == 300 {
            cluster.annotate("db", "blue");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    wait_for_links(&db, &["eth0", "net1"]);
    wait_for_links(&web, &["eth0", "net1", "net2"]);
    let most = 5 + began.elapsed().as_secs() / 2;
    let said = keeper.stop();
    let changes = said.matches("team-a/web: attached: team-a/blue").count();
    assert!(u64::try_from(changes).unwrap() <= most, "{changes} of {most}: {said}");
    must_agree(&web);
}

/// 250 pods with long metadata, of which each page and each event is held alone.
#[test]
fn it_has_20_mib_at_most_with_250_pods() {
    let cluster = Cluster::new();
    for number in 0..250 {
        let filler = "x".repeat(16 << 10);
        let annotations = json!({NETWORKS: "blue", "filler": filler, "number": number.to_string()});
        cluster.server.add_pod(
            "team-b",
            &format!("pod-{number}"),
            &format!("uid-{number}"),
            annotations,
        );
    }
    let keeper = cluster.keep();
    let web = cluster.running("web", "");
    cluster.annotate("web", "blue");
    wait_for_links(&web, &["eth0", "net1"]);
    // The installation has read this executable, which is ten times as large in a debug build.
    std::fs::write(format!("/proc/{}/clear_refs", keeper.id()), "5").unwrap();
    for round in 0..4 {
        for number in 0..250 {
            let name = format!("pod-{number}");
            let mut objects = cluster.server.objects();
            let mut pod = objects.get("pods", "team-b", &name).unwrap().clone();
            pod["metadata"]["annotations"]["round"] = json!(round.to_string());
            objects.put(pod);
        }
        cluster.server.forget_versions();
        std::thread::sleep(Duration::from_secs(2));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", keeper.id())).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // The pages of code that it has touched are the file's, and more of them in a debug build.
    let (peak, code) = (field("VmHWM:"), field("RssFile:"));
    assert!(peak - code.min(peak) < 20 << 10, "{peak} KiB, of which {code} KiB are code\n{status}");
}
