//! What the kernel shows in a sandbox: interfaces and default routes, when ADD ended and when CHECK
//! comes. Comparing is pure; looking is the caller's, through [`crate::netlink`].

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::family::Family;
use crate::name::InterfaceName;
use crate::netlink::Link;

/// A sandbox as the kernel shows it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Snapshot {
    /// Every link with its addresses.
    pub links: Vec<Link>,
    /// Every default route of the main table.
    pub default_routes: Vec<SeenRoute>,
}

/// A default route.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SeenRoute {
    /// IPv4 or IPv6.
    pub family: Family,
    /// The interface that it leaves by.
    pub interface: Option<String>,
    /// The next hop; none for a route that is on the link.
    pub gateway: Option<IpAddr>,
}

impl Snapshot {
    /// The link of a name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// How `now` differs from this snapshot in what belongs to `interfaces`, one sentence each. An
    /// interface without a netdev then (DPDK) is not expected now.
    pub fn drift(&self, now: &Self, interfaces: &[&InterfaceName]) -> Vec<String> {
        let expected = interfaces.iter().filter_map(|name| self.link(name.as_str()));
        let mut drift: Vec<String> =
            expected.flat_map(|link| link_drift(link, now.link(&link.name))).collect();
        let ours = |route: &&SeenRoute| {
            route.interface.as_deref().is_some_and(|name| interfaces.iter().any(|ours| ours.as_str() == name))
        };
        let gone =
            self.default_routes.iter().filter(ours).filter(|route| !now.default_routes.contains(route));
        drift.extend(gone.map(|route| format!("{route} is gone")));
        // A way out through something else is the pod's own doing: a VPN, say.
        let new = now.default_routes.iter().filter(ours).filter(|route| !self.default_routes.contains(route));
        drift.extend(new.map(|route| format!("{route} was not there when the pod was attached")));
        drift
    }
}

impl SeenRoute {
    /// Whether it leaves by that interface.
    pub fn is_through(&self, interface: &InterfaceName) -> bool {
        self.interface.as_deref() == Some(interface.as_str())
    }
}

impl std::fmt::Display for SeenRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the {} default route", self.family)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        self.interface.as_ref().map_or(Ok(()), |name| write!(f, " on {name}"))
    }
}

fn link_drift(then: &Link, now: Option<&Link>) -> Vec<String> {
    let name = &then.name;
    let Some(now) = now else { return vec![format!("interface {name} is gone")] };
    let mut drift = Vec::new();
    if !same_mac(then.mac.as_deref(), now.mac.as_deref()) {
        let shown = |mac: &Option<String>| mac.clone().unwrap_or_else(|| "none".to_owned());
        drift.push(format!("interface {name} has MAC {}, not {}", shown(&now.mac), shown(&then.mac)));
    }
    if then.up && !now.up {
        drift.push(format!("interface {name} is down"));
    }
    let missing = then.addresses.iter().filter(|address| !now.addresses.contains(address));
    drift.extend(missing.map(|address| format!("interface {name} has lost address {address}")));
    drift
}

/// Whether two hardware addresses are the same. Of the 20 bytes of InfiniBand's the first 12 are the
/// subnet's and the queue pair's, which changes whenever the link is set up anew; the last 8 are the port's.
fn same_mac(then: Option<&str>, now: Option<&str>) -> bool {
    let port = |mac: &str| mac.rsplit(':').take(8).map(str::to_owned).collect::<Vec<_>>();
    let is_infiniband = |mac: &str| mac.split(':').count() == 20;
    match (then, now) {
        (Some(then), Some(now)) if is_infiniband(then) && is_infiniband(now) => port(then) == port(now),
        _ => then == now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, addresses: &[&str]) -> Link {
        Link {
            index: 1,
            name: name.to_owned(),
            mac: Some("02:00:00:00:00:01".to_owned()),
            mtu: Some(1500),
            up: true,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn route(interface: &str, gateway: &str) -> SeenRoute {
        SeenRoute {
            family: Family::V4,
            interface: Some(interface.to_owned()),
            gateway: Some(gateway.parse().unwrap()),
        }
    }

    fn names(names: &[&str]) -> Vec<InterfaceName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn the_same_has_no_drift() {
        let then = Snapshot {
            links: vec![link("net1", &["10.0.0.2/24"])],
            default_routes: vec![route("net1", "10.0.0.1")],
        };
        let names = names(&["net1"]);
        assert_eq!(then.drift(&then, &names.iter().collect::<Vec<_>>()), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_a_sentence() {
        let then = Snapshot {
            links: vec![link("eth0", &["10.1.0.2/24"]), link("net1", &["10.0.0.2/24", "fd00::2/64"])],
            default_routes: vec![route("net1", "10.0.0.1")],
        };
        let mut changed = link("net1", &["10.0.0.2/24", "10.9.0.1/24"]);
        changed.mac = None;
        changed.up = false;
        let now = Snapshot { links: vec![changed], default_routes: vec![route("eth0", "10.1.0.1")] };
        let names = names(&["eth0", "net1", "dpdk0"]);
        assert_eq!(
            then.drift(&now, &names.iter().collect::<Vec<_>>()),
            [
                "interface eth0 is gone",
                "interface net1 has MAC none, not 02:00:00:00:00:01",
                "interface net1 is down",
                "interface net1 has lost address fd00::2/64",
                "the IPv4 default route via 10.0.0.1 on net1 is gone",
                "the IPv4 default route via 10.1.0.1 on eth0 was not there when the pod was attached",
            ]
        );
    }

    #[test]
    fn a_default_route_through_an_interface_of_the_pods_own_is_no_drift() {
        let then =
            Snapshot { links: vec![link("net1", &[])], default_routes: vec![route("net1", "10.0.0.1")] };
        let routes = vec![route("net1", "10.0.0.1"), route("tun0", "10.9.0.1")];
        let now = Snapshot { default_routes: routes, ..then.clone() };
        assert_eq!(then.drift(&now, &names(&["net1"]).iter().collect::<Vec<_>>()), Vec::<String>::new());
    }

    #[test]
    fn of_an_infiniband_address_the_port_counts() {
        let mac = |queue: &str, port: &str| format!("80:00:{queue}:fe:80:00:00:00:00:00:00:{port}");
        let (one, two) = ("24:8a:07:03:00:8d:ae:2e", "24:8a:07:03:00:8d:ae:2f");
        assert!(same_mac(Some(&mac("02:08", one)), Some(&mac("02:09", one))));
        assert!(!same_mac(Some(&mac("02:08", one)), Some(&mac("02:08", two))));
        assert!(!same_mac(Some("02:00:00:00:00:01"), Some("02:00:00:00:00:02")));
        assert!(!same_mac(Some("02:00:00:00:00:01"), None) && same_mac(None, None));
    }
}
