use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::kube::ClusterDefinition;
use crate::operator::validate::{Catalogue, Definitions};

/// Rules with these definitions (namespace, name, annotations, configuration) and settings.
fn rules(definitions: &[(&str, &str, Value, Value)], settings: Value) -> Rules {
    let mut held = Definitions::default();
    for (namespace, name, annotations, config) in definitions {
        let definition = ClusterDefinition {
            namespace: namespace.parse().unwrap(),
            name: name.parse().unwrap(),
            config: Some(config.to_string()),
            annotations: serde_json::from_value(annotations.clone()).unwrap(),
            resource_version: String::new(),
        };
        held.put(definition).unwrap();
    }
    let catalogue = Catalogue::default();
    catalogue.replace(held);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), settings.to_string()).unwrap();
    Rules::of_cluster(Some(file.path()), Arc::new(catalogue)).unwrap()
}

fn bridge() -> Value {
    json!({"cniVersion": "1.0.0", "type": "bridge", "bridge": "br0", "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"}})
}

/// A pod with this networks annotation.
fn pod(networks: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "annotations": {"k8s.v1.cni.cncf.io/networks": networks}},
        "spec": {"containers": [{"name": "a", "image": "b"}], "terminationGracePeriodSeconds": 30},
    })
}

fn request(operation: &str, object: &Value, old: &Value) -> Value {
    let kind = if object.is_null() { &old["kind"] } else { &object["kind"] };
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "the-uid", "kind": {"group": "", "version": "v1", "kind": kind},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "web", "namespace": "team-a", "operation": operation, "userInfo": {},
            "object": object, "oldObject": old, "dryRun": false,
        },
    })
}

/// The response to a request.
fn respond(rules: &Rules, request: &Value) -> Value {
    let review = answer(request.to_string().as_bytes(), rules).unwrap();
    let review = serde_json::to_value(review).unwrap();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["uid"], "the-uid");
    review["response"].clone()
}

/// Whether an object may be stored, what is said if not, and the warnings.
fn create(rules: &Rules, object: &Value) -> (bool, String, Vec<String>) {
    said(&respond(rules, &request("CREATE", object, &Value::Null)))
}

fn said(response: &Value) -> (bool, String, Vec<String>) {
    let message = response["status"]["message"].as_str().unwrap_or_default().to_owned();
    let warnings = serde_json::from_value(response["warnings"].clone()).unwrap_or_default();
    (response["allowed"].as_bool().unwrap(), message, warnings)
}

const ANNOTATION: &str = "metadata.annotations[k8s.v1.cni.cncf.io/networks]";

#[test]
fn a_pod_that_asks_for_nothing_and_one_that_asks_for_what_is_there_are_stored() {
    let rules =
        rules(&[("team-a", "blue", json!({"braid.io/allowed-ips": "*"}), bridge())], json!({}));
    let nothing = json!({"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": []}});
    assert_eq!(create(&rules, &nothing), (true, String::new(), vec![]));
    assert_eq!(create(&rules, &pod("blue@data0")), (true, String::new(), vec![]));
}

#[test]
fn an_annotation_that_add_refuses_is_refused_with_the_path_and_the_sentence_of_add() {
    let rules = rules(&[], json!({}));
    let (allowed, message, _) = create(&rules, &pod(r#"[{"name": "blue", "mac": "zz"}]"#));
    assert!(!allowed);
    assert!(message.starts_with(&format!("{ANNOTATION}: element 1 ")), "{message}");
    let sentence = crate::selection::parse(
        r#"[{"name": "blue", "mac": "zz"}]"#,
        &"team-a".parse().unwrap(),
        crate::selection::Limits::default(),
    );
    assert!(message.ends_with(&sentence.unwrap_err().to_string()), "{message}");
    let response = respond(&rules, &request("CREATE", &pod("a@@b"), &Value::Null));
    assert_eq!(response["status"]["code"], 422);
}

#[test]
fn every_kind_that_makes_pods_is_checked_at_its_template() {
    let rules = rules(&[], json!({}));
    let template = json!({"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "a@@b"}}, "spec": {"containers": []}});
    let of_spec = json!({"template": template});
    let kinds = [
        ("Deployment", json!({"spec": of_spec}), "spec.template."),
        ("DaemonSet", json!({"spec": of_spec}), "spec.template."),
        ("StatefulSet", json!({"spec": of_spec}), "spec.template."),
        ("ReplicaSet", json!({"spec": of_spec}), "spec.template."),
        ("ReplicationController", json!({"spec": of_spec}), "spec.template."),
        ("Job", json!({"spec": of_spec}), "spec.template."),
        (
            "CronJob",
            json!({"spec": {"jobTemplate": {"spec": of_spec}}}),
            "spec.jobTemplate.spec.template.",
        ),
        ("PodTemplate", of_spec.clone(), "template."),
        (
            "VirtualMachine",
            json!({"spec": {"template": {"metadata": template["metadata"], "spec": {"domain": {}}}}}),
            "spec.template.",
        ),
    ];
    for (kind, mut object, path) in kinds {
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "web"});
        let (allowed, message, _) = create(&rules, &object);
        assert!(
            !allowed && message.starts_with(&format!("{path}{ANNOTATION}: ")),
            "{kind}: {message}"
        );
    }
}

#[test]
fn a_network_that_is_not_there_yet_is_a_warning() {
    let rules = rules(&[], json!({}));
    let (allowed, _, warnings) = create(&rules, &pod("blue"));
    assert!(allowed);
    let expected = format!(
        "{ANNOTATION}: network \"team-a/blue\" is not defined in the cluster: until it is, the pod \
         does not start"
    );
    assert_eq!(warnings, [expected]);
}

#[test]
fn whether_another_namespace_has_a_network_is_not_disclosed() {
    let hidden = rules(&[("team-b", "red", json!({}), bridge())], json!({}));
    let none = rules(&[], json!({}));
    let (allowed, message, warnings) = create(&hidden, &pod("team-b/red"));
    assert!(allowed && warnings[0].contains("is not shared with namespace team-a"), "{warnings:?}");
    assert_eq!(create(&none, &pod("team-b/red")), (allowed, message, warnings));
}

#[test]
fn what_is_not_known_is_not_missed() {
    let rules = Rules::of_cluster(None, Arc::new(Catalogue::default())).unwrap();
    assert_eq!(create(&rules, &pod("blue,team-b/red")), (true, String::new(), vec![]));
}

#[test]
fn an_owner_and_a_policy_refuse_as_add_does() {
    let owner = json!({"braid.io/allowed-requests": "mac"});
    let definitions = [("team-a", "blue", owner, bridge())];
    let asking = pod(r#"[{"name": "blue", "ips": ["10.9.0.7/24"]}]"#);
    let (allowed, message, _) = create(&rules(&definitions, json!({})), &asking);
    assert!(!allowed && message.contains("takes no \"ips\" from pods"), "{message}");

    let definitions = [("team-a", "blue", json!({}), bridge())];
    let enforced = rules(&definitions, json!({"policy": {"mode": "enforce"}}));
    let (allowed, message, _) = create(&enforced, &asking);
    assert!(!allowed && message.starts_with(ANNOTATION), "{message}");
    let audited = rules(&definitions, json!({"policy": {"mode": "audit"}}));
    let (allowed, _, warnings) = create(&audited, &asking);
    assert!(allowed && warnings[0].contains("policy.mode is \"audit\""), "{warnings:?}");
}

#[test]
fn a_definition_for_some_accounts_takes_the_one_of_the_pod() {
    let owner = json!({"braid.io/allowed-service-accounts": "team-a/db"});
    let rules = rules(&[("team-a", "blue", owner, bridge())], json!({}));
    let mut asking = pod("blue");
    let (allowed, message, _) = create(&rules, &asking);
    assert!(!allowed && message.contains("service account team-a/default"), "{message}");
    asking["spec"]["serviceAccountName"] = json!("db");
    assert!(create(&rules, &asking).0);
}

#[test]
fn a_definition_is_checked_with_its_configuration_and_against_the_policy() {
    let definition = |config: Value| {
        json!({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": "blue", "annotations": {"braid.io/allowed-namespacs": "x"}},
            "spec": {"config": config},
        })
    };
    let open = rules(&[], json!({}));
    let (allowed, message, warnings) = create(&open, &definition(json!("{\"type\": ")));
    assert!(!allowed && message.starts_with("spec.config: not valid JSON"), "{message}");
    assert!(
        warnings[0].starts_with("metadata.annotations[braid.io/allowed-namespacs]: "),
        "{warnings:?}"
    );
    let (allowed, message, _) =
        create(&open, &definition(json!(r#"{"cniVersion": "9.9.9", "type": "bridge"}"#)));
    assert!(!allowed && message.starts_with("spec.config: "), "{message}");
    assert!(create(&open, &definition(json!(bridge().to_string()))).0);

    let host = json!({"cniVersion": "1.0.0", "type": "host-device", "device": "ens1"}).to_string();
    let enforced = rules(&[], json!({"policy": {"mode": "enforce"}}));
    let (allowed, message, _) = create(&enforced, &definition(json!(host)));
    assert!(!allowed && message.starts_with("spec.config: "), "{message}");
}

#[test]
fn a_change_is_refused_only_for_what_it_brings() {
    let rules = rules(&[], json!({}));
    let (bad, worse) = (pod("a@@b"), pod("a@@b,c@@d"));
    let (allowed, _, warnings) = said(&respond(&rules, &request("UPDATE", &bad, &bad)));
    assert!(allowed && warnings[0].starts_with(ANNOTATION), "{warnings:?}");
    let (allowed, message, _) = said(&respond(&rules, &request("UPDATE", &worse, &bad)));
    assert!(!allowed && message.matches(ANNOTATION).count() == 1, "{message}");
    let mut leaving = worse.clone();
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(
        said(&respond(&rules, &request("UPDATE", &leaving, &bad))),
        (true, String::new(), vec![])
    );
    assert!(said(&respond(&rules, &request("DELETE", &Value::Null, &bad))).0);
}

#[test]
fn annotations_that_ask_for_nothing_are_warned_of() {
    let rules = rules(&[], json!({}));
    let mut object = pod("");
    object["metadata"]["annotations"] = json!({"k8s.v1.cni.cncf.io/network": "blue"});
    let (allowed, _, warnings) = create(&rules, &object);
    assert!(allowed && warnings.len() == 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("metadata.annotations[k8s.v1.cni.cncf.io/network]: annotation "),
        "{warnings:?}"
    );
}

#[test]
fn an_answer_is_bounded() {
    let rules = rules(&[], json!({}));
    let many: Vec<String> = (0..200).map(|at| format!("a{at}@@b")).collect();
    let (allowed, message, _) = create(&rules, &pod(&many.join(",")));
    assert!(!allowed && message.len() < 3_200, "{}", message.len());
    assert!(message.ends_with(" more: braid validate shows all"), "{message}");
    let rules = self::rules(&[], json!({"maxNetworks": 40}));
    let missing: Vec<String> = (0..30).map(|at| format!("a{at}")).collect();
    let (allowed, _, warnings) = create(&rules, &pod(&missing.join(",")));
    assert!(allowed && warnings.len() <= 17, "{warnings:?}");
    assert!(warnings.last().unwrap().starts_with("and "), "{warnings:?}");
    let mut large = pod("blue");
    large["spec"]["list"] = json!(vec![0; 60_000]);
    let (allowed, _, warnings) = create(&rules, &large);
    assert!(
        allowed && warnings[0].starts_with("braid has not checked the object: it has more than"),
        "{warnings:?}"
    );
}

#[test]
fn other_texts_are_no_review() {
    let rules = rules(&[], json!({}));
    let error = |text: &str| answer(text.as_bytes(), &rules).unwrap_err().to_string();
    for text in ["", "[]", "{}", r#"{"apiVersion": "admission.k8s.io/v1", "request": null}"#] {
        assert!(error(text).starts_with("not an AdmissionReview: "), "{text}: {}", error(text));
    }
    let mut old = request("CREATE", &pod("blue"), &Value::Null);
    old["apiVersion"] = json!("admission.k8s.io/v1beta1");
    assert!(error(&old.to_string()).contains("version admission.k8s.io/v1beta1"));
}
