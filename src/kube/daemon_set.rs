//! The DaemonSet that keeps Braid on the nodes.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Resource;
use kube::core::params::GetParams;

use super::answer::{self, Empty};
use super::question::Question;
use super::{Cluster, ClusterError, DAEMON_SETS, Patience, metadata_only};
use crate::pod::name::NamespacedName;

impl Cluster {
    /// Whether a DaemonSet is gone, or is being deleted. Where that cannot be told there is an error, and a
    /// caller must not take it for either.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn is_leaving(&mut self, daemon_set: &NamespacedName) -> Result<bool, ClusterError> {
        let NamespacedName { namespace, name } = daemon_set;
        let request = kube::core::Request::new(DaemonSet::url_path(&(), Some(namespace.as_str())))
            .get(name.as_str(), &GetParams::default());
        let question = Question {
            verb: "get",
            resource: DAEMON_SETS,
            namespace: namespace.to_string(),
            name: name.to_string(),
            what: format!("DaemonSet \"{daemon_set}\""),
            request: request.map(metadata_only).map_err(|error| error.to_string()),
        };
        let found = self.ask(&question, Patience::Great, |question, body| {
            let object = answer::object::<Empty>(&question.namespace, &question.name, body)?;
            Ok(object.metadata.deletion_timestamp.is_some())
        });
        match found {
            Err(ClusterError::NotFound { .. }) => Ok(true),
            answer => answer,
        }
    }
}
