//! Everything is deleted at once, as `kubectl delete -k`, Argo CD and Flux do it: whatever goes
//! first, Braid leaves the node. A pod goes after its DaemonSet, or after its namespace is marked.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::{Value, json};

use super::cluster::{Cluster, Keeper, bridge};
use super::kubernetes;
use crate::apiserver::ApiServer;
use crate::kustomize::{documents, object, render};
use crate::node::{BRAID, Node};

/// What is deleted, each by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// The role of the pods and its binding.
    Rights,
    /// The service account of the pods, and with it every token of it.
    Account,
    DaemonSet,
    /// The kubelet ends the pod.
    Pod,
}

const STEPS: [Step; 4] = [Step::Rights, Step::Account, Step::DaemonSet, Step::Pod];

/// Every order of the four.
fn orders() -> Vec<[Step; 4]> {
    let mut all = Vec::new();
    for number in 0..256_usize {
        let order = [0, 2, 4, 6].map(|shift| STEPS[(number >> shift) & 3]);
        if STEPS.iter().all(|step| order.contains(step)) {
            all.push(order);
        }
    }
    assert_eq!(all.len(), 24);
    all
}

struct Scene<'n> {
    cluster: Cluster<'n>,
    objects: Vec<Value>,
}

impl<'n> Scene<'n> {
    fn new(node: &'n Node) -> Self {
        let objects = render(&kubernetes().join("overlays/containerd"));
        let server = Cluster::server(node, vec!["rbac.yaml"], &objects);
        let cluster = Cluster::of(node, "", Rc::clone(&server), &objects, PathBuf::from(BRAID));
        let primary = json!({"cniVersion": "1.0.0", "name": "cluster", "plugins": [bridge("cni0", "10.1.0.0/24")]});
        cluster.host.write(&cluster.conf("10-primary.conflist"), &primary.to_string());
        Self { cluster, objects }
    }

    fn server(&self) -> &ApiServer {
        &self.cluster.server
    }

    fn rights() -> Vec<Value> {
        documents(&kubernetes().join("base/rbac-installer.yaml"))
    }

    /// All objects are there, and the pod runs and watches.
    fn running(&self) -> Keeper {
        let mut objects = self.server().objects();
        Self::rights().into_iter().for_each(|object| objects.rbac.add(object));
        objects.put(object(&self.objects, "Namespace", "braid").clone());
        objects.put(object(&self.objects, "ServiceAccount", "braid").clone());
        objects.put(object(&self.objects, "DaemonSet", "braid").clone());
        drop(objects);
        self.cluster.new_account_token();
        let asked = self.server().requests().len();
        let keeper = self.cluster.keep();
        keeper.wait_until("installed", || self.is_installed());
        keeper.wait_until("watching", || {
            let requests = self.server().requests();
            requests[asked..].iter().any(|it| it.query.contains("watch=true") && it.status == 200)
        });
        keeper.wait_until_it_waits();
        keeper
    }

    fn is_installed(&self) -> bool {
        self.cluster.host.path(&self.cluster.conf("00-braid.conflist")).exists()
    }

    fn delete(&self, step: Step, keeper: &Keeper) {
        match step {
            Step::Rights => {
                let mut objects = self.server().objects();
                Self::rights().iter().for_each(|object| objects.rbac.remove(object));
            }
            Step::Account => self.server().revoke(&self.cluster.account_token()),
            Step::DaemonSet => self.server().objects().remove("daemonsets", "braid", "braid"),
            Step::Pod => keeper.stop(),
        }
    }

    #[track_caller]
    fn assert_left(&self, keeper: Keeper, order: &[Step]) {
        let (status, log) = keeper.end();
        assert!(status == Some(0) && log.contains("leaving this node"), "{order:?}: {log}");
        let there = fs::read_dir(self.cluster.host.path(&self.cluster.variable("CONF_DIR")));
        let there: Vec<_> = there.unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(there, ["10-primary.conflist"], "{order:?}");
        let bin = format!("{}/braid", self.cluster.variable("BIN_DIR"));
        assert!(!self.cluster.host.path(&bin).exists(), "{order:?}");
    }
}

#[test]
fn deleted_in_any_order_braid_leaves_the_node() {
    let node = Node::new();
    let scene = Scene::new(&node);
    let position = |order: &[Step], step| order.iter().position(|it| *it == step);
    for order in orders() {
        if position(&order, Step::Pod) < position(&order, Step::DaemonSet) {
            continue;
        }
        let keeper = scene.running();
        order.iter().for_each(|step| scene.delete(*step, &keeper));
        scene.assert_left(keeper, &order);
    }
}

/// A namespace that is deleted takes its objects in no certain order, pods before what has made
/// them.
#[test]
fn deleted_with_its_namespace_in_any_order_braid_leaves_the_node() {
    let node = Node::new();
    let scene = Scene::new(&node);
    for order in orders() {
        let keeper = scene.running();
        let mut namespace = object(&scene.objects, "Namespace", "braid").clone();
        namespace["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        scene.server().objects().put(namespace);
        order.iter().for_each(|step| scene.delete(*step, &keeper));
        scene.assert_left(keeper, &order);
    }
}

/// Rights that are taken away by mistake are no deletion.
#[test]
fn a_pod_without_rights_whose_daemonset_is_there_stays() {
    let node = Node::new();
    let scene = Scene::new(&node);
    let keeper = scene.running();
    scene.delete(Step::Rights, &keeper);
    scene.delete(Step::Account, &keeper);
    keeper.stop();
    let (status, log) = keeper.end_within(std::time::Duration::from_secs(90));
    assert!(status == Some(0) && log.contains("cannot be told"), "{log}");
    assert!(scene.is_installed() && scene.cluster.entry()["drain"].is_null());
}

/// `kubectl replace --force` deletes and creates.
#[test]
fn a_daemonset_that_is_made_anew_stays() {
    let node = Node::new();
    let scene = Scene::new(&node);
    let keeper = scene.running();
    scene.delete(Step::DaemonSet, &keeper);
    std::thread::sleep(std::time::Duration::from_millis(300));
    scene.server().objects().put(object(&scene.objects, "DaemonSet", "braid").clone());
    keeper.stop();
    let (status, log) = keeper.end();
    assert!(status == Some(0) && log.contains("is still there: braid stays"), "{log}");
    assert!(scene.is_installed());
}
