//! What is refused in the plan runs no plugin, and one broken file breaks nothing else.

use serde_json::json;

use crate::node::{NOTHING, Node};

#[test]
fn a_refused_plan_runs_no_plugin_and_leaves_nothing() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.network("red", json!({}));
    node.define("team-a", "no-plugin", json!({"type": "absent"}));
    node.define("team-a", "no-ipam", json!({"type": "blue", "ipam": {"type": "absent-ipam"}}));
    node.define("team-a", "no-master", json!({"type": "macvlan", "master": "eth9"}));
    node.define("team-a", "bad-version", json!({"cniVersion": "9.9.9", "type": "blue"}));
    node.define("team-a", "bad-args", json!({"type": "blue", "args": 7}));
    node.define("team-a", "empty", json!({"name": "empty", "plugins": []}));
    node.define("team-b", "theirs", json!({"type": "blue"}));
    let pod = node.pod("team-a", "web");
    pod.ip("link add data0 type bridge");
    let before = node.dump();
    let refused: [(u64, &str, &str); 24] = [
        (7, "blue,absent", "team-a/absent"),
        (7, "blue,bleu", "bleu"),
        (7, "blue,team-b/theirs", "team-b/theirs"),
        (7, "blue,no-plugin", "\"absent\" is not installed"),
        (7, "blue,no-ipam", "\"absent-ipam\" is not installed"),
        (7, "blue,no-master", "eth9"),
        (1, "blue,bad-version", "9.9.9"),
        (7, "blue,empty", "no plugin is named: a network has a \"type\", or \"plugins\""),
        (7, "blue,red@eth0", "the pod's primary interface"),
        (7, "blue,red@data0", "already has an interface"),
        (7, "blue@x0,red@x0", "x0"),
        (7, "blue,", "networks"),
        (7, "blue@", "networks"),
        (7, "Blue", "networks"),
        (7, "[null]", "networks"),
        (7, "[{\"name\": \"blue\"", "networks"),
        (7, "[{\"name\": \"blue\", \"ipz\": []}]", "ips"),
        (7, "[{\"name\": \"blue\", \"ips\": [\"10.0.0.300\"]}]", "10.0.0.300"),
        (
            7,
            "[{\"name\": \"blue\", \"portMappings\": [{\"hostPort\": 1, \"containerPort\": 1}]}]",
            "portMappings",
        ),
        (7, "[{\"name\": \"blue\", \"bandwidth\": {\"ingressRate\": 1}}]", "bandwidth"),
        (
            7,
            "[{\"name\": \"blue\", \"infiniband-guid\": \"24:8a:07:03:00:8d:ae:2f\"}]",
            "infinibandGUID",
        ),
        (7, "[{\"name\": \"bad-args\", \"cni-args\": {\"a\": 1}}]", "args"),
        (
            7,
            "[{\"name\": \"blue\", \"default-route\": []}, {\"name\": \"red\", \"default-route\": \
             []}]",
            "default-route",
        ),
        (7, "[{\"name\": \"blue\", \"mac\": \"01:00:00:00:00:00\"}]", "mac"),
    ];
    for (code, networks, said) in refused {
        for call in [pod.add(node.delegating()), pod.add_chained(json!({}))] {
            call.networks(networks).run().assert_error(code, ["pod team-a/web", said]);
        }
        assert_eq!(node.calls_in_order(), NOTHING, "{networks}");
    }
    let strict = json!({"capabilityPolicy": "strict"});
    let asked = json!([{"name": "blue", "ips": ["10.9.0.2/24"]}]);
    pod.add_chained(strict).networks_json(asked).run().assert_error(7, ["{\"ips\": true}"]);
    assert_eq!(node.calls_in_order(), NOTHING);
    assert_eq!(node.state("records"), NOTHING);
    let left: Vec<_> = node.leftovers(&before);
    assert_eq!(left, NOTHING);
}

#[test]
fn one_broken_file_breaks_nothing_else() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.write("braid.d/00-broken.yaml", "kind: [");
    node.write("braid.d/01-broken.conf", "{");
    node.write("braid.d/02-broken.json", "{\"kind\": 7}");
    let outcome = node.pod("team-a", "web").add_chained(json!({})).networks("blue").run();
    outcome.assert_success();
    for file in ["00-broken.yaml", "01-broken.conf", "02-broken.json"] {
        assert!(outcome.stderr.contains(file), "{file}: {}", outcome.stderr);
    }
}

#[test]
fn definitions_are_found_in_the_order_of_the_standard() {
    let node = Node::new();
    for name in ["manifest", "list", "single"] {
        node.recorder(name);
    }
    let pod = node.pod("team-a", "web");
    let chosen = || {
        node.forget_calls();
        node.pod("team-a", "web").add_chained(json!({})).networks("blue").run().assert_success();
        node.calls_in_order()
    };
    pod.add_chained(json!({}))
        .networks("blue")
        .run()
        .assert_error(7, ["team-a/blue", &node.path_text("braid.d")]);
    node.write("braid.d/10.conf", r#"{"cniVersion": "1.0.0", "name": "blue", "type": "single"}"#);
    assert_eq!(chosen(), ["ADD single net1"]);
    node.write(
        "braid.d/20.conflist",
        r#"{"cniVersion": "1.0.0", "name": "blue", "plugins": [{"type": "list"}]}"#,
    );
    assert_eq!(chosen(), ["ADD list net1"]);
    // A manifest without a configuration stands for the file.
    let manifest = "kind: NetworkAttachmentDefinition\nmetadata: {name: blue, namespace: team-a}\n";
    node.write("braid.d/30.yaml", manifest);
    assert_eq!(chosen(), ["ADD list net1"]);
    node.write(
        "braid.d/30.yaml",
        &format!("{manifest}spec: {{config: '{{\"type\": \"manifest\"}}'}}\n"),
    );
    assert_eq!(chosen(), ["ADD manifest net1"]);
    // Name and version are filled in.
    let sent = node.only_call("ADD", "manifest").stdin().clone();
    assert_eq!((&sent["name"], &sent["cniVersion"]), (&json!("blue"), &json!("1.0.0")));
}
