//! Moves a sandbox's default routes, and back. What moves where has been decided in
//! [`crate::attach::default_route`]; this runs inside the sandbox's namespace.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::attach::default_route::RouteChange;
use cni::family::Family;
use linux::netlink::{AddedRoute, DefaultRoute, Link, Netlink, NetlinkError};
use plugins::kernel::kernel_family;

/// Why a default route did not move.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The attachment has no interface that could carry a route.
    #[error(
        "network \"{network}\" on {interface}: the default route cannot move there: the sandbox \
         has no such interface"
    )]
    NoInterface {
        /// The network.
        network: String,
        /// The interface.
        interface: String,
    },
    /// The kernel refused.
    #[error(
        "network \"{network}\" on {interface}: the {family} default route cannot move there: \
         {source}"
    )]
    Netlink {
        /// The network.
        network: String,
        /// The family.
        family: Family,
        /// The interface.
        interface: String,
        /// What the kernel says.
        #[source]
        source: Box<NetlinkError>,
    },
    /// The kernel does not say where the default routes lead, or does not take one back.
    #[error(
        "the {family} default route, which an extra network has taken, cannot be given back: \
         {source}"
    )]
    NotGivenBack {
        /// The family.
        family: Family,
        /// What the kernel says.
        #[source]
        source: NetlinkError,
    },
    /// The kernel accepted everything and shows something else.
    #[error(
        "network \"{network}\" on {interface}: the {family} default route was moved there, but the \
         kernel shows {shown}"
    )]
    NotThere {
        /// The network.
        network: String,
        /// The family.
        family: Family,
        /// The interface.
        interface: String,
        /// What the kernel shows.
        shown: String,
    },
}

/// A move of default routes.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    /// One change for each family that moves.
    pub changes: &'a [RouteChange],
    /// The network that gets the routes.
    pub network: &'a str,
    /// Its interface.
    pub to: &'a str,
    /// The interface that keeps the cluster's routes.
    pub primary: &'a str,
    /// Destinations that stay reachable through the primary (`keepClusterRoutes`).
    pub keep: &'a [IpNetwork],
}

/// What a move took away and what it added, for its undoing.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    removed: Vec<DefaultRoute>,
    families: Vec<Family>,
    /// Routes of the cluster that there were not before, with their destinations.
    kept: Vec<(IpNetwork, AddedRoute)>,
}

impl Move<'_> {
    /// Carries the move out and looks whether the kernel shows it.
    ///
    /// # Errors
    /// [`RouteError`], after what had been done was undone.
    pub(crate) fn apply(&self, netlink: &mut Netlink) -> Result<Moved, RouteError> {
        let links = netlink.links().map_err(self.failed(Family::V4))?;
        let target = links.iter().find(|link| link.name == self.to);
        let target = target.ok_or_else(|| RouteError::NoInterface {
            network: self.network.to_owned(),
            interface: self.to.to_owned(),
        })?;
        let primary = links.iter().find(|link| link.name == self.primary);
        let mut moved = Moved::default();
        for change in self.changes {
            if let Err(error) = self.apply_one(change, target, primary, &mut moved, netlink) {
                moved.undo(netlink);
                return Err(error);
            }
        }
        Ok(moved)
    }

    fn apply_one(
        &self,
        change: &RouteChange,
        target: &Link,
        primary: Option<&Link>,
        moved: &mut Moved,
        netlink: &mut Netlink,
    ) -> Result<(), RouteError> {
        let family = change.family;
        let old = netlink.default_routes(kernel_family(family)).map_err(self.failed(family))?;
        self.keep_cluster_routes(family, &old, primary, moved, netlink)?;
        moved.families.push(family);
        let elsewhere =
            old.into_iter().filter(|route| route.link_index != Some(target.index)).collect();
        self.remove(family, elsewhere, moved, netlink)?;
        let left = netlink.default_routes(kernel_family(family)).map_err(self.failed(family))?;
        // Made by the network's own plugin, it may have an MTU, or a gateway that only it knows how
        // to reach.
        if change.hops.len() == 1 && is_as_asked(change, target, &left) {
            let metric = left.first().map(metric).unwrap_or_default();
            return self.remove_rejecting_routes(family, metric, moved, netlink);
        }
        self.remove(family, left, moved, netlink)?;
        let last = u32::try_from(change.hops.len()).unwrap_or_default().saturating_sub(1);
        self.remove_rejecting_routes(
            family,
            first_metric(family).saturating_add(last),
            moved,
            netlink,
        )?;
        for (hop, metric) in change.hops.iter().zip(metrics(family)) {
            add_default_route(family, target, *hop, metric, netlink)
                .map_err(self.failed(family))?;
        }
        self.verify(change, target, netlink)
    }

    /// Removes the default routes that lead nowhere (`unreachable default`, say) and that the
    /// kernel would use before one of this metric. Those behind it stay: they close the way if
    /// the new route is gone.
    fn remove_rejecting_routes(
        &self,
        family: Family,
        metric: u32,
        moved: &mut Moved,
        netlink: &mut Netlink,
    ) -> Result<(), RouteError> {
        let mut rejecting_default_routes =
            netlink.rejecting_default_routes(kernel_family(family)).map_err(self.failed(family))?;
        rejecting_default_routes.retain(|route| self::metric(route) <= metric);
        self.remove(family, rejecting_default_routes, moved, netlink)
    }

    fn remove(
        &self,
        family: Family,
        routes: Vec<DefaultRoute>,
        moved: &mut Moved,
        netlink: &mut Netlink,
    ) -> Result<(), RouteError> {
        for route in routes {
            netlink.delete_route(&route).map_err(self.failed(family))?;
            moved.removed.push(route);
        }
        Ok(())
    }

    /// The cluster's own networks stay where they were, whichever network has the default route.
    fn keep_cluster_routes(
        &self,
        family: Family,
        old: &[DefaultRoute],
        primary: Option<&Link>,
        moved: &mut Moved,
        netlink: &mut Netlink,
    ) -> Result<(), RouteError> {
        let Some(primary) = primary else { return Ok(()) };
        let through = old.iter().find(|route| route.link_index == Some(primary.index));
        let Some(through) = through else { return Ok(()) };
        for destination in
            self.keep.iter().filter(|destination| Family::of(destination.ip()) == family)
        {
            let added = netlink.add_route(*destination, primary.index, through);
            let added = added.map_err(self.failed(family))?;
            moved.kept.extend(added.map(|route| (*destination, route)));
        }
        Ok(())
    }

    fn verify(
        &self,
        change: &RouteChange,
        target: &Link,
        netlink: &mut Netlink,
    ) -> Result<(), RouteError> {
        let shown = netlink
            .default_routes(kernel_family(change.family))
            .map_err(self.failed(change.family))?;
        if is_as_asked(change, target, &shown) {
            return Ok(());
        }
        let gateway = |gateway: Option<IpAddr>| {
            gateway.map_or_else(|| "one without gateway".to_owned(), |ip| ip.to_string())
        };
        let list: Vec<_> = shown.iter().map(|route| gateway(route.gateway)).collect();
        Err(RouteError::NotThere {
            network: self.network.to_owned(),
            family: change.family,
            interface: self.to.to_owned(),
            shown: if list.is_empty() { "none".to_owned() } else { list.join(", ") },
        })
    }

    fn failed(&self, family: Family) -> impl FnOnce(NetlinkError) -> RouteError {
        let (network, interface) = (self.network.to_owned(), self.to.to_owned());
        move |source| RouteError::Netlink { network, family, interface, source: Box::new(source) }
    }
}

/// Adds a default route. A plugin for source-based routing (sbr) moves the routes to the
/// interface's subnets into a table of its own, and the kernel finds no way to a gateway there:
/// such a gateway is on the link.
fn add_default_route(
    family: Family,
    target: &Link,
    hop: Option<IpAddr>,
    metric: Option<u32>,
    netlink: &mut Netlink,
) -> Result<(), NetlinkError> {
    let is_neighbour =
        |gateway: &IpAddr| target.addresses.iter().any(|subnet| subnet.contains(*gateway));
    match (
        netlink.add_default_route(kernel_family(family), target.index, hop, metric),
        hop.filter(is_neighbour),
    ) {
        (Err(error), Some(gateway)) if error.is_unreachable() => {
            netlink.add_onlink_default_route(kernel_family(family), target.index, gateway, metric)
        }
        (outcome, _) => outcome,
    }
}

fn is_as_asked(change: &RouteChange, target: &Link, shown: &[DefaultRoute]) -> bool {
    let asked = |route: &DefaultRoute| {
        route.link_index == Some(target.index) && change.hops.contains(&route.gateway)
    };
    shown.len() == change.hops.len() && shown.iter().all(asked)
}

/// One metric for each next hop, so that the first is taken while it is there. The first one is the
/// kernel's own default.
pub(crate) fn metrics(family: Family) -> impl Iterator<Item = Option<u32>> {
    std::iter::once(None).chain((first_metric(family) + 1..).map(Some))
}

/// The metric of a route that names none.
const fn first_metric(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 1024,
    }
}

/// A sandbox's default routes as they were before the plugins of extra networks ran.
#[derive(Debug)]
pub(crate) struct OriginalDefaultRoutes {
    routes: Vec<DefaultRoute>,
}

impl OriginalDefaultRoutes {
    /// Looks at the default routes of both families.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses.
    pub(crate) fn read(netlink: &mut Netlink) -> Result<Self, NetlinkError> {
        let mut routes = Vec::new();
        for family in Family::ALL {
            routes.extend(netlink.default_routes(kernel_family(family))?);
        }
        Ok(Self { routes })
    }

    /// Whether there was a default route of this family.
    pub(crate) fn has(&self, family: Family) -> bool {
        self.routes.iter().any(|route| route.family() == kernel_family(family))
    }

    /// Removes the family's default routes through the links of these numbers that the kernel uses
    /// before the original ones, or with them, and restores the original ones. Says through which
    /// links they were. IPv6 makes one route with several next hops of routes that differ by
    /// nothing else.
    ///
    /// # Errors
    /// [`RouteError::NotGivenBack`].
    pub(crate) fn give_back(
        &self,
        family: Family,
        from: &[u32],
        netlink: &mut Netlink,
    ) -> Result<Vec<u32>, RouteError> {
        let failed = |source| RouteError::NotGivenBack { family, source };
        let ours = || self.routes.iter().filter(|route| route.family() == kernel_family(family));
        let first = ours().map(metric).min().unwrap_or_default();
        let mut taken = Vec::new();
        for route in netlink.default_routes(kernel_family(family)).map_err(failed)? {
            let through = route.link_index.filter(|index| from.contains(index));
            // One behind is a network's own second way out, for when the first is gone.
            if let Some(index) = through.filter(|_| metric(&route) <= first) {
                netlink.delete_route(&route).map_err(failed)?;
                taken.push(index);
            }
        }
        for route in ours() {
            netlink.restore_route(route).map_err(failed)?;
        }
        Ok(taken)
    }
}

/// The metric by which the kernel chooses, the least first.
fn metric(route: &DefaultRoute) -> u32 {
    route.metric.unwrap_or_default()
}

impl Moved {
    /// The default routes that made way.
    pub(crate) fn removed(&self) -> &[DefaultRoute] {
        &self.removed
    }

    /// The destinations of the cluster's routes that were added.
    pub(crate) fn kept(&self) -> impl Iterator<Item = IpNetwork> {
        self.kept.iter().map(|(destination, _)| *destination)
    }

    /// Puts the default routes back, and takes the cluster's away. Best effort: the sandbox is on
    /// its way out.
    pub(crate) fn undo(&self, netlink: &mut Netlink) {
        for (_, route) in &self.kept {
            let _ = netlink.delete_added_route(route);
        }
        for family in &self.families {
            for route in netlink.default_routes(kernel_family(*family)).unwrap_or_default() {
                let _ = netlink.delete_route(&route);
            }
        }
        for route in &self.removed {
            let _ = netlink.restore_route(route);
        }
    }
}
