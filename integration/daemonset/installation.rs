//! What the DaemonSet's pod does on its node, from the installation to its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::OVERLAYS;
use super::cluster::Cluster;
use crate::apiserver::Fault;
use crate::chroot::executable;
use crate::node::{Node, text};

#[test]
fn each_overlay_makes_a_node_that_attaches_networks() {
    for overlay in OVERLAYS {
        let node = Node::new();
        let cluster = Cluster::new(&node, overlay);
        cluster.installed();
        let bin = cluster.host.path(&format!("{}/braid", cluster.variable("BIN_DIR")));
        assert_eq!(fs::read(bin).unwrap(), fs::read(executable()).unwrap());
        let (kubeconfig, scope) =
            (cluster.entry()["kubeconfig"].clone(), cluster.entry()["resultScope"].clone());
        assert_eq!(text(&kubeconfig), cluster.conf("braid.d/braid.kubeconfig"));
        assert_eq!(scope == "primary", overlay == "crio");
        for file in ["braid.d/braid.kubeconfig", "braid.d/braid.token"] {
            let metadata = fs::metadata(cluster.host.path(&cluster.conf(file))).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, 0o600, "{file}");
        }

        let pod = node.pod("team-a", "web");
        let result = cluster.call("ADD", &pod, "blue").run().assert_success();
        assert_eq!(pod.addresses("net1"), ["10.20.0.2/24"]);
        let asked = cluster.server.requests();
        let user = asked.last().unwrap().user.clone().unwrap();
        assert_eq!(user, "system:serviceaccount:braid:braid", "the node is not the installer");
        cluster.call("DEL", &pod, "blue").prev_result(result).run().assert_success();
        assert_eq!(pod.links(), Vec::<String>::new());
    }
}

/// Without a token nothing of the node changes, and a try later helps.
#[test]
fn an_api_that_gives_no_token_leaves_the_node_as_it_is() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.server.objects().remove("serviceaccounts", "braid", "braid");
    let output = cluster.install();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("a token of service account \"braid/braid\" does not exist in the cluster"),
        "{said}"
    );
    cluster.server.times(20, &Fault::status(503, "ServiceUnavailable", "not yet"));
    assert_eq!(cluster.install().status.code(), Some(3));
    let there = fs::read_dir(cluster.host.path(&cluster.variable("CONF_DIR"))).unwrap().flatten();
    let there: Vec<_> = there.map(|entry| entry.file_name()).collect();
    assert_eq!(there, ["10-primary.conflist"]);
}

#[test]
fn a_token_is_never_shown() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    let mut all = String::new();
    for more in [&["-o", "json"][..], &["--dry-run"], &["--dry-run", "-o", "json"], &[]] {
        let output = cluster.command("install").args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        all.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    assert!(all.contains("braid.token") && !all.contains(&cluster.token()), "{all}");
    let requests = cluster.server.lines();
    let tokens = requests.iter().filter(|line| line.ends_with("/serviceaccounts/braid/token"));
    assert_eq!(tokens.count(), 2, "a rehearsal asks for none: {requests:?}");
}

#[test]
fn what_changes_reaches_the_node() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.installed();
    let token = cluster.token();
    let keeper = cluster.keep();
    cluster.set_settings(&json!({"maxNetworks": 4}));
    keeper.wait_until("the setting", || cluster.entry()["maxNetworks"] == 4);

    // Settings that would stop every pod do not arrive, and are named.
    cluster.set_settings(&json!({"maxNetworks": "many"}));
    keeper.wait_until("a complaint", || keeper.log().contains("maxNetworks"));
    assert_eq!(cluster.entry()["maxNetworks"], 4);
    cluster.set_settings(&json!({"maxNetworks": null, "logLevel": "debug"}));
    keeper.wait_until("the other", || cluster.entry()["logLevel"] == "debug");
    assert!(cluster.entry()["maxNetworks"].is_null());

    // Braid is taken off by hand: it comes back. It is drained: that goes on.
    fs::remove_file(cluster.host.path(&cluster.conf("00-braid.conflist"))).unwrap();
    let ours = cluster.host.path(&cluster.conf("00-braid.conflist"));
    keeper.wait_until("the file", || ours.exists());
    let mut drained = cluster.read_conf("00-braid.conflist");
    drained["plugins"][0]["drain"] = json!(true);
    fs::write(&ours, drained.to_string()).unwrap();
    cluster.set_settings(&json!({"logLevel": "info"}));
    keeper.wait_until("the level", || cluster.entry()["logLevel"] == "info");
    assert_eq!(cluster.entry()["drain"], true);

    assert_eq!(cluster.token(), token, "a token that is good is kept");
    keeper.stop();
    let (status, log) = keeper.end();
    assert!(status == Some(0) && log.contains("is still there: braid stays"), "{status:?} {log}");
    assert!(ours.exists() && !log.contains(&token));
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.server.objects().token_seconds = Some(6);
    cluster.installed();
    let first = cluster.token();
    let keeper = cluster.keep();
    keeper.wait_until("renewed", || cluster.token() != first);
    assert_eq!(fs::metadata(cluster.token_file()).unwrap().permissions().mode() & 0o7777, 0o600);
    cluster.server.revoke(&first);
    let pod = node.pod("team-a", "web");
    cluster.call("ADD", &pod, "blue").run().assert_success();
    keeper.stop();
    assert_eq!(keeper.end().0, Some(0));
}

#[test]
fn deleted_for_good_it_leaves_once_no_pod_has_an_extra_network() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.installed();
    let pod = node.pod("team-a", "web");
    let result = cluster.call("ADD", &pod, "blue").run().assert_success();
    let keeper = cluster.keep();
    keeper.wait_until_it_waits();
    cluster.server.objects().remove("daemonsets", "braid", "braid");
    keeper.stop();
    keeper
        .wait_until("waiting", || keeper.log().contains("waiting: team-a/web has extra networks"));
    assert_eq!(cluster.entry()["drain"], true);
    let late = node.pod("team-a", "late");
    cluster.call("ADD", &late, "blue").run().assert_error(11, ["leaving this node (drain)"]);

    cluster.call("DEL", &pod, "blue").prev_result(result).run().assert_success();
    let (status, log) = keeper.end();
    assert_eq!(status, Some(0), "{log}");
    let left = fs::read_dir(cluster.host.path(&cluster.variable("CONF_DIR"))).unwrap().flatten();
    let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["10-primary.conflist"]);
    assert!(
        !log.contains("--wait") && log.contains("braid leaves by itself when they are gone"),
        "{log}"
    );
    let bin = cluster.host.path(&format!("{}/braid", cluster.variable("BIN_DIR")));
    assert!(!bin.exists() && !cluster.host.path("/var/lib/cni/braid").exists());
}

/// The user changes their mind while pods are still leaving.
#[test]
fn what_is_installed_again_stays() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.installed();
    let pod = node.pod("team-a", "web");
    cluster.call("ADD", &pod, "blue").run().assert_success();
    let keeper = cluster.keep();
    keeper.wait_until_it_waits();
    cluster.server.objects().remove("daemonsets", "braid", "braid");
    keeper.stop();
    keeper.wait_until("waiting", || keeper.log().contains("waiting: "));
    cluster.server.objects().put(cluster.set.clone());
    cluster.installed();
    let (status, log) = keeper.end();
    assert!(status == Some(0) && log.contains("installed again meanwhile"), "{log}");
    assert!(cluster.entry()["drain"].is_null());
}

/// It says once what is wrong, and tries again; and it ends as ever.
#[test]
fn without_an_api_it_stays() {
    let node = Node::new();
    let cluster = Cluster::new(&node, "containerd");
    cluster.installed();
    fs::remove_file(cluster.token_file()).unwrap();
    let keeper = cluster.keep_with(|command| command.env_remove("KUBERNETES_SERVICE_HOST"));
    keeper.wait_until_it_waits();
    keeper.wait_until("a complaint", || keeper.log().contains("braid: "));
    keeper.stop();
    let (status, log) = keeper.end();
    assert!(status == Some(0) && log.contains("no API to ask"), "{log}");
    assert_eq!(log.matches("braid: ").count(), 1, "{log}");
    assert!(cluster.entry()["drain"].is_null());
}

#[test]
fn without_knowing_it_stays() {
    let page = Fault::Answer(404, Vec::new(), "404 page not found\n".to_owned());
    let refusal = Fault::status(403, "Forbidden", "no");
    let unauthorized = Fault::status(401, "Unauthorized", "Unauthorized");
    for fault in [page, refusal, unauthorized] {
        let node = Node::new();
        let cluster = Cluster::new(&node, "containerd");
        cluster.installed();
        // No watch can be opened either.
        (0..100).for_each(|_| cluster.server.next("daemonsets", fault.clone()));
        let keeper = cluster.keep();
        keeper.wait_until_it_waits();
        cluster.server.objects().remove("daemonsets", "braid", "braid");
        keeper.stop();
        let (status, log) = keeper.end();
        assert!(
            status == Some(0)
                && log.contains("whether DaemonSet braid/braid is deleted: that cannot be told"),
            "{log}"
        );
        assert!(cluster.entry()["drain"].is_null(), "{fault:?}");
    }
}
