//! IPAM plugins that are not built in.

use crate::facts::{Daemon, Facts, Property};

pub(super) const FACTS: &[Facts] = &[DHCP];

const DHCP: Facts = Facts {
    properties: &[Property::StateOutsideNode],
    daemon: Some(Daemon { key: "daemonSocketPath", socket: "/run/cni/dhcp.sock" }),
    failures: &[("error dialing dhcp daemon", "start the daemon of the dhcp plugin on this node")],
    ..Facts::ipam("dhcp")
};
