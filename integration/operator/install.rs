//! `install`, on roots in directories of their own.

mod refusals;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::node::{BRAID, Node};
use crate::operator::{Said, Tool};

pub(super) const PRIMARY: &str = "{\"cniVersion\": \"1.0.0\", \"name\": \"primary\",\n \
                                  \"plugins\": [{\"type\": \"ptp\", \"capabilities\": {\"ips\": \
                                  true}}]}\n";

/// One that has all that can be looked at without the API.
pub(super) const KUBECONFIG: &str = "clusters: [{name: c, cluster: {server: https://10.0.0.1}}]\n";

/// A root with a primary network, and the configuration of a runtime.
pub(super) fn root(runtime: &str, text: &str) -> Node {
    let node = Node::new();
    node.write(&format!("root{runtime}"), text);
    node.write("root/etc/cni/net.d/10-primary.conflist", PRIMARY);
    node
}

pub(super) fn containerd() -> Node {
    root("/etc/containerd/config.toml", "version = 2\n")
}

pub(super) fn run(node: &Node, arguments: &[&str]) -> Said {
    let root = node.path_text("root");
    let (command, rest) = arguments.split_first().unwrap();
    Tool::new(node, &[&[*command, "--root", &root], rest].concat()).run()
}

pub(super) fn read(node: &Node, path: &str) -> String {
    fs::read_to_string(node.path(&format!("root{path}"))).unwrap()
}

pub(super) fn conf(node: &Node, path: &str) -> Value {
    serde_json::from_str(&read(node, path)).unwrap()
}

/// Every file below the root with its contents, the binary apart.
pub(super) fn files(node: &Node) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![node.path("root")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path if path.ends_with("bin/braid") => {}
                path => {
                    found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()))
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_dry_run_shows_a_diff_and_changes_nothing() {
    let node = containerd();
    let before = files(&node);
    // The size of the binary changes with every build.
    let said = run(&node, &["install", "--dry-run"]).assert_status(0);
    let kept: Vec<&str> =
        said.stdout.lines().filter(|line| !line.contains("bytes become")).collect();
    assert_snapshot!(kept.join("\n"));
    assert_eq!(files(&node), before);
}

#[test]
fn it_installs_once_and_again_changes_nothing() {
    let node = containerd();
    assert_snapshot!(run(&node, &["install"]).snapshot());
    assert_eq!(fs::read(node.path("root/opt/cni/bin/braid")).unwrap(), fs::read(BRAID).unwrap());
    let mode = fs::metadata(node.path("root/opt/cni/bin/braid")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(read(&node, "/etc/cni/net.d/10-primary.conflist"), PRIMARY);
    let entry = conf(&node, "/etc/cni/net.d/00-braid.conflist")["plugins"][0].clone();
    let capabilities: Vec<&String> = entry["capabilities"].as_object().unwrap().keys().collect();
    let expected = [
        "io.kubernetes.cri.pod-annotations",
        "portMappings",
        "bandwidth",
        "cgroupPath",
        "dns",
        "ips",
    ];
    assert_eq!(capabilities, expected);
    let before = files(&node);
    assert_snapshot!(run(&node, &["install"]).snapshot());
    assert_eq!(files(&node), before);
}

#[test]
fn what_an_administrator_wrote_stays() {
    let node = containerd();
    run(&node, &["install"]).assert_status(0);
    let file = "/etc/cni/net.d/00-braid.conflist";
    let mut document = conf(&node, file);
    document["plugins"][0]["maxNetworks"] = json!(4);
    document["plugins"][0]["capabilities"]["dns"] = json!(false);
    document["plugins"][0]["drain"] = json!(true);
    node.write(&format!("root{file}"), &document.to_string());
    node.write("root/etc/braid.kubeconfig", KUBECONFIG);
    run(&node, &["install", "--kubeconfig", "/etc/braid.kubeconfig"]).assert_status(0);
    let entry = conf(&node, file)["plugins"][0].clone();
    assert_eq!((&entry["maxNetworks"], &entry["capabilities"]["dns"]), (&json!(4), &json!(false)));
    assert_eq!(
        (&entry["drain"], &entry["kubeconfig"]),
        (&Value::Null, &json!("/etc/braid.kubeconfig"))
    );
}

#[test]
fn each_runtime_gets_what_it_needs() {
    let crio = root("/etc/crio/crio.conf", "[crio.network]\nplugin_dirs = ['/usr/libexec/cni']\n");
    run(&crio, &["install"]).assert_status(0);
    let entry = conf(&crio, "/etc/cni/net.d/00-braid.conflist")["plugins"][0].clone();
    assert_eq!(
        (&entry["resultScope"], &entry["binDir"]),
        (&json!("primary"), &json!("/usr/libexec/cni"))
    );
    assert!(crio.path("root/usr/libexec/cni/braid").exists());

    // As Debian's package of containerd has it.
    let cni = "[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \
               \"/etc/cni/net.d\"\n";
    let debian = root("/etc/containerd/config.toml", &format!("version = 2\n{cni}"));
    let said = run(&debian, &["install"]).assert_status(0).stdout;
    assert!(
        said.starts_with("write /usr/lib/cni/braid\n") && !debian.path("root/opt").exists(),
        "{said}"
    );
    assert_eq!(
        conf(&debian, "/etc/cni/net.d/00-braid.conflist")["plugins"][0]["binDir"],
        "/usr/lib/cni"
    );

    let k3s = root("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "version = 2\n");
    let directory = "/var/lib/rancher/k3s/agent/etc/cni/net.d";
    k3s.write(&format!("root{directory}/10-primary.conflist"), PRIMARY);
    run(&k3s, &["install"]).assert_status(0);
    let entry = conf(&k3s, &format!("{directory}/00-braid.conflist"))["plugins"][0].clone();
    assert_eq!(entry["primaryConfDir"], directory);
    assert_eq!(entry["confDir"], format!("{directory}/braid.d"));
}

#[test]
fn chained_it_is_the_last_of_the_chain_and_leaves_no_trace() {
    let node = containerd();
    let before = files(&node);
    assert_snapshot!(run(&node, &["install", "--mode", "chained"]).snapshot());
    let plugins = conf(&node, "/etc/cni/net.d/10-primary.conflist")["plugins"].clone();
    assert_eq!((&plugins[0]["type"], &plugins[1]["type"]), (&json!("ptp"), &json!("braid")));
    assert_eq!(run(&node, &["install"]).assert_status(0).stdout, "nothing to change\n");
    assert_snapshot!(run(&node, &["uninstall"]).snapshot());
    assert_eq!(files(&node), before);
    assert_eq!(run(&node, &["uninstall"]).assert_status(0).stdout, "braid is not installed here\n");
}

#[test]
fn where_the_primary_removes_other_files_it_is_a_file_of_the_chain() {
    let node = containerd();
    node.write("root/etc/cni/net.d/05-old.conflist.cilium_bak", "{}");
    assert_snapshot!(run(&node, &["install"]).snapshot());
    node.write("root/usr/bin/containerd", "an old one");
    assert_snapshot!(run(&node, &["install", "--mode", "chained-file"]).snapshot());
    node.write("root/usr/bin/containerd", "a new one knows loadOnlyInlinedPlugins");
    let before = files(&node);
    run(&node, &["install"]).assert_status(0);
    assert_eq!(conf(&node, "/etc/cni/net.d/primary/braid.conf")["type"], "braid");
    run(&node, &["uninstall"]).assert_status(0);
    assert_eq!(files(&node), before);
    assert!(!node.path("root/etc/cni/net.d/primary").exists());
}

/// The name of a file and what tells it from another one of the same contents.
fn inode(node: &Node, path: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(node.path(&format!("root{path}"))).unwrap().ino()
}

const PRIMARY_FILE: &str = "/etc/cni/net.d/10-primary.conflist";

const CHAINED_FILE: &str = "/etc/cni/net.d/primary/braid.conf";

/// containerd does not watch the directory of a chain: each change there renames the primary's file
/// over itself.
#[test]
fn every_change_of_a_chained_file_renews_the_primarys() {
    let node = containerd();
    let before = files(&node);
    let renewal = format!("renew {PRIMARY_FILE}\n");
    let first = inode(&node, PRIMARY_FILE);
    let mut seen = first;
    let mut renews = |arguments: &[&str], expected: bool| {
        let said = run(&node, arguments).assert_status(0).stdout;
        let now = inode(&node, PRIMARY_FILE);
        assert_eq!(
            (said.contains(&renewal), now != seen),
            (expected, expected),
            "{arguments:?}: {said}"
        );
        seen = now;
    };
    let install = ["install", "--mode", "chained-file"];
    let shown = run(&node, &[&install[..], &["--dry-run"]].concat()).assert_status(0).stdout;
    assert!(shown.ends_with(&renewal) && first == inode(&node, PRIMARY_FILE), "{shown}");
    renews(&install, true);
    renews(&["install"], false);
    node.write("settings.json", "{\"maxNetworks\": 4}");
    renews(&["install", "--settings", &node.path_text("settings.json")], true);
    // A run that was killed between the two files, or a hand: what is there is right, and was not
    // read.
    std::thread::sleep(std::time::Duration::from_millis(20));
    node.write(&format!("root{CHAINED_FILE}"), &read(&node, CHAINED_FILE));
    renews(&["install"], true);
    node.write("root/etc/cni/net.d/primary/other.conf", "{\"type\": \"tuning\"}");
    let other = node.path("root/etc/cni/net.d/primary/other.conf");
    renews(&["uninstall"], true);
    assert!(other.exists() && !node.path(&format!("root{CHAINED_FILE}")).exists());
    fs::remove_dir_all(other.parent().unwrap()).unwrap();
    assert_eq!(files(&node), before);
}
