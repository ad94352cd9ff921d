//! A network as its definition is now, for a teardown that the recorded one has failed at.

use super::{PodRequest, admission};
use crate::config::Config;
use crate::definition::Finder;
use crate::plan::{Attachment, Role};
use crate::pod::Pod;
use crate::selection::Selection;
use cni::error::Error;
use cni::netconf::NetworkConfig;

/// The network of an attachment as its definition is now, under the name by which the plugins know
/// it; none if no definition made it, or it is as recorded.
///
/// # Errors
/// [`Error`] if the definition cannot be read, or the policy does not admit the pod to it.
pub(crate) fn network_now(
    config: &Config,
    pod: &Pod,
    attachment: &Attachment,
    definitions: &mut Finder<'_>,
) -> Result<Option<NetworkConfig>, Error> {
    let Some(selection) = selection_of(attachment) else { return Ok(None) };
    let pod_request = PodRequest { networks: vec![selection], ..PodRequest::default() };
    let admitted = admission::admit(config, pod, &pod_request, definitions)?;
    let network = admitted.networks.into_iter().next().map(|selected| selected.network);
    let network = network.map(|mut network| {
        network.name = attachment.network.name.clone();
        network
    });
    Ok(network.filter(|network| *network != attachment.network))
}

/// The selection that has made an extra attachment; none if the node's configuration has.
fn selection_of(attachment: &Attachment) -> Option<Selection> {
    let (namespace, name) = attachment.label.split_once('/')?;
    let selection = Selection::new(namespace.parse().ok()?, name.parse().ok()?, 0);
    let interface = Some(attachment.interface.clone());
    (attachment.role == Role::Extra).then_some(Selection { interface, ..selection })
}
