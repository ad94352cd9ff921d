//! firewall: lets packets of the container through the host's packet filter, by rules of iptables
//! or by a zone of firewalld, and keeps other bridges' containers from it.

mod config;
mod firewalld;
mod ingress;
mod iptables;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::result::AttachmentResult;
use cni::version::Version;
use ipnetwork::IpNetwork;
use linux::family::Family;

use self::config::{Choice, Config};
use self::firewalld::FirewallD;
use super::chain;
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Property, Shape};
use crate::link::check::drift;
use crate::rules::Keeper;
use crate::rules::iptables::IpTables;
use crate::rules::mark::{Mark, Marks};
use crate::rules::owner::{Owner, families, reported_addresses};
use crate::rules::program::{ProgramError, Programs};

/// The plugin `firewall`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firewall;

const MARKS: &str = "firewall";

/// What is known of it.
const FACTS: Facts = Facts {
    properties: &[Property::NeedsNoLinkOnDel, Property::HostStateOfBoot],
    keys: &[
        Key::host("backend", Shape::Text),
        Key::host("iptablesAdminChainName", Shape::Text),
        Key::host("firewalldZone", Shape::Text),
        Key::host(
            "ingressPolicy",
            Shape::Word { words: &["", "open", "same-bridge", "isolated"], exclusive: &[] },
        ),
    ],
    device: DeviceFact::None,
    host_state: HostState::Rules(&[(None, Keeper::Firewall)]),
    ..Facts::chain("firewall")
};

impl BuiltIn for Firewall {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Firewall {
    fn oldest_version(&self) -> Version {
        Version::V0_4_0
    }

    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = Config::read(call)?;
        let result = chain::previous(call)?;
        let addresses = addresses(&result)?;
        let bridge = ingress::bridge(config.ingress, &result)?;
        let programs = Programs::of(call, context);
        let zone = config.zone(call, context.deadline);
        let owner = Owner::of(call)?;
        let mark = Mark { addresses: addresses.clone(), zone, ..Mark::default() };
        Marks::of(MARKS, call).put(&owner, &mark)?;
        let opened = open(call, context, &config, &mark).and_then(|()| match bridge {
            Some(bridge) => ingress::add(&programs, config.ingress, &bridge, &families(&addresses))
                .map_err(about),
            None => Ok(()),
        });
        match opened {
            Ok(()) => Ok(result),
            Err(error) => {
                undo(call, context);
                Err(error)
            }
        }
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        remove(call, context, &Programs::of(call, context))
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let config = Config::read(call)?;
        let addresses = addresses(&chain::previous(call)?)?;
        let mark = Marks::of(MARKS, call).get(&Owner::of(call)?);
        let zone = mark.map_or_else(|| config.zone(call, context.deadline), |mark| mark.zone);
        let missing = match zone {
            Some(zone) => {
                let mut service = FirewallD::open(call, context.deadline)?;
                let mut missing = None;
                for ip in addresses.iter().map(IpNetwork::ip) {
                    if missing.is_none() && !service.has_source(&zone, ip)? {
                        missing = Some(ip);
                    }
                }
                missing
            }
            None => {
                let programs = Programs::of(call, context);
                iptables::missing(&programs, &config.admin_chain, &addresses).map_err(about)?
            }
        };
        match missing {
            Some(ip) => Err(drift(format!("what lets packets of {ip} through is gone"))),
            None => Ok(()),
        }
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let config = Config::read(call)?;
        let unavailable = |error: Error| Error { code: Code::NOT_AVAILABLE, ..error };
        if config.choice == Choice::FirewallD {
            let mut service = FirewallD::open(call, context.deadline).map_err(unavailable)?;
            return service.check_running().map_err(unavailable);
        }
        if config.zone(call, context.deadline).is_some() {
            return Ok(());
        }
        let programs = Programs::of(call, context);
        let probed = IpTables::new(&programs, Family::V4).probe();
        probed.map_err(|error| unavailable(error.into()))
    }

    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let marks = Marks::of(MARKS, call);
        let programs = Programs::of(call, context);
        for (owner, mark) in marks.stale(call)? {
            log::info!("rules of container {} go: it is gone", owner.container);
            release(call, context, &marks, &owner, &mark, &programs)?;
        }
        Ok(())
    }
}

fn addresses(result: &AttachmentResult) -> Result<Vec<IpNetwork>, Error> {
    let read = |text: &str| {
        let problem = format!("prevResult has the address {text:?}, which is none");
        text.parse().map_err(|_| Error::new(Code::DECODE, problem))
    };
    result.ips.iter().map(|entry| read(&entry.address)).collect()
}

fn open(call: &Call, context: &Context<'_>, config: &Config, mark: &Mark) -> Result<(), Error> {
    context.proceed()?;
    match &mark.zone {
        Some(zone) => {
            let mut service = FirewallD::open(call, context.deadline)?;
            mark.addresses.iter().try_for_each(|address| service.add_source(zone, address.ip()))
        }
        None => {
            let programs = Programs::of(call, context);
            iptables::add(&programs, &config.admin_chain, &mark.addresses).map_err(about)
        }
    }
}

fn undo(call: &Call, context: &Context<'_>) {
    if let Err(error) = remove(call, context, &Programs::for_undo(call)) {
        log::warn!("rules of a failed ADD stay: {error}");
    }
}

/// Removes what the attachment has. Without a mark, the earlier result says which addresses are
/// meant.
fn remove(call: &Call, context: &Context<'_>, programs: &Programs<'_>) -> Result<(), Error> {
    let marks = Marks::of(MARKS, call);
    let owner = Owner::of(call)?;
    let mark = marks.get(&owner).unwrap_or_else(|| {
        let zone = Config::read(call).ok().and_then(|it| it.zone(call, context.deadline));
        Mark { addresses: reported_addresses(call), zone, ..Mark::default() }
    });
    release(call, context, &marks, &owner, &mark, programs)
}

/// Rules name an address and no container: those of one that another container has by now stay.
fn release(
    call: &Call,
    context: &Context<'_>,
    marks: &Marks,
    owner: &Owner,
    mark: &Mark,
    programs: &Programs<'_>,
) -> Result<(), Error> {
    let others =
        if mark.addresses.is_empty() { Vec::new() } else { marks.addresses_of_others(owner) };
    let gone: Vec<IpAddr> =
        mark.addresses.iter().map(IpNetwork::ip).filter(|ip| !others.contains(ip)).collect();
    match &mark.zone {
        Some(zone) if !gone.is_empty() => firewalld::close(call, context.deadline, zone, &gone)?,
        Some(_) => {}
        None => iptables::remove(programs, &gone).map_err(about)?,
    }
    marks.remove(owner)
}

/// Whether an attachment may have rules or a source of firewalld. A mark says so; without one it
/// has none if each address that is let through is that of another attachment with a mark. The
/// reference plugin makes no marks, and a firewalld that runs does not say whose its sources are.
pub(crate) fn may_have_rules(programs: &Programs<'_>, owner: &Owner) -> Result<bool, ProgramError> {
    let known = Marks::of_all_networks(MARKS).iter().flat_map(Marks::all).collect::<Vec<_>>();
    if known.iter().any(|(marked, ..)| marked == owner) || firewalld::may_run() {
        return Ok(true);
    }
    let known: Vec<IpAddr> =
        known.iter().flat_map(|(_, mark, _)| &mark.addresses).map(IpNetwork::ip).collect();
    Ok(iptables::addressed(programs)?.iter().any(|ip| !known.contains(ip)))
}

fn about(error: ProgramError) -> Error {
    Error::from(error).about("firewall")
}
