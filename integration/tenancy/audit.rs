//! The two modes of a policy, a policy that cannot be read, and what is written down.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{Cluster, policy};
use crate::node::text;

#[test]
fn an_unclear_policy_refuses_networks_and_nothing_else() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    let unclear = json!({"allowedSubnet": []});
    let refusal = cluster.refusal(unclear.clone(), "lan");
    assert!(
        refusal.contains("unknown key \"allowedSubnet\": did you mean \"allowedSubnets\"?"),
        "{refusal}"
    );
    let plain = cluster.node.pod("team-a", "plain");
    plain.add(cluster.config(unclear)).run().assert_success();
    plain.del().run().assert_success();
}

#[test]
fn audit_mode_lets_pods_run_and_writes_down_what_it_would_refuse() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    let pod = cluster.node.pod("team-a", "web");
    let audit = || cluster.config(json!({"mode": "audit", "allowedRequests": []}));
    let asked = json!([{"name": "lan", "interface": "data0"}]);
    pod.add(audit()).networks_json(asked).run().assert_success();
    // Isolation holds in audit mode too.
    let spy = cluster.node.pod("team-a", "spy");
    let call = spy.add(audit()).networks("team-b/lan");
    call.run().assert_error(7, ["is not shared with namespace team-a"]);
    let shown: Vec<(Value, Value)> = cluster
        .decisions()
        .into_iter()
        .map(|line| (line["decision"].clone(), line["rules"].clone()))
        .collect();
    let expected = [
        (json!("audited"), json!(["definition", "request"])),
        (json!("refused"), json!(["namespace"])),
    ];
    assert_eq!(shown, expected, "one line for each decision");
    let mode = fs::metadata(cluster.node.path("audit.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn an_audit_log_that_cannot_be_written_is_a_warning() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    fs::create_dir(cluster.node.path("audit.log")).unwrap();
    let pod = cluster.node.pod("team-a", "web");
    let outcome = pod.add(cluster.config(json!({"mode": "audit"}))).networks("lan").run();
    outcome.assert_success();
    let expected =
        format!("the audit log {} cannot be written: ", cluster.node.path_text("audit.log"));
    assert!(outcome.stderr.contains(&expected), "{}", outcome.stderr);
}

#[test]
fn every_decision_is_one_line() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"name": "team-a.lan", "type": "ptp"})));
    cluster.publish(
        "team-b",
        "lan",
        json!({"braid.io/allowed-namespaces": "team-a"}),
        Some(json!({"type": "blue"})),
    );
    cluster.node.recorder("ptp");
    let start = |policy: Value, networks: &str| {
        let pod = cluster.node.pod("team-a", "web");
        let _ = pod.add(cluster.config(policy)).networks(networks).run();
    };
    start(policy(), "lan,lan,team-b/lan");
    start(Value::Null, "team-b/lan,absent");
    start(policy(), "lan\u{1b}]0;x\u{7},");
    start(policy(), "");
    let decisions = cluster.decisions();
    let shown: Vec<String> = decisions
        .iter()
        .map(|line| {
            let words = [
                text(&line["decision"]),
                text(&line["network"]),
                text(&line["rules"][0]),
                text(&line["allowedBy"]),
            ];
            words.join(" | ")
        })
        .collect();
    let own = "the pod's own namespace";
    let shared = "shared by team-b (braid.io/allowed-namespaces)";
    assert_eq!(
        shown,
        [
            format!("allowed | team-a/lan |  | {own}; inside the fence of tenants' definitions"),
            format!("allowed | team-a/lan |  | {own}; inside the fence of tenants' definitions"),
            "refused | team-b/lan | definition | ".to_owned(),
            format!("allowed | team-b/lan |  | {shared}"),
            "refused | team-a/absent | definition | ".to_owned(),
            "refused |  | annotation | ".to_owned(),
        ]
    );
    for line in &decisions {
        assert_eq!(
            (&line["pod"], &line["uid"]),
            (&json!("team-a/web"), &json!("uid-web")),
            "{line}"
        );
        assert!(
            text(&line["time"]).ends_with('Z') && !text(&line["annotation"]).is_empty(),
            "{line}"
        );
    }
    let log = fs::read_to_string(cluster.node.path("audit.log")).unwrap();
    assert!(!log.contains('\u{1b}') && log.lines().count() == 6, "{log:?}");
}

/// The sentence that the runtime gets is the one that `kubectl describe pod` and the audit log
/// show.
#[test]
fn a_refusal_is_the_same_everywhere() {
    let cluster = Cluster::new();
    let refusal = cluster.refusal(policy(), "team-b/lan");
    let events = cluster.server.objects().all("events");
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["note"], &events[0]["reason"]),
        (&json!(refusal), &json!("NetworkRefused"))
    );
    let reason = format!("pod team-a/web: {}", text(&cluster.decisions()[0]["reason"]));
    assert_eq!(reason, refusal);
}
