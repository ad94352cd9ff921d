//! Definitions of several namespaces that share a name, and so a pool of host-local: under a policy
//! each namespace has a pool of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;

use super::{Problem, Severity, Spot};
use crate::reservation::{self, Store, former};
use cni::netconf::{NetworkConfig, NetworkName};

/// Where a definition's network has its addresses from.
#[derive(Debug)]
pub(super) struct Pool {
    /// `namespace/name` of the definition.
    definition: String,
    spot: Spot,
    own_name: NetworkName,
    /// The name under which the policy has its plugins know it.
    scoped_name: Option<NetworkName>,
    /// Where host-local keeps its addresses under its own name.
    stores: BTreeSet<Store>,
    subnets: Vec<IpNetwork>,
}

impl Pool {
    pub(super) fn new(
        definition: String,
        spot: Spot,
        network: &NetworkConfig,
        scoped_name: Option<NetworkName>,
    ) -> Self {
        Self {
            definition,
            spot,
            own_name: network.name.clone(),
            scoped_name,
            stores: reservation::stores([network]),
            subnets: former::subnets(network),
        }
    }

    fn name(&self) -> &NetworkName {
        self.scoped_name.as_ref().unwrap_or(&self.own_name)
    }

    /// Whether both give out addresses of one range from one pool today, and of two under the
    /// policy.
    fn is_parted_from(&self, other: &Self) -> bool {
        let overlaps =
            |subnet: &IpNetwork| other.subnets.iter().any(|other| overlap(*subnet, *other));
        self.name() != other.name()
            && !self.stores.is_disjoint(&other.stores)
            && self.subnets.iter().any(overlaps)
    }
}

fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    one.contains(other.network()) || other.contains(one.network())
}

/// A warning for each definition that the policy takes its pool from, with those that it shares the
/// pool with.
pub(super) fn parted(pools: &[(PathBuf, Pool)]) -> Vec<Problem> {
    let scoped =
        pools.iter().filter_map(|(file, pool)| Some((file, pool, pool.scoped_name.as_ref()?)));
    let warning = |(file, pool, scoped): (&PathBuf, &Pool, &NetworkName)| {
        let others: BTreeSet<&str> = pools
            .iter()
            .filter(|(_, other)| pool.is_parted_from(other))
            .map(|(_, other)| other.definition.as_str())
            .collect();
        (!others.is_empty()).then(|| problem(file, pool, scoped, others))
    };
    scoped.filter_map(warning).collect()
}

fn problem(file: &Path, pool: &Pool, scoped: &NetworkName, others: BTreeSet<&str>) -> Problem {
    let others: Vec<&str> = others.into_iter().collect();
    let message = format!(
        "\"name\": \"{}\" is the name of {} too, and host-local gives both their addresses from \
         one pool; under the policy each namespace has a pool of its own, here \"{scoped}\", so \
         that both may give out the same address: give them ranges that do not overlap, or share \
         one definition (braid.io/allowed-namespaces)",
        pool.own_name,
        others.join(", "),
    );
    Problem::in_file(file, (pool.spot, Severity::Warning, message))
}
