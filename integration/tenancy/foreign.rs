//! Every way to a network that is another tenant's, or the node's.

use serde_json::{Value, json};

use super::{Cluster, UID, policy};
use crate::node::text;

/// Outside, what is there and what is not cannot be told apart: definitions of the API and the
/// node, valid and broken ones.
#[test]
fn another_tenants_network_looks_as_if_it_were_not_there() {
    let cluster = Cluster::new();
    cluster.publish("team-b", "real", json!({}), Some(json!({"type": "blue"})));
    cluster.publish(
        "team-b",
        "other",
        json!({"braid.io/allowed-namespaces": "team-c"}),
        Some(json!({"type": "blue"})),
    );
    cluster.publish("team-b", "broken", json!({}), Some(json!({"plugins": []})));
    cluster.publish("team-b", "uplink", json!({}), None);
    cluster.publish(
        "team-b",
        "vast",
        json!({}),
        Some(json!({"type": "blue", "x": "y".repeat(1 << 20)})),
    );
    cluster.publish(
        "team-b",
        "covered",
        json!({}),
        Some(json!({"type": "blue", "x": "y".repeat(1 << 20)})),
    );
    cluster.server.objects().put(json!({
        "kind": "NetworkAttachmentDefinition", "spec": {"config": {"type": "blue"}},
        "metadata": {"namespace": "team-b", "name": "object"},
    }));
    for name in ["manifest", "covered"] {
        cluster.node.define("team-b", name, json!({"type": "blue"}));
    }
    cluster.node.write("braid.d/10-uplink.conf", r#"{"name": "uplink", "type": "blue"}"#);
    for policy in [Value::Null, policy()] {
        for name in
            ["real", "other", "broken", "uplink", "manifest", "covered", "vast", "object", "absent"]
        {
            assert_eq!(
                cluster.refusal(policy.clone(), &format!("team-b/{name}")),
                format!(
                    "pod team-a/web: network \"team-b/{name}\" is not shared with namespace \
                     team-a: its owner can add braid.io/allowed-namespaces: team-a"
                )
            );
        }
    }
    assert_eq!(cluster.node.state("definitions"), Vec::<String>::new(), "no copy of it either");
    cluster.publish(
        "team-a",
        "vast",
        json!({}),
        Some(json!({"type": "blue", "x": "y".repeat(1 << 20)})),
    );
    let own = cluster.refusal(Value::Null, "vast");
    assert!(
        own.ends_with("a definition is at most 1 MiB"),
        "its own namespace hears what is wrong: {own}"
    );
}

/// A network of the node that is not shared and one that does not exist are one and the same,
/// directly and through an empty definition.
#[test]
fn an_empty_definition_opens_no_network_of_the_node() {
    let cluster = Cluster::new();
    cluster.node.write("braid.d/10-uplink.conf", r#"{"name": "uplink", "type": "blue"}"#);
    let said = |name: &str| cluster.refusal(policy(), name).replace(name, "NAME");
    let (direct, absent) = (said("uplink"), said("absent"));
    assert_eq!(direct, absent);
    assert!(direct.contains("policy.sharedNodeNetworks"), "{direct}");
    cluster.publish("team-a", "uplink", json!({}), None);
    cluster.publish("team-a", "absent", json!({}), None);
    let (through, to_none) = (said("uplink"), said("absent"));
    assert_eq!(through, to_none);
    let expected = "network \"team-a/NAME\" is defined without \"spec.config\"; and the node \
                    shares no network";
    assert!(
        through.contains(expected) && through.contains("policy.sharedNodeNetworks"),
        "{through}"
    );
    let pod = cluster.node.pod("team-c", "web");
    pod.add(cluster.config(policy())).networks("uplink").run().assert_success();
}

#[test]
fn service_accounts_are_learnt_from_the_api_or_refused() {
    let cluster = Cluster::new();
    let annotations = json!({"braid.io/allowed-namespaces": "team-a", "braid.io/allowed-service-accounts": "team-a/builder"});
    cluster.publish("team-b", "lan", annotations, Some(json!({"type": "blue"})));
    let start = |account: &str, uid: &str| {
        cluster.server.objects().put(json!({
            "kind": "Pod", "metadata": {"namespace": "team-a", "name": "web", "uid": UID},
            "spec": {"serviceAccountName": account},
        }));
        let pod = cluster.node.pod("team-a", "web");
        let args = format!("{};K8S_POD_UID={uid}", pod.args());
        let outcome = pod
            .add(cluster.config(Value::Null))
            .networks("team-b/lan")
            .env("CNI_ARGS", &args)
            .run();
        text(&outcome.json()["msg"]).to_owned()
    };
    assert_eq!(start("builder", UID), "");
    assert!(start("default", UID).contains("is not shared with service account team-a/default"));
    assert!(start("builder", "another").contains("the API has another pod of this name"));
}

/// The API is away, and copies of what it said stand in: the rules are those of the copies.
#[test]
fn an_outage_opens_no_network_that_was_closed() {
    let mut cluster = Cluster::new();
    cluster.publish("team-b", "closed", json!({}), Some(json!({"type": "blue"})));
    cluster.publish(
        "team-b",
        "open",
        json!({"braid.io/allowed-namespaces": "team-a"}),
        Some(json!({"type": "blue"})),
    );
    let narrow = json!({
        "braid.io/allowed-namespaces": "team-a", "braid.io/allowed-service-accounts": "team-a/builder",
    });
    cluster.publish("team-b", "narrow", narrow, Some(json!({"type": "blue"})));
    cluster.server.objects().put(json!({
        "kind": "Pod", "metadata": {"namespace": "team-a", "name": "web", "uid": UID},
        "spec": {"serviceAccountName": "builder"},
    }));
    let start = |cluster: &Cluster, networks: &str| {
        let pod = cluster.node.pod("team-a", "web");
        let args = format!("{};K8S_POD_UID={UID}", pod.args());
        let call = pod.add(cluster.config(Value::Null)).with(json!({"apiTimeout": "1s"}));
        let outcome = call.networks(networks).env("CNI_ARGS", &args).run();
        (outcome.json()["code"].as_u64(), text(&outcome.json()["msg"]).to_owned())
    };
    assert_eq!(start(&cluster, "team-b/open,team-b/narrow"), (None, String::new()));
    // Its owner looked at the closed one, so that there is a copy of it on the node.
    let owner = cluster.node.pod("team-b", "owner");
    owner.add(cluster.config(Value::Null)).networks("closed").run().assert_success();
    assert_eq!(
        cluster.node.state("definitions"),
        ["team-b_closed", "team-b_narrow", "team-b_open"]
    );
    cluster.server.stop();
    assert_eq!(start(&cluster, "team-b/open"), (None, String::new()));
    cluster.node.define("team-b", "manifest", json!({"type": "blue"}));
    let said = |name: &str| {
        let (code, said) = start(&cluster, &format!("team-b/{name}"));
        (code, said.replace(&format!("/{name}\""), "/NAME\""))
    };
    let (code, closed) = said("closed");
    assert!(code == Some(11) && closed.contains("there is no copy of it"), "{closed}");
    for name in ["absent", "manifest"] {
        assert_eq!(
            said(name),
            (code, closed.clone()),
            "{name}: what is there sounds as what is not"
        );
    }
    let (code, said) = start(&cluster, "team-b/narrow");
    assert!(code == Some(11) && said.contains("the pod's cannot be learnt"), "{said}");
}

/// Fourteen pods that were refused filled a state directory of 200 MB with copies of what they had
/// asked for.
#[test]
fn what_is_refused_leaves_no_copy() {
    let mut cluster = Cluster::new();
    let large = json!({"name": "team-a.large", "type": "blue", "filler": "x".repeat(200_000)});
    cluster.publish("team-a", "large", json!({}), Some(large));
    cluster.publish(
        "team-a",
        "small",
        json!({}),
        Some(json!({"name": "team-a.small", "type": "blue"})),
    );
    cluster.publish("team-b", "closed", json!({}), Some(json!({"type": "blue"})));
    cluster.publish(
        "team-a",
        "typo",
        json!({}),
        Some(json!({"name": "team-a.typo", "type": "bluee"})),
    );
    let policy = json!({"mode": "enforce", "allowedPlugins": {"blue": ["filler"], "bluee": []}});
    let start = |cluster: &Cluster, networks: &str| {
        let pod = cluster.node.pod("team-a", "web");
        pod.add(cluster.config(policy.clone())).networks(networks).run()
    };
    let refusals = [
        ("small,large", "such a one may have 65536"),
        ("team-b/closed", "is not shared with namespace team-a"),
        ("small,typo", "plugin \"bluee\" is not installed"),
    ];
    for (refused, why) in refusals {
        start(&cluster, refused).assert_error(7, [why]);
        assert_eq!(cluster.node.state("definitions"), Vec::<String>::new(), "{refused}");
    }
    start(&cluster, "small").assert_success();
    assert_eq!(cluster.node.state("definitions"), ["team-a_small"]);
    // What has changed since, and is refused now, does not open in an outage by its copy.
    let changed = json!({"name": "team-a.small", "type": "blue", "filler": "x".repeat(200_000)});
    cluster.publish("team-a", "small", json!({}), Some(changed));
    start(&cluster, "small").assert_error(7, ["such a one may have 65536"]);
    assert_eq!(cluster.node.state("definitions"), Vec::<String>::new());
    cluster.server.stop();
    start(&cluster, "small").assert_error(11, []);
}
