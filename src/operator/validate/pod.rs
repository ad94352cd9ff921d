//! What the annotations of a pod ask for, or of what makes pods: each by itself, each key of an
//! element by itself, then all together.

use serde_json::{Map, Value, json};

use super::rules::Rules;
use super::{Node, Report, Spot, Text, Tree, check_json, namespace, placement, text_at};
use crate::definition::field::annotation;
use crate::operator::source::documents;
use crate::pod::name::Namespace;
use crate::pod::{DEFAULT_NETWORK_ANNOTATION, GENIE_ANNOTATION, NETWORKS_ANNOTATION};
use crate::selection::{self, Limits};

/// Annotations that ask for networks.
const ASKING: [&str; 3] = [NETWORKS_ANNOTATION, DEFAULT_NETWORK_ANNOTATION, GENIE_ANNOTATION];

/// A pod, or an object with templates of pods in it. The annotations of such an object itself are
/// no pod's.
pub(super) fn check(document: &Node, text: &Text<'_>, rules: &Rules, report: &mut Report) {
    let Some(namespace) = namespace(document.get("metadata"), report) else { return };
    let templates = templates(document);
    let is_pod = document.get("kind").and_then(Node::text) == Some("Pod");
    let of_pods = templates.iter().map(|(_, template)| *template);
    let own = Some(document).filter(|_| is_pod || templates.is_empty());
    for pod in own.into_iter().chain(of_pods) {
        let metadata = pod.get("metadata");
        if let Some(annotations) = metadata.and_then(|metadata| metadata.get("annotations")) {
            let (namespace, account) = (&namespace, service_account(pod));
            Annotations { annotations, namespace, account, rules, text }.check(report);
        }
    }
    if is_pod || !templates.is_empty() {
        placement::check(document, &templates, report);
    }
}

/// The account that a pod has, or one without its own.
fn service_account(pod: &Node) -> &str {
    let spec = pod.get_exact("spec").map(|(_, spec)| spec);
    let account = spec.and_then(|spec| spec.get_exact("serviceAccountName"));
    let named = account.and_then(|(_, account)| account.text());
    named.filter(|name| !name.is_empty()).unwrap_or("default")
}

/// The templates of the pods that an object makes, each with the path to it: one of a Deployment, a
/// Job or a CronJob, more of what others have made up.
pub(in crate::operator) fn templates(document: &Node) -> Vec<(String, &Node)> {
    let mut found = Vec::new();
    for part in ["spec", "template"] {
        if let Some((_, node)) = document.get_exact(part) {
            find_templates(part, part.to_owned(), node, &mut found);
        }
    }
    found
}

/// A template has the containers of a pod, or KubeVirt's domain, in its `spec`, or is what stands
/// where the controllers of Kubernetes have theirs.
fn find_templates<'n>(
    key: &str,
    path: String,
    node: &'n Node,
    found: &mut Vec<(String, &'n Node)>,
) {
    let spec = node.get_exact("spec").map(|(_, spec)| spec);
    let of_pod =
        |spec: &Node| ["containers", "domain"].iter().any(|key| spec.get_exact(key).is_some());
    let is_bare = key == "template" && spec.is_none() && node.get_exact("metadata").is_some();
    if spec.is_some_and(of_pod) || is_bare {
        found.push((path, node));
        return;
    }
    match &node.tree {
        Tree::Map(entries) => {
            for (key, _, value) in entries {
                find_templates(key, format!("{path}.{key}"), value, found);
            }
        }
        Tree::List(elements) => {
            for (at, element) in elements.iter().enumerate() {
                find_templates("", format!("{path}[{at}]"), element, found);
            }
        }
        Tree::Scalar(_) => {}
    }
}

/// The annotations of one pod.
struct Annotations<'a> {
    annotations: &'a Node,
    namespace: &'a Namespace,
    /// The pod's service account.
    account: &'a str,
    rules: &'a Rules,
    /// The text that they stand in.
    text: &'a Text<'a>,
}

impl Annotations<'_> {
    fn check(&self, report: &mut Report) {
        let before = report.problems.len();
        let mut texts = Map::new();
        for key in ASKING {
            let Some((_, node)) = self.annotations.get_exact(key) else { continue };
            match text_at(Some(node), &annotation(key), report) {
                Err(()) | Ok(None) => {}
                Ok(Some(value)) => {
                    texts.insert(key.to_owned(), json!(value));
                    if let Some(namespace) = self.namespace_of_networks(key) {
                        self.check_selections(value, namespace, node.spot, report);
                    }
                }
            }
        }
        if !report.has_errors_since(before) {
            let spot = |key: &str| Some(self.annotations.get_exact(key)?.1.spot);
            self.rules.check_together((self.namespace, self.account), &texts, spot, report);
        }
    }

    /// The namespace of networks that an annotation names without one; `None` for one that holds no
    /// selections.
    fn namespace_of_networks(&self, key: &str) -> Option<&Namespace> {
        match key {
            NETWORKS_ANNOTATION => Some(self.namespace),
            DEFAULT_NETWORK_ANNOTATION => Some(self.rules.multus_namespace()),
            _ => None,
        }
    }

    /// Each element by itself, then the whole, for what elements have with one another.
    fn check_selections(
        &self,
        value: &str,
        namespace: &Namespace,
        outer: Spot,
        report: &mut Report,
    ) {
        let mut found = Report::default();
        if value.trim_start().starts_with('[') && check_json(value, &mut found) {
            for list in documents(value).unwrap_or_default() {
                for (at, element) in list.elements().iter().enumerate() {
                    for (spot, key) in element.repeated_keys() {
                        let key = cni::quoted::Quoted::text(key);
                        found.error(spot, format!("element {}: key {key} is given twice", at + 1));
                    }
                    check_element(at, element, namespace, self.rules.limits(), &mut found);
                }
            }
        } else if found.problems.is_empty() {
            check_words(value, namespace, &mut found);
        }
        if found.problems.is_empty()
            && let Err(error) = selection::parse(value, namespace, self.rules.limits())
        {
            found.error(Spot { line: 1, column: 1 }, error.to_string());
        }
        report.within(self.text, outer, value, found);
    }
}

/// The short form, word by word.
fn check_words(value: &str, namespace: &Namespace, report: &mut Report) {
    let mut before = 0;
    for (at, word) in value.split(',').enumerate() {
        if let Err(error) = selection::parse(word, namespace, Limits::default()) {
            let blank = word.len() - word.trim_start().len();
            report
                .error(spot_behind(value, before + blank), numbered(&error.to_string(), at, None));
        }
        before += word.len() + 1;
    }
}

/// The place behind so many bytes of a text.
fn spot_behind(text: &str, bytes: usize) -> Spot {
    let before = text.get(..bytes).unwrap_or(text);
    let lines = before.matches('\n').count();
    let column = before.chars().rev().take_while(|c| *c != '\n').count();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
    Spot { line: number(lines), column: number(column) }
}

/// An element of the JSON form, each key by itself beside the network's name.
fn check_element(
    at: usize,
    element: &Node,
    namespace: &Namespace,
    limits: Limits,
    report: &mut Report,
) {
    let alone = |value: &Value| selection::parse(&json!([value]).to_string(), namespace, limits);
    let before = report.problems.len();
    if let Tree::Map(entries) = &element.tree {
        let (network, is_its_own) = network_of(element, alone);
        for (key, spot, value) in entries {
            let mut single = network.clone();
            single.retain(|name, _| !name.eq_ignore_ascii_case(key));
            single.insert(key.clone(), value.to_value());
            let stand_in = (!is_its_own).then_some(namespace);
            match alone(&Value::Object(single)) {
                Err(error) => report.error(*spot, numbered(&error.to_string(), at, stand_in)),
                Ok(selections) => {
                    for ignored in selections.iter().flat_map(|selection| &selection.ignored) {
                        report.warning(*spot, numbered(&ignored.to_string(), at, stand_in));
                    }
                }
            }
        }
    }
    if report.problems.len() == before
        && let Err(error) = alone(&element.to_value())
    {
        report.error(element.spot, numbered(&error.to_string(), at, None));
    }
}

/// The name and namespace of an element, and whether they are its own: others stand in for what is
/// not valid.
fn network_of<T, E>(
    element: &Node,
    alone: impl Fn(&Value) -> Result<T, E>,
) -> (Map<String, Value>, bool) {
    let given = |key: &str| Some((key.to_owned(), element.get(key)?.to_value()));
    let own: Map<String, Value> = ["name", "namespace"].into_iter().filter_map(given).collect();
    if alone(&Value::Object(own.clone())).is_ok() {
        return (own, true);
    }
    (Map::from_iter([("name".to_owned(), json!("x"))]), false)
}

/// The message about a list of one element, with the element's number in its own list, and without
/// the network that stood in for the element's.
fn numbered(message: &str, at: usize, stand_in: Option<&Namespace>) -> String {
    let message = message.replacen("element 1", &format!("element {}", at + 1), 1);
    stand_in
        .map_or(message.clone(), |namespace| message.replacen(&format!(" ({namespace}/x)"), "", 1))
}
