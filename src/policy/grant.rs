//! Why a pod may have what it asks for: one grant for each rule that had a say, made where the rule
//! is checked.

use std::fmt;

use super::request::IPS_ANNOTATION;
use super::sharing::{ACCOUNTS_ANNOTATION, NAMESPACES_ANNOTATION};
use crate::pod::name::Namespace;

/// A rule that let the pod pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Grant {
    /// The definition is of the pod's own namespace.
    OwnNamespace,
    /// Its namespace is one of `globalNamespaces`.
    Global(Namespace),
    /// Its namespace is `multusNamespace`, from which pods may take another primary.
    Offered(Namespace),
    /// Its owner names the pod's namespace.
    Shared(Namespace),
    /// `namespaceIsolation` is off.
    NoIsolation,
    /// Its owner names the pod's service account, `namespace/name`.
    Account(String),
    /// The policy lets the namespace have this primary.
    PrimaryOverride,
    /// The policy shares the node's network with the namespace.
    SharedNodeNetwork,
    /// The policy trusts the namespace of the definition.
    Trusted(Namespace),
    /// The definition stays inside the fence of tenants' definitions.
    Fenced,
    /// Its owner grants the addresses that the pod asks for.
    OwnersAddresses,
    /// The policy grants the addresses that the pod asks for to networks of this namespace.
    Subnets(Namespace),
    /// The networks of the node are for every pod: there is no policy.
    NoPolicy,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnNamespace => f.write_str("the pod's own namespace"),
            Self::Global(namespace) => write!(f, "{namespace} is in globalNamespaces"),
            Self::Offered(namespace) => write!(f, "{namespace} is multusNamespace"),
            Self::Shared(namespace) => write!(f, "shared by {namespace} ({NAMESPACES_ANNOTATION})"),
            Self::NoIsolation => f.write_str("namespaceIsolation is off"),
            Self::Account(account) => {
                write!(f, "service account {account} ({ACCOUNTS_ANNOTATION})")
            }
            Self::PrimaryOverride => f.write_str("policy.primaryOverride"),
            Self::SharedNodeNetwork => f.write_str("policy.sharedNodeNetworks"),
            Self::Trusted(namespace) => write!(f, "{namespace} is in policy.trustedNamespaces"),
            Self::Fenced => f.write_str("inside the fence of tenants' definitions"),
            Self::OwnersAddresses => write!(f, "addresses in {IPS_ANNOTATION}"),
            Self::Subnets(namespace) => {
                write!(f, "addresses in policy.allowedSubnets of {namespace}")
            }
            Self::NoPolicy => f.write_str("no policy"),
        }
    }
}

/// All of them in one text.
pub(crate) fn in_words(grants: &[Grant]) -> String {
    grants.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
