//! The addresses of one link as the kernel shows them, those that are still being checked too.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressHeaderFlags, AddressMessage, AddressScope};

use super::link::local_address;

/// An address of a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkAddress {
    /// The address with the length of its subnet's prefix.
    pub address: IpNetwork,
    /// Whether its duplicate detection has not ended (IPv6): it cannot be used yet.
    pub tentative: bool,
    /// Whether another host has it, so that it is not used (IPv6).
    pub duplicate: bool,
}

/// An address of a link, with all that the kernel shows of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedAddress {
    /// The address with the length of its subnet's prefix.
    pub address: IpNetwork,
    /// Whether its scope is global: not one of the link or the host alone.
    pub is_global: bool,
    message: AddressMessage,
}

impl ListedAddress {
    pub(super) fn message(&self) -> &AddressMessage {
        &self.message
    }
}

/// The address in a reply with all that is shown of it, if it is one of the link's.
pub(super) fn read_listed(reply: Message, index: u32) -> Option<ListedAddress> {
    let Message::NewAddress(message) = reply else { return None };
    let ip = local_address(&message).filter(|_| message.header.index == index)?;
    let address = IpNetwork::new(ip, message.header.prefix_len).ok()?;
    let is_global = message.header.scope == AddressScope::Universe;
    Some(ListedAddress { address, is_global, message })
}

/// A request for the addresses of a link, of both families.
pub(super) fn of_link(index: u32) -> Message {
    let mut message = AddressMessage::default();
    message.header.index = index;
    Message::GetAddress(message)
}

/// The address in a reply, if it is one of the link's: kernels before 4.20 send those of all.
pub(super) fn read(reply: &Message, index: u32) -> Option<LinkAddress> {
    let Message::NewAddress(message) = reply else { return None };
    let ip: IpAddr = local_address(message).filter(|_| message.header.index == index)?;
    let flags = message.header.flags;
    Some(LinkAddress {
        address: IpNetwork::new(ip, message.header.prefix_len).ok()?,
        tentative: flags.contains(AddressHeaderFlags::Tentative),
        duplicate: flags.contains(AddressHeaderFlags::Dadfailed),
    })
}
