//! What an ADD is going to do: ordered attachments, each with all that its plugins will be told.
//!
//! Pure: a plan is made from what was read before, and changes nothing. All that can be refused is
//! refused here, before the first side effect.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cni::keys;
use crate::cni::netconf::{NetconfError, NetworkConfig, PluginConfig, PluginType};
use crate::cni::request::{CniArgs, Sandbox};
use crate::config::{CapabilityPolicy, Config};
use crate::device::{DEVICE_ID_CAPABILITY, DEVICE_INFO_CAPABILITY, DeviceInfoStore};
use crate::name::InterfaceName;
use crate::pod::without_annotations;
use crate::selection::Selection;

/// Whose network an attachment is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The cluster's: the pod's own addresses.
    Primary,
    /// One that the pod, or the node's configuration, has added.
    Extra,
}

/// One network on one interface, with all that its plugins will be told. The ledger keeps it whole.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Attachment {
    /// `namespace/name` of the definition, or the network's name where the node's configuration names it.
    pub label: String,
    /// Whose network it is.
    pub role: Role,
    /// The interface in the sandbox.
    pub interface: InterfaceName,
    /// The chain.
    pub network: NetworkConfig,
    /// Capability arguments, each for the plugins that declare it.
    pub runtime_config: Map<String, Value>,
    /// `CNI_ARGS`.
    pub args: CniArgs,
    /// Addresses that the result must show.
    pub asked_ips: Vec<IpAddr>,
    /// The MAC that the result must show.
    pub asked_mac: Option<String>,
    /// Where this attachment gets the default route: the gateways asked for, none meaning its own.
    pub default_route: Option<Vec<IpAddr>>,
    /// The device that its plugins use.
    #[serde(default)]
    pub device: Option<Device>,
    /// Where its plugins say what they know of the device (Device Information Specification, section 4.2).
    #[serde(default)]
    pub device_info_file: Option<PathBuf>,
}

/// A device that an attachment has for itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Device {
    /// The resource that it is of, where the definition names one.
    pub resource: Option<String>,
    /// Its ID, such as a PCI address.
    pub id: String,
}

impl Attachment {
    /// An attachment of which nothing in particular is asked.
    pub fn new(
        label: String,
        role: Role,
        interface: InterfaceName,
        network: NetworkConfig,
        args: CniArgs,
    ) -> Self {
        Self {
            label,
            role,
            interface,
            network,
            runtime_config: Map::new(),
            args,
            asked_ips: Vec::new(),
            asked_mac: None,
            default_route: None,
            device: None,
            device_info_file: None,
        }
    }
}

/// What an ADD is going to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order of ADD; the primary first where there is one.
    pub attachments: Vec<Attachment>,
    /// Why the pod may have the networks that it has selected.
    pub admissions: Vec<Admission>,
    /// Whether the pod has another primary than the node's, which only the record knows at teardown.
    pub has_own_primary: bool,
    /// What an administrator should know.
    pub warnings: Vec<String>,
}

/// Why a pod may have a network that it has selected.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// The attachment's label.
    pub label: String,
    /// Where its definition comes from.
    pub source: String,
    /// What the rules have said for it, in words.
    pub granted_by: String,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An interface name is taken.
    #[error("network \"{label}\" cannot have interface \"{interface}\": {reason}; choose another name")]
    InterfaceTaken {
        /// The network.
        label: String,
        /// The interface it asks for.
        interface: InterfaceName,
        /// Who has it.
        reason: String,
    },
    /// The network cannot do what was asked.
    #[error(
        "network \"{label}\" cannot do \"{key}\": no plugin of it declares the capability; add \
         \"capabilities\": {{\"{capability}\": true}} to the plugin that does it, or leave \"{key}\" out"
    )]
    NoCapability {
        /// The network.
        label: String,
        /// The annotation's key.
        key: &'static str,
        /// The capability.
        capability: &'static str,
    },
    /// The definition's `args` cannot be merged with the pod's.
    #[error("network \"{label}\": {source}")]
    Args {
        /// The network.
        label: String,
        /// What is wrong.
        #[source]
        source: NetconfError,
    },
    /// Both annotations want the default route.
    #[error(
        "the default-network annotation and network \"{0}\" both have \"default-route\": only one attachment may"
    )]
    TwoDefaultRoutes(String),
    /// A plugin is not there.
    #[error("network \"{label}\": {source}")]
    NotInstalled {
        /// The network.
        label: String,
        /// Which plugin, and where it was looked for.
        #[source]
        source: crate::delegate::DelegateError,
    },
    /// The host interface that a network builds on is not there.
    #[error(
        "network \"{label}\": plugin \"{plugin}\" builds on interface \"{master}\", which this node does not have; \
         correct \"master\" in the definition"
    )]
    NoMaster {
        /// The network.
        label: String,
        /// The plugin.
        plugin: PluginType,
        /// The interface.
        master: String,
    },
    /// A network would start Braid again.
    #[error("network \"{0}\" has braid or multus in its chain, which cannot be delegated to")]
    Recursive(String),
}

/// A network that the node's own configuration names.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeNetwork {
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

/// The names that interfaces get by themselves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Series {
    /// `net1` and so on, as in Multus.
    #[default]
    Net,
    /// `eth1` and so on, as in CNI-Genie.
    Eth,
}

impl Series {
    fn name(self, number: usize) -> String {
        match self {
            Self::Net => format!("net{number}"),
            Self::Eth => format!("eth{number}"),
        }
    }
}

impl NodeNetwork {
    /// A network by its own name, whose definition names `resource`, without a device so far.
    pub fn new(network: NetworkConfig, resource: Option<String>) -> Self {
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
pub struct SelectedNetwork {
    /// What was asked.
    pub selection: Selection,
    /// The chain.
    pub network: NetworkConfig,
    /// The device resource that the definition names; the device itself is in the selection by then.
    pub resource: Option<String>,
}

/// The primary network of a delegating Braid.
#[derive(Clone, Debug, PartialEq)]
pub enum PrimaryNetwork {
    /// The node's.
    OfNode(NodeNetwork),
    /// The one that the pod's default-network annotation selects.
    OfPod(Box<SelectedNetwork>),
}

/// What a plan is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Braid's configuration.
    pub config: &'a Config,
    /// The runtime's request.
    pub sandbox: &'a Sandbox,
    /// The primary, where Braid delegates to it.
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
pub fn make(inputs: Inputs<'_>) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    if let Some(primary) = &inputs.primary {
        plan.warnings.extend(undeclared_capabilities(inputs.config, primary));
    }
    let names = interface_names(&inputs)?;
    plan.attachments
        .extend(inputs.primary.clone().map(|primary| primary_attachment(primary, &inputs)).transpose()?);
    let (node_names, pod_names) = names.split_at_checked(inputs.node_networks.len()).unwrap_or((&names, &[]));
    for (node, interface) in inputs.node_networks.iter().zip(node_names) {
        plan.attachments.push(node_attachment(node.clone(), Role::Extra, interface.clone(), &inputs));
    }
    for (selected, interface) in inputs.selected.iter().zip(pod_names) {
        let attachment = selected_attachment(selected.clone(), interface.clone(), &inputs)?;
        plan.attachments.push(attachment);
    }
    check_default_route(&plan)?;
    match plan.attachments.iter().find(|attachment| attachment.network.has_meta_plugin()) {
        Some(attachment) => Err(PlanError::Recursive(attachment.label.clone())),
        None => Ok(plan),
    }
}

/// One name for each extra network: the one asked for, or `net<position>`, as Multus counts, or the
/// next number that nobody has or asks for.
fn interface_names(inputs: &Inputs<'_>) -> Result<Vec<InterfaceName>, PlanError> {
    let primary = &inputs.sandbox.interface;
    for selected in &inputs.selected {
        check_asked_name(&selected.selection, primary, &inputs.links)?;
    }
    let asked = inputs.selected.iter().map(|selected| selected.selection.interface.as_ref());
    let mut taken: BTreeSet<String> = inputs.links.clone();
    taken.insert(primary.to_string());
    taken.extend(asked.clone().flatten().map(ToString::to_string));
    let of_node = inputs.node_networks.iter().map(|network| (network.series, None));
    let slots = of_node.chain(asked.map(|asked| (Series::Net, asked)));
    let (mut nets, mut eths) = (0, 0);
    let name_for = |(series, asked): (Series, Option<&InterfaceName>)| {
        let position: &mut usize = if series == Series::Eth { &mut eths } else { &mut nets };
        *position += 1;
        asked.cloned().or_else(|| {
            let free = (*position..).map(|number| series.name(number)).find(|name| !taken.contains(name))?;
            taken.insert(free.clone());
            free.parse().ok()
        })
    };
    Ok(slots.filter_map(name_for).collect())
}

fn check_asked_name(
    selection: &Selection,
    primary: &InterfaceName,
    links: &BTreeSet<String>,
) -> Result<(), PlanError> {
    let Some(interface) = &selection.interface else { return Ok(()) };
    let reason = if interface == primary {
        "it is the pod's primary interface"
    } else if links.contains(interface.as_str()) {
        "the sandbox already has an interface of that name"
    } else {
        return Ok(());
    };
    Err(PlanError::InterfaceTaken {
        label: label(selection),
        interface: interface.clone(),
        reason: reason.to_owned(),
    })
}

fn label(selection: &Selection) -> String {
    format!("{}/{}", selection.namespace, selection.name)
}

fn primary_attachment(primary: PrimaryNetwork, inputs: &Inputs<'_>) -> Result<Attachment, PlanError> {
    let interface = inputs.sandbox.interface.clone();
    let mut attachment = match primary {
        PrimaryNetwork::OfNode(node) => node_attachment(node, Role::Primary, interface, inputs),
        PrimaryNetwork::OfPod(selected) => {
            Attachment { role: Role::Primary, ..selected_attachment(*selected, interface, inputs)? }
        }
    };
    // Only the primary gets what the kubelet asked for (NPWG 1.3, section 7.5).
    let mut runtime_config = without_annotations(&inputs.config.runtime_config);
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
    Attachment { runtime_config, device, device_info_file, ..attachment }
}

fn selected_attachment(
    selected: SelectedNetwork,
    interface: InterfaceName,
    inputs: &Inputs<'_>,
) -> Result<Attachment, PlanError> {
    let SelectedNetwork { selection, mut network, resource } = selected;
    check_capabilities(&selection, resource.as_ref(), &network, inputs.config.capability_policy)?;
    add_cni_args(&selection, &mut network)?;
    let device = selection.device_id.clone().map(|id| Device { resource, id });
    add_device(device.as_ref(), &mut network);
    let args = cni_args(&selection, &network, &inputs.sandbox.args);
    let device_info_file = device_info_file(&network, device.as_ref(), &interface, inputs);
    let attachment = Attachment::new(label(&selection), Role::Extra, interface, network, args);
    Ok(Attachment {
        runtime_config: runtime_config(&selection, device.as_ref(), device_info_file.as_deref()),
        asked_ips: selection.ips.iter().map(|address| address.ip()).collect(),
        asked_mac: selection.mac.map(|mac| mac.to_string()),
        default_route: selection.default_route,
        device,
        device_info_file,
        ..attachment
    })
}

/// The device-info file of an attachment: for a device of a resource, and for plugins that write one
/// unasked (Device Information Specification, section 5.1.1).
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

/// Whether the network can do what was asked (NPWG 1.3, sections 4.1.2.1.3 to 4.1.2.1.10).
fn check_capabilities(
    selection: &Selection,
    resource: Option<&String>,
    network: &NetworkConfig,
    policy: CapabilityPolicy,
) -> Result<(), PlanError> {
    let strict = policy == CapabilityPolicy::Strict;
    let asked = [
        ("ips", "ips", strict && !selection.ips.is_empty()),
        ("mac", "mac", strict && selection.mac.is_some()),
        ("infiniband-guid", "infinibandGUID", selection.infiniband_guid.is_some()),
        ("portMappings", "portMappings", !selection.port_mappings.is_empty()),
        ("bandwidth", "bandwidth", selection.bandwidth.is_some()),
        ("deviceID", DEVICE_ID_CAPABILITY, selection.device_id.is_some() && resource.is_none()),
    ];
    match asked.into_iter().find(|(_, capability, asked)| *asked && !network.declares(capability)) {
        Some((key, capability, _)) => {
            Err(PlanError::NoCapability { label: label(selection), key, capability })
        }
        None => Ok(()),
    }
}

fn runtime_config(
    selection: &Selection,
    device: Option<&Device>,
    device_info_file: Option<&Path>,
) -> Map<String, Value> {
    let mut arguments = Map::new();
    let mut set = |capability: &str, value: Option<Value>| {
        if let Some(value) = value {
            arguments.insert(capability.to_owned(), value);
        }
    };
    let list = |values: Vec<Value>| (!values.is_empty()).then_some(Value::Array(values));
    set("ips", list(selection.ips.iter().map(|address| address.to_value()).collect()));
    set("mac", selection.mac.map(|mac| mac.to_value()));
    set("infinibandGUID", selection.infiniband_guid.map(|guid| guid.to_value()));
    set("portMappings", list(selection.port_mappings.iter().map(|mapping| mapping.to_value()).collect()));
    set("bandwidth", selection.bandwidth.as_ref().map(|bandwidth| bandwidth.to_value()));
    arguments.extend(device_arguments(device, device_info_file));
    arguments
}

fn device_arguments(device: Option<&Device>, device_info_file: Option<&Path>) -> Map<String, Value> {
    let id = device.map(|device| (DEVICE_ID_CAPABILITY, device.id.clone()));
    let file = device_info_file.map(|file| (DEVICE_INFO_CAPABILITY, file.to_string_lossy().into_owned()));
    id.into_iter().chain(file).map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// `IP=` and `MAC=`, which Multus's users rely on for plugins that declare no capability.
fn cni_args(selection: &Selection, network: &NetworkConfig, args: &CniArgs) -> CniArgs {
    let mut pairs = Vec::new();
    // host-local fails on a list in `IP=`; where a plugin takes the capability, the list travels there.
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
    let merged = network.plugins.iter_mut().try_for_each(|plugin| plugin.merge_cni_args(&requested));
    merged.map_err(|source| PlanError::Args { label: label(selection), source })
}

/// Every plugin gets a device of a resource under the keys that Multus uses. A device that the pod itself
/// names is a capability argument alone: it must not replace one that the definition has fixed.
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

/// Capabilities that the primary takes and Braid's entry does not declare: the runtime will not send
/// them, and host ports vanish without a word. Newer runtimes take the list away before we see it.
fn undeclared_capabilities(config: &Config, primary: &PrimaryNetwork) -> Option<String> {
    let declared = config.declared_capabilities.as_ref()?;
    let network = match primary {
        PrimaryNetwork::OfNode(node) => &node.network,
        PrimaryNetwork::OfPod(selected) => &selected.network,
    };
    let wanted = network.plugins.iter().flat_map(|plugin| plugin.capabilities()).filter(|(_, on)| *on);
    let missing: BTreeSet<_> =
        wanted.map(|(name, _)| name).filter(|name| !declared.contains_key(*name)).collect();
    let list: Vec<_> = missing.into_iter().collect();
    (!list.is_empty()).then(|| {
        format!(
            "network \"{}\" takes capabilities that braid's configuration does not declare: add them to its \
             \"capabilities\", or the runtime will not send them: {}",
            network.name,
            list.join(", ")
        )
    })
}

impl Plan {
    /// Whether the pod must not run without a record: something is attached that the node's configuration
    /// does not tell.
    pub fn needs_record(&self) -> bool {
        self.has_own_primary || self.attachments.iter().any(|attachment| attachment.role == Role::Extra)
    }

    /// Holds the plan against the node: every plugin installed, every `master` there.
    ///
    /// # Errors
    /// [`PlanError::NotInstalled`], [`PlanError::NoMaster`].
    pub fn check_node(
        &self,
        installed: impl Fn(&PluginType) -> Result<(), crate::delegate::DelegateError>,
        has_interface: impl Fn(&str) -> bool,
    ) -> Result<(), PlanError> {
        for attachment in &self.attachments {
            for plugin in attachment.network.plugins.iter() {
                let ipam = plugin.ipam().and_then(|kind| kind.parse().ok());
                for kind in std::iter::once(plugin.kind.clone()).chain(ipam) {
                    installed(&kind).map_err(|source| PlanError::NotInstalled {
                        label: attachment.label.clone(),
                        source,
                    })?;
                }
            }
        }
        self.check_masters(has_interface)
    }

    /// Every `master` is there, or is a bridge that an earlier plugin of the plan makes.
    fn check_masters(&self, has_interface: impl Fn(&str) -> bool) -> Result<(), PlanError> {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        for attachment in &self.attachments {
            for plugin in &attachment.network.plugins {
                match host_master(plugin) {
                    Some(master) if !made.contains(master) && !has_interface(master) => {
                        return Err(PlanError::NoMaster {
                            label: attachment.label.clone(),
                            plugin: plugin.kind.clone(),
                            master: crate::cni::error::one_line(master, 64),
                        });
                    }
                    _ => made.extend(bridge_of(plugin)),
                }
            }
        }
        Ok(())
    }
}

/// The interface of the host that a plugin builds on. With `linkInContainer` it is in the sandbox, where
/// an earlier network may make it.
fn host_master(plugin: &PluginConfig) -> Option<&str> {
    let in_container = keys::get(plugin.object(), "linkInContainer").is_some_and(|value| *value == true);
    plugin.text("master").filter(|_| builds_on_master(plugin.kind.as_str()) && !in_container)
}

/// The bridge that a plugin makes where it is missing; `cni0` is the bridge plugin's own default.
fn bridge_of(plugin: &PluginConfig) -> Option<&str> {
    (plugin.kind.as_str() == "bridge").then(|| plugin.text("bridge").unwrap_or("cni0"))
}

fn builds_on_master(kind: &str) -> bool {
    matches!(kind, "macvlan" | "ipvlan" | "vlan" | "macvtap" | "bond")
}

#[cfg(test)]
mod tests;
