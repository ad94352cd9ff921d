//! Whose rules: the attachment, by what names, comments and marks are made of.

use std::net::IpAddr;

use cni::error::Error;
use cni::plugin::Call;
use ipnetwork::IpNetwork;
use linux::family::Family;

/// An attachment that rules belong to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    /// The network's name.
    pub(crate) network: String,
    /// The container's ID.
    pub(crate) container: String,
    /// The interface in it.
    pub(crate) interface: String,
}

impl Owner {
    /// The attachment that a call is about.
    pub(crate) fn of(call: &Call) -> Result<Self, Error> {
        let attachment = call.attachment()?;
        Ok(Self {
            network: call.network.as_str().to_owned(),
            container: attachment.container.as_str().to_owned(),
            interface: attachment.interface.as_str().to_owned(),
        })
    }
}

/// The addresses of the result of an earlier plugin, or of ADD; none if it is missing or cannot be
/// read, which no DEL fails for.
pub(crate) fn reported_addresses(call: &Call) -> Vec<IpNetwork> {
    let result = call.prev_result().ok().flatten();
    let ips = result.iter().flat_map(|result| &result.ips);
    ips.filter_map(|entry| entry.address.parse().ok()).collect()
}

/// The families of addresses.
pub(crate) fn families(addresses: &[IpNetwork]) -> Vec<Family> {
    let has = |family| addresses.iter().any(|address| Family::of(address.ip()) == family);
    Family::ALL.into_iter().filter(|family| has(*family)).collect()
}

/// An address as a rule names it.
pub(crate) fn host(ip: IpAddr) -> IpNetwork {
    IpNetwork::from(ip)
}

/// The subnet of an address, without host bits.
pub(crate) fn subnet(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}
