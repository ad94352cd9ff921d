//! The executable under the name of a built-in plugin.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::comparable;
use crate::call::{Call, Outcome};
use crate::node::{BRAID, Node, PLUGIN_DIR};
use crate::pod::Pod;

/// One call of a plugin by its file, as a runtime makes it.
fn run(pod: &Pod<'_>, file: impl AsRef<Path>, verb: &str, config: &Value) -> Outcome {
    Call::again(pod.node, verb, config.clone()).of_pod(pod).program(file.as_ref()).run()
}

#[test]
fn links_and_copies_are_the_plugin_that_they_are_named_after() {
    let node = Node::new();
    for name in plugins::names() {
        symlink(BRAID, node.path("bin").join(name)).unwrap();
    }
    fs::create_dir_all(node.path("copies")).unwrap();
    fs::copy(BRAID, node.path("copies/static")).unwrap();
    fs::hard_link(node.path("copies/static"), node.path("copies/bridge")).unwrap();
    let files = plugins::names().map(|name| node.path("bin").join(name));
    for file in files.chain([node.path("copies/static"), node.path("copies/bridge")]) {
        let call = Call::again(&node, "VERSION", json!({"cniVersion": "0.4.0"})).program(&file);
        let said = call.run().assert_success();
        assert_eq!(said["cniVersion"], "0.4.0", "{}", file.display());
        assert!(said["supportedVersions"].as_array().unwrap().contains(&json!("1.1.0")));
    }
}

#[test]
fn a_person_is_told_what_it_is() {
    let node = Node::new();
    node.built_ins(["bridge"]);
    let output = node.host().command(node.path("bin/bridge")).arg("--help").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{said}");
    assert!(said.contains("the CNI plugin \"bridge\" of braid"), "{said}");
}

#[test]
fn every_verb_is_answered_and_add_says_what_the_reference_says() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    let before = node.dump();
    let mut results = Vec::new();
    for directory in [node.path_text("bin"), PLUGIN_DIR.to_owned()] {
        let pod = node.pod("team-a", "web");
        let bridge = format!("{directory}/bridge");
        let mut config = node.bridge("cni0", "10.1.0.0/24 fd01::/64");
        config["dns"] = json!({"nameservers": ["10.1.0.1"], "search": ["a.test"]});
        let result = run(&pod, &bridge, "ADD", &config).assert_success();
        assert_eq!(pod.addresses("eth0").len(), 2);
        let mut with_result = config.clone();
        with_result["prevResult"] = result.clone();
        run(&pod, &bridge, "CHECK", &with_result).assert_success();
        run(&pod, &bridge, "DEL", &with_result).assert_success();
        run(&pod, &bridge, "DEL", &with_result).assert_success();
        assert_eq!((pod.links(), node.reservations("cni0")), (vec![], vec![]));
        results.push(comparable(result));
    }
    // Addresses go on after the last one.
    let said = results[0].to_string().replace("10.1.0.2/", "10.1.0.3/").replace("::2/", "::3/");
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), results[1]);
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

#[test]
fn status_and_gc_reach_the_ipam_plugin() {
    let node = Node::new();
    node.built_ins(["bridge"]);
    node.recorder("blue");
    let config = json!({
        "cniVersion": "1.1.0", "name": "cni0", "type": "bridge", "ipam": {"type": "blue"},
        "cni.dev/valid-attachments": [],
    });
    let call = |verb: &str| {
        Call::again(&node, verb, config.clone()).program(node.path("bin/bridge")).run()
    };
    call("STATUS").assert_success();
    node.script("blue", json!({"STATUS": {"error": {"code": 51, "msg": "few are left"}}}));
    call("STATUS").assert_error(51, ["IPAM plugin \"blue\": few are left"]);
    assert_eq!(node.calls_in_order(), ["STATUS blue", "STATUS blue"]);
    assert_eq!(node.calls()[0].stdin(), &config);
    node.call("STATUS", json!({})).program(node.path("bin/bridge")).run().assert_error(1, []);
}

#[test]
fn loopback_is_called_for_lo() {
    let node = Node::new();
    node.built_ins(["loopback"]);
    let pod = node.pod("team-a", "web");
    pod.ip("link set lo down");
    let config = json!({"cniVersion": "1.0.0", "name": "cni-loopback", "type": "loopback"});
    let call = |verb: &str| {
        let call = Call::again(&node, verb, config.clone()).of_pod(&pod);
        call.program(node.path("bin/loopback")).env("CNI_IFNAME", "lo").run()
    };
    let result = call("ADD").assert_success();
    assert_eq!(result["interfaces"][0]["name"], "lo");
    assert_eq!(pod.addresses("lo").first().map(String::as_str), Some("127.0.0.1/8"));
    call("DEL").assert_success();
    // No other plugin is.
    node.built_ins(["dummy"]);
    let call = Call::again(&node, "ADD", config).of_pod(&pod).env("CNI_IFNAME", "lo");
    call.program(node.path("bin/dummy")).run().assert_error(4, ["CNI_IFNAME"]);
}

#[test]
fn a_configuration_that_is_none_is_code_7_and_changes_nothing() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    for (key, value) in [
        ("mtu", json!("large")),
        ("isGateway", json!("yes")),
        ("ipam", json!([])),
        ("ipam", json!({"type": "../../bin/sh"})),
        ("bridge", json!({})),
        ("vlan", json!(70_000)),
    ] {
        let mut config = node.bridge("cni0", "10.1.0.0/24");
        config[key] = value.clone();
        let outcome = run(&pod, node.path("bin/bridge"), "ADD", &config);
        assert_eq!(outcome.error().0, 7, "{key} {value}: {outcome:?}");
    }
    assert!(pod.links().is_empty());
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
    assert!(node.host().ip_json("link show type bridge").is_empty(), "a bridge was made");
}

#[test]
fn a_plugin_that_gives_no_addresses_is_not_asked_for_some() {
    let node = Node::new();
    node.built_ins(["bridge"]);
    let pod = node.pod("team-a", "web");
    let config = json!({
        "cniVersion": "1.0.0", "name": "n", "type": "bridge", "bridge": "cni0", "ipam": {"type": "bridge"},
    });
    let outcome = run(&pod, node.path("bin/bridge"), "ADD", &config);
    outcome.assert_error(7, ["\"bridge\"", "name an IPAM plugin"]);
    assert!(pod.links().is_empty());
}

#[test]
fn sigterm_undoes_an_add() {
    let node = Node::new();
    node.built_ins(["bridge"]);
    node.recorder("blue");
    node.script("blue", json!({"ADD": {"sleep_ms": 30_000}}));
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let config = json!({
        "cniVersion": "1.0.0", "name": "n", "type": "bridge", "bridge": "cni0", "ipam": {"type": "blue"},
    });
    let call = Call::again(&node, "ADD", config).of_pod(&pod).program(node.path("bin/bridge"));
    let started = Instant::now();
    let running = call.start();
    node.wait_for_call("ADD blue eth0");
    running.signal(Signal::SIGTERM);
    running.wait().assert_error(11, ["asked to stop"]);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(pod.links().is_empty());
    assert_eq!(node.calls_in_order(), ["ADD blue eth0", "DEL blue eth0"]);
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}
