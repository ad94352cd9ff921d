//! What our credential may do, by the API's own word (`authorization.k8s.io/v1`). Every user may
//! ask, and nothing is changed to find out.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Resource;
use kube::core::params::PostParams;

use super::answer;
use super::question::Question;
use super::{Cluster, ClusterError, Patience};
use crate::pod::name::Namespace;

impl Cluster {
    /// Whether the status of pods in `namespace` may be published: the right to patch
    /// `pods/status`.
    ///
    /// # Errors
    /// [`ClusterError`] if it cannot be told.
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
        let path = kube::core::Request::new(SelfSubjectAccessReview::url_path(&(), None));
        let body = serde_json::to_vec(&review).map_err(|error| error.to_string());
        let create = |body| path.create(&PostParams::default(), body).map_err(|error| error.to_string());
        let question = Question {
            verb: "create",
            resource: "selfsubjectaccessreviews.authorization.k8s.io",
            namespace: String::new(),
            name: String::new(),
            what: "a review of its own rights".to_owned(),
            request: body.and_then(create),
        };
        self.ask(&question, Patience::Usual, |_, body| {
            let reviewed: SelfSubjectAccessReview = answer::read(body)?;
            reviewed.status.map(|status| status.allowed).ok_or_else(|| "it has no status".to_owned())
        })
    }
}
