//! Networks that DEL had to give up: who tries them again, what ends them, and what they may cost
//! others.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use braid::internals::ledger::{Record, plan_line};
use serde_json::{Value, json};

use crate::node::{BRAID, Node};
use crate::operator::records::{attached, braid, node, primary};
use crate::pod::Pod;
use crate::teardown::valid_attachments;

const NOTHING: [&str; 0] = [];
const OTHER_BOOT: &str = "00000000-1111-2222-3333-444444444444";

fn failing() -> Value {
    json!({"DEL": {"error": {"code": 17, "msg": "the switch is away"}}})
}

/// A pod whose network is given up: it has gone, and the node has an orphan.
fn given_up<'n>(node: &'n Node, network: &str) -> Pod<'n> {
    let pod = attached(node, "web", network);
    node.script(network, failing());
    pod.del().with(json!({"deleteGiveUp": 0})).run().assert_success();
    assert_eq!(node.state("orphans").len(), 1);
    node.forget_calls();
    pod
}

fn gc(node: &Node) -> crate::call::Outcome {
    let config = json!({"delegates": [primary()], "name": "node"});
    node.call("GC", config).with(valid_attachments(json!([]))).run()
}

/// The one orphan's file.
fn orphan(node: &Node) -> PathBuf {
    let [name] = node.state("orphans").try_into().unwrap();
    node.path("state/orphans").join(name)
}

/// The one orphan as it was read; its events are left out when it is written again.
fn read(node: &Node) -> Record {
    let file = orphan(node);
    let name = file.file_name().unwrap().to_str().unwrap().rsplit_once('.').unwrap().0.to_owned();
    Record::parse(&fs::read(&file).unwrap(), &name).unwrap()
}

/// As if the node had been started since.
fn start_node_anew(node: &Node) {
    let mut record = read(node);
    record.plan.netns.boot = OTHER_BOOT.to_owned();
    fs::write(orphan(node), plan_line(&record.plan).unwrap()).unwrap();
}

#[test]
fn an_orphan_that_resists_again_makes_no_command_fail_for_ever() {
    let node = node();
    let web = given_up(&node, "blue");
    let collected = gc(&node);
    collected.assert_success();
    assert!(collected.stderr.contains("the switch is away"), "{}", collected.stderr);
    let list = braid(&node, &["list"]).assert_status(0);
    assert!(list.stdout.contains("orphan"), "{}", list.stdout);
    braid(&node, &["show", "team-a/web"]).assert_status(0);
    let said = braid(&node, &["gc"]).assert_status(0);
    assert!(said.stdout.starts_with("still an orphan: team-a/web "), "{}", said.stdout);
    let advice = "GC tries it again; to drop it: braid gc --forget ";
    assert!(said.stdout.contains(advice), "{}", said.stdout);
    // The command that names the pod says that it is not done.
    braid(&node, &["repair", "team-a/web"]).assert_status(3);
    assert_eq!(node.state("orphans").len(), 1);
    node.script("blue", json!({}));
    braid(&node, &["repair", &web.container]).assert_status(0);
    assert_eq!(node.state("orphans"), NOTHING);
}

#[test]
fn gc_forget_tries_once_more_and_drops_what_resists() {
    let node = node();
    given_up(&node, "blue");
    let dry = braid(&node, &["gc", "--dry-run", "--forget", "team-a/web"]).assert_status(0);
    let expected = "would be forgotten if it cannot be torn down; may be left: what plugin \
                    \"blue\" leaves is not known";
    assert!(dry.stdout.contains(expected), "{}", dry.stdout);
    assert_eq!((node.state("orphans").len(), node.calls_in_order()), (1, vec![]));
    let said = braid(&node, &["gc", "--forget", "team-a/web"]).assert_status(0);
    assert!(said.stdout.starts_with("forgotten: team-a/web "), "{}", said.stdout);
    let expected =
        "nothing knows of it any more; may be left: what plugin \"blue\" leaves is not known";
    assert!(said.stdout.contains(expected), "{}", said.stdout);
    assert!(said.stdout.contains("the switch is away"), "{}", said.stdout);
    assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
    assert_eq!(node.state("orphans"), NOTHING);
    let again = braid(&node, &["gc", "--forget", "team-a/web"]).assert_status(1);
    assert!(again.stderr.contains("no record of \"team-a/web\""), "{}", again.stderr);
    assert_eq!(braid(&node, &["gc"]).assert_status(0).stdout, "nothing is stale\n");
}

/// What is torn down after all is not dropped but done.
#[test]
fn gc_forget_all_tears_down_what_can_be_and_drops_the_rest() {
    let node = node();
    given_up(&node, "blue");
    let gone = attached(&node, "gone", "");
    gone.lose_netns();
    node.script("primary", failing());
    braid(&node, &["gc"]).assert_status(1);
    assert_eq!(node.state("records").len(), 1, "the primary is never given up");
    node.script("blue", json!({}));
    let said = braid(&node, &["gc", "--forget-all", "-o", "json"]).assert_status(0).json();
    let outcomes: Vec<&str> = said["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["forgotten", "torn-down"]);
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (0, 0));
    let usage = braid(&node, &["gc", "--forget-all", "--forget", "team-a/web"]);
    assert_eq!(usage.status, 2, "{}", usage.stderr);
}

#[test]
fn gc_forget_leaves_a_living_pod_alone() {
    let node = node();
    let _web = attached(&node, "web", "blue");
    let said = braid(&node, &["gc", "--forget", "team-a/web"]).assert_status(1);
    assert!(said.stderr.contains("nothing of \"team-a/web\" is stale"), "{}", said.stderr);
    braid(&node, &["gc", "--forget-all"]).assert_status(0);
    assert_eq!(node.state("records").len(), 1);
}

/// A plugin type of which it is known that its links go with the boot; its addresses are in files.
#[test]
fn an_orphan_of_an_earlier_boot_ends_once_nothing_that_outlives_a_boot_is_left() {
    let node = node();
    node.recorder("dummy");
    let dummy =
        json!({"cniVersion": "1.0.0", "type": "dummy", "ipam": node.host_local("10.7.0.0/24")});
    node.define("team-a", "dummy", dummy);
    let web = given_up(&node, "dummy");
    let network = read(&node).plan.attachments[0].network.name.to_string();
    let address = format!("ipam/{network}/10.7.0.2");
    node.write(&address, &format!("{}\r\nnet1", web.container));
    // Of this boot, a link may be anywhere.
    gc(&node).assert_success();
    assert_eq!(node.state("orphans").len(), 1);
    start_node_anew(&node);
    let reserved = gc(&node);
    reserved.assert_success();
    assert!(reserved.stderr.contains("an address is reserved by "), "{}", reserved.stderr);
    assert_eq!(node.state("orphans").len(), 1);
    fs::remove_file(node.path(&address)).unwrap();
    let ended = gc(&node);
    ended.assert_success();
    assert!(ended.stderr.contains("it is no orphan any more"), "{}", ended.stderr);
    assert_eq!(node.state("orphans"), NOTHING);
}

#[test]
fn an_orphan_of_a_plugin_that_is_not_known_outlives_a_boot() {
    let node = node();
    given_up(&node, "blue");
    start_node_anew(&node);
    gc(&node).assert_success();
    assert_eq!(node.state("orphans").len(), 1);
}

/// Thousands of them, each of which fails at once: the other networks' plugins have their GC.
#[test]
fn many_orphans_take_a_share_of_gc_and_not_all_of_it() {
    let node = node();
    let other = attached(&node, "other", "");
    given_up(&node, "blue");
    let record = read(&node);
    for number in 0..12_000 {
        let mut plan = record.plan.clone();
        plan.key.container = format!("gone{number:05}").parse().unwrap();
        let name = format!("{}.0", plan.key.file_name());
        fs::write(node.path("state/orphans").join(name), plan_line(&plan).unwrap()).unwrap();
    }
    let list = json!([{"containerID": other.container, "ifname": "eth0"}]);
    let with_gc = json!({"name": "cluster", "type": "primary", "cniVersion": "1.1.0"});
    let started = Instant::now();
    let collected = node
        .call("GC", json!({"delegates": [with_gc], "name": "node"}))
        .with(valid_attachments(list))
        .run();
    let took = started.elapsed();
    collected.assert_success();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(node.calls_in_order().contains(&"GC primary".to_owned()));
    let first = node.calls()[0].variable("CNI_CONTAINERID").to_owned();
    // The next one goes on where this one has stopped.
    node.forget_calls();
    gc(&node).assert_success();
    assert_ne!(node.calls()[0].variable("CNI_CONTAINERID"), first);
}

/// The plugin refuses the recorded definition for ever; the owner has corrected it since.
#[test]
fn repair_tries_the_definition_as_it_is_now_and_gc_does_not() {
    let node = node();
    given_up(&node, "blue");
    let name = read(&node).plan.attachments[0].network.name.to_string();
    node.network("green", json!({}));
    node.define("team-a", "blue", json!({"cniVersion": "0.4.0", "type": "green"}));
    gc(&node).assert_success();
    braid(&node, &["gc"]).assert_status(0);
    assert_eq!(node.calls_in_order(), ["DEL blue net1", "GC primary", "DEL blue net1"]);
    node.forget_calls();
    braid(&node, &["repair", "team-a/web"]).assert_status(0);
    assert_eq!(node.calls_in_order(), ["DEL blue net1", "DEL green net1"]);
    let call = node.only_call("DEL", "green");
    let request = call.stdin();
    assert_eq!(request["name"], json!(name));
    assert_eq!(request["prevResult"]["cniVersion"], "0.4.0", "{request}");
    assert_eq!(node.state("orphans"), NOTHING);
}

#[test]
fn repair_tries_the_definition_as_it_is_now_for_a_record_whose_del_keeps_failing() {
    let node = node();
    let web = attached(&node, "web", "blue");
    node.script("blue", failing());
    web.del().run().assert_error(17, ["the switch is away"]);
    web.lose_netns();
    node.network("green", json!({}));
    node.define("team-a", "blue", json!({"cniVersion": "1.0.0", "type": "green"}));
    braid(&node, &["repair", "team-a/web"]).assert_status(0);
    assert_eq!((node.state("records").len(), node.state("orphans").len()), (0, 0));
    node.only_call("DEL", "green");
}

#[test]
fn repair_does_not_try_a_definition_that_the_policy_refuses() {
    let node = node();
    given_up(&node, "blue");
    let file = node.path("net.d/00-braid.conflist");
    let mut conflist: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    conflist["plugins"][0]["policy"] = json!({"mode": "enforce", "allowedPlugins": ["blue"]});
    fs::write(&file, conflist.to_string()).unwrap();
    node.network("green", json!({}));
    node.define("team-a", "blue", json!({"cniVersion": "1.0.0", "type": "green"}));
    let said = braid(&node, &["repair", "team-a/web"]).assert_status(3);
    assert!(said.stdout.contains("its definition as it is now is not tried: "), "{}", said.stdout);
    assert_eq!(node.calls_in_order(), ["DEL blue net1"]);
    assert_eq!(node.state("orphans").len(), 1);
}

/// On the node itself: what keeps the installation tries what could not be torn down.
#[test]
fn keep_tries_the_definition_as_it_is_now() {
    let node = node();
    given_up(&node, "blue");
    node.network("green", json!({}));
    node.define("team-a", "blue", json!({"cniVersion": "1.0.0", "type": "green"}));
    let (conf_dir, bin_dir) = (node.path_text("net.d"), node.path_text("bin"));
    let mut keep = node
        .host()
        .command(BRAID)
        .args(["keep", "--conf-dir", &conf_dir, "--bin-dir", &bin_dir])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !node.state("orphans").is_empty() && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
    }
    Command::new("kill").arg(keep.id().to_string()).status().unwrap();
    assert!(keep.wait().unwrap().success());
    assert_eq!(node.state("orphans"), NOTHING);
    node.only_call("DEL", "green");
}
