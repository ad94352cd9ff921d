//! How much of the ranges is taken, for programs that watch a node.

use std::net::IpAddr;

use cni::error::Error;
use serde_json::{Map, Value};

use super::config::read_sets;
use super::range::RangeSet;
use crate::ipam::Fields;

/// A set of ranges, of which an attachment gets one address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RangeUsage {
    /// Its subnets or ranges, separated by commas.
    pub ranges: String,
    /// How many addresses can be given to pods.
    pub size: u128,
    /// How many of them nothing holds.
    pub free: u128,
}

/// The sets of a network's `ipam`, of whose addresses these are `taken`. Ranges that come with each
/// pod are none of them.
///
/// # Errors
/// Code 7 for ranges with which ADD would fail.
pub fn usage(ipam: &Map<String, Value>, taken: &[IpAddr]) -> Result<Vec<RangeUsage>, Error> {
    let sets = read_sets(&Fields::root(ipam), None)?;
    Ok(sets.iter().map(|set| of_set(set, taken)).collect())
}

fn of_set(set: &RangeSet, taken: &[IpAddr]) -> RangeUsage {
    let size = set.ranges().iter().fold(0_u128, |sum, range| {
        let (first, last) = range.limits();
        // The gateway is never handed out.
        let gateway = u128::from(range.contains(range.gateway()));
        sum.saturating_add((last - first).saturating_add(1).saturating_sub(gateway))
    });
    let is_gateway = |ip: IpAddr| set.ranges().iter().any(|range| range.gateway() == ip);
    let held = taken.iter().filter(|ip| set.contains(**ip) && !is_gateway(**ip)).count();
    let free = size.saturating_sub(u128::try_from(held).unwrap_or(u128::MAX));
    let ranges = set.to_string();
    let ranges = ranges.strip_prefix("range set ").unwrap_or(&ranges).to_owned();
    RangeUsage { ranges, size, free }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(ipam: Value, taken: &[&str]) -> Vec<(String, u128, u128)> {
        let taken: Vec<IpAddr> = taken.iter().map(|ip| ip.parse().unwrap()).collect();
        let sets = usage(ipam.as_object().unwrap(), &taken).unwrap();
        sets.into_iter().map(|it| (it.ranges, it.size, it.free)).collect()
    }

    #[test]
    fn a_range_has_neither_network_nor_broadcast_nor_gateway() {
        let ipam = json!({"type": "host-local", "subnet": "10.1.0.0/24"});
        let [(_, size, free)] = of(ipam, &["10.1.0.1", "10.1.0.2", "10.2.0.3"]).try_into().unwrap();
        assert_eq!((size, free), (253, 252));
    }

    #[test]
    fn each_set_has_addresses_of_its_own() {
        let ranges = json!([
            [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.19"}],
            [{"subnet": "fd00::/64"}],
        ]);
        let ipam = json!({"type": "host-local", "ranges": ranges});
        let found = of(ipam, &["10.1.0.10", "10.1.0.30", "fd00::2"]);
        assert_eq!((found[0].1, found[0].2), (10, 9));
        assert_eq!(found[1].1 - found[1].2, 1);
        assert!(found[0].0.contains("10.1.0."), "{found:?}");
    }

    #[test]
    fn a_range_that_is_none_is_an_error() {
        let ipam = json!({"subnet": "10.1.0.0/99"});
        assert!(usage(ipam.as_object().unwrap(), &[]).is_err());
        assert_eq!(of(json!({}), &[]), []);
    }
}
