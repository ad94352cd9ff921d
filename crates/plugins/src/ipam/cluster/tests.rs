//! The operations against a store in memory: what is written, and what is left of it.

mod at_once;
mod claims;
mod contention;
mod memory;

use std::collections::BTreeSet;
use std::sync::MutexGuard;

use cni::plugin::ValidAttachment;
use cni::request::{Environment, Request, Sandbox, Verb};
use cni::version::Version;
use serde_json::{Value, json};

use self::memory::{Fault, Stores, World};
use super::store::{ApiAccess, Kind};
use super::*;

const POOL: &str = "10.0.0.0-24";

/// A node with a journal of its own, in a world that it shares.
struct Node {
    dir: tempfile::TempDir,
    stores: Stores,
    ipam: Value,
    more: Value,
}

impl Node {
    fn new(ipam: Value) -> Self {
        Self::beside(&Stores::default(), ipam)
    }

    fn beside(stores: &Stores, ipam: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, stores: stores.clone(), ipam, more: json!({}) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.stores.0.lock().unwrap()
    }

    fn journal(&self) -> Journal {
        Journal::new(&self.dir.path().join("addresses"))
    }

    fn call(&self, verb: fn(Sandbox) -> Verb, container: &str, pod: &str) -> Call {
        let sandbox = Sandbox {
            container: container.parse().unwrap(),
            netns: "/run/netns/x".to_owned(),
            interface: "net1".parse().unwrap(),
            args: format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME={pod}").as_str().into(),
        };
        let request =
            Request { verb: verb(sandbox), path: Vec::new(), environment: Environment::default() };
        let mut ipam = json!({"type": "whereabouts", "kubernetes": {"kubeconfig": "/k"},
            "dataDir": self.dir.path().join("addresses")});
        ipam.as_object_mut().unwrap().extend(self.ipam.as_object().unwrap().clone());
        let mut value =
            json!({"cniVersion": "1.1.0", "name": "lan", "type": "bridge", "ipam": ipam});
        value.as_object_mut().unwrap().extend(self.more.as_object().unwrap().clone());
        Call::from_value(&request, value, Version::V0_1_0).unwrap()
    }

    fn add(&self, container: &str, pod: &str) -> Result<Vec<String>, String> {
        let call = self.call(Verb::Add, container, pod);
        let attached = Attached::new(&call, &self.stores).map_err(|error| error.msg)?;
        let result = attached.add(&mut Context::within(Duration::from_secs(20)));
        let result = result.map_err(|error| error.msg)?;
        Ok(result.ips.into_iter().map(|ip| ip.address).collect())
    }

    fn del(&self, container: &str, pod: &str) {
        let call = self.call(Verb::Del, container, pod);
        let mut context = Context::within(Duration::from_secs(20));
        teardown::del(&call, &self.stores, &mut context).unwrap();
    }

    fn check(&self, container: &str, pod: &str, address: &str) -> Result<(), Error> {
        let mut node = Self {
            dir: tempfile::tempdir().unwrap(),
            stores: self.stores.clone(),
            ipam: self.ipam.clone(),
            more: self.more.clone(),
        };
        node.more["prevResult"] = json!({"cniVersion": "1.1.0", "ips": [{"address": address}]});
        let call = node.call(Verb::Check, container, pod);
        Attached::new(&call, &self.stores)?.check(&mut Context::within(Duration::from_secs(20)))
    }

    fn carry_on(&self) -> CarriedOn {
        let deadline = cni::deadline::Deadline::after(Duration::from_secs(9));
        carry_on(&self.dir.path().join("addresses"), &self.stores, deadline).unwrap()
    }
}

fn plain() -> Value {
    json!({"range": "10.0.0.0/24", "enable_overlapping_ranges": false})
}

fn overlapping() -> Value {
    json!({"range": "10.0.0.0/24"})
}

#[test]
fn an_address_is_one_get_and_one_write() {
    let node = Node::new(plain());
    assert_eq!(node.add("c1", "p1").unwrap(), ["10.0.0.1/24"]);
    node.world().log.clear();
    assert_eq!(node.add("c2", "p2").unwrap(), ["10.0.0.2/24"]);
    let expected = [format!("get ippools {POOL}"), format!("patch ippools {POOL}")];
    assert_eq!(node.world().log, expected);
    node.world().log.clear();
    node.del("c2", "p2");
    assert_eq!(node.world().log, [format!("patch ippools {POOL}")]);
    assert_eq!(node.world().entries(POOL), [("1".to_owned(), "c1".to_owned())]);
    node.del("c2", "p2");
    node.del("c1", "p1");
    assert!(node.world().entries(POOL).is_empty());
}

#[test]
fn the_reservation_comes_first_and_is_read_again() {
    let node = Node::new(overlapping());
    node.add("c1", "p1").unwrap();
    let log: Vec<String> = node.world().log.iter().skip(2).cloned().collect();
    let expected = [
        "create overlappingrangeipreservations 10.0.0.1",
        "patch ippools 10.0.0.0-24",
        "get overlappingrangeipreservations 10.0.0.1",
    ];
    assert_eq!(log, expected);
    let spec = node.world().get(Kind::Reservation, "10.0.0.1").unwrap()["spec"].clone();
    assert_eq!(spec, json!({"podref": "a/p1", "ifname": "net1", "containerid": "c1"}));
    node.del("c1", "p1");
    assert!(node.world().names(Kind::Reservation).is_empty());
}

#[test]
fn each_range_gives_an_address_of_its_family() {
    let node = Node::new(json!({"ipRanges": [{"range": "10.0.0.0/24"}, {"range": "fd00::/64"}],
        "gateway": "10.0.0.254", "addresses": [{"address": "10.9.0.5/24"}]}));
    let expected = ["10.0.0.1/24", "fd00::1/64", "10.9.0.5/24"];
    assert_eq!(node.add("c1", "p1").unwrap(), expected);
    assert_eq!(node.world().names(Kind::Pool), [POOL, "fd00---64"]);
    node.del("c1", "p1");
    assert!(node.world().entries(POOL).is_empty() && node.world().entries("fd00---64").is_empty());
}

/// Every request of an ADD and a DEL goes wrong in every way: an ADD that fails leaves nothing, and
/// one that succeeds has its address alone.
#[test]
fn nothing_is_lost_and_nothing_is_given_twice_whatever_request_fails() {
    use Fault::{AnswerLost, Conflict, Lost, Race, Reconciled, Throttled};
    for ipam in [plain(), overlapping()] {
        for fault in [Lost, AnswerLost, Throttled, Conflict, Race, Reconciled] {
            for at in 0..7 {
                let node = Node::new(ipam.clone());
                node.add("c0", "p0").unwrap();
                let base = node.world().requests;
                node.world().fault = Some((base + at, fault));
                let added = node.add("c1", "p1");
                let context = format!("{ipam} {fault:?} {at}: {added:?}");
                let mine = node.world().entries(POOL).iter().filter(|(_, id)| id == "c1").count();
                assert_eq!(mine, usize::from(added.is_ok()), "{context}");
                node.world().fault = None;
                let base = node.world().requests;
                node.world().fault = Some((base + at, fault));
                node.del("c1", "p1");
                node.world().fault = None;
                let carried = node.carry_on();
                assert_eq!((carried.left, carried.problem), (0, None), "{context}");
                let left = node.world().entries(POOL);
                assert!(left.iter().all(|(_, id)| id != "c1"), "{context}: {left:?}");
                let reserved = node.world().names(Kind::Reservation).contains(&"10.0.0.2");
                assert!(!reserved, "{context}");
                assert!(node.journal().find("c1", "net1").unwrap().is_none(), "{context}");
            }
        }
    }
}

#[test]
fn nodes_that_begin_at_the_same_address_never_share_one() {
    let stores = Stores::default();
    let of_node = |at: usize| {
        let allocation = if at.is_multiple_of(2) { "lowest" } else { "spread" };
        let ipam = json!({"range": "10.0.0.0/24", "allocation": allocation,
            "enable_overlapping_ranges": at.is_multiple_of(3)});
        let node = Node::beside(&stores, ipam);
        let each = |pod: usize| {
            let name = format!("c{at}x{pod}");
            node.add(&name, &name).unwrap()
        };
        (0..12).flat_map(each).collect::<Vec<_>>()
    };
    let of_node = &of_node;
    let addresses: Vec<String> = std::thread::scope(|scope| {
        let nodes: Vec<_> = (0..8).map(|at| scope.spawn(move || of_node(at))).collect();
        nodes.into_iter().flat_map(|node| node.join().unwrap()).collect()
    });
    let distinct: BTreeSet<&String> = addresses.iter().collect();
    assert_eq!((addresses.len(), distinct.len()), (96, 96));
}

#[test]
fn del_without_an_answer_leaves_a_release_that_is_due() {
    let node = Node::new(overlapping());
    node.add("c1", "p1").unwrap();
    node.world().is_away = true;
    node.del("c1", "p1");
    let carried = node.carry_on();
    assert_eq!((carried.done, carried.left), (0, 1));
    assert_eq!(carried.problem.as_deref(), Some("away"));
    node.world().is_away = false;
    // The next call of any kind carries it on.
    assert_eq!(node.add("c2", "p2").unwrap(), ["10.0.0.2/24"]);
    assert_eq!(node.world().entries(POOL), [("2".to_owned(), "c2".to_owned())]);
    assert_eq!(node.world().names(Kind::Reservation), ["10.0.0.2"]);
    assert_eq!(node.journal().count_due(), 0);
}

#[test]
fn what_another_has_by_then_is_left_alone() {
    let node = Node::new(overlapping());
    node.add("c1", "p1").unwrap();
    node.world().is_away = true;
    node.del("c1", "p1");
    node.world().is_away = false;
    // The same pod was made anew, on another node.
    let other = Node::beside(&node.stores, overlapping());
    assert_eq!(other.add("c2", "p1").unwrap(), ["10.0.0.1/24"], "it keeps its address");
    assert_eq!(node.carry_on(), CarriedOn { done: 1, left: 0, problem: None });
    assert_eq!(node.world().entries(POOL), [("1".to_owned(), "c2".to_owned())]);
    assert_eq!(node.world().names(Kind::Reservation), ["10.0.0.1"]);
    let reservation = node.world().get(Kind::Reservation, "10.0.0.1").unwrap().clone();
    assert_eq!(reservation["spec"]["containerid"], "c2");
}

#[test]
fn a_requested_address_is_allocated_and_refused_outside_or_if_taken() {
    let mut node = Node::new(overlapping());
    node.more = json!({"runtimeConfig": {"ips": ["10.0.0.77/24"]}});
    assert_eq!(node.add("c1", "p1").unwrap(), ["10.0.0.77/24"]);
    assert_eq!(node.world().entries(POOL), [("77".to_owned(), "c1".to_owned())]);
    let error = node.add("c2", "p2").unwrap_err();
    assert_eq!(error, "requested address 10.0.0.77 is taken by pod a/p1: ask for another");
    node.more = json!({"runtimeConfig": {"ips": ["10.0.1.77"]}});
    let error = node.add("c3", "p3").unwrap_err();
    assert!(error.contains("lies in no range of the network (10.0.0.1-10.0.0.254)"), "{error}");
    node.more = json!({"runtimeConfig": {"ips": ["10.0.0.5", "10.0.0.6"]}});
    assert!(node.add("c3", "p3").unwrap_err().contains("is one too many"));
}

#[test]
fn an_address_that_another_pool_has_reserved_is_passed_over() {
    let stores = Stores::default();
    let wide = Node::beside(&stores, json!({"range": "10.0.0.0/16"}));
    let narrow = Node::beside(&stores, overlapping());
    assert_eq!(wide.add("c1", "p1").unwrap(), ["10.0.0.1/16"]);
    assert_eq!(narrow.add("c2", "p2").unwrap(), ["10.0.0.2/24"]);
    assert_eq!(wide.add("c3", "p3").unwrap(), ["10.0.0.3/16"]);
}

#[test]
fn a_full_range_names_its_pool() {
    let node = Node::new(json!({"range": "10.0.0.0/30", "enable_overlapping_ranges": false}));
    for container in ["c1", "c2"] {
        node.add(container, container).unwrap();
    }
    let error = node.add("c3", "c3").unwrap_err();
    assert!(
        error.contains("range 10.0.0.1-10.0.0.2 is full: 2 addresses of address pool"),
        "{error}"
    );
    assert!(node.journal().find("c3", "net1").unwrap().is_none());
}

#[test]
fn an_entry_of_whereabouts_is_given_back_without_a_record() {
    let node = Node::new(overlapping());
    node.add("c0", "p0").unwrap();
    let mut pool = node.world().get(Kind::Pool, POOL).unwrap().clone();
    pool["spec"]["allocations"]["9"] = json!({"id": "c9", "podref": "a/p9", "ifname": "net1"});
    node.world().put(Kind::Pool, "kube-system", pool);
    let reservation = json!({"metadata": {"name": "10.0.0.9"}, "spec": {"podref": "a/p9"}});
    node.world().put(Kind::Reservation, "kube-system", reservation);
    node.world().is_away = true;
    node.del("c9", "p9");
    node.world().is_away = false;
    assert_eq!(node.carry_on(), CarriedOn { done: 1, left: 0, problem: None });
    assert_eq!(node.world().entries(POOL), [("1".to_owned(), "c0".to_owned())]);
    assert_eq!(node.world().names(Kind::Reservation), ["10.0.0.1"]);
}

#[test]
fn a_sticky_address_waits_for_a_pod_of_the_same_name() {
    let node = Node::new(json!({"range": "10.0.0.0/24", "sticky": "10m"}));
    node.add("c1", "p1").unwrap();
    node.del("c1", "p1");
    assert_eq!(node.world().entries(POOL), [("1".to_owned(), "c1".to_owned())]);
    let expiry = expiry_annotation(1);
    let pool = node.world().get(Kind::Pool, POOL).unwrap().clone();
    assert!(pool["metadata"]["annotations"][&expiry].is_string(), "{pool}");
    let carried = node.carry_on();
    assert_eq!((carried.done, carried.left), (0, 1), "its time has not come");
    assert_eq!(node.add("c2", "p2").unwrap(), ["10.0.0.2/24"]);
    assert_eq!(node.add("c3", "p1").unwrap(), ["10.0.0.1/24"]);
    let pool = node.world().get(Kind::Pool, POOL).unwrap().clone();
    assert!(pool["metadata"]["annotations"][&expiry].is_null(), "{pool}");
    let late = node
        .journal()
        .claim_due(
            u64::MAX,
            &journal::Wanted { limit: 9, server: None },
            cni::deadline::Deadline::after(Duration::from_secs(1)),
        )
        .unwrap();
    assert_eq!(late.len(), 1);
}

#[test]
fn a_node_allocates_from_its_slice() {
    let node = Node::new(json!({"range": "10.0.0.0/16", "node_slice_size": "/26",
        "enable_overlapping_ranges": false}));
    let error = node.add("c1", "p1").unwrap_err();
    assert!(error.contains("lan does not exist"), "{error}");
    let name = flat_file::node_name(None);
    node.world().put(
        Kind::NodeSlices,
        "kube-system",
        json!({"metadata": {"name": "lan"},
        "spec": {"range": "10.0.0.0/16"},
        "status": {"allocations": [{"nodeName": name, "sliceRange": "10.0.0.64/26"}]}}),
    );
    assert_eq!(node.add("c1", "p1").unwrap(), ["10.0.0.65/26"]);
    let pool = format!("{name}-10.0.0.64-26");
    assert_eq!(node.world().entries(&pool), [("1".to_owned(), "c1".to_owned())]);
}

#[test]
fn check_compares_the_entry_and_warns_if_the_api_is_away() {
    let node = Node::new(plain());
    node.add("c1", "p1").unwrap();
    node.check("c1", "p1", "10.0.0.1/24").unwrap();
    let error = node.check("c2", "p2", "10.0.0.1/24").unwrap_err();
    assert_eq!(
        (error.code, error.msg.as_str()),
        (Code::DRIFT, "address 10.0.0.1 of address pool \"10.0.0.0-24\" is taken by pod a/p1")
    );
    let error = node.check("c1", "p1", "10.0.0.9/24").unwrap_err();
    assert!(error.msg.contains("has no entry"), "{error}");
    node.world().is_away = true;
    node.check("c1", "p1", "10.0.0.9/24").unwrap();
}

#[test]
fn gc_gives_back_what_the_runtime_does_not_know() {
    let mut node = Node::new(overlapping());
    for container in ["c1", "c2"] {
        node.add(container, container).unwrap();
    }
    std::thread::sleep(Duration::from_millis(2100));
    // In the second in which the list is made: seconds are what is compared.
    let into_second = || std::time::UNIX_EPOCH.elapsed().unwrap().subsec_millis();
    while into_second() > 400 {
        std::thread::sleep(Duration::from_millis(10));
    }
    node.add("c3", "c3").unwrap();
    let live = ValidAttachment { container: "c1".to_owned(), interface: "net1".to_owned() };
    node.more = json!({"cni.dev/valid-attachments":
        [{"containerID": live.container, "ifname": live.interface}]});
    std::thread::sleep(Duration::from_millis(100));
    let request = node.call(|_| Verb::Gc, "c1", "p1");
    teardown::gc(&request, &node.stores, &mut Context::within(Duration::from_secs(9))).unwrap();
    let left: Vec<String> = node.world().entries(POOL).into_iter().map(|(_, id)| id).collect();
    assert_eq!(left, ["c1", "c3"], "c3 may be newer than the list");
}

#[test]
fn an_add_that_was_killed_is_carried_on_by_the_next_and_ended_by_del() {
    for at in 0..5 {
        let node = Node::new(overlapping());
        node.add("c0", "p0").unwrap();
        // Killed: nothing is undone, and nothing is answered any more.
        let base = node.world().requests;
        node.world().fault = Some((base + at, Fault::AnswerLost));
        let header = node.journal();
        let call = node.call(Verb::Add, "c1", "p1");
        let killed = std::panic::catch_unwind(|| {
            let attached = Attached::new(&call, &node.stores).unwrap();
            attached.add(&mut Context::within(Duration::ZERO)).map(drop)
        });
        drop(killed);
        node.world().fault = None;
        assert_eq!(node.add("c1", "p1").unwrap(), ["10.0.0.2/24"], "{at}");
        node.del("c1", "p1");
        assert_eq!(node.world().entries(POOL).len(), 1, "{at}");
        assert!(header.find("c1", "net1").unwrap().is_none());
    }
}
