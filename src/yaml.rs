//! YAML texts as JSON values, and what is wrong with one in words for people: the library's own
//! words name options of its interface.
//!
//! Only values are read with the library, and types from values: each type would be as large again
//! in the executable.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::{Error, Location, MessageFormatter, Options, UserMessageFormatter};

use cni::quoted::Quoted;

/// The documents of a text.
///
/// # Errors
/// What is wrong with it as YAML.
pub(crate) fn documents(text: &str, options: Options) -> Result<Vec<Value>, Error> {
    serde_saphyr::from_multiple_with_options(text, options)
}

/// The documents of a text as values of one type, each of which has a default for an empty one;
/// nothing for what is none. No reason comes with it: it could quote a secret.
pub(crate) fn read_all<T: DeserializeOwned>(text: &str) -> Option<Vec<T>> {
    let documents = documents(text, Options::default()).ok()?;
    let filled = documents.into_iter().filter(|document| !document.is_null());
    filled.map(|document| serde_json::from_value(document).ok()).collect()
}

/// What is wrong, without the place.
pub(crate) fn problem(error: &Error) -> String {
    let error = error.without_snippet();
    if let Error::DuplicateMappingKey { key, .. } = error {
        let key = key.as_deref().map(|key| format!(" {}", Quoted::text(key))).unwrap_or_default();
        return format!("key{key} is given twice: keep one of them");
    }
    let words = UserMessageFormatter.format_message(error).into_owned();
    match words.split_once(" too large or too complex") {
        Some(_) => "it is too large, or unfolds to too much: divide it".to_owned(),
        None => words,
    }
}

/// Line and column, both counted from 1, if they are known.
pub(crate) fn place(error: &Error) -> Option<(u64, u64)> {
    let location = error.location().filter(|location| *location != Location::UNKNOWN)?;
    Some((location.line(), location.column()))
}

/// What is wrong, and where.
pub(crate) fn problem_at_place(error: &Error) -> String {
    let place = place(error).map(|(line, column)| format!(" at line {line}, column {column}"));
    format!("not valid YAML{}: {}", place.unwrap_or_default(), problem(error))
}
