//! What a manifest is: a kind that was probably meant to be a definition, and keys that the API
//! drops.

use super::{Node, Report, Tree};
use crate::spelling::nearest;
use cni::quoted::Quoted;

const KIND: &str = "NetworkAttachmentDefinition";
const GROUP: &str = "k8s.cni.cncf.io";
const VERSION: &str = "k8s.cni.cncf.io/v1";
/// Kinds of others in the same group.
const OF_OTHERS: [&str; 4] =
    ["IPAMClaim", "IPAMClaimList", "MultiNetworkPolicy", "MultiNetworkPolicyList"];
/// Keys of a definition (NPWG 1.3, section 3.2), and what an API server adds.
const KEYS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Warns of a kind that was probably meant to be a definition.
pub(super) fn check_kind(document: &Node, report: &mut Report) {
    let version = document.get_exact("apiVersion").and_then(|(_, version)| version.text());
    let is_of_group = version.is_some_and(|version| version.split('/').next() == Some(GROUP));
    let Some((_, kind)) = document.get("kind").zip(document.get("kind").and_then(Node::text))
    else {
        if is_of_group {
            report.warning(
                document.spot,
                format!("\"kind\" is missing: a definition has \"kind\": \"{KIND}\""),
            );
        }
        return;
    };
    let spot = document.get("kind").map_or(document.spot, |kind| kind.spot);
    let is_near = nearest(kind, [KIND]).is_some()
        || kind.eq_ignore_ascii_case("network-attachment-definition");
    if !OF_OTHERS.contains(&kind) && (is_of_group || is_near) {
        let kind = Quoted::text(kind);
        report.warning(spot, format!("kind {kind} defines no network: did you mean \"{KIND}\"?"));
    }
}

/// Warns of keys of a definition that mean nothing, and of a version that no cluster has.
pub(super) fn check_definition(document: &Node, report: &mut Report) {
    if let Some((_, version)) = document.get_exact("apiVersion")
        && let Some(text) = version.text().filter(|text| *text != VERSION)
    {
        let text = Quoted::text(text);
        report.warning(
            version.spot,
            format!("\"apiVersion\" is {text}: a definition has \"{VERSION}\""),
        );
    }
    check_keys(document, &KEYS, "beside \"spec\"", report);
    if let Some((_, spec)) = document.get_exact("spec") {
        check_keys(spec, &["config"], "in \"spec\"", report);
    }
}

fn check_keys(node: &Node, known: &[&str], place: &str, report: &mut Report) {
    let Tree::Map(entries) = &node.tree else { return };
    for (key, spot, _) in entries.iter().filter(|(key, _, _)| !known.contains(&key.as_str())) {
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!(": did you mean \"{near}\"?"),
            None if key == "config" => ": put it into \"spec\"".to_owned(),
            None => String::new(),
        };
        report.warning(*spot, format!("key {} {place} means nothing{hint}", Quoted::text(key)));
    }
}
