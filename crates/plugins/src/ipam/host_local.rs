//! The IPAM plugin `host-local`: addresses of ranges, reserved in a directory of this node that it
//! shares with the reference plugin of that name. Either gives back what the other has reserved.

mod choice;
mod config;
mod range;
mod resolv_conf;
mod store;
#[cfg(test)]
mod tests;
mod usage;

use std::net::IpAddr;
use std::time::SystemTime;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::result::AttachmentResult;

use self::config::Config;
use self::range::{Range, RangeSet};
use self::store::{Owner, Reservation, Store};
use super::fields::invalid;
use super::result::{Dns, Lease, ROUTES};
use crate::BuiltIn;
use crate::facts::{Facts, HostState, Key, Property, Shape};
use crate::mark;

pub use self::usage::{RangeUsage, usage};

/// The IPAM plugin `host-local`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostLocal;

const RANGE: &[Key] = &[
    Key::open("subnet", Shape::Subnet),
    Key::open("rangeStart", Shape::Address),
    Key::open("rangeEnd", Shape::Address),
    Key::open("gateway", Shape::Address),
];

/// What is known of it.
const FACTS: Facts = Facts {
    properties: &[Property::OpenToTenants, Property::OneAddressInArgs],
    keys: &[
        Key::open("ranges", Shape::Ranges(RANGE)),
        Key::open("subnet", Shape::Subnet),
        Key::open("rangeStart", Shape::Address),
        Key::open("rangeEnd", Shape::Address),
        Key::open("gateway", Shape::Address),
        ROUTES,
        Key::host("dataDir", Shape::Text),
        Key::host("resolvConf", Shape::Text),
    ],
    host_state: HostState::Reservations,
    failures: &[
        (
            "no ip addresses available in range set",
            "widen the range in the definition; braid gc --dry-run names addresses that no pod \
             holds any more",
        ),
        (
            "requested ip address",
            "another pod has it, or the network does: ask for another, or leave \"ips\" out",
        ),
        (
            "failed to allocate all requested ips",
            "ask for one in the network's range, or leave \"ips\" out",
        ),
    ],
    ..Facts::ipam("host-local")
};

impl BuiltIn for HostLocal {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for HostLocal {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = Config::read(call)?;
        let requested = choice::assign(&config.sets, &config.requested)?;
        let dns = config.resolv_conf.as_deref().map_or(Ok(Dns::default()), resolv_conf::read)?;
        let mut reserving = Reserving {
            owner: Owner::of(call)?,
            store: Store::create(&config.directory, context, call)?,
            made: Vec::new(),
        };
        match reserving.reserve_each(&config.sets, &requested, context) {
            Ok(leases) => Ok(AttachmentResult {
                ips: leases.into_iter().map(Lease::to_address).collect(),
                routes: config.routes,
                dns: dns.to_value(),
                ..AttachmentResult::default()
            }),
            Err(error) => Err(reserving.undo(error)),
        }
    }

    /// Needs no ranges: an address is found by its owner.
    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let directory = config::directory(call)?;
        let owner = Owner::of(call)?;
        let Some(store) = Store::open(&directory, context)? else { return Ok(()) };
        for reservation in owner.filter(store.reservations(context)?) {
            store.release(&reservation)?;
        }
        Ok(())
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let config = Config::read(call)?;
        let owner = Owner::of(call)?;
        let store = Store::open(&config.directory, context)?;
        let reservations = store.map_or(Ok(Vec::new()), |store| store.reservations(context))?;
        if owner.filter(reservations).is_empty() {
            let directory = config.directory.display();
            let problem = format!(
                "{owner} has no reservation in {directory}: its address may be given to another pod"
            );
            return Err(Error::new(Code::DRIFT, problem));
        }
        Ok(())
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        // Ranges may come with each pod, by the capability `ipRanges`.
        let config = Config::read_for_status(call)?;
        let unavailable = |error: Error| Error { code: Code::NOT_AVAILABLE, ..error };
        let Some(store) = Store::open(&config.directory, context).map_err(unavailable)? else {
            return Ok(());
        };
        let taken: Vec<IpAddr> = store.reservations(context)?.iter().map(|it| it.address).collect();
        match config.sets.iter().find(|set| choice::is_full(set, &taken)) {
            None => Ok(()),
            Some(set) => {
                let directory = config.directory.display();
                let problem = format!("{set} is full: every address is reserved in {directory}");
                Err(Error::new(Code::NOT_AVAILABLE, problem))
            }
        }
    }

    /// Releases reservations that carry the mark of a call from where this one comes from, and are
    /// older than the list of valid attachments.
    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let started = SystemTime::now();
        let Some(valid) = call.valid_attachments()? else { return Ok(()) };
        let directory = config::directory(call)?;
        let Some(store) = Store::open(&directory, context)? else { return Ok(()) };
        let listed_at = mark::listed_at(call, started);
        for reservation in store.reservations(context)? {
            let stale = reservation.is_marked_by(call) && reservation.made < listed_at;
            if stale && !valid.iter().any(|it| reservation.owner.is(&it.container, &it.interface)) {
                log::info!(
                    "address {} of {} is given back: the attachment is gone",
                    reservation.address,
                    reservation.owner
                );
                store.release(&reservation)?;
            }
        }
        Ok(())
    }
}

/// An ADD under the lock, with what it has reserved so far.
struct Reserving {
    owner: Owner,
    store: Store,
    made: Vec<Reservation>,
}

impl Reserving {
    fn reserve_each(
        &mut self,
        sets: &[RangeSet],
        requested: &[Option<IpAddr>],
        context: &Context<'_>,
    ) -> Result<Vec<Lease>, Error> {
        let mut held = self.store.reservations(context)?;
        self.store.release_torn(&mut held)?;
        let mut leases = Vec::with_capacity(sets.len());
        for (index, (set, requested)) in sets.iter().zip(requested).enumerate() {
            context.proceed()?;
            let (address, range) = match requested {
                Some(address) => choice::requested(set, *address, &held)?,
                None => self.choose(index, set, &held)?,
            };
            self.made.push(self.store.reserve(index, address, &self.owner)?);
            leases.push(range.lease(address)?);
        }
        Ok(leases)
    }

    fn choose<'s>(
        &self,
        index: usize,
        set: &'s RangeSet,
        held: &[Reservation],
    ) -> Result<(IpAddr, &'s Range), Error> {
        let own = held.iter().find(|it| set.contains(it.address) && it.owner.is_same(&self.owner));
        if let Some(reservation) = own {
            let (owner, address) = (&self.owner, reservation.address);
            return Err(invalid(format!(
                "{owner} holds address {address} already: it needs DEL before it is added again"
            )));
        }
        let taken: Vec<IpAddr> = held.iter().map(|it| it.address).collect();
        choice::next(set, self.store.last_reserved(index), &taken).ok_or_else(|| {
            let problem = format!(
                "no address is free in {set}: all are reserved in {}",
                self.store.directory().display()
            );
            Error::new(Code::TRY_AGAIN, problem)
        })
    }

    /// Gives back what this call has reserved, and nothing that was there before it.
    fn undo(self, error: Error) -> Error {
        for reservation in self.made.iter().rev() {
            if let Err(failure) = self.store.release(reservation) {
                log::error!("{failure}");
            }
        }
        error
    }
}
