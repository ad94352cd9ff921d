//! Why there is no plan.

use super::MAX_BYTES;
use crate::delegate::DelegateError;
use cni::name::InterfaceName;
use cni::netconf::{NetconfError, PluginType};
use plugins::facts::ConfigError;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// An interface name is taken.
    #[error(
        "network \"{label}\" cannot have interface \"{interface}\": {reason}; choose another name"
    )]
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
         \"capabilities\": {{\"{capability}\": true}} to the plugin that does it, or leave \
         \"{key}\" out"
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
        "the default-network annotation and network \"{0}\" both have \"default-route\": only one \
         attachment may"
    )]
    TwoDefaultRoutes(String),
    /// A network of the running pod has the default route.
    #[error(
        "network \"{label}\" cannot have the default route: network \"{other}\" on {interface} has \
         it; leave \"default-route\" out, or detach {interface} first"
    )]
    DefaultRouteTaken {
        /// The network that asks for it.
        label: String,
        /// The one that has it.
        other: String,
        /// Its interface.
        interface: InterfaceName,
    },
    /// A plugin is not there.
    #[error("network \"{label}\": {source}")]
    NotInstalled {
        /// The network.
        label: String,
        /// Which plugin, and where it was looked for.
        #[source]
        source: DelegateError,
    },
    /// The host interface that a network builds on is not there.
    #[error(
        "network \"{label}\": plugin \"{plugin}\" builds on interface \"{master}\", which this \
         node does not have; correct \"master\" in the definition, or give it an interface of this \
         node in \"nodeInterfaces\""
    )]
    NoMaster {
        /// The network.
        label: String,
        /// The plugin.
        plugin: PluginType,
        /// The interface.
        master: String,
    },
    /// The dhcp plugin has no daemon.
    #[error(
        "network \"{label}\": the daemon of plugin \"dhcp\" is not running on this node: {socket} \
         is missing; start it (dhcp daemon)"
    )]
    NoDaemon {
        /// The network.
        label: String,
        /// Where it should listen.
        socket: &'static str,
    },
    /// The record of the pod would be too large.
    #[error(
        "the pod's networks have more than {} MiB of configuration together: ask for fewer \
         networks, or have the definition of \"{largest}\" shortened", MAX_BYTES >> 20
    )]
    TooLarge {
        /// The network that has most of it.
        largest: String,
    },
    /// A plugin cannot work with its configuration.
    #[error("network \"{label}\": {source}")]
    Config {
        /// The network.
        label: String,
        /// What is wrong, and what to write.
        #[source]
        source: ConfigError,
    },
    /// An MTU exceeds that of the interface that the network builds on.
    #[error(
        "network \"{label}\": plugin \"{plugin}\" cannot have {mtu} for \"mtu\", since interface \
         \"{master}\" has {most}: write {most} or less, or leave it out"
    )]
    MtuAboveMaster {
        /// The network.
        label: String,
        /// The plugin.
        plugin: PluginType,
        /// The MTU.
        mtu: u64,
        /// The interface of the host.
        master: String,
        /// Its MTU.
        most: u32,
    },
    /// The interface that a network moves into the pod is not there.
    #[error(
        "network \"{label}\": plugin \"{plugin}\" moves interface \"{device}\" into the pod, which \
         this node does not have, or another pod has: correct \"{key}\" in the definition, or wait \
         for the other pod to go"
    )]
    NoDevice {
        /// The network.
        label: String,
        /// The plugin.
        plugin: PluginType,
        /// The key that names it.
        key: &'static str,
        /// The interface.
        device: String,
    },
    /// A network would start Braid again.
    #[error("network \"{0}\" has braid or multus in its chain, which cannot be delegated to")]
    Recursive(String),
}
