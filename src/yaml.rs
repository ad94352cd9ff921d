//! What is wrong with a YAML text, in words for people. The library's own name options of its
//! interface.

use serde_saphyr::{Error, Location, MessageFormatter, UserMessageFormatter};

use cni::quoted::Quoted;

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
