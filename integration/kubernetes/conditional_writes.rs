//! What cluster-wide addresses stand on: how an API server treats pools, entries and reservations
//! under conditions. It holds the double to a real server.

use kube::core::Status;
use serde_json::{Value, json};

use super::server::Server;

const POOL: &str = "10.9.0.0-24";
const JSON_PATCH: &str = "application/json-patch+json";

/// A server with the resources of addresses, and its administrator.
struct Pools {
    server: Server,
}

impl Pools {
    fn new() -> Self {
        let server = Server::start();
        server.install("crd-addresses.yaml");
        server.install("crd-ipam-claims.yaml");
        Self { server }
    }

    fn create(&self, object: &Value) -> Result<Value, Box<Status>> {
        let path = self.server.collection(object["kind"].as_str().unwrap());
        self.server.request("POST", &path, "application/json", object.to_string())
    }

    fn with_pool(allocations: Value) -> Self {
        let pools = Self::new();
        pools.create(&pool(POOL, allocations)).unwrap();
        pools
    }

    fn pool_path(&self) -> String {
        format!("{}/{POOL}", self.server.collection("IPPool"))
    }

    fn patch(&self, operations: Value) -> Result<Value, Box<Status>> {
        self.server.request("PATCH", &self.pool_path(), JSON_PATCH, operations.to_string())
    }

    #[track_caller]
    fn assert_rejected(&self, operations: Value) {
        let status = self.patch(operations).unwrap_err();
        let message = "the server rejected our request due to an error in our request";
        assert_eq!((status.code, &*status.reason, &*status.message), (422, "Invalid", message));
    }
}

fn pool(name: &str, allocations: Value) -> Value {
    json!({
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool", "metadata": {"name": name},
        "spec": {"range": "10.9.0.0/24", "allocations": allocations},
    })
}

fn entry(id: &str) -> Value {
    json!({"id": id, "podref": "shop/web", "ifname": "net1"})
}

#[test]
fn an_entry_is_added_only_if_there_is_none() {
    let pools = Pools::with_pool(json!({}));
    let add = |id: &str| {
        json!([
            {"op": "test", "path": "/spec/allocations/7", "value": null},
            {"op": "add", "path": "/spec/allocations/7", "value": entry(id)},
        ])
    };
    let patched = pools.patch(add("a")).unwrap();
    assert_eq!(patched["spec"]["allocations"], json!({"7": entry("a")}));
    pools.assert_rejected(add("b"));
}

#[test]
fn an_entry_is_removed_only_by_its_owner() {
    let pools = Pools::with_pool(json!({"7": entry("a"), "8": entry("b")}));
    let remove = |id: &str| {
        json!([
            {"op": "test", "path": "/spec/allocations/7/id", "value": id},
            {"op": "remove", "path": "/spec/allocations/7"},
        ])
    };
    pools.assert_rejected(remove("b"));
    assert_eq!(pools.patch(remove("a")).unwrap()["spec"]["allocations"], json!({"8": entry("b")}));
    pools.assert_rejected(remove("a"));
    pools.assert_rejected(json!([{"op": "remove", "path": "/spec/allocations/7"}]));
}

#[test]
fn an_old_version_is_a_failed_test() {
    let pools = Pools::with_pool(json!({}));
    let before = pools.server.get("IPPool", POOL).unwrap();
    let version = &before["metadata"]["resourceVersion"];
    let add = |offset: u32| {
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": format!("/spec/allocations/{offset}"), "value": entry("a")},
        ])
    };
    let after = pools.patch(add(1)).unwrap();
    assert_ne!(after["metadata"]["resourceVersion"], *version);
    pools.assert_rejected(add(2));
    // In a merge patch it is a conflict.
    let stale = json!({"metadata": {"resourceVersion": version, "annotations": {"a": "b"}}});
    let path = pools.pool_path();
    let refused =
        pools.server.request("PATCH", &path, "application/merge-patch+json", stale.to_string());
    assert_eq!(
        refused.map_err(|status| (status.code, status.reason)),
        Err((409, "Conflict".into()))
    );
}

#[test]
fn a_change_of_nothing_keeps_the_version() {
    let pools = Pools::with_pool(json!({"7": entry("a")}));
    let before = pools.server.get("IPPool", POOL).unwrap();
    let same = json!([{"op": "replace", "path": "/spec/allocations/7/id", "value": "a"}]);
    let after = pools.patch(same).unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
}

#[test]
fn unknown_fields_of_an_entry_are_dropped_and_required_ones_are_required() {
    let mut with_more = entry("a");
    with_more["expires"] = json!("2026-01-01T00:00:00Z");
    let pools = Pools::with_pool(json!({"7": with_more}));
    let kept = pools.server.get("IPPool", POOL).unwrap();
    assert_eq!(kept["spec"]["allocations"], json!({"7": entry("a")}));
    let status = pools
        .patch(json!([{"op": "add", "path": "/spec/allocations/8", "value": {"id": "b"}}]))
        .unwrap_err();
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    assert!(
        status.message.contains("spec.allocations.8.podref: Required value"),
        "{}",
        status.message
    );
    let numbers =
        json!([{"op": "add", "path": "/spec/allocations/8", "value": {"id": 1, "podref": "a/b"}}]);
    assert_eq!(pools.patch(numbers).unwrap_err().code, 422);
    let mut unnamed = pool("other", json!({}));
    unnamed["spec"].as_object_mut().unwrap().remove("allocations");
    let refused = pools.create(&unnamed).unwrap_err();
    assert!(refused.message.contains("spec.allocations: Required value"), "{}", refused.message);
    assert_eq!(pools.create(&pool("fd00::-64", json!({}))).unwrap_err().code, 422);
}

#[test]
fn a_reservation_is_created_once_and_deleted_by_version() {
    let pools = Pools::new();
    let reservation = json!({
        "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "OverlappingRangeIPReservation",
        "metadata": {"name": "10.9.0.7"},
        "spec": {"podref": "shop/web", "ifname": "net1", "containerid": "a"},
    });
    let created = pools.create(&reservation).unwrap();
    assert_eq!(created["spec"]["containerid"], "a");
    let again = pools.create(&reservation).unwrap_err();
    assert_eq!((again.code, &*again.reason), (409, "AlreadyExists"));
    let path = format!("{}/10.9.0.7", pools.server.collection("OverlappingRangeIPReservation"));
    let delete = |preconditions: Value| {
        let options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
        let answer = pools.server.request("DELETE", &path, "application/json", options.to_string());
        answer.map(drop).map_err(|status| (status.code, status.reason))
    };
    let conflict = Err((409, "Conflict".to_owned()));
    assert_eq!(delete(json!({"resourceVersion": "1"})), conflict);
    assert_eq!(delete(json!({"uid": "00000000-0000-4000-8000-000000000000"})), conflict);
    let metadata = &created["metadata"];
    let right = json!({"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]});
    assert_eq!(delete(right), Ok(()));
    assert_eq!(delete(json!({})), Err((404, "NotFound".to_owned())));
}

#[test]
fn every_writer_of_an_entry_costs_bytes() {
    let pools = Pools::with_pool(json!({}));
    let managed = || {
        let pool = pools.server.get("IPPool", POOL).unwrap();
        pool["metadata"]["managedFields"].to_string().len()
    };
    let empty = managed();
    for offset in 1..=20 {
        let add = json!([{"op": "add", "path": format!("/spec/allocations/{offset}"), "value": entry("a")}]);
        pools.patch(add).unwrap();
    }
    let full = managed();
    assert!((20 * 40..20 * 80).contains(&(full - empty)), "{empty} {full}");
    let removals: Vec<_> = (1..=20)
        .map(|offset| json!({"op": "remove", "path": format!("/spec/allocations/{offset}")}))
        .collect();
    pools.patch(Value::Array(removals)).unwrap();
    assert!(managed() < empty + 100, "{empty} {}", managed());
}

#[test]
fn etcd_takes_no_pool_of_more_than_a_megabyte_and_a_half() {
    let pools = Pools::with_pool(json!({}));
    let long = |offset: u32| {
        let podref = format!("{}/{}", "n".repeat(63), "p".repeat(200));
        (offset.to_string(), json!({"id": "c".repeat(64), "podref": podref, "ifname": "net1"}))
    };
    let entries = |count| Value::Object((0..count).map(long).collect());
    let fill = |count| {
        pools
            .patch(json!([{"op": "replace", "path": "/spec/allocations", "value": entries(count)}]))
    };
    fill(1000).unwrap();
    let refused = fill(5000).unwrap_err();
    assert_eq!((refused.code, &*refused.message), (500, "etcdserver: request is too large"));
}

#[test]
fn lists_come_in_pages() {
    let pools = Pools::new();
    for n in 0..5 {
        pools.create(&pool(&format!("pool-{n}"), json!({}))).unwrap();
    }
    let base = pools.server.collection("IPPool");
    let page = |query: &str| {
        pools.server.request("GET", &format!("{base}?{query}"), "application/json", String::new())
    };
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let query = if token.is_empty() {
            "limit=2".to_owned()
        } else {
            format!("limit=2&continue={token}")
        };
        let list = page(&query).unwrap();
        let items = list["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        names
            .extend(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()));
        match list["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
            Some(next) => token = next.replace('=', "%3D"),
            None => break,
        }
    }
    assert_eq!(names, (0..5).map(|n| format!("pool-{n}")).collect::<Vec<_>>());
}

/// The status of a claim is written apart from the rest.
#[test]
fn a_claim_has_its_status_apart() {
    let pools = Pools::new();
    let claim = json!({
        "apiVersion": "k8s.cni.cncf.io/v1alpha1", "kind": "IPAMClaim", "metadata": {"name": "web.net1"},
        "spec": {"interface": "net1", "network": "lan"},
        "status": {"ips": ["10.9.0.7/24"], "ownerPod": "web"},
    });
    assert!(pools.create(&claim).unwrap().get("status").is_none());
    let path = format!("{}/web.net1/status", pools.server.collection("IPAMClaim"));
    let patch = json!({"status": claim["status"], "spec": {"network": "other"}});
    let merge = "application/merge-patch+json";
    let patched = pools.server.request("PATCH", &path, merge, patch.to_string()).unwrap();
    assert_eq!((&patched["status"], &patched["spec"]), (&claim["status"], &claim["spec"]));
}
