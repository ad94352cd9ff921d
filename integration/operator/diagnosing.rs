//! `doctor`, one fault at a time: each is found, said with what to do, and changes nothing.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{Said, Tool};
use crate::apiserver::{ApiServer, User};
use crate::node::{BRAID, Node};

/// A node that is fit: `more` goes into braid's entry, `primary` into the primary's conflist.
fn node(more: Value, primary: Value) -> Node {
    let node = Node::new();
    let mut entry = json!({
        "type": "braid", "confDir": node.path("braid.d"), "cniDir": node.path("state"),
        "primaryConfDir": node.path("net.d"), "binDir": crate::node::PLUGIN_DIR, "clusterNetwork": "auto",
        "capabilities": {"io.kubernetes.cri.pod-annotations": true},
    });
    entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("net.d/00-braid.conflist", &conflist.to_string());
    let mut conflist =
        json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [{"type": "primary"}]});
    conflist.as_object_mut().unwrap().extend(primary.as_object().cloned().unwrap());
    node.write("net.d/10-primary.conflist", &conflist.to_string());
    node.recorders(["primary", "braid"]);
    node
}

fn arguments(node: &Node, runtime: &str, more: &[&str]) -> Vec<String> {
    let (conf_dir, bin_dir) = (node.path_text("net.d"), node.path_text("bin"));
    let place = ["doctor", "--conf-dir", &conf_dir, "--bin-dir", &bin_dir, "--runtime", runtime];
    place.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

fn doctor_of(node: &Node, runtime: &str) -> Said {
    let words = arguments(node, runtime, &[]);
    Tool::new(node, &words.iter().map(String::as_str).collect::<Vec<_>>()).run()
}

/// The line, and what to do below it; the line alone where nothing is to be done.
#[track_caller]
fn assert_finds(said: &Said, level: &str, check: &str, message: &str, advice: &str) {
    let lines: Vec<&str> = said.stdout.lines().collect();
    let line = format!("{level:<4}  {check:<14}{message}");
    let at = lines.iter().position(|found| *found == line);
    let at = at.unwrap_or_else(|| panic!("no line\n{line}\nin\n{}", said.stdout));
    if !advice.is_empty() {
        assert_eq!(lines[at + 1].trim_start(), advice, "{}", said.stdout);
    }
}

#[test]
fn a_plugin_that_is_too_old_for_its_network() {
    // Debian's bridge, 1.1.1, stops at CNI 1.0.0.
    let plugin = json!({"type": "bridge", "ipam": {"type": "host-local"}});
    let node = node(json!({}), json!({"cniVersion": "1.1.0", "plugins": [plugin]}));
    let said = doctor_of(&node, "containerd").assert_status(1);
    let message = "plugin \"bridge\" does not know CNI 1.1.0, which its network is in: it knows 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0";
    let line = said.stdout.lines().find(|line| line.contains("fail  plugins ")).unwrap();
    assert!(
        line.contains(message) && line.contains("plugin \"host-local\" does not know"),
        "{line}"
    );
    assert!(said.stdout.contains("install them, or newer ones"), "{}", said.stdout);
}

#[test]
fn a_primary_that_is_not_ready_says_why() {
    let node = node(json!({}), json!({"cniVersion": "1.1.0"}));
    node.script("primary", json!({"STATUS": {"error": {"code": 50, "msg": "the daemon is away"}}}));
    let said = doctor_of(&node, "containerd").assert_status(1);
    let advice = "see to it: the node is NotReady until then";
    assert_finds(&said, "fail", "status", "plugin \"primary\": the daemon is away", advice);
    assert_eq!(node.calls_in_order(), ["VERSION primary", "STATUS primary"]);
}

/// What pods will ask for, too: its plugin, its master, the daemon of its addresses.
#[test]
fn networks_that_no_pod_could_have_here() {
    let node = node(json!({}), json!({}));
    node.define("team-a", "blue", json!({"type": "absent"}));
    let macvlan = json!({"cniVersion": "1.0.0", "type": "macvlan", "master": "up0", "ipam": {"type": "dhcp"}});
    node.define("team-a", "lan", macvlan);
    let said = doctor_of(&node, "containerd").assert_status(0);
    let advice = "pods that ask for it are refused here until then";
    let absent = format!(
        "network \"blue\": plugin \"absent\" is not installed: no executable of that name in NODE/bin, {}",
        crate::node::PLUGIN_DIR
    );
    assert_finds(&said, "warn", "networks", &absent, advice);
    let master = "network \"lan\": this node has no interface \"up0\", its \"master\"";
    assert_finds(&said, "warn", "networks", master, advice);
    let daemon = "network \"lan\": the daemon of the dhcp plugin is not running: /run/cni/dhcp.sock is missing";
    assert_finds(&said, "warn", "networks", daemon, advice);
    node.host().ip("link add up0 type bridge");
    assert!(!doctor_of(&node, "containerd").stdout.contains("up0"));
}

#[test]
fn a_primary_that_takes_braids_place_away() {
    let file = "net.d/00-braid.conflist";
    let renamed = node(json!({}), json!({}));
    fs::rename(renamed.path(file), renamed.path(&format!("{file}.cilium_bak"))).unwrap();
    let said = doctor_of(&renamed, "containerd").assert_status(1);
    let message = "cilium has renamed braid's file to NODE/net.d/00-braid.conflist.cilium_bak";
    let advice = "set cni.exclusive to false in cilium's chart, or run braid install --mode chained-file where the runtime reads such files";
    assert_finds(&said, "fail", "installation", message, advice);

    let rewritten = node(json!({}), json!({}));
    fs::remove_file(rewritten.path(file)).unwrap();
    fs::copy(
        rewritten.path("net.d/10-primary.conflist"),
        rewritten.path("net.d/10-primary.conflist.before-braid"),
    )
    .unwrap();
    let said = doctor_of(&rewritten, "containerd").assert_status(1);
    let message = "the primary's daemon has rewritten NODE/net.d/10-primary.conflist and dropped braid's entry";
    let advice = "run braid install --mode chained-file where the runtime reads such files, or --mode delegating";
    assert_finds(&said, "fail", "installation", message, advice);

    let multus = node(json!({}), json!({}));
    multus.write("net.d/00-multus.conf", "{\"name\": \"m\", \"type\": \"multus\"}");
    multus.write("state/c1", "[]");
    let said = doctor_of(&multus, "containerd");
    let message = "NODE/net.d/00-multus.conf is multus's, and is there beside braid's";
    assert_finds(
        &said,
        "warn",
        "multus",
        message,
        "stop its DaemonSet, which writes it, then run braid migrate multus",
    );
    assert_finds(
        &said,
        "ok",
        "multus",
        "1 containers are remembered in NODE/state and torn down by it",
        "",
    );
    fs::remove_file(multus.path(file)).unwrap();
    let said = doctor_of(&multus, "containerd").assert_status(1);
    let message = "multus stands in NODE/net.d/00-multus.conf, and braid in no file of NODE/net.d";
    assert_finds(
        &said,
        "fail",
        "installation",
        message,
        "run braid migrate multus to move to braid",
    );
}

/// Debian's containerd is older than 2.1, and does not read files of sub-directories.
#[test]
fn a_chained_file_that_the_runtime_ignores() {
    let node = node(json!({}), json!({}));
    fs::remove_file(node.path("net.d/00-braid.conflist")).unwrap();
    let entry = json!({"type": "braid", "cniDir": node.path("state"), "capabilities": {"io.kubernetes.cri.pod-annotations": true}});
    node.write("net.d/cluster/braid.conf", &entry.to_string());
    let said = doctor_of(&node, "containerd").assert_status(1);
    let message = "the entry is a file of its own, and this runtime is too old to read it";
    let advice = "use containerd 2.1 or CRI-O 1.33, or newer, or run braid uninstall, then braid install with another --mode";
    assert_finds(&said, "fail", "order", message, advice);
}

#[test]
fn cri_o_needs_two_keys() {
    let node = node(json!({}), json!({}));
    node.define("team-a", "lan", json!({"type": "bridge", "ipam": {"type": "whereabouts"}}));
    let said = doctor_of(&node, "crio").assert_status(1);
    let message = "CRI-O reports every address of a result as the pod's";
    assert_finds(&said, "fail", "crio", message, "set \"resultScope\": \"primary\"");
    let message = "CRI-O runs CHECK after every ADD, and whereabouts' always fails";
    assert_finds(&said, "fail", "crio", message, "set \"checkNetworks\": \"kernel\"");
    assert!(!doctor_of(&node, "containerd").stdout.contains("CRI-O"));
}

#[test]
fn a_state_directory_without_room() {
    let node = node(json!({}), json!({}));
    node.mount("state", "size=4m,mode=0700");
    let said = doctor_of(&node, "containerd").assert_status(0);
    let advice = "make room: without it no pod gets an extra network";
    assert_finds(
        &said,
        "warn",
        "state",
        "NODE/state: 4096 KiB are left on its file system",
        advice,
    );
    fs::write(node.path("state/.filler"), vec![b'x'; 8 << 20]).unwrap_err();
    let said = doctor_of(&node, "containerd").assert_status(1);
    assert_finds(&said, "fail", "state", "NODE/state: its file system is full", advice);
    node.remount("state", "ro");
    let said = doctor_of(&node, "containerd").assert_status(1);
    let message = "NODE/state cannot be written: EROFS: Read-only file system";
    assert_finds(
        &said,
        "fail",
        "state",
        message,
        "make it writable: without it no pod gets an extra network",
    );
}

#[test]
fn files_for_those_who_watch_that_cannot_be_written() {
    let more = json!({"logFile": "/none/braid.log", "metricsFile": "/dev/null"});
    let node = node(more, json!({}));
    let said = doctor_of(&node, "containerd").assert_status(0);
    let advice = "nothing is written there until then; pods are not held up";
    assert_finds(
        &said,
        "warn",
        "files",
        "logFile: /none/braid.log has no directory to be in",
        advice,
    );
    let message = "metricsFile: /dev/null is no regular file, and is not followed";
    assert_finds(&said, "warn", "files", message, advice);
}

#[test]
fn a_policy_that_nobody_understands() {
    let node = node(json!({"policy": {"mode": "enforced"}}), json!({}));
    let said = doctor_of(&node, "containerd").assert_status(1);
    assert!(said.stdout.contains("fail  configuration "), "{}", said.stdout);
    assert!(
        said.stdout.contains("until then pods get no network that they ask for"),
        "{}",
        said.stdout
    );
}

/// In the test's own network namespace, where the API server is.
fn with_api(server: &ApiServer, kubeconfig: &std::path::Path, more: &[&str]) -> String {
    let node = node(json!({"kubeconfig": kubeconfig, "apiTimeout": "3s"}), json!({}));
    let output = Command::new(BRAID)
        .args(arguments(&node, "containerd", more))
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace(&server.name(), "SERVER");
    format!("status {}\n{text}", output.status.code().unwrap())
}

#[test]
fn the_api_with_its_rights_and_its_token() {
    let server = ApiServer::start();
    let said = with_api(&server, &server.usual_kubeconfig(), &[]);
    assert!(
        said.starts_with("status 0\n") && said.contains("ok    token         good until "),
        "{said}"
    );
    assert!(
        said.contains("ok    api           it answers, and lets braid read definitions\n"),
        "{said}"
    );
    assert!(
        said.contains("ok    api           it lets braid publish the status of pods\n"),
        "{said}"
    );

    // Multus's account may read definitions, and not patch pods/status.
    server.objects().rbac.add(json!({
        "kind": "ClusterRole", "metadata": {"name": "multus"},
        "rules": [
            {"apiGroups": ["k8s.cni.cncf.io"], "resources": ["network-attachment-definitions"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get", "update"]},
        ],
    }));
    server.objects().rbac.add(json!({
        "kind": "ClusterRoleBinding", "metadata": {"name": "multus"}, "roleRef": {"kind": "ClusterRole", "name": "multus"},
        "subjects": [{"kind": "ServiceAccount", "name": "multus", "namespace": "kube-system"}],
    }));
    let multus = User::service_account("kube-system", "multus");
    let kubeconfig = server.kubeconfig(json!({"token": server.token(&multus, 3600)}));
    let said = with_api(&server, &kubeconfig, &[]);
    assert!(
        said.starts_with("status 1\n") && said.contains("lets braid read definitions"),
        "{said}"
    );
    assert!(said.contains("grant the right, or set \"statusPolicy\": \"never\""), "{said}");

    let soon = server.kubeconfig(json!({"token": server.token(&User::braid(), 60)}));
    let said = with_api(&server, &soon, &[]);
    assert!(
        said.starts_with("status 0\n") && said.contains("warn  token         it ends at "),
        "{said}"
    );
    assert!(with_api(&server, &soon, &["--strict"]).starts_with("status 1\n"));
    let late = server.kubeconfig(json!({"token": server.token(&User::braid(), -60)}));
    let said = with_api(&server, &late, &[]);
    assert!(
        said.starts_with("status 1\n") && said.contains("fail  token         it ended at "),
        "{said}"
    );
}

/// A person is told what takes so long.
#[test]
fn an_api_that_hangs_is_waited_for_and_said() {
    let server = ApiServer::start();
    server.be_mute();
    let node =
        node(json!({"kubeconfig": server.usual_kubeconfig(), "apiTimeout": "3s"}), json!({}));
    let doctor = format!("{BRAID} {}", arguments(&node, "containerd", &[]).join(" "));
    let output =
        Command::new("script").args(["-qec", &doctor, "/dev/null"]).env("NO_COLOR", "1").output();
    let screen =
        String::from_utf8(output.expect("script is missing: install bsdutils").stdout).unwrap();
    assert!(screen.starts_with("braid doctor: still at work after 2 s\r\n"), "{screen}");
    assert!(screen.contains("fail  api ") && !screen.contains('\u{1b}'), "{screen}");
    // Where nobody waits at a terminal, nobody is told.
    let output = Command::new(BRAID)
        .args(arguments(&node, "containerd", &["--json"]))
        .env_clear()
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let api = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "api")
        .unwrap();
    assert_eq!(api["level"], "fail", "{api}");
}

/// Colours are for a terminal, and not for one whose owner wants none.
#[test]
fn a_terminal_has_colours() {
    let node = node(json!({}), json!({}));
    let doctor = format!("{BRAID} {}", arguments(&node, "containerd", &[]).join(" "));
    let screen = |colourless: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", &doctor, "/dev/null"]).env("NO_COLOR", colourless);
        String::from_utf8(command.output().expect("script is missing: install bsdutils").stdout)
            .unwrap()
    };
    assert!(screen("").contains("\u{1b}[32mok"), "{}", screen(""));
    assert!(!screen("1").contains('\u{1b}'));
}

/// A `doctor` on a root of its own.
fn doctor_below(node: &Node, more: &[&str]) -> Said {
    let root = node.path_text("root");
    Tool::new(node, &[&["doctor", "--root", &root], more].concat()).run()
}

/// A root with a primary network, on which Braid is not installed.
fn root() -> Node {
    let node = Node::new();
    node.write("root/etc/containerd/config.toml", "version = 2\n");
    let plugins = json!([{"type": "ptp", "ipam": {"type": "host-local"}}]);
    let primary = json!({"cniVersion": "1.0.0", "name": "primary", "plugins": plugins});
    node.write("root/etc/cni/net.d/10-primary.conflist", &primary.to_string());
    node
}

/// An administrator asks before there is anything to repair.
#[test]
fn a_node_is_examined_before_braid_is_installed() {
    let node = root();
    let before = node.dump();
    let said = doctor_below(&node, &[]).assert_status(1);
    let directory = "NODE/root/etc/cni/net.d";
    let runtime = "containerd (/etc/containerd/config.toml), configurations in /etc/cni/net.d";
    assert_finds(&said, "ok", "runtime", runtime, "");
    let nowhere = format!("no configuration in {directory} has braid in it");
    assert_finds(&said, "fail", "installation", &nowhere, "run braid install");
    let planned = format!("braid install would write {directory}/00-braid.conflist (delegating)");
    assert_finds(&said, "ok", "configuration", &planned, "");
    assert_finds(&said, "ok", "order", "the runtime reads braid's file first", "");
    assert_finds(&said, "ok", "primary", "network \"primary\"", "");
    let missing = |kind: &str| {
        let place = "NODE/root/opt/cni/bin";
        format!("plugin \"{kind}\" is not installed: no executable of that name in {place}")
    };
    let both = format!("{}; {}", missing("ptp"), missing("host-local"));
    assert_finds(&said, "fail", "plugins", &both, "install them, or set binDir to where they are");
    assert_eq!(node.dump(), before);
    for plugin in ["ptp", "host-local"] {
        node.write(&format!("root/opt/cni/bin/{plugin}"), "of another architecture");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(node.path(&format!("root/opt/cni/bin/{plugin}")), mode).unwrap();
    }
    let said = doctor_below(&node, &[]);
    assert_finds(&said, "ok", "plugins", "every plugin of the primary is installed", "");

    fs::remove_file(node.path("root/etc/cni/net.d/10-primary.conflist")).unwrap();
    let said = doctor_below(&node, &[]).assert_status(1);
    let none = format!(
        "no primary network in {directory} yet: no configuration there without braid or multus in it"
    );
    assert_finds(&said, "fail", "primary", &none, "see why the primary has written no file");
    node.write("root/etc/cni/net.d/00-a.conf", r#"{"name": "a", "type": "ptp"}"#);
    let said = doctor_below(&node, &[]).assert_status(1);
    let refused = format!(
        "{directory}/00-a.conf sorts before 00-braid.conflist, so that the runtime would not read braid's: rename it, or use --mode chained"
    );
    assert_finds(&said, "fail", "installation", &refused, "braid install refuses until then");
}

#[test]
fn a_mounted_root_is_examined_as_it_is_installed() {
    let node = root();
    let path = node.path_text("root");
    Tool::new(&node, &["install", "--root", &path]).run().assert_status(0);
    let said = doctor_below(&node, &[]);
    assert_finds(&said, "ok", "binary", "NODE/root/opt/cni/bin/braid", "");
    let file = "NODE/root/etc/cni/net.d/00-braid.conflist";
    assert_finds(&said, "ok", "configuration", &format!("{file} (delegating)"), "");
    assert_finds(&said, "ok", "state", "NODE/root/var/lib/cni/braid: 0 records", "");
    assert!(!said.stdout.contains("would"), "{}", said.stdout);
}

/// The key that is misspelt is named with what it takes down.
#[test]
fn a_braid_without_a_primary() {
    let node = node(json!({}), json!({}));
    let entry = json!({"type": "braid", "clusterNetwrk": "auto", "capabilities": {"io.kubernetes.cri.pod-annotations": true}});
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("net.d/00-braid.conflist", &conflist.to_string());
    let said = doctor_of(&node, "containerd").assert_status(1);
    let message = "braid is the first plugin and has no primary network, so that no pod starts: set \"clusterNetwork\" or \"delegates\"; unknown key \"clusterNetwrk\" in braid's configuration: did you mean \"clusterNetwork\"?";
    assert_finds(&said, "fail", "primary", message, "correct it; until then no pod starts");
    // ADD agrees.
    let pod = node.pod("team-a", "web");
    pod.add(json!({"clusterNetwrk": "auto"})).run().assert_error(7, ["no primary network"]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let node = node(json!({}), json!({}));
    node.write("net.d/20-torn.conflist", "{");
    std::os::unix::fs::symlink("/nowhere", node.path("net.d/30-away.conf")).unwrap();
    let said = doctor_of(&node, "containerd").assert_status(0);
    let advice = "repair or remove it: whether braid stands in it is not known";
    let torn = "cannot be read: NODE/net.d/20-torn.conflist: not valid JSON: EOF while parsing an object at line 1 column 1";
    assert_finds(&said, "warn", "files", torn, advice);
    let away = "cannot be read: NODE/net.d/30-away.conf: No such file or directory (os error 2)";
    assert_finds(&said, "warn", "files", away, advice);

    node.write("net.d/00-braid.conflist", "{");
    let said = doctor_of(&node, "containerd").assert_status(1);
    let own = "braid's own file cannot be read: NODE/net.d/00-braid.conflist: not valid JSON: EOF while parsing an object at line 1 column 1";
    assert_finds(
        &said,
        "fail",
        "installation",
        own,
        "repair it, or remove it and run braid install",
    );
    let (conf_dir, away) = (node.path_text("net.d"), node.path_text("away.conflist"));
    let said = Tool::new(&node, &["list", "--conf-dir", &conf_dir]).run().assert_status(1);
    assert!(
        said.stderr.contains("; NODE/net.d/00-braid.conflist: not valid JSON: "),
        "{}",
        said.stderr
    );
    let said = Tool::new(&node, &["doctor", "--config", &away]).run().assert_status(1);
    let missing = "braid's configuration cannot be read: NODE/away.conflist: No such file or directory (os error 2)";
    assert_eq!(said.stderr, format!("braid: {missing}\n"));
}

#[test]
fn pods_that_have_drifted() {
    let node = node(json!({}), json!({}));
    node.network("blue", json!({"link": true, "addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue").run().assert_success();
    assert!(!doctor_of(&node, "containerd").stdout.contains("differ"));
    pod.ip("link del net1");
    let said = doctor_of(&node, "containerd");
    let message = "1 pods differ from what was attached, team-a/web first: interface net1 is gone";
    let advice = "braid list has them all; delete a pod to have it attached anew";
    assert_finds(&said, "warn", "records", message, advice);
}

/// What a policy would keep from pods, and what a policy does not know.
#[test]
fn a_network_on_which_pods_may_take_any_address() {
    let definition = json!({
        "cniVersion": "1.0.0", "name": "open", "type": "bridge", "isGateway": true, "ipam": {"type": "static"},
    });
    let message = "network \"open\": pods may take any address on it, those of the node and of services too: its \
                   gateway is on the node, and \"static\" gives what a pod asks for";
    let advice = "add braid.io/allowed-ips to its definition, or enforce a policy (allowedSubnets)";
    for more in [json!({}), json!({"policy": {"mode": "audit"}})] {
        let node = node(more, json!({}));
        node.define("team-a", "open", definition.clone());
        assert_finds(
            &doctor_of(&node, "containerd").assert_status(0),
            "warn",
            "addresses",
            message,
            advice,
        );
    }
    let enforced = node(json!({"policy": {}}), json!({}));
    enforced.define("team-a", "open", definition.clone());
    let said = doctor_of(&enforced, "containerd").assert_status(0);
    assert!(!said.stdout.contains("may take any address"), "{}", said.stdout);
    let message = "policy.serviceCIDRs is missing: a pod may be given an address of a service";
    let advice = "write what the API server has for --service-cluster-ip-range";
    assert_finds(&said, "warn", "policy", message, advice);
    let complete = node(json!({"policy": {"serviceCIDRs": "10.96.0.0/12"}}), json!({}));
    assert!(!doctor_of(&complete, "containerd").stdout.contains("serviceCIDRs"));
}
