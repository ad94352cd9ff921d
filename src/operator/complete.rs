//! `braid complete`: the names that a shell offers, one a line. Started by the completions; what
//! fails there is no one's to read.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::CommandError;
use super::console::{OutputStyle, View};
use super::node::{Node, NodeOptions};
use super::records::Records;

/// What `braid complete` is told.
#[derive(Args, Debug)]
pub(super) struct Complete {
    /// What is offered
    #[arg(value_enum)]
    kind: Kind,
    #[command(flatten)]
    node: NodeOptions,
}

/// Which names.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Kind {
    /// Pods with a record on this node, as namespace/name.
    Pods,
    /// Their namespaces.
    Namespaces,
}

/// The names.
#[derive(Debug, Serialize)]
pub(super) struct Names(BTreeSet<String>);

impl Complete {
    pub(super) fn run(&self) -> Result<Names, CommandError> {
        let node = Node::find_for_teardown(&self.node)?;
        let records = Records::read(&node.ledger())?;
        let pods = records.live.iter().chain(&records.orphans).map(|it| it.header().pod.as_str());
        let names = pods.map(|pod| match self.kind {
            Kind::Pods => pod,
            Kind::Namespaces => pod.split('/').next().unwrap_or_default(),
        });
        Ok(Names(names.filter(|name| !name.is_empty()).map(str::to_owned).collect()))
    }
}

impl View for Names {
    fn text(&self, _: &OutputStyle) -> String {
        self.0.iter().map(|name| format!("{name}\n")).collect()
    }
}
