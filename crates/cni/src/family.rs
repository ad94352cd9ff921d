//! The two families of addresses.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// A family of addresses.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, in the order in which they are reported.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address. An IPv4-mapped address is IPv4, as in Go.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The family of an address with or without a prefix length ("10.1.0.5/16", "fd00::5").
    pub fn of_text(text: &str) -> Option<Self> {
        let ip = text.split_once('/').map_or(text, |(ip, _)| ip);
        ip.parse().ok().map(Self::of)
    }

    /// The family whose default route has the destination `cidr`; `None` if it is no default route.
    pub fn is_default(cidr: &str) -> Option<Self> {
        // Without a prefix the kernel has nothing to match, whatever address stands before it.
        let network: IpNetwork = cidr.parse().ok()?;
        (cidr.contains('/') && network.prefix() == 0).then(|| Self::of(network.ip()))
    }

    /// The destination of the family's default route, in CIDR notation.
    pub const fn default_destination(self) -> &'static str {
        match self {
            Self::V4 => "0.0.0.0/0",
            Self::V6 => "::/0",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_family_it_shows() {
        for (ip, family, name) in
            [("10.0.0.1", Family::V4, "IPv4"), ("fd00::1", Family::V6, "IPv6")]
        {
            assert_eq!(Family::of(ip.parse().unwrap()), family);
            assert_eq!(family.to_string(), name);
        }
    }
}
