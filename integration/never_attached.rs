//! Networks that their plugins refuse in ADD, and again in the DEL that is to undo it: with the
//! reference plugins.

use serde_json::{Value, json};

use crate::node::Node;

const NOTHING: [&str; 0] = [];

fn failing() -> Value {
    json!({"error": {"code": 999, "msg": "the switch has no such port"}})
}

/// Each would make a pod that cannot be deleted: nothing of it is begun, and the sentence says what
/// to write.
#[test]
fn a_mistake_that_its_plugin_cannot_read_is_refused_before_anything_is_done() {
    let node = Node::new();
    node.host().ip("link add up0 type veth peer name up1");
    let on = |kind: &str, more: Value| {
        let mut plugin = json!({"type": kind, "master": "up0"});
        plugin.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        json!([plugin])
    };
    let local = |more: Value| {
        let mut ipam = json!({"type": "host-local", "subnet": "10.40.0.0/24"});
        ipam.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        on("macvlan", json!({"ipam": ipam}))
    };
    let behind = |plugin: Value| json!([{"type": "bridge", "bridge": "br-lan"}, plugin]);
    let table = [
        (
            on("vlan", json!({"vlanId": "1000"})),
            "write a whole number from 0 to 4094, without quotes",
        ),
        (on("vlan", json!({"vlanId": 5000})), "write a whole number from 0 to 4094"),
        (on("macvlan", json!({"mtu": "9001"})), "write a whole number of bytes, without quotes"),
        (on("macvlan", json!({"mtu": 9001})), "write 1500 or less"),
        (local(json!({"subnet": "10.40.0.7/24"})), "write \"10.40.0.0/24\""),
        (local(json!({"subnet": "10.40.0.7/32"})), "a prefix length of 30 or less"),
        (local(json!({"rangeStart": "10.41.0.5"})), "write an address of 10.40.0.0/24"),
        (local(json!({"routes": [{"dst": "default"}]})), "\"0.0.0.0/0\" for the default route"),
        (local(json!({"routes": [{"dst": "10.9.0.0"}]})), "a network with its prefix length"),
        (local(json!({"routes": [{"dst": "10.9.0.7/16"}]})), "write \"10.9.0.0/16\""),
        (
            on("macvlan", json!({"ipam": {"type": "host-local"}})),
            "cannot give addresses of a range without \"subnet\"",
        ),
        (json!([{"type": "host-device"}]), "has no device: name one under \"device\""),
        (
            json!([{"type": "host-device", "device": "eth77"}]),
            "which this node does not have, or another pod has",
        ),
        (behind(json!({"type": "bandwidth", "ingressRate": 1000})), "without \"ingressBurst\""),
        (
            behind(json!({"type": "tuning", "sysctl": {"net.core.somaxconn": 500}})),
            "write the value in quotes",
        ),
    ];
    let before = node.dump();
    for (plugins, expected) in table {
        node.define("team-a", "lan", json!({"cniVersion": "1.0.0", "plugins": plugins}));
        let pod = node.pod("team-a", "web");
        pod.add(node.delegating())
            .networks("lan")
            .run()
            .assert_error(7, ["network \"team-a/lan\": ", expected]);
        assert_eq!(node.leftovers(&before), NOTHING, "{plugins}");
        pod.del().run().assert_success();
    }
}

/// Two range sets that overlap are refused by host-local whenever it is started, after the bridge
/// plugin has made the interface: Braid removes that itself, and the pod can go.
#[test]
fn what_a_refused_add_has_left_in_the_sandbox_is_removed_and_the_pod_goes() {
    let node = Node::new();
    let ipam = node.host_local("10.30.0.0/24 10.30.0.0/25");
    let bridge = json!({"type": "bridge", "bridge": "br-lan", "ipam": ipam});
    node.define("team-a", "lan", json!({"cniVersion": "1.0.0", "plugins": [bridge]}));
    let pod = node.pod("team-a", "web");
    let outcome = pod.add(node.delegating()).networks("lan").run();
    let (_, message) = outcome.error();
    assert!(message.contains("overlaps with"), "{message}");
    assert_eq!(pod.links(), NOTHING);
    assert_eq!((node.state("records"), node.state("orphans")), (vec![], vec![]));
    pod.del().run().assert_success();
}

/// Rules of the packet filter are looked up under the names that the plugins give them.
#[test]
fn rules_that_are_left_keep_the_record_of_a_refused_add_and_none_let_it_go() {
    let node = Node::new();
    let ipam = node.host_local("10.30.0.0/24 10.30.0.0/25");
    let bridge = json!({
        "type": "bridge", "bridge": "br-lan", "ipMasq": true, "macspoofchk": true, "ipam": ipam,
    });
    let plugins = json!([bridge, {"type": "portmap"}]);
    let blue = json!({"cniVersion": "1.0.0", "name": "blue", "plugins": plugins});
    node.define("team-a", "lan", blue);
    let on_host = |line: &str| {
        let status = node.host().command("sh").args(["-c", line]).status();
        assert!(status.unwrap().success(), "{line}");
    };
    let pods = ["clean", "masqueraded"].map(|name| node.pod("team-a", name));
    // As an ADD by another plugin has left it: the container's chain, which nothing leads to.
    let chain = format!("CNI-$(printf blue{} | sha512sum | cut -c1-24)", pods[1].container);
    on_host(&format!("iptables -t nat -N {chain}"));
    for (pod, records) in pods.iter().zip([0, 1]) {
        let outcome = pod.add(node.delegating()).networks("lan").run();
        let (_, message) = outcome.error();
        assert!(message.contains("overlaps with"), "{message}");
        assert_eq!(node.state("records").len(), records, "{}", pod.name);
    }
    on_host(&format!("iptables -t nat -X {chain}"));
    for pod in &pods {
        pod.del().run().assert_success();
    }
    assert_eq!((node.state("records"), node.state("orphans")), (vec![], vec![]));
}

/// The primary's interface was there before its ADD: it is not what its plugins have left.
#[test]
fn an_interface_that_the_sandbox_had_before_a_refused_primary_stays() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.ip("link add eth0 type veth peer name other");
    node.recorder("macvlan");
    node.script("macvlan", json!({"ADD": failing(), "DEL": failing()}));
    let primary = json!({"name": "cluster", "type": "macvlan"});
    let refused = pod.add(json!({"delegates": [primary]})).run();
    refused.assert_error(999, ["the switch has no such port"]);
    assert_eq!(pod.links(), ["eth0", "other"]);
}

/// Nothing is assumed of a plugin that is not known, whatever the kernel shows.
#[test]
fn a_plugin_that_is_not_known_stays_recorded_until_its_del_succeeds() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.script("blue", json!({"ADD": failing(), "DEL": failing()}));
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating())
        .networks("blue")
        .run()
        .assert_error(999, ["the switch has no such port"]);
    assert_eq!(node.state("records").len(), 1);
    pod.del().run().assert_error(999, ["the switch has no such port"]);
    assert_eq!(node.state("records").len(), 1);
    node.script("blue", json!({}));
    pod.del().run().assert_success();
    assert_eq!(node.state("records"), NOTHING);
}
