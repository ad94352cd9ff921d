//! What the policy must know of the host: its routes, as far as an address that a pod asks for
//! overlaps them.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use crate::policy::{self, Case, HostRoute, HostRouteKind};
use cni::family::Family;
use linux::netlink::{Link, Netlink, NetlinkError, Origin, Route};
use plugins::kernel::kernel_family;

/// The routes of the host that overlap what its node would route to the pod. The kernel is asked
/// only if there is a policy, and the pod asks for an address of a network whose gateway is on the
/// node.
///
/// # Errors
/// What the kernel says.
pub(super) fn overlapping_routes(case: &Case<'_>) -> Result<Vec<HostRoute>, String> {
    let has_policy = matches!(case.view.tenancy.policy, Ok(Some(_)));
    let asked = if has_policy { policy::routed_addresses(case) } else { Vec::new() };
    if asked.is_empty() { Ok(Vec::new()) } else { read(&asked).map_err(|error| error.to_string()) }
}

fn read(asked: &[IpNetwork]) -> Result<Vec<HostRoute>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?;
    let families: BTreeSet<Family> = asked.iter().map(|address| Family::of(address.ip())).collect();
    let mut routes = Vec::new();
    for family in families {
        let listed = netlink.routes(kernel_family(family), 1..=128, |key| {
            !is_of_link(key.destination)
                && asked.iter().any(|asked| policy::overlap(key.destination, *asked))
        })?;
        routes.extend(listed.into_iter().map(|route| host_route(&route, &links)));
    }
    Ok(routes)
}

/// Whether it is a network of which each link has its own: link-local, multicast.
fn is_of_link(network: IpNetwork) -> bool {
    match network {
        IpNetwork::V4(network) => network.ip().is_multicast(),
        IpNetwork::V6(network) => {
            network.ip().is_multicast() || network.ip().is_unicast_link_local()
        }
    }
}

fn host_route(route: &Route, links: &[Link]) -> HostRoute {
    let interface = match route.hops.as_slice() {
        [hop] => links
            .iter()
            .find(|link| Some(link.index) == hop.link_index)
            .map(|link| link.name.clone()),
        _ => None,
    };
    let kind = match route.key.origin {
        Origin::Address => HostRouteKind::Address,
        Origin::Connected => HostRouteKind::Connected,
        Origin::Router | Origin::Configured => HostRouteKind::Other,
    };
    HostRoute { destination: route.key.destination, interface, kind }
}
