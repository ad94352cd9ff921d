//! The way back: Multus's file returns, and Multus gets Braid's records in its own form.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Found, Migrate, MigrateError, Migrated, THICK, runs_braid};
use crate::delegate;
use crate::ledger::{Ledger, LedgerError, Listed};
use crate::multus::cache;
use crate::operator::CommandError;
use crate::operator::change::{self, Change};
use crate::operator::install::{self, InstallError, MULTUS};
use crate::operator::installation::Installation;
use crate::operator::node;
use crate::operator::records::Records;
use crate::operator::runtime::{Kind, Runtime, below};
use crate::plan::Role;
use cni::deadline::Deadline;
use cni::keys;
use linux::signal::Signals;

/// How long a call that holds a container is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

impl Migrate {
    /// Multus's file first, then Braid's goes. Records are handed over before, so that Multus finds
    /// them, and once more after, for the pods that came meanwhile.
    pub(super) fn back(
        &self,
        runtime: &Runtime,
        found: &Found,
        multus: &Installation,
        migrated: &mut Migrated,
    ) -> Result<(), CommandError> {
        self.multus_can_run(runtime, multus)?;
        let ledger = found.ours.as_ref().map(|ours| self.ledger(ours)).transpose()?;
        // CRI-O calls Braid for the pods that Braid has started.
        let ledger = ledger.filter(|_| runtime.kind != Some(Kind::Crio));
        let cache = self.multus_state(Some(multus));
        if let Some(ledger) = &ledger {
            migrated.waiting_for = unspeakable(ledger)?;
            if !migrated.waiting_for.is_empty() {
                return Ok(());
            }
            migrated.handed_over = self.tell_multus(ledger, &cache)?;
        }
        let mut changes: Vec<Change> =
            found.retired.iter().map(|pair| self.restore(pair)).collect();
        self.primary_stays(found, multus)?;
        changes.extend(found.ours.iter().map(|ours| Change::Gone(self.on_node(&ours.file))));
        migrated.changes =
            change::make_due(&changes, &self.root, self.dry_run).map_err(InstallError::from)?;
        if let (Some(ledger), false) = (&ledger, self.dry_run) {
            migrated.notes.extend(hand_over(ledger, &cache)?);
        }
        if !migrated.changes.is_empty() {
            migrated.notes.push(self.what_stays(runtime, multus));
        }
        Ok(())
    }

    fn multus_can_run(&self, runtime: &Runtime, multus: &Installation) -> Result<(), MigrateError> {
        let named = keys::get_text(&multus.request, "type").unwrap_or("multus");
        let Ok(kind) = named.parse() else { return Ok(()) };
        let path: Vec<PathBuf> =
            runtime.bin_dirs.iter().map(|dir| below(&self.root, dir)).collect();
        delegate::find(&kind, &path).map(|_| ()).map_err(MigrateError::Plugin)
    }

    fn ledger(&self, ours: &Installation) -> Result<Ledger, CommandError> {
        let config = ours.config().map_err(|source| node::NodeError::Config {
            file: ours.file.clone(),
            source: Box::new(source),
        })?;
        Ok(Ledger::new(&below(&self.root, &config.state_dir)))
    }

    /// Writes every record in Multus's form; the pods.
    fn tell_multus(&self, ledger: &Ledger, cache: &Path) -> Result<Vec<String>, CommandError> {
        let mut records = Records::read(ledger)?;
        records.live.retain(|listed| listed.remaining().next().is_some());
        for listed in records.live.iter().filter(|_| !self.dry_run) {
            if let Some(record) = records.open(listed)? {
                cache::write(cache, &record)?;
            }
        }
        Ok(records.live.iter().map(|listed| listed.header().pod.clone()).collect())
    }

    fn what_stays(&self, runtime: &Runtime, multus: &Installation) -> String {
        let thick = keys::get_text(&multus.request, "type") == Some(THICK);
        let daemon = if thick { "see that multus's daemon runs; " } else { "" };
        let binary = install::binary(runtime);
        let binary = binary.display();
        match runtime.kind {
            Some(Kind::Crio) => format!(
                "{daemon}{binary} and braid's records stay: CRI-O tears down the pods of before \
                 with them"
            ),
            _ => format!("{daemon}{binary} stays; nothing calls it any more"),
        }
    }

    /// Multus does not come back with nothing but Braid, which goes, for its primary network.
    fn primary_stays(&self, found: &Found, multus: &Installation) -> Result<(), MigrateError> {
        let Some(ours) = found.ours.as_ref().and_then(|ours| ours.file.file_name()) else {
            return Ok(());
        };
        let kept = found.retired.iter().flat_map(|(file, _)| Installation::in_file(file, &MULTUS));
        let mut usable = kept.chain(found.theirs.iter().cloned());
        if usable.any(|place| !runs_braid(&place, ours)) {
            return Ok(());
        }
        Err(MigrateError::RunsBraid(self.on_node(&multus.file)))
    }

    /// A file that Multus has written anew meanwhile is newer than ours of it, unless it runs
    /// Braid.
    fn restore(&self, (retired, before): &(PathBuf, PathBuf)) -> Change {
        let from = self.on_node(retired);
        let places = Installation::in_file(before, &MULTUS);
        let runs_braid = places.iter().any(|place| runs_braid(place, install::FILE.as_ref()));
        if before.exists() && !runs_braid {
            Change::Gone(from)
        } else {
            Change::Moved { from, to: self.on_node(before) }
        }
    }
}

/// The pods that Multus has no words for: their primary is the runtime's, or is torn down already.
fn unspeakable(ledger: &Ledger) -> Result<Vec<String>, LedgerError> {
    let has_primary = |listed: &Listed| {
        listed.remaining().next().is_none_or(|(_, attachment)| attachment.role == Role::Primary)
    };
    let records = Records::read(ledger)?;
    Ok(records
        .live
        .iter()
        .filter(|listed| !has_primary(listed))
        .map(|listed| listed.header().pod.clone())
        .collect())
}

/// Hands every record over, and removes it; the sentences of what could not be.
fn hand_over(ledger: &Ledger, cache: &Path) -> Result<Vec<String>, CommandError> {
    let mut signals = Signals::block().map_err(|errno| CommandError::Signals(errno.into()))?;
    let records = Records::read(ledger)?;
    let outcomes =
        records.live.iter().map(|listed| hand_over_one(ledger, cache, listed, &mut signals));
    let mut notes: Vec<String> = outcomes
        .filter_map(Result::err)
        .map(|error| format!("{error}; run braid migrate multus --back again"))
        .collect();
    if !records.orphans.is_empty() || !records.unreadable.is_empty() {
        notes.push(
            "networks that could not be torn down, or records that cannot be read, stay in braid's \
             state directory"
                .to_owned(),
        );
    }
    Ok(notes)
}

fn hand_over_one(
    ledger: &Ledger,
    cache: &Path,
    listed: &Listed,
    signals: &mut Signals,
) -> Result<(), LedgerError> {
    let key = &listed.header().key;
    let _lock = ledger.lock(&key.container, Deadline::after(LOCK_LIMIT), signals)?;
    // It may have gone meanwhile.
    let Some(current) = ledger.read(key)? else { return Ok(()) };
    if cache::write(cache, &current)? { ledger.remove(key) } else { Ok(()) }
}
