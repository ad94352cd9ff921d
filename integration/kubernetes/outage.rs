//! The API is away: what is refused, what last-known-good copies carry, what does not notice.

use serde_json::json;

use super::Cluster;

#[test]
fn an_outage_refuses_the_plan_if_a_status_is_due() {
    let cluster = Cluster::usual();
    let first = cluster.sandbox("first");
    first.add(cluster.config(json!({}))).networks("blue").run().assert_success();
    cluster.node.forget_calls();
    cluster.relay.cut();
    let pod = cluster.sandbox("web");
    let call = pod.add(cluster.config(json!({"apiTimeout": "2s"}))).networks("blue");
    call.run().assert_error(11, [&cluster.label("blue"), "cannot be reached"]);
    assert!(cluster.node.calls().is_empty(), "nothing was attached");
    first.check().run().assert_success();
    first.del().run().assert_success();
}

#[test]
fn a_copy_stands_in_if_no_status_is_due() {
    let cluster = Cluster::usual();
    let config =
        cluster.config(json!({"statusPolicy": "never", "logLevel": "warning", "apiTimeout": "2s"}));
    let first = cluster.sandbox("web");
    first.add(config.clone()).networks("blue").run().assert_success();
    cluster.relay.cut();
    let second = cluster.sandbox("second");
    let outcome = second.add(config.clone()).networks("blue").run();
    outcome.assert_success();
    let warning = format!("last-known-good copy of network \"{}\"", cluster.label("blue"));
    assert!(outcome.stderr.contains(&warning), "{}", outcome.stderr);
    let third = cluster.sandbox("third");
    let call = third.add(config.clone()).networks("red");
    call.run().assert_error(11, [&cluster.label("red"), "no copy"]);
    let fourth = cluster.sandbox("fourth");
    let call = fourth.add(config).with(json!({"definitionCacheMaxAge": 0})).networks("blue");
    call.run().assert_error(11, [&cluster.label("blue")]);
}

/// A pod that is owed a status cannot start without the API, so no copy of its networks is kept.
#[test]
fn a_copy_is_kept_only_if_a_pod_could_start_on_it() {
    let cluster = Cluster::usual();
    cluster.define("primary", json!({"addresses": ["10.1.0.2/24"]}));
    let config = cluster.config(json!({"delegates": [], "clusterNetwork": "primary"}));
    cluster.sandbox("first").add(config.clone()).networks("blue").run().assert_success();
    let copies = || cluster.node.state("definitions");
    let file = |name: &str| cluster.label(name).replace('/', "_");
    assert_eq!(copies(), [file("primary")]);
    let second = cluster.sandbox("second");
    let call = second.add(config).with(json!({"statusPolicy": "never"}));
    call.networks("blue").run().assert_success();
    assert_eq!(copies().len(), 2);
}

/// A copy is used no longer than it may be: here one second.
#[test]
fn a_copy_that_is_too_old_is_none() {
    let cluster = Cluster::usual();
    let more = json!({"statusPolicy": "never", "apiTimeout": "1s", "definitionCacheMaxAge": "1s"});
    let config = cluster.config(more);
    cluster.sandbox("web").add(config.clone()).networks("blue").run().assert_success();
    cluster.relay.cut();
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let second = cluster.sandbox("second");
    let call = second.add(config).networks("blue");
    call.run()
        .assert_error(11, ["there is no copy of it that is young enough (definitionCacheMaxAge)"]);
}

#[test]
fn a_pod_that_asks_for_nothing_does_not_wait_for_its_status() {
    let cluster = Cluster::usual();
    let config = cluster.config(json!({"statusPolicy": "always", "apiTimeout": "1s"}));
    cluster.relay.cut();
    let outcome = cluster.sandbox("web").add(config).run();
    outcome.assert_success();
    assert!(outcome.stderr.contains("the network status is not published"), "{}", outcome.stderr);
}

/// A node that comes up while the API is away: its primary network is a definition of the cluster,
/// and pods that ask for nothing start on the copy of it.
#[test]
fn the_primary_is_the_last_one_known() {
    let cluster = Cluster::usual();
    cluster.define("primary", json!({"addresses": ["10.1.0.2/24"]}));
    let config =
        cluster.config(json!({"delegates": [], "clusterNetwork": "primary", "apiTimeout": "1s"}));
    cluster.sandbox("first").add(config.clone()).run().assert_success();
    cluster.relay.cut();
    cluster.node.forget_calls();
    let second = cluster.sandbox("second");
    let outcome = second.add(config.clone()).run();
    outcome.assert_success();
    let warning = format!("last-known-good copy of network \"{}\"", cluster.label("primary"));
    assert!(outcome.stderr.contains(&warning), "{}", outcome.stderr);
    second.del().run().assert_success();
    assert_eq!(cluster.node.calls_in_order(), ["ADD primary eth0", "DEL primary eth0"]);
    let third = cluster.sandbox("third");
    let call = third.add(config).networks("blue");
    call.run().assert_error(11, ["cannot be reached"]);
}
