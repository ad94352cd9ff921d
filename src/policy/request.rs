//! What pods may ask of a network: the owner's annotations `braid.io/allowed-requests`,
//! `braid.io/allowed-ips` and `braid.io/allowed-macs`, and the node's `policy.allowedRequests`.
//!
//! What travels inside `cni-args` meets the same rules, because the reference plugins read it
//! there.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::rules::Policy;
use super::scope::words;
use super::{Case, Refusal};
use crate::selection::{MacAddress, RequestedAddress, Selection};
use cni::quoted::Quoted;

/// The requests that a definition's owner allows, a list of [`Request`]s.
pub const REQUESTS_ANNOTATION: &str = "braid.io/allowed-requests";
/// The addresses that pods may ask for: networks in CIDR form, or single addresses.
pub const IPS_ANNOTATION: &str = "braid.io/allowed-ips";
/// The MAC addresses that pods may ask for: prefixes such as `02:00:5e`.
pub const MACS_ANNOTATION: &str = "braid.io/allowed-macs";

/// Something that an element of the networks annotation can ask for, beside the network itself.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Request {
    /// `interface`.
    Interface,
    /// `ips`.
    Ips,
    /// `mac`.
    Mac,
    /// `infiniband-guid`.
    InfinibandGuid,
    /// `bandwidth`.
    Bandwidth,
    /// `default-route`.
    DefaultRoute,
    /// `ipam-claim-reference`.
    IpamClaim,
    /// `portMappings`.
    PortMappings,
    /// `cni-args`.
    CniArgs,
    /// `deviceID`.
    DeviceId,
}

impl Request {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Interface,
        Self::Ips,
        Self::Mac,
        Self::InfinibandGuid,
        Self::Bandwidth,
        Self::DefaultRoute,
        Self::IpamClaim,
        Self::PortMappings,
        Self::CniArgs,
        Self::DeviceId,
    ];

    /// The annotation's key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Ips => "ips",
            Self::Mac => "mac",
            Self::InfinibandGuid => "infiniband-guid",
            Self::Bandwidth => "bandwidth",
            Self::DefaultRoute => "default-route",
            Self::IpamClaim => "ipam-claim-reference",
            Self::PortMappings => "portMappings",
            Self::CniArgs => "cni-args",
            Self::DeviceId => "deviceID",
        }
    }

    /// Whether a policy leaves it to each definition's owner: host ports walk around PodSecurity,
    /// and `cni-args` can carry anything.
    pub fn needs_owners_word(self) -> bool {
        matches!(self, Self::PortMappings | Self::CniArgs | Self::DeviceId)
    }
}

/// A text that is no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownRequest;

impl FromStr for Request {
    type Err = UnknownRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|request| request.as_str() == text).ok_or(UnknownRequest)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything that a selection asks for, `cni-args` looked into.
pub(super) fn asked(selection: &Selection) -> Vec<Request> {
    let outright = |request: &Request| match request {
        Request::Interface => selection.interface.is_some(),
        Request::Ips => !selection.ips.is_empty(),
        Request::Mac => selection.mac.is_some(),
        Request::InfinibandGuid => selection.infiniband_guid.is_some(),
        Request::Bandwidth => selection.bandwidth.is_some(),
        Request::DefaultRoute => selection.default_route.is_some(),
        Request::IpamClaim => selection.ipam_claim.is_some(),
        Request::PortMappings => !selection.port_mappings.is_empty(),
        Request::CniArgs => selection.cni_args.is_some(),
        Request::DeviceId => selection.device_id.is_some(),
    };
    let inside: Vec<Request> =
        cni_args(selection).filter_map(|(key, _)| hidden_request(key)).collect();
    Request::ALL
        .into_iter()
        .filter(|request| outright(request) || inside.contains(request))
        .collect()
}

fn cni_args(selection: &Selection) -> impl Iterator<Item = (&String, &Value)> {
    selection.cni_args.iter().flatten()
}

/// The request that a member of `cni-args` makes, in whatever case a plugin would accept it.
fn hidden_request(key: &str) -> Option<Request> {
    match fold(key).as_str() {
        "interface" => Some(Request::Interface),
        "ips" | "ip" => Some(Request::Ips),
        "mac" => Some(Request::Mac),
        "infinibandguid" | "infiniband-guid" | "guid" => Some(Request::InfinibandGuid),
        "bandwidth" => Some(Request::Bandwidth),
        "default-route" => Some(Request::DefaultRoute),
        "ipam-claim-reference" => Some(Request::IpamClaim),
        "portmappings" => Some(Request::PortMappings),
        "deviceid" | "pcibusid" => Some(Request::DeviceId),
        _ => None,
    }
}

/// Whether what this member of `cni-args` says is held against rules for its value.
pub(super) fn has_rules(key: &str) -> bool {
    matches!(hidden_request(key), Some(Request::Ips | Request::Mac | Request::InfinibandGuid))
}

/// Go's decoder takes `ipſ` and the Kelvin sign for `ips` and `k`; so must we.
fn fold(key: &str) -> String {
    key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// What the owner's annotations say of the requests.
///
/// # Errors
/// [`Refusal::Request`], [`Refusal::Value`].
pub(super) fn check_owner(case: &Case<'_>) -> Result<(), Refusal> {
    if let Some(list) = case.definition.annotations.get(REQUESTS_ANNOTATION) {
        let allowed: Vec<Request> = words(list).filter_map(|word| word.parse().ok()).collect();
        check_requests(case, true, |request| allowed.contains(&request))?;
    }
    check_values(case, Request::Ips, IPS_ANNOTATION, is_allowed_ip)?;
    check_values(case, Request::Mac, MACS_ANNOTATION, is_allowed_mac)
}

/// What the node's policy says of them, if the owner says nothing.
///
/// # Errors
/// [`Refusal::Request`].
pub(super) fn check_node(case: &Case<'_>, policy: &Policy) -> Result<(), Refusal> {
    if case.definition.annotations.contains_key(REQUESTS_ANNOTATION) {
        return Ok(());
    }
    check_requests(case, false, |request| policy.allows_request(request))
}

fn check_requests(
    case: &Case<'_>,
    is_owners_word: bool,
    allowed: impl Fn(Request) -> bool,
) -> Result<(), Refusal> {
    match asked(case.selection).into_iter().find(|request| !allowed(*request)) {
        Some(request) => Err(Refusal::Request { network: case.network(), request, is_owners_word }),
        None => Ok(()),
    }
}

/// Holds every value of a request against a list of the owner's, if there is one.
fn check_values(
    case: &Case<'_>,
    request: Request,
    annotation: &'static str,
    allowed: fn(&str, &str) -> bool,
) -> Result<(), Refusal> {
    let Some(list) = case.definition.annotations.get(annotation) else { return Ok(()) };
    let values = values_of(request, case.selection);
    match values.into_iter().find(|value| !words(list).any(|word| allowed(word, value))) {
        Some(value) => {
            let (network, value) = (case.network(), Quoted::text(&value));
            Err(Refusal::Value { network, request, value, annotation })
        }
        None => Ok(()),
    }
}

/// The addresses or MACs that a selection asks for, outright and inside `cni-args`, as texts. What
/// is no text there becomes one that no rule allows.
pub(super) fn values_of(request: Request, selection: &Selection) -> Vec<String> {
    let mut values: Vec<String> = match request {
        Request::Ips => selection.ips.iter().map(ToString::to_string).collect(),
        Request::Mac => selection.mac.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    for (_, value) in cni_args(selection).filter(|(key, _)| hidden_request(key) == Some(request)) {
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        values.extend(list.iter().map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
    }
    values
}

/// Whether the network `word` grants `value`, an address with or without a prefix length.
fn is_allowed_ip(word: &str, value: &str) -> bool {
    network_of(value).is_some_and(|address| grants_address(word, address))
}

/// Whether a word of [`IPS_ANNOTATION`] grants an address, with a prefix no shorter than its own: a
/// network all its addresses, and `10.0.0.9/24` that one alone. A bridge with a gateway takes the
/// whole subnet of a pod's address.
pub(super) fn grants_address(word: &str, address: IpNetwork) -> bool {
    word.parse().is_ok_and(|granted| grants(granted, address))
}

/// Whether `granted` holds the address with its prefix: a network all its addresses, one with host
/// bits that one alone.
pub(crate) fn grants(granted: IpNetwork, address: IpNetwork) -> bool {
    let is_network = granted.ip() == granted.network();
    let has_address =
        if is_network { granted.contains(address.ip()) } else { granted.ip() == address.ip() };
    has_address && granted.prefix() <= address.prefix()
}

/// Whether `value` starts with the bytes of `word`.
fn is_allowed_mac(word: &str, value: &str) -> bool {
    let Ok(mac) = value.parse::<MacAddress>() else { return false };
    let prefix = word.to_ascii_lowercase().replace('-', ":");
    let (mac, rest) = (mac.to_string(), prefix.trim_end_matches(':'));
    mac.strip_prefix(rest)
        .is_some_and(|more| !rest.is_empty() && (more.is_empty() || more.starts_with(':')))
}

/// The network that an address with a prefix length is in; the address alone if it has none.
pub(super) fn network_of(value: &str) -> Option<IpNetwork> {
    let address: RequestedAddress = value.parse().ok()?;
    let whole = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    IpNetwork::new(address.ip(), address.prefix().unwrap_or_else(|| whole(address.ip()))).ok()
}

#[cfg(test)]
mod tests;
