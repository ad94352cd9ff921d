//! The IPAM plugins.

use super::shape::{Key, Shape};
use super::{Daemon, Facts, HostState, Property};

pub(super) const FACTS: &[Facts] = &[HOST_LOCAL, STATIC, WHEREABOUTS, DHCP];

const RANGE: &[Key] = &[
    Key::open("subnet", Shape::Subnet),
    Key::open("rangeStart", Shape::Address),
    Key::open("rangeEnd", Shape::Address),
    Key::open("gateway", Shape::Address),
];

const ROUTE: &[Key] = &[
    Key::open("dst", Shape::Destination),
    Key::open("gw", Shape::Address),
    Key::open("mtu", Shape::Integer(0, i32::MAX as i64)),
    Key::open("advmss", Shape::Integer(0, i32::MAX as i64)),
    Key::open("priority", Shape::Integer(0, i32::MAX as i64)),
    Key::host("table", Shape::Integer(0, u32::MAX as i64)),
    Key::host("scope", Shape::Integer(0, 255)),
];

const ROUTES: Key = Key::open("routes", Shape::List(&Shape::Object(ROUTE)));

const HOST_LOCAL: Facts = Facts {
    properties: &[Property::OpenToTenants, Property::OneAddressInArgs],
    keys: &[
        Key::open("ranges", Shape::Ranges(RANGE)),
        Key::open("subnet", Shape::Subnet),
        Key::open("rangeStart", Shape::Address),
        Key::open("rangeEnd", Shape::Address),
        Key::open("gateway", Shape::Address),
        ROUTES,
        Key::host("dataDir", Shape::Text),
        Key::host("resolvConf", Shape::Text),
    ],
    host_state: HostState::Reservations,
    failures: &[
        (
            "no ip addresses available in range set",
            "widen the range in the definition; braid gc --dry-run names addresses that are held for nobody",
        ),
        (
            "requested ip address",
            "another pod has it, or the network does: ask for another, or leave \"ips\" out",
        ),
        (
            "failed to allocate all requested ips",
            "ask for one in the network's range, or leave \"ips\" out",
        ),
    ],
    ..Facts::ipam("host-local")
};

const STATIC: Facts = Facts {
    properties: &[Property::OpenToTenants, Property::GivesAnyAddress],
    keys: &[Key::open("addresses", Shape::List(&Shape::Object(STATIC_ADDRESS))), ROUTES],
    host_state: HostState::None,
    failures: &[(
        "in cidr notation",
        "write the address with its prefix length, as in \"10.0.0.5/24\", in \"ips\" of the annotation or in the \
         definition",
    )],
    ..Facts::ipam("static")
};

const STATIC_ADDRESS: &[Key] = &[
    Key::open("address", Shape::Interface),
    Key::open("gateway", Shape::Address),
    Key::open("version", Shape::Text),
];

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
