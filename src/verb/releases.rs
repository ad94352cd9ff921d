//! Cluster-wide addresses that a DEL could not give back: every later call carries them on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::kube::ApiStores;
use cni::deadline::Deadline;
use plugins::ipam::cluster::{CarriedOn, JOURNAL, carry_on as carry_on_journal, noted};

/// The journal of addresses that is the node's own.
pub(crate) fn own_journal(state_dir: &Path) -> PathBuf {
    state_dir.join("addresses")
}

/// The journals of this node: the one that definitions have by default, the one in the state
/// directory, and those that these have notes of (`dataDir`).
fn journals(state_dir: &Path) -> BTreeSet<PathBuf> {
    let own = [PathBuf::from(JOURNAL), own_journal(state_dir)];
    own.iter().flat_map(|home| noted(home, Path::new("/"))).chain(own.clone()).collect()
}

/// Gives back what is due on this node, until `deadline`.
pub(crate) fn carry_on(state_dir: &Path, deadline: Deadline) -> CarriedOn {
    let journals = journals(state_dir);
    let mut all = CarriedOn::default();
    for (number, journal) in journals.iter().enumerate() {
        let deadline = deadline.share(journals.len().saturating_sub(number));
        match carry_on_journal(journal, &ApiStores, deadline) {
            Ok(CarriedOn { done, left, problem }) => {
                all.done += done;
                all.left += left;
                all.problem = all.problem.or(problem);
            }
            Err(problem) => drop(all.problem.get_or_insert(problem)),
        }
    }
    if let Some(problem) = &all.problem {
        log::warn!("addresses of {} attachments are given back later: {problem}", all.left);
    }
    all
}
