//! The keys of a configuration, each read with the type that it must have.
//!
//! Keys are matched as Go's decoder does, see [`cni::keys`]; `null` is a missing value. An error
//! names the key by its whole path.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use cni::error::{Code, Error};
use cni::keys;
use cni::quoted::Quoted;

use crate::facts::Facts;

/// An object of a configuration, with its path in it.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

/// The error of a configuration that is not valid.
pub(crate) fn invalid(problem: impl std::fmt::Display) -> Error {
    Error::new(Code::CONFIG, problem)
}

fn wrong_type(path: &str, expected: &str, value: &Value) -> Error {
    invalid(format!("\"{path}\" must be {expected}, not {}", Quoted::value(value)))
}

impl<'a> Fields<'a> {
    /// The keys of a whole configuration.
    pub(crate) fn root(object: &'a Map<String, Value>) -> Self {
        Self { object, path: String::new() }
    }

    /// `value`, which stands at `path`.
    ///
    /// # Errors
    /// Code 7 if it is no object.
    fn of(value: &'a Value, path: String) -> Result<Self, Error> {
        match value {
            Value::Object(object) => Ok(Self { object, path }),
            other => Err(wrong_type(&path, "an object", other)),
        }
    }

    /// Where a key stands in the configuration.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The object at `key`.
    pub(crate) fn child(&self, key: &str) -> Result<Option<Self>, Error> {
        keys::get(self.object, key).map(|value| Self::of(value, self.path_of(key))).transpose()
    }

    /// The text at `key`; an empty one counts as missing.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match keys::get(self.object, key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(other) => Err(wrong_type(&self.path_of(key), "a text", other)),
        }
    }

    /// The entries of the list at `key`, each with its path; none if the list is missing.
    pub(crate) fn list(&self, key: &str) -> Result<Vec<(String, &'a Value)>, Error> {
        keys::get(self.object, key)
            .map_or(Ok(Vec::new()), |value| entries(value, &self.path_of(key)))
    }

    /// The objects of the list at `key`.
    pub(crate) fn objects(&self, key: &str) -> Result<Vec<Self>, Error> {
        self.list(key)?.into_iter().map(|(path, value)| Self::of(value, path)).collect()
    }

    /// The objects of the lists in the list at `key`.
    pub(crate) fn lists_of_objects(&self, key: &str) -> Result<Vec<Vec<Self>>, Error> {
        let inner = |(path, value): (String, &'a Value)| {
            let entries = if value.is_null() { Vec::new() } else { entries(value, &path)? };
            entries.into_iter().map(|(path, value)| Self::of(value, path)).collect()
        };
        self.list(key)?.into_iter().map(inner).collect()
    }

    /// The texts of the list at `key`, each with its path.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<(String, &'a str)>, Error> {
        let text = |(path, value): (String, &'a Value)| match value.as_str() {
            Some(text) => Ok((path, text)),
            None => Err(wrong_type(&path, "a text", value)),
        };
        self.list(key)?.into_iter().map(text).collect()
    }

    /// The IP address at `key`, without a prefix; an empty text counts as missing.
    pub(crate) fn ip(&self, key: &str) -> Result<Option<IpAddr>, Error> {
        self.text(key)?.map(|text| parse_ip(text, &self.path_of(key))).transpose()
    }

    /// The address with prefix at `key`, host bits kept; an empty text counts as missing.
    pub(crate) fn cidr(&self, key: &str) -> Result<Option<IpNetwork>, Error> {
        self.text(key)?.map(|text| parse_cidr(text, &self.path_of(key))).transpose()
    }

    /// The whole number at `key`, as it was written.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, Error> {
        let Some(value) = keys::get(self.object, key) else { return Ok(None) };
        value
            .as_i64()
            .map(Some)
            .ok_or_else(|| wrong_type(&self.path_of(key), "a whole number", value))
    }

    /// The truth value at `key`.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = keys::get(self.object, key) else { return Ok(None) };
        let wrong = || wrong_type(&self.path_of(key), "true or false", value);
        value.as_bool().map(Some).ok_or_else(wrong)
    }

    /// Logs each key that is neither one of the plugin's nor of `others`: it is passed over.
    pub(crate) fn warn_of_unknown(&self, plugin: &Facts, others: &[&str]) {
        let known = || {
            let own = plugin.keys.iter().map(|own| own.name);
            own.chain(others.iter().copied()).chain(["type"])
        };
        let unknown =
            self.object.keys().filter(|key| !known().any(|name| keys::is_same(key, name)));
        for key in unknown.take(16) {
            log::warn!("key {} is not known and does nothing", Quoted::text(&self.path_of(key)));
        }
    }
}

fn entries<'a>(value: &'a Value, path: &str) -> Result<Vec<(String, &'a Value)>, Error> {
    let list = value.as_array().ok_or_else(|| wrong_type(path, "a list", value))?;
    Ok(list.iter().enumerate().map(|(at, value)| (format!("{path}[{at}]"), value)).collect())
}

/// The IP address `text`, which stands at `path`. An IPv4-mapped one is IPv4, as in Go.
pub(crate) fn parse_ip(text: &str, path: &str) -> Result<IpAddr, Error> {
    let parsed: Result<IpAddr, _> = text.parse();
    parsed.map(|ip| ip.to_canonical()).map_err(|_| {
        invalid(format!("\"{path}\" must be an IP address, not {}", Quoted::text(text)))
    })
}

/// The address with prefix length `text`, which stands at `path`; host bits are kept.
pub(crate) fn parse_cidr(text: &str, path: &str) -> Result<IpNetwork, Error> {
    let parsed = text.split_once('/').and_then(|(ip, prefix)| {
        // An IPv4-mapped address has no prefix length that both families agree on.
        let ip = ip.parse::<IpAddr>().ok().filter(|ip| *ip == ip.to_canonical())?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        IpNetwork::new(ip, prefix.parse().ok().filter(|_| digits)?).ok()
    });
    parsed.ok_or_else(|| {
        let shown = Quoted::text(text);
        invalid(format!(
            "\"{path}\" must be an address with prefix length such as 10.1.0.0/16, not {shown}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_names_the_path_and_the_value() {
        let value = json!({"ipam": {"ranges": [[{"subnet": 5}]], "dataDir": false, "Routes": {}}});
        let root = Fields::root(value.as_object().unwrap());
        let ipam = root.child("ipam").unwrap().unwrap();
        let range = ipam.lists_of_objects("ranges").unwrap()[0][0].clone();
        let errors = [
            range.cidr("subnet").unwrap_err(),
            ipam.text("dataDir").unwrap_err(),
            ipam.list("routes").unwrap_err(),
        ];
        let said = [
            "\"ipam.ranges[0][0].subnet\" must be a text, not 5",
            "\"ipam.dataDir\" must be a text, not false",
            "\"ipam.routes\" must be a list, not an object",
        ];
        assert_eq!(errors.each_ref().map(|error| error.msg.as_str()), said);
        assert!(errors.iter().all(|error| error.code == Code::CONFIG));
    }

    #[test]
    fn addresses_are_those_that_go_takes() {
        for text in ["10.0.0.1/24", "fd00::1/64", "0.0.0.0/0", "10.0.0.1/032"] {
            parse_cidr(text, "x").unwrap();
        }
        for text in [
            "10.0.0.1",
            "10.0.0.1/",
            "10.0.0.1/+8",
            "10.0.0.1/33",
            "10.0.0.0/255.0.0.0",
            "::ffff:1.2.3.4/120",
        ] {
            parse_cidr(text, "x").unwrap_err();
        }
        assert_eq!(parse_ip("::ffff:10.0.0.1", "x").unwrap().to_string(), "10.0.0.1");
        for text in ["10.0.0.01", "fe80::1%eth0", "10.0.0", " 10.0.0.1"] {
            parse_ip(text, "x").unwrap_err();
        }
    }
}
