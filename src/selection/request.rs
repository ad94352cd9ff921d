//! What a selection can ask of its attachment, each in the shape that `runtimeConfig` wants.
//!
//! The shapes are those of CNI's CONVENTIONS.md, "Well-known Capabilities". How an annotation
//! spells them in JSON is not here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::error::Rule;

/// An address for the pod's interface, with an optional prefix length (NPWG 1.3, section
/// 4.1.2.1.3).
///
/// Displays and serializes as it was typed: the delegate reads the user's own words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestedAddress {
    text: String,
    ip: IpAddr,
    prefix: Option<u8>,
}

impl RequestedAddress {
    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The prefix length in bits, if one was given.
    pub fn prefix(&self) -> Option<u8> {
        self.prefix
    }

    /// An entry of `runtimeConfig.ips`: `"10.2.2.42/24"`.
    pub fn to_value(&self) -> Value {
        Value::String(self.text.clone())
    }
}

impl FromStr for RequestedAddress {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let ip = address.parse().map_err(|_| Rule::AddressWithPrefix)?;
        let prefix = prefix
            .map(|prefix| prefix_length(prefix, ip).ok_or(Rule::AddressWithPrefix))
            .transpose()?;
        Ok(Self { text: text.to_owned(), ip: host_address(ip)?, prefix })
    }
}

/// A prefix length as Go reads it: digits alone, no sign, no leading zero.
fn prefix_length(text: &str, ip: IpAddr) -> Option<u8> {
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|length| plain && *length <= most)
}

impl fmt::Display for RequestedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for RequestedAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// An address without a prefix length or zone.
pub(super) fn address(text: &str) -> Result<IpAddr, Rule> {
    not_mapped(text.parse().map_err(|_| Rule::Address)?)
}

/// A gateway of `default-route`: an address that a host can have.
pub(super) fn gateway(text: &str) -> Result<IpAddr, Rule> {
    host_address(address(text)?)
}

fn not_mapped(ip: IpAddr) -> Result<IpAddr, Rule> {
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(Rule::MappedAddress),
        _ => Ok(ip),
    }
}

fn host_address(ip: IpAddr) -> Result<IpAddr, Rule> {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || broadcast {
        return Err(Rule::HostAddress);
    }
    not_mapped(ip)
}

/// An Ethernet address that an interface can have (NPWG 1.3, section 4.1.2.1.4).
///
/// Reads `02:23:45:67:89:01`, `02-23-45-67-89-01` and `0223.4567.8901`; displays the first, in
/// lower case.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The value of `runtimeConfig.mac`: `"02:23:45:67:89:01"`.
    pub fn to_value(self) -> Value {
        Value::String(self.to_string())
    }
}

impl FromStr for MacAddress {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; 6] = hex_bytes(text, ':', 2)
            .or_else(|| hex_bytes(text, '-', 2))
            .or_else(|| hex_bytes(text, '.', 4))
            .ok_or(Rule::Mac)?;
        let [first, ..] = bytes;
        // The kernel refuses both (`is_valid_ether_addr`).
        match bytes {
            [0, 0, 0, 0, 0, 0] => Err(Rule::MacZero),
            _ if first & 1 == 1 => Err(Rule::MacMulticast),
            _ => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        colon_form(&self.0, f)
    }
}

impl Serialize for MacAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The GUID of an InfiniBand port (NPWG 1.3, section 4.1.2.1.10). Displays in lower-case colon
/// form.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct InfinibandGuid([u8; 8]);

impl InfinibandGuid {
    /// The value of `runtimeConfig.infinibandGUID`: `"24:8a:07:03:00:8d:ae:2f"`.
    pub fn to_value(self) -> Value {
        Value::String(self.to_string())
    }
}

impl FromStr for InfinibandGuid {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex_bytes(text, ':', 2).map(Self).ok_or(Rule::Guid)
    }
}

impl fmt::Display for InfinibandGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        colon_form(&self.0, f)
    }
}

impl Serialize for InfinibandGuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Groups of `digits` hexadecimal digits between separators, `N` bytes in all.
fn hex_bytes<const N: usize>(text: &str, separator: char, digits: usize) -> Option<[u8; N]> {
    if text.split(separator).any(|group| group.len() != digits) {
        return None;
    }
    let digit = |digit: char| digit.to_digit(16).and_then(|value| u8::try_from(value).ok());
    let nibbles: Vec<u8> =
        text.split(separator).flat_map(str::chars).map(digit).collect::<Option<_>>()?;
    let (pairs, _) = nibbles.as_chunks::<2>();
    pairs.iter().map(|[high, low]| high << 4 | low).collect::<Vec<_>>().try_into().ok()
}

fn colon_form(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    f.write_str(&text.join(":"))
}

/// The transport protocol of a port mapping. Read in any case, written in lower case.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// TCP, if nothing is said.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The name as the `portmap` plugin reads it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = Rule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
            .ok_or(Rule::Protocol)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A host port that leads to a port of the pod (NPWG 1.3, section 4.1.2.1.7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortMapping {
    /// Port on the host, from 1.
    pub host_port: u16,
    /// Port in the container, from 1.
    pub container_port: u16,
    /// Protocol of the traffic.
    pub protocol: Protocol,
    /// Address of the host to listen on (Multus); all of them if `None`.
    pub host_ip: Option<IpAddr>,
}

impl PortMapping {
    /// An entry of `runtimeConfig.portMappings`: `{"hostPort": 8080, "containerPort": 80,
    /// "protocol": "tcp"}`.
    pub fn to_value(self) -> Value {
        let mut object = Map::new();
        object.insert("hostPort".to_owned(), self.host_port.into());
        object.insert("containerPort".to_owned(), self.container_port.into());
        object.insert("protocol".to_owned(), self.protocol.as_str().into());
        if let Some(ip) = self.host_ip {
            object.insert("hostIP".to_owned(), ip.to_string().into());
        }
        Value::Object(object)
    }
}

impl Serialize for PortMapping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

/// Limits on an attachment's traffic (NPWG 1.3, section 4.1.2.1.8). Rates in bits per second,
/// bursts in bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bandwidth {
    /// Into the pod.
    pub ingress_rate: Option<u64>,
    /// Into the pod; needs the rate.
    pub ingress_burst: Option<u64>,
    /// Out of the pod.
    pub egress_rate: Option<u64>,
    /// Out of the pod; needs the rate.
    pub egress_burst: Option<u64>,
}

impl Bandwidth {
    /// The burst, in bits, that goes with a rate which was given alone.
    ///
    /// The standard lets us choose one (section 4.1.2.1.8.2), and the reference `bandwidth` plugin
    /// refuses a rate without a burst. This is the value that Kubernetes' runtimes send for
    /// `kubernetes.io/ingress-bandwidth`.
    pub const DEFAULT_BURST: u64 = 2_147_483_647;

    /// The value of `runtimeConfig.bandwidth`: `{"ingressRate": 2048, "ingressBurst": 1600}`.
    pub fn to_value(&self) -> Value {
        let mut object = Map::new();
        let mut direction =
            |rate_key: &str, rate: Option<u64>, burst_key: &str, burst: Option<u64>| {
                if let Some(rate) = rate {
                    object.insert(rate_key.to_owned(), rate.into());
                    object
                        .insert(burst_key.to_owned(), burst.unwrap_or(Self::DEFAULT_BURST).into());
                }
            };
        direction("ingressRate", self.ingress_rate, "ingressBurst", self.ingress_burst);
        direction("egressRate", self.egress_rate, "egressBurst", self.egress_burst);
        Value::Object(object)
    }
}

impl Serialize for Bandwidth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
