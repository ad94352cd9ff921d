//! The JSON form, key by key.

use super::super::request::{MacAddress, Protocol};
use super::*;
use serde_json::json;

fn parse_list(text: &str) -> Result<Vec<Selection>, String> {
    parse(text, &"pods".parse().unwrap(), Limits::default()).map_err(|error| error.to_string())
}

/// The one element that has `members` besides its name.
fn one(members: &str) -> Result<Selection, String> {
    parse_list(&format!("[{{\"name\": \"blue\", {members}}}]")).map(|mut list| list.remove(0))
}

#[track_caller]
fn refused(members: &str, wanted: &str) {
    let error = one(members).unwrap_err();
    assert!(error.starts_with(&format!("element 1 (pods/blue): {wanted}")), "{members}: {error}");
}

#[test]
fn names_alone_are_enough() {
    let list = parse_list(
        r#"[{"name":"net-a"}, {"name":"net-c","namespace":"other-ns"},
                {"Name":"d","namespace":""}, {"NAME":"e","nameSpace":null}]"#,
    );
    let plain = |namespace: &str, name: &str, position| {
        Selection::new(namespace.parse().unwrap(), name.parse().unwrap(), position)
    };
    assert_eq!(
        list.unwrap(),
        [
            plain("pods", "net-a", 0),
            plain("other-ns", "net-c", 1),
            plain("pods", "d", 2),
            plain("pods", "e", 3)
        ]
    );
    assert_eq!(parse_list(" [ ]\n").unwrap(), []);
}

#[test]
fn every_key_arrives() {
    let read = one(
        r#""namespace": "ops", "ips": ["10.2.2.42/24", "2001:db8::5/64"], "mac": "02-23-45-67-89-01",
               "interface": "data0", "interfaceRequest": "data0", "cni-args": {"spoofchk": "on", "n": 1.50},
               "portMappings": [{"hostPort": 8080, "containerPort": 80, "PROTOCOL": "UDP", "hostIP": "192.0.2.1"}],
               "bandwidth": {"ingressRate": 2048, "ingressBurst": 300, "egressRate": 8000},
               "default-route": ["10.0.0.1", "2001:db8::1"], "infiniband-guid": "24:8a:07:03:00:8d:ae:2f",
               "deviceID": "0000:04:00.5", "org.example.key": {"any": "thing"}"#,
    )
    .unwrap();
    let wanted = Selection {
        interface: Some("data0".parse().unwrap()),
        ips: vec!["10.2.2.42/24".parse().unwrap(), "2001:db8::5/64".parse().unwrap()],
        mac: Some("02:23:45:67:89:01".parse::<MacAddress>().unwrap()),
        infiniband_guid: Some("24:8a:07:03:00:8d:ae:2f".parse().unwrap()),
        cni_args: serde_json::from_str("{\"spoofchk\": \"on\", \"n\": 1.50}").unwrap(),
        port_mappings: vec![PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Udp,
            host_ip: Some("192.0.2.1".parse().unwrap()),
        }],
        bandwidth: Some(Bandwidth {
            ingress_rate: Some(2048),
            ingress_burst: Some(300),
            egress_rate: Some(8000),
            egress_burst: None,
        }),
        default_route: Some(vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]),
        device_id: Some("0000:04:00.5".to_owned()),
        ..Selection::new("ops".parse().unwrap(), "blue".parse().unwrap(), 0)
    };
    assert_eq!(read, wanted);
}

#[test]
fn gateway_is_told_what_it_was_good_for() {
    for key in ["gateway", "Gateway"] {
        let rule = "is not a known key: Multus ignored it; leave it out, or move the default route \
                    there with \"default-route\"";
        refused(&format!("\"{key}\": [\"10.0.0.1\"]"), &format!("\"{key}\" {rule}"));
    }
    refused(
        "\"portMappings\": [{\"gateway\": 1}]",
        "\"portMappings[0].gateway\" is not a known key",
    );
    for key in ["dns", "mtu", "type"] {
        assert!(
            one(&format!("\"{key}\": 1")).unwrap_err().ends_with("is not a known key"),
            "{key}"
        );
    }
}

#[test]
fn unknown_keys_pass_only_if_the_limits_say_so() {
    let limits = Limits { unknown_keys: UnknownKeys::Ignore, ..Limits::default() };
    let parse = |text: &str| {
        parse(text, &"pods".parse().unwrap(), limits).map_err(|error| error.to_string())
    };
    let text = r#"[{"name": "blue", "gateway": ["10.0.0.1"], "portMappings": [{"hostPort": 1, "containerPort": 2, "x": 3}],
                    "bandwidth": {"ingressRate": 1, "rate": 2}}, {"name": "red"}]"#;
    let read = parse(text).unwrap();
    let said: Vec<String> = read[0].ignored.iter().map(ToString::to_string).collect();
    let expected = [
        "element 1 (pods/blue): \"gateway\" is not a known key: Multus ignored it; leave it out, \
         or move the default route there with \"default-route\"",
        "element 1 (pods/blue): \"portMappings[0].x\" is not a known key",
        "element 1 (pods/blue): \"bandwidth.rate\" is not a known key",
    ];
    assert_eq!(said, expected);
    assert_eq!((read[0].port_mappings.len(), &read[1].ignored), (1, &Vec::new()));
    // Everything else is refused as before.
    for broken in [
        r#"[{"name": "a", "ips": []}]"#,
        r#"[{"name": "a", "mac": "x"}]"#,
        r#"[{"Name": "a", "name": "a"}]"#,
    ] {
        assert!(parse(broken).is_err(), "{broken}");
    }
    let many: Vec<String> = (0..100).map(|number| format!("\"key{number}\": 1")).collect();
    let read = parse(&format!("[{{\"name\": \"blue\", {}}}]", many.join(", "))).unwrap();
    assert_eq!(read[0].ignored.len(), 8);
}

#[test]
fn null_counts_as_absent() {
    let nulls: Vec<String> = KEYS[1..].iter().map(|key| format!("\"{key}\": null")).collect();
    let plain = Selection::new("pods".parse().unwrap(), "blue".parse().unwrap(), 0);
    assert_eq!(one(&nulls.join(",")).unwrap(), plain);
}

/// What a template leaves of a value that was not set: Multus passes over it, the standard does
/// not.
#[test]
fn what_is_empty_is_to_be_left_out() {
    let keys = [
        "mac",
        "interface",
        "interfaceRequest",
        "infiniband-guid",
        "deviceID",
        "ipam-claim-reference",
    ];
    for key in keys {
        refused(&format!("\"{key}\": \"\""), &format!("\"{key}\" must not be empty: leave it out"));
    }
}

#[test]
fn an_empty_default_route_is_not_an_absent_one() {
    assert_eq!(one(r#""default-route": []"#).unwrap().default_route, Some(Vec::new()));
    assert_eq!(one(r#""org.x": 1"#).unwrap().default_route, None);
}

#[test]
fn the_alias_of_interface_works_alone() {
    let read = one(r#""interfaceRequest": "data0""#).unwrap();
    assert_eq!(read.interface.unwrap().as_str(), "data0");
}

#[test]
fn an_ipam_claim_is_a_subdomain() {
    assert_eq!(
        one(r#""ipam-claim-reference": "vm123.tenantblue", "ips": null"#)
            .unwrap()
            .ipam_claim
            .as_deref(),
        Some("vm123.tenantblue")
    );
}

#[test]
fn a_port_mapping_defaults_to_tcp_on_all_addresses() {
    let read =
        one(r#""portMappings": [{"hostport": 1, "containerPort": 65535, "hostIP": ""}]"#).unwrap();
    let wanted =
        PortMapping { host_port: 1, container_port: 65535, protocol: Protocol::Tcp, host_ip: None };
    assert_eq!(read.port_mappings, [wanted]);
}

#[test]
fn lists_that_are_none_are_refused() {
    let cases = [
        ("[", "the annotation is not a JSON list: EOF while parsing a list at line 1 column 1"),
        (
            "[{\"name\": \"a\"}] x",
            "the annotation is not a JSON list: trailing characters at line 1 column 17",
        ),
        ("[{\"name\": \"a\"},]", "the annotation is not a JSON list: trailing comma"),
        ("[null]", "element 1 is null: must be an object"),
        ("[{\"name\": \"a\"}, \"b\"]", "element 2 is \"b\": must be an object"),
        ("[5]", "element 1 is 5: must be an object"),
        ("[[]]", "element 1 is a list: must be an object"),
        ("[{}]", "element 1: \"name\" must be given"),
        ("[{\"name\": null}]", "element 1: \"name\" must be given"),
        ("[{\"name\": 5}]", "element 1: \"name\" is 5: must be a string"),
        ("[{\"name\": \"\"}]", "element 1: \"name\" is \"\": must be a DNS-1123 subdomain"),
        ("[{\"name\": \"a/b\"}]", "element 1: \"name\" is \"a/b\": must be a DNS-1123 subdomain"),
        ("[{\"nmae\": \"a\"}]", "element 1: \"nmae\" is not a known key: did you mean \"name\"?"),
        (
            "[{\"name\": \"a\", \"namespace\": \"a.b\"}]",
            "element 1: \"namespace\" is \"a.b\": must be a DNS-1123 label",
        ),
        (
            "[{\"name\": \"a\"}, {\"name\": \"a\", \"name\": \"b\"}]",
            "element 2: key \"name\" is given twice at line 1",
        ),
        ("[{\"name\": \"a\", \"na\\u006de\": \"b\"}]", "element 1: key \"name\" is given twice"),
        (
            "[{\"name\": \"a\", \"cni-args\": {\"x\": [{\"y\": 1, \"y\": 2}]}}]",
            "element 1: key \"y\" is given twice",
        ),
        (
            "[{\"name\": \"a\", \"$serde_json::private::Number\": \"1\"}]",
            "element 1 (pods/a): \"$serde_json::private::Number\" is not a known key",
        ),
        ("[{\"$serde_json::private::Number\": \"1\"}]", "element 1 is 1: must be an object"),
        ("[{\"$serde_json::private::Number\": \"x\"}]", "the annotation is not a JSON list"),
    ];
    for (text, start) in cases {
        let error = parse_list(text).unwrap_err();
        assert!(error.starts_with(start), "{text}: {error}");
    }
}

#[test]
fn keys_are_known_once_or_foreign() {
    refused(
        r#""defaultroute": []"#,
        "\"defaultroute\" is not a known key: did you mean \"default-route\"?",
    );
    refused(r#""entirely-else": 1"#, "\"entirely-else\" is not a known key");
    refused(
        r#""Ips": ["10.0.0.1"], "ips": null"#,
        "\"ips\" is the same key as \"Ips\": keep one of them",
    );
    refused(r#""\n": 1"#, r#""\n" is not a known key"#);
}

#[test]
fn addresses_are_checked_one_by_one() {
    refused(r#""ips": []"#, "\"ips\" must not be empty: leave it out");
    refused(r#""ips": "10.0.0.1""#, "\"ips\" is \"10.0.0.1\": must be a list");
    refused(r#""ips": {}"#, "\"ips\" is an object: must be a list");
    refused(
        r#""ips": ["10.0.0.300/24"]"#,
        "\"ips[0]\" is \"10.0.0.300/24\": must be an IPv4 or IPv6 address with an optional prefix \
         length",
    );
    refused(r#""ips": ["10.0.0.1", null]"#, "\"ips[1]\" is null: must be a string");
    refused(
        r#""ips": ["10.0.0.1", "10.0.0.1/24"]"#,
        "\"ips[1]\" is \"10.0.0.1/24\": must differ from \"ips[0]\"",
    );
    refused(
        r#""ips": ["2001:db8::1", "2001:DB8:0::1"]"#,
        "\"ips[1]\" is \"2001:DB8:0::1\": must differ",
    );
    let many: Vec<String> = (1..=33).map(|last| format!("\"10.0.0.{last}\"")).collect();
    refused(&format!("\"ips\": [{}]", many.join(",")), "\"ips\" must have 1 to 32 entries");
    assert_eq!(one(&format!("\"ips\": [{}]", many[1..].join(","))).unwrap().ips.len(), 32);
    refused(
        r#""ips": ["10.0.0.1"], "ipam-claim-reference": "vm1""#,
        "\"ipam-claim-reference\" must not be given together with \"ips\"",
    );
}

#[test]
fn single_values_are_checked() {
    refused(
        r#""mac": "01:00:00:00:00:00""#,
        "\"mac\" is \"01:00:00:00:00:00\": must be a unicast MAC address",
    );
    refused(r#""mac": 5"#, "\"mac\" is 5: must be a string");
    refused(r#""interface": "lo""#, "\"interface\" is \"lo\": must not be");
    refused(
        r#""interfaceRequest": "a b""#,
        "\"interfaceRequest\" is \"a b\": must be an interface name",
    );
    refused(
        r#""interface": "a", "interfaceRequest": "b""#,
        "\"interfaceRequest\" is \"b\": must equal \"interface\"",
    );
    refused(
        r#""infiniband-guid": "24:8a""#,
        "\"infiniband-guid\" is \"24:8a\": must be an InfiniBand GUID",
    );
    refused(
        r#""ipam-claim-reference": "A""#,
        "\"ipam-claim-reference\" is \"A\": must be a DNS-1123 subdomain",
    );
    for id in [".", "..", "a/b", "a;b", "a=b", "a b", "ä", &"a".repeat(129)] {
        refused(&format!("\"deviceID\": \"{id}\""), "\"deviceID\" is ");
    }
    assert_eq!(
        one(&format!("\"deviceID\": \"{}\"", "a".repeat(128))).unwrap().device_id.unwrap().len(),
        128
    );
}

#[test]
fn cni_args_are_bounded_objects() {
    refused(r#""cni-args": "a=b""#, "\"cni-args\" is \"a=b\": must be an object");
    refused(r#""cni-args": []"#, "\"cni-args\" is a list: must be an object");
    assert_eq!(one(r#""cni-args": {}"#).unwrap().cni_args, Some(Map::new()));
    let keys =
        |count: usize| (0..count).map(|key| format!("\"k{key}\": 1")).collect::<Vec<_>>().join(",");
    assert_eq!(
        one(&format!("\"cni-args\": {{{}}}", keys(256))).unwrap().cni_args.unwrap().len(),
        256
    );
    refused(&format!("\"cni-args\": {{{}}}", keys(257)), "\"cni-args\" must have 0 to 256 entries");
    let nested = |lists: usize| {
        format!("\"cni-args\": {{\"a\": {}{}}}", "[".repeat(lists), "]".repeat(lists))
    };
    assert!(one(&nested(31)).is_ok());
    refused(&nested(32), "\"cni-args\" must not be nested deeper than 32 levels");
    assert!(one(&nested(200)).unwrap_err().contains("recursion limit exceeded"));
}

#[test]
fn port_mappings_are_checked() {
    refused(r#""portMappings": []"#, "\"portMappings\" must not be empty: leave it out");
    refused(r#""portMappings": {"hostPort": 1}"#, "\"portMappings\" is an object: must be a list");
    refused(r#""portMappings": [80]"#, "\"portMappings[0]\" is 80: must be an object");
    refused(
        r#""portMappings": [{"hostPort": 1}]"#,
        "\"portMappings[0].containerPort\" must be given",
    );
    for port in
        ["0", "65536", "-1", "-0", "80.0", "8e1", "\"80\"", "true", "99999999999999999999999"]
    {
        refused(
            &format!("\"portMappings\": [{{\"hostPort\": {port}, \"containerPort\": 1}}]"),
            "\"portMappings[0].hostPort\" is ",
        );
    }
    let with = |member: &str| {
        format!("\"portMappings\": [{{\"hostPort\": 1, \"containerPort\": 1, {member}}}]")
    };
    refused(
        &with(r#""protocol": "icmp""#),
        "\"portMappings[0].protocol\" is \"icmp\": must be \"tcp\"",
    );
    refused(
        &with(r#""hostIP": "x""#),
        "\"portMappings[0].hostIP\" is \"x\": must be an IPv4 or IPv6 address",
    );
    refused(&with(r#""hostIP": "10.0.0.1/8""#), "\"portMappings[0].hostIP\" is \"10.0.0.1/8\"");
    refused(
        &with(r#""protocl": "tcp""#),
        "\"portMappings[0].protocl\" is not a known key: did you mean \"protocol\"?",
    );
    refused(&with(r#""a.b": 1"#), "\"portMappings[0].a.b\" is not a known key");
    refused(
        &with(r#""HostPort": 2"#),
        "\"portMappings[0].HostPort\" is the same key as \"hostPort\"",
    );
    let many = vec![r#"{"hostPort": 1, "containerPort": 1}"#; 129].join(",");
    refused(&format!("\"portMappings\": [{many}]"), "\"portMappings\" must have 1 to 128 entries");
}

#[test]
fn bandwidth_needs_a_rate() {
    refused(r#""bandwidth": {}"#, "\"bandwidth\" must have \"ingressRate\" or \"egressRate\"");
    refused(r#""bandwidth": 5"#, "\"bandwidth\" is 5: must be an object");
    refused(
        r#""bandwidth": {"ingressRate": 0}"#,
        "\"bandwidth.ingressRate\" is 0: must be an integer above 0",
    );
    refused(
        r#""bandwidth": {"ingressRate": "1M"}"#,
        "\"bandwidth.ingressRate\" is \"1M\": must be an integer",
    );
    refused(
        r#""bandwidth": {"ingressRate": 1, "egressBurst": 5}"#,
        "\"bandwidth.egressBurst\" must be given together with \"egressRate\"",
    );
    refused(
        r#""bandwidth": {"ingresRate": 1}"#,
        "\"bandwidth.ingresRate\" is not a known key: did you mean \"ingressRate\"?",
    );
}

#[test]
fn gateways_are_checked() {
    refused(r#""default-route": "10.0.0.1""#, "\"default-route\" is \"10.0.0.1\": must be a list");
    for ip in [
        "10.0.0.1/24",
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "224.0.0.1",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "",
    ] {
        refused(
            &format!("\"default-route\": [\"{ip}\"]"),
            &format!("\"default-route[0]\" is \"{ip}\": must"),
        );
    }
    refused(
        r#""default-route": ["10.0.0.1", "10.0.0.1"]"#,
        "\"default-route[1]\" is \"10.0.0.1\": must differ from",
    );
    let many: Vec<String> = (1..=9).map(|last| format!("\"10.0.0.{last}\"")).collect();
    refused(
        &format!("\"default-route\": [{}]", many.join(",")),
        "\"default-route\" must have 0 to 8 entries",
    );
}

#[test]
fn a_list_above_the_limit_is_not_read_further() {
    let list = |count: usize| vec!["{\"name\": \"a\"}"; count].join(",");
    assert_eq!(parse_list(&format!("[{}]", list(16))).unwrap().len(), 16);
    // At the limit, what is wrong is still the JSON.
    let error = parse_list(&format!("[{},]", list(16))).unwrap_err();
    assert!(error.starts_with("the annotation is not a JSON list: trailing comma"), "{error}");
    // What follows element 17 is not even JSON.
    let error = parse_list(&format!("[{}, \"", list(17))).unwrap_err();
    assert_eq!(
        error,
        "the annotation asks for more than 16 networks: ask for fewer, or have maxNetworks raised"
    );
}

#[test]
fn arguments_pass_through_as_written() {
    let args =
        one(r#""cni-args": {"n": 1.50, "big": 123456789012345678901234567890}"#).unwrap().cni_args;
    assert_eq!(
        serde_json::to_string(&args).unwrap(),
        r#"{"n":1.50,"big":123456789012345678901234567890}"#
    );
    assert_ne!(json!(args), json!({"n": 1.5}));
}
