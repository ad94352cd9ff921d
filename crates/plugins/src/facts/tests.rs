use super::*;
use cni::netconf::Missing;
use serde_json::json;

fn use_of(plugins: Value) -> DeviceUse {
    let value = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": plugins});
    device_use(&NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap())
}

#[test]
fn a_chain_needs_what_its_most_demanding_plugin_needs() {
    let on = json!({"deviceID": true});
    let table = [
        (json!([{"type": "bridge"}]), DeviceUse::Never),
        (json!([{"type": "cnv-bridge"}, {"type": "cnv-tuning"}]), DeviceUse::Never),
        (json!([{"type": "ovs"}]), DeviceUse::IfGiven),
        (json!([{"type": "vendor"}, {"type": "tuning"}]), DeviceUse::IfGiven),
        (json!([{"type": "sriov"}, {"type": "tuning"}]), DeviceUse::Required),
        (json!([{"type": "bridge"}, {"type": "rdma"}]), DeviceUse::Required),
        (json!([{"type": "vendor", "capabilities": on}]), DeviceUse::Required),
        (json!([{"type": "bridge", "capabilities": on}]), DeviceUse::Required),
        (json!([{"type": "vendor", "capabilities": {"deviceID": false}}]), DeviceUse::IfGiven),
    ];
    for (plugins, expected) in table {
        assert_eq!(use_of(plugins.clone()), expected, "{plugins}");
    }
}

#[test]
fn a_configuration_that_names_its_device_is_owed_none() {
    let table = [
        (json!([{"type": "host-device"}]), DeviceUse::Required),
        (json!([{"type": "host-device", "device": ""}]), DeviceUse::Required),
        (json!([{"type": "host-device", "device": "ens5"}]), DeviceUse::IfGiven),
        (json!([{"type": "host-device", "kernelpath": "/sys/devices/x"}]), DeviceUse::IfGiven),
        (json!([{"type": "sriov", "DeviceID": "0000:03:02.1"}]), DeviceUse::IfGiven),
        (json!([{"type": "sriov", "device": "ens5"}]), DeviceUse::Required),
    ];
    for (plugins, expected) in table {
        assert_eq!(use_of(plugins.clone()), expected, "{plugins}");
    }
}

#[test]
fn markers_are_known_by_their_domain() {
    let table = [
        ("bridge.network.kubevirt.io/br1", true),
        ("ovs-cni.network.kubevirt.io/br1", true),
        ("devices.kubevirt.io/kvm", false),
        ("bridge.network.kubevirt.io", false),
        ("nic.example.com/bridge.network.kubevirt.io", false),
    ];
    for (resource, expected) in table {
        assert_eq!(is_scheduling_marker(resource), expected, "{resource}");
    }
}

/// Every type is told of once, so that no two places can disagree.
#[test]
fn every_type_has_one_entry_and_its_failures_can_be_found() {
    let kinds: Vec<&str> = all().map(|facts| facts.kind).collect();
    let distinct: std::collections::BTreeSet<&str> = kinds.iter().copied().collect();
    assert_eq!(kinds.len(), distinct.len(), "{kinds:?}");
    for (words, advice) in failures() {
        assert_eq!(words, words.to_ascii_lowercase());
        assert!(!advice.ends_with('.') && !advice.contains("not found"), "{advice}");
    }
}

/// Braid must not delegate to its own kind, and a tenant must not start plugins past the fence.
#[test]
fn a_plugin_of_braids_kind_starts_plugins_and_is_not_open_to_tenants() {
    let meta: Vec<&Facts> = all().filter(|facts| facts.has(Property::MetaPlugin)).collect();
    assert!(meta.iter().any(|facts| facts.kind == "braid"));
    for facts in all().filter(|facts| facts.has(Property::StartsPlugins)) {
        assert!(!facts.has(Property::OpenToTenants), "{}", facts.kind);
    }
    assert!(meta.iter().all(|facts| facts.has(Property::StartsPlugins)));
}

#[test]
fn keys_that_reach_the_host_are_closed_to_tenants_at_any_depth() {
    let table = [
        ("bridge", "minID", true),
        ("bridge", "ipMasq", false),
        ("host-local", "gw", true),
        ("host-local", "table", false),
        ("macvlan", "bcqueuelen", false),
        ("static", "address", true),
        ("whereabouts", "exclude", true),
        ("whereabouts", "kubernetes", false),
    ];
    for (kind, key, expected) in table {
        assert_eq!(facts(kind).unwrap().opens_to_tenants(key), expected, "{kind} {key}");
    }
}

#[test]
fn a_key_means_the_same_to_a_plugin_that_is_not_known() {
    let is_vlan = |shape| matches!(shape, Shape::Vlan);
    assert!(
        any_has(Position::Chain, "vlanId", is_vlan) && !any_has(Position::Ipam, "vlan", is_vlan)
    );
    assert!(any_has(Position::Ipam, "exclude", Shape::is_address));
    let interfaces: Vec<&str> = ["master", "bridge", "device", "mtu"]
        .into_iter()
        .filter(|key| names_host_interface(key))
        .collect();
    assert_eq!(interfaces, ["master", "bridge", "device"]);
}
