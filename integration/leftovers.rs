//! What sandboxes have left that are gone without DEL: found by GC and by the next ADD, and given
//! back. What may be alive is left alone, and so are addresses that no record knows.

mod inodes;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::call::Outcome;
use crate::node::{BRAID, Node};
use crate::operator::Tool;
use crate::pod::Pod;

/// A node with a recorded primary and network `blue` of team-a, and a configuration that commands
/// find.
fn node() -> Node {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.8.0.2/24"], "link": true}));
    let entry = json!({
        "type": "braid", "confDir": node.path("braid.d"), "cniDir": node.path("state"),
        "primaryConfDir": node.path("net.d"), "binDir": node.path("bin"), "delegates": node.delegating()["delegates"],
    });
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("net.d/00-braid.conflist", &conflist.to_string());
    node
}

fn attached<'n>(node: &'n Node, name: &str) -> Pod<'n> {
    let pod = node.pod("team-a", name);
    pod.add(node.delegating()).networks("blue").run().assert_success();
    pod
}

fn record_of(pod: &Pod<'_>) -> String {
    format!("{}@eth0", pod.container)
}

/// Another ADD, on which a look for leftovers is due.
fn add_with_a_look(node: &Node) -> (Pod<'_>, Outcome) {
    make_a_look_due(node);
    let pod = node.pod("team-a", "next");
    node.forget_calls();
    let outcome = pod.add(node.delegating()).networks("blue").run();
    (pod, outcome)
}

/// The last look was longer ago than looks are apart.
fn make_a_look_due(node: &Node) {
    let last = File::options().write(true).open(node.path("state/looks/last")).unwrap();
    last.set_modified(SystemTime::now() - Duration::from_secs(660)).unwrap();
}

/// Rewrites the record's plan, as a Braid of an earlier boot would have written it.
fn move_to_another_boot(node: &Node, pod: &Pod<'_>) {
    let boot = json!("00000000-0000-4000-8000-000000000000");
    rewrite_plan(node, pod, |plan| plan["netns"]["boot"] = boot);
}

fn rewrite_plan(node: &Node, pod: &Pod<'_>, change: impl FnOnce(&mut Value)) {
    let file = node.path("state/records").join(record_of(pod));
    let content = fs::read_to_string(&file).unwrap();
    let (plan, events) = content.split_once('\n').unwrap();
    let (_checksum, plan) = plan.split_once(' ').unwrap();
    let mut plan: Value = serde_json::from_str(plan).unwrap();
    change(&mut plan);
    let plan = plan.to_string();
    fs::write(&file, format!("{:08x} {plan}\n{events}", crc32fast::hash(plan.as_bytes()))).unwrap();
}

/// DEL of both networks of one pod, as the recorders saw it.
#[track_caller]
fn assert_torn_down(node: &Node, pod: &Pod<'_>) {
    let calls = node.calls().into_iter().filter(|call| call.verb() == "DEL");
    let calls: Vec<_> =
        calls.filter(|call| call.variable("CNI_CONTAINERID") == pod.container).collect();
    let summaries: Vec<String> = calls.iter().map(|call| call.summary()).collect();
    assert_eq!(summaries, ["DEL blue net1", "DEL primary eth0"]);
    assert!(calls.iter().all(|call| call.variable("CNI_NETNS").is_empty()));
    assert!(!node.state("records").contains(&record_of(pod)));
}

#[test]
fn the_next_add_tears_down_what_is_left_of_another_boot() {
    let node = node();
    let stale = attached(&node, "stale");
    move_to_another_boot(&node, &stale);
    // Its path leads to a living namespace, which proves nothing: inodes are given anew after a
    // start.
    let (next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert_torn_down(&node, &stale);
    assert_eq!(node.state("records"), [record_of(&next)]);
    next.check().run().assert_success();
}

#[test]
fn the_first_add_after_a_start_looks_at_once() {
    let node = node();
    let stale = attached(&node, "stale");
    move_to_another_boot(&node, &stale);
    node.write("state/looks/last", "00000000-0000-4000-8000-000000000000");
    node.forget_calls();
    let _next = attached(&node, "next");
    assert_torn_down(&node, &stale);
}

#[test]
fn the_next_add_tears_down_what_is_left_of_a_namespace_that_is_gone() {
    let node = node();
    let stale = attached(&node, "stale");
    stale.lose_netns();
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert!(outcome.stderr.is_empty(), "that is no reason to warn: {}", outcome.stderr);
    assert_torn_down(&node, &stale);
    // The runtime's own DEL, should it still come, has only the primary to tell.
    node.forget_calls();
    stale.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
}

#[test]
fn an_add_that_fails_looks_too() {
    let node = node();
    let stale = attached(&node, "stale");
    stale.lose_netns();
    node.script("primary", json!({"ADD": {"error": {"code": 11, "msg": "no address is left"}}}));
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_error(11, ["no address is left"]);
    assert_torn_down(&node, &stale);
}

#[test]
fn an_add_looks_once_in_a_while_and_lists_nothing_between() {
    let node = node();
    let stale = attached(&node, "stale");
    stale.lose_netns();
    let next = node.pod("team-a", "next");
    let trace = node.path_text("trace");
    let script =
        format!("#!/bin/sh\nexec strace -f -y -o {trace} -e trace=getdents64,openat {BRAID}\n");
    node.write("traced", &script);
    fs::set_permissions(node.path("traced"), fs::Permissions::from_mode(0o755)).unwrap();
    next.add(node.delegating())
        .networks("blue")
        .program(node.path("traced"))
        .run()
        .assert_success();
    assert!(node.state("records").contains(&record_of(&stale)), "no look was due");
    let traced = fs::read_to_string(&trace).expect("strace is missing: install it");
    assert!(traced.contains("/state/looks/last"), "{traced}");
    let listed: Vec<_> = traced.lines().filter(|line| line.contains("getdents64")).collect();
    assert!(listed.iter().all(|line| !line.contains("/state")), "{listed:#?}");
    assert!(traced.contains(&record_of(&next)) && !traced.contains(&record_of(&stale)), "{traced}");
}

#[test]
fn a_plain_pod_behind_a_primary_does_not_look_at_the_state_at_all() {
    let node = node();
    let stale = attached(&node, "stale");
    stale.lose_netns();
    make_a_look_due(&node);
    node.pod("team-a", "plain").add_chained(json!({})).run().assert_success();
    assert_eq!(node.state("records"), [record_of(&stale)]);
}

#[test]
fn a_namespace_that_lives_is_left_alone_wherever_its_path_leads() {
    let node = node();
    let live = attached(&node, "live");
    let mut sleeper = live.command("sleep").arg("60").spawn().unwrap();
    // `ip netns exec` has become the sleeper once it is in the namespace.
    let inside = || fs::read_link(format!("/proc/{}/ns/net", sleeper.id())).unwrap();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    while inside() == own {
        std::thread::sleep(Duration::from_millis(5));
    }
    live.lose_netns();
    let (_next, outcome) = add_with_a_look(&node);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    outcome.assert_success();
    assert!(node.state("records").contains(&record_of(&live)));
}

/// In a container without the host's processes and mounts, nothing is seen of any sandbox.
#[test]
fn if_sandboxes_cannot_be_seen_none_is_taken_for_gone() {
    let node = node();
    let live = attached(&node, "live");
    let conf_dir = node.path_text("net.d");
    let gc = |hide: &str| {
        let script = format!("{hide} && exec {BRAID} gc --conf-dir {conf_dir}");
        let arguments = ["--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", &script];
        let output = node.host().command("unshare").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // The directory of namespaces is not there; or it is, with the files that their mounts would
    // cover.
    let covers = format!("mkdir /run/netns && touch /run/netns/{}", live.netns().name());
    for hide in
        ["mount -t tmpfs none /run".to_owned(), format!("mount -t tmpfs none /run && {covers}")]
    {
        assert_eq!(gc(&hide), "nothing is stale\n", "{hide}");
    }
    assert_eq!(node.state("records"), [record_of(&live)]);
    live.check().run().assert_success();
}

#[test]
fn an_add_tears_down_a_few_and_says_how_many_are_left() {
    let node = node();
    let stale: Vec<Pod<'_>> =
        (0..7).map(|number| attached(&node, &format!("stale{number}"))).collect();
    stale.iter().for_each(Pod::lose_netns);
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert_eq!(node.state("records").len(), 3 + 1);
    assert!(
        outcome.stderr.contains("3 more records of sandboxes that are gone"),
        "{}",
        outcome.stderr
    );
    make_a_look_due(&node);
    let _another = attached(&node, "another");
    assert_eq!(node.state("records").len(), 2);
}

/// Eight that fail were tried again and again, and the ninth never.
#[test]
fn an_add_begins_with_the_record_behind_the_last_one_tried() {
    let node = node();
    node.network("green", json!({"addresses": ["10.9.0.2/24"], "link": true}));
    let stale: Vec<Pod<'_>> =
        (0..9).map(|number| node.pod("team-a", &format!("stale{number}"))).collect();
    for (at, pod) in stale.iter().enumerate() {
        let network = if at == 8 { "green" } else { "blue" };
        pod.add(node.delegating()).networks(network).run().assert_success();
    }
    stale.iter().for_each(Pod::lose_netns);
    node.script("blue", json!({"DEL": {"error": {"code": 17, "msg": "the switch is away"}}}));
    let tried = |node: &Node| {
        let calls = node.calls().into_iter().filter(|call| call.verb() == "DEL");
        let mut containers: Vec<String> =
            calls.map(|call| call.variable("CNI_CONTAINERID")).collect();
        containers.sort();
        containers.dedup();
        containers
    };
    // The look of the first of these ADDs has stopped at its own record.
    fs::remove_file(node.path("state/looks/add")).unwrap();
    let names: Vec<&String> = stale.iter().map(|pod| &pod.container).collect();
    for expected in [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![0, 1, 2, 8]] {
        let (next, outcome) = {
            make_a_look_due(&node);
            node.forget_calls();
            let pod = node.pod("team-a", "next");
            let outcome = pod.add(node.delegating()).networks("green").run();
            (pod, outcome)
        };
        outcome.assert_success();
        assert_eq!(tried(&node), expected.iter().map(|at| names[*at].clone()).collect::<Vec<_>>());
        next.del().run().assert_success();
    }
    assert!(!node.state("records").contains(&record_of(&stale[8])));
    assert_eq!(node.state("records").len(), 8);
}

#[test]
fn what_cannot_be_torn_down_does_not_hold_an_add_up() {
    let node = node();
    let stale = attached(&node, "stale");
    stale.lose_netns();
    node.script("blue", json!({"DEL": {"sleep_ms": 60_000}}));
    let (next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert!(outcome.took < Duration::from_secs(30), "{:?}", outcome.took);
    assert!(outcome.stderr.contains("did not end within"), "{}", outcome.stderr);
    assert!(node.state("records").contains(&record_of(&stale)), "it is tried again");
    node.script("blue", json!({}));
    next.check().run().assert_success();
}

#[test]
fn a_call_that_is_at_work_is_not_disturbed() {
    let node = node();
    let stale = attached(&node, "stale");
    stale.lose_netns();
    node.script("blue", json!({"DEL": {"wait_for": node.path("go")}}));
    let del = stale.del().start();
    node.wait_for_call("DEL blue net1");
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0", "ADD blue net1"]);
    node.write("go", "");
    del.wait().assert_success();
    assert!(!node.state("records").contains(&record_of(&stale)));
}

fn valid_attachments(list: Value) -> Value {
    json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list})
}

#[test]
fn gc_tears_down_what_is_gone_of_another_conflist_too() {
    let node = node();
    let (live, gone) = (attached(&node, "live"), attached(&node, "gone"));
    gone.lose_netns();
    node.forget_calls();
    let call = node.call("GC", node.delegating()).with(json!({"name": "other"}));
    call.with(valid_attachments(json!([]))).run().assert_success();
    assert_torn_down(&node, &gone);
    assert_eq!(node.state("records"), [record_of(&live)]);
}

#[test]
fn gc_and_the_next_add_take_away_what_killed_calls_have_begun() {
    let node = node();
    let live = attached(&node, "live");
    // A copy of a definition that is older than any may be.
    let copy = json!({
        "fetched": 1, "namespace": "team-a", "name": "old", "config": null, "annotations": {}, "resource_version": "1"
    });
    let leave = || {
        for file in ["records/.killed@eth0", "orphans/.killed@eth0.1", "locks/killed"] {
            node.write(&format!("state/{file}"), "half a pl");
            let old = File::options().write(true).open(node.path("state").join(file)).unwrap();
            old.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        }
        node.write("state/definitions/team-a_old", &copy.to_string());
        let copy =
            File::options().write(true).open(node.path("state/definitions/team-a_old")).unwrap();
        copy.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        for directory in ["records", "orphans", "locks", "definitions"] {
            let path = node.path("state").join(directory);
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
    };
    let left = || {
        ["records", "orphans", "locks", "definitions"]
            .map(|directory| node.state(directory))
            .concat()
    };
    leave();
    let list = json!([{"containerID": live.container, "ifname": "eth0"}]);
    node.call("GC", node.delegating()).with(valid_attachments(list)).run().assert_success();
    assert_eq!(left(), [record_of(&live)]);
    leave();
    let (next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    assert_eq!(left(), [record_of(&live), record_of(&next)]);
}

// Addresses.

/// A network `lan` with host-local, and a pod on it; an address of another container, of which
/// there is no record, and one of Multus's.
fn node_with_addresses() -> Node {
    let node = node();
    node.define(
        "team-a",
        "lan",
        json!({"type": "bridge", "bridge": "br1", "ipam": node.host_local("10.9.0.0/24")}),
    );
    node
}

fn reserve(node: &Node, address: &str, container: &str) {
    node.write(&format!("ipam/lan/{address}"), &format!("{container}\r\nnet1"));
}

fn command(node: &Node, arguments: &[&str]) -> String {
    let conf_dir = node.path_text("net.d");
    Tool::new(node, &[arguments, &["--conf-dir", &conf_dir]].concat()).run().stdout
}

#[test]
fn addresses_of_containers_without_a_record_are_told_of_and_stay() {
    let node = node_with_addresses();
    let live = node.pod("team-a", "live");
    live.add(node.delegating()).networks("lan").run().assert_success();
    reserve(&node, "10.9.0.77", "lost");
    reserve(&node, "10.9.0.78", "lost");
    reserve(&node, "10.9.0.79", "of-multus");
    node.write("state/of-multus", "[]");
    let told = "network \"lan\": 10.9.0.77, 10.9.0.78 reserved for container lost, which braid has \
                no record of";
    let only_told = |text: &str| {
        assert!(text.contains(told), "{text}");
        assert!(!text.contains("of-multus") && !text.contains(&live.container), "{text}");
    };
    only_told(&command(&node, &["gc", "--dry-run"]));
    only_told(&command(&node, &["gc"]));
    let json: Value = serde_json::from_str(&command(&node, &["gc", "-o", "json"])).unwrap();
    assert_eq!(json["unknown"][0]["addresses"], json!(["10.9.0.77", "10.9.0.78"]));
    let doctor = command(&node, &["doctor"]);
    assert!(
        doctor.contains("2 are reserved for containers that braid has no record of"),
        "{doctor}"
    );
    let list = json!([{"containerID": live.container, "ifname": "eth0"}]);
    let gc = node.call("GC", node.delegating()).with(valid_attachments(list)).run();
    gc.assert_success();
    only_told(&gc.stderr);
    let (_next, outcome) = add_with_a_look(&node);
    outcome.assert_success();
    only_told(&outcome.stderr);
    assert_eq!(node.reservations("lan").len(), 4, "nothing is given back that is not known");
}

/// Pods that are older than Braid's installation have no record, and their primary addresses are
/// theirs.
#[test]
fn addresses_of_the_primary_are_suspect_only_if_they_are_older_than_the_node_s_start() {
    let node = node();
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    let mut conflist: Value =
        serde_json::from_str(&fs::read_to_string(node.path("net.d/00-braid.conflist")).unwrap())
            .unwrap();
    conflist["plugins"][0]["delegates"] = config["delegates"].clone();
    node.write("net.d/00-braid.conflist", &conflist.to_string());
    node.pod("team-a", "live").add(config).run().assert_success();
    node.write("ipam/cni0/10.1.0.77", "older\r\neth0");
    let told = "10.1.0.77 reserved for container older";
    assert!(
        command(&node, &["gc", "--dry-run"]).contains(told),
        "it is named when it is asked for"
    );
    assert!(!command(&node, &["doctor"]).contains("no record of"));
    let file = File::options().write(true).open(node.path("ipam/cni0/10.1.0.77")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    let doctor = command(&node, &["doctor"]);
    assert!(
        doctor.contains("1 are reserved for containers that braid has no record of"),
        "{doctor}"
    );
}
