//! A record without the configurations of its plugins, which are as long as tenants have made them:
//! read as values, one takes twenty times the memory that it takes as text.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use cni::keys;

type Changed = Result<Box<RawValue>, serde_json::Error>;

/// What a record holds for the plugins of one attachment, as it was written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Configuration {
    /// The network's configuration.
    pub(crate) network: Box<RawValue>,
    /// The capability arguments, an object.
    pub(crate) runtime_config: Box<RawValue>,
}

/// The configurations of a plan.
pub(super) fn configurations(json: &[u8]) -> Result<Vec<Configuration>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Plan {
        attachments: Vec<Configuration>,
    }
    Ok(serde_json::from_slice::<Plan>(json)?.attachments)
}

/// The JSON of a plan with the type alone of each plugin, and without capability arguments.
pub(super) fn outline(json: &str) -> Changed {
    let of_network = |network: &str| change(network, "plugins", |list| each(list, only_type));
    let of_attachment = |attachment: &str| {
        let short = change(attachment, "runtime_config", |_| empty())?;
        change(short.get(), "network", of_network)
    };
    change(json, "attachments", |list| each(list, of_attachment))
}

fn empty() -> Changed {
    RawValue::from_string("{}".to_owned())
}

fn only_type(plugin: &str) -> Changed {
    let mut keys: BTreeMap<String, &RawValue> = serde_json::from_str(plugin)?;
    keys.retain(|key, _| keys::is_same(key, "type"));
    to_raw_value(&keys)
}

/// An object with another value for a key, if it has the key.
fn change(object: &str, key: &str, to: impl Fn(&str) -> Changed) -> Changed {
    let mut values: BTreeMap<String, &RawValue> = serde_json::from_str(object)?;
    let changed = values.get(key).map(|value| to(value.get())).transpose()?;
    if let Some(changed) = &changed {
        values.insert(key.to_owned(), changed);
    }
    to_raw_value(&values)
}

/// A list with each element changed.
fn each(list: &str, to: impl Fn(&str) -> Changed) -> Changed {
    let elements: Vec<&RawValue> = serde_json::from_str(list)?;
    let changed: Result<Vec<_>, _> = elements.into_iter().map(|it| to(it.get())).collect();
    to_raw_value(&changed?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(attachments: Value) -> String {
        json!({"layout": 1, "pod": "team-a/\u{fc}", "attachments": attachments}).to_string()
    }

    #[test]
    fn an_outline_has_the_types_of_the_plugins_alone() {
        let entry = json!({"number": 1, "text": "of a tenant", "list": [1, 2, 3]});
        let plugins = json!([{"TYPE": "bridge", "a\"b": [entry]}, {"type": "tuning"}, {"k": 1}]);
        let network = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins});
        let attachment =
            |config: &Value| json!({"label": "a/b", "network": network, "runtime_config": config});
        let given = attachment(&json!({"mac": "02:00:00:00:00:01"}));
        let outlined: Value =
            serde_json::from_str(outline(&plan(json!([given, {}]))).unwrap().get()).unwrap();
        let mut expected = attachment(&json!({}));
        expected["network"]["plugins"] = json!([{"TYPE": "bridge"}, {"type": "tuning"}, {}]);
        assert_eq!(outlined.to_string().len(), plan(json!([expected, {}])).len());
        assert_eq!(outlined, serde_json::from_str::<Value>(&plan(json!([expected, {}]))).unwrap());
    }

    #[test]
    fn configurations_are_those_that_were_written() {
        let network = r#"{"name":"lan","plugins":[{"type":"x","number":1.10}]}"#;
        let text = format!(
            r#"{{"attachments":[{{"network":{network},"runtime_config":{{"ips":[]}},"label":"a"}}]}}"#
        );
        let read = configurations(text.as_bytes()).unwrap();
        assert_eq!(
            (read[0].network.get(), read[0].runtime_config.get()),
            (network, "{\"ips\":[]}")
        );
    }

    #[test]
    fn a_plan_of_another_form_is_an_error() {
        for text in ["", "[]", r#"{"attachments": 1}"#, r#"{"attachments": [{"network": []}]}"#] {
            assert!(outline(text).is_err(), "{text}");
        }
        assert!(configurations(b"{}").is_err());
    }
}
