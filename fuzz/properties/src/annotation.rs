//! The networks annotation: what a tenant wrote.

use std::collections::HashSet;

use braid::internals::pod::name::Namespace;
use braid::internals::selection::{self, Bandwidth, Limits, Selection};
use serde_json::{Map, Value, json};

use super::{assert_file_name, assert_told_well};

/// A selection is made of valid names and bounded lists, and says the same once it is written out
/// again, in the JSON form and, if that can say it, in the short one.
pub fn annotation(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let pod: Namespace = "team-a".parse().unwrap();
    let limits = Limits { networks: 16, ..Limits::default() };
    let selections = match selection::parse(text, &pod, limits) {
        Ok(selections) => selections,
        Err(error) => return assert_told_well(&error),
    };
    assert!(selections.len() <= limits.networks && text.len() <= selection::MAX_ANNOTATION_BYTES);
    assert!(selections.iter().enumerate().all(|(at, selection)| selection.position == at));
    selections.iter().for_each(check);
    check_together(&selections);
    let list: Vec<Value> = selections.iter().map(element).collect();
    reads_back(&Value::Array(list).to_string(), &pod, &selections);
    let plain = |selection: &Selection| {
        let Selection { namespace, name, position, .. } = selection.clone();
        let interface = selection.interface.clone();
        Selection { interface, ..Selection::new(namespace, name, position) }
    };
    if !selections.is_empty() && selections.iter().all(|selection| *selection == plain(selection)) {
        let words: Vec<String> = selections.iter().map(word).collect();
        reads_back(&words.join(", "), &pod, &selections);
    }
}

fn check(selection: &Selection) {
    assert_eq!(selection.namespace.as_str().parse(), Ok(selection.namespace.clone()));
    assert_eq!(selection.name.as_str().parse(), Ok(selection.name.clone()));
    assert_file_name(selection.namespace.as_str());
    assert_file_name(selection.name.as_str());
    if let Some(interface) = &selection.interface {
        assert_eq!(interface.as_str().parse(), Ok(interface.clone()));
        assert_file_name(interface.as_str());
        assert!(interface.as_str().len() <= 15 && !interface.as_str().ends_with('.'));
    }
    let ips: HashSet<_> = selection.ips.iter().map(|ip| ip.ip()).collect();
    assert!(ips.len() == selection.ips.len() && ips.len() <= 32);
    assert!(ips.iter().all(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast()));
    assert!(selection.port_mappings.len() <= 128);
    assert!(
        selection.port_mappings.iter().all(|port| port.host_port > 0 && port.container_port > 0)
    );
    assert!(selection.default_route.as_ref().is_none_or(|gateways| gateways.len() <= 8));
    assert!(selection.ipam_claim.is_none() || selection.ips.is_empty());
    selection.ipam_claim.as_deref().into_iter().for_each(assert_file_name);
    // What goes into CNI_ARGS adds no pair to them.
    let texts = selection.ips.iter().map(ToString::to_string);
    let texts =
        texts.chain(selection.mac.map(|mac| mac.to_string())).chain(selection.device_id.clone());
    for text in texts {
        assert!(text.is_ascii() && !text.contains([';', '=', '\0', ' ']), "{text:?}");
    }
    selection.device_id.as_deref().into_iter().for_each(assert_file_name);
}

fn check_together(selections: &[Selection]) {
    let names: Vec<_> =
        selections.iter().filter_map(|selection| selection.interface.as_ref()).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "two on one interface");
    assert!(selections.iter().filter(|selection| selection.default_route.is_some()).count() <= 1);
}

#[track_caller]
fn reads_back(text: &str, pod: &Namespace, selections: &[Selection]) {
    // Escapes make a text longer than it was.
    if text.len() <= selection::MAX_ANNOTATION_BYTES {
        let again = selection::parse(text, pod, Limits { networks: 16, ..Limits::default() });
        assert_eq!(again.as_deref().map_err(ToString::to_string), Ok(selections), "{text}");
    }
}

/// The short form of a selection that asks for nothing else.
fn word(selection: &Selection) -> String {
    let interface = selection.interface.as_ref().map(|name| format!("@{name}")).unwrap_or_default();
    format!("{}/{}{interface}", selection.namespace, selection.name)
}

/// The JSON form.
fn element(selection: &Selection) -> Value {
    let texts =
        |list: &[std::net::IpAddr]| json!(list.iter().map(ToString::to_string).collect::<Vec<_>>());
    let list = |entries: Vec<Value>| Some(Value::Array(entries)).filter(|list| *list != json!([]));
    let members = [
        ("namespace", Some(json!(selection.namespace.as_str()))),
        ("name", Some(json!(selection.name.as_str()))),
        ("interface", selection.interface.as_ref().map(|name| json!(name.as_str()))),
        ("ips", list(selection.ips.iter().map(|ip| ip.to_value()).collect())),
        ("mac", selection.mac.map(|mac| mac.to_value())),
        ("infiniband-guid", selection.infiniband_guid.map(|guid| guid.to_value())),
        ("cni-args", selection.cni_args.clone().map(Value::Object)),
        (
            "portMappings",
            list(selection.port_mappings.iter().map(|port| port.to_value()).collect()),
        ),
        ("bandwidth", selection.bandwidth.as_ref().map(bandwidth)),
        ("default-route", selection.default_route.as_deref().map(texts)),
        ("ipam-claim-reference", selection.ipam_claim.clone().map(Value::String)),
        ("deviceID", selection.device_id.clone().map(Value::String)),
    ];
    object(members)
}

fn bandwidth(limits: &Bandwidth) -> Value {
    object([
        ("ingressRate", limits.ingress_rate.map(Value::from)),
        ("ingressBurst", limits.ingress_burst.map(Value::from)),
        ("egressRate", limits.egress_rate.map(Value::from)),
        ("egressBurst", limits.egress_burst.map(Value::from)),
    ])
}

fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let present = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}
