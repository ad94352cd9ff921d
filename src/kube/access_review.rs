//! The rights of our credential, as the API reports them (`authorization.k8s.io/v1`). Every user
//! may request a review, and it changes nothing.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::core::params::PostParams;

use super::api_request::ApiRequest;
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError};
use crate::pod::name::Namespace;

/// A right that Braid needs, in each namespace whose pods have networks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NeededRight {
    /// To get NetworkAttachmentDefinitions.
    GetDefinitions,
    /// To patch `pods/status`.
    PublishStatus,
    /// To patch whereabouts' pools.
    AllocateAddresses,
}

impl std::fmt::Display for NeededRight {
    /// Verb and resource, as `kubectl auth can-i` takes them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::GetDefinitions => "get network-attachment-definitions.k8s.cni.cncf.io",
            Self::PublishStatus => "patch pods/status",
            Self::AllocateAddresses => "patch ippools.whereabouts.cni.cncf.io",
        })
    }
}

impl NeededRight {
    fn attributes(self) -> ResourceAttributes {
        let text = |text: &str| Some(text.to_owned());
        match self {
            Self::GetDefinitions => ResourceAttributes {
                verb: text("get"),
                group: text("k8s.cni.cncf.io"),
                resource: text("network-attachment-definitions"),
                ..ResourceAttributes::default()
            },
            Self::AllocateAddresses => ResourceAttributes {
                verb: text("patch"),
                group: text("whereabouts.cni.cncf.io"),
                resource: text("ippools"),
                ..ResourceAttributes::default()
            },
            Self::PublishStatus => ResourceAttributes {
                verb: text("patch"),
                resource: text("pods"),
                subresource: text("status"),
                ..ResourceAttributes::default()
            },
        }
    }
}

impl Cluster {
    /// Whether we have a right in `namespace`; `None` stands for every namespace, as in the API.
    ///
    /// # Errors
    /// [`ClusterError`] if it is unknown.
    pub fn has_right(
        &mut self,
        right: NeededRight,
        namespace: Option<&Namespace>,
    ) -> Result<bool, ClusterError> {
        self.review(right, namespace.map_or("", Namespace::as_str), RetryPolicy::Default)
    }

    /// The same, asked as the policy says.
    ///
    /// # Errors
    /// [`ClusterError`] if it is unknown.
    pub(super) fn review(
        &mut self,
        right: NeededRight,
        namespace: &str,
        policy: RetryPolicy,
    ) -> Result<bool, ClusterError> {
        let namespace = namespace.to_owned();
        let attributes = ResourceAttributes { namespace: Some(namespace), ..right.attributes() };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let request = ApiRequest {
            verb: "create",
            resource: "selfsubjectaccessreviews.authorization.k8s.io",
            namespace: String::new(),
            name: String::new(),
            what: "a review of its own rights".to_owned(),
            metadata_only: false,
        };
        self.call(request, policy, async |client| {
            let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
            let reviewed = reviews.create(&PostParams::default(), &review).await?;
            let status = reviewed.status.ok_or_else(|| "it has no status".to_owned())?;
            Ok(status.allowed)
        })
    }
}
