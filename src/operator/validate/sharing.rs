//! What the owner of a definition says to pods with the annotations `braid.io/...`. A slip of the
//! pen there fails nothing and allows nothing, so it is a warning here.

use ipnetwork::IpNetwork;

use super::{Node, Report, Tree, text_at};
use crate::definition::Annotations;
use crate::definition::field::annotation;
use crate::pod::name::Namespace;
use crate::policy::{
    ACCOUNTS_ANNOTATION, IPS_ANNOTATION, MACS_ANNOTATION, NAMESPACES_ANNOTATION,
    REQUESTS_ANNOTATION, Request,
};

const PREFIX: &str = "braid.io/";
const KNOWN: [&str; 5] = [
    NAMESPACES_ANNOTATION,
    ACCOUNTS_ANNOTATION,
    REQUESTS_ANNOTATION,
    IPS_ANNOTATION,
    MACS_ANNOTATION,
];

/// The annotations of a definition.
pub(super) fn check(metadata: Option<&Node>, report: &mut Report) {
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    let Some(Tree::Map(entries)) = annotations.map(|annotations| &annotations.tree) else { return };
    for (key, spot, value) in entries.iter().filter(|(key, _, _)| key.starts_with(PREFIX)) {
        if !KNOWN.contains(&key.as_str()) {
            let hint = crate::spelling::nearest(key, KNOWN)
                .map(|near| format!(": did you mean \"{near}\"?"));
            let message = format!("annotation \"{key}\" means nothing{}", hint.unwrap_or_default());
            report.warning(*spot, message);
            continue;
        }
        let text = text_at(Some(value), &annotation(key), report).ok().flatten();
        let words = text.unwrap_or_default().split([',', ' ', '\n', '\t']);
        for word in words.filter(|word| !word.is_empty()) {
            if let Some(problem) = problem_with(key, word) {
                report.warning(value.spot, format!("annotation {key}: \"{word}\" {problem}"));
            }
        }
    }
}

/// All annotations of a definition that are texts.
pub(super) fn all(metadata: Option<&Node>) -> Annotations {
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    let Some(Tree::Map(entries)) = annotations.map(|annotations| &annotations.tree) else {
        return Annotations::new();
    };
    entries
        .iter()
        .filter_map(|(key, _, value)| Some((key.clone(), value.text()?.to_owned())))
        .collect()
}

/// Why a word of a known annotation allows nothing.
fn problem_with(key: &str, word: &str) -> Option<String> {
    match key {
        NAMESPACES_ANNOTATION if word != "*" && !is_namespace(word) => {
            Some("is neither a namespace nor *, so that it shares with no namespace".to_owned())
        }
        ACCOUNTS_ANNOTATION if !is_account(word) => {
            Some("must be namespace/name, namespace/*, or a name in this namespace".to_owned())
        }
        REQUESTS_ANNOTATION => {
            let unknown = word.parse::<Request>().is_err();
            unknown.then(|| unknown_request(word))
        }
        IPS_ANNOTATION if word.parse::<IpNetwork>().is_err() => {
            Some("is neither an address nor a network, so that no address is in it".to_owned())
        }
        MACS_ANNOTATION if !is_mac_prefix(word) => {
            Some("must be the beginning of a MAC address, such as 02:00:5e".to_owned())
        }
        _ => None,
    }
}

fn unknown_request(word: &str) -> String {
    let all = Request::ALL.map(Request::as_str);
    match crate::spelling::nearest(word, all) {
        Some(near) => format!("is nothing that a pod can ask for: did you mean \"{near}\"?"),
        None => format!("is nothing that a pod can ask for: use {}", all.join(", ")),
    }
}

fn is_namespace(word: &str) -> bool {
    word.parse::<Namespace>().is_ok()
}

fn is_account(word: &str) -> bool {
    let (namespace, name) = word.split_once('/').unwrap_or(("default", word));
    let is_any = name == "*" && word.contains('/');
    is_namespace(namespace) && (is_any || name.parse::<crate::pod::name::DefinitionName>().is_ok())
}

fn is_mac_prefix(word: &str) -> bool {
    let bytes: Vec<&str> = word.trim_end_matches([':', '-']).split([':', '-']).collect();
    let is_byte =
        |byte: &&str| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    bytes.len() <= 6 && bytes.iter().all(is_byte)
}
