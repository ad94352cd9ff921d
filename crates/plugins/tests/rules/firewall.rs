//! firewall: rules of iptables, beside those of the reference.

use cni::request::Command::{Add, Check, Del, Gc, Status};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::node::Who::{Ours, Reference};
use super::node::{Node, merged, same, with_valid};

/// What a container's own rules have in them.
const OWN: &[&str] = &["10.1.0.", "fd01::"];

const BOTH: &[&str] = &["10.1.0.5/24", "fd01::5/64"];

fn network(addresses: &[&str], keys: &Value) -> Value {
    let ip = |address: &&str| {
        let version = if address.contains(':') { "6" } else { "4" };
        json!({"address": address, "version": version, "interface": 1})
    };
    let ips: Vec<Value> = addresses.iter().map(ip).collect();
    let base = json!({
        "cniVersion": "0.4.0", "name": "blue", "type": "firewall", "backend": "iptables",
        "prevResult": {
            "cniVersion": "0.4.0", "ips": ips,
            "interfaces": [{"name": "br0"}, {"name": "eth0", "sandbox": "/x"}],
        },
    });
    merged(base, keys)
}

/// Releases before 1.7, Debian's among them, have a policy less, and do not name it in comments.
fn rules(node: &Node) -> String {
    let rules = node.rules();
    match std::env::var_os("REFERENCE_PLUGINS") {
        Some(_) => rules,
        None => rules.replace("same-bridge|isolated", "same-bridge"),
    }
}

fn compare(before: &str, addresses: &[&str], keys: &[Value]) {
    let nodes = [(Reference, Node::new()), (Ours, Node::new())];
    for keys in keys {
        let config = network(addresses, keys);
        let results = nodes.each_ref().map(|(who, node)| {
            node.on_host(before);
            let mut result = node.must(*who, Add, &config);
            result.as_object_mut().unwrap().remove("dns");
            result
        });
        assert_eq!(results[0], results[1]);
        same(&rules(&nodes[0].1), &rules(&nodes[1].1), &config);
    }
    for (who, node) in &nodes {
        let config = network(addresses, keys.last().unwrap());
        node.must(Ours, Check, &config);
        node.must(Reference, Check, &config);
        node.must(who.other(), Del, &config);
        assert_eq!(node.leftovers(OWN), [""; 0], "{who:?}'s, after DEL by the other: {config}");
        node.must(Ours, Del, &config);
    }
    same(&rules(&nodes[0].1), &rules(&nodes[1].1), "DEL");
}

#[test]
fn rules_are_the_reference_s() {
    for addresses in [BOTH, &BOTH[..1], &BOTH[1..], &["10.1.0.5/24", "10.1.0.6/24"]] {
        compare("true", addresses, &[json!({})]);
    }
    compare("true", BOTH, &[json!({"iptablesAdminChainName": "SITE.rules-1"})]);
    compare("true", BOTH, &[json!({}), json!({})]);
    compare("iptables -P FORWARD DROP; iptables -A FORWARD -j ACCEPT", BOTH, &[json!({})]);
}

#[test]
fn a_policy_of_the_same_bridge_is_the_reference_s() {
    let policy = json!({"ingressPolicy": "same-bridge"});
    compare("true", BOTH, std::slice::from_ref(&policy));
    compare("true", BOTH, &[json!({"ingressPolicy": "open"}), policy.clone(), policy]);
}

/// Needs a release of the reference that has the policy.
#[test]
#[ignore = "needs the reference plugins 1.7 or newer: REFERENCE_PLUGINS names their directory"]
fn an_isolated_bridge_is_the_reference_s() {
    let [same, isolated] = ["same-bridge", "isolated"].map(|it| json!({"ingressPolicy": it}));
    compare("true", BOTH, std::slice::from_ref(&isolated));
    compare("true", &BOTH[..1], &[same.clone(), isolated.clone()]);
    compare("true", BOTH, &[isolated, same]);
}

#[test]
fn an_isolated_bridge_has_the_rules_of_release_1_9() {
    let node = Node::new();
    node.must(Ours, Add, &network(&BOTH[..1], &json!({"ingressPolicy": "isolated"})));
    let shared =
        "-m comment --comment \"CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)\"";
    let isolated = "-m comment --comment \"CNI firewall plugin rules (ingressPolicy: isolated)\"";
    let lines = [
        "-A FORWARD {shared} -j CNI-ISOLATION-STAGE-1".replace("{shared}", shared),
        "-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD".to_owned(),
        "-A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j CNI-ADMIN"
            .to_owned(),
        "-A CNI-FORWARD -d 10.1.0.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            .to_owned(),
        "-A CNI-FORWARD -s 10.1.0.5/32 -j ACCEPT".to_owned(),
        format!("-A CNI-ISOLATION-STAGE-1 -i br0 -o br0 {isolated} -j DROP"),
        format!("-A CNI-ISOLATION-STAGE-1 -i br0 ! -o br0 {isolated} -j CNI-ISOLATION-STAGE-2"),
        format!("-A CNI-ISOLATION-STAGE-1 {shared} -j RETURN"),
        format!("-A CNI-ISOLATION-STAGE-2 -o br0 {shared} -j DROP"),
        format!("-A CNI-ISOLATION-STAGE-2 {shared} -j RETURN"),
    ];
    let shown = node.on_host("iptables-save -t filter | grep ^-A");
    assert_eq!(shown.trim(), lines.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_configurations_make_the_reference_s_rules(
        hosts in proptest::collection::vec((1_u8..250, any::<bool>()), 1..5),
        chain in proptest::option::of("[A-Z][A-Za-z0-9_.-]{0,27}"),
        policy in proptest::option::of(proptest::sample::select(vec!["open", "same-bridge"])),
        backend in proptest::sample::select(vec!["iptables", "", "other"]),
    ) {
        let address = |(host, six): &(u8, bool)| {
            if *six { format!("fd01::{host:x}/64") } else { format!("10.1.0.{host}/24") }
        };
        let addresses: Vec<String> = hosts.iter().map(address).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut keys = json!({"backend": backend});
        for (key, value) in [("iptablesAdminChainName", json!(chain)), ("ingressPolicy", json!(policy))] {
            if !value.is_null() {
                keys[key] = value;
            }
        }
        compare("true", &addresses, &[keys]);
    }
}

#[test]
fn del_needs_no_earlier_result() {
    let node = Node::new();
    let config = network(BOTH, &json!({"ingressPolicy": "same-bridge"}));
    node.must(Ours, Add, &config);
    assert_eq!(node.leftovers(OWN).len(), 4);
    let bare = merged(config, &json!({"prevResult": null}));
    for _ in 0..2 {
        node.call(Ours, Del, &bare, &node.about("container-1", "eth0").without_netns()).unwrap();
        assert_eq!(node.leftovers(OWN), [""; 0]);
    }
}

#[test]
fn an_address_that_another_container_has_by_now_keeps_its_rules() {
    let node = Node::new();
    let config = network(&BOTH[..1], &json!({}));
    let [old, new] = ["container-1", "container-2"].map(|id| node.about(id, "eth0"));
    node.call(Ours, Add, &config, &old).unwrap();
    node.call(Ours, Add, &config, &new).unwrap();
    let before = node.rules();
    for _ in 0..2 {
        node.call(Ours, Del, &config, &old).unwrap();
        assert_eq!(node.rules(), before);
    }
    node.call(Ours, Del, &config, &new).unwrap();
    assert_eq!(node.leftovers(OWN), [""; 0]);
}

#[test]
fn a_failed_add_leaves_no_rule_of_the_container() {
    let node = Node::new();
    let tools = tempfile::tempdir().unwrap();
    for name in ["iptables", "iptables-restore"] {
        std::os::unix::fs::symlink(format!("/usr/sbin/{name}"), tools.path().join(name)).unwrap();
    }
    let mut about = node.about("container-1", "eth0");
    about.path = tools.path().display().to_string();
    let error = node.call(Ours, Add, &network(BOTH, &json!({})), &about).unwrap_err();
    assert!(error.msg.contains("\"ip6tables\" is in no directory of PATH"), "{error}");
    assert_eq!(node.leftovers(OWN), [""; 0]);
    // A family without addresses needs no program.
    node.call(Ours, Add, &network(&BOTH[..1], &json!({})), &about).unwrap();
}

#[test]
fn what_cannot_be_kept_is_refused_before_anything_is_changed() {
    let node = Node::new();
    let about = node.about("container-1", "eth0");
    for keys in [
        json!({"ingressPolicy": "closed"}),
        json!({"iptablesAdminChainName": "X\n-A INPUT -j DROP"}),
        json!({"ingressPolicy": "isolated", "prevResult": {"cniVersion": "0.4.0", "interfaces": [{"name": "br0 -j DROP"}]}}),
        json!({"ingressPolicy": "isolated", "prevResult": {"cniVersion": "0.4.0"}}),
        json!({"prevResult": null}),
    ] {
        let error = node.call(Ours, Add, &network(BOTH, &keys), &about).unwrap_err();
        assert_eq!(error.code.0, 7, "{keys}: {error}");
        assert_eq!(node.rules(), "", "{keys}");
    }
}

#[test]
fn check_tells_of_a_rule_that_is_gone() {
    for line in [
        "iptables -D FORWARD 1",
        "ip6tables -F CNI-FORWARD",
        "iptables -D CNI-FORWARD -s 10.1.0.5 -j ACCEPT",
    ] {
        let node = Node::new();
        let config = network(BOTH, &json!({}));
        node.must(Ours, Add, &config);
        node.must(Ours, Check, &config);
        node.on_host(line);
        let error =
            node.call(Ours, Check, &config, &node.about("container-1", "eth0")).unwrap_err();
        let ip = if line.starts_with("ip6") { "fd01::5" } else { "10.1.0.5" };
        let sentence = format!("what lets packets of {ip} through is gone");
        assert_eq!((error.code.0, error.msg), (101, sentence), "{line}");
    }
}

#[test]
fn gc_and_status() {
    let node = Node::new();
    let config = network(BOTH, &json!({}));
    node.must(Ours, Add, &config);
    let mut about = node.about("x", "x");
    node.call(Ours, Gc, &with_valid(&config, &[("container-1", "eth0")]), &about).unwrap();
    assert_eq!(node.leftovers(OWN).len(), 4);
    node.call(Ours, Gc, &with_valid(&config, &[]), &about).unwrap();
    assert_eq!(node.leftovers(OWN), [""; 0]);
    let config = merged(config, &json!({"cniVersion": "1.1.0", "prevResult": null}));
    node.call(Ours, Status, &config, &about).unwrap();
    about.path = "/nowhere".to_owned();
    let error = node.call(Ours, Status, &config, &about).unwrap_err();
    let sentence = "program \"iptables\" is in no directory of PATH: install the package iptables";
    assert_eq!((error.code.0, error.msg.as_str()), (50, sentence));
}
