//! Addresses that stay for as long as an `IPAMClaim` exists.

use super::*;

#[test]
fn a_claim_keeps_its_address_for_every_pod_that_names_it() {
    let mut node = Node::new(overlapping());
    let claim = json!({"metadata": {"name": "vm1"}, "spec": {"network": "lan"}});
    node.more = json!({"args": {"cni": {"ipam-claim-reference": "vm1"}}});
    assert!(node.add("c1", "p1").unwrap_err().contains("does not exist"));
    node.world().put(Kind::Claim, "a", claim);
    assert_eq!(node.add("c1", "p1").unwrap(), ["10.0.0.1/24"]);
    // A live migration: the target has another name, and the source is still there.
    let mut target = Node::beside(&node.stores, overlapping());
    target.more = node.more.clone();
    assert_eq!(target.add("c2", "p2").unwrap(), ["10.0.0.1/24"]);
    node.del("c1", "p1");
    target.del("c2", "p2");
    assert_eq!(node.world().entries(POOL), [("1".to_owned(), "c2".to_owned())]);
    assert_eq!(node.world().names(Kind::Reservation), ["10.0.0.1"]);
    assert_eq!((node.journal().count_due(), target.journal().count_due()), (0, 0));
    let key = (Kind::Claim, "a".to_owned(), "vm1".to_owned());
    let status = json!({"ips": ["10.0.0.1/24"], "ownerPod": "p2"});
    assert_eq!(node.world().find(&key)["status"], status);
}

/// A status that cannot be written is no reason to start no pod; one that says so already is left.
#[test]
fn the_status_of_a_claim_is_written_once_and_stops_nothing() {
    let mut node = Node::new(plain());
    node.more = json!({"args": {"cni": {"ipam-claim-reference": "vm1"}}});
    let claim = json!({"metadata": {"name": "vm1"}, "spec": {"network": "lan"},
        "status": {"ips": ["10.0.0.9/24", "fd00::9/64"], "ownerPod": "", "conditions": ["x"]}});
    node.world().put(Kind::Claim, "a", claim);
    assert_eq!(node.add("c1", "p1").unwrap(), ["10.0.0.9/24"]);
    let key = (Kind::Claim, "a".to_owned(), "vm1".to_owned());
    let status = json!({"ips": ["fd00::9/64", "10.0.0.9/24"], "ownerPod": "p1",
        "conditions": ["x"]});
    assert_eq!(node.world().find(&key)["status"], status);
    node.world().log.clear();
    node.add("c2", "p1").unwrap();
    assert!(!node.world().log.iter().any(|line| line.starts_with("patch ipamclaims")));
    let at = node.world().requests + 3;
    node.world().fault = Some((at, Fault::Conflict));
    assert_eq!(node.add("c3", "p3").unwrap(), ["10.0.0.9/24"]);
    assert_eq!(node.world().find(&key)["status"]["ownerPod"], "p1");
}

/// A claim is the longer promise of the two.
#[test]
fn an_address_of_a_claim_has_no_expiry() {
    let mut node = Node::new(json!({"range": "10.0.0.0/24", "sticky": "10m"}));
    node.more = json!({"args": {"cni": {"ipam-claim-reference": "vm1"}}});
    node.world().put(Kind::Claim, "a", json!({"metadata": {"name": "vm1"}}));
    node.add("c1", "p1").unwrap();
    node.del("c1", "p1");
    let pool = node.world().get(Kind::Pool, POOL).unwrap().clone();
    let annotations = json!({claim_annotation(1): "a/vm1"});
    assert_eq!(pool["metadata"]["annotations"], annotations);
    assert_eq!((node.journal().count_held(), node.journal().count_due()), (0, 0));
    // Without the claim, the pod of that name takes its own entry over, and may lose it again.
    node.more = json!({});
    assert_eq!(node.add("c2", "p1").unwrap(), ["10.0.0.1/24"]);
    let pool = node.world().get(Kind::Pool, POOL).unwrap().clone();
    assert_eq!(pool["metadata"]["annotations"], json!({}));
}
