//! Routes as the kernel shows them, and the requests that change them.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use crate::family::Family;

/// What the kernel counts expiry in: `USER_HZ` on every architecture that Kubernetes runs on.
const TICKS_PER_SECOND: u32 = 100;

/// A default route as it was listed: one next hop of it, and the whole for deleting and restoring.
///
/// The next hops of one multipath route are deleted and restored together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DefaultRoute {
    /// Number of the link that it leaves through, if any.
    pub link_index: Option<u32>,
    /// Address of the next router, if any; an IPv4 route may have one of IPv6.
    pub gateway: Option<IpAddr>,
    /// Metric as listed: where the kernel lists none, it is 0.
    pub metric: Option<u32>,
    message: RouteMessage,
}

/// A route of any destination, as it was listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// What tells it from others.
    pub key: RouteKey,
    /// By which ways it leaves.
    pub hops: Vec<NextHop>,
    message: RouteMessage,
}

impl Route {
    /// Whether a next hop of it is on one of these links.
    pub fn is_through(&self, links: &[u32]) -> bool {
        self.hops.iter().filter_map(|hop| hop.link_index).any(|link| links.contains(&link))
    }

    pub(super) fn message(&self) -> &RouteMessage {
        &self.message
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
    Some(Route { key, hops: next_hops(&message), message })
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

/// A default route of our own: unicast, static, in the main table.
pub(super) fn new_default(family: Family, hop: NextHop, metric: Option<u32>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: address_family(family),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: scope(family, hop.gateway.is_some()),
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let attributes = [
        hop.link_index.map(RouteAttribute::Oif),
        hop.gateway.map(|gateway| gateway_attribute(family, gateway)),
        metric.map(RouteAttribute::Priority),
    ];
    message.attributes.extend(attributes.into_iter().flatten());
    message
}

/// The route, with a gateway that the kernel takes to be on the link without looking for a route to
/// it.
pub(super) fn onlink(mut message: RouteMessage) -> RouteMessage {
    message.header.flags |= RouteFlags::Onlink;
    message
}

/// A static route to `destination` like a listed default route, but for its metric and TOS: by
/// those of its next hops that are on the link.
pub(super) fn alike(
    listed: &RouteMessage,
    destination: IpNetwork,
    link_index: u32,
) -> RouteMessage {
    let mut message = request(&on_link(listed, link_index));
    message.header.destination_prefix_length = destination.prefix();
    message.header.protocol = RouteProtocol::Static;
    message.header.tos = 0;
    message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Priority(_)));
    message.attributes.push(RouteAttribute::Destination(destination.network().into()));
    message
}

/// The route without its next hops on other links. A next hop object may lead to those, too.
fn on_link(listed: &RouteMessage, link_index: u32) -> RouteMessage {
    let mut message = listed.clone();
    if next_hops(listed).iter().all(|hop| hop.link_index == Some(link_index)) {
        return message;
    }
    message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::NhId(_)));
    for attribute in &mut message.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            hops.retain(|hop| hop.interface_index == link_index);
        }
    }
    message
}

/// IPv4 tells what is behind a router from what is on the link; IPv6 has one scope.
fn scope(family: Family, has_gateway: bool) -> RouteScope {
    if family == Family::V4 && !has_gateway { RouteScope::Link } else { RouteScope::Universe }
}

/// `RTA_GATEWAY` has the family of the route; a gateway of the other one travels as `RTA_VIA`.
pub(super) fn gateway_attribute(family: Family, gateway: IpAddr) -> RouteAttribute {
    if Family::of(gateway) == family {
        RouteAttribute::Gateway(gateway.into())
    } else {
        RouteAttribute::Via(gateway.into())
    }
}

/// A listed route as a request: without what the kernel shows but does not take.
pub(super) fn request(listed: &RouteMessage) -> RouteMessage {
    let mut message = listed.clone();
    message.header.flags &= RouteFlags::Onlink | RouteFlags::Pervasive;
    let by_id =
        message.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::NhId(_)));
    message.attributes.retain(|attribute| !(by_id && is_next_hop(attribute)));
    message.attributes = message.attributes.into_iter().filter_map(settable).collect();
    message
}

/// What the kernel shows of a next hop object beside its ID, and refuses beside it.
fn is_next_hop(attribute: &RouteAttribute) -> bool {
    use RouteAttribute::{Encap, EncapType, Gateway, MultiPath, Oif, Via};
    matches!(attribute, Oif(_) | Gateway(_) | Via(_) | MultiPath(_) | Encap(_) | EncapType(_))
}

fn settable(attribute: RouteAttribute) -> Option<RouteAttribute> {
    match attribute {
        RouteAttribute::CacheInfo(info) => expiry(info.expires),
        RouteAttribute::MultiPath(hops) => {
            Some(RouteAttribute::MultiPath(hops.into_iter().map(settable_next_hop).collect()))
        }
        attribute => Some(attribute),
    }
}

/// State, dead or without carrier say, is shown among a next hop's flags.
fn settable_next_hop(mut hop: RouteNextHop) -> RouteNextHop {
    hop.flags &= RouteNextHopFlags::Onlink | RouteNextHopFlags::Pervasive;
    hop
}

/// Expiry is shown as a signed number of ticks, 0 for never, and set in seconds.
fn expiry(ticks: u32) -> Option<RouteAttribute> {
    let expires = ticks > 0 && i32::try_from(ticks).is_ok();
    expires.then(|| RouteAttribute::Expires(ticks.div_ceil(TICKS_PER_SECOND)))
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
mod tests {
    use super::*;

    const HOP: NextHop = NextHop { link_index: Some(7), gateway: None };

    fn via(gateway: &str) -> NextHop {
        NextHop { gateway: Some(gateway.parse().unwrap()), ..HOP }
    }

    fn default_route() -> RouteMessage {
        new_default(Family::V4, via("10.0.0.1"), Some(5))
    }

    fn changed(change: impl FnOnce(&mut RouteMessage)) -> RouteMessage {
        let mut message = default_route();
        change(&mut message);
        message
    }

    #[test]
    fn scope_tells_a_router_from_a_link_in_ipv4_only() {
        let cases = [
            (Family::V4, HOP, RouteScope::Link),
            (Family::V4, via("10.0.0.1"), RouteScope::Universe),
            (Family::V6, HOP, RouteScope::Universe),
            (Family::V6, via("fd00::1"), RouteScope::Universe),
        ];
        for (family, hop, scope) in cases {
            assert_eq!(new_default(family, hop, None).header.scope, scope, "{family} {hop:?}");
        }
    }

    #[test]
    fn a_gateway_of_the_other_family_is_read_as_it_was_written() {
        for gateway in ["10.0.0.1", "fe80::1"] {
            let message = new_default(Family::V4, via(gateway), None);
            assert_eq!(next_hops(&message), [via(gateway)]);
        }
    }

    #[test]
    fn a_destination_loses_its_host_bits() {
        let message = alike(&default_route(), "10.1.2.3/16".parse().unwrap(), 7);
        assert_eq!(destination(&message), Some("10.1.0.0/16".parse().unwrap()));
        assert_eq!(destination(&default_route()), None);
    }

    #[test]
    fn only_configured_unicast_defaults_of_the_main_table_count() {
        let count = |message| read_default(Message::NewRoute(message), Family::V4).len();
        assert_eq!(count(default_route()), 1);
        let others = [
            changed(|message| message.header.address_family = AddressFamily::Inet6),
            changed(|message| message.header.destination_prefix_length = 1),
            changed(|message| message.header.kind = RouteType::Unreachable),
            changed(|message| message.header.protocol = RouteProtocol::Ra),
            changed(|message| message.header.flags = RouteFlags::Cloned),
            changed(|message| message.header.table = 255),
            changed(|message| message.attributes.push(RouteAttribute::Table(1000))),
        ];
        for message in others {
            assert_eq!(count(message.clone()), 0, "{message:?}");
        }
        assert_eq!(
            count(changed(|message| message.attributes.push(RouteAttribute::Table(254)))),
            1
        );
        assert_eq!(read_default(Message::DelRoute(default_route()), Family::V4), []);
    }

    #[test]
    fn a_request_says_nothing_that_only_the_kernel_says() {
        let listed = changed(|message| {
            message.header.flags = RouteFlags::Onlink | RouteFlags::Linkdown | RouteFlags::Dead;
            let mut hop = RouteNextHop::default();
            hop.flags = RouteNextHopFlags::Onlink | RouteNextHopFlags::Dead;
            message.attributes.push(RouteAttribute::MultiPath(vec![hop]));
        });
        let request = request(&listed);
        assert_eq!(request.header.flags, RouteFlags::Onlink);
        let hops = request.attributes.iter().find_map(as_multipath).unwrap();
        assert_eq!(hops[0].flags, RouteNextHopFlags::Onlink);
    }

    #[test]
    fn a_next_hop_object_stands_alone() {
        let request = request(&changed(|message| message.attributes.push(RouteAttribute::NhId(9))));
        assert_eq!(request.attributes, [RouteAttribute::Priority(5), RouteAttribute::NhId(9)]);
    }

    #[test]
    fn expiry_is_rounded_up_to_seconds() {
        let cases = [(0, None), (1, Some(1)), (100, Some(1)), (101, Some(2)), (u32::MAX, None)];
        for (ticks, seconds) in cases {
            assert_eq!(expiry(ticks), seconds.map(RouteAttribute::Expires), "{ticks}");
        }
    }
}
