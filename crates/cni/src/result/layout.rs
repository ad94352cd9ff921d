//! What every layout is written with.

use serde_json::{Map, Value};

/// An empty text is left out: Go's decoders take an absent address, but not an empty one.
pub(super) fn put_text(object: &mut Map<String, Value>, key: &str, text: Option<&str>) {
    let text = text.filter(|text| !text.is_empty());
    object.extend(text.map(|text| (key.to_owned(), text.into())));
}

pub(super) fn put_list(object: &mut Map<String, Value>, key: &str, entries: Vec<Value>) {
    if !entries.is_empty() {
        object.insert(key.to_owned(), Value::Array(entries));
    }
}

/// Adds the unknown keys. One that is unknown in the layout it came from (`ips` in 0.2.0), but
/// known in this one, is left out, in every spelling that a decoder would take for it.
pub(super) fn put_other(
    object: &mut Map<String, Value>,
    other: &Map<String, Value>,
    known: &[&str],
) {
    let unknown =
        other.iter().filter(|(key, _)| !known.iter().any(|known| known.eq_ignore_ascii_case(key)));
    object.extend(unknown.map(|(key, value)| (key.clone(), value.clone())));
}
