//! Networks on pods that run: `braid attach`, `braid detach`, and annotations that change, with
//! every verb of the runtime after every change.

mod attach;
mod broken_off;
mod chained;
mod default_route;
mod detach;
pub(crate) mod kubevirt;
mod observed;
mod records;
mod resisting;
mod static_pod;
mod watch;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::node::Node;
use crate::operator::Said;
use crate::operator::records::{braid, primary};
use crate::pod::Pod;

/// A node with networks `blue`, `red` and `green`, each of a recorder with a real interface.
pub(crate) fn node() -> Node {
    let node = crate::operator::records::node();
    node.network("red", json!({"link": true, "addresses": ["10.8.0.2/24"]}));
    node.network("green", json!({"link": true, "addresses": ["10.7.0.2/24"]}));
    node
}

/// A running pod `team-a/web` with these networks.
pub(crate) fn running<'n>(node: &'n Node, networks: &str) -> Pod<'n> {
    crate::operator::records::attached(node, "web", networks)
}

/// `braid attach team-a/web <networks>...`.
pub(crate) fn attach(node: &Node, networks: &[&str]) -> Said {
    braid(node, &[&["attach", "team-a/web"], networks].concat())
}

/// `braid detach team-a/web <interface>`.
pub(crate) fn detach(node: &Node, interface: &str) -> Said {
    braid(node, &["detach", "team-a/web", interface])
}

/// The pod has these interfaces, its record agrees with the kernel, and CHECK passes.
#[track_caller]
pub(crate) fn must_have(pod: &Pod<'_>, links: &[&str]) {
    let expected: BTreeSet<&str> = links.iter().copied().collect();
    let has = pod.links();
    assert_eq!(has.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    pod.check().with(json!({"delegates": [primary()]})).run().assert_success();
    let listed = braid(pod.node, &["list", "-o", "json"]).assert_status(0).json();
    let record = listed["records"].as_array().unwrap().iter().find(|it| it["pod"] == "team-a/web");
    let record = record.expect("a record of the pod");
    assert_eq!(record["kernel"], "agrees", "{record}");
    let attached: Vec<&Value> = record["attachments"].as_array().unwrap().iter().collect();
    assert_eq!(attached.len(), links.len(), "{record}");
}

/// The runtime's end of the pod: DEL tears down what is there, and nothing is left.
#[track_caller]
pub(crate) fn must_end_clean(pod: &Pod<'_>, before: &BTreeSet<String>) {
    pod.del().run().assert_success();
    assert_eq!(pod.links(), crate::node::NOTHING);
    assert_eq!(pod.node.leftovers(before), crate::node::NOTHING);
}
