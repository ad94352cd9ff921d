//! The node itself: names that would become paths, namespaces, state, the environment of plugins.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};

use super::Cluster;
use crate::node::Node;

/// On ADD and CHECK before anything is done; on DEL there is nothing in it that would be ours.
#[test]
fn the_hosts_namespace_is_no_pods() {
    let node = Node::new();
    node.network("blue", json!({}));
    let host = node.host().path();
    let pod = node.pod("team-a", "web");
    pod.add(node.delegating()).networks("blue").run().assert_success();
    node.forget_calls();
    for path in [host.as_str(), "/proc/self/ns/net", "/proc/thread-self/ns/net"] {
        let other = node.pod("team-a", "other");
        let refused = other.add(node.delegating()).networks("blue").env("CNI_NETNS", path).run();
        refused.assert_error(4, ["is the host's own network namespace"]);
        pod.check()
            .env("CNI_NETNS", path)
            .run()
            .assert_error(4, ["is the host's own network namespace"]);
    }
    for path in ["/etc/passwd", "/proc/self/ns/mnt", "/dev/null", "/nowhere", "../x"] {
        let other = node.pod("team-a", "other");
        other.add(node.delegating()).env("CNI_NETNS", path).run().assert_error(4, []);
        pod.check().env("CNI_NETNS", path).run().assert_error(4, []);
    }
    assert_eq!(node.calls_in_order(), Vec::<String>::new());
    let links = node.host().ip_json("link show").len();
    // The pod's own namespace, which the record names, is still there and is what gets torn down.
    pod.del().env("CNI_NETNS", &host).run().assert_success();
    let deleted = node.only_call("DEL", "blue");
    assert!(
        deleted.environment().contains(&("CNI_NETNS".to_owned(), pod.netns_path())),
        "{deleted:?}"
    );
    // Without a record nothing is known but the path, and it counts as gone.
    node.forget_calls();
    let stranger = node.pod("team-a", "stranger");
    stranger.add(node.delegating()).env("CNI_NETNS", &host).run().assert_error(4, []);
    stranger.del().env("CNI_NETNS", &host).run().assert_success();
    let netns = node.only_call("DEL", "primary").environment();
    assert!(netns.contains(&("CNI_NETNS".to_owned(), String::new())), "{netns:?}");
    assert_eq!(node.host().ip_json("link show").len(), links);
}

#[test]
fn names_from_the_runtime_never_become_paths() {
    let node = Node::new();
    let pod = node.pod("team-a", "web");
    let files = || fs::read_dir(node.path("")).unwrap().count();
    let before = files();
    for verb in ["ADD", "CHECK", "DEL"] {
        for name in ["../x", "..", "/x", "a/b", "a\nb", "-x", ".x", "a b", "a;b"] {
            let call = node.call(verb, node.delegating()).of_pod(&pod).env("CNI_CONTAINERID", name);
            call.run().assert_error(4, ["a valid CNI_CONTAINERID"]);
        }
        for name in ["../x", "..", "a/b", "a\nb", "-x", ".x", "lo", "net%d", "a:1", "a b"] {
            let call = node.call(verb, node.delegating()).of_pod(&pod).env("CNI_IFNAME", name);
            call.run().assert_error(4, ["a valid CNI_IFNAME"]);
        }
        for name in ["../x", "..", "/x", "a/b", "a\nb", "-x", ".x"] {
            let call = node.call(verb, node.delegating()).of_pod(&pod).with(json!({"name": name}));
            call.run().assert_error(7, ["network name"]);
        }
    }
    let args = "K8S_POD_NAMESPACE=../x;K8S_POD_NAME=web";
    pod.add(node.delegating())
        .env("CNI_ARGS", args)
        .run()
        .assert_error(7, ["K8S_POD_NAMESPACE in CNI_ARGS"]);
    assert_eq!(node.calls_in_order(), Vec::<String>::new());
    assert_eq!((files(), node.state("records").len()), (before, 0));
}

/// What is in the state directory is run as root: it is root's alone, or it is not used.
#[test]
fn state_that_others_can_change_is_not_used() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    let node = &cluster.node;
    let refused = |problem: &str| {
        let pod = node.pod("team-a", "web");
        let outcome = pod.add(cluster.config(Value::Null)).networks("lan").run();
        outcome.assert_error(5, [problem]);
        assert_eq!(node.calls_in_order(), Vec::<String>::new(), "{problem}");
    };
    let mode = |path: &str, mode| {
        fs::set_permissions(node.path(path), fs::Permissions::from_mode(mode)).unwrap()
    };
    fs::create_dir(node.path("elsewhere")).unwrap();
    symlink(node.path("elsewhere"), node.path("state")).unwrap();
    refused("is a symbolic link");
    fs::remove_file(node.path("state")).unwrap();
    fs::create_dir(node.path("state")).unwrap();
    mode("state", 0o777);
    refused("can be written by others");
    mode("state", 0o700);
    for part in ["records", "locks"] {
        let _ = fs::remove_dir(node.path("state").join(part));
        symlink(node.path("elsewhere"), node.path("state").join(part)).unwrap();
        refused("is a symbolic link");
        fs::remove_file(node.path("state").join(part)).unwrap();
    }
    std::os::unix::fs::chown(node.path("state"), Some(65_534), None).unwrap();
    refused("belongs to another user");
    std::os::unix::fs::chown(node.path("state"), Some(0), None).unwrap();
    assert_eq!(fs::read_dir(node.path("elsewhere")).unwrap().count(), 0);
    let pod = node.pod("team-a", "web");
    pod.add(cluster.config(Value::Null)).networks("lan").run().assert_success();
    for (path, expected) in
        [("state", 0o700), ("state/records", 0o700), ("state/definitions", 0o700)]
    {
        let found = fs::metadata(node.path(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, expected, "{path}");
    }
    for directory in ["records", "definitions"] {
        for name in node.state(directory) {
            let file = node.path("state").join(directory).join(name);
            let found = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, 0o600, "{}", file.display());
        }
    }
}

#[test]
fn nothing_of_the_environment_reaches_a_tenants_plugin() {
    let cluster = Cluster::new();
    cluster.publish("team-a", "lan", json!({}), Some(json!({"type": "blue"})));
    let pod = cluster.node.pod("team-a", "web");
    let call = pod.add(cluster.config(Value::Null)).networks("lan");
    let names = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "GCONV_PATH",
        "BASH_ENV",
        "KUBECONFIG",
        "HTTPS_PROXY",
        "CNI_X",
    ];
    let call = names.into_iter().fold(call, |call, name| call.env(name, "/tmp/evil"));
    call.env_again("CNI_IFNAME", "eth7").run().assert_success();
    let environment = cluster.node.only_call("ADD", "blue").environment();
    let mut given: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
    given.sort_unstable();
    let expected = [
        "BRAID_DEPTH",
        "CNI_ARGS",
        "CNI_COMMAND",
        "CNI_CONTAINERID",
        "CNI_IFNAME",
        "CNI_NETNS",
        "CNI_PATH",
        "PATH",
    ];
    assert_eq!(given, expected);
    assert!(!environment.iter().any(|(_, value)| value.contains("evil")), "{environment:?}");
}
