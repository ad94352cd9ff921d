//! The names of whereabouts' objects. A name decides which object two nodes share, so each is
//! written as whereabouts writes it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// The most characters that the name of an object has (RFC 1123, a subdomain).
const MAX_NAME: usize = 253;

/// A pool: the range, behind the network's name (`network_name`) and, for a slice of a range, the
/// node's name.
pub fn pool(range: IpNetwork, network: Option<&str>, node: Option<&str>) -> String {
    let parts = network.into_iter().chain(node).map(str::to_owned);
    parts.chain([plain(&range.to_string())]).collect::<Vec<_>>().join("-")
}

/// What makes an address unique over pools that overlap (`OverlappingRangeIPReservation`).
pub fn reservation(address: IpAddr, network: Option<&str>) -> String {
    let parts = network.map(str::to_owned).into_iter();
    parts.chain([plain(&address.to_string())]).collect::<Vec<_>>().join("-")
}

/// An address or a range without the characters that a name cannot have.
fn plain(text: &str) -> String {
    let zero = if text.ends_with(':') { "0" } else { "" };
    format!("{text}{zero}").replace([':', '/'], "-")
}

/// Whether an object can have this name (RFC 1123, a subdomain). One that cannot never becomes part
/// of a path.
pub fn is_valid(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= MAX_NAME
        && name.starts_with(is_end)
        && name.ends_with(is_end)
        && name.chars().all(is_plain)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_named_after_range_network_and_node() {
        let named = |range: &str, network, node| pool(range.parse().unwrap(), network, node);
        assert_eq!(named("192.168.2.0/24", None, None), "192.168.2.0-24");
        assert_eq!(named("fd00:1::/64", None, None), "fd00-1---64");
        assert_eq!(named("10.0.0.0/20", Some("blue"), None), "blue-10.0.0.0-20");
        assert_eq!(named("10.0.0.16/28", None, Some("node-1")), "node-1-10.0.0.16-28");
        assert_eq!(named("10.0.0.16/28", Some("blue"), Some("n.x")), "blue-n.x-10.0.0.16-28");
    }

    #[test]
    fn a_reservation_is_named_after_its_address() {
        let named = |address: &str, network| reservation(address.parse().unwrap(), network);
        assert_eq!(named("10.0.0.7", None), "10.0.0.7");
        assert_eq!(named("fd00::", None), "fd00--0");
        assert_eq!(named("fd00::1:2", Some("blue")), "blue-fd00--1-2");
    }

    #[test]
    fn only_a_subdomain_is_a_valid_name() {
        for name in ["10.0.0.0-24", "fd00-1---64", "a", &"x".repeat(253)] {
            assert!(is_valid(name), "{name}");
        }
        for name in
            ["", "--1", "a-", "../x", "a..b", "a/b", "A", "a b", "a?b", "ä", &"x".repeat(254)]
        {
            assert!(!is_valid(name), "{name}");
        }
    }
}
