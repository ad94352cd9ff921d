//! Which default routes a pod is to have, from what it asked for and what its network offers
//! (NPWG 1.3, section 4.1.2.1.9). Deciding is pure; the kernel is [`crate::attach`]'s business.

mod coverage;

use std::net::IpAddr;

use crate::attach::snapshot::{SeenRoute, Snapshot};
use cni::family::Family;
use cni::result::AttachmentResult;

pub(crate) use coverage::{is_wide, taking_default, wide_prefixes};

/// The default route of one family moves to one attachment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RouteChange {
    /// IPv4 or IPv6; the other family stays as it is.
    pub family: Family,
    /// The next hops, the most wanted first; `None` is the link itself. Empty: the family is to
    /// have no default route at all.
    pub hops: Vec<Option<IpAddr>>,
}

/// What changes for an attachment that asked for the default route through `requested`, given its
/// result.
///
/// An empty request means the network's own way out: its default routes, else the gateways of its
/// addresses, in each family that has one. A network without any takes the default route away in
/// the families it has addresses in: the pod asked to have no way out but through it.
pub(crate) fn changes(requested: &[IpAddr], result: &AttachmentResult) -> Vec<RouteChange> {
    if !requested.is_empty() {
        return in_each_family(|family| {
            let gateways =
                requested.iter().copied().filter(|gateway| Family::of(*gateway) == family);
            gateways.map(Some).collect()
        });
    }
    let own = in_each_family(|family| own_hops(result, family));
    if !own.is_empty() {
        return own;
    }
    let has_address =
        |family: &Family| result.ips.iter().any(|address| address.family() == Some(*family));
    let families = Family::ALL.into_iter().filter(has_address);
    families.map(|family| RouteChange { family, hops: Vec::new() }).collect()
}

/// The default routes that extra networks may have taken without being asked to: those through one
/// of their interfaces, in a family that had a way out before them (`had`), and that no pod has
/// moved (`changes`). The default route stays with the primary network otherwise (NPWG 1.3, section
/// 4.1.2.1.9).
pub(crate) fn taken<'s>(
    snapshot: &'s Snapshot,
    had: impl Fn(Family) -> bool,
    changes: &[RouteChange],
    is_extra: impl Fn(&str) -> bool,
) -> Vec<&'s SeenRoute> {
    let asked = |family| changes.iter().any(|change| change.family == family);
    let through_extra = |route: &SeenRoute| route.interface.as_deref().is_some_and(&is_extra);
    let routes = snapshot.default_routes.iter();
    routes
        .filter(|route| had(route.family) && !asked(route.family) && through_extra(route))
        .collect()
}

fn in_each_family(hops: impl Fn(Family) -> Vec<Option<IpAddr>>) -> Vec<RouteChange> {
    let changes = Family::ALL.into_iter().map(|family| RouteChange { family, hops: hops(family) });
    changes.filter(|change| !change.hops.is_empty()).collect()
}

/// Each hop once, in order.
fn own_hops(result: &AttachmentResult, family: Family) -> Vec<Option<IpAddr>> {
    let mut all = result.default_hops(family);
    if all.is_empty() {
        all.extend(result.gateways(family).map(Some));
    }
    let mut hops = Vec::new();
    for hop in all {
        if !hops.contains(&hop) {
            hops.push(hop);
        }
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::version::Version;
    use serde_json::{Value, json};

    fn decide(requested: &[&str], result: Value) -> Vec<(Family, Vec<String>)> {
        let requested: Vec<IpAddr> =
            requested.iter().map(|gateway| gateway.parse().unwrap()).collect();
        let result = AttachmentResult::read(&result, Version::V1_0_0).unwrap();
        let hop = |hop: &Option<IpAddr>| {
            hop.map_or_else(|| "link".to_owned(), |gateway| gateway.to_string())
        };
        let shown = |change: RouteChange| (change.family, change.hops.iter().map(hop).collect());
        changes(&requested, &result).into_iter().map(shown).collect()
    }

    #[test]
    fn each_family_moves_by_itself_in_the_order_asked() {
        let dual = decide(&["10.0.0.2", "fd00::1", "10.0.0.1"], json!({}));
        assert_eq!(
            dual,
            [
                (Family::V4, vec!["10.0.0.2".to_owned(), "10.0.0.1".to_owned()]),
                (Family::V6, vec!["fd00::1".to_owned()])
            ]
        );
        assert_eq!(decide(&["fd00::1"], json!({})).len(), 1);
    }

    #[test]
    fn an_empty_list_means_the_networks_own_gateways() {
        let result = json!({
            "ips": [{"address": "10.0.0.5/24", "gateway": "10.0.0.1"}, {"address": "fd00::5/64", "gateway": "fd00::1"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.254"}, {"dst": "10.9.0.0/16"}]
        });
        assert_eq!(
            decide(&[], result),
            [(Family::V4, vec!["10.0.0.254".to_owned()]), (Family::V6, vec!["fd00::1".to_owned()])]
        );
    }

    #[test]
    fn a_network_without_gateways_takes_the_way_out() {
        assert_eq!(
            decide(&[], json!({"ips": [{"address": "10.0.0.5/24"}]})),
            [(Family::V4, vec![])]
        );
        assert_eq!(decide(&[], json!({})), []);
    }

    #[test]
    fn gateways_are_named_once_and_in_order() {
        let route = |gateway: &str| json!({"dst": "0.0.0.0/0", "gw": gateway});
        let result = json!({"routes": [route("10.0.0.2"), route("10.0.0.1"), route("10.0.0.2")]});
        assert_eq!(
            decide(&[], result),
            [(Family::V4, vec!["10.0.0.2".to_owned(), "10.0.0.1".to_owned()])]
        );
        let address = |address: &str| json!({"address": address, "gateway": "10.0.0.1"});
        let result = json!({"ips": [address("10.0.0.5/24"), address("10.0.0.6/24")]});
        assert_eq!(decide(&[], result), [(Family::V4, vec!["10.0.0.1".to_owned()])]);
    }

    #[test]
    fn a_default_route_without_gateway_uses_that_of_the_address() {
        let result = json!({
            "ips": [{"address": "10.0.0.5/24", "gateway": "10.0.0.1"}, {"address": "fd00::5/64"}],
            "routes": [{"dst": "0.0.0.0/0"}]
        });
        // IPv6 has no way out here, so its default route stays where it is.
        assert_eq!(decide(&[], result), [(Family::V4, vec!["10.0.0.1".to_owned()])]);
    }

    #[test]
    fn a_default_route_without_any_gateway_is_on_the_link() {
        let result = |gw: Value| {
            json!({
                "ips": [{"address": "10.0.0.5/32"}, {"address": "fd00::5/128"}],
                "routes": [{"dst": "0.0.0.0/0", "gw": gw}]
            })
        };
        for gw in [json!(null), json!("0.0.0.0")] {
            assert_eq!(decide(&[], result(gw)), [(Family::V4, vec!["link".to_owned()])]);
        }
        assert_eq!(
            decide(&[], result(json!("10.0.0.1"))),
            [(Family::V4, vec!["10.0.0.1".to_owned()])]
        );
    }

    #[test]
    fn a_mapped_gateway_is_one_of_ipv4_and_an_unspecified_one_is_none() {
        let result = |gateway: &str| json!({"ips": [{"address": "::ffff:10.0.0.5/120", "gateway": gateway}]});
        assert_eq!(
            decide(&[], result("::ffff:10.0.0.1")),
            [(Family::V4, vec!["10.0.0.1".to_owned()])]
        );
        assert_eq!(decide(&[], result("0.0.0.0")), [(Family::V4, vec![])]);
    }

    #[test]
    fn each_family_with_addresses_loses_its_default_route_if_nothing_has_a_gateway() {
        let result = json!({"ips": [{"address": "10.0.0.5/24"}, {"address": "fd00::5/64"}]});
        assert_eq!(decide(&[], result), [(Family::V4, vec![]), (Family::V6, vec![])]);
    }

    #[test]
    fn what_was_requested_counts_whatever_the_result_says() {
        let result = json!({
            "ips": [{"address": "fd00::5/64", "gateway": "fd00::1"}],
            "routes": [{"dst": "::/0", "gw": "fd00::1"}]
        });
        assert_eq!(decide(&["10.0.0.9"], result), [(Family::V4, vec!["10.0.0.9".to_owned()])]);
    }

    #[test]
    fn a_default_route_is_removed_if_there_was_one_and_the_pod_did_not_ask() {
        let seen = |family, interface: &str| SeenRoute {
            family,
            interface: Some(interface.to_owned()),
            gateway: None,
        };
        let snapshot = Snapshot {
            links: vec![],
            default_routes: vec![
                seen(Family::V4, "eth0"),
                seen(Family::V4, "net1"),
                seen(Family::V6, "net2"),
                SeenRoute { interface: None, ..seen(Family::V6, "") },
            ],
            ..Snapshot::default()
        };
        let of = |had: &[Family], asked: &[Family]| {
            let changes: Vec<_> =
                asked.iter().map(|family| RouteChange { family: *family, hops: vec![] }).collect();
            let taken =
                taken(&snapshot, |family| had.contains(&family), &changes, |name| name != "eth0");
            taken.into_iter().map(|route| route.interface.clone().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of(&Family::ALL, &[]), ["net1", "net2"]);
        assert_eq!(of(&[Family::V6], &[]), ["net2"], "the first way out is welcome");
        assert_eq!(of(&Family::ALL, &[Family::V6]), ["net1"]);
    }

    #[test]
    fn addresses_that_are_none_are_passed_over() {
        let result = json!({"ips": [{"address": "nonsense", "gateway": "x"}, {"address": "10.0.0.5/24", "gateway": "x"}]});
        let result = AttachmentResult::read_lenient(&result, Version::V1_0_0).unwrap();
        assert_eq!(changes(&[], &result), [RouteChange { family: Family::V4, hops: vec![] }]);
    }
}
