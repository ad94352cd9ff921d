//! Two tenants on one node, with packets.

use serde_json::json;

use super::{Cluster, policy};
use crate::wire::{Ear, cannot_reach, reaches, shout};

const MARKER: &str = "b1adc0de7e4a";

/// Two tenants with definitions of their own in the API, on real bridges: each reaches itself
/// alone.
#[test]
fn packets_of_one_tenant_never_reach_the_other() {
    let cluster = Cluster::new();
    for (tenant, bridge) in [("team-a", "br-a0"), ("team-b", "br-b0")] {
        let config = json!({
            "cniVersion": "1.0.0", "name": format!("{tenant}.lan"), "type": "bridge", "bridge": bridge,
            "ipam": {"type": "static"}, "capabilities": {"ips": true},
        });
        cluster.publish(tenant, "lan", json!({}), Some(config));
    }
    let start = |tenant: &'static str, name: &str, address: &str| {
        let pod = cluster.node.pod(tenant, name);
        let asked = json!([{"name": "lan", "ips": [format!("{address}/16")]}]);
        pod.add(cluster.config(policy())).networks_json(asked).run().assert_success();
        pod
    };
    let (web, db) = (start("team-a", "web", "10.20.0.2"), start("team-a", "db", "10.20.0.3"));
    let red = start("team-b", "web", "10.21.0.2");
    red.ip("route add 10.20.0.0/16 dev net1");
    assert!(reaches(web.netns(), "10.20.0.3", MARKER));
    assert!(cannot_reach(red.netns(), "10.20.0.3", MARKER));
    assert!(cannot_reach(web.netns(), "10.21.0.2", MARKER));
    // Frames as the kernel would never send them pass no further either.
    let ear = Ear::at(red.netns(), MARKER);
    let neighbour = Ear::at(db.netns(), MARKER);
    shout(web.netns(), "net1", "88b5", MARKER);
    assert_eq!(neighbour.heard_at(), ["net1"]);
    assert_eq!(ear.heard_at(), Vec::<String>::new(), "team-b hears team-a");
    let intruder = cluster.node.pod("team-b", "intruder");
    let asked = json!([{"name": "lan", "ips": ["10.20.0.3/16"]}]);
    let call = intruder.add(cluster.config(policy())).networks_json(asked);
    call.run().assert_error(7, ["cannot have address \"10.20.0.3/16\"", "policy.allowedSubnets"]);
}
