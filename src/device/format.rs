//! What a device-info file says (device-info 1.1.0, section 3): checked key by key, and passed on
//! as it was written, with keys of versions to come.

use serde_json::{Map, Value};

use super::name::is_pci_address;
use cni::quoted::Quoted;

/// What is wrong with the content of a device-info file.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDeviceInfo {
    /// Not JSON.
    #[error("is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// A value has the wrong kind.
    #[error("{key} must be a JSON object")]
    NotAnObject {
        /// The key, or what stands for the whole.
        key: &'static str,
    },
    /// A key that must be there is not.
    #[error("\"{key}\" is missing")]
    Missing {
        /// The key; `pci.pci-address` for one of a map.
        key: String,
    },
    /// A key has a value that it cannot have.
    #[error("\"{key}\" is {value}, and must be {rule}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: Quoted,
        /// What it must be.
        rule: String,
    },
}

/// What a value must be.
#[derive(Clone, Copy)]
enum Rule {
    Text,
    Path,
    PciAddress,
    OneOf(&'static [&'static str]),
}

/// A key of a device's map.
struct Key {
    name: &'static str,
    required: bool,
    rule: Rule,
}

const fn required(name: &'static str, rule: Rule) -> Key {
    Key { name, required: true, rule }
}

const fn optional(name: &'static str, rule: Rule) -> Key {
    Key { name, required: false, rule }
}

/// Each type with the keys of its map (sections 3.1.3 to 3.1.6).
const TYPES: [(&str, &[Key]); 4] = [
    (
        "pci",
        &[
            required("pci-address", Rule::PciAddress),
            optional("vhost-net", Rule::Text),
            optional("rdma-device", Rule::Text),
            optional("pf-pci-address", Rule::PciAddress),
            optional("representor-device", Rule::Text),
        ],
    ),
    (
        "vdpa",
        &[
            required("parent-device", Rule::Text),
            required("driver", Rule::OneOf(&["vhost", "virtio"])),
            required("path", Rule::Path),
            optional("pci-address", Rule::PciAddress),
            optional("pf-pci-address", Rule::PciAddress),
            optional("representor-device", Rule::Text),
        ],
    ),
    (
        "vhost-user",
        &[required("mode", Rule::OneOf(&["client", "server"])), required("path", Rule::Text)],
    ),
    (
        "memif",
        &[
            required("role", Rule::OneOf(&["master", "slave"])),
            required("path", Rule::Text),
            required("mode", Rule::OneOf(&["ethernet", "ip", "inject-punt"])),
        ],
    ),
];

/// Reads device information.
///
/// # Errors
/// [`InvalidDeviceInfo`] if it is not what section 3 of the specification asks for.
pub fn parse(content: &[u8]) -> Result<Value, InvalidDeviceInfo> {
    let value: Value = serde_json::from_slice(content).map_err(InvalidDeviceInfo::Json)?;
    check(value.as_object().ok_or(InvalidDeviceInfo::NotAnObject { key: "the whole" })?)?;
    Ok(value)
}

fn check(info: &Map<String, Value>) -> Result<(), InvalidDeviceInfo> {
    let kind = text(info, "", "type")?.ok_or_else(|| missing("", "type"))?;
    let version = text(info, "", "version")?.ok_or_else(|| missing("", "version"))?;
    if !is_known_version(version) {
        return Err(wrong(
            "",
            "version",
            version,
            "a version 1.<MINOR>.<PATCH> of the specification",
        ));
    }
    let Some((name, keys)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        return Err(wrong("", "type", kind, &one_of(&TYPES.map(|(name, _)| name))));
    };
    let map = info.get(*name).ok_or_else(|| missing("", name))?;
    let map = map.as_object().ok_or(InvalidDeviceInfo::NotAnObject { key: name })?;
    keys.iter().try_for_each(|key| check_key(map, name, key))
}

/// Versions of one MAJOR number differ in keys that were added (section 3.1.2).
fn is_known_version(text: &str) -> bool {
    let numbers: Vec<_> = text.split('.').collect();
    let number = |part: &&str| {
        !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit())
    };
    matches!(numbers.as_slice(), ["1", _, _]) && numbers.iter().all(number)
}

fn check_key(map: &Map<String, Value>, of: &str, key: &Key) -> Result<(), InvalidDeviceInfo> {
    match text(map, of, key.name)? {
        None if key.required => Err(missing(of, key.name)),
        None => Ok(()),
        Some(value) => key.rule.check(value).map_err(|rule| wrong(of, key.name, value, &rule)),
    }
}

impl Rule {
    fn check(self, value: &str) -> Result<(), String> {
        let (valid, rule) = match self {
            Self::Text => (true, String::new()),
            Self::Path => (value.starts_with('/'), "an absolute path".to_owned()),
            Self::PciAddress => {
                (is_pci_address(value), "a PCI address such as 0000:01:02.3".to_owned())
            }
            Self::OneOf(words) => (words.contains(&value), one_of(words)),
        };
        if valid { Ok(()) } else { Err(rule) }
    }
}

/// The text of a key; none if it is missing or `null`. What goes into an annotation holds no
/// control characters, and says something.
fn text<'m>(
    map: &'m Map<String, Value>,
    of: &str,
    key: &str,
) -> Result<Option<&'m str>, InvalidDeviceInfo> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Ok(Some(text))
        }
        Some(other) => Err(InvalidDeviceInfo::Value {
            key: path(of, key),
            value: Quoted::value(other),
            rule: "a text without control characters, and not empty".to_owned(),
        }),
    }
}

fn path(of: &str, key: &str) -> String {
    if of.is_empty() { key.to_owned() } else { format!("{of}.{key}") }
}

fn missing(of: &str, key: &str) -> InvalidDeviceInfo {
    InvalidDeviceInfo::Missing { key: path(of, key) }
}

fn wrong(of: &str, key: &str, value: &str, rule: &str) -> InvalidDeviceInfo {
    InvalidDeviceInfo::Value {
        key: path(of, key),
        value: Quoted::text(value),
        rule: rule.to_owned(),
    }
}

fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn refusal(value: &Value) -> String {
        parse(value.to_string().as_bytes()).unwrap_err().to_string()
    }

    /// Device-info 1.1.0, sections 4.3 and 6.1.2.
    #[test]
    fn what_the_specification_shows_is_valid() {
        for info in [
            json!({"type": "pci", "version": "1.1.0",
                   "pci": {"pci-address": "0000:18:0a.2", "vhost-net": "/dev/vhost-net", "pf-pci-address": "0000:18:00.1"}}),
            json!({"type": "pci", "version": "1.0.0", "pci": {"pci-address": "0000:01:02.2"}}),
            json!({"type": "vdpa", "version": "1.1.0",
                   "vdpa": {"parent-device": "vdpa3", "driver": "vhost", "path": "/dev/vdpa-vhost0"}}),
            json!({"type": "vhost-user", "version": "1.1.0",
                   "vhost-user": {"mode": "server", "path": "/var/run/vhost.sock"}}),
            json!({"type": "memif", "version": "1.1.0",
                   "memif": {"role": "slave", "path": "memif.sock", "mode": "ethernet"}}),
        ] {
            assert_eq!(parse(info.to_string().as_bytes()).unwrap(), info);
        }
    }

    #[test]
    fn keys_of_later_versions_pass_through() {
        let info = json!({"type": "pci", "version": "1.7.12", "new": [1],
                          "pci": {"pci-address": "0000:01:02.2", "rdma-device": null, "later": {"a": 1.50}}});
        assert_eq!(parse(info.to_string().as_bytes()).unwrap(), info);
    }

    #[test]
    fn each_key_is_checked() {
        let pci = |pci: Value| json!({"type": "pci", "version": "1.1.0", "pci": pci});
        let vdpa = |driver: &str, path: &str| {
            json!({"type": "vdpa", "version": "1.1.0",
                   "vdpa": {"parent-device": "v", "driver": driver, "path": path}})
        };
        let memif = |role: &str, mode: &str| json!({"type": "memif", "version": "1.1.0", "memif": {"role": role, "path": "p", "mode": mode}});
        let text = "a text without control characters, and not empty";
        let cases = [
            (json!([]), "the whole must be a JSON object".to_owned()),
            (json!({}), "\"type\" is missing".to_owned()),
            (json!({"type": "pci"}), "\"version\" is missing".to_owned()),
            (json!({"type": 1}), format!("\"type\" is 1, and must be {text}")),
            (
                json!({"type": "usb", "version": "1.0.0"}),
                "\"type\" is \"usb\", and must be one of pci, vdpa, vhost-user, memif".to_owned(),
            ),
            (json!({"type": "pci", "version": "1.1.0"}), "\"pci\" is missing".to_owned()),
            (pci(json!("x")), "pci must be a JSON object".to_owned()),
            (pci(json!({})), "\"pci.pci-address\" is missing".to_owned()),
            (
                pci(json!({"pci-address": "../../etc"})),
                "\"pci.pci-address\" is \"../../etc\", and must be a PCI address such as \
                 0000:01:02.3"
                    .to_owned(),
            ),
            (
                pci(json!({"pci-address": "0000:01:02.3", "representor-device": "a\nb"})),
                format!("\"pci.representor-device\" is \"a\\nb\", and must be {text}"),
            ),
            (
                pci(json!({"pci-address": "0000:01:02.3", "pf-pci-address": ["a"]})),
                format!("\"pci.pf-pci-address\" is a list, and must be {text}"),
            ),
            (
                vdpa("vfio", "/dev/x"),
                "\"vdpa.driver\" is \"vfio\", and must be one of vhost, virtio".to_owned(),
            ),
            (
                vdpa("vhost", "dev/x"),
                "\"vdpa.path\" is \"dev/x\", and must be an absolute path".to_owned(),
            ),
            (
                memif("boss", "ip"),
                "\"memif.role\" is \"boss\", and must be one of master, slave".to_owned(),
            ),
            (
                memif("master", "x"),
                "\"memif.mode\" is \"x\", and must be one of ethernet, ip, inject-punt".to_owned(),
            ),
            (
                json!({"type": "vhost-user", "version": "1.1.0", "vhost-user": {"mode": "client"}}),
                "\"vhost-user.path\" is missing".to_owned(),
            ),
        ];
        for (info, sentence) in cases {
            assert_eq!(refusal(&info), sentence);
        }
    }

    #[test]
    fn versions_are_those_of_the_specification() {
        for version in
            ["", "1", "1.0", "v1.0.0", "1.0.0.0", "2.0.0", "0.9.0", "1.a.0", "1..0", "1.0.-1"]
        {
            let info =
                json!({"type": "pci", "version": version, "pci": {"pci-address": "0000:01:02.3"}});
            assert!(refusal(&info).starts_with("\"version\" is "), "{version}");
        }
    }

    #[test]
    fn what_is_no_json_says_where() {
        let error = parse(b"{\"type\": ").unwrap_err().to_string();
        assert!(error.starts_with("is not valid JSON: ") && error.contains("column"), "{error}");
    }

    proptest! {
        #[test]
        fn no_content_is_too_strange(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&content);
        }
    }
}
