//! JSON object keys, matched as Go's decoder does: exactly first, else without regard to case. To
//! Go, the long s and the Kelvin sign are an s and a k as well, so they are here: what a plugin
//! takes for a key must not pass Braid as something else.
//!
//! Configurations in the field rely on it: `readinessIndicatorFile` beside
//! `readinessindicatorfile`, `HostPort` from containerd 1.6. Only the keys that Braid reads itself
//! go through here; everything else passes through as it was written.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A key whose value has the wrong type.
#[derive(Debug, thiserror::Error)]
#[error("key \"{key}\": {source}")]
pub struct KeyError {
    /// The key, as the specification spells it.
    pub key: &'static str,
    /// What the decoder says.
    #[source]
    pub source: serde_json::Error,
}

/// Whether Go's decoder takes `written` for `key`, which is ASCII.
pub fn is_same(written: &str, key: &str) -> bool {
    written.eq_ignore_ascii_case(key)
        || (!written.is_ascii() && written.chars().map(folded).eq(key.chars().map(folded)))
}

fn folded(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

/// The value of `key`, or `None` if it is missing. `null` counts as missing, as in Go.
pub fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let exact = object.get(key);
    let value = exact
        .or_else(|| object.iter().find(|(name, _)| is_same(name, key)).map(|(_, value)| value));
    value.filter(|value| !value.is_null())
}

/// The text at `key` of an object; `None` if it is something else, or empty.
pub fn get_text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    get(value.as_object()?, key)?.as_str().filter(|text| !text.is_empty())
}

/// Removes `key` in every spelling and returns the value that [`get`] would have returned.
pub fn take(object: &mut Map<String, Value>, key: &str) -> Option<Value> {
    let value = get(object, key).cloned();
    object.retain(|name, _| !is_same(name, key));
    value
}

/// Sets `key` to `value`; every other spelling of the key goes, so that no decoder can read the old
/// value.
pub fn set(object: &mut Map<String, Value>, key: &str, value: Value) {
    object.retain(|name, _| name == key || !is_same(name, key));
    object.insert(key.to_owned(), value);
}

/// The object with those of its keys that Go's decoder takes for one of `known` spelt as there, and
/// no `null`.
pub fn normalise(object: &Map<String, Value>, known: &[&str]) -> Map<String, Value> {
    let values =
        known.iter().filter_map(|key| Some(((*key).to_owned(), get(object, key)?.clone())));
    values.collect()
}

/// Decodes the value of `key`.
///
/// # Errors
/// [`KeyError`] if the value has another type than asked for.
pub fn decode<T: DeserializeOwned>(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<T>, KeyError> {
    get(object, key)
        .map(|value| T::deserialize(value))
        .transpose()
        .map_err(|source| KeyError { key, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn the_exact_spelling_wins() {
        let map = object(json!({"HostPort": 1, "hostPort": 2}));
        assert_eq!(get(&map, "hostPort"), Some(&json!(2)));
        assert_eq!(get(&map, "HOSTPORT"), Some(&json!(1)));
    }

    #[test]
    fn null_counts_as_missing() {
        assert_eq!(get(&object(json!({"a": null})), "a"), None);
    }

    #[test]
    fn set_leaves_one_spelling() {
        let mut map = object(json!({"Name": "old", "x": 1}));
        set(&mut map, "name", json!("new"));
        assert_eq!(Value::Object(map), json!({"x": 1, "name": "new"}));
    }

    #[test]
    fn letters_that_go_folds_are_the_same_key() {
        for written in ["bypass-key", "BYPASS-KEY", "bypa\u{17f}\u{17f}-key", "bypass-\u{212a}ey"] {
            assert!(is_same(written, "bypass-key"), "{written}");
        }
        assert!(!is_same("b\u{131}pass-key", "bipass-key"), "Go does not fold the dotless i");
        let mut map = object(json!({"prevRe\u{17f}ult": {}}));
        assert_eq!(take(&mut map, "prevResult"), Some(json!({})));
        assert!(map.is_empty());
    }

    #[test]
    fn a_wrong_type_names_the_key() {
        let error = decode::<bool>(&object(json!({"a": "yes"})), "a").unwrap_err();
        assert!(error.to_string().starts_with("key \"a\": invalid type"), "{error}");
    }
}
