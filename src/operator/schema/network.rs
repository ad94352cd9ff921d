//! A network configuration: a conf, or a conflist with its plugins (CNI 1.1.0, section 1).

use serde_json::{Map, Value, json};

use super::{configuration, plugin};
use cni::version::Version;

/// Every network, each plugin of it by its type.
pub(super) fn any() -> Value {
    let chained = plugins::names().filter(|name| !plugins::is_ipam(name));
    let mut schema = network(chained);
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        definitions.insert("braid".to_owned(), configuration::entry());
    }
    if let Some(rules) = schema.pointer_mut("/$defs/plugin/allOf").and_then(Value::as_array_mut) {
        rules.push(rule("type", "braid"));
    }
    titled(schema, "A CNI network configuration, or a list of plugins")
}

/// A network of one built-in plugin, at whatever place of the chain; of an IPAM plugin, one whose
/// addresses come from it.
pub(super) fn with_plugin(kind: &'static str) -> Value {
    let is_ipam = plugins::is_ipam(kind);
    let mut schema = network((!is_ipam).then_some(kind).into_iter());
    let has = if is_ipam {
        json!({"required": ["ipam"], "properties": {"ipam": {"required": ["type"], "properties": {"type": {"const": kind}}}}})
    } else {
        json!({"required": ["type"], "properties": {"type": {"const": kind}}})
    };
    if let Some(schema) = schema.as_object_mut() {
        let in_chain =
            json!({"required": ["plugins"], "properties": {"plugins": {"contains": has}}});
        schema.insert("anyOf".to_owned(), json!([has, in_chain]));
    }
    titled(schema, &format!("A CNI network configuration with the plugin {kind}"))
}

fn titled(mut schema: Value, title: &str) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.shift_insert(0, "title".to_owned(), json!(title));
    }
    schema
}

/// A network whose plugins of these types are described; others pass.
fn network(chained: impl Iterator<Item = &'static str>) -> Value {
    let chained: Vec<&str> = chained.collect();
    let ipam = plugins::names().filter(|name| plugins::is_ipam(name));
    let ipam: Vec<&str> = ipam.collect();
    let mut definitions: Map<String, Value> =
        chained.iter().chain(&ipam).map(|kind| ((*kind).to_owned(), plugin::keys(kind))).collect();
    definitions.insert("plugin".to_owned(), entry(&chained));
    definitions.insert("ipam".to_owned(), by_type(&ipam, "the plugin that gives out addresses"));
    let versions = Version::ALL.map(Version::as_str);
    let version = json!({"type": "string", "enum": versions});
    json!({
        "type": "object",
        "properties": {
            "cniVersion": version,
            "cniVersions": {"type": "array", "items": version},
            "name": {
                "type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$",
                "description": "the network's name, under which plugins keep state",
            },
            "disableCheck": {"type": ["boolean", "string"], "description": "whether CHECK is not run"},
            "disableGC": {"type": "boolean", "description": "whether GC is not run"},
            "loadOnlyInlinedPlugins": {"type": "boolean", "description": "whether files of the chain's directory are not added"},
            "plugins": {"type": "array", "items": {"$ref": "#/$defs/plugin"}, "description": "the chain, in order"},
        },
        "anyOf": [{"required": ["plugins"]}, {"required": ["type"]}],
        "if": {"required": ["plugins"]},
        "else": {"$ref": "#/$defs/plugin"},
        "$defs": definitions,
    })
}

/// One plugin of the chain.
fn entry(kinds: &[&str]) -> Value {
    let mut schema = by_type(kinds, "the plugin: the name of its executable");
    if let Some(properties) = schema.pointer_mut("/properties").and_then(Value::as_object_mut) {
        properties.insert("ipam".to_owned(), json!({"$ref": "#/$defs/ipam"}));
        let capabilities = json!({
            "type": "object", "additionalProperties": {"type": "boolean"},
            "description": "what the runtime hands to the plugin",
        });
        properties.insert("capabilities".to_owned(), capabilities);
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("required".to_owned(), json!(["type"]));
    }
    schema
}

/// An object that its `type` describes.
fn by_type(kinds: &[&str], description: &str) -> Value {
    let mut schema = json!({
        "type": "object",
        "properties": {"type": {"type": "string", "description": description}},
    });
    let rules: Vec<Value> = kinds.iter().map(|kind| rule("type", kind)).collect();
    if let Some(schema) = schema.as_object_mut().filter(|_| !rules.is_empty()) {
        schema.insert("allOf".to_owned(), Value::Array(rules));
    }
    schema
}

fn rule(key: &str, kind: &str) -> Value {
    json!({
        "if": {"required": [key], "properties": {(key): {"const": kind}}},
        "then": {"$ref": format!("#/$defs/{kind}")},
    })
}
