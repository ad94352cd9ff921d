//! Since when the API has refused a right that Braid needs. A server that starts may refuse
//! everything until it has read all rights (kubernetes/kubernetes#121635), which is no reason to
//! tell an administrator to grant one.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use linux::directory;
use linux::file::read_regular;

/// Seconds after which a refusal is final: the runtime's second ADD of a pod comes later.
const SETTLED: u64 = 10;
/// Seconds without a refusal after which the next one is a new one.
const APART: u64 = 600;
/// More than the file has.
const MAX_BYTES: u64 = 256;

/// A node's record of refusals: `refusals/last` of the state directory.
#[derive(Clone, Debug)]
pub struct Refusals {
    root: PathBuf,
}

/// When the API refused something for the first and for the last time, in seconds since 1970.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Refused {
    first: u64,
    last: u64,
}

impl Refused {
    /// The record after a refusal at `now`.
    fn at(now: u64, before: Option<Self>) -> Self {
        let before = before.filter(|before| now.saturating_sub(before.last) <= APART);
        Self { first: before.map_or(now, |before| before.first.min(now)), last: now }
    }

    fn stays(self) -> bool {
        self.last - self.first >= SETTLED
    }
}

impl Refusals {
    /// The record in the state directory `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Records a refusal of now, and returns whether it is final. If it cannot be recorded it is:
    /// advice that comes too early is better than none.
    pub(super) fn stay(&self) -> bool {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let refused = Refused::at(now, self.read());
        self.write(refused).is_none() || refused.stays()
    }

    fn directory(&self) -> PathBuf {
        self.root.join("refusals")
    }

    fn read(&self) -> Option<Refused> {
        if !directory::is_trusted(&self.root, &self.directory()).ok()? {
            return None;
        }
        serde_json::from_slice(&read_regular(&self.directory().join("last"), MAX_BYTES).ok()?).ok()
    }

    fn write(&self, refused: Refused) -> Option<()> {
        let bytes = serde_json::to_vec(&refused).ok()?;
        directory::prepare(&self.root, &self.directory()).ok()?;
        directory::write_file(&self.directory(), "last", "last", &bytes).ok().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_stays_after_ten_seconds_and_is_forgotten_after_ten_minutes() {
        let first = Refused::at(1000, None);
        assert!(!first.stays());
        let soon = Refused::at(1009, Some(first));
        assert!(!soon.stays(), "{soon:?}");
        let later = Refused::at(1010, Some(soon));
        assert_eq!((later, later.stays()), (Refused { first: 1000, last: 1010 }, true));
        assert!(Refused::at(1010 + APART, Some(later)).stays());
        assert!(!Refused::at(1011 + APART, Some(later)).stays());
        // A clock that was set back begins anew, and counts on from there.
        let back = Refused::at(500, Some(later));
        assert_eq!((back, back.stays()), (Refused { first: 500, last: 500 }, false));
    }

    #[test]
    fn what_cannot_be_remembered_stays() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert!(!Refusals::new(&state).stay(), "the first");
        assert!(!Refusals::new(&state).stay(), "at once again");
        std::fs::write(
            state.join("refusals/last"),
            r#"{"first": 1, "last": 18446744073709551615}"#,
        )
        .unwrap();
        assert!(Refusals::new(&state).stay());
        std::fs::write(state.join("refusals/last"), "{").unwrap();
        assert!(!Refusals::new(&state).stay(), "what is torn is none");
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(Refusals::new(&dir.path().join("file/state")).stay());
    }
}
