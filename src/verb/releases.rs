//! Cluster-wide addresses that a DEL could not give back: every later call carries them on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::kube::ApiStores;
use cni::deadline::Deadline;
use plugins::ipam::cluster::{CarriedOn, JOURNAL, carry_on as carry_on_journal};

/// Gives back what is due on this node, until `deadline`: in the journal that definitions have by
/// default, and in that of the state directory.
pub(crate) fn carry_on(state_dir: &Path, deadline: Deadline) -> CarriedOn {
    let journals = BTreeSet::from([PathBuf::from(JOURNAL), state_dir.join("addresses")]);
    let mut all = CarriedOn::default();
    for journal in journals {
        match carry_on_journal(&journal, &ApiStores, deadline) {
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
