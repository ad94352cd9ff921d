//! A migration that is broken off, or undone by others, in the middle.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Cluster, label, multus_node, objects, server};
use crate::node::{Node, text};

/// What holds at every moment: the runtime's first file is whole, and the plugin that it names is
/// whole and can be started.
#[track_caller]
fn assert_pods_start(cluster: &Cluster<'_>) {
    let first = cluster.first();
    let document: Value = cluster.read_conf(&first);
    let entry = document["plugins"].get(0).unwrap_or(&document);
    let kind = text(&entry["type"]);
    assert!(["braid", "multus", "multus-shim"].contains(&kind), "{first}: {kind}");
    let plugin = cluster.host.path(&format!("{}/{kind}", cluster.variable("BIN_DIR")));
    let original = if kind == "braid" { crate::node::BRAID } else { "/bin/true" };
    assert_eq!(fs::read(plugin).unwrap(), fs::read(original).unwrap(), "{first}");
}

/// Kills the init container after ever longer, until it ends by itself.
fn killed_until_done(cluster: &Cluster<'_>) -> usize {
    for kills in 0..500 {
        let mut child = cluster.command("install").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(u64::try_from(kills).unwrap() * 20));
        let _ = child.kill();
        let status = child.wait().unwrap();
        assert_pods_start(cluster);
        if status.success() {
            return kills;
        }
    }
    panic!("it never ends");
}

#[test]
fn killed_at_any_moment_a_node_starts_pods_and_the_next_pod_goes_on() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    let mut cluster = multus_node(&node, "n1", &server, &objects, "4.2-thin");
    let before = cluster.conf_files();
    cluster.set_variable("MODE", "migrate");
    let kills = killed_until_done(&cluster);
    assert!(kills > 2, "nothing was in the middle: {kills}");
    assert_eq!(cluster.first(), "00-braid.conflist");
    cluster.set_variable("MODE", "migrate-back");
    killed_until_done(&cluster);
    let mut after = cluster.conf_files();
    after.retain(|name, _| !name.contains(".braid-"));
    assert_eq!(after, before);
}

/// Each state that a killed migration leaves is one from which the next goes on, both ways.
#[test]
fn a_half_migrated_node_is_finished_either_way() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    for (at, (mode, first)) in
        [("migrate", "00-braid.conflist"), ("migrate-back", "00-multus.conflist")]
            .into_iter()
            .enumerate()
    {
        let mut cluster = multus_node(&node, &format!("n{at}"), &server, &objects, "4.1-thin");
        let before = cluster.conf_files();
        cluster.set_variable("MODE", "migrate");
        cluster.installed();
        // As a kill leaves it before Multus's file goes: both are there.
        let retired = cluster.host.path(&cluster.conf("00-multus.conflist.before-migration"));
        fs::rename(&retired, retired.with_extension("")).unwrap();
        assert_pods_start(&cluster);
        cluster.set_variable("MODE", mode);
        cluster.installed();
        assert_eq!(cluster.first(), first);
        cluster.set_variable("MODE", "migrate-back");
        cluster.installed();
        assert_eq!(cluster.conf_files(), before);
    }
}

#[test]
fn a_full_disk_leaves_multus_and_a_later_try_helps() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    let mut cluster = multus_node(&node, "n1", &server, &objects, "4.1-thick");
    let before = cluster.conf_files();
    cluster.set_variable("MODE", "migrate");
    let directory = format!("n1-host{}", cluster.variable("BIN_DIR"));
    let plugins = super::files(&node.path(&directory));
    node.mount(&directory, "mode=0755,size=24m");
    for (name, contents) in plugins {
        let path = format!("{}/{name}", cluster.variable("BIN_DIR"));
        cluster.host.write(&path, "");
        fs::write(cluster.host.path(&path), contents).unwrap();
        super::make_executable(&cluster.host.path(&path));
    }
    let filler = node.path(&directory).join("filler");
    fs::write(&filler, vec![0; 32 << 20]).unwrap_err();
    let output = cluster.install();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("No space left on device"), "{said}");
    let mut after = cluster.conf_files();
    after.retain(|name, _| !name.starts_with("braid.d/"));
    assert_eq!(after, before);
    assert_pods_start(&cluster);
    node.remount(&directory, "size=400m");
    fs::remove_file(filler).unwrap();
    cluster.installed();
    assert_pods_start(&cluster);
    assert_eq!(cluster.first(), "00-braid.conflist");
}

/// Multus's pod starts anew on a node of Braid's: it writes its file again, with the first file
/// that is not its own for the primary network. Braid's stays first, and the file of before is
/// kept.
#[test]
fn multus_that_writes_its_file_again_changes_nothing() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    for (name, fixture, file) in
        [("n1", "4.2-thin", "00-multus.conflist"), ("n2", "4.2-thick", "00-multus.conf")]
    {
        let mut cluster = multus_node(&node, name, &server, &objects, fixture);
        let before = cluster.conf_files();
        cluster.set_variable("MODE", "migrate");
        cluster.installed();
        let keeper = cluster.keep();
        keeper.wait_until_it_waits();
        let ours = cluster.read_conf("00-braid.conflist");
        let again = if fixture.ends_with("thin") {
            json!({
                "cniVersion": "1.0.0", "name": "multus-cni-network",
                "plugins": [{"type": "multus", "kubeconfig": "/x", "delegates": [ours]}],
            })
        } else {
            json!({
                "cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus-shim",
                "clusterNetwork": "/host/etc/cni/net.d/00-braid.conflist", "socketDir": "/host/run/multus/",
            })
        };
        let path = cluster.host.path(&cluster.conf(file));
        fs::write(&path, again.to_string()).unwrap();
        keeper.wait_until("retired", || !path.exists());
        assert_pods_start(&cluster);
        let kept = cluster.conf_files()[&format!("{file}.before-migration")].clone();
        assert_eq!(kept, before[file], "{fixture}: the way back is as it was");

        // It does so while no pod of Braid's is there, and the node goes back.
        keeper.stop();
        assert_eq!(keeper.end().0, Some(0));
        fs::write(&path, again.to_string()).unwrap();
        label(&server, name, Some("multus"));
        cluster.installed();
        assert_eq!(cluster.conf_files(), before, "{fixture}");
    }
}

#[test]
fn a_node_that_multus_has_not_reached_waits_and_is_not_installed_otherwise() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    let mut cluster = multus_node(&node, "n1", &server, &objects, "4.1-thin");
    let file = cluster.host.path(&cluster.conf("00-multus.conflist"));
    let multus = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    cluster.set_variable("MODE", "migrate");
    let output = cluster.install();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(3)
            && said.contains("has multus in it yet: waiting for multus"),
        "{said}"
    );
    fs::write(&file, multus).unwrap();
    cluster.installed();
    assert_eq!(cluster.first(), "00-braid.conflist");
}

#[test]
fn a_label_that_says_nothing_known_and_a_right_that_is_missing_change_nothing() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    let mut cluster = multus_node(&node, "n1", &server, &objects, "4.1-thin");
    let before = cluster.conf_files();
    cluster.set_variable("MODE", "migrate");
    label(&server, "n1", Some("calico"));
    let output = cluster.install();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected =
        "label braid-cni.example/network of node \"n1\" is \"calico\": set it to braid or multus";
    assert!(output.status.code() == Some(1) && said.contains(expected), "{said}");
    for object in objects.iter().filter(|each| each["metadata"]["name"] == "braid-node-label") {
        server.objects().rbac.remove(object);
    }
    let output = cluster.install();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("system:serviceaccount:braid:braid-installer")
            && said.contains("--resource=nodes"),
        "{said}"
    );
    assert_eq!(cluster.conf_files(), before);
}

/// A migration that is given up does not take the network from the node.
#[test]
fn deleting_the_daemonset_of_a_migration_changes_no_node() {
    let node = Node::new();
    let objects = objects("containerd");
    let server = server(&node, &objects);
    let mut cluster = multus_node(&node, "n1", &server, &objects, "4.1-thin");
    cluster.set_variable("MODE", "migrate");
    cluster.installed();
    let keeper = cluster.keep();
    keeper.wait_until_it_waits();
    server.objects().remove("daemonsets", "braid", "braid");
    keeper.stop();
    let (status, log) = keeper.end();
    assert!(status == Some(0) && log.contains("what it runs now stays"), "{log}");
    assert_pods_start(&cluster);
    assert!(cluster.entry()["drain"].is_null());
}
