//! The values of keys, each in one of the forms that the configuration has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ConfigError;
use cni::error::one_line;
use cni::keys;

pub(super) fn decode<T: DeserializeOwned>(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<T>, ConfigError> {
    Ok(keys::decode(object, key)?)
}

/// A text; empty counts as missing, as it does for a Go program.
pub(super) fn text(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<String>, ConfigError> {
    Ok(decode::<String>(object, key)?.filter(|text| !text.is_empty()))
}

/// A list of texts, or one text with commas: Multus has both.
pub(super) fn texts(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(Value::String(joined)) = keys::get(object, key) else { return decode(object, key) };
    let words = joined.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(Some(words.map(str::to_owned).collect()).filter(|words: &Vec<_>| !words.is_empty()))
}

pub(super) fn path(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<PathBuf>, ConfigError> {
    match text(object, key)? {
        Some(path) if !Path::new(&path).is_absolute() => {
            Err(wrong(key, &path, "must be an absolute path"))
        }
        path => Ok(path.map(PathBuf::from)),
    }
}

/// Seconds, or a number with a unit: `"500ms"`, `"90s"`, `"15m"`, `"24h"`.
pub(super) fn duration(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<Duration>, ConfigError> {
    const RULE: &str = "must be seconds, or a number with one of the units ms, s, m, h";
    let Some(value) = keys::get(object, key) else { return Ok(None) };
    let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    parse_duration(&written).map(Some).ok_or_else(|| wrong(key, &written, RULE))
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let milliseconds = match text.strip_prefix(digits)? {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// A duration that zero would make useless.
pub(super) fn positive(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<Duration>, ConfigError> {
    match duration(object, key)? {
        Some(Duration::ZERO) => Err(wrong(key, "0", "must be more than zero")),
        limit => Ok(limit),
    }
}

pub(super) fn wrong(key: &'static str, value: &str, rule: &'static str) -> ConfigError {
    ConfigError::Value { key, value: one_line(value, 80), rule }
}
