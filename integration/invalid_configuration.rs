//! DEL, CHECK and GC with a configuration that has become invalid since the pod was attached.

use serde_json::{Value, json};

use crate::call::Outcome;
use crate::teardown::{ALL_DELETED, node, pod_with_both, valid_attachments};

const NOTHING: [&str; 0] = [];

/// A value that each key cannot have: every key of a configuration but the name, the version and
/// `cniDir`.
fn invalid() -> Vec<(&'static str, Value)> {
    let texts =
        ["primaryConfDir", "confDir", "binDir", "kubeconfig", "kubeletSocket", "deviceInfoDir"];
    let paths = texts.map(|key| (key, json!("relative"))).into_iter();
    let logs = ["logFile", "auditLog", "eventLog", "metricsFile", "readinessindicatorfile"];
    let logs = logs.map(|key| (key, json!("relative/x.log"))).into_iter();
    let durations = ["readinessTimeout", "deleteGiveUp", "definitionCacheMaxAge"];
    let durations = durations.map(|key| (key, json!("soon"))).into_iter();
    let limits = ["delegateTimeout", "apiTimeout"].map(|key| (key, json!(0))).into_iter();
    let words =
        ["statusPolicy", "resultScope", "capabilityPolicy", "checkNetworks", "builtinPlugins"];
    let words = words.map(|key| (key, json!("sometimes"))).into_iter();
    let switches =
        ["namespaceIsolation", "retryDeleteOnError", "genieAnnotation", "drain", "logToStderr"];
    let switches = switches.map(|key| (key, json!("yes"))).into_iter();
    let others = [
        ("clusterNetwork", json!("two/parts")),
        ("delegates", json!({"type": "primary"})),
        ("defaultNetworks", json!(["two/parts"])),
        ("auxiliaryCNIChainName", json!("not a name")),
        ("globalNamespaces", json!(7)),
        ("systemNamespaces", json!({})),
        ("multusNamespace", json!("Not A Name")),
        ("keepClusterRoutes", json!(["10.0.0.0/99"])),
        ("passEnvironment", json!("PATH")),
        ("maxNetworks", json!(-1)),
        ("logOptions", json!({"maxSize": "big"})),
        ("logLevel", json!(3)),
        ("policy", json!({"mode": "sometimes"})),
        ("runtimeConfig", json!([])),
        ("capabilities", json!("ips")),
    ];
    paths
        .chain(logs)
        .chain(durations)
        .chain(limits)
        .chain(words)
        .chain(switches)
        .chain(others)
        .collect()
}

fn assert_named(outcome: &Outcome, key: &str) {
    let warned =
        outcome.stderr.lines().any(|line| line.contains("[warning]") && line.contains(key));
    assert!(warned, "no warning about {key}: {}", outcome.stderr);
}

#[test]
fn del_and_check_of_an_attached_pod_go_on_and_warn() {
    let node = node();
    for (key, value) in invalid() {
        let pod = pod_with_both(&node);
        let now = json!({key: value});
        let check = pod.check().with(now.clone()).run();
        check.assert_success();
        assert_named(&check, key);
        node.forget_calls();
        let del = pod.del().with(now).run();
        del.assert_success();
        assert_named(&del, key);
        assert_eq!(node.calls_in_order(), ALL_DELETED, "{key}");
        assert_eq!((pod.links().len(), node.state("records").len()), (0, 0), "{key}");
        node.forget_calls();
    }
}

#[test]
fn gc_tears_down_what_is_stale_and_says_what_it_could_not_do() {
    let node = node();
    for (key, value) in invalid() {
        let _pod = pod_with_both(&node);
        let call = node.call("GC", node.delegating()).with(valid_attachments(json!([])));
        let gc = call.with(json!({key: value})).run();
        // Without knowing the primary, it cannot be told to clean up behind itself.
        if ["clusterNetwork", "delegates"].contains(&key) {
            gc.assert_error(7, [key]);
        } else {
            gc.assert_success();
        }
        assert_named(&gc, key);
        assert!(node.calls_in_order().starts_with(&ALL_DELETED.map(str::to_owned)), "{key}");
        assert_eq!(node.state("records").len(), 0, "{key}");
        node.forget_calls();
    }
}

/// Another directory has no record of the pod, so that a DEL would succeed and tear nothing down.
#[test]
fn a_state_directory_that_cannot_be_read_from_the_configuration_is_an_error() {
    let node = node();
    let pod = pod_with_both(&node);
    let relative = json!({"cniDir": "relative"});
    pod.del()
        .with(relative.clone())
        .run()
        .assert_error(7, ["\"cniDir\"", "must be an absolute path"]);
    pod.check().with(relative.clone()).run().assert_error(7, ["\"cniDir\""]);
    let gc = node.call("GC", node.delegating()).with(valid_attachments(json!([]))).with(relative);
    gc.run().assert_error(7, ["\"cniDir\""]);
    assert_eq!((node.calls_in_order().as_slice(), node.state("records").len()), (&[][..], 1));
    pod.del().run().assert_success();
}

/// A primary whose configuration cannot be read may have addresses of a pod that no record is of.
#[test]
fn del_and_check_without_a_record_need_the_primary() {
    let node = node();
    let pod = node.pod("team-a", "web");
    let del = |more: Value| node.call("DEL", node.delegating()).of_pod(&pod).with(more).run();
    let check = |more: Value| node.call("CHECK", node.delegating()).of_pod(&pod).with(more).run();
    for (key, value) in [("clusterNetwork", json!("two/parts")), ("delegates", json!("x"))] {
        let more = json!({key: value, "prevResult": pod.primary_result()});
        del(more.clone()).assert_error(7, [key]);
        check(more).assert_error(7, [key]);
    }
    // Where it is looked up is needed as well, by one that is named.
    for key in ["primaryConfDir", "confDir", "multusNamespace"] {
        let named = json!({"delegates": null, "clusterNetwork": "other", key: "Not/a/name"});
        del(named).assert_error(7, [key]);
    }
    assert_eq!(node.calls_in_order(), NOTHING);
    // An inline one is looked up nowhere.
    del(json!({"confDir": "relative", "multusNamespace": "Not A Name"})).assert_success();
    assert_eq!(node.calls_in_order(), ["DEL primary eth0"]);
}

#[test]
fn gc_needs_a_list_that_can_be_read() {
    let node = node();
    let _pod = pod_with_both(&node);
    for list in [json!([{"containerID": "x"}]), json!("all"), json!([["x", "eth0"]])] {
        let call = node.call("GC", node.delegating()).with(valid_attachments(list));
        call.run().assert_error(7, ["cni.dev/valid-attachments"]);
    }
    assert_eq!((node.calls_in_order().as_slice(), node.state("records").len()), (&[][..], 1));
}

/// A node that starts no pod is NotReady, so that the scheduler sends none there.
#[test]
fn add_and_status_refuse_it() {
    let node = node();
    let pod = node.pod("team-a", "web");
    for (key, value) in invalid().into_iter().filter(|(key, _)| *key != "policy") {
        pod.add(node.delegating()).with(json!({key: value})).run().assert_error(7, [key]);
        let status =
            node.call("STATUS", node.delegating()).with(json!({"cniVersion": "1.1.0", key: value}));
        status.run().assert_error(7, [key]);
    }
    assert_eq!(node.calls_in_order(), NOTHING);
}
