//! Debian's containerd on a node of a test: with directories, socket and configuration of its own,
//! in the node's network namespace, and in a PID and a mount namespace that end with the test.
//! Whatever it has started, shims and sandboxes included, ends with the first process of that PID
//! namespace.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tonic::Status;

use super::cri::{self, LinuxConfig, Metadata, SandboxConfig, Seen};
use super::image;
use crate::node::{BRAID, Node, PLUGIN_DIR};

/// How long anything may take on a shared machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// containerd and all that it starts.
pub(super) struct Machine<'n> {
    pub(super) node: &'n Node,
    root: PathBuf,
    /// `unshare`, whose one child is the first process of the PID namespace.
    keeper: Child,
    /// That child, as seen from outside.
    init: i32,
    daemon: Option<Child>,
}

impl<'n> Machine<'n> {
    /// Starts containerd with the network configuration that `cri.d` holds.
    pub(super) fn start(node: &'n Node) -> Self {
        Self::start_with(node, |_| {})
    }

    /// The same with one that appends the files of a sub-directory to a network's chain, in the
    /// place of Debian's; Braid's commands find its configuration where Debian's is.
    pub(super) fn start_newer(node: &'n Node) -> Self {
        Self::start_with(node, |machine| {
            for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
                machine.mount(&newer().join(program), &format!("/usr/bin/{program}"));
            }
            machine.mount(&machine.root.join("config.toml"), "/etc/containerd/config.toml");
        })
    }

    fn start_with(node: &'n Node, prepare: impl Fn(&Self)) -> Self {
        require_packages();
        let root = node.path("containerd");
        fs::create_dir_all(&root).unwrap();
        install_plugins(node);
        fs::write(root.join("config.toml"), configuration(node, &root)).unwrap();
        let keeper = keep(node);
        let init = wait_for("the first process", || child_of(keeper.id()));
        let mut machine = Self { node, root, keeper, init, daemon: None };
        prepare(&machine);
        machine.start_daemon();
        machine.ctr(&["images", "import", &image::build(&machine.root)]);
        machine
    }

    pub(super) fn start_daemon(&mut self) {
        let log = File::options().append(true).create(true).open(self.root.join("log")).unwrap();
        let mut command = self.inside("containerd");
        command.arg("--config").arg(self.root.join("config.toml"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        wait_for("containerd", || cri::list(&self.socket()).ok());
    }

    /// Waits until the runtime has read a network configuration.
    pub(super) fn wait_for_network(&self) {
        let mut problem = String::new();
        let started = Instant::now();
        while started.elapsed() < TIMEOUT {
            match cri::is_ready(&self.socket()) {
                Ok(()) => return,
                Err(reason) => problem = reason,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no network: {problem}\n{}", self.log());
    }

    /// Sends the daemon a signal, not its shims.
    pub(super) fn signal_daemon(&self, signal: Signal) {
        let daemon = self.daemon.as_ref().expect("containerd runs");
        let process = child_of(daemon.id()).expect("nsenter has a child");
        kill(Pid::from_raw(process), signal).unwrap();
    }

    /// Waits until the daemon has ended.
    pub(super) fn reap_daemon(&mut self) {
        self.daemon.take().expect("containerd was started").wait().unwrap();
    }

    /// Shows `file` in the machine where `place` is.
    fn mount(&self, file: &Path, place: &str) {
        let output = self.inside("mount").arg("--bind").arg(file).arg(place).output().unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The plugins of a network that containerd has loaded.
    pub(super) fn loaded(&self, network: &str) -> Vec<String> {
        cri::loaded(&self.socket(), network)
    }

    /// A command in the namespaces of the machine.
    pub(super) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--pid", "--target", &self.init.to_string(), program]);
        command
    }

    fn socket(&self) -> PathBuf {
        self.root.join("sock")
    }

    fn socket_text(&self) -> String {
        self.socket().to_str().unwrap().to_owned()
    }

    /// What containerd has logged, save for its start.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.root.join("log")).unwrap_or_default();
        let starts = |line: &&str| line.contains("plugin") && !line.contains("level=error");
        log.lines().filter(|line| !starts(line)).collect::<Vec<_>>().join("\n")
    }

    /// containerd's own client; it must succeed. Returns what it printed.
    pub(super) fn ctr(&self, arguments: &[&str]) -> String {
        let mut command = self.inside("ctr");
        command.args(["--address", &self.socket_text(), "-n", "k8s.io"]).args(arguments);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctr {}: {errors}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    // The kubelet's part.

    /// The configuration of a sandbox, as the kubelet makes it.
    pub(super) fn sandbox(&self, name: &str, networks: Option<&str>) -> SandboxConfig {
        let annotations =
            networks.map(|value| (crate::call::NETWORKS.to_owned(), value.to_owned()));
        SandboxConfig {
            metadata: Some(Metadata {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                namespace: "team-a".to_owned(),
                attempt: 0,
            }),
            log_directory: String::new(),
            annotations: annotations.into_iter().collect(),
            linux: Some(LinuxConfig { cgroup_parent: format!("/{}", self.node.host().name()) }),
        }
    }

    pub(super) fn try_run(&self, config: SandboxConfig) -> Result<String, Status> {
        cri::run(&self.socket(), config)
    }

    #[track_caller]
    pub(super) fn run(&self, name: &str, networks: Option<&str>) -> String {
        self.try_run(self.sandbox(name, networks))
            .unwrap_or_else(|status| panic!("{name}: {}", status.message()))
    }

    #[track_caller]
    pub(super) fn stop(&self, id: &str) {
        cri::stop(&self.socket(), id).unwrap_or_else(|status| panic!("stop: {}", status.message()));
    }

    /// Stops and removes a sandbox.
    #[track_caller]
    pub(super) fn remove(&self, id: &str) {
        self.stop(id);
        cri::remove(&self.socket(), id)
            .unwrap_or_else(|status| panic!("remove: {}", status.message()));
    }

    pub(super) fn list(&self) -> Vec<String> {
        cri::list(&self.socket()).unwrap()
    }

    pub(super) fn status(&self, id: &str) -> Seen {
        cri::status(&self.socket(), id).unwrap()
    }

    /// Interfaces of a sandbox with their IPv4 addresses, `lo` left out: "eth0 10.1.0.2".
    pub(super) fn interfaces(&self, id: &str) -> Vec<String> {
        let netns = self.status(id).netns;
        let mut command = self.inside("nsenter");
        let output = command
            .arg(format!("--net={netns}"))
            .args(["ip", "-j", "-4", "addr"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let links: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let shown = |link: &Value| {
            let addresses = link["addr_info"].as_array().into_iter().flatten();
            let addresses: Vec<_> =
                addresses.filter_map(|address| address["local"].as_str()).collect();
            format!("{} {}", link["ifname"].as_str().unwrap_or_default(), addresses.join(" "))
                .trim()
                .to_owned()
        };
        let mut shown: Vec<String> =
            links.iter().filter(|link| link["ifname"] != "lo").map(shown).collect();
        shown.sort();
        shown
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("containerd said:\n{}", self.log());
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let _ = self.daemon.take().map(|mut daemon| daemon.wait());
        // The kernel empties the control groups a moment after the last process has gone.
        let started = Instant::now();
        while !remove_cgroups(self.node.host().name()) && started.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Removes the control groups of a test; whether none is left.
pub(crate) fn remove_cgroups(name: &str) -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let groups = hierarchies.chain([root.to_owned()]).map(|hierarchy| hierarchy.join(name));
    let left: Vec<PathBuf> = groups.filter(|group| group.is_dir() && !remove_tree(group)).collect();
    left.is_empty()
}

/// Removes a control group from its leaves on: its files are the kernel's.
fn remove_tree(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok()
}

/// Where `scripts/containerd` has put its containerd.
fn newer() -> PathBuf {
    let target = Path::new(BRAID).ancestors().nth(2).unwrap();
    let directory = target.join("containerd/usr/bin");
    assert!(
        directory.join("containerd").exists(),
        "{}: run scripts/containerd",
        directory.display()
    );
    directory
}

fn require_packages() {
    for (program, package) in [
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
        ("busybox", "busybox-static"),
    ] {
        let found =
            Command::new("which").arg(program).output().is_ok_and(|output| output.status.success());
        assert!(found, "{program} is missing: install {package}");
    }
}

/// containerd 1.6 knows one directory of plugins: braid, the recorders and Debian's plugins in it.
fn install_plugins(node: &Node) {
    fs::copy(BRAID, node.path("bin/braid")).unwrap();
    for entry in fs::read_dir(PLUGIN_DIR).unwrap().flatten() {
        let link = node.path("bin").join(entry.file_name());
        if !link.exists() {
            symlink(entry.path(), link).unwrap();
        }
    }
}

/// An `unshare` that dies with the test, and takes all with it that was started in its namespaces.
/// Not by `ip netns exec`: its `/sys` hides the control groups.
fn keep(node: &Node) -> Child {
    let netns = format!("--net={}", node.host().path());
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "nsenter", &netns]);
    command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    // Shims have their sockets there, whatever the configuration says. A shell that waits for one
    // child after the other reaps strangers too.
    let script = "mkdir -p /run/containerd && mount -t tmpfs none /run/containerd && while sleep \
                  1; do :; done";
    command.args(["sh", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The one child of a process.
fn child_of(process: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

pub(super) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(started.elapsed() < TIMEOUT, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `oom_score_adj`: some virtual machines lack CAP_SYS_RESOURCE. The rest: what may be missing,
/// too.
fn configuration(node: &Node, root: &Path) -> String {
    let text = |value: &str| json!(value).to_string();
    let root = |name: &str| text(root.join(name).to_str().unwrap());
    format!(
        r#"version = 2
root = {root}
state = {state}
[grpc]
  address = {socket}
[ttrpc]
  address = {ttrpc}
[plugins."io.containerd.internal.v1.opt"]
  path = {opt}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {image}
  disable_apparmor = true
  disable_tcp_service = true
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {bin}
    conf_dir = {conf}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"#,
        root = root("root"),
        state = root("state"),
        socket = root("sock"),
        ttrpc = root("sock.ttrpc"),
        opt = root("opt"),
        image = text(image::NAME),
        bin = text(&node.path_text("bin")),
        conf = text(&node.path_text("cri.d")),
    )
}
