//! The fence around a tenant's definition: what the configuration of a network may say that no one
//! but its tenant has looked at.
//!
//! It is made of allow-lists, not of a search for bad words: plugin types, their keys at every
//! depth, host interfaces, subnets. What was judged is what runs, because Braid hands plugins the
//! configuration that it has read, without the second of two equal keys or a spelling that only a
//! plugin would understand.

mod error;
mod vlan;

pub(super) use error::FenceError;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::naming::{Naming, naming};
use super::plugins::{Table, is_delegating};
use super::request;
use super::rules::Policy;
use super::{Case, Refusal};
use crate::definition::Definition;
use crate::pod::name::Namespace;
use cni::keys;
use cni::name::InterfaceName;
use cni::netconf::NetworkConfig;
use cni::quoted::Quoted;
use plugins::facts::{self, Facts, Position, Shape, VlanDefault};

/// The largest configuration of a tenant's, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;

/// Holds a tenant's definition, and the arguments that a pod hands it, against the fence.
///
/// # Errors
/// [`Refusal::Definition`], [`Refusal::Device`], [`Refusal::Arguments`].
pub(super) fn check(case: &Case<'_>, policy: &Policy) -> Result<(), Refusal> {
    let owner = &case.selection.namespace;
    let fence = Fence { policy, owner };
    fence
        .check(case.definition, case.selection.name.as_str())
        .map_err(|problem| Refusal::Definition { network: case.network(), problem })?;
    if case.selection.device_id.is_some() && case.definition.resource().is_none() {
        return Err(Refusal::Device { network: case.network() });
    }
    let arguments = case.selection.cni_args.iter().flatten();
    fence
        .check_arguments(case.definition, arguments)
        .map_err(|problem| Refusal::Arguments { network: case.network(), problem })
}

/// The fence for the definitions of one namespace.
struct Fence<'a> {
    policy: &'a Policy,
    owner: &'a Namespace,
}

/// The plugin whose configuration is being walked.
#[derive(Clone, Copy)]
struct Plugin<'p> {
    kind: &'p str,
    table: Table<'p>,
    position: Position,
}

impl Plugin<'_> {
    fn quoted(&self) -> Quoted {
        Quoted::text(self.kind)
    }

    fn facts(&self) -> Option<&'static Facts> {
        plugins::facts(self.kind)
    }

    /// Whether the key means that, to this plugin or to another at its position.
    fn means(&self, key: &str, is_meant: fn(Shape) -> bool) -> bool {
        facts::any_has(self.position, key, is_meant)
    }

    fn own_shape(&self, key: &str) -> Option<Shape> {
        Some(self.facts()?.key(key)?.shape)
    }

    fn vlan_default(&self) -> VlanDefault {
        self.facts().map_or(VlanDefault::None, |facts| facts.vlan_default)
    }

    fn wrong(&self, key: &str, value: &Value, rule: &'static str) -> FenceError {
        FenceError::Value {
            plugin: self.quoted(),
            key: Quoted::text(key),
            value: Quoted::value(value),
            rule,
        }
    }
}

impl Fence<'_> {
    fn check(&self, definition: &Definition, name: &str) -> Result<(), FenceError> {
        if definition.bytes > MAX_BYTES {
            return Err(FenceError::Size(definition.bytes));
        }
        self.check_name(&definition.network, name)?;
        let mut plugins = definition.network.plugins.iter();
        plugins.try_for_each(|plugin| self.check_plugin(plugin.object(), Position::Chain))
    }

    /// Plugins read `args.cni` as they read their own keys, `tuning` its sysctls for one: a pod
    /// hands them nothing there that the definition could not say. What has rules of its own,
    /// addresses for one, is judged by them.
    fn check_arguments<'a>(
        &self,
        definition: &Definition,
        mut arguments: impl Iterator<Item = (&'a String, &'a Value)>,
    ) -> Result<(), FenceError> {
        let chain = definition.network.plugins.iter().map(|plugin| plugin.kind.as_str());
        let plugin = |kind| {
            let table = self.policy.plugins().table(kind, Position::Chain)?;
            Some(Plugin { kind, table, position: Position::Chain })
        };
        let plugins: Vec<Plugin<'_>> = chain.filter_map(plugin).collect();
        arguments.try_for_each(|(key, value)| {
            let mut readers = plugins.iter().filter(|plugin| plugin.table.allows(key)).peekable();
            match readers.peek() {
                _ if request::has_rules(key) => Ok(()),
                None => Err(FenceError::Argument(Quoted::text(key))),
                Some(_) => readers.try_for_each(|plugin| self.check_member(*plugin, key, value)),
            }
        })
    }

    /// A name that is another namespace's too is scoped; one that cannot be is refused.
    fn check_name(&self, network: &NetworkConfig, definition: &str) -> Result<(), FenceError> {
        match naming(network, self.owner) {
            Naming::Own | Naming::Scoped(_) => Ok(()),
            Naming::Fixed => Err(FenceError::Name {
                name: Quoted::text(network.name.as_str()),
                namespace: self.owner.clone(),
                example: definition.to_owned(),
            }),
        }
    }

    fn check_plugin(
        &self,
        object: &Map<String, Value>,
        position: Position,
    ) -> Result<(), FenceError> {
        let kind = object.get("type").and_then(Value::as_str);
        let kind = kind.ok_or_else(|| FenceError::Type(Quoted::text("")))?;
        let Some(table) = self.policy.plugins().table(kind, position) else {
            let kind_shown = Quoted::text(kind);
            return Err(if is_delegating(kind) {
                FenceError::Delegating(kind_shown)
            } else {
                FenceError::Plugin(kind_shown)
            });
        };
        let plugin = Plugin { kind, table, position };
        let required = plugin.facts().and_then(|facts| facts.key_of_host_interface);
        if let Some(key) = required.filter(|key| !names_something(object, key)) {
            return Err(FenceError::Missing { plugin: plugin.quoted(), key });
        }
        object.iter().try_for_each(|(key, value)| self.check_member(plugin, key, value))?;
        self.check_native_vlan(plugin, object)
    }

    fn check_member(&self, plugin: Plugin<'_>, key: &str, value: &Value) -> Result<(), FenceError> {
        if !plugin.table.allows(key) {
            return Err(FenceError::Key { plugin: plugin.quoted(), key: Quoted::text(key) });
        }
        match (key, value) {
            ("ipam", Value::Object(ipam)) if ipam.is_empty() => Ok(()),
            ("ipam", Value::Object(ipam)) => self.check_plugin(ipam, Position::Ipam),
            ("ipam", _) => Err(plugin.wrong(key, value, "an object")),
            ("capabilities", _) => check_capabilities(plugin, value),
            _ if plugin.means(key, |shape| matches!(shape, Shape::Vlan)) => {
                self.check_vlan(plugin, key, value)
            }
            _ if plugin.means(key, |shape| matches!(shape, Shape::VlanTrunk(_))) => {
                self.check_trunk(plugin, key, value)
            }
            _ => match (plugin.own_shape(key), value) {
                (Some(Shape::Sysctls), _) => check_sysctls(plugin, value),
                (Some(Shape::Word { exclusive, .. }), Value::String(mode))
                    if exclusive.contains(&mode.as_str()) =>
                {
                    Err(plugin.wrong(key, value, "a mode that shares the interface"))
                }
                _ => self.check_value(plugin, key, value),
            },
        }
    }

    fn check_value(&self, plugin: Plugin<'_>, key: &str, value: &Value) -> Result<(), FenceError> {
        match value {
            Value::Object(object) if object.keys().any(|key| keys::is_same(key, "type")) => {
                self.check_plugin(object, Position::Chain)
            }
            Value::Object(object) => {
                object.iter().try_for_each(|(key, value)| self.check_member(plugin, key, value))
            }
            Value::Array(list) => {
                list.iter().try_for_each(|value| self.check_value(plugin, key, value))
            }
            _ if facts::names_host_interface(key) => self.check_host_interface(plugin, key, value),
            _ if plugin.position == Position::Ipam && plugin.means(key, Shape::is_address) => {
                self.check_address(plugin, key, value)
            }
            Value::String(text) => self.check_text(plugin, text),
            _ => Ok(()),
        }
    }

    fn check_host_interface(
        &self,
        plugin: Plugin<'_>,
        key: &str,
        value: &Value,
    ) -> Result<(), FenceError> {
        let name = value.as_str().unwrap_or_default();
        if name.parse::<InterfaceName>().is_ok()
            && self.policy.allows_host_interface(self.owner, name)
        {
            return Ok(());
        }
        let (plugin, value) = (plugin.quoted(), Quoted::value(value));
        Err(FenceError::HostInterface { plugin, key: key.to_owned(), value })
    }

    /// A value that must be an address, a network, or a range of addresses.
    fn check_address(
        &self,
        plugin: Plugin<'_>,
        key: &str,
        value: &Value,
    ) -> Result<(), FenceError> {
        let networks = value.as_str().and_then(networks);
        let networks =
            networks.ok_or_else(|| plugin.wrong(key, value, "an address or a network"))?;
        self.check_networks(plugin, value.as_str().unwrap_or_default(), &networks)
    }

    /// Any other text: if it is an address after all, it must be an allowed one.
    fn check_text(&self, plugin: Plugin<'_>, text: &str) -> Result<(), FenceError> {
        networks(text.trim())
            .map_or(Ok(()), |networks| self.check_networks(plugin, text, &networks))
    }

    fn check_networks(
        &self,
        plugin: Plugin<'_>,
        text: &str,
        networks: &[IpNetwork],
    ) -> Result<(), FenceError> {
        if networks.iter().all(|network| self.policy.allows_subnet(self.owner, *network)) {
            return Ok(());
        }
        let (plugin, value) = (plugin.quoted(), Quoted::text(text));
        Err(FenceError::Subnet { plugin, value, namespace: self.owner.clone() })
    }
}

fn names_something(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).and_then(Value::as_str).is_some_and(|name| !name.is_empty())
}

/// The networks that an address, a network or a range such as `10.0.0.5-10.0.0.9/24` is in; `None`
/// for all else, addresses included that Go and Rust read differently.
fn networks(text: &str) -> Option<Vec<IpNetwork>> {
    let parts = text.split('-').map(|part| part.trim().parse::<IpNetwork>().ok().filter(is_plain));
    parts.take(3).collect::<Option<Vec<_>>>().filter(|networks| networks.len() < 3)
}

fn is_plain(network: &IpNetwork) -> bool {
    !matches!(network, IpNetwork::V6(network) if network.ip().to_ipv4_mapped().is_some())
}

fn check_capabilities(plugin: Plugin<'_>, value: &Value) -> Result<(), FenceError> {
    match value {
        Value::Object(declared) if declared.values().all(Value::is_boolean) => Ok(()),
        _ => Err(plugin.wrong("capabilities", value, "an object of true and false")),
    }
}

/// `tuning` writes below /proc/sys in the pod's namespace, where much is the kernel's alone or
/// belongs to the pod's other interfaces.
fn check_sysctls(plugin: Plugin<'_>, value: &Value) -> Result<(), FenceError> {
    const RULE: &str = "texts under names like \"net.ipv4.conf.IFNAME.arp_filter\"";
    let Value::Object(sysctls) = value else { return Err(plugin.wrong("sysctl", value, RULE)) };
    match sysctls.iter().find(|(name, value)| !is_own_sysctl(name) || !value.is_string()) {
        Some((name, value)) => Err(plugin.wrong(name, value, RULE)),
        None => Ok(()),
    }
}

/// Whether a sysctl is of the attachment's own interface, which `tuning` calls `IFNAME`.
fn is_own_sysctl(name: &str) -> bool {
    let is_leaf = |leaf: &str| {
        !leaf.is_empty()
            && leaf.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    match name.split('.').collect::<Vec<_>>().as_slice() {
        ["net", "ipv4" | "ipv6" | "mpls", "conf" | "neigh", "IFNAME", leaf] => is_leaf(leaf),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
