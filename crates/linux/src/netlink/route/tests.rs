use super::request::expiry;
use super::*;
use netlink_packet_route::route::{RouteNextHopFlags, RouteScope};

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
    assert_eq!(count(changed(|message| message.attributes.push(RouteAttribute::Table(254)))), 1);
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
