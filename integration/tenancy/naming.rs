//! The name under which plugins know a tenant's network, and what they have kept under another one.

use serde_json::{Value, json};

use super::{Cluster, policy};
use crate::node::text;
use crate::operator::Tool;

/// The policy of the tests, with these plugins and their keys.
fn with_plugins(plugins: Value) -> Value {
    let mut policy = policy();
    policy["allowedPlugins"] = plugins;
    policy["allowedSubnets"] = json!({"10.20.0.0/16": ["team-a"], "fd00:20::/48": ["team-a"]});
    policy
}

/// The names that the plugin `blue` was called with, by verb.
fn names(cluster: &Cluster) -> Vec<String> {
    let calls = cluster.node.calls().into_iter().filter(|call| call.plugin() == "blue");
    calls.map(|call| format!("{} {}", call.verb(), text(&call.stdin()["name"]))).collect()
}

/// DEL, CHECK and GC use the name of the record, whatever the policy says by then; people see the
/// definition's own.
#[test]
fn plugins_get_the_scoped_name_and_people_the_definitions_own() {
    let cluster = Cluster::new();
    cluster.publish(
        "team-a",
        "lan",
        json!({}),
        Some(json!({"cniVersion": "1.1.0", "name": "lan", "type": "blue"})),
    );
    cluster.server.add_pod("team-a", "web", "uid-web", json!({}));
    let enforced = with_plugins(json!({"blue": []}));
    let config = |policy: Value| {
        let mut config = cluster.config(policy);
        config["statusPolicy"] = json!("attached");
        config
    };
    let pod = cluster.node.pod("team-a", "web");
    pod.add(config(enforced.clone())).networks("lan").run().assert_success();
    let web = cluster.server.objects().get("pods", "team-a", "web").unwrap().clone();
    let status = text(&web["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]);
    let status: Value = serde_json::from_str(status).unwrap();
    assert_eq!(status[1]["name"], "team-a/lan");
    let decision = cluster.decisions().remove(0);
    let shown = [&decision["decision"], &decision["network"], &decision["scopedName"]];
    assert_eq!(shown, ["allowed", "team-a/lan", "team-a.lan"]);
    pod.check().with(json!({"policy": null})).run().assert_success();
    let living = json!([{"containerID": pod.container, "ifname": "eth0"}]);
    let gc = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": living});
    cluster.node.call("GC", config(Value::Null)).with(gc).run().assert_success();
    pod.del().with(json!({"policy": null})).run().assert_success();
    let all = ["ADD", "CHECK", "GC", "DEL"].map(|verb| format!("{verb} team-a.lan"));
    assert_eq!(names(&cluster), all);

    cluster.node.script("blue", json!({"ADD": {"error": {"code": 17, "msg": "no link"}}}));
    let outcome = pod.add(config(enforced.clone())).networks("lan").run();
    outcome.assert_error(17, ["network \"team-a/lan\" on net1"]);
    assert!(!outcome.stdout.contains("team-a.lan"), "{}", outcome.stdout);
}

/// Audit mode changes nothing, and says what would change; so does a trusted namespace, and says
/// nothing.
#[test]
fn audit_mode_leaves_the_name_and_says_what_it_would_be() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"name": "lan", "type": "blue"})));
    let pod = cluster.node.pod("team-a", "web");
    let audit = json!({"mode": "audit", "allowedPlugins": {"blue": []}});
    let outcome = pod.add(cluster.config(audit)).networks("lan").run();
    outcome.assert_success();
    let said =
        "the plugins of network \"team-a/lan\" would know it as \"team-a.lan\" and not as \"lan\"";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    let decision = cluster.decisions().remove(0);
    assert_eq!([&decision["decision"], &decision["scopedName"]], ["allowed", "team-a.lan"]);
    pod.del().run().assert_success();
    let trusted = json!({"trustedNamespaces": ["team-a"]});
    pod.add(cluster.config(trusted)).networks("lan").run().assert_success();
    assert_eq!(names(&cluster), ["ADD lan", "DEL lan", "ADD lan"]);
    assert_eq!(cluster.decisions()[1]["scopedName"], Value::Null);
}

/// A pod from before the policy keeps its addresses: the pool of the new name does not give them
/// out.
#[test]
fn addresses_from_before_are_not_given_out_again() {
    let cluster = Cluster::new();
    let ipam = cluster.node.host_local("10.20.1.0/24 fd00:20::/64");
    let lan = json!({"cniVersion": "1.0.0", "name": "lan", "type": "bridge", "bridge": "br-a0", "ipam": ipam});
    cluster.publish("team-a", "lan", json!({}), Some(lan));
    let enforced = with_plugins(json!({"host-local": ["ranges", "subnet", "dataDir"]}));
    let start = |name: &str, policy: Value| {
        let pod = cluster.node.pod("team-a", name);
        pod.add(cluster.config(policy)).networks("lan").run().assert_success();
        pod
    };
    let before = [start("one", Value::Null), start("two", Value::Null)];
    assert_eq!(before[1].addresses("net1"), ["10.20.1.3/24", "fd00:20::3/64"]);
    let after = start("three", enforced.clone());
    assert_eq!(
        after.addresses("net1"),
        ["10.20.1.4/24", "fd00:20::4/64"],
        "neither of those that are in use"
    );
    assert!(after.pings("10.20.1.2") && after.pings("10.20.1.3"));
    after.check().run().assert_success();

    for pod in &before {
        pod.del().run().assert_success();
    }
    assert_eq!(cluster.node.reservations("lan"), Vec::<String>::new(), "by the recorded name");
    let next = start("four", enforced);
    let mine = |names: Vec<String>| {
        names.into_iter().filter(|name| !name.starts_with('.')).collect::<Vec<_>>()
    };
    let expected = ["10.20.1.4", "10.20.1.5", "fd00:20::4", "fd00:20::5"];
    assert_eq!(
        mine(cluster.node.reservations("team-a.lan")),
        expected,
        "what was given back is free"
    );
    // The policy is taken back: the other way round, the same holds.
    let back = start("five", Value::Null);
    assert_eq!(back.addresses("net1"), ["10.20.1.6/24", "fd00:20::6/64"]);
    assert!(mine(cluster.node.reservations("lan")).contains(&"10.20.1.5".to_owned()), "held");
    back.del().run().assert_success();
    next.del().run().assert_success();
    after.del().run().assert_success();
    assert_eq!(mine(cluster.node.reservations("team-a.lan")), Vec::<String>::new());
}

/// Addresses that cannot be held are not risked: nothing was started.
#[test]
fn a_pool_that_cannot_be_held_gives_out_nothing() {
    let cluster = Cluster::new();
    let ipam = cluster.node.host_local("10.20.1.0/24");
    let lan = json!({"cniVersion": "1.0.0", "name": "lan", "type": "bridge", "bridge": "br-a0", "ipam": ipam});
    cluster.publish("team-a", "lan", json!({}), Some(lan));
    cluster.node.write("ipam/lan/10.20.1.2", "c1\r\nnet1");
    cluster.node.write("ipam/team-a.lan", "no directory");
    let enforced = with_plugins(json!({"host-local": ["ranges", "subnet", "dataDir"]}));
    let pod = cluster.node.pod("team-a", "web");
    let outcome = pod.add(cluster.config(enforced)).networks("lan").run();
    outcome.assert_error(
        5,
        ["network \"team-a/lan\" on net1", "cannot be kept for the pods that have them"],
    );
    assert_eq!((pod.links(), cluster.node.state("records")), (vec![], vec![]));
}

#[test]
fn explain_says_the_scoped_name() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"name": "lan", "type": "blue"})));
    let mut entry = cluster.config(with_plugins(json!({"blue": []})));
    entry["type"] = json!("braid");
    entry["confDir"] = json!(cluster.node.path("braid.d"));
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    cluster.node.write("net.d/00-braid.conflist", &conflist.to_string());
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "team-a", "annotations": {"k8s.v1.cni.cncf.io/networks": "lan"}},
    });
    let (conf_dir, bin_dir) = (cluster.node.path_text("net.d"), cluster.node.path_text("bin"));
    let place =
        ["explain", "--conf-dir", &conf_dir, "--bin-dir", &bin_dir, "--runtime", "containerd"];
    let explain = |more: &[&str]| {
        Tool::new(&cluster.node, &[place.as_slice(), more].concat()).input(&pod.to_string()).run()
    };
    let said = explain(&["-"]);
    assert!(
        said.stdout.contains("net1: the plugins know the network as team-a.lan"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    let json: Value = serde_json::from_str(&explain(&["--output", "json", "-"]).raw).unwrap();
    let attached = &json["pods"][0]["attachments"][1];
    assert_eq!(
        (&attached["network"], &attached["scopedName"]),
        (&json!("team-a/lan"), &json!("team-a.lan"))
    );
}
