//! Cluster-wide addresses that this node's pods hold: whether their pools are nearly full, and
//! whether whereabouts' reconciler would release what is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Finding, fail, warn};
use crate::config::Config;
use crate::operator::addresses::{Pools, nearly_full};
use crate::operator::runtime::below;
use crate::verb::releases::own_journal;
use ::plugins::ipam::cluster::store::ApiAccess;
use ::plugins::ipam::cluster::{HeldPool, JOURNAL, held_pools, noted};

/// The names of whereabouts' reconcilers, as `/proc` has them: in its DaemonSet, and as a CronJob.
const RECONCILERS: [&str; 2] = ["ip-control-loop", "ip-reconciler"];

/// The pools of the node's journals: beside Braid's own state, and what these have notes of.
pub(super) fn check(config: &Config, root: &Path) -> Vec<Finding> {
    let own = [below(root, Path::new(JOURNAL)), own_journal(&config.state_dir)];
    let others = own.iter().flat_map(|home| noted(home, root));
    let directories: BTreeSet<PathBuf> = others.chain(own.clone()).collect();
    let mut held = Vec::new();
    for directory in directories {
        match held_pools(&directory) {
            Ok(found) => held.extend(found),
            Err(problem) => {
                let advice = "until then, addresses of this node are not given back";
                return vec![fail("addresses", problem, advice)];
            }
        }
    }
    let mut distinct: BTreeMap<_, HeldPool> = BTreeMap::new();
    for mut pool in held {
        pool.access.kubeconfig = pool.access.kubeconfig.map(|path| below(root, &path));
        let ApiAccess { kubeconfig, server } = pool.access.clone();
        let key = (kubeconfig, server, pool.namespace.clone(), pool.pool.clone());
        let is_kept = pool.is_kept;
        distinct.entry(key).or_insert(pool).is_kept |= is_kept;
    }
    let mut findings: Vec<Finding> = distinct.values().filter_map(pool).collect();
    let is_here = root == Path::new("/");
    if is_here && distinct.values().any(|pool| pool.is_kept) && reconciler_runs() {
        let message = "whereabouts' reconciler runs here, and releases addresses that are kept for \
                       a name or by a claim";
        let advice = "scale whereabouts' DaemonSet down, and apply \
                      conf/kubernetes/optional/reconcile-addresses.yaml";
        findings.push(fail("addresses", message, advice));
    }
    findings
}

fn pool(held: &HeldPool) -> Option<Finding> {
    let found = Pools::of_held(held).and_then(|mut pools| pools.pool(&held.pool));
    match found {
        Ok(pool) => nearly_full(&pool).map(|problem| {
            let advice = "see braid addresses list --pool; give nodes slices (node_slice_size), or \
                          networks ranges of their own";
            warn("addresses", problem, advice)
        }),
        Err(error) => {
            let advice = "pods of its networks do not start until it can be read";
            Some(warn("addresses", error.to_string(), advice))
        }
    }
}

/// Whether a process of this machine has the name of a reconciler.
fn reconciler_runs() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    let names = entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
    names.into_iter().any(|name| RECONCILERS.contains(&name.trim_end()))
}
