//! What goes out: the merged result in every version, errors, and nothing else on standard output.

use std::time::Duration;

use serde_json::{Value, json};

use super::parsed;
use crate::node::{Node, cluster, text};

/// A delegating braid with one extra network, everything in `version`; the printed result.
fn merged(node: &Node, version: &str) -> Value {
    let mut config = node.delegating();
    let primary = &mut config["delegates"][0];
    *primary = json!({
        "cniVersion": version, "name": "cluster", "type": "primary", "addresses": ["10.1.0.2/24", "fd01::2/64"],
        "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
    });
    config["cniVersion"] = json!(version);
    node.define(
        "team-a",
        "blue",
        json!({"cniVersion": version, "type": "blue", "addresses": ["10.9.0.2/24"]}),
    );
    let pod = node.pod("team-a", "web");
    let result = pod.add(config).networks("blue").run().assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.state("records"), Vec::<String>::new());
    result
}

#[test]
fn results_before_0_3_0_have_the_primarys_addresses_alone() {
    for version in ["0.1.0", "0.2.0"] {
        let node = Node::new();
        node.recorder("blue");
        let result = merged(&node, version);
        let expected = json!({
            "cniVersion": version, "ip4": {"ip": "10.1.0.2/24", "gateway": "10.1.0.1"}, "ip6": {"ip": "fd01::2/64"},
        });
        assert_eq!(result, expected);
    }
}

#[test]
fn results_from_0_3_0_have_every_address_with_its_interface() {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let node = Node::new();
        node.recorder("blue");
        let result = merged(&node, version);
        assert_eq!(result["cniVersion"], version);
        let names: Vec<_> =
            result["interfaces"].as_array().unwrap().iter().map(|it| text(&it["name"])).collect();
        assert_eq!(names, ["eth0", "net1"]);
        let family = |ip: &Value| ip["version"].as_str().map(str::to_owned);
        let ips = result["ips"].as_array().unwrap();
        let shown: Vec<_> = ips
            .iter()
            .map(|ip| (text(&ip["address"]), ip["interface"].as_u64(), family(ip)))
            .collect();
        let digit = |digit: &str| (version < "1.0.0").then(|| digit.to_owned());
        assert_eq!(
            shown,
            [
                ("10.1.0.2/24", Some(0), digit("4")),
                ("fd01::2/64", Some(0), digit("6")),
                ("10.9.0.2/24", Some(1), digit("4")),
            ]
        );
        assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]));
    }
}

#[test]
fn each_network_runs_in_its_own_version() {
    let node = Node::new();
    let mut config = node.delegating();
    config["delegates"][0]["cniVersion"] = json!("0.2.0");
    node.network("blue", json!({"cniVersion": "0.3.1", "addresses": ["10.8.0.2/24"]}));
    node.network("red", json!({"cniVersion": "1.1.0", "addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    let result = pod.add(config).networks("blue,red").run().assert_success();
    assert_eq!(result["cniVersion"], "1.0.0");
    let addresses: Vec<_> =
        result["ips"].as_array().unwrap().iter().map(|ip| text(&ip["address"])).collect();
    assert_eq!(addresses, ["10.1.0.2/24", "10.8.0.2/24", "10.9.0.2/24"]);
    assert!(result["ips"].as_array().unwrap().iter().all(|ip| ip["version"].is_null()));
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        [
            "ADD primary eth0",
            "ADD blue net1",
            "ADD red net2",
            "CHECK red net2", // the other two are older than CHECK
            "DEL red net2",
            "DEL blue net1",
            "DEL primary eth0"
        ]
    );
    let sent: Vec<_> =
        node.calls().iter().map(|call| text(&call.stdin()["cniVersion"]).to_owned()).collect();
    assert_eq!(sent, ["0.2.0", "0.3.1", "1.1.0", "1.1.0", "1.1.0", "0.3.1", "0.2.0"]);
    // Before 0.4.0, DEL carries no result.
    assert!(node.only_call("DEL", "blue").stdin()["prevResult"].is_null());
    assert_eq!(node.only_call("DEL", "red").stdin()["prevResult"]["cniVersion"], "1.1.0");
}

#[test]
fn the_highest_version_of_cni_versions_is_used() {
    let node = Node::new();
    node.network(
        "blue",
        json!({"cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.1.0", "9.9.9"]}),
    );
    node.pod("team-a", "web").add(node.delegating()).networks("blue").run().assert_success();
    assert_eq!(node.only_call("ADD", "blue").stdin()["cniVersion"], "1.1.0");
}

#[test]
fn unknown_keys_of_results_survive() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    let unknown =
        parsed(r#"{"number": 123456789012345678901234567890, "exact": 1.10, "empty": null}"#);
    let mut result = pod.primary_result();
    result["example.org/note"] = unknown.clone();
    result["interfaces"][0]["vendor"] = unknown.clone();
    result["ips"][0]["vendor"] = unknown.clone();
    result["routes"] = json!([{"dst": "10.0.0.0/8", "vendor": unknown}]);
    result["dns"] = json!({"nameservers": ["10.96.0.10"], "vendor": unknown});
    for chained in [true, false] {
        let pod = node.pod("team-a", "web");
        node.script("primary", json!({"ADD": {"result": result}}));
        let call = if chained {
            pod.add(json!({})).prev_result(result.clone())
        } else {
            pod.add(node.delegating())
        };
        let printed = call.networks("blue").run().assert_success();
        assert_eq!(printed["example.org/note"], unknown);
        for key in ["interfaces", "ips", "routes"] {
            assert_eq!(printed[key][0]["vendor"], unknown, "{key}, chained: {chained}");
        }
        assert_eq!(printed["dns"], result["dns"]);
        assert_eq!(printed["interfaces"][1]["name"], "net1");
    }
}

#[test]
fn a_delegates_code_and_details_are_kept() {
    let node = Node::new();
    node.network("blue", json!({}));
    let error = json!({"cniVersion": "1.0.0", "code": 42, "msg": "no more leases", "details": "pool 7 is empty"});
    node.script("blue", json!({"ADD": {"error": error}}));
    let error =
        node.pod("team-a", "web").add(node.delegating()).networks("blue").run().assert_error(
            42,
            [
                "pod team-a/web",
                "network \"team-a/blue\" on net1",
                "plugin \"blue\": no more leases",
            ],
        );
    assert_eq!(error["details"], "pool 7 is empty");
    node.script("primary", json!({"ADD": {"error": {"code": 11, "msg": "agent is starting"}}}));
    node.pod("team-a", "db").add(node.delegating()).run().assert_error(11, ["agent is starting"]);
}

#[test]
fn output_that_is_no_result_is_an_error_that_quotes_it_or_stderr() {
    let node = Node::new();
    node.network("blue", json!({}));
    let table = [
        (json!({"stdout": "", "stderr": "\n  cannot open /dev/x\nmore"}), "\"cannot open /dev/x\""),
        (
            json!({"stdout": "{\"cniVersion\": \"1.0.0\", \"ips\": [", "stderr": "cut"}),
            "\"ips\": [\"",
        ),
        (json!({"stdout": "hello"}), "plugin \"blue\""),
        (json!({"stdout": "[]"}), "not a JSON object"),
        (json!({"stdout": "{} {}"}), "not valid JSON"),
        (json!({"flood_mib": 3}), "more than 1 MiB"),
        (json!({"stdout": "", "stderr": "segfault at 0", "exit": 139}), "\"segfault at 0\""),
        (json!({"shell": "kill -9 $PPID"}), "signal 9"),
        (json!({"result": {"cniVersion": "1.0.0", "ips": [{"address": "nonsense"}]}}), "nonsense"),
        (
            json!({"result": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/8", "interface": 7}]}}),
            "interface",
        ),
        (
            json!({"result": {
                "cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}],
                "ips": [{"address": "2001:db8::2/64", "interface": 0}]
            }}),
            "plugin \"blue\" printed a result that is not valid: ips[0] puts 2001:db8::2/64 on \
             \"eth0\", the pod's primary interface",
        ),
        (
            json!({"result": {
                "cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}],
                "ips": [{"address": "10.9.0.2/24"}]
            }}),
            "ips[0] puts 10.9.0.2/24 on \"eth0\", the pod's primary interface",
        ),
    ];
    for (answer, said) in table {
        node.script("blue", json!({"ADD": answer}));
        let pod = node.pod("team-a", "web");
        pod.add(node.delegating())
            .networks("blue")
            .run()
            .assert_error(100, ["network \"team-a/blue\"", said]);
        assert_eq!(node.state("records"), Vec::<String>::new(), "{answer}");
    }
}

#[test]
fn a_child_that_keeps_stdout_open_does_not_hold_the_pod_up() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.script("blue", json!({"ADD": {"shell": "sleep 20 &"}}));
    let outcome = node.pod("team-a", "web").add(node.delegating()).networks("blue").run();
    outcome.assert_success();
    assert!(outcome.took < Duration::from_secs(15), "{:?}", outcome.took);
}

#[test]
fn a_delegate_that_hangs_is_killed_at_its_limit() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.script("blue", json!({"ADD": {"stderr": "waiting for godot", "sleep_ms": 60_000}}));
    let config = json!({"delegates": [cluster()], "delegateTimeout": "2s"});
    node.recorder("primary");
    let outcome = node.pod("team-a", "web").add(config).networks("blue").run();
    outcome.assert_error(11, ["did not end within", "waiting for godot"]);
    assert!(outcome.took < Duration::from_secs(30), "{:?}", outcome.took);
    assert_eq!(node.calls_in_order()[2..], ["DEL blue net1", "DEL primary eth0"]);
}

#[test]
fn an_error_with_status_0_is_an_error() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.script("blue", json!({"ADD": {"error": {"code": 12, "msg": "odd"}, "exit": 0}}));
    node.pod("team-a", "web")
        .add(node.delegating())
        .networks("blue")
        .run()
        .assert_error(12, ["odd"]);
}

#[test]
fn nothing_but_the_protocol_is_on_stdout_with_every_log_on() {
    let node = Node::new();
    node.network("blue", json!({}));
    let log = node.path_text("braid.log");
    let pod = node.pod("team-a", "web");
    let outcome = pod
        .add(node.delegating())
        .with(json!({"logLevel": "debug", "logToStderr": true, "logFile": log}))
        .networks("blue")
        .run();
    assert_eq!(outcome.assert_success()["interfaces"][1]["name"], "net1");
    let written = std::fs::read_to_string(log).unwrap();
    for said in ["plan: team-a/blue on net1", "blue ADD net1 took"] {
        assert!(
            outcome.stderr.contains(said) && written.contains(said),
            "{said}: {}",
            outcome.stderr
        );
    }
    // By default it is silent.
    let quiet = node.pod("team-a", "db").add(node.delegating()).networks("blue").run();
    quiet.assert_success();
    assert_eq!(quiet.stderr, "");
}
