//! The examples below `--help` of every command: each is run as it is written, on a node where a
//! person would run it.

use serde_json::{Value, json};

use super::cluster::{fill_in, server_in};
use super::machine::Machine;
use super::page::block;
use super::{blocks, conf, primary, start};
use crate::apiserver::{ApiServer, User};
use crate::call::NETWORKS;
use crate::node::{BRAID, Node, succeed};

/// The commands, and the program itself.
fn commands() -> Vec<String> {
    let help = succeed(BRAID, &["--help"]);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names =
        lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    std::iter::once(String::new()).chain(names.map(str::to_owned)).collect()
}

/// The examples of a command. A line that goes on is one line again.
fn examples(command: &str) -> Vec<String> {
    let mut arguments: Vec<&str> = command.split_whitespace().collect();
    arguments.push("--help");
    let help = succeed(BRAID, &arguments);
    let lines = help
        .lines()
        .skip_while(|line| !line.starts_with("Example"))
        .filter(|line| line.starts_with("  "));
    let mut examples: Vec<String> = Vec::new();
    for line in lines.map(str::trim) {
        match examples.last_mut() {
            Some(last) if last.ends_with('\\') => {
                *last = format!("{}{line}", last.trim_end_matches('\\'))
            }
            _ => examples.push(line.to_owned()),
        }
    }
    examples
}

/// A node with containerd, a primary network and the page's definitions, and a cluster behind it.
struct Place {
    machine: Machine,
    _server: ApiServer,
}

impl Place {
    /// Braid is installed, or only where it was built.
    fn new(is_installed: bool) -> Self {
        let machine = Machine::new();
        machine.node.write("etc/containerd/config.toml", "version = 2\n");
        machine.node.write("repo/pod.yaml", &block("pod", "short").text);
        let lan = blocks("definition")
            .into_iter()
            .find(|block| block.text.contains("name: lan\n"))
            .unwrap();
        machine.node.write("net.d/braid.d/lan.yaml", &lan.text);
        primary(&machine);
        let server = server_in(&machine.node, || {
            ApiServer::with(crate::apiserver::Setup {
                manifests: vec!["rbac.yaml", "rbac-pods.yaml"],
                ..Default::default()
            })
        });
        machine.node.write(
            "net.d/braid.d/braid.kubeconfig",
            &conf::read("conf/kubernetes/braid.kubeconfig"),
        );
        fill_in(&machine, &server);
        machine.node.write("net.d/braid.d/braid.token", &server.token(&User::braid(), 3600));
        server.add_pod("team-a", "web", "uid-web", json!({NETWORKS: "lan, lan@data0"}));
        kubectl(&machine, &lan.text);
        if is_installed {
            machine.sh(&format!(
                "{BRAID} install --kubeconfig /etc/cni/net.d/braid.d/braid.kubeconfig"
            ));
        }
        Self { machine, _server: server }
    }

    /// Runs it; what a person has to fill in, or has elsewhere, is filled in.
    fn run(&self, example: &str, container: &str) -> (i32, String) {
        let node = &self.machine.node;
        let line = example.replace("3f1c9a", container).replace("/usr/", &node.path_text("usr/"));
        let line = line.replace("--root /host", &format!("--root {}", node.path_text("host")));
        let said = self.machine.sh(&format!(
            "PATH=/opt/cni/bin:$PATH:$(dirname {BRAID}); status=0; {{ {line}; }} 2>&1 || \
             status=$?; wait; echo; echo $status"
        ));
        let (text, status) = said.trim_end().rsplit_once('\n').unwrap();
        (status.parse().unwrap(), text.to_owned())
    }
}

/// What the examples ask of `kubectl`.
fn kubectl(machine: &Machine, definitions: &str) {
    machine.node.write("definitions.yaml", definitions);
    let (pod, definitions) =
        (machine.node.path_text("repo/pod.yaml"), machine.node.path_text("definitions.yaml"));
    machine.shim(
        "kubectl",
        &format!(
            "case \"$*\" in\n\
             \"get pod web -o yaml\") cat {pod};;\n\
             \"get net-attach-def -A -o yaml\") cat {definitions};;\n\
             \"drain node1 --ignore-daemonsets\") ;;\n\
             *) echo \"kubectl $*: not known here\" >&2; exit 1;;\n\
             esac"
        ),
    );
}

/// Multus in the primary's place.
fn multus(node: &Node) {
    let conf = json!({
        "cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus",
        "clusterNetwork": "/etc/cni/net.d/10-primary.conflist",
    });
    node.write("net.d/00-multus.conf", &conf.to_string());
    // In the place of the machine's own, which may be there.
    let _ = std::fs::remove_file(node.path("bin/multus"));
    std::os::unix::fs::symlink(crate::node::recorder(), node.path("bin/multus")).unwrap();
}

/// A root directory that is mounted below another one.
fn host(node: &Node) {
    node.write("host/etc/containerd/config.toml", "version = 2\n");
    let primary = std::fs::read_to_string(node.path("net.d/10-primary.conflist")).unwrap();
    node.write("host/etc/cni/net.d/10-primary.conflist", &primary);
}

#[track_caller]
fn must_succeed(example: &str, (status, said): (i32, String)) {
    // A node that is fit is not the point: the machine's kernel may lack a module.
    let may_find = example.starts_with("braid doctor");
    assert!(status == 0 || may_find && status == 1, "{example}: {status}: {said}");
    if example.contains("json") && !example.contains('|') {
        assert!(serde_json::from_str::<Value>(said.trim()).is_ok(), "{example}: {said}");
    }
}

/// Each on a node of its own, as it is before the command makes sense.
fn changes_the_node(command: &str) {
    for example in examples(command) {
        let place = Place::new(command == "uninstall");
        let node = &place.machine.node;
        match command {
            "migrate" => multus(node),
            "install" => host(node),
            _ => node.write("usr/share/bash-completion/completions/.keep", ""),
        }
        if example.ends_with("--back") {
            must_succeed(&example, place.run("braid migrate multus", ""));
        }
        must_succeed(&example, place.run(&example, ""));
        let is_dry = example.contains("--dry-run");
        let wrote = match command {
            "install" | "migrate" if is_dry => "ls /etc/cni/net.d | grep -c 00-braid | grep -qx 0",
            "install" if example.contains("/host") => "test -x ../host/opt/cni/bin/braid",
            "install" if example.contains("chained") => {
                "grep -q braid /etc/cni/net.d/10-primary.conflist"
            }
            "migrate" if example.ends_with("--back") => "test -e /etc/cni/net.d/00-multus.conf",
            "install" | "migrate" => "ls /etc/cni/net.d | grep -q '^00-braid\\.'",
            "uninstall" if is_dry => "test -e /etc/cni/net.d/00-braid.conflist",
            "uninstall" => "test ! -e /opt/cni/bin/braid",
            "completions" => "grep -q _braid ../usr/share/bash-completion/completions/braid",
            _ => "test -s ../usr/local/share/man/man1/braid-install.1",
        };
        place.machine.sh(wrote);
    }
}

#[test]
fn installing_and_leaving() {
    changes_the_node("install");
    changes_the_node("uninstall");
}

#[test]
fn moving_and_writing() {
    changes_the_node("migrate");
    changes_the_node("completions");
    changes_the_node("man");
}

/// All on one node, with a pod.
#[test]
fn looking_and_repairing() {
    let place = Place::new(true);
    let web = start(&place.machine, "short");
    let commands = ["", "validate", "doctor", "explain", "list", "show", "gc", "repair", "version"];
    for command in commands {
        let examples = examples(command);
        assert!(!examples.is_empty(), "{command} has no example");
        for example in examples {
            must_succeed(&example, place.run(&example, &web.pod.container));
        }
    }
    web.del();
}

/// Commands that are run in other tests: `keep` and `admission` never end (`daemonset`,
/// `admission`), `attach` and `detach` want pods that run (`running_pods`), `addresses` wants pools
/// (`operator::addresses`), and `schema` needs no node (`operator::schema`).
const RUN_ELSEWHERE: [&str; 6] = ["keep", "admission", "attach", "detach", "addresses", "schema"];

/// Every command with examples is in one of the tests.
#[test]
fn every_command_is_run() {
    let run = [
        "",
        "install",
        "uninstall",
        "migrate",
        "validate",
        "doctor",
        "explain",
        "list",
        "show",
        "gc",
        "repair",
        "completions",
        "man",
        "version",
    ];
    for command in commands() {
        let has_examples = !examples(&command).is_empty();
        let is_run = run.contains(&command.as_str());
        let is_elsewhere = RUN_ELSEWHERE.contains(&command.as_str());
        assert_eq!(has_examples, is_run || is_elsewhere, "braid {command}");
    }
    for command in RUN_ELSEWHERE {
        for example in examples(command) {
            let arguments: Vec<&str> =
                example.split_whitespace().skip(1).chain(["--help"]).collect();
            let usage = format!("Usage: braid {command}");
            assert!(succeed(BRAID, &arguments).contains(&usage), "{example} is no command line");
        }
    }
}
