//! A node of its own for each test: directories, plugins, and a network namespace in which braid
//! and its plugins run as on a host, so that bridges, addresses and rules never touch the machine.
//!
//! ```ignore
//! let node = Node::new();                                    // its namespace, net.d, braid.d, state, ipam, bin
//! node.recorder("blue");                                     // a plugin type that records and behaves
//! node.define("team-a", "blue", json!({"type": "blue", "addresses": ["10.9.0.2/24"]}));
//! let pod = node.pod("team-a", "web");                       // its namespace, a container ID, eth0
//! let result = pod.add(json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]}))   // braid's configuration
//!     .networks("blue")                                      // annotations
//!     .run()
//!     .assert_success();                                     // the printed result
//! pod.check().run().assert_success();                        // as the runtime would: same configuration, prevResult
//! pod.del().run().assert_success();
//! assert_eq!(node.calls_in_order(), ["ADD blue net1", "CHECK blue net1", "DEL blue net1"]);
//! ```
//!
//! - [`Node`]: files, plugins, host namespace, [`Node::dump`] to compare before and after.
//! - [`Pod`](crate::pod::Pod): what the kernel shows in the pod, and calls for it.
//! - [`Call`](crate::call::Call): one call of braid, every detail of it to be changed;
//!   [`Outcome`](crate::call::Outcome): what came of it.
//! - [`Chain`](crate::chain::Chain): a conflist walked as libcni does, for a chained braid.
//! - Scripts for the recorder (`Node::script`): see `recorder.rs`, `Answer`.
//!
//! To run these tests alone: `cargo build --example recorder && cargo nextest run --test
//! integration`; with all targets, cargo builds the recorder by itself.
//!
//! Everything goes when `Node` and `Pod` are dropped, on panic too; what a killed test has left,
//! the next one takes away.

mod namespace;
mod recorded;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::Call;
use crate::containerd::machine::remove_cgroups;
use crate::pod::Pod;

pub(crate) use namespace::Namespace;
pub(crate) use recorded::Recorded;

/// Where Debian's `containernetworking-plugins` are.
pub(crate) const PLUGIN_DIR: &str = "/usr/lib/cni";

/// The executable under test.
pub(crate) const BRAID: &str = env!("CARGO_BIN_EXE_braid");

/// Namespaces and directories of tests start with it, followed by the test's process ID.
const PREFIX: &str = "braidtest-";

/// What is compared with a list of calls that has to be empty.
pub(crate) const NOTHING: [&str; 0] = [];

/// What ends the container IDs of this test: no two sandboxes of a machine have the same, and Braid
/// ends what plugins of a killed call for its own have left running.
pub(crate) fn container_suffix() -> String {
    format!("-{}", std::process::id())
}

/// A node: see the module's head.
pub(crate) struct Node {
    root: PathBuf,
    host: Namespace,
    containers: AtomicU32,
}

impl Node {
    pub(crate) fn new() -> Self {
        require_tools();
        let host = Namespace::new("host");
        let root = std::env::temp_dir().join(host.name());
        for directory in ["net.d", "braid.d", "ipam", "bin/.recorder"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        Self { root, host, containers: AtomicU32::new(0) }
    }

    /// A path on the node: `net.d`, `braid.d`, `state`, `ipam`, `bin` are there, or will be.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The same as text, for configurations.
    pub(crate) fn path_text(&self, relative: &str) -> String {
        self.path(relative).to_str().unwrap().to_owned()
    }

    /// The namespace that stands for the host's.
    pub(crate) fn host(&self) -> &Namespace {
        &self.host
    }

    /// `CNI_PATH` unless a call says otherwise: recorders first, then the real plugins.
    pub(crate) fn plugin_path(&self) -> String {
        format!("{}:{PLUGIN_DIR}", self.path_text("bin"))
    }

    /// A pod with its namespace; deleted with it, not through braid, when dropped.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Pod<'_> {
        let number = self.containers.fetch_add(1, Ordering::Relaxed);
        Pod::new(self, namespace, name, format!("container{number}-{name}{}", container_suffix()))
    }

    /// A call without a pod: STATUS, GC, VERSION.
    pub(crate) fn call(&self, verb: &str, config: Value) -> Call<'_> {
        Call::new(self, verb, config)
    }

    // Plugins.

    /// Makes the recorder answer to plugin type `kind`.
    pub(crate) fn recorder(&self, kind: &str) {
        symlink(recorder(), self.path("bin").join(kind)).unwrap();
    }

    /// Makes the recorder answer to several types.
    pub(crate) fn recorders<const N: usize>(&self, kinds: [&str; N]) {
        kinds.into_iter().for_each(|kind| self.recorder(kind));
    }

    /// Tells the recorder `kind` what to do: `{"<verb>": answer, "<verb> <interface>": answer}`;
    /// see `recorder.rs`. Replaces what it was told before.
    pub(crate) fn script(&self, kind: &str, script: Value) {
        fs::write(self.path(&format!("bin/.recorder/{kind}.json")), script.to_string()).unwrap();
    }

    /// Every call of a recorder so far, in order.
    pub(crate) fn calls(&self) -> Vec<Recorded> {
        let text = fs::read_to_string(self.path("bin/.recorder/calls")).unwrap_or_default();
        text.lines().map(|line| Recorded(serde_json::from_str(line).unwrap())).collect()
    }

    /// The same as "ADD blue net1", one for each.
    pub(crate) fn calls_in_order(&self) -> Vec<String> {
        self.calls().iter().map(Recorded::summary).collect()
    }

    /// The one call of this verb that recorder `kind` has had.
    pub(crate) fn only_call(&self, verb: &str, kind: &str) -> Recorded {
        let mut calls = self.calls();
        calls.retain(|call| call.verb() == verb && call.plugin() == kind);
        assert_eq!(calls.len(), 1, "calls of {kind} with {verb}: {:?}", self.calls_in_order());
        calls.remove(0)
    }

    /// Waits until a recorder has been called so: "ADD blue net1".
    pub(crate) fn wait_for_call(&self, summary: &str) -> Recorded {
        let started = Instant::now();
        loop {
            if let Some(call) = self.calls().into_iter().find(|call| call.summary() == summary) {
                return call;
            }
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "no {summary} in {:?}",
                self.calls_in_order()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn forget_calls(&self) {
        let _ = fs::remove_file(self.path("bin/.recorder/calls"));
    }

    // Configurations.

    /// A configuration that delegates to a recorder of type `primary`, network `cluster`,
    /// 10.1.0.2/24.
    pub(crate) fn delegating(&self) -> Value {
        if !self.path("bin/primary").exists() {
            self.recorder("primary");
        }
        json!({"delegates": [cluster()]})
    }

    /// Makes a recorder `name` and defines network `name` of namespace `team-a` with it.
    pub(crate) fn network(&self, name: &str, more: Value) {
        self.recorder(name);
        let mut config = json!({"cniVersion": "1.0.0", "type": name});
        config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.define("team-a", name, config);
    }

    /// Puts a NetworkAttachmentDefinition into `braid.d`.
    pub(crate) fn define(&self, namespace: &str, name: &str, config: Value) {
        let manifest = json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "namespace": namespace}, "spec": {"config": config.to_string()},
        });
        self.write(&format!("braid.d/{namespace}.{name}.json"), &manifest.to_string());
    }

    /// Writes a file of the node; its directories are made.
    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// host-local's `ipam` block, with its reservations on this node. One subnet a word.
    pub(crate) fn host_local(&self, subnets: &str) -> Value {
        let ranges: Vec<Value> =
            subnets.split_whitespace().map(|subnet| json!([{"subnet": subnet}])).collect();
        json!({"type": "host-local", "dataDir": self.path_text("ipam"), "ranges": ranges})
    }

    /// The real bridge plugin with host-local; a gateway on the bridge and default routes through
    /// it.
    pub(crate) fn bridge(&self, bridge: &str, subnets: &str) -> Value {
        let mut ipam = self.host_local(subnets);
        let any = subnets
            .split_whitespace()
            .map(|subnet| if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" });
        ipam["routes"] = any.map(|destination| json!({"dst": destination})).collect();
        json!({
            "cniVersion": "1.0.0", "name": bridge, "type": "bridge", "bridge": bridge, "isGateway": true, "ipam": ipam
        })
    }

    /// Mounts a file system of its own, in memory, at a directory of the node.
    pub(crate) fn mount(&self, relative: &str, options: &str) {
        let path = self.path(relative);
        fs::create_dir_all(&path).unwrap();
        succeed("mount", &["-t", "tmpfs", "-o", options, "braidtest", path.to_str().unwrap()]);
    }

    /// Mounts it anew: `ro`, `rw`.
    pub(crate) fn remount(&self, relative: &str, option: &str) {
        succeed("mount", &["-o", &format!("remount,{option}"), &self.path_text(relative)]);
    }

    /// Makes refusals of the API that braid remembers so old that they count.
    pub(crate) fn age_refusals(&self) {
        let file = self.path("state/refusals/last");
        let mut refused: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        refused["first"] = json!(refused["first"].as_u64().unwrap() - 15);
        fs::write(&file, refused.to_string()).unwrap();
    }

    // What is there.

    /// host-local's reserved addresses in a network.
    pub(crate) fn reservations(&self, network: &str) -> Vec<String> {
        let files = names_in(&self.path("ipam").join(network));
        files
            .into_iter()
            .filter(|name| !name.starts_with("last_reserved_ip") && name != "lock")
            .collect()
    }

    /// Files in a directory of braid's state: `records`, `orphans`, `aside`, `locks`.
    pub(crate) fn state(&self, directory: &str) -> Vec<String> {
        names_in(&self.path("state").join(directory))
    }

    /// One line for everything that a call could leave behind: the host's links, addresses, routes
    /// and rules, and files of state, reservations and devices.
    pub(crate) fn dump(&self) -> BTreeSet<String> {
        let mut lines: BTreeSet<String> = self.host.dump("host").into_iter().collect();
        for directory in ["state", "ipam", "devinfo"] {
            for file in files_below(&self.path(directory)) {
                let name = file.strip_prefix(&self.root).unwrap().display().to_string();
                let is_kept = ["last_reserved_ip", "/looks/", "/refusals/"]
                    .iter()
                    .any(|kept| name.contains(kept));
                if !is_kept && !name.ends_with("/lock") {
                    lines.insert(format!("file {name}"));
                }
            }
        }
        lines
    }

    /// What [`Node::dump`] shows now and did not show `before`, save for bridges: the bridge plugin
    /// keeps them by design.
    pub(crate) fn leftovers(&self, before: &BTreeSet<String>) -> Vec<String> {
        let now = self.dump();
        let bridges: Vec<String> = self
            .host
            .ip_json("link show type bridge")
            .iter()
            .filter(|link| !link["ifname"].is_null())
            .map(|link| text(&link["ifname"]).to_owned())
            .collect();
        let of_bridge = |line: &str| {
            let network = ["host: link", "host: address", "host: route"]
                .iter()
                .any(|kind| line.starts_with(kind));
            network
                && line.split_whitespace().any(|word| bridges.iter().any(|bridge| bridge == word))
        };
        now.difference(before).filter(|line| !of_bridge(line)).cloned().collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        remove_directory(&self.root);
    }
}

/// The primary network of [`Node::delegating`].
pub(crate) fn cluster() -> Value {
    json!({"cniVersion": "1.0.0", "name": "cluster", "type": "primary", "addresses": ["10.1.0.2/24"]})
}

/// A text; empty if the value is something else.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Runs a program that must succeed; returns what it printed.
pub(crate) fn succeed(program: &str, arguments: &[&str]) -> String {
    let output: Output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!(
            "{program} cannot be started ({error}): install iproute2, iptables, iputils-ping and \
             util-linux"
        )
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {errors}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn recorder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let recorder = test.parent().and_then(Path::parent).unwrap().join("examples/recorder");
    assert!(
        recorder.exists(),
        "{} is missing: run `cargo build --example recorder`",
        recorder.display()
    );
    recorder
}

/// What every test needs; it fails, and says what is missing.
fn require_tools() {
    static CHECKED: OnceLock<()> = OnceLock::new();
    CHECKED.get_or_init(|| {
        assert!(
            nix::unistd::geteuid().is_root(),
            "integration tests make network namespaces: run them as root"
        );
        for tool in ["ip", "ping", "iptables-save", "nsenter", "bash", "umount"] {
            let found = Command::new("which")
                .arg(tool)
                .output()
                .is_ok_and(|output| output.status.success());
            assert!(
                found,
                "{tool} is missing: install iproute2, iputils-ping, iptables, util-linux, bash and \
                 mount"
            );
        }
        let plugin = Path::new(PLUGIN_DIR).join("bridge");
        assert!(
            plugin.exists(),
            "{} is missing: install containernetworking-plugins",
            plugin.display()
        );
        sweep();
    });
}

/// Takes away what tests that were killed have left.
fn sweep() {
    let gone = |name: &String| {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !Path::new("/proc").join(process).exists())
    };
    for name in names_in(Path::new("/run/netns")).iter().filter(|name| gone(name)) {
        let _ = Command::new("ip").args(["netns", "del", name]).output();
    }
    for name in names_in(&std::env::temp_dir()).iter().filter(|name| gone(name)) {
        remove_directory(&std::env::temp_dir().join(name));
        remove_cgroups(name);
    }
}

/// Removes a node's directory, with what a test has mounted in it.
fn remove_directory(root: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for point in points.filter(|point| point.starts_with(root)) {
        let _ = Command::new("umount").arg("--lazy").arg(point).output();
    }
    let _ = fs::remove_dir_all(root);
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let paths = names_in(directory).into_iter().map(|name| directory.join(name));
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
