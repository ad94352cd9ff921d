//! A pod: its object, its network status, and an event about it.

use std::collections::BTreeMap;

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::core::params::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::api_request::ApiRequest;
use super::client::CallError;
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError, answer, event};
use crate::pod::name::Namespace;
use cni::error::one_line;

/// The annotation that carries the status (NPWG 1.3, section 5).
pub(super) const STATUS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/network-status";
/// Set by the kubelet on the API's copy of a static pod: the UID by which the kubelet knows that
/// pod.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// Where the kubelet has a pod from: `api`, `file` or `http`.
const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// Who changes objects, in their `managedFields`.
const FIELD_MANAGER: &str = "braid";

/// A pod as the cluster has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterPod {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<String>,
    /// `spec.nodeName`.
    pub node_name: Option<String>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deletion: bool,
}

impl ClusterPod {
    /// Whether this is the mirror of a pod that the kubelet has from a file or a URL. Its runtime
    /// knows it by another UID than the API does.
    pub fn is_static(&self) -> bool {
        let source = self.annotations.get(SOURCE_ANNOTATION);
        self.annotations.contains_key(MIRROR_ANNOTATION)
            || source.is_some_and(|source| source != "api")
    }
}

/// A pod to write to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodReference {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
    /// Its UID, if the object must be this very pod: not for static pods, which the API knows by
    /// another.
    pub uid: Option<String>,
}

impl Cluster {
    /// A pod. Needs the optional right to get pods.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn pod(&mut self, namespace: &Namespace, name: &str) -> Result<ClusterPod, ClusterError> {
        let request = pod_request("get", "pods", namespace, name)?;
        self.call(request, RetryPolicy::Default, async |client| {
            let pods: Api<answer::Pod> = Api::namespaced(client, namespace.as_str());
            Ok(answer::pod(namespace.as_str(), name, pods.get(name).await?)?)
        })
    }

    /// Sets the network-status annotation of a pod to `status`, through the pod's status, in one
    /// request.
    ///
    /// # Errors
    /// [`ClusterError`]: `NotFound` if the pod is gone, `Conflict` if another pod has its name.
    pub fn publish_status(&mut self, pod: &PodReference, status: &str) -> Result<(), ClusterError> {
        let request = ApiRequest {
            metadata_only: true,
            ..pod_request("patch", "pods/status", &pod.namespace, &pod.name)?
        };
        let mut metadata = json!({"annotations": {STATUS_ANNOTATION: status}});
        if let (Some(uid), Some(metadata)) = (&pod.uid, metadata.as_object_mut()) {
            metadata.insert("uid".to_owned(), json!(uid));
        }
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.call(request, RetryPolicy::UntilDeadline, async |client| {
            let pods: Api<answer::Pod> = Api::namespaced(client, pod.namespace.as_str());
            accepted(pods.patch_status(&pod.name, &parameters, &patch).await)
        })
    }

    /// Publishes a warning about a pod: once, within 3 seconds, and not at all if the last call
    /// found the API silent. The same warning about the same pod makes one event.
    ///
    /// # Errors
    /// [`ClusterError`], for the log alone: the ADD that the event is about has failed already.
    pub fn publish_event(
        &mut self,
        pod: &PodReference,
        reason: &str,
        message: &str,
    ) -> Result<(), ClusterError> {
        self.publish(pod, |node| event::warning(pod, reason, message, node))
    }

    /// Publishes that a running pod's networks have changed, as [`Cluster::publish_event`] does.
    /// Each time makes an event of its own.
    ///
    /// # Errors
    /// [`ClusterError`], for the log alone: the change is made.
    pub fn publish_note(
        &mut self,
        pod: &PodReference,
        reason: &str,
        message: &str,
    ) -> Result<(), ClusterError> {
        self.publish(pod, |node| event::note(pod, reason, message, node))
    }

    fn publish(
        &mut self,
        pod: &PodReference,
        event: impl FnOnce(&str) -> Event,
    ) -> Result<(), ClusterError> {
        if self.is_silent {
            return Ok(());
        }
        let mut request = pod_request("create", "events.events.k8s.io", &pod.namespace, &pod.name)?;
        request.what = format!("an event about {}", request.what);
        let node = nix::unistd::gethostname().unwrap_or_default();
        let event = event(&node.to_string_lossy());
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let published = self.call(request, RetryPolicy::Once, async |client| {
            let events: Api<Event> = Api::namespaced(client, pod.namespace.as_str());
            accepted(events.create(&parameters, &event).await)
        });
        match published {
            // It exists already.
            Err(ClusterError::Conflict { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

/// The object that the server returns after a change is not needed, so it may be one that cannot be
/// read.
fn accepted<K>(result: kube::Result<K>) -> Result<(), CallError> {
    match result {
        Ok(_) | Err(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A call about a pod. A name that no object can have is one that does not exist, and never becomes
/// a path.
pub(super) fn pod_request(
    verb: &'static str,
    resource: &'static str,
    namespace: &Namespace,
    name: &str,
) -> Result<ApiRequest, ClusterError> {
    let what = format!("pod \"{namespace}/{}\"", one_line(name, 253));
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !starts_well || name.len() > 253 || !name.chars().all(is_plain) {
        return Err(ClusterError::NotFound { what });
    }
    Ok(ApiRequest {
        verb,
        resource,
        namespace: namespace.to_string(),
        name: name.to_owned(),
        what,
        metadata_only: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_pod_has_never_become_a_path() {
        let namespace = "a".parse().unwrap();
        let request = |name: &str| pod_request("get", "pods", &namespace, name);
        for name in
            ["", "..", "../../secrets/x", "x/status", "x?y", "x%2f", "X", "x y", &"x".repeat(254)]
        {
            assert!(matches!(request(name), Err(ClusterError::NotFound { .. })), "{name}");
        }
        // A pod's name is one long label more often than not.
        assert_eq!(request("web-0.x").unwrap().what, "pod \"a/web-0.x\"");
        assert!(request(&"x".repeat(253)).is_ok());
    }
}
