use serde_json::{Value, json};

use super::*;
use crate::policy::tests::Scene;
use crate::policy::{Account, Path};

const WHO: &str = "its owner can add one to braid.io/allowed-ips, or the node's administrator can \
                   add one to policy.allowedSubnets for namespace kube-system";

fn policy() -> Value {
    json!({"policy": {
        "allowedSubnets": {"10.20.0.0/16": ["team-a"], "10.40.0.0/24": ["kube-system"]},
        "serviceCIDRs": ["10.96.0.0/12", "fd00:10:96::/112"],
        "sharedNodeNetworks": {"blue": "*"},
    }, "globalNamespaces": ["kube-system"], "keepClusterRoutes": ["10.244.0.0/16"]})
}

fn bridge(more: Value) -> Value {
    let mut bridge = json!({"name": "shared", "type": "bridge", "bridge": "br-shared", "ipam": {"type": "static"}});
    bridge.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    bridge
}

fn gateway() -> Value {
    bridge(json!({"isGateway": true}))
}

/// A pod of team-a on a network of the trusted namespace whose owner grants `list`.
fn shared(definition: Value, list: Option<&str>) -> Scene {
    let annotations = list.map_or(json!({}), |list| {
        json!({IPS_ANNOTATION: list, "braid.io/allowed-requests":
        "ips, cni-args, mac, ipam-claim-reference, default-route"})
    });
    Scene::new(policy()).of("kube-system").defined(definition).annotated(annotations)
}

fn route(destination: &str, interface: &str, kind: HostRouteKind) -> HostRoute {
    HostRoute {
        destination: destination.parse().unwrap(),
        interface: Some(interface.to_owned()),
        kind,
    }
}

/// A host with one address on eth0, a route to elsewhere, and the bridge as the first pod has left
/// it.
fn host() -> Vec<HostRoute> {
    use HostRouteKind::{Address, Connected, Other};
    vec![
        route("192.0.2.7/32", "eth0", Address),
        route("192.0.2.0/24", "eth0", Connected),
        route("2001:db8::/64", "eth0", Connected),
        route("198.51.100.0/24", "eth0", Other),
        route("203.0.113.9/32", "veth9", Other),
        route("10.30.0.1/32", "br-shared", Address),
        route("10.30.0.0/24", "br-shared", Connected),
        route("10.31.0.0/24", "br-shared", Other),
        route("10.32.0.1/32", "br-other", Address),
        route("10.32.0.0/24", "br-other", Connected),
    ]
}

#[test]
fn an_address_is_granted_by_the_owner_or_the_administrator() {
    let all = Some("10.30.0.0/24 10.30.1.5/24 fd00:30::/64");
    let table = [
        (None, "10.30.0.5/24", false),
        (None, "10.40.0.5/24", true),
        (None, "10.40.0.5", true),
        (None, "10.40.0.5/23", false),
        // team-a's own subnet is for networks of team-a.
        (None, "10.20.0.5/24", false),
        (all, "10.30.0.5/24", true),
        (all, "10.30.0.5/26", true),
        (all, "10.30.0.5/23", false),
        (all, "10.30.0.5/0", false),
        (all, "10.30.1.5/24", true),
        (all, "10.30.1.6/24", false),
        (all, "fd00:30::5/64", true),
        (all, "fd00:30::5/3", false),
    ];
    for (list, address, expected) in table {
        for definition in [bridge(json!({})), json!({"type": "unknown"})] {
            let scene = shared(definition, list).asks(json!({"ips": [address]}));
            assert_eq!(
                scene.refusal().is_empty(),
                expected,
                "{list:?} {address}: {}",
                scene.refusal()
            );
        }
    }
    let refusal = shared(bridge(json!({})), None).asks(json!({"ips": ["192.0.2.20/26"]})).refusal();
    assert_eq!(
        refusal,
        format!(
            "network \"kube-system/blue\" cannot have address \"192.0.2.20/26\": no network that \
             is granted holds it with its prefix: {WHO}"
        )
    );
}

#[test]
fn what_was_granted_is_said() {
    let granted = |scene: Scene| crate::policy::in_words(&scene.verdict().granted_by);
    let owner =
        shared(bridge(json!({})), Some("10.30.0.0/24")).asks(json!({"ips": ["10.30.0.5/24"]}));
    assert!(granted(owner).ends_with("addresses in braid.io/allowed-ips"));
    let node = shared(bridge(json!({})), None).asks(json!({"ips": ["10.40.0.5/24"]}));
    assert!(granted(node).ends_with("addresses in policy.allowedSubnets of kube-system"));
}

/// Whose word counts: the annotations of a tenant would grant its own network everything.
#[test]
fn a_tenant_grants_itself_nothing() {
    let list = json!({IPS_ANNOTATION: "0.0.0.0/0"});
    let table = [
        (DefinitionKind::Object, "team-a", "policy.allowedSubnets"),
        (DefinitionKind::EmptyObject, "team-a", "policy.allowedSubnets for namespace team-a"),
        (DefinitionKind::NodeNetwork, "team-a", "policy.allowedSubnets for namespace team-a"),
        (DefinitionKind::Manifest, "team-a", ""),
        (DefinitionKind::Object, "kube-system", ""),
        (DefinitionKind::EmptyObject, "kube-system", ""),
    ];
    for (kind, owner, expected) in table {
        let scene = Scene::new(policy()).of(owner).kind(kind).annotated(list.clone());
        let scene = scene
            .defined(json!({"name": format!("{owner}.blue"), "type": "macvlan", "master": "x"}));
        let mut scene = scene.asks(json!({"ips": ["10.96.0.10/12"]}));
        scene.config["policy"]["allowedHostInterfaces"] = json!(["*"]);
        let refusal = scene.refusal();
        let fits =
            if expected.is_empty() { refusal.is_empty() } else { refusal.ends_with(expected) };
        assert!(fits, "{kind:?} {owner}: {refusal}");
        assert!(!refusal.contains("its owner can"), "{refusal}");
    }
}

#[test]
fn every_path_is_judged() {
    let asks =
        |element: Value| shared(bridge(json!({})), Some("10.30.0.0/24")).asks(element).refusal();
    for granted in [
        json!({"cni-args": {"ips": ["10.30.0.5/24"]}}),
        json!({"cni-args": {"note": "ver-1.2.3", "mac": "02:00:00:00:00:01"}}),
        json!({"cni-args": {"deep": [{"gateway": "10.30.0.1"}]}}),
        json!({"default-route": ["192.0.2.1"]}),
    ] {
        assert_eq!(asks(granted.clone()), "", "{granted}");
    }
    let words = json!({"braid.io/allowed-requests": "ips, cni-args"});
    let asks = |element: Value| {
        shared(bridge(json!({})), None).annotated(words.clone()).asks(element).refusal()
    };
    for hidden in [
        json!({"cni-args": {"ips": ["10.40.0.5/24", "10.96.0.10/12"]}}),
        json!({"cni-args": {"IPs": "10.96.0.10/12"}}),
        json!({"cni-args": {"ip\u{17f}": ["10.96.0.10/12"]}}),
        json!({"cni-args": {"IP": "10.40.0.5/24,10.96.0.10/12"}}),
        json!({"cni-args": {"ips": {"a": 1}}}),
        json!({"cni-args": {"address": "10.96.0.10"}}),
        json!({"cni-args": {"deep": [{"er": "IP=10.96.0.10/12;x"}]}}),
        json!({"cni-args": {"range": "10.40.0.1-10.96.0.10/12"}}),
        json!({"cni-args": {"10.96.0.10/12": true}}),
        json!({"cni-args": {"address": "010.040.0.5"}}),
        json!({"cni-args": {"address": "::ffff:10.40.0.5"}}),
    ] {
        let refusal = asks(hidden.clone());
        assert!(refusal.contains("no network that is granted"), "{hidden}: {refusal}");
    }
    let primary = Scene {
        path: Path::DefaultNetwork,
        account: Account::Unknown(String::new()),
        ..shared(bridge(json!({})), None).asks(json!({"ips": ["192.0.2.20/26"]}))
    };
    let mut config = policy();
    config["policy"]["primaryOverride"] =
        json!([{"podNamespaces": ["team-a"], "definitions": ["kube-system/blue"]}]);
    let refusal = Scene { config, ..primary }.refusal();
    assert!(refusal.contains("no network that is granted"), "{refusal}");
}

#[test]
fn a_network_with_its_gateway_on_the_node_leaves_the_node_its_own() {
    let (node, gateway_taken, services) =
        ("an address or a route of the node", "that gateway's", "policy.serviceCIDRs");
    let ptp = || json!({"name": "shared", "type": "ptp", "ipam": {"type": "host-local", "gateway": "10.50.0.1"}});
    let l3 = || json!({"name": "shared", "type": "ipvlan", "master": "eth0", "mode": "l3"});
    let table = [
        (gateway(), "10.30.0.5/24", ""),
        (gateway(), "10.33.0.5/24", ""),
        (gateway(), "192.0.2.20/26", node),
        (gateway(), "192.0.2.20/16", node),
        (gateway(), "2001:db8::20/64", node),
        (gateway(), "2001:db8::20/3", node),
        (gateway(), "198.51.100.20", node),
        (gateway(), "203.0.113.20/24", node),
        (gateway(), "192.0.2.7", gateway_taken),
        (gateway(), "10.30.0.1/24", gateway_taken),
        (gateway(), "10.33.0.1/24", gateway_taken),
        (
            bridge(
                json!({"isGateway": true, "ipam": {"type": "static", "gateway": "10.33.0.254"}}),
            ),
            "10.33.0.1/24",
            "",
        ),
        (
            bridge(json!({"isGateway": true, "ipam": {"ranges": [[{"gateway": "10.33.0.9"}]]}})),
            "10.33.0.9/24",
            gateway_taken,
        ),
        (gateway(), "10.31.0.5/24", node),
        (gateway(), "10.32.0.5/24", node),
        (gateway(), "10.96.0.10/12", services),
        (gateway(), "10.0.0.1/8", services),
        (gateway(), "fd00:10:96::5/112", services),
        (gateway(), "10.244.1.5/24", services),
        (bridge(json!({"isDefaultGateway": true})), "192.0.2.20/26", node),
        // Its subnet is no route of the node: the pod's address alone is.
        (ptp(), "203.0.113.20/24", ""),
        (ptp(), "203.0.113.9/24", node),
        (ptp(), "10.50.0.1/24", gateway_taken),
        (ptp(), "192.0.2.20/26", node),
        (ptp(), "10.96.0.10", services),
        (l3(), "192.0.2.20/26", node),
        (l3(), "10.33.0.5/24", ""),
        // Nothing of the node leads to a network of layer 2.
        (bridge(json!({})), "192.0.2.20/26", ""),
        (json!({"name": "shared", "type": "ipvlan", "master": "eth0"}), "192.0.2.20/26", ""),
        (json!({"name": "shared", "type": "macvlan", "master": "eth0"}), "10.96.0.10/12", ""),
    ];
    for (definition, address, expected) in table {
        let scene =
            shared(definition.clone(), Some("0.0.0.0/0 ::/0")).asks(json!({"ips": [address]}));
        let refusal = Scene { host: host(), ..scene }.refusal();
        let fits =
            if expected.is_empty() { refusal.is_empty() } else { refusal.contains(expected) };
        assert!(fits, "{definition} {address}: {refusal}");
    }
}

#[test]
fn audit_lets_every_address_pass_and_names_it() {
    let mut config = policy();
    config["policy"]["mode"] = json!("audit");
    let scene = Scene { config, ..shared(gateway(), None).asks(json!({"ips": ["192.0.2.20/26"]})) };
    let verdict = scene.verdict();
    assert_eq!((verdict.refusal, verdict.would_refuse.len()), (None, 1));
    assert!(verdict.would_refuse[0].to_string().contains("no network that is granted"));
    let without = Scene { config: json!({"globalNamespaces": ["kube-system"]}), ..scene };
    assert_eq!(without.verdict().would_refuse, Vec::new(), "open without a policy");
}

#[test]
fn a_claim_is_bound_to_what_is_granted() {
    let claim = json!({"ipam-claim-reference": "vm1"});
    let networks = |scene: Scene| scene.verdict().granted_networks;
    let granted = shared(bridge(json!({})), Some("10.30.0.0/24")).asks(claim.clone());
    let expected = ["10.30.0.0/24", "10.40.0.0/24"].map(|network| network.parse().unwrap());
    assert_eq!(networks(granted), Some(expected.to_vec()));
    let mut config = policy();
    config["policy"]["allowedSubnets"] = json!({});
    let none = Scene { config, ..shared(bridge(json!({})), None).asks(claim.clone()) };
    assert_eq!(
        none.refusal(),
        format!(
            "network \"kube-system/blue\" takes no \"ipam-claim-reference\" from pods: no \
             addresses are granted that the claim's could lie in: {WHO}"
        )
    );
    let hidden = none.asks(json!({"cni-args": {"ipam-claim-reference": "vm1"}}));
    assert!(hidden.refusal().contains("takes no \"cni-args\""), "{}", hidden.refusal());
    assert_eq!(networks(shared(bridge(json!({})), None)), None, "nothing was asked for");
}

#[test]
fn routes_that_cannot_be_read_refuse() {
    let scene = shared(gateway(), Some("10.30.0.0/24")).asks(json!({"ips": ["10.30.0.5/24"]}));
    assert_eq!(scene.refusal(), "");
    let unknown = scene.refusal_with(Err("EPERM"));
    assert!(
        unknown.contains("the node's routes cannot be read") && unknown.ends_with("EPERM"),
        "{unknown}"
    );
}
