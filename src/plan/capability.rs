//! What networks can do by the capabilities that their plugins declare (CNI 1.1.0, section 3,
//! "Deriving runtimeConfig"), and the arguments that they get by them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Device, PlanError, PrimaryNetwork, label};
use crate::config::{CapabilityPolicy, Config};
use crate::device::{DEVICE_ID_CAPABILITY, DEVICE_INFO_CAPABILITY};
use crate::selection::Selection;
use cni::netconf::NetworkConfig;

/// Whether the network can do what was asked (NPWG 1.3, sections 4.1.2.1.3 to 4.1.2.1.10).
pub(super) fn check_capabilities(
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

pub(super) fn runtime_config(
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
    set(
        "portMappings",
        list(selection.port_mappings.iter().map(|mapping| mapping.to_value()).collect()),
    );
    set("bandwidth", selection.bandwidth.as_ref().map(|bandwidth| bandwidth.to_value()));
    arguments.extend(device_arguments(device, device_info_file));
    arguments
}

pub(super) fn device_arguments(
    device: Option<&Device>,
    device_info_file: Option<&Path>,
) -> Map<String, Value> {
    let id = device.map(|device| (DEVICE_ID_CAPABILITY, device.id.clone()));
    let file =
        device_info_file.map(|file| (DEVICE_INFO_CAPABILITY, file.to_string_lossy().into_owned()));
    id.into_iter().chain(file).map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// Capabilities that the primary takes and Braid's entry does not declare: the runtime will not
/// send them, and host ports vanish without a word. Newer runtimes take the list away before we see
/// it.
pub(super) fn undeclared_capabilities(config: &Config, primary: &PrimaryNetwork) -> Option<String> {
    let declared = config.from_runtime.declared_capabilities.as_ref()?;
    let network = match primary {
        PrimaryNetwork::OfNode(node) => &node.network,
        PrimaryNetwork::OfPod(selected) => &selected.network,
    };
    let wanted =
        network.plugins.iter().flat_map(|plugin| plugin.capabilities()).filter(|(_, on)| *on);
    let missing: BTreeSet<_> =
        wanted.map(|(name, _)| name).filter(|name| !declared.contains_key(*name)).collect();
    let list: Vec<_> = missing.into_iter().collect();
    (!list.is_empty()).then(|| {
        format!(
            "network \"{}\" takes capabilities that braid's configuration does not declare: add \
             them to its \"capabilities\", or the runtime will not send them: {}",
            network.name,
            list.join(", ")
        )
    })
}
