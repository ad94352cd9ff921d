//! The default routes of an ADD: with the attachment that asked for them, else with the primary.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use super::{Addition, read_snapshot};
use crate::attach::default_route::{self, RouteChange};
use crate::attach::routes::{Move, Moved, OriginalDefaultRoutes};
use crate::attach::snapshot::{RemovedRoute, SeenRoute, Snapshot};
use crate::plan::{Attachment, Role};
use crate::pod::Pod;
use cni::error::Error;
use cni::family::Family;
use cni::result::{AttachmentResult, MOST_ROUTES};
use linux::netlink::{DefaultRoute, Link, Netlink, NetlinkError, Route, RouteKey};
use plugins::kernel::kernel_error;
use plugins::kernel::kernel_family;

impl<'s> Addition<'s, '_> {
    /// Looks where the default routes lead before an extra network can take them.
    pub(super) fn read_original_routes(&mut self, attachment: &Attachment) -> Result<(), Error> {
        if attachment.role == Role::Extra && self.original_routes.is_none() {
            let netlink = self.inside.netlink().map_err(kernel_error)?;
            self.original_routes =
                Some(OriginalDefaultRoutes::read(netlink).map_err(kernel_error)?);
        }
        Ok(())
    }

    /// The attachment that asked for the default route, and what changes for it.
    pub(super) fn route_changes(
        &self,
        results: &[AttachmentResult],
    ) -> Option<(&'s Attachment, Vec<RouteChange>)> {
        let pairs = self.plan.attachments.iter().zip(results).skip(self.first);
        pairs
            .filter_map(|(attachment, result)| {
                Some((attachment, attachment.default_route.as_ref()?, result))
            })
            .map(|(attachment, gateways, result)| {
                (attachment, default_route::changes(gateways, result))
            })
            .next()
    }

    /// Moves the default routes and looks at the sandbox. A pod that runs unrecorded and
    /// asks for nothing is not visited.
    pub(super) fn settle(
        &mut self,
        changes: &Option<(&Attachment, Vec<RouteChange>)>,
    ) -> Result<Snapshot, Error> {
        if self.journal.is_none() && !self.plan.needs_record() && changes.is_none() {
            return Ok(Snapshot::default());
        }
        let primary = self.sandbox.interface.as_str();
        let keep = &self.session.config.tenancy.keep_cluster_routes;
        let netlink = self.inside.netlink().map_err(kernel_error)?;
        if let Some((to, changes)) = changes {
            let (network, to) = (to.label.as_str(), to.interface.as_str());
            self.moved = Some(Move { changes, network, to, primary, keep }.apply(netlink)?);
        }
        let snapshot = read_snapshot(netlink).map_err(kernel_error)?;
        let mut snapshot =
            self.give_back(changes.as_ref().map_or(&[], |(_, changes)| changes), snapshot)?;
        for family in Family::ALL {
            let mover = changes
                .as_ref()
                .filter(|(_, changes)| changes.iter().any(|it| it.family == family));
            let removed = self.remove_wide_routes(family, mover.map(|(to, _)| *to), &snapshot)?;
            // Of more, no result tells.
            snapshot.removed_routes.extend(removed.into_iter().take(MOST_ROUTES));
        }
        snapshot.closed_to_routers = self.closed_to_routers();
        snapshot.replaced_routes =
            self.moved.iter().flat_map(|moved| seen(moved.removed(), &snapshot.links)).collect();
        snapshot.kept_routes = self.moved.iter().flat_map(Moved::kept).collect();
        Ok(snapshot)
    }

    /// Removes the routes of extra networks that together take the family's default route from the
    /// primary network, or from `mover`, which has asked for it.
    fn remove_wide_routes(
        &mut self,
        family: Family,
        mover: Option<&Attachment>,
        snapshot: &Snapshot,
    ) -> Result<Vec<RemovedRoute>, Error> {
        let had_route = self
            .original_routes
            .as_ref()
            .is_some_and(|original_routes| original_routes.has(family));
        let is_other = |extra: &&Attachment| {
            extra.role == Role::Extra
                && mover.is_none_or(|mover| mover.interface != extra.interface)
        };
        let added = self.added();
        let others = || added.iter().filter(is_other);
        let index_of = |extra: &Attachment| Some(snapshot.link(extra.interface.as_str())?.index);
        let links: Vec<u32> = others().filter_map(index_of).collect();
        if links.is_empty() || !(had_route || mover.is_some()) {
            return Ok(Vec::new());
        }
        let netlink = self.inside.netlink().map_err(kernel_error)?;
        let routes = take_away_wide_routes(netlink, family, &links).map_err(kernel_error)?;
        let mut removed = Vec::new();
        for extra in others() {
            let own =
                |route: &&Route| index_of(extra).is_some_and(|index| route.is_through(&[index]));
            let own: Vec<_> =
                routes.iter().filter(own).map(|route| route.key.destination).collect();
            if !own.is_empty() {
                log::warn!("{}", unasked_wide_routes(self.pod, extra, &own));
            }
            let interface = extra.interface.to_string();
            removed.extend(
                own.into_iter()
                    .map(|destination| RemovedRoute { interface: interface.clone(), destination }),
            );
        }
        Ok(removed)
    }

    /// Gives the primary network back the default routes that extra networks have taken unasked.
    pub(super) fn give_back(
        &mut self,
        changes: &[RouteChange],
        snapshot: Snapshot,
    ) -> Result<Snapshot, Error> {
        let Some(original_routes) = &self.original_routes else { return Ok(snapshot) };
        let added = self.added();
        let extras = || added.iter().filter(|attachment| attachment.role == Role::Extra);
        let is_extra = |name: &str| extras().any(|extra| extra.interface.as_str() == name);
        let candidates = default_route::taken(
            &snapshot,
            |family| original_routes.has(family),
            changes,
            is_extra,
        );
        if candidates.is_empty() {
            return Ok(snapshot);
        }
        let families: BTreeSet<Family> = candidates.iter().map(|route| route.family).collect();
        let index_of = |extra: &Attachment| Some(snapshot.link(extra.interface.as_str())?.index);
        let links: Vec<u32> = extras().filter_map(index_of).collect();
        let netlink = self.inside.netlink().map_err(kernel_error)?;
        let mut taken = Vec::new();
        for family in families {
            taken.extend(original_routes.give_back(family, &links, netlink)?);
        }
        for extra in
            extras().filter(|extra| index_of(extra).is_some_and(|index| taken.contains(&index)))
        {
            log::warn!("{}", unasked_default_route(self.pod, extra));
        }
        // A route that was there before may be back even if none was taken.
        read_snapshot(netlink).map_err(kernel_error)
    }
}

/// Default routes with the names of their links; those that lead nowhere have none.
fn seen(routes: &[DefaultRoute], links: &[Link]) -> Vec<SeenRoute> {
    let name = |index: u32| links.iter().find(|link| link.index == index);
    let seen = routes.iter().filter_map(|route| {
        let interface = name(route.link_index?)?.name.clone();
        let is_its = |family: &Family| kernel_family(*family) == route.family();
        let family = Family::ALL.into_iter().find(is_its)?;
        Some(SeenRoute { family, interface: Some(interface), gateway: route.gateway })
    });
    seen.collect()
}

/// Removes the routes through `links` that together take the family's default route, and returns
/// them.
fn take_away_wide_routes(
    netlink: &mut Netlink,
    family: Family,
    links: &[u32],
) -> Result<Vec<Route>, NetlinkError> {
    let is_wide = |key: &RouteKey| key.is_main && default_route::is_wide(key.destination);
    let prefixes = default_route::wide_prefixes(family);
    let mut routes = netlink.routes(kernel_family(family), prefixes, is_wide)?;
    routes.retain(|route| route.is_through(links));
    let destinations: Vec<_> = routes.iter().map(|route| route.key.destination).collect();
    let taking = default_route::taking_default(family, &destinations);
    routes.retain(|route| taking.contains(&route.key.destination));
    routes.iter().try_for_each(|route| netlink.delete_any_route(route))?;
    Ok(routes)
}

fn unasked_default_route(pod: &Pod, attachment: &Attachment) -> String {
    format!(
        "pod {pod}: network \"{}\" has made a default route on {} that the pod has not asked for; \
         it was removed, and the primary network's is the way out: add \"default-route\": [] to \
         the pod's annotation to have it, or take the route out of the network's definition",
        attachment.label, attachment.interface
    )
}

/// Of many routes the first few are named.
fn unasked_wide_routes(pod: &Pod, attachment: &Attachment, routes: &[IpNetwork]) -> String {
    let shown: Vec<_> = routes.iter().take(4).map(ToString::to_string).collect();
    let more = if routes.len() > shown.len() { ", ..." } else { "" };
    format!(
        "pod {pod}: network \"{}\" has made routes on {} that together take the default route, \
         which the pod has not asked for ({}{more}); they were removed: add \"default-route\": [] \
         to the pod's annotation to have them, or take the routes out of the network's definition",
        attachment.label,
        attachment.interface,
        shown.join(", ")
    )
}
