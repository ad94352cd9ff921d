//! `braid validate`: configurations, definitions and pods' annotations, held against the rules that
//! the plugin has for them. All problems at once, each with its place.

mod catalogue;
mod definition;
mod files;
mod format;
mod manifest;
mod network;
mod networks;
mod placement;
mod pod;
mod pools;
mod rules;
mod sharing;
mod verdict;

pub(super) use catalogue::{Catalogue, Definitions};
pub(super) use files::FilesError;
pub(super) use placement::problems as misplaced_annotations;
pub(super) use pod::templates;
pub(super) use rules::Rules;
pub(super) use verdict::Verdict;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::CommandError;
use super::fault::Fault;
use super::installation::Installation;
use super::manifests::read_text;
use super::node::{self, Directories};
use super::runtime::Runtime;
use super::source::{Node, Spot, Text, Tree, documents, inside};
use crate::definition::field::WrongField;
use crate::pod::name::Namespace;

/// What `braid validate` is told.
#[derive(Args, Debug)]
pub(super) struct Validate {
    /// Configurations, conflists, definitions, pods' manifests, and directories with such files; -
    /// reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file that a node's configuration is in, whose policy and limits hold too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
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
pub(super) enum Severity {
    Error,
    Warning,
}

impl Validate {
    pub(super) fn run(&self) -> Result<Verdict, CommandError> {
        self.check(node::runtime(&Directories::default(), Path::new("/")).ok().as_ref())
    }

    /// Checks the files; those that `runtime` reads also for their place among its others.
    fn check(&self, runtime: Option<&Runtime>) -> Result<Verdict, CommandError> {
        let rules = Rules::read(self.config.as_deref())?;
        let files = files::below(&self.files)?;
        let mut verdict = Verdict::new(self.strict, files.len());
        let mut pools = Vec::new();
        for file in &files {
            let report = check_file(file, &rules);
            // One that cannot be read was meant to be checked.
            verdict.checked += usize::from(report.has_subject || !report.problems.is_empty());
            verdict
                .problems
                .extend(report.problems.into_iter().map(|problem| Problem::in_file(file, problem)));
            pools.extend(report.pools.into_iter().map(|pool| (file.clone(), pool)));
        }
        for file in runtime.iter().flat_map(|_| files.iter().chain(&self.config)) {
            let faults = runtime.map(|runtime| faults_on_node(file, runtime)).unwrap_or_default();
            let first = Spot { line: 1, column: 1 };
            let problem = |it: String| Problem::in_file(file, (first, Severity::Error, it));
            verdict.problems.extend(faults.into_iter().map(problem));
        }
        verdict.problems.extend(pools::parted(&pools));
        verdict.problems.sort();
        verdict.problems.dedup();
        Ok(verdict)
    }
}

/// Why Braid cannot work in a file that the node's runtime reads, beside what the file alone says.
fn faults_on_node(file: &Path, runtime: &Runtime) -> Vec<String> {
    let Ok(file) = std::path::absolute(file) else { return Vec::new() };
    if file.parent() != Some(&runtime.conf_dir) {
        return Vec::new();
    }
    let places = Installation::in_file(&file, &["braid"]);
    let faults = places.iter().flat_map(|place| Fault::all(place, runtime, Path::new("/")));
    faults.filter(Fault::is_of_node).map(|fault| fault.to_string()).collect()
}

impl Problem {
    fn in_file(file: &Path, (spot, severity, message): (Spot, Severity, String)) -> Self {
        Self { file: file.to_owned(), line: spot.line, column: spot.column, severity, message }
    }
}

fn check_file(file: &Path, rules: &Rules) -> Report {
    let mut report = Report::default();
    match read_text(file) {
        Ok(text) => check_text(file, &text, rules, &mut report),
        Err(error) => report.error(Spot { line: 1, column: 1 }, error.to_string()),
    }
    report
}

/// Problems with their places, while one text is read.
#[derive(Default)]
struct Report {
    problems: Vec<(Spot, Severity, String)>,
    /// Whether there was something that Braid knows: a configuration, a definition, a pod or what
    /// makes pods.
    has_subject: bool,
    /// Where the definitions have their addresses from, as far as a policy is known.
    pools: Vec<pools::Pool>,
}

impl Report {
    fn error(&mut self, spot: Spot, message: String) {
        self.problems.push((spot, Severity::Error, message));
    }

    fn warning(&mut self, spot: Spot, message: String) {
        self.problems.push((spot, Severity::Warning, message));
    }

    /// Whether there are errors behind the first `before` problems.
    fn has_errors_since(&self, before: usize) -> bool {
        self.problems.iter().skip(before).any(|(_, severity, _)| *severity == Severity::Error)
    }

    /// Puts the object in front of the problems behind the first `before`: in a list that `kubectl`
    /// prints, a line's number leads to none.
    fn name_object(&mut self, before: usize, object: &Node) {
        let metadata = object.get("metadata");
        let text = |node: Option<&Node>| node.and_then(Node::text).unwrap_or("?").to_owned();
        let named = |key: &str| metadata.and_then(|metadata| metadata.get(key));
        let namespace = named("namespace").map_or_else(String::new, |node| text(Some(node)) + "/");
        let name = format!("{} {namespace}{}", text(object.get("kind")), text(named("name")));
        let name = cni::error::one_line(&name, 340);
        for (_, _, message) in self.problems.iter_mut().skip(before) {
            *message = format!("{name}: {message}");
        }
    }

    /// Problems of a text inside a text, at their places in the outer one.
    fn within(&mut self, text: &Text<'_>, outer: Spot, value: &str, inner: Self) {
        let moved = inner.problems.into_iter();
        self.problems.extend(moved.map(|(spot, severity, message)| {
            (inside(text, outer, value, spot), severity, message)
        }));
    }

    /// Keys that are given twice, of which ADD takes the last one.
    fn warn_of_repeated_keys(&mut self, document: &Node) {
        for (spot, key) in document.repeated_keys() {
            let key = cni::quoted::Quoted::text(key);
            self.warning(
                spot,
                format!("key {key} is given twice: the last one counts, remove the other"),
            );
        }
    }
}

fn check_text(file: &Path, text: &str, rules: &Rules, report: &mut Report) {
    let has_extension =
        |known: &[&str]| file.extension().is_some_and(|it| known.iter().any(|known| it == *known));
    let is_config = has_extension(&["conf", "conflist"]);
    let is_json = is_config || has_extension(&["json"]) || text.trim_start().starts_with('{');
    if is_json && !check_json(text, report) {
        return;
    }
    match documents(text) {
        Ok(documents) => {
            let text = Text::new(text);
            for document in &documents {
                if is_json {
                    report.warn_of_repeated_keys(document);
                } else {
                    refuse_repeated_keys(document, report);
                }
                if is_config || is_json && network::is_one(document) {
                    report.has_subject = true;
                    network::check(document, None, report);
                    rules.check_file(document, report);
                } else {
                    check_document(document, &text, rules, report);
                }
            }
        }
        Err((spot, message)) => {
            let is_template = text.contains("{{");
            let advice =
                if is_template { "; of a chart check what helm template prints" } else { "" };
            report.error(spot.unwrap_or(Spot { line: 1, column: 1 }), message + advice);
        }
    }
}

/// A manifest whose key is given twice is refused by the API, and passed over on a node.
fn refuse_repeated_keys(document: &Node, report: &mut Report) {
    for (spot, key) in document.repeated_keys() {
        report.error(
            spot,
            format!("key {} is given twice: keep one of them", cni::quoted::Quoted::text(key)),
        );
    }
}

fn check_json(text: &str, report: &mut Report) -> bool {
    let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) else { return true };
    let number = |number: usize| u64::try_from(number.max(1)).unwrap_or(1);
    // The decoder counts bytes, and people count characters.
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let bytes = line.as_bytes().get(..error.column()).unwrap_or(line.as_bytes());
    let column = String::from_utf8_lossy(bytes).chars().count().max(error.column().min(1));
    let spot = Spot { line: number(error.line()), column: number(column) };
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    report.error(spot, format!("not valid JSON: {message}"));
    false
}

/// The problems of one object, each with its place, in the order of the object.
pub(super) fn check_object(object: &Node, rules: &Rules) -> Vec<(Spot, Severity, String)> {
    let mut report = Report::default();
    check_document(object, &Text::new(""), rules, &mut report);
    report.problems.sort();
    report.problems.dedup();
    report.problems
}

fn check_document(document: &Node, text: &Text<'_>, rules: &Rules, report: &mut Report) {
    report.has_subject |= is_subject(document);
    let Ok(kind) = text_at(document.get("kind"), "kind", report) else { return };
    match kind {
        None => manifest::check_kind(document, report),
        Some("List" | "NetworkAttachmentDefinitionList" | "PodList") => {
            let items = document.get("items").map(Node::elements).unwrap_or_default();
            for item in items {
                let before = report.problems.len();
                check_document(item, text, rules, report);
                report.name_object(before, item);
            }
        }
        Some("NetworkAttachmentDefinition") => definition::check(document, text, rules, report),
        Some(_) => {
            manifest::check_kind(document, report);
            pod::check(document, text, rules, report);
        }
    }
}

fn is_subject(document: &Node) -> bool {
    match document.get("kind").and_then(Node::text) {
        None => false,
        Some("NetworkAttachmentDefinition" | "Pod") => true,
        Some(_) => !pod::templates(document).is_empty(),
    }
}

/// The text that a field is, `None` if it is missing, and an error in the report if it is anything
/// else.
fn text_at<'n>(
    node: Option<&'n Node>,
    path: &str,
    report: &mut Report,
) -> Result<Option<&'n str>, ()> {
    let Some(node) = node else { return Ok(None) };
    match WrongField::in_place_of_text(path, &node.to_value()) {
        None => Ok(node.text()),
        Some(wrong) => {
            report.error(node.spot, wrong.to_string());
            Err(())
        }
    }
}

fn namespace(metadata: Option<&Node>, report: &mut Report) -> Option<Namespace> {
    let node = metadata.and_then(|metadata| metadata.get("namespace"));
    match text_at(node, "metadata.namespace", report).ok()?.zip(node) {
        None => "default".parse().ok(),
        Some((name, node)) => name
            .parse()
            .map_err(|error: crate::pod::name::InvalidNamespace| {
                report.error(node.spot, error.to_string())
            })
            .ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The messages about `file` in a runtime's directory with `files`.
    fn said(files: &[(&str, Value)], file: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, document) in files {
            std::fs::write(directory.path().join(name), document.to_string()).unwrap();
        }
        let runtime = Runtime { conf_dir: directory.path().to_owned(), ..Runtime::unknown(None) };
        let validate =
            Validate { files: vec![directory.path().join(file)], config: None, strict: false };
        let problems = validate.check(Some(&runtime)).unwrap().problems.into_iter();
        let plain = |text: String| text.replace(&format!("{}/", directory.path().display()), "");
        problems.map(|problem| plain(problem.message)).collect()
    }

    #[test]
    fn a_file_that_the_runtime_reads_is_checked_in_its_place() {
        let braid = |more: Value| {
            let mut entry = json!({"type": "braid", "primaryConfDir": "/nowhere"});
            entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            (
                "10-braid.conflist",
                json!({"cniVersion": "1.0.0", "name": "node", "plugins": [entry]}),
            )
        };
        let primary = json!({"cniVersion": "1.0.0", "name": "primary", "type": "ptp"});
        let inline = braid(json!({"delegates": [primary]}));
        assert_eq!(
            said(&[inline.clone(), ("20-a.conf", primary.clone())], inline.0),
            Vec::<String>::new()
        );
        let not_first = "the runtime reads 05-a.conf first, and not 10-braid.conflist, so that \
                         pods get nothing from braid: rename one of the two, so that braid's sorts \
                         first";
        assert_eq!(said(&[inline.clone(), ("05-a.conf", primary)], inline.0), [not_first]);
        let auto = braid(json!({"clusterNetwork": "auto"}));
        let none = said(std::slice::from_ref(&auto), auto.0);
        let expected = "no primary network in /nowhere yet: no configuration there without braid \
                        or multus in it: until then no pod starts";
        assert_eq!(none, [expected]);
    }
}
