//! A selection as one text, by which an element of an annotation is known again.

use serde_json::{Map, Value};

use super::Selection;

impl Selection {
    /// What is asked for, as JSON in a fixed order, without the interface and the position. Records
    /// keep it: another text for the same element would have a running pod's network attached anew.
    pub fn canonical(&self) -> String {
        let mut object = Map::new();
        let mut set = |key: &str, value: Value| {
            if !is_nothing(&value) {
                object.insert(key.to_owned(), value);
            }
        };
        set("namespace", self.namespace.to_string().into());
        set("name", self.name.to_string().into());
        set("ips", self.ips.iter().map(|ip| Value::from(ip.to_string())).collect());
        set("mac", self.mac.map(|mac| mac.to_string()).into());
        set("guid", self.infiniband_guid.map(|guid| guid.to_string()).into());
        set("args", self.cni_args.as_ref().map(sorted).into());
        let ports = self.port_mappings.iter().copied();
        set("ports", ports.map(super::PortMapping::to_value).collect());
        set("bandwidth", self.bandwidth.as_ref().map(super::Bandwidth::to_value).into());
        let gateways = self.default_route.as_ref().map(|gateways| {
            let shown = gateways.iter().map(|gateway| Value::from(gateway.to_string()));
            // An empty list is a request as well.
            shown.chain([Value::from("")]).collect::<Vec<_>>()
        });
        set("route", gateways.into());
        set("claim", self.ipam_claim.clone().into());
        set("device", self.device_id.clone().into());
        Value::Object(object).to_string()
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// The members by their names, at every depth: JSON says that their order means nothing.
fn sorted(object: &Map<String, Value>) -> Value {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_by_key(|(key, _)| *key);
    let member = |(key, value): (&String, &Value)| (key.clone(), sorted_value(value));
    Value::Object(members.into_iter().map(member).collect())
}

fn sorted_value(value: &Value) -> Value {
    match value {
        Value::Object(object) => sorted(object),
        Value::Array(list) => list.iter().map(sorted_value).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use crate::selection::{Limits, parse};

    fn canonical(annotation: &str) -> String {
        parse(annotation, &"team-a".parse().unwrap(), Limits::default()).unwrap()[0].canonical()
    }

    #[test]
    fn both_forms_and_any_order_of_keys_are_the_same_element() {
        let short = canonical("blue");
        assert_eq!(short, r#"{"namespace":"team-a","name":"blue"}"#);
        for same in [
            "team-a/blue@net7",
            r#"[{"name": "blue", "interface": "pod37a8eec1ce1"}]"#,
            r#"[{"namespace": "team-a", "name": "blue"}]"#,
        ] {
            assert_eq!(canonical(same), short, "{same}");
        }
        assert_eq!(
            canonical(r#"[{"name": "a", "cni-args": {"x": 1, "y": {"b": 1, "a": [2]}}}]"#),
            canonical(r#"[{"cni-args": {"y": {"a": [2], "b": 1}, "x": 1}, "name": "a"}]"#)
        );
    }

    #[test]
    fn everything_that_is_asked_for_makes_another_element() {
        let asked = [
            r#""ips": ["10.0.0.5/24"]"#,
            r#""mac": "02:00:00:00:00:05""#,
            r#""infiniband-guid": "24:8a:07:03:00:8d:ae:2f""#,
            r#""cni-args": {"x": 1}"#,
            r#""portMappings": [{"hostPort": 80, "containerPort": 80}]"#,
            r#""bandwidth": {"ingressRate": 1000}"#,
            r#""default-route": []"#,
            r#""default-route": ["10.0.0.1"]"#,
            r#""ipam-claim-reference": "claim""#,
            r#""deviceID": "0000:01:00.0""#,
        ];
        let texts: std::collections::BTreeSet<String> = asked
            .iter()
            .map(|more| canonical(&format!(r#"[{{"name": "blue", {more}}}]"#)))
            .chain([canonical("blue"), canonical("ops/blue"), canonical("red")])
            .collect();
        assert_eq!(texts.len(), asked.len() + 3, "{texts:?}");
    }
}
