//! What the configurations of the interface plugins share: how a key is read, and what its value
//! may be.

use cni::error::{Code, Error, one_line};
use cni::keys;
use cni::plugin::Call;
use serde_json::{Map, Value};

use crate::facts::{Facts, Key, Shape};

/// The interface that one is made on top of.
pub(crate) const MASTER: Key = Key::open("master", Shape::HostInterface);
/// The MTU of the interface that is made.
pub(crate) const MTU: Key = Key::open("mtu", Shape::Mtu);
/// Whether `master` is in the container.
pub(crate) const LINK_IN_CONTAINER: Key = Key::host("linkInContainer", Shape::Boolean);

/// Keys that every plugin is sent: the protocol's own, and those that a runtime adds.
const COMMON: &[&str] = &[
    "cniVersion",
    "cniVersions",
    "name",
    "type",
    "ipam",
    "dns",
    "args",
    "capabilities",
    "runtimeConfig",
    "prevResult",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
];

/// The keys of `dns` that say something.
const DNS: &[&str] = &["nameservers", "domain", "search", "options"];

/// Highest ID of a VLAN: 4095 is reserved.
const MAX_VLAN: u64 = 4094;

/// The keys of a plugin's configuration. Reading fails with code 7, before anything is changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'c>(&'c Map<String, Value>);

impl<'c> Keys<'c> {
    /// Those of a call. Warns of keys that are neither the plugin's nor the protocol's: they are
    /// passed over.
    pub(crate) fn of(call: &'c Call, plugin: &Facts) -> Self {
        let is_known = |key: &str| {
            let own = plugin.keys.iter().map(|own| own.name);
            key.starts_with("cni.dev/")
                || own.chain(COMMON.iter().copied()).any(|known| keys::is_same(key, known))
        };
        for key in call.object().keys().filter(|key| !is_known(key)) {
            let key = one_line(key, 64);
            log::warn!(
                "network {}: the plugin has no key {key:?} and passes over it",
                call.network.as_str()
            );
        }
        Self(call.object())
    }

    /// Those of an object inside the configuration.
    pub(crate) fn inside(object: &'c Map<String, Value>) -> Self {
        Self(object)
    }

    pub(crate) fn object(&self) -> &'c Map<String, Value> {
        self.0
    }

    pub(crate) fn value(&self, key: &str) -> Option<&'c Value> {
        keys::get(self.0, key)
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'c str>, Error> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(other) => Err(wrong_type(key, "a text", other)),
        }
    }

    /// A boolean; false without one.
    pub(crate) fn switch(&self, key: &str) -> Result<bool, Error> {
        match self.value(key) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => Err(wrong_type(key, "true or false", other)),
        }
    }

    /// A whole number from 0 to `most`; `None` without one.
    pub(crate) fn number(&self, key: &str, most: u64) -> Result<Option<u64>, Error> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = value.as_u64().filter(|number| *number <= most);
        let what = format!("a whole number from 0 to {most}");
        number.map(Some).ok_or_else(|| wrong_type(key, &what, value))
    }

    /// A number of bytes or packets; `None` without one, or for 0, the kernel's choice.
    pub(crate) fn size(&self, key: &str) -> Result<Option<u32>, Error> {
        let number = self.number(key, i32::MAX.unsigned_abs().into())?;
        Ok(number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0))
    }

    /// The ID of a VLAN, or 0; `None` without one.
    pub(crate) fn vlan(&self, key: &str) -> Result<Option<u16>, Error> {
        Ok(self.number(key, MAX_VLAN)?.and_then(|id| u16::try_from(id).ok()))
    }

    /// The name of an interface on the host or in the container.
    pub(crate) fn interface(&self, key: &str) -> Result<Option<&'c str>, Error> {
        let name = self.text(key)?;
        let is_name = |name: &str| {
            name.len() <= 127
                && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
                && !matches!(name, "." | "..")
        };
        match name {
            Some(name) if !is_name(name) => Err(invalid(key, "the name of an interface", name)),
            name => Ok(name),
        }
    }

    /// The `dns` of the configuration, if it says anything.
    pub(crate) fn dns(&self) -> Result<Option<Value>, Error> {
        let Some(value) = self.value("dns") else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| wrong_type("dns", "an object", value))?;
        let says = |key: &&str| keys::get(object, key).is_some_and(|value| !is_empty(value));
        Ok(DNS.iter().any(says).then(|| value.clone()))
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A hardware address as Go's parser takes it: `aa:bb:cc:dd:ee:ff`, with hyphens, or
/// `aabb.ccdd.eeff`.
pub(crate) fn read_mac(source: &str, text: &str) -> Result<Vec<u8>, Error> {
    let (separator, digits) = match text.chars().find(|c| !c.is_ascii_hexdigit()) {
        Some('.') => ('.', 4),
        Some('-') => ('-', 2),
        _ => (':', 2),
    };
    let parts: Vec<&str> = text.split(separator).collect();
    let is_hex =
        |part: &&str| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hex: String = parts.concat();
    let bytes = parts.iter().all(is_hex).then(|| bytes_of(&hex)).flatten();
    bytes
        .filter(|bytes| bytes.len() == 6)
        .ok_or_else(|| invalid(source, "a hardware address such as 02:00:00:00:00:01", text))
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect()
}

/// The hardware address that is asked for: `runtimeConfig.mac` before `args.cni.mac`, if that
/// counts, before `CNI_ARGS`, before the key `mac`, if that counts.
pub(crate) fn requested_mac(
    call: &Call,
    from_args: bool,
    from_key: bool,
) -> Result<Option<Vec<u8>>, Error> {
    let runtime = read_text(call.runtime_config("mac"), "runtimeConfig.mac")?;
    let args = if from_args { read_text(call.cni_arg("mac"), "args.cni.mac")? } else { None };
    let key = if from_key { read_text(keys::get(call.object(), "mac"), "mac")? } else { None };
    let variable = call.arg("MAC").map(|text| ("MAC of CNI_ARGS", text));
    let chosen = runtime.or(args).or(variable).or(key);
    chosen.map(|(source, text)| read_mac(source, text)).transpose()
}

/// A text that is not empty, with where it stands.
pub(crate) fn read_text<'v>(
    value: Option<&'v Value>,
    key: &'static str,
) -> Result<Option<(&'static str, &'v str)>, Error> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => {
            Ok(Some((key, text.as_str())).filter(|(_, text)| !text.is_empty()))
        }
        Some(other) => Err(wrong_type(key, "a text", other)),
    }
}

/// Code 7 for a key whose value has the wrong type or is out of range.
pub(crate) fn wrong_type(key: &str, expected: &str, found: &Value) -> Error {
    Error::new(
        Code::CONFIG,
        format!("\"{key}\" must be {expected}, not {}", one_line(&found.to_string(), 64)),
    )
}

/// Code 7 for a text that does not mean what its key means.
pub(crate) fn invalid(key: &str, expected: &str, found: &str) -> Error {
    Error::new(Code::CONFIG, format!("\"{key}\" must be {expected}, not {:?}", one_line(found, 64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hardware_addresses_are_read_in_each_notation() {
        for text in ["02:00:0A:ff:00:01", "02-00-0a-ff-00-01", "0200.0aff.0001"] {
            assert_eq!(read_mac("mac", text).unwrap(), [2, 0, 10, 255, 0, 1], "{text}");
        }
        for text in [
            "",
            "02:00",
            "02:00:00:00:00:0g",
            "2:0:0:0:0:1",
            "02:00:00:00:00:00:00:01",
            "é",
            "02:00:00-00:00:01",
        ] {
            let error = read_mac("mac", text).unwrap_err();
            assert_eq!(error.code, Code::CONFIG, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let object = json!({"a": "x", "b": 5, "c": -1, "d": 4095, "e": true, "f": 1.5, "m": "a/b"});
        let keys = Keys::inside(object.as_object().unwrap());
        let errors = [
            (keys.switch("a").unwrap_err(), "\"a\" must be true or false, not \"x\""),
            (keys.text("b").unwrap_err(), "\"b\" must be a text, not 5"),
            (
                keys.size("c").unwrap_err(),
                "\"c\" must be a whole number from 0 to 2147483647, not -1",
            ),
            (keys.vlan("d").unwrap_err(), "\"d\" must be a whole number from 0 to 4094, not 4095"),
            (
                keys.size("e").unwrap_err(),
                "\"e\" must be a whole number from 0 to 2147483647, not true",
            ),
            (
                keys.size("f").unwrap_err(),
                "\"f\" must be a whole number from 0 to 2147483647, not 1.5",
            ),
            (
                keys.interface("m").unwrap_err(),
                "\"m\" must be the name of an interface, not \"a/b\"",
            ),
        ];
        for (error, sentence) in errors {
            assert_eq!((error.code, error.msg.as_str()), (Code::CONFIG, sentence));
        }
    }

    #[test]
    fn dns_counts_if_it_says_something() {
        for (dns, counts) in
            [(json!({}), false), (json!({"search": []}), false), (json!({"domain": "x"}), true)]
        {
            let object = json!({ "dns": dns });
            assert_eq!(
                Keys::inside(object.as_object().unwrap()).dns().unwrap().is_some(),
                counts,
                "{dns}"
            );
        }
    }
}
