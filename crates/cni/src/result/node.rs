//! A result on its way in: JSON objects whose known keys are taken out one by one.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Number, Value};

use super::error::{ResultError, excerpt, quoted, wrong_type};
use crate::keys;
use crate::version::{UnknownVersion, Version};

/// Whether content that is wrong, but of the right type, is an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rigour {
    Strict,
    Lenient,
}

/// A JSON object on its way in. Known keys are taken out; what remains is unknown.
pub(super) struct Node {
    path: String,
    pub(super) map: Map<String, Value>,
    rigour: Rigour,
}

impl Node {
    pub(super) fn root(value: &Value, rigour: Rigour) -> Result<Self, ResultError> {
        let map = value
            .as_object()
            .ok_or_else(|| wrong_type("the result".to_owned(), "an object", value))?;
        Ok(Self { path: String::new(), map: map.clone(), rigour })
    }

    /// An object inside. `null` is an empty one: in a list it has to keep its place, as in Go.
    fn child(path: String, value: Value, rigour: Rigour) -> Result<Self, ResultError> {
        match value {
            Value::Null => Ok(Self { path, map: Map::new(), rigour }),
            Value::Object(map) => Ok(Self { path, map, rigour }),
            other => Err(wrong_type(path, "an object", &other)),
        }
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        keys::take(&mut self.map, key)
    }

    pub(super) fn version(&mut self, network: Version) -> Result<Version, ResultError> {
        let Some(text) = self.text("cniVersion")? else { return Ok(network) };
        let escaped = |UnknownVersion(text)| ResultError::Version(UnknownVersion(excerpt(&text)));
        text.parse().map_err(escaped)
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, ResultError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        Self::child(self.at(key), value, self.rigour).map(Some)
    }

    pub(super) fn list<T>(
        &mut self,
        key: &str,
        most: usize,
        read: fn(Self) -> Result<T, ResultError>,
    ) -> Result<Vec<T>, ResultError> {
        let (path, rigour) = (self.at(key), self.rigour);
        let entries = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(other) => return Err(wrong_type(path, "an array", &other)),
        };
        check_count(&path, entries.len(), most)?;
        let entry =
            |(index, value)| Self::child(format!("{path}[{index}]"), value, rigour).and_then(read);
        entries.into_iter().enumerate().map(entry).collect()
    }

    /// A text; an empty one counts as absent, as in Go.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, ResultError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(other) => Err(wrong_type(self.at(key), "a string", &other)),
        }
    }

    pub(super) fn cidr(&mut self, key: &str) -> Result<String, ResultError> {
        let expected = "an address and a prefix length, such as \"192.0.2.3/24\"";
        let Some(text) = self.text(key)? else {
            return self
                .tolerate(String::new(), || ResultError::Missing { path: self.at(key), expected });
        };
        if parse_cidr(&text).is_some() {
            return Ok(text);
        }
        let found = quoted(&text);
        self.tolerate(text, || ResultError::Content { path: self.at(key), expected, found })
    }

    /// An address without a prefix length. Go writes an absent one as "" or "<nil>".
    pub(super) fn ip(&mut self, key: &str) -> Result<Option<String>, ResultError> {
        let Some(text) = self.text(key)?.filter(|text| text != "<nil>") else { return Ok(None) };
        if parse_ip(&text).is_some() {
            return Ok(Some(text));
        }
        let (expected, found) = ("an address, such as \"192.0.2.1\"", quoted(&text));
        self.tolerate(Some(text), || ResultError::Content { path: self.at(key), expected, found })
    }

    pub(super) fn count(&mut self, key: &str) -> Result<Option<u64>, ResultError> {
        let Some(number) = self.integer(key)? else { return Ok(None) };
        self.in_range(key, &number, unsigned(&number))
    }

    /// An index; -1 counts as absent, as plugins built on early libraries write it.
    pub(super) fn index(&mut self, key: &str) -> Result<Option<usize>, ResultError> {
        let Some(number) = self.integer(key)?.filter(|number| number.as_i64() != Some(-1)) else {
            return Ok(None);
        };
        self.in_range(key, &number, unsigned(&number).and_then(|index| usize::try_from(index).ok()))
    }

    fn integer(&mut self, key: &str) -> Result<Option<Number>, ResultError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Number(number)) if is_integer(&number) => Ok(Some(number)),
            Some(other) => Err(wrong_type(self.at(key), "an integer", &other)),
        }
    }

    fn in_range<T>(
        &self,
        key: &str,
        number: &Number,
        value: Option<T>,
    ) -> Result<Option<T>, ResultError> {
        if value.is_some() {
            return Ok(value);
        }
        let (expected, found) =
            ("an integer from 0 up, within 64 bits", excerpt(&number.to_string()));
        self.tolerate(None, || ResultError::Content { path: self.at(key), expected, found })
    }

    fn tolerate<T>(&self, value: T, error: impl FnOnce() -> ResultError) -> Result<T, ResultError> {
        match self.rigour {
            Rigour::Strict => Err(error()),
            Rigour::Lenient => Ok(value),
        }
    }
}

pub(super) fn check_count(path: &str, count: usize, most: usize) -> Result<(), ResultError> {
    if count <= most {
        Ok(())
    } else {
        Err(ResultError::TooMany { path: path.to_owned(), count, most })
    }
}

/// The address and the prefix length, both required, as Go reads them. (`ipnetwork` alone would
/// also take a netmask or nothing after the address.)
fn parse_cidr(text: &str) -> Option<IpNetwork> {
    let (ip, prefix) = text.split_once('/')?;
    let prefix = Some(prefix).filter(|prefix| prefix.bytes().all(|byte| byte.is_ascii_digit()))?;
    IpNetwork::new(ip.parse().ok()?, prefix.parse().ok()?).ok()
}

pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Whether the number is written without fraction and exponent, of any length.
fn is_integer(number: &Number) -> bool {
    number.to_string().bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

/// The number if it is not negative and fits. "-0" is 0.
fn unsigned(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| number.as_i64().and_then(|number| u64::try_from(number).ok()))
}
