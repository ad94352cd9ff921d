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

impl Cluster {
    /// Whether the status of pods in `namespace` may be published: the right to patch
    /// `pods/status`.
    ///
    /// # Errors
    /// [`ClusterError`] if it is unknown.
    pub fn may_publish_status(&mut self, namespace: &Namespace) -> Result<bool, ClusterError> {
        let text = |text: &str| Some(text.to_owned());
        let attributes = ResourceAttributes {
            namespace: text(namespace.as_str()),
            verb: text("patch"),
            resource: text("pods"),
            subresource: text("status"),
            ..ResourceAttributes::default()
        };
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
        self.call(request, RetryPolicy::Default, async |client| {
            let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
            let reviewed = reviews.create(&PostParams::default(), &review).await?;
            let status = reviewed.status.ok_or_else(|| "it has no status".to_owned())?;
            Ok(status.allowed)
        })
    }
}
