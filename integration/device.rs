//! Devices of a pod: the kubelet asked over its socket, and device-info files on a disk.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use braid::internals::device::{
    Allocation, DeviceError, DeviceInfoError, DeviceInfoStore, KubeletError,
};
use cni::error::Code;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kubelet::{
    Answer, Kubelet, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNKNOWN, pod,
    resources,
};

const RESOURCE: &str = "nic.example.com/vf";

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

/// A store in a directory of its own, with an attachment's file.
struct Files {
    _directory: TempDir,
    base: PathBuf,
    store: DeviceInfoStore,
    file: PathBuf,
}

const DEVICE: &str = "0000:03:02.1";

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("run/devinfo");
        let store = DeviceInfoStore::new(&base);
        let file =
            store.path_for("shop/blue", &"c0ffee".parse().unwrap(), &"net1".parse().unwrap());
        Self { _directory: directory, base, store, file }
    }

    /// Writes what a device plugin writes, in a directory as the NPWG's library makes it.
    fn of_plugin(&self, content: &str) -> PathBuf {
        let path = self.base.join("dp/nic.example.com-vf-0000:03:02.1-device.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn prepare(&self) -> Result<bool, DeviceInfoError> {
        self.store.prepare(&self.file, RESOURCE, DEVICE)
    }
}

fn info(address: &str) -> Value {
    json!({"type": "pci", "version": "1.1.0", "pci": {"pci-address": address}})
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Device-info 1.1.0, sections 4.1, 4.2.1 and 6.1.1.
#[test]
fn a_device_plugins_file_becomes_the_attachments_and_goes_with_it() {
    let files = Files::new();
    // As it was written, spaces and all.
    let content = format!(" {}\n", serde_json::to_string_pretty(&info(DEVICE)).unwrap());
    let source = files.of_plugin(&content);
    assert!(files.prepare().unwrap());
    assert_eq!(files.file, files.base.join("cni/shop-blue-c0ffee_net1"));
    assert_eq!(fs::read_to_string(&files.file).unwrap(), content);
    assert_eq!((mode(&files.file), mode(files.file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(files.store.read(&files.file).unwrap(), Some(info(DEVICE)));

    files.store.remove(&files.file).unwrap();
    assert_eq!(fs::read_dir(files.base.join("cni")).unwrap().count(), 0);
    assert!(source.exists(), "the device plugin's own file is not ours to remove");
    files.store.remove(&files.file).expect("removing again");
}

/// Device-info 1.1.0, section 5.1.2: a plugin can update the file, or be the first to write it.
#[test]
fn what_a_plugin_writes_is_what_is_read() {
    let files = Files::new();
    assert!(!files.prepare().unwrap(), "no device plugin has said anything");
    assert_eq!(files.store.read(&files.file).unwrap(), None);
    fs::create_dir_all(files.file.parent().unwrap()).unwrap();
    fs::write(&files.file, info("0000:00:00.7").to_string()).unwrap();
    assert_eq!(files.store.read(&files.file).unwrap(), Some(info("0000:00:00.7")));
}

#[test]
fn what_an_earlier_attempt_has_left_is_not_shown_to_the_next() {
    let files = Files::new();
    files.of_plugin(&info(DEVICE).to_string());
    files.prepare().unwrap();
    fs::write(&files.file, "stale").unwrap();
    files.prepare().unwrap();
    assert_eq!(files.store.read(&files.file).unwrap(), Some(info(DEVICE)));
    fs::remove_dir_all(files.base.join("dp")).unwrap();
    assert!(!files.prepare().unwrap());
    assert_eq!(files.store.read(&files.file).unwrap(), None);
}

#[test]
fn each_attachment_has_a_file_of_its_own() {
    let store = DeviceInfoStore::new("/base");
    let path = |network: &str, container: &str, interface: &str| {
        store.path_for(network, &container.parse().unwrap(), &interface.parse().unwrap())
    };
    let (label, container) = (format!("{}/{}", "n".repeat(63), "d".repeat(253)), "c".repeat(200));
    let interface = "exactly15bytes_";
    let long = path(&label, &container, interface);
    assert_eq!(long.file_name().unwrap().len(), 254);
    assert!(long.to_str().unwrap().ends_with(&format!("-{container}_{interface}")));
    assert_ne!(long, path(&label, &container, "exactly15bytes-"));
    assert_eq!(path("../../etc/p w\n", "c", "net1"), Path::new("/base/cni/..-..-etc-p-w--c_net1"));
    assert_eq!(path("..", "c", "net1"), Path::new("/base/cni/..-c_net1"));
}

#[test]
fn content_that_is_wrong_is_refused_on_both_ways() {
    let files = Files::new();
    let deep = "[".repeat(10_000);
    let long = format!("{}{}", info(DEVICE), " ".repeat(20_000));
    let cases = [
        ("", "is not valid JSON"),
        ("\0\0\0\0", "is not valid JSON"),
        (deep.as_str(), "is not valid JSON"),
        ("[]", "the whole must be a JSON object"),
        ("{\"type\": \"pci\", \"version\": \"1.1.0\"}", "\"pci\" is missing"),
        (long.as_str(), "is larger than 16 KiB"),
    ];
    for (content, problem) in cases {
        let source = files.of_plugin(content);
        let error = files.prepare().unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains(source.to_str().unwrap()), "{error}");
        assert!(!files.file.exists());

        fs::create_dir_all(files.file.parent().unwrap()).unwrap();
        fs::write(&files.file, content).unwrap();
        let error = files.store.read(&files.file).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains(files.file.to_str().unwrap()), "{error}");
    }
}

#[test]
fn links_pipes_and_directories_are_not_read() {
    let files = Files::new();
    let elsewhere = files.base.parent().unwrap().join("elsewhere");
    let source = files.of_plugin("");
    fs::remove_file(&source).unwrap();
    fs::write(&elsewhere, info(DEVICE).to_string()).unwrap();
    symlink(&elsewhere, &source).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("is a symbolic link"), "{error}");

    fs::remove_file(&source).unwrap();
    nix::unistd::mkfifo(&source, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("is no regular file"), "{error}");

    fs::remove_file(&source).unwrap();
    fs::create_dir(&source).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("is no regular file"), "{error}");
}

#[test]
fn a_link_in_place_of_the_attachments_file_is_neither_followed_nor_kept() {
    let files = Files::new();
    files.of_plugin(&info(DEVICE).to_string());
    let elsewhere = files.base.parent().unwrap().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    fs::create_dir_all(files.file.parent().unwrap()).unwrap();
    symlink(&elsewhere, &files.file).unwrap();
    assert!(files.store.read(&files.file).unwrap_err().to_string().contains("is a symbolic link"));
    assert!(files.prepare().unwrap());
    assert!(!files.file.is_symlink());
    symlink(&elsewhere, files.file.with_file_name("other-c_net1")).unwrap();
    files.store.remove(&files.file.with_file_name("other-c_net1")).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
}

#[test]
fn a_directory_that_others_can_write_is_not_written() {
    let files = Files::new();
    files.of_plugin(&info(DEVICE).to_string());
    let directory = files.base.join("cni");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("can be written by others"), "{error}");

    fs::remove_dir(&directory).unwrap();
    symlink(files.base.join("dp"), &directory).unwrap();
    let error = files.prepare().unwrap_err().to_string();
    assert!(error.contains("is a symbolic link"), "{error}");
    assert!(!files.file.exists());
}

/// The NPWG's library makes directories that nobody but root can enter.
#[test]
fn a_directory_of_the_npwgs_library_is_as_good() {
    let files = Files::new();
    files.of_plugin(&info(DEVICE).to_string());
    let directory = files.base.join("cni");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o000)).unwrap();
    assert!(files.prepare().unwrap());
}

#[test]
fn names_from_outside_are_no_paths() {
    let files = Files::new();
    let secret = files.base.join("secret-device.json");
    files.of_plugin("");
    fs::write(&secret, info(DEVICE).to_string()).unwrap();
    assert!(!files.store.prepare(&files.file, "a/b", "../../secret").unwrap());
    for resource in ["../secret", "..", "/etc", "a/../b"] {
        let error = files.store.prepare(&files.file, resource, DEVICE).unwrap_err();
        assert!(matches!(error, DeviceInfoError::Name(_)), "{error}");
    }
    let inside = files.base.join("cni");
    for path in [
        &secret,
        &files.base.join("dp/x"),
        &inside,
        &inside.join("a/b"),
        &inside.join(".."),
        &inside.join("../secret-device.json"),
        Path::new("x"),
    ] {
        for error in [
            files.store.remove(path).unwrap_err(),
            files.store.read(path).unwrap_err(),
            files.store.prepare(path, RESOURCE, DEVICE).unwrap_err(),
        ] {
            assert!(
                matches!(error, DeviceInfoError::Foreign { .. }),
                "{}: {error}",
                path.display()
            );
        }
    }
    assert!(secret.exists());
}
