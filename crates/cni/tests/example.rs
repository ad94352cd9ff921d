//! `examples/resolver.rs` answers every verb, started as containerd starts plugins: with libcni's
//! environment, and with the configuration that libcni derives (its keys are sorted, as Go's
//! encoder sorts them).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// What the primary returned: `bridge` with `host-local`.
const PREV_RESULT: &str = r#"{
    "cniVersion": "1.1.0", "dns": {"nameservers": ["10.96.0.53"], "search": ["svc.cluster.local"]},
    "interfaces": [
        {"mac": "5a:8f:0e:1b:52:aa", "name": "cni0"},
        {"mac": "2e:7f:6c:44:10:01", "name": "veth5d0c2a31"},
        {"mac": "b6:1d:3a:72:9f:02", "mtu": 1500, "name": "eth0", "sandbox": "/var/run/netns/cni-3f0d7f5e-5d3c"}
    ],
    "ips": [{"address": "10.244.0.7/24", "gateway": "10.244.0.1", "interface": 2}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.244.0.1"}]
}"#;

/// The example's executable, which cargo builds together with the tests.
fn resolver() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let resolver = test.parent().and_then(Path::parent).unwrap().join("examples/resolver");
    assert!(resolver.exists(), "run `cargo build -p braid-cni --example resolver`");
    resolver
}

/// The exit status and what is on standard output; `null` if that is empty.
fn call(verb: &str, input: &Value) -> (i32, Value) {
    let of_sandbox = |value| if ["ADD", "DEL", "CHECK"].contains(&verb) { value } else { "" };
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=team-a;K8S_POD_NAME=web-5c9d;K8S_POD_INFRA_CONTAINER_ID=4f1c0a7d2b93;K8S_POD_UID=0f7c8d1e-0000-4000-8000-000000000002";
    let mut child = Command::new(resolver())
        .env_clear()
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", of_sandbox("4f1c0a7d2b93"))
        .env("CNI_NETNS", of_sandbox("/var/run/netns/cni-3f0d7f5e-5d3c"))
        .env("CNI_IFNAME", of_sandbox("eth0"))
        .env("CNI_ARGS", of_sandbox(args))
        .env("CNI_PATH", "/opt/cni/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), printed)
}

fn config(version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "k8s-pod-network", "nameservers": ["10.96.0.10", "fd00::a"],
        "type": "resolver",
    })
}

/// The configuration of ADD, CHECK and DEL.
fn config_with_result() -> Value {
    let mut config = config("1.1.0");
    config["prevResult"] = serde_json::from_str(PREV_RESULT).unwrap();
    config
}

#[test]
fn add_returns_prev_result_with_the_name_servers() {
    let mut expected: Value = serde_json::from_str(PREV_RESULT).unwrap();
    expected["dns"]["nameservers"] = json!(["10.96.0.53", "10.96.0.10", "fd00::a"]);
    assert_eq!(call("ADD", &config_with_result()), (0, expected));
}

#[test]
fn add_without_prev_result_is_an_error_of_the_protocol() {
    let expected = json!({
        "cniVersion": "1.0.0", "code": 7, "msg": "put \"resolver\" behind another plugin",
    });
    assert_eq!(call("ADD", &config("1.0.0")), (1, expected));
}

#[test]
fn del_and_check_print_nothing() {
    assert_eq!(call("CHECK", &config_with_result()), (0, Value::Null));
    assert_eq!(call("DEL", &config_with_result()), (0, Value::Null));
    // As libcni calls it if it has no result in its cache.
    assert_eq!(call("DEL", &config("1.1.0")), (0, Value::Null));
}

#[test]
fn status_and_gc_need_no_container() {
    assert_eq!(call("STATUS", &config("1.1.0")), (0, Value::Null));
    let mut gc = config("1.1.0");
    let valid = json!([{"containerID": "4f1c0a7d2b93", "ifname": "eth0"}]);
    gc["cni.dev/attachments"] = valid.clone();
    gc["cni.dev/valid-attachments"] = valid;
    assert_eq!(call("GC", &gc), (0, Value::Null));
    assert_eq!(call("GC", &config("1.0.0")).1["code"], 1, "1.0.0 has no GC");
}

#[test]
fn version_answers_in_the_version_that_was_asked_in() {
    let versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    for version in ["0.4.0", "1.1.0"] {
        let expected = json!({"cniVersion": version, "supportedVersions": versions});
        assert_eq!(call("VERSION", &json!({"cniVersion": version})), (0, expected));
    }
}

/// A person who starts the plugin is told what it is.
#[test]
fn without_a_command_the_error_names_it() {
    let output = Command::new(resolver()).env_clear().stdin(Stdio::null()).output().unwrap();
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &error["code"]), (Some(1), &json!(4)));
    assert!(error["msg"].as_str().unwrap().starts_with("CNI_COMMAND is not set"), "{error}");
}

/// A plugin that others depend on brings little along.
#[test]
fn the_crate_depends_on_four_others() {
    let manifest = include_str!("../Cargo.toml");
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let dependencies = rest.split("\n[").next().unwrap().lines();
    let names = dependencies.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    assert_eq!(names.collect::<Vec<_>>(), ["ipnetwork", "serde", "serde_json", "thiserror"]);
}
