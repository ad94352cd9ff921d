//! What `kubectl describe pod` shows of the mistakes that only a plugin notices: the real plugins' own sentences,
//! and behind them what to do.

use serde_json::{Value, json};

use crate::node::Node;

/// The error of a pod that asks for `networks`, where `lan` is a network with these plugins.
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
    let expected = "no IP addresses available in range set: 10.30.0.5-10.30.0.5; widen the range in the definition; \
                    braid gc --dry-run names addresses that are held for nobody";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn an_address_that_is_taken_or_elsewhere_is_to_be_another() {
    let node = Node::new();
    let plugins = json!([bridge(&node, json!({}))]);
    let twice = r#"[{"name": "lan", "ips": ["10.30.0.7"]}, {"name": "lan", "ips": ["10.30.0.7"]}]"#;
    let taken = refusal(&node, plugins.clone(), twice);
    assert!(
        taken.ends_with("; another pod has it, or the network does: ask for another, or leave \"ips\" out"),
        "{taken}"
    );
    let elsewhere = refusal(&node, plugins, r#"[{"name": "lan", "ips": ["10.99.0.7"]}]"#);
    assert!(elsewhere.ends_with("; ask for one in the network's range, or leave \"ips\" out"), "{elsewhere}");
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
    let dhcp =
        json!({"type": "bridge", "bridge": "br-lan", "ipam": {"type": "dhcp", "daemonSocketPath": socket}});
    let message = refusal(&node, json!([dhcp]), "lan");
    assert!(message.ends_with("; start the daemon of the dhcp plugin on this node"), "{message}");
    let no_bridge = json!({"type": "bridge", "bridge": "lo", "ipam": node.host_local("10.30.0.0/24")});
    let message = refusal(&node, json!([no_bridge]), "lan");
    assert!(message.ends_with("; choose another name for \"bridge\" in the definition"), "{message}");
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
    node.define("team-a", "lan", json!({"cniVersion": "1.1.0", "plugins": [bridge(&node, json!({}))]}));
    let pod = node.pod("team-a", "web");
    let outcome = pod.add(node.delegating()).networks("lan").run();
    let expected =
        "incompatible CNI versions; lower \"cniVersion\" in the definition, or have a newer plugin installed";
    outcome.assert_error(1, [expected]);
}
