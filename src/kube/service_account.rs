//! Tokens of a service account, through its TokenRequest (`authentication.k8s.io/v1`). They are bound to no
//! pod: one that lies on a node stays good while the pod that asked for it comes and goes.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Resource;
use kube::core::params::PostParams;
use secrecy::SecretString;

use super::answer;
use super::question::Question;
use super::{Cluster, ClusterError, Patience, TOKENS};
use crate::pod::name::NamespacedName;

impl Cluster {
    /// A new token of a service account that is to last `lifetime`; the server may give it less.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn token(
        &mut self,
        account: &NamespacedName,
        lifetime: Duration,
    ) -> Result<SecretString, ClusterError> {
        let NamespacedName { namespace, name } = account;
        let seconds = i64::try_from(lifetime.as_secs()).ok();
        let spec = TokenRequestSpec { expiration_seconds: seconds, ..TokenRequestSpec::default() };
        let body = serde_json::to_vec(&TokenRequest { spec, ..TokenRequest::default() });
        let path = kube::core::Request::new(ServiceAccount::url_path(&(), Some(namespace.as_str())));
        let request = body.map_err(|error| error.to_string()).and_then(|body| {
            path.create_subresource("token", name.as_str(), &PostParams::default(), body)
                .map_err(|error| error.to_string())
        });
        let question = Question {
            verb: "create",
            resource: TOKENS,
            namespace: namespace.to_string(),
            name: name.to_string(),
            what: format!("a token of service account \"{account}\""),
            request,
        };
        self.ask(&question, Patience::Great, |_, body| {
            // What the parser says would quote the token.
            let issued: TokenRequest = answer::read(body).map_err(|_| "it is no TokenRequest".to_owned())?;
            let token = issued.status.map(|status| status.token).filter(|token| !token.trim().is_empty());
            token.map(SecretString::from).ok_or_else(|| "it holds no token".to_owned())
        })
    }
}
