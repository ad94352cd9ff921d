//! The audit log: one line of JSON for every decision about what a pod asks for, allowed or not.
//!
//! It goes where `auditLog` says, through the log's own file, and never holds a pod up: lines of a file that
//! cannot be opened are lost, and a warning says so.

use log::{Level, Record};
use serde::Serialize;

use crate::observe::logging::AUDIT_TARGET;
use cni::error::one_line;

/// What was decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
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
pub struct Decision<'a> {
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
    /// The pod's UID, where the runtime says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<&'a str>,
    /// The annotation that asks.
    pub annotation: &'a str,
    /// The network as the pod named it, where it got so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Where its definition comes from, where the pod may know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// The name that the network's plugins get instead of the definition's own, or would get in audit mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoped_name: Option<String>,
    /// Why, in the words that the pod's owner reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl<'a> Decision<'a> {
    /// A refusal for which nothing is said yet.
    pub fn refused(pod: String, uid: Option<&'a str>, annotation: &'a str, network: Option<String>) -> Self {
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

/// A decision with its time.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    decision: &'a Decision<'a>,
}

/// Appends a decision to the audit log, where there is one.
pub fn record(decision: &Decision<'_>) {
    let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let reason = decision.reason.as_deref().map(|reason| one_line(reason, 1000));
    let decision = Decision { reason, ..decision.clone() };
    if let Ok(line) = serde_json::to_string(&Line { time, decision: &decision }) {
        let arguments = format_args!("{line}");
        // Past the log's level, which is about something else.
        log::logger().log(&Record::builder().target(AUDIT_TARGET).level(Level::Info).args(arguments).build());
    }
}
