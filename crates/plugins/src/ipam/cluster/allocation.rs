//! One address of one range, from reading the pool to the last check: which request is next, and
//! what its answer means. No I/O, no clock.
//!
//! With reservations, the reservation decides who has an address, and is made before the entry of
//! the pool. whereabouts' reconciler may take a reservation without an entry for an orphan, so it
//! is read again behind the pool's write.

pub(crate) mod answer;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::entry::{self, Owner};
use super::name;
use super::object::{Pool, Reservation};
use super::patch::Patch;
use super::range::Range;
use super::store::{Action, Kind, Request, StoreError};

/// How often an address is tried at most: as whereabouts does.
const TRIES: u32 = 100;
/// How often the same free address is written without success before it is an error.
const SAME: u32 = 3;
/// From this size on, the log warns of a pool.
const LARGE: usize = 256 << 10;

/// What an attachment wants of one range.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The namespace of the objects.
    pub(crate) namespace: String,
    /// The pool's name.
    pub(crate) pool: String,
    /// The range.
    pub(crate) range: Range,
    /// What names of reservations begin with.
    pub(crate) network: Option<String>,
    /// Whether a reservation decides.
    pub(crate) overlapping: bool,
    /// The address that is asked for.
    pub(crate) asked: Option<IpAddr>,
    /// The claim that the address is kept for, as `namespace/name`.
    pub(crate) claim: Option<String>,
    /// The number that the search begins at.
    pub(crate) start: u128,
    /// Whose the address will be.
    pub(crate) owner: Owner,
}

/// Why a range gives no address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Every address is taken.
    #[error(
        "range {range} is full: {used} addresses of address pool \"{pool}\" are taken; widen the \
         range, or see who has them with: braid addresses list"
    )]
    Full { pool: String, range: String, used: usize },
    /// The address that is asked for is another's.
    #[error("requested address {address} is taken by {holder}: ask for another")]
    Taken { address: IpAddr, holder: String },
    /// The pool is not one of this range.
    #[error("address pool \"{pool}\" is of range \"{found}\" and not of {expected}: remove one")]
    OtherRange { pool: String, found: String, expected: String },
    /// Others had every address that was tried.
    #[error("address pool \"{pool}\": others had each of {TRIES} addresses first: try again")]
    Lost { pool: String },
    /// The pool has reached the size that the server takes.
    #[error(
        "address pool \"{pool}\" has {entries} entries in {kib} KiB, and takes no more: {said}; \
         spread the addresses over several pools with \"node_slice_size\", or over several ranges"
    )]
    TooLarge { pool: String, entries: usize, kib: usize, said: String },
    /// The store gives no usable answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An object cannot be read.
    #[error("{what} cannot be read: {problem}")]
    Unreadable { what: String, problem: String },
}

/// How long to wait before the next request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Pause {
    /// Not at all.
    None,
    /// Others had the address first, so often by now.
    Lost(u32),
    /// Others have changed the object meanwhile, so often by now.
    Contended(u32),
    /// The store cannot answer now: what it says, and how long it asks to wait.
    Outage(StoreError, Option<Duration>),
}

/// The request that is next.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Read,
    CreatePool,
    /// Makes the reservation.
    Reserve,
    /// Reads a reservation that is there.
    ReadReservation,
    /// Puts our container into a reservation of our pod.
    TakeReservation,
    /// Writes the pool.
    Write,
    /// Reads the reservation again.
    Confirm,
    /// Takes our reservation back after a write that failed; then reads again.
    GiveUp,
    Done,
}

/// The allocation of one address.
#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    wish: Wish,
    step: Step,
    pool: Pool,
    /// The number of the address that was chosen.
    chosen: Option<u128>,
    /// Addresses that others have reserved.
    reserved: BTreeSet<u128>,
    reservation: Option<Reservation>,
    /// How often another had the address first.
    lost: u32,
    /// How often the object was changed under a write.
    contended: u32,
    tries: u32,
    same: u32,
    /// Whether the server refused the last write.
    was_refused: bool,
    /// Spreads those that try again.
    skip: usize,
}

impl Allocation {
    pub(crate) fn new(wish: Wish) -> Self {
        Self {
            wish,
            step: Step::Read,
            pool: Pool::default(),
            chosen: None,
            reserved: BTreeSet::new(),
            reservation: None,
            lost: 0,
            contended: 0,
            tries: 0,
            same: 0,
            was_refused: false,
            skip: 0,
        }
    }

    /// What it was started with.
    pub(crate) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// The number of the address, once it is ours.
    pub(crate) fn address(&self) -> Option<u128> {
        self.chosen.filter(|_| self.step == Step::Done)
    }

    /// The offset and the address that the next request writes, if it writes one.
    pub(crate) fn writes(&self) -> Option<(u128, IpAddr)> {
        let writes = [Step::Reserve, Step::TakeReservation, Step::Write];
        let ip = self.wish.range.address(self.chosen.filter(|_| writes.contains(&self.step))?);
        Some((self.pool.offset(ip)?, ip))
    }

    /// Spreads the next choice over so many free addresses.
    pub(crate) fn set_skip(&mut self, skip: usize) {
        self.skip = skip;
    }

    /// The next request; none once the address is ours.
    pub(crate) fn request(&self) -> Option<Request> {
        let of =
            |kind, action| Some(Request { kind, namespace: self.wish.namespace.clone(), action });
        let pool = || self.wish.pool.clone();
        let Owner { container, podref, interface } = &self.wish.owner;
        match self.step {
            Step::Read => of(Kind::Pool, Action::Get(pool())),
            Step::CreatePool => {
                let object = Pool::empty(&self.wish.pool, self.wish.range.subnet());
                of(Kind::Pool, Action::Create(object))
            }
            Step::Reserve => {
                let object = Reservation::made(&self.reserved_as(), podref, interface, container);
                of(Kind::Reservation, Action::Create(object))
            }
            Step::ReadReservation | Step::Confirm => {
                of(Kind::Reservation, Action::Get(self.reserved_as()))
            }
            Step::TakeReservation => {
                of(Kind::Reservation, Action::Patch(self.reserved_as(), self.take_over()))
            }
            Step::Write => of(Kind::Pool, Action::Patch(pool(), self.entry())),
            Step::GiveUp => {
                let reservation = self.reservation.as_ref()?;
                of(Kind::Reservation, Action::delete_unchanged(&reservation.metadata))
            }
            Step::Done => None,
        }
    }

    fn reserved_as(&self) -> String {
        let ip = self.wish.range.address(self.chosen.unwrap_or_default());
        name::reservation(ip, self.wish.network.as_deref())
    }

    fn entry(&self) -> Patch {
        let ip = self.wish.range.address(self.chosen.unwrap_or_default());
        let offset = self.pool.offset(ip).unwrap_or_default();
        entry::write(&self.pool, offset, &self.wish.owner, self.wish.claim.as_deref())
    }

    fn take_over(&self) -> Patch {
        let version = self.reservation.as_ref().map(|it| it.metadata.resource_version.clone());
        let Owner { container, podref, interface } = &self.wish.owner;
        Patch::new()
            .test(&["metadata", "resourceVersion"], version)
            .add(&["spec", "podref"], podref.clone())
            .add(&["spec", "ifname"], interface.clone())
            .add(&["spec", "containerid"], container.clone())
    }
}
