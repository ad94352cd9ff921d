//! The process's environment, read once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Where programs of the system are if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The process's environment as a value.
#[derive(Clone, Debug, Default)]
pub struct Environment(pub(super) BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process. If a variable stands twice, the first counts, as in
    /// libc.
    pub fn of_process() -> Self {
        std::env::vars_os().fold(Self::default(), |mut environment, (name, value)| {
            environment.0.entry(name).or_insert(value);
            environment
        })
    }

    /// The value of a variable that is set, even if it is empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Every variable, ordered by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Where programs of the system are: the absolute directories of `PATH`, or the usual ones if
    /// it is not set.
    pub fn programs(&self) -> Vec<PathBuf> {
        let path = self.get("PATH").unwrap_or_else(|| OsStr::new(DEFAULT_PATH));
        std::env::split_paths(path).filter(|directory| directory.is_absolute()).collect()
    }

    /// The value of a variable that is text; `None` if it is missing or not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(OsStr::to_str)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}
