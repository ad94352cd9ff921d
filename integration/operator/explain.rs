//! `explain`: what would happen to a pod on a node.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Fault, Setup};
use crate::node::{BRAID, Node};
use crate::operator::{Said, Tool, kubeconfig_of_multus};

/// A node with a primary and the networks `team-a/blue`, `default/shared` and `team-b/red`.
pub(crate) fn node(more: Value) -> Node {
    let node = Node::new();
    let mut entry = json!({
        "type": "braid", "confDir": node.path("braid.d"), "cniDir": node.path("state"),
        "primaryConfDir": node.path("net.d"), "binDir": node.path("bin"), "clusterNetwork": "auto",
        "capabilities": {"io.kubernetes.cri.pod-annotations": true},
    });
    entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("net.d/00-braid.conflist", &conflist.to_string());
    let primary =
        json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [{"type": "primary"}]});
    node.write("net.d/10-primary.conflist", &primary.to_string());
    node.recorders(["primary", "shared", "red", "braid"]);
    node.network("blue", json!({"capabilities": {"ips": true}}));
    node.define("default", "shared", json!({"type": "shared"}));
    node.define("team-b", "red", json!({"type": "red"}));
    node
}

pub(crate) fn braid<'n>(node: &'n Node, arguments: &[&str]) -> Tool<'n> {
    let conf_dir = node.path_text("net.d");
    let bin_dir = node.path_text("bin");
    let (command, rest) = arguments.split_first().unwrap();
    let place =
        [*command, "--conf-dir", &conf_dir, "--bin-dir", &bin_dir, "--runtime", "containerd"];
    Tool::new(node, &[place.as_slice(), rest].concat())
}

fn explain(node: &Node, networks: &str) -> Said {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "team-a", "annotations": {"k8s.v1.cni.cncf.io/networks": networks}},
    });
    braid(node, &["explain", "-"]).input(&pod.to_string()).run()
}

#[test]
fn a_plan_is_shown_and_nothing_is_done() {
    let node = node(json!({}));
    let before = node.dump();
    let networks = r#"[{"name": "blue", "ips": ["10.9.0.2/24"], "default-route": ["10.9.0.1"]}, {"name": "shared", "namespace": "default", "interface": "data0"}]"#;
    assert_snapshot!(explain(&node, networks).snapshot());
    assert_eq!((node.calls_in_order().len(), node.dump()), (0, before));
}

#[test]
fn a_refusal_is_the_one_that_add_would_give() {
    let node = node(json!({}));
    let said = explain(&node, "team-b/red");
    assert_snapshot!(said.snapshot());
    let pod = node.pod("team-a", "web");
    let error = pod.add(json!({"clusterNetwork": "auto"})).networks("team-b/red").run();
    let sentence =
        error.json()["msg"].as_str().unwrap().trim_start_matches("pod team-a/web: ").to_owned();
    assert!(said.stdout.contains(&sentence), "{sentence}: {}", said.stdout);
    assert_snapshot!(explain(&node, "bleu").snapshot());
    assert_snapshot!(explain(&node, "blue@eth0").snapshot());
}

/// The words are the policy's own, as the audit log has them.
#[test]
fn a_plan_names_the_rules_that_allow_it() {
    let policy = json!({"sharedNodeNetworks": {"uplink": ["team-a"]}});
    let node = node(json!({"policy": policy, "namespaceIsolation": false}));
    node.write("braid.d/10-uplink.conf", r#"{"name": "uplink", "type": "shared"}"#);
    let said = explain(&node, "blue,uplink,default/shared,team-b/red");
    for (interface, words) in [
        ("net1", "the pod's own namespace"),
        ("net2", "the pod's own namespace; policy.sharedNodeNetworks"),
        ("net3", "default is in globalNamespaces"),
        ("net4", "namespaceIsolation is off"),
        ("eth0", "node configuration"),
    ] {
        let line = said.stdout.lines().find(|line| line.starts_with(interface)).expect(interface);
        assert!(line.contains(words), "{words}: {line}");
    }
    let audited = node.pod("team-a", "web");
    let config = json!({"clusterNetwork": "auto", "policy": policy, "auditLog": node.path_text("audit.log")});
    audited.add(config).networks("uplink").run().assert_success();
    let log = std::fs::read_to_string(node.path("audit.log")).unwrap();
    assert!(
        log.contains(r#""allowedBy":"the pod's own namespace; policy.sharedNodeNetworks""#),
        "{log}"
    );
    let refused = braid(&node, &["explain", "-"]);
    let pod = json!({"kind": "Pod", "metadata": {"name": "web", "namespace": "team-b", "annotations": {"k8s.v1.cni.cncf.io/networks": "uplink"}}});
    let refused = refused.input(&pod.to_string()).run();
    assert!(refused.stdout.contains("policy.sharedNodeNetworks"), "{}", refused.stdout);
}

#[test]
fn a_plan_shows_what_genies_annotation_chooses() {
    let node = node(json!({"genieAnnotation": true}));
    node.write("net.d/20-weave.conf", r#"{"cniVersion": "1.0.0", "name": "weave", "type": "red"}"#);
    let pod = json!({"kind": "Pod", "metadata": {"name": "web", "namespace": "team-a", "annotations": {"cni": "red,cluster"}}});
    let said = braid(&node, &["explain", "-"]).input(&pod.to_string()).run();
    for (interface, network) in [("eth0", "weave"), ("eth1", "cluster")] {
        let line = said.stdout.lines().find(|line| line.starts_with(interface)).expect(interface);
        assert!(line.contains(network) && line.contains("no policy"), "{line}");
    }
}

/// A manifest says whose account the pod would have, as the API would.
#[test]
fn a_plan_knows_the_pods_service_account() {
    let node = node(json!({}));
    let manifest = json!({
        "kind": "NetworkAttachmentDefinition", "spec": {"config": "{\"type\": \"red\"}"},
        "metadata": {"name": "narrow", "namespace": "team-a", "annotations": {"braid.io/allowed-service-accounts": "builder"}},
    });
    node.write("braid.d/narrow.json", &manifest.to_string());
    let explain = |spec: Value| {
        let annotations = json!({"k8s.v1.cni.cncf.io/networks": "narrow"});
        let metadata = json!({"name": "web", "namespace": "team-a", "annotations": annotations});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        braid(&node, &["explain", "-"]).input(&pod.to_string()).run().stdout
    };
    let said = explain(json!({"serviceAccountName": "builder"}));
    assert!(
        said.contains("service account team-a/builder (braid.io/allowed-service-accounts)"),
        "{said}"
    );
    let said = explain(json!({}));
    assert!(said.contains("is not shared with service account team-a/default"), "{said}");
}

/// A plan that is never carried out is none.
#[test]
fn a_plan_on_a_node_that_cannot_work_is_refused() {
    let misspelt = node(json!({"clusterNetwork": null, "clusterNetwrk": "auto"}));
    let said = explain(&misspelt, "blue").assert_status(1);
    let expected = "pod team-a/web: refused: NODE/net.d/00-braid.conflist: braid is the first \
                    plugin and has no primary network, so that no pod starts: set \
                    \"clusterNetwork\" or \"delegates\"; unknown key";
    assert!(said.stdout.starts_with(expected), "{}", said.stdout);

    let behind = node(json!({}));
    behind.write("net.d/00-a.conf", r#"{"name": "a", "type": "shared"}"#);
    let said = explain(&behind, "blue").assert_status(1);
    assert!(
        said.stdout.contains("refused: the runtime reads NODE/net.d/00-a.conf first"),
        "{}",
        said.stdout
    );

    let alone = node(json!({}));
    std::fs::remove_file(alone.path("net.d/10-primary.conflist")).unwrap();
    let said = explain(&alone, "").assert_status(1);
    assert!(
        said.stdout.contains("refused: no primary network in NODE/net.d yet"),
        "{}",
        said.stdout
    );
}

#[test]
fn what_cannot_be_explained_says_why() {
    let node = node(json!({}));
    assert_snapshot!(braid(&node, &["explain", "-"]).input("kind: Service\n").run().snapshot());
    assert_snapshot!(braid(&node, &["explain", "--pod", "team-a/web"]).run().snapshot());
    assert_snapshot!(braid(&node, &["explain"]).run().snapshot());
}

/// In the test's own network namespace, where the API server is.
fn explain_pod(node: &Node, pod: &str) -> String {
    let (conf_dir, bin_dir) = (node.path_text("net.d"), node.path_text("bin"));
    let arguments = ["explain", "--conf-dir", &conf_dir, "--bin-dir", &bin_dir, "--pod", pod];
    let output = std::process::Command::new(BRAID).args(arguments).env_clear().output().unwrap();
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).unwrap().replace(node.path_text("").trim_end_matches('/'), "NODE")
    };
    format!(
        "status {}\n{}{}",
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr)
    )
}

/// The pod and one of its definitions are the cluster's, the other is the node's; the API is told
/// nothing.
#[test]
fn a_pod_of_the_cluster_is_explained() {
    let server = ApiServer::start();
    let node = node(json!({"kubeconfig": server.administrators_kubeconfig()}));
    server.define("team-a", "lan", r#"{"cniVersion": "1.0.0", "type": "shared"}"#);
    let networks = r#"[{"name": "lan", "interface": "data0"}, {"name": "blue"}]"#;
    server.add_pod("team-a", "web", "u-1", json!({"k8s.v1.cni.cncf.io/networks": networks}));
    assert_snapshot!(explain_pod(&node, "team-a/web"));
    let lines = server.lines();
    // It asks, and changes nothing: a review is a question.
    let review = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let is_question = |line: &String| line.starts_with("GET ") || line == review;
    assert!(lines.iter().all(is_question) && lines.len() == 3, "{lines:?}");
    let definition =
        "GET /apis/k8s.cni.cncf.io/v1/namespaces/team-a/network-attachment-definitions/lan";
    assert!(lines.iter().any(|line| line == definition), "{lines:?}");
    assert_eq!(node.calls_in_order(), Vec::<String>::new());

    let missing = explain_pod(&node, "team-a/away").replace(&server.name(), "SERVER");
    assert_snapshot!(missing);
    assert_snapshot!(explain_pod(&node, "away"));
}

/// What ADD would end with, after everything is attached: Multus's thin role has no patch.
#[test]
fn a_plan_says_what_the_status_step_will_get() {
    let server = ApiServer::start();
    server.define("team-a", "lan", r#"{"cniVersion": "1.0.0", "type": "shared"}"#);
    let networks = json!({"k8s.v1.cni.cncf.io/networks": "lan"});
    server.add_pod("team-a", "web", "u-1", networks);
    server.add_pod("team-a", "plain", "u-2", json!({}));
    let kubeconfig = kubeconfig_of_multus(&server);
    let narrow = node(json!({"kubeconfig": kubeconfig}));
    let said = explain_pod(&narrow, "team-a/web");
    let expected = format!(
        "status 1\npod team-a/web: refused: its network status cannot be published: the credential \
         of {} may not patch pods/status in namespace \"team-a\": grant it the rights of \
         conf/kubernetes/base/rbac.yaml, or set \"statusPolicy\": \"never\"\n",
        kubeconfig.display()
    );
    assert!(said.starts_with(&expected) && said.contains("net1 "), "{said}");
    // One that gets no status needs no right to publish one.
    assert!(explain_pod(&narrow, "team-a/plain").starts_with("status 0\n"));
    let silent = node(json!({"kubeconfig": kubeconfig, "statusPolicy": "never"}));
    let said = explain_pod(&silent, "team-a/web");
    assert!(said.starts_with("status 0\n") && !said.contains("PATCH"), "{said}");

    let enough = node(json!({"kubeconfig": server.administrators_kubeconfig()}));
    let said = explain_pod(&enough, "team-a/web");
    assert!(
        said.starts_with("status 0\n")
            && said.contains("asks the API: PATCH the pod's network-status\n"),
        "{said}"
    );
    server.next("selfsubjectaccessreviews", Fault::status(403, "Forbidden", "reviews are off"));
    let said = explain_pod(&enough, "team-a/web");
    let unknown = "asks the API: PATCH the pod's network-status (whether it may is not known: ";
    assert!(said.starts_with("status 0\n") && said.contains(unknown), "{said}");
}

/// Each pod of the stream, each network of a pod, each annotation: one refusal does not hide the
/// next.
#[test]
fn every_pod_of_a_stream_is_explained_with_all_its_refusals() {
    let node = node(json!({}));
    let stream = r#"kind: Pod
metadata: {name: good, namespace: team-a, annotations: {k8s.v1.cni.cncf.io/networks: blue}}
---
kind: Service
metadata: {name: other}
---
kind: Pod
metadata: {name: bad, namespace: team-a, annotations: {k8s.v1.cni.cncf.io/networks: "bleu, blue, team-b/red, torn"}}
---
kind: List
items:
- kind: Pod
  metadata: {name: worse, namespace: team-a, annotations: {k8s.v1.cni.cncf.io/networks: "Blue", v1.multus-cni.io/default-network: "blue,blue"}}
- kind: Pod
  metadata: {name: worst, namespace: team-a, annotations: {k8s.v1.cni.cncf.io/networks: [blue]}}
"#;
    let absent = json!({"cniVersion": "1.0.0", "type": "absent"});
    node.define("team-a", "torn", absent);
    let said = braid(&node, &["explain", "-"]).input(stream).run().assert_status(1);
    assert_snapshot!(said.snapshot());
    let json = braid(&node, &["explain", "-", "-o", "json"]).input(stream).run().json();
    let refusals: Vec<usize> = json["pods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["refusals"].as_array().unwrap().len())
        .collect();
    assert_eq!(refusals, [0, 3, 2, 1]);
}

#[test]
fn a_field_of_a_manifest_that_is_no_text_is_said_to_be_quoted() {
    let node = node(json!({}));
    for (metadata, said) in [
        ("{name: y}", "metadata.name is a boolean"),
        ("{name: 1}", "metadata.name is a number: put it in quotes"),
        ("{name: web, namespace: on}", "metadata.namespace is a boolean"),
        (
            "{name: web, annotations: {k8s.v1.cni.cncf.io/networks: n}}",
            "annotation k8s.v1.cni.cncf.io/networks is a",
        ),
    ] {
        let pod = format!("kind: Pod\nmetadata: {metadata}\n");
        let outcome = braid(&node, &["explain", "-"]).input(&pod).run();
        assert!(outcome.stdout.contains(said), "{metadata}: {}", outcome.snapshot());
    }
}

/// Each object by its template, in a stream, in a list and in a list of lists.
#[test]
fn what_makes_pods_is_explained_by_its_template() {
    let node = node(json!({}));
    let template = json!({
        "metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "blue"}}, "spec": {"containers": []},
    });
    let object = |kind: &str, more: Value| {
        let mut object = json!({"kind": kind, "metadata": {"name": "web", "namespace": "team-a"}});
        object.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        object
    };
    let kinds =
        ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"];
    let mut objects: Vec<Value> =
        kinds.iter().map(|kind| object(kind, json!({"spec": {"template": template}}))).collect();
    objects.push(object(
        "CronJob",
        json!({"spec": {"jobTemplate": {"spec": {"template": template}}}}),
    ));
    let bare = object("PodTemplate", json!({"template": template}));
    let nested = json!({"kind": "List", "items": [{"kind": "PodTemplateList", "items": [bare]}]});
    let all = [json!({"kind": "List", "items": objects}), nested, object("Service", json!({}))];
    let stream = all.map(|document| document.to_string()).join("\n---\n");
    let said = braid(&node, &["explain", "-"]).input(&stream).run().assert_status(0);
    for kind in kinds.into_iter().chain(["CronJob", "PodTemplate"]) {
        let line = format!("pod team-a/web of {kind}: would be attached\n");
        assert!(said.stdout.contains(&line), "{kind}: {}", said.stdout);
    }
    assert_eq!(said.stdout.matches("net1").count(), 8, "{}", said.stdout);
}

/// A pod that asks for its network in a place that is not read runs without it.
#[test]
fn annotations_that_ask_for_nothing_are_warned_of() {
    let node = node(json!({}));
    let said =
        |manifest: Value| braid(&node, &["explain", "-"]).input(&manifest.to_string()).run().stdout;
    let misspelt = said(json!({
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "team-a", "annotations": {"k8s.cni.cncf.io/networks": "blue"}},
    }));
    let expected = "warning: annotation \"k8s.cni.cncf.io/networks\" asks for nothing: did you \
                    mean \"k8s.v1.cni.cncf.io/networks\"?\n";
    assert_eq!(misspelt.matches(expected).count(), 1, "{misspelt}");
    let refused = said(json!({
        "kind": "Pod", "metadata": {"name": "web", "namespace": "team-a", "annotations": {
            "networks": "blue", "k8s.v1.cni.cncf.io/networks": "bleu",
        }},
    }));
    assert!(
        refused.contains("refused") && refused.contains("annotation \"networks\" asks"),
        "{refused}"
    );
    let misplaced = said(json!({
        "kind": "Deployment", "spec": {"template": {"spec": {"containers": []}}},
        "metadata": {"name": "web", "namespace": "team-a", "annotations": {"k8s.v1.cni.cncf.io/networks": "blue"}},
    }));
    assert!(misplaced.contains("put it into spec.template.metadata.annotations"), "{misplaced}");
    let twice = braid(&node, &["explain", "-"]).input("kind: Pod\nkind: Pod\n").run();
    assert!(
        twice.stderr.contains("line 2, column 1: key \"kind\" is given twice"),
        "{}",
        twice.stderr
    );
}

#[test]
fn what_add_would_take_away_or_miss_is_foreseen() {
    let node = node(json!({}));
    node.recorders(["bridge", "bond", "macvlan", "host-local"]);
    let ipam = json!({"type": "host-local", "subnet": "fd00::/64", "routes": [{"dst": "::/0"}, {"dst": "fd01::/64"}]});
    node.define("team-a", "gw", json!({"type": "bridge", "isDefaultGateway": true, "ipam": ipam}));
    let halves = json!([{"dst": "0.0.0.0/1"}, {"dst": "128.0.0.0/1"}]);
    let ipam = json!({"type": "host-local", "subnet": "10.9.0.0/24", "routes": halves});
    node.define("team-a", "wide", json!({"type": "bridge", "ipam": ipam}));
    node.define(
        "team-a",
        "inner",
        json!({"type": "macvlan", "master": "net5", "linkInContainer": true}),
    );
    let links = json!([{"name": "net1"}, {"name": "net9"}]);
    node.define(
        "team-a",
        "bond",
        json!({"type": "bond", "linksInContainer": true, "links": links}),
    );
    let said = explain(&node, "gw,wide,inner,bond").assert_status(0).stdout;
    let route = |network: &str, interface: &str, routes: &str| {
        format!(
            "network \"team-a/{network}\" makes a default route on {interface} ({routes}) that the \
             pod does not ask"
        )
    };
    assert!(said.contains(&route("gw", "net1", "isDefaultGateway, ::/0")), "{said}");
    assert!(said.contains(&route("wide", "net2", "0.0.0.0/1, 128.0.0.0/1")), "{said}");
    let missing = |network: &str, interface: &str, link: &str| {
        format!(
            "network \"team-a/{network}\" builds {interface} on the pod's interface \"{link}\", \
             which nothing"
        )
    };
    assert!(said.contains(&missing("inner", "net3", "net5")), "{said}");
    assert!(said.contains(&missing("bond", "net4", "net9")), "{said}");
    assert!(!said.contains(&missing("bond", "net4", "net1")), "{said}");
    let asked = r#"[{"name": "gw", "default-route": ["10.0.0.1"]}, {"name": "inner", "interface": "data0"}]"#;
    let said = explain(&node, asked).assert_status(0).stdout;
    // The pod has moved IPv4 alone.
    assert!(said.contains(&route("gw", "net1", "::/0")), "{said}");
    let asked = r#"[{"name": "gw", "default-route": [], "interface": "net5"}, {"name": "inner"}]"#;
    let said = explain(&node, asked).assert_status(0).stdout;
    assert!(!said.contains("warning"), "{said}");
}

/// The pools that addresses would come from; or what ADD would say, before a pod hears of it.
#[test]
fn cluster_wide_addresses_are_foreseen() {
    let pool = "asks the API: GET and PATCH address pool \"kube-system/10.9.0.0-20\", range \
                10.9.0.1-10.9.15.254, for net1";
    for (manifests, has_kubeconfig, expected) in [
        (vec!["rbac.yaml", "rbac-pods.yaml", "rbac-addresses.yaml"], true, pool),
        (
            vec!["rbac.yaml", "rbac-pods.yaml"],
            true,
            "no right to patch ippools.whereabouts.cni.cncf.io",
        ),
        (vec!["rbac.yaml", "rbac-pods.yaml"], false, "no \"kubernetes.kubeconfig\" is configured"),
    ] {
        let server = ApiServer::with(Setup { manifests, ..Setup::default() });
        let kubeconfig = server.usual_kubeconfig();
        let node = node(json!({"kubeconfig": kubeconfig, "builtinPlugins": "prefer"}));
        let mut ipam = json!({"type": "whereabouts", "range": "10.9.0.0/20"});
        if has_kubeconfig {
            ipam["kubernetes"] = json!({"kubeconfig": kubeconfig});
        }
        node.define("team-a", "lan", json!({"type": "bridge", "bridge": "lan0", "ipam": ipam}));
        let networks = json!({"k8s.v1.cni.cncf.io/networks": "lan"});
        server.add_pod("team-a", "web", "u-1", networks);
        let said = explain_pod(&node, "team-a/web");
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(expected), "{words}");
        assert_eq!(words.contains("would be attached"), expected == pool, "{words}");
        let writes = server.lines().into_iter().filter(|line| line.starts_with("PATCH"));
        assert_eq!(writes.collect::<Vec<_>>(), Vec::<String>::new());
    }
}
