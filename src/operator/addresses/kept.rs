//! Entries that outlive their pod: for a pod of the same name (`sticky`), or by an IPAMClaim. The
//! annotations of the pool say so.

use std::collections::{BTreeMap, BTreeSet};

use super::AddressesError;
use super::holder::HolderState;
use super::list::Holder;
use super::store::Pools;
use plugins::ipam::cluster::object::Pool;
use plugins::ipam::cluster::store::{Action, Kind, Request, StoreError};
use plugins::ipam::cluster::{claim_annotation, expiry_annotation, name};

/// What a pool's annotations say of the entry at an offset: names and values.
pub(super) fn notes(pool: &Pool, offset: u128) -> Vec<(String, String)> {
    let names = [expiry_annotation(offset), claim_annotation(offset)];
    let noted = names.into_iter().filter_map(|name| {
        let value = pool.metadata.annotations.get(&name)?.clone();
        Some((name, value))
    });
    noted.collect()
}

/// The claims that were asked for, and whether they exist.
#[derive(Debug, Default)]
pub(super) struct Claims {
    known: BTreeMap<String, bool>,
}

impl Claims {
    /// Whether the entry at an offset is kept at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`AddressesError`] if a claim can be neither found nor known to be absent.
    pub(super) fn keep(
        &mut self,
        pools: &mut Pools,
        pool: &Pool,
        offset: u128,
        now: u64,
    ) -> Result<bool, AddressesError> {
        let annotations = &pool.metadata.annotations;
        let until = annotations.get(&expiry_annotation(offset)).and_then(|it| it.parse().ok());
        if until.is_some_and(|until: u64| until > now) {
            return Ok(true);
        }
        match annotations.get(&claim_annotation(offset)) {
            Some(claim) => self.exists(pools, claim),
            None => Ok(false),
        }
    }

    /// Whether there is a claim of this `namespace/name`.
    fn exists(&mut self, pools: &mut Pools, claim: &str) -> Result<bool, AddressesError> {
        if let Some(exists) = self.known.get(claim) {
            return Ok(*exists);
        }
        let exists = match claim.split_once('/') {
            Some((namespace, name)) => asked(pools, namespace, name)?,
            None => false,
        };
        self.known.insert(claim.to_owned(), exists);
        Ok(exists)
    }
}

fn asked(pools: &mut Pools, namespace: &str, name: &str) -> Result<bool, StoreError> {
    let request = Request {
        kind: Kind::Claim,
        namespace: namespace.to_owned(),
        action: Action::Get(name.to_owned()),
    };
    match pools.send_request(&request) {
        Ok(_) => Ok(true),
        Err(StoreError::Missing(_) | StoreError::NoKind(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The reservations of entries that are kept: pod, and the end of the reservation's name.
#[derive(Debug, Default)]
pub(super) struct KeptReservations {
    all: BTreeSet<(String, String)>,
}

impl KeptReservations {
    /// Notes an entry, if it is kept.
    pub(super) fn add(&mut self, holder: &Holder) {
        let address = holder.address.filter(|_| holder.state == HolderState::Kept);
        if let Some(address) = address {
            self.all.insert((holder.pod.clone(), name::reservation(address, None)));
        }
    }

    /// Whether the reservation of this pod and name is of an entry that is kept. A network's name
    /// may stand in front of the address.
    pub(super) fn has(&self, podref: &str, name: &str) -> bool {
        self.all.iter().any(|(pod, address)| {
            let is_own = |front: &str| front.is_empty() || front.ends_with('-');
            pod == podref && name.strip_suffix(address.as_str()).is_some_and(is_own)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reservation_of_a_kept_entry_is_known_by_its_pod_and_address() {
        let mut kept = KeptReservations::default();
        for (pod, address, state) in [
            ("shop/web", "10.9.0.7", HolderState::Kept),
            ("shop/db", "10.9.0.8", HolderState::PodGone),
        ] {
            let address = address.parse().ok();
            kept.add(&Holder { pod: pod.to_owned(), address, state, ..Holder::default() });
        }
        for (pod, name, expected) in [
            ("shop/web", "10.9.0.7", true),
            ("shop/web", "blue-10.9.0.7", true),
            ("shop/web", "110.9.0.7", false),
            ("shop/db", "10.9.0.7", false),
            ("shop/db", "10.9.0.8", false),
        ] {
            assert_eq!(kept.has(pod, name), expected, "{pod} {name}");
        }
    }
}
