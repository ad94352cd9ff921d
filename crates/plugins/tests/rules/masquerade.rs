//! `ipMasq` of bridge and ptp.

use cni::request::Command::{Add, Check, Del, Gc, Status};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::node::Who::{Ours, Reference};
use super::node::{Node, merged, same, with_result, with_valid};

/// What an attachment's own rules have in them, in either backend.
const OWN: &[&str] = &["container-1", "10.1.0.", "fd01::"];

const FOUR: &str = "10.1.0.5/24";
const SIX: &str = "fd01::5/64";

fn network(kind: &str, addresses: &[&str], keys: &Value) -> Value {
    let gateway = |address: &str| if address.contains(':') { "fd01::1" } else { "10.1.0.1" };
    let entry = |address: &&str| json!({"address": address, "gateway": gateway(address)});
    let addresses: Vec<Value> = addresses.iter().map(entry).collect();
    let base = json!({
        "cniVersion": "0.4.0", "name": "blue", "type": kind, "ipMasq": true,
        "ipam": {"type": "static", "addresses": addresses},
    });
    merged(base, keys)
}

/// ADD by both on nodes of their own, then DEL by each on the other's node, with and without what a
/// runtime may lack.
fn compare(config: &Value) {
    let nodes = [(Reference, Node::new()), (Ours, Node::new())];
    let results = nodes.each_ref().map(|(who, node)| node.must(*who, Add, config));
    let [reference, ours] = nodes.each_ref().map(|(_, node)| node.rules());
    same(&reference, &ours, config);
    assert!(OWN.iter().any(|words| ours.contains(words)), "{ours}");
    for ((who, node), result) in nodes.iter().zip(&results) {
        let config = with_result(config, result);
        node.must(Ours, Check, &config);
        // The reference's own fails behind iptables' words for a chain that nft has no need of.
        let deleted = node.call(who.other(), Del, &config, &node.about("container-1", "eth0"));
        assert!(deleted.is_ok() || who.other() == Reference, "{deleted:?}");
        assert_eq!(node.leftovers(OWN), [""; 0], "DEL of {who:?}'s by the other: {config}");
    }
    let [reference, ours] = nodes.each_ref().map(|(_, node)| node.rules());
    same(&reference, &ours, config);
}

#[test]
fn iptables_rules_are_the_reference_s() {
    for kind in ["bridge", "ptp"] {
        for addresses in [&[FOUR][..], &[SIX], &[FOUR, SIX], &[SIX, FOUR]] {
            compare(&network(kind, addresses, &json!({})));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_and_addresses_of_any_kind_make_the_reference_s_rules(
        name in "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,40}",
        host in 2_u8..250,
        prefix in 16_u8..31,
        has_six in any::<bool>(),
        is_bridge in any::<bool>(),
    ) {
        let four = format!("10.1.0.{host}/{prefix}");
        let addresses = if has_six { vec![four.as_str(), SIX] } else { vec![four.as_str()] };
        let kind = if is_bridge { "bridge" } else { "ptp" };
        compare(&network(kind, &addresses, &json!({"name": name})));
    }
}

/// Needs a release of the reference that has the backend.
#[test]
#[ignore = "needs the reference plugins 1.6 or newer: REFERENCE_PLUGINS names their directory"]
fn nftables_rules_are_the_reference_s() {
    for kind in ["bridge", "ptp"] {
        for addresses in [&[FOUR][..], &[SIX], &[FOUR, SIX]] {
            compare(&network(kind, addresses, &json!({"ipMasqBackend": "nftables"})));
        }
    }
    let name = "a.b-c_d".repeat(12);
    compare(&network("bridge", &[FOUR], &json!({"ipMasqBackend": "nftables", "name": name})));
}

#[test]
fn nftables_rules_are_those_of_release_1_9() {
    let node = Node::new();
    let keys = json!({"ipMasqBackend": "nftables"});
    node.must(Ours, Add, &network("bridge", &[FOUR, SIX], &keys));
    let lines = [
        "table inet cni_plugins_masquerade {",
        "comment \"Masquerading for plugins from github.com/containernetworking/plugins\"",
        "chain masq_checks {",
        "comment \"Masquerade traffic from certain IPs to any (non-multicast) IP outside their \
         subnet\"",
        "ip saddr 10.1.0.5 ip daddr != 10.1.0.0/24 masquerade comment \
         \"d6077a19f538d533-2e45f3e974e6a117, net: blue, if: eth0, id: container-1\"",
        "ip6 saddr fd01::5 ip6 daddr != fd01::/64 masquerade comment \
         \"d6077a19f538d533-2e45f3e974e6a117, net: blue, if: eth0, id: container-1\"",
        "}",
        "",
        "chain postrouting {",
        "type nat hook postrouting priority srcnat; policy accept;",
        "ip daddr 224.0.0.0/4 return",
        "ip6 daddr ff00::/8 return",
        "goto masq_checks",
        "}",
        "}",
    ];
    assert_eq!(node.rules(), lines.join("\n"));
}

#[test]
fn del_needs_no_namespace_and_no_earlier_result() {
    for backend in ["iptables", "nftables"] {
        for kind in ["bridge", "ptp"] {
            let node = Node::new();
            let config = network(kind, &[FOUR, SIX], &json!({"ipMasqBackend": backend}));
            node.must(Ours, Add, &config);
            assert!(!node.leftovers(OWN).is_empty());
            let about = node.about("container-1", "eth0").without_netns();
            for _ in 0..2 {
                node.call(Ours, Del, &config, &about).unwrap();
                assert_eq!(node.leftovers(OWN), [""; 0], "{kind} {backend}");
            }
        }
    }
    // What the reference has made has no mark.
    let node = Node::new();
    let config = network("bridge", &[FOUR, SIX], &json!({}));
    node.must(Reference, Add, &config);
    node.call(Ours, Del, &config, &node.about("container-1", "eth0").without_netns()).unwrap();
    assert_eq!(node.leftovers(OWN), [""; 0]);
}

#[test]
fn a_failed_add_leaves_no_rule() {
    for backend in ["iptables", "nftables"] {
        let node = Node::new();
        // The bridge has another address, which is found after the rules of the first attempt.
        let keys = json!({"ipMasqBackend": backend, "bridge": "br0"});
        let config = network("bridge", &[FOUR], &keys);
        // A port never comes up behind a bridge that a script keeps down: here, IPv6 has no nat.
        node.on_host("ip link add br0 type bridge");
        let mut broken = network("bridge", &[FOUR, SIX], &keys);
        let mut about = node.about("container-1", "eth0");
        let tools = tempfile::tempdir().unwrap();
        for name in ["iptables", "iptables-restore", "nft"] {
            std::os::unix::fs::symlink(format!("/usr/sbin/{name}"), tools.path().join(name))
                .unwrap();
        }
        // Without ip6tables the second family fails behind the first one.
        about.path = tools.path().display().to_string();
        broken["cniVersion"] = json!("1.0.0");
        let added = node.call(Ours, Add, &broken, &about);
        assert_eq!(added.is_err(), backend == "iptables", "{added:?}");
        if let Err(error) = added {
            assert!(
                error.msg.contains("ip6tables") && error.msg.contains("package iptables"),
                "{error}"
            );
            assert_eq!(node.leftovers(OWN), [""; 0]);
            node.must(Ours, Add, &config);
        }
    }
}

#[test]
fn two_attachments_have_rules_of_their_own() {
    for backend in ["iptables", "nftables"] {
        let node = Node::new();
        let keys = json!({"ipMasqBackend": backend});
        let [one, two] =
            ["10.1.0.5/24", "10.1.0.6/24"].map(|address| network("bridge", &[address], &keys));
        let (first, second) =
            (node.about("container-1", "eth0"), node.about("container-1", "net1"));
        let added = node.call(Ours, Add, &one, &first).unwrap();
        node.call(Ours, Add, &two, &second).unwrap();
        let both = node.rules();
        node.call(Ours, Del, &two, &second.without_netns()).unwrap();
        let left = node.rules();
        assert!(both.contains("10.1.0.6") && !left.contains("10.1.0.6"), "{left}");
        node.call(Ours, Check, &with_result(&one, &added), &first).unwrap();
        node.call(Ours, Del, &one, &first).unwrap();
        assert_eq!(node.leftovers(OWN), [""; 0], "{backend}");
    }
}

#[test]
fn check_tells_of_a_rule_that_is_gone() {
    for (backend, line) in [
        ("iptables", "iptables -t nat -F POSTROUTING"),
        (
            "iptables",
            "iptables -t nat -F CNI-$(iptables -t nat -S POSTROUTING | sed -n 's/.*CNI-//p')",
        ),
        ("nftables", "nft flush chain inet cni_plugins_masquerade masq_checks"),
    ] {
        let node = Node::new();
        let config = network("ptp", &[FOUR], &json!({"ipMasqBackend": backend}));
        let config = with_result(&config, &node.must(Ours, Add, &config));
        node.must(Ours, Check, &config);
        node.on_host(line);
        let error =
            node.call(Ours, Check, &config, &node.about("container-1", "eth0")).unwrap_err();
        assert_eq!(error.msg, format!("the rules that masquerade address {FOUR} are gone"));
    }
}

#[test]
fn gc_removes_rules_of_attachments_that_are_gone_and_no_others() {
    for backend in ["iptables", "nftables"] {
        let node = Node::new();
        let config = network("bridge", &[FOUR], &json!({"ipMasqBackend": backend}));
        node.must(Ours, Add, &config);
        let before = node.rules();
        let about = node.about("x", "x");
        for (valid, network) in [
            (&[("container-1", "eth0")][..], "blue"),
            (&[][..], "green"),
            (&[("a", "b")][..], "gree"),
        ] {
            let config = merged(with_valid(&config, valid), &json!({"name": network}));
            node.call(Ours, Gc, &config, &about).unwrap();
            assert_eq!(node.rules(), before, "{valid:?} {network}");
        }
        node.call(Ours, Gc, &with_valid(&config, &[("container-1", "net1")]), &about).unwrap();
        assert_eq!(node.leftovers(OWN), [""; 0]);
    }
    // Of the reference's rules nothing says that they are this runtime's.
    let node = Node::new();
    let config = network("bridge", &[FOUR], &json!({}));
    node.must(Reference, Add, &config);
    let before = node.rules();
    node.call(Ours, Gc, &with_valid(&config, &[]), &node.about("x", "x")).unwrap();
    assert_eq!(node.rules(), before);
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let node = Node::new();
    let nowhere = tempfile::tempdir().unwrap();
    for (backend, program, package) in [
        ("iptables", "iptables", "iptables"),
        ("nftables", "nft", "nftables"),
        ("", "iptables", "iptables"),
    ] {
        let keys = json!({"ipMasqBackend": backend, "cniVersion": "1.1.0"});
        let config = network("ptp", &[FOUR], &keys);
        let mut about = node.about("container-1", "eth0");
        about.path = nowhere.path().display().to_string();
        let error = node.call(Ours, Status, &config, &about).unwrap_err();
        assert_eq!(error.code.0, 50);
        let sentence = format!(
            "program \"{program}\" is in no directory of PATH: install the package {package}"
        );
        assert_eq!(error.msg, sentence);
        let error =
            node.call(Ours, Add, &merged(config.clone(), &json!({"cniVersion": "1.0.0"})), &about);
        assert!(error.unwrap_err().msg.ends_with(&sentence));
        node.call(Ours, Del, &merged(config, &json!({"cniVersion": "1.0.0"})), &about).unwrap();
    }
    assert_eq!(node.on_host("ip -o link | grep -c veth || true").trim(), "0");
}

#[test]
fn a_backend_of_another_name_is_refused_before_anything_is_changed() {
    let node = Node::new();
    let before = node.on_host("ip -o link");
    for (backend, shown) in [
        (json!("ipset"), "\"ipset\""),
        (json!("nft; flush ruleset"), "\"nft; flush ruleset\""),
        (json!(5), "5"),
        (json!("-j\nACCEPT"), "\"-j\\nACCEPT\""),
    ] {
        let config = network("bridge", &[FOUR], &json!({"ipMasqBackend": backend}));
        let error = node.call(Ours, Add, &config, &node.about("container-1", "eth0")).unwrap_err();
        let sentence =
            format!("\"ipMasqBackend\" must be \"iptables\" or \"nftables\", not {shown}");
        assert_eq!((error.code.0, error.msg), (7, sentence));
    }
    assert_eq!(node.on_host("ip -o link"), before);
}
