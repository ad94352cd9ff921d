//! Versions of the CNI specification that Braid speaks, and what each of them brought.
//!
//! A version here is one that the specification published; anything else is refused with error
//! code 1 (CNI 1.1.0, section 5, "Error").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A published version of the CNI specification, ordered by age.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Version {
    /// 0.1.0: `ip4` and `ip6` in results.
    V0_1_0,
    /// 0.2.0: as 0.1.0, with `args` and `ips` requests.
    V0_2_0,
    /// 0.3.0: `interfaces`, `ips` and `routes` in results; conflists.
    V0_3_0,
    /// 0.3.1: as 0.3.0, with the result's `interface` index corrected.
    V0_3_1,
    /// 0.4.0: CHECK, and `prevResult` on DEL.
    V0_4_0,
    /// 1.0.0: no `version` in a result's `ips`.
    V1_0_0,
    /// 1.1.0: GC and STATUS, `cniVersions`, more in interfaces and routes.
    V1_1_0,
}

/// A version string that no published specification has.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cni version \"{0}\" is not known: use one of {all}", all = all_versions())]
pub struct UnknownVersion(pub String);

impl Version {
    /// Every version, oldest first: what VERSION reports (CNI 1.1.0, section 5, "VERSION Success").
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest version, for messages that answer no particular request.
    pub const NEWEST: Self = Self::V1_1_0;

    /// The version as configurations and results spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether plugins of this version answer CHECK (from 0.4.0).
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether DEL carries the result of ADD as `prevResult` (from 0.4.0).
    pub fn has_result_on_del(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether plugins of this version answer GC and STATUS (from 1.1.0).
    pub fn has_gc_and_status(self) -> bool {
        self >= Self::V1_1_0
    }

    /// Whether results list `interfaces` and `ips` (from 0.3.0) instead of `ip4` and `ip6`.
    pub fn has_interfaces(self) -> bool {
        self >= Self::V0_3_0
    }

    /// Whether a result's `ips` name their family in `version` (0.3.0 to 0.4.0).
    pub(crate) fn has_ip_family(self) -> bool {
        self >= Self::V0_3_0 && self < Self::V1_0_0
    }
}

fn all_versions() -> String {
    Version::ALL.map(Version::as_str).join(", ")
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Version> for &'static str {
    fn from(version: Version) -> Self {
        version.as_str()
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownVersion(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for Version {
    type Error = UnknownVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_back() {
        for version in Version::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
    }

    #[test]
    fn versions_that_were_never_published_are_refused() {
        for text in ["", "0.4", "1.0", "v1.0.0", "1.2.0", "0.3.2", " 1.0.0", "1.1.0-rc1"] {
            assert_eq!(text.parse::<Version>(), Err(UnknownVersion(text.to_owned())));
        }
    }

    #[test]
    fn features_start_where_the_specification_says() {
        assert!(!Version::V0_3_1.has_check() && Version::V0_4_0.has_check());
        assert!(!Version::V0_3_1.has_result_on_del() && Version::V0_4_0.has_result_on_del());
        assert!(!Version::V1_0_0.has_gc_and_status() && Version::V1_1_0.has_gc_and_status());
        assert!(!Version::V0_2_0.has_interfaces() && Version::V0_3_0.has_interfaces());
        assert!(Version::V0_3_0.has_ip_family() && !Version::V1_0_0.has_ip_family());
    }
}
