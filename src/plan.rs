//! What an ADD is going to do: ordered attachments, each with all that its plugins will be told.
//!
//! Pure: a plan is made from what was read before, and changes nothing. All that can be refused is
//! refused here, before the first side effect.

mod attachment;
mod capability;
mod configuration;
mod error;
mod interface_name;
mod origin;
mod requirement;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde_json::Value;

pub use self::attachment::Role;
pub(crate) use self::attachment::{Attachment, Device};
pub(crate) use self::error::PlanError;
pub(crate) use self::interface_name::Series;
pub(crate) use self::origin::{Origin, Source};
pub(crate) use self::requirement::HostLink;

use self::capability::{
    check_capabilities, device_arguments, runtime_config, undeclared_capabilities,
};
use self::configuration::check_configuration;
use self::interface_name::interface_names;
use crate::config::Config;
use crate::definition::NamedInterface;
use crate::device::{DEVICE_INFO_CAPABILITY, DeviceInfoStore};
use crate::pod::for_primary;
use crate::selection::Selection;
use cni::name::InterfaceName;
use cni::netconf::{NetworkConfig, NetworkName};
use cni::request::{CniArgs, Sandbox};
use plugins::facts;

/// As many bytes as the attachments of a plan have in its record: four times what sixteen networks
/// have whose definitions have 64 KiB each, as tenants' may under a policy.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// What an ADD is going to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// In the order of ADD; the primary first if there is one.
    pub attachments: Vec<Attachment>,
    /// Why the pod may have the networks that it has selected.
    pub admissions: Vec<Admission>,
    /// The interfaces of the node that networks are given for the names in their definitions.
    pub named_interfaces: Vec<NamedInterface>,
    /// Whether the pod has another primary than the node's, which only the record knows at
    /// teardown.
    pub has_own_primary: bool,
    /// What an administrator should know.
    pub warnings: Vec<String>,
}

/// Why a pod may have a network that it has selected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Admission {
    /// The attachment's label.
    pub label: String,
    /// Where its definition comes from.
    pub source: String,
    /// What the rules have said for it, in words.
    pub granted_by: String,
}

/// A network that the node's own configuration names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeNetwork {
    /// How messages name it.
    pub label: String,
    /// The chain.
    pub network: NetworkConfig,
    /// The device resource that its definition names.
    pub resource: Option<String>,
    /// The device of that resource which it gets in this pod.
    pub device_id: Option<String>,
    /// How its interface is named, unless it is the primary.
    pub series: Series,
}

impl NodeNetwork {
    /// A network by its own name, whose definition names `resource`, without a device so far.
    pub(crate) fn new(network: NetworkConfig, resource: Option<String>) -> Self {
        Self {
            label: network.name.to_string(),
            network,
            resource,
            device_id: None,
            series: Series::default(),
        }
    }
}

/// A network that the pod has selected, with what it asks of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SelectedNetwork {
    /// What was asked.
    pub selection: Selection,
    /// The chain.
    pub network: NetworkConfig,
    /// The device resource that the definition names; the device itself is in the selection by
    /// then.
    pub resource: Option<String>,
    /// The networks that every address of the attachment must lie in; `None` if any may be given.
    pub granted_networks: Option<Vec<IpNetwork>>,
    /// The name that the network's plugins may have known it by before: see
    /// [`Attachment::other_name`].
    pub other_name: Option<NetworkName>,
}

/// The primary network of a delegating Braid.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PrimaryNetwork {
    /// The node's.
    OfNode(NodeNetwork),
    /// The one that the pod's default-network annotation selects.
    OfPod(Box<SelectedNetwork>),
}

/// What a plan is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    /// Braid's configuration.
    pub config: &'a Config,
    /// The runtime's request.
    pub sandbox: &'a Sandbox,
    /// The primary, if Braid delegates to it.
    pub primary: Option<PrimaryNetwork>,
    /// Networks for every pod, in order.
    pub node_networks: Vec<NodeNetwork>,
    /// The pod's own networks, in the annotation's order.
    pub selected: Vec<SelectedNetwork>,
    /// Names of the interfaces that the sandbox has already.
    pub links: BTreeSet<String>,
}

/// Makes the plan.
///
/// # Errors
/// [`PlanError`] for the first thing that cannot be.
pub(crate) fn make(inputs: Inputs<'_>) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    if let Some(primary) = &inputs.primary {
        plan.warnings.extend(undeclared_capabilities(inputs.config, primary));
    }
    let names = interface_names(&inputs)?;
    plan.attachments.extend(
        inputs.primary.clone().map(|primary| primary_attachment(primary, &inputs)).transpose()?,
    );
    let (node_names, pod_names) =
        names.split_at_checked(inputs.node_networks.len()).unwrap_or((&names, &[]));
    for (node, interface) in inputs.node_networks.iter().zip(node_names) {
        plan.attachments.push(node_attachment(
            node.clone(),
            Role::Extra,
            interface.clone(),
            &inputs,
        ));
    }
    for (selected, interface) in inputs.selected.iter().zip(pod_names) {
        let attachment = selected_attachment(selected.clone(), interface.clone(), &inputs)?;
        plan.attachments.push(attachment);
    }
    // The node's own primary is the administrator's word.
    let of_node = usize::from(matches!(inputs.primary, Some(PrimaryNetwork::OfNode(_))));
    plan.attachments.iter().skip(of_node).try_for_each(check_configuration)?;
    check_default_route(&plan)?;
    match plan.attachments.iter().find(|attachment| facts::has_meta_plugin(&attachment.network)) {
        Some(attachment) => Err(PlanError::Recursive(attachment.label.clone())),
        None => check_size(&plan.attachments).map(|()| plan),
    }
}

/// Whether the attachments of a pod are small enough together: what is recorded of them is read
/// back at its end, and lies on the disk of all until then.
///
/// # Errors
/// [`PlanError::TooLarge`].
pub(crate) fn check_size(attachments: &[Attachment]) -> Result<(), PlanError> {
    let sizes: Vec<usize> = attachments.iter().map(size).collect();
    let largest = sizes.iter().zip(attachments).max_by_key(|(size, _)| **size);
    match largest {
        Some((_, attachment)) if sizes.iter().sum::<usize>() > MAX_BYTES => {
            Err(PlanError::TooLarge { largest: attachment.label.clone() })
        }
        _ => Ok(()),
    }
}

/// How many bytes an attachment has as JSON.
fn size(attachment: &Attachment) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What is no JSON is refused when it is recorded.
    let _ = serde_json::to_writer(&mut count, attachment);
    count.0
}

fn label(selection: &Selection) -> String {
    format!("{}/{}", selection.namespace, selection.name)
}

fn primary_attachment(
    primary: PrimaryNetwork,
    inputs: &Inputs<'_>,
) -> Result<Attachment, PlanError> {
    let interface = inputs.sandbox.interface.clone();
    let mut attachment = match primary {
        PrimaryNetwork::OfNode(node) => node_attachment(node, Role::Primary, interface, inputs),
        PrimaryNetwork::OfPod(selected) => {
            Attachment { role: Role::Primary, ..selected_attachment(*selected, interface, inputs)? }
        }
    };
    // Only the primary gets what the kubelet asked for (NPWG 1.3, section 7.5).
    let of_runtime = &inputs.config.from_runtime.runtime_config;
    let mut runtime_config = for_primary(of_runtime, &attachment.network);
    runtime_config.extend(std::mem::take(&mut attachment.runtime_config));
    attachment.runtime_config = runtime_config;
    Ok(attachment)
}

/// A network of the node's own; of devices, it may need one as a pod's networks do.
fn node_attachment(
    node: NodeNetwork,
    role: Role,
    interface: InterfaceName,
    inputs: &Inputs<'_>,
) -> Attachment {
    let NodeNetwork { label, mut network, resource, device_id, .. } = node;
    let device = device_id.map(|id| Device { resource, id });
    add_device(device.as_ref(), &mut network);
    let device_info_file = device_info_file(&network, device.as_ref(), &interface, inputs);
    let attachment = Attachment::new(label, role, interface, network, inputs.sandbox.args.clone());
    let runtime_config = device_arguments(device.as_ref(), device_info_file.as_deref());
    let origin = Some(Origin::Node);
    Attachment { runtime_config, device, device_info_file, origin, ..attachment }
}

fn selected_attachment(
    selected: SelectedNetwork,
    interface: InterfaceName,
    inputs: &Inputs<'_>,
) -> Result<Attachment, PlanError> {
    let SelectedNetwork { selection, mut network, resource, granted_networks, other_name } =
        selected;
    check_capabilities(&selection, resource.as_ref(), &network, inputs.config.capability_policy)?;
    add_cni_args(&selection, &mut network)?;
    let device = selection.device_id.clone().map(|id| Device { resource, id });
    add_device(device.as_ref(), &mut network);
    let args = cni_args(&selection, &network, &inputs.sandbox.args);
    let device_info_file = device_info_file(&network, device.as_ref(), &interface, inputs);
    let attachment = Attachment::new(label(&selection), Role::Extra, interface, network, args);
    Ok(Attachment {
        runtime_config: runtime_config(&selection, device.as_ref(), device_info_file.as_deref()),
        origin: Some(Origin::Annotation { element: selection.canonical() }),
        asked_ips: selection.ips.iter().map(|address| address.ip()).collect(),
        granted_networks,
        asked_mac: selection.mac.map(|mac| mac.to_string()),
        default_route: selection.default_route,
        device,
        device_info_file,
        other_name,
        ..attachment
    })
}

/// The device-info file of an attachment: for a device of a resource, and for plugins that write
/// one unasked (Device Information Specification, section 5.1.1).
fn device_info_file(
    network: &NetworkConfig,
    device: Option<&Device>,
    interface: &InterfaceName,
    inputs: &Inputs<'_>,
) -> Option<PathBuf> {
    let of_resource = device.is_some_and(|device| device.resource.is_some());
    if !of_resource && !network.declares(DEVICE_INFO_CAPABILITY) {
        return None;
    }
    let store = DeviceInfoStore::new(&inputs.config.device_info_dir);
    Some(store.path_for(network.name.as_str(), &inputs.sandbox.container, interface))
}

/// `IP=` and `MAC=`, which Multus's users rely on for plugins that declare no capability.
fn cni_args(selection: &Selection, network: &NetworkConfig, args: &CniArgs) -> CniArgs {
    let mut pairs = Vec::new();
    // host-local fails on a list in `IP=`; if a plugin takes the capability, the list travels
    // there.
    if selection.ips.len() == 1 || (!selection.ips.is_empty() && !network.declares("ips")) {
        let ips: Vec<_> = selection.ips.iter().map(ToString::to_string).collect();
        pairs.push(("IP", ips.join(",")));
    }
    pairs.extend(selection.mac.map(|mac| ("MAC", mac.to_string())));
    if !pairs.is_empty() {
        // Without it, plugins refuse arguments that they do not know.
        pairs.insert(0, ("IgnoreUnknown", "true".to_owned()));
    }
    args.with(&pairs)
}

fn add_cni_args(selection: &Selection, network: &mut NetworkConfig) -> Result<(), PlanError> {
    let mut requested = selection.cni_args.clone().unwrap_or_default();
    if let Some(claim) = &selection.ipam_claim {
        requested.insert("ipam-claim-reference".to_owned(), Value::from(claim.clone()));
    }
    if requested.is_empty() {
        return Ok(());
    }
    let merged =
        network.plugins.iter_mut().try_for_each(|plugin| plugin.merge_cni_args(&requested));
    merged.map_err(|source| PlanError::Args { label: label(selection), source })
}

/// Every plugin gets a device of a resource under the keys that Multus uses. A device that the pod
/// itself names is a capability argument alone: it must not replace one that the definition has
/// fixed.
fn add_device(device: Option<&Device>, network: &mut NetworkConfig) {
    let Some(device) = device.filter(|device| device.resource.is_some()) else { return };
    for plugin in &mut network.plugins {
        plugin.set("deviceID", Value::from(device.id.clone()));
        plugin.set("pciBusID", Value::from(device.id.clone()));
    }
}

fn check_default_route(plan: &Plan) -> Result<(), PlanError> {
    match plan.attachments.iter().filter(|attachment| attachment.default_route.is_some()).nth(1) {
        Some(second) => Err(PlanError::TwoDefaultRoutes(second.label.clone())),
        None => Ok(()),
    }
}

impl Plan {
    /// Whether the pod must not run without a record: something is attached that the node's
    /// configuration does not tell.
    pub(crate) fn needs_record(&self) -> bool {
        self.has_own_primary
            || self.attachments.iter().any(|attachment| attachment.role == Role::Extra)
    }
}

#[cfg(test)]
mod tests;
