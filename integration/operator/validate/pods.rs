//! Manifests of pods and of what makes pods: their annotations.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::validate;
use crate::node::Node;
use crate::operator::Tool;

#[test]
fn annotations_of_pods_and_of_what_makes_pods() {
    let text = r#"apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    k8s.v1.cni.cncf.io/networks: |
      [
        {"name": "lan", "ip": ["10.0.0.1"], "mac": "03:00:00:00:00:01"},
        {"name": "lan", "interface": "lo"}
      ]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata:
      annotations:
        k8s.v1.cni.cncf.io/networks: lan, Lan@data0, lan@eth0%
"#;
    assert_snapshot!(validate("pod.yaml", text));
}

/// CNI-Genie's annotation, and what annotations have with one another: as ADD would say it.
#[test]
fn annotations_that_do_not_go_together() {
    let text = r#"kind: Pod
metadata:
  name: a
  annotations:
    cni: calico,../weave
---
kind: Pod
metadata:
  name: b
  namespace: team-a
  annotations:
    cni: calico
    v1.multus-cni.io/default-network: weave
---
kind: Pod
metadata:
  name: c
  annotations:
    v1.multus-cni.io/default-network: weave, calico
---
kind: Pod
metadata:
  name: d
  namespace: team-a
  annotations:
    k8s.v1.cni.cncf.io/networks: '[{"name": "lan", "mac": ""}]'
"#;
    assert_snapshot!(validate("pods.yaml", text));
}

/// What only a node's configuration tells: its policy, how many networks, and which annotations
/// count.
#[test]
fn files_are_held_against_a_nodes_configuration() {
    let definitions = r#"kind: NetworkAttachmentDefinition
metadata: {name: lan, namespace: team-a}
spec:
  config: |
    {"cniVersion": "1.0.0", "name": "team-a.lan", "type": "macvlan", "master": "eth0"}
---
kind: NetworkAttachmentDefinition
metadata: {name: wan, namespace: team-a}
---
kind: NetworkAttachmentDefinition
metadata: {name: lan, namespace: infra}
spec:
  config: '{"type": "macvlan", "master": "eth0"}'
---
kind: NetworkAttachmentDefinition
metadata: {name: own, namespace: team-a}
spec:
  config: '{"name": "team-a.own", "type": "bridge", "bridge": "br-a0"}'
---
kind: Pod
metadata:
  name: web
  namespace: team-a
  annotations: {k8s.v1.cni.cncf.io/networks: "own, own", cni: ../x}
"#;
    let with = |more: Value| {
        let node = Node::new();
        node.write("x.yaml", definitions);
        let mut entry = json!({"type": "braid", "clusterNetwork": "auto", "maxNetworks": 1});
        entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
        node.write("00-braid.conflist", &conflist.to_string());
        let (config, file) = (node.path_text("00-braid.conflist"), node.path_text("x.yaml"));
        Tool::new(&node, &["validate", "--config", &config, &file]).run().snapshot()
    };
    let policy =
        json!({"trustedNamespaces": ["infra"], "allowedHostInterfaces": {"br-a*": ["team-a"]}});
    assert_snapshot!(with(json!({"policy": policy})));
    let mut audit = policy;
    audit["mode"] = json!("audit");
    let audited = with(json!({"policy": audit, "maxNetworks": 2}));
    assert_eq!(
        audited.matches("warning: policy.mode is \"audit\", or pods would be refused: ").count(),
        2
    );
    assert!(audited.starts_with("status 0\n"), "{audited}");
    let genie = with(json!({"genieAnnotation": true, "maxNetworks": 2}));
    assert!(
        genie.starts_with("status 1\n") && genie.contains("error: annotation cni: "),
        "{genie}"
    );
}

/// YAML reads some words without quotes as something else, and a name of digits as a number.
#[test]
fn a_field_that_is_no_text_is_said_to_be_quoted() {
    let definition = |metadata: &str| {
        format!(
            "kind: NetworkAttachmentDefinition\nmetadata:\n  {metadata}\nspec:\n  config: \
             '{{\"type\": \"bridge\"}}'\n"
        )
    };
    let pod = |metadata: &str| format!("kind: Pod\nmetadata:\n  {metadata}\n");
    let boolean = "is a boolean, as y, n, yes, no, on and off are in YAML: put it in quotes";
    let number = "is a number: put it in quotes";
    let cases = [
        (definition("name: y"), format!("3:9: error: metadata.name {boolean}")),
        (definition("name: 1"), format!("3:9: error: metadata.name {number}")),
        (
            definition("{name: a, namespace: no}"),
            format!("3:24: error: metadata.namespace {boolean}"),
        ),
        (
            definition("{name: a, annotations: {braid.io/allowed-namespaces: on}}"),
            format!("3:56: error: annotation braid.io/allowed-namespaces {boolean}"),
        ),
        (definition("namespace: a"), "1:1: error: metadata.name is missing".to_owned()),
        (definition("name:"), "1:1: error: metadata.name is missing".to_owned()),
        ("kind: y\n".to_owned(), format!("1:7: error: kind {boolean}")),
        (pod("{name: web, namespace: 7}"), format!("3:26: error: metadata.namespace {number}")),
        (
            pod("{name: web, annotations: {k8s.v1.cni.cncf.io/networks: 1}}"),
            format!("3:58: error: annotation k8s.v1.cni.cncf.io/networks {number}"),
        ),
    ];
    for (text, expected) in cases {
        let said = validate("x.yaml", &text);
        assert!(said.contains(&expected), "{text}\n{said}");
        assert_eq!(said.matches(": error:").count(), 1, "{said}");
    }
    assert!(validate("x.yaml", &definition("{name: 'y', namespace: '1'}")).contains("valid"));
}

#[test]
fn annotations_in_places_that_are_not_read() {
    let text = r#"kind: Deployment
metadata: {name: a, annotations: {k8s.v1.cni.cncf.io/networks: lan}}
spec: {template: {metadata: {labels: {k8s.v1.cni.cncf.io/networks: lan}}, spec: {containers: []}}}
---
kind: CronJob
metadata: {name: b}
spec: {jobTemplate: {metadata: {annotations: {v1.multus-cni.io/default-network: lan}}, spec: {template: {spec: {containers: []}}}}}
---
kind: JobSet
metadata: {name: c}
spec: {replicatedJobs: [{template: {spec: {template: {metadata: {annotations: {k8s.v1.cni.cncf.io/networks: Lan}}, spec: {containers: []}}}}}]}
---
kind: Pod
metadata: {name: d, annotation: {k8s.v1.cni.cncf.io/networks: lan}, annotations: {networks: lan, k8s.cni.cncf.io/networks: lan}}
---
kind: Pod
metadata: {name: e, annotations: {k8s.v1.cni.cncf.io/networks: lan, k8s.v1.cni.cncf.io/network-status: "[]"}}
"#;
    assert_snapshot!(validate("x.yaml", text));
}

/// As many pods as `kubectl get pods -A -o yaml` prints of a cluster of some hundred nodes: more
/// than 1 MiB, and more than 50,000 values. The last one is read too, and its mistake has its
/// place.
#[test]
fn a_large_cluster_is_read_to_its_end() {
    let mut text = "apiVersion: v1\nitems:\n".to_owned();
    for number in 0..2000 {
        let networks = if number == 1999 { "lan@eth0%" } else { "lan" };
        text.push_str(&format!(
            "- apiVersion: v1\n  kind: Pod\n  metadata:\n    annotations:\n      \
             k8s.v1.cni.cncf.io/networks: {networks}\n    name: web-{number}\n    namespace: \
             team-a\n  spec:\n    containers:\n"
        ));
        for container in 0..10 {
            text.push_str(&format!(
                "    - image: registry.example/images/of/some/length:{container}\n      name: \
                 c{container}\n      resources: {{}}\n"
            ));
        }
    }
    text.push_str("kind: List\nmetadata:\n  resourceVersion: \"\"\n");
    assert!(text.len() > 2 << 20);
    let line = 1 + text.lines().position(|line| line.ends_with("lan@eth0%")).unwrap();
    let node = Node::new();
    let said = Tool::new(&node, &["validate", "-"]).input(&text).run().assert_status(1);
    let start = format!("-:{line}:");
    assert_eq!(said.stdout.lines().count(), 2, "{}", said.stdout);
    assert!(
        said.stdout.starts_with(&start) && said.stdout.contains("Pod team-a/web-1999: "),
        "{}",
        said.stdout
    );
    node.write("pods.yaml", &text);
    let from_file =
        Tool::new(&node, &["validate", &node.path_text("pods.yaml")]).run().assert_status(1);
    assert!(from_file.stdout.contains(&format!("pods.yaml:{line}:")), "{}", from_file.stdout);
    let sound = text.replace("lan@eth0%", "lan");
    Tool::new(&node, &["validate", "-"]).input(&sound).run().assert_status(0);
}

/// ADD looks for the network of the default-network annotation in `multusNamespace`, element by
/// element.
#[test]
fn a_default_network_is_named_with_the_namespace_that_add_looks_in() {
    let said = |config: Value, networks: &str| {
        let node = Node::new();
        let pod = json!({
            "kind": "Pod",
            "metadata": {
                "name": "web", "namespace": "team-a", "annotations": {"v1.multus-cni.io/default-network": networks},
            },
        });
        node.write("pod.json", &pod.to_string());
        let mut entry = json!({"cniVersion": "1.0.0", "name": "node", "type": "braid", "clusterNetwork": "auto"});
        entry.as_object_mut().unwrap().extend(config.as_object().cloned().unwrap());
        node.write("node.conf", &entry.to_string());
        let (pod, config) = (node.path_text("pod.json"), node.path_text("node.conf"));
        Tool::new(&node, &["validate", "--config", &config, &pod]).run().stdout
    };
    let networks = r#"[{"name": "lan", "mtu": 9000}]"#;
    let own = said(json!({"multusNamespace": "networks"}), networks);
    assert!(own.contains("(networks/lan)") && !own.contains("team-a/lan"), "{own}");
    let usual = said(json!({}), networks);
    assert!(usual.contains("(kube-system/lan)"), "{usual}");
}
