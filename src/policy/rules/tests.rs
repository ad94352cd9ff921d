//! Policies that are understood, and those that are not.

use super::*;
use serde_json::json;

fn read(value: Value) -> Result<Policy, PolicyError> {
    Policy::read(&value, Namespaces::from_words(["kube-system"]).unwrap())
}

#[test]
fn an_empty_policy_is_the_strictest() {
    let policy = read(json!({})).unwrap();
    let team: Namespace = "team-a".parse().unwrap();
    assert!(policy.is_enforced() && policy.trusts(&"kube-system".parse().unwrap()));
    assert!(!policy.trusts(&team) && !policy.allows_host_interface(&team, "eth0"));
    assert!(!policy.allows_subnet(&team, "10.0.0.0/24".parse().unwrap()));
    assert!(!policy.allows_primary(&team, "kube-system/x"));
    assert!(!policy.allows_vlans(&team, Vlans::new(7, 7).unwrap()));
    assert!(policy.allows_request(Request::Ips) && !policy.allows_request(Request::PortMappings));
}

#[test]
fn what_is_not_understood_makes_it_unclear() {
    let table = [
        (json!([]), "must be an object"),
        (
            json!({"allowedSubnet": []}),
            "unknown key \"allowedSubnet\": did you mean \"allowedSubnets\"?",
        ),
        (json!({"mode": "audit", "Mode": "enforce"}), "unknown key \"Mode\", which is there twice"),
        (json!({"mode": "log"}), "\"policy.mode\": \"log\" must be \"enforce\" or \"audit\""),
        (json!({"trustedNamespaces": ["Team"]}), "policy.trustedNamespaces"),
        (json!({"trustedNamespaces": {}}), "policy.trustedNamespaces"),
        (json!({"allowedRequests": ["ip"]}), "policy.allowedRequests"),
        (json!({"allowedPlugins": {"bridge": "all"}}), "policy.allowedPlugins"),
        (json!({"allowedPlugins": {"../bridge": true}}), "policy.allowedPlugins"),
        (json!({"allowedPlugins": ["bridge"]}), "policy.allowedPlugins"),
        (json!({"allowedHostInterfaces": ["["]}), "policy.allowedHostInterfaces"),
        (json!({"allowedSubnets": ["10.0.0.0/33"]}), "policy.allowedSubnets"),
        (json!({"allowedSubnets": {"10.0.0.0/8": 1}}), "policy.allowedSubnets"),
        (json!({"allowedVlans": ["0"]}), "policy.allowedVlans"),
        (json!({"allowedVlans": {"9-7": ["blue"]}}), "policy.allowedVlans"),
        (json!({"allowedVlans": ["1-4095"]}), "policy.allowedVlans"),
        (json!({"primaryOverride": [{"podNamespaces": ["*"]}]}), "policy.primaryOverride"),
        (
            json!({"primaryOverride": [{"podNamespaces": ["*"], "definitions": ["a/b/c"]}]}),
            "policy.primaryOverride",
        ),
        (
            json!({"primaryOverride": [{"podNamespaces": ["*"], "definitions": ["a/b"], "x": 1}]}),
            "policy.primaryOverride",
        ),
        (json!({"sharedNodeNetworks": {"blue": [1]}}), "policy.sharedNodeNetworks"),
        (json!({"sharedNodeNetworks": ["blue"]}), "policy.sharedNodeNetworks"),
    ];
    for (value, expected) in table {
        let message = read(value.clone()).unwrap_err().to_string();
        assert!(message.contains(expected), "{value}: {message}");
    }
    assert!(read(json!({"org.example/note": "ours", "MODE": "audit"})).is_ok());
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let policy = read(
        json!({"allowedRequests": ["portMappings"], "allowedPlugins": {"flannel": ["subnetFile"]}}),
    )
    .unwrap();
    assert!(!policy.allows_request(Request::PortMappings) && !policy.allows_request(Request::Ips));
    assert_eq!(policy.warnings.len(), 2, "{:?}", policy.warnings);
}

#[test]
fn a_subnet_is_allowed_as_a_whole_or_not() {
    let policy =
        read(json!({"allowedSubnets": {"10.0.0.0/16": ["team-a"], "fd00::/48": "*"}})).unwrap();
    let allows = |namespace: &str, network: &str| {
        policy.allows_subnet(&namespace.parse().unwrap(), network.parse().unwrap())
    };
    let table = [
        ("team-a", "10.0.3.0/24", true),
        ("team-a", "10.0.3.7/24", true),
        ("team-a", "10.0.0.0/16", true),
        ("team-a", "10.0.0.0/15", false),
        ("team-a", "10.1.0.0/24", false),
        ("team-a", "0.0.0.0/0", false),
        ("team-b", "10.0.3.0/24", false),
        ("team-b", "fd00:0:0:1::/64", true),
        ("team-b", "fd00::/32", false),
    ];
    for (namespace, network, expected) in table {
        assert_eq!(allows(namespace, network), expected, "{namespace} {network}");
    }
}

#[test]
fn host_interfaces_are_patterns() {
    let policy =
        read(json!({"allowedHostInterfaces": {"br-a?": ["team-a"], "trunk*": ["*"]}})).unwrap();
    let allows = |namespace: &str, name: &str| {
        policy.allows_host_interface(&namespace.parse().unwrap(), name)
    };
    assert!(allows("team-a", "br-a1") && allows("team-b", "trunk0.7"));
    assert!(
        !allows("team-b", "br-a1") && !allows("team-a", "br-a12") && !allows("team-a", "xtrunk0")
    );
}
