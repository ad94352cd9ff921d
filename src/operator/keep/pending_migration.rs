//! `braid keep` follows the node's label in a migration.

use std::time::{Duration, Instant};

use crate::operator::install::{Install, Migration};

/// How often the label is asked for: a request of each node to the API.
const PAUSE: Duration = Duration::from_secs(30);

/// What is due on the node.
#[derive(Debug, Default)]
pub(super) struct PendingMigration {
    asked: Option<Instant>,
    /// What was said last: the step of a migration, or that Braid is installed as ever. `None`
    /// until it is known.
    pub(super) migration: Option<Option<Migration>>,
    /// Why the last answer is unknown. What was said before counts on.
    pub(super) problem: Option<String>,
}

impl PendingMigration {
    /// Asks what is due, if it is time.
    pub(super) fn ask(&mut self, install: &Install) {
        let is_due = self.asked.is_none_or(|at| install.follows_label() && at.elapsed() >= PAUSE);
        if !is_due {
            return;
        }
        self.asked = Some(Instant::now());
        match install.migration() {
            Ok(migration) => (self.migration, self.problem) = (Some(migration), None),
            Err(error) => self.problem = Some(error.to_string()),
        }
    }
}
