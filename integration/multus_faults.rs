//! One test for each fault of Multus that was found by reading and measuring it: the test's name
//! says what Braid does instead, and it fails if Braid has the fault.
//!
//! What a fault does in a cluster is tested with the Kubernetes API in `kubernetes`. Here:
//!
//! - 8, a pod that the API does not have: nothing that is missing turns into a success without
//!   addresses.
//! - 18, DEL without the API: a configured kubeconfig that cannot be read is no hindrance.
//! - 19, devices from the kubelet's list: a device that is named goes to its own network alone.
//! - 22, the status annotation: the merged result, from which it is made.
//! - 23, the number of API calls: there are none, whatever is configured.

mod configuration;
mod result;
mod teardown;

use serde_json::{Value, json};

use crate::node::Node;

/// A node with recorders `cluster` (a primary by that inline delegate), `blue` and `red`, the
/// latter two defined in namespace team-a, each with an interface of its own.
fn node() -> Node {
    let node = Node::new();
    node.recorders(["cluster", "blue", "red"]);
    node.define(
        "team-a",
        "blue",
        json!({"type": "blue", "addresses": ["10.9.0.2/24"], "link": true}),
    );
    node.define(
        "team-a",
        "red",
        json!({"type": "red", "addresses": ["10.8.0.2/24"], "link": true}),
    );
    node
}

/// The recorder `cluster` as primary.
fn cluster() -> Value {
    json!({"delegates": [{
        "cniVersion": "1.0.0", "name": "cluster", "type": "cluster", "link": true, "addresses": ["10.1.0.2/24"]
    }]})
}

/// A real bridge with a gateway, dual stack, as primary.
fn real(node: &Node) -> Value {
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/24 fd00:1::/64")]})
}

/// A real bridge with a gateway and no default route of its own, dual stack, as network
/// team-a/uplink.
fn define_uplink(node: &Node) {
    let network = json!({
        "type": "bridge", "bridge": "br-uplink", "isGateway": true, "ipam": node.host_local("10.19.0.0/24 fd00:19::/64")
    });
    node.define("team-a", "uplink", network);
}
