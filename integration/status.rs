//! STATUS is the answer of the primary, and of nothing else.

use std::fs;

use serde_json::{Value, json};

use crate::node::NOTHING;
use crate::teardown::node;

#[test]
fn status_is_the_primarys_own() {
    let node = node();
    let mut config = node.delegating();
    config["delegates"][0]["cniVersion"] = json!("1.1.0");
    let status = || node.call("STATUS", config.clone()).with(json!({"cniVersion": "1.1.0"})).run();
    status().assert_success();
    assert_eq!(node.calls_in_order(), ["STATUS primary"]);
    for (code, expected) in [(50, 50), (51, 51), (11, 50), (999, 50)] {
        node.script("primary", json!({"STATUS": {"error": {"code": code, "msg": "no leases"}}}));
        status().assert_error(expected, ["no leases", "cluster"]);
    }
    fs::remove_file(node.path("bin/primary")).unwrap();
    status().assert_error(50, ["plugin \"primary\" is not installed"]);
}

#[test]
fn status_of_a_primary_that_is_not_there_yet_is_50_and_of_a_chained_braid_fine() {
    let node = node();
    let status =
        |config: Value| node.call("STATUS", config).with(json!({"cniVersion": "1.1.0"})).run();
    status(json!({"clusterNetwork": "auto"})).assert_error(50, ["no primary network in"]);
    status(json!({})).assert_success();
    // A primary older than STATUS is ready.
    status(node.delegating()).assert_success();
    assert_eq!(node.calls_in_order(), NOTHING);
}
