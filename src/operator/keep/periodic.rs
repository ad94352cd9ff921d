//! What `braid keep` does on the node now and then, while no call of the runtime comes that would.
//! It reads and changes the node's own state, so it is done only if `braid keep` runs on the node
//! itself: not in a container, which sees the node below another root.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::operator::CommandError;
use crate::operator::console::Console;
use crate::operator::node::{Directories, Node, NodeOptions};
use linux::signal::Signals;

/// Does the work once, within the limit that it sets itself, and says what it has done. The signals
/// are those of `braid keep`: read from a descriptor of its own, one would be lost.
///
/// # Errors
/// [`CommandError`] ends `braid keep`: only for what cannot be said, or a state directory that
/// cannot be read.
pub(super) type Work = fn(&Node, &mut Signals, &mut Console<'_>) -> Result<(), CommandError>;

/// Work that is done at intervals, beginning at once.
#[derive(Debug)]
pub(super) struct PeriodicTask {
    interval: Duration,
    work: Work,
    due: Instant,
}

impl PeriodicTask {
    pub(super) fn new(interval: Duration, work: Work) -> Self {
        Self { interval, work, due: Instant::now() }
    }

    /// Does the work if it is due. If the node has no Braid, or several, there is nothing to do:
    /// the installation reports that.
    ///
    /// # Errors
    /// Those of the work.
    pub(super) fn run_if_due(
        &mut self,
        directories: &Directories,
        root: &Path,
        signals: &mut Signals,
        console: &mut Console<'_>,
    ) -> Result<(), CommandError> {
        if root != Path::new("/") || Instant::now() < self.due {
            return Ok(());
        }
        self.due = Instant::now() + self.interval;
        let options = NodeOptions { directories: directories.clone(), config: None };
        let Ok(node) = Node::find_for_teardown(&options) else { return Ok(()) };
        (self.work)(&node, signals, console)
    }
}
