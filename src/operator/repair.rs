//! `braid gc` and `braid repair`: what is stale is torn down as DEL would do it.

use clap::Args;
use serde::Serialize;

use super::CommandError;
use super::console::{Exit, OutputStyle, Tone, View};
use super::list::Selected;
use super::node::{self, Node, NodeOptions};
use super::records::Records;
use crate::attach::snapshot::Drift;
use crate::ledger::Record;
use crate::reservation::Reservations;
use crate::verb::leftovers;
use crate::verb::repair::{Mender, RecordStatus};
use cni::error::Error;
use linux::signal::Signals;

/// What `braid gc` is told.
#[derive(Args, Debug)]
pub(super) struct Gc {
    /// Say what is stale, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    node: NodeOptions,
}

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

/// What became of one thing that is stale.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    pod: String,
    container: String,
    /// The networks and their interfaces.
    networks: Vec<String>,
    /// Why they are stale.
    reason: String,
    /// What was done, or would be.
    outcome: Outcome,
    /// Whether the pod lives on without these networks until it is deleted.
    needs_new_pod: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// It would be torn down.
    Stale,
    /// It is torn down.
    TornDown,
    /// It could not be torn down.
    Failed,
    /// Nothing but a new pod mends it.
    NeedsNewPod,
}

/// Addresses of a container that no record knows. They are told of, and stay.
#[derive(Debug, Serialize)]
struct Unknown {
    network: String,
    container: String,
    addresses: Vec<String>,
    /// What to do.
    advice: String,
}

impl Unknown {
    fn of(found: &Reservations) -> Self {
        Self {
            network: found.network.clone(),
            container: found.container.to_string(),
            addresses: found.files.keys().map(ToString::to_string).collect(),
            advice: leftovers::sentence(found),
        }
    }
}

/// All that was stale.
#[derive(Debug, Serialize)]
pub(super) struct Mended {
    steps: Vec<Step>,
    /// What host-local holds for containers that no record knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<Unknown>,
}

/// Something stale, and how it is torn down.
enum Stale<'r> {
    Whole(&'r Record),
    Networks(&'r Record, Vec<usize>),
    Orphan(&'r std::path::Path, &'r Record),
}

impl Stale<'_> {
    fn tear_down(&self, mender: &mut Mender<'_>) -> Result<(), Error> {
        match self {
            Self::Whole(record) => mender.tear_down(record),
            Self::Networks(record, positions) => mender.tear_down_networks(record, positions),
            Self::Orphan(file, record) => mender.tear_down_orphan(file, record),
        }
    }

    fn record(&self) -> &Record {
        match self {
            Self::Whole(record) | Self::Networks(record, _) | Self::Orphan(_, record) => record,
        }
    }

    fn networks(&self) -> Vec<String> {
        let chosen = |at: &usize| match self {
            Self::Networks(_, positions) => positions.contains(at),
            Self::Whole(_) | Self::Orphan(..) => true,
        };
        let record = self.record();
        let remaining = record.remaining().map(|(at, attachment, _)| (at, attachment));
        let torn_down = record.torn_down().filter(|_| matches!(self, Self::Networks(..)));
        let all = remaining.chain(torn_down).filter(|(at, _)| chosen(at));
        all.map(|(_, attachment)| format!("{} on {}", attachment.label, attachment.interface))
            .collect()
    }

    fn step(&self, reason: String, outcome: Outcome, error: Option<String>) -> Step {
        let plan = &self.record().plan;
        // A teardown gives the node back what the networks hold, and the pod nothing.
        let needs_new_pod = matches!(self, Self::Networks(..));
        Step {
            pod: plan.pod.clone(),
            container: plan.key.container.to_string(),
            networks: self.networks(),
            reason,
            outcome,
            needs_new_pod,
            error,
        }
    }
}

impl Gc {
    pub(super) fn run(&self) -> Result<Mended, CommandError> {
        let node = Node::find_for_teardown(&self.node)?;
        let records = Records::read(&node.ledger())?;
        let gone =
            |record: &&Record| RecordStatus::of(record).is_ok_and(|status| status.is_stale());
        let mut stale: Vec<(Stale<'_>, String)> = records
            .live
            .iter()
            .filter(gone)
            .map(|record| (Stale::Whole(record), "its network namespace is gone".to_owned()))
            .collect();
        stale.extend(orphans(&records));
        let mended = mend(&node, stale, Vec::new(), self.dry_run)?;
        if !self.dry_run {
            node.ledger().sweep();
        }
        let unknown = node::unknown_addresses(&node.config, &records);
        Ok(Mended { unknown: unknown.iter().map(Unknown::of).collect(), ..mended })
    }
}

impl Repair {
    pub(super) fn run(&self) -> Result<Mended, CommandError> {
        let node = Node::find_for_teardown(&self.node)?;
        let records = Selected::of(&self.container, Records::read(&node.ledger())?)?;
        let (mut stale, mut beyond) = (Vec::new(), Vec::new());
        for record in &records.live {
            match RecordStatus::of(record)? {
                RecordStatus::Gone => {
                    stale.push((Stale::Whole(record), "its network namespace is gone".to_owned()))
                }
                RecordStatus::Drifted(drift) => sort(record, drift, &mut stale, &mut beyond),
                RecordStatus::AsAttached | RecordStatus::Elsewhere | RecordStatus::Unfinished => {}
            }
        }
        stale.extend(orphans(&records));
        mend(&node, stale, beyond, self.dry_run)
    }
}

fn orphans(records: &Records) -> impl Iterator<Item = (Stale<'_>, String)> {
    records.orphans.iter().map(|(file, record)| {
        (Stale::Orphan(file, record), "DEL could not tear it down, and the pod has gone".to_owned())
    })
}

/// Extra networks whose interface is gone are torn down: what is left of them are addresses that no
/// other pod gets. Every difference needs a pod that is attached anew, these too.
fn sort<'r>(
    record: &'r Record,
    drift: Vec<(usize, Drift)>,
    stale: &mut Vec<(Stale<'r>, String)>,
    beyond: &mut Vec<Step>,
) {
    for (at, drift) in drift {
        let attachment = record.plan.attachments.get(at);
        let is_extra = attachment.is_some_and(|it| it.role == crate::plan::Role::Extra);
        let sentence = drift.to_string();
        let networks = Stale::Networks(record, vec![at]);
        if is_extra && matches!(drift, Drift::InterfaceGone(_)) {
            stale.push((networks, sentence));
        } else if !beyond.iter().any(|step| step.reason == sentence) {
            beyond.push(networks.step(sentence, Outcome::NeedsNewPod, None));
        }
    }
}

fn mend(
    node: &Node,
    stale: Vec<(Stale<'_>, String)>,
    beyond: Vec<Step>,
    dry_run: bool,
) -> Result<Mended, CommandError> {
    let mut steps = Vec::new();
    if dry_run || stale.is_empty() {
        steps.extend(
            stale.into_iter().map(|(stale, reason)| stale.step(reason, Outcome::Stale, None)),
        );
    } else {
        let request = node.request();
        let mut signals = Signals::block().map_err(|errno| CommandError::Signals(errno.into()))?;
        let mut mender = Mender::new(&node.config, &request, &mut signals);
        for (stale, reason) in stale {
            // Said before: a part that was torn down is no longer in the record.
            let planned = stale.step(reason, Outcome::TornDown, None);
            steps.push(match stale.tear_down(&mut mender) {
                Ok(()) => planned,
                Err(error) => {
                    Step { outcome: Outcome::Failed, error: Some(error.to_string()), ..planned }
                }
            });
        }
    }
    steps.extend(beyond);
    Ok(Mended { steps, unknown: Vec::new() })
}

impl View for Mended {
    fn text(&self, style: &OutputStyle) -> String {
        if self.steps.is_empty() && self.unknown.is_empty() {
            return "nothing is stale\n".to_owned();
        }
        let steps = self.steps.iter().map(|step| step_text(step, style));
        let word = style.paint(Tone::Odd, "unknown");
        steps
            .chain(self.unknown.iter().map(|found| format!("{word}: {}\n", found.advice)))
            .collect()
    }

    fn exit(&self) -> Exit {
        let failed = |step: &Step| step.outcome == Outcome::Failed || step.needs_new_pod;
        if self.steps.iter().any(failed) { Exit::Failed } else { Exit::Done }
    }
}

fn step_text(step: &Step, style: &OutputStyle) -> String {
    let (tone, word) = match step.outcome {
        Outcome::Stale => (Tone::Odd, "stale"),
        Outcome::TornDown => (Tone::Good, "torn down"),
        Outcome::Failed => (Tone::Bad, "failed"),
        Outcome::NeedsNewPod => (Tone::Bad, "cannot be mended"),
    };
    let container: String = step.container.chars().take(13).collect();
    let mut text = format!(
        "{}: {} ({container}): {}: {}",
        style.paint(tone, word),
        step.pod,
        step.networks.join(", "),
        step.reason
    );
    if step.needs_new_pod {
        text.push_str("; delete the pod to have it attached anew");
    }
    if let Some(error) = &step.error {
        text.push_str(&format!("\n  {error}"));
    }
    text + "\n"
}
