//! `braid version`: what this program is, and which versions of the protocol it speaks.

use serde::Serialize;

use super::console::{OutputStyle, View};
use cni::version::Version;

/// The program's version and the protocol's.
#[derive(Debug, Serialize)]
pub(super) struct Versions {
    version: &'static str,
    #[serde(rename = "cniVersions")]
    protocol: Vec<&'static str>,
}

impl Versions {
    pub(super) fn of_program() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            protocol: Version::ALL.into_iter().map(Version::as_str).collect(),
        }
    }
}

impl View for Versions {
    fn text(&self, _: &OutputStyle) -> String {
        format!("braid {}\nCNI {}\n", self.version, self.protocol.join(", "))
    }
}
