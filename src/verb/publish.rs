//! What an ADD tells the cluster: the network status of a pod that was attached, an event for one that
//! was not.

use serde_json::Value;

use super::Session;
use crate::cluster::{Cluster, ClusterError, PodReference};
use crate::cni::error::Error;
use crate::cni::result::AttachmentResult;
use crate::config::StatusPolicy;
use crate::device::DeviceInfoStore;
use crate::name::InterfaceName;
use crate::plan::{Attachment, Role};
use crate::pod::{Annotations, Pod};
use crate::prepare;
use crate::snapshot::Snapshot;
use crate::status::{self, StatusSource};

/// Why an event says that a pod has not got its networks.
const EVENT_REASON: &str = "FailedNetworkAttachment";

/// Whether the pod's status is to be published once it is attached.
pub(super) fn status_is_due(session: &Session<'_>, asks_nothing: bool) -> bool {
    let wanted = match session.config.status_policy {
        StatusPolicy::Attached => !asks_nothing,
        StatusPolicy::Always => true,
        StatusPolicy::Never => false,
    };
    wanted && session.cluster.is_some()
}

/// The pod as the API knows it. The UID of a static pod is a hash that the API does not know.
pub(super) fn reference(pod: &Pod, is_static: bool) -> PodReference {
    PodReference {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone().filter(|_| !is_static),
    }
}

/// Publishes the status of every attachment; `primary` is the chained primary's, which is no attachment
/// of ours. A pod that has gone meanwhile needs none.
pub(super) fn status<'p>(
    cluster: &mut Cluster,
    pod: &PodReference,
    primary: Option<(&str, &InterfaceName, AttachmentResult)>,
    attachments: impl Iterator<Item = (&'p Attachment, &'p AttachmentResult)>,
    snapshot: &Snapshot,
    device_infos: &DeviceInfoStore,
) -> Result<(), Error> {
    let chained = primary.iter().map(|(name, interface, result)| StatusSource {
        name,
        is_default: true,
        interface: interface.as_str(),
        result,
        asked_for_default_route: false,
        device_info: None,
    });
    let ours = attachments.map(|(attachment, result)| StatusSource {
        name: &attachment.label,
        is_default: attachment.role == Role::Primary,
        interface: attachment.interface.as_str(),
        result,
        asked_for_default_route: attachment.default_route.is_some(),
        device_info: device_info(attachment, device_infos),
    });
    let sources: Vec<StatusSource<'_>> = chained.chain(ours).collect();
    match cluster.publish_status(pod, &status::annotation(&sources, snapshot)) {
        Err(error @ (ClusterError::NotFound { .. } | ClusterError::Conflict { .. })) => {
            log::warn!("the pod has gone while it was attached: {error}");
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}

/// What the attachment's plugins say of its device; a file that is not as it must be is left out.
fn device_info(attachment: &Attachment, device_infos: &DeviceInfoStore) -> Option<Value> {
    match device_infos.read(attachment.device_info_file.as_ref()?) {
        Ok(info) => info,
        Err(error) => {
            log::warn!("network \"{}\": {error}", attachment.label);
            None
        }
    }
}

/// Publishes a refusal or failure as an event on the pod, with the sentence that the runtime gets. Only
/// for pods that ask for something, and never a second failure.
pub(super) fn failure(session: &mut Session<'_>, pod: &Pod, error: &Error) {
    let annotations = Annotations::from_runtime_config(&session.config.runtime_config);
    let (asks, is_static) = match annotations {
        Ok(Some(annotations)) => {
            (annotations.networks.is_some() || annotations.default_network.is_some(), annotations.is_static)
        }
        Ok(None) | Err(_) => (false, false),
    };
    if !asks && !prepare::has_node_networks(session.config, pod) {
        return;
    }
    let Some(cluster) = &mut session.cluster else { return };
    if let Err(problem) = cluster.publish_event(&reference(pod, is_static), EVENT_REASON, &error.to_string())
    {
        log::debug!("no event was published: {problem}");
    }
}
