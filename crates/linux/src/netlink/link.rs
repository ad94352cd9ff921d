//! A link as the kernel shows it, and the requests that ask for one.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkMessage};
use nix::errno::Errno;
use rtnetlink::packet_core::DefaultNla;
use serde::{Deserialize, Serialize};

/// Most bytes of a link's name: `IFNAMSIZ` less its NUL.
const NAME: usize = 15;

/// Most bytes of a link's alternative name: `ALTIFNAMSIZ` less its NUL.
const ALTERNATIVE_NAME: usize = 127;

/// `IFLA_ALT_IFNAME`, Linux 5.5.
const IFLA_ALT_IFNAME: u16 = 53;

/// A link and its addresses.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Link {
    /// Number of the link in its namespace.
    pub index: u32,
    /// Its name; not an alternative one.
    pub name: String,
    /// Hardware address, lower-case with colons, of any length (6 bytes on Ethernet, 20 on IPoIB).
    pub mac: Option<String>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Whether it is set up (`IFF_UP`); it may have no carrier all the same.
    pub up: bool,
    /// Index of the link below; of a veth, that of its other end, in the namespace where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// Its permanent addresses, sorted, without the link-local ones of IPv6 (`fe80::/10`). An
    /// address with a peer counts as the local one.
    #[serde(with = "as_text")]
    pub addresses: Vec<IpNetwork>,
}

/// A request for all links. Their counters are not wanted: with them, a dump takes twice as long.
pub(super) fn all() -> Message {
    Message::GetLink(without_statistics())
}

/// A request for the link of this name; `None` if no link can have it.
pub(super) fn by_name(name: &str) -> Option<Message> {
    let mut message = without_statistics();
    message.attributes.push(name_attribute(name)?);
    Some(Message::GetLink(message))
}

/// A request for the link of this index.
pub(super) fn by_index(index: u32) -> Message {
    let mut message = without_statistics();
    message.header.index = index;
    Message::GetLink(message)
}

/// A request for the addresses of all links, of all families.
pub(super) fn all_addresses() -> Message {
    Message::GetAddress(AddressMessage::default())
}

fn without_statistics() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

/// A NUL would end the name early and find another link.
fn name_attribute(name: &str) -> Option<LinkAttribute> {
    let bytes = name.len();
    if bytes == 0 || bytes > ALTERNATIVE_NAME || name.contains('\0') {
        return None;
    }
    let short = bytes <= NAME;
    Some(if short {
        LinkAttribute::IfName(name.to_owned())
    } else {
        LinkAttribute::Other(alternative_name(name))
    })
}

fn alternative_name(name: &str) -> DefaultNla {
    DefaultNla::new(IFLA_ALT_IFNAME, name.bytes().chain([0]).collect())
}

/// Whether the kernel's refusal means that no link has the name. Kernels without alternative names
/// call a request by one invalid.
pub(super) fn is_absence(errno: &io::Error, name: &str) -> bool {
    let errno = errno.raw_os_error().map(Errno::from_raw);
    errno == Some(Errno::ENODEV) || (errno == Some(Errno::EINVAL) && name.len() > NAME)
}

/// The link in a reply, its addresses still to be filled in.
pub(super) fn read(reply: Message) -> Option<Link> {
    let Message::NewLink(message) = reply else { return None };
    let up = message.header.flags.contains(LinkFlags::Up);
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: None,
        up,
        parent: None,
        addresses: vec![],
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) if !bytes.is_empty() => link.mac = Some(mac(&bytes)),
            LinkAttribute::Mtu(mtu) => link.mtu = Some(mtu),
            LinkAttribute::Link(index) => link.parent = Some(index).filter(|index| *index != 0),
            _ => {}
        }
    }
    Some(link)
}

/// Addresses, sorted, by the index of their link.
pub(super) fn by_link(listed: Vec<(u32, IpNetwork)>) -> HashMap<u32, Vec<IpNetwork>> {
    let mut addresses: HashMap<u32, Vec<IpNetwork>> = HashMap::new();
    for (index, address) in listed {
        addresses.entry(index).or_default().push(address);
    }
    addresses.values_mut().for_each(|addresses| addresses.sort());
    addresses
}

/// The address in a reply and the index of its link; permanent ones that are not link-local alone.
pub(super) fn read_address(reply: Message) -> Option<(u32, IpNetwork)> {
    let Message::NewAddress(message) = reply else { return None };
    // SLAAC addresses expire; they are not reported as drift.
    if !message.header.flags.contains(AddressHeaderFlags::Permanent) {
        return None;
    }
    let ip = local_address(&message).filter(|ip| !is_link_local(ip))?;
    Some((message.header.index, IpNetwork::new(ip, message.header.prefix_len).ok()?))
}

/// `IFA_ADDRESS` is the peer's if there is one; then `IFA_LOCAL` is ours.
pub(super) fn local_address(message: &AddressMessage) -> Option<IpAddr> {
    let find = |choose: fn(&AddressAttribute) -> Option<IpAddr>| {
        message.attributes.iter().find_map(choose)
    };
    let local = find(
        |attribute| if let AddressAttribute::Local(ip) = attribute { Some(*ip) } else { None },
    );
    local.or_else(|| {
        find(
            |attribute| {
                if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None }
            },
        )
    })
}

fn is_link_local(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if Ipv6Addr::is_unicast_link_local(ip))
}

pub(super) fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Addresses as JSON strings, `"10.0.0.2/24"`.
mod as_text {
    use ipnetwork::IpNetwork;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        addresses: &[IpNetwork],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(addresses.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<IpNetwork>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_hardware_address_has_any_length() {
        assert_eq!(mac(&[0x0a, 0xFF, 0]), "0a:ff:00");
        assert_eq!(mac(&[0xab; 20]).len(), 59);
    }

    #[test]
    fn names_that_no_link_can_have_are_not_asked_for() {
        for name in ["", "eth0\0", "\0", &"x".repeat(128)] {
            assert_eq!(by_name(name), None, "{name:?}");
        }
        for length in [1, 15, 16, 127] {
            assert!(by_name(&"x".repeat(length)).is_some(), "{length}");
        }
    }

    #[test]
    fn absence_is_no_such_device_and_for_long_names_invalid_too() {
        let long = "x".repeat(16);
        let cases = [
            (Errno::ENODEV, "eth0", true),
            (Errno::EINVAL, "eth0", false),
            (Errno::EINVAL, long.as_str(), true),
            (Errno::EPERM, long.as_str(), false),
        ];
        for (errno, name, absent) in cases {
            assert_eq!(is_absence(&errno.into(), name), absent, "{errno} {name}");
        }
        assert!(!is_absence(&io::Error::other("x"), "eth0"));
    }

    proptest! {
        #[test]
        fn a_link_survives_the_ledger(index: u32, name: String, mtu: Option<u32>, up: bool, parent: Option<u32>, ips: Vec<IpAddr>) {
            let addresses = ips.into_iter().map(IpNetwork::from).collect();
            let link = Link { index, name, mac: None, mtu, up, parent, addresses };
            let text = serde_json::to_string(&link).unwrap();
            prop_assert_eq!(serde_json::from_str::<Link>(&text).unwrap(), link);
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        let text =
            r#"{"index":1,"name":"a","mac":null,"mtu":null,"up":true,"addresses":["10.0.0.1/33"]}"#;
        assert!(serde_json::from_str::<Link>(text).is_err());
    }
}
