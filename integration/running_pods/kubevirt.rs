//! A virtual machine's pod as KubeVirt makes it. The names are those of its published behaviour: an
//! interface `pod` and eleven digits of a hash of the network's name; the bridge binding renames it
//! to `<digits>-nic`, makes it a port of `k6t-<digits>`, and leaves a dummy under its name with the
//! addresses, so that a program that looks finds them.

use serde_json::json;

use super::{braid, detach, must_end_clean};
use crate::node::Node;
use crate::operator::records::primary;
use crate::pod::Pod;

const POD_NIC: &str = "pod16477688c0e";

fn node() -> Node {
    let node = crate::operator::records::node();
    let mut lan = node.bridge("lan0", "10.9.0.0/24");
    lan["ipam"].as_object_mut().unwrap().remove("routes");
    lan["capabilities"] = json!({"mac": true});
    node.define("team-a", "lan", lan);
    let conflist = std::fs::read_to_string(node.path("net.d/00-braid.conflist")).unwrap();
    let conflist = conflist
        .replace(&format!("\"binDir\":{:?}", node.path("bin")), "\"binDir\":\"/usr/lib/cni\"");
    node.write("net.d/00-braid.conflist", &conflist);
    for name in ["bridge", "host-local"] {
        let plugin = format!("{}/{name}", crate::node::PLUGIN_DIR);
        std::os::unix::fs::symlink(plugin, node.path("bin").join(name)).unwrap();
    }
    std::os::unix::fs::symlink(node.path("bin/primary"), node.path("bin/unused")).unwrap();
    node
}

/// What KubeVirt writes for a secondary interface.
fn asked() -> String {
    json!([{
        "name": "lan", "namespace": "team-a", "interface": POD_NIC, "mac": "02:00:00:00:00:0a",
        "cni-args": {"logicNetworkName": "secondary"},
    }])
    .to_string()
}

/// What virt-launcher's bridge binding does in the pod. The link that stands under the interface's
/// name is a dummy; if the kernel has none, another `kind` stands for it.
fn bind(pod: &Pod<'_>, kind: &str) {
    for command in [
        "link set pod16477688c0e down",
        "link set pod16477688c0e name 16477688c0e-nic",
        "addr flush dev 16477688c0e-nic",
        "link add k6t-16477688c0e type bridge",
        "link set 16477688c0e-nic address 02:aa:00:00:00:01",
        "link set 16477688c0e-nic master k6t-16477688c0e",
        "link set 16477688c0e-nic up",
        "link set k6t-16477688c0e up",
    ] {
        pod.ip(command);
    }
    pod.ip(&format!("link add {POD_NIC} type {kind}"));
    pod.ip(&format!("addr add 10.9.0.2/24 dev {POD_NIC}"));
}

fn running(node: &Node) -> Pod<'_> {
    let vm = node.pod("team-a", "web");
    vm.add(json!({"delegates": [primary()]})).networks("").run().assert_success();
    vm
}

/// Plugged in, bound, unplugged, and plugged in again, with CHECK after each.
pub(crate) fn what_the_bridge_binding_has_renamed_is_detached_whole() {
    let node = node();
    let before = node.dump();
    let vm = running(&node);
    for _ in 0..2 {
        braid(&node, &["attach", "team-a/web", &asked()]).assert_status(0);
        assert_eq!(vm.link(POD_NIC)["address"], "02:00:00:00:00:0a");
        vm.check().run().assert_success();
        bind(&vm, "dummy");
        vm.check().run().assert_success();
        braid(&node, &["list"]).assert_status(0);
        detach(&node, POD_NIC).assert_status(0);
        assert_eq!(vm.links(), ["eth0", "k6t-16477688c0e"], "the bridge is the pod's own");
        assert_eq!(node.reservations("lan0"), crate::node::NOTHING);
        vm.check().run().assert_success();
        vm.ip("link del k6t-16477688c0e");
    }
    must_end_clean(&vm, &before);
}

/// What is no dummy is the pod's own, and keeps its name.
#[test]
fn an_interface_that_the_pod_has_renamed_is_detached_and_what_has_its_name_stays() {
    let node = node();
    let before = node.dump();
    let vm = running(&node);
    braid(&node, &["attach", "team-a/web", &asked()]).assert_status(0);
    bind(&vm, "bridge");
    vm.check().run().assert_success();
    braid(&node, &["list"]).assert_status(0);
    detach(&node, POD_NIC).assert_status(0);
    assert_eq!(vm.links(), ["eth0", "k6t-16477688c0e", POD_NIC]);
    assert_eq!(vm.link(POD_NIC)["linkinfo"]["info_kind"], "bridge");
    assert_eq!(node.reservations("lan0"), crate::node::NOTHING);
    vm.check().run().assert_success();
    let said = braid(&node, &["attach", "team-a/web", &asked()]).assert_status(1);
    assert!(said.stderr.contains("already has an interface of that name"), "{}", said.stderr);
    for own in ["k6t-16477688c0e", POD_NIC] {
        vm.ip(&format!("link del {own}"));
    }
    must_end_clean(&vm, &before);
}

/// Another link with the number of the one that is gone is another link.
#[test]
fn an_interface_that_is_gone_is_drift_although_something_has_its_name() {
    let node = node();
    let vm = running(&node);
    braid(&node, &["attach", "team-a/web", &asked()]).assert_status(0);
    bind(&vm, "bridge");
    vm.ip("link del 16477688c0e-nic");
    vm.check().with(json!({"checkNetworks": "kernel"})).run().assert_error(101, [POD_NIC]);
}
