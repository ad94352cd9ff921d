//! What could not be torn down on a running pod keeps its interface and stays what it is, and keeps
//! no other network from the pod.

use serde_json::{Value, json};

use super::braid;
use super::watch::{Cluster, wait_for_links, wait_until};
use crate::pod::Pod;

/// A pod whose blue network on net1 is not in its annotation any more and resists. Its link is gone
/// already.
fn resisting(cluster: &Cluster) -> Pod<'_> {
    let web = cluster.running("web", "blue");
    cluster.node.script("blue", json!({"DEL": {"error": {"code": 102, "msg": "no such luck"}}}));
    cluster.annotate("web", "");
    wait_until("the failure is told of", || {
        cluster.events().iter().any(|(_, note)| note.contains("no such luck"))
    });
    if web.links().contains(&"net1".to_owned()) {
        web.ip("link del net1");
    }
    web
}

/// What the record has, as `braid list` tells it: interface and state.
fn recorded(cluster: &Cluster) -> Vec<(String, String)> {
    let listed = braid(&cluster.node, &["list", "-o", "json"]).json();
    let attachments = listed["records"][0]["attachments"].as_array().unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    attachments.iter().map(|it| (word(&it["interface"]), word(&it["kernel"]))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()
}

/// The DEL of what resists would take what is new under its name.
#[test]
fn nothing_is_attached_on_the_interface_of_what_resists() {
    let cluster = Cluster::new();
    let _keeper = cluster.keep();
    let web = resisting(&cluster);
    cluster.node.forget_calls();
    cluster.annotate("web", "red@net1");
    wait_until("the refusal is told of", || {
        let sentence =
            "network \"team-a/red\": network \"team-a/blue\" on net1 is not torn down yet";
        cluster.events().iter().any(|(_, note)| note.contains(sentence))
    });
    assert!(!cluster.node.calls_in_order().iter().any(|call| call.starts_with("ADD")));
    cluster.node.script("blue", json!({}));
    wait_for_links(&web, &["eth0", "net1"]);
    assert_eq!(web.addresses("net1"), ["10.8.0.2/24"]);
    web.check().run().assert_success();
    web.del().run().assert_success();
}

/// It does not become one that the pod has by the attach of another.
#[test]
fn what_resists_stays_pending_while_others_are_attached() {
    let cluster = Cluster::new();
    let _keeper = cluster.keep();
    let web = resisting(&cluster);
    cluster.annotate("web", "red");
    wait_for_links(&web, &["eth0", "net2"]);
    wait_until("the status is written", || cluster.status("web") == ["eth0", "net2"]);
    web.check().run().assert_success();
    let expected = pairs(&[("eth0", "agrees"), ("net2", "agrees"), ("net1", "unfinished")]);
    assert_eq!(recorded(&cluster), expected);
    cluster.node.script("blue", json!({}));
    wait_until("it is torn down", || {
        recorded(&cluster) == pairs(&[("eth0", "agrees"), ("net2", "agrees")])
    });
    web.check().run().assert_success();
    web.del().run().assert_success();
}

/// A tenant whose plugin refuses every DEL has no more in the record than it may have in the pod.
#[test]
fn what_resists_counts_among_the_networks_of_the_pod() {
    let cluster = Cluster::new();
    let _keeper = cluster.keep();
    let web = resisting(&cluster);
    cluster.annotate("web", &["red"; 16].join(","));
    wait_until("the last one is refused", || {
        let sentence = "the pod would have 17 extra networks, and may have 16 (maxNetworks)";
        cluster.events().iter().any(|(_, note)| note.contains(sentence))
    });
    assert_eq!(web.links().len(), 16, "{:?}", web.links());
    cluster.node.script("blue", json!({}));
    wait_until("all are there", || web.links().len() == 17);
    web.del().run().assert_success();
}
