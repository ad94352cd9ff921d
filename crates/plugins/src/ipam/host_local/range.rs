//! Ranges of addresses, and sets of them: plain arithmetic.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use cni::error::{Code, Error};
use cni::family::Family;

use super::super::fields::{Fields, invalid};
use super::super::result::Lease;

/// Addresses of one subnet, from the first to the last, less its gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Range {
    subnet: IpNetwork,
    first: IpAddr,
    last: IpAddr,
    gateway: IpAddr,
}

/// Ranges of one family of which an attachment gets one address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RangeSet(Vec<Range>);

/// An address as a number, which orders those of a family.
pub(crate) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

impl Range {
    /// Reads a range, with the defaults for what it leaves out; none if it has no subnet.
    ///
    /// # Errors
    /// Code 7 for values of the wrong type, a subnet that is too small or has host bits, and limits
    /// outside it.
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Option<Self>, Error> {
        let Some(subnet) = fields.cidr("subnet")? else { return Ok(None) };
        check_subnet(subnet, &fields.path_of("subnet"))?;
        let second = ip_of(Family::of(subnet.ip()), number(subnet.ip()).saturating_add(1));
        let range = Self {
            subnet,
            first: fields.ip("rangeStart")?.unwrap_or(second),
            last: fields.ip("rangeEnd")?.unwrap_or_else(|| last_of(subnet)),
            gateway: fields.ip("gateway")?.unwrap_or(second),
        };
        for (key, ip) in [("rangeStart", range.first), ("rangeEnd", range.last)] {
            if !subnet.contains(ip) {
                return Err(invalid(format!(
                    "\"{}\": {ip} is not in subnet {subnet}",
                    fields.path_of(key)
                )));
            }
        }
        if Family::of(range.gateway) != range.family() {
            let (path, gateway) = (fields.path_of("gateway"), range.gateway);
            return Err(invalid(format!(
                "\"{path}\": {gateway} is of another family than subnet {subnet}"
            )));
        }
        if number(range.first) > number(range.last) {
            let path = fields.path_of("rangeStart");
            return Err(invalid(format!(
                "\"{path}\": {} is behind the range's end {}",
                range.first, range.last
            )));
        }
        Ok(Some(range))
    }

    /// The family of its addresses.
    pub(crate) fn family(&self) -> Family {
        Family::of(self.subnet.ip())
    }

    /// The gateway of its subnet, which is never handed out.
    pub(crate) fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The first and the last address, as numbers.
    pub(crate) fn limits(&self) -> (u128, u128) {
        (number(self.first), number(self.last))
    }

    /// The address of this number.
    pub(crate) fn ip(&self, number: u128) -> IpAddr {
        ip_of(self.family(), number)
    }

    /// Whether the address lies in the range. That of the gateway may.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        Family::of(ip) == self.family()
            && (number(self.first)..=number(self.last)).contains(&number(ip))
    }

    /// The address as it is handed out: with the prefix length and the gateway of the subnet.
    pub(crate) fn lease(&self, ip: IpAddr) -> Result<Lease, Error> {
        let address = IpNetwork::new(ip, self.subnet.prefix())
            .map_err(|error| Error::new(Code::CONFIG, error))?;
        Ok(Lease { address, gateway: Some(self.gateway) })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family()
            && number(self.first) <= number(other.last)
            && number(other.first) <= number(self.last)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

fn check_subnet(subnet: IpNetwork, path: &str) -> Result<(), Error> {
    let most = if subnet.is_ipv4() { 30 } else { 126 };
    if subnet.prefix() > most {
        return Err(invalid(format!(
            "\"{path}\": {subnet} is too small: a range needs a prefix of at most {most}"
        )));
    }
    if subnet.ip() != subnet.network() {
        let network = subnet.network();
        return Err(invalid(format!(
            "\"{path}\": {subnet} has host bits set: write {network}/{}",
            subnet.prefix()
        )));
    }
    Ok(())
}

/// The last address that a subnet hands out: IPv4 has its broadcast address behind it.
fn last_of(subnet: IpNetwork) -> IpAddr {
    let last = subnet.broadcast();
    if last.is_ipv4() { ip_of(Family::V4, number(last).saturating_sub(1)) } else { last }
}

fn ip_of(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

impl RangeSet {
    /// Reads a set, which stands at `path`.
    ///
    /// # Errors
    /// Code 7 as [`Range::read`], and for a set that is empty, of two families, or overlaps itself.
    pub(crate) fn read(ranges: &[Fields<'_>], path: &str) -> Result<Self, Error> {
        let missing =
            |fields: &Fields<'_>| invalid(format!("\"{}\" is missing", fields.path_of("subnet")));
        let read = |fields: &Fields<'_>| Range::read(fields)?.ok_or_else(|| missing(fields));
        Self::of(ranges.iter().map(read).collect::<Result<_, _>>()?, path)
    }

    /// The set of these ranges.
    ///
    /// # Errors
    /// As [`RangeSet::read`].
    pub(crate) fn of(ranges: Vec<Range>, path: &str) -> Result<Self, Error> {
        let Some(first) = ranges.first() else {
            return Err(invalid(format!("\"{path}\" is an empty range set")));
        };
        if ranges.iter().any(|range| range.family() != first.family()) {
            return Err(invalid(format!(
                "\"{path}\" mixes IPv4 and IPv6: give each family a range set of its own"
            )));
        }
        for (at, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges.iter().take(at).find(|other| other.overlaps(range)) {
                return Err(invalid(format!("\"{path}\": the ranges {other} and {range} overlap")));
            }
        }
        Ok(Self(ranges))
    }

    /// The ranges, in their order.
    pub(crate) fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// The family of its addresses.
    pub(crate) fn family(&self) -> Family {
        self.0.first().map_or(Family::V4, Range::family)
    }

    /// Whether the address lies in one of the ranges.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(ip))
    }

    /// Whether the sets share an address.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|range| other.0.iter().any(|theirs| range.overlaps(theirs)))
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<_> = self.0.iter().take(8).map(ToString::to_string).collect();
        write!(f, "range set {}", ranges.join(","))
    }
}
