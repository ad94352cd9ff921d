//! `ipMasq`: what leaves the container's subnets goes out under the host's address, by iptables or
//! nftables.

mod iptables;
mod nftables;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context};
use ipnetwork::IpNetwork;
use linux::family::Family;

use super::check::drift;
use super::config::Keys;
use crate::rules::backend::Backend;
use crate::rules::mark::{Mark, Marks};
use crate::rules::owner::{Owner, families, reported_addresses};
use crate::rules::program::{ProgramError, Programs};

const MARKS: &str = "masquerade";

/// What a network says of masquerading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masquerade {
    /// The backend that it names.
    backend: Option<Backend>,
}

/// Which rules of an attachment are meant.
#[derive(Debug)]
struct Scope {
    /// Whose they are.
    owner: Owner,
    /// The families that may have some.
    families: Vec<Family>,
    /// The addresses that they are about; all of the container in this network without any.
    addresses: Vec<IpNetwork>,
}

impl Masquerade {
    /// What the network asks for; none if it masquerades nothing.
    pub(crate) fn read(keys: Keys<'_>) -> Result<Option<Self>, Error> {
        let backend = Backend::read(keys.object(), "ipMasqBackend")?;
        Ok(keys.switch("ipMasq")?.then_some(Self { backend }))
    }

    /// Makes the rules for the addresses. What is there after a failure, [`undo`] removes.
    pub(crate) fn add(
        self,
        call: &Call,
        context: &Context<'_>,
        addresses: &[IpNetwork],
    ) -> Result<(), Error> {
        let programs = Programs::of(call, context);
        let owner = Owner::of(call)?;
        let backend = self.backend.unwrap_or_else(|| Backend::choose(&programs));
        let addresses = addresses.to_vec();
        let mark = Mark { backend: Some(backend), addresses, ..Mark::default() };
        Marks::of(MARKS, call).put(&owner, &mark)?;
        let added = match backend {
            Backend::IpTables => iptables::add(&programs, &owner, &mark.addresses),
            Backend::NfTables => nftables::add(&programs, &owner, &mark.addresses),
        };
        added.map_err(about)
    }

    /// Whether the rules are there, of whichever backend.
    pub(crate) fn check(
        self,
        call: &Call,
        context: &Context<'_>,
        addresses: &[IpNetwork],
    ) -> Result<(), Error> {
        let programs = Programs::of(call, context);
        let owner = Owner::of(call)?;
        let known = Marks::of(MARKS, call).get(&owner).and_then(|mark| mark.backend);
        let missing = match known.or(self.backend) {
            Some(Backend::IpTables) => iptables::missing(&programs, &owner, addresses),
            Some(Backend::NfTables) => nftables::missing(&programs, &owner, addresses),
            None => match iptables::missing(&programs, &owner, addresses) {
                Ok(None) => Ok(None),
                _ => nftables::missing(&programs, &owner, addresses),
            },
        };
        match missing.map_err(about)? {
            Some(address) => {
                Err(drift(format!("the rules that masquerade address {address} are gone")))
            }
            None => Ok(()),
        }
    }

    /// STATUS: whether the program is there that makes the rules.
    pub(crate) fn status(self, call: &Call, context: &Context<'_>) -> Result<(), Error> {
        Backend::check(self.backend, &Programs::of(call, context))
    }
}

/// Removes what an ADD that failed has made.
pub(crate) fn undo(call: &Call) {
    if let Err(error) = remove(call, &Programs::for_undo(call)) {
        log::warn!("masquerading rules of a failed ADD stay: {error}");
    }
}

/// DEL: removes the rules of the attachment, those of a reference plugin too, without its
/// namespace, and without an earlier result.
pub(crate) fn del(keys: Keys<'_>, call: &Call, context: &Context<'_>) -> Result<(), Error> {
    let is_asked = matches!(keys.switch("ipMasq"), Ok(true));
    let is_marked = Marks::of(MARKS, call).get(&Owner::of(call)?).is_some();
    if is_asked || is_marked { remove(call, &Programs::of(call, context)) } else { Ok(()) }
}

/// Whether the attachment has rules, of either backend.
pub(crate) fn has_rules(programs: &Programs<'_>, owner: &Owner) -> Result<bool, ProgramError> {
    Ok(iptables::has_rules(programs, owner)? || nftables::has_rules(programs, owner)?)
}

fn remove(call: &Call, programs: &Programs<'_>) -> Result<(), Error> {
    let marks = Marks::of(MARKS, call);
    let owner = Owner::of(call)?;
    let mark = marks.get(&owner);
    release(&marks, owner, mark.as_ref(), &reported_addresses(call), programs)
}

/// GC: removes the rules of attachments that are gone.
pub(crate) fn gc(call: &Call, context: &Context<'_>) -> Result<(), Error> {
    let marks = Marks::of(MARKS, call);
    let programs = Programs::of(call, context);
    for (owner, mark) in marks.stale(call)? {
        log::info!("masquerading rules of container {} go: it is gone", owner.container);
        release(&marks, owner, Some(&mark), &[], &programs)?;
    }
    Ok(())
}

/// Without a mark both backends may have rules, and the earlier result says which are meant. With
/// one, all of the container in this network are, unless another interface has some there, too.
fn release(
    marks: &Marks,
    owner: Owner,
    mark: Option<&Mark>,
    reported: &[IpNetwork],
    programs: &Programs<'_>,
) -> Result<(), Error> {
    let scope = match mark {
        Some(mark) if !mark.addresses.is_empty() => {
            let is_shared = marks.has_sibling(&owner);
            let addresses = if is_shared { mark.addresses.clone() } else { Vec::new() };
            Scope { owner, families: families(&mark.addresses), addresses }
        }
        _ => Scope { owner, families: Family::ALL.to_vec(), addresses: reported.to_vec() },
    };
    let backend = mark.and_then(|mark| mark.backend);
    let remove_from = |backend| match backend {
        Backend::IpTables => iptables::remove(programs, &scope),
        Backend::NfTables => nftables::remove(programs, &scope.owner),
    };
    Backend::remove_rules(backend, programs, remove_from).map_err(about)?;
    marks.remove(&scope.owner)
}

fn about(error: ProgramError) -> Error {
    Error::from(error).about("ipMasq")
}

/// The addresses of a result, as masquerading takes them.
pub(crate) fn addresses(ips: &[cni::result::Address]) -> Result<Vec<IpNetwork>, Error> {
    let read = |entry: &cni::result::Address| {
        let problem = format!("the result's ips[].address {:?} is no such address", entry.address);
        entry.address.parse().map_err(|_| Error::new(Code::DECODE, problem))
    };
    ips.iter().map(read).collect()
}
