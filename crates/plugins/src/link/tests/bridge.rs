//! bridge and ptp, beside the reference plugins.

use cni::request::Command;
use serde_json::{Value, json};

use crate::testing::node::{Node, Who};
use crate::testing::twins::{Twist, compare, l2, network, with_result};

const BOTH: &[(&str, Option<&str>)] =
    &[("10.1.0.5/24", Some("10.1.0.1")), ("fd01::5/64", Some("fd01::1"))];

fn bridge(keys: Value) -> Value {
    let mut plugin = json!({"type": "bridge", "bridge": "br0"});
    plugin.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    plugin
}

#[test]
fn a_dual_stack_bridge_is_the_reference_s() {
    let routes = json!([{"dst": "172.16.0.0/12"}, {"dst": "10.9.0.0/16", "gw": "10.1.0.9"}, {"dst": "fd09::/48"}]);
    let keys = json!({"mtu": 1400, "runtimeConfig": {"mac": "02:00:00:00:00:05"}, "dns": {"search": ["a.example"]}});
    // Before 1.3 the reference's CHECK misses routes without a gateway.
    compare(
        &network(bridge(keys), BOTH, routes),
        Twist { reference_check_fails: true, ..Twist::default() },
    );
}

#[test]
fn a_gateway_on_the_bridge_is_the_reference_s() {
    let keys = json!({"isDefaultGateway": true, "args": {"cni": {"mac": "02:00:00:00:00:06"}}});
    compare(&network(bridge(keys), BOTH, json!([])), Twist::default());
}

#[test]
fn a_gateway_that_ipam_leaves_out_is_the_first_address() {
    let addresses = [("10.1.0.5/24", None), ("fd01::5/64", None)];
    compare(&network(bridge(json!({"isGateway": true})), &addresses, json!([])), Twist::default());
}

#[test]
fn an_address_that_stands_against_the_gateway_s_goes_if_it_is_forced() {
    let before = "link add br0 type bridge; addr add 10.7.0.1/24 dev br0; addr add 10.8.0.1/24 dev \
                  br0; addr add fd01::9/64 dev br0; addr add fd07::1/64 dev br0; link set br0 up";
    let keys = json!({"isGateway": true, "forceAddress": true});
    compare(&network(bridge(keys), BOTH, json!([])), Twist { before, ..Twist::default() });
}

#[test]
fn port_settings_are_the_reference_s() {
    let keys = json!({"hairpinMode": true});
    let args = "IgnoreUnknown=1;MAC=02:00:00:00:00:07;K8S_POD_NAME=x";
    compare(&network(bridge(keys), BOTH, json!([])), Twist { args, ..Twist::default() });
    compare(
        &network(bridge(json!({"promiscMode": true, "enabledad": true})), &BOTH[..1], json!([])),
        Twist::default(),
    );
}

#[test]
fn an_existing_bridge_keeps_its_mtu() {
    let before = "link add br0 mtu 1450 type bridge";
    let config = network(bridge(json!({"mtu": 1400})), &BOTH[..1], json!([]));
    compare(&config, Twist { before, ..Twist::default() });
}

#[test]
fn an_l2_bridge_passes_check() {
    compare(&l2(bridge(json!({}))), Twist { reference_check_fails: true, ..Twist::default() });
}

#[test]
fn ptp_is_the_reference_s() {
    let routes =
        json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "172.16.0.0/12", "gw": "10.1.0.1"}]);
    let config = network(json!({"type": "ptp", "mtu": 1400}), BOTH, routes);
    compare(&config, Twist { reference_check_fails: false, ..Twist::default() });
}

#[test]
fn ptp_takes_two_addresses_of_one_gateway_and_one_that_is_a_subnet_of_its_own() {
    let node = Node::new();
    let addresses = [
        ("10.1.0.5/24", Some("10.1.0.1")),
        ("10.1.0.6/24", Some("10.1.0.1")),
        ("10.2.0.5/32", Some("10.2.0.1")),
    ];
    let config = network(json!({"type": "ptp"}), &addresses, json!([{"dst": "0.0.0.0/0"}]));
    let result = node.call(Who::Ours, Command::Add, &config).unwrap();
    let config = with_result(&config, &result);
    node.call(Who::Ours, Command::Check, &config).unwrap();
    let routes = node.in_container("route");
    for line in [
        "default via 10.1.0.1 dev eth0",
        "10.1.0.0/24 via 10.1.0.1",
        "10.2.0.1 dev eth0 scope link src 10.2.0.5",
    ] {
        assert!(routes.contains(line), "{line} is not in\n{routes}");
    }
    node.in_container("route get 10.1.0.1");
    let pinged = node
        .container
        .run(|| std::process::Command::new("ping").args(["-c1", "-W2", "10.2.0.1"]).output());
    assert!(pinged.unwrap().unwrap().status.success(), "{routes}");
}

#[test]
fn ptp_takes_the_route_of_a_container_that_is_gone() {
    let node = Node::new();
    node.on_host(
        "link add old0 type veth peer name old1; link set old0 up; link set old1 up; \
                  route add 10.1.0.5/32 dev old0 scope host",
    );
    let config = network(json!({"type": "ptp"}), &BOTH[..1], json!([]));
    let result = node.call(Who::Ours, Command::Add, &config).unwrap();
    let end = result["interfaces"][0]["name"].as_str().unwrap().to_owned();
    assert!(node.on_host("route show 10.1.0.5").contains(&format!("dev {end}")));
}

#[test]
fn mtu_and_advmss_of_routes_are_applied_and_tables_pass_check() {
    let node = Node::new();
    let mut config = l2(bridge(json!({"cniVersion": "1.1.0"})));
    let routes = json!([
        {"dst": "172.16.0.0/12", "mtu": 1300, "advmss": 1200, "priority": 7},
        {"dst": "10.9.0.0/16", "table": 300, "gw": "10.1.0.1"},
        {"dst": "10.8.0.0/16", "scope": 253},
    ]);
    let ips = json!([{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]);
    config["ipam"] =
        json!({"type": "given", "result": {"cniVersion": "1.1.0", "ips": ips, "routes": routes}});
    let result = node.call(Who::Ours, Command::Add, &config).unwrap();
    node.call(Who::Ours, Command::Check, &with_result(&config, &result)).unwrap();
    let routes = node.in_container("route show table all");
    for line in [
        "172.16.0.0/12 via 10.1.0.1 dev eth0 metric 7 mtu 1300 advmss 1200",
        "10.9.0.0/16 via 10.1.0.1 dev eth0 table 300",
    ] {
        assert!(routes.contains(line), "{line} is not in\n{routes}");
    }
}

#[test]
fn check_passes_while_tcpdump_listens_and_tells_what_has_changed() {
    let node = Node::new();
    let config =
        network(bridge(json!({"isGateway": true})), BOTH, json!([{"dst": "172.16.0.0/12"}]));
    let result = node.call(Who::Ours, Command::Add, &config).unwrap();
    let config = with_result(&config, &result);
    let check = || node.call(Who::Ours, Command::Check, &config);
    check().unwrap();
    let end = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    let drifts = [
        ("route del 172.16.0.0/12", "the route to 172.16.0.0/12 is gone from the container"),
        ("addr del 10.1.0.5/24 dev eth0", "interface \"eth0\" has lost its address 10.1.0.5/24"),
        (
            "link set eth0 address 02:00:00:00:00:77",
            "interface \"eth0\" has the hardware address 02:00:00:00:00:77",
        ),
    ];
    for (line, sentence) in drifts {
        node.in_container(line);
        let error = check().unwrap_err();
        assert!(error.msg.starts_with(sentence), "{line}: {error}");
    }
    node.on_host(&format!("link set {end} nomaster"));
    let error = node.call(Who::Ours, Command::Check, &config).unwrap_err();
    assert!(error.msg.contains("hardware address"), "{error}");
    node.on_host("link del br0");
    assert_eq!(check().unwrap_err().msg, "bridge \"br0\" is gone");
}

#[test]
fn a_failed_add_leaves_nothing_and_the_next_one_works() {
    let node = Node::new();
    node.on_host("link add br0 type bridge; addr add 10.7.0.1/24 dev br0; link set br0 up");
    let gateway = bridge(json!({"isGateway": true}));
    let mut broken = network(gateway.clone(), BOTH, json!([]));
    broken["ipam"] = json!({"type": "broken"});
    let unreachable =
        network(bridge(json!({})), &BOTH[..1], json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.77"}]));
    let taken = network(gateway, BOTH, json!([]));
    for (config, sentence) in [
        (&broken, "no address is left"),
        (&unreachable, "gateway 192.0.2.77 is in no subnet of the interface"),
        (&taken, "has the address 10.7.0.1/24 already"),
    ] {
        let error = node.call(Who::Ours, Command::Add, config).unwrap_err();
        assert!(error.msg.contains(sentence), "{error}");
        assert!(!node.has_interface(), "{sentence}");
        assert_eq!(node.host_links(), ["br0"], "{sentence}");
        node.call(Who::Ours, Command::Del, config).unwrap();
    }
    node.call(Who::Ours, Command::Add, &network(bridge(json!({})), BOTH, json!([]))).unwrap();
}
