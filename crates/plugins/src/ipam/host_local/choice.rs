//! Which address an attachment gets: no I/O, no clock.
//!
//! Addresses are walked upwards from behind the one that was reserved last, from range to range and
//! round again, so that one that was given back rests until all others had their turn.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni::error::{Code, Error};

use super::range::{Range, RangeSet, number};
use super::store::Reservation;
use crate::ipam::fields::invalid;

/// Part of a range that is walked: its first and its last address, as numbers.
#[derive(Clone, Copy)]
struct Walk<'s> {
    range: &'s Range,
    first: u128,
    last: u128,
}

/// The address that is next: the first behind `last` that is not `taken`; none if the set is full.
pub(crate) fn next<'s>(
    set: &'s RangeSet,
    last: Option<IpAddr>,
    taken: &[IpAddr],
) -> Option<(IpAddr, &'s Range)> {
    let taken: BTreeSet<IpAddr> = taken.iter().copied().collect();
    let free = |range: &Range, ip: IpAddr| ip != range.gateway() && !taken.contains(&ip);
    walks(set, last).into_iter().find_map(|Walk { range, first, last }| {
        let ip = (first..=last).map(|number| range.ip(number)).find(|ip| free(range, *ip))?;
        Some((ip, range))
    })
}

/// The parts of the set in the order in which they are walked.
fn walks(set: &RangeSet, last: Option<IpAddr>) -> Vec<Walk<'_>> {
    let ranges = set.ranges();
    let whole = |range| -> Walk<'_> { part(range, Range::limits(range)) };
    let place =
        last.and_then(|ip| Some((ranges.iter().position(|range| range.contains(ip))?, number(ip))));
    let Some((at, reached)) = place else { return ranges.iter().map(whole).collect() };
    let (before, from) = ranges.split_at(at);
    let Some((current, after)) = from.split_first() else { return Vec::new() };
    let (first, end) = current.limits();
    let mut walks = Vec::with_capacity(ranges.len().saturating_add(1));
    if reached < end {
        walks.push(part(current, (reached.saturating_add(1), end)));
    }
    walks.extend(after.iter().chain(before).map(whole));
    walks.push(part(current, (first, reached)));
    walks
}

fn part(range: &Range, (first, last): (u128, u128)) -> Walk<'_> {
    Walk { range, first, last }
}

/// The requested address of each set: the first that lies in it.
///
/// # Errors
/// Code 7 for a requested address that is left over.
pub(crate) fn assign(
    sets: &[RangeSet],
    requested: &[IpAddr],
) -> Result<Vec<Option<IpAddr>>, Error> {
    let mut left = requested.to_vec();
    let mut take =
        |set: &RangeSet| left.iter().position(|ip| set.contains(*ip)).map(|at| left.remove(at));
    let assigned = sets.iter().map(&mut take).collect();
    match left.first() {
        None => Ok(assigned),
        Some(ip) if sets.iter().any(|set| set.contains(*ip)) => Err(invalid(format!(
            "requested address {ip} is one too many: a range set gives one address, and another of \
             it is requested"
        ))),
        Some(ip) => Err(invalid(format!("requested address {ip} lies in no range of the network"))),
    }
}

/// A requested address, if it can be had.
///
/// # Errors
/// Code 7 for the gateway's, 11 for one that is reserved.
pub(crate) fn requested<'s>(
    set: &'s RangeSet,
    ip: IpAddr,
    held: &[Reservation],
) -> Result<(IpAddr, &'s Range), Error> {
    let outside = || invalid(format!("requested address {ip} is not in {set}"));
    let range = set.ranges().iter().find(|range| range.contains(ip)).ok_or_else(outside)?;
    if range.gateway() == ip {
        return Err(invalid(format!("requested address {ip} is the gateway of its subnet")));
    }
    match held.iter().find(|it| it.address == ip) {
        None => Ok((ip, range)),
        Some(it) => {
            let problem = format!("requested address {ip} is reserved for {}", it.owner);
            Err(Error::new(Code::TRY_AGAIN, problem))
        }
    }
}

/// Whether every address of the set is taken.
pub(crate) fn is_full(set: &RangeSet, taken: &[IpAddr]) -> bool {
    next(set, None, taken).is_none()
}
