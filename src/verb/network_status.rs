//! Results to the network-status annotation (NPWG 1.3, section 5): one entry for each sandbox
//! interface of each attachment, and one for an attachment that has none.
//!
//! Pure. Addresses are written without their prefix length, as the NPWG Go client writes them and
//! KubeVirt reads them. Publishing is [`crate::kube`]'s business.

use serde_json::{Map, Value, json};

use crate::attach::snapshot::Snapshot;
use cni::result::{Address, AttachmentResult, Interface};
use linux::netlink::Link;

/// The annotation that carries the status.
pub const STATUS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/network-status";

/// One attachment as the status shows it.
#[derive(Clone, Debug)]
pub struct StatusSource<'a> {
    /// `namespace/name` of the definition, or the cluster network's name (section 5.3.1).
    pub name: &'a str,
    /// Whether it is the cluster-wide default network (section 5.3.5).
    pub is_default: bool,
    /// The interface that the attachment was made under.
    pub interface: &'a str,
    /// The result of its ADD.
    pub result: &'a AttachmentResult,
    /// Whether it asked for the default route (section 5.3.6.4).
    pub asked_for_default_route: bool,
    /// What is known of its device (section 5.3.7).
    pub device_info: Option<Value>,
}

/// The annotation's value: a JSON list, the attachments in their order. Gateways are those that the
/// kernel shows at the end, and not those of a result: another network may have replaced them.
pub fn annotation(sources: &[StatusSource<'_>], snapshot: &Snapshot) -> String {
    let entries: Vec<Value> = sources.iter().flat_map(|source| entries(source, snapshot)).collect();
    Value::Array(entries).to_string()
}

fn entries(source: &StatusSource<'_>, snapshot: &Snapshot) -> Vec<Value> {
    let interfaces: Vec<(usize, &Interface)> = source.result.sandbox_interfaces().collect();
    if interfaces.is_empty() {
        let without_index: Vec<&Address> =
            source.result.ips.iter().filter(|ip| ip.interface.is_none()).collect();
        return vec![entry(source, None, &without_index, true, snapshot)];
    }
    let entry_of = |(number, (index, interface)): (usize, &(usize, &Interface))| {
        let first = number == 0;
        // An address without an index is the attachment's, and so its first interface's.
        let belongs =
            |ip: &&Address| ip.interface == Some(*index) || (first && ip.interface.is_none());
        let ips: Vec<&Address> = source.result.ips.iter().filter(belongs).collect();
        entry(source, Some(interface), &ips, first, snapshot)
    };
    interfaces.iter().enumerate().map(entry_of).collect()
}

fn entry(
    source: &StatusSource<'_>,
    interface: Option<&Interface>,
    ips: &[&Address],
    first: bool,
    snapshot: &Snapshot,
) -> Value {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), json!(source.name));
    let mut set = |key: &str, value: Value| {
        if !is_empty(&value) {
            entry.insert(key.to_owned(), value);
        }
    };
    let name = interface.map_or(source.interface, |interface| interface.name.as_str());
    let link = snapshot.link(name);
    // A result of before 0.3.0 names no interface; the one that was asked for is there all the
    // same.
    let shown = interface.is_some() || link.is_some();
    set("interface", if shown { json!(name) } else { Value::Null });
    set("ips", ips.iter().map(|ip| json!(without_prefix(&ip.address))).collect());
    let mac = if shown { mac(interface, link) } else { None };
    set("mac", json!(mac));
    set("mtu", json!(mtu(interface, link)));
    // Only one entry of the whole list may be the default.
    set("default", json!(source.is_default && first));
    if first {
        set("dns", source.result.dns.clone().unwrap_or_default());
        set("device-info", source.device_info.clone().unwrap_or_default());
    }
    let gateways = gateways(name, snapshot);
    set("gateway", json!(gateways));
    if source.asked_for_default_route && first {
        set("default-route", json!(gateways));
    }
    Value::Object(entry)
}

/// The MAC in the result, or else the kernel's.
fn mac<'a>(interface: Option<&'a Interface>, link: Option<&'a Link>) -> Option<&'a str> {
    let reported = interface.and_then(|interface| interface.mac.as_deref());
    reported.or_else(|| link?.mac.as_deref())
}

/// The MTU in the result, or else the kernel's.
fn mtu(interface: Option<&Interface>, link: Option<&Link>) -> Option<u64> {
    let reported = interface.and_then(|interface| interface.mtu);
    reported.or_else(|| link?.mtu.map(u64::from))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

fn without_prefix(address: &str) -> &str {
    address.split_once('/').map_or(address, |(ip, _)| ip)
}

fn gateways(interface: &str, snapshot: &Snapshot) -> Vec<String> {
    let routes = snapshot
        .default_routes
        .iter()
        .filter(|route| route.interface.as_deref() == Some(interface));
    routes.filter_map(|route| Some(route.gateway?.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::snapshot::SeenRoute;
    use cni::family::Family;
    use cni::version::Version;

    fn result(value: Value) -> AttachmentResult {
        AttachmentResult::read(&value, Version::V1_1_0).unwrap()
    }

    fn status(name: &str, is_default: bool, value: Value, snapshot: &Snapshot) -> Value {
        let result = result(value);
        let asked = name == "ns/routed";
        let source = StatusSource {
            name,
            is_default,
            interface: "net1",
            result: &result,
            asked_for_default_route: asked,
            device_info: None,
        };
        serde_json::from_str(&annotation(&[source], snapshot)).unwrap()
    }

    fn routed(interface: &str, gateways: &[&str]) -> Snapshot {
        let route = |gateway: &&str| SeenRoute {
            family: Family::of_text(gateway).unwrap(),
            interface: Some(interface.to_owned()),
            gateway: Some(gateway.parse().unwrap()),
        };
        Snapshot {
            links: Vec::new(),
            default_routes: gateways.iter().map(route).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn an_entry_has_what_clients_read() {
        let value = json!({
            "interfaces": [{"name": "br0"}, {"name": "net1", "mac": "02:00:00:00:00:01", "mtu": 9000, "sandbox": "/n"}],
            "ips": [{"address": "10.0.0.2/24", "interface": 1, "gateway": "10.0.0.1"}, {"address": "fd00::2/64", "interface": 1}],
            "dns": {"nameservers": ["10.0.0.53"], "search": ["example.com"]}
        });
        assert_eq!(
            status("ns/blue", false, value, &Snapshot::default()),
            json!([{
                "name": "ns/blue", "interface": "net1", "ips": ["10.0.0.2", "fd00::2"], "mac": "02:00:00:00:00:01",
                "mtu": 9000, "default": false, "dns": {"nameservers": ["10.0.0.53"], "search": ["example.com"]}
            }])
        );
    }

    /// Section 5.3.5: only one element may be the default; the Go client marks the first interface.
    #[test]
    fn several_sandbox_interfaces_have_an_entry_each() {
        let value = json!({
            "interfaces": [{"name": "eth0", "sandbox": "/n"}, {"name": "eth1", "sandbox": "/n"}],
            "ips": [{"address": "10.0.0.2/24", "interface": 0}, {"address": "10.0.1.2/24", "interface": 1}],
        });
        assert_eq!(
            status("cluster", true, value, &Snapshot::default()),
            json!([
                {"name": "cluster", "interface": "eth0", "ips": ["10.0.0.2"], "default": true},
                {"name": "cluster", "interface": "eth1", "ips": ["10.0.1.2"], "default": false},
            ])
        );
    }

    /// Multus has no entry for such a result, and leaves `default: false` out.
    #[test]
    fn a_result_without_interfaces_has_an_entry() {
        assert_eq!(
            status("ns/x", false, json!({}), &Snapshot::default()),
            json!([{"name": "ns/x", "default": false}])
        );
        let value = json!({"ips": [{"address": "10.0.0.2/24"}]});
        let expected = json!([{"name": "ns/x", "ips": ["10.0.0.2"], "default": false}]);
        assert_eq!(status("ns/x", false, value, &Snapshot::default()), expected);
    }

    #[test]
    fn a_result_of_the_oldest_layout_shows_what_the_kernel_shows() {
        let link = Link {
            index: 2,
            name: "net1".to_owned(),
            mac: Some("02:00:00:00:00:02".to_owned()),
            mtu: Some(1500),
            up: true,
            parent: None,
            addresses: Vec::new(),
        };
        let snapshot = Snapshot { links: vec![link], ..Snapshot::default() };
        let value = json!({"ips": [{"address": "10.0.0.2/24"}]});
        assert_eq!(
            status("ns/x", false, value, &snapshot),
            json!([{
                "name": "ns/x", "interface": "net1", "ips": ["10.0.0.2"], "mac": "02:00:00:00:00:02", "mtu": 1500, "default": false
            }])
        );
    }

    /// Multus shows the delegate's gateway, or `<nil>`.
    #[test]
    fn gateways_are_the_final_ones() {
        let value = json!({
            "interfaces": [{"name": "net1", "sandbox": "/n"}],
            "ips": [{"address": "10.0.0.2/24", "interface": 0, "gateway": "10.0.0.1"}],
            "routes": [{"dst": "0.0.0.0/0"}]
        });
        let entry = |name: &str, snapshot: &Snapshot| {
            status(name, false, value.clone(), snapshot)[0].clone()
        };
        let moved = routed("net1", &["10.0.0.254", "fd00::1"]);
        assert_eq!(entry("ns/routed", &moved)["gateway"], json!(["10.0.0.254", "fd00::1"]));
        assert_eq!(entry("ns/routed", &moved)["default-route"], json!(["10.0.0.254", "fd00::1"]));
        assert_eq!(entry("ns/plain", &moved).get("default-route"), None);
        assert_eq!(entry("ns/plain", &routed("eth0", &["10.0.0.254"])).get("gateway"), None);
    }
}
