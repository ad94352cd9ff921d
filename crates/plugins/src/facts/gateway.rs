//! Whether a network's gateway is on the node, and where.

use cni::keys;
use cni::netconf::PluginConfig;

use super::{facts, has_switch};

/// Whether a network's gateway is on the node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GatewayFact {
    /// It is not, or is not known to be.
    None,
    /// The node has a route to each pod alone.
    RoutePerPod,
    /// The same, if `mode` is one of these.
    RoutePerPodInModes(&'static [&'static str]),
    /// A bridge of the host has the gateway's address if one of these switches is on. Its name, and
    /// a VLAN's, is in the plugin's own configuration.
    OnBridge {
        /// The switches.
        switches: &'static [&'static str],
        /// The bridge if the configuration names none.
        default: &'static str,
    },
    /// A bridge of the host has it, which the configuration of a delegate names.
    OnDelegatesBridge {
        /// The key of the delegate's configuration.
        delegate: &'static str,
        /// The bridge if that names none.
        default: &'static str,
    },
}

/// Whether the network's gateway may be on the node because of this plugin.
pub fn is_routed(plugin: &PluginConfig) -> bool {
    match facts(plugin.kind.as_str()).map_or(GatewayFact::None, |facts| facts.gateway) {
        GatewayFact::None => false,
        GatewayFact::RoutePerPod | GatewayFact::OnDelegatesBridge { .. } => true,
        GatewayFact::RoutePerPodInModes(modes) => {
            plugin.text("mode").is_some_and(|mode| modes.contains(&mode))
        }
        GatewayFact::OnBridge { switches, .. } => {
            switches.iter().any(|key| has_switch(plugin, key))
        }
    }
}

/// The bridge of the host that has the gateway's address, if the network's gateway is on one.
pub fn gateway_bridge(plugin: &PluginConfig) -> Option<&str> {
    match facts(plugin.kind.as_str())?.gateway {
        GatewayFact::OnBridge { default, .. } => Some(plugin.text("bridge").unwrap_or(default)),
        GatewayFact::OnDelegatesBridge { delegate, default } => {
            let delegate = keys::get(plugin.object(), delegate);
            Some(
                delegate.and_then(|delegate| keys::get_text(delegate, "bridge")).unwrap_or(default),
            )
        }
        GatewayFact::None | GatewayFact::RoutePerPod | GatewayFact::RoutePerPodInModes(_) => None,
    }
}
