//! `migrate multus`: forth and back, on roots in directories of their own, with pods that live through it.

use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{Said, Tool};
use crate::node::{Node, text};

const PRIMARY: &str = "{\"cniVersion\": \"1.0.0\", \"name\": \"primary\",\n \"plugins\": [{\"type\": \"ptp\", \"capabilities\": {\"ips\": true}}]}\n";

/// A root with a primary network and Multus's file.
fn root(multus: &str) -> Node {
    let node = Node::new();
    node.write("root/etc/containerd/config.toml", "version = 2\n");
    node.write("root/etc/cni/net.d/10-primary.conflist", PRIMARY);
    node.write("root/etc/cni/net.d/00-multus.conf", multus);
    node
}

/// As the entry point of Multus's thin image writes it.
fn thin() -> String {
    let primary: Value = serde_json::from_str(PRIMARY).unwrap();
    json!({
        "cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus", "capabilities": {"ips": true},
        "logLevel": "verbose", "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig", "delegates": [primary],
    })
    .to_string()
}

/// As the daemon of Multus's thick image writes it, with paths of its pod.
fn thick() -> String {
    json!({
        "capabilities": {"ips": true}, "cniVersion": "1.0.0", "logToStderr": true, "logLevel": "verbose",
        "clusterNetwork": "/host/etc/cni/net.d/10-primary.conflist", "name": "multus-cni-network",
        "type": "multus-shim", "socketDir": "/host/run/multus/",
    })
    .to_string()
}

fn run(node: &Node, arguments: &[&str]) -> Said {
    let root = node.path_text("root");
    Tool::new(node, &[&["migrate", "multus", "--root", &root], arguments].concat()).run()
}

fn names(node: &Node) -> Vec<String> {
    let entries = fs::read_dir(node.path("root/etc/cni/net.d")).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn conflist(node: &Node) -> Value {
    let text = fs::read_to_string(node.path("root/etc/cni/net.d/00-braid.conflist")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What is said, but for the size of the binary, which changes with every build.
fn lines(said: &Said) -> String {
    let all = said.snapshot();
    all.lines().filter(|line| !line.contains("bytes become")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_dry_run_shows_a_diff_and_changes_nothing() {
    let node = root(&thin());
    assert_snapshot!(lines(&run(&node, &["--dry-run"])));
    assert_eq!(names(&node), ["00-multus.conf", "10-primary.conflist"]);
    assert!(!node.path("root/opt/cni/bin/braid").exists());
}

#[test]
fn a_thin_plugin_is_translated_once_and_comes_back_as_it_was() {
    let node = root(&thin());
    node.write("root/var/lib/cni/multus/c1", "[]");
    assert_snapshot!(run(&node, &["--kubeconfig", "/etc/braid.kubeconfig"]).snapshot());
    let all = ["00-braid.conflist", "00-multus.conf.before-migration", "10-primary.conflist", "braid.d"];
    assert_eq!(names(&node), all);
    let document = conflist(&node);
    assert_eq!((&document["name"], &document["cniVersion"]), (&json!("multus-cni-network"), &json!("1.0.0")));
    let entry = &document["plugins"][0];
    assert_eq!((&entry["type"], &entry["clusterNetwork"]), (&json!("braid"), &json!("auto")));
    assert_eq!((&entry["delegates"], &entry["namespaceIsolation"]), (&Value::Null, &json!(false)));
    assert_eq!(entry["capabilities"]["io.kubernetes.cri.pod-annotations"], true);
    let said = run(&node, &[]).assert_status(0);
    assert_eq!(said.stdout, "nothing to change\n");

    // Its DaemonSet still runs, and has written its file anew.
    node.write("root/etc/cni/net.d/00-multus.conf", &thin());
    assert_snapshot!(run(&node, &[]).snapshot());
    assert_eq!(names(&node), all);
    assert_eq!(conflist(&node), document);

    let error = run(&node, &["--back"]).assert_status(1);
    assert!(error.stderr.contains("install multus again"), "{}", error.stderr);
    assert_eq!(names(&node), all);
    node.write("root/opt/cni/bin/multus", "");
    fs::set_permissions(
        node.path("root/opt/cni/bin/multus"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    assert_snapshot!(run(&node, &["--back", "--dry-run"]).snapshot());
    run(&node, &["--back"]).assert_status(0);
    assert_eq!(names(&node), ["00-multus.conf", "10-primary.conflist", "braid.d"]);
    assert_eq!(fs::read_to_string(node.path("root/etc/cni/net.d/00-multus.conf")).unwrap(), thin());
    assert_eq!(run(&node, &["--back"]).assert_status(0).stdout, "nothing to change\n");
}

/// The daemon's word counts, and its pod's paths become the host's.
#[test]
fn a_thick_plugin_is_translated_with_what_its_daemon_was_told() {
    let node = root(&thick());
    let daemon = json!({
        "chrootDir": "/hostroot", "cniVersion": "0.3.1", "logLevel": "debug", "logFile": "/hostroot/var/log/multus.log",
        "cniConfigDir": "/host/etc/cni/net.d", "multusAutoconfigDir": "/host/etc/cni/net.d", "multusConfigFile": "auto",
        "socketDir": "/host/run/multus/", "readinessindicatorfile": "/host/run/flannel/subnet.env",
        "namespaceIsolation": true, "globalNamespaces": "default,ops", "metricsPort": 9091,
    });
    node.write("daemon.json", &daemon.to_string());
    let file = node.path_text("daemon.json");
    let said = run(&node, &["--daemon-config", &file]).assert_status(0);
    let mut document = conflist(&node);
    document["plugins"][0].as_object_mut().unwrap().remove("capabilities");
    let expected = json!({
        "cniVersion": "1.0.0", "name": "multus-cni-network",
        "plugins": [{
            "type": "braid", "logToStderr": true, "logLevel": "debug", "clusterNetwork": "auto",
            "logFile": "/var/log/multus.log", "readinessindicatorfile": "/run/flannel/subnet.env",
            "namespaceIsolation": true, "globalNamespaces": "default,ops",
        }],
    });
    assert_eq!(document, expected);
    assert!(said.stdout.contains("no such key: metricsPort\n"), "{}", said.stdout);
    assert!(said.stdout.contains("no kubeconfig is configured"), "{}", said.stdout);
}

#[test]
fn another_runtimes_directories_are_written_down() {
    let node = Node::new();
    let directory = "/var/lib/rancher/k3s/agent/etc/cni/net.d";
    node.write("root/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "version = 2\n");
    node.write(&format!("root{directory}/10-first.conflist"), PRIMARY);
    node.write(&format!("root{directory}/20-second.conf"), "{\"name\": \"second\", \"type\": \"ptp\"}");
    let multus = json!({"name": "m", "plugins": [{"type": "multus", "delegates": [{"name": "second"}]}]});
    node.write(&format!("root{directory}/00-multus.conflist"), &multus.to_string());
    node.write("root/etc/cni/multus/net.d/lan.conf", "{}");
    run(&node, &[]).assert_status(0);
    let file = node.path(&format!("root{directory}/00-braid.conflist"));
    let document: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let entry = &document["plugins"][0];
    assert_eq!(
        entry["clusterNetwork"],
        format!("{directory}/20-second.conf"),
        "not the first, so by its path"
    );
    assert_eq!(
        (&entry["primaryConfDir"], &entry["confDir"]),
        (&json!(directory), &json!("/etc/cni/multus/net.d"))
    );
}

#[test]
fn what_cannot_be_translated_says_why() {
    let nothing = root("{}");
    assert_snapshot!(run(&nothing, &[]).snapshot());

    let behind = root("{\"name\": \"m\", \"plugins\": [{\"type\": \"ptp\"}, {\"type\": \"multus\"}]}");
    assert_snapshot!(run(&behind, &[]).snapshot());

    let not_first = root(&thin());
    not_first.write("root/etc/cni/net.d/00-aws.conflist", PRIMARY);
    assert_snapshot!(run(&not_first, &[]).snapshot());

    let daemon = root(&thick());
    daemon.write("root/etc/cni/net.d/multus.d/daemon-config.json", "{");
    assert_snapshot!(run(&daemon, &[]).snapshot());
    assert_eq!(
        names(&daemon),
        ["00-multus.conf", "10-primary.conflist", "multus.d"],
        "and nothing is changed"
    );
}

/// A pod of Braid's is handed over to Multus and taken back, and is torn down by what Multus was told:
/// addresses, rules for host ports and the record go.
#[test]
fn a_running_pod_lives_through_both_ways_and_is_torn_down() {
    let node = Node::new();
    let lan = json!({
        "cniVersion": "1.0.0", "name": "lan", "plugins": [
            node.bridge("br-lan", "10.30.0.0/24"), {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    node.define("team-a", "lan", lan);
    node.write("etc/containerd/config.toml", "version = 2\n");
    node.write("opt/cni/bin/multus", "");
    fs::set_permissions(node.path("opt/cni/bin/multus"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let multus = json!({
        "cniVersion": "1.0.0", "name": "node", "type": "multus", "kubeconfig": "/none", "cniDir": "/state",
        "delegates": [node.bridge("cni0", "10.1.0.0/24")],
    });
    node.write("etc/cni/net.d/00-multus.conf", &multus.to_string());
    let root = node.path_text("");
    let root = root.trim_end_matches('/');
    let migrate = |more: &[&str]| {
        Tool::new(&node, &[&["migrate", "multus", "--root", root], more].concat()).run().assert_status(0)
    };
    migrate(&[]);
    // portmap keeps the chains that all its containers share, so its own for the pod are what counts.
    let rules = || {
        let saved = node.host().command("iptables-save").output().unwrap();
        let saved = String::from_utf8(saved.stdout).unwrap();
        saved.lines().filter(|line| line.contains("CNI-DN-")).count()
    };

    let pod = node.pod("team-a", "web");
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    pod.add(json!({"delegates": multus["delegates"]}))
        .networks_json(json!([{"name": "lan", "portMappings": ports}]))
        .run()
        .assert_success();
    assert_ne!(rules(), 0);

    let said = migrate(&["--back"]);
    assert!(said.stdout.contains("hand over team-a/web\n"), "{}", said.stdout);
    assert_eq!(node.state("records"), Vec::<String>::new());
    let cache = fs::read_to_string(node.path("state").join(&pod.container)).unwrap();
    let delegates: Vec<Value> = serde_json::from_str(&cache).unwrap();
    let names: Vec<&str> = delegates.iter().map(|delegate| text(&delegate["Name"])).collect();
    assert_eq!(names, ["cni0", "lan"]);

    migrate(&[]);
    pod.del().run().assert_success();
    assert_eq!((rules(), pod.links()), (0, Vec::<String>::new()));
    assert_eq!((node.reservations("cni0").len(), node.reservations("lan").len()), (0, 0));
    assert!(!node.path("state").join(&pod.container).exists());
    assert_eq!(node.state("results"), Vec::<String>::new());
}

/// What Multus's list cannot say holds the way back up: its first entry is always the primary.
#[test]
fn a_chained_pod_holds_the_way_back_up() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.write("etc/containerd/config.toml", "version = 2\n");
    node.write("opt/cni/bin/multus", "");
    fs::set_permissions(node.path("opt/cni/bin/multus"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let entry = json!({"type": "braid", "cniDir": "/state"});
    node.write("etc/cni/net.d/00-braid.conflist", &json!({"name": "node", "plugins": [entry]}).to_string());
    node.write("etc/cni/net.d/00-multus.conf.before-migration", &thin());
    let pod = node.pod("team-a", "web");
    pod.add_chained(json!({})).networks("blue").run().assert_success();
    let root = node.path_text("");
    let root = root.trim_end_matches('/');
    let back = || Tool::new(&node, &["migrate", "multus", "--back", "--root", root]).run();
    assert_snapshot!(back().snapshot());
    assert!(node.path("etc/cni/net.d/00-braid.conflist").exists());
    pod.del().run().assert_success();
    back().assert_status(0);
    assert!(node.path("etc/cni/net.d/00-multus.conf").exists());
}
