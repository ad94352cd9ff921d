//! `braid keep` tries networks that could not be torn down, with their definitions as they are now.
//! Plugins work on the node itself, so it is done only where `braid keep` runs there: not in a
//! container, which sees the node below another root.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::ledger::{Depth, Sweep};
use crate::operator::CommandError;
use crate::operator::console::Console;
use crate::operator::node::{Directories, Node, NodeOptions};
use crate::verb::repair::Mender;
use cni::deadline::Deadline;
use linux::signal::Signals;

/// How often they are tried: what has failed for so long is no matter of seconds.
const PAUSE: Duration = Duration::from_mins(10);
/// How long that takes at most: signals and files wait meanwhile.
const LIMIT: Duration = Duration::from_secs(20);

/// When they are tried next.
#[derive(Debug)]
pub(super) struct Orphans {
    due: Instant,
}

impl Orphans {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// Tries them, if it is time, and says which are gone.
    ///
    /// # Errors
    /// [`CommandError`] if that cannot be said. A node that cannot be looked at is another's
    /// business here.
    pub(super) fn retry(
        &mut self,
        directories: &Directories,
        root: &Path,
        console: &mut Console<'_>,
    ) -> Result<(), CommandError> {
        if root != Path::new("/") || Instant::now() < self.due {
            return Ok(());
        }
        self.due = Instant::now() + PAUSE;
        let options = NodeOptions { directories: directories.clone(), config: None };
        let Ok(node) = Node::find_for_teardown(&options) else { return Ok(()) };
        for line in retry_on(&node)? {
            console.progress(&line)?;
        }
        Ok(())
    }
}

/// A sentence for each that is gone.
fn retry_on(node: &Node) -> Result<Vec<String>, CommandError> {
    let (ledger, until) = (node.ledger(), Deadline::after(LIMIT));
    let request = node.request();
    let mut signals = Signals::block().map_err(|errno| CommandError::Signals(errno.into()))?;
    let mut mender = Mender::new(&node.config, &request, &mut signals).trying_definitions();
    let mut said = Vec::new();
    for orphan in ledger.scan_orphans(Depth::Survey, until)?.filter_map(Result::ok) {
        ledger.stopped_at(Sweep::Orphans, &orphan.name());
        let Some(record) = ledger.open(&orphan)? else { continue };
        match mender.tear_down_orphan(orphan.as_ref(), &record) {
            Ok(()) => said.push(format!("torn down: {}: an orphan", record.plan.pod)),
            Err(error) => log::info!("{}: {error}", record.plan.pod),
        }
    }
    Ok(said)
}
