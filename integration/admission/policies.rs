//! The rules that an API server evaluates itself, in CEL: they refuse nothing that a node takes.

use std::collections::BTreeSet;

use braid::internals::selection::{Limits, parse};
use cel::{Context, Program, Value as Cel};
use serde_json::{Value, json};

use super::manifests::directory;
use super::pod;
use crate::kustomize::documents;
use crate::node::text;

/// What an expression is of an object.
fn evaluate(expression: &str, object: &Value, request: &Value, variables: &Value) -> Cel {
    let program =
        Program::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error:?}"));
    let mut context = Context::default();
    for (name, value) in [("object", object), ("request", request), ("variables", variables)] {
        context.add_variable(name, value.clone()).unwrap();
    }
    program.execute(&context).unwrap_or_else(|error| panic!("{expression}: {error:?}"))
}

/// Whether an expression holds.
pub(super) fn holds(expression: &str, object: &Value, request: &Value, variables: &Value) -> bool {
    match evaluate(expression, object, request, variables) {
        Cel::Bool(holds) => holds,
        other => panic!("{expression}: {other:?}"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The messages of a policy's rules that an object breaks.
fn broken(policy: &str, object: &Value) -> Vec<String> {
    let documents = documents(&directory().join("policies.yaml"));
    let named = |document: &&Value| {
        document["kind"] == "ValidatingAdmissionPolicy" && document["metadata"]["name"] == policy
    };
    let spec = &documents.iter().find(named).unwrap()["spec"];
    let request = json!({"kind": {"kind": object["kind"]}});
    let is_meant = list(&spec["matchConditions"])
        .iter()
        .all(|it| holds(text(&it["expression"]), object, &request, &json!({})));
    if !is_meant {
        return Vec::new();
    }
    let mut variables = json!({});
    for variable in list(&spec["variables"]) {
        let value = match evaluate(text(&variable["expression"]), object, &request, &variables) {
            Cel::String(text) => json!(*text),
            // The one that is no text is the object's own.
            _ => object["metadata"]["annotations"].clone(),
        };
        variables[text(&variable["name"])] = value;
    }
    let rules = list(&spec["validations"]).iter();
    let rules = rules.filter(|it| !holds(text(&it["expression"]), object, &request, &variables));
    rules.map(|rule| text(&rule["message"]).to_owned()).collect()
}

#[test]
fn each_policy_is_bound_and_only_misspelt_keys_are_warnings() {
    let documents = documents(&directory().join("policies.yaml"));
    let of_kind = |kind: &str| -> BTreeSet<String> {
        let names = documents.iter().filter(|document| document["kind"] == kind);
        names.map(|document| text(&document["metadata"]["name"]).to_owned()).collect()
    };
    assert_eq!(of_kind("ValidatingAdmissionPolicy"), of_kind("ValidatingAdmissionPolicyBinding"));
    for document in documents.iter().filter(|it| it["kind"] == "ValidatingAdmissionPolicyBinding") {
        let name = text(&document["metadata"]["name"]);
        assert_eq!(document["spec"]["policyName"], name);
        let action = if name.ends_with("-keys") { "Warn" } else { "Deny" };
        assert_eq!(document["spec"]["validationActions"], json!([action]), "{name}");
    }
}

#[test]
fn an_annotation_that_is_refused_is_one_that_every_node_refuses() {
    let namespace = "team-a".parse().unwrap();
    let large = format!("[{}]", " ".repeat(65_536));
    let texts = [
        "",
        " ",
        "blue",
        "ops/blue@data0, red\n",
        "a.b-c",
        "a@@b",
        "a b",
        "a,,b",
        "Blue",
        "a/b/c",
        "blue@",
        "[]",
        r#"[{"name": "blue"}]"#,
        " [ {\"name\": \"blue\"} ]\n",
        "[{\"name\": \"blue\"}",
        "{\"name\": \"blue\"}",
        "blue]",
        "\"blue\"",
        &large,
        "x@interface-name-too-long",
        "a@b/c",
        "blue\u{a0}",
    ];
    let mut refused = 0;
    for text in texts {
        let broken = broken("braid-pods", &pod(text));
        let is_valid = text.trim().is_empty() || parse(text, &namespace, Limits::default()).is_ok();
        assert!(broken.is_empty() || !is_valid, "{text:?}: {broken:?}");
        refused += usize::from(!broken.is_empty());
    }
    assert!(refused >= 10, "{refused}");
    let mut bare = pod("");
    bare["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(broken("braid-pods", &bare), Vec::<String>::new());
}

#[test]
fn keys_that_look_like_those_that_are_read_are_warned_of() {
    let warned = |key: &str| {
        let mut object = pod("blue");
        object["metadata"]["annotations"] = json!({key: "blue"});
        broken("braid-annotation-keys", &object).len()
    };
    for key in [
        "k8s.v1.cni.cncf.io/network",
        "k8s.v1.cncf.io/networks",
        "k8s.cni.cncf.io/networks",
        "k8s.v1.cni.cncf.io/Networks",
        "k8s.v2.cni.cncf.io/networks",
        "v1.multus-cni.io/default-networks",
        "multus-cni.io/default-network",
    ] {
        assert_eq!(warned(key), 1, "{key}");
    }
    for key in [
        "k8s.v1.cni.cncf.io/networks",
        "k8s.v1.cni.cncf.io/network-status",
        "k8s.v1.cni.cncf.io/networks-status",
        "k8s.v1.cni.cncf.io/resourceName",
        "v1.multus-cni.io/default-network",
        "example.com/networks",
    ] {
        assert_eq!(warned(key), 0, "{key}");
    }
}

#[test]
fn a_definition_is_refused_for_its_size_and_form_and_warned_of_for_its_keys() {
    let definition = |config: Value, key: &str| {
        json!({
            "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": "blue", "annotations": {key: "x"}}, "spec": {"config": config},
        })
    };
    let refused = |config: &str| broken("braid-definitions", &definition(json!(config), "a")).len();
    assert_eq!([refused("{}"), refused(""), refused(" {\"type\": \"bridge\"}")], [0; 3]);
    assert_eq!(
        [refused("type: bridge"), refused("[]"), refused(&format!("{{{}}}", " ".repeat(1 << 20)))],
        [1; 3]
    );
    let none = json!({"kind": "NetworkAttachmentDefinition", "metadata": {"name": "blue"}});
    assert_eq!(broken("braid-definitions", &none).len(), 0);
    assert_eq!(broken("braid-definition-keys", &none).len(), 0);
    let warned = |key: &str| broken("braid-definition-keys", &definition(json!("{}"), key)).len();
    assert_eq!((warned("braid.io/allowed-ips"), warned("braid.io/allowed-ip")), (0, 1));
}
