//! Who may change a pod's primary: the default-network annotation, and CNI-Genie's.

use serde_json::{Value, json};

use super::{Cluster, policy};
use crate::call::DEFAULT_NETWORK;
use crate::node::text;

#[test]
fn the_default_network_annotation_is_no_way_around() {
    let cluster = Cluster::new();
    cluster.publish("team-b", "real", json!({}), Some(json!({"type": "blue"})));
    cluster.publish("kube-system", "fast", json!({}), Some(json!({"type": "blue"})));
    let ask = |name: &str, more: Value| {
        let pod = cluster.node.pod("team-a", "web");
        let outcome = pod.add(cluster.config(more)).default_network(name).run();
        text(&outcome.json()["msg"]).to_owned()
    };
    assert!(ask("team-b/real", policy()).contains("is not shared with namespace team-a"));
    assert!(ask("fast", policy()).contains("can add it to policy.primaryOverride"));
    let mut given = policy();
    given["primaryOverride"] =
        json!([{"podNamespaces": ["team-a"], "definitions": ["kube-system/fast"]}]);
    assert_eq!(ask("fast", given), "");
    assert_eq!(cluster.node.calls_in_order(), ["ADD blue eth0"]);
}

/// A definition of `multusNamespace` that is there and one that is not are one and the same to a
/// pod that may have neither.
#[test]
fn a_refused_primary_tells_nothing_of_what_there_is() {
    let cluster = Cluster::new();
    for name in ["fast", "fast-too"] {
        cluster.publish("kube-system", name, json!({}), Some(json!({"type": "blue"})));
    }
    cluster.publish("kube-system", "broken", json!({}), Some(json!({"plugins": []})));
    cluster.publish("kube-system", "empty", json!({}), None);
    let said = |name: &str| {
        let pod = cluster.node.pod("team-a", "web");
        let outcome = pod.add(cluster.config(policy())).default_network(name).run();
        text(&outcome.json()["msg"]).replace(&format!("/{name}\""), "/NAME\"")
    };
    let expected = "pod team-a/web: network \"kube-system/NAME\" may not be the primary of pods of \
                    namespace team-a: the node's administrator can add it to \
                    policy.primaryOverride; a name without a namespace is looked for in \
                    kube-system here: for one of the pod's own namespace write \"team-a/NAME\"";
    for name in ["fast", "broken", "empty", "fats"] {
        assert_eq!(said(name), expected, "{name}");
    }
}

/// A cluster with networks of the node in its conf directory, and the configuration that reads
/// `cni`.
fn genie() -> Cluster {
    let cluster = Cluster::new();
    cluster.node.recorders(["calico", "weave-net"]);
    let calico = json!({"cniVersion": "1.0.0", "name": "k8s-pod-network", "plugins": [
        {"type": "calico", "addresses": ["10.2.0.2/24"], "link": true}
    ]});
    cluster.node.write("net.d/10-calico.conflist", &calico.to_string());
    let weave = json!({
        "cniVersion": "1.0.0", "name": "weave", "type": "weave-net", "addresses": ["10.3.0.2/24"], "link": true,
    });
    cluster.node.write("net.d/20-weave.conf", &weave.to_string());
    cluster.node.write("net.d/00-genie.conf", r#"{"name": "genie", "type": "genie"}"#);
    cluster
}

impl Cluster {
    fn heeding_genie(&self, policy: Value) -> Value {
        let mut config = self.config(policy);
        config["genieAnnotation"] = json!(true);
        config
    }
}

#[test]
fn genies_annotation_chooses_the_primary_and_more() {
    let cluster = genie();
    let pod = cluster.node.pod("team-a", "web");
    let call = pod.add(cluster.heeding_genie(Value::Null)).annotation("cni", "weave, calico");
    let result = call.run().assert_success();
    let names: Vec<&str> =
        result["interfaces"].as_array().unwrap().iter().map(|it| text(&it["name"])).collect();
    assert_eq!(names, ["eth0", "eth1"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        cluster.node.calls_in_order(),
        [
            "ADD weave-net eth0",
            "ADD calico eth1",
            "CHECK weave-net eth0",
            "CHECK calico eth1",
            "DEL calico eth1",
            "DEL weave-net eth0",
        ]
    );
    assert_eq!(cluster.decisions()[1]["network"], "calico");
    // Beside networks of the other annotation, and without `cni` being read.
    cluster.node.forget_calls();
    cluster.node.define("team-a", "lan", json!({"type": "blue"}));
    let both = cluster.node.pod("team-a", "both");
    let call =
        both.add(cluster.heeding_genie(Value::Null)).annotation("cni", "calico,k8s-pod-network");
    call.networks("lan").run().assert_success();
    assert_eq!(
        cluster.node.calls_in_order(),
        ["ADD calico eth0", "ADD calico eth1", "ADD blue net1"]
    );
    cluster.node.forget_calls();
    let deaf = cluster.node.pod("team-a", "deaf");
    deaf.add(cluster.config(Value::Null)).annotation("cni", "../calico").run().assert_success();
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0"]);
}

/// With the plugins that nodes have: each network answers on its own interface, and nothing is
/// left.
#[test]
fn genies_networks_carry_packets() {
    let cluster = Cluster::new();
    let node = &cluster.node;
    node.write("net.d/10-lan.conf", &node.bridge("lan0", "10.5.0.0/24 fd00:5::/64").to_string());
    let ptp = json!({"cniVersion": "1.0.0", "name": "link", "type": "ptp", "ipam": node.host_local("10.6.0.0/24")});
    node.write("net.d/20-link.conf", &ptp.to_string());
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    pod.add(cluster.heeding_genie(Value::Null))
        .annotation("cni", "bridge,link")
        .run()
        .assert_success();
    assert_eq!(pod.links(), ["eth0", "eth1"]);
    assert_eq!(pod.addresses("eth0"), ["10.5.0.2/24", "fd00:5::2/64"]);
    assert!(pod.addresses("eth1")[0].starts_with("10.6.0."), "{:?}", pod.addresses("eth1"));
    assert!(pod.pings("10.5.0.1") && pod.pings("10.6.0.1"));
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
}

#[test]
fn genies_annotation_is_under_the_rule_for_primaries() {
    let cluster = genie();
    let ask = |policy: Value, words: &str| {
        let pod = cluster.node.pod("team-a", "web");
        let outcome = pod.add(cluster.heeding_genie(policy)).annotation("cni", words).run();
        text(&outcome.json()["msg"]).to_owned()
    };
    let given = |names: Value| {
        let mut policy = policy();
        policy["primaryOverride"] = json!([{"podNamespaces": ["team-a"], "definitions": names}]);
        policy
    };
    let refused = |word: &str| {
        format!(
            "pod team-a/web: network \"{word}\" may not be the primary of pods of namespace \
             team-a: the node's administrator can add it to policy.primaryOverride"
        )
    };
    for word in ["calico", "k8s-pod-network", "absent", "genie"] {
        assert_eq!(ask(policy(), word), refused(word));
    }
    assert_eq!(ask(given(json!(["weave"])), "weave,calico"), refused("calico"));
    assert_eq!(ask(given(json!(["kube-system/calico"])), "calico"), refused("calico"));
    assert_eq!(cluster.node.calls_in_order(), Vec::<String>::new());
    assert_eq!(ask(given(json!(["k8s-pod-network"])), "calico"), "");
    assert_eq!(ask(given(json!(["calico"])), "calico"), "");
    assert_eq!(cluster.node.calls_in_order(), ["ADD calico eth0", "ADD calico eth0"]);
    let decisions: Vec<Value> = cluster.decisions();
    assert_eq!(decisions.len(), 9, "one line for each word that was decided on");
    assert_eq!(decisions[8]["allowedBy"], "policy.primaryOverride");
}

#[test]
fn genies_annotation_is_refused_if_it_makes_no_sense() {
    let cluster = genie();
    let pod = cluster.node.pod("team-a", "web");
    let ask = |words: &str| pod.add(cluster.heeding_genie(Value::Null)).annotation("cni", words);
    ask("absent").run().assert_error(7, ["annotation cni: ", "has no network \"absent\""]);
    ask("../calico")
        .run()
        .assert_error(7, ["annotation cni: element 1 is \"../calico\": must be the name"]);
    ask("calico,").run().assert_error(7, ["annotation cni: element 2 is \"\""]);
    ask("calico")
        .default_network("fast")
        .run()
        .assert_error(7, ["annotation cni: ", DEFAULT_NETWORK]);
    let chained = json!({"genieAnnotation": true, "delegates": null});
    let call = pod.add_chained(cluster.config(Value::Null)).with(chained);
    call.annotation("cni", "calico")
        .run()
        .assert_error(7, ["annotation cni: braid stands behind the primary"]);
    assert_eq!(cluster.node.calls_in_order(), Vec::<String>::new());
}

/// Only the record tells which primary a pod has: without it, DEL would run the node's own.
#[test]
fn a_chosen_primary_is_never_without_a_record() {
    let cluster = genie();
    cluster.publish("kube-system", "fast", json!({}), Some(json!({"type": "blue"})));
    cluster.node.write("state", "no directory");
    let pod = cluster.node.pod("team-a", "web");
    pod.add(cluster.config(Value::Null))
        .default_network("fast")
        .run()
        .assert_error(5, ["is no directory"]);
    let call = pod.add(cluster.heeding_genie(Value::Null)).annotation("cni", "calico");
    call.run().assert_error(5, ["is no directory"]);
    assert_eq!(cluster.node.calls_in_order(), Vec::<String>::new());
    pod.add(cluster.config(Value::Null)).run().assert_success();
}
