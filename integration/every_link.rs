//! Networks over the kinds of interfaces that a machine's own kernel may lack: VLANs on a bond,
//! ipvlan, VRFs; and SCTP. `scripts/vm --tests` runs them on a kernel that has them all, on
//! Debian's plugins and on those that are built in.

use serde_json::{Value, json};

use crate::node::{Namespace, Node};
use crate::wire::{ask_by_sctp, serve_by_sctp};

/// A bridge primary, as most nodes have one.
fn primary(node: &Node) -> Value {
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd00:1::/64")]})
}

/// A switch outside the node, and the node's bond that is cabled to it.
fn bonded_switch(node: &Node) -> Namespace {
    let switch = Namespace::new("switch");
    let host = node.host();
    host.ip("link add bond0 type bond mode active-backup miimon 100");
    for number in 0..2 {
        let peer = switch.name();
        host.ip(&format!("link add slave{number} type veth peer name port{number} netns {peer}"));
        host.ip(&format!("link set slave{number} master bond0"));
        switch.ip(&format!("link set port{number} up"));
    }
    host.ip("link set bond0 up");
    switch.ip("link add lan type bridge");
    for number in 0..2 {
        switch.ip(&format!("link set port{number} master lan"));
    }
    switch.ip("link set lan up");
    switch
}

/// Attaches, checks, and tears down; between, `look` at the pod. Nothing is left.
fn attach(node: &Node, networks: &str, look: impl Fn(&crate::pod::Pod<'_>)) {
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    pod.add(primary(node)).networks(networks).run().assert_success();
    look(&pod);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(pod.links(), Vec::<String>::new());
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

fn vlans_on_a_bond_reach_their_own_side_of_the_switch(node: &Node) {
    let switch = bonded_switch(node);
    for (vlan, address) in [(100, "10.30.0.1/24"), (200, "10.40.0.1/24")] {
        switch.ip(&format!("link add link lan name lan.{vlan} type vlan id {vlan}"));
        switch.ip(&format!("address add {address} dev lan.{vlan}"));
        switch.ip(&format!("link set lan.{vlan} up"));
    }
    for (name, vlan, subnet) in [("a", 100, "10.30.0.0/24"), ("b", 200, "10.40.0.0/24")] {
        let mut ipam = node.host_local(subnet);
        ipam["ranges"][0][0]["rangeStart"] = json!(subnet.replace("0/24", "10"));
        let network = json!({"type": "vlan", "master": "bond0", "vlanId": vlan, "ipam": ipam});
        node.define("team-a", name, network);
    }
    attach(node, "a,b", |pod| {
        for (interface, id) in [("net1", 100), ("net2", 200)] {
            assert_eq!(pod.link(interface)["linkinfo"]["info_data"]["id"], id);
        }
        assert!(pod.pings("10.30.0.1") && pod.pings("10.40.0.1"));
        node.host().ip("link set slave0 down");
        assert!(pod.pings("10.30.0.1"), "the bond has another port");
    });
}

fn ipvlan_pods_of_one_node_reach_each_other(node: &Node) {
    node.host().ip("link add trunk0 type dummy");
    node.host().ip("link set trunk0 up");
    for mode in ["l2", "l3"] {
        let subnets = "10.50.0.0/24 fd00:50::/64";
        let ipam = node.host_local(subnets);
        let network = json!({"type": "ipvlan", "master": "trunk0", "mode": mode, "ipam": ipam});
        node.define("team-a", "shared", network);
        let other = node.pod("team-a", "other");
        other.add(primary(node)).networks("shared").run().assert_success();
        attach(node, "shared", |pod| {
            assert_eq!(pod.link("net1")["linkinfo"]["info_data"]["mode"], mode);
            for address in other.addresses("net1") {
                let address = address.split('/').next().unwrap().to_owned();
                assert!(pod.pings(&address), "{mode}: {address}");
            }
        });
        other.del().run().assert_success();
    }
}

fn two_networks_with_the_same_addresses_live_in_a_vrf_each(node: &Node) {
    for tenant in ["blue", "red"] {
        let mut ipam = node.host_local("10.60.0.0/24");
        ipam["dataDir"] = json!(node.path_text(&format!("ipam-{tenant}")));
        let bridge = json!({"type": "bridge", "bridge": format!("br-{tenant}"), "ipam": ipam});
        let vrf = json!({"type": "vrf", "vrfname": tenant});
        // vrf 1.1.1 moves the routes, and bridge's CHECK wants them in the main table.
        let network = json!({
            "cniVersion": "1.0.0", "name": tenant, "disableCheck": true, "plugins": [bridge, vrf]
        });
        node.define("team-a", tenant, network);
    }
    attach(node, "blue,red", |pod| {
        assert_eq!(pod.addresses("net1"), pod.addresses("net2"));
        for (interface, vrf) in [("net1", "blue"), ("net2", "red")] {
            assert_eq!(pod.link(interface)["master"], vrf);
            assert!(pod.ip(&format!("route show vrf {vrf}")).contains("10.60.0.0/24"));
        }
    });
}

fn sctp_passes_between_pods_and_through_a_port_of_the_node(node: &Node) {
    let bridge = json!({
        "type": "bridge", "bridge": "br-sctp", "isGateway": true,
        "ipam": node.host_local("10.70.0.0/24")
    });
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    // portmap 1.1.1 looks for the rules of each family in both families' tables.
    let network = json!({
        "cniVersion": "1.0.0", "name": "signals", "disableCheck": true, "plugins": [bridge, portmap]
    });
    node.define("team-a", "signals", network);
    let peer = node.pod("team-a", "peer");
    peer.add(primary(node)).networks("signals").run().assert_success();
    let pod = node.pod("team-a", "web");
    let mappings = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "sctp"}]);
    let asked = json!([{"name": "signals", "portMappings": mappings}]);
    pod.add(primary(node)).networks_json(asked).run().assert_success();
    let address = pod.addresses("net1").remove(0);
    let address = address.split('/').next().unwrap();
    let _server = serve_by_sctp(pod.netns(), "80", "served");
    assert_eq!(ask_by_sctp(peer.netns(), address, "80"), "served");
    assert_eq!(ask_by_sctp(node.host(), "10.70.0.1", "8080"), "served");
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(ask_by_sctp(node.host(), "10.70.0.1", "8080"), "");
    peer.del().run().assert_success();
}

/// Makes each network a test on Debian's plugins, and one on the built-in plugins.
macro_rules! on_both_kinds_of_plugins {
    ($($network:ident: $needs:literal),+ $(,)?) => {
        mod reference {
            use crate::node::Node;

            $(
                #[test]
                #[ignore = $needs]
                fn $network() {
                    super::$network(&Node::new());
                }
            )+
        }

        mod built_in {
            use crate::node::Node;

            $(
                #[test]
                #[ignore = $needs]
                fn $network() {
                    super::$network(&Node::of_built_ins());
                }
            )+
        }
    };
}

on_both_kinds_of_plugins!(
    vlans_on_a_bond_reach_their_own_side_of_the_switch: "needs a kernel with vlan and bonding: run \
                                                         it by scripts/vm",
    ipvlan_pods_of_one_node_reach_each_other: "needs a kernel with ipvlan and dummy: run it by \
                                               scripts/vm",
    two_networks_with_the_same_addresses_live_in_a_vrf_each: "needs a kernel with vrf: run it by scripts/vm",
    sctp_passes_between_pods_and_through_a_port_of_the_node: "needs a kernel with SCTP: run it by scripts/vm",
);

#[test]
#[ignore = "needs a kernel with dummy: run it by scripts/vm"]
fn what_kubevirts_bridge_binding_has_renamed_is_detached_whole() {
    crate::running_pods::kubevirt::what_the_bridge_binding_has_renamed_is_detached_whole();
}
