use serde_json::{Value, json};

use super::config::Config;
use super::ingress::Ingress;
use super::*;
use cni::request::{Environment, Request};
use cni::result::Interface;

fn read(keys: &Value) -> Result<Config, Error> {
    let mut config = json!({"cniVersion": "1.0.0", "name": "blue", "type": "firewall"});
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let environment = [("CNI_COMMAND", "STATUS"), ("CNI_PATH", "/x")];
    let request = Request::read(Environment::from(environment)).unwrap().unwrap();
    config["cniVersion"] = json!("1.1.0");
    let call = Call::from_value(&request, config, Version::V0_4_0).unwrap();
    Config::read(&call)
}

#[test]
fn hostile_values_are_code_7() {
    for (keys, sentence) in [
        (json!({"ingressPolicy": "closed"}), "\"ingressPolicy\" must be"),
        (json!({"ingressPolicy": 5}), "\"ingressPolicy\" must be"),
        (json!({"backend": []}), "\"backend\" must be a text"),
        (json!({"iptablesAdminChainName": "a b"}), "\"iptablesAdminChainName\" must be"),
        (json!({"iptablesAdminChainName": "-j"}), "\"iptablesAdminChainName\" must be"),
        (
            json!({"iptablesAdminChainName": "X\n-A INPUT -j DROP"}),
            "\"iptablesAdminChainName\" must be",
        ),
        (json!({"iptablesAdminChainName": "x".repeat(29)}), "\"iptablesAdminChainName\" must be"),
        (json!({"iptablesAdminChainName": "CNI-FORWARD"}), "has another use"),
        (json!({"firewalldZone": "a b"}), "\"firewalldZone\" must be"),
        (json!({"firewalldZone": "a\0b"}), "\"firewalldZone\" must be"),
    ] {
        let error = read(&keys).map(drop).unwrap_err();
        assert_eq!(error.code, Code::CONFIG, "{keys}");
        assert!(error.msg.contains(sentence), "{keys}: {error}");
    }
    read(&json!({"backend": "nft; flush ruleset"})).unwrap();
}

#[test]
fn a_policy_is_for_a_bridge_that_iptables_can_name() {
    let result = |name: &str| AttachmentResult {
        interfaces: vec![Interface { name: name.to_owned(), ..Interface::default() }],
        ..AttachmentResult::default()
    };
    let bridge = |name| ingress::bridge(Ingress::Isolated, &result(name));
    assert_eq!(bridge("br0").unwrap().as_deref(), Some("br0"));
    for name in ["", "br+", "-j", "!br0", "a b", "a\"b", "a\nb", "sixteen-bytes-xx", "brücke"] {
        assert_eq!(bridge(name).unwrap_err().code, Code::CONFIG, "{name}");
    }
    assert!(ingress::bridge(Ingress::SameBridge, &AttachmentResult::default()).is_err());
    assert_eq!(ingress::bridge(Ingress::Open, &AttachmentResult::default()).unwrap(), None);
}
