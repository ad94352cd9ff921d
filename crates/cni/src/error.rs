//! The error that a plugin prints (CNI 1.1.0, section 5, "Error"): a code, a sentence, details.
//!
//! Modules keep errors of their own as data; this is what they become at the edge, for the person
//! who reads it in `kubectl describe pod`.

use std::fmt;

use serde_json::{Value, json};

use crate::version::Version;

/// Error codes of the specification (CNI 1.1.0, section 5), and Braid's own from 100 on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code(pub u64);

impl Code {
    /// 1: the CNI version is not known.
    pub const VERSION: Self = Self(1);
    /// 2: a key of the configuration is not supported.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// 3: the container is unknown; the runtime need not clean up.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// 4: an environment variable is missing or malformed.
    pub const ENVIRONMENT: Self = Self(4);
    /// 5: reading or writing failed.
    pub const IO: Self = Self(5);
    /// 6: content could not be decoded.
    pub const DECODE: Self = Self(6);
    /// 7: the network configuration, or what a pod asked for, is not valid.
    pub const CONFIG: Self = Self(7);
    /// 11: a transient condition, try again.
    pub const TRY_AGAIN: Self = Self(11);
    /// 50: the plugin cannot serve ADD.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// 100: a delegate failed without a code of its own.
    pub const DELEGATE: Self = Self(100);
    /// 101: CHECK found the kernel to differ from the record.
    pub const DRIFT: Self = Self(101);
    /// 102: something could not be torn down.
    pub const TEARDOWN: Self = Self(102);
    /// 103: what was asked for is not what was attached.
    pub const NOT_AS_ASKED: Self = Self(103);
    /// 104: a default route could not be moved.
    pub const ROUTE: Self = Self(104);
}

/// A protocol error. `msg` is one line that says what to do; `details` may be empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    /// The error code.
    pub code: Code,
    /// One sentence: pod, network, interface, plugin, reason, remedy.
    pub msg: String,
    /// What else is worth knowing, such as a delegate's own details.
    pub details: String,
}

impl Error {
    /// An error without details.
    pub fn new(code: Code, msg: impl fmt::Display) -> Self {
        Self { code, msg: one_line(&msg.to_string(), MESSAGE_CHARS), details: String::new() }
    }

    /// The same error with details.
    #[must_use]
    pub fn with_details(mut self, details: impl fmt::Display) -> Self {
        self.details = one_line(&details.to_string(), DETAIL_CHARS);
        self
    }

    /// The same error with `context` (pod, network) in front of the sentence.
    #[must_use]
    pub fn about(mut self, context: impl fmt::Display) -> Self {
        self.msg = one_line(&format!("{context}: {}", self.msg), MESSAGE_CHARS);
        self
    }

    /// The error as DEL may report it. containerd takes an error that contains "not found", or
    /// "no such file or directory", for success and forgets the sandbox.
    #[must_use]
    pub fn for_del(mut self) -> Self {
        self.msg = without_success_words(&self.msg);
        self.details = without_success_words(&self.details);
        self
    }

    /// What goes to stdout.
    pub fn to_value(&self, version: Version) -> Value {
        let mut value =
            json!({ "cniVersion": version.as_str(), "code": self.code.0, "msg": self.msg });
        if let (Some(object), false) = (value.as_object_mut(), self.details.is_empty()) {
            object.insert("details".to_owned(), Value::from(self.details.clone()));
        }
        value
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, "; {}", self.details) }
    }
}

impl std::error::Error for Error {}

/// Long enough for every name and a reason, short enough for an event.
const MESSAGE_CHARS: usize = 1000;
const DETAIL_CHARS: usize = 4000;

/// `text` on one line, without control characters, at most `limit` characters long.
pub fn one_line(text: &str, limit: usize) -> String {
    let mut line: String = text
        .split(|c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if line.chars().count() > limit {
        line = line.chars().take(limit.saturating_sub(1)).chain(['…']).collect();
    }
    line
}

fn without_success_words(text: &str) -> String {
    [("no such file or directory", "nothing at that path"), ("not found", "absent")]
        .into_iter()
        .fold(text.to_owned(), |text, (words, instead)| replace_folded(&text, words, instead))
}

/// Replaces `words` (ASCII) in any case.
fn replace_folded(text: &str, words: &str, instead: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some(at) = rest.to_ascii_lowercase().find(words) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        out.push_str(instead);
        rest = from.split_at(words.len()).1;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_left_out_when_empty() {
        let value = Error::new(Code::CONFIG, "a reason").to_value(Version::V0_4_0);
        assert_eq!(value, json!({"cniVersion": "0.4.0", "code": 7, "msg": "a reason"}));
    }

    #[test]
    fn a_message_is_one_bounded_line() {
        assert_eq!(Error::new(Code::IO, "a\nb\u{1b}[31mc\r\n\0").msg, "a b [31mc");
        assert_eq!(Error::new(Code::IO, "é".repeat(5000)).msg.chars().count(), MESSAGE_CHARS);
    }

    #[test]
    fn del_never_says_what_containerd_takes_for_success() {
        let error = Error::new(Code::DELEGATE, "link Not Found")
            .with_details("open /x: No such file or directory; plugin not found")
            .for_del();
        assert_eq!(error.msg, "link absent");
        assert_eq!(error.details, "open /x: nothing at that path; plugin absent");
    }
}
