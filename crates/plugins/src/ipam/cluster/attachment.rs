//! The operations on one attachment: its addresses taken, checked and given back.

use std::net::IpAddr;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::family::Family;
use cni::plugin::{Call, Context};
use cni::result::{Address, AttachmentResult};
use ipnetwork::IpNetwork;

use super::allocation::Allocation;
use super::allocation::answer::shown;
use super::claim;
use super::config::Config;
use super::engine;
use super::entry::Owner;
use super::give_back;
use super::journal::{Header, Journal, JournalError, Open, Recorded, Written};
use super::object::{Object, Pool};
use super::place::{self, no_kubeconfig, store_error};
use super::range::Range;
use super::store::{Action, AddressStore, Kind, OpenStore, Opened, Request};
use crate::ipam::result::Lease;

/// How long taking back may take after an ADD that failed, whatever time the call has left.
const UNDO: Duration = Duration::from_secs(5);
/// How long ADD waits for a call that gives back what an earlier ADD has left.
const HELD: Duration = Duration::from_secs(5);
/// How long saying in a claim's status what was given may take.
const NOTE: Duration = Duration::from_secs(3);
/// How long reading what CHECK compares may take.
const CHECK: Duration = Duration::from_secs(5);

/// One attachment, with its configuration.
pub(super) struct Attached<'c> {
    call: &'c Call,
    config: Config,
    owner: Owner,
    journal: Journal,
    stores: &'c dyn OpenStore,
}

impl<'c> Attached<'c> {
    /// # Errors
    /// [`Error`] for a configuration that is not valid, and a call that is about no pod.
    pub(super) fn new(call: &'c Call, stores: &'c dyn OpenStore) -> Result<Self, Error> {
        let config = Config::read(call)?;
        let owner = place::owner(call)?;
        let journal = Journal::new(&config.directory);
        Ok(Self { call, config, owner, journal, stores })
    }

    /// ADD: an address of each range.
    ///
    /// # Errors
    /// [`Error`], after everything was given back or noted as due.
    pub(super) fn add(&self, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        if self.config.ranges.is_empty() {
            return Ok(self.result(Vec::new()));
        }
        let mut opened = self.open(context.deadline)?;
        let header = place::header(self.call, &self.config, &self.owner, &opened);
        let namespace = opened.namespace.clone();
        let deadline = context.deadline.within(UNDO);
        let store: &mut dyn AddressStore = &mut *opened.store;
        let pools = place::pools(&self.config, &namespace, store, deadline).map_err(store_error)?;
        let claim = claim::read(&self.config, &self.owner, store, deadline).map_err(store_error)?;
        let claimed = claim::addresses(claim.as_ref());
        let wishes = place::wishes(&self.config, &self.owner, &namespace, &pools, &claimed)?;
        let mut allocations: Vec<Allocation> = wishes.into_iter().map(Allocation::new).collect();
        let (open, outcome) = self.allocate(&mut allocations, &header, store, context);
        outcome.map_err(|error| self.undo(error, &header, open.as_ref()))?;
        drop(open);
        let given = self.given(&allocations)?;
        if let Some(claim) = &claim {
            claim::note(claim, &self.owner, &given, store, context.deadline.within(NOTE));
        }
        give_back::a_few(&self.journal, &header.server, self.stores, context.deadline);
        Ok(self.result(given.into_iter().map(|(lease, _)| lease).collect()))
    }

    /// The addresses, each with its range.
    fn given(&self, allocations: &[Allocation]) -> Result<Vec<(Lease, Range)>, Error> {
        let lease = |allocation: &Allocation| {
            let range = &allocation.wish().range;
            let number = allocation.address()?;
            Some(self.lease(range, number).map(|lease| (lease, range.clone())))
        };
        allocations.iter().filter_map(lease).collect()
    }

    fn open(&self, deadline: Deadline) -> Result<Opened, Error> {
        if self.config.access.kubeconfig.is_none() {
            return Err(no_kubeconfig());
        }
        self.stores.open(&self.config.access, deadline).map_err(store_error)
    }

    /// The journal is brought to the disk while the API answers the first requests, which write
    /// nothing. The record that was begun holds off other calls for the attachment.
    fn allocate(
        &self,
        allocations: &mut [Allocation],
        header: &Header,
        store: &mut dyn AddressStore,
        context: &Context<'_>,
    ) -> (Option<Open>, Result<(), Error>) {
        let until = context.deadline.within(HELD);
        thread::scope(|scope| {
            let begin = thread::Builder::new()
                .spawn_scoped(scope, || self.journal.begin(header, until))
                .map_err(|error| Error::new(Code::IO, format!("cannot start a thread: {error}")));
            let mut beginning = match begin {
                Ok(begin) => Beginning::Begun(begin),
                Err(error) => return (None, Err(error)),
            };
            let mut note = |pool: &str, place: (u128, IpAddr)| {
                beginning.open()?.note(Written::new(pool, Some(place))).map_err(journal_error)
            };
            let outcome = engine::allocate(allocations, store, context, &mut note);
            // What was begun has ended, whatever the outcome.
            let begun = beginning.open().and_then(|open| still_ours(open));
            let open = if let Beginning::Open(open) = beginning { Some(open) } else { None };
            (open, outcome.and(begun))
        })
    }

    /// Takes back what was written for the attachment; `open` is its record.
    fn undo(&self, error: Error, header: &Header, open: Option<&Open>) -> Error {
        let Owner { container, interface, .. } = &self.owner;
        let header = without_sticky(header);
        let undone = self.journal.find(container, interface).and_then(|found| match found {
            Some(found) => {
                let found = Recorded { header: without_sticky(&found.header), ..found };
                give_back::end(&self.journal, &found, self.stores, Deadline::after(UNDO)).map(drop)
            }
            // Another call has ended the attachment, and knew of nothing that came later.
            None => match open.map(Open::written) {
                Some(written) if !written.is_empty() && header.claim.is_none() => {
                    self.journal.add_due(&header, written)
                }
                _ => Ok(()),
            },
        });
        if let Err(failed) = undone {
            log::warn!("what a failed ADD has written is not given back: {failed}");
        }
        error
    }

    fn lease(&self, range: &Range, number: u128) -> Result<Lease, Error> {
        let address = range.with_prefix(number)?;
        Ok(Lease { address, gateway: self.gateway(address) })
    }

    /// The pod's own gateway of the subnet, or else that of the configuration, for its family.
    fn gateway(&self, address: IpNetwork) -> Option<IpAddr> {
        let asked = self.config.gateways.iter().find(|gateway| address.contains(**gateway));
        let family = Family::of(address.ip());
        let configured = self.config.gateway.filter(|gateway| Family::of(*gateway) == family);
        asked.copied().or(configured)
    }

    fn result(&self, leases: Vec<Lease>) -> AttachmentResult {
        let with_gateway = |lease: &Lease| Lease {
            gateway: lease.gateway.or_else(|| self.gateway(lease.address)),
            ..*lease
        };
        let statics = self.config.addresses.iter().map(with_gateway);
        let ips: Vec<Address> = leases.into_iter().chain(statics).map(Lease::to_address).collect();
        AttachmentResult {
            ips,
            routes: self.config.routes.clone(),
            dns: self.config.dns.to_value(),
            ..AttachmentResult::default()
        }
    }

    /// CHECK: whether the pools have the attachment's addresses. An API that does not answer is a
    /// warning.
    ///
    /// # Errors
    /// Code 101 for an address that is not the attachment's any more.
    pub(super) fn check(&self, context: &mut Context<'_>) -> Result<(), Error> {
        if self.config.ranges.is_empty() {
            return Ok(());
        }
        let prev = self.call.prev_result()?.unwrap_or_default();
        let address = |ip: &Address| Some(ip.address.parse::<IpNetwork>().ok()?.ip());
        let addresses: Vec<IpAddr> = prev.ips.iter().filter_map(address).collect();
        let deadline = context.deadline.within(CHECK);
        match self.held(&addresses, deadline) {
            Ok(outcome) => outcome,
            Err(error) if error.code == Code::TRY_AGAIN => {
                log::warn!("addresses are not checked: {error}");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether each address of our ranges has an entry of ours; the outer error is the store's.
    fn held(&self, addresses: &[IpAddr], deadline: Deadline) -> Result<Result<(), Error>, Error> {
        let mut opened = self.open(deadline)?;
        let namespace = opened.namespace.clone();
        let store: &mut dyn AddressStore = &mut *opened.store;
        let pools = place::pools(&self.config, &namespace, store, deadline).map_err(store_error)?;
        let get = |(pool, _): &(String, Range)| Request {
            kind: Kind::Pool,
            namespace: namespace.clone(),
            action: Action::Get(pool.clone()),
        };
        let requests: Vec<Request> = pools.iter().map(get).collect();
        let answers = store.send(&requests, deadline);
        for ((name, range), answer) in pools.iter().zip(answers) {
            let pool = match answer {
                Ok(bytes) => Pool::decode(&bytes).map_err(|problem| {
                    let problem = format!("address pool \"{name}\" cannot be read: {problem}");
                    Error::new(Code::IO, problem)
                })?,
                Err(super::store::StoreError::Missing(_)) => Pool::default(),
                Err(error) => return Err(store_error(error)),
            };
            let network = range.subnet();
            for address in addresses.iter().filter(|address| network.contains(**address)) {
                if let Err(error) = self.is_ours(&pool, name, *address) {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }

    fn is_ours(&self, pool: &Pool, name: &str, address: IpAddr) -> Result<(), Error> {
        let is_static = self.config.addresses.iter().any(|lease| lease.address.ip() == address);
        let entry = pool.offset(address).and_then(|offset| pool.entries.get(&offset));
        let problem = match entry {
            _ if is_static => return Ok(()),
            Some(entry) if entry.id == self.owner.container => return Ok(()),
            Some(entry) => format!("is taken by {}", shown(&entry.podref)),
            None => "has no entry, and may be given to another pod".to_owned(),
        };
        Err(Error::new(
            Code::DRIFT,
            format!("address {address} of address pool \"{name}\" {problem}"),
        ))
    }
}

/// # Errors
/// Code 11 if another call has ended the attachment meanwhile.
fn still_ours(open: &Open) -> Result<(), Error> {
    if open.is_in_place() {
        return Ok(());
    }
    let problem = "another call has ended this attachment while its addresses were taken";
    Err(Error::new(Code::TRY_AGAIN, problem))
}

/// A failed ADD keeps no address, neither for a pod of the name nor for a claim that was empty.
fn without_sticky(header: &Header) -> Header {
    Header { sticky: None, ..header.clone() }
}

/// The journal's record, which another thread begins.
enum Beginning<'scope> {
    Begun(ScopedJoinHandle<'scope, Result<Open, JournalError>>),
    Open(Open),
    Failed,
}

impl Beginning<'_> {
    /// The record, on the disk.
    fn open(&mut self) -> Result<&mut Open, Error> {
        if let Self::Begun(_) = self
            && let Self::Begun(begun) = std::mem::replace(self, Self::Failed)
        {
            let ended =
                begun.join().map_err(|_| Error::new(Code::IO, "the journal's thread ended"))?;
            *self = Self::Open(ended.map_err(journal_error)?);
        }
        match self {
            Self::Open(open) => Ok(open),
            _ => Err(Error::new(Code::IO, "the node's journal of addresses cannot be written")),
        }
    }
}

pub(super) fn journal_error(error: JournalError) -> Error {
    let code = if matches!(error, JournalError::Busy(_)) { Code::TRY_AGAIN } else { Code::IO };
    Error::new(code, error)
}
