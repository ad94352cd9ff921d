//! What the server says in a response that is an error.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Bytes;
use kube::core::Status;

use cni::error::one_line;

/// How many characters of the server's own message are shown.
const SHOWN_CHARS: usize = 300;

/// The parts of an error's response that decide what follows, or that a message shows.
#[derive(Debug, Default)]
pub(super) struct ServerMessage {
    /// In one line, shortened.
    pub(super) message: String,
    reason: String,
    fields: Vec<String>,
    /// Whether `details` name the object that the error is about.
    pub(super) names_an_object: bool,
    /// Retry-After, or `retryAfterSeconds` of the body.
    pub(super) retry_after: Option<Duration>,
}

impl ServerMessage {
    /// Reads a `Status` of the API, or the text of a proxy in front of it.
    pub(super) fn read(response: &Response<Bytes>) -> Self {
        let header = retry_after(response.headers());
        let Ok(status) = serde_json::from_slice::<Status>(response.body()) else {
            let text = String::from_utf8_lossy(response.body());
            return Self {
                message: one_line(&text, SHOWN_CHARS),
                retry_after: header,
                ..Self::default()
            };
        };
        let details = status.details.as_ref();
        let in_body =
            details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        Self {
            message: one_line(&status.message, SHOWN_CHARS),
            reason: status.reason,
            fields: details
                .map(|details| details.causes.iter().map(|cause| cause.field.clone()).collect())
                .unwrap_or_default(),
            names_an_object: details.is_some_and(|details| !details.name.is_empty()),
            retry_after: header.or(in_body.map(|seconds| Duration::from_secs(seconds.into()))),
        }
    }

    /// The status code and the message.
    pub(super) fn with_status(&self, status: StatusCode) -> String {
        let message = if self.message.is_empty() {
            status.canonical_reason().unwrap_or("no reason given")
        } else {
            &self.message
        };
        format!("{}: {message}", status.as_u16())
    }

    /// Whether the object changed between the server's read and its write; the same request may
    /// succeed.
    pub(super) fn is_race(&self) -> bool {
        self.reason == "Conflict" && self.message.contains("the object has been modified")
    }

    /// Admission plugins refuse everything until their caches are filled.
    pub(super) fn is_starting(&self) -> bool {
        self.message.contains("not yet ready to handle request")
    }

    /// Whether the server, or etcd behind it, takes no object of this size.
    pub(super) fn is_too_large(&self, status: StatusCode) -> bool {
        let says = |words: &[&str]| words.iter().any(|words| self.message.contains(words));
        status == StatusCode::PAYLOAD_TOO_LARGE
            || (status.is_server_error()
                && says(&["request is too large", "message larger than max"]))
    }

    /// Whether a 404 is about the path: the server knows no such kind.
    pub(super) fn is_no_path(&self) -> bool {
        self.message.contains("page not found")
            || self.message.contains("could not find the requested resource")
    }

    /// Whether the error is about `field` of the object.
    pub(super) fn is_about(&self, field: &str) -> bool {
        self.fields.iter().any(|name| name == field) || self.message.contains(field)
    }

    /// The user, if the message says that the right to `verb` is missing (Kubernetes' RBAC
    /// authorizer).
    pub(super) fn user_without_right(&self, verb: &str) -> Option<String> {
        let (user, rest) = self.message.split_once("User \"")?.1.split_once('"')?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@/".contains(c);
        let usable =
            rest.starts_with(&format!(" cannot {verb} resource")) && user.chars().all(is_plain);
        usable.then(|| user.to_owned())
    }
}

/// Seconds; the other form, a date, is not one that an API server uses.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    // No clock reaches what a server could name; a time that is added to one must not overflow.
    Some(Duration::from_secs(seconds.min(u32::MAX.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_without_right_accepts_only_names_that_are_safe_in_a_command() {
        let said = |message: &str| ServerMessage {
            message: message.to_owned(),
            ..ServerMessage::default()
        };
        let message =
            "pods \"x\" is forbidden: User \"a:b\" cannot get resource \"pods\" in API group";
        assert_eq!(said(message).user_without_right("get").as_deref(), Some("a:b"));
        assert_eq!(said(message).user_without_right("list"), None);
        let hostile = "User \"x; rm -rf /\" cannot get resource";
        assert_eq!(said(hostile).user_without_right("get"), None);
        assert_eq!(said("admission webhook denied the request").user_without_right("get"), None);
    }

    #[test]
    fn a_time_that_no_clock_reaches_is_bounded() {
        let said = |seconds: &str| {
            let response = Response::builder().header(RETRY_AFTER, seconds);
            ServerMessage::read(&response.body(Bytes::new()).unwrap()).retry_after
        };
        assert_eq!(said("3"), Some(Duration::from_secs(3)));
        let longest = said(&u64::MAX.to_string()).unwrap();
        assert!(std::time::Instant::now().checked_add(longest).is_some(), "{longest:?}");
        assert_eq!(said("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn a_response_that_is_no_status_is_shown_as_text() {
        let shown = |body: &'static str| {
            let response = Response::new(Bytes::from_static(body.as_bytes()));
            ServerMessage::read(&response).with_status(StatusCode::BAD_GATEWAY)
        };
        assert_eq!(shown("<html>\nbad</html>"), "502: <html> bad</html>");
        assert_eq!(shown(""), "502: Bad Gateway");
        assert_eq!(shown(r#"{"kind": "Status", "message": "no endpoints"}"#), "502: no endpoints");
        assert_eq!(shown("[1]"), "502: [1]");
    }
}
