//! CNI-Genie's annotation: what a tenant wrote.

use braid::internals::selection::{Limits, genie as annotation};

use super::{assert_file_name, assert_told_well};

/// Words are names of networks, within the limit, and say the same once they are written out again.
pub fn genie(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let limits = Limits { networks: 3, ..Limits::default() };
    let names = match annotation::parse(text, limits) {
        Ok(names) => names,
        Err(error) => return assert_told_well(&error),
    };
    // The primary, and the networks beside it.
    assert!(names.len() <= limits.networks + 1);
    let words: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    for word in &words {
        assert_file_name(word);
        assert!(!word.starts_with(['-', '.']) && word.is_ascii(), "{word}");
    }
    assert_eq!(annotation::parse(&words.join(", "), limits).unwrap(), names);
}
