//! What plugins do with a device of the pod.

use cni::netconf::{NetworkConfig, PluginConfig};

use super::{facts, names_any};

/// The capability by which a plugin gets the device of a pod.
const DEVICE_ID_CAPABILITY: &str = "deviceID";

/// The domains of resources that mark nodes for the scheduler (bridge-marker, and the marker of
/// ovs-cni): the node's status has them, and no device plugin stands behind them.
const SCHEDULING_MARKERS: [&str; 2] = ["bridge.network.kubevirt.io", "ovs-cni.network.kubevirt.io"];

/// Whether the plugins of a network work with a device of the pod.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum DeviceUse {
    /// They do not read one.
    Never,
    /// They use one if they are given one, or it is not known.
    IfGiven,
    /// They fail without one, or would attach something else than the owner meant.
    Required,
}

/// What a plugin type does with a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceFact {
    /// It is not known.
    Unknown,
    /// It reads none, whatever it is given.
    None,
    /// It works on one, which the configuration can name under these keys.
    Needed(&'static [&'static str]),
}

/// Whether a network's chain works with a device: as its most demanding plugin does.
pub fn device_use(network: &NetworkConfig) -> DeviceUse {
    network.plugins.iter().map(plugin_device_use).max().unwrap_or(DeviceUse::IfGiven)
}

fn plugin_device_use(plugin: &PluginConfig) -> DeviceUse {
    match facts(plugin.kind.as_str()).map_or(DeviceFact::Unknown, |facts| facts.device) {
        _ if plugin.declares(DEVICE_ID_CAPABILITY) => DeviceUse::Required,
        DeviceFact::Needed(keys) if !names_any(plugin, keys) => DeviceUse::Required,
        DeviceFact::None => DeviceUse::Never,
        DeviceFact::Needed(_) | DeviceFact::Unknown => DeviceUse::IfGiven,
    }
}

/// Whether a resource only tells the scheduler which nodes have a bridge: the kubelet never lists a
/// device of it.
pub fn is_scheduling_marker(resource: &str) -> bool {
    let domain = resource.split_once('/').map(|(domain, _)| domain);
    domain.is_some_and(|domain| SCHEDULING_MARKERS.contains(&domain))
}
