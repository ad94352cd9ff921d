//! The plugin as kubectl starts it, with a double of kubectl that writes down what it is asked.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-braid");
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// A directory with a kubectl in it.
struct Cluster(tempfile::TempDir);

impl Cluster {
    fn new() -> Self {
        let cluster = Self(tempfile::tempdir().unwrap());
        let directory = cluster.0.path().display();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >>'{directory}/calls'\n[ \"$1\" = --context ] && shift 2\ncase \
             \"$1 $2\" in\n'run '*) cat >'{directory}/input'; echo 'ok  runtime'; exit 3;;\n'get \
             '*) cat \"{directory}/$2\" 2>/dev/null || {{ echo \"Error from server (NotFound): \
             $2\" >&2; exit 1; }};;\n*) exit 9;;\nesac\n"
        );
        cluster.write("kubectl", &script);
        let path = cluster.0.path().join("kubectl");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        cluster.write("pods", &pods("10.20.0.2").to_string());
        cluster.write("pod", &pods("10.20.0.2")["items"][0].to_string());
        cluster.write("events", &events().to_string());
        cluster
    }

    fn write(&self, name: &str, text: &str) {
        // By rename: the double may read meanwhile.
        fs::write(self.0.path().join("new"), text).unwrap();
        fs::rename(self.0.path().join("new"), self.0.path().join(name)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PLUGIN);
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        command.args(arguments).env_clear().env("PATH", path).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn fails(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        output
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pods(address: &str) -> Value {
    let status = json!([
        {"name": "cluster", "interface": "eth0", "ips": ["10.1.0.2"], "mac": "02:00:00:00:00:01", "default": true},
        {"name": "team-a/blue", "interface": "net1", "ips": [address, "fd00::2"], "mac": "02:00:00:00:00:02"},
    ]);
    let web = json!({
        "metadata": {"namespace": "team-a", "name": "web", "uid": "u1", "annotations": {STATUS: status.to_string()}},
        "spec": {"nodeName": "worker-1"}, "status": {"phase": "Running"},
    });
    let db = json!({
        "metadata": {"namespace": "team-a", "name": "db", "uid": "u2"}, "spec": {"nodeName": "worker-1"},
        "status": {"phase": "Pending"},
    });
    json!({"kind": "List", "items": [web, db]})
}

fn events() -> Value {
    let message = "pod team-a/db: network \"team-a/red\" is not defined";
    json!({"items": [{
        "involvedObject": {"uid": "u2"}, "reason": "NetworkRefused", "lastTimestamp": "2026-01-01T00:00:00Z",
        "message": message,
    }]})
}

#[test]
fn pods_are_shown_with_their_networks_and_with_why_they_have_none() {
    let cluster = Cluster::new();
    let expected = "\
POD   NETWORK       INTERFACE   ADDRESSES
web   cluster       eth0        10.1.0.2
web   team-a/blue   net1        10.20.0.2,fd00::2
db    -             -           -
team-a/db: NetworkRefused: pod team-a/db: network \"team-a/red\" is not defined
";
    assert_eq!(cluster.says(&["pods"]), expected);
    let wide = cluster.says(&["pods", "-A", "-o", "wide"]);
    let head = "NAMESPACE   POD   NETWORK       INTERFACE   ADDRESSES           \
                MAC                 DEVICE   NODE";
    assert!(wide.starts_with(head) && wide.contains("02:00:00:00:00:02"), "{wide}");
    let read: Value = serde_json::from_str(&cluster.says(&["pods", "-o", "json"])).unwrap();
    assert_eq!(read[0]["networks"][1]["addresses"], json!(["10.20.0.2", "fd00::2"]));
    let yaml = cluster.says(&["pods", "-o", "yaml"]);
    assert!(yaml.contains("interface: net1") && !yaml.contains('{'), "{yaml}");
}

#[test]
fn namespaces_and_contexts_are_kubectls_own() {
    let cluster = Cluster::new();
    cluster.says(&["pods", "-n", "team-a", "--context", "east"]);
    cluster.says(&["pods", "-A"]);
    cluster.says(&["pods"]);
    cluster.says(&["pods", "web", "-n", "team-a"]);
    let calls = cluster.read("calls");
    let pods: Vec<&str> = calls.lines().filter(|line| line.contains("get pods")).collect();
    assert_eq!(
        pods,
        [
            "--context east get pods -o json --namespace team-a",
            "get pods -o json --all-namespaces",
            "get pods -o json",
            "get pods -o json --namespace team-a web",
        ]
    );
}

#[test]
fn every_address_has_a_line() {
    let cluster = Cluster::new();
    let expected = "\
ADDRESS     INTERFACE   NETWORK       NAMESPACE   POD
10.1.0.2    eth0        cluster       team-a      web
10.20.0.2   net1        team-a/blue   team-a      web
fd00::2     net1        team-a/blue   team-a      web
";
    assert_eq!(cluster.says(&["addresses", "-A"]), expected);
    let read: Value = serde_json::from_str(&cluster.says(&["addresses", "-o", "json"])).unwrap();
    assert_eq!(read[2]["address"], "fd00::2");
}

/// A user who may not read events sees the networks.
#[test]
fn events_are_optional() {
    let cluster = Cluster::new();
    fs::remove_file(cluster.0.path().join("events")).unwrap();
    assert!(cluster.says(&["pods"]).contains("10.20.0.2"));
}

#[test]
fn a_watch_shows_what_changes() {
    let cluster = Cluster::new();
    let mut child = cluster.command(&["addresses", "-w"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line.starts_with("10.20.0.2 ")));
    cluster.write("pods", &pods("10.20.0.7").to_string());
    assert!(lines.by_ref().any(|line| line.starts_with("10.20.0.7 ")));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The pod that `kubectl run` is told to make, and what it is told besides.
fn run_on_node(cluster: &Cluster) -> (Value, String) {
    let calls = cluster.read("calls");
    let call = calls.lines().find(|line| line.contains("run kubectl-braid-")).unwrap();
    let (before, overrides) = call.split_once(" --overrides=").unwrap();
    (serde_json::from_str(overrides).unwrap(), before.to_owned())
}

#[test]
fn doctor_runs_on_the_node_and_its_status_is_ours() {
    let cluster = Cluster::new();
    let set = json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": "BIN_DIR", "value": "/usr/lib/cni"}]}]}}}});
    cluster.write("daemonset", &set.to_string());
    let output = cluster.fails(&["doctor", "worker-2"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "ok  runtime\n".to_owned()));
    let (pod, call) = run_on_node(&cluster);
    let spec = &pod["spec"];
    assert_eq!(spec["nodeName"], "worker-2");
    let command = &spec["containers"][0]["command"];
    assert_eq!(*command, json!(["chroot", "/host", "/usr/lib/cni/braid", "doctor"]));
    assert_eq!((&spec["hostPID"], &spec["hostNetwork"]), (&json!(true), &json!(true)));
    assert!(call.contains("--rm ") && call.contains("--restart=Never"), "nothing is left: {call}");
    assert!(
        call.contains("--namespace braid ") && call.contains("--image=busybox:stable"),
        "{call}"
    );
}

#[test]
fn explain_runs_on_the_pods_node_with_the_pod_as_it_is() {
    let cluster = Cluster::new();
    let output = cluster.fails(&["explain", "web", "-n", "team-a", "--executable", "/opt/braid"]);
    assert_eq!(output.status.code(), Some(3));
    let (pod, _) = run_on_node(&cluster);
    assert_eq!(pod["spec"]["nodeName"], "worker-1");
    let command = &pod["spec"]["containers"][0]["command"];
    assert_eq!(*command, json!(["chroot", "/host", "/opt/braid", "explain", "-"]));
    let input: Value = serde_json::from_str(&cluster.read("input")).unwrap();
    assert_eq!(input["metadata"]["name"], "web");
}

#[test]
fn what_fails_says_why() {
    let cluster = Cluster::new();
    fs::remove_file(cluster.0.path().join("pods")).unwrap();
    let said = text(&cluster.fails(&["pods"]).stderr);
    assert_eq!(said, "kubectl braid: Error from server (NotFound): pods\n");
    cluster.write("pods", "no JSON");
    assert!(text(&cluster.fails(&["pods"]).stderr).contains("kubectl's answer cannot be used"));
    cluster.write("pod", r#"{"metadata": {"name": "web"}, "spec": {}}"#);
    assert!(text(&cluster.fails(&["explain", "web"]).stderr).contains("is on no node yet"));
    fs::remove_file(cluster.0.path().join("kubectl")).unwrap();
    let output = cluster.command(&["pods"]).env("PATH", "/nowhere").output().unwrap();
    assert!(text(&output.stderr).contains("cannot start kubectl"), "{}", text(&output.stderr));
}

/// Every command of the page is one.
#[test]
fn every_command_of_the_page_is_one() {
    let page = fs::read_to_string(Path::new(REPOSITORY).join("docs/kubectl.md")).unwrap();
    let commands: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("kubectl braid ")).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.split(" #").next().unwrap().split_whitespace().collect();
        if words.contains(&"-w") {
            continue;
        }
        let cluster = Cluster::new();
        let output = cluster.command(&words).output().unwrap();
        let runs_on_node = ["doctor", "explain"].contains(&words[0]);
        let expected = if runs_on_node { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{command}: {}", text(&output.stderr));
    }
}

/// Two architectures of a release, of the executable that is built here.
fn release() -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    let built = target.path().join("built");
    fs::create_dir(&built).unwrap();
    fs::copy(PLUGIN, built.join("kubectl-braid")).unwrap();
    let executable = built.join("braid");
    let mut command = Command::new(Path::new(REPOSITORY).join("scripts/release"));
    for architecture in ["amd64", "arm64"] {
        command.arg("--executable").arg(format!("{architecture}={}", executable.display()));
    }
    command.args(["--parts", "kubectl"]).env("CARGO_TARGET_DIR", target.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    target
}

fn sum(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    text(&output.stdout).split_whitespace().next().unwrap().to_owned()
}

/// Krew finds what a release has: `spec.platforms[].uri`, `sha256` and `bin`, and in the archive
/// the executable and the licence, without a directory.
#[test]
fn a_release_has_the_plugin_and_its_manifest_for_krew() {
    let target = release();
    let made = target.path().join("dist/release");
    let manifest = fs::read_to_string(made.join("kubectl-braid.yaml")).unwrap();
    assert!(!manifest.contains(['{', '}']), "{manifest}");
    let manifest: Value = serde_saphyr::from_str(&manifest).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(
        (&manifest["kind"], &manifest["metadata"]["name"]),
        (&"Plugin".into(), &"braid".into())
    );
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest["spec"]["version"], version);
    assert_eq!(manifest["spec"]["homepage"], env!("CARGO_PKG_REPOSITORY"));
    for key in ["shortDescription", "description"] {
        assert!(manifest["spec"][key].as_str().unwrap().len() > 20, "{key}");
    }
    let platforms = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for (platform, architecture) in platforms.iter().zip(["amd64", "arm64"]) {
        let labels = json!({"os": "linux", "arch": architecture});
        assert_eq!(platform["selector"]["matchLabels"], labels);
        let name = format!("kubectl-braid-linux-{architecture}.tar.gz");
        let download = concat!(env!("CARGO_PKG_REPOSITORY"), "/releases/download");
        assert_eq!(platform["uri"], format!("{download}/{version}/{name}"));
        assert_eq!(platform["sha256"], sum(&made.join(&name)));
        assert_eq!(platform["bin"], "kubectl-braid");
        let unpacked = target.path().join(architecture);
        fs::create_dir(&unpacked).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(made.join(&name)).arg("-C").arg(&unpacked);
        assert!(tar.status().unwrap().success());
        assert_eq!(fs::read(unpacked.join("kubectl-braid")).unwrap(), fs::read(PLUGIN).unwrap());
        assert!(unpacked.join("LICENSE").exists() && fs::read_dir(&unpacked).unwrap().count() == 2);
    }
    let sums = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(&made)
        .output()
        .unwrap();
    assert_eq!(text(&sums.stdout).matches(": OK").count(), 3, "{}", text(&sums.stderr));
}
