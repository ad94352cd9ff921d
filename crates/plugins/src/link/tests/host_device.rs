//! host-device, beside the reference plugin.

use std::fs;

use cni::error::Code;
use cni::request::Command;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::testing::cases;
use crate::testing::node::{Node, Who, mount_new, reference_is_recent, with_mounts};
use crate::testing::twins::{Twist, compare, l2, network, with_result};

const BOTH: &[(&str, Option<&str>)] =
    &[("10.1.0.5/24", Some("10.1.0.1")), ("fd01::5/64", Some("fd01::1"))];

/// An interface of the host that is up.
const DEVICE: &str = "link add ens5 address 02:00:00:00:00:05 type veth peer name far5; link set \
                      far5 up; link set ens5 up";

fn node() -> Node {
    let node = Node::new();
    node.on_host(DEVICE);
    node
}

fn device(keys: Value) -> Value {
    let mut plugin = json!({"type": "host-device"});
    plugin.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    plugin
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(10), max_shrink_iters: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_interface_moves_in_and_back_as_with_the_reference(
        by_name in any::<bool>(), addresses in 0_usize..4, routes in any::<bool>(),
        is_up in any::<bool>(), version in 0_usize..3,
    ) {
        let before = if is_up { DEVICE } else { DEVICE.rsplit_once(';').unwrap().0 };
        let keys = if by_name { json!({"device": "ens5"}) } else { json!({"hwaddr": "02-00-00-00-00-05"}) };
        let routes = if routes { json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "10.9.0.0/16"}]) } else { json!([]) };
        let mut config = match addresses {
            0 => l2(device(keys)),
            3 => network(device(keys), &BOTH[1..], json!([])),
            count => network(device(keys), &BOTH[..count], routes),
        };
        config["cniVersion"] = json!(["0.3.1", "0.4.0", "1.0.0"][version]);
        let has_check = version > 0;
        let twist = Twist {
            before,
            // Before 1.3 it looks for a route without `gw` that has none.
            reference_check_fails: !has_check || !reference_is_recent(),
            ours_has_no_check: !has_check,
            // Before 1.6 the alias stays.
            differs_after_del: !reference_is_recent(),
            ..Twist::default()
        };
        compare(&config, twist);
    }
}

/// A /sys of the node's own.
fn own_sys() {
    mount_new("sysfs", "/sys");
}

/// A /sys with one PCI device of this driver, whose interface has this index.
fn fake_sys(driver: &str, index: Option<u32>) {
    mount_new("tmpfs", "/sys");
    let pci = "/sys/bus/pci/devices/0000:00:05.0";
    let drivers = format!("/sys/bus/pci/drivers/{driver}");
    [pci, drivers.as_str()].into_iter().for_each(|path| fs::create_dir_all(path).unwrap());
    std::os::unix::fs::symlink(&drivers, format!("{pci}/driver")).unwrap();
    if let Some(index) = index {
        fs::create_dir_all(format!("{pci}/net/ens5")).unwrap();
        fs::write(format!("{pci}/net/ens5/ifindex"), format!("{index}\n")).unwrap();
    }
}

fn index_of(node: &Node) -> u32 {
    let shown: Value = serde_json::from_str(&node.on_host("-j link show ens5")).unwrap();
    shown[0]["ifindex"].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn a_path_or_an_id_of_a_device_leads_to_its_interface() {
    let pci = "0000:00:05.0";
    for who in [Who::Reference, Who::Ours] {
        for config in [
            // It is the first of the virtual ones.
            l2(device(json!({"kernelpath": "/sys/devices/virtual"}))),
            l2(device(json!({"pciBusID": pci}))),
            l2(device(json!({"pciBusID": "0000:00:09.0", "runtimeConfig": {"deviceID": pci}}))),
        ] {
            let node = node();
            node.on_host("link delete eth0");
            let index = index_of(&node);
            node.on_host(
                "link property add dev far5 altname zz; link set far5 down; link set far5 name zz5",
            );
            let is_path = config.get("kernelpath").is_some();
            let sys = || if is_path { own_sys() } else { fake_sys("e1000", Some(index)) };
            let add = || node.call(who, Command::Add, &config);
            let result = with_mounts(&node.host, sys, add)
                .unwrap_or_else(|error| panic!("{who:?} {config}: {error}"));
            assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:05", "{who:?} {config}");
            assert!(node.has_interface(), "{who:?} {config}");
        }
    }
}

#[test]
fn a_device_of_another_namespace_is_not_taken() {
    let node = node();
    let config = l2(device(json!({"pciBusID": "0000:00:05.0"})));
    let add = || node.call(Who::Ours, Command::Add, &config);
    let error = with_mounts(&node.host, || fake_sys("e1000", Some(9999)), add).unwrap_err();
    assert!(error.msg.contains("no interface of the host"), "{error}");
    assert!(!node.has_interface() && node.on_host("-br link").contains("ens5"));
}

#[test]
fn a_userspace_device_is_granted_addresses_alone() {
    for (keys, driver) in [
        (json!({"pciBusID": "0000:00:05.0"}), "vfio-pci"),
        (json!({"runtimeConfig": {"deviceID": "0000:00:05.0"}}), "uio_pci_generic"),
    ] {
        let config = network(device(keys), &BOTH[..1], json!([]));
        let results = [Who::Reference, Who::Ours].map(|who| {
            let node = node();
            let add = || node.call(who, Command::Add, &config);
            let result = with_mounts(&node.host, || fake_sys(driver, None), add).unwrap();
            assert!(!node.has_interface());
            // Before 1.7 the reference's addresses are on an interface that it does not list.
            if who == Who::Ours || reference_is_recent() {
                let config = with_result(&config, &result);
                let check = || node.call(Who::Ours, Command::Check, &config);
                with_mounts(&node.host, || fake_sys(driver, None), check).unwrap();
            }
            node.call(Who::Ours, Command::Del, &config).unwrap();
            let mut result = result;
            if let Some(interface) = result.pointer_mut("/interfaces/0") {
                interface.as_object_mut().unwrap().remove("sandbox");
            }
            result.as_object_mut().unwrap().remove("dns");
            result
        });
        assert_eq!(results[0]["ips"], results[1]["ips"]);
        assert_eq!(results[1]["interfaces"], json!([{"name": "eth0"}]));
    }
}

/// The host's interface as it was: its name, state and alias.
fn on_host(node: &Node) -> Value {
    let shown: Value = serde_json::from_str(&node.on_host("-d -j link show ens5")).unwrap();
    json!([shown[0]["flags"], shown[0]["ifalias"], shown[0]["address"]])
}

#[test]
fn a_failed_add_leaves_the_device_on_the_host_as_it_was() {
    let mut broken = network(device(json!({"device": "ens5"})), BOTH, json!([]));
    broken["ipam"] = json!({"type": "broken"});
    let unreachable = json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.77"}]);
    for config in [broken, network(device(json!({"device": "ens5"})), BOTH, unreachable)] {
        let node = node();
        node.on_host("link set ens5 alias mine");
        let before = on_host(&node);
        let error = node.call(Who::Ours, Command::Add, &config).unwrap_err();
        assert_eq!(on_host(&node), before, "{error}");
        assert!(!node.has_interface());
    }
}

#[test]
fn a_name_that_the_container_has_is_refused_and_the_device_s_own_is_none() {
    let config = l2(device(json!({"device": "ens5"})));
    let node = node();
    node.in_container("link add eth0 type bridge");
    let before = on_host(&node);
    let error = node.call(Who::Ours, Command::Add, &config).unwrap_err();
    assert!(error.msg.contains("already"), "{error}");
    assert_eq!(on_host(&node), before);
    node.call(Who::Ours, Command::Del, &config).unwrap();
    assert!(node.has_interface(), "another plugin's");
    node.in_container("link delete eth0; link add ens5 type bridge");
    node.call(Who::Ours, Command::Add, &config).unwrap();
    node.call(Who::Ours, Command::Del, &config).unwrap();
    assert_eq!(on_host(&node)[1], json!(null));
}

#[test]
fn del_waits_until_the_host_has_no_other_interface_of_the_name() {
    let config = l2(device(json!({"device": "ens5"})));
    let node = node();
    node.call(Who::Ours, Command::Add, &config).unwrap();
    node.on_host("link add ens5 type bridge");
    let error = node.call(Who::Ours, Command::Del, &config).unwrap_err();
    assert!(error.code == Code::TEARDOWN && node.has_interface(), "{error}");
    node.on_host("link delete ens5");
    node.in_container("link set eth0 alias lo");
    node.call(Who::Ours, Command::Del, &config).unwrap();
    assert!(node.on_host("-br link").contains("ens5"), "the configuration has the name, too");
}

/// The kernel brings hardware back under the container's name, or one like `dev5`.
#[test]
fn a_device_whose_container_vanished_has_its_name_back() {
    for command in [Command::Del, Command::Gc] {
        for keys in [json!({"device": "ens5"}), json!({"hwaddr": "02:00:00:00:00:05"})] {
            let node = node();
            node.on_host("link set ens5 down; link set ens5 alias ens5 name dev5");
            node.on_host("link add other type bridge; link set other alias uplink");
            let mut config = l2(device(keys));
            config["cniVersion"] = json!("1.1.0");
            config["cni.dev/valid-attachments"] = json!([]);
            node.call_without_netns(command, &config, "").unwrap();
            let shown = node.on_host("-d -j link show ens5");
            assert!(!shown.contains("ifalias"), "{command} {config}: {shown}");
            assert!(node.on_host("-br link").contains("other"));
        }
    }
}

#[test]
fn what_the_host_cannot_do_without_stays_unless_it_is_named() {
    let node = node();
    for keys in [
        json!({"hwaddr": "02:00:00:00:00:aa"}),
        json!({"device": "lo"}),
        json!({"device": "gone0"}),
    ] {
        let error = node.call(Who::Ours, Command::Add, &l2(device(keys.clone()))).unwrap_err();
        assert!(error.code == Code::CONFIG, "{keys}: {error}");
    }
    assert!(node.on_host("route").contains("default"));
    node.call(Who::Ours, Command::Add, &l2(device(json!({"device": "eth0"})))).unwrap();
}

#[test]
fn a_wrong_value_is_refused() {
    let node = node();
    let table = [
        (json!({}), "no device"),
        (json!({"device": 5}), "\"device\" must be"),
        (json!({"device": "a/b"}), "\"device\" must be"),
        (json!({"hwaddr": "x"}), "\"hwaddr\" must be"),
        (json!({"kernelpath": "/sys/devices/../../etc"}), "\"kernelpath\" must be"),
        (json!({"pciBusID": "../x"}), "\"pciBusID\" must be"),
        (json!({"runtimeConfig": {"deviceID": ".."}}), "\"runtimeConfig.deviceID\" must be"),
        (json!({"runtimeConfig": {"deviceID": "0000:99:05.0"}}), "no PCI or auxiliary device"),
        (json!({"device": "ens5", "DPDKMode": "yes"}), "\"DPDKMode\" must be"),
    ];
    for (keys, words) in table {
        let error = node.call(Who::Ours, Command::Add, &l2(device(keys.clone()))).unwrap_err();
        assert!(error.code == Code::CONFIG && error.msg.contains(words), "{keys}: {error}");
    }
}
