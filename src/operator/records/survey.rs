//! The whole ledger, looked at and left as it is: headers alone are in memory, and one record at a
//! time if all of it is needed.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::ledger::{Configuration, Depth, Ledger, LedgerError, Listed, Record, Sweep};
use crate::plan::Role;
use crate::verb::leftovers::StaleSandboxDetector;
use cni::deadline::Deadline;

/// How long the ledger is read: a command waits for a slow disk, not for one that hangs.
const LIMIT: Duration = Duration::from_mins(10);

/// A file that cannot be read.
#[derive(Debug, Serialize)]
pub(in crate::operator) struct Unreadable {
    /// The file.
    pub(in crate::operator) file: PathBuf,
    /// What is wrong with it.
    pub(in crate::operator) problem: String,
}

/// What the ledger holds.
#[derive(Debug)]
pub(in crate::operator) struct Records {
    ledger: Ledger,
    /// Every record that can be read, by pods.
    pub(in crate::operator) live: Vec<Listed>,
    /// Every orphan.
    pub(in crate::operator) orphans: Vec<Listed>,
    /// What cannot be read, or was set aside.
    pub(in crate::operator) unreadable: Vec<Unreadable>,
}

impl Records {
    /// # Errors
    /// [`LedgerError`] if the state directory cannot be used.
    pub(in crate::operator) fn read(ledger: &Ledger) -> Result<Self, LedgerError> {
        let mut unreadable = Vec::new();
        let deadline = Deadline::after(LIMIT);
        let mut readable = |listed: Result<Listed, LedgerError>| {
            listed.map_err(|error| unreadable.push(Unreadable::of(error))).ok()
        };
        let records = ledger.scan(Sweep::Gc, Depth::Survey, deadline)?;
        let mut live: Vec<Listed> = records.filter_map(&mut readable).collect();
        let orphans = ledger.scan_orphans(Depth::Survey, deadline)?;
        let mut orphans: Vec<Listed> = orphans.filter_map(&mut readable).collect();
        let by_pod = |listed: &Listed| (listed.header().pod.clone(), listed.header().created);
        live.sort_by_cached_key(by_pod);
        orphans.sort_by_cached_key(by_pod);
        let problem = "it was set aside: look at it, then remove it";
        let aside = ledger.set_aside_files()?.into_iter();
        unreadable.extend(aside.map(|file| Unreadable { file, problem: problem.to_owned() }));
        Ok(Self { ledger: ledger.clone(), live, orphans, unreadable })
    }

    /// All of a record or orphan; nothing if it has gone since.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read any more.
    pub(in crate::operator) fn open(&self, listed: &Listed) -> Result<Option<Record>, LedgerError> {
        self.ledger.open(listed)
    }

    /// The same without what is only for its plugins.
    ///
    /// # Errors
    /// As [`Records::open`].
    pub(in crate::operator) fn open_outline(
        &self,
        listed: &Listed,
    ) -> Result<Option<Record>, LedgerError> {
        self.ledger.open_outline(listed)
    }

    /// What a record or orphan holds for its plugins.
    ///
    /// # Errors
    /// As [`Records::open`].
    pub(in crate::operator) fn configurations(
        &self,
        listed: &Listed,
    ) -> Result<Option<Vec<Configuration>>, LedgerError> {
        self.ledger.configurations(listed)
    }

    /// The records that still hold an extra network.
    pub(in crate::operator) fn with_extras(&self) -> impl Iterator<Item = &Listed> {
        let has_extra = |listed: &&Listed| {
            listed.remaining().any(|(_, attachment)| attachment.role == Role::Extra)
        };
        self.live.iter().filter(has_extra)
    }

    /// Whether it is one of these.
    pub(in crate::operator) fn contains(&self, listed: &Listed) -> bool {
        self.live.iter().chain(&self.orphans).any(|one| one.is_same(listed))
    }

    /// Those records and orphans that are chosen; what cannot be read is none of them.
    pub(in crate::operator) fn only(&self, is_chosen: impl Fn(&Listed) -> bool) -> Self {
        let chosen = |all: &[Listed]| all.iter().filter(|it| is_chosen(it)).cloned().collect();
        self.with(chosen(&self.live), chosen(&self.orphans))
    }

    /// Records of sandboxes that are gone, and every orphan.
    pub(in crate::operator) fn only_stale(&self) -> Self {
        let mut detector = StaleSandboxDetector::default();
        let live = self.live.iter().filter(|listed| detector.is_gone(&listed.header().netns));
        self.with(live.cloned().collect(), self.orphans.clone())
    }

    fn with(&self, live: Vec<Listed>, orphans: Vec<Listed>) -> Self {
        Self { ledger: self.ledger.clone(), live, orphans, unreadable: Vec::new() }
    }
}

impl Unreadable {
    pub(in crate::operator) fn of(error: LedgerError) -> Self {
        match error {
            LedgerError::Damaged { path: file, problem } => Self { file, problem },
            LedgerError::File(error) => {
                Self { problem: error.source.to_string(), file: error.path }
            }
            error => Self { file: PathBuf::new(), problem: error.to_string() },
        }
    }
}
