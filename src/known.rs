//! What is known of plugins that are not Braid's own, and that the plan depends on: facts by type, as the plugins'
//! own documentation has them.

use serde_json::Value;

use crate::device::DEVICE_ID_CAPABILITY;
use cni::keys;
use cni::netconf::{NetworkConfig, PluginConfig};

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

/// The plugins that work on a device, each with the keys by which a configuration can name one itself.
const DEVICE_PLUGINS: [(&str, &[&str]); 8] = [
    ("sriov", &["deviceID"]),
    ("ib-sriov", &["deviceID"]),
    ("accelerated-bridge", &["deviceID"]),
    ("host-device", &["device", "hwaddr", "kernelpath", "pciBusID"]),
    ("vdpa", &["deviceID"]),
    ("rdma", &["deviceID"]),
    ("userspace", &["deviceID"]),
    ("dpdk", &["deviceID", "pciBusID"]),
];

/// The plugins that read no device, whatever they are given.
const DEVICELESS_PLUGINS: [&str; 18] = [
    "bandwidth",
    "bond",
    "bridge",
    "cnv-bridge",
    "cnv-tuning",
    "dummy",
    "firewall",
    "ipvlan",
    "loopback",
    "macvlan",
    "macvtap",
    "portmap",
    "ptp",
    "sbr",
    "tap",
    "tuning",
    "vlan",
    "vrf",
];

/// The domains of resources that mark nodes for the scheduler (bridge-marker, and the marker of ovs-cni): the node's
/// status has them, and no device plugin stands behind them.
const SCHEDULING_MARKERS: [&str; 2] = ["bridge.network.kubevirt.io", "ovs-cni.network.kubevirt.io"];

/// The plugins for which a network's name is one of the whole cluster's: OVN-Kubernetes finds a network by it.
const NAME_OUTSIDE_NODE: [&str; 1] = ["ovn-k8s-cni-overlay"];

/// Whether a plugin of the chain looks the network up outside the node, by its name.
pub fn name_has_meaning_elsewhere(network: &NetworkConfig) -> bool {
    network.plugins.iter().any(|plugin| NAME_OUTSIDE_NODE.contains(&plugin.kind.as_str()))
}

/// Whether a network's chain works with a device: as its most demanding plugin does.
pub fn device_use(network: &NetworkConfig) -> DeviceUse {
    network.plugins.iter().map(plugin_device_use).max().unwrap_or(DeviceUse::IfGiven)
}

fn plugin_device_use(plugin: &PluginConfig) -> DeviceUse {
    let kind = plugin.kind.as_str();
    let own_keys = DEVICE_PLUGINS.iter().find(|(name, _)| *name == kind).map(|(_, keys)| *keys);
    match own_keys {
        _ if plugin.declares(DEVICE_ID_CAPABILITY) => DeviceUse::Required,
        Some(own_keys) if !names_device(plugin, own_keys) => DeviceUse::Required,
        None if DEVICELESS_PLUGINS.contains(&kind) => DeviceUse::Never,
        _ => DeviceUse::IfGiven,
    }
}

fn names_device(plugin: &PluginConfig, own_keys: &[&str]) -> bool {
    let value = |key: &&str| keys::get(plugin.object(), key).and_then(Value::as_str);
    own_keys.iter().filter_map(value).any(|value| !value.is_empty())
}

/// Whether a resource only tells the scheduler which nodes have a bridge: the kubelet never lists a device of it.
pub fn is_scheduling_marker(resource: &str) -> bool {
    let domain = resource.split_once('/').map(|(domain, _)| domain);
    domain.is_some_and(|domain| SCHEDULING_MARKERS.contains(&domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::netconf::Missing;
    use serde_json::json;

    fn use_of(plugins: Value) -> DeviceUse {
        let value = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins});
        device_use(&NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap())
    }

    #[test]
    fn a_chain_needs_what_its_most_demanding_plugin_needs() {
        let on = json!({"deviceID": true});
        let table = [
            (json!([{"type": "bridge"}]), DeviceUse::Never),
            (json!([{"type": "cnv-bridge"}, {"type": "cnv-tuning"}]), DeviceUse::Never),
            (json!([{"type": "ovs"}]), DeviceUse::IfGiven),
            (json!([{"type": "vendor"}, {"type": "tuning"}]), DeviceUse::IfGiven),
            (json!([{"type": "sriov"}, {"type": "tuning"}]), DeviceUse::Required),
            (json!([{"type": "bridge"}, {"type": "rdma"}]), DeviceUse::Required),
            (json!([{"type": "vendor", "capabilities": on}]), DeviceUse::Required),
            (json!([{"type": "bridge", "capabilities": on}]), DeviceUse::Required),
            (json!([{"type": "vendor", "capabilities": {"deviceID": false}}]), DeviceUse::IfGiven),
        ];
        for (plugins, expected) in table {
            assert_eq!(use_of(plugins.clone()), expected, "{plugins}");
        }
    }

    #[test]
    fn a_configuration_that_names_its_device_is_owed_none() {
        let table = [
            (json!([{"type": "host-device"}]), DeviceUse::Required),
            (json!([{"type": "host-device", "device": ""}]), DeviceUse::Required),
            (json!([{"type": "host-device", "device": "ens5"}]), DeviceUse::IfGiven),
            (json!([{"type": "host-device", "kernelpath": "/sys/devices/x"}]), DeviceUse::IfGiven),
            (json!([{"type": "sriov", "DeviceID": "0000:03:02.1"}]), DeviceUse::IfGiven),
            (json!([{"type": "sriov", "device": "ens5"}]), DeviceUse::Required),
        ];
        for (plugins, expected) in table {
            assert_eq!(use_of(plugins.clone()), expected, "{plugins}");
        }
    }

    #[test]
    fn markers_are_known_by_their_domain() {
        let table = [
            ("bridge.network.kubevirt.io/br1", true),
            ("ovs-cni.network.kubevirt.io/br1", true),
            ("devices.kubevirt.io/kvm", false),
            ("bridge.network.kubevirt.io", false),
            ("nic.example.com/bridge.network.kubevirt.io", false),
        ];
        for (resource, expected) in table {
            assert_eq!(is_scheduling_marker(resource), expected, "{resource}");
        }
    }
}
