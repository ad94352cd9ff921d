//! `braid keep` gives back cluster-wide addresses that a DEL could not give back.

use std::time::Duration;

use super::periodic::PeriodicTask;
use crate::operator::CommandError;
use crate::operator::console::Console;
use crate::operator::node::Node;
use crate::verb::releases;
use cni::deadline::Deadline;
use linux::signal::Signals;

/// How often they are tried.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long that takes at most: signals and files wait meanwhile.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn task() -> PeriodicTask {
    PeriodicTask::new(INTERVAL, retry)
}

/// Says how many addresses were given back.
fn retry(node: &Node, _: &mut Signals, console: &mut Console<'_>) -> Result<(), CommandError> {
    let done = releases::carry_on(&node.config.state_dir, Deadline::after(LIMIT)).done;
    if done > 0 {
        console.progress(&format!("given back: the addresses of {done} attachments"))?;
    }
    Ok(())
}
