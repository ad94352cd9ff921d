//! `metadata.managedFields`: which client wrote which field. It grows with an object: an entry of a
//! pool is a few words in it, and counts for the size of the object as the entry itself does.

use serde_json::{Map, Value, json};

/// Gives the fields of `new` that differ from `old` to `manager`, and takes them from all others.
pub(super) fn update(manager: &str, old: Option<&Value>, new: &mut Value) {
    let nothing = json!({});
    let was = old.map_or_else(|| nothing.clone(), tracked);
    let is = tracked(new);
    let known = old.map(|old| old["metadata"]["managedFields"].clone()).unwrap_or_default();
    let mut entries: Vec<Value> = known.as_array().cloned().unwrap_or_default();
    for entry in &mut entries {
        disown(entry["fieldsV1"].as_object_mut().unwrap(), &was, &is);
    }
    if !entries.iter().any(|entry| entry["manager"] == manager) {
        entries.push(json!({
            "manager": manager, "operation": "Update", "apiVersion": new["apiVersion"],
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {},
        }));
    }
    let own = entries.iter_mut().find(|entry| entry["manager"] == manager).unwrap();
    claim(own["fieldsV1"].as_object_mut().unwrap(), &was, &is);
    entries.retain(|entry| entry["fieldsV1"].as_object().is_some_and(|fields| !fields.is_empty()));
    new["metadata"]["managedFields"] = Value::Array(entries);
}

/// The part of an object that has managers.
fn tracked(object: &Value) -> Value {
    let mut part = Map::new();
    let metadata: Map<String, Value> = ["annotations", "labels"]
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), object["metadata"].get(key)?.clone())))
        .collect();
    if !metadata.is_empty() {
        part.insert("metadata".to_owned(), Value::Object(metadata));
    }
    for key in ["spec", "status"] {
        if let Some(value) = object.get(key) {
            part.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(part)
}

/// Removes from `fields` what is no more, or is another's now.
fn disown(fields: &mut Map<String, Value>, was: &Value, is: &Value) {
    for (key, old) in was.as_object().into_iter().flatten() {
        let name = format!("f:{key}");
        match is.get(key) {
            Some(new) if new == old => {}
            Some(new) if new.is_object() && old.is_object() => {
                let Some(part) = fields.get_mut(&name).and_then(Value::as_object_mut) else {
                    continue;
                };
                disown(part, old, new);
                if part.is_empty() {
                    fields.remove(&name);
                }
            }
            _ => drop(fields.remove(&name)),
        }
    }
}

/// Adds to `fields` what is new or has changed.
fn claim(fields: &mut Map<String, Value>, was: &Value, is: &Value) {
    for (key, new) in is.as_object().into_iter().flatten() {
        let old = was.get(key);
        if old == Some(new) {
            continue;
        }
        let part = fields.entry(format!("f:{key}")).or_insert_with(|| json!({}));
        if new.is_object() {
            let part = part.as_object_mut().unwrap();
            if old.is_none() {
                part.insert(".".to_owned(), json!({}));
            }
            claim(part, old.unwrap_or(&Value::Null), new);
        }
    }
}
