//! portmap: rules, beside those of the reference.

use cni::request::Command::{Add, Check, Del, Gc, Status};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::node::Who::{Ours, Reference};
use super::node::{About, Node, merged, path_of, same, with_valid};

/// What a container's own rules have in them.
const OWN: &[&str] = &["container-1", "CNI-DN-", "10.1.0.5", "fd01::5", "8080"];

const BOTH: &[&str] = &["10.1.0.5/24", "fd01::5/64"];

fn network(node: &Node, addresses: &[&str], mappings: &Value, keys: &Value) -> Value {
    let ip = |address: &&str| {
        let version = if address.contains(':') { "6" } else { "4" };
        json!({"address": address, "interface": 0, "version": version})
    };
    let ips: Vec<Value> = addresses.iter().map(ip).collect();
    let base = json!({
        "cniVersion": "0.4.0", "name": "blue", "type": "portmap",
        "runtimeConfig": {"portMappings": mappings},
        "prevResult": {
            "cniVersion": "0.4.0", "ips": ips,
            "interfaces": [{"name": "eth0", "sandbox": path_of(&node.container)}],
        },
    });
    merged(base, keys)
}

fn tcp(host: u16, container: u16) -> Value {
    json!({"hostPort": host, "containerPort": container, "protocol": "tcp"})
}

/// A node that has routes to the addresses.
fn node() -> Node {
    let node = Node::new();
    node.on_host(
        "ip link add br0 type bridge; ip link set br0 up; ip addr add 10.1.0.1/24 dev br0; \
         ip addr add fd01::1/64 dev br0 nodad",
    );
    node
}

/// ADD by both on nodes of their own, CHECK of each by us and by the other, DEL by the other.
fn compare(addresses: &[&str], mappings: &Value, keys: &Value) {
    let nodes = [(Reference, node()), (Ours, node())];
    let results = nodes.each_ref().map(|(who, node)| {
        let result = node.must(*who, Add, &network(node, addresses, mappings, keys));
        let sandbox = path_of(&node.container);
        let text = result.to_string().replace(&sandbox, "sandbox").replace(",\"dns\":{}", "");
        serde_json::from_str::<Value>(&text).unwrap()
    });
    assert_eq!(results[0], results[1]);
    let state = |node: &Node| {
        node.rules() + &node.on_host("cat /proc/sys/net/ipv4/conf/br0/route_localnet")
    };
    same(&state(&nodes[0].1), &state(&nodes[1].1), format!("{mappings} {keys}"));
    for (who, node) in &nodes {
        let config = network(node, addresses, mappings, keys);
        node.must(Ours, Check, &config);
        // The CHECK of Debian's release looks for IPv4's rules in both families, and fails.
        if std::env::var_os("REFERENCE_PLUGINS").is_some() {
            node.must(Reference, Check, &config);
        }
        node.must(who.other(), Del, &config);
        assert_eq!(node.leftovers(OWN), [""; 0], "{who:?}'s, after DEL by the other: {config}");
        node.must(Ours, Del, &config);
    }
    same(&state(&nodes[0].1), &state(&nodes[1].1), format!("{mappings} {keys}"));
}

#[test]
fn iptables_rules_are_the_reference_s() {
    let mappings = json!([tcp(8080, 80), tcp(8443, 443)]);
    for addresses in [BOTH, &BOTH[..1], &BOTH[1..]] {
        compare(addresses, &mappings, &json!({}));
    }
    for keys in [
        json!({"snat": false}),
        json!({"masqAll": true}),
        json!({"markMasqBit": 31}),
        json!({"markMasqBit": 0, "snat": true}),
        json!({"conditionsV4": ["!", "-s", "192.0.2.0/24", "-m", "mark", "--mark", "0x7"], "conditionsV6": ["-d", "2001:db8::1/128"]}),
        json!({"conditionsV4": ["-i", "eth+"]}),
    ] {
        // Debian's release has no masqAll.
        if keys.get("masqAll").is_none() || std::env::var_os("REFERENCE_PLUGINS").is_some() {
            compare(BOTH, &mappings, &keys);
        }
    }
}

#[test]
fn many_ports_protocols_and_addresses_are_the_reference_s() {
    let mut mappings: Vec<Value> = (0..33).map(|at| tcp(8000 + at, 80 + at)).collect();
    for protocol in ["udp", "sctp"] {
        mappings.push(json!({"hostPort": 53, "containerPort": 5353, "protocol": protocol}));
    }
    for ip in ["192.0.2.1", "2001:db8::1", "0.0.0.0", "::", ""] {
        mappings.push(json!({"hostPort": 9, "containerPort": 9, "protocol": "udp", "hostIP": ip}));
    }
    mappings.push(tcp(8001, 81));
    compare(BOTH, &json!(mappings), &json!({}));
    // No mapping is left for a family.
    let six =
        json!([{"hostPort": 9, "containerPort": 9, "protocol": "udp", "hostIP": "2001:db8::1"}]);
    compare(BOTH, &six, &json!({}));
}

fn mapping() -> impl Strategy<Value = Value> {
    let ip = proptest::option::weighted(
        0.4,
        proptest::sample::select(vec![
            "",
            "0.0.0.0",
            "::",
            "192.0.2.1",
            "2001:db8::1",
            "127.0.0.1",
        ]),
    );
    let protocol = proptest::sample::select(vec!["tcp", "udp", "sctp"]);
    (1_u16.., 1_u16.., protocol, ip).prop_map(|(host, container, protocol, ip)| {
        let mapping = json!({"hostPort": host, "containerPort": container, "protocol": protocol});
        ip.map_or(mapping.clone(), |ip| merged(mapping, &json!({"hostIP": ip})))
    })
}

fn keys() -> impl Strategy<Value = Value> {
    let name = "[a-zA-Z0-9][a-zA-Z0-9_.-]{0,30}";
    let bit = proptest::option::of(0_u8..32);
    let condition = proptest::option::weighted(
        0.3,
        proptest::sample::select(vec![
            json!(["-d", "192.0.2.7"]),
            json!(["!", "-i", "lo"]),
            json!(["-m", "mark", "!", "--mark", "0x1/0xff"]),
        ]),
    );
    (name, bit, proptest::option::of(any::<bool>()), condition).prop_map(
        |(name, bit, snat, condition)| {
            let mut keys = json!({"name": name});
            let values = [
                ("markMasqBit", json!(bit)),
                ("snat", json!(snat)),
                ("conditionsV4", json!(condition)),
            ];
            for (key, value) in values.into_iter().filter(|(_, value)| !value.is_null()) {
                keys[key] = value;
            }
            keys
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_mappings_make_the_reference_s_rules(
        mappings in proptest::collection::vec(mapping(), 1..20),
        keys in keys(),
        families in 0_usize..3,
    ) {
        let addresses = [BOTH, &BOTH[..1], &BOTH[1..]][families];
        compare(addresses, &json!(mappings), &keys);
    }

    /// Needs a release of the reference that has the backend.
    #[test]
    #[ignore = "needs the reference plugins 1.9: REFERENCE_PLUGINS names their directory"]
    fn generated_mappings_make_the_reference_s_nftables_rules(
        mappings in proptest::collection::vec(mapping(), 1..20),
        snat in any::<bool>(),
        families in 0_usize..3,
        condition in any::<bool>(),
    ) {
        let addresses = [BOTH, &BOTH[..1], &BOTH[1..]][families];
        let mut keys = json!({"backend": "nftables", "snat": snat});
        if condition {
            keys["conditionsV4"] = json!(["ip", "saddr", "!=", "192.0.2.0/24"]);
            keys["conditionsV6"] = json!(["meta", "mark", "!=", "0x7"]);
        }
        compare(addresses, &json!(mappings), &keys);
    }
}

#[test]
fn nftables_rules_are_those_of_release_1_9() {
    let node = node();
    let ported = json!([
        tcp(8080, 80),
        {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "192.0.2.1"},
    ]);
    let keys =
        json!({"backend": "nftables", "conditionsV4": ["ip", "saddr", "!=", "192.0.2.0/24"]});
    node.must(Ours, Add, &network(&node, &BOTH[..1], &ported, &keys));
    let lines = [
        "table ip cni_hostport {",
        "comment \"CNI portmap plugin\"",
        "chain hostports {",
        "tcp dport 8080 dnat to 10.1.0.5:80 comment \"container-1\"",
        "ip daddr 192.0.2.1 udp dport 53 dnat to 10.1.0.5:5353 comment \"container-1\"",
        "}",
        "",
        "chain hostip_hostports {",
        "}",
        "",
        "chain hostports_all {",
        "jump hostip_hostports",
        "jump hostports",
        "}",
        "",
        "chain prerouting {",
        "type nat hook prerouting priority dstnat; policy accept;",
        "ip saddr != 192.0.2.0/24 fib daddr type local jump hostports_all",
        "}",
        "",
        "chain output {",
        "type nat hook output priority -100; policy accept;",
        "ip saddr != 192.0.2.0/24 fib daddr type local jump hostports_all",
        "}",
        "",
        "chain masquerading {",
        "type nat hook postrouting priority srcnat; policy accept;",
        "ip saddr 10.1.0.5 ip daddr 10.1.0.5 masquerade comment \"container-1\"",
        "ip saddr 127.0.0.1 ip daddr 10.1.0.5 masquerade comment \"container-1\"",
        "}",
        "}",
    ];
    assert_eq!(node.rules(), lines.join("\n"));
}

#[test]
fn del_needs_no_mappings_no_result_and_no_namespace() {
    for (who, backend) in [(Ours, "iptables"), (Ours, "nftables"), (Reference, "iptables")] {
        for bare in [
            json!({"runtimeConfig": null}),
            json!({"runtimeConfig": null, "prevResult": null, "snat": false}),
        ] {
            let node = node();
            let config =
                network(&node, BOTH, &json!([tcp(8080, 80)]), &json!({"backend": backend}));
            node.must(who, Add, &config);
            assert!(!node.leftovers(OWN).is_empty());
            let about = node.about("container-1", "eth0").without_netns();
            // Another backend by then.
            let bare = merged(merged(config, &bare), &json!({"backend": "nftables"}));
            for _ in 0..2 {
                node.call(Ours, Del, &bare, &about).unwrap();
                assert_eq!(node.leftovers(OWN), [""; 0], "{who:?} {backend}");
            }
        }
    }
}

#[test]
fn attachments_close_their_own_ports_alone() {
    for backend in ["iptables", "nftables"] {
        let node = node();
        let keys = json!({"backend": backend});
        let one = network(&node, &BOTH[..1], &json!([tcp(8080, 80)]), &keys);
        let two = network(&node, &["10.1.0.6/24"], &json!([tcp(9090, 90)]), &keys);
        let other = merged(two.clone(), &json!({"name": "green"}));
        let (eth0, another) =
            (node.about("container-1", "eth0"), node.about("container-2", "eth0"));
        node.call(Ours, Add, &one, &eth0).unwrap();
        // The same container in another network, and another container in the same one.
        for (config, about) in [(&other, &eth0), (&two, &another)] {
            let before = node.leftovers(&["10.1.0.5:80"]);
            node.call(Ours, Add, config, about).unwrap();
            node.call(Ours, Check, config, about).unwrap();
            let bare = merged(config.clone(), &json!({"prevResult": null}));
            node.call(Ours, Del, &bare, &about.without_netns()).unwrap();
            assert_eq!(node.leftovers(&["9090", "10.1.0.6"]), [""; 0], "{backend}");
            assert_eq!(node.leftovers(&["10.1.0.5:80"]), before, "{backend}");
            node.call(Ours, Check, &one, &eth0).unwrap();
        }
    }
}

#[test]
fn an_add_that_is_repeated_makes_no_rule_twice() {
    for backend in ["iptables", "nftables"] {
        let node = node();
        let config = network(&node, BOTH, &json!([tcp(8080, 80)]), &json!({"backend": backend}));
        node.must(Ours, Add, &config);
        let once = node.rules();
        node.must(Ours, Add, &config);
        assert_eq!(node.rules(), once, "{backend}");
    }
}

#[test]
fn a_failed_add_leaves_no_rule_of_the_container() {
    let node = node();
    // The second family fails behind the first one: the chain is missing.
    node.on_host("iptables -t nat -N KUBE-MARK-MASQ");
    let keys = json!({"externalSetMarkChain": "KUBE-MARK-MASQ"});
    let mappings = json!([tcp(8080, 80)]);
    let config = network(&node, BOTH, &mappings, &keys);
    let about = node.about("container-1", "eth0");
    let error = node.call(Ours, Add, &config, &about).unwrap_err();
    assert!(error.msg.contains("ip6tables-restore"), "{error}");
    assert_eq!(node.leftovers(OWN), [""; 0]);
    node.must(Ours, Add, &network(&node, &BOTH[..1], &mappings, &keys));
    let nft = json!({"backend": "nftables", "conditionsV6": ["ip", "no", "such", "word"]});
    let error =
        node.call(Ours, Add, &network(&node, BOTH, &mappings, &nft), &node.about("c2", "eth0"));
    assert!(error.is_err());
    assert_eq!(node.leftovers(&["c2"]), [""; 0]);
}

#[test]
fn check_tells_of_a_rule_that_is_gone() {
    let entry = "a rule of chain CNI-HOSTPORT-DNAT that leads the host's ports to 10.1.0.5 is gone";
    for (backend, line, sentence) in [
        ("iptables", "iptables -t nat -F CNI-HOSTPORT-DNAT", entry),
        (
            "nftables",
            "nft flush chain ip cni_hostport hostports",
            "the rule that leads tcp port 8080 to 10.1.0.5 is gone",
        ),
        (
            "nftables",
            "nft flush chain ip6 cni_hostport masquerading",
            "the rule that masquerades what goes back to fd01::5 is gone",
        ),
    ] {
        let node = node();
        let config = network(&node, BOTH, &json!([tcp(8080, 80)]), &json!({"backend": backend}));
        node.must(Ours, Add, &config);
        node.must(Ours, Check, &config);
        node.on_host(line);
        let error =
            node.call(Ours, Check, &config, &node.about("container-1", "eth0")).unwrap_err();
        assert_eq!((error.code.0, error.msg.as_str()), (101, sentence));
    }
}

#[test]
fn gc_closes_the_ports_of_attachments_that_are_gone() {
    for backend in ["iptables", "nftables"] {
        let node = node();
        let config = network(&node, BOTH, &json!([tcp(8080, 80)]), &json!({"backend": backend}));
        node.must(Ours, Add, &config);
        let before = node.rules();
        let about = node.about("x", "x");
        let valid = with_valid(&config, &[("container-1", "eth0")]);
        node.call(Ours, Gc, &valid, &about).unwrap();
        let foreign = merged(with_valid(&config, &[]), &json!({"name": "green"}));
        node.call(Ours, Gc, &foreign, &about).unwrap();
        assert_eq!(node.rules(), before);
        node.call(Ours, Gc, &with_valid(&config, &[]), &about).unwrap();
        assert_eq!(node.leftovers(OWN), [""; 0]);
        node.must(Reference, Add, &merged(config.clone(), &json!({"backend": "iptables"})));
        let before = node.rules();
        node.call(Ours, Gc, &with_valid(&config, &[]), &about).unwrap();
        assert_eq!(node.rules(), before, "GC took rules that no mark proves ours");
    }
}

#[test]
fn status_names_what_is_missing() {
    let node = node();
    let config =
        json!({"cniVersion": "1.1.0", "name": "blue", "type": "portmap", "backend": "nftables"});
    let mut about = node.about("x", "x");
    node.call(Ours, Status, &config, &about).unwrap();
    about.path = "/nowhere".to_owned();
    let error = node.call(Ours, Status, &config, &about).unwrap_err();
    let sentence = "program \"nft\" is in no directory of PATH: install the package nftables";
    assert_eq!((error.code.0, error.msg.as_str()), (50, sentence));
}

#[test]
fn calls_at_once_keep_each_other_s_rules() {
    for backend in ["iptables", "nftables"] {
        let node = node();
        let all = |verb: cni::request::Command| {
            let call = |at: u16| {
                let addresses = [format!("10.1.0.{}/24", at + 10), format!("fd01::{at:x}a/64")];
                let addresses = addresses.each_ref().map(String::as_str);
                let keys = json!({"backend": backend});
                let config = network(&node, &addresses, &json!([tcp(8000 + at, 80)]), &keys);
                node.call(Ours, verb, &config, &node.about(&format!("at-once-{at}"), "eth0"))
            };
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let calls: Vec<_> = (0..12).map(|at| scope.spawn(move || call(at))).collect();
                calls.into_iter().map(|call| call.join().unwrap()).collect()
            });
            for outcome in outcomes {
                outcome.unwrap_or_else(|error| panic!("{verb} with {backend}: {error}"));
            }
        };
        all(Add);
        for shared in
            ["--dst-type LOCAL -j CNI-HOSTPORT-DNAT", "fib daddr type local jump hostports_all"]
        {
            let count = node.leftovers(&[shared]).len();
            assert!(matches!(count, 0 | 4), "{backend}: {count} times {shared}");
        }
        all(Check);
        all(Del);
        assert_eq!(node.leftovers(&["at-once", "10.1.0.", "fd01::"]), [""; 0], "{backend}");
    }
}

/// A kernel without the packet filter that an installed program is for.
#[test]
fn a_program_that_does_not_work_here_holds_up_del_only_if_it_has_rules() {
    let tools = tempfile::tempdir().unwrap();
    for name in ["iptables", "ip6tables", "nft"] {
        let script = tools.path().join(name);
        std::fs::write(&script, "#!/bin/sh\necho no such kernel >&2; exit 4\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
    }
    for backend in ["iptables", "nftables"] {
        let node = node();
        let config = network(&node, BOTH, &json!([tcp(8080, 80)]), &json!({"backend": backend}));
        let usual = node.about("container-1", "eth0");
        let broken = About { path: tools.path().display().to_string(), ..usual.clone() };
        node.call(Ours, Del, &config, &broken).unwrap();
        node.call(Ours, Add, &config, &usual).unwrap();
        let error = node.call(Ours, Del, &config, &broken).unwrap_err();
        assert!(error.msg.contains("no such kernel"), "{error}");
        node.call(Ours, Del, &config, &usual).unwrap();
        assert_eq!(node.leftovers(OWN), [""; 0]);
    }
}
