//! Reading whether an attachment has rules.

use std::path::PathBuf;
use std::time::Duration;

use cni::deadline::Deadline;
use cni::request::Command::{Add, Del};
use plugins::rules::{Attached, Keeper, has_rules};
use serde_json::{Value, json};

use super::node::Who::{self, Ours, Reference};
use super::node::{Node, merged};

const KEEPERS: [Keeper; 4] =
    [Keeper::Masquerade, Keeper::SpoofCheck, Keeper::PortMap, Keeper::Firewall];

/// Which keepers have rules of the attachment.
fn kept(node: &Node, network: &str, container: &str, interface: &str) -> Vec<Keeper> {
    let programs = ["/usr/sbin", "/usr/bin"].map(PathBuf::from);
    let attached = Attached { network, container, interface };
    let has = |keeper: &Keeper| {
        let deadline = Deadline::after(Duration::from_secs(30));
        node.host.run(|| has_rules(*keeper, attached, &programs, deadline)).unwrap().unwrap()
    };
    KEEPERS.into_iter().filter(has).collect()
}

fn network(kind: &str, keys: &Value) -> Value {
    let ips = json!([{"address": "10.1.0.5/24"}, {"address": "fd01::5/64"}]);
    let base = json!({
        "cniVersion": "1.0.0", "name": "blue", "type": kind,
        "ipam": {"type": "static", "addresses": ips},
        "prevResult": {"cniVersion": "1.0.0", "ips": ips},
        "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]},
    });
    merged(base, keys)
}

#[test]
fn rules_of_either_plugin_and_either_backend_are_found() {
    for (who, kind, keys, keeper) in [
        (Ours, "bridge", json!({"ipMasq": true}), Keeper::Masquerade),
        (Reference, "bridge", json!({"ipMasq": true}), Keeper::Masquerade),
        (
            Ours,
            "ptp",
            json!({"ipMasq": true, "ipMasqBackend": "nftables", "ipam": {"type": "static",
            "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]}}),
            Keeper::Masquerade,
        ),
        (Ours, "bridge", json!({"macspoofchk": true}), Keeper::SpoofCheck),
        (Reference, "bridge", json!({"macspoofchk": true}), Keeper::SpoofCheck),
        (Ours, "portmap", json!({}), Keeper::PortMap),
        (Reference, "portmap", json!({}), Keeper::PortMap),
        (Ours, "portmap", json!({"backend": "nftables"}), Keeper::PortMap),
    ] {
        let node = Node::new();
        let config = network(kind, &keys);
        assert_eq!(kept(&node, "blue", "container-1", "eth0"), [], "{who:?} {config}");
        add(&node, who, &config);
        assert_eq!(kept(&node, "blue", "container-1", "eth0"), [keeper], "{who:?} {config}");
        assert_eq!(kept(&node, "blue", "container-2", "eth0"), [], "{who:?} {config}");
        node.must(Ours, Del, &config);
        assert_eq!(kept(&node, "blue", "container-1", "eth0"), [], "{who:?} {config}");
    }
}

fn add(node: &Node, who: Who, config: &Value) {
    node.must(who, Add, config);
}

/// Its rules name addresses alone: those of attachments with a mark are theirs.
#[test]
fn rules_of_firewall_are_those_of_a_mark_or_of_none_that_is_known() {
    let node = Node::new();
    let at = |address: &str| {
        let ips = json!([{"address": address}]);
        let result = json!({"cniVersion": "1.0.0", "ips": ips});
        json!({"cniVersion": "1.0.0", "name": "blue", "type": "firewall", "prevResult": result})
    };
    let ours = at("10.1.0.5/24");
    node.must(Ours, Add, &ours);
    assert_eq!(kept(&node, "blue", "container-1", "eth0"), [Keeper::Firewall]);
    assert_eq!(kept(&node, "blue", "container-2", "eth0"), [], "the address is another's");
    let unmarked = at("10.1.0.6/24");
    node.must(Reference, Add, &unmarked);
    assert_eq!(kept(&node, "blue", "container-2", "eth0"), [Keeper::Firewall], "it may be its");
    node.must(Reference, Del, &unmarked);
    assert_eq!(kept(&node, "blue", "container-2", "eth0"), []);
    node.must(Ours, Del, &ours);
    assert_eq!(kept(&node, "blue", "container-1", "eth0"), []);
}

#[test]
fn a_program_that_fails_proves_nothing() {
    let node = Node::new();
    let tools = tempfile::tempdir().unwrap();
    let script = tools.path().join("iptables");
    std::fs::write(&script, "#!/bin/sh\necho held by another >&2; exit 4\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let attached = Attached { network: "blue", container: "c", interface: "eth0" };
    let programs = [tools.path().to_owned()];
    let deadline = Deadline::after(Duration::from_secs(30));
    let read = node.host.run(|| has_rules(Keeper::PortMap, attached, &programs, deadline)).unwrap();
    let sentence = "program \"iptables\" exited with status 4: held by another";
    assert_eq!(read.unwrap_err().msg, sentence);
}
