//! `braid addresses`: the cluster-wide addresses of extra networks (the IPAM type `whereabouts`):
//! the pools, who holds what, and what nothing holds any more.
//!
//! ```text
//! store ──> pools, page by page ─┐
//!                                ├─> holder (pure) ──> list, reconcile
//! API ────> pods, page by page ──┘
//! ```

mod held;
mod holder;
mod kept;
mod list;
mod pods;
mod reconcile;
mod release;
mod reservations;
mod store;

use clap::{Args, Subcommand};

use super::CommandError;
use super::cli::examples;
use super::console::{Console, Exit};
use super::node::NodeError;
use crate::kube::ClusterError;
use list::List;
use plugins::ipam::cluster::store::StoreError;
use reconcile::Reconcile;

pub(super) use held::held_by_node;
pub(super) use store::{Pools, nearly_full, usage};

/// What `braid addresses` is told.
#[derive(Args, Debug)]
pub(super) struct Addresses {
    #[command(subcommand)]
    command: AddressCommand,
}

#[derive(Debug, Subcommand)]
enum AddressCommand {
    /// List the pools of cluster-wide addresses, or who holds those of one
    #[command(
        long_about = "Lists the pools with their ranges, how many addresses are used and free, how \
                      many are stale (their pod is gone or has ended), and how large the object \
                      is: etcd takes 1536 KiB. With --pool, lists who holds each address. The \
                      range is the whole of it: what a network's configuration leaves out \
                      (range_start, range_end, exclude) is counted as free.",
        after_help = examples!(
            "braid addresses list",
            "braid addresses list --pool 10.9.0.0-20",
            "braid addresses list --kubeconfig ~/.kube/config -o json",
        )
    )]
    List(List),
    /// Release the addresses of pods that are gone or have ended
    #[command(
        long_about = "Releases addresses whose pod does not exist or has ended, in the pools of \
                      the cluster, and their reservations. Each is looked at twice, with a time of \
                      grace between (--grace), and its pod is asked for by name before. What a \
                      running pod's network status does not name is said and stays, as does what \
                      is kept for a name or by a claim. Needs the rights of \
                      conf/kubernetes/optional/reconcile-addresses.yaml, where it runs as a \
                      CronJob.\n\nEnds with 1 if an address could not be released.",
        after_help = examples!(
            "braid addresses reconcile --dry-run",
            "braid addresses reconcile --grace 1m",
        )
    )]
    Reconcile(Reconcile),
}

/// Why nothing can be said about cluster-wide addresses.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressesError {
    /// Nothing says where the API is.
    #[error(
        "no API is configured: name a kubeconfig with --kubeconfig, or set \"kubeconfig\" in \
         braid's configuration"
    )]
    NoApi,
    /// The configuration of this node cannot be read.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The pools cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pods cannot be read.
    #[error(transparent)]
    Api(#[from] ClusterError),
    /// An object is not what it should be.
    #[error("the API server's {what} cannot be read: {problem}")]
    Object {
        /// The object.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no such pool.
    #[error(
        "namespace {namespace} has no pool \"{name}\": braid addresses list shows those that there \
         are"
    )]
    NoPool {
        /// Where pools are.
        namespace: String,
        /// What was asked for.
        name: String,
    },
}

impl Addresses {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Result<Exit, CommandError> {
        match &self.command {
            AddressCommand::List(list) => {
                super::attend(console, "addresses list", || Ok(list.run()?))
            }
            AddressCommand::Reconcile(reconcile) => {
                super::attend(console, "addresses reconcile", || Ok(reconcile.run()?))
            }
        }
    }
}
