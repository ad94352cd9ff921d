//! CHECK: whether the kernel shows what `prevResult` says. The result of another plugin in the same
//! chain, and what listens to an interface, make no difference.

use std::collections::HashSet;
use std::net::IpAddr;

use cni::error::{Code, Error};
use cni::plugin::{Attachment, Call};
use cni::result::{Address, AttachmentResult, Interface};
use ipnetwork::IpNetwork;
use linux::family::Family;
use linux::netlink::{LinkId, LinkState};

use super::container::{Granted, parse};
use super::site::{Site, kernel_error};

/// The attachment as ADD has reported it.
#[derive(Debug)]
pub(crate) struct Reported {
    /// The result.
    pub(crate) result: AttachmentResult,
    /// The index of the container's interface in it.
    index: usize,
}

impl Reported {
    /// Reads `prevResult`, which must list the interface that the call is about.
    pub(crate) fn read(call: &Call) -> Result<Self, Error> {
        let missing =
            || Error::new(Code::CONFIG, "CHECK needs the result of ADD in \"prevResult\"");
        let result = call.prev_result()?.ok_or_else(missing)?;
        let Attachment { interface, netns, .. } = call.attachment()?;
        let is_ours = |entry: &Interface| {
            entry.name == interface.as_str() && entry.sandbox.as_deref() == netns.to_str()
        };
        let index = result.interfaces.iter().rposition(is_ours).ok_or_else(|| {
            let problem = format!(
                "prevResult lists no interface {:?} in the sandbox {}",
                interface.as_str(),
                netns.display()
            );
            Error::new(Code::CONFIG, problem)
        })?;
        Ok(Self { result, index })
    }

    /// Compares the container's interface, which is of the kind `kind`, its addresses and the
    /// routes.
    pub(crate) fn compare(&self, site: &mut Site<'_>, kind: &str) -> Result<LinkState, Error> {
        let link = self.compare_any_kind(site)?;
        if link.kind.name() == kind {
            return Ok(link);
        }
        Err(drift(format!("interface {:?} is a {} and no {kind}", link.name, link.kind.name())))
    }

    /// The same of an interface of any kind.
    pub(crate) fn compare_any_kind(&self, site: &mut Site<'_>) -> Result<LinkState, Error> {
        let link = self.compare_link(site)?;
        self.compare_addresses(site, &link)?;
        self.compare_routes(site)?;
        Ok(link)
    }

    /// The addresses that the container's interface has got.
    pub(crate) fn own_ips(&self) -> Vec<Address> {
        let is_own = |ip: &&Address| ip.interface.is_none_or(|at| at == self.index);
        self.result.ips.iter().filter(is_own).cloned().collect()
    }

    fn compare_link(&self, site: &mut Site<'_>) -> Result<LinkState, Error> {
        let found = site.container.find(LinkId::Name(site.interface)).map_err(kernel_error)?;
        let name = site.interface;
        let link =
            found.ok_or_else(|| drift(format!("interface {name:?} is gone from the container")))?;
        let mac =
            self.result.interfaces.get(self.index).and_then(|interface| interface.mac.as_deref());
        compare_mac(&link, mac)?;
        Ok(link)
    }

    fn compare_addresses(&self, site: &mut Site<'_>, link: &LinkState) -> Result<(), Error> {
        let ours = self.own_ips();
        let expected: Vec<Granted> = ours.iter().map(Granted::read).collect::<Result<_, _>>()?;
        if expected.is_empty() {
            return Ok(());
        }
        let there = site.container.link_addresses(link.index).map_err(kernel_error)?;
        for Granted { address, .. } in expected {
            match there.iter().find(|there| there.address == address) {
                Some(there) if there.duplicate => {
                    let name = &link.name;
                    let problem = format!(
                        "address {address} of interface {name:?} is in use elsewhere on the network"
                    );
                    return Err(drift(problem));
                }
                Some(_) => {}
                None => {
                    return Err(drift(format!(
                        "interface {:?} has lost its address {address}",
                        link.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// A route counts in any table: sbr and vrf move routes to others than the main one.
    fn compare_routes(&self, site: &mut Site<'_>) -> Result<(), Error> {
        let mut expected = Vec::new();
        for route in &self.result.routes {
            let destination: IpNetwork = parse("routes[].dst", &route.dst)?;
            expected.push((
                network(destination)?,
                route.gw.as_deref().map(|gw| parse("routes[].gw", gw)).transpose()?,
            ));
        }
        for family in Family::ALL {
            let wanted: Vec<&(IpNetwork, Option<IpAddr>)> = expected
                .iter()
                .filter(|(destination, _)| Family::of(destination.ip()) == family)
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let destinations: HashSet<IpNetwork> =
                wanted.iter().map(|(destination, _)| *destination).collect();
            let listed = site
                .container
                .routes(family, 0..=128, |key| destinations.contains(&key.destination));
            let listed = listed.map_err(kernel_error)?;
            for (destination, gateway) in wanted {
                // Another plugin may have moved the default route to another gateway.
                let gateway = gateway.filter(|_| destination.prefix() > 0);
                let is_there = listed.iter().any(|route| {
                    route.key.destination == *destination
                        && gateway.is_none_or(|gateway| route.gateways().contains(&gateway))
                });
                if !is_there {
                    let via = gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                    return Err(drift(format!(
                        "the route to {destination}{via} is gone from the container"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// A result may write a destination with host bits, which a route does not have.
fn network(destination: IpNetwork) -> Result<IpNetwork, Error> {
    let network = IpNetwork::new(destination.network(), destination.prefix());
    network.map_err(|error| Error::new(Code::DECODE, error))
}

/// Compares a hardware address with the one that was reported, if one was.
pub(crate) fn compare_mac(link: &LinkState, reported: Option<&str>) -> Result<(), Error> {
    let Some(reported) = reported.filter(|mac| !mac.is_empty()) else { return Ok(()) };
    let is_same = link.mac.as_deref().is_some_and(|mac| mac.eq_ignore_ascii_case(reported));
    if is_same {
        return Ok(());
    }
    let now = link.mac.as_deref().unwrap_or("none");
    Err(drift(format!(
        "interface {:?} has the hardware address {now}, not {reported} as ADD reported",
        link.name
    )))
}

/// Code 101: the kernel shows something else than was reported.
pub(crate) fn drift(problem: impl std::fmt::Display) -> Error {
    Error::new(Code::DRIFT, problem)
}
