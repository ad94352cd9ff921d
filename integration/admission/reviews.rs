//! What is refused, and what is warned of.

use serde_json::{Value, json};

use super::webhook::{Client, Pair, Webhook, eventually};
use super::{pod, review};

const ANNOTATION: &str = "metadata.annotations[k8s.v1.cni.cncf.io/networks]";

fn with_settings(settings: &Value, test: impl FnOnce(&mut Webhook, &Client, &std::path::Path)) {
    let directory = tempfile::tempdir().unwrap();
    let pair = Pair::new();
    pair.write(&directory.path().join("tls"));
    let file = directory.path().join("settings.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    let certificates = directory.path().join("tls");
    let mut webhook = Webhook::start(&[
        "--certificates",
        certificates.to_str().unwrap(),
        "--settings",
        file.to_str().unwrap(),
        "--without-definitions",
    ]);
    let client = webhook.client(&pair.certificate);
    test(&mut webhook, &client, &file);
}

#[test]
fn a_pod_is_reviewed_over_tls() {
    with_settings(&json!({}), |_, client, _| {
        let response = client.review(&review(&pod("blue@data0, ops/storage")));
        assert_eq!((&response["allowed"], response.get("warnings")), (&json!(true), None));
        let response = client.review(&review(&pod("blue, Storage")));
        assert_eq!(response["allowed"], false);
        let message = response["status"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("{ANNOTATION}: element 2: \"name\" is \"Storage\": ")),
            "{message}"
        );
        assert_eq!(
            (&response["status"]["code"], &response["status"]["reason"]),
            (&json!(422), &json!("Invalid"))
        );
    });
}

#[test]
fn a_deployment_with_a_misplaced_annotation_is_stored_with_a_warning() {
    let deployment = json!({
        "kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": {"name": "web", "annotations": {"k8s.v1.cni.cncf.io/networks": "blue"}},
        "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
    });
    with_settings(&json!({}), |_, client, _| {
        let response = client.review(&review(&deployment));
        let warning = response["warnings"][0].as_str().unwrap();
        assert_eq!(response["allowed"], true);
        assert!(warning.starts_with(&format!("{ANNOTATION}: ")), "{warning}");
        assert!(warning.ends_with("put it into spec.template.metadata.annotations"), "{warning}");
    });
}

#[test]
fn a_policy_holds_as_soon_as_its_file_changes() {
    let definition = json!({
        "kind": "NetworkAttachmentDefinition", "apiVersion": "k8s.cni.cncf.io/v1",
        "metadata": {"name": "uplink"},
        "spec": {"config": json!({"cniVersion": "1.0.0", "type": "host-device", "device": "ens1"}).to_string()},
    });
    with_settings(&json!({}), |webhook, client, file| {
        assert_eq!(client.review(&review(&definition))["allowed"], true);
        std::fs::write(file, r#"{"policy": {"mode": "enforce"}}"#).unwrap();
        webhook.wait_for("settings.json has changed and holds from now on");
        let response = client.review(&review(&definition));
        assert_eq!(response["allowed"], false, "{response}");
        std::fs::write(file, r#"{"policy": "#).unwrap();
        webhook.wait_for("the settings from before still hold");
        assert_eq!(client.review(&review(&definition))["allowed"], false);
        std::fs::write(file, r#"{"maxNetworks": 1}"#).unwrap();
        eventually("the limit holds", || {
            client.review(&review(&pod("a,b")))["allowed"] == json!(false)
        });
    });
}
