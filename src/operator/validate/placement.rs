//! Annotations that ask for networks in places that are not read: on what makes pods instead of its
//! template, among the labels, beside `annotations`, or with a misspelt key.

use super::{Node, Report, Spot, Tree};
use crate::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION, meant_key};

/// A pod, or what makes pods of `templates`.
pub(super) fn check(document: &Node, templates: &[(String, &Node)], report: &mut Report) {
    problems(document, templates)
        .into_iter()
        .for_each(|(spot, problem)| report.warning(spot, problem));
}

/// As [`check`], each with the place of the key.
pub(in crate::operator) fn problems(
    document: &Node,
    templates: &[(String, &Node)],
) -> Vec<(Spot, String)> {
    let read: Vec<String> = match templates {
        [] => vec!["metadata.annotations".to_owned()],
        templates => {
            templates.iter().map(|(path, _)| format!("{path}.metadata.annotations")).collect()
        }
    };
    let mut found = Vec::new();
    walk(document, "", &read, &mut found);
    found
}

fn walk(node: &Node, path: &str, read: &[String], found: &mut Vec<(Spot, String)>) {
    match &node.tree {
        Tree::Map(entries) => {
            for (key, spot, value) in entries {
                found.extend(problem_with(key, path, read).map(|problem| (*spot, problem)));
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, &inner, read, found);
            }
        }
        Tree::List(elements) => {
            for (at, element) in elements.iter().enumerate() {
                walk(element, &format!("{path}[{at}]"), read, found);
            }
        }
        Tree::Scalar(_) => {}
    }
}

/// What is wrong with a key at `path`, if pods are asked for networks at the paths `read` alone.
fn problem_with(key: &str, path: &str, read: &[String]) -> Option<String> {
    let is_read = read.iter().any(|read| read == path);
    if key == NETWORKS_ANNOTATION || key == DEFAULT_NETWORK_ANNOTATION {
        let places = read.join(", ");
        return (!is_read).then(|| {
            let what = if path.ends_with("labels") { "is a label here, and" } else { "stands in" };
            let what = if what == "stands in" {
                format!("stands in {path}, where it")
            } else {
                what.to_owned()
            };
            format!("{key} {what} asks for nothing: put it into {places}")
        });
    }
    let is_among = path.ends_with("annotations") || path.ends_with("labels");
    let meant = meant_key(key).filter(|_| is_among)?;
    Some(format!(
        "annotation {} asks for nothing: did you mean \"{meant}\"?",
        cni::quoted::Quoted::text(key)
    ))
}
