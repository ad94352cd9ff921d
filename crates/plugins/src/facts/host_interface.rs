//! The interfaces of the host that a network's configuration names, at any depth of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use cni::keys;
use cni::netconf::{NetworkConfig, PluginConfig};

use super::{Position, Shape, all, facts};

/// A plugin's list of links of the host, each an object with a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostLinks {
    /// The key of the list.
    pub key: &'static str,
    /// The key of a link's name.
    pub name: &'static str,
    /// The switch by which the links are the pod's and not the host's.
    pub inside: &'static str,
}

/// Keys that are other plugins' or the protocol's, whatever the plugin: they name no interface of
/// the host.
const PASSED_OVER: [&str; 5] = ["ipam", "args", "capabilities", "runtimeConfig", "prevResult"];

/// The switch by which a plugin finds its `master` in the pod and not on the host.
const IN_CONTAINER: &str = "linkInContainer";

/// Replaces the names of interfaces of the host in a network's configuration: `name_of` has the
/// new name of each that is replaced. Returns the old names with the new ones. Which keys hold such
/// names, the facts say; a plugin without facts is taken to mean the same by them.
pub fn rename_host_interfaces(
    network: &mut NetworkConfig,
    name_of: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let mut renaming = Renaming { name_of, renamed: BTreeMap::new() };
    for plugin in &mut network.plugins {
        let links = host_links(plugin);
        let in_container = is_on(plugin.object(), IN_CONTAINER);
        plugin.change_values(|key, value| match links {
            Some(links) if keys::is_same(key, links.key) => renaming.links(links, value),
            _ => renaming.member(key, value, in_container),
        });
    }
    renaming.renamed
}

/// The links of the host that a plugin lists, unless they are the pod's.
fn host_links(plugin: &PluginConfig) -> Option<HostLinks> {
    let links = facts(plugin.kind.as_str())?.host_links?;
    (!is_on(plugin.object(), links.inside)).then_some(links)
}

/// Whether any spelling of the switch is on: which of several a plugin reads is not known.
fn is_on(object: &Map<String, Value>, switch: &str) -> bool {
    object.iter().any(|(key, value)| keys::is_same(key, switch) && *value == true)
}

/// Whether any plugin of a chain takes a key, in any spelling, for the name of an interface of the
/// host.
fn is_host_interface(written: &str) -> bool {
    let facts = all().filter(|facts| facts.position == Position::Chain);
    let mut keys = facts.flat_map(|facts| facts.keys);
    keys.any(|key| matches!(key.shape, Shape::HostInterface) && keys::is_same(written, key.name))
}

struct Renaming<'a> {
    name_of: &'a dyn Fn(&str) -> Option<String>,
    renamed: BTreeMap<String, String>,
}

impl Renaming<'_> {
    /// A member of an object. serde_json bounds the depth.
    fn member(&mut self, key: &str, value: &mut Value, in_container: bool) {
        let is_passed_over = PASSED_OVER.iter().any(|other| keys::is_same(key, other));
        if is_passed_over || (in_container && keys::is_same(key, "master")) {
            return;
        }
        match value {
            Value::String(text) if is_host_interface(key) => self.text(text),
            Value::Array(list) => list.iter_mut().for_each(|value| self.member(key, value, false)),
            Value::Object(object) => {
                let in_container = is_on(object, IN_CONTAINER);
                object.iter_mut().for_each(|(key, value)| self.member(key, value, in_container));
            }
            _ => {}
        }
    }

    fn links(&mut self, links: HostLinks, value: &mut Value) {
        let objects = value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut);
        for (key, value) in objects.flatten() {
            if let (true, Value::String(text)) = (keys::is_same(key, links.name), value) {
                self.text(text);
            }
        }
    }

    fn text(&mut self, text: &mut String) {
        if let Some(name) = (self.name_of)(text) {
            self.renamed.insert(std::mem::replace(text, name.clone()), name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::netconf::Missing;
    use serde_json::json;

    /// The plugins of a network after `uplink` has become `ens3f0`.
    #[track_caller]
    fn renamed(plugins: Value) -> Value {
        let value = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins});
        let mut network = NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap();
        let name_of = |name: &str| (name == "uplink").then(|| "ens3f0".to_owned());
        let renamed = rename_host_interfaces(&mut network, &name_of);
        assert!(renamed.is_empty() || renamed == [("uplink".into(), "ens3f0".into())].into());
        network.to_value()["plugins"].take()
    }

    #[test]
    fn every_key_of_a_host_interface_is_renamed() {
        let table = [
            json!([{"type": "macvlan", "master": "uplink", "mode": "bridge"}]),
            json!([{"type": "ipvlan", "MASTER": "uplink"}]),
            json!([{"type": "vlan", "master": "uplink", "vlanId": 5}, {"type": "tuning"}]),
            json!([{"type": "bridge", "bridge": "uplink"}]),
            json!([{"type": "host-device", "device": "uplink"}]),
            json!([{"type": "macvtap", "master": "uplink"}, {"type": "ovs", "bridge": "uplink"}]),
            json!([{"type": "vendor", "master": "uplink"}]),
            json!([{"type": "flannel", "delegate": {"type": "macvlan", "master": "uplink"}}]),
            json!([{"type": "vendor", "ports": [{"device": "uplink"}, {"device": "eth9"}]}]),
            json!([{"type": "bond", "links": [{"name": "uplink"}, {"name": "eth9"}]}]),
        ];
        for plugins in table {
            let text = plugins.to_string().replace("uplink", "ens3f0");
            assert_eq!(renamed(plugins), serde_json::from_str::<Value>(&text).unwrap());
        }
    }

    #[test]
    fn what_is_no_interface_of_the_host_is_left() {
        let table = [
            json!([{"type": "macvlan", "master": "ens4"}]),
            json!([{"type": "macvlan", "master": "uplink", "linkInContainer": true}]),
            json!([{"type": "vendor", "delegate": {"master": "uplink", "linkInContainer": true}}]),
            json!([{"type": "bond", "linksInContainer": true, "links": [{"name": "uplink"}]}]),
            json!([{"type": "vendor", "links": [{"name": "uplink"}], "mode": "uplink"}]),
            json!([{"type": "vendor", "ipam": {"type": "x", "master": "uplink"}}]),
            json!([{"type": "vendor", "args": {"cni": {"master": "uplink"}}}]),
            json!([{"type": "vendor", "master": 5, "bridge": null}]),
        ];
        for plugins in table {
            assert_eq!(renamed(plugins.clone()), plugins);
        }
    }
}
