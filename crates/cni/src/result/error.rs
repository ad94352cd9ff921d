//! What is wrong with a result, and the foreign text that is quoted then.

use serde_json::Value;

use crate::error::{Code, Error};
use crate::version::UnknownVersion;

/// The most characters of foreign text that an error quotes.
const MOST_QUOTED: usize = 64;

/// What is wrong with a result. Paths are written as in `ips[2].interface`; values are bounded and
/// escaped.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResultError {
    /// A value of the wrong JSON type.
    #[error("{path} must be {expected}, not {found}")]
    Type {
        /// Where it is.
        path: String,
        /// The type that the specification asks for.
        expected: &'static str,
        /// The value, or what kind of value it is.
        found: String,
    },
    /// A key that the specification requires.
    #[error("{path} is missing: set it to {expected}")]
    Missing {
        /// Where it would be.
        path: String,
        /// What the specification asks for.
        expected: &'static str,
    },
    /// A text or number that does not mean what its key means.
    #[error("{path} is {found}: it must be {expected}")]
    Content {
        /// Where it is.
        path: String,
        /// What the specification asks for.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// An index past the end of `interfaces`.
    #[error(
        "{path} is {index}, but the result lists {interfaces} interfaces: count from 0, or leave \
         it out"
    )]
    Index {
        /// Where it is.
        path: String,
        /// The index.
        index: usize,
        /// How many interfaces there are.
        interfaces: usize,
    },
    /// An address of an extra network on an interface that bears another attachment's name: on the
    /// primary's, runtimes would take it for the pod's own.
    #[error("{path} puts {address} on \"{interface}\", {owner}")]
    NotItsInterface {
        /// Where it is.
        path: String,
        /// The address.
        address: String,
        /// The interface's name.
        interface: String,
        /// Whose interface that is, in words.
        owner: String,
    },
    /// A list that is longer than Braid takes.
    #[error("{path} has {count} entries: at most {most} are allowed")]
    TooMany {
        /// The list.
        path: String,
        /// How many entries it has.
        count: usize,
        /// How many it may have.
        most: usize,
    },
    /// A `cniVersion` that no specification has.
    #[error("cniVersion: {0}")]
    Version(#[source] UnknownVersion),
}

impl From<ResultError> for Error {
    fn from(error: ResultError) -> Self {
        Self::new(Code::DECODE, error)
    }
}

pub(super) fn wrong_type(path: String, expected: &'static str, value: &Value) -> ResultError {
    ResultError::Type { path, expected, found: describe(value) }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => excerpt(&number.to_string()),
        Value::String(text) => quoted(text),
        Value::Array(entries) => format!("an array of {}", entries.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// The start of a foreign text, control characters escaped.
pub(super) fn excerpt(text: &str) -> String {
    let start: String = text.chars().take(MOST_QUOTED).flat_map(char::escape_debug).collect();
    let more = text.chars().nth(MOST_QUOTED).is_some();
    if more { start + "..." } else { start }
}
