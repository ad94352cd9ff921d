//! `braid keep` gives back cluster-wide addresses that a DEL could not give back, while no other
//! call comes that would. The journal is the node's own, so that it is done only where `braid keep`
//! runs there: not in a container, which sees the node below another root.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::operator::CommandError;
use crate::operator::console::Console;
use crate::operator::node::{Directories, Node, NodeOptions};
use crate::verb::releases;
use cni::deadline::Deadline;

/// How often they are tried.
const PAUSE: Duration = Duration::from_secs(30);
/// How long that takes at most: signals and files wait meanwhile.
const LIMIT: Duration = Duration::from_secs(10);

/// When they are tried next.
#[derive(Debug)]
pub(super) struct Releases {
    due: Instant,
}

impl Releases {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// Tries them, if it is time, and says how many addresses were given back.
    ///
    /// # Errors
    /// [`CommandError`] if that cannot be said.
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
        let carried = releases::carry_on(&node.config.state_dir, Deadline::after(LIMIT));
        if carried.done > 0 {
            let done = carried.done;
            console.progress(&format!("given back: the addresses of {done} attachments"))?;
        }
        Ok(())
    }
}
