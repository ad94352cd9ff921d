//! The definitions of the cluster are watched.

use serde_json::{Value, json};

use super::webhook::{Pair, Webhook, eventually};
use super::{pod, review};
use crate::apiserver::{ApiServer, Setup, User};

fn warnings(response: &Value) -> Vec<String> {
    assert_eq!(response["allowed"], true, "{response}");
    serde_json::from_value(response["warnings"].clone()).unwrap_or_default()
}

#[test]
fn a_network_is_missed_until_it_is_defined_and_when_it_is_gone() {
    let manifests = vec!["optional/admission/base/rbac.yaml"];
    let mut server = ApiServer::with(Setup { manifests, ..Setup::default() });
    let user = User::service_account("braid", "braid-admission");
    let kubeconfig = server.kubeconfig(json!({"token": server.token(&user, 3600)}));
    let (directory, pair) = (tempfile::tempdir().unwrap(), Pair::new());
    pair.write(directory.path());
    let mut webhook = Webhook::start(&[
        "--certificates",
        directory.path().to_str().unwrap(),
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
    ]);
    webhook.wait_for("0 definitions are known");
    let client = webhook.client(&pair.certificate);
    let missed = || warnings(&client.review(&review(&pod("blue"))));
    assert!(missed()[0].contains("network \"team-a/blue\" is not defined in the cluster"));

    let bridge = json!({"cniVersion": "1.0.0", "type": "bridge", "ipam": {"type": "dhcp"}});
    server.define("team-a", "blue", &bridge.to_string());
    eventually("the definition is known", || missed().is_empty());
    server.define("team-a", "blue", "{\"cniVersion\": \"9.9.9\", \"type\": \"bridge\"}");
    eventually("the change is known", || {
        missed().first().is_some_and(|it| it.contains("is not valid"))
    });
    server.objects().remove("network-attachment-definitions", "team-a", "blue");
    eventually("it is missed", || missed().first().is_some_and(|it| it.contains("not defined")));

    // Without the API, and after it.
    server.stop();
    assert_eq!(missed().len(), 1);
    server.restart();
    server.define("team-a", "blue", &bridge.to_string());
    eventually("the definition is known again", || missed().is_empty());
    let used = server.objects().rights.clone();
    let verbs: std::collections::BTreeSet<&str> =
        used.iter().map(|(right, _)| right.verb.as_str()).collect();
    assert_eq!(verbs, ["list", "watch"].into());
    assert!(used.iter().all(|(_, granted)| *granted), "{used:?}");
}
