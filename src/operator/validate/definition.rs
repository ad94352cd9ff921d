//! A NetworkAttachmentDefinition: its name, what its owner says to pods, its configuration, and
//! what a node's policy would say of it.

use super::rules::{Rules, Subject};
use super::{Node, Report, Spot, Text, check_json, manifest, namespace, network, sharing, text_at};
use crate::operator::source::documents;
use crate::pod::name::DefinitionName;

/// A definition, which `text` has.
pub(super) fn check(document: &Node, text: &Text<'_>, rules: &Rules, report: &mut Report) {
    let before = report.problems.len();
    let metadata = document.get("metadata");
    let name = name(document, report);
    let namespace = namespace(metadata, report);
    sharing::check(metadata, report);
    manifest::check_definition(document, report);
    let config = document.get("spec").and_then(|spec| spec.get("config"));
    match config.map(|config| (config.spot, config.text())) {
        None => {}
        Some((spot, None)) => {
            report.error(spot, "spec.config must be a text that holds JSON".to_owned())
        }
        Some((spot, Some(inner))) => {
            check_config(inner, spot, name.as_ref().map(DefinitionName::as_str), text, report);
        }
    }
    if let (Some(name), Some(namespace), false) = (name, namespace, report.has_errors_since(before))
    {
        let config_text = config.and_then(Node::text);
        let subject =
            Subject { namespace, name, annotations: sharing::all(metadata), config: config_text };
        rules.judge(&subject, config.map_or(document.spot, |config| config.spot), report);
    }
}

fn name(document: &Node, report: &mut Report) -> Option<DefinitionName> {
    let node = document.get("metadata").and_then(|metadata| metadata.get("name"));
    let Some((name, node)) = text_at(node, "metadata.name", report).ok()?.zip(node) else {
        report.error(document.spot, "metadata.name is missing".to_owned());
        return None;
    };
    name.parse()
        .map_err(|error: crate::pod::name::InvalidDefinitionName| {
            report.error(node.spot, error.to_string())
        })
        .ok()
}

fn check_config(
    inner: &str,
    outer: Spot,
    name: Option<&str>,
    text: &Text<'_>,
    report: &mut Report,
) {
    let mut found = Report::default();
    if check_json(inner, &mut found) {
        match documents(inner) {
            Ok(documents) => {
                for document in &documents {
                    found.warn_of_repeated_keys(document);
                    network::check(document, name.or(Some("x")), &mut found);
                }
            }
            Err((spot, message)) => {
                found.error(spot.unwrap_or(Spot { line: 1, column: 1 }), message)
            }
        }
    }
    report.within(text, outer, inner, found);
}
