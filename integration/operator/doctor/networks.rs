//! Networks that pods could not have here, or would have without the limits that they need.

use serde_json::json;

use super::{assert_finds, doctor_of, node};

#[test]
fn a_plugin_that_is_too_old_for_its_network() {
    // Debian's bridge, 1.1.1, stops at CNI 1.0.0.
    let plugin = json!({"type": "bridge", "ipam": {"type": "host-local"}});
    let node = node(json!({}), json!({"cniVersion": "1.1.0", "plugins": [plugin]}));
    let said = doctor_of(&node, "containerd").assert_status(1);
    let message = "plugin \"bridge\" does not know CNI 1.1.0, which its network is in: it knows \
                   0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0";
    let line = said.stdout.lines().find(|line| line.contains("fail  plugins ")).unwrap();
    assert!(
        line.contains(message) && line.contains("plugin \"host-local\" does not know"),
        "{line}"
    );
    assert!(said.stdout.contains("install them, or newer ones"), "{}", said.stdout);
}

/// What pods will ask for, too: its plugin, its master, the daemon of its addresses.
#[test]
fn networks_that_no_pod_could_have_here() {
    let node = node(json!({}), json!({}));
    node.define("team-a", "blue", json!({"type": "absent"}));
    let macvlan = json!({"cniVersion": "1.0.0", "type": "macvlan", "master": "up0", "ipam": {"type": "dhcp"}});
    node.define("team-a", "lan", macvlan);
    let said = doctor_of(&node, "containerd").assert_status(0);
    let advice = "pods that ask for it are refused here until then";
    let absent = format!(
        "network \"blue\": plugin \"absent\" is not installed: no executable of that name in \
         NODE/bin, {}",
        crate::node::PLUGIN_DIR
    );
    assert_finds(&said, "warn", "networks", &absent, advice);
    let master = "network \"lan\": this node has no interface \"up0\", its \"master\"";
    assert_finds(&said, "warn", "networks", master, advice);
    let daemon = "network \"lan\": the daemon of the dhcp plugin is not running: \
                  /run/cni/dhcp.sock is missing";
    assert_finds(&said, "warn", "networks", daemon, advice);
    node.host().ip("link add up0 type bridge");
    assert!(!doctor_of(&node, "containerd").stdout.contains("up0"));
}

#[test]
fn pods_that_have_drifted() {
    let node = node(json!({}), json!({}));
    node.network("blue", json!({"link": true, "addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue").run().assert_success();
    assert!(!doctor_of(&node, "containerd").stdout.contains("differ"));
    pod.ip("link del net1");
    let said = doctor_of(&node, "containerd");
    let message = "1 pods differ from what was attached, team-a/web first: interface net1 is gone";
    let advice = "braid list has them all; delete a pod to have it attached anew";
    assert_finds(&said, "warn", "records", message, advice);
}

/// What a policy would keep from pods, and what a policy does not know.
#[test]
fn a_network_on_which_pods_may_take_any_address() {
    let definition = json!({
        "cniVersion": "1.0.0", "name": "open", "type": "bridge", "isGateway": true, "ipam": {"type": "static"},
    });
    let message = "network \"open\": pods may take any address on it, those of the node and of \
                   services too: its gateway is on the node, and \"static\" gives what a pod asks \
                   for";
    let advice = "add braid.io/allowed-ips to its definition, or enforce a policy (allowedSubnets)";
    for more in [json!({}), json!({"policy": {"mode": "audit"}})] {
        let node = node(more, json!({}));
        node.define("team-a", "open", definition.clone());
        assert_finds(
            &doctor_of(&node, "containerd").assert_status(0),
            "warn",
            "addresses",
            message,
            advice,
        );
    }
    let enforced = node(json!({"policy": {}}), json!({}));
    enforced.define("team-a", "open", definition.clone());
    let said = doctor_of(&enforced, "containerd").assert_status(0);
    assert!(!said.stdout.contains("may take any address"), "{}", said.stdout);
    let message = "policy.serviceCIDRs is missing: a pod may be given an address of a service";
    let advice = "write what the API server has for --service-cluster-ip-range";
    assert_finds(&said, "warn", "policy", message, advice);
    let complete = node(json!({"policy": {"serviceCIDRs": "10.96.0.0/12"}}), json!({}));
    assert!(!doctor_of(&complete, "containerd").stdout.contains("serviceCIDRs"));
}
