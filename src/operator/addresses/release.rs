//! Entries that are released: several of a pool in one change, each under the condition that it is
//! still the one that was seen.

use plugins::ipam::cluster::patch::Patch;
use plugins::ipam::cluster::store::{Action, Kind, StoreError};

use super::list::Holder;
use super::store::Pools;

/// How many entries are released by one change.
const AT_ONCE: usize = 64;

/// What became of an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Released {
    /// It is released.
    Done,
    /// It is another's by now, or gone.
    Changed,
    /// It could not be released.
    Failed(String),
}

/// Releases `entries`, which are of one pool. One outcome for each, in their order.
pub(super) fn release(pools: &mut Pools, entries: &[Holder]) -> Vec<Released> {
    entries.chunks(AT_ONCE).flat_map(|chunk| release_some(pools, chunk)).collect()
}

/// One change, or two if one of the conditions does not hold.
fn release_some(pools: &mut Pools, entries: &[Holder]) -> Vec<Released> {
    let Some(first) = entries.first() else { return Vec::new() };
    let changes = entries.iter().fold(Patch::new(), add_release);
    match pools.send(Kind::Pool, Action::Patch(first.pool.clone(), changes)) {
        Ok(_) => vec![Released::Done; entries.len()],
        Err(StoreError::Invalid(_)) if entries.len() > 1 => {
            let (front, back) = entries.split_at(entries.len() / 2);
            [release_some(pools, front), release_some(pools, back)].concat()
        }
        Err(StoreError::Invalid(_) | StoreError::Missing(_)) => {
            vec![Released::Changed; entries.len()]
        }
        Err(error) => vec![Released::Failed(error.to_string()); entries.len()],
    }
}

fn add_release(patch: Patch, entry: &Holder) -> Patch {
    let path = ["spec", "allocations", entry.key.as_str()];
    let field = |name| [path.as_slice(), &[name]].concat();
    let patch = patch
        .test(&field("id"), entry.container.as_str())
        .test(&field("podref"), entry.pod.as_str())
        .remove(&path);
    entry.notes.iter().fold(patch, |patch, (name, value)| {
        let place = ["metadata", "annotations", name.as_str()];
        patch.test(&place, value.as_str()).remove(&place)
    })
}
