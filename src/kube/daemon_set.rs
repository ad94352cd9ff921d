//! The DaemonSet that keeps Braid on the nodes.

mod watch;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use super::answer::check_identity;
use super::api_request::{ApiRequest, DAEMON_SETS, NAMESPACES};
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError};
use crate::pod::name::NamespacedName;

pub(crate) use watch::DaemonSetWatch;

/// A DaemonSet, or that it has gone.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    /// Whether it is there, and is not being deleted.
    stays: bool,
    /// `metadata.resourceVersion`; empty if it is not there.
    version: String,
}

impl Cluster {
    /// Whether a DaemonSet is gone, or is being deleted, or its namespace is: that deletes pods
    /// before what has made them. If that is unknown there is an error, and a caller must not take
    /// it for either.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn is_leaving(&mut self, daemon_set: &NamespacedName) -> Result<bool, ClusterError> {
        let seen = self.daemon_set(daemon_set)?;
        Ok(!seen.stays || self.is_namespace_leaving(daemon_set))
    }

    fn daemon_set(&mut self, daemon_set: &NamespacedName) -> Result<Seen, ClusterError> {
        let (namespace, name) = (daemon_set.namespace.as_str(), daemon_set.name.as_str());
        let request = ApiRequest::about("get", DAEMON_SETS, "DaemonSet", daemon_set);
        let found = self.call(request, RetryPolicy::UntilDeadline, async |client| {
            let daemon_sets: Api<DaemonSet> = Api::namespaced(client, namespace);
            let metadata = daemon_sets.get_metadata(name).await?.metadata;
            check_identity(namespace, name, &metadata)?;
            let version = metadata.resource_version.unwrap_or_default();
            Ok(Seen { stays: metadata.deletion_timestamp.is_none(), version })
        });
        match found {
            Err(ClusterError::NotFound { .. }) => Ok(Seen { stays: false, version: String::new() }),
            result => result,
        }
    }

    /// What cannot be known is no: the right to it is optional.
    fn is_namespace_leaving(&mut self, daemon_set: &NamespacedName) -> bool {
        let name = daemon_set.namespace.as_str();
        let request = ApiRequest {
            verb: "get",
            resource: NAMESPACES,
            namespace: String::new(),
            name: name.to_owned(),
            what: format!("namespace \"{name}\""),
            metadata_only: true,
        };
        let found = self.call(request, RetryPolicy::Once, async |client| {
            let namespaces: Api<Namespace> = Api::all(client);
            let metadata = namespaces.get_metadata(name).await?.metadata;
            check_identity("", name, &metadata)?;
            Ok(metadata.deletion_timestamp.is_some())
        });
        found.unwrap_or_else(|error| {
            log::debug!("cannot tell whether namespace \"{name}\" is deleted: {error}");
            false
        })
    }
}
