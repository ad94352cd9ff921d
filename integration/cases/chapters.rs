//! One test for each chapter.

use super::{leave, machine, start};
use crate::pod::Pod;
use crate::readme::machine::Machine;
use crate::wire::{Ear, Member, cannot_reach, reaches, shout, tell};
use serde_json::json;

/// What packets carry, to be known again.
const MARKER: &str = "b1adc0de5eed";
/// An Ethernet protocol that nothing uses: IEEE's first for local experiments.
const ETHERTYPE: &str = "88b5";

/// The addresses of an interface without their prefix lengths.
fn addresses(pod: &Pod<'_>, interface: &str) -> Vec<String> {
    let bare = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
    pod.addresses(interface).iter().map(bare).collect()
}

/// An interface of the node whose other end is a host outside.
fn cable(machine: &Machine, name: &str) {
    let host = machine.node.host();
    host.ip(&format!("link add {name} type veth peer name outside"));
    host.ip(&format!("link set {name} addrgenmode none up"));
    host.ip("link set outside up");
}

#[test]
fn control_and_data_are_apart() {
    let machine = machine("control-and-data");
    let sandboxes = start(&machine, "control-and-data");
    let [press, robot] = &sandboxes[..] else { panic!("two pods") };
    assert_eq!(press.pod.links(), ["control0", "data0", "eth0"]);
    assert_eq!(press.pod.link("data0")["mtu"], 9000);
    for interface in ["control0", "data0"] {
        for address in addresses(&robot.pod, interface) {
            let ear = Ear::at(robot.pod.netns(), MARKER);
            assert!(reaches(press.pod.netns(), &address, MARKER), "{address}");
            assert_eq!(ear.heard_at(), [interface], "{address} arrives on its own network");
        }
    }
    leave(&machine, sandboxes);
}

#[test]
fn workloads_of_different_needs_share_a_node() {
    let machine = machine("heterogeneous");
    cable(&machine, "eno1");
    let sandboxes = start(&machine, "heterogeneous");
    let [web, erp, backup] = &sandboxes[..] else { panic!("three pods") };
    assert_eq!(web.pod.links(), ["eth0"]);
    assert_eq!(erp.pod.addresses("lan0"), ["10.24.0.7/24"]);
    assert_eq!(erp.pod.link("lan0")["address"], "02:00:0a:18:00:07");
    assert_eq!(backup.pod.link("bulk0")["mtu"], 9000);
    let shaped = machine.node.host().command("tc").args(["qdisc", "show"]).output().unwrap();
    let shaped = String::from_utf8_lossy(&shaped.stdout).into_owned();
    assert_eq!(shaped.matches("rate 100Mbit").count(), 2, "each direction: {shaped}");
    // All of them meet on the pod network as ever.
    for sandbox in [erp, backup] {
        let address = &addresses(&sandbox.pod, "eth0")[0];
        assert!(web.pod.pings(address), "{address}");
    }
    leave(&machine, sandboxes);
}

#[test]
fn each_tenant_has_a_network_of_its_own() {
    let machine = machine("tenants");
    let sandboxes = start(&machine, "tenants");
    let [blue_web, blue_db, red_web, red_db] = &sandboxes[..] else { panic!("four pods") };
    for (web, db) in [(blue_web, blue_db), (red_web, red_db)] {
        for address in addresses(&db.pod, "net1") {
            assert!(reaches(web.pod.netns(), &address, MARKER), "{address} is the tenant's own");
        }
    }
    for address in addresses(&blue_db.pod, "net1") {
        assert!(cannot_reach(red_web.pod.netns(), &address, MARKER), "red reaches {address}");
    }
    let networks = json!({"k8s.v1.cni.cncf.io/networks": "blue/private"});
    let thief = machine.start("red", "thief", &networks).err().expect("a refusal");
    thief.assert_error(7, ["network \"blue/private\" is not shared with namespace red"]);
    leave(&machine, sandboxes);
}

#[test]
fn unusual_protocols_reach_the_edge() {
    let machine = machine("edge");
    cable(&machine, "enp4s0");
    let sandboxes = start(&machine, "edge");
    let [master, drive, recorder] = &sandboxes[..] else { panic!("three pods") };
    // Raw Ethernet, as field buses have it.
    let ear = Ear::at(drive.pod.netns(), MARKER);
    shout(master.pod.netns(), "bus0", ETHERTYPE, MARKER);
    assert_eq!(ear.heard_at(), ["bus0"]);
    // IPv6 multicast.
    let group = "ff15::b1ad";
    let member = Member::join(drive.pod.netns(), "bus0", group, "5");
    tell(master.pod.netns(), "bus0", group, "go");
    assert!(member.heard().ends_with(" go"));
    // The interface itself is in the pod, and on the node afterwards.
    assert_eq!(recorder.pod.addresses("cam0"), ["192.168.7.1/24"]);
    assert!(!on_node(&machine, "enp4s0"));
    machine.node.host().ip("address add 192.168.7.9/24 dev outside");
    assert!(recorder.pod.pings("192.168.7.9"), "the camera");
    leave(&machine, sandboxes);
    assert!(on_node(&machine, "enp4s0"));
}

fn on_node(machine: &Machine, name: &str) -> bool {
    machine.node.host().ip_json("link show").iter().any(|link| link["ifname"] == name)
}

/// Switches forwarding in a pod off (0) or on (1).
fn forward(pod: &Pod<'_>, on: u8) {
    let script = format!(
        "echo {on} > /proc/sys/net/ipv4/ip_forward; echo {on} > \
         /proc/sys/net/ipv6/conf/all/forwarding"
    );
    assert!(pod.command("sh").args(["-c", &script]).status().unwrap().success());
}

#[test]
fn a_router_pod_is_the_only_way_between_two_networks() {
    let machine = machine("nfv");
    let sandboxes = start(&machine, "nfv");
    let [client, server, router] = &sandboxes[..] else { panic!("three pods") };
    for address in addresses(&server.pod, "net1") {
        let ear = Ear::at(router.pod.netns(), MARKER);
        assert!(reaches(client.pod.netns(), &address, MARKER), "{address}");
        assert_eq!(ear.heard_at(), ["left0", "right0"], "{address} in the router");
    }
    forward(&router.pod, 0);
    for address in addresses(&server.pod, "net1") {
        assert!(cannot_reach(client.pod.netns(), &address, MARKER), "{address} around the router");
    }
    forward(&router.pod, 1);
    leave(&machine, sandboxes);
}
