//! What a pod asks of a network is what it gets: addresses, MAC, capability arguments, interface
//! names.

use serde_json::{Value, json};

use crate::node::{NOTHING, Node};
use crate::pod::Pod;

#[test]
fn an_address_of_an_extra_network_never_goes_without_an_interface() {
    let node = Node::new();
    node.network("blue", json!({}));
    let result = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]});
    node.script("blue", json!({"ADD": {"result": result}}));
    let result =
        node.pod("team-a", "web").add(node.delegating()).networks("blue").run().assert_success();
    assert_eq!(result["ips"][1], json!({"address": "10.9.0.2/24", "interface": 1}));
    assert_eq!(result["interfaces"][1]["name"], "net1");
}

#[test]
fn an_address_is_given_by_static_through_its_capability() {
    let node = Node::new();
    let lan = json!({"type": "bridge", "bridge": "br1", "ipam": {"type": "static"}, "capabilities": {"ips": true}});
    node.define("team-a", "lan", lan);
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "lan", "ips": ["10.7.0.77/24", "fd07::77/64"]}]);
    pod.add_chained(json!({})).networks_json(asked).run().assert_success();
    assert_eq!(pod.addresses("net1"), ["10.7.0.77/24", "fd07::77/64"]);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(pod.links(), NOTHING);
}

#[test]
fn an_address_is_given_by_host_local_with_the_capability_or_without() {
    for capabilities in [json!({"ips": true}), json!({})] {
        let node = Node::new();
        let ipam = node.host_local("10.7.0.0/24");
        let lan =
            json!({"type": "bridge", "bridge": "br1", "ipam": ipam, "capabilities": capabilities});
        node.define("team-a", "lan", lan);
        let pod = node.pod("team-a", "web");
        pod.add_chained(json!({}))
            .networks_json(json!([{"name": "lan", "ips": ["10.7.0.77"]}]))
            .run()
            .assert_success();
        assert_eq!(pod.addresses("net1"), ["10.7.0.77/24"]);
        pod.del().run().assert_success();
        assert_eq!(node.reservations("lan"), NOTHING);
    }
}

#[test]
fn a_mac_is_given_by_tuning() {
    let node = Node::new();
    let lan = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": [
        {"type": "bridge", "bridge": "br1", "ipam": node.host_local("10.7.0.0/24")},
        {"type": "tuning", "capabilities": {"mac": true}},
    ]});
    node.define("team-a", "lan", lan);
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "lan", "mac": "02:23:45:67:89:01"}]);
    pod.add_chained(json!({})).networks_json(asked).run().assert_success();
    assert_eq!(pod.link("net1")["address"], "02:23:45:67:89:01");
    pod.check().run().assert_success();
    pod.del().run().assert_success();
}

#[test]
fn what_was_asked_and_not_given_is_an_error_with_the_remedy_and_everything_undone() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"], "link": true}));
    let before = node.dump();
    let asked = [
        (
            json!({"name": "blue", "ips": ["10.9.0.77/24"]}),
            ["ips 10.9.0.77", "10.9.0.2/24", "{\"ips\": true}"],
        ),
        (
            json!({"name": "blue", "mac": "02:00:00:00:00:77"}),
            ["mac 02:00:00:00:00:77", "net1", "{\"mac\": true}"],
        ),
    ];
    for (element, said) in asked {
        let pod = node.pod("team-a", "web");
        pod.add_chained(json!({})).networks_json(json!([element])).run().assert_error(103, said);
        assert_eq!(pod.links(), NOTHING);
    }
    assert_eq!(node.leftovers(&before), NOTHING);
    assert_eq!(
        node.calls_in_order(),
        ["ADD blue net1", "DEL blue net1", "ADD blue net1", "DEL blue net1"]
    );
}

#[test]
fn addresses_and_mac_travel_in_cni_args_too() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    let pod = node.pod("team-a", "web");
    let asked = json!([{"name": "blue", "ips": ["10.9.0.2/24"], "cni-args": {"vlan": 7}}]);
    pod.add_chained(json!({})).networks_json(asked).run().assert_success();
    let call = node.only_call("ADD", "blue");
    let args = call.variable("CNI_ARGS");
    assert!(args.split(';').any(|pair| pair == "IP=10.9.0.2/24"), "{args}");
    assert_eq!(call.stdin()["args"]["cni"], json!({"vlan": 7}));
    assert_eq!(call.stdin()["runtimeConfig"], Value::Null, "not declared");
}

#[test]
fn capability_arguments_of_a_pods_network_are_there_on_add_and_del() {
    let node = Node::new();
    let all =
        json!({"portMappings": true, "bandwidth": true, "infinibandGUID": true, "deviceID": true});
    node.network("blue", json!({"capabilities": all}));
    let pod = node.pod("team-a", "web");
    let asked = json!([{
        "name": "blue", "portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 2000}, "infiniband-guid": "24:8a:07:03:00:8d:ae:2f",
        "deviceID": "0000:00:1f.6",
    }]);
    pod.add_chained(json!({})).networks_json(asked).run().assert_success();
    pod.del().run().assert_success();
    for verb in ["ADD", "DEL"] {
        let arguments = node.only_call(verb, "blue").stdin()["runtimeConfig"].clone();
        assert_eq!(arguments["portMappings"][0]["hostPort"], 80, "{verb}");
        assert_eq!(
            arguments["bandwidth"],
            json!({"ingressRate": 1000, "ingressBurst": 2000}),
            "{verb}"
        );
        assert_eq!(arguments["infinibandGUID"], "24:8a:07:03:00:8d:ae:2f", "{verb}");
        assert_eq!(arguments["deviceID"], "0000:00:1f.6", "{verb}");
    }
}

#[test]
fn interface_names_count_by_position_and_skip_what_is_taken() {
    let node = Node::new();
    for name in ["blue", "red", "green"] {
        node.network(name, json!({}));
    }
    let names = |pod: &Pod<'_>, networks: &str| {
        node.forget_calls();
        pod.add_chained(json!({})).networks(networks).run().assert_success();
        node.calls_in_order()
    };
    let pod = node.pod("team-a", "web");
    assert_eq!(names(&pod, "blue@x0,red"), ["ADD blue x0", "ADD red net2"]);
    let pod = node.pod("team-a", "db");
    pod.ip("link add net1 type bridge");
    assert_eq!(
        names(&pod, "blue,red@net2,green"),
        ["ADD blue net3", "ADD red net2", "ADD green net4"]
    );
}
