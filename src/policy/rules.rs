//! The node's policy: the `policy` key of Braid's configuration.
//!
//! Elsewhere in the configuration an unknown key is a warning. Here it is not: a rule that cannot
//! be understood would be a rule that is not kept, so the policy as a whole is unclear, and pods
//! get no network that they ask for until it is corrected. Pods that ask for nothing, and teardown,
//! are not held up.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use glob::Pattern;
use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::plugins::Plugins;
use super::request::Request;
use super::scope::{Namespaces, Scoped};
use super::sharing::View;
use super::{Path, plugins};
use crate::definition::DefinitionKind;
use crate::pod::name::{DefinitionName, Namespace};
use cni::error::one_line;
use cni::keys;
use cni::netconf::NetworkName;

/// The keys of a policy.
pub const KEYS: [&str; 10] = [
    "mode",
    "trustedNamespaces",
    "allowedRequests",
    "allowedPlugins",
    "allowedHostInterfaces",
    "allowedSubnets",
    "allowedVlans",
    "serviceCIDRs",
    "primaryOverride",
    "sharedNodeNetworks",
];

/// What becomes of a pod that breaks a rule of the policy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It runs, and what would be refused is logged.
    Audit,
}

/// Why a policy cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// It is no object.
    #[error("braid's configuration, key \"policy\": must be an object")]
    NotAnObject,
    /// It has an unknown key.
    #[error("braid's configuration, key \"policy\": unknown key \"{key}\"{hint}")]
    UnknownKey {
        /// The key, shortened.
        key: String,
        /// The nearest known one.
        hint: String,
    },
    /// A key has a value that it cannot have.
    #[error("braid's configuration, key \"policy.{key}\": {value} {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, shortened.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}

/// The rules of the node's administrator for what tenants ask for and define.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    mode: Mode,
    trusted: Namespaces,
    requests: BTreeSet<Request>,
    plugins: Plugins,
    host_interfaces: Scoped<Pattern>,
    subnets: Scoped<IpNetwork>,
    vlans: Scoped<Vlans>,
    service_cidrs: Vec<IpNetwork>,
    primaries: Vec<PrimaryOverride>,
    node_networks: BTreeMap<String, Namespaces>,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

/// Which pods may have which primaries.
#[derive(Clone, Debug, PartialEq)]
struct PrimaryOverride {
    pods: Namespaces,
    /// `namespace/name` of a definition, or the name of a network of the node.
    networks: Vec<String>,
}

/// VLANs one after the other, `100-199`, or a single one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vlans {
    first: u16,
    last: u16,
}

impl Vlans {
    /// The VLANs from `first` to `last`; `None` if one is no VLAN that a frame can have.
    pub fn new(first: u64, last: u64) -> Option<Self> {
        let id = |id: u64| u16::try_from(id).ok().filter(|id| (1..=4094).contains(id));
        Some(Self { first: id(first)?, last: id(last)? }).filter(|vlans| vlans.first <= vlans.last)
    }
}

impl FromStr for Vlans {
    type Err = NoVlans;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let id = |id: &str| id.trim().parse::<u64>().map_err(|_| NoVlans);
        Self::new(id(first)?, id(last)?).ok_or(NoVlans)
    }
}

/// A text that names no VLANs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoVlans;

impl Policy {
    /// Reads a policy; `trusted` are the namespaces whose definitions are trusted unless it says
    /// otherwise.
    ///
    /// # Errors
    /// [`PolicyError`] where anything in it is not understood.
    pub fn read(value: &Value, trusted: Namespaces) -> Result<Self, PolicyError> {
        let object = value.as_object().ok_or(PolicyError::NotAnObject)?;
        check_keys(object, &KEYS)?;
        let requests = allowed_requests(object)?;
        let plugins =
            keys::get(object, "allowedPlugins").map(plugins::read).transpose()?.unwrap_or_default();
        Ok(Self {
            mode: mode(object)?,
            trusted: namespaces(object, "trustedNamespaces")?.unwrap_or(trusted),
            warnings: warnings(&requests, &plugins),
            requests,
            plugins,
            host_interfaces: scoped(object, "allowedHostInterfaces", |text| {
                Pattern::new(text).ok()
            })?,
            subnets: scoped(object, "allowedSubnets", |text| text.parse().ok())?,
            vlans: scoped(object, "allowedVlans", |text| text.parse().ok())?,
            service_cidrs: service_cidrs(object)?,
            primaries: primaries(object)?,
            node_networks: node_networks(object)?,
        })
    }

    /// Whether what breaks a rule is refused.
    pub fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }

    /// Whether definitions of `namespace` are taken as they are.
    pub fn trusts(&self, namespace: &Namespace) -> bool {
        self.trusted.contains(namespace)
    }

    /// Whether pods may ask this of a network whose owner says nothing.
    pub fn allows_request(&self, request: Request) -> bool {
        !request.needs_owners_word() && self.requests.contains(&request)
    }

    /// What tenants' plugins may carry.
    pub fn plugins(&self) -> &Plugins {
        &self.plugins
    }

    /// Whether definitions of `namespace` may name this interface of the host.
    pub fn allows_host_interface(&self, namespace: &Namespace, interface: &str) -> bool {
        self.host_interfaces.of(namespace).any(|pattern| pattern.matches(interface))
    }

    /// Whether networks of definitions in `namespace` may have addresses of all of `network`.
    pub fn allows_subnet(&self, namespace: &Namespace, network: IpNetwork) -> bool {
        self.subnets.of(namespace).any(|subnet| {
            subnet.contains(network.network())
                && subnet.contains(network.broadcast())
                && subnet.prefix() <= network.prefix()
        })
    }

    /// What networks of definitions in `namespace` may have addresses of.
    pub fn subnets_of<'s>(
        &'s self,
        namespace: &'s Namespace,
    ) -> impl Iterator<Item = IpNetwork> + 's {
        let subnets = self.subnets.of(namespace);
        subnets.filter_map(|subnet| IpNetwork::new(subnet.network(), subnet.prefix()).ok())
    }

    /// The addresses of the cluster's services, which no network with a gateway on the node gives
    /// to a pod.
    pub fn service_cidrs(&self) -> &[IpNetwork] {
        &self.service_cidrs
    }

    /// Whether networks of definitions in `namespace` may be on all of these VLANs.
    pub fn allows_vlans(&self, namespace: &Namespace, vlans: Vlans) -> bool {
        self.vlans
            .of(namespace)
            .any(|allowed| allowed.first <= vlans.first && vlans.last <= allowed.last)
    }

    /// Whether pods of `namespace` may have `network` for their primary: `namespace/name` of a
    /// definition, or the name of a network of the node.
    pub fn allows_primary(&self, namespace: &Namespace, network: &str) -> bool {
        let mut rules = self.primaries.iter().filter(|rule| rule.pods.contains(namespace));
        rules.any(|rule| rule.networks.iter().any(|name| name == network))
    }

    /// Whether the pod may use the network file `name` of the node, which `kind` in `owner` leads
    /// to. A tenant that was given a network cannot hand it on: it must be shared with the pod's
    /// namespace too.
    pub fn shares_node_network(
        &self,
        view: &View<'_>,
        owner: &Namespace,
        name: &DefinitionName,
        kind: DefinitionKind,
    ) -> bool {
        let shared = |with| {
            self.node_networks
                .get(name.as_str())
                .is_some_and(|namespaces| namespaces.contains(with))
        };
        let is_listed_primary = view.path == Path::DefaultNetwork
            && self.allows_primary(view.namespace, &format!("{owner}/{name}"));
        match kind {
            DefinitionKind::Manifest | DefinitionKind::Object => true,
            DefinitionKind::EmptyObject if self.trusts(owner) => true,
            _ if is_listed_primary => true,
            DefinitionKind::EmptyObject => shared(owner) && shared(view.namespace),
            DefinitionKind::NodeNetwork => shared(view.namespace),
        }
    }
}

pub(super) fn wrong(key: &'static str, value: &Value, rule: &'static str) -> PolicyError {
    PolicyError::Value { key, value: one_line(&value.to_string(), 80), rule }
}

/// Each key is known and there once, in whatever case. Notes have a period or a slash in their
/// name.
fn check_keys(object: &Map<String, Value>, known: &[&'static str]) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    for key in object.keys().filter(|key| !key.contains(['.', '/'])) {
        let is_new = seen.insert(key.to_ascii_lowercase());
        if !is_new || !known.iter().any(|name| name.eq_ignore_ascii_case(key)) {
            let near = crate::spelling::nearest(key, known.iter().copied());
            let hint = near.map(|near| format!(": did you mean \"{near}\"?")).unwrap_or_default();
            let hint = if is_new { hint } else { ", which is there twice".to_owned() };
            return Err(PolicyError::UnknownKey { key: one_line(key, 64), hint });
        }
    }
    Ok(())
}

fn mode(object: &Map<String, Value>) -> Result<Mode, PolicyError> {
    match keys::get(object, "mode").map(|value| (value, value.as_str())) {
        None => Ok(Mode::default()),
        Some((_, Some("enforce"))) => Ok(Mode::Enforce),
        Some((_, Some("audit"))) => Ok(Mode::Audit),
        Some((value, _)) => Err(wrong("mode", value, "must be \"enforce\" or \"audit\"")),
    }
}

/// A list of texts, or one text with commas.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(joined) => {
            Some(joined.split(',').map(str::trim).filter(|word| !word.is_empty()).collect())
        }
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

const NAMESPACES_RULE: &str = "must be a list of namespaces, or of \"*\" for all";

fn namespaces(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<Namespaces>, PolicyError> {
    let read =
        |value: &Value| read_namespaces(value).ok_or_else(|| wrong(key, value, NAMESPACES_RULE));
    keys::get(object, key).map(read).transpose()
}

fn read_namespaces(value: &Value) -> Option<Namespaces> {
    Namespaces::from_words(texts(value)?)
}

fn allowed_requests(object: &Map<String, Value>) -> Result<BTreeSet<Request>, PolicyError> {
    const KEY: &str = "allowedRequests";
    let Some(value) = keys::get(object, KEY) else {
        return Ok(Request::ALL
            .into_iter()
            .filter(|request| !request.needs_owners_word())
            .collect());
    };
    let read =
        || texts(value)?.into_iter().map(|word| word.parse().ok()).collect::<Option<BTreeSet<_>>>();
    read().ok_or_else(|| {
        wrong(KEY, value, "must be a list of keys of the networks annotation, \"ips\" for one")
    })
}

/// Things for all namespaces as a list, or as an object with the namespaces of each.
fn scoped<T>(
    object: &Map<String, Value>,
    key: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Scoped<T>, PolicyError> {
    let Some(value) = keys::get(object, key) else { return Ok(Scoped::default()) };
    let entries: Option<Vec<_>> = match value {
        Value::Object(entries) => {
            entries.iter().map(|(text, list)| Some((read(text)?, read_namespaces(list)?))).collect()
        }
        list => texts(list).and_then(|texts| {
            texts.into_iter().map(|text| Some((read(text)?, Namespaces::all()))).collect()
        }),
    };
    let rule = match key {
        "allowedSubnets" => {
            "must be a list of networks in CIDR form, or an object of them with the namespaces of each"
        }
        "allowedVlans" => {
            "must be a list of VLANs, \"7\" or \"100-199\", or an object of them with the namespaces of each"
        }
        _ => "must be a list of patterns, or an object of them with the namespaces of each",
    };
    entries.map(Scoped::new).ok_or_else(|| wrong(key, value, rule))
}

fn service_cidrs(object: &Map<String, Value>) -> Result<Vec<IpNetwork>, PolicyError> {
    const KEY: &str = "serviceCIDRs";
    let Some(value) = keys::get(object, KEY) else { return Ok(Vec::new()) };
    let read =
        || texts(value)?.into_iter().map(|text| text.parse().ok()).collect::<Option<Vec<_>>>();
    read().ok_or_else(|| wrong(KEY, value, "must be a list of networks in CIDR form"))
}

fn primaries(object: &Map<String, Value>) -> Result<Vec<PrimaryOverride>, PolicyError> {
    const KEY: &str = "primaryOverride";
    let Some(value) = keys::get(object, KEY) else { return Ok(Vec::new()) };
    let read = || value.as_array()?.iter().map(read_primary).collect::<Option<Vec<_>>>();
    read().ok_or_else(|| {
        wrong(
            KEY,
            value,
            "must be a list of objects with \"podNamespaces\" and \"definitions\" (\"namespace/name\", or the \
             name of a network of the node)",
        )
    })
}

fn read_primary(value: &Value) -> Option<PrimaryOverride> {
    let object = value.as_object()?;
    check_keys(object, &["podNamespaces", "definitions"]).ok()?;
    let networks = texts(keys::get(object, "definitions")?)?;
    Some(PrimaryOverride {
        pods: read_namespaces(keys::get(object, "podNamespaces")?)?,
        networks: networks.into_iter().map(read_network).collect::<Option<_>>()?,
    })
}

fn read_network(text: &str) -> Option<String> {
    let is_valid = match text.split_once('/') {
        Some((namespace, name)) => {
            namespace.parse::<Namespace>().is_ok() && name.parse::<DefinitionName>().is_ok()
        }
        None => text.parse::<NetworkName>().is_ok(),
    };
    is_valid.then(|| text.to_owned())
}

fn node_networks(object: &Map<String, Value>) -> Result<BTreeMap<String, Namespaces>, PolicyError> {
    const KEY: &str = "sharedNodeNetworks";
    let Some(value) = keys::get(object, KEY) else { return Ok(BTreeMap::new()) };
    let read_entry = |(name, list): (&String, &Value)| {
        let name = name.parse::<NetworkName>().ok()?;
        Some((name.to_string(), read_namespaces(list)?))
    };
    let read = || value.as_object()?.iter().map(read_entry).collect::<Option<BTreeMap<_, _>>>();
    read().ok_or_else(|| {
        wrong(KEY, value, "must be an object of networks' names, each with its namespaces")
    })
}

/// What stands in the policy and has no effect.
fn warnings(requests: &BTreeSet<Request>, plugins: &Plugins) -> Vec<String> {
    let of_owners = requests.iter().filter(|request| request.needs_owners_word());
    let of_owners = of_owners.map(|request| {
        format!(
            "\"{request}\" in policy.allowedRequests has no effect: only a network's owner can allow it, with \
             braid.io/allowed-requests"
        )
    });
    let delegating = plugins.delegating_types().map(|kind| {
        format!("\"{kind}\" in policy.allowedPlugins has no effect: a plugin that delegates is never allowed")
    });
    let patterns = plugins.patterns().map(|kind| {
        format!(
            "\"{kind}\" in policy.allowedPlugins has no effect: it is no pattern there, name each plugin's type"
        )
    });
    of_owners.chain(delegating).chain(patterns).collect()
}

#[cfg(test)]
mod tests;
