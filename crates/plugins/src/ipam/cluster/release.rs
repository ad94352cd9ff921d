//! One address given back: the entry of its pool first, then its reservation, each only if it is
//! the attachment's own. No I/O, no clock.

use std::net::IpAddr;

use super::entry::{self, Owner};
use super::name;
use super::object::{Entry, Object, Pool, Reservation};
use super::store::{Action, Kind, Request, StoreError};

/// How often an object that others change is read again.
const TRIES: u32 = 8;

/// What is to be given back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Lot {
    /// The namespace of the objects.
    pub(crate) namespace: String,
    /// The pool.
    pub(crate) pool: String,
    /// The address' place in the pool; none if it is not known.
    pub(crate) offset: Option<u128>,
    /// The address; none if it is not known.
    pub(crate) address: Option<IpAddr>,
    /// What names of reservations begin with.
    pub(crate) network: Option<String>,
    /// Whether there may be a reservation.
    pub(crate) overlapping: bool,
    /// Whether whereabouts may have made the reservation, which then names no container.
    pub(crate) by_whereabouts: bool,
    /// Whose it is.
    pub(crate) owner: Owner,
    /// Until when the entry is kept for a pod of the same name, in seconds since 1970, instead of
    /// being given back.
    pub(crate) keep_until: Option<u64>,
}

/// The request that is next.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Takes the entry out of a pool that was not read.
    RemoveUnread,
    Read,
    /// Changes the pool as it was read.
    Change(Box<Pool>, u128),
    ReadReservation,
    RemoveReservation(Reservation),
    Done,
}

/// The release of one address.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    lot: Lot,
    step: Step,
    tries: u32,
}

impl Release {
    /// Gives `lot` back. An entry that was kept has an annotation, so that its pool is read first.
    pub(crate) fn new(lot: Lot, was_kept: bool) -> Self {
        let is_known = lot.offset.is_some() && lot.keep_until.is_none() && !was_kept;
        let step = if is_known { Step::RemoveUnread } else { Step::Read };
        Self { lot, step, tries: 0 }
    }

    /// The next request; none once nothing of it is left.
    pub(crate) fn request(&self) -> Option<Request> {
        let of =
            |kind, action| Some(Request { kind, namespace: self.lot.namespace.clone(), action });
        let pool = || self.lot.pool.clone();
        match &self.step {
            Step::RemoveUnread => {
                let patch = entry::remove(self.lot.offset?, &self.lot.owner);
                of(Kind::Pool, Action::Patch(pool(), patch))
            }
            Step::Read => of(Kind::Pool, Action::Get(pool())),
            Step::Change(read, offset) => {
                let patch = match self.lot.keep_until {
                    Some(until) => entry::keep_until(read, *offset, &self.lot.owner, until),
                    None => entry::remove_from(read, *offset, read.entries.get(offset)?),
                };
                of(Kind::Pool, Action::Patch(pool(), patch))
            }
            Step::ReadReservation => of(Kind::Reservation, Action::Get(self.reservation_name()?)),
            Step::RemoveReservation(found) => {
                of(Kind::Reservation, Action::delete_unchanged(&found.metadata))
            }
            Step::Done => None,
        }
    }

    fn reservation_name(&self) -> Option<String> {
        Some(name::reservation(self.lot.address?, self.lot.network.as_deref()))
    }

    /// Takes the answer to the request.
    ///
    /// # Errors
    /// Why the address is not given back; it is to be tried again later.
    pub(crate) fn answer(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<(), StoreError> {
        match &self.step {
            Step::RemoveUnread => self.removed_unread(answer),
            Step::Read => self.read(answer),
            Step::Change(..) => self.changed(answer),
            Step::ReadReservation => self.reservation_read(answer),
            Step::RemoveReservation(_) => self.reservation_removed(answer),
            Step::Done => Ok(()),
        }
    }

    fn removed_unread(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<(), StoreError> {
        match answer {
            Ok(_) | Err(StoreError::Missing(_) | StoreError::NoKind(_)) => self.go_to_reservation(),
            Err(error @ (StoreError::Conflict(_) | StoreError::Invalid(_))) => self.again(error),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<(), StoreError> {
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(StoreError::Missing(_) | StoreError::NoKind(_)) => return self.go_to_reservation(),
            Err(error) => return Err(error),
        };
        let pool: Pool = decode(&bytes, Kind::Pool, &self.lot.pool)?;
        let found = pool.entries.iter().find(|(offset, entry)| self.is_ours(**offset, entry));
        if let Some(offset) = found.map(|(offset, _)| *offset) {
            self.lot.address = self.lot.address.or_else(|| pool.address(offset));
            self.step = Step::Change(Box::new(pool), offset);
            return Ok(());
        }
        // Taken over by the pod that has its name now: the reservation is that pod's, too.
        let place = self.lot.offset.and_then(|offset| pool.entries.get(&offset));
        if place.is_some_and(|entry| entry.podref == self.lot.owner.podref) {
            self.step = Step::Done;
            return Ok(());
        }
        self.go_to_reservation()
    }

    fn is_ours(&self, offset: u128, entry: &Entry) -> bool {
        let is_here = self.lot.offset.is_none_or(|known| known == offset);
        let is_old = entry.ifname.is_empty() && self.lot.by_whereabouts;
        let is_interface = entry.ifname == self.lot.owner.interface || is_old;
        is_here && entry.id == self.lot.owner.container && is_interface
    }

    fn changed(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<(), StoreError> {
        match answer {
            Ok(_) if self.lot.keep_until.is_some() => {
                self.step = Step::Done;
                Ok(())
            }
            Ok(_) | Err(StoreError::Missing(_) | StoreError::NoKind(_)) => self.go_to_reservation(),
            Err(error @ (StoreError::Conflict(_) | StoreError::Invalid(_))) => self.again(error),
            Err(error) => Err(error),
        }
    }

    fn again(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.tries = self.tries.saturating_add(1);
        if self.tries > TRIES {
            return Err(error);
        }
        self.step = Step::Read;
        Ok(())
    }

    fn go_to_reservation(&mut self) -> Result<(), StoreError> {
        let has_one = self.lot.overlapping && self.lot.address.is_some();
        let is_kept = self.lot.keep_until.is_some();
        self.step = if has_one && !is_kept { Step::ReadReservation } else { Step::Done };
        Ok(())
    }

    fn reservation_read(&mut self, answer: Result<Vec<u8>, StoreError>) -> Result<(), StoreError> {
        let found: Reservation = match answer {
            Ok(bytes) => {
                let name = self.reservation_name().unwrap_or_default();
                decode(&bytes, Kind::Reservation, &name)?
            }
            Err(StoreError::Missing(_) | StoreError::NoKind(_)) => {
                self.step = Step::Done;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let owner = &self.lot.owner;
        let is_old = self.lot.by_whereabouts && found.container.is_empty();
        let is_ours = found.podref == owner.podref
            && (found.container == owner.container || is_old)
            && (found.ifname == owner.interface || found.ifname.is_empty());
        self.step = if is_ours { Step::RemoveReservation(found) } else { Step::Done };
        Ok(())
    }

    fn reservation_removed(
        &mut self,
        answer: Result<Vec<u8>, StoreError>,
    ) -> Result<(), StoreError> {
        match answer {
            Ok(_) | Err(StoreError::Missing(_) | StoreError::NoKind(_)) => {
                self.step = Step::Done;
                Ok(())
            }
            Err(error @ (StoreError::Conflict(_) | StoreError::Invalid(_))) => {
                self.again(error)?;
                self.step = Step::ReadReservation;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn decode<T: Object>(bytes: &[u8], kind: Kind, name: &str) -> Result<T, StoreError> {
    let unreadable = |problem| {
        StoreError::Answer(format!("{} \"{name}\" cannot be read: {problem}", kind.noun()))
    };
    T::decode(bytes).map_err(unreadable)
}
