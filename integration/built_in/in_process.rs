//! Built-in plugins called in Braid's process.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{comparable, executed, watcher};
use crate::node::{BRAID, Node};
use crate::pod::Pod;

/// What this call of ADD started.
fn started_by(node: &Node, pod: &Pod<'_>, config: Value) -> (Value, Vec<String>) {
    let result = pod.add(config).wrapper(watcher(node)).run().assert_success();
    (result, executed(node))
}

#[test]
fn a_plugin_that_is_a_link_to_braid_starts_no_process() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd01::/64")]});
    let (_, started) = started_by(&node, &pod, config.clone());
    assert_eq!(started, Vec::<String>::new());
    assert_eq!(pod.addresses("eth0"), ["10.1.0.2/24", "fd01::2/64"]);
    pod.add(config).run().assert_error(7, ["call DEL first"]);
    pod.check().run().assert_success();
    pod.del().wrapper(watcher(&node)).run().assert_success();
    assert_eq!(executed(&node), Vec::<String>::new());
    pod.del().run().assert_success();
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

/// The three ways to the same result: in the process, a process of Braid, the reference plugin.
#[test]
fn the_result_is_that_of_a_process_and_of_the_reference_plugin() {
    let mut results: Vec<(Value, Vec<String>)> = Vec::new();
    for (links, mode, processes) in [
        (true, "linked", vec![]),
        (true, "never", vec!["bridge"]),
        (false, "linked", vec!["bridge", "host-local"]),
    ] {
        let node = Node::new();
        if links {
            node.built_ins(["bridge", "host-local"]);
        }
        let pod = node.pod("team-a", "web");
        let mut network = node.bridge("cni0", "10.1.0.0/24 fd01::/64");
        network["cniVersion"] = json!("0.4.0");
        let config = json!({"delegates": [network], "builtinPlugins": mode});
        let (result, started) = started_by(&node, &pod, config);
        assert_eq!(started, processes, "{mode}");
        let routes = pod.ip("-4 route show") + &pod.ip("-6 route show default");
        let kernel = [pod.addresses("eth0").join(" "), routes];
        results.push((comparable(result), kernel.to_vec()));
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!((pod.links(), node.reservations("cni0")), (vec![], vec![]), "{mode}");
    }
    assert_eq!(results[0], results[1], "a process of braid");
    assert_eq!(results[0], results[2], "the reference plugin");
}

#[test]
fn builtin_plugins_says_when_a_built_in_runs_in_the_process() {
    let node = Node::new();
    node.recorder("static");
    let network = json!({
        "cniVersion": "1.0.0", "name": "n", "type": "bridge", "bridge": "cni0",
        "ipam": {"type": "static", "addresses": [{"address": "10.1.0.9/24"}]},
    });
    let config = |mode: &str| json!({"delegates": [network], "builtinPlugins": mode});
    let pod = node.pod("team-a", "web");
    // Whatever is installed, and if nothing is.
    pod.add(config("prefer")).env("CNI_PATH", "/absent").run().assert_success();
    pod.check().env("CNI_PATH", "/absent").run().assert_success();
    pod.del().env("CNI_PATH", "/absent").run().assert_success();
    pod.add(config("linked")).env("CNI_PATH", "/absent").run().assert_error(7, ["not installed"]);
    let pod = node.pod("team-a", "db");
    let (_, started) = started_by(&node, &pod, config("prefer"));
    assert_eq!((started, node.calls_in_order()), (vec![], vec![]));
    // Another plugin under the name.
    let pod = node.pod("team-a", "mq");
    pod.add(config("linked")).run().assert_error(999, ["missing IP config"]);
    assert_eq!(node.calls_in_order().first().map(String::as_str), Some("ADD static eth0"));
    // The misspelt key is found.
    let misspelt = pod.add(json!({"delegates": [network], "builtInPlugin": "never"})).run();
    assert!(misspelt.stderr.contains("did you mean \"builtinPlugins\"?"), "{}", misspelt.stderr);
}

#[test]
fn a_chain_may_mix_built_in_and_other_plugins() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    let before = node.dump();
    let mut bridge = node.bridge("cni0", "10.1.0.0/24");
    let version = bridge.as_object_mut().unwrap().remove("cniVersion").unwrap();
    let tuning = json!({"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}});
    let chain = json!({"cniVersion": version, "name": "cni0", "plugins": [bridge, tuning]});
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    let add = pod.add(json!({"delegates": [chain]})).networks("blue");
    let result = add.wrapper(watcher(&node)).run().assert_success();
    assert_eq!(executed(&node), ["tuning", "blue"]);
    assert_eq!(result["ips"][0]["address"], "10.1.0.2/24");
    assert_eq!(result["ips"][1]["address"], "10.9.0.2/24");
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD blue net1", "DEL blue net1"]);
    assert!(pod.links().is_empty());
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

/// An upgrade puts a new file in Braid's place; a copy that an installer has made stays.
#[test]
fn a_copy_of_the_same_build_is_in_the_process_and_another_build_is_a_process() {
    let node = Node::new();
    let config = || json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    for kind in ["bridge", "host-local"] {
        fs::copy(BRAID, node.path("bin").join(kind)).unwrap();
    }
    let pod = node.pod("team-a", "web");
    assert_eq!(started_by(&node, &pod, config()).1, Vec::<String>::new());
    pod.del().run().assert_success();
    let bridge = node.path("bin/bridge");
    let other = another_build(&fs::read(&bridge).unwrap());
    fs::write(&bridge, other).unwrap();
    let (_, started) = started_by(&node, &pod, config());
    // The other build does not know the copy beside it, either.
    assert_eq!(started, ["bridge", "host-local"]);
    pod.del().run().assert_success();
    assert_eq!((pod.links(), node.reservations("cni0")), (vec![], vec![]));
}

/// The executable with another build ID.
fn another_build(bytes: &[u8]) -> Vec<u8> {
    let mut other = bytes.to_vec();
    let note = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
    let at = bytes.windows(note.len()).position(|window| window == note).expect("a build ID");
    other[at + note.len()] ^= 0xff;
    other
}

#[test]
fn an_add_that_is_killed_in_a_built_in_leaves_nothing_after_del() {
    let node = Node::new();
    node.built_ins(["bridge"]);
    node.recorder("blue");
    node.script("blue", json!({"ADD": {"sleep_ms": 30_000}}));
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let running = pod.add(with_ipam("blue")).start();
    node.wait_for_call("ADD blue eth0");
    assert_eq!(pod.links(), ["eth0"]);
    running.signal(Signal::SIGKILL);
    running.wait();
    pod.del().run().assert_success();
    assert!(pod.links().is_empty());
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

fn with_ipam(kind: &str) -> Value {
    json!({"delegates": [{
        "cniVersion": "1.0.0", "name": "n", "type": "bridge", "bridge": "cni0", "ipam": {"type": kind},
    }]})
}

#[test]
fn sigterm_in_a_built_in_undoes_the_add() {
    let node = Node::new();
    node.built_ins(["bridge"]);
    node.recorder("blue");
    node.script("blue", json!({"ADD": {"sleep_ms": 30_000}}));
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let started = Instant::now();
    let running = pod.add(with_ipam("blue")).start();
    node.wait_for_call("ADD blue eth0");
    running.signal(Signal::SIGTERM);
    running.wait().assert_error(11, ["asked to stop"]);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(pod.links().is_empty());
    // The plugin gives the address back, and so does Braid's own undoing.
    assert_eq!(node.calls_in_order(), ["ADD blue eth0", "DEL blue eth0", "DEL blue eth0"]);
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

/// host-local waits for the lock of its directory, which another plugin may hold for long.
#[test]
fn sigterm_reaches_a_built_in_that_waits_for_a_lock() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    node.write("ipam/cni0/lock", "");
    let lock = fs::File::open(node.path("ipam/cni0/lock")).unwrap();
    lock.lock().unwrap();
    let pod = node.pod("team-a", "web");
    let config =
        json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")], "delegateTimeout": "60s"});
    let running = pod.add(config).start();
    let started = Instant::now();
    while pod.links().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "no interface");
    }
    std::thread::sleep(Duration::from_millis(200));
    running.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    drop(lock);
    running.wait().assert_error(11, ["stop"]);
    assert_eq!((pod.links(), node.reservations("cni0")), (vec![], vec![]));
}

#[test]
fn a_limit_holds_for_a_built_in_that_waits_for_a_lock() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    node.write("ipam/cni0/lock", "");
    let lock = fs::File::open(node.path("ipam/cni0/lock")).unwrap();
    lock.lock().unwrap();
    let pod = node.pod("team-a", "web");
    let config =
        json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")], "delegateTimeout": "1s"});
    let outcome = pod.add(config).run();
    assert!(outcome.took < Duration::from_secs(25), "{outcome:?}");
    outcome.assert_error(11, ["host-local"]);
    drop(lock);
    pod.del().run().assert_success();
    assert_eq!((pod.links(), node.reservations("cni0")), (vec![], vec![]));
}

#[test]
fn a_configuration_that_a_built_in_refuses_is_code_7() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let mut network = node.bridge("cni0", "10.1.0.0/24");
    network["hairpinMode"] = json!("yes");
    let said = pod.add(json!({"delegates": [network]})).run();
    said.assert_error(7, ["plugin \"bridge\"", "hairpinMode"]);
    pod.del().run().assert_success();
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

#[test]
fn status_and_gc_of_a_built_in_are_in_the_process() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    let mut network = node.bridge("cni0", "10.1.0.0/30");
    network["cniVersion"] = json!("1.1.0");
    let config = json!({"cniVersion": "1.1.0", "delegates": [network]});
    let status = || node.call("STATUS", config.clone()).wrapper(watcher(&node)).run();
    status().assert_success();
    assert_eq!(executed(&node), Vec::<String>::new());
    let pod = node.pod("team-a", "web");
    pod.add(config.clone()).run().assert_success();
    status().assert_error(50, ["is full"]);
    assert_eq!(executed(&node), Vec::<String>::new());
    // A reservation of a pod that the runtime does not know any more.
    pod.del().run().assert_success();
    let valid = json!({"cni.dev/valid-attachments": []});
    node.call("GC", config.clone()).with(valid).wrapper(watcher(&node)).run().assert_success();
    assert_eq!(executed(&node), Vec::<String>::new());
}

/// A reference plugin finds the link under `host-local`, and starts it.
#[test]
fn a_reference_plugin_gets_its_addresses_from_a_built_in() {
    let node = Node::new();
    symlink(BRAID, node.path("bin/host-local")).unwrap();
    let pod = node.pod("team-a", "web");
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    assert_eq!(started_by(&node, &pod, config).1, ["bridge", "host-local"]);
    assert_eq!(pod.addresses("eth0"), ["10.1.0.2/24"]);
    pod.del().run().assert_success();
    assert_eq!(node.reservations("cni0"), Vec::<String>::new());
}

/// An IPAM plugin gets the request and the environment that a plugin of its own process would hand
/// on.
#[test]
fn an_ipam_plugin_is_told_the_same_by_a_built_in_as_by_the_reference_plugin() {
    let mut told = Vec::new();
    for links in [true, false] {
        let node = Node::new();
        if links {
            node.built_ins(["bridge"]);
        }
        node.recorder("blue");
        let answer =
            json!({"add_to_result": {"ips": [{"address": "10.1.0.2/24"}], "interfaces": null}});
        node.script("blue", json!({"ADD": answer}));
        let pod = node.pod("team-a", "web");
        pod.add(with_ipam("blue")).run();
        let call = node.calls().remove(0);
        let names = ["CNI_COMMAND", "CNI_IFNAME", "BRAID_DEPTH", "PATH"];
        let variables = names.map(|name| call.variable(name));
        let arguments = call.variable("CNI_ARGS").replace(&pod.container, "container");
        assert_eq!(call.variable("CNI_NETNS"), pod.netns_path());
        assert_eq!(call.variable("CNI_PATH"), node.plugin_path());
        told.push((call.stdin().clone(), variables, arguments));
    }
    assert_eq!(told[0], told[1]);
}

#[test]
fn a_file_that_is_no_braid_is_a_process_whatever_its_name() {
    let node = Node::new();
    fs::copy(Path::new("/bin/false"), node.path("bin/bridge")).unwrap();
    let pod = node.pod("team-a", "web");
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    pod.add(config).run().assert_error(100, ["plugin \"bridge\" exited with status 1"]);
}

/// Three networks of built-in plugins, as definitions.
fn three_networks(node: &Node) -> Value {
    for (number, name) in ["lan", "dmz"].into_iter().enumerate() {
        let mut network = node.bridge(&format!("br-{name}"), &format!("10.{}.0.0/24", 20 + number));
        network["ipam"].as_object_mut().unwrap().remove("routes");
        node.define("team-a", name, network);
    }
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")], "logLevel": "debug"})
}

#[test]
fn del_deletes_the_interfaces_of_several_networks_together() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    let config = three_networks(&node);
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    pod.add(config).networks("lan,dmz").run().assert_success();
    assert_eq!(pod.links(), ["eth0", "net1", "net2"]);
    let deleted = pod.del().run();
    deleted.assert_success();
    assert!(deleted.stderr.contains("3 interfaces deleted together"), "{}", deleted.stderr);
    assert!(pod.links().is_empty());
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

#[test]
fn an_interface_of_another_kind_is_not_deleted_with_the_others() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local"]);
    let config = three_networks(&node);
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    pod.add(config).networks("lan,dmz").run().assert_success();
    // A pod that may administer its network has put something else in its place.
    pod.ip("link del net1");
    pod.ip("link add net1 type bridge");
    let deleted = pod.del().run();
    deleted.assert_success();
    assert!(deleted.stderr.contains("2 interfaces deleted together"), "{}", deleted.stderr);
    assert_eq!(pod.links(), ["net1"]);
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}
