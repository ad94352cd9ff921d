//! Routes as requests: what the kernel takes of a route that it has shown, and default routes.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType,
};

use super::{NextHop, address_family, next_hops};
use crate::family::Family;

/// What the kernel counts expiry in: `USER_HZ` on every architecture that Kubernetes runs on.
const TICKS_PER_SECOND: u32 = 100;

/// A default route of our own: unicast, static, in the main table.
pub(in crate::netlink) fn new_default(
    family: Family,
    hop: NextHop,
    metric: Option<u32>,
) -> RouteMessage {
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
pub(in crate::netlink) fn onlink(mut message: RouteMessage) -> RouteMessage {
    message.header.flags |= RouteFlags::Onlink;
    message
}

/// A static route to `destination` like a listed default route, but for its metric and TOS: by
/// those of its next hops that are on the link.
pub(in crate::netlink) fn alike(
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
pub(in crate::netlink) fn gateway_attribute(family: Family, gateway: IpAddr) -> RouteAttribute {
    if Family::of(gateway) == family {
        RouteAttribute::Gateway(gateway.into())
    } else {
        RouteAttribute::Via(gateway.into())
    }
}

/// A listed route as a request: without what the kernel shows but does not take.
pub(in crate::netlink) fn request(listed: &RouteMessage) -> RouteMessage {
    let mut message = listed.clone();
    message.header.flags &= RouteFlags::Onlink | RouteFlags::Pervasive;
    let by_id =
        message.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::NhId(_)));
    message.attributes.retain(|attribute| !(by_id && is_next_hop(attribute)));
    message.attributes = message.attributes.into_iter().filter_map(settable).collect();
    message
}

/// A listed route as a request for another table.
pub(in crate::netlink) fn in_table(listed: &RouteMessage, table: u32) -> RouteMessage {
    let mut message = request(listed);
    message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Table(_)));
    message.attributes.push(RouteAttribute::Table(table));
    message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
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
pub(super) fn expiry(ticks: u32) -> Option<RouteAttribute> {
    let expires = ticks > 0 && i32::try_from(ticks).is_ok();
    expires.then(|| RouteAttribute::Expires(ticks.div_ceil(TICKS_PER_SECOND)))
}
