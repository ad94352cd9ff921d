use std::time::Duration;

use cni::deadline::Deadline;
use cni::plugin::{Answer, NeverStop, NoDelegates, answer};
use cni::request::{Environment, Request};
use serde_json::{Value, json};

use super::*;

fn run(command: &str, args: &str, config: &Value) -> Answer {
    let environment = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "net1"),
        ("CNI_ARGS", args),
    ];
    let request = Request::read(Environment::from(environment)).unwrap().unwrap();
    let deadline = Deadline::after(Duration::from_secs(5));
    let mut context = Context { delegate: &mut NoDelegates, deadline, stop: &NeverStop };
    answer(&Static, &request, config.to_string().as_bytes(), &mut context)
}

fn config(ipam: Value) -> Value {
    json!({"cniVersion": "1.1.0", "name": "lan", "type": "bridge", "ipam": ipam})
}

fn with(mut config: Value, key: &str, value: Value) -> Value {
    config[key] = value;
    config
}

fn addresses(answer: Answer) -> Vec<String> {
    let result = answer.outcome.unwrap().unwrap();
    let ips = result["ips"].as_array().cloned().unwrap_or_default();
    let shown = |ip: Value| {
        format!("{} {}", ip["address"].as_str().unwrap(), ip["gateway"].as_str().unwrap_or("-"))
    };
    ips.into_iter().map(shown).collect()
}

fn problem(answer: Answer) -> (u64, String) {
    let error = answer.outcome.unwrap_err();
    (error.code.0, error.msg)
}

#[test]
fn addresses_routes_and_dns_are_copied() {
    let config = config(json!({
        "type": "static",
        "addresses": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}, {"address": "fd00::5/64"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd01::/16", "gw": "fd00::1", "mtu": 1400, "table": 0, "priority": 0}],
        "dns": {"nameservers": ["10.1.0.1"], "search": ["example.com"], "domain": "", "other": 1},
    }));
    assert_eq!(
        run("ADD", "", &config).outcome.unwrap().unwrap(),
        json!({
            "cniVersion": "1.1.0",
            "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}, {"address": "fd00::5/64"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd01::/16", "gw": "fd00::1", "mtu": 1400, "table": 0}],
            "dns": {"nameservers": ["10.1.0.1"], "search": ["example.com"]},
        })
    );
}

#[test]
fn a_gateway_of_cni_args_goes_to_the_addresses_of_cni_args() {
    let config = config(json!({"type": "static", "addresses": [{"address": "10.1.0.5/16"}]}));
    let answer = run("ADD", "IP=10.1.0.6/16, fd00::6/64;GATEWAY=10.1.0.1,fd00::1", &config);
    assert_eq!(addresses(answer), ["10.1.0.5/16 -", "10.1.0.6/16 10.1.0.1", "fd00::6/64 fd00::1"]);
}

#[test]
fn args_replace_what_is_configured_and_the_capability_replaces_args() {
    let base = config(
        json!({"type": "static", "addresses": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}]}),
    );
    let args = with(base, "args", json!({"cni": {"ips": ["10.1.0.6/16"]}}));
    assert_eq!(addresses(run("ADD", "IP=10.1.0.9/16", &args)), ["10.1.0.6/16 -"]);
    let both = with(args.clone(), "RuntimeConfig", json!({"ips": ["10.1.0.7/16"]}));
    assert_eq!(addresses(run("ADD", "", &both)), ["10.1.0.7/16 -"]);
    let none = with(args, "runtimeConfig", json!({"ips": []}));
    assert_eq!(
        addresses(run("ADD", "", &none)),
        ["10.1.0.6/16 -"],
        "an empty list replaces nothing"
    );
}

#[test]
fn wrong_types_and_values_are_code_7_and_named() {
    let cases = [
        (json!([]), "\"ipam\" must be an object, not a list"),
        (json!({"addresses": {}}), "\"ipam.addresses\" must be a list, not an object"),
        (json!({"addresses": [{}]}), "\"ipam.addresses[0].address\" is missing"),
        (
            json!({"addresses": [{"address": "10.1.0.5"}]}),
            "\"ipam.addresses[0].address\" must be an address with prefix",
        ),
        (
            json!({"addresses": [{"address": "10.1.0.5/16", "gateway": "x"}]}),
            "\"ipam.addresses[0].gateway\" must be an IP",
        ),
        (json!({"routes": [{"gw": "10.1.0.1"}]}), "\"ipam.routes[0].dst\" is missing"),
        (
            json!({"routes": [{"dst": "10.0.0.0/8", "mtu": "x"}]}),
            "\"ipam.routes[0].mtu\" must be a whole number",
        ),
        (json!({"dns": {"search": "a"}}), "\"ipam.dns.search\" must be a list"),
    ];
    for (ipam, said) in cases {
        for verb in ["ADD", "STATUS"] {
            let (code, msg) = problem(run(verb, "", &config(ipam.clone())));
            assert!(code == 7 && msg.starts_with(said), "{verb} {ipam}: {code} {msg}");
        }
        assert!(run("DEL", "", &config(ipam)).outcome.is_ok(), "nothing can be left");
    }
}

#[test]
fn keys_of_cni_args_are_known_or_ignored() {
    let config = config(json!({"addresses": [{"address": "10.1.0.5/16"}]}));
    for args in
        ["", "IgnoreUnknown=1;K8S_POD_NAME=web", "K8S_POD_NAME=web;IgnoreUnknown=TRUE;", "IP="]
    {
        assert_eq!(addresses(run("ADD", args, &config)), ["10.1.0.5/16 -"], "{args}");
    }
    for args in [
        "K8S_POD_NAME=web",
        "ip=10.1.0.6/16",
        "IP",
        "IgnoreUnknown=yes",
        "IP=10.1.0.6",
        "GATEWAY=x",
    ] {
        assert_eq!(problem(run("ADD", args, &config)).0, 7, "{args}");
    }
}

#[test]
fn an_old_version_has_one_address_of_each_family() {
    let two = json!([{"address": "10.1.0.5/16"}, {"address": "10.1.0.6/16"}]);
    let old = |ipam: Value| with(config(ipam), "cniVersion", json!("0.2.0"));
    let (code, msg) = problem(run("ADD", "", &old(json!({"addresses": two}))));
    assert!(code == 7 && msg.contains("room for one IPv4 address"), "{msg}");
    let dual = json!([{"address": "10.1.0.5/16"}, {"address": "fd00::5/64"}]);
    let result = run("ADD", "", &old(json!({"addresses": dual}))).outcome.unwrap().unwrap();
    let expected =
        json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.5/16"}, "ip6": {"ip": "fd00::5/64"}});
    assert_eq!(result, expected);
}

#[test]
fn check_compares_the_gateways_of_addresses_that_the_result_has() {
    let base = config(json!({"addresses": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}]}));
    assert_eq!(problem(run("CHECK", "", &base)).0, 7, "without prevResult");
    let check = |ip: Value| {
        run(
            "CHECK",
            "",
            &with(base.clone(), "prevResult", json!({"cniVersion": "1.1.0", "ips": [ip]})),
        )
    };
    assert!(check(json!({"address": "10.1.0.5/16", "gateway": "10.1.0.1"})).outcome.is_ok());
    assert!(check(json!({"address": "10.1.0.6/16"})).outcome.is_ok());
    for ip in [
        json!({"address": "10.1.0.5/16"}),
        json!({"address": "10.1.0.5/16", "gateway": "10.1.0.2"}),
    ] {
        let (code, msg) = problem(check(ip));
        assert!(code == 101 && msg.contains("10.1.0.5/16 has not the gateway 10.1.0.1"), "{msg}");
    }
}
