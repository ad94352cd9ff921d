//! bandwidth, beside the reference plugin, on a kernel that has the qdiscs and ifb.

use std::process::Command as Process;

use cni::error::Code;
use cni::request::Command;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::chain::{Side, add_both, assert_same, config, container};
use crate::testing::cases;
use crate::testing::node::{Node, Who};

/// What tc shows of the host's links, without numbers that differ by chance. The reference's filter
/// has a second action that no packet reaches.
fn shown(node: &Node) -> Value {
    let tc = |words: &str| -> Vec<Value> {
        let run = || Process::new("tc").args(words.split(' ')).output().unwrap();
        let output = node.host.run(run).unwrap();
        assert!(output.status.success(), "tc {words}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let mut list = tc("-j qdisc show");
    for filter in &mut tc("-j filter show dev peer0 ingress") {
        if let Some(actions) = filter["options"]["actions"].as_array_mut() {
            actions.truncate(1);
            for key in ["index", "installed", "last_used", "expires"] {
                actions[0].as_object_mut().unwrap().remove(key);
            }
        }
        list.push(filter.take());
    }
    for link in serde_json::from_str::<Vec<Value>>(&node.on_host("-d -j link")).unwrap() {
        if link["linkinfo"]["info_kind"] == "ifb" {
            list.push(json!([link["ifname"], link["mtu"], link["txqlen"], link["flags"]]));
        }
    }
    list.iter_mut()
        .filter_map(Value::as_object_mut)
        .for_each(|it| it.retain(|key, _| key != "handle" || key == "kind"));
    Value::Array(list)
}

fn bandwidth(keys: Value, version: &str) -> Value {
    let mut keys = keys;
    keys["type"] = json!("bandwidth");
    config(keys, version)
}

/// The alias of the ifb is our mark.
fn compare(keys: &Value, version: &str) {
    let config = bandwidth(keys.clone(), version);
    let mut sides = [Who::Reference, Who::Ours].map(|who| Side::new(who, container(), &config));
    for side in &sides {
        side.node.on_host("link set peer0 mtu 1400");
    }
    if !add_both(&mut sides, &shown, "") {
        return;
    }
    for side in &sides {
        for who in [Who::Reference, Who::Ours]
            .into_iter()
            .filter(|_| version.starts_with('1') || version == "0.4.0")
        {
            side.call(who, Command::Check).unwrap_or_else(|error| {
                panic!("CHECK by {who:?} of {:?}: {error} {keys}", side.who)
            });
        }
        side.call(side.other(), Command::Del).unwrap();
        side.call(Who::Ours, Command::Del).unwrap();
        assert!(!side.node.on_host("-br link").contains("bwp"));
    }
    assert_same(&sides, &shown, "DEL");
}

fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(1_000),
        Just(100_000),
        Just(1_000_000_000),
        Just(40_000_000_000),
        8_000_u64..100_000_000
    ]
}

fn burst() -> impl Strategy<Value = u64> {
    prop_oneof![Just(12_000), Just(2_000_000), Just(34_000_000_000), 20_000_u64..1_000_000]
}

/// Whether the figures have room in 32 bits: the reference keeps the rest of larger ones.
fn fits((rate, burst): &(u64, u64)) -> bool {
    burst / rate < 270 && burst / 8 + rate / 320 < u32::MAX.into()
}

#[test]
#[ignore = "needs a kernel with tbf and ifb: run it by scripts/vm"]
fn bandwidth_is_the_reference_s() {
    let limit = || proptest::option::weighted(0.7, (rate(), burst()).prop_filter("it fits", fits));
    // Without a limit the reference's CHECK fails, whatever it finds.
    let limits = (limit(), limit())
        .prop_filter("one limit", |(ingress, egress)| ingress.is_some() || egress.is_some());
    let strategy = (limits, any::<bool>(), 0_usize..3);
    let settings = Config {
        cases: cases(8),
        max_shrink_iters: 2,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome =
        TestRunner::new(settings).run(&strategy, |((ingress, egress), by_runtime, version)| {
            let mut limits = json!({});
            for (direction, limit) in [("ingress", ingress), ("egress", egress)] {
                if let Some((rate, burst)) = limit {
                    limits[format!("{direction}Rate")] = json!(rate);
                    limits[format!("{direction}Burst")] = json!(burst);
                }
            }
            let keys =
                if by_runtime { json!({"runtimeConfig": {"bandwidth": limits}}) } else { limits };
            compare(&keys, ["0.3.1", "0.4.0", "1.0.0"][version]);
            Ok(())
        });
    outcome.unwrap();
    compare(
        &json!({"ingressRate": 80_000, "ingressBurst": 80_000, "runtimeConfig": {"bandwidth": {"egressRate": 80_000, "egressBurst": 80_000}}}),
        "1.0.0",
    );
}

fn ours(keys: Value) -> Side {
    Side::new(Who::Ours, container(), &bandwidth(keys, "1.1.0"))
}

const BOTH: &str = r#"{"ingressRate": 800000, "ingressBurst": 80000, "egressRate": 1600000, "egressBurst": 80000}"#;

fn both() -> Value {
    serde_json::from_str(BOTH).unwrap()
}

#[test]
#[ignore = "needs a kernel with tbf and ifb: run it by scripts/vm"]
fn a_failed_add_leaves_no_limit_and_no_device() {
    let side = ours(both());
    // A second interface of the container in the network has no device left.
    let other = ours(both());
    other.call(Who::Ours, Command::Add).unwrap();
    let name = crate::facts::intermediate_device("blue", "container-1");
    assert!(other.node.on_host("-br link").contains(&name));
    side.node.on_host(&format!("link add {name} type ifb"));
    let before = (shown(&side.node), side.node.on_host("-d -j link"));
    let error = side.call(Who::Ours, Command::Add).unwrap_err();
    assert!(error.code == Code::CONFIG && error.msg.contains("only one interface"), "{error}");
    assert_eq!((shown(&side.node), side.node.on_host("-d -j link")), before);
    // The port has an ingress qdisc of another's.
    let side = ours(both());
    side.node
        .host
        .run(|| Process::new("tc").args(["qdisc", "add", "dev", "peer0", "clsact"]).status())
        .unwrap()
        .unwrap();
    let error = side.call(Who::Ours, Command::Add).unwrap_err();
    assert!(!side.node.on_host("-br link").contains("bwp"), "{error}");
    assert!(!shown(&side.node).to_string().contains("tbf"), "{error}");
}

#[test]
#[ignore = "needs a kernel with tbf and ifb: run it by scripts/vm"]
fn check_names_the_limit_that_is_gone() {
    for (change, words) in [
        ("qdisc delete dev peer0 root", "is not limited"),
        ("qdisc delete dev peer0 ingress", "is not handed"),
    ] {
        let mut side = ours(both());
        side.config["prevResult"] = side.call(Who::Ours, Command::Add).unwrap();
        side.call(Who::Ours, Command::Check).unwrap();
        side.node
            .host
            .run(|| Process::new("tc").args(change.split(' ')).status())
            .unwrap()
            .unwrap();
        let error = side.call(Who::Ours, Command::Check).unwrap_err();
        assert!(error.code == Code::DRIFT && error.msg.contains(words), "{change}: {error}");
    }
}

#[test]
#[ignore = "needs a kernel with tbf and ifb: run it by scripts/vm"]
fn gc_deletes_devices_of_its_own_caller_that_no_attachment_has() {
    let mut side = ours(both());
    side.call(Who::Ours, Command::Add).unwrap();
    side.node.on_host("link add bwp0123456789ab type ifb");
    side.config.as_object_mut().unwrap().remove("prevResult");
    let collect = |valid: Value, name: &str| {
        let mut config = side.config.clone();
        config["cni.dev/valid-attachments"] = valid;
        config["name"] = json!(name);
        side.node.call(Who::Ours, Command::Gc, &config).unwrap();
        let name = crate::facts::intermediate_device("blue", "container-1");
        side.node.on_host("-br link").contains(&name)
    };
    assert!(collect(json!([{"containerID": "container-1", "ifname": "eth0"}]), "blue"));
    assert!(collect(json!([]), "red"), "another network's");
    assert!(!collect(json!([]), "blue"));
    assert!(side.node.on_host("-br link").contains("bwp0123456789ab"), "one without our mark");
}

#[test]
#[ignore = "needs a kernel with ifb: run it by scripts/vm"]
fn a_node_with_the_modules_passes_status() {
    ours(both()).call(Who::Ours, Command::Status).unwrap();
}

#[test]
fn no_limit_passes_the_result_on() {
    let side = ours(
        json!({"ingressRate": 0, "runtimeConfig": {"bandwidth": {"egressRate": 5, "egressBurst": 5}}}),
    );
    let result = side.call(Who::Ours, Command::Add).unwrap();
    assert_eq!(result, side.config["prevResult"]);
    side.call(Who::Ours, Command::Check).unwrap();
    side.call(Who::Ours, Command::Del).unwrap();
}

#[test]
fn a_wrong_value_is_refused_before_anything_is_changed() {
    for (keys, words) in [
        (json!({"ingressRate": "1M", "ingressBurst": 80}), "\"ingressRate\" must be"),
        (json!({"ingressRate": 80}), "\"ingressRate\" needs \"ingressBurst\""),
        (json!({"egressBurst": 80}), "\"egressBurst\" needs \"egressRate\""),
        (json!({"egressRate": 7, "egressBurst": 80}), "at least 8 bits"),
        (json!({"egressRate": 80, "egressBurst": 34_359_738_360_u64}), "less than 4 GiB"),
        (json!({"runtimeConfig": {"bandwidth": 5}}), "\"runtimeConfig.bandwidth\" must be"),
    ] {
        let side = ours(keys.clone());
        let error = side.call(Who::Ours, Command::Add).unwrap_err();
        assert!(error.code == Code::CONFIG && error.msg.contains(words), "{keys}: {error}");
        side.call(Who::Ours, Command::Del).unwrap();
    }
    let side = ours(both());
    side.node.in_container("link delete eth0; link add eth0 type bridge");
    let error = side.call(Who::Ours, Command::Add).unwrap_err();
    assert!(error.code == Code::CONFIG && error.msg.contains("veth"), "{error}");
}
