//! Routes that take the default route without being it: `0.0.0.0/1` with `128.0.0.0/1`, say. The
//! kernel prefers the longer prefix, so that such routes win whatever their metric is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use cni::family::Family;

/// The addresses of the world, from the first to the last: unicast for IPv4, 2000::/3 for IPv6.
fn world(family: Family) -> (u128, u128) {
    match family {
        Family::V4 => (0, 0xdfff_ffff),
        Family::V6 => (1 << 125, (1 << 126) - 1),
    }
}

/// Whether a route to this destination may take a part of the default route: a default route does
/// not, nor one to a private network (RFC 1918, 6598, 3927, 4193, link-local), however wide.
pub(crate) fn is_wide(destination: IpNetwork) -> bool {
    let family = Family::of(destination.ip());
    wide_prefixes(family).contains(&destination.prefix()) && !is_private(destination)
}

/// The lengths of the prefixes that such routes have: half of the world is behind 32,768 of the
/// longest.
pub(crate) fn wide_prefixes(family: Family) -> RangeInclusive<u8> {
    match family {
        Family::V4 => 1..=16,
        Family::V6 => 1..=19,
    }
}

fn is_private(destination: IpNetwork) -> bool {
    match destination {
        IpNetwork::V4(network) => private_v4(network),
        IpNetwork::V6(network) => private_v6(network),
    }
}

fn private_v4(network: Ipv4Network) -> bool {
    let ip = network.network();
    let is_shared = matches!(ip.octets(), [100, 64..=127, ..]) && network.prefix() >= 10;
    let is_private = match ip.octets() {
        [10, ..] => network.prefix() >= 8,
        [172, 16..=31, ..] => network.prefix() >= 12,
        [192, 168, ..] | [169, 254, ..] => network.prefix() >= 16,
        _ => false,
    };
    is_private || is_shared
}

fn private_v6(network: Ipv6Network) -> bool {
    let [first, ..] = network.network().segments();
    (first & 0xfe00 == 0xfc00 && network.prefix() >= 7)
        || (first & 0xffc0 == 0xfe80 && network.prefix() >= 10)
}

/// Which routes take the default route together: none if they lead to less than half of the world.
/// The widest ones do it; those that are left lead somewhere in particular.
pub(crate) fn taking_default(family: Family, destinations: &[IpNetwork]) -> BTreeSet<IpNetwork> {
    let mut left: BTreeSet<IpNetwork> =
        destinations.iter().copied().filter(|it| is_wide(*it)).collect();
    let mut taking = BTreeSet::new();
    while leads_to_half(family, &left) {
        let widest = left.iter().map(IpNetwork::prefix).min().unwrap_or_default();
        let (wide, rest): (BTreeSet<_>, _) = left.into_iter().partition(|it| it.prefix() <= widest);
        taking.extend(wide);
        left = rest;
    }
    if !taking.is_empty() {
        // What stays beside them of a default route that was cut up unevenly is as wide as no one
        // network is.
        taking.extend(left.into_iter().filter(|it| it.prefix() < 8));
    }
    taking
}

fn leads_to_half(family: Family, destinations: &BTreeSet<IpNetwork>) -> bool {
    let (first, last) = world(family);
    let mut ranges: Vec<(u128, u128)> = destinations.iter().map(range).collect();
    ranges.sort_unstable();
    let (mut covered, mut next) = (0, first);
    for (start, end) in ranges {
        let (start, end) = (start.max(next), end.min(last));
        if start <= end {
            covered += end - start + 1;
            next = end + 1;
        }
    }
    covered * 2 > last - first
}

fn range(network: &IpNetwork) -> (u128, u128) {
    (number(network.network()), number(network.broadcast()))
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(family: Family, routes: &[&str]) -> Vec<String> {
        let routes: Vec<IpNetwork> = routes.iter().map(|route| route.parse().unwrap()).collect();
        taking_default(family, &routes).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn routes_that_lead_to_half_of_the_world_take_the_default_route() {
        let table: [(&[&str], &[&str]); 12] = [
            (&["0.0.0.0/1", "128.0.0.0/1"], &["0.0.0.0/1", "128.0.0.0/1"]),
            (&["0.0.0.0/1", "128.0.0.0/1", "10.9.0.0/16"], &["0.0.0.0/1", "128.0.0.0/1"]),
            (&["0.0.0.0/1"], &["0.0.0.0/1"]),
            (&["0.0.0.0/1", "0.0.0.0/1"], &["0.0.0.0/1"]),
            (
                &["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"],
                &["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"],
            ),
            (
                &["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "8.8.0.0/16"],
                &["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2"],
            ),
            (&["128.0.0.0/1"], &[]),
            (&["224.0.0.0/3", "128.0.0.0/2"], &[]),
            (&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"], &[]),
            (&["8.0.0.0/7", "0.0.0.0/0"], &[]),
            (&["203.0.113.0/24"], &[]),
            (&[], &[]),
        ];
        for (routes, expected) in table {
            assert_eq!(taken(Family::V4, routes), expected, "{routes:?}");
        }
        let table: [(&[&str], &[&str]); 6] = [
            (&["::/1", "8000::/1"], &["::/1", "8000::/1"]),
            (&["2000::/3"], &["2000::/3"]),
            (&["2000::/4", "3000::/4", "fd00:9::/64"], &["2000::/4", "3000::/4"]),
            (&["8000::/1"], &[]),
            (&["fc00::/7", "2001:db8::/32", "2600::/12"], &[]),
            (&["::/0"], &[]),
        ];
        for (routes, expected) in table {
            assert_eq!(taken(Family::V6, routes), expected, "{routes:?}");
        }
    }

    #[test]
    fn a_hole_hides_nothing() {
        let slices = (0..=223)
            .filter(|first| ![8, 9, 77].contains(first))
            .map(|first| format!("{first}.0.0.0/8"));
        let slices: Vec<String> = slices.collect();
        let slices: Vec<&str> = slices.iter().map(String::as_str).collect();
        let taken = taken(Family::V4, &slices);
        assert!(
            taken.len() == slices.len() - 1 && !taken.contains(&"10.0.0.0/8".to_owned()),
            "{taken:?}"
        );
    }
}
