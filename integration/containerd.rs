//! Debian's containerd with braid as its network: real sandboxes, driven as the kubelet drives
//! them.
//!
//! [`machine`] starts and ends it, [`cri`] asks it, [`image`] is what its sandboxes run.

mod chained_file;
mod cri;
mod image;
pub(crate) mod machine;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::call::ANNOTATIONS;
use crate::node::{BRAID, Node};
use machine::{Machine, wait_for};

const NOTHING: [String; 0] = [];

/// A node with a primary bridge in `net.d` and the networks `blue` and `red` of team-a, as real
/// bridges.
fn node() -> Node {
    node_with("10.1.0.0/24", ["10.20.0.0/24", "10.21.0.0/24"])
}

/// The same in both families.
fn dual_stack_node() -> Node {
    node_with(PRIMARY, ["10.20.0.0/24 fd20::/64", "10.21.0.0/24 fd21::/64"])
}

const PRIMARY: &str = "10.1.0.0/24 fd01::/64";

fn node_with(primary: &str, [blue, red]: [&str; 2]) -> Node {
    let node = Node::new();
    let primary = json!({
        "cniVersion": "1.0.0", "name": "cluster", "plugins": [node.bridge("cni0", primary)]
    });
    node.write("net.d/10-primary.conflist", &primary.to_string());
    for (name, subnet) in [("blue", blue), ("red", red)] {
        let bridge = json!({
            "cniVersion": "1.0.0", "type": "bridge", "bridge": name, "ipam": node.host_local(subnet)
        });
        node.define("team-a", name, bridge);
    }
    node
}

/// What the runtime reads: a conflist, put in place as an installer does.
fn configure(node: &Node, name: &str, plugins: Value) {
    let conflist = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
    node.write("cri.d/10-network.conflist.new", &conflist.to_string());
    fs::rename(node.path("cri.d/10-network.conflist.new"), node.path("cri.d/10-network.conflist"))
        .unwrap();
}

/// Braid's entry with the node's directories.
fn braid(node: &Node, more: Value) -> Value {
    let mut entry = json!({
        "type": "braid", "confDir": node.path_text("braid.d"), "cniDir": node.path_text("state"),
        "primaryConfDir": node.path_text("net.d"), "capabilities": {ANNOTATIONS: true},
    });
    entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    entry
}

fn delegating(node: &Node, more: Value) {
    let mut entry = braid(node, more);
    entry["clusterNetwork"] = json!("auto");
    configure(node, "node", json!([entry]));
}

/// What is left after everything has been removed, once a first sandbox has made what stays for
/// all.
fn assert_nothing_left(machine: &Machine<'_>, before: &std::collections::BTreeSet<String>) {
    assert_eq!(machine.list(), NOTHING);
    assert_eq!(machine.node.leftovers(before), NOTHING);
    for directory in ["records", "locks", "orphans", "aside"] {
        assert_eq!(machine.node.state(directory), NOTHING, "{directory}");
    }
}

#[test]
fn a_delegating_braid_gives_a_sandbox_its_networks() {
    let node = dual_stack_node();
    delegating(&node, json!({}));
    let before = node.dump();
    let machine = Machine::start(&node);
    machine.wait_for_network();
    let id = machine.run("web", Some("blue, red@data0"));
    assert_eq!(
        machine.status(&id).ips,
        ["10.1.0.2", "fd01::2"],
        "only the primary's addresses are the pod's"
    );
    assert_eq!(machine.interfaces(&id), ["data0 10.21.0.2", "eth0 10.1.0.2", "net1 10.20.0.2"]);
    let plain = machine.run("plain", None);
    assert_eq!(machine.interfaces(&plain), ["eth0 10.1.0.3"]);
    // The kubelet stops a sandbox more than once.
    machine.stop(&id);
    machine.remove(&id);
    machine.remove(&plain);
    assert_nothing_left(&machine, &before);
}

#[test]
fn a_chained_braid_gives_a_sandbox_its_networks() {
    let node = dual_stack_node();
    let plugins = json!([node.bridge("cni0", PRIMARY), braid(&node, json!({}))]);
    configure(&node, "cluster", plugins);
    let before = node.dump();
    let machine = Machine::start(&node);
    machine.wait_for_network();
    let id = machine.run("web", Some("blue, red@data0"));
    assert_eq!(machine.status(&id).ips, ["10.1.0.2", "fd01::2"]);
    assert_eq!(machine.interfaces(&id), ["data0 10.21.0.2", "eth0 10.1.0.2", "net1 10.20.0.2"]);
    let plain = machine.run("plain", None);
    assert_eq!(machine.interfaces(&plain), ["eth0 10.1.0.3"]);
    assert_eq!(
        node.state("records").len(),
        1,
        "a plain pod behind a chained braid leaves no trace"
    );
    machine.remove(&id);
    machine.remove(&plain);
    assert_nothing_left(&machine, &before);
}

#[test]
fn containerd_restarts_and_the_configuration_changes_between_add_and_del() {
    let node = node();
    delegating(&node, json!({}));
    let before = node.dump();
    let mut machine = Machine::start(&node);
    machine.wait_for_network();
    let (one, two) = (machine.run("one", Some("blue")), machine.run("two", Some("red")));
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        machine.signal_daemon(signal);
        machine.reap_daemon();
        machine.start_daemon();
        machine.wait_for_network();
    }
    assert_eq!(machine.interfaces(&one), ["eth0 10.1.0.2", "net1 10.20.0.2"]);
    machine.remove(&one);
    // Another primary and no definitions any more: what stands in the record counts.
    let other = json!({"cniVersion": "1.0.0", "name": "other", "plugins": [node.bridge("cni9", "10.9.0.0/24")]});
    node.write("net.d/10-primary.conflist", &other.to_string());
    fs::remove_dir_all(node.path("braid.d")).unwrap();
    delegating(&node, json!({"logLevel": "debug"}));
    machine.remove(&two);
    assert_nothing_left(&machine, &before);
}

#[test]
fn a_failed_add_reads_well_where_the_kubelet_shows_it() {
    let node = node();
    delegating(&node, json!({}));
    node.recorder("moody");
    node.define("team-a", "moody", json!({"cniVersion": "1.0.0", "type": "moody"}));
    node.script("moody", json!({"ADD": {"error": {"code": 11, "msg": "the switch is full"}}}));
    let before = node.dump();
    let machine = Machine::start(&node);
    machine.wait_for_network();
    let message = |networks: &str| {
        let refused = machine.try_run(machine.sandbox("web", Some(networks))).unwrap_err();
        refused.message().to_owned()
    };
    let missing = message("blue, gren");
    for said in ["pod team-a/web", "gren"] {
        assert!(missing.contains(said), "{missing}");
    }
    let failed = message("blue, moody");
    for said in [
        "pod team-a/web",
        "network \"team-a/moody\" on net2",
        "plugin \"moody\": the switch is full",
    ] {
        assert!(failed.contains(said), "{failed}");
    }
    for message in [missing, failed] {
        assert!(!message.contains('\n') && !message.contains("cniVersion"), "{message}");
    }
    // containerd has called DEL for both, and knows neither any more.
    assert_nothing_left(&machine, &before);
}

#[test]
fn a_pod_that_asks_for_nothing_starts_whatever_is_broken() {
    let node = node();
    node.write(
        "kubeconfig",
        &json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        })
        .to_string(),
    );
    // Mounted before the machine gets a mount namespace of its own.
    node.mount("disk", "size=64k");
    let more =
        json!({"kubeconfig": node.path_text("kubeconfig"), "cniDir": node.path_text("disk/state")});
    delegating(&node, more);
    let machine = Machine::start(&node);
    machine.wait_for_network();
    let visit = |name: &str| {
        let id = machine.run(name, None);
        assert_eq!(machine.interfaces(&id).len(), 1, "{name}");
        machine.remove(&id);
    };
    let state = node.path("disk/state");
    visit("absent");
    fs::set_permissions(&state, PermissionsExt::from_mode(0o777)).unwrap();
    visit("foreign");
    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "no directory").unwrap();
    visit("a-file");
    fs::remove_file(&state).unwrap();
    let filled = fs::write(node.path("disk/ballast"), vec![0; 1 << 20]);
    assert!(filled.is_err(), "the disk is full");
    visit("full");
    node.remount("disk", "ro");
    visit("read-only");
    let refused = machine.try_run(machine.sandbox("web", Some("blue"))).unwrap_err();
    assert!(refused.message().contains("pod team-a/web"), "{}", refused.message());
    assert_eq!(node.reservations("cluster"), NOTHING);
    assert_eq!(node.reservations("blue"), NOTHING);
}

#[test]
fn the_binary_is_replaced_while_fifty_sandboxes_start() {
    const SANDBOXES: usize = 50;
    const AT_ONCE: usize = 6;
    let node = node();
    delegating(&node, json!({}));
    let before = node.dump();
    let machine = Machine::start(&node);
    machine.wait_for_network();
    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let replacements = AtomicUsize::new(0);
    let life = || {
        while let number @ 0..SANDBOXES = next.fetch_add(1, Ordering::Relaxed) {
            let id = machine.run(&format!("p{number}"), Some("blue, red"));
            assert_eq!(machine.interfaces(&id).len(), 3);
            machine.remove(&id);
        }
    };
    // As an installer does it: a file beside the old one, and a rename.
    let replace = || {
        while !done.load(Ordering::Relaxed) {
            fs::copy(BRAID, node.path("bin/.braid.new")).unwrap();
            fs::rename(node.path("bin/.braid.new"), node.path("bin/braid")).unwrap();
            replacements.fetch_add(1, Ordering::Relaxed);
            thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    thread::scope(|scope| {
        scope.spawn(replace);
        let lives: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(life)).collect();
        let outcomes: Vec<_> = lives.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok), "a sandbox failed");
    });
    assert!(replacements.load(Ordering::Relaxed) > 20);
    assert_nothing_left(&machine, &before);
}

#[test]
fn containerd_is_killed_in_the_middle_of_an_add() {
    let node = node();
    delegating(&node, json!({}));
    node.recorder("slow");
    node.define(
        "team-a",
        "slow",
        json!({"cniVersion": "1.0.0", "type": "slow", "link": true, "addresses": ["10.22.0.2/24"]}),
    );
    node.script("slow", json!({"ADD": {"wait_for": node.path_text("go-on")}}));
    let before = node.dump();
    let mut machine = Machine::start(&node);
    machine.wait_for_network();
    thread::scope(|scope| {
        let config = machine.sandbox("web", Some("blue, slow"));
        let adding = scope.spawn(|| machine.try_run(config));
        node.wait_for_call("ADD slow net2");
        machine.signal_daemon(Signal::SIGKILL);
        assert!(adding.join().unwrap().is_err());
    });
    // Braid lives on, ends its ADD, and finds that the result is not taken.
    fs::write(node.path("go-on"), "").unwrap();
    wait_for("the end of the ADD", || node.state("locks").is_empty().then_some(()));
    wait_for("its undoing", || node.state("records").is_empty().then_some(()));
    machine.reap_daemon();
    machine.start_daemon();
    machine.wait_for_network();
    // The kubelet tries again, and everything is free.
    let mut config = machine.sandbox("web", Some("blue, slow"));
    config.metadata.as_mut().unwrap().attempt = 1;
    let id = machine.try_run(config).unwrap_or_else(|status| panic!("{}", status.message()));
    assert_eq!(machine.interfaces(&id).len(), 3);
    // The first one too, if containerd remembers that it was about to make it.
    machine.list().iter().for_each(|id| machine.remove(id));
    assert_nothing_left(&machine, &before);
}

/// The image that `scripts/image` makes, as the node of `conf/kubernetes` gets it.
#[test]
fn the_image_runs_in_a_container() {
    let node = node();
    delegating(&node, json!({}));
    let machine = Machine::start(&node);
    let archive = crate::image::archive(&node);
    machine.ctr(&["images", "import", archive.to_str().unwrap()]);
    let group = format!("/{}/braid", node.host().name());
    let run = ["run", "--rm", "--cgroup", &group, crate::image::NAME, "braid", "/braid", "version"];
    assert!(machine.ctr(&run).contains(env!("CARGO_PKG_VERSION")));
}
