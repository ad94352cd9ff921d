//! What a delegate is given: its request as libcni derives it, its environment, and the directories
//! that it is looked for in.

use serde_json::{Value, json};

use super::parsed;
use crate::call::ANNOTATIONS;
use crate::node::{BRAID, Node, cluster};

#[test]
fn requests_are_derived_as_libcni_does() {
    let node = Node::new();
    node.recorders(["primary", "first", "second"]);
    let more = parsed(
        r#"{"number": 123456789012345678901234567890, "float": 1.10, "nested": {"list": [null, {"a": ""}]}, "args": {"x": 1}}"#,
    );
    let mut primary = cluster();
    primary["vendor"] = more.clone();
    primary["capabilities"] = json!({"portMappings": true, "bandwidth": false});
    let chain = json!({
        "cniVersion": "1.1.0", "name": "lan", "plugins": [
            {"type": "first", "vendor": more, "capabilities": {"ips": true, "mac": false}, "addresses": ["10.9.0.2/24"]},
            {"type": "second", "cniVersion": "0.1.0", "name": "other"},
        ]
    });
    node.define("team-a", "blue", chain);
    let pod = node.pod("team-a", "web");
    pod.add(json!({"delegates": [primary]}))
        .runtime_config("portMappings", json!([{"hostPort": 80, "containerPort": 8080}]))
        .runtime_config("bandwidth", json!({"ingressRate": 1}))
        .networks_json(json!([{"name": "blue", "ips": ["10.9.0.2/24"]}]))
        .run()
        .assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();

    let mut expected = json!({
        "cniVersion": "1.0.0", "name": "cluster", "type": "primary", "addresses": ["10.1.0.2/24"], "vendor": more,
        "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 8080}]},
    });
    assert_eq!(*node.only_call("ADD", "primary").stdin(), expected);
    let first = node.only_call("ADD", "first");
    expected = json!({
        "cniVersion": "1.1.0", "name": "lan", "type": "first", "vendor": more, "addresses": ["10.9.0.2/24"],
        "runtimeConfig": {"ips": ["10.9.0.2/24"]},
    });
    assert_eq!(*first.stdin(), expected);
    let result = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net1", "mac": node.only_call("ADD", "second").stdin()["prevResult"]["interfaces"][0]["mac"], "sandbox": pod.netns_path()}],
        "ips": [{"address": "10.9.0.2/24", "interface": 0}],
    });
    expected =
        json!({"cniVersion": "1.1.0", "name": "lan", "type": "second", "prevResult": result});
    assert_eq!(*node.only_call("ADD", "second").stdin(), expected);
    let order = ["primary eth0", "first net1", "second net1"];
    let forth = ["ADD", "CHECK"].map(|verb| order.map(|of| format!("{verb} {of}"))).concat();
    let back = order.iter().rev().map(|of| format!("DEL {of}"));
    assert_eq!(node.calls_in_order(), forth.into_iter().chain(back).collect::<Vec<_>>());
    // CHECK and DEL: the chain's final result, for every plugin of it.
    for verb in ["CHECK", "DEL"] {
        for kind in ["first", "second"] {
            let previous = node.only_call(verb, kind).stdin()["prevResult"].clone();
            assert_eq!(previous["interfaces"].as_array().map(Vec::len), Some(2), "{verb} {kind}");
            assert_eq!(previous["cniVersion"], "1.1.0");
        }
    }
    // The number is the same to the digit.
    assert!(first.stdin().to_string().contains("123456789012345678901234567890"));
}

#[test]
fn what_containerd_1_6_sends_reaches_the_primary_untouched() {
    let node = Node::new();
    let mut config = node.delegating();
    config["delegates"][0]["capabilities"] = json!({"portMappings": true, "dns": true});
    config["capabilities"] = json!({"portMappings": true, "dns": true, ANNOTATIONS: true});
    let ports = json!([{"HostPort": 80, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": ""}]);
    let dns = json!({"Servers": ["10.96.0.10"], "Searches": [], "Options": ["ndots:5"]});
    node.pod("team-a", "web")
        .add(config)
        .runtime_config("portMappings", ports.clone())
        .runtime_config("dns", dns.clone())
        .run()
        .assert_success();
    let sent = node.only_call("ADD", "primary").stdin()["runtimeConfig"].clone();
    assert_eq!(sent, json!({"portMappings": ports, "dns": dns}));
}

#[test]
fn a_primary_whose_capabilities_the_runtime_will_not_send_is_a_warning() {
    let node = Node::new();
    let mut config = node.delegating();
    config["delegates"][0]["capabilities"] = json!({"portMappings": true});
    config["capabilities"] = json!({ANNOTATIONS: true});
    let outcome = node.pod("team-a", "web").add(config).run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("portMappings"), "{}", outcome.stderr);
}

#[test]
fn the_runtimes_arguments_go_to_the_primary_only() {
    let node = Node::new();
    let all = json!({"portMappings": true, "bandwidth": true, ANNOTATIONS: true});
    let mut config = node.delegating();
    config["delegates"][0]["capabilities"] = all.clone();
    node.network("blue", json!({"capabilities": all}));
    let pod = node.pod("team-a", "web");
    pod.add(config)
        .runtime_config("portMappings", json!([{"hostPort": 80, "containerPort": 80}]))
        .networks("blue")
        .run()
        .assert_success();
    pod.del().run().assert_success();
    let declared = json!({
        "portMappings": [{"hostPort": 80, "containerPort": 80}],
        ANNOTATIONS: {"k8s.v1.cni.cncf.io/networks": "blue"},
    });
    for verb in ["ADD", "DEL"] {
        assert_eq!(node.only_call(verb, "blue").stdin()["runtimeConfig"], Value::Null, "{verb}");
        assert_eq!(node.only_call(verb, "primary").stdin()["runtimeConfig"], declared, "{verb}");
    }
}

/// Names and values that a delegate gets, for an interface.
fn expected_environment(
    node: &Node,
    pod: &crate::pod::Pod<'_>,
    verb: &str,
) -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap();
    let mut pairs = [
        ("BRAID_DEPTH", "1".to_owned()),
        ("CNI_ARGS", pod.args()),
        ("CNI_COMMAND", verb.to_owned()),
        ("CNI_CONTAINERID", pod.container.clone()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_NETNS", pod.netns_path()),
        ("CNI_PATH", node.plugin_path()),
        ("PATH", path),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    pairs.sort();
    pairs
}

fn sorted(mut pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    pairs.sort();
    pairs
}

#[test]
fn the_environment_of_a_delegate_is_exact() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating())
        .env("LD_LIBRARY_PATH", "/nowhere")
        .env("CNI_EXTRA", "x")
        .env("HTTP_PROXY", "http://192.0.2.1")
        .run()
        .assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    for verb in ["ADD", "CHECK", "DEL"] {
        let environment = sorted(node.only_call(verb, "primary").environment());
        assert_eq!(environment, expected_environment(&node, &pod, verb));
    }
}

#[test]
fn repeated_variables_and_a_preload_do_not_reach_a_delegate() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating())
        .env_again("LD_PRELOAD", "/nowhere/evil.so")
        .env_again("CNI_IFNAME", "eth7")
        .env_again("CNI_PATH", "/nowhere")
        .env_again("PATH", "/nowhere")
        .env_again("CNI_COMMAND", "DEL")
        .run()
        .assert_success();
    let environment = sorted(node.only_call("ADD", "primary").environment());
    assert_eq!(environment, expected_environment(&node, &pod, "ADD"));
}

#[test]
fn variables_are_passed_on_by_name() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    let names = ["KUBERNETES_SERVICE_HOST", "ABSENT", "CNI_IFNAME", "BRAID_DEPTH", "PATH"];
    pod.add(node.delegating())
        .with(json!({"passEnvironment": names}))
        .env("KUBERNETES_SERVICE_HOST", "10.96.0.1")
        .env("OTHER", "x")
        .run()
        .assert_success();
    let mut expected = expected_environment(&node, &pod, "ADD");
    expected.push(("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned()));
    assert_eq!(sorted(node.only_call("ADD", "primary").environment()), sorted(expected));
}

#[test]
fn plugins_are_found_in_cni_path_then_in_bin_dir() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.write("other/.recorder/x", "");
    std::fs::rename(node.path("bin/blue"), node.path("other/blue")).unwrap();
    let pod = node.pod("team-a", "web");
    let missing = pod.add(node.delegating()).networks("blue").run();
    missing.assert_error(7, ["plugin \"blue\" is not installed", &node.path_text("bin")]);
    assert_eq!(node.calls_in_order(), Vec::<String>::new());
    pod.add(node.delegating())
        .with(json!({"binDir": node.path("other")}))
        .networks("blue")
        .run()
        .assert_success();
    assert!(node.path("other/.recorder/calls").exists());
    let path = format!("{}:{}", node.plugin_path(), node.path_text("other"));
    assert_eq!(node.only_call("ADD", "primary").variable("CNI_PATH"), path);
    // The runtime's own directories come first.
    node.recorder("blue");
    let pod = node.pod("team-a", "db");
    pod.add(node.delegating())
        .with(json!({"binDir": node.path("other")}))
        .networks("blue")
        .run()
        .assert_success();
    node.only_call("ADD", "blue");
}

#[test]
fn braid_inside_braid_is_refused_on_add_and_silent_on_del() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    let nested = |call: crate::call::Call<'_>| call.env("BRAID_DEPTH", "1").run();
    nested(pod.add(node.delegating())).assert_error(7, ["braid was started by a braid"]);
    nested(pod.check()).assert_error(7, ["braid was started by a braid"]);
    nested(pod.del()).assert_success();
    nested(node.call("GC", node.delegating())).assert_success();
    nested(node.call("STATUS", node.delegating()))
        .assert_error(50, ["braid was started by a braid"]);
    assert_eq!(node.calls_in_order(), Vec::<String>::new());
    // Under another name, it is known by its file.
    std::os::unix::fs::symlink(BRAID, node.path("bin/disguised")).unwrap();
    let inner = json!({"name": "inner", "type": "disguised", "delegates": [cluster()]});
    let config = json!({"delegates": [inner]});
    pod.add(config.clone()).run().assert_error(7, ["plugin \"disguised\" is braid itself"]);
    pod.del().run().assert_success();
    node.call("STATUS", config)
        .with(json!({"cniVersion": "1.1.0"}))
        .run()
        .assert_error(50, ["plugin \"disguised\" is braid itself"]);
    // Under its own, the plan refuses.
    pod.add(json!({"delegates": [{"name": "inner", "type": "braid"}]}))
        .run()
        .assert_error(7, ["braid or multus"]);
    node.define("team-a", "loop", json!({"type": "multus"}));
    pod.add(node.delegating()).networks("loop").run().assert_error(7, ["braid or multus"]);
}

#[test]
fn auto_skips_chains_with_braid_or_multus_in_them() {
    let node = Node::new();
    node.recorder("primary");
    node.write("net.d/00-braid.conflist", r#"{"name": "node", "plugins": [{"type": "braid"}]}"#);
    node.write(
        "net.d/01-chained.conflist",
        r#"{"name": "a", "plugins": [{"type": "ptp"}, {"type": "multus"}]}"#,
    );
    node.write("net.d/05-broken.conf", "{");
    node.write("net.d/06-readme.txt", "{}");
    node.write("net.d/10-cluster.conf", &cluster().to_string());
    node.write("net.d/20-late.conf", r#"{"name": "late", "type": "absent"}"#);
    node.pod("team-a", "web").add(json!({"clusterNetwork": "auto"})).run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0"]);
}
