//! `braid repair`: what is stale of one sandbox is torn down as DEL would do it, and what differs
//! otherwise is said.

use std::time::Duration;

use clap::Args;

use super::CommandError;
use super::list::Selected;
use super::mended::{Mended, Outcome, Stale, Step, Treatment, mend};
use super::node::{Node, NodeOptions};
use super::records::Records;
use crate::attach::snapshot::Drift;
use crate::ledger::{Listed, Record};
use crate::plan::Role;
use crate::verb::releases;
use crate::verb::repair::RecordStatus;
use cni::deadline::Deadline;

/// How long addresses that are to be given back may take.
pub(super) const RELEASES: Duration = Duration::from_secs(10);

/// What `braid repair` is told.
#[derive(Args, Debug)]
pub(super) struct Repair {
    /// The container's ID, or enough of its beginning; or a pod, as namespace/name
    container: String,
    /// Say what differs and what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    node: NodeOptions,
}

impl Repair {
    pub(super) fn run(&self) -> Result<Mended, CommandError> {
        let node = Node::find_for_teardown(&self.node)?;
        let records = Selected::of(&self.container, &Records::read(&node.ledger())?)?;
        let (mut stale, mut beyond) = (Vec::new(), Vec::new());
        for listed in &records.live {
            let Some(record) = records.open_outline(listed)? else { continue };
            match RecordStatus::of(&record)? {
                RecordStatus::Gone => stale.push(Stale::of_gone(listed)),
                RecordStatus::Drifted(drift) => {
                    sort(listed, &record, drift, &mut stale, &mut beyond);
                }
                RecordStatus::AsAttached | RecordStatus::Elsewhere | RecordStatus::Unfinished => {}
            }
        }
        stale.extend(Stale::orphans(&records));
        if !self.dry_run {
            releases::carry_on(&node.config.state_dir, Deadline::after(RELEASES));
        }
        let treatment = Treatment { dry_run: self.dry_run, forget: false, redefine: true };
        let mut mended = mend(&node, &records, stale, beyond, treatment)?;
        mended.is_of_one_pod = true;
        Ok(mended)
    }
}

/// Extra networks whose interface is gone are torn down: what is left of them are addresses that no
/// other pod gets. Every difference needs a pod that is attached anew, these too; but for the
/// default route that a broken-off attach or detach was moving, which comes back as that is ended.
fn sort<'r>(
    listed: &'r Listed,
    record: &Record,
    drift: Vec<(usize, Drift)>,
    stale: &mut Vec<Stale<'r>>,
    beyond: &mut Vec<Step>,
) {
    let moves_route = record.changing().any(|(_, attachment)| attachment.default_route.is_some());
    let comes_back =
        |drift: &Drift| moves_route && matches!(drift, Drift::RouteGone(_) | Drift::RouteAdded(_));
    for (at, drift) in drift {
        if comes_back(&drift) {
            continue;
        }
        let attachment = record.plan.attachments.get(at);
        let is_extra = attachment.is_some_and(|it| it.role == Role::Extra);
        let networks = Stale::of_network(listed, at, drift.to_string());
        if is_extra && matches!(drift, Drift::Pending { .. }) {
            stale.push(networks.of_running_pod());
        } else if is_extra && matches!(drift, Drift::InterfaceGone(_)) {
            stale.push(networks);
        } else if !beyond.iter().any(|step| step.reason == networks.reason) {
            beyond.push(networks.step(record, Outcome::NeedsNewPod));
        }
    }
}
