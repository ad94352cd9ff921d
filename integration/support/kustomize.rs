//! Kustomize, as far as `conf/kubernetes` uses it, and stricter: a key that is not known here, a
//! file that nothing names, a patch without a target and a field that no API server knows are
//! failures.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::node::text;

/// Lists that a strategic merge merges by a key, as the API's types say.
const MERGED: [(&str, &str); 5] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("env", "name"),
    ("volumes", "name"),
    ("volumeMounts", "mountPath"),
];

/// The objects that `kubectl apply -k <directory>` applies.
pub(crate) fn render(directory: &Path) -> Vec<Value> {
    let objects = render_onto(directory, Vec::new(), ("v1beta1", "Kustomization"));
    objects.iter().for_each(check);
    objects
}

/// The objects with what a component of an overlay changes.
pub(crate) fn add_component(directory: &Path, objects: Vec<Value>) -> Vec<Value> {
    let objects = render_onto(directory, objects, ("v1alpha1", "Component"));
    objects.iter().for_each(check);
    objects
}

/// What a kustomization makes of objects that are there already, which a component has.
fn render_onto(directory: &Path, mut objects: Vec<Value>, form: (&str, &str)) -> Vec<Value> {
    let file = directory.join("kustomization.yaml");
    let document = &documents(&file)[0];
    let known = ["apiVersion", "kind", "resources", "components", "patches", "images"];
    for key in document.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{}: {key} is not known", file.display());
    }
    assert_eq!(document["apiVersion"], format!("kustomize.config.k8s.io/{}", form.0));
    assert_eq!(document["kind"], form.1);
    let mut named = BTreeSet::from([file]);
    for resource in list(&document["resources"]) {
        let path = directory.join(text(resource));
        if path.is_dir() {
            let (from, to) = (directory.canonicalize().unwrap(), path.canonicalize().unwrap());
            assert!(!from.starts_with(&to), "{} is a part of what it is made from", from.display());
            objects.extend(render(&path));
        } else {
            objects.extend(documents(&path));
            named.insert(inside(directory, &path));
        }
    }
    for component in list(&document["components"]) {
        let path = directory.join(text(component));
        objects = render_onto(&path, objects, ("v1alpha1", "Component"));
    }
    for change in list(&document["patches"]) {
        let path = directory.join(text(&change["path"]));
        for document in documents(&path) {
            match document.as_array() {
                Some(operations) => patch_json(&mut objects, operations, &change["target"]),
                None => patch(&mut objects, &document, &path),
            }
        }
        named.insert(inside(directory, &path));
    }
    for image in list(&document["images"]) {
        let changed = objects.iter_mut().map(|object| set_image(object, image)).sum::<usize>();
        assert!(changed > 0, "{}: nothing has the image {image}", directory.display());
    }
    let there: BTreeSet<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(there, named, "files that {} does not name", directory.display());
    objects
}

pub(crate) fn documents(path: &Path) -> Vec<Value> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The one object of a kind and name.
pub(crate) fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found: Vec<_> = objects
        .iter()
        .filter(|each| each["kind"] == kind && each["metadata"]["name"] == name)
        .collect();
    assert_eq!(found.len(), 1, "{kind} {name}");
    found[0]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Files come from below the kustomization, as kustomize itself demands.
fn inside(directory: &Path, path: &Path) -> PathBuf {
    assert!(
        path.parent() == Some(directory),
        "{} is outside of {}",
        path.display(),
        directory.display()
    );
    path.to_owned()
}

/// A strategic merge into the object of the patch's kind and name.
fn patch(objects: &mut [Value], change: &Value, path: &Path) {
    let identity = |object: &Value| {
        let metadata = &object["metadata"];
        [&object["apiVersion"], &object["kind"], &metadata["namespace"], &metadata["name"]]
            .map(Value::clone)
    };
    let mut targets: Vec<_> =
        objects.iter_mut().filter(|object| identity(object) == identity(change)).collect();
    assert_eq!(targets.len(), 1, "targets of {}", path.display());
    merge("", targets[0], change);
}

/// A JSON patch (RFC 6902) of the one object that the target names; it appends to lists alone.
fn patch_json(objects: &mut [Value], operations: &[Value], target: &Value) {
    let mut targets: Vec<_> = objects
        .iter_mut()
        .filter(|each| each["kind"] == target["kind"] && each["metadata"]["name"] == target["name"])
        .collect();
    assert_eq!(targets.len(), 1, "targets of {target}");
    for operation in operations {
        assert_eq!(operation["op"], "add", "{operation}");
        let list = text(&operation["path"]).strip_suffix("/-").expect("the end of a list");
        let list = targets[0].pointer_mut(list).and_then(Value::as_array_mut);
        list.unwrap_or_else(|| panic!("no list: {operation}")).push(operation["value"].clone());
    }
}

fn merge(key: &str, target: &mut Value, change: &Value) {
    let by = MERGED.iter().find(|(list, _)| *list == key).map(|(_, by)| *by);
    match (target, change, by) {
        (Value::Object(target), Value::Object(change), _) => {
            for (key, value) in change {
                assert!(!key.starts_with('$'), "{key} is not known");
                merge(key, target.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(target), Value::Array(change), Some(by)) => {
            for item in change {
                match target.iter_mut().find(|known| known[by] == item[by]) {
                    Some(known) => merge("", known, item),
                    None => target.push(item.clone()),
                }
            }
        }
        (target, change, _) => *target = change.clone(),
    }
}

fn set_image(object: &mut Value, image: &Value) -> usize {
    let mut changed = 0;
    for containers in ["initContainers", "containers"] {
        let containers = object.pointer_mut(&format!("/spec/template/spec/{containers}"));
        for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
            let (name, tag) = text(&container["image"]).rsplit_once(':').expect("a tag");
            if name == text(&image["name"]) {
                let name = image.get("newName").map_or(name, text);
                let tag = image.get("newTag").map_or(tag, text);
                container["image"] = format!("{name}:{tag}").into();
                changed += 1;
            }
        }
    }
    changed
}

/// Every field is one that the API's type has, with a value of its type.
pub(crate) fn check(object: &Value) {
    match (text(&object["apiVersion"]), text(&object["kind"])) {
        ("v1", "Namespace") => typed::<Namespace>(object),
        ("v1", "ServiceAccount") => typed::<ServiceAccount>(object),
        ("v1", "ConfigMap") => typed::<ConfigMap>(object),
        ("v1", "ResourceQuota") => typed::<ResourceQuota>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => typed::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            typed::<ClusterRoleBinding>(object)
        }
        ("rbac.authorization.k8s.io/v1", "Role") => typed::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => typed::<RoleBinding>(object),
        ("apps/v1", "DaemonSet") => typed::<DaemonSet>(object),
        ("apps/v1", "Deployment") => typed::<Deployment>(object),
        ("batch/v1", "CronJob") => typed::<CronJob>(object),
        ("v1", "Secret") => typed::<Secret>(object),
        ("v1", "Service") => typed::<Service>(object),
        ("policy/v1", "PodDisruptionBudget") => typed::<PodDisruptionBudget>(object),
        ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration") => {
            typed::<ValidatingWebhookConfiguration>(object);
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy") => {
            typed::<ValidatingAdmissionPolicy>(object);
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding") => {
            typed::<ValidatingAdmissionPolicyBinding>(object);
        }
        // Its types are in no crate here: docs/admission.md says which of its fields are used.
        ("cert-manager.io/v1", "Issuer" | "Certificate") => {}
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => {
            typed::<CustomResourceDefinition>(object);
        }
        other => panic!("no type for {other:?}"),
    }
}

/// What the type does not know is lost on the way through it.
fn typed<T: DeserializeOwned + Serialize>(object: &Value) {
    let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
    let read: T =
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let known = serde_json::to_value(read).unwrap();
    assert_eq!(known, *object, "{name} has fields that are not known");
}
