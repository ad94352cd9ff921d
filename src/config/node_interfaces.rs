//! What definitions call interfaces of the host (`nodeInterfaces`): one name for an interface that
//! is called otherwise on each node.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ConfigError;
use super::value::{decode, wrong};
use cni::name::InterfaceName;

/// The most letters of a name; an interface's own have 15.
const MAX_NAME: usize = 63;

/// The names, each with the interfaces that it may stand for: the first that the node has counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeInterfaces(BTreeMap<String, Vec<InterfaceName>>);

impl NodeInterfaces {
    /// Reads the key: an object of texts, or of lists of them.
    ///
    /// # Errors
    /// [`ConfigError`] for a name or an interface that cannot be one.
    pub(super) fn read(
        object: &Map<String, Value>,
        key: &'static str,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(names) = decode::<Map<String, Value>>(object, key)? else { return Ok(None) };
        let read = |(name, value): (&String, &Value)| {
            Ok((read_name(key, name)?, read_interfaces(key, value)?))
        };
        names.iter().map(read).collect::<Result<_, _>>().map(|names| Some(Self(names)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name with what it may stand for, in order; never without one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[InterfaceName])> {
        self.0.iter().map(|(name, interfaces)| (name.as_str(), interfaces.as_slice()))
    }

    /// The interface that a name stands for: the first that the node has, or if it has none, the
    /// first. `None` for a name that is not in the list.
    pub fn interface(
        &self,
        name: &str,
        is_on_node: impl Fn(&str) -> bool,
    ) -> Option<&InterfaceName> {
        match self.0.get(name)?.as_slice() {
            [only] => Some(only),
            several => {
                let found = several.iter().find(|interface| is_on_node(interface.as_str()));
                found.or(several.first())
            }
        }
    }
}

fn read_name(key: &'static str, name: &str) -> Result<String, ConfigError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.len() <= MAX_NAME && name.chars().all(is_plain) {
        return Ok(name.to_owned());
    }
    const RULE: &str = "must be a name of at most 63 letters, digits, \"-\", \"_\" and \".\", the \
                        first a letter or digit";
    Err(wrong(key, name, RULE))
}

fn read_interfaces(key: &'static str, value: &Value) -> Result<Vec<InterfaceName>, ConfigError> {
    const RULE: &str = "must be the name of an interface, or a list of them";
    let refuse = || wrong(key, &value.to_string(), RULE);
    let values = match value {
        Value::Array(list) if !list.is_empty() => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let read = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    values.iter().map(read).collect::<Option<_>>().ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<NodeInterfaces, String> {
        let object = json!({"nodeInterfaces": value});
        let read = NodeInterfaces::read(object.as_object().unwrap(), "nodeInterfaces");
        read.map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_interface_that_the_node_has_counts() {
        let names = read(json!({"uplink": ["ens3f0", "eno1"], "storage-fabric-0001": "eth1"}));
        let names = names.unwrap();
        let on_node = |there: &'static [&str]| move |name: &str| there.contains(&name);
        let interface = |name, there| names.interface(name, on_node(there)).map(|it| it.as_str());
        assert_eq!(interface("uplink", &["eno1"]), Some("eno1"));
        assert_eq!(interface("uplink", &["eno1", "ens3f0"]), Some("ens3f0"));
        assert_eq!(interface("uplink", &[]), Some("ens3f0"));
        assert_eq!(interface("storage-fabric-0001", &["x"]), Some("eth1"));
        assert_eq!(interface("ens3f0", &["ens3f0"]), None);
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let table = [
            json!({"": "eth0"}),
            json!({"a/b": "eth0"}),
            json!({".a": "eth0"}),
            json!({"a".repeat(64): "eth0"}),
            json!({"uplink": []}),
            json!({"uplink": ""}),
            json!({"uplink": "an-interface-of-20"}),
            json!({"uplink": ["eth0", 5]}),
            json!({"uplink": null}),
        ];
        for value in table {
            let error = read(value.clone()).unwrap_err();
            assert!(error.contains("key \"nodeInterfaces\""), "{value}: {error}");
        }
        assert!(read(json!(["uplink"])).is_err());
    }
}
