//! Faults in what ADD returns and what the kernel then shows.

use serde_json::{Value, json};

use super::{cluster, define_uplink, node, real};
use crate::node::{NOTHING, Node, text};
use crate::pod::Pod;

/// The gateways of the default routes in a result, sorted. A route that names none takes its
/// family's.
fn default_gateways(result: &Value) -> Vec<String> {
    let list = |key: &str| result[key].as_array().cloned().unwrap_or_default();
    let gateway = |route: &Value| {
        let v6 = text(&route["dst"]).contains(':');
        let own = route["gw"].as_str().map(str::to_owned);
        let of_family = || {
            list("ips")
                .iter()
                .map(|ip| text(&ip["gateway"]).to_owned())
                .find(|ip| ip.contains(':') == v6)
        };
        own.or_else(of_family).unwrap_or_default()
    };
    let routes = list("routes");
    let defaults = routes.iter().filter(|route| text(&route["dst"]).ends_with("/0"));
    let mut gateways: Vec<String> = defaults.map(gateway).collect();
    gateways.sort();
    gateways
}

/// The same as the kernel has them.
fn kernel_gateways(pod: &Pod<'_>) -> Vec<String> {
    let routes = [pod.default_routes(4), pod.default_routes(6)].concat();
    let mut gateways: Vec<String> =
        routes.iter().map(|route| route.split(' ').nth(1).unwrap().to_owned()).collect();
    gateways.sort();
    gateways
}

#[test]
fn fault_01_default_route_takes_effect_beside_eth0() {
    let node = Node::new();
    define_uplink(&node);
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "uplink", "default-route": ["10.19.0.1", "fd00:19::1"]}]);
    pod.add(real(&node)).networks_json(asked).run().assert_success();
    assert_eq!(pod.default_routes(4), ["via 10.19.0.1 dev net1"]);
    assert_eq!(pod.default_routes(6), ["via fd00:19::1 dev net1"]);
    pod.del().run().assert_success();
}

#[test]
fn fault_02_an_empty_default_route_says_what_the_kernel_does() {
    let node = Node::new();
    define_uplink(&node);
    // No gateway at all, which host-local would make up.
    let ipam = json!({"type": "static", "addresses": [{"address": "10.20.0.2/24"}]});
    node.define("team-a", "lan", json!({"type": "bridge", "bridge": "br-lan", "ipam": ipam}));
    let cases = [("uplink", vec!["10.19.0.1", "fd00:19::1"]), ("lan", vec!["fd00:1::1"])];
    for (network, gateways) in cases {
        let pod = node.pod("team-a", "web");
        let asked = json!([{"name": network, "default-route": []}]);
        let result = pod.add(real(&node)).networks_json(asked).run().assert_success();
        assert_eq!(kernel_gateways(&pod), gateways, "{network}: kernel");
        assert_eq!(default_gateways(&result), gateways, "{network}: result");
        pod.check().run().assert_success();
        pod.del().run().assert_success();
    }
}

#[test]
fn fault_12_what_was_asked_for_is_there_or_the_pod_does_not_start() {
    let node = node();
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let bandwidth =
        json!({"ingressRate": 1000, "ingressBurst": 1000, "egressRate": 1000, "egressBurst": 1000});
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let asked = [
        (103, "ips", json!(["10.9.0.77/24"])),
        (103, "mac", json!("02:23:45:67:89:01")),
        (7, "portMappings", ports),
        (7, "bandwidth", bandwidth),
    ];
    for (code, key, value) in asked {
        let mut element = json!({"name": "blue"});
        element[key] = value;
        let failed = pod.add(cluster()).networks_json(json!([element])).run();
        failed.assert_error(code, ["team-a/blue", key, "capabilities"]);
        assert_eq!(pod.links(), NOTHING, "{key}");
        assert_eq!(node.leftovers(&before), NOTHING, "{key}");
    }
}

#[test]
fn fault_15_the_result_is_in_the_requests_version_and_codes_are_kept() {
    let node = node();
    for version in ["0.3.1", "0.4.0", "1.1.0"] {
        let pod = node.pod("team-a", "web");
        let result = pod
            .add(cluster())
            .with(json!({"cniVersion": version}))
            .networks("blue")
            .run()
            .assert_success();
        assert_eq!(result["cniVersion"], version);
        let families = result["ips"].as_array().unwrap().iter().map(|ip| ip["version"].is_null());
        assert_eq!(families.collect::<Vec<_>>(), [version == "1.1.0"; 2], "{version}: {result}");
        pod.del().run().assert_success();
    }
    for (kind, networks) in [("cluster", ""), ("blue", "blue")] {
        for code in [11, 42] {
            node.script(kind, json!({"ADD": {"error": {"code": code, "msg": "not now"}}}));
            let pod = node.pod("team-a", "web");
            pod.add(cluster()).networks(networks).run().assert_error(code, ["not now"]);
        }
        node.script(kind, json!({}));
    }
}

#[test]
fn fault_16_automatic_names_keep_clear_of_asked_ones() {
    let node = node();
    for (networks, links) in [
        ("blue@net2, red", vec!["eth0", "net2", "net3"]),
        ("blue, red@net1", vec!["eth0", "net1", "net2"]),
        ("blue@net2, red, blue, red", vec!["eth0", "net2", "net3", "net4", "net5"]),
    ] {
        let pod = node.pod("team-a", "web");
        pod.add(cluster()).networks(networks).run().assert_success();
        assert_eq!(pod.links(), links, "{networks}");
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(pod.links(), NOTHING, "{networks}");
    }
}

#[test]
fn fault_22_a_result_without_interfaces_and_the_requested_gateway_are_shown() {
    let node = node();
    // The interface is there; the plugin does not mention it.
    let silent = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.254"}]});
    node.script("blue", json!({"ADD": {"link": true, "result": silent}}));
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "blue", "default-route": ["10.9.0.1"]}]);
    let result = pod.add(cluster()).networks_json(asked).run().assert_success();
    let ip =
        result["ips"].as_array().unwrap().iter().find(|ip| ip["address"] == "10.9.0.2/24").unwrap();
    let index = usize::try_from(ip["interface"].as_u64().expect("an index")).unwrap();
    assert_eq!(result["interfaces"][index]["name"], "net1");
    assert_eq!(result["interfaces"][index]["sandbox"], pod.netns_path());
    assert_eq!(default_gateways(&result), ["10.9.0.1"]);
    assert_eq!(pod.default_routes(4), ["via 10.9.0.1 dev net1"]);
    for nothing in ["<nil>", "null"] {
        assert!(!result.to_string().contains(nothing), "{result}");
    }
}
