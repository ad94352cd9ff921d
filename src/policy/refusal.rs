//! Why a pod may not have what it asks for: the rule, the object, and who can change it.

use std::fmt;

use super::fence::FenceError;
use super::request::{IPS_ANNOTATION, Request};
use super::rules::PolicyError;
use super::sharing::{ACCOUNTS_ANNOTATION, NAMESPACES_ANNOTATION};
use crate::device::RESOURCE_ANNOTATION;
use crate::pod::name::Namespace;
use cni::quoted::Quoted;

/// Why a pod may not have a network, or not with what it asks of it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The definition is another namespace's, or there is none: the pod is not to know which.
    #[error(
        "network \"{network}\" is not shared with namespace {namespace}: its owner can add \
         {NAMESPACES_ANNOTATION}: {namespace}"
    )]
    OtherNamespace {
        /// `namespace/name` as the pod wrote it.
        network: String,
        /// The pod's namespace.
        namespace: Namespace,
    },
    /// The definition is for other service accounts.
    #[error(
        "network \"{network}\" is not shared with service account {account}: its owner can add it \
         to {ACCOUNTS_ANNOTATION}"
    )]
    OtherAccount {
        /// `namespace/name`.
        network: String,
        /// `namespace/name` of the pod's account.
        account: String,
    },
    /// The definition is for some service accounts, and the pod's is not known.
    #[error(
        "network \"{network}\" is for some service accounts only ({ACCOUNTS_ANNOTATION}), and the \
         pod's cannot be learnt: {problem}"
    )]
    UnknownAccount {
        /// `namespace/name`.
        network: String,
        /// Why.
        problem: String,
        /// Whether the API cannot be reached, so that trying again may help.
        is_outage: bool,
    },
    /// The network does not take what the pod asks of it.
    #[error("network \"{network}\" takes no \"{request}\" from pods: {}", who_allows(*request, *is_owners_word))]
    Request {
        /// `namespace/name`.
        network: String,
        /// What was asked.
        request: Request,
        /// Whether its owner has spoken, so that no one else's word counts.
        is_owners_word: bool,
    },
    /// The owner of the definition limits the value.
    #[error(
        "network \"{network}\" takes no \"{request}\" {value} from pods: its owner can add it to \
         {annotation}"
    )]
    Value {
        /// `namespace/name`.
        network: String,
        /// What was asked.
        request: Request,
        /// The value, as it was written.
        value: Quoted,
        /// The annotation that limits it.
        annotation: &'static str,
    },
    /// An address that a tenant's network must not give.
    #[error(
        "network \"{network}\" cannot have address {value}, which is in no subnet of namespace \
         {owner}: the node's administrator can add it to policy.allowedSubnets"
    )]
    Address {
        /// `namespace/name`.
        network: String,
        /// The definition's namespace.
        owner: Namespace,
        /// The address, as it was written.
        value: Quoted,
    },
    /// An address that neither the owner nor the administrator has granted.
    #[error(
        "network \"{network}\" cannot have address {value}: no network that is granted holds it \
         with its prefix: {}",
        who_grants(owner, *has_say)
    )]
    Ungranted {
        /// `namespace/name`.
        network: String,
        /// The definition's namespace.
        owner: Namespace,
        /// The address, as it was written.
        value: Quoted,
        /// Whether the owner's word counts.
        has_say: bool,
    },
    /// An address that is the node's, or a service's.
    #[error(
        "network \"{network}\" cannot have address {value}: the network's gateway is on the node, \
         and {by}: the pod can ask for another"
    )]
    AddressTaken {
        /// `namespace/name`.
        network: String,
        /// The address, as it was written.
        value: Quoted,
        /// Whose it is.
        by: Taken,
    },
    /// The routes of the node cannot be read, so that it is not known whose an address is.
    #[error(
        "network \"{network}\" has its gateway on the node, and the node's routes cannot be read, \
         which must not lead to the addresses asked for: {problem}"
    )]
    HostRoutes {
        /// `namespace/name`.
        network: String,
        /// What the kernel says.
        problem: String,
    },
    /// A claim of addresses, if none are granted.
    #[error(
        "network \"{network}\" takes no \"ipam-claim-reference\" from pods: no addresses are \
         granted that the claim's could lie in: {}",
        who_grants(owner, *has_say)
    )]
    Claim {
        /// `namespace/name`.
        network: String,
        /// The definition's namespace.
        owner: Namespace,
        /// Whether the owner's word counts.
        has_say: bool,
    },
    /// The pod must not choose this primary.
    #[error(
        "network \"{network}\" may not be the primary of pods of namespace {namespace}: the node's \
         administrator can add it to policy.primaryOverride"
    )]
    Primary {
        /// `namespace/name`, or the name of a network of the node.
        network: String,
        /// The pod's namespace.
        namespace: Namespace,
    },
    /// A network of the node that is not for this namespace, or there is none: the pod is not to
    /// know which.
    #[error(
        "network \"{network}\" {}{hint}; and the node shares no network of that name with \
         namespace {namespace}: its administrator can add it to policy.sharedNodeNetworks",
        if *is_defined { "is defined without \"spec.config\"" } else { "is not defined" }
    )]
    NodeNetwork {
        /// `namespace/name`.
        network: String,
        /// The pod's namespace.
        namespace: Namespace,
        /// Whether there is a definition, which has no configuration of its own.
        is_defined: bool,
        /// The nearest name that the pod may see.
        hint: String,
    },
    /// A tenant's definition that reaches for more than its fence allows.
    #[error("network \"{network}\" is a tenant's definition, {problem}")]
    Definition {
        /// `namespace/name`.
        network: String,
        /// What it reaches for, and who can change it.
        problem: FenceError,
    },
    /// A device of the node that was not allocated to the pod.
    #[error(
        "network \"{network}\" is a tenant's definition, which gives pods no device but those that \
         the kubelet has given them: its owner can name the resource with {RESOURCE_ANNOTATION}"
    )]
    Device {
        /// `namespace/name`.
        network: String,
    },
    /// Arguments of a pod that would make a tenant's network reach for more than its fence allows.
    #[error(
        "network \"{network}\" takes no such \"cni-args\" from pods: it is a tenant's definition, \
         {problem}"
    )]
    Arguments {
        /// `namespace/name`.
        network: String,
        /// What they reach for, and who can change it.
        problem: FenceError,
    },
    /// The policy cannot be read.
    #[error("{0}; until then no pod gets a network that it asks for")]
    Unclear(#[from] PolicyError),
}

/// Whose an address is that a pod asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// An address or a route of the node.
    Node,
    /// The network's gateway, or another address of the node itself.
    Gateway,
    /// Services or other destinations of the cluster.
    Services,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "it overlaps an address or a route of the node",
            Self::Gateway => "it is that gateway's, or another address of the node itself",
            Self::Services => {
                "it overlaps the cluster's own (policy.serviceCIDRs, keepClusterRoutes)"
            }
        })
    }
}

impl Refusal {
    /// The rule's name, for the audit log.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::OtherNamespace { .. } => "namespace",
            Self::OtherAccount { .. } | Self::UnknownAccount { .. } => "service-account",
            Self::Request { .. } => "request",
            Self::Value { .. }
            | Self::Address { .. }
            | Self::Ungranted { .. }
            | Self::AddressTaken { .. }
            | Self::HostRoutes { .. }
            | Self::Claim { .. }
            | Self::Device { .. } => "value",
            Self::Primary { .. } => "primary-override",
            Self::NodeNetwork { .. } => "node-network",
            Self::Definition { .. } | Self::Arguments { .. } => "definition",
            Self::Unclear(_) => "policy",
        }
    }

    /// Whether trying again may help.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::UnknownAccount { is_outage: true, .. })
    }
}

/// If the owner has a rule, it counts; what only an owner's rule allows cannot be granted by the
/// administrator for all.
fn who_allows(request: Request, is_owners_word: bool) -> &'static str {
    if is_owners_word || request.needs_owners_word() {
        "its owner can add it to braid.io/allowed-requests"
    } else {
        "its owner can add it to braid.io/allowed-requests, or the node's administrator to \
         policy.allowedRequests"
    }
}

/// Who can grant an address of a network whose definition is in `owner`.
fn who_grants(owner: &Namespace, has_say: bool) -> String {
    let administrator = format!(
        "the node's administrator can add one to policy.allowedSubnets for namespace {owner}"
    );
    if has_say {
        format!("its owner can add one to {IPS_ANNOTATION}, or {administrator}")
    } else {
        administrator
    }
}
