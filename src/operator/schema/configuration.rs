//! Braid's own entry: each key with the type that its page says.

use serde_json::{Map, Value, json};

use super::page::{CONFIGURATION, POLICY, code, plain, rows};
use crate::config::{MULTUS_DAEMON_KEYS, OWN_KEYS, PROTOCOL_KEYS};

/// Braid's entry in a conflist.
pub(super) fn entry() -> Value {
    let mut properties = keys();
    properties.insert("type".to_owned(), json!({"const": "braid"}));
    json!({
        "title": "Braid's entry in a network configuration",
        "type": "object",
        "required": ["type"],
        "properties": properties,
        "propertyNames": names(PROTOCOL_KEYS.iter().chain(&MULTUS_DAEMON_KEYS)),
    })
}

/// The keys of the ConfigMap: `null` takes one out.
pub(super) fn settings() -> Value {
    let nullable =
        |(key, schema): (String, Value)| (key, json!({"anyOf": [schema, {"type": "null"}]}));
    let properties: Map<String, Value> = keys().into_iter().map(nullable).collect();
    json!({
        "title": "Keys of Braid's configuration that all nodes have",
        "type": "object",
        "properties": properties,
        "propertyNames": names(MULTUS_DAEMON_KEYS.iter().chain(&["capabilities"])),
    })
}

/// Keys are known, or have a period or a slash in them, as comments and other programs' keys have.
fn names<'k>(beside: impl Iterator<Item = &'k &'static str>) -> Value {
    let known: Vec<&str> = OWN_KEYS.iter().chain(beside).copied().collect();
    json!({"anyOf": [{"enum": known}, {"pattern": "[./]"}]})
}

fn keys() -> Map<String, Value> {
    let described = rows(CONFIGURATION, "Key").filter_map(|row| {
        let [key, kind, default, meaning, example] = row.as_slice() else { return None };
        let mut schema = of_type(code(key), kind);
        let object = schema.as_object_mut()?;
        object.insert("description".to_owned(), json!(plain(meaning)));
        if let Ok(default) = serde_json::from_str::<Value>(code(default)) {
            object.insert("default".to_owned(), default);
        }
        if let Ok(example) = serde_json::from_str::<Value>(code(example)) {
            object.insert("examples".to_owned(), json!([example]));
        }
        Some((code(key).to_owned(), schema))
    });
    described.collect()
}

/// The schema of a type as the page has it.
fn of_type(key: &str, kind: &str) -> Value {
    match kind {
        "boolean" => json!({"type": "boolean"}),
        "number" => json!({"type": "integer", "minimum": 0}),
        "path" => json!({"type": "string", "pattern": "^/"}),
        "duration" => json!({"anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(ms|s|m|h)?([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$"},
        ]}),
        "list of names" => json!({"anyOf": [
            {"type": "array", "items": {"type": "string"}}, {"type": "string"},
        ]}),
        "list of networks" => json!({
            "type": "array", "items": {"type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]+)?$"},
        }),
        "list of objects" => json!({"type": "array", "items": {"type": "object"}}),
        "object" if key == "policy" => policy(),
        "object" => json!({"type": "object"}),
        words if words.starts_with('`') => {
            let words = words.split('`').skip(1).step_by(2);
            json!({"enum": words.collect::<Vec<_>>()})
        }
        _ => json!({"type": "string"}),
    }
}

/// The rules for tenants; a key with a slash is a comment.
fn policy() -> Value {
    let described = rows(POLICY, "Key of `policy`").filter_map(|row| {
        let (key, meaning) = (row.first()?, row.last()?);
        let mut schema = rule(code(key));
        schema.as_object_mut()?.insert("description".to_owned(), json!(plain(meaning)));
        Some((code(key).to_owned(), schema))
    });
    let properties: Map<String, Value> = described.collect();
    let known: Vec<&String> = properties.keys().collect();
    json!({
        "type": "object",
        "propertyNames": {"anyOf": [{"enum": known}, {"pattern": "/"}]},
        "properties": properties,
    })
}

/// The form of a rule.
fn rule(key: &str) -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let words = json!({"anyOf": [texts, {"type": "string"}]});
    let scoped = json!({"anyOf": [texts, {"type": "object", "additionalProperties": words}]});
    match key {
        "mode" => json!({"enum": ["enforce", "audit"]}),
        "trustedNamespaces" | "allowedRequests" | "serviceCIDRs" => words,
        "allowedHostInterfaces" | "allowedSubnets" | "allowedVlans" | "sharedNodeNetworks" => {
            scoped
        }
        "allowedPlugins" => json!({
            "type": "object", "additionalProperties": {"anyOf": [{"type": "boolean"}, words]},
        }),
        "primaryOverride" => json!({"type": "array", "items": {
            "type": "object",
            "properties": {"podNamespaces": words, "definitions": words},
            "required": ["podNamespaces", "definitions"],
        }}),
        _ => json!({}),
    }
}

/// The keys that the page describes.
#[cfg(test)]
pub(super) fn described() -> Vec<String> {
    keys().into_iter().map(|(key, _)| key).collect()
}
