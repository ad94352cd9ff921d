//! Which address of a range is next: no I/O, no clock.

use std::collections::BTreeSet;

use super::range::Range;

/// Where the search for a free address begins (`allocation`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Allocation {
    /// At the start of the range, as whereabouts does.
    #[default]
    Lowest,
    /// At a place that the node's name decides, so that nodes do not meet.
    Spread,
}

impl Allocation {
    /// The number that the search begins at.
    pub(crate) fn start(self, range: &Range, node: &str) -> u128 {
        let (first, last) = range.limits();
        match self {
            Self::Lowest => first,
            Self::Spread => {
                // Of a range that is larger, the first 2^64 addresses are enough to spread over.
                let size = (last - first).saturating_add(1).min(1 << 64);
                first.saturating_add((u128::from(hash(node)) * size) >> 64)
            }
        }
    }
}

/// A hash that is the same on every architecture and in every release (FNV-1a, and a last round so
/// that names that end alike are apart).
fn hash(text: &str) -> u64 {
    let mixed = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

/// The free address that comes after `skip` other free ones, counted from `start` upwards and round
/// again, as often as it takes; none if the range is full.
pub(crate) fn next(
    range: &Range,
    start: u128,
    taken: &BTreeSet<u128>,
    skip: usize,
) -> Option<u128> {
    match walk(range, start, taken, skip) {
        Ok(found) => Some(found),
        Err(0) => None,
        Err(free) => walk(range, start, taken, skip % free).ok(),
    }
}

/// The free address behind `skip` others in one round; if there are fewer, how many there are.
fn walk(range: &Range, start: u128, taken: &BTreeSet<u128>, skip: usize) -> Result<u128, usize> {
    let (first, last) = range.limits();
    let mut seen = 0;
    let before = (start > first).then(|| (first, start.saturating_sub(1)));
    for (from, to) in [Some((start, last)), before].into_iter().flatten() {
        let mut at = from;
        while let Some(free) = free_from(range, at, to, taken) {
            if seen == skip {
                return Ok(free);
            }
            seen += 1;
            let Some(behind) = free.checked_add(1) else { break };
            at = behind;
        }
    }
    Err(seen)
}

/// The first free address from `at` to `to`. What is left out is passed over as a whole.
fn free_from(range: &Range, at: u128, to: u128, taken: &BTreeSet<u128>) -> Option<u128> {
    let mut at = at;
    loop {
        if at > to {
            return None;
        }
        if let Some((_, end)) = range.excluded(at) {
            at = end.checked_add(1)?;
        } else if taken.contains(&at) {
            at = at.checked_add(1)?;
        } else {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::Fields;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::net::IpAddr;

    fn range(value: &Value) -> Range {
        Range::read(&Fields::root(value.as_object().unwrap())).unwrap().unwrap()
    }

    /// What every range has to be for a model that walks it.
    #[derive(Clone, Debug)]
    struct Model {
        value: Value,
        base: IpAddr,
        /// Offsets from the base, in order.
        usable: Vec<u8>,
    }

    fn text(base: IpAddr, offset: u8) -> String {
        match base {
            IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) + u32::from(offset)).into()).to_string(),
            IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) + u128::from(offset)).into()).to_string(),
        }
    }

    /// The forms of a range: plain, `first-last/n`, and with `range_start` and `range_end`; each
    /// with subnets that are left out.
    fn models() -> impl Strategy<Value = Model> {
        let excluded = prop::collection::vec((0_u8..64, 0_u8..3), 0..3);
        let forms = (any::<bool>(), 0..3_u8, 0_u8..64, 0_u8..64, excluded);
        forms.prop_map(|(is_v4, form, start, end, excluded)| {
            let base: IpAddr = if is_v4 { "10.1.2.64" } else { "fd00::40" }.parse().unwrap();
            let bits = if is_v4 { 32 } else { 128 };
            let prefix = bits - 6;
            let cidr = |offset| format!("{}/{prefix}", text(base, offset));
            let mut value = match form {
                0 => json!({"range": cidr(0)}),
                1 => json!({"range": format!("{}-{}", text(base, start), cidr(end))}),
                _ => json!({"range": cidr(0), "range_start": text(base, start),
                    "range_end": text(base, end)}),
            };
            let blocks: Vec<(u8, u8)> =
                excluded.iter().map(|(at, bits)| (at >> bits << bits, 1 << bits)).collect();
            let written = blocks.iter().zip(&excluded);
            value["exclude"] = written
                .map(|((at, _), (_, width))| format!("{}/{}", text(base, *at), bits - width))
                .collect();
            let (mut first, mut last) = (1, 62);
            if form > 0 {
                first = if (1..=62).contains(&start) { start } else { 1 };
                last = if (first..=62).contains(&end) { end } else { 62 };
            }
            let is_out =
                |at: u8| blocks.iter().any(|(from, size)| (*from..from + size).contains(&at));
            let usable = (first..=last).filter(|at| !is_out(*at)).collect();
            Model { value, base, usable }
        })
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_a_model_that_walks_the_range(
            model in models(),
            taken in prop::collection::btree_set(0_u8..64, 0..64),
            skip in 0_usize..4,
            node in "[a-z0-9]{0,8}",
            is_spread in any::<bool>(),
        ) {
            let range = range(&model.value);
            let at = |offset: u8| super::super::range::number(text(model.base, offset).parse().unwrap());
            let allocation = if is_spread { Allocation::Spread } else { Allocation::Lowest };
            let start = allocation.start(&range, &node);
            let (first, last) = range.limits();
            prop_assert!((first..=last).contains(&start));
            let numbers: BTreeSet<u128> = taken.iter().map(|offset| at(*offset)).collect();
            let free: Vec<u128> =
                model.usable.iter().filter(|at| !taken.contains(at)).map(|offset| at(*offset)).collect();
            let (before, behind): (Vec<u128>, Vec<u128>) = free.iter().partition(|at| **at < start);
            let walked: Vec<u128> = behind.into_iter().chain(before).collect();
            let expected = walked.iter().cycle().nth(skip).copied();
            let chosen = next(&range, start, &numbers, skip);
            prop_assert_eq!(chosen, expected);
            if let Some(number) = chosen {
                prop_assert!(range.contains(range.address(number)));
            }
        }
    }

    #[test]
    fn a_large_range_is_not_walked() {
        let range = range(&json!({"range": "fd00::/16", "exclude": ["fd00::/17"]}));
        let chosen = next(&range, range.limits().0, &BTreeSet::new(), 0).unwrap();
        assert_eq!(range.address(chosen).to_string(), "fd00:8000::");
    }

    #[test]
    fn nodes_begin_apart() {
        let range = range(&json!({"range": "10.0.0.0/20"}));
        let starts: BTreeSet<u128> =
            (0..32).map(|at| Allocation::Spread.start(&range, &format!("node-{at}"))).collect();
        assert!(starts.len() > 28, "{}", starts.len());
        let mut starts = starts.into_iter();
        let first = starts.next().unwrap();
        let last = starts.next_back().unwrap();
        assert!(last - first > 2000, "{first} {last}");
    }
}
