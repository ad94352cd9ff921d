//! Answers and refusals: a `Status` in the API server's words.

use serde_json::{Value, json};

use crate::apiserver::identity::User;
use crate::apiserver::objects::target::Target;
use crate::apiserver::rbac::Right;

/// A refusal or an answer: the status and the body.
pub(crate) type Answer = (u16, Value);

/// Metadata alone, as `Accept: application/json;as=PartialObjectMetadata...` asks for.
pub(crate) fn metadata_only(value: Value) -> Value {
    let partial = |object: &Value| json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
    match value.get("items").and_then(Value::as_array) {
        Some(items) => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": value["metadata"],
            "items": items.iter().map(partial).collect::<Vec<_>>(),
        }),
        None => partial(&value),
    }
}

/// A `Status` object.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: Option<Value>) -> Answer {
    let mut body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    if let Some(details) = details {
        body["details"] = details;
    }
    (code, body)
}

pub(super) fn bad_request(message: &str) -> Answer {
    status(400, "BadRequest", message, None)
}

pub(super) fn not_found(target: &Target) -> Answer {
    let name = target.name.as_deref().unwrap_or_default();
    let message = format!("{} \"{name}\" not found", target.qualified());
    let details = json!({"name": name, "group": target.group, "kind": target.resource});
    status(404, "NotFound", &message, Some(details))
}

pub(super) fn invalid(target: &Target, field: &str, problem: &str) -> Answer {
    let name = target.name.as_deref().unwrap_or_default();
    let details = json!({
        "name": name, "kind": target.resource,
        "causes": [{"reason": "FieldValueInvalid", "message": problem, "field": field}],
    });
    status(
        422,
        "Invalid",
        &format!("{} \"{name}\" is invalid: {field}: {problem}", target.qualified()),
        Some(details),
    )
}

/// The words of Kubernetes' RBAC authorizer.
pub(super) fn forbidden(user: &User, target: &Target, right: &Right) -> Answer {
    let name = target.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let message = format!(
        "{}{name} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\" in the \
         namespace \"{}\"",
        target.qualified(),
        user.name,
        right.verb,
        right.resource,
        right.group,
        target.namespace
    );
    let details = json!({"name": target.name, "group": target.group, "kind": target.resource});
    let mut details = details;
    if target.name.is_none() {
        details.as_object_mut().unwrap().remove("name");
    }
    status(403, "Forbidden", &message, Some(details))
}
