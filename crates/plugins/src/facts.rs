//! What is known of plugin types, one [`Facts`] for each: what the plan, the policy, the teardown
//! and the hints of errors have to know of a plugin that they start. A type without facts is one of
//! which nothing is assumed.
//!
//! Those of a built-in plugin stand beside it ([`crate::BuiltIn::facts`]), those of others in
//! `known/`.

mod check;
mod device;
mod gateway;
mod host_interface;
mod shape;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::{Map, Value};

use cni::keys;
use cni::netconf::{NetworkConfig, PluginConfig};

use crate::rules::Keeper;

pub use self::check::{ConfigError, check_config, check_device};
pub use self::device::{DeviceFact, DeviceUse, device_use, is_scheduling_marker};
pub use self::gateway::{GatewayFact, gateway_bridge, is_routed};
pub use self::host_interface::{HostLinks, rename_host_interfaces};
pub use self::shape::{Key, Reach, Shape};

/// Where a plugin stands in a configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Position {
    /// In the chain.
    Chain,
    /// As the `ipam` of a plugin.
    Ipam,
}

/// What a plugin of one type does beside what its keys say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Property {
    /// It attaches networks as Braid does, so that one must not delegate to the other.
    MetaPlugin,
    /// It starts plugins that its configuration names.
    StartsPlugins,
    /// What it does for an attachment stays outside the node: in the API, in a daemon, in a device.
    StateOutsideNode,
    /// What it keeps on the host is the kernel's alone, and gone after a start of the node.
    HostStateOfBoot,
    /// It finds the network outside the node, by the network's name.
    NameOutsideNode,
    /// A tenant may use it, with its keys of [`Reach::Attachment`].
    OpenToTenants,
    /// It reads what a pod hands it in `args.cni` as it reads its own keys.
    ReadsKeysInArgs,
    /// It fails without a device.
    FailsWithoutDevice,
    /// IPAM: it gives out addresses that its configuration does not hold (`IP=` in `CNI_ARGS`).
    GivesAnyAddress,
    /// IPAM: it takes one address in `IP=` of `CNI_ARGS`, and fails on a list.
    OneAddressInArgs,
    /// IPAM: it takes back addresses that no pod's network status names.
    ReclaimsAddressesWithoutStatus,
    /// Its CHECK fails whatever it finds.
    CheckAlwaysFails,
    /// Its DEL does all that it has to if the interface is gone already.
    NeedsNoLinkOnDel,
    /// Its agent renames the other files of the runtime's configuration directory.
    RemovesOtherConfs,
}

/// The VLAN of a port whose configuration names none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VlanDefault {
    /// No VLAN.
    None,
    /// A missing key stands for 0, whose frames are those of the master's native VLAN.
    Zero(&'static str),
    /// A port with a trunk keeps VLAN 1 if no other is the native one.
    NativeOfTrunk,
}

/// What a plugin keeps on the host for one attachment after a failed ADD, and how to read whether
/// it is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HostState {
    /// Nothing beside interfaces of the sandbox, and their peers, which go with them.
    None,
    /// Rules of the packet filter: of each keeper, if its switch is on or it has none.
    Rules(&'static [(Option<&'static str>, Keeper)]),
    /// host-local's files, one for each address, with the container and the interface in them.
    Reservations,
    /// A file for the container and the interface, in the directory that the key names.
    File {
        /// The key.
        key: &'static str,
        /// The directory if it is missing.
        directory: &'static str,
    },
    /// A link of the host is moved into the sandbox. One key names it; it is not read which one the
    /// others mean.
    MovedLink {
        /// The key of the link's name.
        name: &'static str,
        /// The other keys that a link can be chosen by.
        others: &'static [&'static str],
    },
    /// A link of the host, which [`intermediate_device`] names.
    IntermediateDevice,
    /// It is not known, or cannot be read.
    Unknown,
}

/// A daemon without which a plugin fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Daemon {
    /// The key that names its socket.
    pub key: &'static str,
    /// The socket if it is missing.
    pub socket: &'static str,
}

/// What is known of one plugin type.
#[derive(Debug)]
pub struct Facts {
    /// The type.
    pub kind: &'static str,
    /// Where it stands.
    pub position: Position,
    /// What it does beside what its keys say.
    pub properties: &'static [Property],
    /// The keys of its own that it reads.
    pub keys: &'static [Key],
    /// Keys of which both or neither must be set: the second is owed if the first is.
    pub pairs: &'static [(&'static str, &'static str)],
    /// The key without which it chooses an interface of the host by itself.
    pub key_of_host_interface: Option<&'static str>,
    /// The key that names the interface of the host that it builds on.
    pub master: Option<&'static str>,
    /// The links of the host that it joins, if it lists them.
    pub host_links: Option<HostLinks>,
    /// Whether its `mtu` must not exceed the master's.
    pub mtu_within_master: bool,
    /// The key of the interface that it makes on the host if it is missing, and the name by
    /// default.
    pub makes: Option<(&'static str, &'static str)>,
    /// The VLAN of a port whose configuration names none.
    pub vlan_default: VlanDefault,
    /// What it does with a device.
    pub device: DeviceFact,
    /// Its daemon.
    pub daemon: Option<Daemon>,
    /// Whether the network's gateway is on the node.
    pub gateway: GatewayFact,
    /// The kernel's kind of the interface that it makes in the container, if its DEL does no more
    /// with it than to delete it.
    pub deletes: Option<&'static str>,
    /// What it keeps on the host.
    pub host_state: HostState,
    /// Words of its failures, in lower case, and what to do about each.
    pub failures: &'static [(&'static str, &'static str)],
}

impl Facts {
    /// A plugin of the chain of which nothing is known but its type.
    pub(crate) const fn chain(kind: &'static str) -> Self {
        Self {
            kind,
            position: Position::Chain,
            properties: &[],
            keys: &[],
            pairs: &[],
            key_of_host_interface: None,
            master: None,
            host_links: None,
            mtu_within_master: false,
            makes: None,
            vlan_default: VlanDefault::None,
            device: DeviceFact::Unknown,
            daemon: None,
            gateway: GatewayFact::None,
            deletes: None,
            host_state: HostState::Unknown,
            failures: &[],
        }
    }

    /// An IPAM plugin of which nothing is known but its type.
    pub(crate) const fn ipam(kind: &'static str) -> Self {
        Self { position: Position::Ipam, ..Self::chain(kind) }
    }

    /// Whether it has a property.
    pub fn has(&self, property: Property) -> bool {
        self.properties.contains(&property)
    }

    /// Its key, by the name that the plugin's documentation has, at any depth.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        shape::find(self.keys, name)
    }

    /// Whether a tenant's plugin may carry the key, spelt exactly so: it shapes the attachment
    /// alone.
    pub fn opens_to_tenants(&self, key: &str) -> bool {
        self.key(key).is_some_and(|key| key.reach == Reach::Attachment)
    }
}

/// All types of which something is known.
pub fn all() -> impl Iterator<Item = &'static Facts> {
    crate::built_ins().map(crate::BuiltIn::facts).chain(crate::known::all())
}

/// What is known of a plugin type.
pub fn facts(kind: &str) -> Option<&'static Facts> {
    all().find(|facts| facts.kind == kind)
}

/// Whether a type is known to have a property.
pub fn has(kind: &str, property: Property) -> bool {
    facts(kind).is_some_and(|facts| facts.has(property))
}

/// What a key of this name means to the plugins that have it: of a plugin without facts, the same
/// is assumed.
pub fn any_has(position: Position, key: &str, is_meant: impl Fn(Shape) -> bool) -> bool {
    let mut keys =
        all().filter(|facts| facts.position == position).filter_map(|facts| facts.key(key));
    keys.any(|key| is_meant(key.shape))
}

/// Whether any plugin takes a key of this name for an interface of the host.
pub fn names_host_interface(key: &str) -> bool {
    any_has(Position::Chain, key, |shape| matches!(shape, Shape::HostInterface))
}

/// Whether any plugin of the chain is one of Braid's own kind, which must not be delegated to.
pub fn has_meta_plugin(network: &NetworkConfig) -> bool {
    network.plugins.iter().any(|plugin| has(plugin.kind.as_str(), Property::MetaPlugin))
}

/// Whether the chain holds a plugin of a property.
pub fn chain_has(network: &NetworkConfig, property: Property) -> bool {
    network.plugins.iter().any(|plugin| has(plugin.kind.as_str(), property))
}

/// Whether a plugin of the chain has its addresses from an IPAM plugin of a property.
pub fn ipam_has(network: &NetworkConfig, property: Property) -> bool {
    network.plugins.iter().filter_map(PluginConfig::ipam).any(|kind| has(kind, property))
}

/// Whether the plugin's configuration names something under one of the keys.
pub fn names_any(plugin: &PluginConfig, keys: &[&str]) -> bool {
    keys.iter().any(|key| plugin.text(key).is_some())
}

/// The interface of the host that a plugin builds on. With `linkInContainer` it is in the sandbox,
/// where an earlier network may make it.
pub fn host_master(plugin: &PluginConfig) -> Option<&str> {
    let in_container =
        keys::get(plugin.object(), "linkInContainer").is_some_and(|value| *value == true);
    let key = facts(plugin.kind.as_str())?.master?;
    plugin.text(key).filter(|_| !in_container)
}

/// The MTU of a plugin that must not exceed its master's.
pub fn mtu_within_master(plugin: &PluginConfig) -> Option<u64> {
    facts(plugin.kind.as_str()).filter(|facts| facts.mtu_within_master)?;
    keys::get(plugin.object(), "mtu")?.as_u64()
}

/// The interface of the host that a plugin moves into the sandbox, with the key that names it;
/// `None` if another key may choose it.
pub fn moved_link(plugin: &PluginConfig) -> Option<(&'static str, &str)> {
    let HostState::MovedLink { name, others } = facts(plugin.kind.as_str())?.host_state else {
        return None;
    };
    let device = plugin.text(name).filter(|_| !names_any(plugin, others))?;
    Some((name, device))
}

/// The link of the host that limits what a container sends to a network (bandwidth).
pub fn intermediate_device(network: &str, container: &str) -> String {
    crate::meta::device_name(network, container)
}

/// The interface that a plugin makes on the host if it is missing.
pub fn made_on_host(plugin: &PluginConfig) -> Option<&str> {
    let (key, default) = facts(plugin.kind.as_str())?.makes?;
    Some(plugin.text(key).unwrap_or(default))
}

/// The daemon of the IPAM plugin that a plugin has its addresses from, and the socket that it
/// listens at.
pub fn daemon_socket(plugin: &PluginConfig) -> Option<(&Daemon, &Path)> {
    let daemon = facts(plugin.ipam()?)?.daemon.as_ref()?;
    let ipam = keys::get(plugin.object(), "ipam")?;
    Some((daemon, Path::new(keys::get_text(ipam, daemon.key).unwrap_or(daemon.socket))))
}

/// The configuration of the IPAM plugin that a plugin has its addresses from.
pub fn ipam_object(plugin: &PluginConfig) -> Option<&Map<String, Value>> {
    keys::get(plugin.object(), "ipam").and_then(Value::as_object)
}

/// What keeps rules on the host for an attachment of this plugin.
pub fn keepers(plugin: &PluginConfig) -> impl Iterator<Item = Keeper> {
    let state = facts(plugin.kind.as_str()).map(|facts| facts.host_state);
    let keepers: &[_] = match state {
        Some(HostState::Rules(keepers)) => keepers,
        _ => &[],
    };
    let is_on = |switch: &Option<&str>| switch.is_none_or(|key| has_switch(plugin, key));
    keepers.iter().filter(move |(switch, _)| is_on(switch)).map(|(_, keeper)| *keeper)
}

/// Whether any spelling of the key is true: which of several a plugin reads depends on their order.
pub(crate) fn has_switch(plugin: &PluginConfig, key: &str) -> bool {
    plugin.object().iter().any(|(name, value)| keys::is_same(name, key) && *value == true)
}

/// Failures of the library that most plugins are made with: words in lower case, and what to do.
const COMMON_FAILURES: &[(&str, &str)] = &[
    (
        "ipam plugin returned missing ip config",
        "give the \"ipam\" of the definition addresses, or ask for \"ips\" if it declares that \
         capability",
    ),
    (
        "incompatible cni versions",
        "lower \"cniVersion\" in the definition, or have a newer plugin installed",
    ),
    ("prevresult", BEHIND),
    ("must be called as chained plugin", BEHIND),
];

const BEHIND: &str =
    "put it behind the plugin that makes the interface, in \"plugins\" of the definition";

/// Every failure that is known, as words and what to do. The sentence of an IPAM plugin comes from
/// the plugin that has started it, so that the type does not tell whose failures to look for.
pub fn failures() -> impl Iterator<Item = (&'static str, &'static str)> {
    all().flat_map(|facts| facts.failures).chain(COMMON_FAILURES).copied()
}
