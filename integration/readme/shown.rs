//! What the pages show: screens, the state directory, the environment of delegates.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::{primary, start, wait_until};
use crate::node::Node;
use crate::pod::Pod;
use crate::readme::machine::Machine;
use crate::readme::page::{block, blocks};

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
