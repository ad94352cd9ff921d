//! Addresses that pods ask for, under a policy: granted by the network's owner
//! (`braid.io/allowed-ips`) or by the administrator (`policy.allowedSubnets`), and on a network
//! whose gateway is on the node never the node's own or those of services.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::gateway::NodeGateway;
use super::refusal::Taken;
use super::request::{self, IPS_ANNOTATION, Request};
use super::rules::Policy;
use super::scope::words;
use super::{Case, Grant, Refusal};
use crate::definition::DefinitionKind;
use cni::quoted::Quoted;

/// A route of the host, as far as it matters to an address that a pod asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostRoute {
    /// Where it leads.
    pub destination: IpNetwork,
    /// The interface that it leaves through, if it is one alone.
    pub interface: Option<String>,
    /// What it is there for.
    pub kind: HostRouteKind,
}

/// What a route of the host is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostRouteKind {
    /// An address of the host itself.
    Address,
    /// The subnet of an address of the host.
    Connected,
    /// Anything else.
    Other,
}

/// The routes of the host that overlap what a pod asks for ([`routed_addresses`]), or why they are
/// not known.
pub(crate) type HostRoutes<'a> = Result<&'a [HostRoute], &'a str>;

/// What the rule for addresses says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Granted {
    pub(super) grant: Option<Grant>,
    /// The networks that the addresses of the attachment must lie in; `None` if the pod names all
    /// of them itself.
    pub(super) networks: Option<Vec<IpNetwork>>,
}

/// What the node would route to the pod, were it given what it asks for: empty if the node is not
/// its gateway.
pub(crate) fn routed_addresses(case: &Case<'_>) -> Vec<IpNetwork> {
    let Some(gateway) = NodeGateway::of(&case.definition.network) else { return Vec::new() };
    let asked = asked(case).into_iter().filter_map(|(_, address)| address);
    asked.map(|address| gateway.routed(address)).collect()
}

/// Holds the addresses that a pod asks for against what is granted, and against the node's own.
///
/// # Errors
/// [`Refusal::Address`], [`Refusal::Ungranted`], [`Refusal::AddressTaken`],
/// [`Refusal::HostRoutes`], [`Refusal::Claim`].
pub(super) fn check(case: &Case<'_>, policy: &Policy) -> Result<Granted, Refusal> {
    let asked = asked(case);
    let has_claim = request::asked(case.selection).contains(&Request::IpamClaim);
    if asked.is_empty() && !has_claim {
        return Ok(Granted::default());
    }
    let owner = Owner::of(case, policy);
    let mut grant = None;
    for (text, address) in &asked {
        let granted = address.and_then(|address| owner.grant(address));
        grant = Some(granted.ok_or_else(|| owner.refuse(text))?);
    }
    if let Some(gateway) = NodeGateway::of(&case.definition.network) {
        for (text, address) in asked.iter().filter_map(|(text, address)| Some((text, (*address)?)))
        {
            check_node(case, policy, &gateway, text, address)?;
        }
    }
    let networks = if has_claim { Some(owner.networks()?) } else { None };
    Ok(Granted { grant, networks })
}

/// Every address that a pod asks for, as it was written, with the network that it is in; `None` for
/// a text that is no address and stands where one must, or that only some decoders take for one.
fn asked(case: &Case<'_>) -> Vec<(String, Option<IpNetwork>)> {
    let mut texts = request::values_of(Request::Ips, case.selection);
    for (key, value) in case.selection.cni_args.iter().flatten() {
        if !request::has_rules(key) {
            texts.extend(address_words(key));
            addresses_in(value, &mut texts);
        }
    }
    texts
        .into_iter()
        .map(|text| (request::network_of(&text), text))
        .map(|(network, text)| (text, network))
        .collect()
}

/// The parts of every text of a value, at any depth, that a plugin could read as addresses.
fn addresses_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.extend(address_words(text)),
        Value::Array(list) => list.iter().for_each(|value| addresses_in(value, found)),
        Value::Object(object) => {
            for (key, value) in object {
                found.extend(address_words(key));
                addresses_in(value, found);
            }
        }
        _ => {}
    }
}

fn address_words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| c.is_whitespace() || ",;=-".contains(c));
    words.filter(|word| looks_like_address(word)).map(str::to_owned)
}

/// Whether some decoder takes the word for an address: with leading zeros, too, as older ones of Go
/// do.
fn looks_like_address(word: &str) -> bool {
    let (ip, _) = word.split_once('/').unwrap_or((word, ""));
    let is_dotted = ip.split('.').count() == 4
        && ip
            .split('.')
            .all(|byte| !byte.is_empty() && byte.bytes().all(|digit| digit.is_ascii_digit()));
    is_dotted || ip.parse::<IpAddr>().is_ok()
}

/// Who may grant addresses of a network.
struct Owner<'a> {
    case: &'a Case<'a>,
    policy: &'a Policy,
    /// Whether the word of the definition's annotations counts: not that of a tenant, who would
    /// grant itself all.
    has_say: bool,
}

impl<'a> Owner<'a> {
    fn of(case: &'a Case<'a>, policy: &'a Policy) -> Self {
        let has_say = match case.definition.kind {
            DefinitionKind::Manifest => true,
            DefinitionKind::Object | DefinitionKind::EmptyObject => {
                policy.trusts(&case.selection.namespace)
            }
            DefinitionKind::NodeNetwork => false,
        };
        Self { case, policy, has_say }
    }

    fn words(&self) -> impl Iterator<Item = &'a str> {
        let list = self.case.definition.annotations.get(IPS_ANNOTATION).filter(|_| self.has_say);
        list.into_iter().flat_map(|list| words(list))
    }

    fn grant(&self, address: IpNetwork) -> Option<Grant> {
        if self.words().any(|word| request::grants_address(word, address)) {
            return Some(Grant::OwnersAddresses);
        }
        let owner = &self.case.selection.namespace;
        self.policy.allows_subnet(owner, address).then(|| Grant::Subnets(owner.clone()))
    }

    /// The networks that are granted, for addresses that are not known before the network gives
    /// them.
    fn networks(&self) -> Result<Vec<IpNetwork>, Refusal> {
        let of_owner = self.words().filter_map(|word| word.parse().ok());
        let networks: Vec<_> =
            of_owner.chain(self.policy.subnets_of(&self.case.selection.namespace)).collect();
        if networks.is_empty() {
            let (network, owner) = (self.case.network(), self.case.selection.namespace.clone());
            return Err(Refusal::Claim { network, owner, has_say: self.has_say });
        }
        Ok(networks)
    }

    fn refuse(&self, text: &str) -> Refusal {
        let (network, owner) = (self.case.network(), self.case.selection.namespace.clone());
        let value = Quoted::text(text);
        if self.case.definition.kind == DefinitionKind::Object && !self.has_say {
            return Refusal::Address { network, owner, value };
        }
        Refusal::Ungranted { network, owner, value, has_say: self.has_say }
    }
}

/// Whether an address of a network whose gateway is on the node leaves the node and services what
/// is theirs.
fn check_node(
    case: &Case<'_>,
    policy: &Policy,
    gateway: &NodeGateway,
    text: &str,
    address: IpNetwork,
) -> Result<(), Refusal> {
    let taken = |by| {
        let (network, value) = (case.network(), Quoted::text(text));
        Err(Refusal::AddressTaken { network, value, by })
    };
    let routed = gateway.routed(address);
    let mut services = policy.service_cidrs().iter().chain(&case.view.tenancy.keep_cluster_routes);
    if services.any(|cidr| overlap(*cidr, routed)) {
        return taken(Taken::Services);
    }
    let routes = case.host.map_err(|problem| {
        let (network, problem) = (case.network(), problem.to_owned());
        Refusal::HostRoutes { network, problem }
    })?;
    if is_gateway(gateway, address) || routes.iter().any(|route| is_address(route, address)) {
        return taken(Taken::Gateway);
    }
    if routes.iter().any(|route| overlap(route.destination, routed) && !is_own(route, gateway)) {
        return taken(Taken::Node);
    }
    Ok(())
}

/// The gateway's own address: the one that the network names, else the first of the subnet, which
/// the bridge plugin takes.
fn is_gateway(gateway: &NodeGateway, address: IpNetwork) -> bool {
    if !gateway.addresses.is_empty() || gateway.interfaces.is_empty() {
        return gateway.addresses.iter().any(|named| named.ip() == address.ip());
    }
    let first = match address.network() {
        IpAddr::V4(network) => IpAddr::V4(u32::from(network).saturating_add(1).into()),
        IpAddr::V6(network) => IpAddr::V6(u128::from(network).saturating_add(1).into()),
    };
    let has_gateway = address.prefix() < IpNetwork::from(address.ip()).prefix();
    has_gateway && first == address.ip()
}

fn is_address(route: &HostRoute, address: IpNetwork) -> bool {
    route.kind == HostRouteKind::Address && route.destination == IpNetwork::from(address.ip())
}

/// Whether the route is the network's own: the gateway's address and subnet on its bridge.
fn is_own(route: &HostRoute, gateway: &NodeGateway) -> bool {
    let is_on_bridge =
        route.interface.as_ref().is_some_and(|name| gateway.interfaces.contains(name));
    is_on_bridge && route.kind != HostRouteKind::Other
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    one.contains(other.network()) || other.contains(one.network())
}

#[cfg(test)]
mod tests;
