//! The protocol: what goes in and out of the process (CNI 1.1.0, sections 2, 4 and 5), and what
//! delegates are given.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::ANNOTATIONS;
use crate::node::{BRAID, Node, cluster, text};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn version_lists_every_version() {
    let node = Node::new();
    for version in VERSIONS {
        let printed = node
            .call("VERSION", json!({}))
            .input(format!("{{\"cniVersion\": \"{version}\"}}"))
            .run();
        let printed = printed.assert_success();
        assert_eq!(printed, json!({"cniVersion": version, "supportedVersions": VERSIONS}));
    }
    for input in ["", "garbage", "{}", "{\"cniVersion\": \"7.0.0\"}"] {
        let printed = node.call("VERSION", json!({})).input(input).run().assert_success();
        assert_eq!(printed["supportedVersions"], json!(VERSIONS), "{input}");
    }
}

#[test]
fn without_a_command_it_shows_help_and_reads_nothing() {
    let mut child = Command::new(BRAID)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let never_closed = child.stdin.take();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = child.try_wait().unwrap();
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    drop(never_closed);
    assert!(ended.expect("it waits for standard input").success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("CNI"), "{output:?}");
}

#[test]
fn missing_variables_are_named_at_once() {
    let node = Node::new();
    let table: [(&str, &[&str]); 3] = [
        ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]),
    ];
    for (verb, missing) in table {
        let error = node.call(verb, json!({})).run().assert_error(4, [verb]);
        for name in missing {
            assert!(text(&error["msg"]).contains(name), "{verb} does not name {name}: {error:?}");
        }
    }
    let pod = node.pod("team-a", "web");
    pod.add(json!({}))
        .env("CNI_CONTAINERID", "../x")
        .env("CNI_IFNAME", "a/b")
        .run()
        .assert_error(4, ["CNI_CONTAINERID", "CNI_IFNAME"]);
}

#[test]
fn requests_that_cannot_be_read_have_the_codes_of_the_specification() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.add(json!({"cniVersion": "9.9.9"})).run().assert_error(1, ["9.9.9", "1.1.0"]);
    for garbage in ["", "garbage", "[]", "{\"name\": \"x\"", "\u{0}"] {
        pod.add(json!({})).input(garbage).run().assert_error(6, ["standard input"]);
    }
    pod.add(json!({"name": null})).run().assert_error(7, ["name"]);
    node.call("add", json!({})).run().assert_error(4, ["CNI_COMMAND", "add"]);
    node.call("", json!({})).run().assert_error(4, ["CNI_COMMAND"]);
}

#[test]
fn errors_come_in_the_version_of_the_request() {
    let node = Node::new();
    for version in VERSIONS {
        let error =
            node.pod("team-a", "web").add(json!({"cniVersion": version})).run().assert_error(7, []);
        assert_eq!(error["cniVersion"], version);
    }
}

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
            "plugin \"blue\" printed a result that is not valid: ips[0] puts 2001:db8::2/64 on \"eth0\", \
             the pod's primary interface",
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
fn keys_of_braid_are_read_in_any_case() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.define("team-b", "green", json!({"type": "blue"}));
    let pod = node.pod("team-a", "web");
    let mut config = node.delegating();
    config["readinessIndicatorFile"] = json!(node.path("absent"));
    config["readinesstimeout"] = json!("50ms");
    pod.add(config).run().assert_error(11, ["readinessindicatorfile"]);
    pod.add(node.delegating()).networks("team-b/green").run().assert_error(7, ["team-b/green"]);
    pod.add(node.delegating())
        .with(json!({"NAMESPACEISOLATION": false}))
        .networks("team-b/green")
        .run()
        .assert_success();
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
    let ports = json!({"portMappings": [{"hostPort": 80, "containerPort": 80}]});
    for verb in ["ADD", "DEL"] {
        assert_eq!(node.only_call(verb, "blue").stdin()["runtimeConfig"], Value::Null, "{verb}");
        assert_eq!(node.only_call(verb, "primary").stdin()["runtimeConfig"], ports, "{verb}");
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
    pod.del().run().assert_success();
    for verb in ["ADD", "DEL"] {
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
    // Under another name, the plan cannot see it: the variable stops it.
    std::os::unix::fs::symlink(BRAID, node.path("bin/disguised")).unwrap();
    let inner = json!({"name": "inner", "type": "disguised", "delegates": [cluster()]});
    pod.add(json!({"delegates": [inner]})).run().assert_error(7, ["braid was started by a braid"]);
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

#[test]
fn a_namespace_that_is_none_is_refused() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    for path in ["/nowhere", "/etc/passwd", "/proc/self/ns/mnt", "/dev/null"] {
        pod.add(node.delegating()).env("CNI_NETNS", path).run().assert_error(4, [path]);
    }
    let host = node.host().path();
    pod.add(node.delegating()).env("CNI_NETNS", &host).run().assert_error(4, ["the host's own"]);
    assert_eq!(node.calls_in_order(), Vec::<String>::new());
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
