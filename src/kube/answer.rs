//! The objects that the API returns, as far as Braid reads them, and the check that a response is
//! the object that was requested. Pure.
//!
//! An error is a sentence about the response; the caller adds which server sent it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::{NamespaceResourceScope, ObjectList, ObjectMeta, PartialObjectMeta};
use serde::{Deserialize, Deserializer};

use super::pods::STATUS_ANNOTATION;
use super::{ClusterDefinition, ClusterPod, PodState, pod_list};
use cni::error::one_line;

/// The largest definition that is read: etcd keeps none that is much larger.
pub(super) const MAX_DEFINITION_BYTES: usize = 1 << 20;

/// A NetworkAttachmentDefinition (NPWG 1.3, section 3).
#[derive(Clone, Debug, Deserialize)]
pub struct Definition {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<DefinitionSpec>,
}

#[derive(Clone, Debug, Deserialize)]
struct DefinitionSpec {
    #[serde(default)]
    config: Option<String>,
}

/// A pod, without its containers: an API server may send what a later version of Kubernetes puts
/// there.
#[derive(Clone, Debug, Deserialize)]
pub struct Pod {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<PodSpec>,
    #[serde(default)]
    status: Option<PodStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PodStatus {
    #[serde(default)]
    phase: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    service_account_name: Option<String>,
    #[serde(default)]
    node_name: Option<String>,
}

/// The part of an object's metadata that is read. Without `managedFields`, which can be larger than
/// all else.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
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
    deletion_timestamp: Option<Time>,
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let read = Metadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: Some(read.name),
        namespace: Some(read.namespace),
        uid: Some(read.uid),
        resource_version: Some(read.resource_version),
        annotations: read.annotations,
        deletion_timestamp: read.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

/// Tells a typed client the path of a namespaced kind.
macro_rules! resource {
    ($object:ty, $kind:literal, $plural:literal, $group:literal, $version:literal) => {
        impl Resource for $object {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(
    Definition,
    "NetworkAttachmentDefinition",
    "network-attachment-definitions",
    "k8s.cni.cncf.io",
    "v1"
);
resource!(Pod, "Pod", "pods", "", "v1");

/// Checks that a response is the object `namespace/name`: a proxy in front of the API may mix
/// responses up, and one tenant's network must never become the other's.
///
/// # Errors
/// What it is instead.
pub(super) fn check_identity(
    namespace: &str,
    name: &str,
    metadata: &ObjectMeta,
) -> Result<(), String> {
    let found = |part: &Option<String>| part.clone().unwrap_or_default();
    let (its_namespace, its_name) = (found(&metadata.namespace), found(&metadata.name));
    if its_namespace == namespace && its_name == name {
        return Ok(());
    }
    Err(one_line(&format!("it is \"{its_namespace}/{its_name}\""), 400))
}

/// The pod `namespace/name`.
///
/// # Errors
/// What is wrong with the response.
pub fn pod(namespace: &str, name: &str, object: Pod) -> Result<ClusterPod, String> {
    let Pod { metadata, spec, .. } = object;
    check_identity(namespace, name, &metadata)?;
    let spec = spec.unwrap_or_default();
    Ok(ClusterPod {
        uid: metadata.uid.unwrap_or_default(),
        annotations: metadata.annotations.unwrap_or_default(),
        service_account: spec.service_account_name,
        node_name: spec.node_name,
        deletion: metadata.deletion_timestamp.is_some(),
    })
}

/// How far the pod `namespace/name` has come.
///
/// # Errors
/// What is wrong with the response.
pub(super) fn pod_state(namespace: &str, name: &str, object: &Pod) -> Result<PodState, String> {
    check_identity(namespace, name, &object.metadata)?;
    let phase = object.status.as_ref().map_or("", |status| status.phase.as_str());
    let named = || {
        let status = object.metadata.annotations.as_ref()?.get(STATUS_ANNOTATION)?;
        pod_list::addresses(status)
    };
    Ok(match phase {
        "Succeeded" | "Failed" => PodState::Ended,
        "Running" => PodState::Running(named()),
        _ => PodState::Starting,
    })
}

/// The definition `namespace/name`.
///
/// # Errors
/// What is wrong with the response.
pub fn definition(
    namespace: &str,
    name: &str,
    object: Definition,
) -> Result<ClusterDefinition, String> {
    let Definition { metadata, spec } = object;
    check_identity(namespace, name, &metadata)?;
    let config = spec.and_then(|spec| spec.config);
    Ok(ClusterDefinition {
        namespace: namespace.parse().map_err(|error| format!("metadata.namespace: {error}"))?,
        name: name.parse().map_err(|error| format!("metadata.name: {error}"))?,
        config: config.filter(|config| !config.trim().is_empty()),
        annotations: metadata.annotations.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
    })
}

/// The metadata of several definitions.
pub type DefinitionList = ObjectList<PartialObjectMeta<Definition>>;

/// The names in a list.
pub fn names(list: DefinitionList) -> Vec<String> {
    list.items.into_iter().filter_map(|item| item.metadata.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(namespace: &str, name: &str, text: &str) -> Result<ClusterDefinition, String> {
        let object = serde_json::from_str(text).map_err(|error| error.to_string())?;
        super::definition(namespace, name, object)
    }

    #[test]
    fn a_definition_is_read_with_and_without_a_spec() {
        let found = definition(
            "team-a",
            "blue",
            r#"{"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
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
            assert_eq!(definition("b", "a", &text).unwrap().config, None, "{spec}");
        }
    }

    #[test]
    fn other_responses_are_no_definition() {
        for text in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"metadata": {"name": "../x", "namespace": "b"}}"#,
            r#"{"metadata": {"name": "a", "namespace": ""}}"#,
            r#"{"metadata": {"name": "a", "namespace": "b"}, "spec": {"config": {"type": "x"}}}"#,
        ] {
            assert!(definition("b", "a", text).is_err(), "{text}");
        }
    }

    #[test]
    fn definition_rejects_an_object_that_was_not_requested() {
        let answer =
            r#"{"metadata": {"name": "red", "namespace": "team-b"}, "spec": {"config": "{}"}}"#;
        assert_eq!(definition("team-a", "red", answer), Err("it is \"team-b/red\"".to_owned()));
        assert_eq!(definition("team-b", "blue", answer), Err("it is \"team-b/red\"".to_owned()));
        assert!(definition("team-b", "red", answer).is_ok());
    }

    #[test]
    fn a_typed_client_finds_the_paths_of_definitions_and_pods() {
        assert_eq!(
            Definition::url_path(&(), Some("a")),
            "/apis/k8s.cni.cncf.io/v1/namespaces/a/network-attachment-definitions"
        );
        assert_eq!(Pod::url_path(&(), Some("a")), "/api/v1/namespaces/a/pods");
    }
}
