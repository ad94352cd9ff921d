//! The networks of pods, out of what kubectl says of pods and events. Pure.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// The annotation with what a pod has got (NPWG 1.3, section 5).
const STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
/// The reasons of Braid's events.
const REASONS: [&str; 3] = ["NetworkRefused", "FailedNetworkAttachment", "NetworkDelayed"];
/// The wait between two looks with `--watch`.
pub(crate) const PAUSE: Duration = Duration::from_secs(2);

/// A pod.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) networks: Vec<Network>,
    /// Why it has not got a network, the last sentence of each kind; none once it runs.
    pub(crate) problems: Vec<String>,
}

/// A network of a pod.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) interface: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) mac: String,
    /// The device behind it: a PCI address, or what kind it is.
    pub(crate) device: String,
    /// Whether the pod's default route is there.
    pub(crate) default: bool,
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn items(list: &Value) -> Vec<&Value> {
    match list.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().collect(),
        // One object that was asked for by its name.
        None if list.get("metadata").is_some() => vec![list],
        None => Vec::new(),
    }
}

/// The pods of a list, or the one pod, with their networks and with what events say of them.
pub(crate) fn pods(pods: &Value, events: &Value) -> Vec<Pod> {
    items(pods).into_iter().map(|object| pod(object, events)).collect()
}

fn pod(object: &Value, events: &Value) -> Pod {
    let status = object.pointer("/metadata/annotations").and_then(|all| all.get(STATUS));
    let status: Value = status
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let runs = text(object, "/status/phase") == "Running";
    Pod {
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        node: text(object, "/spec/nodeName"),
        networks: status.as_array().into_iter().flatten().map(network).collect(),
        problems: if runs { Vec::new() } else { problems(object, events) },
    }
}

fn network(entry: &Value) -> Network {
    let strings = |key: &str| {
        let all = entry.get(key).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let address = text(entry, "/device-info/pci/pci-address");
    Network {
        name: text(entry, "/name"),
        interface: text(entry, "/interface"),
        addresses: strings("ips"),
        mac: text(entry, "/mac"),
        device: if address.is_empty() { text(entry, "/device-info/type") } else { address },
        default: entry.get("default").and_then(Value::as_bool).unwrap_or_default(),
    }
}

/// The last event of each reason about the very pod, with its reason in front.
fn problems(pod: &Value, events: &Value) -> Vec<String> {
    let uid = text(pod, "/metadata/uid");
    let mut found: Vec<(String, String, String)> = items(events)
        .into_iter()
        .filter(|event| text(event, "/involvedObject/uid") == uid && !uid.is_empty())
        .map(|event| {
            let time = [text(event, "/lastTimestamp"), text(event, "/eventTime")];
            let time = time.into_iter().max().unwrap_or_default();
            (text(event, "/reason"), time, text(event, "/message"))
        })
        .filter(|(reason, ..)| REASONS.contains(&reason.as_str()))
        .collect();
    found.sort();
    let last = |reason: &&str| found.iter().rev().find(|(known, ..)| known == reason);
    let last = REASONS.iter().filter_map(last);
    last.map(|(reason, _, message)| format!("{reason}: {message}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn web(phase: &str) -> Value {
        let status = json!([
            {"name": "cluster", "interface": "eth0", "ips": ["10.1.0.2"], "mac": "02:00:00:00:00:01", "default": true},
            {"name": "team-a/sriov", "interface": "net1", "ips": ["10.2.0.2", "fd00::2"], "device-info": {"type": "pci", "pci": {"pci-address": "0000:3b:02.1"}}},
        ]);
        json!({
            "metadata": {"namespace": "team-a", "name": "web", "uid": "u1", "annotations": {STATUS: status.to_string()}},
            "spec": {"nodeName": "n1"}, "status": {"phase": phase},
        })
    }

    #[test]
    fn networks_come_from_the_status() {
        let all = pods(&json!({"items": [web("Running")]}), &Value::Null);
        assert_eq!((all[0].name.as_str(), all[0].node.as_str()), ("web", "n1"));
        let networks = &all[0].networks;
        assert_eq!((networks[0].interface.as_str(), networks[0].default), ("eth0", true));
        assert_eq!(networks[1].addresses, ["10.2.0.2", "fd00::2"]);
        assert_eq!(networks[1].device, "0000:3b:02.1");
        assert_eq!(pods(&web("Running"), &Value::Null), all, "one pod by its name");
    }

    #[test]
    fn the_last_event_of_the_very_pod_says_why() {
        let event = |uid: &str, reason: &str, at: &str, message: &str| json!({"involvedObject": {"uid": uid}, "reason": reason, "eventTime": at, "message": message});
        let events = json!({"items": [
            event("u1", "NetworkRefused", "2026-01-01T00:00:02Z", "second"),
            event("u1", "NetworkRefused", "2026-01-01T00:00:01Z", "first"),
            event("u1", "Scheduled", "2026-01-01T00:00:03Z", "not ours"),
            event("u2", "NetworkRefused", "2026-01-01T00:00:04Z", "a pod of the same name"),
        ]});
        let problems = |phase: &str| pods(&web(phase), &events).remove(0).problems;
        assert_eq!(problems("Pending"), ["NetworkRefused: second"]);
        assert!(problems("Running").is_empty());
    }

    #[test]
    fn a_status_that_is_none_is_no_network() {
        for status in ["", "{", "{}", "[1]", "null"] {
            let mut pod = web("Pending");
            pod["metadata"]["annotations"][STATUS] = json!(status);
            let found = pods(&pod, &Value::Null).remove(0);
            assert!(found.networks.iter().all(|network| network.name.is_empty()), "{status}");
        }
    }
}
