//! The default routes of a pod that loses the network which has them: they are the primary's again.

use crate::attach::routes::metrics;
use crate::attach::snapshot::SeenRoute;
use crate::ledger::{Record, State};
use crate::plan::Role;
use crate::verb::add::read_snapshot;
use cni::family::Family;
use cni::name::InterfaceName;
use cni::result::AttachmentResult;
use cni::version::Version;
use linux::netlink::{LinkId, Netlink, NetlinkError, RouteKey};
use plugins::kernel::kernel_family;

/// The default routes that a pod is to have, and has.
#[derive(Debug)]
pub(super) struct GivenBack {
    pub(super) family: Family,
    pub(super) routes: Vec<SeenRoute>,
}

/// Gives the pod the default routes that it is to have without the attachments on `gone`: those
/// that are recorded through its other interfaces, else those that had to make way. An attach that
/// was killed behind the move has left none of them, or some. If the kernel shows another one, the
/// pod has made it, and the family is left alone. Returns what the pod has now as it is to have it.
///
/// # Errors
/// [`NetlinkError`] if the kernel refuses.
pub(super) fn give_back(
    record: &Record,
    gone: &[&InterfaceName],
    netlink: &mut Netlink,
) -> Result<Vec<GivenBack>, NetlinkError> {
    let now = read_snapshot(netlink)?;
    let mut all = Vec::new();
    for family in Family::ALL {
        let routes = wanted(record, gone, family);
        let of_family = |route: &&SeenRoute| route.family == family;
        let shown: Vec<_> = now.default_routes.iter().filter(of_family).collect();
        if routes.is_empty() || shown.iter().any(|route| !routes.contains(route)) {
            continue;
        }
        let mut has_all = true;
        for (place, route) in routes.iter().enumerate() {
            if shown.contains(&route) {
                continue;
            }
            match now.links.iter().find(|link| Some(&link.name) == route.interface.as_ref()) {
                Some(link) => add(link.index, route, place, netlink)?,
                None => has_all = false,
            }
        }
        if has_all {
            all.push(GivenBack { family, routes });
        }
    }
    Ok(all)
}

/// Takes away the cluster's routes of a family that were added when its default routes moved: the
/// primary leads there again.
///
/// # Errors
/// [`NetlinkError`] if the kernel refuses.
pub(super) fn remove_kept(
    record: &Record,
    family: Family,
    netlink: &mut Netlink,
) -> Result<(), NetlinkError> {
    let kept = record.complete.iter().flat_map(|then| &then.kept_routes);
    let kept: Vec<_> = kept.filter(|it| Family::of(it.ip()) == family).collect();
    let lengths = || kept.iter().map(|destination| destination.prefix());
    let (Some(shortest), Some(longest)) = (lengths().min(), lengths().max()) else {
        return Ok(());
    };
    let primary = netlink.find(LinkId::Name(record.plan.key.interface.as_str()))?;
    let Some(primary) = primary else { return Ok(()) };
    let is_kept = |key: &RouteKey| {
        key.is_main && kept.iter().any(|destination| **destination == key.destination)
    };
    let routes = netlink.routes(kernel_family(family), shortest..=longest, is_kept)?;
    let mut through_primary = routes.iter().filter(|route| route.is_through(&[primary.index]));
    through_primary.try_for_each(|route| netlink.delete_any_route(route))
}

/// The default routes of a family without the interfaces that are `gone`.
fn wanted(record: &Record, gone: &[&InterfaceName], family: Family) -> Vec<SeenRoute> {
    let recorded = record.complete.iter().flat_map(|then| &then.default_routes);
    let stays = |route: &&SeenRoute| {
        route.family == family && !gone.iter().any(|interface| route.is_through(interface))
    };
    let staying: Vec<SeenRoute> = recorded.filter(stays).cloned().collect();
    if !staying.is_empty() {
        return staying;
    }
    former_routes(record).into_iter().filter(|route| route.family == family).collect()
}

/// A gateway that no route leads to is on the link: a primary with a /32 has such. The metrics of
/// several routes are not recorded: they keep their order.
fn add(
    index: u32,
    route: &SeenRoute,
    place: usize,
    netlink: &mut Netlink,
) -> Result<(), NetlinkError> {
    let family = kernel_family(route.family);
    let metric = metrics(route.family).nth(place).flatten();
    match (netlink.add_default_route(family, index, route.gateway, metric), route.gateway) {
        (Err(error), Some(gateway)) if error.is_unreachable() => {
            netlink.add_onlink_default_route(family, index, gateway, metric)
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
