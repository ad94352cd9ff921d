//! The audit log: one line of JSON for every decision about what a pod asks for, allowed or not.
//!
//! It goes where `auditLog` says, through the log's own file, and never holds a pod up: lines of a
//! file that cannot be opened are lost, and a warning says so.

use log::{Level, Record};
use serde::Serialize;

use crate::observe::logging::AUDIT_TARGET;
use cni::error::one_line;

/// Most characters of one text in a line.
const MAX_TEXT_CHARS: usize = 1000;

/// What was decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The pod may have it.
    Allowed,
    /// The pod may have it, and would not if the policy were enforced.
    Audited,
    /// The pod does not get it.
    Refused,
}

/// One decision.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decision<'a> {
    /// What was decided.
    pub decision: Outcome,
    /// The rules that are broken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<&'static str>,
    /// The rules that let the pod have it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<String>,
    /// `namespace/name` of the pod.
    pub pod: String,
    /// The pod's UID, if the runtime says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<&'a str>,
    /// The annotation that asks.
    pub annotation: &'a str,
    /// The network as the pod named it, if it got so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Where its definition comes from, if the pod may know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The name that the network's plugins get instead of the definition's own, or would get in
    /// audit mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoped_name: Option<String>,
    /// Why, in the words that the pod's owner reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl<'a> Decision<'a> {
    /// A refusal for which nothing is said yet.
    pub(crate) fn refused(
        pod: String,
        uid: Option<&'a str>,
        annotation: &'a str,
        network: Option<String>,
    ) -> Self {
        Self {
            decision: Outcome::Refused,
            rules: Vec::new(),
            allowed_by: None,
            pod,
            uid,
            annotation,
            network,
            definition: None,
            scoped_name: None,
            reason: None,
        }
    }
}

impl Decision<'_> {
    /// The same, no text of it longer than a line has room for: a network's name is what the pod
    /// wrote, and the UID what the runtime says.
    fn shortened(&self) -> Decision<'_> {
        let text =
            |text: &Option<String>| text.as_deref().map(|text| one_line(text, MAX_TEXT_CHARS));
        Decision {
            rules: self.rules.clone(),
            allowed_by: text(&self.allowed_by),
            pod: one_line(&self.pod, MAX_TEXT_CHARS),
            uid: self
                .uid
                .map(|uid| uid.get(..uid.floor_char_boundary(MAX_TEXT_CHARS)).unwrap_or(uid)),
            network: text(&self.network),
            definition: text(&self.definition),
            scoped_name: text(&self.scoped_name),
            reason: text(&self.reason),
            ..*self
        }
    }
}

/// A decision with its time.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    decision: &'a Decision<'a>,
}

/// Appends a decision to the audit log, if there is one.
pub(crate) fn record(decision: &Decision<'_>) {
    let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    if let Ok(line) = serde_json::to_string(&Line { time, decision: &decision.shortened() }) {
        let arguments = format_args!("{line}");
        // Past the log's level, which is about something else.
        log::logger().log(
            &Record::builder().target(AUDIT_TARGET).level(Level::Info).args(arguments).build(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_line_is_longer_than_a_thousand_characters() {
        let (long, short) = ("x\n".repeat(100_000), "x".to_owned());
        let all = |text: &String| Decision {
            allowed_by: Some(text.clone()),
            definition: Some(text.clone()),
            scoped_name: Some(text.clone()),
            reason: Some(text.clone()),
            ..Decision::refused(
                text.clone(),
                None,
                "k8s.v1.cni.cncf.io/networks",
                Some(text.clone()),
            )
        };
        let decision = Decision { uid: Some(&long), ..all(&long) };
        let line = serde_json::to_string(&decision.shortened()).unwrap();
        assert!((6000..16_000).contains(&line.len()), "{}", line.len());
        assert_eq!(all(&short).shortened(), all(&short));
    }
}
