use serde_json::{Value, json};

use super::config::Config;
use super::*;
use cni::request::{Environment, Request};
use cni::version::Version;

fn read(keys: &Value) -> Result<Config, Error> {
    let mut config = json!({"cniVersion": "1.0.0", "name": "blue", "type": "portmap"});
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let environment = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c"),
        ("CNI_NETNS", "/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/x"),
    ];
    let request = Request::read(Environment::from(environment)).unwrap().unwrap();
    let call = Call::from_value(&request, config, Version::V0_1_0).unwrap();
    Config::read(&call)
}

fn mapping(keys: &Value) -> Result<Config, Error> {
    let mut mapping = json!({"hostPort": 80, "containerPort": 80, "protocol": "tcp"});
    mapping.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    read(&json!({"runtimeConfig": {"portMappings": [mapping]}}))
}

fn refused(outcome: Result<Config, Error>, sentence: &str) {
    let error = outcome.map(drop).unwrap_err();
    assert_eq!(error.code, Code::CONFIG, "{error}");
    assert!(error.msg.contains(sentence), "{error} has no {sentence}");
}

#[test]
fn mappings_are_read_as_they_are_handed_over() {
    let config = mapping(&json!({"protocol": "UDP", "hostIP": "::ffff:10.0.0.1"})).unwrap();
    let [mapping] = config.mappings[..] else { panic!("not one") };
    assert_eq!(mapping.protocol, mapping::Protocol::Udp);
    assert_eq!(mapping.host_ip, Some("10.0.0.1".parse().unwrap()));
    assert!(config.snat && !config.masquerades_all && config.mark_bit == 13);
    assert!(read(&json!({})).unwrap().mappings.is_empty());
}

#[test]
fn hostile_mappings_are_code_7() {
    let port = "must be a port from 1 to 65535";
    for value in
        [json!(0), json!(-1), json!(65536), json!(1e99), json!("80"), json!(80.5), json!(null)]
    {
        refused(mapping(&json!({"hostPort": value})), port);
        refused(mapping(&json!({"containerPort": value})), port);
    }
    for value in ["", "icmp", "tcp -j ACCEPT", "tcp\n-A INPUT", "tcp;", "6", "\"tcp\"", "-j"] {
        refused(mapping(&json!({"protocol": value})), "\"tcp\", \"udp\" or \"sctp\"");
    }
    for value in
        ["10.0.0.1/24", "10.0.0.1 -j ACCEPT", "x", "fe80::1%eth0", "0x7f.1", "-j", "1.1.1.1\n"]
    {
        refused(mapping(&json!({"hostIP": value})), "must be an IP address");
    }
    let many = vec![json!({"hostPort": 1, "containerPort": 1, "protocol": "tcp"}); 10_000];
    refused(read(&json!({"runtimeConfig": {"portMappings": many}})), "has 10000 entries");
    refused(read(&json!({"runtimeConfig": {"portMappings": {}}})), "must be a list");
    refused(read(&json!({"runtimeConfig": {"portMappings": [5]}})), "must be an object");
}

#[test]
fn hostile_conditions_are_code_7() {
    let words = [
        "",
        "a b",
        "a\"b",
        "a'b",
        "a;b",
        "a\nb",
        "a\0b",
        "a\\b",
        "a#b",
        "$x",
        "`x`",
        "(x)",
        "é",
        "a\u{2028}b",
    ];
    for word in words {
        for key in ["conditionsV4", "conditionsV6"] {
            refused(read(&json!({key: ["-s", word]})), "a word has 1 to 128 letters");
        }
    }
    let commands = [
        "-j",
        "-jACCEPT",
        "-g",
        "-t",
        "-tfilter",
        "-M",
        "-M/tmp/x",
        "--modprobe=/tmp/x",
        "--mo",
        "--jump",
        "--ju",
        "-A",
        "-F",
        "--flush",
        "-c",
        "--",
        "-",
        "--table",
        "-w",
        "-s10.0.0.0/8",
        "-f",
    ];
    for word in commands {
        refused(read(&json!({"conditionsV4": [word]})), "only words that match packets");
    }
    refused(read(&json!({"conditionsV4": "-s"})), "must be a list of texts");
    refused(read(&json!({"conditionsV4": [["-s"]]})), "must be a list of texts");
    refused(read(&json!({"conditionsV4": vec!["-s"; 65]})), "has 65 words");
    read(&json!({"conditionsV4": ["!", "-s", "10.0.0.0/8", "-m", "mark", "--mark", "0x1/0x1"]}))
        .unwrap();
    read(&json!({"conditionsV6": ["ip6", "saddr", "!=", "{", "fd00::/8,", "fe80::/10", "}"]}))
        .unwrap();
}

#[test]
fn keys_of_different_backends_exclude_each_other() {
    let nft = json!(["ip", "saddr", "10.0.0.0/8"]);
    let iptables = json!(["-s", "10.0.0.0/8"]);
    let both = "leave one out";
    refused(read(&json!({"backend": "iptables", "conditionsV4": nft})), both);
    refused(read(&json!({"backend": "nftables", "conditionsV6": iptables})), both);
    refused(read(&json!({"conditionsV4": nft, "conditionsV6": iptables})), both);
    refused(read(&json!({"backend": "nftables", "externalSetMarkChain": "KUBE-MARK-MASQ"})), both);
    refused(read(&json!({"markMasqBit": 5, "externalSetMarkChain": "X"})), "exclude each other");
    assert_eq!(read(&json!({"conditionsV4": nft})).unwrap().backend, Some(Backend::NfTables));
    let chain = json!({"externalSetMarkChain": "KUBE-MARK-MASQ"});
    assert_eq!(read(&chain).unwrap().backend, Some(Backend::IpTables));
    refused(read(&json!({"markMasqBit": 32})), "\"markMasqBit\"");
    for chain in ["-j", "a b", "a\n-A INPUT", "!x", "ä", &"x".repeat(29)] {
        refused(read(&json!({"externalSetMarkChain": chain})), "\"externalSetMarkChain\" must be");
    }
    refused(read(&json!({"snat": "yes"})), "\"snat\"");
}
