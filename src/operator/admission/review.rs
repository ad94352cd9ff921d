//! One review: what the API server asks (`admission.k8s.io/v1`, AdmissionReview), held against the
//! rules, and the answer. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use kube::core::{DynamicObject, NamespaceResourceScope, ObjectMeta, TypeMeta};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::object;
use crate::operator::source::{Node, Spot};
use crate::operator::validate::{self, Rules, Severity};
use cni::error::one_line;

/// The version of reviews that is spoken.
const VERSION: &str = "admission.k8s.io/v1";
/// The status of a refusal, as an API server gives it for an object that is not valid.
const INVALID: u16 = 422;
/// How long a refusal is, and the warnings altogether: an API server shortens more.
const MAX_REFUSAL: usize = 3_000;
const MAX_WARNINGS: usize = 4_000;
/// The most sentences of each.
const MAX_SENTENCES: usize = 16;

/// Why a text is no review.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    /// It is not JSON, or another object.
    #[error("not an AdmissionReview: {0}")]
    Form(#[from] serde_json::Error),
    /// It has another version.
    #[error("the AdmissionReview is of version {0}: configure the webhook with {VERSION}")]
    Version(String),
}

/// The envelope. kube's own type reads it through a buffer of all values, which a large object
/// would make larger than the server's memory.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "apiVersion", default)]
    version: Cow<'a, str>,
    #[serde(borrow)]
    request: &'a RawValue,
}

/// An object as it was sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Box<RawValue>")]
struct Sent {
    text: Box<RawValue>,
    /// For kube, which wants every object to have some.
    metadata: ObjectMeta,
}

impl From<Box<RawValue>> for Sent {
    fn from(text: Box<RawValue>) -> Self {
        Self { text, metadata: ObjectMeta::default() }
    }
}

impl kube::Resource for Sent {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

type Request = AdmissionRequest<Sent>;

/// What is said of an object.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Answers a review.
///
/// # Errors
/// [`ReviewError`] for a text that is none.
pub(super) fn answer(
    body: &[u8],
    rules: &Rules,
) -> Result<AdmissionReview<DynamicObject>, ReviewError> {
    let envelope: Envelope<'_> = serde_json::from_slice(body)?;
    if envelope.version != VERSION {
        return Err(ReviewError::Version(one_line(&envelope.version, 100)));
    }
    let mut request: Request = serde_json::from_str(envelope.request.get())?;
    request.types =
        TypeMeta { api_version: VERSION.to_owned(), kind: "AdmissionReview".to_owned() };
    let findings = review(&request, rules);
    let mut response = AdmissionResponse::from(&request);
    if !findings.errors.is_empty() {
        response = response.deny(joined(&findings.errors));
        response.result.code = INVALID;
        "Invalid".clone_into(&mut response.result.reason);
    }
    let warnings = bounded(findings.warnings, MAX_WARNINGS);
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    Ok(response.into_review())
}

/// Of a change, only what it brings with it is refused: an object that was stored before must stay
/// changeable, so that a controller can take its finalizer off.
fn review(request: &Request, rules: &Rules) -> Findings {
    let is_judged = matches!(request.operation, Operation::Create | Operation::Update);
    let Some(new) = request.object.as_ref().filter(|_| is_judged) else {
        return Findings::default();
    };
    let mut findings = findings(new, request, rules);
    let old = request.old_object.as_ref().filter(|_| !findings.errors.is_empty());
    if let Some(old) = old {
        let before: BTreeSet<String> =
            self::findings(old, request, rules).errors.into_iter().collect();
        let (old, new) = findings.errors.into_iter().partition(|error| before.contains(error));
        findings.errors = new;
        findings.warnings.splice(0..0, old);
    }
    findings
}

fn findings(sent: &Sent, request: &Request, rules: &Rules) -> Findings {
    let mut object = match object::read(sent.text.get()) {
        Ok(object) => object,
        Err(error) => {
            let warning = format!("braid has not checked the object: {error}");
            return Findings { warnings: vec![one_line(&warning, 200)], ..Findings::default() };
        }
    };
    if is_leaving(&object) {
        return Findings::default();
    }
    complete(&mut object, request);
    let mut findings = Findings::default();
    for (spot, severity, message) in validate::check_object(&object, rules) {
        let sentence = with_path(&object, spot, &message);
        match severity {
            Severity::Error => findings.errors.push(sentence),
            Severity::Warning => findings.warnings.push(sentence),
        }
    }
    findings
}

/// Whether the object is being deleted: nothing must hold that up.
fn is_leaving(object: &Node) -> bool {
    let metadata = object.get_exact("metadata").map(|(_, metadata)| metadata);
    metadata
        .and_then(|metadata| metadata.get_exact("deletionTimestamp"))
        .is_some_and(|(_, time)| time.text().is_some())
}

/// What the request says of the object and the object need not: its kind, its namespace, and a name
/// that the server is about to make.
fn complete(object: &mut Node, request: &Request) {
    object::supply(object, "kind", &request.kind.kind);
    let Some(metadata) = object::entry(object, "metadata") else { return };
    if let Some(namespace) = &request.namespace {
        object::supply(metadata, "namespace", namespace);
    }
    let prefix = metadata.get_exact("generateName").and_then(|(_, prefix)| prefix.text());
    let name = prefix.map_or_else(|| request.name.clone(), |prefix| format!("{prefix}x"));
    object::supply(metadata, "name", &name);
}

fn with_path(object: &Node, spot: Spot, message: &str) -> String {
    let path = object::path(object, spot);
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

/// The sentences as one.
fn joined(sentences: &[String]) -> String {
    bounded(sentences.to_vec(), MAX_REFUSAL).join("; ")
}

/// As many of the sentences as there is room for, and how many more there are.
fn bounded(mut sentences: Vec<String>, bytes: usize) -> Vec<String> {
    let mut room = bytes;
    let fitting = sentences
        .iter()
        .take(MAX_SENTENCES)
        .take_while(|sentence| {
            let fits = sentence.len() <= room;
            room = room.saturating_sub(sentence.len());
            fits
        })
        .count();
    let fitting = fitting.max(1);
    if sentences.len() > fitting {
        let more = sentences.len() - fitting;
        sentences.truncate(fitting);
        sentences.push(format!("and {more} more: braid validate shows all"));
    }
    sentences.iter_mut().for_each(|sentence| *sentence = one_line(sentence, bytes));
    sentences
}

#[cfg(test)]
mod tests;
