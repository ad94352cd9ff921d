//! The default routes of a pod that loses the network which has them: they are the primary's again.

use std::collections::BTreeSet;

use crate::attach::snapshot::SeenRoute;
use crate::ledger::{Record, State};
use crate::plan::Role;
use cni::family::Family;
use cni::result::AttachmentResult;
use cni::version::Version;
use linux::netlink::{Netlink, NetlinkError};
use plugins::kernel::kernel_family;

/// Gives back the default routes that had to make way, in each family that has none any more.
/// Returns whether there were any.
pub(super) fn give_back(record: &Record, netlink: &mut Netlink) -> Result<bool, NetlinkError> {
    let routes = former_routes(record);
    let families: BTreeSet<Family> = routes.iter().map(|route| route.family).collect();
    let links = netlink.links()?;
    let mut has_given = false;
    for family in families {
        if !netlink.default_routes(kernel_family(family))?.is_empty() {
            continue;
        }
        let of_family = routes.iter().filter(|route| route.family == family);
        let found = of_family.filter_map(|route| {
            let link = links.iter().find(|link| Some(&link.name) == route.interface.as_ref())?;
            Some((link.index, route))
        });
        for (index, route) in found {
            add(family, index, route, netlink)?;
            has_given = true;
        }
    }
    Ok(has_given)
}

/// A gateway that no route leads to is on the link: a primary with a /32 has such.
fn add(
    family: Family,
    index: u32,
    route: &SeenRoute,
    netlink: &mut Netlink,
) -> Result<(), NetlinkError> {
    let family = kernel_family(family);
    match (netlink.add_default_route(family, index, route.gateway, None), route.gateway) {
        (Err(error), Some(gateway)) if error.is_unreachable() => {
            netlink.add_onlink_default_route(family, index, gateway, None)
        }
        (outcome, _) => outcome,
    }
}

/// The routes that made way: as recorded, or those of the primary's result in the records of Braid
/// before 0.2.
fn former_routes(record: &Record) -> Vec<SeenRoute> {
    let recorded = record.complete.as_ref().map(|then| then.replaced_routes.clone());
    let recorded = recorded.unwrap_or_default();
    if !recorded.is_empty() {
        return recorded;
    }
    let Some(primary) = primary_result(record) else { return Vec::new() };
    let of_family = |family: Family| {
        let hops = primary.default_hops(family).into_iter();
        hops.take(1).map(move |gateway| SeenRoute {
            family,
            interface: Some(record.plan.key.interface.to_string()),
            gateway,
        })
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

fn primary_result(record: &Record) -> Option<AttachmentResult> {
    if let Some(result) = &record.plan.primary {
        return AttachmentResult::read_lenient(result, Version::NEWEST).ok();
    }
    let attachments = record.plan.attachments.iter().zip(&record.states);
    let mut primaries = attachments.filter(|(attachment, _)| attachment.role == Role::Primary);
    match primaries.next()? {
        (attachment, State::Attached(result)) => {
            AttachmentResult::read_lenient(result, attachment.network.version).ok()
        }
        _ => None,
    }
}
