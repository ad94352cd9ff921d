//! The pods of a manifest and of what makes pods; it may hold several documents and lists.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ExplainError, Explanation, Subject};
use crate::definition::field;
use crate::kube::ClusterPod;
use crate::operator::source::{Node, Spot, documents};
use crate::operator::validate::{misplaced_annotations, templates};
use cni::quoted::Quoted;

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    service_account_name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl From<Manifest> for Subject {
    fn from(Manifest { metadata, spec }: Manifest) -> Self {
        let object = ClusterPod {
            uid: "explained".to_owned(),
            annotations: metadata.annotations.unwrap_or_default(),
            service_account: Some(
                spec.service_account_name.unwrap_or_else(|| "default".to_owned()),
            ),
            node_name: None,
            deletion: false,
        };
        let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
        Self {
            namespace,
            name: metadata.name.unwrap_or_default(),
            object,
            made_by: None,
            warnings: Vec::new(),
        }
    }
}

/// Every pod of a text, in its order, and one of each template; in place of one that cannot be
/// read, what is wrong with it.
///
/// # Errors
/// [`ExplainError::Manifest`] if the text is not YAML, or has nothing that is or makes a pod.
pub(super) fn pods(text: &str) -> Result<Vec<Result<Subject, Box<Explanation>>>, ExplainError> {
    let documents = documents(text).map_err(|(spot, problem)| invalid(spot, &problem))?;
    let mut pods = Vec::new();
    for document in &documents {
        if let Some((spot, key)) = document.repeated_keys().first() {
            let problem = format!("key {} is given twice: keep one of them", Quoted::text(key));
            return Err(invalid(Some(*spot), &problem));
        }
        collect(document, &mut pods);
    }
    if pods.is_empty() {
        return Err(ExplainError::Manifest(
            "nothing in it is a pod, or has a template of pods".to_owned(),
        ));
    }
    Ok(pods)
}

fn invalid(spot: Option<Spot>, problem: &str) -> ExplainError {
    let place = spot.map(|spot| format!("line {}, column {}: ", spot.line, spot.column));
    ExplainError::Manifest(place.unwrap_or_default() + problem)
}

fn collect(document: &Node, pods: &mut Vec<Result<Subject, Box<Explanation>>>) {
    let kind = document.get_exact("kind").and_then(|(_, kind)| kind.text());
    let items = document.get_exact("items").map(|(_, items)| items.elements());
    match (kind, items) {
        (Some(kind), Some(items)) if kind.ends_with("List") => {
            items.iter().for_each(|item| collect(item, pods));
        }
        (Some("Pod"), _) => pods.push(pod(document.to_value(), None, warnings(document, &[]))),
        (Some(kind), _) => {
            let templates = templates(document);
            for (path, template) in &templates {
                let of =
                    if templates.len() == 1 { kind.to_owned() } else { format!("{kind} ({path})") };
                pods.push(pod(made(document, template), Some(of), warnings(document, &templates)));
            }
        }
        (None, _) => {}
    }
}

fn warnings(document: &Node, templates: &[(String, &Node)]) -> Vec<String> {
    misplaced_annotations(document, templates).into_iter().map(|(_, problem)| problem).collect()
}

/// A pod of a template, by the name of what makes it: its own has letters behind that.
fn made(document: &Node, template: &Node) -> Value {
    let of = |node: &Node, key: &str| node.get_exact(key).map(|(_, value)| value.to_value());
    let owner = document.get_exact("metadata").map(|(_, metadata)| metadata);
    let named = |key: &str| owner.and_then(|metadata| of(metadata, key)).unwrap_or_default();
    let mut metadata =
        of(template, "metadata").filter(Value::is_object).unwrap_or_else(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("name".to_owned(), named("name"));
        metadata.insert("namespace".to_owned(), named("namespace"));
    }
    let spec = of(template, "spec").filter(Value::is_object).unwrap_or_else(|| json!({}));
    json!({"kind": "Pod", "metadata": metadata, "spec": spec})
}

fn pod(
    document: Value,
    made_by: Option<String>,
    warnings: Vec<String>,
) -> Result<Subject, Box<Explanation>> {
    let text = |key: &str| document.pointer(key).and_then(Value::as_str).map(str::to_owned);
    let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
    let name = text("/metadata/name").unwrap_or_default();
    let wrong = field::check(&document).err().map(|wrong| wrong.to_string());
    let made_by = made_by.map(|kind| cni::error::one_line(&kind, 200));
    match serde_json::from_value::<Manifest>(document) {
        Ok(manifest) => Ok(Subject { made_by, warnings, ..Subject::from(manifest) }),
        Err(error) => Err(Box::new(Explanation {
            pod: format!("{namespace}/{name}"),
            made_by,
            warnings,
            refusals: vec![wrong.unwrap_or_else(|| format!("its manifest is not valid: {error}"))],
            ..Explanation::default()
        })),
    }
}
