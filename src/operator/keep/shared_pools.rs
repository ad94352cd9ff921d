//! How much is left of the cluster's pools that this node has addresses of, for `/metrics`: read by a
//! thread of its own, seldom, and shown as it was read last. No scrape waits for the API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::operator::addresses::{Pools, held_by_node, usage};
use crate::operator::installation::Installation;
use crate::operator::node::{self, Directories};
use crate::operator::runtime::below;
use plugins::ipam::cluster::HeldPool;

/// How often the pools are read: each node reads whole objects.
const PAUSE: Duration = Duration::from_mins(5);
/// By how much nodes that start together drift apart.
const SPREAD: u32 = 60;
/// How many are read, and shown.
const MOST: usize = 16;

/// What is left of a pool: the addresses for pods, and how many of them no entry has.
pub(super) type Left = (u128, u128);

/// The pools as they were read last, by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedPools(Arc<Mutex<BTreeMap<String, Left>>>);

impl SharedPools {
    /// Begins to read them, for as long as the process lives.
    pub(super) fn watch(root: &Path, directories: &Directories) -> Self {
        let pools = Self::default();
        let (read, root, directories) = (pools.clone(), root.to_owned(), directories.clone());
        let watching = move || {
            loop {
                let found = read_all(&root, &directories);
                *read.lock() = found;
                std::thread::sleep(
                    PAUSE + Duration::from_secs(u64::from(std::process::id() % SPREAD)),
                );
            }
        };
        if let Err(error) = std::thread::Builder::new().name("pools".to_owned()).spawn(watching) {
            log::error!("the cluster's pools are not shown: {error}");
        }
        pools
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read last. A pool that could not be read is not there.
    pub(super) fn shown(&self) -> BTreeMap<String, Left> {
        self.lock().clone()
    }
}

fn read_all(root: &Path, directories: &Directories) -> BTreeMap<String, Left> {
    let held = state_directory(root, directories)
        .map_or(Ok(Vec::new()), |state_dir| held_by_node(&state_dir, root));
    let held = held.unwrap_or_else(|problem| {
        log::warn!("the cluster's pools are not shown: {problem}");
        Vec::new()
    });
    if held.len() > MOST {
        log::warn!("this node has addresses of {} pools: {MOST} are shown", held.len());
    }
    held.iter().take(MOST).filter_map(|held| read(held, root)).collect()
}

fn state_directory(root: &Path, directories: &Directories) -> Option<PathBuf> {
    let runtime = node::runtime(directories, root).ok()?;
    let places = Installation::all(&below(root, &runtime.conf_dir), &["braid"]);
    let config = places.first()?.config_for_teardown().ok()?;
    Some(below(root, &config.state_dir))
}

/// A container has an account of its own: the node's credential names files of the node.
fn read(held: &HeldPool, root: &Path) -> Option<(String, Left)> {
    let pools = match root == Path::new("/") {
        true => Pools::of_held(held),
        false => Pools::of_pod(&held.namespace),
    };
    match pools.and_then(|mut pools| pools.pool(&held.pool)) {
        Ok(pool) => Some((held.pool.clone(), usage(&pool)?)),
        Err(error) => {
            log::warn!("pool {} is not shown: {error}", held.pool);
            None
        }
    }
}
