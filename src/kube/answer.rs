//! What the API answers: an object, as far as Braid reads one, held against what was asked for. Pure.
//!
//! An error is a sentence about the answer; whose answer it was is added by whoever has asked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ClusterDefinition, ClusterPod};
use cni::error::one_line;

/// The largest definition that is read: etcd keeps none that is much larger.
const MAX_DEFINITION_BYTES: usize = 1 << 20;

/// An object of the API.
#[derive(Deserialize)]
pub(super) struct Object<S> {
    pub(super) metadata: Metadata,
    #[serde(default = "Option::default")]
    spec: Option<S>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Object<Empty>>,
}

/// A part that is not looked into.
#[derive(Deserialize)]
pub(super) struct Empty {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) deletion_timestamp: Option<String>,
}

#[derive(Deserialize)]
struct DefinitionSpec {
    #[serde(default)]
    config: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    service_account_name: Option<String>,
    #[serde(default)]
    node_name: Option<String>,
}

/// Any JSON that is a `T`.
///
/// # Errors
/// What the decoder says.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| one_line(&error.to_string(), 300))
}

/// The object `namespace/name`: whatever stands between us and the API may mix answers up, and one tenant's
/// network must never become the other's.
///
/// # Errors
/// What it is instead.
pub(super) fn object<S: DeserializeOwned>(
    namespace: &str,
    name: &str,
    body: &[u8],
) -> Result<Object<S>, String> {
    let object: Object<S> = read(body)?;
    let answer = &object.metadata;
    if answer.namespace == namespace && answer.name == name {
        return Ok(object);
    }
    Err(one_line(&format!("it is \"{}/{}\"", answer.namespace, answer.name), 400))
}

/// The pod `namespace/name`.
///
/// # Errors
/// What is wrong with the answer.
pub fn pod(namespace: &str, name: &str, body: &[u8]) -> Result<ClusterPod, String> {
    let Object { metadata, spec } = object::<PodSpec>(namespace, name, body)?;
    let spec = spec.unwrap_or_default();
    Ok(ClusterPod {
        uid: metadata.uid,
        annotations: metadata.annotations.unwrap_or_default(),
        service_account: spec.service_account_name,
        node_name: spec.node_name,
        deletion: metadata.deletion_timestamp.is_some(),
    })
}

/// The definition `namespace/name`.
///
/// # Errors
/// What is wrong with the answer.
pub fn definition(namespace: &str, name: &str, body: &[u8]) -> Result<ClusterDefinition, String> {
    if body.len() > MAX_DEFINITION_BYTES {
        return Err("a definition is at most 1 MiB".to_owned());
    }
    let Object { metadata, spec } = object::<DefinitionSpec>(namespace, name, body)?;
    let config = spec.and_then(|spec| spec.config);
    Ok(ClusterDefinition {
        namespace: metadata.namespace.parse().map_err(|error| format!("metadata.namespace: {error}"))?,
        name: metadata.name.parse().map_err(|error| format!("metadata.name: {error}"))?,
        config: config.filter(|config| !config.trim().is_empty()),
        annotations: metadata.annotations.unwrap_or_default(),
        resource_version: metadata.resource_version,
    })
}

/// The names of the objects in a list.
///
/// # Errors
/// What is wrong with the answer.
pub fn names(body: &[u8]) -> Result<Vec<String>, String> {
    let list: List = read(body)?;
    Ok(list.items.into_iter().map(|item| item.metadata.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_read_with_and_without_a_spec() {
        let found = definition(
            "team-a",
            "blue",
            br#"{"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
                "metadata": {"name": "blue", "namespace": "team-a", "resourceVersion": "7",
                             "annotations": {"k8s.v1.cni.cncf.io/resourceName": "example.com/nic"},
                             "managedFields": [{"manager": "kubectl"}]},
                "spec": {"config": "{}", "other": 1}}"#,
        )
        .unwrap();
        assert_eq!((found.config.as_deref(), found.resource_version.as_str()), (Some("{}"), "7"));
        assert_eq!(found.annotations.len(), 1);
        for spec in ["", r#", "spec": null"#, r#", "spec": {}"#, r#", "spec": {"config": " "}"#] {
            let text = format!(r#"{{"metadata": {{"name": "a", "namespace": "b"}}{spec}}}"#);
            assert_eq!(definition("b", "a", text.as_bytes()).unwrap().config, None, "{spec}");
        }
    }

    #[test]
    fn other_answers_are_no_definition() {
        for text in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"metadata": {"name": "../x", "namespace": "b"}}"#,
            r#"{"metadata": {"name": "a", "namespace": ""}}"#,
            r#"{"metadata": {"name": "a", "namespace": "b"}, "spec": {"config": {"type": "x"}}}"#,
        ] {
            assert!(definition("b", "a", text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn another_object_is_not_the_one_that_was_asked_for() {
        let answer = br#"{"metadata": {"name": "red", "namespace": "team-b"}, "spec": {"config": "{}"}}"#;
        assert_eq!(definition("team-a", "red", answer), Err("it is \"team-b/red\"".to_owned()));
        assert_eq!(definition("team-b", "blue", answer), Err("it is \"team-b/red\"".to_owned()));
        assert!(definition("team-b", "red", answer).is_ok());
    }
}
