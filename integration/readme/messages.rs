//! The page's messages: each is produced, by the call that brings it about, and is exactly what the
//! page says. The other way round, a call that is listed here and not on the page fails too.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use braid::internals::ledger::Ledger;
use cni::deadline::Deadline;
use linux::signal::Signals;
use serde_json::{Value, json};

use super::page::{Table, code, table};
use crate::call::{ANNOTATIONS, Call, DEFAULT_NETWORK, Outcome};
use crate::node::{Node, container_suffix, text};
use crate::pod::Pod;
use crate::tenancy::{Cluster, policy};

/// A node with the networks that the messages name, and a pod that wants them.
struct Scene {
    node: Node,
}

fn first_container() -> String {
    format!("container0-web{}", container_suffix())
}

impl Scene {
    fn new() -> Self {
        let node = Node::new();
        node.recorders(["primary", "blue", "plain", "slow", "moody", "chatty", "stuck"]);
        node.define(
            "team-a",
            "lan",
            json!({"type": "blue", "addresses": ["10.30.0.2/24"], "link": true}),
        );
        node.define("team-a", "plain", json!({"type": "plain", "addresses": ["10.60.0.2/24"]}));
        node.define("team-a", "huge", json!({"type": "blue", "filler": "x".repeat(1_000_000)}));
        node.define("team-b", "red", json!({"type": "blue"}));
        node.define("team-a", "uplink", json!({"type": "macvlan", "master": "eth7"}));
        node.define("team-a", "leased", json!({"type": "macvlan", "ipam": {"type": "dhcp"}}));
        node.define("team-a", "typo", json!({"type": "bridgee"}));
        node.define("team-a", "tagged", json!({"type": "vlan", "master": "lo", "vlanId": "1000"}));
        node.define("team-a", "jumbo", json!({"type": "macvlan", "master": "lo", "mtu": 90000}));
        node.define("team-a", "nic", json!({"type": "host-device", "device": "eth7"}));
        let lan = |ipam: Value| json!({"type": "macvlan", "master": "lo", "ipam": ipam});
        let local = |key: &str, value: Value| {
            lan(json!({"type": "host-local", "subnet": "10.40.0.0/24", key: value}))
        };
        node.define("team-a", "rangeless", lan(json!({"type": "host-local"})));
        node.define("team-a", "outside", local("rangeStart", json!("10.41.0.9")));
        node.define("team-a", "routed", local("routes", json!([{"dst": "10.9.0.7/16"}])));
        node.define("team-a", "device", json!({"type": "host-device"}));
        let limited = json!([{"type": "blue"}, {"type": "bandwidth", "ingressRate": 1000}]);
        node.define("team-a", "limited", json!({"plugins": limited}));
        node.define("team-a", "loop", json!({"type": "braid"}));
        std::os::unix::fs::symlink(crate::node::BRAID, node.path("bin/braid-old")).unwrap();
        node.define("team-a", "copied", json!({"type": "braid-old"}));
        for network in ["slow", "moody", "chatty", "stuck"] {
            node.define("team-a", network, json!({"type": network}));
        }
        let broken = json!({
            "kind": "NetworkAttachmentDefinition", "metadata": {"name": "broken", "namespace": "team-a"},
            "spec": {"config": "{\"name\": \"broken\", \"plugins\": [{}]}"},
        });
        node.write("braid.d/broken.yaml", &broken.to_string());
        let empty = json!({"kind": "NetworkAttachmentDefinition", "metadata": {"name": "empty", "namespace": "team-a"}});
        node.write("braid.d/empty.yaml", &empty.to_string());
        symlink_plugin(&node, "macvlan");
        symlink_plugin(&node, "dhcp");
        symlink_plugin(&node, "host-device");
        Self { node }
    }

    fn pod(&self) -> Pod<'_> {
        self.node.pod("team-a", "web")
    }

    /// Braid's configuration with a primary that a recorder plays.
    fn config(&self) -> Value {
        json!({"delegates": [{"type": "primary", "link": true, "addresses": ["10.1.0.2/24"]}]})
    }

    /// The error of a call, with what is this scene's own replaced by what the page has in its
    /// place.
    #[track_caller]
    fn said(&self, call: Call<'_>) -> (u64, String) {
        let outcome = call.env("CNI_PATH", &self.node.path_text("bin")).run();
        self.error_of(&outcome)
    }

    #[track_caller]
    fn error_of(&self, outcome: &Outcome) -> (u64, String) {
        let (code, message) = outcome.error();
        (code, self.as_on_the_page(&message))
    }

    fn as_on_the_page(&self, message: &str) -> String {
        let mut message = message.strip_prefix("pod team-a/web: ").unwrap_or(message).to_owned();
        let places = [
            ("braid.d", "/etc/cni/net.d/braid.d"),
            ("net.d", "/etc/cni/net.d"),
            ("state", "/var/lib/cni/braid"),
            ("bin", "/opt/cni/bin"),
            ("primary", "/run/primary"),
        ];
        for (ours, shown) in places {
            message = message.replace(&self.node.path_text(ours), shown);
        }
        message.replace(&first_container(), "c1")
    }

    /// The error of an ADD with this annotation.
    #[track_caller]
    fn asked(&self, networks: &str) -> (u64, String) {
        let pod = self.pod();
        self.said(pod.add(self.config()).networks(networks))
    }

    #[track_caller]
    fn configured(&self, more: Value) -> (u64, String) {
        let pod = self.pod();
        self.said(pod.add(self.config()).with(more))
    }
}

fn symlink_plugin(node: &Node, plugin: &str) {
    let real = std::path::Path::new(crate::node::PLUGIN_DIR).join(plugin);
    std::os::unix::fs::symlink(real, node.path("bin").join(plugin)).unwrap();
}

pub(super) fn in_sentences(table: &Table) -> BTreeSet<String> {
    let rows: BTreeSet<String> = table.iter().map(|row| code(&row[0]).to_owned()).collect();
    assert_eq!(rows.len(), table.len(), "a message is there twice");
    rows
}

/// The rows of a table with a column of codes.
pub(super) fn with_codes(table: &Table) -> BTreeSet<(u64, String)> {
    table.iter().map(|row| (row[1].parse().unwrap(), code(&row[0]).to_owned())).collect()
}

#[test]
fn messages_about_an_annotation() {
    let scene = Scene::new();
    let lan = |more: &str| format!("[{{\"name\": \"lan\", {more}}}]");
    let annotations = [
        "Blue".to_owned(),
        "lan,".to_owned(),
        "{\"name\": \"lan\"}".to_owned(),
        "[{\"name\": \"lan\"}".to_owned(),
        lan("\"ip\": \"10.30.0.3/24\""),
        lan("\"gateway\": [\"10.30.0.1\"]"),
        lan("\"name\": \"lan\""),
        lan("\"ips\": [\"10.30.0.300\"]"),
        lan("\"mac\": \"03:00:00:00:00:01\""),
        lan("\"interface\": \"lo\""),
        "lan@data0,lan@data0".to_owned(),
        "[{\"name\": \"lan\", \"default-route\": []}, {\"name\": \"lan\", \"default-route\": []}]"
            .to_owned(),
        lan("\"ips\": [\"10.30.0.3/24\"], \"ipam-claim-reference\": \"vm1\""),
        vec!["lan"; 17].join(","),
    ];
    let said: BTreeSet<String> = annotations
        .iter()
        .map(|annotation| {
            let (code, message) = scene.asked(annotation);
            assert_eq!(code, 7, "{annotation}");
            let about = "annotation k8s.v1.cni.cncf.io/networks: ";
            message.strip_prefix(about).unwrap_or_else(|| panic!("{message}")).to_owned()
        })
        .collect();
    assert_eq!(said, in_sentences(&table("In a pod's annotation")));
    assert_eq!(
        scene.node.calls_in_order(),
        Vec::<String>::new(),
        "refused before the first side effect"
    );
}

#[test]
fn messages_about_a_pod_and_a_network() {
    let scene = Scene::new();
    let node = &scene.node;
    node.script("slow", json!({"ADD": {"stderr": "waiting for the switch\n", "sleep_ms": 20_000}}));
    node.script("moody", json!({"ADD": {"stderr": "panic: no switch\n", "stdout": "", "exit": 2}}));
    node.script("chatty", json!({"ADD": {"stdout": "level=info msg=ready\n{}\n"}}));
    let slow = scene.pod();
    let slow =
        scene.said(slow.add(scene.config()).networks("slow").with(json!({"delegateTimeout": 1})));
    let pod = scene.pod();
    let behind = pod.add(json!({})).prev_result(json!({"cniVersion": "1.0.0"}));
    let chained = scene.said(behind.annotation(DEFAULT_NETWORK, "lan"));
    let own_primary = scene.pod();
    let own_primary = scene.said(own_primary.add(scene.config()).default_network("lan"));
    let genie = scene.pod();
    let genie = genie
        .add(scene.config())
        .with(json!({"genieAnnotation": true}))
        .annotation("cni", "calico");
    let said = BTreeSet::from([
        scene.said(genie),
        scene.asked("lann"),
        scene.asked("yellow"),
        scene.asked("empty"),
        own_primary,
        scene.asked("team-b/red"),
        scene.asked("broken"),
        scene.asked("[{\"name\": \"plain\", \"bandwidth\": {\"ingressRate\": 1000}}]"),
        scene.asked("[{\"name\": \"plain\", \"ips\": [\"10.50.0.9\"]}]"),
        scene.asked("lan@eth0"),
        scene.asked("uplink"),
        scene.asked("leased"),
        scene.asked("typo"),
        scene.asked("tagged"),
        scene.asked("jumbo"),
        scene.asked("nic"),
        scene.asked("rangeless"),
        scene.asked("outside"),
        scene.asked("routed"),
        scene.asked("device"),
        scene.asked("limited"),
        scene.asked("loop"),
        scene.asked("copied"),
        scene.asked("huge,huge,huge,huge,huge"),
        slow,
        scene.asked("chatty"),
        scene.asked("moody"),
        scene.asked("[{\"name\": \"lan\", \"default-route\": [\"192.0.2.1\"]}]"),
        chained,
    ]);
    assert_eq!(said, with_codes(&table("Between a pod and a network")));
}

/// What is said if a file is in place of the directory in which addresses from before the policy
/// would be held.
fn of_a_pool_that_cannot_be_held(cluster: &Cluster) -> (u64, String) {
    let ipam = cluster.node.host_local("10.20.1.0/24");
    let lan = json!({"name": "pool", "type": "bridge", "bridge": "br-a0", "ipam": ipam});
    cluster.publish("team-a", "pool", json!({}), Some(lan));
    cluster.node.write("ipam/pool/10.20.1.2", "c1\r\nnet1");
    cluster.node.write("ipam/team-a.pool", "");
    let mut policy = policy();
    policy["allowedPlugins"] = json!({"host-local": ["ranges", "subnet", "dataDir"]});
    let pod = cluster.node.pod("team-a", "web");
    let outcome = pod.add(cluster.config(policy)).networks("pool").run();
    let message = text(&outcome.assert_error(5, [])["msg"]).to_owned();
    let message = message.replace(&cluster.node.path_text("ipam"), "/var/lib/cni/networks");
    (5, message.strip_prefix("pod team-a/web: ").unwrap().to_owned())
}

#[test]
fn messages_of_the_policy() {
    let cluster = Cluster::new();
    let lan = json!({"name": "team-a.lan", "type": "bridge", "bridge": "br-a0", "capabilities": {"ips": true}});
    let words = json!({
        "braid.io/allowed-requests": "ips, cni-args, deviceID", "braid.io/allowed-ips": "10.20.0.0/24, 10.96.0.0/12",
    });
    cluster.publish("team-a", "lan", words, Some(lan));
    let shared =
        json!({"braid.io/allowed-namespaces": "*", "braid.io/allowed-ips": "10.96.0.0/16"});
    let gateway = json!({"name": "shared", "type": "bridge", "bridge": "br-s", "isGateway": true});
    cluster.publish("kube-system", "shared", shared, Some(gateway));
    let open = json!({"braid.io/allowed-namespaces": "*"});
    cluster.publish(
        "kube-system",
        "storage",
        open,
        Some(json!({"name": "storage", "type": "blue"})),
    );
    let of_system = |name: &str, more: Value| {
        let mut element = json!({"name": name, "namespace": "kube-system"});
        element.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!([element]).to_string()
    };
    let narrow = json!({"braid.io/allowed-service-accounts": "builder"});
    cluster.publish("team-a", "narrow", narrow, Some(json!({"type": "blue"})));
    cluster.node.write("braid.d/10-trunk.conf", r#"{"name": "trunk", "type": "blue"}"#);
    let definitions = [
        ("host", json!({"name": "team-a.host", "type": "host-device", "device": "eth0"})),
        ("nested", json!({"name": "team-a.nested", "type": "flannel"})),
        (
            "files",
            json!({"name": "team-a.files", "type": "ptp", "ipam": {"type": "host-local", "dataDir": "/x"}}),
        ),
        ("open", json!({"name": "team-a.open", "type": "macvlan"})),
        ("theirs", json!({"name": "team-a.theirs", "type": "bridge", "bridge": "br-b0"})),
        (
            "wide",
            json!({"name": "team-a.wide", "type": "ptp", "ipam": {"type": "host-local", "subnet": "10.96.0.0/12"}}),
        ),
        (
            "tagged",
            json!({"name": "team-a.tagged", "type": "bridge", "bridge": "br-a0", "vlan": 7}),
        ),
        ("named", json!({"name": "cluster", "type": "ovn-k8s-cni-overlay"})),
    ];
    for (name, definition) in &definitions {
        cluster.publish("team-a", name, json!({}), Some(definition.clone()));
    }
    let shown = |message: String| (7, message.strip_prefix("pod team-a/web: ").unwrap().to_owned());
    let asked = |networks: &str| shown(cluster.refusal(policy(), networks));
    let mut said: BTreeSet<(u64, String)> =
        definitions.iter().map(|(name, _)| asked(name)).collect();
    said.extend([
        asked("lan@data0"),
        asked(r#"[{"name": "lan", "ips": ["10.20.9.9/24"]}]"#),
        asked(r#"[{"name": "lan", "ips": ["10.96.0.1/24"]}]"#),
        asked(&of_system("shared", json!({"ips": ["10.96.0.10/16"]}))),
        asked(&of_system("storage", json!({"ips": ["192.0.2.20/26"]}))),
        asked(&of_system("storage", json!({"ipam-claim-reference": "vm1"}))),
        asked(r#"[{"name": "lan", "cni-args": {"promisc": true}}]"#),
        asked(r#"[{"name": "lan", "deviceID": "0000:04:00.5"}]"#),
        asked("narrow"),
        asked("trunk"),
        shown(cluster.refusal(json!({"allowedSubnet": []}), "lan")),
    ]);
    said.insert(of_a_pool_that_cannot_be_held(&cluster));
    let pod = cluster.node.pod("team-a", "web");
    let primary = pod.add(cluster.config(policy())).default_network("metered").run();
    said.insert(shown(text(&primary.assert_error(7, [])["msg"]).to_owned()));
    assert_eq!(said, with_codes(&table("From the policy")));
}

#[test]
fn messages_about_the_node() {
    let scene = Scene::new();
    let node = &scene.node;
    let result = json!({"cniVersion": "1.0.0", "interfaces": [], "ips": []});
    let pod = scene.pod();
    let first = pod.container.clone();
    assert_eq!(first, first_container());

    let no_annotations =
        scene.said(pod.add(json!({})).prev_result(result.clone()).without_annotations());
    let no_primary = scene.said(pod.add(json!({})));
    let two_primaries = scene.said(pod.add(scene.config()).prev_result(result.clone()));
    let none_yet = scene.said(pod.add(json!({"clusterNetwork": "auto"})));
    let readiness =
        json!({"readinessindicatorfile": node.path_text("primary"), "readinessTimeout": "10ms"});
    let not_ready = scene.said(pod.add(scene.config()).with(readiness));
    let relative = scene.configured(json!({"confDir": "net.d"}));
    let version = scene.configured(json!({"cniVersion": "1.2.0"}));
    let own = scene.said(pod.add(scene.config()).env("CNI_NETNS", "/proc/self/ns/net"));
    let nested = scene.said(pod.add(scene.config()).env("BRAID_DEPTH", "1"));
    let by_hand = scene.said(node.call("ADD", json!({})));
    let gc = scene.said(node.call("GC", json!({"cniVersion": "1.1.0"})));

    scene_state_is_writable(node);
    let untrusted = scene.said(pod.add(scene.config()).networks("lan"));
    fs::remove_dir_all(node.path("state")).unwrap();

    pod.add(scene.config()).networks("lan").run().assert_success();
    let twice = scene.said(pod.add(scene.config()).networks("lan"));
    let busy = busy(node, &pod);
    let said = BTreeSet::from([
        no_annotations,
        no_primary,
        two_primaries,
        none_yet,
        not_ready,
        relative,
        version,
        own,
        nested,
        by_hand,
        gc,
        untrusted,
        twice,
        (11, scene.as_on_the_page(&busy)),
    ]);
    assert_eq!(said, with_codes(&table("On the node")));
}

fn scene_state_is_writable(node: &Node) {
    fs::create_dir_all(node.path("state")).unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(node.path("state"), everybody).unwrap();
}

/// The runtime's own call would wait for longer than a test may take.
fn busy(node: &Node, pod: &Pod<'_>) -> String {
    let ledger = Ledger::new(&node.path("state"));
    let container = pod.container.parse().unwrap();
    let mut signals = Signals::block().unwrap();
    let long = Deadline::after(Duration::from_secs(5));
    let _held = ledger.lock(&container, long, &mut signals).unwrap();
    let now = Deadline::after(Duration::ZERO);
    let error = cni::error::Error::from(ledger.lock(&container, now, &mut signals).unwrap_err());
    assert_eq!(error.code.0, 11);
    error.msg
}

#[test]
fn messages_of_del_and_check() {
    let scene = Scene::new();
    let node = &scene.node;
    let pod = scene.pod();
    pod.add(scene.config()).networks("lan").run().assert_success();
    pod.ip("link del net1");
    let gone = scene.error_of(&pod.check().run());

    // An ADD that is killed at its last plugin leaves a record that was never completed.
    let killed = node.pod("team-a", "web");
    node.script("plain", json!({"ADD": {"sleep_ms": 30_000}}));
    let running = killed.add(scene.config()).networks("lan,plain").start();
    super::wait_until(|| node.calls_in_order().contains(&"ADD plain net2".to_owned()));
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.wait();
    let unfinished =
        scene.error_of(&killed.check().with(json!({"checkNetworks": "primary"})).run());

    let stuck = node.pod("team-a", "web");
    stuck.add(scene.config()).networks("stuck").run().assert_success();
    node.script("stuck", json!({"DEL": {"error": {"code": 17, "msg": "the switch is away"}}}));
    let stuck = scene.error_of(&stuck.del().run());

    let elsewhere = node.pod("team-a", "web");
    elsewhere.add(scene.config()).networks("lan").run().assert_success();
    let other = node.pod("team-a", "other");
    let check = elsewhere.check().env("CNI_NETNS", &other.netns_path()).run();
    let (code, message) = scene.error_of(&check);
    let message = message.replace(&other.netns_path(), "/run/netns/web");
    let elsewhere_said = (code, message.replace(&elsewhere.container, "c1"));

    let record = format!("state/records/{}@eth0", elsewhere.container);
    node.write(&record, "torn");
    let list = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []});
    node.script("stuck", json!({}));
    let collected = node.call("GC", scene.config()).with(list).run();
    let (code, message) = scene.error_of(&collected);
    let set_aside = (code, message.replace(&elsewhere.container, "c1"));

    let said = BTreeSet::from([gone, unfinished, stuck, elsewhere_said, set_aside]);
    assert_eq!(said, with_codes(&table("From DEL, CHECK and GC")));
}

#[test]
fn messages_in_the_log() {
    let scene = Scene::new();
    scene.node.write("braid.d/torn.json", "{");
    let pod = scene.pod();
    let primary =
        json!({"name": "primary", "type": "primary", "capabilities": {"portMappings": true}});
    let config =
        json!({"delegates": [primary], "clusterNetwrk": "x", "capabilities": {ANNOTATIONS: true}});
    let config = pod.add(config).with(json!({"lenientAnnotations": true}));
    let networks = r#"[{"name": "plain", "gateway": ["10.60.0.1"]}]"#;
    let outcome = config.networks(networks).annotation("k8s.v1.cni.cncf.io/network", "plain").run();
    outcome.assert_success();
    let log: Vec<String> = outcome
        .stderr
        .lines()
        .map(|line| {
            let (head, message) = line.split_once("]: ").unwrap_or_else(|| panic!("{line}"));
            assert!(head.contains("[warning]"), "{line}");
            scene.as_on_the_page(message)
        })
        .collect();
    assert_eq!(log.into_iter().collect::<BTreeSet<_>>(), in_sentences(&table("In the log")));
}
