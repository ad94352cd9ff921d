//! What `kubectl describe pod` shows of the mistakes that only a plugin notices: the real plugins'
//! own sentences, and behind them what to do.

use serde_json::{Value, json};

use crate::node::Node;

/// The error of a pod that asks for `networks`, of which `lan` is a network with these plugins.
#[track_caller]
fn refusal(node: &Node, plugins: Value, networks: &str) -> String {
    node.define("team-a", "lan", json!({"cniVersion": "1.0.0", "plugins": plugins}));
    let pod = node.pod("team-a", "web");
    let outcome = pod.add(node.delegating()).networks(networks).run();
    let (_, message) = outcome.error();
    assert!(message.starts_with("pod team-a/web: network \"team-a/lan\" on net"), "{message}");
    message
}

fn bridge(node: &Node, more: Value) -> Value {
    let mut ipam = node.host_local("10.30.0.0/24");
    ipam["ranges"][0][0].as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({"type": "bridge", "bridge": "br-lan", "ipam": ipam})
}

#[test]
fn a_range_that_is_used_up_is_to_be_widened() {
    let node = Node::new();
    let full = bridge(&node, json!({"rangeStart": "10.30.0.5", "rangeEnd": "10.30.0.5"}));
    let message = refusal(&node, json!([full]), "lan,lan");
    let expected = "no IP addresses available in range set: 10.30.0.5-10.30.0.5; widen the range \
                    in the definition; braid gc --dry-run names addresses that no pod holds any \
                    more";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn an_address_that_is_taken_or_elsewhere_is_to_be_another() {
    let node = Node::new();
    let plugins = json!([bridge(&node, json!({}))]);
    let twice = r#"[{"name": "lan", "ips": ["10.30.0.7"]}, {"name": "lan", "ips": ["10.30.0.7"]}]"#;
    let taken = refusal(&node, plugins.clone(), twice);
    assert!(
        taken.ends_with(
            "; another pod has it, or the network does: ask for another, or leave \"ips\" out"
        ),
        "{taken}"
    );
    let elsewhere = refusal(&node, plugins, r#"[{"name": "lan", "ips": ["10.99.0.7"]}]"#);
    assert!(
        elsewhere.ends_with("; ask for one in the network's range, or leave \"ips\" out"),
        "{elsewhere}"
    );
}

/// Each of Debian's plugins that changes what another has made, first in its chain.
#[test]
fn a_plugin_in_the_wrong_place_is_to_be_moved() {
    let node = Node::new();
    let plugins = [
        json!({"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}),
        json!({"type": "sbr"}),
        json!({"type": "firewall"}),
        json!({"type": "vrf", "vrfname": "red"}),
        json!({"type": "bandwidth", "ingressRate": 1000, "ingressBurst": 1000}),
    ];
    for plugin in plugins {
        let message = refusal(&node, json!([plugin]), "lan");
        let expected =
            "; put it behind the plugin that makes the interface, in \"plugins\" of the definition";
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn what_the_node_lacks_is_named() {
    let node = Node::new();
    let dhcp = json!({"type": "bridge", "bridge": "br-lan", "ipam": {"type": "dhcp"}});
    node.define("team-a", "lan", json!({"cniVersion": "1.0.0", "plugins": [dhcp]}));
    let refused = node.pod("team-a", "web").add(node.delegating()).networks("lan").run();
    refused.assert_error(
        7,
        ["the daemon of plugin \"dhcp\" is not running on this node", "dhcp.sock is missing"],
    );
    assert!(!node.host().ip("link show").contains("br-lan"), "nothing was begun");
    let socket = node.path("none");
    let dhcp = json!({"type": "bridge", "bridge": "br-lan", "ipam": {"type": "dhcp", "daemonSocketPath": socket}});
    let message = refusal(&node, json!([dhcp]), "lan");
    assert!(message.ends_with("; start the daemon of the dhcp plugin on this node"), "{message}");
    let no_bridge =
        json!({"type": "bridge", "bridge": "lo", "ipam": node.host_local("10.30.0.0/24")});
    let message = refusal(&node, json!([no_bridge]), "lan");
    assert!(
        message.ends_with("; choose another name for \"bridge\" in the definition"),
        "{message}"
    );
    node.host().ip("link add br9 type bridge");
    node.host().ip("link add v9 type veth peer name v10");
    node.host().ip("link set v9 master br9");
    let busy = json!({"type": "macvlan", "master": "v9", "ipam": node.host_local("10.30.0.0/24")});
    let message = refusal(&node, json!([busy]), "lan");
    assert!(message.ends_with("has its \"master\": name another in the definition"), "{message}");
}

#[test]
fn a_plugin_that_is_too_old_is_to_be_replaced_or_asked_otherwise() {
    let node = Node::new();
    node.define(
        "team-a",
        "lan",
        json!({"cniVersion": "1.1.0", "plugins": [bridge(&node, json!({}))]}),
    );
    let pod = node.pod("team-a", "web");
    let outcome = pod.add(node.delegating()).networks("lan").run();
    let expected = "incompatible CNI versions; lower \"cniVersion\" in the definition, or have a \
                    newer plugin installed";
    outcome.assert_error(1, [expected]);
}

#[test]
fn addresses_without_a_prefix_or_without_an_ipam_plugin() {
    let node = Node::new();
    let bridge = |more: Value| {
        let mut plugin =
            json!({"type": "bridge", "bridge": "br-lan", "capabilities": {"ips": true}});
        plugin.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!([plugin])
    };
    let asked = |address: &str| format!("[{{\"name\": \"lan\", \"ips\": [\"{address}\"]}}]");
    let cidr = "; write the address with its prefix length, as in \"10.0.0.5/24\", in \"ips\" of \
                the annotation or in the definition";
    let fixed = |addresses: Value| json!({"ipam": {"type": "static", "addresses": addresses}});
    let message = refusal(&node, bridge(fixed(json!([]))), &asked("10.30.0.5"));
    assert!(message.ends_with(cidr), "{message}");
    let message = refusal(&node, bridge(fixed(json!([]))), "lan");
    let expected = "IPAM plugin returned missing IP config; give the \"ipam\" of the definition \
                    addresses, or ask for \"ips\" if it declares that capability";
    assert!(message.ends_with(expected), "{message}");
    // The capability is declared: that advice would be followed already.
    let message = refusal(&node, bridge(json!({"ipam": {}})), &asked("10.30.0.5/24"));
    let expected = "ips 10.30.0.5 was asked for, and the network gave none; add the missing IPAM \
                    plugin to plugin \"bridge\", as in \"ipam\": {\"type\": \"static\"}, or leave \
                    \"ips\" out";
    assert!(message.ends_with(expected), "{message}");
    let message =
        refusal(&node, bridge(json!({"ipam": {}, "capabilities": {}})), &asked("10.30.0.5/24"));
    let expected = "the network gave none; add \"capabilities\": {\"ips\": true} and an IPAM \
                    plugin, as in \"ipam\": {\"type\": \"static\"}, to the plugin that can set it, \
                    or leave \"ips\" out";
    assert!(message.ends_with(expected), "{message}");
}

/// What is declared already is no advice.
#[test]
fn a_plugin_that_declares_what_it_does_not_do_is_named() {
    let node = Node::new();
    node.recorder("blue");
    let ipam = json!({"type": "host-local"});
    let blue = json!({"type": "blue", "link": true, "addresses": ["10.30.0.9/24"], "capabilities": {"ips": true, "mac": true}, "ipam": ipam});
    node.recorder("host-local");
    let message = refusal(&node, json!([blue]), r#"[{"name": "lan", "ips": ["10.30.0.5"]}]"#);
    let expected = "the network gave 10.30.0.9/24; ask for an address that IPAM plugin \
                    \"host-local\" gives, or leave \"ips\" out";
    assert!(message.ends_with(expected), "{message}");
    let message = refusal(&node, json!([blue]), r#"[{"name": "lan", "mac": "02:00:00:00:00:07"}]"#);
    let expected = "; plugin \"blue\" declares the capability and ignores it: use another, or \
                    leave \"mac\" out";
    assert!(message.ends_with(expected), "{message}");
}

/// A definition without a configuration is not told to be what it is.
#[test]
fn a_definition_without_a_configuration_lacks_that() {
    let node = Node::new();
    let manifest = json!({"kind": "NetworkAttachmentDefinition", "metadata": {"name": "lan", "namespace": "team-a"}});
    node.write("braid.d/lan.json", &manifest.to_string());
    let refused = |networks: &str| {
        let pod = node.pod("team-a", "web");
        pod.add(node.delegating())
            .networks(networks)
            .run()
            .error()
            .1
            .replace(&node.path_text(""), "NODE/")
    };
    let expected = "pod team-a/web: network \"team-a/lan\" is defined without \"spec.config\", and \
                    this node has no network file of that name: add spec.config to the definition, \
                    or put a conflist of that name in NODE/braid.d";
    assert_eq!(refused("lan"), expected);
    assert!(refused("lann").ends_with("is not defined on this node: did you mean \"lan\"?"));
    node.recorder("blue");
    node.write("braid.d/10-lan.conf", r#"{"name": "lan", "type": "blue"}"#);
    node.pod("team-a", "web").add(node.delegating()).networks("lan").run().assert_success();
}

/// The annotation for the primary looks in another namespace than the one for extra networks.
#[test]
fn a_primary_of_the_pods_own_namespace_is_to_be_named_with_it() {
    let node = Node::new();
    node.recorder("blue");
    node.define("team-a", "own", json!({"type": "blue"}));
    let add = |name: &str| {
        let pod = node.pod("team-a", "web");
        pod.add(node.delegating()).default_network(name).run()
    };
    let (_, message) = add("own").error();
    let expected = "; a name without a namespace is looked for in kube-system here: for one of the \
                    pod's own namespace write \"team-a/own\"";
    assert!(message.ends_with(expected) && message.contains("kube-system/own"), "{message}");
    add("team-a/own").assert_success();
    // It is no advice for a network that is named with another namespace, or for an extra one.
    let (_, message) = add("team-b/own").error();
    assert!(!message.contains("looked for in"), "{message}");
}

/// Such a pod runs, and without what it asks for: the log says so, also if nothing is to be
/// done.
#[test]
fn keys_that_are_misspelt_are_in_the_log() {
    let node = Node::new();
    node.recorder("blue");
    node.define("team-a", "lan", json!({"type": "blue"}));
    let warned = "pod team-a/web: annotation \"k8s.v1.cni.cncf.io/network\" asks for nothing: did \
                  you mean \"k8s.v1.cni.cncf.io/networks\"?";
    let pod = node.pod("team-a", "web");
    for call in [pod.add(node.delegating()), pod.add_chained(json!({}))] {
        let outcome = call.annotation("k8s.v1.cni.cncf.io/network", "lan").run();
        outcome.assert_success();
        assert!(outcome.stderr.contains(warned), "{}", outcome.stderr);
        pod.del().run();
    }
    let outcome =
        pod.add(node.delegating()).annotation("k8s.v1.cni.cncf.io/network-status", "[]").run();
    assert!(!outcome.stderr.contains("asks for nothing"), "{}", outcome.stderr);
}

/// A cluster that moves from Multus has annotations with keys that are not read.
#[test]
fn a_lenient_node_passes_over_unknown_keys_and_says_so() {
    let node = Node::new();
    node.recorder("blue");
    node.define("team-a", "lan", json!({"type": "blue"}));
    let networks = r#"[{"name": "lan", "gateway": ["10.30.0.1"]}]"#;
    let pod = node.pod("team-a", "web");
    let rule = "annotation k8s.v1.cni.cncf.io/networks: element 1 (team-a/lan): \"gateway\" is not \
                a known key: Multus ignored it; leave it out, or move the default route there with \
                \"default-route\"";
    pod.add(node.delegating()).networks(networks).run().assert_error(7, [rule]);
    let outcome = pod
        .add(node.delegating())
        .networks(networks)
        .with(json!({"lenientAnnotations": true}))
        .run();
    outcome.assert_success();
    assert!(
        outcome.stderr.contains(&format!("{rule}; it was passed over (lenientAnnotations)")),
        "{}",
        outcome.stderr
    );
}

/// Standard output is the result's: the line that is none is shown.
#[test]
fn a_plugin_that_logs_on_standard_output_is_quoted() {
    let node = Node::new();
    node.recorder("blue");
    node.script(
        "blue",
        json!({"ADD": {"stdout": "level=info msg=\"link is up\"\n{\"cniVersion\": \"1.0.0\"}\n"}}),
    );
    let message = refusal(&node, json!([{"type": "blue"}]), "lan");
    let expected = "printed a result that is not valid JSON, and standard output takes nothing \
                    else: \"level=info msg=\"link is up\"\"";
    assert!(message.ends_with(expected), "{message}");
}
