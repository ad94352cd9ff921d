//! The primary network of a delegating Braid: every way to name it, to wait for it and to replace
//! it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::call::addresses;
use crate::node::{NOTHING, Node};

fn chain_of_two() -> Value {
    json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [
        {"type": "primary", "addresses": ["10.1.0.2/24"]}, {"type": "meta"}
    ]})
}

/// A node whose primary is a chain of two plugins, in this file.
fn node_with_primary(file: &str) -> Node {
    let node = Node::new();
    node.recorders(["primary", "meta"]);
    node.write(file, &chain_of_two().to_string());
    node
}

/// Brings a pod up and down; every plugin of the primary's chain is run, with the whole of it.
fn assert_primary_is_run(node: &Node, cluster_network: &str) {
    let pod = node.pod("team-a", "web");
    let result = pod.add(json!({"clusterNetwork": cluster_network})).run().assert_success();
    assert_eq!(addresses(&result), ["10.1.0.2/24"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    let verbs =
        ["ADD primary", "ADD meta", "CHECK primary", "CHECK meta", "DEL meta", "DEL primary"];
    let expected: Vec<_> = verbs.iter().map(|call| format!("{call} eth0")).collect();
    assert_eq!(node.calls_in_order(), expected, "clusterNetwork {cluster_network}");
    assert!(node.calls().iter().all(|call| call.stdin()["name"] == "cluster"));
}

#[test]
fn the_primary_by_a_definitions_name() {
    let node = node_with_primary("unused");
    node.define("kube-system", "main", chain_of_two());
    assert_primary_is_run(&node, "main");
}

#[test]
fn the_primary_by_a_definitions_name_in_another_namespace() {
    let node = node_with_primary("unused");
    node.define("infra", "main", chain_of_two());
    let config = json!({"clusterNetwork": "main", "multusNamespace": "infra"});
    node.pod("team-a", "web").add(config).run().assert_success();
}

#[test]
fn the_primary_by_a_files_network_name() {
    assert_primary_is_run(&node_with_primary("net.d/10-x.conflist"), "cluster");
    assert_primary_is_run(&node_with_primary("braid.d/10-x.conflist"), "cluster");
}

#[test]
fn the_primary_by_its_file_or_directory() {
    let node = node_with_primary("elsewhere/10-x.conflist");
    assert_primary_is_run(&node, &node.path_text("elsewhere/10-x.conflist"));
    node.forget_calls();
    assert_primary_is_run(&node, &node.path_text("elsewhere"));
}

#[test]
fn the_primary_by_auto() {
    assert_primary_is_run(&node_with_primary("net.d/10-x.conflist"), "auto");
}

#[test]
fn a_primary_that_is_not_there_yet_is_worth_another_try() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    pod.add(json!({"clusterNetwork": "auto"}))
        .run()
        .assert_error(11, ["no primary network in", "net.d"]);
    pod.add(json!({"clusterNetwork": "absent"})).run().assert_error(11, ["absent"]);
    pod.del().run().assert_success();
}

#[test]
fn files_of_a_sub_directory_belong_to_the_chain() {
    let node = node_with_primary("net.d/10-x.conflist");
    node.recorder("late");
    node.write("net.d/cluster/20-late.conf", r#"{"type": "late", "vendor": 1}"#);
    node.pod("team-a", "web").add(json!({"clusterNetwork": "auto"})).run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0", "ADD meta eth0", "ADD late eth0"]);
    node.forget_calls();
    let mut alone = chain_of_two();
    alone["loadOnlyInlinedPlugins"] = json!(true);
    node.write("net.d/10-x.conflist", &alone.to_string());
    node.pod("team-a", "db").add(json!({"clusterNetwork": "auto"})).run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0", "ADD meta eth0"]);
}

#[test]
fn a_primary_that_rewrites_its_file_is_followed_and_pods_keep_theirs() {
    let node = node_with_primary("net.d/10-x.conflist");
    node.recorder("newer");
    let pod = node.pod("team-a", "web");
    pod.add(json!({"clusterNetwork": "auto"})).run().assert_success();
    node.write(
        "net.d/10-x.conflist",
        r#"{"cniVersion": "1.0.0", "name": "next", "plugins": [{"type": "newer"}]}"#,
    );
    node.pod("team-a", "db").add(json!({"clusterNetwork": "auto"})).run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        [
            "ADD primary eth0",
            "ADD meta eth0",
            "ADD newer eth0",
            "DEL meta eth0",
            "DEL primary eth0"
        ]
    );
}

#[test]
fn the_default_network_annotation_replaces_the_primary() {
    let node = Node::new();
    node.network("own", json!({"addresses": ["10.5.0.2/24"]}));
    node.recorder("special");
    node.define("kube-system", "special", json!({"type": "special", "addresses": ["10.6.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    let result = pod.add(node.delegating()).default_network("special").run().assert_success();
    assert_eq!(addresses(&result), ["10.6.0.2/24"]);
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD special eth0", "DEL special eth0"]);
    node.forget_calls();
    let call = node
        .pod("team-a", "db")
        .add(node.delegating())
        .default_network("team-a/own")
        .networks("own")
        .run();
    call.assert_success();
    assert_eq!(node.calls_in_order(), ["ADD own eth0", "ADD own net1"]);
}

#[test]
fn the_default_network_annotation_has_limits() {
    let node = Node::new();
    node.network("own", json!({}));
    node.recorder("green");
    node.define("team-b", "green", json!({"type": "green"}));
    let pod = node.pod("team-a", "web");
    let refused = |value: &str, said: &str| {
        pod.add(node.delegating()).default_network(value).run().assert_error(7, [said]);
    };
    refused("team-b/green", "team-b/green");
    refused("team-a/own,team-a/own", "more than one network");
    refused("team-a/own@eth1", "\"interface\"");
    refused("absent", "absent");
    pod.add_chained(json!({}))
        .default_network("team-a/own")
        .run()
        .assert_error(7, ["behind the primary network"]);
    assert_eq!(node.calls_in_order(), NOTHING);
}

#[test]
fn add_waits_for_the_readiness_file() {
    let node = Node::new();
    let mut config = node.delegating();
    config["readinessindicatorfile"] = json!(node.path("ready"));
    let pod = node.pod("team-a", "web");
    let call = pod.add(config).start();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(node.calls_in_order(), NOTHING);
    node.write("ready", "");
    call.wait().assert_success();
    assert_eq!(node.calls_in_order(), ["ADD primary eth0"]);
}

#[test]
fn add_does_not_wait_longer_than_it_may_and_status_not_at_all() {
    let node = Node::new();
    let mut config = node.delegating();
    config["readinessindicatorfile"] = json!(node.path("ready"));
    let status = node.call("STATUS", config.clone()).with(json!({"cniVersion": "1.1.0"})).run();
    status.assert_error(50, ["readinessindicatorfile"]);
    assert!(status.took < Duration::from_secs(15), "{:?}", status.took);
    config["readinessTimeout"] = json!("200ms");
    let pod = node.pod("team-a", "web");
    pod.add(config).run().assert_error(11, ["readinessindicatorfile", "pod team-a/web"]);
    // Deleting does not wait either.
    let deleted = pod.del().run();
    deleted.assert_success();
    assert!(deleted.took < Duration::from_secs(15), "{:?}", deleted.took);
}

#[test]
fn result_scope_primary_prints_the_primarys_entries_alone() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let mut config = node.delegating();
    config["resultScope"] = json!("primary");
    let pod = node.pod("team-a", "web");
    let result = pod.add(config).networks("blue").run().assert_success();
    assert_eq!(addresses(&result), ["10.1.0.2/24"]);
    assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(1));
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    node.only_call("DEL", "blue");
}

#[test]
fn a_result_of_the_primary_that_is_none_is_refused_before_anything_is_done() {
    let node = Node::new();
    node.network("blue", json!({}));
    for (result, said) in
        [(json!([]), "must be an object"), (json!({"cniVersion": "7.0.0"}), "7.0.0")]
    {
        let call =
            node.pod("team-a", "web").add(json!({})).prev_result(result).networks("blue").run();
        call.assert_error(6, ["pod team-a/web: prevResult: ", said]);
    }
    assert_eq!((node.calls_in_order(), node.state("records")), (vec![], vec![]));
}
