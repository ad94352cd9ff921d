//! Routes as the kernel shows them.

mod request;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
    RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::error::{Object, RouteLink};
pub(super) use request::{alike, gateway_attribute, in_table, new_default, onlink, request};

use crate::family::Family;

/// A default route as it was listed: one next hop of it, and the whole for deleting and restoring.
///
/// The next hops of one multipath route are deleted and restored together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DefaultRoute {
    /// Number of the link that it leaves through, if any.
    pub link_index: Option<u32>,
    /// Address of the next router, if any; an IPv4 route may have one of IPv6.
    pub gateway: Option<IpAddr>,
    /// Metric as listed: if the kernel lists none, it is 0.
    pub metric: Option<u32>,
    message: RouteMessage,
}

/// A route of any destination, as it was listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// What tells it from others.
    pub key: RouteKey,
    /// Number of the table that it is in.
    pub table: u32,
    /// By which ways it leaves.
    pub hops: Vec<NextHop>,
    message: RouteMessage,
}

impl Route {
    /// Whether a next hop of it is on one of these links.
    pub fn is_through(&self, links: &[u32]) -> bool {
        self.hops.iter().filter_map(|hop| hop.link_index).any(|link| links.contains(&link))
    }

    /// The address that packets get which have none yet, if the route says one.
    pub fn source(&self) -> Option<IpAddr> {
        self.message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::PrefSource(address) => ip(address),
            _ => None,
        })
    }

    /// Whether it leads onto the link alone (`scope link`), which IPv6 does not say.
    pub fn is_on_link(&self) -> bool {
        self.message.header.scope == RouteScope::Link
    }

    pub(super) fn message(&self) -> &RouteMessage {
        &self.message
    }

    pub(super) fn object(&self) -> Object {
        let hop = self.hops.first().copied().unwrap_or_default();
        Object::Route {
            family: family_of(&self.message),
            destination: destination(&self.message),
            gateway: hop.gateway,
            link: hop.link_index.map(RouteLink::Gone),
        }
    }
}

/// Where a route leads, and who has made it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RouteKey {
    /// Its destination; of a default route 0.0.0.0/0 or ::/0.
    pub destination: IpNetwork,
    /// Whether it is in the main table.
    pub is_main: bool,
    /// Who has made it.
    pub origin: Origin,
}

/// Who has made a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The kernel, for an address of the host itself (table local).
    Address,
    /// The kernel, for the subnet of an address.
    Connected,
    /// A router advertisement.
    Router,
    /// Anything else.
    Configured,
}

/// One way out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NextHop {
    /// Number of the link.
    pub link_index: Option<u32>,
    /// Address of the next router, if any.
    pub gateway: Option<IpAddr>,
}

impl DefaultRoute {
    /// The family of the route; that of its gateway may differ.
    pub fn family(&self) -> Family {
        family_of(&self.message)
    }

    pub(super) fn message(&self) -> &RouteMessage {
        &self.message
    }
}

impl Route {
    /// The addresses of the next routers.
    pub fn gateways(&self) -> Vec<IpAddr> {
        next_hops(&self.message).into_iter().filter_map(|hop| hop.gateway).collect()
    }
}

/// A request for all routes of a family, of all tables.
pub(super) fn all(family: Family) -> Message {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    Message::GetRoute(message)
}

/// A request for the routes of a family in the main table.
pub(super) fn main_table(family: Family) -> Message {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    Message::GetRoute(message)
}

/// A question for the route that packets to an address take.
pub(super) fn towards(ip: IpAddr) -> Message {
    let mut message = RouteMessage::default();
    let (length, destination) = match ip {
        IpAddr::V4(ip) => (32, RouteAddress::Inet(ip)),
        IpAddr::V6(ip) => (128, RouteAddress::Inet6(ip)),
    };
    message.header.address_family = address_family(Family::of(ip));
    message.header.destination_prefix_length = length;
    message.attributes.push(RouteAttribute::Destination(destination));
    Message::GetRoute(message)
}

/// Index of the link of the route in a reply; of several next hops the first one's.
pub(super) fn read_link(reply: Message) -> Option<u32> {
    let Message::NewRoute(message) = reply else { return None };
    next_hops(&message).into_iter().find_map(|hop| hop.link_index)
}

/// Whether the message of a route says that its destination has a prefix of one of these lengths.
pub(super) fn has_prefix(bytes: &[u8], lengths: &RangeInclusive<u8>) -> bool {
    let header = RouteHeader::parse(bytes);
    header.is_ok_and(|header| lengths.contains(&header.destination_prefix_length))
}

/// Index of the link of the default route in a reply, also if a router advertised it; of several
/// next hops the first one's.
pub(super) fn read_default_link(reply: Message, family: Family) -> Option<u32> {
    match reply {
        Message::NewRoute(message)
            if is_default(&message, family) && message.header.kind == RouteType::Unicast =>
        {
            next_hops(&message).into_iter().find_map(|hop| hop.link_index)
        }
        _ => None,
    }
}

/// The default routes in a reply, one per next hop; none if the reply is about another route.
pub(super) fn read_default(reply: Message, family: Family) -> Vec<DefaultRoute> {
    let leads_out = |header: &RouteHeader| {
        header.kind == RouteType::Unicast && header.protocol != RouteProtocol::Ra
    };
    match reply {
        Message::NewRoute(message)
            if is_default(&message, family) && leads_out(&message.header) =>
        {
            per_next_hop(&message)
        }
        _ => vec![],
    }
}

/// The default route in a reply that leads nowhere.
pub(super) fn read_rejecting(reply: Message, family: Family) -> Option<DefaultRoute> {
    use RouteType::{BlackHole, Prohibit, Throw, Unreachable};
    let leads_nowhere =
        |header: &RouteHeader| matches!(header.kind, BlackHole | Unreachable | Prohibit | Throw);
    match reply {
        Message::NewRoute(message)
            if is_default(&message, family) && leads_nowhere(&message.header) =>
        {
            per_next_hop(&message).pop()
        }
        _ => None,
    }
}

/// What a reply about a route says first; `None` for cached ones and those of broadcast, anycast
/// and multicast.
pub(super) fn read_key(reply: &Message, family: Family) -> Option<RouteKey> {
    use RouteType::{Anycast, Broadcast, Local, Multicast};
    let Message::NewRoute(message) = reply else { return None };
    let header = &message.header;
    let is_other = matches!(header.kind, Anycast | Broadcast | Multicast)
        || header.flags.contains(RouteFlags::Cloned)
        || header.address_family != address_family(family);
    if is_other {
        return None;
    }
    let origin = match header.protocol {
        _ if header.kind == Local => Origin::Address,
        RouteProtocol::Kernel => Origin::Connected,
        RouteProtocol::Ra => Origin::Router,
        _ => Origin::Configured,
    };
    let anywhere = || default_destination(family).parse().ok();
    let destination = destination(message).or_else(anywhere)?;
    Some(RouteKey {
        destination,
        is_main: table(message) == u32::from(RouteHeader::RT_TABLE_MAIN),
        origin,
    })
}

/// The destination of the family's default route, in CIDR notation.
const fn default_destination(family: Family) -> &'static str {
    match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "::/0",
    }
}

/// The route in a reply.
pub(super) fn read(reply: Message, family: Family) -> Option<Route> {
    let key = read_key(&reply, family)?;
    let Message::NewRoute(message) = reply else { return None };
    Some(Route { key, table: table(&message), hops: next_hops(&message), message })
}

/// The family counts too: a kernel without IPv6 answers a request for it with all families.
fn is_default(message: &RouteMessage, family: Family) -> bool {
    let header = &message.header;
    header.address_family == address_family(family)
        && header.destination_prefix_length == 0
        && !header.flags.contains(RouteFlags::Cloned)
        && table(message) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn per_next_hop(message: &RouteMessage) -> Vec<DefaultRoute> {
    let metric = message.attributes.iter().find_map(as_metric);
    let route = |hop: NextHop| DefaultRoute {
        link_index: hop.link_index,
        gateway: hop.gateway,
        metric,
        message: message.clone(),
    };
    next_hops(message).into_iter().map(route).collect()
}

/// The next hops of a route.
pub(super) fn next_hops(message: &RouteMessage) -> Vec<NextHop> {
    match message.attributes.iter().find_map(as_multipath) {
        Some(hops) => hops.iter().map(next_hop).collect(),
        None => vec![NextHop {
            link_index: message.attributes.iter().find_map(as_link),
            gateway: message.attributes.iter().find_map(as_gateway),
        }],
    }
}

fn next_hop(hop: &RouteNextHop) -> NextHop {
    NextHop {
        link_index: Some(hop.interface_index),
        gateway: hop.attributes.iter().find_map(as_gateway),
    }
}

/// The table: the header has room for those up to 255 only.
fn table(message: &RouteMessage) -> u32 {
    let attribute = |attribute: &RouteAttribute| {
        if let RouteAttribute::Table(id) = attribute { Some(*id) } else { None }
    };
    message.attributes.iter().find_map(attribute).unwrap_or_else(|| message.header.table.into())
}

fn as_metric(attribute: &RouteAttribute) -> Option<u32> {
    if let RouteAttribute::Priority(metric) = attribute { Some(*metric) } else { None }
}

fn as_link(attribute: &RouteAttribute) -> Option<u32> {
    if let RouteAttribute::Oif(index) = attribute { Some(*index) } else { None }
}

fn as_multipath(attribute: &RouteAttribute) -> Option<&[RouteNextHop]> {
    if let RouteAttribute::MultiPath(hops) = attribute { Some(hops) } else { None }
}

fn as_gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(ip)) => Some((*ip).into()),
        RouteAttribute::Via(RouteVia::Inet6(ip)) => Some((*ip).into()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// Where a route leads; `None` if it is a default route.
pub(super) fn destination(message: &RouteMessage) -> Option<IpNetwork> {
    let address = message.attributes.iter().find_map(as_destination)?;
    IpNetwork::new(address, message.header.destination_prefix_length)
        .ok()
        .filter(|network| network.prefix() > 0)
}

fn as_destination(attribute: &RouteAttribute) -> Option<IpAddr> {
    if let RouteAttribute::Destination(address) = attribute { ip(address) } else { None }
}

pub(super) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The family of a route.
pub(super) fn family_of(message: &RouteMessage) -> Family {
    if message.header.address_family == AddressFamily::Inet6 { Family::V6 } else { Family::V4 }
}

#[cfg(test)]
mod tests;
