//! What the node's configuration says of tenants: the policy, and who reaches whose definitions
//! without one.

use super::Refusal;
use ipnetwork::IpNetwork;

use super::rules::{Policy, PolicyError};
use crate::pod::name::Namespace;

/// Whom the node's tenants reach, and what they may ask for.
#[derive(Clone, Debug)]
pub struct Tenancy {
    /// The rules for what tenants ask for and define, or why they cannot be read. An unclear policy
    /// holds up what pods ask for, and nothing else.
    pub policy: Result<Option<Policy>, PolicyError>,
    /// Whether a pod reaches only its own namespace's definitions and the global ones
    /// (`namespaceIsolation`).
    pub isolation: bool,
    /// Namespaces whose definitions every pod may use (`globalNamespaces`).
    pub global_namespaces: Vec<String>,
    /// Where the definitions of `clusterNetwork`, `defaultNetworks` and the default-network
    /// annotation are.
    pub multus_namespace: Namespace,
    /// Destinations that stay on the primary when the default route moves (`keepClusterRoutes`):
    /// the cluster's own, which no pod may take.
    pub keep_cluster_routes: Vec<IpNetwork>,
}

impl Tenancy {
    /// Without a policy: a pod reaches its own namespace and `default`.
    pub(crate) fn open_to_default(multus_namespace: Namespace) -> Self {
        Self {
            policy: Ok(None),
            isolation: true,
            global_namespaces: vec!["default".to_owned()],
            multus_namespace,
            keep_cluster_routes: Vec::new(),
        }
    }

    /// The node's policy, which must be understood before any pod gets what it asks for.
    ///
    /// # Errors
    /// [`Refusal::Unclear`].
    pub fn readable(&self) -> Result<Option<&Policy>, Refusal> {
        match &self.policy {
            Ok(policy) => Ok(policy.as_ref()),
            Err(error) => Err(error.clone().into()),
        }
    }

    /// Whether a policy is enforced, so that addresses are granted.
    pub fn is_enforced(&self) -> bool {
        !matches!(&self.policy, Ok(None))
            && !matches!(&self.policy, Ok(Some(policy)) if !policy.is_enforced())
    }
}
