//! `braid keep` tries networks that could not be torn down, with their definitions as they are now.

use std::time::Duration;

use super::periodic::PeriodicTask;
use crate::ledger::{Depth, Sweep};
use crate::operator::CommandError;
use crate::operator::console::Console;
use crate::operator::node::Node;
use crate::verb::repair::ManualTeardown;
use cni::deadline::Deadline;
use linux::signal::Signals;

/// How often they are tried: what has failed for so long is no matter of seconds.
const INTERVAL: Duration = Duration::from_mins(10);
/// How long that takes at most: signals and files wait meanwhile.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn task() -> PeriodicTask {
    PeriodicTask::new(INTERVAL, retry)
}

/// Says which are gone.
fn retry(
    node: &Node,
    signals: &mut Signals,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    let (ledger, until) = (node.ledger(), Deadline::after(LIMIT));
    let request = node.request();
    let mut teardown = ManualTeardown::new(&node.config, &request, signals).trying_definitions();
    for orphan in ledger.scan_orphans(Depth::Survey, until)?.filter_map(Result::ok) {
        ledger.stopped_at(Sweep::Orphans, &orphan.name());
        let Some(record) = ledger.open(&orphan)? else { continue };
        match teardown.tear_down_orphan(orphan.as_ref(), &record) {
            Ok(()) => console.progress(&format!("torn down: {}: an orphan", record.plan.pod))?,
            Err(error) => log::info!("{}: {error}", record.plan.pod),
        }
    }
    Ok(())
}
