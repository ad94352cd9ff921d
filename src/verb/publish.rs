//! What an ADD tells the cluster: the network status of a pod that was attached, an event for one
//! that was not.

use serde_json::Value;

use super::Session;
use crate::attach::snapshot::Snapshot;
use crate::config::StatusPolicy;
use crate::device::DeviceInfoStore;
use crate::kube::{Cluster, ClusterError, PodReference};
use crate::plan::{Attachment, Plan, Role};
use crate::pod::{Annotations, Pod};
use crate::prepare;
use crate::verb::network_status::{self, StatusSource};
use cni::error::{Code, Error};
use cni::name::InterfaceName;
use cni::result::AttachmentResult;
use plugins::facts::{self, Property};

/// How far an ADD had come when it failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Nothing had been changed.
    Plan,
    /// Plugins had been started; what they did was undone.
    Attach,
}

/// The reason of the event: one word for those who only count events.
fn reason(stage: Stage, error: &Error) -> &'static str {
    match (stage, error.code) {
        // The runtime tries again; no action is needed yet.
        (_, Code::TRY_AGAIN) => "NetworkDelayed",
        (Stage::Plan, _) => "NetworkRefused",
        (Stage::Attach, _) => "FailedNetworkAttachment",
    }
}

/// The reason of an event about a change of a running pod.
pub(super) fn reason_on_running(error: &Error) -> &'static str {
    match error.code {
        Code::TRY_AGAIN => "NetworkDelayed",
        Code::CONFIG => "NetworkRefused",
        Code::TEARDOWN => "FailedNetworkDetachment",
        _ => "FailedNetworkAttachment",
    }
}

/// Whether the pod's status is to be published once it is attached.
pub(super) fn status_is_due(session: &Session<'_>, asks_nothing: bool) -> bool {
    let wanted = match session.config.status_policy {
        StatusPolicy::Attached => !asks_nothing,
        StatusPolicy::Always => true,
        StatusPolicy::Never => false,
    };
    wanted && session.cluster.is_some()
}

/// A warning for networks whose addresses whereabouts gives, if no status is going to name them:
/// it takes addresses back that it finds in no pod's status.
pub(super) fn unnamed_addresses(plan: &Plan, is_due: bool) -> Option<String> {
    let by_whereabouts = |attachment: &&Attachment| {
        attachment.role == Role::Extra
            && facts::ipam_has(&attachment.network, Property::ReclaimsAddressesWithoutStatus)
    };
    let network = plan.attachments.iter().filter(|_| !is_due).find(by_whereabouts)?;
    Some(format!(
        "network \"{}\" has its addresses from whereabouts, which takes back those that no pod's \
         status names, and no status is published: configure \"kubeconfig\", and \"statusPolicy\" \
         other than \"never\"",
        network.label
    ))
}

/// The pod as the API knows it. The UID of a static pod is a hash that the API does not know.
pub(super) fn reference(pod: &Pod, is_static: bool) -> PodReference {
    PodReference {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone().filter(|_| !is_static),
    }
}

/// A pod that runs as the API knows it. Its annotations are not at hand, which say whether it is a
/// static one; its UID does.
pub(super) fn running(pod: &Pod) -> PodReference {
    reference(pod, pod.has_hashed_uid())
}

/// Publishes the status of every attachment; `primary` is the chained primary's, which is no
/// attachment of ours. A pod that has gone meanwhile needs none.
pub(super) fn status<'p>(
    cluster: &mut Cluster,
    pod: &PodReference,
    primary: Option<(&str, &InterfaceName, &AttachmentResult)>,
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
    match cluster.publish_status(pod, &network_status::annotation(&sources, snapshot)) {
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

/// Publishes a refusal or failure as an event on the pod, with the sentence that the runtime gets.
/// Only for pods that ask for something, or have cost a request already; never a second failure.
pub(super) fn failure(session: &mut Session<'_>, pod: &Pod, stage: Stage, error: &Error) {
    let annotations = Annotations::from_runtime_config(&session.config.from_runtime.runtime_config)
        .ok()
        .flatten();
    let asks = annotations.is_some_and(|annotations| {
        let by_genie = session.config.genie_annotation && annotations.genie.is_some();
        annotations.networks.is_some() || annotations.default_network.is_some() || by_genie
    });
    let asks = asks || prepare::has_node_networks(session.config, pod);
    let Some(cluster) = session.cluster.as_mut().filter(|cluster| asks || cluster.was_asked())
    else {
        return;
    };
    // With the UID as the kubelet has it, of a static pod too: `kubectl describe` looks for that
    // one.
    let regarding = reference(pod, false);
    if let Err(problem) =
        cluster.publish_event(&regarding, reason(stage, error), &error.to_string())
    {
        log::debug!("no event was published: {problem}");
    }
}
