//! Tokens of a service account, through its TokenRequest (`authentication.k8s.io/v1`). They are
//! bound to no pod: the token on a node stays valid while the pod that requested it is replaced.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::core::params::PostParams;
use secrecy::SecretString;

use super::api_request::{ApiRequest, TOKENS};
use super::client::CallError;
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError};
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
        let expiration_seconds = i64::try_from(lifetime.as_secs()).ok();
        let spec = TokenRequestSpec { expiration_seconds, ..TokenRequestSpec::default() };
        let wanted = TokenRequest { spec, ..TokenRequest::default() };
        let request = ApiRequest::about("create", TOKENS, "a token of service account", account);
        self.call(request, RetryPolicy::UntilDeadline, async |client| {
            let accounts: Api<ServiceAccount> = Api::namespaced(client, account.namespace.as_str());
            let issued = accounts
                .create_token_request(account.name.as_str(), &PostParams::default(), &wanted)
                .await
                .map_err(|error| CallError::without_quotes(error, "it is no TokenRequest"))?;
            let token =
                issued.status.map(|status| status.token).filter(|token| !token.trim().is_empty());
            Ok(token.map(SecretString::from).ok_or_else(|| "it holds no token".to_owned())?)
        })
    }
}
