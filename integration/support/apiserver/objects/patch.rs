//! Changes of an object: merge patches (RFC 7396), JSON patches (RFC 6902) as kube-apiserver
//! applies them, and whole objects.

use json_patch::PatchOperation;
use serde_json::{Map, Value, json};

use super::answer::{Answer, bad_request, status};

/// What `content_type` makes of `old` with `body`.
pub(super) fn apply(content_type: &str, old: &Value, body: &[u8]) -> Result<Value, Answer> {
    match content_type {
        "application/merge-patch+json" => {
            let patch: Value = serde_json::from_slice(body).map_err(|_| bad_request("not JSON"))?;
            let mut new = old.clone();
            merge(&mut new, &patch);
            Ok(new)
        }
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_slice(body)
                .map_err(|error| bad_request(&format!("error decoding patch: {error}")))?;
            let mut new = old.clone();
            let mut operations = patch.0.iter();
            operations.try_for_each(|operation| carry_out(&mut new, operation))?;
            Ok(new)
        }
        _ => {
            let message = "the body of the request was in an unknown format - accepted media types \
                           include: application/json-patch+json, application/merge-patch+json";
            Err(status(415, "UnsupportedMediaType", message, None))
        }
    }
}

/// One operation. A `test` with the value null passes if nothing is there, unlike in RFC 6902; what
/// the path stands in must be there.
fn carry_out(object: &mut Value, operation: &PatchOperation) -> Result<(), Answer> {
    if let PatchOperation::Test(test) = operation
        && test.value.is_null()
    {
        let path = test.path.as_str();
        let holder = path.rsplit_once('/').map_or("", |(holder, _)| holder);
        let is_empty = object.pointer(holder).is_some_and(Value::is_object)
            && object.pointer(path).is_none_or(Value::is_null);
        return if is_empty { Ok(()) } else { Err(rejected()) };
    }
    json_patch::patch(object, std::slice::from_ref(operation)).map_err(|_| rejected())
}

/// A patch that cannot be applied: a failed `test`, a `remove` of what is not there.
fn rejected() -> Answer {
    let message = "the server rejected our request due to an error in our request";
    status(422, "Invalid", message, Some(json!({})))
}

/// RFC 7396.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let object = value.as_object_mut().unwrap();
    for (key, change) in patch {
        if change.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), change);
        }
    }
}
