//! `migrate multus`: forth and back, on roots in directories of their own, with pods that live
//! through it.

mod running_pods;

use std::fs;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::apiserver::ApiServer;
use crate::node::Node;
use crate::operator::{Said, Tool, kubeconfig_of_multus};

const PRIMARY: &str = "{\"cniVersion\": \"1.0.0\", \"name\": \"primary\",\n \"plugins\": \
                       [{\"type\": \"ptp\", \"capabilities\": {\"ips\": true}}]}\n";

/// One that has all that can be looked at without the API.
const KUBECONFIG: &str = "clusters: [{name: c, cluster: {server: https://10.0.0.1}}]\n";

/// A root with a primary network, Multus's file and its kubeconfig.
fn root(multus: &str) -> Node {
    let node = Node::new();
    node.write("root/etc/containerd/config.toml", "version = 2\n");
    node.write("root/etc/cni/net.d/10-primary.conflist", PRIMARY);
    node.write("root/etc/cni/net.d/00-multus.conf", multus);
    install(&node, "root/opt/cni/bin", &["ptp"]);
    node.write("root/etc/cni/net.d/multus.d/multus.kubeconfig", KUBECONFIG);
    node
}

/// Makes files that could be plugins.
fn install(node: &Node, directory: &str, kinds: &[&str]) {
    for kind in kinds {
        let file = format!("{directory}/{kind}");
        node.write(&file, "");
        fs::set_permissions(node.path(&file), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
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
    names.retain(|name| name != "multus.d");
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

/// Definitions and pools stay: only who writes them changes, node by node.
#[test]
fn whereabouts_networks_stay_as_they_are_and_its_daemon_set_is_spoken_of() {
    let node = root(&thin());
    let without = run(&node, &["--dry-run"]);
    assert!(!without.stdout.contains("whereabouts"), "{}", without.stdout);
    let files = [
        ("root/etc/cni/net.d/whereabouts.d/whereabouts.conf", r#"{"log_level": "debug"}"#),
        ("root/etc/cni/net.d/whereabouts.d/whereabouts.kubeconfig", KUBECONFIG),
        (
            "root/etc/cni/multus/net.d/lan.conf",
            r#"{"cniVersion": "1.0.0", "name": "lan", "type": "macvlan", "master": "eth1",
                "ipam": {"type": "whereabouts", "range": "10.9.0.0/20"}}"#,
        ),
    ];
    for (file, text) in files {
        node.write(file, text);
    }
    let said = run(&node, &[]).assert_status(0);
    let words = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "whereabouts gives addresses here (/etc/cni/net.d/whereabouts.d): definitions stay as they are",
        "leave whereabouts' DaemonSet, which renews the kubeconfig, until another one is named",
        "braid addresses reconcile take the place of its reconciler",
    ] {
        assert!(words.contains(expected), "{words}");
    }
    for (file, text) in files {
        assert_eq!(fs::read_to_string(node.path(file)).unwrap(), text, "{file}");
    }
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
    node.write("root/etc/braid.kubeconfig", KUBECONFIG);
    assert_snapshot!(run(&node, &["--kubeconfig", "/etc/braid.kubeconfig"]).snapshot());
    let all =
        ["00-braid.conflist", "00-multus.conf.before-migration", "10-primary.conflist", "braid.d"];
    assert_eq!(names(&node), all);
    let document = conflist(&node);
    assert_eq!(
        (&document["name"], &document["cniVersion"]),
        (&json!("multus-cni-network"), &json!("1.0.0"))
    );
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
    install(&node, "root/opt/cni/bin", &["multus"]);
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
    node.write(
        &format!("root{directory}/20-second.conf"),
        "{\"name\": \"second\", \"type\": \"ptp\"}",
    );
    let multus =
        json!({"name": "m", "plugins": [{"type": "multus", "delegates": [{"name": "second"}]}]});
    node.write(&format!("root{directory}/00-multus.conflist"), &multus.to_string());
    node.write("root/etc/cni/multus/net.d/lan.conf", "{}");
    install(&node, "root/var/lib/rancher/k3s/data/current/bin", &["ptp"]);
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

/// Its settings are in a ConfigMap, and would be lost unsaid.
#[test]
fn a_thick_plugin_without_its_daemons_settings_stops() {
    let node = root(&thick());
    let said = run(&node, &[]).assert_status(1);
    let command = "kubectl get configmap multus-daemon-config --namespace kube-system -o \
                   jsonpath='{.data.daemon-config\\.json}' >daemon-config.json";
    let expected = format!(
        "braid: multus is the thick plugin, whose settings are in a ConfigMap and not on this \
         node: get them with {command}, then run braid migrate multus --daemon-config \
         daemon-config.json (if there is none, with {{}} in that file)\n"
    );
    assert_eq!(said.stderr, expected);
    assert_eq!(names(&node), ["00-multus.conf", "10-primary.conflist"]);
    run(&node, &["--dry-run"]).assert_status(1);
    // If the file is beside the runtime's, it is taken.
    node.write("root/etc/cni/net.d/multus.d/daemon-config.json", r#"{"logLevel": "debug"}"#);
    run(&node, &[]).assert_status(0);
    assert_eq!(conflist(&node)["plugins"][0]["logLevel"], "debug");
}

/// New pods would lose their networks: the credential comes first.
#[test]
fn a_node_does_not_move_without_a_credential() {
    let node = root(&thin());
    fs::remove_file(node.path("root/etc/cni/net.d/multus.d/multus.kubeconfig")).unwrap();
    let said = run(&node, &[]).assert_status(1);
    let first = "braid: the kubeconfig cannot be used: \
                 NODE/root/etc/cni/net.d/multus.d/multus.kubeconfig: No such file or directory";
    let last = "give braid its own with --kubeconfig before pods depend on it, or no new pod gets \
                its networks\n";
    assert!(said.stderr.starts_with(first) && said.stderr.ends_with(last), "{}", said.stderr);
    run(&node, &["--kubeconfig", "/etc/braid.kubeconfig"]).assert_status(1);
    assert_eq!(names(&node), ["00-multus.conf", "10-primary.conflist"]);
    node.write("root/etc/braid.kubeconfig", KUBECONFIG);
    run(&node, &["--kubeconfig", "/etc/braid.kubeconfig"]).assert_status(0);

    // Moved already, and told of another one that is not there.
    run(&node, &["--kubeconfig", "/etc/other.kubeconfig"]).assert_status(1);
    assert_eq!(conflist(&node)["plugins"][0]["kubeconfig"], "/etc/braid.kubeconfig");
}

/// Multus's thin role gets and updates pods/status, and may not patch it.
#[test]
fn the_rights_of_multuss_account_are_not_enough() {
    let server = ApiServer::start();
    let of_multus = kubeconfig_of_multus(&server);
    let mut document: Value = serde_json::from_str(&thin()).unwrap();
    document["kubeconfig"] = json!(of_multus);
    let node = root(&document.to_string());
    install(&node, "bin", &["ptp"]);
    document["cniDir"] = json!(node.path("state"));
    node.write("root/etc/cni/net.d/00-multus.conf", &document.to_string());
    let migrate = |more: &[&str]| {
        let mut command = std::process::Command::new(crate::node::BRAID);
        command.args(["migrate", "multus", "--runtime", "containerd", "--conf-dir"]);
        command
            .arg(node.path("root/etc/cni/net.d"))
            .arg("--bin-dir")
            .arg(node.path("bin"))
            .args(more);
        let output = command.env_clear().output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, said) = migrate(&[]);
    let right = "user \"system:serviceaccount:kube-system:multus\" may not patch pods/status";
    assert!(
        status == 1
            && said.contains(right)
            && said.contains("give braid its own with --kubeconfig"),
        "{said}"
    );
    assert_eq!(names(&node), ["00-multus.conf", "10-primary.conflist"]);
    let own = server.usual_kubeconfig();
    assert_eq!(migrate(&["--kubeconfig", own.to_str().unwrap()]), (0, String::new()));
    assert_eq!(conflist(&node)["plugins"][0]["kubeconfig"], json!(own));
}

#[test]
fn what_cannot_be_translated_says_why() {
    let nothing = root("{}");
    assert_snapshot!(run(&nothing, &[]).snapshot());

    let behind =
        root("{\"name\": \"m\", \"plugins\": [{\"type\": \"ptp\"}, {\"type\": \"multus\"}]}");
    assert_snapshot!(run(&behind, &[]).snapshot());

    let not_first = root(&thin());
    not_first.write("root/etc/cni/net.d/00-aws.conflist", PRIMARY);
    assert_snapshot!(run(&not_first, &[]).snapshot());

    let daemon = root(&thick());
    daemon.write("root/etc/cni/net.d/multus.d/daemon-config.json", "{");
    assert_snapshot!(run(&daemon, &[]).snapshot());
    assert_eq!(names(&daemon), ["00-multus.conf", "10-primary.conflist"], "and nothing is changed");
}

/// Multus has taken its own file for the primary's, at each of its starts.
#[test]
fn multus_inside_multus_is_unwrapped() {
    let mut layered: Value = serde_json::from_str(&thin()).unwrap();
    for name in ["first", "second"] {
        let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": [layered]});
        layered = json!({"cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus", "delegates": [list]});
    }
    let node = root(&layered.to_string());
    let said = run(&node, &[]).assert_status(0);
    assert!(
        said.stdout.contains("its own file for the primary network's, 2 deep"),
        "{}",
        said.stdout
    );
    let entry = &conflist(&node)["plugins"][0];
    assert_eq!((&entry["clusterNetwork"], &entry["delegates"]), (&json!("auto"), &Value::Null));
    assert_eq!(
        entry["kubeconfig"], "/etc/cni/net.d/multus.d/multus.kubeconfig",
        "of the innermost"
    );

    let own = json!({"name": "m", "type": "multus", "clusterNetwork": "/host/etc/cni/net.d/00-multus.conf"});
    let node = root(&own.to_string());
    let said = run(&node, &[]).assert_status(0);
    assert!(
        said.stdout.contains("named multus's own file, /etc/cni/net.d/00-multus.conf"),
        "{}",
        said.stdout
    );
    assert_eq!(conflist(&node)["plugins"][0]["clusterNetwork"], "auto");
}

/// A node that would start no pod stays Multus's.
#[test]
fn what_would_start_no_pod_is_not_written() {
    let primary: Value = serde_json::from_str(PRIMARY).unwrap();
    let behind = json!({"name": "m", "plugins": [{"type": "multus", "delegates": [primary]}, {"type": "portmap"}]});
    let table = [
        (
            json!({"defaultNetworks": ["default/extra"]}),
            "key \"defaultNetworks\": \"default/extra\" must be a network's name",
        ),
        (
            json!({"defaultNetworks": ["extra"], "kubeconfig": ""}),
            "\"kube-system/extra\" is not defined",
        ),
        (json!({"readinessindicatorfile": "run/ready"}), "key \"readinessindicatorfile\""),
        (json!({"logOptions": {"maxAge": "x"}}), "\"logOptions.maxAge\""),
        (
            json!({"delegates": [primary, {"name": "m", "type": "multus"}]}),
            "braid or multus in its chain",
        ),
        (json!({"delegates": [behind]}), "braid or multus in its chain"),
        (json!({"delegates": [{"name": "other", "type": "absent"}]}), "\"absent\""),
        (json!({"delegates": [{"name": "other"}]}), "the first of \"delegates\" is not a valid"),
        (
            json!({"delegates": [primary, {"name": "x", "type": "ptp", "ipam": {"type": "absent"}}]}),
            "\"absent\"",
        ),
        (
            json!({"clusterNetwork": "absent", "delegates": [], "kubeconfig": ""}),
            "\"kube-system/absent\" is not defined",
        ),
        (json!({"clusterNetwork": "/etc/cni/net.d/multus.d", "delegates": []}), "multus.d"),
    ];
    for (more, expected) in table {
        let mut multus: Value = serde_json::from_str(&thin()).unwrap();
        multus.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let node = root(&multus.to_string());
        node.write("root/etc/cni/net.d/multus.d/multus.kubeconfig", "");
        let before = names(&node);
        for arguments in [&["--dry-run"][..], &[]] {
            let said = run(&node, arguments).assert_status(1);
            let start = "00-multus.conf cannot be translated as it is, since braid would start no \
                         pod with it: ";
            assert!(
                said.stderr.contains(start) && said.stderr.contains(expected),
                "{more}: {}",
                said.stderr
            );
            assert_eq!(names(&node), before, "{more}");
            assert!(!node.path("root/opt/cni/bin/braid").exists(), "{more}");
        }
    }
}

/// Default networks stand without the namespace that they are looked for in; what only the API
/// knows is said.
#[test]
fn default_networks_are_found_where_they_are_looked_for() {
    let mut multus: Value = serde_json::from_str(&thin()).unwrap();
    multus["defaultNetworks"] = json!(["kube-system/extra", "afar"]);
    let node = root(&multus.to_string());
    node.write(
        "root/etc/cni/multus/net.d/extra.conf",
        r#"{"cniVersion": "1.0.0", "name": "extra", "type": "ptp"}"#,
    );
    let said = run(&node, &[]).assert_status(0);
    assert_eq!(conflist(&node)["plugins"][0]["defaultNetworks"], json!(["extra", "afar"]));
    let said = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("not tried, since the API was not asked: network \"kube-system/afar\""),
        "{said}"
    );
}

/// Cilium takes the files of others out of the runtime's sight, and would take Braid's.
#[test]
fn a_file_that_cilium_has_renamed_is_recognised() {
    let node = root(&thin());
    let [file, renamed] = ["00-multus.conf", "00-multus.conf.cilium_bak"]
        .map(|name| node.path(&format!("root/etc/cni/net.d/{name}")));
    fs::rename(&file, &renamed).unwrap();
    let said = run(&node, &[]).assert_status(1);
    assert!(
        said.stderr.contains("cilium has renamed /etc/cni/net.d/00-multus.conf.cilium_bak"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("set cni.exclusive to false"), "{}", said.stderr);
    assert_eq!(names(&node), ["00-multus.conf.cilium_bak", "10-primary.conflist"]);
    fs::copy(&renamed, &file).unwrap();
    let said = run(&node, &[]).assert_status(0);
    assert!(said.stdout.contains("see that its cni.exclusive is false"), "{}", said.stdout);
    // Braid's own file, once the node is Braid's.
    fs::rename(
        node.path("root/etc/cni/net.d/00-braid.conflist"),
        node.path("root/etc/cni/net.d/00-braid.conflist.cilium_bak"),
    )
    .unwrap();
    let said = run(&node, &[]).assert_status(1);
    assert!(said.stderr.contains("00-braid.conflist.cilium_bak"), "{}", said.stderr);
}
