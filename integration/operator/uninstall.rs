//! `uninstall`, which waits until no pod has an extra network.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::node::{BRAID, Node};
use crate::operator::{Said, Tool};

/// An ADD that began before the drain has no record yet, and holds the configuration up all the
/// same.
#[test]
fn it_waits_for_calls_that_are_at_work() {
    let node = Node::new();
    node.write("etc/containerd/config.toml", "version = 2\n");
    let entry = json!({"type": "braid", "cniDir": "/state", "delegates": [{"type": "ptp"}]});
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("etc/cni/net.d/00-braid.conflist", &conflist.to_string());
    let root = node.path_text("");
    let root = root.trim_end_matches('/');
    for directory in ["state", "state/locks"] {
        fs::create_dir(node.path(directory)).unwrap();
        fs::set_permissions(node.path(directory), fs::Permissions::from_mode(0o700)).unwrap();
    }
    node.write("state/locks/killed", "");
    node.write("state/locks/c1", "");
    let lock = fs::File::open(node.path("state/locks/c1")).unwrap();
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let said = Tool::new(&node, &["uninstall", "--root", root]).run().assert_status(3);
    assert!(
        said.stdout.ends_with("waiting: a call for container c1 is at work\n"),
        "{}",
        said.stdout
    );
    assert!(node.path("etc/cni/net.d/00-braid.conflist").exists());
    drop(held);
    Tool::new(&node, &["uninstall", "--root", root]).run().assert_status(0);
    assert!(!node.path("etc/cni/net.d/00-braid.conflist").exists());
}

/// A node with a pod that has an extra network, and braid's configuration in its directory.
fn held_up(node: &Node) -> (crate::pod::Pod<'_>, std::path::PathBuf) {
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    node.write("etc/containerd/config.toml", "version = 2\n");
    let more = node.delegating();
    let entry = json!({"type": "braid", "cniDir": "/state", "delegates": more["delegates"]});
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("etc/cni/net.d/00-braid.conflist", &conflist.to_string());
    let web = node.pod("team-a", "web");
    web.add(more).networks("blue").run().assert_success();
    (web, node.path("etc/cni/net.d/00-braid.conflist"))
}

/// An interrupted wait leaves the node as it was; a drain that was there before goes on, and that
/// is said.
#[test]
fn an_interrupted_wait_takes_its_drain_back() {
    use nix::sys::signal::{Signal, kill};
    let node = Node::new();
    let (_web, file) = held_up(&node);
    let before = fs::read_to_string(&file).unwrap();
    let root = node.path_text("");
    let interrupted = |signal: Signal| {
        let mut command = std::process::Command::new(BRAID);
        command.args(["uninstall", "--wait", "--root", root.trim_end_matches('/')]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
        assert_eq!(
            lines.next().unwrap().unwrap(),
            "new extra networks are refused on this node from now on"
        );
        assert_eq!(
            lines.next().unwrap().unwrap(),
            "waiting for 1 pod with extra networks: team-a/web"
        );
        assert!(fs::read_to_string(&file).unwrap().contains("drain"));
        kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (status, said) = interrupted(signal);
        assert!(
            status == Some(3)
                && said.ends_with("interrupted; new extra networks are accepted again\n"),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    }
    let drain = Tool::new(&node, &["uninstall", "--root", root.trim_end_matches('/')]);
    drain.run().assert_status(3);
    let drained = fs::read_to_string(&file).unwrap();
    let (status, said) = interrupted(Signal::SIGINT);
    let goes_on = "interrupted; the drain of before goes on: braid install ends it\n";
    assert!(status == Some(3) && said.ends_with(goes_on), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), drained);
}

#[test]
fn a_wait_has_an_end() {
    let node = Node::new();
    let (web, file) = held_up(&node);
    let root = node.path_text("");
    let uninstall = |more: &[&str]| {
        Tool::new(&node, &[&["uninstall", "--root", root.trim_end_matches('/')], more].concat())
            .run()
    };
    let started = std::time::Instant::now();
    let said = uninstall(&["--wait", "--timeout", "2s"]).assert_status(3);
    assert!((2..20).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert!(said.stdout.ends_with("the time to wait is over\n"), "{}", said.stdout);
    assert!(fs::read_to_string(&file).unwrap().contains("drain"), "and it goes on");
    let wrong = uninstall(&["--wait", "--timeout", "2 days"]).assert_status(2);
    assert!(
        wrong.stderr.contains("must be seconds, or a number with one of the units"),
        "{}",
        wrong.stderr
    );
    uninstall(&["--timeout", "2s"]).assert_status(2);
    web.del().run().assert_success();
    uninstall(&["--wait", "--timeout", "1h"]).assert_status(0);
}

/// A pod with an extra network holds the configuration up, new ones are refused, all else works.
#[test]
fn it_leaves_once_no_pod_has_an_extra_network() {
    let node = Node::new();
    node.network("blue", json!({"addresses": ["10.9.0.2/24"]}));
    node.write("etc/containerd/config.toml", "version = 2\n");
    let more = node.delegating();
    let mut entry = json!({
        "type": "braid", "cniDir": "/state", "confDir": node.path("braid.d"), "capabilities": {},
    });
    entry["delegates"] = more["delegates"].clone();
    let conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]});
    node.write("etc/cni/net.d/00-braid.conflist", &conflist.to_string());
    let root = node.path_text("");
    let root = root.trim_end_matches('/');
    let uninstall =
        |more: &[&str]| Tool::new(&node, &[&["uninstall", "--root", root], more].concat()).run();

    let web = node.pod("team-a", "web");
    web.add(more.clone()).networks("blue").run().assert_success();
    assert_snapshot!(uninstall(&["--dry-run"]).snapshot());
    assert_snapshot!(uninstall(&[]).snapshot());
    let drained: Value = serde_json::from_str(
        &fs::read_to_string(node.path("etc/cni/net.d/00-braid.conflist")).unwrap(),
    )
    .unwrap();
    assert_eq!(drained["plugins"][0]["drain"], true);

    let drains = json!({"drain": true, "delegates": more["delegates"]});
    let refused = node.pod("team-a", "late");
    refused
        .add(drains.clone())
        .networks("blue")
        .run()
        .assert_error(11, ["leaving this node (drain)"]);
    let plain = node.pod("team-a", "plain");
    plain.add(drains).run().assert_success();

    // The command waits, and says for what: the pod, then the call that takes it down.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| uninstall(&["--wait"]));
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(node.path("etc/cni/net.d/00-braid.conflist").exists());
        web.del().run().assert_success();
        waiting.join().unwrap()
    });
    // Whether the DEL itself is seen at work is chance.
    assert!(
        waiting.stderr.starts_with(
            "new extra networks are refused on this node from now on\nwaiting for 1 pod with extra \
             networks: team-a/web"
        ),
        "{}",
        waiting.stderr
    );
    assert_snapshot!(Said { stderr: String::new(), ..waiting }.snapshot());
    assert!(!node.path("etc/cni/net.d/00-braid.conflist").exists() && !node.path("state").exists());
}
