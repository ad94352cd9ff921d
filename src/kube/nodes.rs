//! The labels of a node, by which an administrator says what the node is to run.

use k8s_openapi::api::core::v1::Node;
use kube::Api;

use super::answer::check_identity;
use super::api_request::{ApiRequest, NODES};
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError};

impl Cluster {
    /// The value of a node's label; `None` if the node does not have it. Needs the right to get
    /// nodes.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn node_label(&mut self, node: &str, key: &str) -> Result<Option<String>, ClusterError> {
        let request = ApiRequest {
            verb: "get",
            resource: NODES,
            namespace: String::new(),
            name: node.to_owned(),
            what: format!("node \"{node}\""),
            metadata_only: true,
        };
        self.call(request, RetryPolicy::Default, async |client| {
            let nodes: Api<Node> = Api::all(client);
            let metadata = nodes.get_metadata(node).await?.metadata;
            check_identity("", node, &metadata)?;
            Ok(metadata.labels.and_then(|mut labels| labels.remove(key)))
        })
    }
}
