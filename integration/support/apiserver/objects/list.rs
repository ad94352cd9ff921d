//! Lists, in pages: `limit`, and `continue` with the token of the page before.

use std::collections::BTreeMap;
use std::ops::Bound;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::answer::{Answer, bad_request};
use super::target::{Key, Target};

/// A page of the objects that `target` names, of one namespace or of all.
pub(super) fn list(
    kept: &BTreeMap<Key, Value>,
    revision: u64,
    target: &Target,
    query: &str,
) -> Answer {
    let parameter =
        |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let limit = parameter("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let limit = limit.unwrap_or(usize::MAX);
    let start = match parameter("continue").map(plain) {
        None => Bound::Included((target.resource.clone(), target.namespace.clone(), String::new())),
        Some(token) => match read_token(&token) {
            Some((namespace, name)) => Bound::Excluded((target.resource.clone(), namespace, name)),
            None => return bad_request("continue key is not valid"),
        },
    };
    let is_here = |(resource, namespace, _): &Key| {
        *resource == target.resource
            && (target.namespace.is_empty() || *namespace == target.namespace)
    };
    let selector = parameter("fieldSelector").map(plain).unwrap_or_default();
    let here =
        kept.range((start, Bound::Unbounded)).take_while(|(key, _)| key.0 == target.resource);
    let mut found = here.filter(|(key, object)| is_here(key) && is_selected(object, &selector));
    let page: Vec<_> = found.by_ref().take(limit).collect();
    let rest = found.count();
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(((_, namespace, name), _)) = page.last().filter(|_| rest > 0) {
        let token = URL_SAFE_NO_PAD.encode(json!([namespace, name]).to_string());
        metadata["continue"] = json!(token);
        metadata["remainingItemCount"] = json!(rest);
    }
    let items: Vec<_> = page.into_iter().map(|(_, object)| object).collect();
    let (version, kind) = target.list_kind();
    (200, json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}))
}

/// Without the `%XX` of what has a meaning in a query.
fn plain(text: &str) -> String {
    let signs = [("%3D", "="), ("%21", "!"), ("%2C", ","), ("%2F", "/")];
    signs.iter().fold(text.to_owned(), |text, (written, sign)| text.replace(written, sign))
}

/// Whether an object has the fields that a selector names: `status.phase=Running,...`.
fn is_selected(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        let (path, value) = term.split_once('=').unwrap();
        let (path, is_equal) = path.strip_suffix('!').map_or((path, true), |path| (path, false));
        let found = object.pointer(&format!("/{}", path.replace('.', "/")));
        (found.and_then(Value::as_str).unwrap_or_default() == value) == is_equal
    })
}

/// Namespace and name of the last object of the page before.
fn read_token(token: &str) -> Option<(String, String)> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}
