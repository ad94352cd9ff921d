//! What a tenant's definition says, and what its plugins would do with it.

use serde_json::{Value, json};

use super::{Cluster, policy};
use crate::node::PLUGIN_DIR;

fn merged(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    value
}

/// A plugin of a network of team-a's.
fn plugin(more: Value) -> Value {
    merged(json!({"name": "team-a.x"}), more)
}

/// A bridge of team-a's with host-local.
fn local(more: Value) -> Value {
    let ipam = merged(json!({"type": "host-local", "subnet": "10.20.1.0/24"}), more);
    plugin(json!({"type": "bridge", "bridge": "br-a0", "ipam": ipam}))
}

fn bridge(more: Value) -> Value {
    plugin(merged(json!({"type": "bridge", "bridge": "br-a0"}), more))
}

fn whereabouts(more: Value) -> Value {
    bridge(json!({"ipam": merged(json!({"type": "whereabouts", "range": "10.20.1.0/24"}), more)}))
}

/// Holds a definition of team-a's, as text, against the refusal that it must get.
#[track_caller]
fn assert_refused(cluster: &Cluster, config: &str, expected: &str) {
    cluster.publish_text("team-a", "x", config);
    let refusal = cluster.refusal(policy(), "x");
    assert!(refusal.contains(expected), "{config}: {refusal}");
}

fn assert_all_refused(attacks: &[(Value, &str)]) {
    let cluster = Cluster::new();
    for (config, expected) in attacks {
        assert_refused(&cluster, &config.to_string(), expected);
    }
}

#[test]
fn files_of_the_host_stay_out_of_reach() {
    assert_all_refused(&[
        (local(json!({"dataDir": "/etc/cron.d"})), "may not carry \"dataDir\""),
        (local(json!({"dataDir": "../../../etc"})), "may not carry \"dataDir\""),
        (local(json!({"dataDir": "x"})), "may not carry \"dataDir\""),
        (local(json!({"resolvConf": "/etc/shadow"})), "may not carry \"resolvConf\""),
        (local(json!({"resolvConf": "../../etc/shadow"})), "may not carry \"resolvConf\""),
        (
            local(json!({"ranges": [[{"subnet": "10.20.1.0/24", "dataDir": "/x"}]]})),
            "may not carry \"dataDir\"",
        ),
        (whereabouts(json!({"log_file": "/etc/cron.d/x"})), "may not carry \"log_file\""),
        (
            whereabouts(json!({"configuration_path": "x.conf"})),
            "may not carry \"configuration_path\"",
        ),
        (
            whereabouts(json!({"kubernetes": {"kubeconfig": "/etc/kubernetes/admin.conf"}})),
            "\"kubernetes\"",
        ),
        (plugin(json!({"type": "tuning", "dataDir": "/etc"})), "may not carry \"dataDir\""),
        (
            plugin(json!({"type": "ptp", "ipam": {"type": "dhcp", "daemonSocketPath": "/x"}})),
            "plugin \"dhcp\"",
        ),
    ]);
}

/// What the policy allows is the interface, and not what the node calls it.
#[test]
fn another_name_for_an_interface_does_not_open_it() {
    let cluster = Cluster::new();
    let names = json!({"nodeInterfaces": {"br-a0": "br-b0", "uplink": "br-a0"}});
    cluster.publish_text("team-a", "x", &bridge(json!({})).to_string());
    let pod = cluster.node.pod("team-a", "web");
    let config = merged(cluster.config(policy()), names);
    let refused = pod.add(config.clone()).networks("x").run();
    let words = ["may not reach the host's interface", "\"br-b0\""];
    refused.assert_error(7, words);
    let named = plugin(json!({"type": "bridge", "bridge": "uplink", "ipam": {}}));
    cluster.publish_text("team-a", "x", &named.to_string());
    pod.add(config).networks("x").run().assert_success();
    pod.del().run().assert_success();
}

#[test]
fn interfaces_of_the_host_stay_out_of_reach() {
    assert_all_refused(&[
        (plugin(json!({"type": "bridge"})), "must carry \"bridge\""),
        (plugin(json!({"type": "bridge", "bridge": ""})), "must carry \"bridge\""),
        (bridge(json!({"bridge": "cni0"})), "may not reach the host's interface \"cni0\""),
        (bridge(json!({"bridge": "br-b0"})), "may not reach the host's interface \"br-b0\""),
        (bridge(json!({"bridge": "br-a/../eth0"})), "may not reach the host's interface"),
        (bridge(json!({"promiscMode": true})), "may not carry \"promiscMode\""),
        (bridge(json!({"ipMasq": true})), "may not carry \"ipMasq\""),
        (plugin(json!({"type": "macvlan"})), "must carry \"master\""),
        (
            plugin(json!({"type": "macvlan", "master": "eth0"})),
            "may not reach the host's interface \"eth0\"",
        ),
        (
            plugin(json!({"type": "macvlan", "master": "br-a0", "mode": "passthru"})),
            "shares the interface",
        ),
        (
            plugin(json!({"type": "macvlan", "master": "br-a0", "linkInContainer": true})),
            "may not carry \"linkInContainer\"",
        ),
        (
            plugin(json!({"type": "ipvlan", "master": "eth0"})),
            "may not reach the host's interface \"eth0\"",
        ),
        (plugin(json!({"type": "vlan", "vlanId": 7})), "must carry \"master\""),
        (
            plugin(json!({"type": "host-device", "device": "eth0"})),
            "may not use plugin \"host-device\"",
        ),
        (plugin(json!({"type": "sbr"})), "may not use plugin \"sbr\""),
        (plugin(json!({"type": "portmap", "snat": true})), "may not use plugin \"portmap\""),
    ]);
}

#[test]
fn no_plugin_hides_inside_another() {
    let hidden = json!({"type": "host-device", "device": "eth0"});
    assert_all_refused(&[
        (plugin(json!({"type": "flannel", "delegate": hidden})), "delegates to others"),
        (plugin(json!({"type": "multus", "delegates": [hidden]})), "delegates to others"),
        (plugin(json!({"type": "braid", "delegates": [hidden]})), "delegates to others"),
        (plugin(json!({"type": "ptp", "delegate": hidden})), "may not carry \"delegate\""),
        (bridge(json!({"vlanTrunk": [hidden]})), "may not use plugin \"host-device\""),
        (bridge(json!({"vlanTrunk": [{"Type": "host-device"}]})), "has a \"type\" in plugin"),
        (local(json!({"routes": [{"ipam": hidden}]})), "may not carry \"ipam\""),
        (bridge(json!({"ipam": hidden})), "may not use plugin \"host-device\""),
        (
            bridge(json!({"ipam": {"type": "bridge", "bridge": "br-a0"}})),
            "may not use plugin \"bridge\"",
        ),
        (bridge(json!({"ipam": {"type": 7}})), "has a \"type\" in plugin"),
        (bridge(json!({"ipam": {"type": "../../tmp/x"}})), "must be a file name"),
        (bridge(json!({"IPAM": {"Type": "../../tmp/x"}})), "must be a file name"),
        (plugin(json!({"type": "../../bin/sh"})), "must be a file name"),
        (plugin(json!({"type": "/bin/sh"})), "must be a file name"),
        (plugin(json!({"type": "-rf"})), "must be a file name"),
        (
            json!({"name": "team-a.x", "plugins": [{"type": "ptp"}, hidden]}),
            "may not use plugin \"host-device\"",
        ),
    ]);
}

#[test]
fn addresses_of_others_stay_out_of_reach() {
    let fixed = |address: &str| {
        bridge(json!({"ipam": {"type": "static", "addresses": [{"address": address}]}}))
    };
    assert_all_refused(&[
        (local(json!({"subnet": "10.96.0.0/12"})), "is in no subnet of namespace team-a"),
        (local(json!({"subnet": "10.21.1.0/24"})), "is in no subnet of namespace team-a"),
        (local(json!({"subnet": "10.20.0.0/8"})), "is in no subnet of namespace team-a"),
        (local(json!({"subnet": "::ffff:10.96.0.0/108"})), "must be an address or a network"),
        (local(json!({"subnet": "010.20.1.0/24"})), "must be an address or a network"),
        (local(json!({"gateway": "10.96.0.1"})), "is in no subnet of namespace team-a"),
        (local(json!({"rangeEnd": "10.96.0.1"})), "is in no subnet of namespace team-a"),
        (
            local(json!({"ranges": [[{"subnet": "fd00:10:96::/112"}]]})),
            "is in no subnet of namespace team-a",
        ),
        (local(json!({"routes": [{"dst": "0.0.0.0/0"}]})), "is in no subnet of namespace team-a"),
        (local(json!({"routes": [{"dst": "::/0"}]})), "is in no subnet of namespace team-a"),
        (
            local(json!({"routes": [{"dst": "10.96.0.0/12", "gw": "10.20.1.1"}]})),
            "is in no subnet of namespace team-a",
        ),
        (fixed("10.244.1.7/24"), "is in no subnet of namespace team-a"),
        (fixed("10.20.1.7/4"), "is in no subnet of namespace team-a"),
        (fixed("::ffff:10.244.1.7/120"), "must be an address or a network"),
        (
            whereabouts(json!({"range": "10.20.1.5-10.96.0.9/24"})),
            "is in no subnet of namespace team-a",
        ),
        (
            whereabouts(json!({"ipRanges": [{"range": "10.96.0.0/12"}]})),
            "is in no subnet of namespace team-a",
        ),
        (whereabouts(json!({"range_start": "10.96.0.1"})), "is in no subnet of namespace team-a"),
    ]);
}

#[test]
fn vlans_of_others_stay_out_of_reach() {
    assert_all_refused(&[
        (bridge(json!({"vlan": 7})), "is no VLAN of namespace team-a"),
        (
            bridge(json!({"vlanTrunk": [{"minID": 1, "maxID": 4094}]})),
            "is no VLAN of namespace team-a",
        ),
        (
            plugin(json!({"type": "vlan", "master": "br-a0", "vlanId": 7})),
            "is no VLAN of namespace team-a",
        ),
        (plugin(json!({"type": "vlan", "master": "br-a0", "vlanId": "7"})), "must be a number"),
    ]);
}

/// State of plugins is kept under the network's name: another's name would be another's addresses.
#[test]
fn a_name_is_not_taken_from_another_namespace() {
    let cluster = Cluster::new();
    let mut policy = policy();
    policy["allowedPlugins"] = json!({"blue": []});
    for name in ["cluster", "team-b.lan", "team-a", "team-a.", "team-a.own"] {
        cluster.publish("team-a", "x", json!({}), Some(json!({"type": "blue", "name": name})));
        let pod = cluster.node.pod("team-a", "web");
        pod.add(cluster.config(policy.clone())).networks("x").run().assert_success();
        let expected =
            if name == "team-a.own" { name.to_owned() } else { format!("team-a.{name}") };
        assert_eq!(cluster.node.only_call("ADD", "blue").stdin()["name"], expected);
        pod.del().run().assert_success();
        cluster.node.forget_calls();
    }
    assert_all_refused(&[
        (plugin(json!({"type": "ptp", "name": "../team-b"})), "must be 1 to 200 letters, digits"),
        (plugin(json!({"type": "ptp", "name": "-x"})), "must be 1 to 200 letters, digits"),
        (plugin(json!({"type": "ptp", "name": "team-a.x\n"})), "must be 1 to 200 letters, digits"),
    ]);
}

/// A name by which a network is found outside the node cannot be scoped, nor one that would become
/// too long.
#[test]
fn a_name_that_cannot_be_scoped_is_refused() {
    let overlay = |name: &str| plugin(json!({"type": "ovn-k8s-cni-overlay", "name": name}));
    assert_all_refused(&[
        (overlay("cluster"), "its owner can write \"name\": \"team-a.x\""),
        (overlay("team-b.lan"), "its owner can write \"name\": \"team-a.x\""),
        (
            plugin(json!({"type": "ptp", "name": "x".repeat(200)})),
            "its owner can write \"name\": \"team-a.x\"",
        ),
    ]);
}

/// Go's decoder takes keys in any case, and two letters more for an s and a k; of two equal keys it
/// takes the later.
#[test]
fn no_spelling_of_a_key_passes_the_fence() {
    let cluster = Cluster::new();
    let attacks = [
        (
            r#"{"name": "team-a.x", "type": "bridge", "bridge": "br-a0", "BRIDGE": "cni0"}"#,
            "may not carry \"BRIDGE\"",
        ),
        (
            r#"{"name": "team-a.x", "type": "bridge", "bridge": "br-a0", "ipMaſq": true}"#,
            "may not carry",
        ),
        (
            r#"{"name": "team-a.x", "type": "macvlan", "master": "br-a0", "maſter": "eth0"}"#,
            "may not carry",
        ),
        (r#"{"name": "team-a.x", "type": "ptp", "TYPE": "host-device"}"#, "may not carry \"TYPE\""),
        (r#"{"name": "team-a.x", "type": "ptp", "Name": "cluster"}"#, "may not carry \"Name\""),
        (
            r#"{"name": "team-a.x", "type": "ptp", "IPAM": {"type": "host-local"}}"#,
            "may not carry \"IPAM\"",
        ),
        (
            r#"{"name": "team-a.x", "type": "ptp", "ipam": {"type": "host-local", "DataDir": "/etc"}}"#,
            "may not carry \"DataDir\"",
        ),
        (r#"{"name": "team-a.x", "type": "ptp", "prevReſult": {"ips": []}}"#, "may not carry"),
        (
            r#"{"name": "team-a.x", "type": "ptp", "runtimeConfig": {"ips": ["10.96.0.1/12"]}}"#,
            "\"runtimeConfig\"",
        ),
        (
            r#"{"name": "team-a.x", "type": "ptp", "args": {"cni": {"ips": ["10.96.0.1"]}}}"#,
            "may not carry \"args\"",
        ),
        (
            r#"{"name": "team-a.x", "type": "ptp", "capabilities": {"ips": "10.96.0.1"}}"#,
            "true and false",
        ),
        (
            r#"{"name": "team-a.x", "type": "bridge", "bridge": "br-a0", "bridge": "cni0"}"#,
            "may not reach the host's interface \"cni0\"",
        ),
        (
            r#"{"name": "team-a.x", "type": "ptp", "type": "host-device"}"#,
            "may not use plugin \"host-device\"",
        ),
    ];
    for (config, expected) in attacks {
        assert_refused(&cluster, config, expected);
    }
}

/// What was judged is what runs: of two equal keys the plugin sees the one that Braid has seen.
#[test]
fn a_plugin_gets_what_was_judged() {
    let cluster = Cluster::new();
    cluster.node.recorder("bridge");
    let config = r#"{"name": "team-a.x", "type": "bridge", "bridge": "cni0", "bridge": "br-a0", "mtu": 1400}"#;
    cluster.publish_text("team-a", "x", config);
    let pod = cluster.node.pod("team-a", "web");
    pod.add(cluster.config(policy())).networks("x").run().assert_success();
    let stdin = cluster.node.only_call("ADD", "bridge").stdin().clone();
    assert_eq!(
        (&stdin["bridge"], &stdin["mtu"], &stdin["name"]),
        (&json!("br-a0"), &json!(1400), &json!("team-a.x"))
    );
    assert!(!stdin.to_string().contains("cni0"), "{stdin}");
}

#[test]
fn a_sysctl_is_of_the_attachments_own_interface() {
    let set = |name: &str| plugin(json!({"type": "tuning", "sysctl": {name: "1"}}));
    assert_all_refused(&[
        (set("kernel.core_pattern"), "net.ipv4.conf.IFNAME"),
        (set("net.ipv4.ip_forward"), "net.ipv4.conf.IFNAME"),
        (set("net.ipv4.conf.all.rp_filter"), "net.ipv4.conf.IFNAME"),
        (set("net.ipv4.conf.eth0.rp_filter"), "net.ipv4.conf.IFNAME"),
        (set("net/ipv4/../../kernel/core_pattern"), "net.ipv4.conf.IFNAME"),
        (plugin(json!({"type": "tuning", "promisc": true})), "may not carry \"promisc\""),
        (plugin(json!({"type": "tuning", "allmulti": true})), "may not carry \"allmulti\""),
    ]);
}

#[test]
fn a_definition_of_hostile_size_or_depth_is_refused() {
    let cluster = Cluster::new();
    let long = format!(
        r#"{{"name": "team-a.x", "type": "ptp", "ipam": {{}}, "mtu": {}}}"#,
        "1".repeat(70_000)
    );
    assert_refused(&cluster, &long, "such a one may have 65536");
    let deep = format!(
        r#"{{"name": "team-a.x", "type": "ptp", "ipam": {}1{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert_refused(&cluster, &deep, "recursion limit exceeded");
    let many = vec![r#"{"type": "ptp"}"#; 33].join(",");
    assert_refused(
        &cluster,
        &format!(r#"{{"name": "team-a.x", "plugins": [{many}]}}"#),
        "at most 32 are allowed",
    );
    assert_refused(
        &cluster,
        r#"{"name": "team-a.x\u0000", "type": "ptp"}"#,
        "must be 1 to 200 letters, digits",
    );
    assert_refused(&cluster, r#"{"name": "team-a.x", "type": "\ud800"}"#, "not valid JSON");
    assert_refused(&cluster, r#"{"name": "team-a.x", "type": "ptp"} x"#, "not valid JSON");
}

/// Every plugin that is installed, first in a chain and as IPAM: few are for tenants, and those not
/// with a key that no facts know.
#[test]
fn each_of_debians_plugins_is_fenced_in_or_out() {
    let cluster = Cluster::new();
    let place = json!({"bridge": "br-a0", "master": "br-a0", "device": "br-a0"});
    let (mut for_tenants, mut for_addresses) = (Vec::new(), Vec::new());
    let mut installed: Vec<String> = std::fs::read_dir(PLUGIN_DIR)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    installed.sort_unstable();
    assert!(installed.len() >= 16, "{installed:?}");
    for kind in &installed {
        let may_not_be = format!("may not use plugin \"{kind}\"");
        let is_fenced_in = |config: Value| {
            cluster.publish_text("team-a", "x", &config.to_string());
            let refusal = cluster.refusal(policy(), "x");
            let is_type = refusal.contains(&may_not_be);
            assert!(
                is_type || refusal.contains(&format!("plugin \"{kind}\" may not carry \"")),
                "{refusal}"
            );
            !is_type
        };
        if is_fenced_in(plugin(merged(place.clone(), json!({"type": kind, "unknown": true})))) {
            for_tenants.push(kind.as_str());
        }
        if is_fenced_in(bridge(json!({"ipam": {"type": kind, "unknown": true}}))) {
            for_addresses.push(kind.as_str());
        }
    }
    assert_eq!(for_tenants, ["bandwidth", "bridge", "ipvlan", "macvlan", "ptp", "tuning", "vlan"]);
    assert_eq!(for_addresses, ["host-local", "static"]);
}
