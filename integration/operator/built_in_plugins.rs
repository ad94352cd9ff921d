//! `install --plugins`, which puts the built-in plugins onto a node under their own names, and
//! `uninstall`, which takes them away.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::node::{BRAID, Node, PLUGIN_DIR, text};
use crate::operator::explain::braid;
use crate::operator::install::{containerd, run};

const BIN: &str = "root/opt/cni/bin";

/// A plugin that is not Braid's.
fn install_foreign(node: &Node, name: &str) {
    node.write(&format!("{BIN}/{name}"), "#!/bin/sh\necho foreign\n");
    let file = node.path(&format!("{BIN}/{name}"));
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a plugin of the node answers to VERSION; `foreign` from the one above.
fn version(node: &Node, name: &str) -> String {
    let mut command = Command::new(node.path(&format!("{BIN}/{name}")));
    command.env_clear().env("CNI_COMMAND", "VERSION").stdin(std::process::Stdio::null());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn is_built_in(node: &Node, name: &str) -> bool {
    version(node, name).contains("supportedVersions")
}

fn names(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.path(BIN)).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn plugins_that_the_node_lacks_are_links_to_one_file() {
    let node = containerd();
    install_foreign(&node, "bridge");
    run(&node, &["install", "--plugins"]).assert_status(0);
    assert!(!is_built_in(&node, "bridge"), "it was there");
    for name in ["host-local", "ptp", "static", "loopback"] {
        assert!(is_built_in(&node, name), "{name}");
        let link = fs::read_link(node.path(&format!("{BIN}/{name}"))).unwrap();
        assert_eq!(link, Path::new(".braid/plugins"));
    }
    let again = run(&node, &["install", "--plugins"]).assert_status(0);
    assert_eq!(again.stdout, "nothing to change\n");
}

#[test]
fn an_installer_that_writes_through_a_link_does_not_reach_the_executable() {
    let node = containerd();
    run(&node, &["install", "--plugins"]).assert_status(0);
    fs::write(node.path(&format!("{BIN}/ptp")), "#!/bin/sh\necho foreign\n").unwrap();
    assert!(!is_built_in(&node, "ptp"));
    let braid = fs::read(node.path(&format!("{BIN}/braid"))).unwrap();
    assert!(braid.starts_with(b"\x7fELF"), "the meta-plugin is another file");
    run(&node, &["install", "--plugins"]).assert_status(0);
    assert!(is_built_in(&node, "ptp") && is_built_in(&node, "static"));
}

#[test]
fn plugins_that_are_replaced_come_back() {
    let node = containerd();
    install_foreign(&node, "host-local");
    symlink("/bin/true", node.path(&format!("{BIN}/vlan"))).unwrap();
    let before = names(&node);
    run(&node, &["install", "--plugins=replace", "--dry-run"]).assert_status(0);
    assert_eq!(names(&node), before);
    run(&node, &["install", "--plugins=replace"]).assert_status(0);
    assert!(is_built_in(&node, "host-local") && is_built_in(&node, "vlan"));
    let again = run(&node, &["install", "--plugins=replace"]).assert_status(0);
    assert_eq!(again.stdout, "nothing to change\n");
    run(&node, &["uninstall"]).assert_status(0);
    assert_eq!(version(&node, "host-local"), "foreign\n");
    assert_eq!(fs::read_link(node.path(&format!("{BIN}/vlan"))).unwrap(), Path::new("/bin/true"));
    // The node's primary network is a ptp, which there is no other of.
    assert!(is_built_in(&node, "ptp"));
    assert_eq!(names(&node), [".braid", "host-local", "ptp", "vlan"]);
}

#[test]
fn a_plugin_that_another_installer_brings_stays() {
    let node = containerd();
    run(&node, &["install", "--plugins"]).assert_status(0);
    for name in ["ptp", "bridge"] {
        fs::remove_file(node.path(&format!("{BIN}/{name}"))).unwrap();
        install_foreign(&node, name);
    }
    run(&node, &["install", "--plugins"]).assert_status(0);
    assert!(!is_built_in(&node, "ptp") && !is_built_in(&node, "bridge"));
    run(&node, &["uninstall"]).assert_status(0);
    assert_eq!(names(&node), ["bridge", "ptp"], "nothing of Braid is left");
}

#[test]
fn a_plugin_that_a_network_of_the_node_uses_stays() {
    let node = containerd();
    run(&node, &["install", "--plugins"]).assert_status(0);
    let said = run(&node, &["uninstall"]).assert_status(0);
    let expected = "/opt/cni/bin/ptp stays: a network of this node uses it; put another plugin of \
                    that name in its place, then run this again\n";
    assert!(said.stdout.ends_with(expected), "{}", said.stdout);
    assert!(is_built_in(&node, "ptp"));
    assert_eq!(names(&node), [".braid", "ptp"]);
    install_foreign_over(&node, "ptp");
    run(&node, &["uninstall"]).assert_status(0);
    assert_eq!(names(&node), ["ptp"]);
}

/// As a package does: a new file takes the name.
fn install_foreign_over(node: &Node, name: &str) {
    install_foreign(node, "new");
    fs::rename(node.path(&format!("{BIN}/new")), node.path(&format!("{BIN}/{name}"))).unwrap();
}

#[test]
fn doctor_and_explain_say_where_a_plugin_comes_from() {
    for (mode, of_bridge, inside) in [
        ("linked", "built into braid, by ", vec!["bridge"]),
        ("prefer", "built into braid; ", vec!["bridge", "host-local"]),
        ("never", "braid as a process, by ", vec![]),
    ] {
        let node = Node::new();
        let entry = json!({
            "type": "braid", "confDir": node.path("braid.d"), "cniDir": node.path("state"),
            "primaryConfDir": node.path("net.d"), "binDir": node.path("bin"),
            "clusterNetwork": "auto", "builtinPlugins": mode,
        });
        let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
        node.write("net.d/00-braid.conflist", &conflist.to_string());
        let primary = node.bridge("cni0", "10.1.0.0/24");
        node.write("net.d/10-primary.conf", &primary.to_string());
        symlink(BRAID, node.path("bin/bridge")).unwrap();
        symlink(BRAID, node.path("bin/braid")).unwrap();
        symlink(format!("{PLUGIN_DIR}/host-local"), node.path("bin/host-local")).unwrap();
        let report = braid(&node, &["doctor"]).run();
        let version = env!("CARGO_PKG_VERSION");
        let said = format!("plugins       bridge {version}: {of_bridge}");
        assert!(report.stdout.contains(&said), "{}", report.stdout);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}});
        let explained = braid(&node, &["explain", "-", "-o", "json"]).input(&pod.to_string()).run();
        let attachment = &explained.json()["pods"][0]["attachments"][0];
        let found: Vec<&str> =
            attachment["builtIn"].as_array().into_iter().flatten().map(text).collect();
        assert_eq!(found, inside, "{mode}: {}", explained.stdout);
    }
}
