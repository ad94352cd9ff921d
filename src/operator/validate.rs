//! `braid validate`: configurations, definitions and pods' annotations, held against the rules that the
//! plugin has for them. All problems at once, each with its place.

mod sharing;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::CommandError;
use super::console::{Exit, Look, Tone, View};
use super::explain::read_text;
use super::source::{self, Node, Spot, Tree, documents, inside};
use crate::cni::netconf::{Missing, NetconfError, NetworkConfig};
use crate::config::Config;
use crate::name::Namespace;
use crate::pod::{DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION};
use crate::selection::{self, Limits};

/// What `braid validate` is told.
#[derive(Args, Debug)]
pub(super) struct Validate {
    /// Configurations, conflists, definitions, pods' manifests; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// End with 1 for warnings, too
    #[arg(long)]
    strict: bool,
}

/// Something that is wrong.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
struct Problem {
    file: PathBuf,
    line: u64,
    column: u64,
    severity: Severity,
    message: String,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Error,
    Warning,
}

/// All that is wrong.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    #[serde(skip)]
    strict: bool,
    files: usize,
    problems: Vec<Problem>,
}

impl Validate {
    pub(super) fn run(&self) -> Result<Verdict, CommandError> {
        let mut problems: Vec<Problem> = self.files.iter().flat_map(|file| check_file(file)).collect();
        problems.sort();
        problems.dedup();
        Ok(Verdict { strict: self.strict, files: self.files.len(), problems })
    }
}

impl View for Verdict {
    fn text(&self, look: &Look) -> String {
        if self.problems.is_empty() {
            return format!("{}: {} checked\n", look.paint(Tone::Good, "valid"), self.files);
        }
        let line = |problem: &Problem| {
            let word = match problem.severity {
                Severity::Error => look.paint(Tone::Bad, "error"),
                Severity::Warning => look.paint(Tone::Odd, "warning"),
            };
            let Problem { file, line, column, message, .. } = problem;
            format!("{}:{line}:{column}: {word}: {message}\n", file.display())
        };
        self.problems.iter().map(line).collect()
    }

    fn exit(&self) -> Exit {
        let bad = |problem: &Problem| self.strict || problem.severity == Severity::Error;
        if self.problems.iter().any(bad) { Exit::Failed } else { Exit::Done }
    }
}

fn check_file(file: &Path) -> Vec<Problem> {
    let mut report = Report { problems: Vec::new() };
    match read_text(file) {
        Ok(text) => check_text(file, &text, &mut report),
        Err(error) => report.error(Spot { line: 1, column: 1 }, error.to_string()),
    }
    let problem = |(spot, severity, message): (Spot, Severity, String)| Problem {
        file: file.to_owned(),
        line: spot.line,
        column: spot.column,
        severity,
        message,
    };
    report.problems.into_iter().map(problem).collect()
}

/// Problems with their places, while one text is read.
struct Report {
    problems: Vec<(Spot, Severity, String)>,
}

impl Report {
    fn error(&mut self, spot: Spot, message: String) {
        self.problems.push((spot, Severity::Error, message));
    }

    fn warning(&mut self, spot: Spot, message: String) {
        self.problems.push((spot, Severity::Warning, message));
    }

    /// Problems of a text inside a text, at their places in the outer one.
    fn within(&mut self, text: &str, outer: Spot, inner: Self) {
        let moved = inner.problems.into_iter();
        self.problems
            .extend(moved.map(|(spot, severity, message)| (inside(text, outer, spot), severity, message)));
    }
}

fn check_text(file: &Path, text: &str, report: &mut Report) {
    let is_json =
        file.extension().is_some_and(|it| ["json", "conf", "conflist"].iter().any(|ext| it == *ext));
    if (is_json || text.trim_start().starts_with('{')) && !check_json(text, report) {
        return;
    }
    match documents(text) {
        Ok(documents) => documents.iter().for_each(|document| check_document(document, text, report)),
        Err((spot, message)) => report.error(spot.unwrap_or(Spot { line: 1, column: 1 }), message),
    }
}

fn check_json(text: &str, report: &mut Report) -> bool {
    let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) else { return true };
    let number = |number: usize| u64::try_from(number.max(1)).unwrap_or(1);
    let spot = Spot { line: number(error.line()), column: number(error.column()) };
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    report.error(spot, format!("not valid JSON: {message}"));
    false
}

fn check_document(document: &Node, text: &str, report: &mut Report) {
    match document.get("kind").and_then(Node::text) {
        None if matches!(document.tree, Tree::Map(_)) => check_network(document, None, report),
        None if matches!(document.tree, Tree::Scalar(Value::Null)) => {}
        None => report
            .error(document.spot, "must be an object: a network configuration, or a manifest".to_owned()),
        Some("List" | "NetworkAttachmentDefinitionList" | "PodList") => {
            let items = document.get("items").map(Node::elements).unwrap_or_default();
            items.iter().for_each(|item| check_document(item, text, report));
        }
        Some("NetworkAttachmentDefinition") => check_definition(document, text, report),
        Some(_) => check_pod(document, text, report),
    }
}

// Definitions and configurations.

fn check_definition(document: &Node, text: &str, report: &mut Report) {
    let metadata = document.get("metadata");
    let name = metadata.and_then(|metadata| metadata.get("name"));
    match name.and_then(|node| Some((node, node.text()?))) {
        None => report.error(document.spot, "metadata.name is missing".to_owned()),
        Some((node, name)) => {
            if let Err(error) = name.parse::<crate::name::DefinitionName>() {
                report.error(node.spot, error.to_string());
            }
        }
    }
    check_namespace(metadata, report);
    sharing::check(metadata, report);
    let Some(config) = document.get("spec").and_then(|spec| spec.get("config")) else { return };
    match config.text() {
        None => report.error(config.spot, "spec.config must be a text that holds JSON".to_owned()),
        Some(inner) => check_config(inner, config.spot, name.and_then(Node::text), text, report),
    }
}

fn check_config(inner: &str, outer: Spot, name: Option<&str>, text: &str, report: &mut Report) {
    let mut found = Report { problems: Vec::new() };
    if check_json(inner, &mut found) {
        match documents(inner) {
            Ok(documents) => {
                documents.iter().for_each(|document| check_network(document, name.or(Some("x")), &mut found));
            }
            Err((spot, message)) => found.error(spot.unwrap_or(Spot { line: 1, column: 1 }), message),
        }
    }
    report.within(text, outer, found);
}

/// A conf or conflist; `name` stands in where it has none.
fn check_network(document: &Node, name: Option<&str>, report: &mut Report) {
    let before = report.problems.len();
    check_key(document, "cniVersion", report);
    check_key(document, "cniVersions", report);
    if document.get("name").is_some() {
        check_key(document, "name", report);
    } else if name.is_none() && document.get("type").is_none_or(|kind| kind.text() != Some("braid")) {
        report.error(document.spot, NetconfError::NoName.to_string());
    }
    let plugins = document.get("plugins");
    let inline = plugins.is_none().then_some(document);
    for plugin in plugins.map(Node::elements).unwrap_or_default().iter().chain(inline) {
        check_plugin(plugin, report);
    }
    if report.problems.len() == before {
        let missing = Missing { name: name.or(Some("x")), ..Missing::default() };
        let whole = NetworkConfig::read(&document.to_value(), &missing).and_then(NetworkConfig::complete);
        if let Err(error) = whole {
            report.error(plugins.map_or(document.spot, |plugins| plugins.spot), error.to_string());
        }
    }
}

/// One key of a network by itself, so that one mistake does not hide another.
fn check_key(document: &Node, key: &str, report: &mut Report) {
    let Some(value) = document.get(key) else { return };
    let mut network = json!({"name": "x", "plugins": [{"type": "x"}]});
    if let Some(network) = network.as_object_mut() {
        network.insert(key.to_owned(), value.to_value());
    }
    if let Err(error) = NetworkConfig::read(&network, &Missing::default()) {
        report.error(value.spot, error.to_string());
    }
}

fn check_plugin(plugin: &Node, report: &mut Report) {
    let network = json!({"name": "x", "plugins": [plugin.to_value()]});
    if let Err(error) = NetworkConfig::read(&network, &Missing::default()) {
        let kind = plugin.get("type").map_or(plugin.spot, |kind| kind.spot);
        report.error(kind, error.to_string());
    }
    if plugin.get("type").and_then(Node::text) == Some("braid") {
        check_braid(plugin, report);
    }
}

/// Braid's own entry, each key by itself.
fn check_braid(plugin: &Node, report: &mut Report) {
    let Tree::Map(entries) = &plugin.tree else { return };
    for (key, spot, value) in
        entries.iter().filter(|(key, _, _)| !["name", "type", "plugins"].contains(&key.as_str()))
    {
        let before = report.problems.len();
        if let ("policy", Tree::Map(rules)) = (key.as_str(), &value.tree) {
            for (rule, spot, value) in rules {
                check_braids_key(key, json!({rule: value.to_value()}), *spot, value.spot, report);
            }
        }
        if report.problems.len() == before {
            check_braids_key(key, value.to_value(), *spot, value.spot, report);
        }
    }
}

fn check_braids_key(key: &str, value: Value, at_key: Spot, at_value: Spot, report: &mut Report) {
    let mut alone = json!({"name": "x", "type": "braid"});
    if let Some(alone) = alone.as_object_mut() {
        alone.insert(key.to_owned(), value);
    }
    match Config::parse(alone.to_string().as_bytes()) {
        // Nobody gets what it asks for where the rules cannot be told.
        Ok(Config { policy: Err(problem), .. }) => report.error(at_value, problem.to_string()),
        Ok(config) => config.warnings.into_iter().for_each(|warning| report.warning(at_key, warning)),
        Err(error) => report.error(at_value, error.to_string()),
    }
}

// Pods, and what makes pods.

fn check_pod(document: &Node, text: &str, report: &mut Report) {
    let template = |node: &Node| node.get("spec").and_then(|spec| spec.get("template")).cloned();
    let job = document.get("spec").and_then(|spec| spec.get("jobTemplate"));
    let template = template(document).or_else(|| job.and_then(template));
    let own = document.get("metadata");
    let inner = template.as_ref().and_then(|template| template.get("metadata"));
    let namespace = check_namespace(own, report);
    for metadata in own.into_iter().chain(inner) {
        for key in [NETWORKS_ANNOTATION, DEFAULT_NETWORK_ANNOTATION] {
            let annotation = metadata.get("annotations").and_then(|annotations| annotations.get(key));
            let Some(node) = annotation else { continue };
            match node.text() {
                None => report.error(node.spot, format!("annotation {key} must be a text")),
                Some(value) => check_annotation(value, node.spot, &namespace, text, report),
            }
        }
    }
}

fn check_namespace(metadata: Option<&Node>, report: &mut Report) -> Option<Namespace> {
    let node = metadata.and_then(|metadata| metadata.get("namespace"));
    match node.and_then(|node| Some((node, node.text()?))) {
        None => "default".parse().ok(),
        Some((node, name)) => name
            .parse()
            .map_err(|error: crate::name::InvalidNamespace| report.error(node.spot, error.to_string()))
            .ok(),
    }
}

/// Each element by itself, then the whole, for what elements have with one another.
fn check_annotation(
    value: &str,
    outer: Spot,
    namespace: &Option<Namespace>,
    text: &str,
    report: &mut Report,
) {
    let Some(namespace) = namespace else { return };
    let mut found = Report { problems: Vec::new() };
    let start = Spot { line: 1, column: 1 };
    if value.trim_start().starts_with('[') && check_json(value, &mut found) {
        for list in source::documents(value).unwrap_or_default() {
            for (at, element) in list.elements().iter().enumerate() {
                check_element(at, element, namespace, &mut found);
            }
        }
    } else if found.problems.is_empty() {
        let mut before = 0;
        for (at, element) in value.split(',').enumerate() {
            if let Err(error) = selection::parse(element, namespace, Limits::default()) {
                let blank = element.len() - element.trim_start().len();
                found.error(spot_behind(value, before + blank), numbered(&error.to_string(), at));
            }
            before += element.len() + 1;
        }
    }
    if found.problems.is_empty()
        && let Err(error) = selection::parse(value, namespace, Limits::default())
    {
        found.error(start, error.to_string());
    }
    report.within(text, outer, found);
}

/// The place behind so many bytes of a text.
fn spot_behind(text: &str, bytes: usize) -> Spot {
    let before = text.get(..bytes).unwrap_or(text);
    let lines = before.matches('\n').count();
    let column = before.chars().rev().take_while(|c| *c != '\n').count();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
    Spot { line: number(lines), column: number(column) }
}

/// An element of the JSON form, each key by itself.
fn check_element(at: usize, element: &Node, namespace: &Namespace, report: &mut Report) {
    let alone = |value: &Value| selection::parse(&json!([value]).to_string(), namespace, Limits::default());
    let before = report.problems.len();
    if let Tree::Map(entries) = &element.tree {
        for (key, spot, value) in entries {
            let mut single = json!({"name": "x"});
            if let Some(single) = single.as_object_mut() {
                single.insert(key.clone(), value.to_value());
            }
            if let Err(error) = alone(&single) {
                report.error(*spot, numbered(&error.to_string(), at));
            }
        }
    }
    if report.problems.len() == before
        && let Err(error) = alone(&element.to_value())
    {
        report.error(element.spot, numbered(&error.to_string(), at));
    }
}

/// The message about a list of one element, with the element's number in its own list.
fn numbered(message: &str, at: usize) -> String {
    message.replacen("element 1", &format!("element {}", at + 1), 1).replacen(" (default/x)", "", 1)
}
