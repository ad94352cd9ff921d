//! A range of addresses as whereabouts writes it, and which of its addresses can be given: plain
//! arithmetic.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use cni::error::Error;
use cni::family::Family;
use cni::quoted::Quoted;

use crate::ipam::Fields;
use crate::ipam::fields::invalid;

/// The most subnets that a range leaves out.
const MOST_EXCLUDED: usize = 4096;

/// Addresses of a subnet from the first to the last, less those that are left out. Neither the
/// first nor the last address of the subnet is one of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Range {
    /// The subnet, without host bits.
    subnet: IpNetwork,
    first: u128,
    last: u128,
    /// What is left out, as first and last number.
    exclude: Vec<(u128, u128)>,
}

/// An address as a number, which orders those of a family.
pub(crate) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

impl Range {
    /// The range of `range`, `range_start`, `range_end` and `exclude`; none if `range` is missing.
    ///
    /// # Errors
    /// Code 7 for a text that is no range, and for one without an address to give.
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Option<Self>, Error> {
        let Some(text) = fields.text("range")? else { return Ok(None) };
        let path = fields.path_of("range");
        let limit = |key: &str| -> Result<Option<IpAddr>, Error> {
            let text = fields.text(key)?;
            text.map(|text| parse_address(text, &fields.path_of(key))).transpose()
        };
        let excluded = fields.texts("exclude")?;
        if excluded.len() > MOST_EXCLUDED {
            let path = fields.path_of("exclude");
            return Err(invalid(format!("\"{path}\" must have at most {MOST_EXCLUDED} entries")));
        }
        let exclude = excluded.into_iter().map(|(path, text)| parse_subnet(text, &path));
        let exclude = exclude.collect::<Result<Vec<_>, _>>()?;
        let (written, first, last) = parse_range(text, &path)?;
        let first = first.or(limit("range_start")?);
        let last = last.or(limit("range_end")?);
        Self::new(written, first, last, &exclude)
            .map_err(|problem| invalid(format!("\"{path}\": {} {problem}", Quoted::text(text))))
            .map(Some)
    }

    /// The range of a node's slice.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of_slice(text: &str, whole: &Self) -> Result<Self, String> {
        let slice = cidr(text).ok_or("is no subnet")?;
        let mut range = Self::new(slice, None, None, &[])?;
        range.exclude.clone_from(&whole.exclude);
        Ok(range)
    }

    /// A limit that is no address of the subnet to give counts as missing, as for whereabouts.
    fn new(
        written: IpNetwork,
        first: Option<IpAddr>,
        last: Option<IpAddr>,
        exclude: &[IpNetwork],
    ) -> Result<Self, String> {
        let family = Family::of(written.ip());
        let (low, high) = (number(written.network()), number(written.broadcast()));
        let (mut start, mut end) = (low.saturating_add(1), high.saturating_sub(1));
        if start > end {
            return Err("has no address between its first and its last one".to_owned());
        }
        let of_family = |ip: Option<IpAddr>| ip.filter(|ip| Family::of(*ip) == family).map(number);
        let within = |number: &u128, start: u128, end: u128| (start..=end).contains(number);
        start = of_family(first).filter(|number| within(number, start, end)).unwrap_or(start);
        end = of_family(last).filter(|number| within(number, start, end)).unwrap_or(end);
        let same = exclude.iter().filter(|subnet| Family::of(subnet.ip()) == family);
        let exclude =
            same.map(|subnet| (number(subnet.network()), number(subnet.broadcast()))).collect();
        let subnet = IpNetwork::new(written.network(), written.prefix())
            .map_err(|error| error.to_string())?;
        Ok(Self { subnet, first: start, last: end, exclude })
    }

    /// The subnet that a pool is named after.
    pub fn subnet(&self) -> IpNetwork {
        self.subnet
    }

    /// The family of its addresses.
    pub(crate) fn family(&self) -> Family {
        Family::of(self.subnet.ip())
    }

    /// The first and the last address, as numbers.
    pub(crate) fn limits(&self) -> (u128, u128) {
        (self.first, self.last)
    }

    /// The address of a number.
    pub(crate) fn address(&self, number: u128) -> IpAddr {
        address(self.family(), number)
    }

    /// The address as it is handed out, with the prefix length of the subnet.
    ///
    /// # Errors
    /// Code 7: never, since the prefix length is of the same family.
    pub(crate) fn with_prefix(&self, number: u128) -> Result<IpNetwork, Error> {
        IpNetwork::new(self.address(number), self.subnet.prefix()).map_err(invalid)
    }

    /// What of the subnet is left out around `number`, as first and last number.
    pub(crate) fn excluded(&self, number: u128) -> Option<(u128, u128)> {
        let mut around =
            self.exclude.iter().filter(|(first, last)| (*first..=*last).contains(&number));
        around.next().copied()
    }

    /// Whether the address can be given.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        Family::of(ip) == self.family()
            && (self.first..=self.last).contains(&number(ip))
            && self.excluded(number(ip)).is_none()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.address(self.first), self.address(self.last))
    }
}

/// The subnet, and the first and the last address that the text itself names: `first-last/n` has
/// both.
fn parse_range(
    text: &str,
    path: &str,
) -> Result<(IpNetwork, Option<IpAddr>, Option<IpAddr>), Error> {
    let wrong = || {
        invalid(format!(
            "\"{path}\" must be a subnet such as 10.1.0.0/16, or 10.1.0.10-10.1.0.99/16, not {}",
            Quoted::text(text)
        ))
    };
    let Some((first, rest)) = text.split_once('-') else {
        return Ok((cidr(text).ok_or_else(wrong)?, None, None));
    };
    let (first, subnet) = (sloppy(first).ok_or_else(wrong)?, cidr(rest).ok_or_else(wrong)?);
    if !subnet.contains(first) {
        return Err(invalid(format!("\"{path}\": {first} is not in {rest}")));
    }
    // Without host bits, whereabouts takes the network's own address for the end, which is none.
    Ok((subnet, Some(first), Some(subnet.ip())))
}

/// An address with a prefix length, host bits kept.
fn cidr(text: &str) -> Option<IpNetwork> {
    let (ip, prefix) = text.trim().split_once('/')?;
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    IpNetwork::new(sloppy(ip)?, prefix.parse().ok().filter(|_| digits)?).ok()
}

/// A subnet, or a single address.
fn parse_subnet(text: &str, path: &str) -> Result<IpNetwork, Error> {
    let subnet = cidr(text).or_else(|| sloppy(text).map(IpNetwork::from));
    subnet.ok_or_else(|| {
        invalid(format!("\"{path}\" must be a subnet or an address, not {}", Quoted::text(text)))
    })
}

/// An address, whose decimals may have zeros in front.
///
/// # Errors
/// Code 7 for a text that is none.
pub(crate) fn parse_address(text: &str, path: &str) -> Result<IpAddr, Error> {
    sloppy(text).ok_or_else(|| {
        invalid(format!("\"{path}\" must be an IP address, not {}", Quoted::text(text)))
    })
}

/// As Go read addresses before its version 1.17: `010.0.0.1` is `10.0.0.1`.
fn sloppy(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if text.contains(':') {
        return text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    }
    let plain = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.trim_start_matches('0').len().le(&3).then_some(())?;
        let number = part.trim_start_matches('0');
        if number.is_empty() { Some(0) } else { number.parse().ok() }.filter(|_| digits)
    };
    let parts = text.split('.').map(plain).collect::<Option<Vec<u8>>>()?;
    <[u8; 4]>::try_from(parts).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<Range, String> {
        let read = Range::read(&Fields::root(value.as_object().unwrap()));
        read.map(Option::unwrap).map_err(|error| error.msg)
    }

    #[test]
    fn every_form_of_a_range_is_read_as_whereabouts_reads_it() {
        for (value, subnet, limits) in [
            (json!({"range": "10.0.0.0/24"}), "10.0.0.0/24", "10.0.0.1-10.0.0.254"),
            (json!({"range": "10.0.0.9/24"}), "10.0.0.0/24", "10.0.0.1-10.0.0.254"),
            (json!({"range": "010.000.0.0/24"}), "10.0.0.0/24", "10.0.0.1-10.0.0.254"),
            (json!({"range": "10.0.0.9-10.0.0.20/24"}), "10.0.0.0/24", "10.0.0.9-10.0.0.20"),
            (json!({"range": "10.0.0.9-10.0.0.0/24"}), "10.0.0.0/24", "10.0.0.9-10.0.0.254"),
            (
                json!({"range": "10.0.0.0/24", "range_start": "10.0.0.50", "range_end": "10.0.0.60"}),
                "10.0.0.0/24",
                "10.0.0.50-10.0.0.60",
            ),
            (
                json!({"range": "10.0.0.0/24", "range_start": "10.9.0.50", "range_end": "fd00::1"}),
                "10.0.0.0/24",
                "10.0.0.1-10.0.0.254",
            ),
            (json!({"range": "fd00::/126"}), "fd00::/126", "fd00::1-fd00::2"),
            (json!({"range": "fd00::5-fd00::9/64"}), "fd00::/64", "fd00::5-fd00::9"),
        ] {
            let range = read(value.clone()).unwrap();
            let found = (range.subnet().to_string(), range.to_string());
            assert_eq!(found, (subnet.to_owned(), limits.to_owned()), "{value}");
        }
    }

    #[test]
    fn a_range_that_gives_no_address_is_refused() {
        for (value, said) in [
            (json!({"range": "10.0.0.0/31"}), "has no address between"),
            (json!({"range": "10.0.0.0/32"}), "has no address between"),
            (json!({"range": "fd00::/127"}), "has no address between"),
            (json!({"range": "10.0.0.0"}), "must be a subnet"),
            (json!({"range": "10.0.0.0/33"}), "must be a subnet"),
            (json!({"range": "10.1.0.0-10.0.0.9/24"}), "10.1.0.0 is not in 10.0.0.9/24"),
            (json!({"range": "10.0.0.0/24", "range_start": "x"}), "\"range_start\" must be an IP"),
            (json!({"range": "10.0.0.0/24", "exclude": ["x"]}), "\"exclude[0]\" must be a subnet"),
            (json!({"range": 5}), "must be a text"),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert!(error.contains(said), "{value}: {error}");
        }
    }

    #[test]
    fn only_addresses_to_give_are_in_the_range() {
        let range = read(json!({"range": "10.0.0.0/24", "exclude": ["10.0.0.16/28", "10.0.0.99"]}))
            .unwrap();
        for (ip, is_in) in [
            ("10.0.0.0", false),
            ("10.0.0.1", true),
            ("10.0.0.17", false),
            ("10.0.0.99", false),
            ("10.0.0.255", false),
            ("10.0.1.1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(range.contains(ip.parse().unwrap()), is_in, "{ip}");
        }
        let slice = Range::of_slice("10.0.0.64/26", &range).unwrap();
        assert_eq!(slice.to_string(), "10.0.0.65-10.0.0.126");
        assert!(!slice.contains("10.0.0.99".parse().unwrap()));
        assert!(Range::of_slice("x", &range).is_err());
    }
}
