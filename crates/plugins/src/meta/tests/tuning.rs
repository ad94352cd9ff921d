//! tuning, beside the reference plugin.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cni::error::Code;
use cni::request::Command;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::chain::{Side, add_both, assert_same, config, container, more};
use crate::testing::cases;
use crate::testing::node::{Node, Who, mount_new, reference_is_recent, with_mounts};

const SYSCTLS: [&str; 4] = [
    "net.ipv4.conf.IFNAME.arp_notify",
    "net/ipv4/conf/eth0/arp_ignore",
    "net.ipv4.ip_local_port_range",
    "net.core.somaxconn",
];

fn shown(node: &Node) -> Value {
    let mut list = more(node);
    let read = || SYSCTLS.map(|key| fs::read_to_string(path(key)).unwrap());
    list.as_array_mut().unwrap().extend(node.container.run(read).unwrap().map(Value::from));
    list
}

fn path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/").replace("IFNAME", "eth0"))
}

/// The saved file, its mode and that of the directory.
fn saved(directory: &Path) -> Option<(String, u32, u32)> {
    let file = directory.join("container-1_eth0.json");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    Some((fs::read_to_string(&file).ok()?, mode(&file), mode(directory)))
}

fn sides(keys: &Value, version: &str, root: &Path) -> [Side; 2] {
    [Who::Reference, Who::Ours].map(|who| {
        let mut config = config(keys.clone(), version);
        config["type"] = json!("tuning");
        config["dataDir"] = json!(root.join(format!("{who:?}")));
        Side::new(who, container(), &config)
    })
}

fn compare(keys: &Value, version: &str, args: &str) {
    let root = tempfile::tempdir().unwrap();
    let mut sides = sides(keys, version, root.path());
    let saved_by = |side: &Side| saved(Path::new(side.config["dataDir"].as_str().unwrap()));
    assert!(add_both(&mut sides, &shown, args), "{keys}");
    assert_eq!(saved_by(&sides[0]), saved_by(&sides[1]), "{keys}");
    for side in &sides {
        if version != "0.3.1" {
            // Before 1.3 the reference's CHECK takes IFNAME for the name of an interface.
            let is_known = reference_is_recent() || !keys.to_string().contains("IFNAME");
            for who in [Who::Reference, Who::Ours] {
                if who == Who::Reference && !is_known {
                    continue;
                }
                side.node.call_with_args(who, Command::Check, &side.config, args).unwrap_or_else(
                    |error| panic!("CHECK by {who:?} of {:?}: {error} {keys}", side.who),
                );
            }
        }
        side.call(side.other(), Command::Del).unwrap();
        assert_eq!(saved_by(side), None, "{keys}");
        side.call(Who::Ours, Command::Del).unwrap();
    }
    assert_same(&sides, &shown, "DEL");
}

/// The reference's CHECK fails on upper-case addresses, and on sysctls of several numbers that are
/// not separated by tabs.
fn keys() -> impl Strategy<Value = Value> {
    let sysctl =
        prop_oneof![Just((0, "1")), Just((1, "2")), Just((2, "20000\t30000")), Just((3, "77")),];
    use proptest::option::of as option;
    (
        proptest::collection::vec(sysctl, 0..3),
        option(prop_oneof![Just("02:00:00:00:00:05"), Just("02:00:00:00:00:06")]),
        any::<bool>(),
        option(prop_oneof![Just(0), Just(1280), Just(1400)]),
        option(any::<bool>()),
        option(prop_oneof![Just(0), Just(500)]),
    )
        .prop_map(|(sysctls, mac, promisc, mtu, allmulti, queue)| {
            let mut keys = json!({"sysctl": {}});
            for (at, value) in sysctls {
                keys["sysctl"][SYSCTLS[at]] = json!(value);
            }
            let mut put = |key: &str, value: Option<Value>| {
                keys.as_object_mut().unwrap().extend(value.map(|value| (key.to_owned(), value)));
            };
            put("mac", mac.map(Value::from));
            put("promisc", Some(promisc.into()).filter(|_| promisc));
            put("mtu", mtu.map(Value::from));
            put("allmulti", allmulti.map(Value::from));
            put("txQLen", queue.filter(|_| reference_is_recent()).map(Value::from));
            keys
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(12), max_shrink_iters: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tuning_is_the_reference_s(own in keys(), handed in proptest::option::of(keys()), version in 0_usize..4) {
        let mut keys = own;
        if let Some(handed) = handed {
            keys["args"] = json!({"cni": handed});
        }
        compare(&keys, ["0.3.1", "0.4.0", "1.0.0", "0.4.0"][version], "");
    }
}

#[test]
fn the_hardware_address_of_args_counts_most() {
    let address = |last: u8| format!("02:00:00:00:00:{last:02x}");
    let mut keys = json!({"mac": address(0x11)});
    compare(&keys, "1.0.0", "");
    let args = format!("IgnoreUnknown=1;MAC={}", address(0x12));
    compare(&keys, "1.0.0", &args);
    keys["runtimeConfig"] = json!({"mac": address(0x13)});
    compare(&keys, "1.0.0", &args);
    keys["args"] = json!({"cni": {"mac": address(0x14)}});
    compare(&keys, "1.0.0", &args);
}

fn ours(keys: Value) -> (tempfile::TempDir, Side) {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(keys, "1.1.0");
    config["type"] = json!("tuning");
    config["dataDir"] = json!(root.path().join("saved"));
    (root, Side::new(Who::Ours, container(), &config))
}

#[test]
fn a_wrong_value_is_refused_before_anything_is_changed() {
    let table = [
        (json!({"mtu": "1400"}), "\"mtu\" must be"),
        (json!({"mtu": -1}), "\"mtu\" must be"),
        (json!({"promisc": 1}), "\"promisc\" must be"),
        (json!({"mac": "no"}), "\"mac\" must be"),
        (json!({"sysctl": ["a"]}), "\"sysctl\" must be"),
        (json!({"sysctl": {"net.core.somaxconn": 5}}), "must be a text of one line"),
        (json!({"sysctl": {"kernel.hostname": "x"}}), "below \"net.\""),
        (json!({"sysctl": {"net.core.somaxconn": "1\n2"}}), "must be a text of one line"),
        (json!({"args": {"cni": {"txQLen": -5}}}), "args.cni: \"txQLen\" must be"),
        (json!({"dataDir": "saved"}), "\"dataDir\" must be an absolute path"),
    ];
    for (keys, words) in table {
        let (_root, mut side) =
            ours(json!({"sysctl": {"net.ipv4.conf.eth0.arp_ignore": "1"}, "mtu": 1300}));
        side.config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let before = shown(&side.node);
        let error = side.call(Who::Ours, Command::Add).unwrap_err();
        assert!(error.code == Code::CONFIG && error.msg.contains(words), "{keys}: {error}");
        assert_eq!(shown(&side.node), before, "{keys}");
    }
}

#[test]
fn a_failed_add_leaves_nothing_changed() {
    let sysctls = json!({"net.ipv4.conf.eth0.arp_ignore": "1", "net.core.somaxconn": "77"});
    let broken = [
        // The kernel refuses this MTU of a veth, and this value.
        json!({"sysctl": sysctls, "promisc": true, "mtu": 70_000, "txQLen": 5}),
        json!({"sysctl": {"net.ipv4.conf.eth0.arp_ignore": "1", "net.ipv4.ip_local_port_range": "x"}, "mtu": 1300}),
        json!({"sysctl": {"net.ipv4.conf.eth0.arp_ignore": "1", "net.ipv4.no_such": "1"}, "mtu": 1300}),
    ];
    for keys in broken {
        let (root, side) = ours(keys);
        let before = (shown(&side.node), side.node.in_container("-d -j addr"));
        let error = side.call(Who::Ours, Command::Add).unwrap_err();
        assert_eq!((shown(&side.node), side.node.in_container("-d -j addr")), before, "{error}");
        assert_eq!(saved(&root.path().join("saved")), None, "{error}");
    }
}

#[test]
fn a_second_add_keeps_what_the_first_has_saved() {
    let (root, mut side) = ours(json!({"mtu": 1400, "promisc": true}));
    side.call(Who::Ours, Command::Add).unwrap();
    side.config["mtu"] = json!(1300);
    side.config["mac"] = json!("02:00:00:00:00:09");
    let result = side.call(Who::Ours, Command::Add).unwrap();
    assert_eq!(result["interfaces"][1]["mac"], "02:00:00:00:00:09");
    let (text, ..) = saved(&root.path().join("saved")).unwrap();
    assert_eq!(
        text,
        "{\n \"mac\": \"02:00:00:00:00:02\",\n \"promisc\": false,\n \"mtu\": 1500\n}"
    );
    side.call(Who::Ours, Command::Del).unwrap();
    let shown = side.node.in_container("-d -j link show eth0");
    assert!(shown.contains("\"mtu\":1500") && shown.contains("02:00:00:00:00:02"), "{shown}");
}

#[test]
fn del_without_the_sandbox_or_the_interface_removes_what_was_saved() {
    for path in ["", "/run/netns/gone"] {
        let (root, side) = ours(json!({"mtu": 1400}));
        side.call(Who::Ours, Command::Add).unwrap();
        side.node.call_without_netns(Command::Del, &side.config, path).unwrap();
        assert_eq!(saved(&root.path().join("saved")), None, "{path:?}");
    }
    let (root, side) = ours(json!({"mtu": 1400}));
    side.call(Who::Ours, Command::Add).unwrap();
    side.node.in_container("link delete eth0");
    side.call(Who::Ours, Command::Del).unwrap();
    assert_eq!(saved(&root.path().join("saved")), None);
}

#[test]
fn check_names_each_drift_and_passes_while_something_listens() {
    let keys = json!({
        "mac": "02:00:00:00:00:0A", "promisc": true, "mtu": 1400, "allmulti": true, "txQLen": 5,
        "sysctl": {"net.ipv4.ip_local_port_range": "20000 30000", "net.ipv4.route.flush": "1"},
    });
    let drifts = [
        ("link set eth0 address 02:00:00:00:00:07", "hardware address 02:00:00:00:00:07"),
        ("link set eth0 promisc off", "not promiscuous"),
        ("link set eth0 mtu 1280", "MTU 1280"),
        ("link set eth0 allmulticast off", "multicast"),
        ("link set eth0 txqueuelen 6", "queue of 6"),
        ("link delete eth0", "gone"),
    ];
    for (change, words) in drifts {
        let (_root, mut side) = ours(keys.clone());
        side.config["prevResult"] = side.call(Who::Ours, Command::Add).unwrap();
        side.call(Who::Ours, Command::Check).unwrap();
        side.node.in_container(change);
        let error = side.call(Who::Ours, Command::Check).unwrap_err();
        assert!(error.code == Code::DRIFT && error.msg.contains(words), "{change}: {error}");
    }
    let (_root, mut side) = ours(keys);
    side.config["prevResult"] = side.call(Who::Ours, Command::Add).unwrap();
    side.node
        .container
        .run(|| fs::write("/proc/sys/net/ipv4/ip_local_port_range", "2000 3000"))
        .unwrap()
        .unwrap();
    let error = side.call(Who::Ours, Command::Check).unwrap_err();
    assert!(error.msg.contains("ip_local_port_range"), "{error}");
}

#[test]
fn gc_removes_what_its_own_caller_has_saved_for_attachments_that_are_gone() {
    let (root, mut side) = ours(json!({"mtu": 1400}));
    side.call(Who::Ours, Command::Add).unwrap();
    let directory = root.path().join("saved");
    fs::write(directory.join("other_eth0.json"), "{}").unwrap();
    side.config.as_object_mut().unwrap().remove("prevResult");
    let collect = |valid: Value, name: &str| {
        let mut config = side.config.clone();
        config["cni.dev/valid-attachments"] = valid;
        config["name"] = json!(name);
        side.node.call(Who::Ours, Command::Gc, &config).unwrap();
        saved(&directory).is_some()
    };
    assert!(collect(json!([{"containerID": "container-1", "ifname": "eth0"}]), "blue"));
    assert!(collect(json!([]), "red"), "another network's");
    side.node.call(Who::Ours, Command::Gc, &side.config).unwrap();
    assert!(saved(&directory).is_some(), "without a list");
    assert!(!collect(json!([{"containerID": "container-2", "ifname": "eth0"}]), "blue"));
    assert!(directory.join("other_eth0.json").exists(), "one without our mark");
}

/// Makes /etc hold this list alone.
fn write_list(text: &str) {
    mount_new("tmpfs", "/etc");
    fs::create_dir_all("/etc/cni/tuning").unwrap();
    fs::write("/etc/cni/tuning/allowlist.conf", text).unwrap();
}

#[test]
fn the_allow_list_allows_what_one_of_its_expressions_matches() {
    let table = [
        ("", [false, false]),
        ("^net\\.core\\.", [true, false]),
        ("  somaxconn \n\nconf.IFNAME", [true, true]),
        ("conf.eth0", [false, false]),
    ];
    let keys = ["net.core.somaxconn", "net.ipv4.conf.IFNAME.arp_notify"];
    for (list, expected) in table {
        for (key, expected) in keys.into_iter().zip(expected) {
            let (_root, mut side) = ours(json!({"sysctl": {key: "1"}}));
            side.config["cniVersion"] = json!("1.0.0");
            side.config["prevResult"]["cniVersion"] = json!("1.0.0");
            let add = |who| {
                let work = || side.call(who, Command::Add);
                with_mounts(&side.node.host, || write_list(list), work).is_ok()
            };
            assert_eq!(add(Who::Ours), expected, "{list:?} {key}");
            // Before 1.2 the reference has no list.
            if reference_is_recent() {
                assert_eq!(add(Who::Reference), expected, "the reference: {list:?} {key}");
            }
        }
    }
}
