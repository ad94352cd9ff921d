//! Networks whose gateway is on the node, so that an address that a pod takes becomes a route of
//! the node.

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::request::{IPS_ANNOTATION, REQUESTS_ANNOTATION, Request};
use super::scope::words;
use crate::definition::Annotations;

use cni::keys;
use cni::netconf::{NetworkConfig, PluginConfig};
use plugins::facts::{self, Property};

/// How the node reaches the pods of a network, as far as its gateway is on the node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeGateway {
    /// The interfaces of the host that carry the gateway's address and the connected route to the
    /// pods' subnet; none if the node has a route to each pod alone.
    pub interfaces: Vec<String>,
    /// The gateways that the network names.
    pub addresses: Vec<IpNetwork>,
}

impl NodeGateway {
    /// The gateway of a network on the node; `None` if the node is no router of it, or it is not
    /// known to be one.
    pub(crate) fn of(network: &NetworkConfig) -> Option<Self> {
        let routed: Vec<&PluginConfig> =
            network.plugins.iter().filter(|plugin| facts::is_routed(plugin)).collect();
        if routed.is_empty() {
            return None;
        }
        let mut addresses = Vec::new();
        for ipam in routed.iter().filter_map(|plugin| keys::get(plugin.object(), "ipam")) {
            gateways(ipam, &mut addresses);
        }
        Some(Self { interfaces: routed.into_iter().flat_map(interfaces).collect(), addresses })
    }

    /// What the node routes to a pod with this address: its subnet if the gateway is on a
    /// bridge, else it alone.
    pub(super) fn routed(&self, address: IpNetwork) -> IpNetwork {
        if self.interfaces.is_empty() { IpNetwork::from(address.ip()) } else { address }
    }
}

/// Why a pod may take any address on the network as long as no policy is enforced: its gateway is
/// on the node, its IPAM gives out what is asked for, and its owner does not limit that. `None` if
/// it may not.
pub(crate) fn open_addresses(network: &NetworkConfig, annotations: &Annotations) -> Option<String> {
    NodeGateway::of(network)?;
    let ipam = network
        .plugins
        .iter()
        .filter_map(PluginConfig::ipam)
        .find(|ipam| facts::has(ipam, Property::GivesAnyAddress))?;
    let may_ask =
        annotations.get(REQUESTS_ANNOTATION).is_none_or(|list| words(list).any(asks_address));
    let is_open = may_ask && !annotations.contains_key(IPS_ANNOTATION);
    is_open.then(|| {
        format!(
            "pods may take any address on it, those of the node and of services too: its gateway \
             is on the node, and \"{ipam}\" gives what a pod asks for"
        )
    })
}

fn asks_address(word: &str) -> bool {
    matches!(word.parse(), Ok(Request::Ips | Request::CniArgs))
}

/// The bridge, and the interface of its VLAN, which has the gateway's address in its place.
fn interfaces(plugin: &PluginConfig) -> Vec<String> {
    let Some(bridge) = facts::gateway_bridge(plugin) else { return Vec::new() };
    let vlan = keys::get(plugin.object(), "vlan").and_then(Value::as_u64).filter(|vlan| *vlan > 0);
    std::iter::once(bridge.to_owned()).chain(vlan.map(|vlan| format!("{bridge}.{vlan}"))).collect()
}

/// Every `gateway` of an IPAM configuration, at any depth.
fn gateways(value: &Value, found: &mut Vec<IpNetwork>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let gateway = value.as_str().filter(|_| keys::is_same(key, "gateway"));
                found.extend(gateway.and_then(|gateway| gateway.parse::<IpNetwork>().ok()));
                gateways(value, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| gateways(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::netconf::Missing;
    use serde_json::json;

    fn of(plugin: Value) -> Option<Vec<String>> {
        let network = json!({"cniVersion": "1.0.0", "name": "x", "plugins": [plugin]});
        let network = NetworkConfig::parse(&network.to_string(), &Missing::default()).unwrap();
        NodeGateway::of(&network).map(|gateway| gateway.interfaces)
    }

    #[test]
    fn addresses_are_open_on_a_gateway_of_the_node_that_gives_what_is_asked_for() {
        let open = |ipam: &str, gateway: bool, annotations: Value| {
            let ipam = json!({"type": ipam});
            let network =
                json!({"name": "x", "type": "bridge", "isGateway": gateway, "ipam": ipam});
            let network = NetworkConfig::parse(&network.to_string(), &Missing::default()).unwrap();
            open_addresses(&network, &serde_json::from_value(annotations).unwrap()).is_some()
        };
        let (none, ips) = (json!({}), json!({IPS_ANNOTATION: "10.20.0.0/24"}));
        assert!(open("static", true, none.clone()) && open("whereabouts", true, none.clone()));
        assert!(!open("static", false, none.clone()) && !open("host-local", true, none));
        assert!(!open("static", true, ips));
        let requests = |list: &str| json!({REQUESTS_ANNOTATION: list});
        assert!(!open("static", true, requests("interface")));
        assert!(
            open("static", true, requests("mac, ips"))
                && open("static", true, requests("cni-args"))
        );
    }

    #[test]
    fn the_node_is_the_gateway_of_bridges_that_say_so_of_ptp_and_of_ipvlan_in_l3() {
        let bridge = |name: &str| Some(vec![name.to_owned()]);
        let table = [
            (json!({"type": "bridge", "bridge": "br0"}), None),
            (json!({"type": "bridge", "bridge": "br0", "isGateway": false}), None),
            (json!({"type": "bridge", "bridge": "br0", "isGateway": true}), bridge("br0")),
            (json!({"type": "bridge", "isDefaultGateway": true}), bridge("cni0")),
            (json!({"type": "bridge", "isGateway": false, "ISGateway": true}), bridge("cni0")),
            (
                json!({"type": "bridge", "bridge": "br0", "isGateway": true, "vlan": 7}),
                Some(vec!["br0".to_owned(), "br0.7".to_owned()]),
            ),
            (json!({"type": "ptp"}), Some(vec![])),
            (json!({"type": "ipvlan", "master": "eth0"}), None),
            (json!({"type": "ipvlan", "master": "eth0", "mode": "l3"}), Some(vec![])),
            (json!({"type": "ipvlan", "master": "eth0", "mode": "l3s"}), Some(vec![])),
            (json!({"type": "macvlan", "master": "eth0"}), None),
            (json!({"type": "flannel", "delegate": {"bridge": "br-f"}}), bridge("br-f")),
        ];
        for (plugin, expected) in table {
            assert_eq!(of(plugin.clone()), expected, "{plugin}");
        }
    }
}
