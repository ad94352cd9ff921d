//! `braid keep` takes back what killed attaches and detaches have left of pods that run on.

use std::time::Duration;

use super::periodic::PeriodicTask;
use crate::operator::CommandError;
use crate::operator::console::Console;
use crate::operator::node::Node;
use crate::verb::repair::ManualTeardown;
use cni::deadline::Deadline;
use linux::signal::Signals;

/// How often they are looked for: their pod may lack its default route.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long that takes at most: signals and files wait meanwhile.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn task() -> PeriodicTask {
    PeriodicTask::new(INTERVAL, end)
}

/// Says of which pods something was taken back.
fn end(node: &Node, signals: &mut Signals, console: &mut Console<'_>) -> Result<(), CommandError> {
    let request = node.request();
    let mut teardown = ManualTeardown::new(&node.config, &request, signals);
    let (ended, failures) = teardown.end_broken_off(Deadline::after(LIMIT));
    for pod in ended {
        console.progress(&format!("taken back: {pod}: an attach or a detach that was killed"))?;
    }
    for error in failures {
        log::warn!("{error}");
    }
    Ok(())
}
