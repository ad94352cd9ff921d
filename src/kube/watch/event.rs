//! Pods in a list and in the events of a watch, as far as they are read. Pure.

use serde::Deserialize;
use serde::de::IgnoredAny;

use cni::error::one_line;

/// A pod, and the networks that it wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodNetworks {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The networks annotation; empty if there is none.
    pub networks: String,
    /// Whether the pod is being deleted, or is the mirror of a static one.
    pub is_left_alone: bool,
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) pods: Vec<PodNetworks>,
    /// Where a watch goes on.
    pub(super) version: String,
    /// What the next page is asked for with; empty at the last.
    pub(super) next: String,
}

/// An event of a watch, with the version that it leads to.
#[derive(Debug)]
pub(super) enum Event {
    Pod(PodNetworks, String),
    Gone(String, String),
    Bookmark(String),
    /// The version that the watch goes on from is too old (410).
    Expired,
    /// What the server says.
    Error(String),
}

#[derive(Deserialize)]
struct RawEvent {
    #[serde(rename = "type")]
    kind: String,
    object: Object,
}

/// A pod's metadata, or a `Status`.
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    code: Option<u16>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    annotations: Option<Annotations>,
    deletion_timestamp: Option<IgnoredAny>,
}

/// The annotations that matter; all others are passed over as they are read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "k8s.v1.cni.cncf.io/networks")]
    networks: Option<String>,
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirror: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawPage {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(default)]
    items: Vec<Object>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    resource_version: String,
    r#continue: Option<String>,
}

impl Metadata {
    fn pod(self) -> PodNetworks {
        let annotations = self.annotations.unwrap_or_default();
        PodNetworks {
            namespace: self.namespace,
            name: self.name,
            uid: self.uid,
            networks: annotations.networks.unwrap_or_default(),
            is_left_alone: self.deletion_timestamp.is_some() || annotations.mirror.is_some(),
        }
    }
}

/// Reads a page.
///
/// # Errors
/// What is wrong with it.
pub(super) fn page(bytes: &[u8]) -> Result<Page, String> {
    let page: RawPage = serde_json::from_slice(bytes).map_err(|error| problem(&error))?;
    let pods = page.items.into_iter().map(|item| item.metadata.pod()).collect();
    let ListMetadata { resource_version, r#continue } = page.metadata;
    Ok(Page { pods, version: resource_version, next: r#continue.unwrap_or_default() })
}

/// Reads the event of a line.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(line: &[u8]) -> Result<Event, String> {
    let RawEvent { kind, object } =
        serde_json::from_slice(line).map_err(|error| problem(&error))?;
    let version = object.metadata.resource_version.clone();
    Ok(match kind.as_str() {
        "ADDED" | "MODIFIED" => Event::Pod(object.metadata.pod(), version),
        "DELETED" => Event::Gone(object.metadata.uid, version),
        "BOOKMARK" => Event::Bookmark(version),
        "ERROR" if object.code == Some(410) => Event::Expired,
        "ERROR" => Event::Error(one_line(&object.message.unwrap_or_default(), 300)),
        other => return Err(format!("an event of type \"{}\"", one_line(other, 40))),
    })
}

fn problem(error: &serde_json::Error) -> String {
    one_line(&error.to_string(), 300)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, object: serde_json::Value) -> Result<Event, String> {
        read(json!({"type": kind, "object": object}).to_string().as_bytes())
    }

    #[test]
    fn of_a_pod_no_more_is_read_than_its_networks() {
        let object = json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": {
                "name": "web", "namespace": "team-a", "uid": "u1", "resourceVersion": "7",
                "labels": {"x": "y"}, "managedFields": [{"fieldsV1": {"f:x": {}}}],
                "annotations": {"k8s.v1.cni.cncf.io/networks": "blue", "other": "x"},
            },
        });
        let Ok(Event::Pod(pod, version)) = event("ADDED", object.clone()) else { panic!() };
        assert_eq!(
            (pod.networks.as_str(), pod.is_left_alone, version.as_str()),
            ("blue", false, "7")
        );
        let mut deleted = object.clone();
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let Ok(Event::Pod(pod, _)) = event("MODIFIED", deleted) else { panic!() };
        assert!(pod.is_left_alone);
        let mut mirror = object.clone();
        mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = json!("hash");
        let Ok(Event::Pod(pod, _)) = event("MODIFIED", mirror) else { panic!() };
        assert!(pod.is_left_alone);
        assert!(matches!(event("DELETED", object), Ok(Event::Gone(uid, _)) if uid == "u1"));
    }

    #[test]
    fn the_other_events_are_told_apart() {
        let bookmark = json!({"metadata": {"resourceVersion": "9", "creationTimestamp": null}});
        assert!(matches!(event("BOOKMARK", bookmark), Ok(Event::Bookmark(at)) if at == "9"));
        let gone = json!({"kind": "Status", "code": 410, "message": "too old resource version"});
        assert!(matches!(event("ERROR", gone), Ok(Event::Expired)));
        let error = json!({"kind": "Status", "code": 500, "message": "etcd\nis away"});
        assert!(matches!(event("ERROR", error), Ok(Event::Error(said)) if !said.contains('\n')));
        assert!(event("OTHER", json!({})).is_err() && read(b"{").is_err() && read(b"[]").is_err());
    }

    #[test]
    fn a_page_says_where_the_next_begins() {
        let list = json!({"metadata": {"resourceVersion": "4", "continue": "abc"}, "items": [{"metadata": {"name": "a"}}]});
        let page = super::page(list.to_string().as_bytes()).unwrap();
        assert_eq!((page.pods.len(), page.next.as_str(), page.version.as_str()), (1, "abc", "4"));
        assert!(super::page(b"{}").unwrap().next.is_empty());
    }
}
