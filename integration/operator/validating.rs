//! `validate`: all problems of a file at once, each at its place.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::Tool;
use crate::node::Node;

fn validate(name: &str, text: &str) -> String {
    let node = Node::new();
    node.write(name, text);
    Tool::new(&node, &["validate", &node.path_text(name)]).run().snapshot()
}

#[test]
fn a_conflist_with_several_mistakes() {
    let text = r#"{
  "cniVersion": "9.9.9",
  "name": "not a name",
  "plugins": [
    {"type": "bridge", "capabilities": []},
    {"bridge": "br0"},
    {
      "type": "braid",
      "clusterNetwrk": "auto",
      "confDir": "relative",
      "delegateTimeout": "soon"
    }
  ]
}
"#;
    assert_snapshot!(validate("x.conflist", text));
}

/// What no pod starts with is an error, wherever the file will stand.
#[test]
fn a_braid_that_cannot_work_where_it_stands() {
    let said = |entries: Value, name: &str| {
        let conflist = json!({"cniVersion": "1.0.0", "name": name, "plugins": entries});
        validate("x.conflist", &conflist.to_string())
    };
    let first =
        "error: braid is the first plugin and has no primary network, so that no pod starts";
    let behind = "error: braid stands behind other plugins and has a primary network of its own";
    let braid = |more: Value| {
        let mut entry = json!({"type": "braid"});
        entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        entry
    };
    for more in [
        json!({}),
        json!({"clusterNetwrk": "auto"}),
        json!({"clusterNetwork": "", "delegates": []}),
    ] {
        let text = said(json!([braid(more.clone())]), "node");
        assert!(text.starts_with("status 1") && text.contains(first), "{more}: {text}");
    }
    let ptp = json!({"type": "ptp"});
    let delegating = braid(json!({"clusterNetwork": "auto"}));
    let text = said(json!([ptp, delegating]), "node");
    assert!(text.starts_with("status 1") && text.contains(behind), "{text}");
    for entries in [json!([ptp, braid(json!({}))]), json!([delegating, ptp]), json!([ptp])] {
        let text = said(entries.clone(), "node");
        assert!(text.starts_with("status 0"), "{entries}: {text}");
    }
    // A file of a sub-directory, which is appended to the primary's chain.
    let text = validate("braid.conf", &braid(json!({})).to_string());
    assert!(text.starts_with("status 0"), "{text}");
    let alone = validate("x.conf", r#"{"cniVersion": "1.0.0", "name": "node", "type": "braid"}"#);
    assert!(alone.contains(first), "{alone}");
}

#[test]
fn json_that_ends_early() {
    assert_snapshot!(validate("x.conf", "{\n  \"name\": \"x\",\n"));
}

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

#[test]
fn standard_input_is_a_file_too() {
    let node = Node::new();
    let said =
        Tool::new(&node, &["validate", "-"]).input("kind: Pod\nmetadata: {namespace: A}\n").run();
    assert_snapshot!(said.snapshot());
    let json = Tool::new(&node, &["validate", "-", "-o", "json"])
        .input("{\"cniVersion\": 1}")
        .run()
        .json();
    assert_eq!(json["problems"][0]["line"], 1);
}

/// What an owner writes that shares with nobody, and a policy that nobody understands.
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
    assert_eq!(said.lines().count(), 3, "{said}");
    assert_eq!(warned("infra/lan, team-b/lan"), 2, "team-a's two, which keep one pool: {said}");
    assert_eq!(warned("infra/lan, team-a/lan, team-a/same"), 1, "{said}");
    assert!(said.contains("b.json:") && said.contains("here \"team-b.lan\""), "{said}");
    assert_eq!(with("audit"), said, "an upgrade begins with it");
    let without =
        Tool::new(&node, &["validate", &node.path_text("a.json"), &node.path_text("b.json")]).run();
    assert_eq!(without.assert_status(0).stdout.lines().count(), 1);
}

#[test]
fn a_configuration_that_is_none_says_so() {
    let node = Node::new();
    node.write("net.d/10-x.conflist", r#"{"name": "x", "plugins": [{"type": "ptp"}]}"#);
    node.write("net.d/broken", "{");
    let mut said = String::new();
    for file in ["net.d/absent", "net.d/broken", "net.d/10-x.conflist"] {
        let arguments = ["validate", "--config", &node.path_text(file), "-"];
        said.push_str(&Tool::new(&node, &arguments).input("kind: Pod\n").run().snapshot());
        said.push_str(&Tool::new(&node, &["list", "--config", &node.path_text(file)]).run().stderr);
    }
    assert_snapshot!(said);
}

#[test]
fn yaml_that_is_none_has_its_place_once() {
    assert_snapshot!(validate("x.yaml", "kind: Pod\nmetadata: [\n"));
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: [*c,*c,*c,*c,*c,*c,*c,*c]\n";
    assert_snapshot!(validate("x.yaml", bomb));
}

/// Everything to copy is valid.
#[test]
fn the_repositorys_own_files_are_valid() {
    let node = Node::new();
    let mut files = Vec::new();
    for directory in
        ["conf", "conf/definitions", "conf/pods", "conf/kubernetes", "conf/kubernetes/base"]
    {
        let entries =
            std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(directory))
                .unwrap();
        files.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    assert!(files.len() > 15);
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> =
        ["validate"].into_iter().chain(files.iter().map(String::as_str)).collect();
    Tool::new(&node, &arguments).run().assert_status(0);
}

#[test]
fn files_with_nothing_to_check_are_told_apart() {
    let node = Node::new();
    node.write("role.yaml", "kind: ClusterRole\nmetadata: {name: braid}\n");
    node.write("web.yaml", "kind: Deployment\nspec: {template: {metadata: {annotations: {}}}}\n");
    let validate = |names: &[&str]| {
        let paths: Vec<String> = names.iter().map(|name| node.path_text(name)).collect();
        let arguments: Vec<&str> =
            std::iter::once("validate").chain(paths.iter().map(String::as_str)).collect();
        Tool::new(&node, &arguments).run().assert_status(0).stdout
    };
    assert_eq!(validate(&["web.yaml"]), "valid: 1 checked\n");
    assert_eq!(validate(&["role.yaml", "web.yaml"]), "valid: 1 checked, 1 with nothing to check\n");
    let nothing = "nothing to check: no network configuration, no definition and no pod\n";
    assert_eq!(validate(&["role.yaml"]), nothing);
}

/// YAML reads some words without quotes as something else, and a name of digits as a number.
#[test]
fn a_field_that_is_no_text_is_said_to_be_quoted() {
    let definition = |metadata: &str| {
        format!(
            "kind: NetworkAttachmentDefinition\nmetadata:\n  {metadata}\nspec:\n  config: '{{\"type\": \"bridge\"}}'\n"
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
        assert_eq!(said.matches("error:").count(), 1, "{said}");
    }
    assert!(validate("x.yaml", &definition("{name: 'y', namespace: '1'}")).contains("valid"));
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
    let said = "warning: network \"team-a.open\": pods may take any address on it, those of the node and of services \
                too: its gateway is on the node, and \"static\" gives what a pod asks for; add braid.io/allowed-ips to \
                its definition, or enforce a policy (allowedSubnets)";
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
fn annotations_where_nobody_reads_them() {
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

#[test]
fn files_of_others_are_nothing_to_check() {
    let nothing = "status 0\n--- stdout\nnothing to check: no network configuration, no definition and no pod\n";
    let files = [
        ("values.yaml", "image: {tag: 1}\nplugins: [a, b]\n"),
        ("package.json", r#"{"name": "x", "version": "1.0.0", "type": "module"}"#),
        ("list.json", "[1, 2]"),
        ("text.yaml", "just words\n"),
        ("empty.yaml", ""),
    ];
    for (name, text) in files {
        assert_eq!(validate(name, text), nothing, "{name}");
    }
    for (name, text) in [
        ("x.json", r#"{"name": "x", "plugins": [{"type": "a/b"}]}"#),
        ("x.conf", "[]"),
        ("y.conf", "{}"),
    ] {
        assert!(validate(name, text).starts_with("status 1\n"), "{name}");
    }
    let said = validate("templates/x.yaml", "a: {{ .Values.x }}\nb: [\n");
    assert!(said.contains("; of a chart check what helm template prints"), "{said}");
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
            "- apiVersion: v1\n  kind: Pod\n  metadata:\n    annotations:\n      k8s.v1.cni.cncf.io/networks: \
             {networks}\n    name: web-{number}\n    namespace: team-a\n  spec:\n    containers:\n"
        ));
        for container in 0..10 {
            text.push_str(&format!(
                "    - image: registry.example/images/of/some/length:{container}\n      name: c{container}\n      \
                 resources: {{}}\n"
            ));
        }
    }
    text.push_str("kind: List\nmetadata:\n  resourceVersion: \"\"\n");
    assert!(text.len() > 2 << 20);
    let line = 1 + text.lines().position(|line| line.ends_with("lan@eth0%")).unwrap();
    let node = Node::new();
    let said = Tool::new(&node, &["validate", "-"]).input(&text).run().assert_status(1);
    let start = format!("-:{line}:");
    assert_eq!(said.stdout.lines().count(), 1, "{}", said.stdout);
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
