//! What the kernel shows in a sandbox: interfaces and default routes, when ADD ended and when CHECK
//! comes. Comparing is pure; looking is the caller's, through [`linux::netlink`].

mod growth;

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use cni::family::Family;
use cni::name::InterfaceName;
use cni::result::Route;
use linux::netlink::Link;

/// A sandbox as the kernel shows it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Snapshot {
    /// Every link with its addresses.
    pub links: Vec<Link>,
    /// Every default route of the main table.
    pub default_routes: Vec<SeenRoute>,
    /// Every default route of the main table that a router has advertised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advertised: Vec<SeenRoute>,
    /// The interfaces on which no advertisement is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed_to_routers: Vec<String>,
    /// Routes of extra networks that took the default route together, and were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_routes: Vec<RemovedRoute>,
    /// The default routes that had to make way for those of an attachment that asked for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced_routes: Vec<SeenRoute>,
    /// Destinations of the cluster's routes that were added as the default routes moved
    /// (`keepClusterRoutes`), through the primary's interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_routes: Vec<IpNetwork>,
}

/// A route that a network's plugins had made, and that was removed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RemovedRoute {
    /// The interface that it left by.
    pub interface: String,
    /// Its destination.
    pub destination: IpNetwork,
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

/// One difference between a sandbox now and when its pod was attached; its text is a sentence.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Drift {
    /// The link does not exist any more.
    #[error("interface {0} is gone")]
    InterfaceGone(String),
    /// The link has another hardware address.
    #[error("interface {interface} has MAC {now}, not {then}")]
    #[expect(missing_docs, reason = "the sentence says it")]
    Mac { interface: String, then: String, now: String },
    /// The link has another MTU.
    #[error("interface {interface} has MTU {now}, not {then}")]
    #[expect(missing_docs, reason = "the sentence says it")]
    Mtu { interface: String, then: u32, now: u32 },
    /// The link was up.
    #[error("interface {0} is down")]
    Down(String),
    /// The link has lost an address.
    #[error("interface {interface} has lost address {address}")]
    #[expect(missing_docs, reason = "the sentence says it")]
    AddressLost { interface: String, address: String },
    /// The link has lost a default route.
    #[error("{0} is gone")]
    RouteGone(SeenRoute),
    /// The link has a default route more.
    #[error("{0} was not there when the pod was attached")]
    RouteAdded(SeenRoute),
    /// A router has advertised a default route on a link that takes no advertisements.
    #[error(
        "{0} comes from a router advertisement, which the network's definition does not ask for"
    )]
    Advertised(SeenRoute),
    /// `braid repair` or an unfinished DEL has torn the attachment down while its sandbox lives.
    #[error("network \"{network}\" on {interface} is torn down")]
    #[expect(missing_docs, reason = "the sentence says it")]
    TornDown { network: String, interface: String },
    /// An attach or a detach on the running pod has been broken off.
    #[error("network \"{network}\" on {interface}: its attach or detach has not ended")]
    #[expect(missing_docs, reason = "the sentence says it")]
    Pending { network: String, interface: String },
}

impl Snapshot {
    /// The link of a name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// How `now` differs from this snapshot in what belongs to `interfaces`. An interface without a
    /// netdev then (DPDK) is not expected now, and one that the pod has put something in place of
    /// is the pod's.
    pub fn drift(&self, now: &Self, interfaces: &[&InterfaceName]) -> Vec<Drift> {
        let is_taken = |name: &InterfaceName| self.stood_in_for(now, name.as_str()).is_some();
        let interfaces: Vec<_> =
            interfaces.iter().copied().filter(|name| !is_taken(name)).collect();
        let expected = interfaces.iter().filter_map(|name| self.link(name.as_str()));
        let mut drift: Vec<Drift> =
            expected.flat_map(|link| link_drift(link, now.link(&link.name))).collect();
        let ours = |route: &&SeenRoute| {
            route
                .interface
                .as_deref()
                .is_some_and(|name| interfaces.iter().any(|ours| ours.as_str() == name))
        };
        // The kernel removes the routes of a link with the link, which is reported already.
        let has_link = |route: &&SeenRoute| {
            route.interface.as_deref().is_some_and(|it| now.link(it).is_some())
        };
        let gone = self.default_routes.iter().filter(ours).filter(has_link);
        let gone = gone.filter(|route| !now.default_routes.contains(route));
        drift.extend(gone.cloned().map(Drift::RouteGone));
        // A way out through something else is the pod's own doing: a VPN, say.
        let new = now
            .default_routes
            .iter()
            .filter(ours)
            .filter(|route| !self.default_routes.contains(route));
        drift.extend(new.cloned().map(Drift::RouteAdded));
        let is_closed = |route: &&SeenRoute| {
            route.interface.as_ref().is_some_and(|it| self.closed_to_routers.contains(it))
        };
        let advertised = now.advertised.iter().filter(ours).filter(is_closed);
        drift.extend(advertised.cloned().map(Drift::Advertised));
        drift
    }

    /// Whether the route of an attachment's result was removed from its interface.
    pub fn has_removed(&self, interface: &InterfaceName, route: &Route) -> bool {
        let Some(destination) = route.destination() else { return false };
        let is_same = |removed: &RemovedRoute| {
            removed.interface == interface.as_str() && removed.destination == destination
        };
        self.removed_routes.iter().any(is_same)
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

fn link_drift(then: &Link, now: Option<&Link>) -> Vec<Drift> {
    let interface = || then.name.clone();
    let Some(now) = now else { return vec![Drift::InterfaceGone(interface())] };
    let mut drift = Vec::new();
    if !same_mac(then.mac.as_deref(), now.mac.as_deref()) {
        let shown = |mac: &Option<String>| mac.clone().unwrap_or_else(|| "none".to_owned());
        drift.push(Drift::Mac {
            interface: interface(),
            then: shown(&then.mac),
            now: shown(&now.mac),
        });
    }
    // Records of Braid before 0.2 have no MTU.
    if let (Some(before), Some(mtu)) = (then.mtu, now.mtu)
        && before != mtu
    {
        drift.push(Drift::Mtu { interface: interface(), then: before, now: mtu });
    }
    if then.up && !now.up {
        drift.push(Drift::Down(interface()));
    }
    let missing = then.addresses.iter().filter(|address| !now.addresses.contains(address));
    drift.extend(missing.map(|address| Drift::AddressLost {
        interface: interface(),
        address: address.to_string(),
    }));
    drift
}

/// Whether two hardware addresses are the same. Of the 20 bytes of InfiniBand's the first 12 are
/// the subnet's and the queue pair's, which changes whenever the link is set up anew; the last 8
/// are the port's.
fn same_mac(then: Option<&str>, now: Option<&str>) -> bool {
    let port = |mac: &str| mac.rsplit(':').take(8).map(str::to_owned).collect::<Vec<_>>();
    let is_infiniband = |mac: &str| mac.split(':').count() == 20;
    match (then, now) {
        (Some(then), Some(now)) if is_infiniband(then) && is_infiniband(now) => {
            port(then) == port(now)
        }
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
            parent: None,
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

    fn sentences(drift: &[Drift]) -> Vec<String> {
        drift.iter().map(ToString::to_string).collect()
    }

    /// A link that has gone takes its routes along: the one sentence is enough.
    #[test]
    fn the_routes_of_a_link_that_is_gone_are_not_reported_beside_it() {
        let then = Snapshot {
            links: vec![link("net1", &[])],
            default_routes: vec![route("net1", "10.0.0.1")],
            ..Snapshot::default()
        };
        let drift = then.drift(&Snapshot::default(), &names(&["net1"]).iter().collect::<Vec<_>>());
        assert_eq!(sentences(&drift), ["interface net1 is gone"]);
    }

    /// What Braid before 0.2 has recorded, and a link without one.
    #[test]
    fn an_mtu_that_was_not_recorded_is_no_drift() {
        let old = Link { mtu: None, ..link("net1", &[]) };
        let then = Snapshot { links: vec![old], default_routes: vec![], ..Snapshot::default() };
        let now = Snapshot {
            links: vec![link("net1", &[])],
            default_routes: vec![],
            ..Snapshot::default()
        };
        for (then, now) in [(&then, &now), (&now, &then)] {
            assert_eq!(then.drift(now, &names(&["net1"]).iter().collect::<Vec<_>>()), Vec::new());
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
            ..Snapshot::default()
        };
        let names = names(&["net1"]);
        assert_eq!(then.drift(&then, &names.iter().collect::<Vec<_>>()), Vec::new());
    }

    #[test]
    fn each_difference_is_a_sentence() {
        let then = Snapshot {
            links: vec![
                link("eth0", &["10.1.0.2/24"]),
                link("net1", &["10.0.0.2/24", "fd00::2/64"]),
            ],
            default_routes: vec![route("net1", "10.0.0.1")],
            ..Snapshot::default()
        };
        let mut changed = link("net1", &["10.0.0.2/24", "10.9.0.1/24"]);
        (changed.mac, changed.mtu) = (None, Some(1400));
        changed.up = false;
        let now = Snapshot {
            links: vec![changed],
            default_routes: vec![route("eth0", "10.1.0.1")],
            ..Snapshot::default()
        };
        let names = names(&["eth0", "net1", "dpdk0"]);
        assert_eq!(
            sentences(&then.drift(&now, &names.iter().collect::<Vec<_>>())),
            [
                "interface eth0 is gone",
                "interface net1 has MAC none, not 02:00:00:00:00:01",
                "interface net1 has MTU 1400, not 1500",
                "interface net1 is down",
                "interface net1 has lost address fd00::2/64",
                "the IPv4 default route via 10.0.0.1 on net1 is gone",
                "the IPv4 default route via 10.1.0.1 on eth0 was not there when the pod was \
                 attached",
            ]
        );
    }

    #[test]
    fn a_default_route_through_an_interface_of_the_pods_own_is_no_drift() {
        let then = Snapshot {
            links: vec![link("net1", &[])],
            default_routes: vec![route("net1", "10.0.0.1")],
            ..Snapshot::default()
        };
        let routes = vec![route("net1", "10.0.0.1"), route("tun0", "10.9.0.1")];
        let now = Snapshot { default_routes: routes, ..then.clone() };
        assert_eq!(then.drift(&now, &names(&["net1"]).iter().collect::<Vec<_>>()), Vec::new());
    }

    #[test]
    fn a_route_that_a_router_advertises_is_drift_on_an_interface_that_takes_none() {
        let then = Snapshot {
            links: vec![link("net1", &[]), link("net2", &[])],
            closed_to_routers: vec!["net1".to_owned()],
            ..Snapshot::default()
        };
        let advertised =
            vec![route("net1", "10.0.0.1"), route("net2", "10.0.0.1"), route("eth0", "10.0.0.1")];
        let now = Snapshot { advertised, ..then.clone() };
        let names = names(&["eth0", "net1", "net2"]);
        assert_eq!(
            sentences(&then.drift(&now, &names.iter().collect::<Vec<_>>())),
            ["the IPv4 default route via 10.0.0.1 on net1 comes from a router advertisement, \
                 which the network's definition does not ask for"]
        );
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
