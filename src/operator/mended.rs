//! What `braid gc` and `braid repair` have found, and what became of it.

use serde::Serialize;

use super::CommandError;
use super::console::{Exit, OutputStyle, Tone, View};
use super::node::Node;
use super::records::Records;
use crate::ledger::{Listed, Record};
use crate::reservation::Reservations;
use crate::verb::leftovers;
use crate::verb::repair::ManualTeardown;
use cni::error::Error;
use linux::signal::Signals;

/// What became of one thing that is stale.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pod: String,
    container: String,
    /// The networks and their interfaces.
    networks: Vec<String>,
    /// Why they are stale.
    pub(super) reason: String,
    /// What was done, or would be.
    outcome: Outcome,
    /// Whether the pod lives on without these networks until it is deleted.
    needs_new_pod: bool,
    /// What may be left of what was forgotten, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    may_be_left: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// It would be torn down.
    Stale,
    /// It is torn down.
    TornDown,
    /// It could not be torn down.
    Failed,
    /// An orphan could not be torn down, and is tried again by GC.
    Kept,
    /// It could not be torn down, and its record is dropped.
    Forgotten,
    /// Nothing but a new pod mends it.
    NeedsNewPod,
}

/// Addresses of a container that no record knows. They are told of, and stay.
#[derive(Debug, Serialize)]
pub(super) struct Unknown {
    network: String,
    container: String,
    addresses: Vec<String>,
    /// What to do.
    advice: String,
}

impl Unknown {
    pub(super) fn of(found: &Reservations) -> Self {
        Self {
            network: found.network.clone(),
            container: found.container.to_string(),
            addresses: found.files.keys().map(ToString::to_string).collect(),
            advice: leftovers::sentence(found),
        }
    }
}

/// All that was stale.
#[derive(Debug, Default, Serialize)]
pub(super) struct Mended {
    steps: Vec<Step>,
    /// What host-local holds for containers that no record knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unknown: Vec<Unknown>,
    /// Whether one pod was asked for: what is kept of it is not done yet then.
    #[serde(skip)]
    pub(super) is_of_one_pod: bool,
}

/// How what is stale is treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treatment {
    /// It is only said.
    pub(super) dry_run: bool,
    /// What cannot be torn down is dropped.
    pub(super) forget: bool,
    /// Definitions are tried as they are now if the recorded ones keep failing.
    pub(super) redefine: bool,
}

/// Something stale, and why.
pub(super) struct Stale<'r> {
    listed: &'r Listed,
    part: Part,
    pub(super) reason: String,
    /// Whether the pod is not expected to have it: a new one would have no more.
    is_of_running_pod: bool,
}

/// What of a record is torn down.
enum Part {
    Whole,
    Networks(Vec<usize>),
    Orphan,
}

impl<'r> Stale<'r> {
    /// A record whose sandbox is gone.
    pub(super) fn of_gone(listed: &'r Listed) -> Self {
        let reason = "its network namespace is gone".to_owned();
        Self { listed, part: Part::Whole, reason, is_of_running_pod: false }
    }

    /// One network of a record.
    pub(super) fn of_network(listed: &'r Listed, at: usize, reason: String) -> Self {
        Self { listed, part: Part::Networks(vec![at]), reason, is_of_running_pod: false }
    }

    /// The same of an attach or a detach that has been broken off.
    pub(super) fn of_running_pod(self) -> Self {
        Self { is_of_running_pod: true, ..self }
    }

    /// Every record, each of a sandbox that is gone.
    pub(super) fn whole(records: &'r Records) -> impl Iterator<Item = Self> {
        records.live.iter().map(Self::of_gone)
    }

    /// Every orphan.
    pub(super) fn orphans(records: &'r Records) -> impl Iterator<Item = Self> {
        records.orphans.iter().map(|listed| {
            let reason = "DEL could not tear it down, and the pod has gone".to_owned();
            Self { listed, part: Part::Orphan, reason, is_of_running_pod: false }
        })
    }

    fn tear_down(&self, record: &Record, teardown: &mut ManualTeardown<'_>) -> Result<(), Error> {
        match &self.part {
            Part::Whole => teardown.tear_down(record),
            Part::Networks(positions) => teardown.tear_down_networks(record, positions),
            Part::Orphan => teardown.tear_down_orphan(self.listed.as_ref(), record),
        }
    }

    fn forget(&self, record: &Record, teardown: &mut ManualTeardown<'_>) -> Result<(), Error> {
        match &self.part {
            Part::Whole => teardown.forget(record),
            Part::Orphan => teardown.forget_orphan(self.listed.as_ref()),
            Part::Networks(_) => Ok(()),
        }
    }

    fn networks(&self, record: &Record) -> Vec<String> {
        let chosen = |at: &usize| match &self.part {
            Part::Networks(positions) => positions.contains(at),
            Part::Whole | Part::Orphan => true,
        };
        let remaining = record.remaining().map(|(at, attachment, _)| (at, attachment));
        let torn_down = record.torn_down().filter(|_| matches!(self.part, Part::Networks(_)));
        let all = remaining.chain(torn_down).filter(|(at, _)| chosen(at));
        all.map(|(_, attachment)| format!("{} on {}", attachment.label, attachment.interface))
            .collect()
    }

    pub(super) fn step(&self, record: &Record, outcome: Outcome) -> Step {
        let plan = &record.plan;
        Step {
            pod: plan.pod.clone(),
            container: plan.key.container.to_string(),
            networks: self.networks(record),
            reason: self.reason.clone(),
            outcome,
            // A teardown gives the node back what the networks hold, and the pod nothing.
            needs_new_pod: matches!(self.part, Part::Networks(_)) && !self.is_of_running_pod,
            may_be_left: None,
            error: None,
        }
    }

    fn mend(&self, record: &Record, teardown: &mut ManualTeardown<'_>, forget: bool) -> Step {
        // Said before: a part that was torn down is no longer in the record.
        let planned = self.step(record, Outcome::TornDown);
        let Err(error) = self.tear_down(record, teardown) else { return planned };
        let failed = Step { error: Some(error.to_string()), ..planned };
        if forget {
            let may_be_left = Some(ManualTeardown::may_be_left(record));
            return match self.forget(record, teardown) {
                Ok(()) => Step { outcome: Outcome::Forgotten, may_be_left, ..failed },
                Err(error) => {
                    Step { outcome: Outcome::Failed, error: Some(error.to_string()), ..failed }
                }
            };
        }
        let is_orphan = matches!(self.part, Part::Orphan);
        Step { outcome: if is_orphan { Outcome::Kept } else { Outcome::Failed }, ..failed }
    }
}

/// Tears down what is stale, one record in memory at a time. `beyond` is what it does not help.
pub(super) fn mend(
    node: &Node,
    records: &Records,
    stale: Vec<Stale<'_>>,
    beyond: Vec<Step>,
    treatment: Treatment,
) -> Result<Mended, CommandError> {
    let mut steps = Vec::new();
    let request = node.request();
    let mut signals = Signals::block().map_err(|errno| CommandError::Signals(errno.into()))?;
    let mut teardown = ManualTeardown::new(&node.config, &request, &mut signals);
    if treatment.redefine {
        teardown = teardown.trying_definitions();
    }
    for stale in stale {
        // What is only shown needs no configuration.
        let opened = if treatment.dry_run && !treatment.forget {
            records.open_outline(stale.listed)?
        } else {
            records.open(stale.listed)?
        };
        let Some(record) = opened else { continue };
        steps.push(if treatment.dry_run {
            let may_be_left = treatment.forget.then(|| ManualTeardown::may_be_left(&record));
            Step { may_be_left, ..stale.step(&record, Outcome::Stale) }
        } else {
            stale.mend(&record, &mut teardown, treatment.forget)
        });
    }
    steps.extend(beyond);
    Ok(Mended { steps, ..Mended::default() })
}

impl View for Mended {
    fn text(&self, style: &OutputStyle) -> String {
        if self.steps.is_empty() && self.unknown.is_empty() {
            return "nothing is stale\n".to_owned();
        }
        let steps = self.steps.iter().map(|step| step.text(style));
        let word = style.paint(Tone::Odd, "unknown");
        steps
            .chain(self.unknown.iter().map(|found| format!("{word}: {}\n", found.advice)))
            .collect()
    }

    /// An orphan that resists again is no failure of a collection, which would fail for ever then:
    /// GC tries it again. A person who asks for one pod hears that it is not done yet.
    fn exit(&self) -> Exit {
        let failed = |step: &Step| step.outcome == Outcome::Failed || step.needs_new_pod;
        let kept = |step: &Step| step.outcome == Outcome::Kept;
        if self.steps.iter().any(failed) {
            Exit::Failed
        } else if self.is_of_one_pod && self.steps.iter().any(kept) {
            Exit::NotYet
        } else {
            Exit::Done
        }
    }
}

impl Step {
    fn text(&self, style: &OutputStyle) -> String {
        let (tone, word) = match self.outcome {
            Outcome::Stale => (Tone::Odd, "stale"),
            Outcome::TornDown => (Tone::Good, "torn down"),
            Outcome::Failed => (Tone::Bad, "failed"),
            Outcome::Kept => (Tone::Odd, "still an orphan"),
            Outcome::Forgotten => (Tone::Odd, "forgotten"),
            Outcome::NeedsNewPod => (Tone::Bad, "cannot be mended"),
        };
        let container: String = self.container.chars().take(13).collect();
        let mut text = format!(
            "{}: {} ({container}): {}: {}",
            style.paint(tone, word),
            self.pod,
            self.networks.join(", "),
            self.reason
        );
        if self.needs_new_pod {
            text.push_str("; delete the pod to have it attached anew");
        }
        text.extend(self.error.iter().map(|error| format!("\n  {error}")));
        if self.outcome == Outcome::Kept {
            let container = &self.container;
            text.push_str(&format!(
                "\n  GC tries it again; to drop it: braid gc --forget {container}"
            ));
        }
        text.extend(self.may_be_left.iter().map(|left| format!("\n  {}", self.words_of(left))));
        text + "\n"
    }

    /// What stays behind if nothing knows of it any more.
    fn words_of(&self, left: &[String]) -> String {
        let left = match left {
            [] => "nothing is seen of it".to_owned(),
            left => format!("may be left: {}", left.join("; ")),
        };
        match self.outcome {
            Outcome::Stale => format!("would be forgotten if it cannot be torn down; {left}"),
            _ => format!("nothing knows of it any more; {left}"),
        }
    }
}
