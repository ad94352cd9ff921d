//! One test for each fault of Multus that was found by reading and measuring it: the test's name
//! says what Braid does instead, and it fails if Braid has the fault.
//!
//! What a fault does in a cluster is tested with the Kubernetes API in `kubernetes`. Here:
//!
//! - 8, a pod that the API does not have: nothing that is missing turns into a success without
//!   addresses.
//! - 18, DEL without the API: a configured kubeconfig that cannot be read is no hindrance.
//! - 19, devices from the kubelet's list: a device that is named goes to its own network alone.
//! - 22, the status annotation: the merged result, from which it is made.
//! - 23, the number of API calls: there are none, whatever is configured.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::call::{DEFAULT_NETWORK, Outcome};
use crate::node::{NOTHING, Node, Recorded, text};
use crate::pod::Pod;

/// A node with recorders `cluster` (a primary by that inline delegate), `blue` and `red`, the
/// latter two defined in namespace team-a, each with an interface of its own.
fn node() -> Node {
    let node = Node::new();
    node.recorders(["cluster", "blue", "red"]);
    node.define(
        "team-a",
        "blue",
        json!({"type": "blue", "addresses": ["10.9.0.2/24"], "link": true}),
    );
    node.define(
        "team-a",
        "red",
        json!({"type": "red", "addresses": ["10.8.0.2/24"], "link": true}),
    );
    node
}

/// The recorder `cluster` as primary.
fn cluster() -> Value {
    json!({"delegates": [{
        "cniVersion": "1.0.0", "name": "cluster", "type": "cluster", "link": true, "addresses": ["10.1.0.2/24"]
    }]})
}

/// A real bridge with a gateway, dual stack, as primary.
fn real(node: &Node) -> Value {
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd00:1::/64")]})
}

/// A real bridge with a gateway and no default route of its own, dual stack, as network
/// team-a/uplink.
fn define_uplink(node: &Node) {
    let network = json!({
        "type": "bridge", "bridge": "br-uplink", "isGateway": true, "ipam": node.host_local("10.19.0.0/24 fd00:19::/64")
    });
    node.define("team-a", "uplink", network);
}

/// The gateways of the default routes in a result, sorted. A route that names none takes its
/// family's.
fn default_gateways(result: &Value) -> Vec<String> {
    let list = |key: &str| result[key].as_array().cloned().unwrap_or_default();
    let gateway = |route: &Value| {
        let v6 = text(&route["dst"]).contains(':');
        let own = route["gw"].as_str().map(str::to_owned);
        let of_family = || {
            list("ips")
                .iter()
                .map(|ip| text(&ip["gateway"]).to_owned())
                .find(|ip| ip.contains(':') == v6)
        };
        own.or_else(of_family).unwrap_or_default()
    };
    let routes = list("routes");
    let defaults = routes.iter().filter(|route| text(&route["dst"]).ends_with("/0"));
    let mut gateways: Vec<String> = defaults.map(gateway).collect();
    gateways.sort();
    gateways
}

/// The same as the kernel has them.
fn kernel_gateways(pod: &Pod<'_>) -> Vec<String> {
    let routes = [pod.default_routes(4), pod.default_routes(6)].concat();
    let mut gateways: Vec<String> =
        routes.iter().map(|route| route.split(' ').nth(1).unwrap().to_owned()).collect();
    gateways.sort();
    gateways
}

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
fn fault_01_default_route_takes_effect_beside_eth0() {
    let node = Node::new();
    define_uplink(&node);
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "uplink", "default-route": ["10.19.0.1", "fd00:19::1"]}]);
    pod.add(real(&node)).networks_json(asked).run().assert_success();
    assert_eq!(pod.default_routes(4), ["via 10.19.0.1 dev net1"]);
    assert_eq!(pod.default_routes(6), ["via fd00:19::1 dev net1"]);
    pod.del().run().assert_success();
}

#[test]
fn fault_02_an_empty_default_route_says_what_the_kernel_does() {
    let node = Node::new();
    define_uplink(&node);
    // No gateway at all, which host-local would make up.
    let ipam = json!({"type": "static", "addresses": [{"address": "10.20.0.2/24"}]});
    node.define("team-a", "lan", json!({"type": "bridge", "bridge": "br-lan", "ipam": ipam}));
    let cases = [("uplink", vec!["10.19.0.1", "fd00:19::1"]), ("lan", vec!["fd00:1::1"])];
    for (network, gateways) in cases {
        let pod = node.pod("team-a", "web");
        let asked = json!([{"name": network, "default-route": []}]);
        let result = pod.add(real(&node)).networks_json(asked).run().assert_success();
        assert_eq!(kernel_gateways(&pod), gateways, "{network}: kernel");
        assert_eq!(default_gateways(&result), gateways, "{network}: result");
        pod.check().run().assert_success();
        pod.del().run().assert_success();
    }
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
fn fault_05_a_cluster_network_by_conflist_path_leaks_no_address() {
    let node = Node::new();
    let conflist = json!({"cniVersion": "1.0.0", "name": "cni0", "plugins": [node.bridge("cni0", "10.1.0.0/24")]});
    node.write("net.d/10-cluster.conflist", &conflist.to_string());
    let pod = node.pod("team-a", "web");
    let config = json!({"clusterNetwork": node.path_text("net.d/10-cluster.conflist")});
    pod.add(config).run().assert_success();
    assert_eq!(node.reservations("cni0"), ["10.1.0.2"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.reservations("cni0"), NOTHING);
}

#[test]
fn fault_06_del_has_the_port_mappings_and_bandwidth_of_add() {
    let node = node();
    let capabilities = json!({"portMappings": true, "bandwidth": true});
    node.define("team-a", "blue", json!({"type": "blue", "capabilities": capabilities}));
    let pod = node.pod("team-a", "web");
    let asked = json!([{
        "name": "blue", "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 1000, "egressRate": 1000, "egressBurst": 1000}
    }]);
    pod.add(cluster()).networks_json(asked).run().assert_success();
    pod.del().run().assert_success();
    let arguments = |verb: &str| node.only_call(verb, "blue").stdin()["runtimeConfig"].clone();
    assert_eq!(arguments("ADD")["portMappings"][0]["hostPort"], 8080);
    assert_eq!(arguments("ADD")["bandwidth"]["egressRate"], 1000);
    assert_eq!(arguments("DEL"), arguments("ADD"));
}

#[test]
fn fault_07_gc_honours_the_list_and_covers_extra_networks() {
    let node = node();
    let mut config = cluster();
    config["cniVersion"] = json!("1.1.0");
    config["delegates"][0]["cniVersion"] = json!("1.1.0");
    node.define("team-a", "blue", json!({"cniVersion": "1.1.0", "type": "blue", "link": true}));
    let pods = [node.pod("team-a", "live"), node.pod("team-a", "stale")];
    for pod in &pods {
        pod.add(config.clone()).networks("blue").run().assert_success();
    }
    node.forget_calls();
    let list = json!([{"containerID": pods[0].container, "ifname": "eth0"}]);
    node.call("GC", config).with(json!({"cni.dev/valid-attachments": list})).run().assert_success();
    let calls = node.calls_in_order();
    assert_eq!(calls, ["DEL blue net1", "DEL cluster eth0", "GC cluster", "GC blue"]);
    for call in node.calls().iter().filter(|call| call.verb() == "DEL") {
        assert_eq!(call.variable("CNI_CONTAINERID"), pods[1].container);
    }
    let collected = node.only_call("GC", "blue");
    assert_eq!(
        collected.stdin()["cni.dev/valid-attachments"],
        json!([{"containerID": pods[0].container, "ifname": "net1"}])
    );
    pods[0].check().run().assert_success();
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

/// What becomes of a record's content.
type Spoiler = fn(&[u8]) -> Vec<u8>;

/// Gives the one record another content.
fn spoil(node: &Node, content: impl Fn(&[u8]) -> Vec<u8>) {
    let path = node.path("state/records").join(node.state("records").remove(0));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, content(&whole)).unwrap();
}

#[test]
fn fault_09_a_truncated_delegate_cache_is_neither_believed_nor_fatal() {
    let contents: [Spoiler; 5] = [
        |_| Vec::new(),
        |_| b"[]".to_vec(),
        |_| b"null\n".to_vec(),
        |whole| whole[..200].to_vec(),
        |whole| whole.iter().map(|byte| byte ^ 1).collect(),
    ];
    for content in contents {
        let node = node();
        let pod = node.pod("team-a", "web");
        pod.add(cluster()).networks("blue").run().assert_success();
        spoil(&node, content);
        node.forget_calls();
        let outcome = pod.del().run();
        outcome.assert_success();
        // The primary goes by its configuration; what else there was is said aloud and kept to be
        // read.
        assert_eq!(node.calls_in_order(), ["DEL cluster eth0"]);
        assert!(outcome.stderr.contains("cannot be read"), "{}", outcome.stderr);
        assert_eq!((node.state("records").len(), node.state("aside").len()), (0, 1));
    }
}

#[test]
fn fault_10_a_truncated_result_cache_does_not_keep_the_pod() {
    // Wherever behind the plan the record ends: everything goes, in the first DEL.
    for part in 0..6 {
        let node = node();
        let pod = node.pod("team-a", "web");
        pod.add(cluster()).networks("blue, red").run().assert_success();
        spoil(&node, |whole| {
            let plan = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            whole[..plan + (whole.len() - plan) * part / 6].to_vec()
        });
        node.forget_calls();
        pod.del().run().assert_success();
        assert_eq!(
            node.calls_in_order(),
            ["DEL red net2", "DEL blue net1", "DEL cluster eth0"],
            "{part}"
        );
        assert_eq!(pod.links(), NOTHING, "{part}");
        assert_eq!(node.state("records"), NOTHING, "{part}");
    }
}

#[test]
fn fault_11_check_covers_the_primary_and_every_extra_network() {
    let node = node();
    let network = json!({
        "cniVersion": "1.0.0", "name": "cluster", "plugins": [{"type": "cluster", "link": true, "addresses": ["10.1.0.2/24"]}]
    });
    node.write("net.d/10-cluster.conflist", &network.to_string());
    let by_path = json!({"clusterNetwork": node.path_text("net.d/10-cluster.conflist")});
    for config in [cluster(), by_path] {
        let pod = node.pod("team-a", "web");
        pod.add(config).networks("blue").run().assert_success();
        node.forget_calls();
        pod.check().run().assert_success();
        assert_eq!(node.calls_in_order(), ["CHECK cluster eth0", "CHECK blue net1"]);
        for kind in ["cluster", "blue"] {
            let failing = json!({"CHECK": {"error": {"code": 44, "msg": "it is broken"}}});
            node.script(kind, failing);
            pod.check().run().assert_error(44, [kind, "it is broken"]);
            node.script(kind, json!({}));
        }
        pod.ip("addr del 10.9.0.2/24 dev net1");
        pod.check().run().assert_error(101, ["net1", "10.9.0.2"]);
        pod.del().run().assert_success();
    }
}

#[test]
fn fault_12_what_was_asked_for_is_there_or_the_pod_does_not_start() {
    let node = node();
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let bandwidth =
        json!({"ingressRate": 1000, "ingressBurst": 1000, "egressRate": 1000, "egressBurst": 1000});
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let asked = [
        (103, "ips", json!(["10.9.0.77/24"])),
        (103, "mac", json!("02:23:45:67:89:01")),
        (7, "portMappings", ports),
        (7, "bandwidth", bandwidth),
    ];
    for (code, key, value) in asked {
        let mut element = json!({"name": "blue"});
        element[key] = value;
        let failed = pod.add(cluster()).networks_json(json!([element])).run();
        failed.assert_error(code, ["team-a/blue", key, "capabilities"]);
        assert_eq!(pod.links(), NOTHING, "{key}");
        assert_eq!(node.leftovers(&before), NOTHING, "{key}");
    }
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
fn fault_14_an_add_that_fails_late_leaves_nothing_and_can_be_tried_again() {
    let node = Node::new();
    define_uplink(&node);
    let warm = node.pod("team-a", "warm");
    warm.add(real(&node)).networks("uplink").run().assert_success();
    warm.del().run().assert_success();
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    // A gateway that is not on the network: the kernel refuses it when everything is attached.
    let wrong = json!([{"name": "uplink", "default-route": ["10.77.0.1"]}]);
    pod.add(real(&node)).networks_json(wrong).run().assert_error(104, ["default route", "net1"]);
    assert_eq!(pod.links(), NOTHING);
    assert_eq!(node.leftovers(&before), NOTHING);
    // The runtime may call DEL for it, and tries again, in this sandbox even.
    pod.del().run().assert_success();
    let right = json!([{"name": "uplink", "default-route": ["10.19.0.1"]}]);
    pod.add(real(&node)).networks_json(right).run().assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.leftovers(&before), NOTHING);
}

#[test]
fn fault_15_the_result_is_in_the_requests_version_and_codes_are_kept() {
    let node = node();
    for version in ["0.3.1", "0.4.0", "1.1.0"] {
        let pod = node.pod("team-a", "web");
        let result = pod
            .add(cluster())
            .with(json!({"cniVersion": version}))
            .networks("blue")
            .run()
            .assert_success();
        assert_eq!(result["cniVersion"], version);
        let families = result["ips"].as_array().unwrap().iter().map(|ip| ip["version"].is_null());
        assert_eq!(families.collect::<Vec<_>>(), [version == "1.1.0"; 2], "{version}: {result}");
        pod.del().run().assert_success();
    }
    for (kind, networks) in [("cluster", ""), ("blue", "blue")] {
        for code in [11, 42] {
            node.script(kind, json!({"ADD": {"error": {"code": code, "msg": "not now"}}}));
            let pod = node.pod("team-a", "web");
            pod.add(cluster()).networks(networks).run().assert_error(code, ["not now"]);
        }
        node.script(kind, json!({}));
    }
}

#[test]
fn fault_16_automatic_names_keep_clear_of_asked_ones() {
    let node = node();
    for (networks, links) in [
        ("blue@net2, red", vec!["eth0", "net2", "net3"]),
        ("blue, red@net1", vec!["eth0", "net1", "net2"]),
        ("blue@net2, red, blue, red", vec!["eth0", "net2", "net3", "net4", "net5"]),
    ] {
        let pod = node.pod("team-a", "web");
        pod.add(cluster()).networks(networks).run().assert_success();
        assert_eq!(pod.links(), links, "{networks}");
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(pod.links(), NOTHING, "{networks}");
    }
}

#[test]
fn fault_17_two_interfaces_of_one_container_have_a_record_each() {
    let node = node();
    let pod = node.pod("team-a", "web");
    pod.add(cluster()).networks("blue").run().assert_success();
    let add =
        |interface: &str| node.call("ADD", cluster()).of_pod(&pod).env("CNI_IFNAME", interface);
    add("eth1").networks("red").run().assert_success();
    assert_eq!(node.state("records").len(), 2);
    assert_eq!(pod.links().len(), 4, "{:?}", pod.links());
    let del =
        |interface: &str| node.call("DEL", cluster()).of_pod(&pod).env("CNI_IFNAME", interface);
    node.forget_calls();
    del("eth1").run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL red net2", "DEL cluster eth1"]);
    assert_eq!(pod.links(), ["eth0", "net1"]);
    pod.check().run().assert_success();
    del("eth0").run().assert_success();
    assert_eq!(pod.links(), NOTHING);
    assert_eq!(node.state("records"), NOTHING);
}

#[test]
fn fault_18_del_needs_no_kubeconfig() {
    let node = node();
    let pod = node.pod("team-a", "web");
    node.write("kubeconfig", "garbage");
    let mut config = cluster();
    config["kubeconfig"] = json!(node.path_text("kubeconfig"));
    // No status is due, so that ADD has nothing to ask either.
    config["statusPolicy"] = json!("never");
    pod.add(config).networks("blue").run().assert_success();
    fs::remove_file(node.path("kubeconfig")).unwrap();
    fs::create_dir(node.path("kubeconfig")).unwrap();
    node.forget_calls();
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["DEL blue net1", "DEL cluster eth0"]);
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
fn fault_22_a_result_without_interfaces_and_the_requested_gateway_are_shown() {
    let node = node();
    // The interface is there; the plugin does not mention it.
    let silent = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.254"}]});
    node.script("blue", json!({"ADD": {"link": true, "result": silent}}));
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "blue", "default-route": ["10.9.0.1"]}]);
    let result = pod.add(cluster()).networks_json(asked).run().assert_success();
    let ip =
        result["ips"].as_array().unwrap().iter().find(|ip| ip["address"] == "10.9.0.2/24").unwrap();
    let index = usize::try_from(ip["interface"].as_u64().expect("an index")).unwrap();
    assert_eq!(result["interfaces"][index]["name"], "net1");
    assert_eq!(result["interfaces"][index]["sandbox"], pod.netns_path());
    assert_eq!(default_gateways(&result), ["10.9.0.1"]);
    assert_eq!(pod.default_routes(4), ["via 10.9.0.1 dev net1"]);
    for nothing in ["<nil>", "null"] {
        assert!(!result.to_string().contains(nothing), "{result}");
    }
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
