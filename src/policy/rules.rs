//! The node's policy: the `policy` key of Braid's configuration.
//!
//! Elsewhere in the configuration an unknown key is a warning. Here it is not: a rule that cannot
//! be understood would be a rule that is not kept, so the policy as a whole is unclear, and pods
//! get no network that they ask for until it is corrected. Pods that ask for nothing, and teardown,
//! are not held up.

mod read;
mod vlans;

pub(super) use read::wrong;
pub(super) use vlans::Vlans;

use std::collections::{BTreeMap, BTreeSet};

use glob::Pattern;
use ipnetwork::IpNetwork;
use serde_json::Value;

use super::plugins::Plugins;
use super::request::Request;
use super::scope::{Namespaces, Scoped};
use super::sharing::View;
use super::{Path, plugins};
use crate::definition::DefinitionKind;
use crate::pod::name::{DefinitionName, Namespace};
use cni::keys;

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

impl Policy {
    /// Reads a policy; `trusted` are the namespaces whose definitions are trusted unless it says
    /// otherwise.
    ///
    /// # Errors
    /// [`PolicyError`] if anything in it is not understood.
    pub fn read(value: &Value, trusted: Namespaces) -> Result<Self, PolicyError> {
        let object = value.as_object().ok_or(PolicyError::NotAnObject)?;
        read::check_keys(object, &KEYS)?;
        let requests = read::allowed_requests(object)?;
        let plugins =
            keys::get(object, "allowedPlugins").map(plugins::read).transpose()?.unwrap_or_default();
        Ok(Self {
            mode: read::mode(object)?,
            trusted: read::namespaces(object, "trustedNamespaces")?.unwrap_or(trusted),
            warnings: read::warnings(&requests, &plugins),
            requests,
            plugins,
            host_interfaces: read::scoped(object, "allowedHostInterfaces", |text| {
                Pattern::new(text).ok()
            })?,
            subnets: read::scoped(object, "allowedSubnets", |text| text.parse().ok())?,
            vlans: read::scoped(object, "allowedVlans", |text| text.parse().ok())?,
            service_cidrs: read::service_cidrs(object)?,
            primaries: read::primaries(object)?,
            node_networks: read::node_networks(object)?,
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

#[cfg(test)]
mod tests;
