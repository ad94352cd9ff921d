use super::*;
use cni::netconf::{Missing, NetworkConfig};
use serde_json::json;

fn check(plugin: Value) -> Result<(), String> {
    let value = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": [plugin]});
    let network = NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap();
    network.plugins.iter().try_for_each(check_config).map_err(|error| error.to_string())
}

fn with_ipam(ipam: Value) -> Value {
    json!({"type": "bridge", "ipam": ipam})
}

#[test]
fn a_value_that_its_plugin_does_not_read_is_refused_with_what_to_write() {
    let route = |route: Value| {
        with_ipam(json!({"type": "host-local", "subnet": "10.0.0.0/24", "routes": [route]}))
    };
    let local = |key: &str, value: &str| {
        let mut ipam = json!({"type": "host-local", "subnet": "10.40.0.0/24"});
        ipam[key] = value.into();
        with_ipam(ipam)
    };
    let table = [
        (
            json!({"type": "vlan", "vlanId": "1000"}),
            "\"1000\" for \"vlanId\": write a whole number from 0 to 4094",
        ),
        (json!({"type": "vlan", "VLANID": "7"}), "\"7\" for \"vlanId\""),
        (
            json!({"type": "vlan", "vlanId": 5000}),
            "5000 for \"vlanId\": write a whole number from 0 to 4094",
        ),
        (json!({"type": "vlan", "vlanId": 7.5}), "7.5 for \"vlanId\""),
        (json!({"type": "bridge", "vlan": -1}), "-1 for \"vlan\""),
        (json!({"type": "bridge", "vlanTrunk": [{"minID": "5"}]}), "\"5\" for \"minID\""),
        (json!({"type": "bridge", "isGateway": "true"}), "write true or false, without quotes"),
        (
            json!({"type": "macvlan", "mtu": "9001"}),
            "\"9001\" for \"mtu\": write a whole number of bytes",
        ),
        (json!({"type": "macvlan", "master": 5}), "write a text, in quotes"),
        (
            json!({"type": "macvlan", "mode": "bridged"}),
            "\"bridge\", \"private\", \"vepa\", \"passthru\"",
        ),
        (
            json!({"type": "tuning", "sysctl": {"net.core.somaxconn": 500}}),
            "500 for \"net.core.somaxconn\"",
        ),
        (
            json!({"type": "tuning", "args": {"cni": {"sysctl": {"net.ipv4.conf.all.forwarding": 1}}}}),
            "write the value in quotes",
        ),
        (local("subnet", "10.40.0.7/24"), "write \"10.40.0.0/24\", the network's own address"),
        (local("subnet", "fd00::1/64"), "write \"fd00::/64\""),
        (local("subnet", "10.40.0.7/32"), "a prefix length of 30 or less"),
        (local("subnet", "fd00::/127"), "a prefix length of 126 or less"),
        (local("subnet", "10.40.0.0"), "a network with its prefix length"),
        (
            local("rangeStart", "10.41.0.9"),
            "10.41.0.9 for \"rangeStart\": write an address of 10.40.0.0/24",
        ),
        (local("rangeEnd", "fd00::9"), "fd00::9 for \"rangeEnd\""),
        (local("gateway", "10.40.0.1/24"), "an IP address without a prefix length"),
        (route(json!({"dst": "default"})), "or \"0.0.0.0/0\" for the default route"),
        (
            route(json!({"dst": "10.9.0.7/16"})),
            "\"10.9.0.7/16\" for \"dst\": write \"10.9.0.0/16\", the network's own address",
        ),
        (with_ipam(json!({"type": "host-local"})), "of a range without \"subnet\": write one"),
        (with_ipam(json!({"type": "host-local", "ranges": []})), "without \"subnet\""),
        (
            with_ipam(json!({"type": "host-local", "ranges": [[{"subnet": "fd00::/126"}], []]})),
            "without \"subnet\"",
        ),
        (route(json!({"dst": "10.0.0.0"})), "\"10.0.0.0\" for \"dst\""),
        (route(json!({"dst": "10.0.0.0/255.0.0.0"})), "for \"dst\""),
        (
            with_ipam(json!({"type": "host-local", "ranges": [[{"subnet": "10.9.0.3/24"}]]})),
            "write \"10.9.0.0/24\"",
        ),
        (
            with_ipam(json!({"type": "host-local", "ranges": [{"subnet": "10.9.0.0/24"}]})),
            "for \"ranges\": write a list",
        ),
        (
            with_ipam(json!({"type": "host-local", "ranges": [[{"rangeStart": "10.9.0.3"}]]})),
            "without \"subnet\"",
        ),
        (
            with_ipam(json!({"type": "static", "addresses": [{"address": "10.9.0.3"}]})),
            "an address with its prefix length",
        ),
        (
            json!({"type": "bandwidth", "ingressRate": 1000}),
            "\"ingressRate\" without \"ingressBurst\"",
        ),
        (
            json!({"type": "bandwidth", "egressBurst": 1000, "egressRate": 0}),
            "\"egressBurst\" without",
        ),
    ];
    for (plugin, expected) in table {
        let error = check(plugin.clone()).expect_err(&plugin.to_string());
        assert!(error.contains(expected), "{plugin}: {error}");
    }
    let reversed = json!({"type": "host-local", "subnet": "10.4.0.0/24", "rangeStart": "10.4.0.9", "rangeEnd": "10.4.0.5"});
    assert!(check(with_ipam(reversed)).unwrap_err().ends_with("that is not behind \"rangeEnd\""));
}

#[test]
fn what_plugins_read_and_what_is_not_known_passes() {
    let table = [
        json!({"type": "vlan", "vlanId": 0, "mtu": 0, "master": "eth0"}),
        json!({"type": "vlan", "vlanId": null, "mtu": null}),
        json!({"type": "vendor", "vlan": "1000", "mtu": "9001"}),
        json!({"type": "macvlan", "mode": "", "colour": 7}),
        json!({"type": "bandwidth", "ingressRate": 0, "ingressBurst": 0}),
        json!({"type": "bandwidth", "ingressRate": 1, "ingressBurst": 1}),
        json!({"type": "calico", "ipam": {"type": "host-local", "subnet": "usePodCidr"}}),
        with_ipam(json!({"type": "vendor-ipam", "subnet": 7})),
        with_ipam(json!({})),
        with_ipam(json!({"type": "whereabouts", "range": "10.0.0.7-10.0.0.9/24"})),
        with_ipam(json!({"type": "host-local", "subnet": "10.0.0.0/30", "gateway": ""})),
        with_ipam(json!({
            "type": "host-local", "ranges": [[{"subnet": "fd00::/126"}]], "routes": [{"dst": "fd00::7/64"}],
        })),
        json!({
            "type": "bridge", "capabilities": {"ipRanges": true}, "ipam": {"type": "host-local"},
        }),
        with_ipam(
            json!({"type": "static", "addresses": [{"address": "10.9.0.3/32"}, {"address": "fd00::3/128"}]}),
        ),
    ];
    for plugin in table {
        assert_eq!(check(plugin.clone()), Ok(()), "{plugin}");
    }
}

#[test]
fn a_plugin_that_fails_without_a_device_is_owed_one() {
    let has_device = |plugin: Value, is_given| {
        let value = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": [plugin]});
        let network = NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap();
        network.plugins.iter().try_for_each(|plugin| check_device(plugin, is_given)).is_ok()
    };
    assert!(!has_device(json!({"type": "host-device"}), false));
    assert!(!has_device(json!({"type": "host-device", "device": ""}), false));
    assert!(has_device(json!({"type": "host-device"}), true));
    assert!(has_device(json!({"type": "host-device", "hwaddr": "02:00:00:00:00:01"}), false));
    assert!(has_device(json!({"type": "host-device", "deviceID": "0000:03:02.1"}), false));
    assert!(
        has_device(json!({"type": "vendor"}), false)
            && has_device(json!({"type": "bridge"}), false)
    );
}
