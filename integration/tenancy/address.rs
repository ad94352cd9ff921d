//! Addresses that pods ask for, against those that the node and the cluster have.

use serde_json::{Value, json};

use super::{Cluster, policy};

/// A node with an address of its own, and a bridge with a gateway that its administrator shares
/// with all.
fn cluster(annotations: Value, more: Value) -> Cluster {
    let cluster = Cluster::new();
    cluster.node.host().ip("link add eth0 type veth peer name wire0");
    for command in
        ["address add 192.0.2.7/24 dev eth0", "address add 2001:db8::7/64 dev eth0 nodad"]
    {
        cluster.node.host().ip(command);
    }
    for link in ["eth0", "wire0"] {
        cluster.node.host().ip(&format!("link set {link} up"));
    }
    let mut definition = json!({
        "cniVersion": "1.0.0", "name": "shared", "type": "bridge", "bridge": "br-shared", "isGateway": true,
        "ipam": {"type": "static"}, "capabilities": {"ips": true},
    });
    definition.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let mut words = json!({"braid.io/allowed-namespaces": "*"});
    words.as_object_mut().unwrap().extend(annotations.as_object().cloned().unwrap());
    cluster.publish("kube-system", "shared", words, Some(definition));
    cluster
}

fn element(more: Value) -> Value {
    let mut element = json!({"name": "shared", "namespace": "kube-system"});
    element.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!([element])
}

/// What the host shows of the bridge, and where it sends what is for an address.
fn host(cluster: &Cluster, address: &str) -> (bool, String) {
    let shown = cluster.node.host().ip("-o address show");
    let route = cluster.node.host().ip(&format!("-o route get {address}"));
    (shown.contains("br-shared"), route)
}

#[test]
fn an_address_that_is_not_granted_is_refused_on_every_path() {
    let words = json!({"braid.io/allowed-requests": "ips, cni-args"});
    for undeclared in [json!({}), json!({"capabilities": {}})] {
        let cluster = cluster(words.clone(), undeclared);
        let before = host(&cluster, "192.0.2.20");
        let attacks = [
            json!({"ips": ["192.0.2.20/26"]}),
            json!({"ips": ["10.96.0.10/12"]}),
            json!({"ips": ["2001:db8::20/3"]}),
            json!({"cni-args": {"ips": ["192.0.2.20/26"]}}),
            json!({"cni-args": {"IP": "192.0.2.20/26"}}),
            json!({"cni-args": {"vendor": {"address": "192.0.2.20/26"}}}),
        ];
        for attack in attacks {
            let refusal = cluster.refusal(policy(), &element(attack.clone()).to_string());
            assert!(refusal.contains("no network that is granted holds it"), "{attack}: {refusal}");
        }
        let mut rules = policy();
        rules["primaryOverride"] =
            json!([{"podNamespaces": "*", "definitions": ["kube-system/shared"]}]);
        let pod = cluster.node.pod("team-a", "web");
        let asked = json!([{"name": "shared", "ips": ["192.0.2.20/26"]}]).to_string();
        let primary = pod.add(cluster.config(rules)).default_network(&asked).run();
        primary.assert_error(7, ["no network that is granted holds it"]);
        assert_eq!(host(&cluster, "192.0.2.20"), before);
    }
    let cluster = cluster(json!({}), json!({}));
    let uplink =
        json!({"name": "uplink", "type": "bridge", "isGateway": true, "ipam": {"type": "static"}});
    cluster.node.write("braid.d/10-uplink.conf", &uplink.to_string());
    let mut rules = policy();
    rules["sharedNodeNetworks"] = json!({"uplink": "*"});
    let refusal = cluster.refusal(rules, r#"[{"name": "uplink", "ips": ["192.0.2.20/26"]}]"#);
    let who = "no network that is granted holds it with its prefix: the node's administrator can \
               add one to policy.allowedSubnets for namespace team-a";
    assert!(refusal.ends_with(who), "{refusal}");
}

#[test]
fn an_address_of_the_node_is_refused_under_every_grant() {
    let cluster = cluster(json!({"braid.io/allowed-ips": "0.0.0.0/0 ::/0"}), json!({}));
    let before = host(&cluster, "192.0.2.20");
    let (node, services) =
        ("it overlaps an address or a route of the node", "it overlaps the cluster's own");
    let attacks = [
        ("192.0.2.20/26", node),
        ("192.0.2.20/16", node),
        ("2001:db8::20/64", node),
        ("2001:db8::20/3", node),
        ("192.0.2.7/24", "it is that gateway's, or another address of the node itself"),
        ("10.96.0.10/12", services),
        ("fd00:10:96::10/112", services),
    ];
    for (address, expected) in attacks {
        let refusal = cluster.refusal(policy(), &element(json!({"ips": [address]})).to_string());
        assert!(refusal.contains(expected), "{address}: {refusal}");
    }
    assert_eq!(host(&cluster, "192.0.2.20"), before);
    // The attack is one: without a policy, which leaves this open, the node loses its way to the
    // address.
    let pod = cluster.node.pod("team-a", "web");
    let asked = element(json!({"ips": ["192.0.2.20/26"]}));
    pod.add(cluster.config(Value::Null)).networks_json(asked).run().assert_success();
    assert_ne!(host(&cluster, "192.0.2.20"), before);
}

#[test]
fn a_granted_address_is_given_with_its_gateway_on_the_node() {
    let cluster = cluster(json!({"braid.io/allowed-ips": "10.30.0.0/24 fd00:30::/64"}), json!({}));
    let start = |name: &str, last: u8| {
        let pod = cluster.node.pod("team-a", name);
        let asked =
            element(json!({"ips": [format!("10.30.0.{last}/24"), format!("fd00:30::{last}/64")]}));
        pod.add(cluster.config(policy())).networks_json(asked).run().assert_success();
        pod
    };
    let (web, db) = (start("web", 5), start("db", 6));
    assert!(web.pings("10.30.0.6") && db.pings("10.30.0.1") && db.pings("fd00:30::5"));
    let taken = element(json!({"ips": ["10.30.0.1/24"]}));
    let call = cluster.node.pod("team-a", "spy");
    let call = call.add(cluster.config(policy())).networks_json(taken);
    call.run().assert_error(7, ["it is that gateway's, or another address of the node itself"]);
}

#[test]
fn the_address_of_a_claim_is_held_against_the_grant() {
    let words = json!({"braid.io/allowed-ips": "10.30.0.0/24"});
    let claim = || element(json!({"ipam-claim-reference": "vm1"}));
    let given = |address: &str| {
        let cluster = cluster(words.clone(), json!({"type": "blue", "addresses": [address]}));
        let pod = cluster.node.pod("team-a", "web");
        let outcome = pod.add(cluster.config(policy())).networks_json(claim()).run();
        let calls = cluster.node.calls_in_order();
        (
            outcome.json()["msg"].as_str().map(str::to_owned),
            calls.contains(&"DEL blue net1".to_owned()),
        )
    };
    assert_eq!(given("10.30.0.5/24"), (None, false));
    let (refusal, is_undone) = given("10.96.0.10/12");
    let refusal = refusal.unwrap();
    assert!(
        is_undone && refusal.contains("which is in no network that the pod is granted"),
        "{refusal}"
    );
}

#[test]
fn audit_gives_the_address_and_writes_it_down() {
    let cluster = cluster(json!({}), json!({}));
    let mut rules = policy();
    rules["mode"] = json!("audit");
    let pod = cluster.node.pod("team-a", "web");
    let asked = element(json!({"ips": ["10.30.0.5/24"]}));
    let outcome = pod.add(cluster.config(rules)).networks_json(asked).run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("no network that is granted holds it"), "{}", outcome.stderr);
    let decision = &cluster.decisions()[0];
    assert_eq!((&decision["decision"], &decision["rules"]), (&json!("audited"), &json!(["value"])));
}
