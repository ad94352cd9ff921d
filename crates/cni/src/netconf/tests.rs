use super::*;

fn parse(value: Value) -> Result<NetworkConfig, NetconfError> {
    NetworkConfig::parse(&value.to_string(), &Missing::default())
}

fn request(plugin: Value, inputs: &Inputs<'_>) -> Value {
    let network = parse(json!({"cniVersion": "1.0.0", "name": "n", "plugins": [plugin]})).unwrap();
    network.plugins[0].request(&network, inputs)
}

fn offered(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[test]
fn a_conf_is_a_chain_of_one() {
    let network =
        parse(json!({"cniVersion": "0.4.0", "name": "n", "type": "ptp", "mtu": 9000})).unwrap();
    assert_eq!((network.plugins.len(), network.version), (1, Version::V0_4_0));
}

#[test]
fn the_highest_known_version_wins() {
    let version = |value: Value| parse(value).map(|network| network.version);
    let base = |more: Value| {
        let mut value = json!({"name": "n", "plugins": [{"type": "x"}]});
        value.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        value
    };
    let table = [
        (
            json!({"cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.0.0", "9.9.9"]}),
            Version::V1_0_0,
        ),
        (json!({"cniVersion": "1.1.0", "cniVersions": ["0.3.1"]}), Version::V1_1_0),
        (json!({"cniVersions": ["1.1.0", "1.0.0"]}), Version::V1_1_0),
        (json!({"cniVersion": ""}), Version::V0_1_0),
        (json!({}), Version::V0_1_0),
    ];
    for (more, expected) in table {
        assert_eq!(version(base(more.clone())).unwrap(), expected, "{more}");
    }
    assert!(version(base(json!({"cniVersion": "2.0.0"}))).unwrap_err().is_version());
}

#[test]
fn what_is_missing_is_filled_in() {
    let missing = Missing { name: Some("blue"), version: Version::V1_0_0 };
    let network = NetworkConfig::parse(r#"{"type": "x"}"#, &missing).unwrap();
    assert_eq!((network.name.as_str(), network.version), ("blue", Version::V1_0_0));
    assert!(matches!(
        NetworkConfig::parse(r#"{"type": "x"}"#, &Missing::default()),
        Err(NetconfError::NoName)
    ));
}

#[test]
fn switches_may_be_text() {
    let network = parse(
        json!({"name": "n", "disableCheck": "True", "disableGC": true, "plugins": [{"type": "x"}]}),
    )
    .unwrap();
    assert!(network.disable_check && network.disable_gc);
    assert!(parse(json!({"name": "n", "disableCheck": 1, "plugins": [{"type": "x"}]})).is_err());
}

#[test]
fn names_and_types_never_become_paths() {
    for name in ["../x", "a/b", ".x", "", "a b", "a\u{0}"] {
        assert!(parse(json!({"name": name, "type": "x"})).is_err(), "{name}");
    }
    for kind in ["../sh", "/bin/sh", ".x", "", "a b", "-x", "a\\b", "x\n"] {
        assert!(parse(json!({"name": "n", "type": kind})).is_err(), "{kind}");
    }
    for typeless in [json!({"name": "n"}), json!({"name": "n", "plugins": [{"x": 1}]})] {
        assert!(parse(typeless.clone()).is_err(), "{typeless}");
    }
    for ipam in ["ipam", "IPAM"] {
        for key in ["type", "Type"] {
            let value = |kind: &str| json!({"name": "n", "type": "x", ipam: {key: kind}});
            assert!(parse(value("../sh")).is_err(), "{ipam} {key}");
            assert!(parse(value("host-local")).is_ok() && parse(value("")).is_ok(), "{ipam} {key}");
        }
    }
}

#[test]
fn a_request_is_the_configuration_with_what_the_runtime_adds() {
    let plugin = json!({
        "type": "x", "Name": "other", "number": 12345678901234567890123u128.to_string(), "float": 1.10,
        "capabilities": {"mac": true, "ips": false}, "prevResult": {"stale": 1}, "cni.dev/x": 1,
        "runtimeConfig": {"stale": 1}, "nested": {"a": [null]}
    });
    let inputs = Inputs {
        prev_result: Some(&json!({"ips": []})),
        runtime_config: &offered(json!({"mac": "m", "ips": ["i"], "portMappings": []})),
        valid_attachments: None,
    };
    let expected = json!({
        "type": "x", "number": 12345678901234567890123u128.to_string(), "float": 1.10, "nested": {"a": [null]},
        "cniVersion": "1.0.0", "name": "n", "runtimeConfig": {"mac": "m"}, "prevResult": {"ips": []}
    });
    assert_eq!(request(plugin, &inputs), expected);
}

#[test]
fn numbers_survive_digit_for_digit() {
    let text = r#"{"name":"n","type":"x","big":123456789012345678901234567890,"exact":1.10}"#;
    let network = NetworkConfig::parse(text, &Missing::default()).unwrap();
    let inputs = Inputs { prev_result: None, runtime_config: &Map::new(), valid_attachments: None };
    let request = network.plugins[0].request(&network, &inputs).to_string();
    assert!(
        request.contains("123456789012345678901234567890") && request.contains("1.10"),
        "{request}"
    );
}

#[test]
fn gc_carries_the_list_under_both_names() {
    let list = json!([{"containerID": "c", "ifname": "eth0"}]);
    let inputs =
        Inputs { prev_result: None, runtime_config: &Map::new(), valid_attachments: Some(&list) };
    let request = request(json!({"type": "x"}), &inputs);
    assert_eq!(
        (&request["cni.dev/valid-attachments"], &request["cni.dev/attachments"]),
        (&list, &list)
    );
}

#[test]
fn the_pods_arguments_win_over_the_definitions() {
    let mut network =
        parse(json!({"name": "n", "type": "x", "Args": {"cni": {"a": 1, "b": 1}, "other": true}}))
            .unwrap();
    network.plugins[0].merge_cni_args(&offered(json!({"b": 2}))).unwrap();
    assert_eq!(
        network.plugins[0].object()["args"],
        json!({"cni": {"a": 1, "b": 2}, "other": true})
    );
}

#[test]
fn arguments_that_are_no_object_are_refused() {
    for args in [json!("x"), json!({"cni": []})] {
        let mut network = parse(json!({"name": "n", "type": "x", "args": args})).unwrap();
        assert!(network.plugins[0].merge_cni_args(&Map::new()).is_err());
    }
}

#[test]
fn a_chain_reads_back_from_the_ledger() {
    let network = parse(
        json!({"cniVersion": "0.3.1", "name": "n", "disableGC": true, "plugins": [{"type": "x", "k": 1}]}),
    )
    .unwrap();
    let text = serde_json::to_string(&network).unwrap();
    let again: NetworkConfig = serde_json::from_str(&text).unwrap();
    assert_eq!(again.to_value(), network.to_value());
}
