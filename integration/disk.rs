//! A disk that is full, read-only or not ours: what is refused before its first effect, what goes
//! on, and that DEL tears down all the same. Those of `teardown::state_directory` go with these.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::api_requests::{Cluster, known};
use crate::kubelet::{Kubelet, pod as allocated};
use crate::node::Node;
use crate::pod::Pod;
use crate::teardown::{
    ALL_DELETED, assert_not_taken_for_success, assert_only_plain_pods_start, node, pod_with_both,
    valid_attachments,
};

const NOTHING: [&str; 0] = [];
const NOBODY: u32 = 65534;

fn give_away(path: &Path, to: u32) {
    chown(path, Some(to), Some(to)).unwrap();
}

/// A name for what is done to a node's disk, and the doing.
type Spoiler = (&'static str, fn(&Node));

/// What may stand where the state directory should be.
fn spoilers() -> Vec<Spoiler> {
    vec![
        ("another user's", |node| {
            fs::create_dir(node.path("state")).unwrap();
            give_away(&node.path("state"), NOBODY);
        }),
        ("a file", |node| node.write("state", "")),
        ("a link", |node| {
            fs::create_dir(node.path("elsewhere")).unwrap();
            symlink(node.path("elsewhere"), node.path("state")).unwrap();
        }),
        ("a link to nowhere", |node| symlink("/nowhere", node.path("state")).unwrap()),
        ("read-only", |node| {
            node.mount("state", "mode=0700");
            node.remount("state", "ro");
        }),
        ("full", |node| {
            node.mount("state", "mode=0700,size=16k");
            fs::write(node.path("state/filler"), vec![0; 1 << 20]).unwrap_err();
        }),
        ("without inodes", |node| node.mount("state", "mode=0700,nr_inodes=1")),
    ]
}

#[test]
fn a_state_directory_that_cannot_be_used_refuses_extra_networks_and_no_plain_pod() {
    for (what, spoil) in spoilers() {
        eprintln!("the state directory is {what}");
        let node = node();
        spoil(&node);
        assert_only_plain_pods_start(&node);
        let lines = node.dump();
        let written = lines
            .iter()
            .filter(|line| line.starts_with("file state/") && !line.ends_with("filler"));
        assert_eq!(written.collect::<Vec<_>>(), Vec::<&String>::new(), "{what}");
        assert!(
            !node.path("elsewhere").exists()
                || fs::read_dir(node.path("elsewhere")).unwrap().count() == 0
        );
    }
}

#[test]
fn a_state_directory_that_is_missing_and_cannot_be_made() {
    let node = node();
    node.mount("disk", "mode=0755");
    node.remount("disk", "ro");
    let mut config = node.delegating();
    config["cniDir"] = json!(node.path("disk/state"));
    let pod = node.pod("team-a", "web");
    pod.add(config.clone())
        .networks("blue")
        .run()
        .assert_error(5, ["pod team-a/web", "disk/state"]);
    assert_eq!((node.calls_in_order(), pod.links()), (vec![], vec![]));
    let plain = pod.add(config).run();
    plain.assert_success();
    assert!(plain.stderr.contains("the pod runs unrecorded"), "{}", plain.stderr);
    pod.check().run().assert_success();
    pod.del().run().assert_success();
    assert_eq!(
        node.calls_in_order(),
        ["ADD primary eth0", "CHECK primary eth0", "DEL primary eth0"]
    );
}

/// Its own directories may be spoilt one by one.
#[test]
fn a_directory_of_records_or_locks_that_cannot_be_used_is_no_better() {
    for directory in ["records", "locks"] {
        for foreign in [true, false] {
            let node = node();
            fs::create_dir(node.path("state")).unwrap();
            fs::set_permissions(node.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
            let path = node.path("state").join(directory);
            if foreign {
                fs::create_dir(&path).unwrap();
                give_away(&path, NOBODY);
            } else {
                fs::write(&path, "").unwrap();
            }
            assert_only_plain_pods_start(&node);
        }
    }
}

#[test]
fn del_with_no_inode_left() {
    let node = node();
    node.mount("state", "mode=0700,nr_inodes=16");
    let pod = pod_with_both(&node);
    let filled = (0..32).map(|number| fs::write(node.path(&format!("state/filler{number}")), ""));
    assert!(filled.filter(Result::is_err).count() > 0, "the disk takes more than it should");
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

#[test]
fn gc_with_a_full_disk() {
    let node = node();
    node.mount("state", "mode=0700,size=64k");
    let pod = pod_with_both(&node);
    fs::write(node.path("state/filler"), vec![0; 1 << 20]).unwrap_err();
    node.call("GC", node.delegating()).with(valid_attachments(json!([]))).run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

/// Records that any user may have written are not run as root. DEL fails until the directory is
/// root's again, says so, and reads as no success; a pod without a record is none of its business.
#[test]
fn del_does_not_trust_records_that_another_user_owns() {
    let node = node();
    let plain = node.pod("team-a", "plain");
    plain.add_chained(json!({})).run().assert_success();
    let pod = pod_with_both(&node);
    give_away(&node.path("state/records"), NOBODY);
    let outcome = pod.del().run();
    outcome.assert_error(5, [&node.path_text("state/records"), "belongs to another user"]);
    assert_not_taken_for_success(&outcome);
    assert_eq!(node.calls_in_order(), NOTHING);
    plain.del().run().assert_success();
    give_away(&node.path("state/records"), 0);
    pod.del().run().assert_success();
    assert_eq!(node.calls_in_order(), ALL_DELETED);
    assert_eq!((node.state("records").len(), pod.links()), (0, vec![]));
}

/// Last-known-good copies are a help, and no need.
#[test]
fn copies_that_cannot_be_kept_hold_nothing_up() {
    for foreign in [true, false] {
        let cluster = Cluster::usual();
        let node = &cluster.node;
        fs::create_dir(node.path("state")).unwrap();
        fs::set_permissions(node.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
        if foreign {
            fs::create_dir(node.path("state/definitions")).unwrap();
            give_away(&node.path("state/definitions"), NOBODY);
        } else {
            node.write("state/definitions", "");
        }
        let pod = cluster.pod();
        let config = cluster.config(json!({"logLevel": "warning", "statusPolicy": "never"}));
        let add = known(pod.add(config), &pod).networks("blue").run();
        add.assert_success();
        assert!(
            add.stderr.contains("no copy of network \"team-a/blue\" is kept"),
            "{}",
            add.stderr
        );
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(node.state("records"), NOTHING);
    }
}

/// A network with a device, and what the device plugin says of it.
struct Devices {
    // It goes before the node's directory does.
    _kubelet: Kubelet,
    node: Node,
}

impl Devices {
    fn new() -> Self {
        let node = node();
        let plugin = json!({
            "cniVersion": "1.0.0", "type": "blue", "link": true, "capabilities": {"deviceID": true, "CNIDeviceInfoFile": true},
        });
        let definition = json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {
                "name": "fast", "namespace": "team-a", "annotations": {"k8s.v1.cni.cncf.io/resourceName": "nic.example.com/vf"},
            },
            "spec": {"config": plugin.to_string()},
        });
        node.write("braid.d/fast.json", &definition.to_string());
        let devices =
            json!([{"resourceName": "nic.example.com/vf", "deviceIds": ["0000:18:02.5"]}]);
        let kubelet = Kubelet::start(&node.path("kubelet/kubelet.sock"))
            .get([allocated("team-a", "web", devices)]);
        Self { _kubelet: kubelet, node }
    }

    fn add(&self, pod: &Pod<'_>) -> crate::call::Outcome {
        let mut config: Value = self.node.delegating();
        config["kubeletSocket"] = json!(self.node.path("kubelet/kubelet.sock"));
        config["deviceInfoDir"] = json!(self.node.path("devinfo"));
        pod.add(config).networks("fast").run()
    }
}

/// Device-info files are a help too: the device itself is given all the same.
#[test]
fn device_info_that_cannot_be_written_holds_nothing_up() {
    let spoilers: [Spoiler; 5] = [
        ("a file", |node| node.write("devinfo/cni", "")),
        ("another user's", |node| {
            fs::create_dir(node.path("devinfo/cni")).unwrap();
            give_away(&node.path("devinfo/cni"), NOBODY);
        }),
        ("a link", |node| symlink("/tmp", node.path("devinfo/cni")).unwrap()),
        ("full", |node| {
            node.mount("devinfo/cni", "mode=0700,size=4k");
            fs::write(node.path("devinfo/cni/.filler"), vec![0; 1 << 20]).unwrap_err();
        }),
        ("read-only", |node| {
            node.mount("devinfo/cni", "mode=0700");
            node.remount("devinfo/cni", "ro");
        }),
    ];
    for (what, spoil) in spoilers {
        let devices = Devices::new();
        let node = &devices.node;
        let info =
            json!({"type": "pci", "version": "1.1.0", "pci": {"pci-address": "0000:18:02.5"}});
        node.write("devinfo/dp/nic.example.com-vf-0000:18:02.5-device.json", &info.to_string());
        spoil(node);
        let pod = node.pod("team-a", "web");
        let add = devices.add(&pod);
        add.assert_success();
        assert!(add.stderr.contains("network \"team-a/fast\": "), "{what}: {}", add.stderr);
        let told = &node.only_call("ADD", "blue").stdin()["runtimeConfig"]["deviceID"].clone();
        assert_eq!(told, "0000:18:02.5", "{what}");
        pod.del().run().assert_success();
        assert_eq!((node.state("records").len(), pod.links()), (0, vec![]), "{what}");
    }
}
