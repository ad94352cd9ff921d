//! `braid attach`.

use serde_json::json;

use super::{attach, braid, detach, must_end_clean, must_have, node, running};
use crate::node::NOTHING;

#[test]
fn a_running_pod_gets_a_network_and_every_verb_knows_it() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue");
    node.forget_calls();
    let said = attach(&node, &["red@data0", "blue"]).assert_status(0);
    assert_eq!(said.stdout, "attached: team-a/red on data0\nattached: team-a/blue on net2\n");
    assert_eq!(node.calls_in_order(), ["ADD red data0", "ADD blue net2"]);
    must_have(&web, &["eth0", "net1", "data0", "net2"]);
    assert_eq!(web.addresses("data0"), ["10.8.0.2/24"]);
    let call = node.only_call("ADD", "red");
    assert_eq!(call.variable("CNI_CONTAINERID"), web.container);
    assert_eq!(call.variable("CNI_ARGS"), web.args());
    assert_eq!(call.variable("CNI_NETNS"), web.netns_path());
    let shown = braid(&node, &["show", "team-a/web", "-o", "json"]).assert_status(0).json();
    let attachments = shown["records"][0]["attachments"].as_array().unwrap();
    let sources: Vec<_> = attachments.iter().map(|it| it["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["node", "annotation", "attach", "attach"]);
    node.forget_calls();
    web.check().run().assert_success();
    assert_eq!(node.calls_in_order().len(), 4, "{:?}", node.calls_in_order());
    node.forget_calls();
    must_end_clean(&web, &before);
    assert_eq!(
        node.calls_in_order(),
        ["DEL blue net2", "DEL red data0", "DEL blue net1", "DEL primary eth0"]
    );
}

#[test]
fn the_json_form_and_a_container_are_understood() {
    let node = node();
    let web = running(&node, "");
    let asked = json!([{"name": "blue", "interface": "data7", "cni-args": {"x": 1}}]).to_string();
    let id = web.container.get(..10).unwrap();
    braid(&node, &["attach", "--container", id, &asked]).assert_status(0);
    assert_eq!(node.only_call("ADD", "blue").stdin()["args"]["cni"], json!({"x": 1}));
    must_have(&web, &["eth0", "data7"]);
    braid(&node, &["detach", "--container", id, "data7"]).assert_status(0);
    must_have(&web, &["eth0"]);
}

/// Nothing is changed by what cannot be.
#[test]
fn what_an_add_would_refuse_is_refused_in_the_same_words() {
    let node = node();
    node.define("ops", "storage", json!({"cniVersion": "1.0.0", "type": "blue"}));
    let web = running(&node, "blue");
    let record = std::fs::read(node.path("state/records").join(format!("{}@eth0", web.container)));
    node.forget_calls();
    let cases = [
        (&["red@eth0"][..], "it is the pod's primary interface"),
        (&["red@net1"], "the sandbox already has an interface of that name"),
        (&["yellow"], "network \"team-a/yellow\" is not defined on this node"),
        (&["red,"], "must be [namespace/]name[@interface]"),
        (&["red", "[{\"name\": \"red\"}]"], "the JSON form is one list"),
        (&["ops/storage"], "namespace"),
        (
            &["[{\"name\": \"red\", \"mac\": \"02:00:00:00:00:01\"}, {\"name\": \"blue\", \
                 \"bandwidth\": {\"ingressRate\": 1}}]"],
            "cannot do \"bandwidth\"",
        ),
    ];
    for (networks, words) in cases {
        let said = attach(&node, networks).assert_status(1);
        assert!(said.stderr.contains(words), "{networks:?}: {}", said.stderr);
    }
    assert_eq!(node.calls_in_order(), NOTHING);
    let now = std::fs::read(node.path("state/records").join(format!("{}@eth0", web.container)));
    assert_eq!(now.unwrap(), record.unwrap());
    must_have(&web, &["eth0", "net1"]);
}

#[test]
fn a_pod_that_is_not_there_is_named() {
    let node = node();
    let _web = running(&node, "blue");
    let said = braid(&node, &["attach", "team-a/wep", "blue"]).assert_status(1);
    assert!(said.stderr.contains("did you mean \"team-a/web\"?"), "{}", said.stderr);
    let said = braid(&node, &["attach", "web", "blue"]).assert_status(1);
    assert!(said.stderr.contains("no record of \"default/web\""), "{}", said.stderr);
    let said = braid(&node, &["attach", "team-a/web"]).assert_status(1);
    assert!(said.stderr.contains("name a NETWORK as well"), "{}", said.stderr);
}

/// All or none, and the pod as it was.
#[test]
fn an_attach_that_fails_is_undone() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue");
    node.script("green", json!({"ADD": {"link": true, "error": {"code": 102, "msg": "no more"}}}));
    node.forget_calls();
    let said = attach(&node, &["red", "green"]).assert_status(1);
    assert!(
        said.stderr.contains("pod team-a/web: network \"team-a/green\" on net3")
            && said.stderr.contains("no more"),
        "{}",
        said.stderr
    );
    assert_eq!(
        node.calls_in_order(),
        ["ADD red net2", "ADD green net3", "DEL green net3", "DEL red net2"]
    );
    must_have(&web, &["eth0", "net1"]);
    node.script("green", json!({}));
    attach(&node, &["green"]).assert_status(0);
    must_have(&web, &["eth0", "net1", "net2"]);
    must_end_clean(&web, &before);
}

/// What cannot be undone stays recorded, and the pod is not expected to have it.
#[test]
fn an_attach_that_cannot_be_undone_is_left_to_del_and_repair() {
    let node = node();
    let before = node.dump();
    let web = running(&node, "blue");
    let broken = json!({"error": {"code": 102, "msg": "broken"}});
    node.script("green", json!({"ADD": {"link": true, "exit": 1}, "DEL": broken}));
    attach(&node, &["green"]).assert_status(1);
    web.check().run().assert_success();
    let listed = braid(&node, &["list", "-o", "json"]).assert_status(0).json();
    assert_eq!(listed["records"][0]["attachments"][2]["kernel"], "unfinished");
    // The next change has to end it, too.
    let said = attach(&node, &["red"]).assert_status(1);
    assert!(said.stderr.contains("broken"), "{}", said.stderr);
    node.script("green", json!({}));
    braid(&node, &["repair", "team-a/web"]).assert_status(0);
    must_have(&web, &["eth0", "net1"]);
    attach(&node, &["red"]).assert_status(0);
    must_have(&web, &["eth0", "net1", "net2"]);
    must_end_clean(&web, &before);
}

/// As many as may be asked for at the start, and no more.
#[test]
fn a_pod_has_no_more_networks_than_it_may_start_with() {
    let node = node();
    let web = running(&node, &["blue"; 15].join(","));
    attach(&node, &["blue"]).assert_status(0);
    let said = attach(&node, &["blue"]).assert_status(1);
    assert!(said.stderr.contains("may have 16 (maxNetworks)"), "{}", said.stderr);
    detach(&node, "net3").assert_status(0);
    attach(&node, &["blue"]).assert_status(0);
    assert!(web.links().contains(&"net3".to_owned()), "the free name is taken");
}
