//! The DaemonSet that keeps Braid on the nodes.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;

use super::answer::check_identity;
use super::api_request::{ApiRequest, DAEMON_SETS};
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError};
use crate::pod::name::NamespacedName;

impl Cluster {
    /// Whether a DaemonSet is gone, or is being deleted. If that is unknown there is an error, and
    /// a caller must not take it for either.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn is_leaving(&mut self, daemon_set: &NamespacedName) -> Result<bool, ClusterError> {
        let (namespace, name) = (daemon_set.namespace.as_str(), daemon_set.name.as_str());
        let request = ApiRequest::about("get", DAEMON_SETS, "DaemonSet", daemon_set);
        let found = self.call(request, RetryPolicy::UntilDeadline, async |client| {
            let daemon_sets: Api<DaemonSet> = Api::namespaced(client, namespace);
            let metadata = daemon_sets.get_metadata(name).await?.metadata;
            check_identity(namespace, name, &metadata)?;
            Ok(metadata.deletion_timestamp.is_some())
        });
        match found {
            Err(ClusterError::NotFound { .. }) => Ok(true),
            result => result,
        }
    }
}
