//! Definitions from the API, and who may read them.

use serde_json::json;

use super::Cluster;
use super::with_uid;

/// NPWG 1.3, sections 3.4.1 and 3.4.2.
#[test]
fn definitions_come_from_the_api() {
    let cluster = Cluster::usual();
    let uid = cluster.create_pod("web", json!({}));
    let pod = cluster.sandbox("web");
    cluster.add(&pod, &uid, json!({})).networks("blue,red,blue").run().assert_success();
    assert_eq!(
        cluster.node.calls_in_order(),
        ["ADD primary eth0", "ADD blue net1", "ADD red net2", "ADD blue net3"]
    );
    assert_eq!(
        cluster.node.only_call("ADD", "red").stdin()["name"],
        "red",
        "the definition's name"
    );
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(cluster.relay.connections(), 1, "CHECK and DEL ask nothing");
}

#[test]
fn a_pod_that_asks_for_nothing_costs_no_connection() {
    let cluster = Cluster::usual();
    let pod = cluster.sandbox("web");
    pod.add(cluster.config(json!({}))).run().assert_success();
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    let chained = cluster.sandbox("plain");
    chained.add_chained(json!({"kubeconfig": cluster.kubeconfig()})).run().assert_success();
    chained.del().run().assert_success();
    for verb in ["GC", "STATUS"] {
        let config =
            cluster.config(json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []}));
        cluster.node.call(verb, config).run().assert_success();
    }
    assert_eq!(cluster.relay.connections(), 0);
}

#[test]
fn an_unknown_network_names_those_that_there_are_the_nearest_first() {
    let cluster = Cluster::granted(&["rbac.yaml", "rbac-names.yaml"]);
    for name in ["yellow", "blue", "blue-storage"] {
        cluster.define_as(name, json!({}), &json!({"config": "{}"}));
    }
    let pod = cluster.sandbox("web");
    let call = pod.add(cluster.config(json!({}))).networks("bleu");
    let unknown = format!(
        "network \"{}\" is not defined in the cluster or on this node",
        cluster.label("bleu")
    );
    let names = format!("namespace {} has blue, ", cluster.namespace());
    let error = call.run().assert_error(7, [&unknown, &names]);
    assert!(error["msg"].as_str().unwrap().contains("yellow"), "{error:?}");
    assert!(cluster.node.calls().is_empty(), "nothing was attached");
}

/// The message names nothing that Braid has no right to list, and says what can be done all the
/// same.
#[test]
fn without_the_right_to_list_no_name_is_shown() {
    let cluster = Cluster::usual();
    let pod = cluster.sandbox("web");
    let call = pod.add(cluster.config(json!({}))).networks("bleu");
    let error = call.run().assert_error(7, ["create it with kubectl apply"]);
    assert!(!error["msg"].as_str().unwrap().contains("blue"), "{error:?}");
}

/// NPWG 1.3, sections 3.4.1 and 3.2.4.
#[test]
fn a_definition_without_a_configuration_stands_for_a_file_of_the_node() {
    let cluster = Cluster::new();
    cluster.define_as("shared", json!({}), &json!({}));
    cluster.node.write(
        "braid.d/shared.conf",
        r#"{"cniVersion": "1.0.0", "name": "shared", "type": "red"}"#,
    );
    let pod = cluster.sandbox("web");
    pod.add(cluster.config(json!({}))).networks("shared").run().assert_success();
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "ADD red net1"]);
}

/// Networks of the node's own configuration are definitions of `multusNamespace`; CHECK, STATUS and
/// DEL need no API for them.
#[test]
fn the_nodes_networks_may_be_definitions_of_the_cluster() {
    let cluster = Cluster::usual();
    cluster.define("primary", json!({"addresses": ["10.1.0.2/24"]}));
    let config = cluster.config(json!({
        "delegates": [], "clusterNetwork": "primary", "defaultNetworks": ["red"], "statusPolicy": "never",
    }));
    let pod = cluster.sandbox("web");
    pod.add(config.clone()).run().assert_success();
    cluster.relay.cut();
    pod.check().run().assert_success();
    cluster.node.call("STATUS", config).run().assert_success();
    pod.del().run().assert_success();
    let calls =
        ["ADD", "CHECK"].map(|verb| [format!("{verb} primary eth0"), format!("{verb} red net1")]);
    let dels = ["DEL red net1".to_owned(), "DEL primary eth0".to_owned()];
    assert_eq!(cluster.node.calls_in_order(), [calls.concat(), dels.to_vec()].concat());
}

/// A node that is NotReady would never see the ADD that fetches the definition.
#[test]
fn status_does_not_wait_for_the_first_add_to_fetch_the_primary() {
    let cluster = Cluster::usual();
    let config = json!({"kubeconfig": cluster.kubeconfig(), "clusterNetwork": "main"});
    cluster.node.call("STATUS", config).run().assert_success();
    assert_eq!(cluster.relay.connections(), 0);
    let alone = json!({"clusterNetwork": "main"});
    cluster.node.call("STATUS", alone).run().assert_error(50, ["main"]);
}

/// The server's own words for a refusal are understood, whatever server it is.
#[test]
fn a_missing_right_comes_with_the_command_that_grants_it() {
    let cluster = Cluster::granted(&[]);
    let account = format!("system:serviceaccount:{}:braid", cluster.namespace());
    let binding = format!("--serviceaccount={}:braid", cluster.namespace());
    let pod = cluster.sandbox("web");
    let add = || pod.add(cluster.config(json!({}))).networks("blue").run();
    add().assert_error(
        11,
        [&format!("user \"{account}\" may not get network-attachment-definitions"), "so far"],
    );
    cluster.node.age_refusals();
    add().assert_error(
        7,
        [
            &format!(
                "user \"{account}\" may not get network-attachment-definitions.k8s.cni.cncf.io"
            ),
            "grant it with: kubectl create clusterrole",
            &binding,
        ],
    );
    let silent = pod.add(cluster.config(json!({}))).without_annotations();
    silent.run().assert_error(7, ["may not get pods", "--verb=get --resource=pods"]);
    assert!(cluster.node.calls().is_empty(), "nothing was attached");
}

#[test]
fn a_token_that_is_none_is_named_with_its_file() {
    let cluster = Cluster::usual();
    let kubeconfig = cluster.server.kubeconfig(cluster.relay.address(), json!({"token": "s3cret"}));
    let pod = cluster.sandbox("web");
    let call = pod.add(cluster.config(json!({"kubeconfig": kubeconfig}))).networks("blue");
    let named = format!("does not accept the token in {}", kubeconfig.display());
    let error = call.run().assert_error(7, [&named]);
    assert!(!error["msg"].as_str().unwrap().contains("s3cret"));
}

#[test]
fn the_pod_is_fetched_if_the_runtime_is_silent() {
    let cluster = Cluster::granted(&["rbac.yaml", "rbac-pods.yaml"]);
    cluster.define("blue", json!({}));
    let uid = cluster.create_pod("web", json!({"k8s.v1.cni.cncf.io/networks": "blue"}));
    let pod = cluster.sandbox("web");
    let outcome = cluster.add(&pod, &uid, json!({})).without_annotations().run();
    outcome.assert_success();
    assert!(
        outcome.stderr.contains("until then every pod costs a request to the API"),
        "{}",
        outcome.stderr
    );
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "ADD blue net1"]);
    assert_eq!(cluster.entries("web").len(), 2);
    pod.del().run().assert_success();
    let call = cluster.add(&pod, "another", json!({})).without_annotations();
    call.run().assert_error(11, ["another pod of this name"]);
    let absent = cluster.sandbox("absent");
    let call = cluster.add(&absent, "another", json!({})).without_annotations();
    call.run().assert_error(11, ["does not exist"]);
}

/// A static pod's UID is a hash of its manifest, and the API has its mirror under another.
#[test]
fn the_mirror_of_a_static_pod_is_taken_for_it() {
    let cluster = Cluster::granted(&["rbac.yaml", "rbac-pods.yaml"]);
    cluster.define("blue", json!({}));
    let annotations =
        json!({"k8s.v1.cni.cncf.io/networks": "blue", "kubernetes.io/config.source": "file"});
    cluster.create_pod("etcd-n1", annotations);
    let pod = cluster.sandbox("etcd-n1");
    let call = pod.add(cluster.config(json!({}))).without_annotations();
    with_uid(call, &pod.args(), "5d41402abc4b2a76").run().assert_success();
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "ADD blue net1"]);
    assert_eq!(cluster.entries("etcd-n1").len(), 2, "its status is written without a UID");
}
