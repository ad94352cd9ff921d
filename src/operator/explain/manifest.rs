//! The pods of a manifest, which may hold several documents and lists.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{ExplainError, Explanation, Subject};
use crate::definition::field;
use crate::kube::ClusterPod;

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    service_account_name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl From<Manifest> for Subject {
    fn from(Manifest { metadata, spec }: Manifest) -> Self {
        let object = ClusterPod {
            uid: "explained".to_owned(),
            annotations: metadata.annotations.unwrap_or_default(),
            service_account: Some(spec.service_account_name.unwrap_or_else(|| "default".to_owned())),
            node_name: None,
            deletion: false,
        };
        let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
        Self { namespace, name: metadata.name, object }
    }
}

/// Every pod of a text, in its order; in place of one that cannot be read, what is wrong with it.
///
/// # Errors
/// [`ExplainError::Manifest`] if the text is not YAML, or has no pod.
pub(super) fn pods(text: &str) -> Result<Vec<Result<Subject, Explanation>>, ExplainError> {
    let invalid =
        |error: serde_saphyr::Error| ExplainError::Manifest(cni::error::one_line(&error.to_string(), 300));
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(invalid)?;
    let mut pods = Vec::new();
    documents.into_iter().for_each(|document| collect(document, &mut pods));
    if pods.is_empty() {
        return Err(ExplainError::Manifest("no object of kind Pod is in it".to_owned()));
    }
    Ok(pods)
}

fn collect(mut document: Value, pods: &mut Vec<Result<Subject, Explanation>>) {
    match document.get("kind").and_then(Value::as_str) {
        Some("List" | "PodList") => {
            let items = document.get_mut("items").map(Value::take);
            let items = items.and_then(|items| serde_json::from_value::<Vec<Value>>(items).ok());
            items.unwrap_or_default().into_iter().for_each(|item| collect(item, pods));
        }
        Some("Pod") => pods.push(pod(document)),
        _ => {}
    }
}

fn pod(document: Value) -> Result<Subject, Explanation> {
    let text = |key: &str| document.pointer(key).and_then(Value::as_str).map(str::to_owned);
    let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
    let name = text("/metadata/name").unwrap_or_default();
    let wrong = field::check(&document).err().map(|wrong| wrong.to_string());
    let read = serde_json::from_value::<Manifest>(document);
    read.map(Subject::from).map_err(|error| Explanation {
        pod: format!("{namespace}/{name}"),
        refusals: vec![wrong.unwrap_or_else(|| format!("its manifest is not valid: {error}"))],
        ..Explanation::default()
    })
}
