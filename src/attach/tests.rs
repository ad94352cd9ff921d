use super::*;
use cni::netconf::Missing;
use serde_json::json;

/// Network `team-a/blue` of one plugin `fake`, on net1.
pub(super) fn attachment(version: &str) -> Attachment {
    let value = json!({"cniVersion": version, "name": "blue", "type": "fake"});
    Attachment {
        label: "team-a/blue".to_owned(),
        role: Role::Extra,
        interface: "net1".parse().unwrap(),
        network: NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap(),
        runtime_config: Map::new(),
        args: "".into(),
        asked_ips: Vec::new(),
        granted_networks: None,
        asked_mac: None,
        default_route: None,
        device: None,
        device_info_file: None,
        origin: None,
        other_name: None,
    }
}

fn normalised(printed: Value, attachment: &Attachment) -> Result<Value, String> {
    normalise(printed, attachment, &attachment.network.plugins[0])
        .map_err(|error| error.to_string())
}

#[test]
fn a_result_in_the_networks_version_stays_as_it_was_printed() {
    let printed = json!({"cniVersion": "1.0.0", "x": [1, {"y": null}], "ips": [{"address": "10.0.0.5/24", "z": 1}]});
    assert_eq!(normalised(printed.clone(), &attachment("1.0.0")), Ok(printed));
}

#[test]
fn another_versions_result_is_converted_and_a_missing_version_filled_in() {
    let old = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.5/24"}});
    let lists = |version: &str| json!({"cniVersion": version, "ips": [{"address": "10.0.0.5/24"}]});
    assert_eq!(normalised(old, &attachment("1.0.0")), Ok(lists("1.0.0")));
    assert_eq!(normalised(lists("1.1.0"), &attachment("1.0.0")), Ok(lists("1.0.0")));
    let bare = json!({"ips": [{"address": "10.0.0.5/24"}]});
    assert_eq!(normalised(bare, &attachment("1.0.0")), Ok(lists("1.0.0")));
    let with_family = json!([{"version": "4", "address": "10.0.0.5/24"}]);
    let converted = normalised(lists("1.0.0"), &attachment("0.4.0")).unwrap();
    assert_eq!(converted, json!({"cniVersion": "0.4.0", "ips": with_family}));
}

#[test]
fn an_extra_networks_result_is_read_strictly_and_the_primarys_is_not() {
    let broken =
        json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24", "interface": 7}]});
    let mut attachment = attachment("1.0.0");
    let error = normalised(broken.clone(), &attachment).unwrap_err();
    let start =
        "network \"team-a/blue\" on net1: plugin \"fake\" printed a result that is not valid: ";
    assert!(error.starts_with(start) && error.contains("ips[0].interface"), "{error}");
    attachment.role = Role::Primary;
    assert_eq!(normalised(broken.clone(), &attachment), Ok(broken));
    assert!(
        normalised(json!({"cniVersion": "7.0.0"}), &attachment).unwrap_err().contains("cniVersion")
    );
}
