//! A built-in plugin's keys, from its facts.

use serde_json::{Map, Value, json};

use super::page::{PLUGINS, code, plain, rows};
use plugins::facts::{Facts, Key, Shape};

/// An address, and a network or an address with its prefix length.
const ADDRESS: &str = "^[0-9a-fA-F:.]*$";
const WITH_PREFIX: &str = "^[0-9a-fA-F:.]+/[0-9]{1,3}$";

/// What a plugin of this type reads, beside what all do; nothing for a type without facts.
pub(super) fn keys(kind: &str) -> Value {
    let Some(facts) = plugins::facts(kind) else { return json!({}) };
    let mut properties = members(facts.keys);
    for (key, meaning) in descriptions(kind) {
        if let Some(schema) = properties.get_mut(&key).and_then(Value::as_object_mut) {
            schema.insert("description".to_owned(), json!(meaning));
        }
    }
    let mut schema = json!({"properties": properties});
    let pairs: Vec<Value> = pairs(facts).collect();
    if let Some(object) = schema.as_object_mut().filter(|_| !pairs.is_empty()) {
        object.insert("allOf".to_owned(), Value::Array(pairs));
    }
    schema
}

/// Key and meaning, from the page.
pub(super) fn descriptions(kind: &str) -> impl Iterator<Item = (String, String)> {
    let of_kind = rows(PLUGINS, "Plugin").filter_map(move |row| {
        let [plugin, key, meaning] = row.as_slice() else { return None };
        (code(plugin) == kind).then(|| (code(key).to_owned(), plain(meaning)))
    });
    of_kind.collect::<Vec<_>>().into_iter()
}

/// A key that owes another one, unless it is 0.
fn pairs(facts: &Facts) -> impl Iterator<Item = Value> {
    let both = facts.pairs.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
    both.map(|(key, owed)| {
        json!({
            "if": {"required": [key], "properties": {(key): {"not": {"const": 0}}}},
            "then": {"required": [owed]},
        })
    })
}

fn members(keys: &[Key]) -> Map<String, Value> {
    keys.iter().map(|key| (key.name.to_owned(), of_shape(key.shape))).collect()
}

fn object(keys: &[Key]) -> Value {
    json!({"type": "object", "properties": members(keys)})
}

/// What a value of a shape must be. Words that the program compares are an `enum`; what an address
/// is, `braid validate` says.
fn of_shape(shape: Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Text | Shape::HostInterface | Shape::Addresses => json!({"type": "string"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Integer(first, i64::MAX) => json!({"type": "integer", "minimum": first}),
        Shape::Integer(first, last) => {
            json!({"type": "integer", "minimum": first, "maximum": last})
        }
        Shape::Vlan => json!({"type": "integer", "minimum": 0, "maximum": 4094}),
        Shape::Mtu => json!({"type": "integer", "minimum": 0, "maximum": i32::MAX}),
        Shape::Word { words, .. } => json!({"enum": words}),
        Shape::Address => json!({"type": "string", "pattern": ADDRESS}),
        Shape::Interface | Shape::Destination | Shape::Subnet => {
            json!({"type": "string", "pattern": WITH_PREFIX})
        }
        Shape::Sysctls => {
            json!({"type": "object", "additionalProperties": {"type": ["string", "null"]}})
        }
        Shape::Object(keys) => object(keys),
        Shape::VlanTrunk(keys) => json!({"type": "array", "items": object(keys)}),
        Shape::List(item) => json!({"type": "array", "items": of_shape(*item)}),
        Shape::Ranges(keys) => {
            let mut range = object(keys);
            if let Some(range) = range.as_object_mut() {
                range.insert("required".to_owned(), json!(["subnet"]));
            }
            json!({"type": "array", "items": {"type": "array", "minItems": 1, "items": range}})
        }
    }
}
