//! The pods that entries name: the living are listed once, all others are asked for by name, which
//! is what decides.

use std::collections::BTreeMap;

use super::AddressesError;
use super::holder::{Presence, pod_of};
use crate::kube::{Cluster, ClusterError};

/// How many pods are asked for at the same time.
const AT_ONCE: usize = 32;

/// What is known of the cluster's pods, by `namespace/name`.
#[derive(Debug, Default)]
pub(super) struct PodIndex {
    known: BTreeMap<String, Presence>,
}

impl PodIndex {
    /// The pods that have not ended.
    ///
    /// # Errors
    /// [`AddressesError`].
    pub(super) fn of_living(cluster: &mut Cluster) -> Result<Self, AddressesError> {
        let mut known = BTreeMap::new();
        // Those that are started first: a pod that begins to run meanwhile is in one list at least.
        for are_running in [false, true] {
            let mut next = String::new();
            loop {
                let page = cluster.living_pods(are_running, &next)?;
                let pods = page.pods.into_iter();
                known.extend(pods.map(|(name, state)| (name, Presence::Present(state))));
                next = page.next;
                if next.is_empty() {
                    break;
                }
            }
        }
        Ok(Self { known })
    }

    /// Asks for those of `podrefs` that are not known. What names no pod stays unknown.
    ///
    /// # Errors
    /// [`AddressesError`] if a pod is neither found nor known to be absent.
    pub(super) fn look_up<'p>(
        &mut self,
        cluster: &mut Cluster,
        podrefs: impl Iterator<Item = &'p str>,
    ) -> Result<(), AddressesError> {
        let mut unknown: Vec<&str> =
            podrefs.filter(|podref| !self.known.contains_key(*podref)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let wanted: Vec<_> =
            unknown.into_iter().filter_map(|podref| Some((podref, pod_of(podref)?))).collect();
        for chunk in wanted.chunks(AT_ONCE) {
            let names: Vec<_> = chunk.iter().map(|(_, pod)| pod.clone()).collect();
            for ((podref, _), answer) in chunk.iter().zip(cluster.pod_states(&names)) {
                let presence = match answer {
                    Ok(state) => Presence::Present(state),
                    Err(ClusterError::NotFound { .. }) => Presence::Absent,
                    Err(error) => return Err(error.into()),
                };
                self.known.insert((*podref).to_owned(), presence);
            }
        }
        Ok(())
    }

    /// What is known of a pod; `None` if the entry names none.
    pub(super) fn get(&self, podref: &str) -> Option<&Presence> {
        self.known.get(podref)
    }
}
