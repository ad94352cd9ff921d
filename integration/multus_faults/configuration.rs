//! Faults in what is read before ADD does anything: configurations, definitions, annotations,
//! devices.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::{cluster, node};
use crate::call::{DEFAULT_NETWORK, Outcome};
use crate::node::{NOTHING, Recorded};

/// Whether what went to a plugin has a key, and it is not `null`.
fn given(stdin: &Value, capability: &str) -> bool {
    !stdin["runtimeConfig"][capability].is_null()
}

/// A failure said in the protocol's words, rather than a process that fell over.
#[track_caller]
fn assert_orderly(outcome: &Outcome) {
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    let error = outcome.json();
    assert!(error["code"].as_u64().is_some_and(|code| code > 0), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
}

#[test]
fn fault_03_isolation_holds_for_the_default_network_annotation() {
    let node = node();
    node.define("team-b", "theirs", json!({"type": "red", "addresses": ["10.7.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    for annotation in ["team-b/theirs", "[{\"name\": \"theirs\", \"namespace\": \"team-b\"}]"] {
        pod.add(cluster())
            .annotation(DEFAULT_NETWORK, annotation)
            .run()
            .assert_error(7, ["team-b/theirs", "is not shared with namespace team-a"]);
    }
    assert_eq!(node.calls_in_order(), NOTHING);
}

#[test]
fn fault_04_the_kubelets_arguments_do_not_leak_to_extra_networks() {
    let node = node();
    let capabilities = json!({"portMappings": true, "bandwidth": true});
    node.define("team-a", "blue", json!({"type": "blue", "capabilities": capabilities}));
    let mut config = cluster();
    config["delegates"][0]["capabilities"] = capabilities;
    let pod = node.pod("team-a", "web");
    pod.add(config)
        .runtime_config(
            "portMappings",
            json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]),
        )
        .runtime_config("bandwidth", json!({"ingressRate": 1000, "ingressBurst": 1000}))
        .networks("blue")
        .run()
        .assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    for verb in ["ADD", "CHECK", "DEL"] {
        for capability in ["portMappings", "bandwidth"] {
            let primary = node.only_call(verb, "cluster");
            assert!(given(primary.stdin(), capability), "the primary's {verb} lacks {capability}");
            assert!(
                !given(node.only_call(verb, "blue").stdin(), capability),
                "{verb} leaks {capability}"
            );
        }
    }
}

#[test]
fn fault_05_a_cluster_network_by_conflist_path_is_whole_for_every_verb() {
    let node = node();
    let conflist = json!({"cniVersion": "1.1.0", "name": "cluster", "plugins": [
        {"type": "cluster", "ipam": {"type": "host-local", "key": "kept"}, "mtu": 1400},
        {"type": "red", "last": true},
    ]});
    node.write("net.d/10-cluster.conflist", &conflist.to_string());
    let config = json!({"cniVersion": "1.1.0", "clusterNetwork": node.path_text("net.d/10-cluster.conflist")});
    let pod = node.pod("team-a", "web");
    pod.add(config.clone()).run().assert_success();
    pod.check().run().assert_success();
    node.call("STATUS", config.clone()).run().assert_success();
    let valid =
        json!({"cni.dev/valid-attachments": [{"containerID": pod.container, "ifname": "eth0"}]});
    node.call("GC", config).with(valid).run().assert_success();
    pod.del().run().assert_success();
    for verb in ["ADD", "CHECK", "STATUS", "GC", "DEL"] {
        let first = node.only_call(verb, "cluster");
        let expected = json!(["1.1.0", "cluster", {"type": "host-local", "key": "kept"}, 1400]);
        let stdin = first.stdin();
        assert_eq!(
            json!([stdin["cniVersion"], stdin["name"], stdin["ipam"], stdin["mtu"]]),
            expected,
            "{verb}"
        );
        assert_eq!(node.only_call(verb, "red").stdin()["last"], true, "{verb}");
    }
}

#[test]
fn fault_08_nothing_missing_becomes_a_success_without_addresses() {
    let node = node();
    let pod = node.pod("team-a", "web");
    let before = node.dump();
    node.script("red", json!({"ADD": {"stdout": ""}}));
    let previous =
        json!({"cniVersion": "1.0.0", "interfaces": [], "ips": [{"address": "10.1.0.2/24"}]});
    let failures = [
        pod.add(cluster()).networks("absent").run(),
        pod.add(cluster()).networks("red").run(),
        pod.add(json!({"clusterNetwork": "absent"})).run(),
        pod.add(json!({})).prev_result(previous).without_annotations().run(),
    ];
    for failure in &failures {
        assert_orderly(failure);
        assert!(!failure.stdout.contains("0.0.0.0"), "{}", failure.stdout);
    }
    assert_eq!(node.leftovers(&before), NOTHING);
    // Without annotations the cluster's network is still the pod's, with an address.
    let result = pod.add(cluster()).without_annotations().run().assert_success();
    assert_eq!(result["ips"][0]["address"], "10.1.0.2/24");
}

#[test]
fn fault_13_nothing_a_tenant_writes_makes_the_process_panic() {
    let node = node();
    node.define("team-a", "odd", json!({"type": "blue", "args": "text"}));
    node.define("team-a", "odder", json!({"type": "blue", "args": {"cni": [1]}}));
    let pod = node.pod("team-a", "web");
    let networks = [
        "[null]",
        "[[]]",
        "[1]",
        "{}",
        "null",
        "[{}]",
        "[{\"name\": null}]",
        "[{\"name\": \"blue\", \"cni-args\": []}]",
        "[{\"name\": \"blue\", \"ips\": null, \"mac\": []}]",
        "[{\"name\": \"blue\", \"portMappings\": [null]}]",
        "[{\"name\": \"blue\", \"bandwidth\": {\"ingressRate\": -1}}]",
        "[{\"name\": \"blue\", \"default-route\": [\"\"]}]",
        "[{\"name\": \"blue\", \"interface\": \"\\u0000\"}]",
        "[{\"name\": \"odd\", \"cni-args\": {\"a\": 1}}]",
        "[{\"name\": \"odder\", \"cni-args\": {\"a\": 1}}]",
        ",",
        "/",
        "@",
        "a/b/c",
        "blue@",
        "blue@../x",
        "\u{1f9f6}",
    ];
    for annotation in networks {
        let outcome = pod.add(cluster()).networks(annotation).run();
        assert!(!outcome.stderr.contains("panicked"), "{annotation}: {}", outcome.stderr);
        if outcome.status.success() {
            assert!(["null"].contains(&annotation), "{annotation} is accepted");
            pod.del().run().assert_success();
        } else {
            assert_orderly(&outcome);
        }
    }
    for annotation in ["[]", "[null]", "{}", "[[]]", "[{}]", ",", "blue,red", "[\"blue\"]"] {
        let outcome = pod.add(cluster()).annotation(DEFAULT_NETWORK, annotation).run();
        assert!(!outcome.stderr.contains("panicked"), "{annotation}: {}", outcome.stderr);
        if outcome.status.success() {
            // Nothing was named: the pod has the cluster's network.
            assert_eq!(annotation, "[]");
            pod.del().run().assert_success();
        } else {
            assert_orderly(&outcome);
        }
    }
    assert_eq!(pod.links(), NOTHING);
}

#[test]
fn fault_19_a_device_goes_to_its_own_network_alone() {
    let node = node();
    node.define("team-a", "fast", json!({"type": "blue", "capabilities": {"deviceID": true}}));
    let pod = node.pod("team-a", "web");
    let asked = json!([
        {"name": "fast", "deviceID": "0000:03:02.1"}, {"name": "fast", "deviceID": "0000:03:02.2"}, {"name": "red"}
    ]);
    pod.add(cluster()).networks_json(asked).run().assert_success();
    let device = |call: &Recorded| call.stdin()["runtimeConfig"]["deviceID"].clone();
    let devices: Vec<(String, Value)> =
        node.calls().iter().map(|call| (call.summary(), device(call))).collect();
    let expected = [
        ("ADD cluster eth0", Value::Null),
        ("ADD blue net1", json!("0000:03:02.1")),
        ("ADD blue net2", json!("0000:03:02.2")),
        ("ADD red net3", Value::Null),
    ];
    assert_eq!(devices, expected.map(|(call, device)| (call.to_owned(), device)));
}

#[test]
fn fault_20_one_broken_file_breaks_no_other() {
    let node = node();
    node.write("braid.d/00-text.yaml", ": not yaml : [");
    node.write("braid.d/01-empty.json", "");
    node.write("braid.d/02-cut.conflist", "{\"name\": \"cut\", \"plugins\": [");
    node.write("braid.d/03-nameless.conf", "{\"type\": \"blue\"}");
    fs::write(node.path("braid.d/04-binary.conf"), [0xff, 0xfe, 0]).unwrap();
    fs::create_dir(node.path("braid.d/05-directory.conf")).unwrap();
    std::os::unix::fs::symlink("/nowhere", node.path("braid.d/06-dangling.json")).unwrap();
    let file = json!({"cniVersion": "1.0.0", "name": "from-a-file", "type": "red", "link": true});
    node.write("braid.d/50-file.conf", &file.to_string());
    let pod = node.pod("team-a", "web");
    let outcome = pod.add(cluster()).networks("blue, from-a-file").run();
    outcome.assert_success();
    assert_eq!(pod.links(), ["eth0", "net1", "net2"]);
    for name in ["00-text.yaml", "01-empty.json", "02-cut.conflist", "04-binary.conf"] {
        assert!(outcome.stderr.contains(name), "{name} is not named: {}", outcome.stderr);
    }
}

#[test]
fn fault_21_status_and_gc_do_not_wait_for_the_readiness_file() {
    let node = node();
    let mut config = cluster();
    config["cniVersion"] = json!("1.1.0");
    config["readinessindicatorfile"] = json!(node.path_text("ready"));
    let status = node.call("STATUS", config.clone()).run();
    status.assert_error(50, ["not ready", &node.path_text("ready")]);
    let valid = json!({"cni.dev/valid-attachments": []});
    let gc = node.call("GC", config.clone()).with(valid).run();
    gc.assert_success();
    for outcome in [&status, &gc] {
        assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
    }
    node.write("ready", "");
    node.call("STATUS", config).run().assert_success();
}

#[test]
fn fault_23_no_api_is_called_for_what_the_node_knows() {
    let node = node();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    });
    node.write("kubeconfig", &kubeconfig.to_string());
    let mut config = cluster();
    config["kubeconfig"] = json!(node.path_text("kubeconfig"));
    // Connections are traced: a refused one would go unnoticed otherwise.
    let trace = node.path_text("trace");
    let script = format!(
        "#!/bin/sh\nexec strace -f -qq -o {trace} -e trace=socket,connect {} \"$@\"\n",
        crate::node::BRAID
    );
    node.write("traced", &script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(node.path("traced"), mode).unwrap();
    let pod = node.pod("team-a", "web");
    let traced = pod.add(config).program(node.path("traced")).run();
    traced.assert_success();
    let trace = fs::read_to_string(trace).expect("strace is missing: install it");
    assert!(trace.contains("AF_NETLINK"), "nothing was traced: {trace}");
    let connections =
        trace.lines().filter(|line| line.contains("connect(") && line.contains("AF_INET"));
    assert_eq!(connections.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn fault_24_a_version_is_filled_in_and_dotted_names_are_names() {
    let node = node();
    node.define("team-a", "blue.example.v2", json!({"type": "blue", "link": true}));
    let pod = node.pod("team-a", "web");
    pod.add(cluster()).networks("team-a/blue.example.v2@data0").run().assert_success();
    let add = node.only_call("ADD", "blue");
    assert_eq!(add.stdin()["cniVersion"], "1.0.0");
    assert_eq!(add.stdin()["name"], "blue.example.v2");
    assert_eq!(pod.links(), ["data0", "eth0"]);
    let json_form = node.pod("team-a", "db");
    json_form
        .add(cluster())
        .networks_json(json!([{"name": "blue.example.v2"}]))
        .run()
        .assert_success();
}
