//! IPAM plugins that are not built in.

use crate::facts::{Daemon, Facts, Key, Property, Shape};

pub(super) const FACTS: &[Facts] = &[WHEREABOUTS, DHCP];

const WHEREABOUTS: Facts = Facts {
    properties: &[
        Property::OpenToTenants,
        Property::GivesAnyAddress,
        Property::StateOutsideNode,
        Property::ReclaimsAddressesWithoutStatus,
        Property::CheckAlwaysFails,
    ],
    keys: &[
        Key::open("range", Shape::Addresses),
        Key::open("range_start", Shape::Addresses),
        Key::open("range_end", Shape::Addresses),
        Key::open("exclude", Shape::List(&Shape::Addresses)),
        Key::open("ipRanges", Shape::Any),
        Key::open("gateway", Shape::Addresses),
        Key::open("routes", Shape::List(&Shape::Object(WHEREABOUTS_ROUTE))),
        Key::open("enable_overlapping_ranges", Shape::Boolean),
    ],
    ..Facts::ipam("whereabouts")
};

const WHEREABOUTS_ROUTE: &[Key] =
    &[Key::open("dst", Shape::Destination), Key::open("gw", Shape::Address)];

const DHCP: Facts = Facts {
    properties: &[Property::StateOutsideNode],
    daemon: Some(Daemon { key: "daemonSocketPath", socket: "/run/cni/dhcp.sock" }),
    failures: &[("error dialing dhcp daemon", "start the daemon of the dhcp plugin on this node")],
    ..Facts::ipam("dhcp")
};
