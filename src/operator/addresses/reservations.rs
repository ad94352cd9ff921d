//! Reservations (`OverlappingRangeIPReservation`) of pods that are gone or have ended.

use serde::Serialize;

use super::AddressesError;
use super::holder::HolderState;
use super::kept::KeptReservations;
use super::pods::PodIndex;
use super::release::Released;
use super::store::Pools;
use plugins::ipam::cluster::object::{Page, Reservation};
use plugins::ipam::cluster::store::{Action, Kind, StoreError};

/// How many reservations a page has.
const PAGE_RESERVATIONS: u32 = 500;

/// A reservation that nothing holds any more.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StaleReservation {
    pub(super) name: String,
    pub(super) pod: String,
    pub(super) state: HolderState,
    #[serde(skip)]
    uid: String,
    #[serde(skip)]
    version: String,
}

impl StaleReservation {
    /// Whether it is the same object, and has not changed.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.uid, &self.version) == (&other.name, &other.uid, &other.version)
    }

    /// Removes it, if it is still the one that was seen.
    pub(super) fn release(&self, pools: &mut Pools) -> Released {
        let action = Action::Delete {
            name: self.name.clone(),
            uid: Some(self.uid.clone()),
            resource_version: Some(self.version.clone()),
        };
        match pools.send(Kind::Reservation, action) {
            Ok(_) => Released::Done,
            Err(StoreError::Missing(_) | StoreError::Conflict(_)) => Released::Changed,
            Err(error) => Released::Failed(error.to_string()),
        }
    }
}

/// The stale reservations of the namespace, up to `limit`.
///
/// # Errors
/// [`AddressesError`]. A cluster that does not know reservations has none.
pub(super) fn stale(
    pools: &mut Pools,
    index: &mut PodIndex,
    kept: &KeptReservations,
    limit: usize,
) -> Result<Vec<StaleReservation>, AddressesError> {
    let (mut stale, mut next) = (Vec::new(), String::new());
    loop {
        let page: Page<Reservation> = match pools.page(Kind::Reservation, PAGE_RESERVATIONS, &next)
        {
            Err(AddressesError::Store(StoreError::NoKind(_))) => return Ok(stale),
            page => page?,
        };
        index.look_up(&mut pools.cluster, page.items.iter().map(|it| it.podref.as_str()))?;
        stale.extend(page.items.into_iter().filter_map(|found| judge(found, index, kept)));
        if page.next.is_empty() || stale.len() >= limit {
            stale.truncate(limit);
            return Ok(stale);
        }
        next = page.next;
    }
}

fn judge(
    found: Reservation,
    index: &PodIndex,
    kept: &KeptReservations,
) -> Option<StaleReservation> {
    let Reservation { metadata, podref, .. } = found;
    let state = HolderState::of(index.get(&podref), None, kept.has(&podref, &metadata.name));
    state.is_stale().then_some(StaleReservation {
        name: metadata.name,
        pod: podref,
        state,
        uid: metadata.uid,
        version: metadata.resource_version,
    })
}
