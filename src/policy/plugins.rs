//! What a plugin in a tenant's definition may carry: an allow-list of keys for each type.
//!
//! The tables are the facts of each type ([`plugins::facts`]): they open what shapes the attachment
//! itself. The rest reaches for the node: files (`dataDir`, `resolvConf`, `log_file`), credentials,
//! sockets, masquerading, promiscuous bridges, interfaces of other namespaces. A key that no facts
//! know is not allowed, whatever it means.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::rules::{PolicyError, wrong};
use cni::netconf::PluginType;
use plugins::facts::{self, Facts, Position, Property};

/// Keys of every plugin: the protocol's own.
const PLUGIN_KEYS: [&str; 6] =
    ["type", "name", "cniVersion", "cniVersions", "capabilities", "ipam"];

/// What `policy.allowedPlugins` says of a type.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    /// `true`: the built-in table.
    BuiltIn,
    /// `false`: not allowed.
    Never,
    /// These keys.
    Keys(BTreeSet<String>),
}

/// What tenants' plugins may carry: the built-in tables, and what the administrator says in their
/// place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plugins(BTreeMap<String, Entry>);

/// The keys of one plugin.
#[derive(Clone, Copy, Debug)]
pub enum Table<'p> {
    /// The keys that the type's facts open, with those of the protocol.
    BuiltIn(&'static Facts),
    /// The administrator's list, with the protocol's own keys.
    Listed(&'p BTreeSet<String>),
}

impl Table<'_> {
    /// Whether the plugin may carry `key`, spelt exactly so.
    pub fn allows(&self, key: &str) -> bool {
        match self {
            Self::BuiltIn(facts) => {
                facts.opens_to_tenants(key)
                    || match facts.position {
                        Position::Chain => PLUGIN_KEYS.contains(&key),
                        Position::Ipam => key == "type",
                    }
            }
            Self::Listed(keys) => keys.contains(key) || PLUGIN_KEYS.contains(&key),
        }
    }
}

impl Plugins {
    /// What a plugin of type `kind` may carry at `position`; `None` if it is not allowed.
    pub fn table(&self, kind: &str, position: Position) -> Option<Table<'_>> {
        match self.0.get(kind) {
            _ if is_delegating(kind) => None,
            Some(Entry::Never) => None,
            Some(Entry::Keys(_)) if has_table(kind) && built_in(kind, position).is_none() => None,
            Some(Entry::Keys(keys)) => Some(Table::Listed(keys)),
            Some(Entry::BuiltIn) | None => built_in(kind, position),
        }
    }

    /// The listed types that are never allowed all the same.
    pub(super) fn delegating_types(&self) -> impl Iterator<Item = &str> {
        let listed =
            self.0.iter().filter(|(kind, entry)| is_delegating(kind) && **entry != Entry::Never);
        listed.map(|(kind, _)| kind.as_str())
    }

    /// The listed types that were probably meant as patterns, as other keys of the policy have
    /// them.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|kind| kind.contains('*'))
    }
}

/// Whether a plugin of this type starts others by what its configuration says, which no fence
/// around its own keys could hold.
pub(super) fn is_delegating(kind: &str) -> bool {
    facts::has(kind, Property::StartsPlugins)
}

fn built_in(kind: &str, position: Position) -> Option<Table<'static>> {
    let facts = plugins::facts(kind).filter(|facts| facts.has(Property::OpenToTenants))?;
    (facts.position == position).then_some(Table::BuiltIn(facts))
}

/// Whether the type is known, and with it the place where it stands.
fn has_table(kind: &str) -> bool {
    [Position::Chain, Position::Ipam].into_iter().any(|position| built_in(kind, position).is_some())
}

/// Reads `policy.allowedPlugins`: for each type a list of keys, `true` for the built-in table, or
/// `false`.
///
/// # Errors
/// [`PolicyError::Value`].
pub(super) fn read(value: &Value) -> Result<Plugins, PolicyError> {
    const RULE: &str = "must be an object of plugin types, each with a list of keys, true for its \
                        built-in table, or false";
    let entries = || value.as_object()?.iter().map(read_entry).collect::<Option<BTreeMap<_, _>>>();
    entries().map(Plugins).ok_or_else(|| wrong("allowedPlugins", value, RULE))
}

fn read_entry((kind, value): (&String, &Value)) -> Option<(String, Entry)> {
    kind.parse::<PluginType>().ok()?;
    let entry = match value {
        Value::Bool(true) if has_table(kind) => Entry::BuiltIn,
        Value::Bool(false) => Entry::Never,
        Value::Array(keys) => Entry::Keys(
            keys.iter().map(|key| key.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        ),
        _ => return None,
    };
    Some((kind.clone(), entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn allows(plugins: &Plugins, kind: &str, position: Position, key: &str) -> bool {
        plugins.table(kind, position).is_some_and(|table| table.allows(key))
    }

    #[test]
    fn the_tables_leave_out_what_reaches_the_node() {
        let plugins = Plugins::default();
        let (chain, ipam) = (Position::Chain, Position::Ipam);
        let table = [
            ("bridge", chain, "bridge", true),
            ("bridge", chain, "ipam", true),
            ("bridge", chain, "ipMasq", false),
            ("bridge", chain, "ipmasq", false),
            ("bridge", chain, "promiscMode", false),
            ("bridge", chain, "forceAddress", false),
            ("bridge", chain, "isDefaultGateway", false),
            ("bridge", chain, "args", false),
            ("bridge", chain, "runtimeConfig", false),
            ("macvlan", chain, "linkInContainer", false),
            ("tuning", chain, "dataDir", false),
            ("host-local", ipam, "subnet", true),
            ("host-local", ipam, "dataDir", false),
            ("host-local", ipam, "DataDir", false),
            ("host-local", ipam, "resolvConf", false),
            ("host-local", ipam, "name", false),
            ("host-local", chain, "type", false),
            ("bridge", ipam, "bridge", false),
            ("whereabouts", ipam, "kubernetes", false),
            ("whereabouts", ipam, "log_file", false),
            ("whereabouts", ipam, "network_name", false),
            ("host-device", chain, "device", false),
            ("flannel", chain, "type", false),
        ];
        for (kind, position, key, expected) in table {
            assert_eq!(allows(&plugins, kind, position, key), expected, "{kind} {key}");
        }
    }

    #[test]
    fn the_administrator_takes_and_gives() {
        let plugins = read(&json!({
            "bridge": false, "ptp": true, "macvlan": ["master"], "sriov": ["vlan"], "multus": ["delegates"],
        }))
        .unwrap();
        let table = [
            ("bridge", "bridge", false),
            ("ptp", "mtu", true),
            ("macvlan", "master", true),
            ("macvlan", "mode", false),
            ("macvlan", "ipam", true),
            ("sriov", "vlan", true),
            ("sriov", "spoofchk", false),
            ("vlan", "vlanId", true),
            ("multus", "delegates", false),
        ];
        for (kind, key, expected) in table {
            assert_eq!(allows(&plugins, kind, Position::Chain, key), expected, "{kind} {key}");
        }
        assert!(
            plugins.table("macvlan", Position::Ipam).is_none(),
            "an interface plugin gives no addresses"
        );
        assert_eq!(plugins.delegating_types().collect::<Vec<_>>(), ["multus"]);
    }

    #[test]
    fn a_pattern_is_the_type_of_no_plugin() {
        let plugins = read(&json!({"*": ["blue"], "br*": [], "bridge": []})).unwrap();
        assert_eq!(plugins.patterns().collect::<Vec<_>>(), ["*", "br*"]);
        assert!(plugins.table("blue", Position::Chain).is_none());
    }

    #[test]
    fn true_needs_a_table() {
        assert!(read(&json!({"sriov": true})).is_err());
    }
}
