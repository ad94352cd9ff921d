//! What an API server does with an object of a custom resource before it keeps it: unknown fields
//! are pruned, the schema holds, the fields have their managers, and etcd's limit counts all of it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::answer::{Answer, invalid, status};
use super::managed_fields;
use super::target::Target;
use crate::apiserver::rbac::path_of;

/// The manifests of `conf/kubernetes` that define the resources that have a schema here.
const MANIFESTS: [&str; 2] = ["crd-addresses.yaml", "crd-ipam-claims.yaml"];
/// The largest object that etcd takes (`--max-request-bytes`).
const MAX_OBJECT_BYTES: usize = 3 << 19;

/// The definition of a resource.
struct Definition {
    schema: Value,
    has_status: bool,
}

fn definition(resource: &str) -> Option<&'static Definition> {
    static ALL: OnceLock<BTreeMap<String, Definition>> = OnceLock::new();
    ALL.get_or_init(read).get(resource)
}

fn read() -> BTreeMap<String, Definition> {
    let documents = MANIFESTS.iter().flat_map(|manifest| {
        let text = std::fs::read_to_string(path_of(manifest)).unwrap();
        serde_saphyr::from_multiple::<Value>(&text).unwrap()
    });
    let read = documents.map(|document| {
        let name = document["spec"]["names"]["plural"].as_str().unwrap().to_owned();
        let version = &document["spec"]["versions"][0];
        let schema = version["schema"]["openAPIV3Schema"].clone();
        (name, Definition { schema, has_status: version["subresources"]["status"].is_object() })
    });
    read.collect()
}

/// Whether objects of this resource are of a custom resource with a schema here.
pub(super) fn is_custom(resource: &str) -> bool {
    definition(resource).is_some()
}

/// What becomes of `new`, which is to take the place of `old`, written by `manager`; `None` in
/// place of the object if nothing changes.
pub(super) fn admit(
    target: &Target,
    manager: &str,
    old: Option<&Value>,
    mut new: Value,
) -> Result<Option<Value>, Answer> {
    let definition = definition(&target.resource).expect("a custom resource");
    if let Some(name) = target.name.as_deref().filter(|name| !is_subdomain(name)) {
        let problem = format!(
            "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
             character"
        );
        return Err(invalid(target, "metadata.name", &problem));
    }
    keep_other_half(target, definition, old, &mut new);
    prune(&definition.schema, &mut new);
    validate(&definition.schema, &new, "")
        .map_err(|(field, problem)| invalid(target, &field, &problem))?;
    if old.is_some_and(|old| is_same(old, &new)) {
        return Ok(None);
    }
    managed_fields::update(manager, old, &mut new);
    if new.to_string().len() > MAX_OBJECT_BYTES {
        return Err(status(500, "", "etcdserver: request is too large", None));
    }
    Ok(Some(new))
}

/// The status of a resource that has one apart is written through `/status` alone, which writes
/// nothing else.
fn keep_other_half(target: &Target, definition: &Definition, old: Option<&Value>, new: &mut Value) {
    if !definition.has_status {
        return;
    }
    let half = if target.subresource.is_some() { "spec" } else { "status" };
    match old.and_then(|old| old.get(half)) {
        Some(kept) => new[half] = kept.clone(),
        None => drop(new.as_object_mut().and_then(|new| new.remove(half))),
    }
}

fn is_same(old: &Value, new: &Value) -> bool {
    let parts = |object: &Value| {
        let metadata = &object["metadata"];
        [&metadata["annotations"], &metadata["labels"], &metadata["ownerReferences"]]
            .map(Value::clone)
    };
    old["spec"] == new["spec"] && old["status"] == new["status"] && parts(old) == parts(new)
}

/// Takes away what the schema does not name.
fn prune(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(object) => {
            let Some(properties) = schema["properties"].as_object() else {
                let each = &schema["additionalProperties"];
                if each.is_object() {
                    object.values_mut().for_each(|value| prune(each, value));
                }
                // Metadata has the API's own schema.
                return;
            };
            object.retain(|key, _| properties.contains_key(key));
            for (key, value) in object {
                prune(&properties[key], value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune(&schema["items"], item)),
        _ => {}
    }
}

/// The first field that is missing or has the wrong type, and the API server's words for it.
fn validate(schema: &Value, value: &Value, path: &str) -> Result<(), (String, String)> {
    let (is_right, actual) = match (schema["type"].as_str().unwrap(), value) {
        ("object", Value::Object(_))
        | ("array", Value::Array(_))
        | ("string", Value::String(_)) => (true, ""),
        (_, Value::Null) => (false, "null"),
        (_, Value::Number(_)) => (false, "integer"),
        (_, Value::Object(_)) => (false, "object"),
        (_, Value::Array(_)) => (false, "array"),
        (_, Value::String(_)) => (false, "string"),
        (_, Value::Bool(_)) => (false, "boolean"),
    };
    if !is_right {
        let expected = schema["type"].as_str().unwrap();
        let problem = format!(
            "Invalid value: \"{actual}\": {path} in body must be of type {expected}: \"{actual}\""
        );
        return Err((path.to_owned(), problem));
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap();
        if value.get(name).is_none() {
            return Err((join(path, name), "Required value".to_owned()));
        }
    }
    if let Some(items) = value.as_array() {
        let limit = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
        if items.len() as u64 > limit {
            let problem = format!("Too many: {}: must have at most {limit} items", items.len());
            return Err((path.to_owned(), problem));
        }
        let mut items = items.iter().enumerate();
        return items
            .try_for_each(|(n, item)| validate(&schema["items"], item, &format!("{path}[{n}]")));
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let each = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
        if each.is_object() {
            validate(each, value, &join(path, key))?;
        }
    }
    Ok(())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name that an object may have (RFC 1123).
fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(is_alphanumeric)
            && label.ends_with(is_alphanumeric)
            && label.chars().all(|c| is_alphanumeric(c) || c == '-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Whose fields an object has, as `kubectl get --show-managed-fields` shows it, is not written by
/// clients.
pub(super) fn forget_managed_fields(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

/// A conflict over a version of an object that is no more.
pub(super) fn modified(target: &Target) -> Answer {
    let name = target.name.as_deref().unwrap_or_default();
    let message = format!(
        "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please \
         apply your changes to the latest version and try again",
        target.qualified(),
    );
    status(409, "Conflict", &message, Some(json!({"name": name, "kind": target.resource})))
}
