//! Cluster-wide addresses that this node's pods hold: whether their pools are nearly full, and
//! whether whereabouts' reconciler would release what is kept.

use std::path::Path;

use super::{Finding, fail, warn};
use crate::config::Config;
use crate::operator::addresses::{Pools, held_by_node, nearly_full};
use ::plugins::ipam::cluster::HeldPool;

/// The names of whereabouts' reconcilers, as `/proc` has them: in its DaemonSet, and as a CronJob.
const RECONCILERS: [&str; 2] = ["ip-control-loop", "ip-reconciler"];

/// The pools of the node's journals: beside Braid's own state, and what these have notes of.
pub(super) fn check(config: &Config, root: &Path) -> Vec<Finding> {
    let held = match held_by_node(&config.state_dir, root) {
        Ok(held) => held,
        Err(problem) => {
            let advice = "until then, addresses of this node are not given back";
            return vec![fail("addresses", problem, advice)];
        }
    };
    let mut findings: Vec<Finding> = held.iter().filter_map(pool).collect();
    let is_here = root == Path::new("/");
    if is_here && held.iter().any(|pool| pool.is_kept) && reconciler_runs() {
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
