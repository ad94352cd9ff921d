//! `doctor`, one fault at a time: each is found, said with what to do, and changes nothing.

pub(crate) mod addresses;
mod api;
mod before_installation;
mod networks;
mod report;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::node::{BRAID, Node};
use crate::operator::{Said, Tool};

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

/// The line, and what to do below it; the line alone if nothing is to be done.
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
fn a_primary_that_is_not_ready_says_why() {
    let node = node(json!({}), json!({"cniVersion": "1.1.0"}));
    node.script("primary", json!({"STATUS": {"error": {"code": 50, "msg": "the daemon is away"}}}));
    let said = doctor_of(&node, "containerd").assert_status(1);
    let advice = "see to it: the node is NotReady until then";
    assert_finds(&said, "fail", "status", "plugin \"primary\": the daemon is away", advice);
    assert_eq!(node.calls_in_order(), ["VERSION primary", "STATUS primary"]);
}

#[test]
fn a_primary_that_takes_braids_place_away() {
    let file = "net.d/00-braid.conflist";
    let renamed = node(json!({}), json!({}));
    fs::rename(renamed.path(file), renamed.path(&format!("{file}.cilium_bak"))).unwrap();
    let said = doctor_of(&renamed, "containerd").assert_status(1);
    let message = "cilium has renamed braid's file to NODE/net.d/00-braid.conflist.cilium_bak";
    let advice = "set cni.exclusive to false in cilium's chart, or run braid install --mode \
                  chained-file if the runtime reads such files";
    assert_finds(&said, "fail", "installation", message, advice);

    let rewritten = node(json!({}), json!({}));
    fs::remove_file(rewritten.path(file)).unwrap();
    fs::copy(
        rewritten.path("net.d/10-primary.conflist"),
        rewritten.path("net.d/10-primary.conflist.before-braid"),
    )
    .unwrap();
    let said = doctor_of(&rewritten, "containerd").assert_status(1);
    let message = "the primary's daemon has rewritten NODE/net.d/10-primary.conflist and dropped \
                   braid's entry";
    let advice = "run braid install --mode chained-file if the runtime reads such files, or --mode \
                  delegating";
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
    let advice = "use containerd 2.1 or CRI-O 1.33, or newer, or run braid uninstall, then braid \
                  install with another --mode";
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
fn a_policy_that_cannot_be_understood() {
    let node = node(json!({"policy": {"mode": "enforced"}}), json!({}));
    let said = doctor_of(&node, "containerd").assert_status(1);
    assert!(said.stdout.contains("fail  configuration "), "{}", said.stdout);
    assert!(
        said.stdout.contains("until then pods get no network that they ask for"),
        "{}",
        said.stdout
    );
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

#[test]
fn files_that_cannot_be_read_are_named() {
    let node = node(json!({}), json!({}));
    node.write("net.d/20-torn.conflist", "{");
    std::os::unix::fs::symlink("/nowhere", node.path("net.d/30-away.conf")).unwrap();
    let said = doctor_of(&node, "containerd").assert_status(0);
    let advice = "repair or remove it: whether braid stands in it is not known";
    let torn = "cannot be read: NODE/net.d/20-torn.conflist: not valid JSON: EOF while parsing an \
                object at line 1 column 1";
    assert_finds(&said, "warn", "files", torn, advice);
    let away = "cannot be read: NODE/net.d/30-away.conf: No such file or directory (os error 2)";
    assert_finds(&said, "warn", "files", away, advice);

    node.write("net.d/00-braid.conflist", "{");
    let said = doctor_of(&node, "containerd").assert_status(1);
    let own = "braid's own file cannot be read: NODE/net.d/00-braid.conflist: not valid JSON: EOF \
               while parsing an object at line 1 column 1";
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
    let missing = "braid's configuration cannot be read: NODE/away.conflist: No such file or \
                   directory (os error 2)";
    assert_eq!(said.stderr, format!("braid: {missing}\n"));
}
