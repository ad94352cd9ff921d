//! `braid gc`: what is left of sandboxes that are gone is torn down as DEL would do it, or dropped
//! on request.

use clap::Args;
use thiserror::Error;

use super::CommandError;
use super::list::Selected;
use super::mended::{Mended, Stale, Treatment, Unknown, mend};
use super::node::{self, Node, NodeOptions};
use super::records::Records;
use super::repair::RELEASES;
use crate::verb::releases;
use cni::deadline::Deadline;

/// What `braid gc` is told.
#[derive(Args, Debug)]
pub(super) struct Gc {
    /// Drop what is left of this pod (namespace/name) or container if it cannot be torn down; may
    /// be given several times, and limits the command to these
    #[arg(long, value_name = "POD|ID")]
    forget: Vec<String>,
    /// The same for all that is stale
    #[arg(long, conflicts_with = "forget")]
    forget_all: bool,
    /// Say what is stale, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    node: NodeOptions,
}

/// Why there is nothing to forget.
#[derive(Debug, Error)]
#[error(
    "nothing of \"{0}\" is stale: braid gc --forget drops networks that DEL gave up (orphans), and \
     records of sandboxes that are gone"
)]
pub(super) struct NotStale(String);

impl Gc {
    pub(super) fn run(&self) -> Result<Mended, CommandError> {
        let node = Node::find_for_teardown(&self.node)?;
        let records = Records::read(&node.ledger())?;
        let stale = records.only_stale();
        let chosen = self.choose(&records, &stale)?;
        let steps = Stale::whole(&chosen).chain(Stale::orphans(&chosen)).collect();
        let treatment =
            Treatment { dry_run: self.dry_run, forget: self.forgets(), redefine: false };
        if !self.dry_run {
            releases::carry_on(&node.config.state_dir, Deadline::after(RELEASES));
        }
        let mut mended = mend(&node, &records, steps, Vec::new(), treatment)?;
        if !self.dry_run {
            node.ledger().sweep();
        }
        let unknown = node::unknown_addresses(&node.config, &records);
        mended.unknown = unknown.iter().map(Unknown::of).collect();
        Ok(mended)
    }

    fn forgets(&self) -> bool {
        self.forget_all || !self.forget.is_empty()
    }

    /// All that is stale, or what was named of it.
    fn choose(&self, records: &Records, stale: &Records) -> Result<Records, CommandError> {
        let mut named = Vec::new();
        for word in &self.forget {
            let meant = Selected::of(word, records)?;
            let found = stale.only(|listed| meant.contains(listed));
            if found.live.is_empty() && found.orphans.is_empty() {
                return Err(NotStale(word.clone()).into());
            }
            named.push(found);
        }
        let is_named = |listed: &_| named.iter().any(|found| found.contains(listed));
        Ok(stale.only(|listed| self.forget.is_empty() || is_named(listed)))
    }
}
