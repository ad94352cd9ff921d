//! The default routes of an ADD: with the attachment that asked for them, else with the primary.

use std::collections::BTreeSet;

use super::{Addition, look};
use crate::attach::routes::{Move, WayOut};
use crate::plan::{Attachment, Role};
use crate::pod::Pod;
use crate::report::kernel_error;
use crate::route::{self, RouteChange};
use crate::snapshot::Snapshot;
use cni::error::Error;
use cni::family::Family;
use cni::result::AttachmentResult;

impl<'s> Addition<'s, '_> {
    /// Looks where the default routes lead before an extra network can take them.
    pub(super) fn look_for_way_out(&mut self, attachment: &Attachment) -> Result<(), Error> {
        if attachment.role == Role::Extra && self.way_out.is_none() {
            let netlink = self.inside.netlink().map_err(kernel_error)?;
            self.way_out = Some(WayOut::look(netlink).map_err(kernel_error)?);
        }
        Ok(())
    }

    /// The attachment that asked for the default route, and what changes for it.
    pub(super) fn route_changes(
        &self,
        results: &[AttachmentResult],
    ) -> Option<(&'s Attachment, Vec<RouteChange>)> {
        let pairs = self.plan.attachments.iter().zip(results);
        pairs
            .filter_map(|(attachment, result)| Some((attachment, attachment.default_route.as_ref()?, result)))
            .map(|(attachment, gateways, result)| (attachment, route::changes(gateways, result)))
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
        let keep = &self.session.config.keep_cluster_routes;
        let netlink = self.inside.netlink().map_err(kernel_error)?;
        if let Some((to, changes)) = changes {
            let (network, to) = (to.label.as_str(), to.interface.as_str());
            self.moved = Some(Move { changes, network, to, primary, keep }.apply(netlink)?);
        }
        let snapshot = look(netlink).map_err(kernel_error)?;
        self.give_back(changes.as_ref().map_or(&[], |(_, changes)| changes), snapshot)
    }

    /// Gives the primary network back the default routes that extra networks have taken unasked.
    pub(super) fn give_back(
        &mut self,
        changes: &[RouteChange],
        snapshot: Snapshot,
    ) -> Result<Snapshot, Error> {
        let Some(way_out) = &self.way_out else { return Ok(snapshot) };
        let extras = || self.plan.attachments.iter().filter(|attachment| attachment.role == Role::Extra);
        let is_extra = |name: &str| extras().any(|extra| extra.interface.as_str() == name);
        let candidates = route::taken(&snapshot, |family| way_out.has(family), changes, is_extra);
        if candidates.is_empty() {
            return Ok(snapshot);
        }
        let families: BTreeSet<Family> = candidates.iter().map(|route| route.family).collect();
        let index_of = |extra: &Attachment| Some(snapshot.link(extra.interface.as_str())?.index);
        let links: Vec<u32> = extras().filter_map(index_of).collect();
        let netlink = self.inside.netlink().map_err(kernel_error)?;
        let mut taken = Vec::new();
        for family in families {
            taken.extend(way_out.give_back(family, &links, netlink)?);
        }
        for extra in extras().filter(|extra| index_of(extra).is_some_and(|index| taken.contains(&index))) {
            log::warn!("{}", unasked_default_route(self.pod, extra));
        }
        // A route that was there before may be back even where none was taken.
        look(netlink).map_err(kernel_error)
    }
}

fn unasked_default_route(pod: &Pod, attachment: &Attachment) -> String {
    format!(
        "pod {pod}: network \"{}\" has made a default route on {} that the pod has not asked for; it was removed, and \
         the primary network's is the way out: add \"default-route\": [] to the pod's annotation to have it, or take \
         the route out of the network's definition",
        attachment.label, attachment.interface
    )
}
