//! The devices of a pod, from the kubelet over its socket.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use braid::internals::device::{Allocation, DeviceError, KubeletError};
use cni::error::Code;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::RESOURCE;
use crate::kubelet::{
    Answer, Kubelet, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNKNOWN, pod,
    resources,
};

/// A socket in a directory that goes with the test.
struct Place {
    _directory: TempDir,
    socket: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("pod-resources/kubelet.sock");
        Self { _directory: directory, socket }
    }

    fn kubelet(&self) -> Kubelet {
        Kubelet::start(&self.socket)
    }

    fn ask(&self) -> Result<Allocation, DeviceError> {
        self.ask_within(Duration::from_secs(20))
    }

    fn ask_within(&self, limit: Duration) -> Result<Allocation, DeviceError> {
        Allocation::of_pod(&self.socket, &"shop".parse().unwrap(), "cart", limit)
    }
}

fn vfs(ids: &[&str]) -> Value {
    json!([{"resourceName": RESOURCE, "deviceIds": ids, "topology": {"nodes": [{"ID": "1"}]}}])
}

fn take_all(allocation: &mut Allocation, resource: &str) -> Vec<String> {
    std::iter::from_fn(|| allocation.take(resource).ok()).collect()
}

/// The kubelet's error, and the code that the runtime gets.
fn refusal(outcome: Result<Allocation, DeviceError>) -> (KubeletError, Code) {
    let error = outcome.expect_err("the kubelet's answer is no answer");
    let code = error.to_protocol().code;
    let sentence = error.to_string();
    assert!(
        sentence.starts_with("cannot ask the kubelet which devices the pod has: "),
        "{sentence}"
    );
    match error {
        DeviceError::Kubelet { source, .. } => (*source, code),
        other => panic!("{other}"),
    }
}

#[test]
fn two_networks_of_one_resource_get_two_devices_and_a_third_none() {
    let place = Place::new();
    let kubelet =
        place.kubelet().get([pod("shop", "cart", vfs(&["0000:03:02.1", "0000:03:02.0"]))]);
    let mut allocation = place.ask().unwrap();
    assert_eq!(allocation.take(RESOURCE).unwrap(), "0000:03:02.1");
    assert_eq!(allocation.take(RESOURCE).unwrap(), "0000:03:02.0");
    let exhausted = allocation.take(RESOURCE).unwrap_err();
    assert!(
        matches!(exhausted, DeviceError::Exhausted { allocated: 2, asked: 3, .. }),
        "{exhausted}"
    );
    assert_eq!(kubelet.requests(), ["Get shop/cart"], "one question for the whole pod");
}

#[test]
fn every_field_of_the_proto_is_read_or_passed_over() {
    let place = Place::new();
    let _kubelet = place.kubelet().get([Answer::Message(json!({"podResources": {
        "name": "cart", "namespace": "shop", "containers": [
            {"name": "init", "cpuIds": ["0", "1"],
             "memory": [{"memoryType": "memory", "size": "4096", "topology": {"nodes": [{"ID": "0"}]}}],
             "devices": [{"resourceName": "a.b/x", "deviceIds": ["1"], "topology": {"nodes": [{"ID": "0"}]}},
                         {"resourceName": "a.b/x", "deviceIds": ["2"]}]},
            {"name": "main", "devices": [{"resourceName": "a.b/x", "deviceIds": ["2", "3"]}],
             "dynamicResources": [{"className": "old", "claimName": "c", "claimNamespace": "shop", "claimResources": [
                 {"cdiDevices": [{"name": "example.com/nic=sf1"}, {"name": "example.com/nic=sf2"}],
                  "driverName": "nic.example.com", "poolName": "p", "deviceName": "d"}]}]},
        ]}}))]);
    for (resource, ids) in [
        ("a.b/x", vec!["1", "2", "3"]),
        ("old", vec!["sf1", "sf2"]),
        ("nic.example.com", vec!["sf1", "sf2"]),
        ("example.com/nic", vec!["sf1", "sf2"]),
    ] {
        assert_eq!(take_all(&mut place.ask().unwrap(), resource), ids, "{resource}");
    }
}

/// Kubernetes 1.20 to 1.26 has no Get, up to 1.33 it is disabled by default; a pod that Get does
/// not find (the kubelet knows static pods by another way) may be listed.
#[test]
fn list_stands_in_for_get() {
    let listed = || {
        json!({"podResources": [
            resources("shop", "carton", vfs(&["0"])),
            resources("stop", "cart", vfs(&["1"])),
            resources("shop", "cart", vfs(&["2"])),
        ]})
    };
    for get in [
        Answer::Status(UNIMPLEMENTED, "unknown method Get for service v1.PodResourcesLister"),
        Answer::Status(UNKNOWN, "PodResources API Get method disabled"),
        Answer::Status(UNKNOWN, "pod cart in namespace shop not found"),
        Answer::Status(NOT_FOUND, ""),
        Answer::Message(json!({})),
        pod("shop", "carton", vfs(&["0"])),
    ] {
        let place = Place::new();
        let kubelet = place.kubelet().get([get.clone()]).list([Answer::Message(listed())]);
        assert_eq!(take_all(&mut place.ask().unwrap(), RESOURCE), ["2"], "{get:?}");
        assert_eq!(kubelet.requests(), ["Get shop/cart", "List"]);
    }
}

#[test]
fn of_two_pods_of_one_name_the_one_that_still_has_devices_counts() {
    let place = Place::new();
    let [gone, new] = [json!([]), vfs(&["1"])].map(|devices| resources("shop", "cart", devices));
    let _kubelet = place.kubelet().list([
        Answer::Message(json!({"podResources": [gone, new]})),
        Answer::Message(json!({"podResources": [new, new]})),
    ]);
    assert_eq!(take_all(&mut place.ask().unwrap(), RESOURCE), ["1"]);
    let (error, code) = refusal(place.ask());
    assert!(matches!(error, KubeletError::SeveralPods(2)), "{error}");
    assert_eq!(code, Code::TRY_AGAIN);
}

#[test]
fn a_pod_without_devices_is_told_so_when_a_network_asks() {
    let place = Place::new();
    let _kubelet = place.kubelet().get([pod("shop", "cart", json!([]))]);
    let error = place.ask().unwrap().take(RESOURCE).unwrap_err();
    assert!(matches!(error, DeviceError::NotAllocated { .. }), "{error}");
}

#[test]
fn a_pod_that_the_kubelet_does_not_know_may_be_known_later() {
    let place = Place::new();
    let _kubelet = place.kubelet().list([Answer::Message(json!({}))]);
    let (error, code) = refusal(place.ask());
    assert!(matches!(error, KubeletError::UnknownPod), "{error}");
    assert_eq!(code, Code::TRY_AGAIN);
}

/// The kubelet answers 100 questions a second, and refuses what is more.
#[test]
fn a_busy_kubelet_is_asked_again() {
    let busy = Answer::Status(RESOURCE_EXHAUSTED, "rejected by rate limit");
    let place = Place::new();
    let kubelet =
        place.kubelet().get([busy.clone(), busy.clone(), pod("shop", "cart", vfs(&["1"]))]);
    assert_eq!(take_all(&mut place.ask().unwrap(), RESOURCE), ["1"]);
    assert_eq!(kubelet.requests().len(), 3);
    drop(kubelet);

    let kubelet = place.kubelet().get([busy]);
    let (error, code) = refusal(place.ask_within(Duration::from_millis(300)));
    assert!(matches!(error, KubeletError::Slow { .. }), "{error}");
    assert_eq!(code, Code::TRY_AGAIN);
    assert!(kubelet.requests().len() < 8, "the wait grows: {:?}", kubelet.requests());
}

#[test]
fn a_kubelet_that_does_not_answer_is_waited_for_no_longer_than_the_limit() {
    for answer in [Answer::Silence, Answer::Stuck] {
        let place = Place::new();
        let _kubelet = place.kubelet().get([answer]);
        let start = Instant::now();
        let (error, code) = refusal(place.ask_within(Duration::from_millis(200)));
        assert!(matches!(error, KubeletError::Slow { .. }), "{error}");
        assert_eq!(code, Code::TRY_AGAIN);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

/// Listening, and never reading: not even the connection is set up.
#[test]
fn a_kubelet_that_does_not_read_is_waited_for_no_longer_than_the_limit() {
    let place = Place::new();
    fs::create_dir_all(place.socket.parent().unwrap()).unwrap();
    let _listener = UnixListener::bind(&place.socket).unwrap();
    let (error, _) = refusal(place.ask_within(Duration::from_millis(200)));
    assert!(matches!(error, KubeletError::Slow { .. }), "{error}");
}

#[test]
fn answers_that_are_none_are_refused() {
    // A length-delimited field whose length goes past the end; a name that is no UTF-8; a group.
    for bytes in
        [vec![0x0a, 0x7f, 0x00], vec![0x0a, 0x03, 0x0a, 0x01, 0xff], vec![0x0b], vec![0xff; 64]]
    {
        let place = Place::new();
        let _kubelet = place.kubelet().get([Answer::Bytes(bytes.clone())]);
        let (error, code) = refusal(place.ask());
        assert!(
            matches!(error, KubeletError::Unreadable { method: "Get", .. }),
            "{bytes:?}: {error}"
        );
        assert_eq!(code, Code::IO);
    }
}

#[test]
fn answers_that_end_early_are_refused() {
    for (answer, breaks) in [
        (Answer::NoStatus, false),
        (Answer::Reset, true),
        (Answer::Http(404), false),
        (Answer::Http(503), false),
    ] {
        let place = Place::new();
        let _kubelet = place.kubelet().get([answer.clone()]).list([answer.clone()]);
        let (error, code) = refusal(place.ask());
        let expected = match error {
            KubeletError::Broken { method: "Get", .. } => breaks,
            KubeletError::Refused { .. } => !breaks,
            _ => false,
        };
        assert!(expected, "{answer:?}: {error}");
        assert_eq!(code, Code::TRY_AGAIN);
    }
}

#[test]
fn an_answer_without_bounds_is_not_read() {
    let place = Place::new();
    let _kubelet = place.kubelet().get([Answer::Huge((16 << 20) + 1)]);
    let (error, code) = refusal(place.ask());
    assert!(matches!(error, KubeletError::TooLarge { method: "Get" }), "{error}");
    assert_eq!(code, Code::IO);
}

/// Larger than what gRPC reads unless told otherwise (4 MiB).
#[test]
fn a_full_node_is_listed() {
    let place = Place::new();
    let ids: Vec<_> = (0..64).map(|id| format!("{id:0>256}")).collect();
    let pod_of = |number: usize| {
        let name = if number == 299 { "cart".to_owned() } else { format!("pod-{number}") };
        resources("shop", &name, json!([{"resourceName": RESOURCE, "deviceIds": ids}]))
    };
    let pods: Vec<_> = (0..300).map(pod_of).collect();
    let _kubelet = place.kubelet().list([Answer::Message(json!({"podResources": pods}))]);
    assert_eq!(take_all(&mut place.ask().unwrap(), RESOURCE), ids);
}

#[test]
fn a_refusal_of_the_kubelet_is_quoted() {
    let place = Place::new();
    let _kubelet = place.kubelet().get([Answer::Status(PERMISSION_DENIED, "not%20you%0A")]);
    let (error, code) = refusal(place.ask());
    assert_eq!(error.to_string(), "it refuses Get: \"not you\\n\" (gRPC code 7)");
    assert_eq!(code, Code::TRY_AGAIN);
}

#[test]
fn what_is_no_kubelet_is_named() {
    let place = Place::new();
    let (missing, code) = refusal(place.ask());
    assert!(matches!(missing, KubeletError::NoSocket(_)), "{missing}");
    assert_eq!(code, Code::TRY_AGAIN);

    // A kubelet that has gone leaves its socket behind.
    drop(Kubelet::start(&place.socket));
    drop(UnixListener::bind(&place.socket).unwrap());
    let (refused, code) = refusal(place.ask());
    assert!(matches!(refused, KubeletError::Connect { .. }), "{refused}");
    assert_eq!(code, Code::TRY_AGAIN);

    fs::remove_file(&place.socket).unwrap();
    fs::write(&place.socket, "").unwrap();
    let (file, code) = refusal(place.ask());
    assert!(matches!(file, KubeletError::NotASocket(_)), "{file}");
    assert_eq!(code, Code::IO);
}

#[test]
fn a_server_of_another_protocol_is_no_kubelet() {
    let place = Place::new();
    fs::create_dir_all(place.socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&place.socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // What every HTTP/2 client says first.
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").unwrap();
    });
    let (error, code) = refusal(place.ask());
    assert!(matches!(error, KubeletError::Broken { method: "Get", .. }), "{error}");
    assert_eq!(code, Code::TRY_AGAIN);
    server.join().unwrap();
}
