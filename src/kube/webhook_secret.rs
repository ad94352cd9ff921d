//! The Secret in which the replicas of a webhook share a certificate, and the authority in the
//! webhook's configuration. Both are there already: rights to read and to patch the two by name are
//! enough.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::pod::name::NamespacedName;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The status of a write that another one has come before.
const CONFLICT: u16 = 409;

/// The Secret, and the webhook configuration of the same name.
pub(crate) struct WebhookSecret {
    client: kube::Client,
    name: NamespacedName,
}

/// What a Secret holds.
#[derive(Debug, Default)]
pub(crate) struct SecretContents {
    /// Its texts, by their keys.
    pub(crate) data: BTreeMap<String, String>,
    /// `metadata.resourceVersion`.
    pub(crate) version: Option<String>,
}

impl WebhookSecret {
    pub(crate) fn new(client: kube::Client, name: NamespacedName) -> Self {
        Self { client, name }
    }

    /// Reads the Secret.
    ///
    /// # Errors
    /// What the API says, as a sentence.
    pub(crate) async fn read(&self) -> Result<SecretContents, String> {
        let found = self.secrets().get(self.name.name.as_str()).await;
        let found = found.map_err(|error| self.failed("Secret", "read", &error))?;
        let text = |(key, ByteString(bytes))| Some((key, String::from_utf8(bytes).ok()?));
        let data = found.data.unwrap_or_default().into_iter().filter_map(text).collect();
        Ok(SecretContents { data, version: found.metadata.resource_version })
    }

    /// Writes these texts, unless another replica has written since `before` was read; returns
    /// whether they were written.
    ///
    /// # Errors
    /// What the API says, as a sentence.
    pub(crate) async fn write(
        &self,
        before: &SecretContents,
        data: &BTreeMap<String, String>,
    ) -> Result<bool, String> {
        let encoded = data.iter().map(|(key, text)| (key.clone(), STANDARD.encode(text).into()));
        let encoded: serde_json::Map<String, Value> = encoded.collect();
        let patch = json!({"metadata": {"resourceVersion": before.version}, "data": encoded});
        let (name, secrets) = (self.name.name.as_str(), self.secrets());
        match secrets.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok(false),
            Err(error) => Err(self.failed("Secret", "patched", &error)),
        }
    }

    /// Has the API server trust this authority (in PEM), in each webhook of the configuration;
    /// returns whether anything had to be changed.
    ///
    /// # Errors
    /// What the API says, as a sentence.
    pub(crate) async fn publish(&self, authority: &str) -> Result<bool, String> {
        const KIND: &str = "ValidatingWebhookConfiguration";
        let failed = |what: &str, error: &kube::Error| self.failed(KIND, what, error);
        // Not as kube's type of it, which would drop what a later version of Kubernetes has there.
        let kind = ApiResource::erase::<ValidatingWebhookConfiguration>(&());
        let configurations: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        let name = self.name.name.as_str();
        let found = configurations.get(name).await.map_err(|error| failed("read", &error))?;
        let mut webhooks = found.data.get("webhooks").cloned().unwrap_or_default();
        if !trust(&mut webhooks, &STANDARD.encode(authority)) {
            return Ok(false);
        }
        let version = &found.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks});
        let patched =
            configurations.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(|_| true).map_err(|error| failed("patched", &error))
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), self.name.namespace.as_str())
    }

    fn failed(&self, kind: &str, what: &str, error: &kube::Error) -> String {
        let name = match kind {
            "Secret" => self.name.to_string(),
            _ => self.name.name.to_string(),
        };
        cni::error::one_line(&format!("{kind} {name} cannot be {what}: {error}"), 400)
    }
}

/// Sets the authority of each webhook; whether it was another one.
fn trust(webhooks: &mut Value, authority: &str) -> bool {
    let mut is_changed = false;
    for webhook in webhooks.as_array_mut().into_iter().flatten() {
        let Some(client) = webhook.get_mut("clientConfig").and_then(Value::as_object_mut) else {
            continue;
        };
        let before = client.insert("caBundle".to_owned(), authority.into());
        is_changed |= before.as_ref().and_then(Value::as_str) != Some(authority);
    }
    is_changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_set_if_it_is_another_one() {
        let mut webhooks = json!([
            {"name": "a", "clientConfig": {"service": {"name": "x"}}, "later": 1},
            {"name": "b", "clientConfig": {"caBundle": "b2xk"}},
        ]);
        assert!(trust(&mut webhooks, "bmV3"));
        let expected = json!([
            {"name": "a", "clientConfig": {"service": {"name": "x"}, "caBundle": "bmV3"}, "later": 1},
            {"name": "b", "clientConfig": {"caBundle": "bmV3"}},
        ]);
        assert_eq!(webhooks, expected);
        assert!(!trust(&mut webhooks, "bmV3"));
        assert!(!trust(&mut Value::Null, "bmV3"));
    }
}
