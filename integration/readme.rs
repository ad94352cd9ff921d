//! README.md, the pages of `docs/` and `conf/` do what they say: every block of a page is executed
//! or parsed, every row of their tables is held against the program, and every file of `conf/` is
//! used.
//!
//! A block's comment, `<!-- test: <kind> <about> -->`, names the test that it belongs to; a block
//! without one, or of a kind that [`every_block_has_a_test`] does not know, fails.

mod cluster;
mod conf;
mod examples;
mod machine;
mod messages;
pub(crate) mod page;
mod reference;
mod reliability;

use crate::source::files_of;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::call::NETWORKS;
use crate::kustomize;
use crate::node::{Node, text};
use crate::pod::Pod;
use crate::readme::machine::{Machine, Sandbox};
use crate::readme::page::{BLOCKS, GENERATED, PAGES, Page, block, blocks};

/// Each kind of block, and the language that it is written in.
const KINDS: [(&str, &str); 16] = [
    ("cluster", "sh"),
    ("daemonset", "sh"),
    ("flow", "text"),
    ("scripts", "sh"),
    ("node", "sh"),
    ("output", "json"),
    ("file", "json"),
    ("entry", "json"),
    ("config", "json"),
    ("pod", "yaml"),
    ("definition", "yaml"),
    ("result", "json"),
    ("state", "text"),
    ("environment", "text"),
    ("event", "json"),
    ("screen", "text"),
];

/// The blocks that run on a machine, each in the test that is named.
const NODE_BLOCKS: [&str; 11] = [
    "install",
    "delegating",
    "chained",
    "extras",
    "leaving",
    "left",
    "version",
    "definitions",
    "thick",
    "migrate",
    "before-multus",
];

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn every_block_has_a_test() {
    for block in BLOCKS.iter() {
        let known = KINDS.iter().find(|(kind, _)| *kind == block.kind);
        let (_, language) =
            known.unwrap_or_else(|| panic!("{}: no test of kind {}", block.place, block.kind));
        assert_eq!(block.language, *language, "{}", block.place);
        let runs = block.kind != "node" || NODE_BLOCKS.contains(&block.about);
        assert!(runs, "{}: no test runs the block {}", block.place, block.about);
    }
    let comments: usize = PAGES.iter().map(|page| page.text.matches("<!-- test: ").count()).sum();
    assert_eq!(comments, BLOCKS.len(), "comments and blocks of the pages");
}

#[test]
fn the_pages_are_plain() {
    for page in PAGES.iter() {
        for (at, line) in page.text.lines().enumerate() {
            assert!(
                !line.contains(['\u{2014}', '\u{2013}']),
                "{} line {}: a dash",
                page.file,
                at + 1
            );
            assert!(!line.ends_with(' '), "{} line {}: ends with a space", page.file, at + 1);
        }
    }
}

/// The README is read from its first line to its last; what is looked up is in `docs/`.
#[test]
fn the_readme_is_short_and_leads_to_every_page() {
    let readme = &PAGES[0];
    assert!(readme.text.lines().count() <= 450, "{} lines", readme.text.lines().count());
    let linked: BTreeSet<&str> = readme.links().map(|(_, target)| target).collect();
    for page in PAGES.iter().skip(1).map(|page| page.file.as_str()).chain([GENERATED]) {
        assert!(linked.contains(page), "README.md has no link to {page}");
    }
}

/// Links of every page, of those beside the README too, to headings and files.
#[test]
fn every_link_leads_somewhere() {
    let beside = ["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", GENERATED].map(Page::read);
    let mut links = 0;
    for page in PAGES.iter().chain(&beside) {
        for (line, target) in page.links().filter(|(_, target)| !target.starts_with("https://")) {
            let to = led_to(page, target)
                .unwrap_or_else(|why| panic!("{} line {line}: {why}", page.file));
            assert!(
                to.starts_with(REPOSITORY),
                "{} line {line}: {target} leads outside",
                page.file
            );
            links += 1;
        }
    }
    assert!(links > 60, "{links}");
}

/// The file that a link leads to, if it is there and has the heading.
fn led_to(page: &Page, target: &str) -> Result<PathBuf, String> {
    let (file, wanted) =
        target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let from = Path::new(REPOSITORY).join(&page.file);
    let path = if file.is_empty() { from } else { from.parent().unwrap_or(&from).join(file) };
    let path = fs::canonicalize(path).map_err(|error| format!("{target}: {error}"))?;
    let Some(wanted) = wanted else { return Ok(path) };
    let relative = path.strip_prefix(REPOSITORY).map_err(|_| format!("{target} leads outside"))?;
    let other = Page::read(relative.to_string_lossy());
    let found = other.headings().any(|heading| anchor(heading) == wanted);
    if found { Ok(path) } else { Err(format!("{target}: {} has no such heading", other.file)) }
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The modules and files that prose and pictures name are there.
#[test]
fn the_flow_is_that_of_the_program() {
    let flow = block("flow", "");
    let line = flow.text.lines().find(|line| line.contains(" > ")).expect("the flow");
    let steps: Vec<&str> = line.trim_matches(['|', ' ']).split(" > ").map(str::trim).collect();
    assert_eq!(steps.len(), 8, "{steps:?}");
    for module in steps.into_iter().chain(["ledger"]) {
        let found = [files_of(module), files_of(&format!("cni::{module}"))].concat();
        assert!(found.iter().any(|file| file.exists()), "no module {module}");
    }
    for plugin in ["bridge", "macvlan", "ptp", "vlan", "host-local", "static", "portmap"] {
        assert!(
            flow.text.contains(plugin) && Path::new(crate::node::PLUGIN_DIR).join(plugin).exists(),
            "{plugin}"
        );
    }
    for verb in ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"] {
        assert!(flow.text.contains(verb), "{verb}");
    }
}

/// The scripts themselves are run by `.ci/run` and by whoever measures; here they are programs that
/// their interpreter can read.
#[test]
fn the_scripts_are_there() {
    for block in blocks("scripts") {
        for line in block.text.lines() {
            let script = Path::new(REPOSITORY).join(line.split_whitespace().next().unwrap());
            let metadata = fs::metadata(&script)
                .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
            assert_eq!(
                metadata.permissions().mode() & 0o111,
                0o111,
                "{} cannot be started",
                script.display()
            );
            let read = reader(&fs::read_to_string(&script).unwrap()).arg(&script).status().unwrap();
            assert!(read.success(), "{} has a syntax error", script.display());
        }
    }
}

/// `--help` shows what stands at a script's head, and what it does not know is refused: neither
/// starts what the script is for.
#[test]
fn every_script_teaches_and_refuses() {
    let scripts = fs::read_dir(Path::new(REPOSITORY).join("scripts")).unwrap().flatten();
    let mut seen = 0;
    for script in scripts.map(|entry| entry.path()) {
        let run = |argument: &str| Command::new(&script).arg(argument).output().unwrap();
        let text = fs::read_to_string(&script).unwrap();
        let head = text.lines().nth(1).unwrap().trim_start_matches(['#', '"', ' ']);
        let (help, refusal) = (run("--help"), run("--no-such-option"));
        assert!(help.status.success() && help.stderr.is_empty(), "{}: {help:?}", script.display());
        assert!(
            String::from_utf8_lossy(&help.stdout).starts_with(head),
            "{}: {help:?}",
            script.display()
        );
        let said = String::from_utf8_lossy(&refusal.stderr).into_owned();
        let names_it = said
            .lines()
            .next()
            .is_some_and(|line| line.ends_with(" does not know: --no-such-option"));
        assert!(names_it && said.contains(head), "{}: {said}", script.display());
        assert_eq!(
            (refusal.status.code(), refusal.stdout.len()),
            (Some(2), 0),
            "{}",
            script.display()
        );
        seen += 1;
    }
    assert!(seen > 8, "{seen}");
}

/// The interpreter of a script, told to read and not to run.
fn reader(script: &str) -> Command {
    match script.lines().next().unwrap_or_default() {
        "#!/usr/bin/env bash" => {
            let mut bash = Command::new("bash");
            bash.arg("-n");
            bash
        }
        "#!/usr/bin/env python3" => {
            let mut python = Command::new("python3");
            python.args(["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"]);
            python
        }
        other => panic!("no reader for {other}"),
    }
}

#[test]
fn a_block_that_shows_a_file_is_the_file() {
    for block in blocks("file") {
        assert_eq!(block.text, conf::read(block.about), "{} and {}", block.place, block.about);
    }
    for block in blocks("entry") {
        let file: Value = serde_json::from_str(&conf::read(block.about)).unwrap();
        let entry = file["plugins"].as_array().unwrap().last();
        assert_eq!(Some(&block.json()), entry, "{} and {}", block.place, block.about);
    }
}

/// A primary network with a file of its own, as one that Braid delegates to has.
fn primary(machine: &Machine) {
    let plugin = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]},
    });
    let conflist = json!({"cniVersion": "1.0.0", "name": "primary", "plugins": [plugin]});
    machine.node.write("net.d/10-primary.conflist", &conflist.to_string());
}

/// The pages' definitions, beside those of `conf/` that the installation has copied.
fn define(machine: &Machine) {
    for (at, block) in blocks("definition").iter().enumerate() {
        machine.node.write(&format!("braid.d/page-{at}.yaml"), &block.text);
    }
}

fn installed() -> Machine {
    let machine = Machine::new();
    machine.sh(&block("node", "install").text);
    define(&machine);
    machine
}

fn manifest(about: &str) -> Value {
    let documents = block("pod", about).yaml();
    assert_eq!(documents.len(), 1);
    documents[0].clone()
}

#[track_caller]
fn start<'m>(machine: &'m Machine, about: &str) -> Sandbox<'m> {
    machine
        .start_manifest(&manifest(about))
        .unwrap_or_else(|outcome| panic!("{about}: {}", outcome.stdout))
}

/// CHECK, both DELs, and nothing left but bridges.
#[track_caller]
fn end(machine: &Machine, sandbox: &Sandbox<'_>, before: &BTreeSet<String>) {
    sandbox.check();
    end_unchecked(machine, sandbox, before);
}

#[track_caller]
fn end_unchecked(machine: &Machine, sandbox: &Sandbox<'_>, before: &BTreeSet<String>) {
    sandbox.del();
    // portmap keeps the chains that all its containers share.
    let shared = |line: &String| line.contains("CNI-HOSTPORT-") && !line.contains("CNI-DN-");
    let mut left = machine.node.leftovers(before);
    left.retain(|line| !shared(line));
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(sandbox.pod.links(), Vec::<String>::new());
}

#[test]
fn installed_by_hand_it_delegates() {
    let machine = installed();
    primary(&machine);
    machine.sh(&block("node", "delegating").text);
    assert_eq!(
        machine.sh("ls /etc/cni/net.d"),
        "00-braid.conflist\n10-primary.conflist\nbraid.d\n"
    );
    let before = machine.node.dump();

    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    assert_eq!(web.pod.addresses("eth0"), ["10.1.0.2/24"]);
    assert_eq!(web.pod.addresses("net1"), ["10.30.0.2/24", "fd00:30::2/64"]);
    assert_eq!(web.pod.addresses("data0"), ["10.30.0.3/24", "fd00:30::3/64"]);
    assert_eq!(machine.sh("ls /var/lib/cni/braid/records").lines().count(), 1);
    end(&machine, &web, &before);

    let router = start(&machine, "json");
    assert_eq!(router.pod.links(), ["data0", "eth0", "net2"]);
    assert_eq!(router.pod.addresses("data0"), ["10.30.0.42/24", "fd00:30::42/64"]);
    assert_eq!(router.pod.link("data0")["address"], "02:23:45:67:89:01");
    assert_eq!(router.pod.default_routes(4), ["via 10.30.0.1 dev data0"]);
    let rules = machine.node.host().command("iptables-save").output().unwrap();
    assert!(
        String::from_utf8_lossy(&rules.stdout).contains("--to-destination 10.30.0.42:80"),
        "{rules:?}"
    );
    let shaped = machine.node.host().command("tc").args(["qdisc", "show"]).output().unwrap();
    assert!(String::from_utf8_lossy(&shaped.stdout).contains("rate 10Mbit"), "{shaped:?}");
    // portmap's CHECK looks for rules of one family in the other's table.
    router.check_braid(&json!({"checkNetworks": "kernel"}));
    end_unchecked(&machine, &router, &before);

    let measured = start(&machine, "default-network");
    assert_eq!(measured.pod.links(), ["eth0"]);
    assert_eq!(measured.pod.addresses("eth0"), ["10.40.0.2/24"]);
    end(&machine, &measured, &before);
}

#[test]
fn braid_leaves_as_the_page_says() {
    let machine = installed();
    primary(&machine);
    machine.sh(&block("node", "delegating").text);
    let extras = || machine.sh(&block("node", "extras").text);
    assert_eq!(extras(), "no pod has an extra network\n");
    let plain = machine
        .start("team-a", "plain", &json!({}))
        .unwrap_or_else(|outcome| panic!("{}", outcome.stdout));
    let web = start(&machine, "short");
    assert_eq!(extras(), format!("/var/lib/cni/braid/records/{}@eth0\n", web.pod.container));
    web.del();
    assert_eq!(extras(), "no pod has an extra network\n");

    machine.sh(&block("node", "leaving").text);
    let without = machine.start("team-a", "without", &json!({}));
    let without = without.unwrap_or_else(|outcome| panic!("{}", outcome.stdout));
    assert_eq!(
        (without.pod.links(), plain.pod.links()),
        (vec!["eth0".to_owned()], vec!["eth0".to_owned()])
    );
    without.del();
    // What CRI-O does; containerd would call the primary.
    plain.del();
    machine.sh(&block("node", "left").text);
    assert_eq!(machine.sh("ls /etc/cni/net.d /opt/cni/bin /var/lib/cni | grep braid || true"), "");
}

#[test]
fn the_result_is_as_shown() {
    let machine = installed();
    primary(&machine);
    machine.sh(&block("node", "delegating").text);
    let one = machine.start("team-a", "web", &json!({NETWORKS: "lan"}));
    let one = one.unwrap_or_else(|outcome| panic!("{}", outcome.stdout));
    assert_eq!(block("result", "").json(), anonymous(&one.result));
    one.del();
}

/// A result with names, addresses and paths of its own making numbered, as the page shows them.
fn anonymous(result: &Value) -> Value {
    let mut result = result.clone();
    let mut cables = 0;
    for (at, interface) in result["interfaces"].as_array_mut().unwrap().iter_mut().enumerate() {
        if text(&interface["name"]).starts_with("veth") {
            interface["name"] = json!(format!("veth{cables:04}"));
            cables += 1;
        }
        assert_eq!(text(&interface["mac"]).len(), 17, "{interface}");
        interface["mac"] = json!(format!("02:00:00:00:00:{:02x}", at + 1));
        if !interface["sandbox"].is_null() {
            assert!(text(&interface["sandbox"]).starts_with("/run/netns/"), "{interface}");
            interface["sandbox"] = json!("/run/netns/web");
        }
    }
    result
}

#[test]
fn installed_by_hand_it_stands_in_the_primarys_chain() {
    let machine = installed();
    machine.sh(&block("node", "chained").text);
    assert_eq!(machine.sh("ls /etc/cni/net.d"), "10-primary.conflist\nbraid.d\n");
    let before = machine.node.dump();

    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    assert_eq!(web.pod.addresses("eth0"), ["10.244.0.2/24", "fd00:244::2/64"]);
    web.check_braid(&json!({}));
    end_unchecked(&machine, &web, &before);

    let router = start(&machine, "json");
    assert_eq!(router.pod.default_routes(4), ["via 10.30.0.1 dev data0"]);
    assert_eq!(router.pod.default_routes(6), ["via fd00:244::1 dev eth0"]);
    router.check_braid(&json!({"checkNetworks": "kernel"}));
    end_unchecked(&machine, &router, &before);

    let refused = machine.start_manifest(&manifest("default-network")).err().expect("a refusal");
    refused.assert_error(7, ["braid stands behind the primary network here and cannot replace it"]);
}

/// CRI-O runs the whole chain's CHECK, and the reference plugins take every address for their own.
#[test]
fn on_crio_a_chained_entry_has_a_scope() {
    let machine = installed();
    let mut conflist: Value =
        serde_json::from_str(&conf::read("conf/10-chained.conflist")).unwrap();
    conflist["plugins"][2]["resultScope"] = json!("primary");
    machine.node.write("net.d/10-primary.conflist", &conflist.to_string());
    let before = machine.node.dump();
    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    assert_eq!(web.result["ips"].as_array().unwrap().len(), 2);
    end(&machine, &web, &before);
}

/// Newer runtimes append the files of `<network name>/` to the chain; Braid's entry can be one of
/// them.
#[test]
fn the_chained_entry_may_be_a_file_of_its_own() {
    let machine = installed();
    primary(&machine);
    machine
        .node
        .write("net.d/primary/braid.conf", &block("entry", "conf/10-chained.conflist").text);
    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    web.del();
}

#[test]
fn on_crio_the_result_is_the_primarys() {
    let machine = installed();
    primary(&machine);
    machine.node.write("net.d/00-braid.conflist", &conf::read("conf/crio-delegating.conflist"));
    let before = machine.node.dump();
    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    let addresses = web.result["ips"].as_array().unwrap();
    assert_eq!(
        addresses.iter().map(|ip| text(&ip["address"])).collect::<Vec<_>>(),
        ["10.1.0.2/24"]
    );
    end(&machine, &web, &before);

    // Networks whose plugins fail their CHECK.
    for networks in [
        "default/limited-lan",
        r#"[{"name": "lan", "portMappings": [{"hostPort": 80, "containerPort": 80}]}]"#,
    ] {
        let pod = machine.start("team-a", "web", &json!({NETWORKS: networks}));
        let pod = pod.unwrap_or_else(|outcome| panic!("{networks}: {}", outcome.stdout));
        pod.check_braid(&json!({"checkNetworks": "kernel"}));
        end_unchecked(&machine, &pod, &before);
    }
}

/// What Multus passes over is found while it still runs.
#[test]
fn what_a_move_would_refuse_is_found_before_it() {
    let machine = Machine::new();
    let list = |name: &str, items: Vec<Value>| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        machine.node.write(name, &list.to_string());
        format!("cat {}", machine.node.path_text(name))
    };
    let template = |kind: &str, networks: &str| {
        let annotations = json!({"k8s.v1.cni.cncf.io/networks": networks});
        let metadata = json!({"name": "web", "namespace": "team-a", "annotations": annotations});
        let pod = json!({"metadata": metadata, "spec": {"containers": []}});
        match kind {
            "Pod" => json!({"kind": kind, "metadata": metadata, "spec": pod["spec"]}),
            _ => {
                json!({"kind": kind, "metadata": {"name": "web", "namespace": "team-a"}, "spec": {"template": pod}})
            }
        }
    };
    let gateway = r#"[{"name": "lan", "gateway": ["10.0.0.1"]}]"#;
    let definitions: Vec<Value> =
        blocks("definition").iter().flat_map(|block| block.yaml()).collect();
    let shown = [
        ("network-attachment-definitions", list("definitions.json", definitions)),
        ("pods", list("pods.json", vec![template("Pod", "lan"), template("Pod", gateway)])),
        (
            "deployments,statefulsets,daemonsets,cronjobs",
            list("workloads.json", vec![template("Deployment", gateway)]),
        ),
    ];
    let cases: String = shown
        .iter()
        .map(|(kinds, script)| format!("\"get {kinds} -A -o yaml\") {script};;\n"))
        .collect();
    machine.shim("kubectl", &format!("case \"$*\" in\n{cases}*) exit 1;;\nesac"));
    machine.shim("braid", &format!("exec {} \"$@\"", crate::node::BRAID));
    let said = machine
        .sh(&block("node", "before-multus").text.replace("validate -\n", "validate - || true\n"));
    let rule = "element 1 (team-a/lan): \"gateway\" is not a known key: Multus ignored it; leave it out, or move the \
                default route there with \"default-route\"\n";
    let lines: Vec<&str> = said.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].starts_with("valid: "), "{said}");
    assert!(lines[1].ends_with(&format!(": error: Pod team-a/web: {rule}")), "{said}");
    assert!(lines[2].ends_with(&format!(": error: Deployment team-a/web: {rule}")), "{said}");
}

#[test]
fn a_multus_configuration_moves() {
    let machine = Machine::new();
    let items: Vec<Value> = blocks("definition").iter().flat_map(|block| block.yaml()).collect();
    machine.node.write(
        "list.yaml",
        &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
    );
    let arguments = "get network-attachment-definitions --all-namespaces -o yaml";
    machine.stand_in("kubectl", arguments, &format!("cat {}", machine.node.path_text("list.yaml")));
    machine.sh("scripts/build; install target/dist/braid /opt/cni/bin/braid");
    machine.sh(&block("node", "definitions").text);
    assert_eq!(machine.sh("ls /etc/cni/net.d/braid.d"), "cluster.yaml\n");
    primary(&machine);
    by_command(&machine);
    machine.sh("rm /etc/cni/net.d/00-braid.conflist");
    machine
        .node
        .write("net.d/00-braid.conf", &conf::without_api(&block("config", "migrated").text));
    let before = machine.node.dump();
    let web = start(&machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    assert_eq!(web.result["cniVersion"], "0.3.1");
    web.del();
    assert_eq!(machine.node.leftovers(&before), Vec::<String>::new());
}

/// What a person sees of a node, from its installation to its end.
#[test]
fn the_screens_are_as_shown() {
    let machine = Machine::new();
    machine.node.write("etc/containerd/config.toml", "version = 2\n");
    machine.sh("rmdir /etc/cni/net.d/braid.d; scripts/build");
    primary(&machine);
    assert_screen(&machine, "install");
    let lan =
        blocks("definition").into_iter().find(|block| block.yaml()[0]["metadata"]["name"] == "lan");
    machine.node.write("net.d/braid.d/lan.yaml", &lan.unwrap().text);
    machine.node.write("repo/web.yaml", &block("pod", "short").text);
    let web = start(&machine, "short");
    assert_screen(&machine, "look");
    assert_screen(&machine, "explain");
    assert_screen(&machine, "leave");
    web.del();
    assert_screen(&machine, "left");
    assert_eq!(blocks("screen").len(), 5);
}

/// Each command of a screen, marked with `$`, says what stands below it.
#[track_caller]
fn assert_screen(machine: &Machine, about: &str) {
    let shown = &block("screen", about).text;
    let commands = shown.lines().filter_map(|line| line.strip_prefix("$ "));
    let said = commands.map(|command| {
        // What a person sees is both outputs, whatever the status.
        let output = machine.sh(&format!("PATH=/opt/cni/bin:$PATH; {{ {command}; }} 2>&1 || true"));
        format!("$ {command}\n{output}")
    });
    assert_eq!(
        anonymous_lines(&said.collect::<String>()),
        anonymous_lines(shown),
        "the screen {about}"
    );
}

/// The lines without what differs from node to node: containers, ages, the kernel, widths that
/// depend on them.
fn anonymous_lines(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().map(anonymous_word).collect::<Vec<_>>().join(" "));
    let mut is_kernels = false;
    let kept = lines.filter(|line| {
        let is_advice = is_kernels && line.starts_with("harmless");
        is_kernels = line.split(' ').nth(1) == Some("kernel");
        !is_kernels && !is_advice
    });
    kept.collect()
}

fn anonymous_word(word: &str) -> &str {
    let is_age =
        word.len() < 5 && word.strip_suffix(['s', 'm']).is_some_and(|it| it.parse::<u32>().is_ok());
    let is_container = word.starts_with("container0") || word.starts_with("3f1c9a7");
    if is_age {
        "AGE"
    } else if is_container {
        "CONTAINER"
    } else {
        word
    }
}

/// As the command does it, from a file as Multus's thin image writes it.
fn by_command(machine: &Machine) {
    let of_primary =
        std::fs::read_to_string(machine.node.path("net.d/10-primary.conflist")).unwrap();
    let of_primary: Value = serde_json::from_str(&of_primary).unwrap();
    let multus = json!({
        "cniVersion": of_primary["cniVersion"], "name": "multus-cni-network", "type": "multus",
        "delegates": [of_primary],
    });
    machine.node.write("net.d/00-multus.conf", &multus.to_string());
    let server = cluster::credential(machine);
    let said = machine.sh(&block("node", "migrate").text);
    assert!(said.contains("+      \"clusterNetwork\": \"auto\""), "{said}");
    assert!(said.contains("rename /etc/cni/net.d/00-multus.conf to "), "{said}");
    let before = machine.node.dump();
    server.add_pod("team-a", "web", "uid-web", json!({}));
    let web = start(machine, "short");
    assert_eq!(web.pod.links(), ["data0", "eth0", "net1"]);
    web.del();
    assert_eq!(machine.node.leftovers(&before), Vec::<String>::new());
}

/// The ConfigMap and its key are those of Multus's own manifest, and the command is the one that
/// Braid prints.
#[test]
fn the_settings_of_the_thick_plugin_are_got_as_the_page_says() {
    let machine = Machine::new();
    let arguments = "get configmap multus-daemon-config --namespace kube-system -o jsonpath={.data.daemon-config\\\\.json}";
    machine.stand_in("kubectl", arguments, "echo '{\"logLevel\": \"debug\"}'");
    let command = &block("node", "thick").text;
    machine.sh(command);
    assert_eq!(machine.sh("cat daemon-config.json"), "{\"logLevel\": \"debug\"}\n");
    machine.sh("scripts/build");
    machine.node.write("net.d/00-multus.conf", r#"{"name": "m", "type": "multus-shim"}"#);
    let said = machine.sh("target/dist/braid migrate multus 2>&1 || true");
    assert!(said.contains(command.trim()), "{said}");
}

/// What the page has kubectl apply and delete is there, and is a list of objects. That the rights
/// are enough, and no more than enough, is tested in `api_client::rights`, whose API server enforces these
/// very files.
#[test]
fn the_daemonset_of_the_page_is_there() {
    let repository = Path::new(REPOSITORY);
    let mut seen = Vec::new();
    for line in blocks("daemonset").into_iter().flat_map(|block| block.text.lines()) {
        let command = line.split(" #").next().unwrap().trim();
        match *command.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["kubectl", "apply", "-f", file] => {
                kustomize::documents(&repository.join(file)).iter().for_each(kustomize::check);
            }
            // The DaemonSet has gone before the rest.
            ["kubectl", "apply", "-k", overlay]
            | ["kubectl", "delete", "-k", overlay, "--ignore-not-found"] => {
                let objects = kustomize::render(&repository.join(overlay));
                assert_eq!(
                    kustomize::object(&objects, "DaemonSet", "braid")["metadata"]["namespace"],
                    "braid"
                );
            }
            ["kubectl", "-n", "braid", "delete", "daemonset", "braid", "--cascade=foreground"] => {}
            _ => panic!("what does {command} do?"),
        }
        seen.push(command);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn version_by_hand() {
    let machine = installed();
    let printed = machine.sh(&block("node", "version").text);
    assert_eq!(
        serde_json::from_str::<Value>(&printed).unwrap(),
        block("output", "of version").json()
    );
    assert!(machine.sh("/opt/cni/bin/braid </dev/null").contains("CNI_COMMAND"));
}

/// A pod with a primary and one extra network, attached.
fn recorded<'n>(node: &'n Node, name: &str) -> Pod<'n> {
    let pod = node.pod("team-a", name);
    let config = json!({"delegates": [{"type": "blue"}]});
    pod.add(config).networks("blue").run().assert_success();
    pod
}

/// What ADD, a DEL that fails, a record that was damaged and a call under way leave in the state
/// directory is what the page shows, file by file.
#[test]
fn the_state_directory_is_as_shown() {
    let node = Node::new();
    node.recorder("blue");
    node.define("team-a", "blue", json!({"type": "blue"}));
    let kept = recorded(&node, "kept");
    let orphaned = recorded(&node, "orphaned");
    node.script("blue", json!({"DEL net1": {"error": {"code": 17, "msg": "away"}}}));
    orphaned.del().with(json!({"deleteGiveUp": 0})).run().assert_success();
    let _stale = recorded(&node, "stale");
    let list = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"containerID": kept.container, "ifname": "eth0"}]});
    node.call("GC", json!({"delegates": [{"type": "blue"}]})).with(list).run();
    let damaged = recorded(&node, "damaged");
    node.write(&format!("state/records/{}@eth0", damaged.container), "damage");
    damaged.del().run();
    let calling = node.pod("team-a", "calling");
    node.script("blue", json!({"ADD eth0": {"wait_for": node.path("go")}}));
    let running = calling.add(json!({"delegates": [{"type": "blue"}]})).networks("blue").start();
    wait_until(|| node.state("locks").contains(&calling.container));

    let found = [
        state_file(&node, "records", &kept.container),
        state_file(&node, "orphans", &orphaned.container),
        state_file(&node, "aside", &damaged.container),
        state_file(&node, "locks", &calling.container),
        state_file(&node, "looks", "last").replace("<container>", "last"),
        state_file(&node, "looks", "add").replace("<container>", "add"),
        state_file(&node, "looks", "gc").replace("<container>", "gc"),
    ];
    let shown =
        block("state", "").text.lines().map(|line| line.split(' ').next().unwrap_or_default());
    assert_eq!(shown.collect::<Vec<_>>(), found);
    let directories = fs::read_dir(node.path("state")).unwrap().count();
    assert_eq!(directories, found.len() - 2, "directories that the page does not show");
    node.write("go", "");
    running.wait().assert_success();
    assert_eq!(node.state("locks"), Vec::<String>::new());
}

/// The path of a container's file as the page writes it. Root alone may read it.
fn state_file(node: &Node, directory: &str, container: &str) -> String {
    let names = node.state(directory);
    let name = names.iter().find(|name| name.starts_with(container));
    let name = name.unwrap_or_else(|| panic!("{container} is not in {directory}: {names:?}"));
    let file = node.path("state").join(directory).join(name);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} can be read by others", file.display());
    let name = name.replace(container, "<container>").replace("eth0", "<interface>");
    format!("/var/lib/cni/braid/{directory}/{}", without_time(&name))
}

/// The number behind the last period, a time or a position, as 1.
fn without_time(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((name, number)) if number.parse::<u128>().is_ok() => format!("{name}.1"),
        _ => name.to_owned(),
    }
}

fn wait_until(ready: impl Fn() -> bool) {
    for _ in 0..500 {
        if ready() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("nothing happened for 5 s");
}

#[test]
fn delegates_get_the_environment_that_is_shown() {
    let node = Node::new();
    node.recorder("blue");
    let pod = node.pod("team-a", "web");
    let call =
        pod.add(json!({"delegates": [{"type": "blue"}], "passEnvironment": ["HTTPS_PROXY"]}));
    call.env("HTTPS_PROXY", "proxy").env("SECRET", "x").run().assert_success();
    let mut names: Vec<String> =
        node.only_call("ADD", "blue").environment().into_iter().map(|(name, _)| name).collect();
    names.sort();
    let mut shown: Vec<&str> =
        block("environment", "").text.split_whitespace().chain(["HTTPS_PROXY"]).collect();
    shown.sort_unstable();
    assert_eq!(names, shown);
}
