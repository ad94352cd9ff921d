//! Multus inside Multus: on its start, the entry point of its image takes the first configuration
//! of the runtime's directory for the primary network's, and that has been Multus's own file on
//! many nodes.

use serde_json::{Map, Value};

use super::translation::NETWORK_KEYS;
use crate::operator::install::MULTUS;
use cni::keys;

/// The most layers that are looked through: one comes with each start.
const MAX_LAYERS: usize = 64;

/// Unwraps a plugin entry of Multus's whose primary network is Multus again: the innermost one has
/// the primary network that pods got, and an outer one's word counts for all else. Returns how many
/// layers were taken away; what has other plugins beside Multus in a layer stays as it is.
pub(super) fn unwrap(entry: &mut Map<String, Value>) -> usize {
    (0..MAX_LAYERS).take_while(|_| unwrap_one(entry).is_some()).count()
}

fn unwrap_one(entry: &mut Map<String, Value>) -> Option<()> {
    // Multus ignores "delegates" beside it.
    if keys::get(entry, "clusterNetwork").is_some() {
        return None;
    }
    let (first, others) = keys::get(entry, "delegates")?.as_array()?.split_first()?;
    let inner = alone(first)?.clone();
    let names_primary = keys::get(&inner, "clusterNetwork").is_some();
    if names_primary && !others.is_empty() {
        return None;
    }
    let mut delegates =
        keys::get(&inner, "delegates").and_then(Value::as_array).cloned().unwrap_or_default();
    delegates.extend(others.iter().cloned());
    keys::take(entry, "delegates");
    if !names_primary && !delegates.is_empty() {
        keys::set(entry, "delegates", Value::Array(delegates));
    }
    let is_own = |key: &str| {
        NETWORK_KEYS.iter().chain(&["delegates"]).any(|own| own.eq_ignore_ascii_case(key))
    };
    for (key, value) in inner.iter().filter(|(key, _)| !is_own(key)) {
        if keys::get(entry, key).is_none() {
            entry.insert(key.clone(), value.clone());
        }
    }
    Some(())
}

/// The entry of Multus's, if it is the only plugin of the configuration.
fn alone(configuration: &Value) -> Option<&Map<String, Value>> {
    let object = configuration.as_object()?;
    let entry = match keys::get(object, "plugins").and_then(Value::as_array).map(Vec::as_slice) {
        None => object,
        Some([only]) => only.as_object()?,
        Some(_) => return None,
    };
    let kind = keys::get(entry, "type").and_then(Value::as_str)?;
    MULTUS.contains(&kind).then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn unwrapped(entry: Value) -> (usize, Value) {
        let mut entry = entry.as_object().cloned().unwrap();
        let layers = unwrap(&mut entry);
        (layers, Value::Object(entry))
    }

    #[test]
    fn the_innermost_primary_counts_and_the_outermost_word() {
        let primary = json!({"name": "primary", "plugins": [{"type": "ptp"}]});
        let inner = json!({"type": "multus", "name": "m", "kubeconfig": "/inner", "logLevel": "debug", "delegates": [primary]});
        let list = json!({"name": "m", "plugins": [{"type": "multus-shim", "delegates": [inner]}]});
        let outer =
            json!({"type": "multus", "logLevel": "error", "delegates": [list, {"type": "extra"}]});
        let expected = json!({
            "type": "multus", "logLevel": "error", "kubeconfig": "/inner", "delegates": [primary, {"type": "extra"}],
        });
        assert_eq!(unwrapped(outer), (2, expected));
        let named =
            json!({"type": "multus", "delegates": [{"type": "multus", "clusterNetwork": "/x"}]});
        assert_eq!(unwrapped(named), (1, json!({"type": "multus", "clusterNetwork": "/x"})));
        let hollow = json!({"type": "multus", "delegates": [{"type": "multus"}]});
        assert_eq!(unwrapped(hollow), (1, json!({"type": "multus"})));
    }

    #[test]
    fn what_is_no_layer_stays() {
        for entry in [
            json!({"type": "multus", "delegates": [{"type": "ptp"}]}),
            json!({"type": "multus", "clusterNetwork": "/x", "delegates": [{"type": "multus"}]}),
            json!({"type": "multus", "delegates": [{"name": "m", "plugins": [{"type": "multus"}, {"type": "portmap"}]}]}),
            json!({"type": "multus", "delegates": [{"type": "multus", "clusterNetwork": "/x"}, {"type": "ptp"}]}),
            json!({"type": "multus", "delegates": []}),
        ] {
            assert_eq!(unwrapped(entry.clone()), (0, entry));
        }
    }
}
