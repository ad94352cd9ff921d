//! What a pod asks of a network that it may use, and how the annotation is written.

use serde_json::{Value, json};

use super::{Cluster, policy};
use crate::call::{DEFAULT_NETWORK, NETWORKS};

#[test]
fn values_are_not_smuggled_in_cni_args() {
    let cluster = Cluster::new();
    let config =
        json!({"name": "team-b.lan", "type": "blue", "capabilities": {"ips": true, "mac": true}});
    let annotations = json!({
        "braid.io/allowed-namespaces": "team-a", "braid.io/allowed-requests": "ips, mac, cni-args",
        "braid.io/allowed-ips": "10.20.0.0/24, fd00:20::/64", "braid.io/allowed-macs": "02:00:5e",
    });
    cluster.publish("team-b", "lan", annotations, Some(config));
    let attacks = [
        (json!({"ips": ["10.96.0.1"]}), "takes no \"ips\" \"10.96.0.1\""),
        (
            json!({"cni-args": {"ips": ["10.20.0.9/24", "10.96.0.1/24"]}}),
            "takes no \"ips\" \"10.96.0.1/24\"",
        ),
        (json!({"cni-args": {"IPs": "10.96.0.1"}}), "takes no \"ips\" \"10.96.0.1\""),
        (
            json!({"cni-args": {"mac": "02:00:00:00:00:01"}}),
            "takes no \"mac\" \"02:00:00:00:00:01\"",
        ),
        (json!({"cni-args": {"infinibandGUID": "x"}}), "takes no \"infiniband-guid\""),
        (
            json!({"portMappings": [{"hostPort": 22, "containerPort": 22}]}),
            "takes no \"portMappings\"",
        ),
        (json!({"deviceID": "0000:00:00.1"}), "takes no \"deviceID\""),
    ];
    for (mut element, expected) in attacks {
        element["name"] = json!("lan");
        element["namespace"] = json!("team-b");
        for policy in [Value::Null, policy()] {
            let refusal = cluster.refusal(policy, &json!([element]).to_string());
            assert!(refusal.contains(expected), "{element}: {refusal}");
        }
    }
}

/// The owner's word is a tenant's own here.
#[test]
fn a_device_of_the_node_is_not_for_the_asking() {
    let cluster = Cluster::new();
    let config = json!({"name": "team-a.lan", "type": "ptp", "capabilities": {"deviceID": true}});
    cluster.publish(
        "team-a",
        "lan",
        json!({"braid.io/allowed-requests": "deviceID"}),
        Some(config),
    );
    let refusal = cluster.refusal(policy(), r#"[{"name": "lan", "deviceID": "0000:04:00.5"}]"#);
    assert!(refusal.contains("no device but those that the kubelet has given them"), "{refusal}");
}

/// `tuning` reads its sysctls out of `args.cni` too, and the definition's owner cannot say more
/// there than in the definition.
#[test]
fn arguments_say_no_more_than_the_definition_may() {
    let cluster = Cluster::new();
    let config = json!({"name": "team-a.lan", "plugins": [
        {"type": "bridge", "bridge": "br-a0", "ipam": {}},
        {"type": "tuning"},
    ]});
    cluster.publish(
        "team-a",
        "lan",
        json!({"braid.io/allowed-requests": "cni-args mac ips"}),
        Some(config),
    );
    let attacks = [
        (json!({"sysctl": {"net.ipv4.conf.all.rp_filter": "0"}}), "net.ipv4.conf.IFNAME"),
        (
            json!({"SysCtl": {"net.ipv4.conf.all.rp_filter": "0"}}),
            "none of its plugins may carry \"SysCtl\"",
        ),
        (json!({"promisc": true}), "none of its plugins may carry \"promisc\""),
        (json!({"bridge": "cni0"}), "may not reach the host's interface \"cni0\""),
        (json!({"ipam": {"type": "host-local", "dataDir": "/etc"}}), "may not carry \"dataDir\""),
        (json!({"vendor": "x"}), "none of its plugins may carry \"vendor\""),
        (json!({"ips": ["10.96.0.1/24"]}), "cannot have address \"10.96.0.1/24\""),
        (json!({"IPs": {"a": 1}}), "cannot have address"),
    ];
    for (arguments, expected) in attacks {
        let asked = json!([{"name": "lan", "cni-args": arguments}]).to_string();
        let refusal = cluster.refusal(policy(), &asked);
        assert!(refusal.contains(expected), "{arguments}: {refusal}");
    }
}

/// The annotation as text, in every shape that a decoder could stumble over.
#[test]
fn a_hostile_annotation_is_refused_as_a_whole() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let lan = |more: &str| format!(r#"[{{"name": "lan", {more}}}]"#);
    let attacks = [
        ("lan,".repeat(17_000), "has 68000 bytes: at most 65536 are allowed"),
        (vec!["lan"; 17].join(","), "asks for more than 16 networks"),
        (nested(20_000), "recursion limit exceeded"),
        (
            lan(&format!(r#""cni-args": {{"a": {}}}"#, nested(40))),
            "must not be nested deeper than 32 levels",
        ),
        (lan(r#""name": "other""#), "key \"name\" is given twice"),
        (lan(r#""Name": "other""#), "is the same key as"),
        (
            lan(r#""cni-args": {"ips": ["10.20.0.9"], "ips": ["10.96.0.1"]}"#),
            "key \"ips\" is given twice",
        ),
        (lan(r#""ip\u017f": ["10.96.0.1"]"#), "is not a known key"),
        (lan(r#""interface": "a\u0000""#), "visible ASCII characters"),
        (lan(r#""interface": "\ud800""#), "the annotation is not a JSON list"),
        (r#"[{"name": "la\u0000n"}]"#.to_owned(), "must be a DNS-1123 subdomain"),
        ("lan\u{0}".to_owned(), "must be a DNS-1123 subdomain"),
        (
            lan(r#""portMappings": [{"hostPort": 1e400, "containerPort": 1}]"#),
            "must be an integer from 1 to 65535",
        ),
        (
            lan(r#""portMappings": [{"hostPort": 18446744073709551617, "containerPort": 1}]"#),
            "must be an integer from 1 to 65535",
        ),
        (lan(r#""bandwidth": {"ingressRate": 1e999}"#), "must be an integer above 0"),
        (lan(r#""ips": ["::ffff:10.96.0.1"]"#), "must not be an IPv4-mapped IPv6 address"),
        (lan(r#""ips": ["10.20.0.9;MAC=02:00:00:00:00:01"]"#), "must be an IPv4 or IPv6 address"),
        (lan(r#""deviceID": "../../x""#), "visible ASCII characters without '/'"),
        ("../lan".to_owned(), "must be a DNS-1123 label"),
        ("team-b/../lan".to_owned(), "must be [namespace/]name[@interface]"),
        ("lan@../x".to_owned(), "visible ASCII characters without '/'"),
    ];
    let pod = cluster.node.pod("team-a", "web");
    for (annotation, expected) in attacks {
        for key in [NETWORKS, DEFAULT_NETWORK] {
            let outcome = pod.add(cluster.config(Value::Null)).annotation(key, &annotation).run();
            let shown: String = annotation.chars().take(80).collect();
            assert!(
                !outcome.status.success() && !outcome.stderr.contains("panicked"),
                "{key} {shown}: {outcome:?}"
            );
            let error =
                outcome.assert_error(7, [&format!("pod team-a/web: annotation {key}: "), expected]);
            assert!(error["msg"].as_str().unwrap().len() < 1000, "{shown}");
        }
    }
    assert_eq!(cluster.node.calls_in_order(), Vec::<String>::new());
}

/// What is not UTF-8 cannot come in an annotation, only in the call itself.
#[test]
fn a_call_that_is_no_text_is_refused() {
    let cluster = Cluster::new();
    let pod = cluster.node.pod("team-a", "web");
    let input = b"{\"cniVersion\": \"1.0.0\", \"name\": \"n\xff\", \"type\": \"braid\"}".to_vec();
    pod.add(json!({})).input(input).run().assert_error(6, ["is not valid JSON"]);
    assert_eq!(cluster.node.calls_in_order(), Vec::<String>::new());
}

#[test]
fn an_interface_name_is_no_path_no_option_and_no_pattern() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    let rules = [
        ("lo", "must not be"),
        ("..", "must not be"),
        ("all", "must not be"),
        ("eth0", "it is the pod's primary interface"),
        ("a/b", "must be an interface name: visible ASCII"),
        ("a:1", "must be an interface name: visible ASCII"),
        ("net%d", "must be an interface name: visible ASCII"),
        ("a b", "must be an interface name: visible ASCII"),
        ("a\n", "must be an interface name: visible ASCII"),
        ("-rf", "that does not begin with '-' or '.', nor end with '.'"),
        (".all", "that does not begin with '-' or '.'"),
        // The tuning plugin would write eth0's sysctls for these.
        ("eth0.", "nor end with '.'"),
        ("all.", "nor end with '.'"),
        ("sixteen-letters-", "1 to 15 bytes"),
    ];
    for (name, expected) in rules {
        let asked = json!([{"name": "lan", "interface": name}]).to_string();
        let refusal = cluster.refusal(Value::Null, &asked);
        assert!(refusal.contains(expected), "{name:?}: {refusal}");
    }
}
