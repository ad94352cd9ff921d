//! Plugins that hang, flood, lie, vanish, or do to the sandbox what they do not say: each with what
//! exactly comes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::node::Node;
use crate::pod::Pod;

const NOTHING: [&str; 0] = [];

/// A node whose primary and networks blue and red make real interfaces.
fn node() -> Node {
    let node = Node::new();
    node.recorder("primary");
    node.network("blue", json!({"addresses": ["10.8.0.2/24"], "link": true}));
    node.network("red", json!({"addresses": ["10.9.0.2/24"], "link": true}));
    node
}

fn config() -> Value {
    let primary = json!({
        "cniVersion": "1.0.0", "name": "cluster", "type": "primary", "addresses": ["10.1.0.2/24"], "link": true,
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
    });
    json!({"delegates": [primary]})
}

const ALL_UNDONE: [&str; 6] = [
    "ADD primary eth0",
    "ADD blue net1",
    "ADD red net2",
    "DEL red net2",
    "DEL blue net1",
    "DEL primary eth0",
];

/// Nothing is left of an ADD that has failed.
#[track_caller]
fn assert_undone(node: &Node, pod: &Pod<'_>) {
    assert_eq!(node.calls_in_order(), ALL_UNDONE);
    assert_eq!(pod.links(), NOTHING);
    for directory in ["records", "locks", "orphans", "aside"] {
        assert_eq!(node.state(directory), NOTHING, "{directory}");
    }
    node.forget_calls();
}

/// Braid with so much memory, in KiB, that it cannot keep what a plugin floods it with.
fn confined(node: &Node, kib: usize) -> PathBuf {
    let script = format!("#!/bin/bash\nulimit -v {kib}\nexec {}\n", crate::node::BRAID);
    node.write("confined", &script);
    fs::set_permissions(node.path("confined"), fs::Permissions::from_mode(0o755)).unwrap();
    node.path("confined")
}

// Floods.

#[test]
fn a_hundred_megabytes_on_stdout_are_not_kept_and_undo_the_add() {
    let node = node();
    node.script("red", json!({"ADD": {"link": true, "flood_mib": 100}}));
    let pod = node.pod("team-a", "web");
    let add = pod.add(config()).networks("blue,red").program(confined(&node, 100 << 10)).run();
    add.assert_error(
        100,
        ["network \"team-a/red\" on net2: plugin \"red\" printed more than 1 MiB and was killed"],
    );
    assert!(add.took < Duration::from_secs(20), "{:?}", add.took);
    assert_undone(&node, &pod);
}

#[test]
fn a_hundred_megabytes_on_stderr_are_read_and_dropped() {
    let node = node();
    let flood = "echo first words >&2; head -c 100M /dev/zero | tr '\\0' x >&2";
    node.script("red", json!({"ADD": {"shell": flood}, "DEL": {"shell": flood}}));
    let confined = confined(&node, 100 << 10);
    let pod = node.pod("team-a", "web");
    pod.add(config()).networks("blue,red").program(&confined).run().assert_success();
    assert_eq!(pod.links(), ["eth0", "net1", "net2"]);
    // One that fails is quoted with its first line, whatever came after it.
    node.script("red", json!({"DEL": {"shell": flood, "stdout": "", "exit": 1}}));
    let del = || node.call("DEL", config()).of_pod(&pod).program(&confined).run();
    let said = "plugin \"red\" exited with status 1 without an error in the protocol's form: \
                \"first words\"";
    del().assert_error(100, [said]);
    node.script("red", json!({}));
    del().assert_success();
    assert_eq!((pod.links(), node.state("records").len()), (vec![], 0));
}

// Lies.

#[test]
fn a_result_with_status_1_is_a_failure_that_quotes_it_and_is_undone() {
    let node = node();
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]});
    node.script("red", json!({"ADD": {"link": true, "result": result, "exit": 1}}));
    let pod = node.pod("team-a", "web");
    let error = pod.add(config()).networks("blue,red").run().assert_error(100, []);
    assert_eq!(
        error["msg"],
        "pod team-a/web: network \"team-a/red\" on net2: plugin \"red\" exited with status 1 \
         without an error in the protocol's form: \
         \"{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.9.0.2/24\"}]}\""
    );
    assert_undone(&node, &pod);
}

#[test]
fn an_error_with_status_0_is_a_failure_of_every_verb() {
    let node = node();
    let failing = |verb: &str| json!({verb: {"error": {"code": 42, "msg": "no luck"}, "exit": 0}});
    let pod = node.pod("team-a", "web");
    let said = "network \"team-a/red\" on net2: plugin \"red\": no luck";
    node.script("red", failing("ADD"));
    pod.add(config()).networks("blue,red").run().assert_error(42, [said]);
    assert_undone(&node, &pod);
    node.script("red", json!({}));
    pod.add(config()).networks("blue,red").run().assert_success();
    node.script("red", failing("CHECK"));
    pod.check().run().assert_error(42, [said]);
    node.script("red", failing("DEL"));
    pod.del().run().assert_error(42, ["1 of 3 networks could not be torn down", said]);
    assert_eq!((node.state("records").len(), pod.links()), (1, vec!["net2".to_owned()]));
    node.script("red", json!({}));
    pod.del().run().assert_success();
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

// Ends.

#[test]
fn a_plugin_that_is_killed_is_a_failure_that_says_so_and_is_undone() {
    let node = node();
    for (signal, number) in [("KILL", 9), ("ABRT", 6), ("TERM", 15)] {
        node.script(
            "red",
            json!({"ADD": {"shell": format!("ip -n $(basename $CNI_NETNS) link add \
                                                            $CNI_IFNAME type bridge; kill \
                                                            -{signal} $PPID")}}),
        );
        let pod = node.pod("team-a", "web");
        let said = format!(
            "network \"team-a/red\" on net2: plugin \"red\" was killed by signal {number} without \
             an error in the protocol's form"
        );
        pod.add(config()).networks("blue,red").run().assert_error(100, [&said]);
        assert_undone(&node, &pod);
    }
}

#[test]
fn a_plugin_that_hangs_with_its_children_is_ended_with_them_and_undone() {
    let node = node();
    let pid = node.path_text("pid");
    let shell = format!("sleep 300 & echo $! > {pid}; wait");
    node.script("red", json!({"ADD": {"link": true, "shell": shell}}));
    let pod = node.pod("team-a", "web");
    let call = pod.add(config()).with(json!({"delegateTimeout": "2s"})).networks("blue,red");
    call.run().assert_error(
        11,
        ["network \"team-a/red\" on net2: plugin \"red\" did not end within 2 s and was killed"],
    );
    assert_undone(&node, &pod);
    assert_gone(fs::read_to_string(node.path("pid")).unwrap().trim());
}

#[test]
fn a_child_that_keeps_the_outputs_open_is_ended_soon_and_its_parents_word_counts() {
    let node = node();
    let pid = node.path_text("pid");
    node.script("red", json!({"ADD": {"shell": format!("sleep 300 & echo $! > {pid}")}}));
    let pod = node.pod("team-a", "web");
    let add = pod.add(config()).networks("blue,red").run();
    let result = add.assert_success();
    assert_eq!(result["ips"].as_array().unwrap().len(), 3, "{result}");
    assert!(add.took < Duration::from_secs(15), "{:?}", add.took);
    assert_gone(fs::read_to_string(node.path("pid")).unwrap().trim());
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(pod.links(), NOTHING);
}

#[track_caller]
fn assert_gone(process: &str) {
    let lives = || {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    };
    for _ in 0..200 {
        if !lives() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("process {process} lives on");
}

/// The plan has found it, and it is gone when its turn comes: nothing of its network is there to
/// undo.
#[test]
fn a_plugin_that_disappears_between_plan_and_start_leaves_nothing_to_undo_of_its_network() {
    let node = node();
    node.script("blue", json!({"ADD": {"shell": format!("rm {}", node.path_text("bin/red"))}}));
    let pod = node.pod("team-a", "web");
    let add = pod.add(config()).networks("blue,red").run();
    let error =
        add.assert_error(7, ["network \"team-a/red\" on net2: plugin \"red\" is not installed"]);
    assert_eq!(error.get("details"), None, "{error:?}");
    let undone = ["ADD primary eth0", "ADD blue net1", "DEL blue net1", "DEL primary eth0"];
    assert_eq!(node.calls_in_order(), undone);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
    // The runtime's DEL has nothing to wait for either.
    pod.del().run().assert_success();
}

/// One that is there and cannot be started is no different.
#[test]
fn a_plugin_that_cannot_be_started_leaves_nothing_to_undo_of_its_network() {
    let node = node();
    fs::remove_file(node.path("bin/red")).unwrap();
    node.write("bin/red", "#!/nowhere/to/be/found\n");
    fs::set_permissions(node.path("bin/red"), fs::Permissions::from_mode(0o755)).unwrap();
    let pod = node.pod("team-a", "web");
    let add = pod.add(config()).networks("blue,red").run();
    let error =
        add.assert_error(5, ["network \"team-a/red\" on net2: plugin \"red\" cannot be started"]);
    assert_eq!(error.get("details"), None, "{error:?}");
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

#[test]
fn a_plugin_later_in_a_chain_that_disappears_leaves_the_rest_of_the_chain_to_be_undone() {
    let node = node();
    node.recorder("tail");
    let chain =
        json!([{"type": "blue", "addresses": ["10.7.0.2/24"], "link": true}, {"type": "tail"}]);
    node.define(
        "team-a",
        "chain",
        json!({"cniVersion": "1.0.0", "name": "chain", "plugins": chain}),
    );
    node.script("blue", json!({"ADD": {"shell": format!("rm {}", node.path_text("bin/tail"))}}));
    let pod = node.pod("team-a", "web");
    let add = pod.add(config()).networks("chain").run();
    let error =
        add.assert_error(7, ["network \"team-a/chain\" on net1: plugin \"tail\" is not installed"]);
    // It may have been there for a moment: its DEL is due, and the record says so.
    assert!(
        error["details"].as_str().unwrap().contains("plugin \"tail\" is not installed"),
        "{error:?}"
    );
    assert_eq!((node.state("records").len(), pod.links()), (1, vec![]));
    pod.del().run().assert_error(7, ["plugin \"tail\" is not installed"]);
    node.recorder("tail");
    pod.del().run().assert_success();
    assert_eq!(node.state("records"), NOTHING);
}

/// The pod would take one network's address for another's, and so would a reader of its status.
#[test]
fn two_networks_that_give_each_other_s_interface_are_refused_and_undone() {
    let node = node();
    let on = |interface: &str, address: &str| {
        json!({"ADD": {"link": true, "result": {
            "cniVersion": "1.0.0", "interfaces": [{"name": interface, "sandbox": "/run/netns/x"}],
            "ips": [{"address": address, "interface": 0}]
        }}})
    };
    node.script("blue", on("net2", "10.7.0.2/24"));
    node.script("red", on("net1", "10.8.0.2/24"));
    let pod = node.pod("team-a", "web");
    let said = "network \"team-a/blue\" on net1: plugin \"blue\" printed a result that is not \
                valid: ips[0] puts 10.7.0.2/24 on \"net2\", the interface of network \
                \"team-a/red\"";
    pod.add(config()).networks("blue,red").run().assert_error(100, [said]);
    assert_undone(&node, &pod);
}

/// A plugin that is too old for the network's version refuses ADD and DEL alike: the pod must be
/// able to go.
#[test]
fn a_plugin_that_does_not_know_the_version_leaves_nothing_to_undo() {
    let node = node();
    let refusal = json!({"error": {"code": 1, "msg": "incompatible CNI versions"}});
    node.script("red", json!({"ADD": refusal, "DEL": refusal}));
    let pod = node.pod("team-a", "web");
    let error =
        pod.add(config()).networks("blue,red").run().assert_error(1, ["incompatible CNI versions"]);
    assert_eq!(error.get("details"), None, "{error:?}");
    assert_undone(&node, &pod);
    // One that has attached the network, and was replaced by an older one since, has something to
    // tear down.
    node.script("red", json!({}));
    pod.add(config()).networks("blue,red").run().assert_success();
    node.script("red", json!({"DEL": refusal}));
    pod.del().run().assert_error(
        1,
        ["network \"team-a/red\" on net2: plugin \"red\": incompatible CNI versions"],
    );
    assert_eq!(node.state("records").len(), 1);
}

// What a plugin does to the sandbox and does not say.

/// `shell` runs in the sandbox while blue is attached.
fn blue_does(node: &Node, shell: &str) {
    let inside = format!("nsenter --net=$CNI_NETNS sh -ec '{shell}'");
    node.script("blue", json!({"ADD": {"shell": inside}}));
}

#[test]
fn an_interface_that_a_plugin_does_not_report_is_not_braids() {
    let node = node();
    blue_does(&node, "ip link add spare type bridge");
    let pod = node.pod("team-a", "web");
    let result = pod.add(config()).networks("blue,red").run().assert_success();
    assert_eq!(pod.links(), ["eth0", "net1", "net2", "spare"]);
    let named: Vec<&Value> =
        result["interfaces"].as_array().unwrap().iter().map(|link| &link["name"]).collect();
    assert_eq!(named, ["eth0", "net1", "net2"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(pod.links(), ["spare"], "it goes with the sandbox");
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn an_interface_that_takes_the_next_ones_name_fails_that_one_and_all_is_undone() {
    let node = node();
    blue_does(&node, "ip link add net2 type bridge");
    let pod = node.pod("team-a", "web");
    pod.add(config())
        .networks("blue,red")
        .run()
        .assert_error(999, ["network \"team-a/red\" on net2: plugin \"red\":"]);
    assert_undone(&node, &pod);
}

#[test]
fn a_plugin_that_deletes_the_primarys_interface_undoes_the_add() {
    let node = node();
    blue_does(&node, "ip link del eth0");
    let pod = node.pod("team-a", "web");
    let said = "network \"cluster\" on eth0: its interface was there and is gone: the plugins of a \
                network that was attached after it have removed or renamed it";
    pod.add(config()).networks("blue,red").run().assert_error(100, [said]);
    assert_undone(&node, &pod);
    // The same behind a primary that is the runtime's.
    let chained = node.pod("team-a", "chained");
    chained.ip("link add eth0 type bridge");
    let said = said.replace("cluster", "node");
    chained.add_chained(json!({})).networks("blue,red").run().assert_error(100, [&said]);
    assert_eq!((node.state("records").len(), chained.links()), (0, vec![]));
}

#[test]
fn a_plugin_that_deletes_another_networks_interface_undoes_the_add() {
    let node = node();
    blue_does(&node, "ip link set net1 name elsewhere");
    let pod = node.pod("team-a", "web");
    let said = "network \"team-a/red\" on net1: its interface was there and is gone";
    pod.add(config()).networks("red,blue").run().assert_error(100, [said]);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec!["elsewhere".to_owned()]));
}

/// Routes through the primary stay as the plugins made them if no pod asks for the default route:
/// what they have made of them is what CHECK holds the pod to.
#[test]
fn routes_that_a_plugin_moves_stay_moved_and_check_watches_them() {
    let node = node();
    blue_does(&node, "ip route del default; ip route add default dev eth0 via 10.1.0.99");
    let pod = node.pod("team-a", "web");
    pod.add(config()).networks("blue,red").run().assert_success();
    assert_eq!(pod.default_routes(4), ["via 10.1.0.99 dev eth0"]);
    pod.check().run().assert_success();
    pod.ip("route replace default via 10.1.0.1 dev eth0");
    pod.check().run().assert_error(101, ["default route via 10.1.0.99 on eth0 is gone"]);
    pod.del().run().assert_success();
    assert_eq!(pod.links(), NOTHING);
}

/// If a pod has asked for it, Braid moves it after the last plugin, whatever that has left.
#[test]
fn a_default_route_that_was_asked_for_does_not_depend_on_what_plugins_do_to_routes() {
    let node = node();
    blue_does(&node, "ip route del default");
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "blue"}, {"name": "red", "default-route": ["10.9.0.1"]}]);
    pod.add(config()).networks_json(asked).run().assert_success();
    assert_eq!(pod.default_routes(4), ["via 10.9.0.1 dev net2"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
}
