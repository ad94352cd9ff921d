//! The process's environment, read once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// The process's environment as a value.
#[derive(Clone, Debug, Default)]
pub struct Environment(pub(super) BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process. Where a variable stands twice, the first counts, as in
    /// libc.
    pub fn of_process() -> Self {
        std::env::vars_os().fold(Self::default(), |mut environment, (name, value)| {
            environment.0.entry(name).or_insert(value);
            environment
        })
    }

    /// The value of a variable that is set, even where it is empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Every variable, ordered by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The value where it is text; `None` if it is missing or not UTF-8.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(OsStr::to_str)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
