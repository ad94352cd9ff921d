//! Manifests of network definitions, and the rules in them.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::validate;
use crate::node::Node;
use crate::operator::Tool;

#[test]
fn manifests_with_a_configuration_inside() {
    let text = r#"apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: Blue
  namespace: team-a
spec:
  config: |
    {
      "cniVersion": "1.0.0",
      "type": "a/b"
    }
---
kind: NetworkAttachmentDefinition
metadata: {name: red}
spec:
  config: '{"type": }'
"#;
    assert_snapshot!(validate("x.yaml", text));
}

/// What an owner writes that shares with no namespace, and a policy that cannot be read.
#[test]
fn rules_that_do_not_say_what_they_seem_to() {
    let text = r#"kind: NetworkAttachmentDefinition
metadata:
  name: red
  annotations:
    braid.io/allowed-namespaces: team-a, Team-B
    braid.io/allowed-service-accounts: db, team-a/*, a/b/c
    braid.io/allowed-requests: ip, mac
    braid.io/allowed-ips: 10.0.0.0/24, 10.0.0.300
    braid.io/allowed-macs: 02:00, 2:0
    braid.io/allowed-namespace: "*"
spec:
  config: '{"type": "bridge"}'
"#;
    assert_snapshot!(validate("x.yaml", text));
    let text = r#"{"name": "x", "type": "braid", "policy": {"mode": "enforced", "allowedPlugins": {"tuning": 1}}}"#;
    assert_snapshot!(validate("x.conf", text));
}

/// Definitions of two namespaces that share a name on purpose have one pool of host-local today,
/// and two under the policy.
#[test]
fn definitions_that_would_lose_their_common_pool_are_listed() {
    let node = Node::new();
    let definition = |namespace: &str, name: &str, network: &str, subnet: &str| {
        let ipam = json!({"type": "host-local", "subnet": subnet});
        let config = json!({"name": network, "type": "bridge", "bridge": "br0", "ipam": ipam});
        let metadata = json!({"name": name, "namespace": namespace});
        json!({"kind": "NetworkAttachmentDefinition", "metadata": metadata, "spec": {"config": config.to_string()}})
    };
    let write = |file: &str, items: Vec<Value>| {
        node.write(file, &json!({"kind": "List", "items": items}).to_string());
    };
    write(
        "a.json",
        vec![
            definition("team-a", "lan", "lan", "10.20.0.0/24"),
            definition("team-a", "same", "lan", "10.20.0.0/24"),
            definition("team-a", "own", "team-a.own", "10.20.0.0/24"),
        ],
    );
    write(
        "b.json",
        vec![
            definition("team-b", "lan", "lan", "10.20.0.0/16"),
            definition("team-b", "apart", "lan", "10.21.0.0/24"),
            definition("infra", "lan", "lan", "10.20.0.0/24"),
        ],
    );
    let with = |mode: &str| {
        let policy = json!({
            "mode": mode, "trustedNamespaces": ["infra"], "allowedHostInterfaces": ["br0"], "allowedSubnets": ["10.0.0.0/8"],
        });
        let entry = json!({"type": "braid", "clusterNetwork": "auto", "policy": policy});
        let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
        node.write("00-braid.conflist", &conflist.to_string());
        let files = ["00-braid.conflist", "a.json", "b.json"].map(|file| node.path_text(file));
        Tool::new(&node, &["validate", "--config", &files[0], &files[1], &files[2]])
            .run()
            .assert_status(0)
            .stdout
    };
    let said = with("enforce");
    let warned = |of: &str| {
        said.lines().filter(|line| line.contains(&format!("is the name of {of} too"))).count()
    };
    assert_eq!(said.lines().count(), 4, "{said}");
    assert_eq!(warned("infra/lan, team-b/lan"), 2, "team-a's two, which keep one pool: {said}");
    assert_eq!(warned("infra/lan, team-a/lan, team-a/same"), 1, "{said}");
    assert!(said.contains("b.json:") && said.contains("here \"team-b.lan\""), "{said}");
    assert_eq!(with("audit"), said, "an upgrade begins with it");
    let without =
        Tool::new(&node, &["validate", &node.path_text("a.json"), &node.path_text("b.json")]).run();
    assert_eq!(without.assert_status(0).stdout.lines().count(), 1);
}

#[test]
fn a_network_on_which_pods_may_take_any_address() {
    let definition = |annotations: Value, gateway: bool| {
        let config = json!({
            "cniVersion": "1.0.0", "name": "team-a.open", "type": "bridge", "bridge": "br0",
            "isGateway": gateway, "ipam": {"type": "static"},
        });
        let metadata = json!({"name": "open", "namespace": "team-a", "annotations": annotations});
        let kind = "NetworkAttachmentDefinition";
        json!({"kind": kind, "metadata": metadata, "spec": {"config": config.to_string()}})
            .to_string()
    };
    let said = "warning: network \"team-a.open\": pods may take any address on it, those of the \
                node and of services too: its gateway is on the node, and \"static\" gives what a \
                pod asks for; add braid.io/allowed-ips to its definition, or enforce a policy \
                (allowedSubnets)";
    let open = validate("x.json", &definition(json!({}), true));
    assert!(open.contains(said) && open.contains("x.json:1:"), "{open}");
    let limited = json!({"braid.io/allowed-ips": "10.20.0.0/24"});
    for text in [definition(limited, true), definition(json!({}), false)] {
        let found = validate("x.json", &text);
        assert!(!found.contains("may take any address"), "{found}");
    }
    let file =
        r#"{"cniVersion": "1.0.0", "name": "open", "type": "ptp", "ipam": {"type": "static"}}"#;
    let found = validate("x.conf", file);
    assert!(
        found.contains("warning: network \"open\": pods may take any address on it"),
        "{found}"
    );
}

/// Quoted text over several lines is the commonest form of a definition.
#[test]
fn places_in_quoted_text_are_those_of_the_file() {
    let text = r#"kind: NetworkAttachmentDefinition
metadata: {name: single}
spec:
  config: '{
      "cniVersion": "1.0.0",
      "type": "macvlan",,
      "master": "eth0"
    }'
---
kind: NetworkAttachmentDefinition
metadata: {name: double}
spec:
  config: "{
      \"cniVersion\": \"9.9.9\",
      \"type\": \"macvlan\"
    }"
---
kind: NetworkAttachmentDefinition
metadata: {name: folded}
spec:
  config: >-
    {
    "type": "a/b"
    }
---
kind: Pod
metadata:
  annotations:
    k8s.v1.cni.cncf.io/networks: '[
      {"name": "ä", "mac": "x"},
      {"name": "lan",
       "dns": []}
    ]'
"#;
    assert_snapshot!(validate("x.yaml", text));
}

/// As ADD has them: a definition takes the last of two keys, an annotation is refused, a manifest
/// is no manifest.
#[test]
fn keys_that_are_given_twice() {
    let text = r#"kind: NetworkAttachmentDefinition
metadata: {name: a}
spec: {config: '{"type": "ptp", "mtu": 1, "mtu": 2}'}
---
kind: Pod
metadata: {name: b, annotations: {k8s.v1.cni.cncf.io/networks: '[{"name": "lan", "name": "lan"}]'}}
---
kind: NetworkAttachmentDefinition
metadata: {name: c, name: d}
"#;
    let said = validate("x.yaml", text);
    assert!(!said.contains("Options") && !said.contains("Policy"), "{said}");
    assert_snapshot!(said);
}

#[test]
fn definitions_that_define_nothing() {
    let text = r#"apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachementDefinition
metadata: {name: a}
---
apiVersion: k8s.cni.cncf.io/v1
metadata: {name: b}
---
apiVersion: k8s.v1.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: c}
config: '{"type": "ptp"}'
spec: {conf: '{"type": "ptp"}', plugins: []}
---
apiVersion: k8s.cni.cncf.io/v1alpha1
kind: IPAMClaim
metadata: {name: d}
"#;
    assert_snapshot!(validate("x.yaml", text));
}
