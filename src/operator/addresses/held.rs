//! The pools of which a node has addresses, from its journals: beside Braid's own state, and what
//! these have notes of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::operator::runtime::below;
use crate::verb::releases::own_journal;
use plugins::ipam::cluster::store::ApiAccess;
use plugins::ipam::cluster::{HeldPool, JOURNAL, held_pools, noted};

/// Each of them once, with its kubeconfig as it is below `root`.
///
/// # Errors
/// A sentence if a journal cannot be read.
pub(in crate::operator) fn held_by_node(
    state_dir: &Path,
    root: &Path,
) -> Result<Vec<HeldPool>, String> {
    let own = [below(root, Path::new(JOURNAL)), own_journal(state_dir)];
    let others = own.iter().flat_map(|home| noted(home, root));
    let directories: BTreeSet<PathBuf> = others.chain(own.clone()).collect();
    let mut distinct: BTreeMap<_, HeldPool> = BTreeMap::new();
    for directory in directories {
        for mut pool in held_pools(&directory)? {
            pool.access.kubeconfig = pool.access.kubeconfig.map(|path| below(root, &path));
            let ApiAccess { kubeconfig, server } = pool.access.clone();
            let key = (kubeconfig, server, pool.namespace.clone(), pool.pool.clone());
            let is_kept = pool.is_kept;
            distinct.entry(key).or_insert(pool).is_kept |= is_kept;
        }
    }
    Ok(distinct.into_values().collect())
}
