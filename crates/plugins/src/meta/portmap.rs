//! portmap: ports of the host that lead to ports of the container, by rules of iptables or
//! nftables.

mod conditions;
mod config;
mod host;
mod iptables;
mod mapping;
mod nftables;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::result::AttachmentResult;
use ipnetwork::IpNetwork;
use linux::family::Family;

use self::config::Config;
use super::chain;
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Property, Shape};
use crate::link::check::drift;
use crate::rules::Keeper;
use crate::rules::backend::Backend;
use crate::rules::mark::{Mark, Marks};
use crate::rules::nftables::MAX_COMMENT;
use crate::rules::owner::{Owner, reported_addresses};
use crate::rules::program::{ProgramError, Programs};

/// The plugin `portmap`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortMap;

const MARKS: &str = "portmap";

/// Where the ports of one family lead.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    config: &'a Config,
    owner: &'a Owner,
    /// The container's address, with the prefix of its subnet.
    address: IpNetwork,
}

impl Target<'_> {
    fn family(&self) -> Family {
        Family::of(self.address.ip())
    }
}

/// Which rules of a container are meant.
#[derive(Clone, Debug)]
struct Scope {
    owner: Owner,
    families: Vec<Family>,
    /// The addresses that they lead to; any if it is not known.
    addresses: Vec<IpAddr>,
    /// Whether another interface of the container shares the chain of iptables.
    is_shared: bool,
}

/// What is known of it.
const FACTS: Facts = Facts {
    properties: &[Property::NeedsNoLinkOnDel, Property::HostStateOfBoot],
    keys: &[
        Key::host("snat", Shape::Boolean),
        Key::host("masqAll", Shape::Boolean),
        Key::host("markMasqBit", Shape::Integer(0, 31)),
        Key::host("backend", Shape::Word { words: &["", "iptables", "nftables"], exclusive: &[] }),
        Key::host("externalSetMarkChain", Shape::Text),
        Key::host("conditionsV4", Shape::List(&Shape::Text)),
        Key::host("conditionsV6", Shape::List(&Shape::Text)),
    ],
    device: DeviceFact::None,
    host_state: HostState::Rules(&[(None, Keeper::PortMap)]),
    ..Facts::chain("portmap")
};

impl BuiltIn for PortMap {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for PortMap {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = Config::read(call)?;
        let result = chain::previous(call)?;
        if config.mappings.is_empty() {
            return Ok(result);
        }
        let addresses = addresses(call, &result)?;
        let programs = Programs::of(call, context);
        let backend = backend(&config, call, &programs)?;
        let owner = Owner::of(call)?;
        let mark = Mark { backend: Some(backend), addresses: addresses.clone(), ..Mark::default() };
        Marks::of(MARKS, call).put(&owner, &mark)?;
        let added = context.proceed().and_then(|()| {
            addresses.iter().try_for_each(|address| {
                let target = Target { config: &config, owner: &owner, address: *address };
                open(&programs, backend, &target)
            })
        });
        match added {
            Ok(()) => Ok(result),
            Err(error) => {
                undo(call);
                Err(error)
            }
        }
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        remove(call, &Programs::of(call, context))
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let config = Config::read(call)?;
        let result = chain::previous(call)?;
        if config.mappings.is_empty() {
            return Ok(());
        }
        let programs = Programs::of(call, context);
        let owner = Owner::of(call)?;
        let known = Marks::of(MARKS, call).get(&owner).and_then(|mark| mark.backend);
        let backend = known.map_or_else(|| backend(&config, call, &programs), Ok)?;
        for address in addresses(call, &result)? {
            let target = Target { config: &config, owner: &owner, address };
            let missing = match backend {
                Backend::IpTables => iptables::missing(&programs, &target),
                Backend::NfTables => nftables::missing(&programs, &target),
            };
            if let Some(what) = missing.map_err(about)? {
                return Err(drift(format!("{what} to {} is gone", address.ip())));
            }
        }
        Ok(())
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let config = Config::read(call)?;
        Backend::check(config.backend, &Programs::of(call, context))
    }

    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let marks = Marks::of(MARKS, call);
        let programs = Programs::of(call, context);
        for (owner, mark) in marks.stale(call)? {
            log::info!("ports of container {} are closed: it is gone", owner.container);
            release(&marks, owner, Some(&mark), &[], &programs)?;
        }
        Ok(())
    }
}

/// The container's first address of each family.
fn addresses(call: &Call, result: &AttachmentResult) -> Result<Vec<IpNetwork>, Error> {
    let name = call.attachment()?.interface.as_str();
    let is_own = |index: Option<usize>| match index {
        None => true,
        Some(index) => result
            .interfaces
            .get(index)
            .is_some_and(|interface| interface.name == name && interface.is_in_sandbox()),
    };
    let mut found: Vec<IpNetwork> = Vec::new();
    for entry in result.ips.iter().filter(|entry| is_own(entry.interface)) {
        let address: IpNetwork = entry.address.parse().map_err(|_| {
            let problem = format!("prevResult has the address {:?}, which is none", entry.address);
            Error::new(Code::DECODE, problem)
        })?;
        if !found.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            found.push(address);
        }
    }
    found.sort_by_key(IpNetwork::is_ipv6);
    Ok(found)
}

fn backend(config: &Config, call: &Call, programs: &Programs<'_>) -> Result<Backend, Error> {
    let backend = config.backend.unwrap_or_else(|| Backend::choose(programs));
    let length = call.attachment()?.container.as_str().len();
    if backend == Backend::NfTables && length > MAX_COMMENT {
        let problem = format!(
            "the backend nftables cannot serve a container ID of {length} bytes: its comments \
             have {MAX_COMMENT} at most"
        );
        return Err(Error::new(Code::ENVIRONMENT, problem));
    }
    Ok(backend)
}

/// Makes the rules of one family, and what they need.
fn open(programs: &Programs<'_>, backend: Backend, target: &Target<'_>) -> Result<(), Error> {
    let made = match backend {
        Backend::IpTables => iptables::add(programs, target),
        Backend::NfTables => nftables::add(programs, target),
    };
    made.map_err(about)?;
    host::forget_connections(target);
    if target.config.snat && target.family() == Family::V4 {
        host::route_loopback(target.address.ip())?;
    }
    Ok(())
}

fn undo(call: &Call) {
    if let Err(error) = remove(call, &Programs::for_undo(call)) {
        log::warn!("rules for ports of a failed ADD stay: {error}");
    }
}

/// Whether the container has rules in the network; with nftables, in any.
pub(crate) fn has_rules(programs: &Programs<'_>, owner: &Owner) -> Result<bool, ProgramError> {
    Ok(iptables::has_rules(programs, owner)? || nftables::has_rules(programs, owner)?)
}

/// Removes the rules of the attachment, those of a reference plugin too, under any configuration.
fn remove(call: &Call, programs: &Programs<'_>) -> Result<(), Error> {
    let marks = Marks::of(MARKS, call);
    let owner = Owner::of(call)?;
    let mark = marks.get(&owner);
    release(&marks, owner, mark.as_ref(), &reported_addresses(call), programs)
}

/// Without a mark both backends may have rules, and the earlier result says where they lead.
fn release(
    marks: &Marks,
    owner: Owner,
    mark: Option<&Mark>,
    reported: &[IpNetwork],
    programs: &Programs<'_>,
) -> Result<(), Error> {
    let known = mark.map(|mark| mark.addresses.as_slice()).filter(|known| !known.is_empty());
    let is_of = |family| known.is_none_or(|all| all.iter().any(|ip| Family::of(ip.ip()) == family));
    let scope = Scope {
        families: Family::ALL.into_iter().filter(|family| is_of(*family)).collect(),
        addresses: known.unwrap_or(reported).iter().map(IpNetwork::ip).collect(),
        is_shared: marks.has_sibling(&owner),
        owner,
    };
    let backend = mark.and_then(|mark| mark.backend);
    let remove_from = |backend| match backend {
        Backend::IpTables => iptables::remove(programs, &scope),
        Backend::NfTables => nftables::remove(programs, &scope),
    };
    Backend::remove_rules(backend, programs, remove_from).map_err(about)?;
    marks.remove(&scope.owner)
}

fn about(error: ProgramError) -> Error {
    Error::from(error).about("portmap")
}
