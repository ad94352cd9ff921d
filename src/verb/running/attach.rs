//! Attaches networks to a running pod.

use serde_json::Value;

use super::held::Held;
use super::{Changed, Target, detach, primary};
use crate::attach::snapshot::Snapshot;
use crate::ledger::Record;
use crate::plan::{self, Attachment, Origin, Plan};
use crate::prepare::{self, AddedNetworks};
use crate::selection::{self, Selection};
use crate::verb::add::addition::Addition;
use crate::verb::add::growth::{Former, Growth};
use crate::verb::add::{finder, read_snapshot};
use crate::verb::{Session, limit, publish};
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use linux::netlink::Inside;
use plugins::kernel::kernel_error;

/// Attaches what an administrator names.
pub(super) fn by_administrator(
    session: &mut Session<'_>,
    target: &Target,
    networks: &str,
    pod: &mut Option<String>,
) -> Result<Changed, Error> {
    let deadline = Deadline::after(limit::ADD);
    let mut held = Held::open(session, target, deadline)?;
    *pod = Some(held.pod.to_string());
    let about = |error: Error, held: &Held| error.about(format!("pod {}", held.pod));
    let limits = session.config.limits();
    let selections = selection::parse(networks, &held.pod.namespace, limits)
        .map_err(|error| about(error.into(), &held))?;
    if selections.is_empty() {
        return Err(Error::new(Code::CONFIG, "no network is named"));
    }
    detach::finish_pending(session, &mut held, deadline).map_err(|error| about(error, &held))?;
    attach(session, &mut held, selections, Some(Origin::Attach), deadline)
        .map_err(|error| about(error, &held))
}

/// Attaches networks to the pod: all or none. `origin` says where they come from, if not from the
/// annotation.
///
/// # Errors
/// [`Error`]; what was done is undone then.
pub(super) fn attach(
    session: &mut Session<'_>,
    held: &mut Held,
    selections: Vec<Selection>,
    origin: Option<Origin>,
    deadline: Deadline,
) -> Result<Changed, Error> {
    let status_of = publish::status_is_due(session, false).then(|| publish::running(&held.pod));
    let former = held.compacted();
    let (existing, results) = living(held);
    let count = existing.len();
    let mut inside = Inside::new(&held.netns);
    let mut plan = plan_of(session, held, &mut inside, selections, &existing, status_of.is_some())?;
    for attachment in &mut plan.attachments {
        attachment.origin = origin.clone().or(attachment.origin.take());
    }
    plan.warnings.extend(publish::unnamed_addresses(&plan, status_of.is_some()));
    let added = std::mem::take(&mut plan.attachments);
    let warnings = std::mem::take(&mut plan.warnings);
    for warning in &warnings {
        log::warn!("pod {}: {warning}", held.pod);
    }
    plan.attachments = existing.into_iter().chain(added.iter().cloned()).collect();
    plan::check_size(&plan.attachments)?;
    let chained = chained_result(&held.record, &mut inside)?;
    let grown = Held::grow(session, &former, &added)?;
    let former = Former { record: &former, is_recorded: held.is_recorded };
    let growth = Growth { plan: &plan, results, chained, former, grown };
    Addition::to_running(session, &held.sandbox, inside, &held.pod, growth, status_of)
        .carry_out(deadline)?;
    held.reread(session)?;
    let attached = plan.attachments.iter().skip(count).map(label).collect();
    Ok(Changed { attached, warnings, ..Changed::default() })
}

/// How people are told of an attachment.
pub(super) fn label(attachment: &Attachment) -> String {
    format!("{} on {}", attachment.label, attachment.interface)
}

/// What the pod has, and the results.
fn living(held: &Held) -> (Vec<Attachment>, Vec<Value>) {
    held.living().map(|(_, attachment, result)| (attachment.clone(), result.clone())).unzip()
}

/// The plan, made as that of an ADD.
fn plan_of(
    session: &mut Session<'_>,
    held: &Held,
    inside: &mut Inside<'_>,
    selections: Vec<Selection>,
    existing: &[Attachment],
    must_publish: bool,
) -> Result<Plan, Error> {
    let resisting: Vec<Attachment> = held.resisting().cloned().collect();
    let mut definitions =
        finder(session.config, session.cluster.as_mut(), &held.sandbox, must_publish);
    prepare::plan_addition(
        session.config,
        &session.path,
        &held.sandbox,
        inside,
        &held.pod,
        AddedNetworks { selections, existing, resisting: &resisting },
        &mut definitions,
    )
}

fn chained_result(
    record: &Record,
    inside: &mut Inside<'_>,
) -> Result<Option<cni::result::AttachmentResult>, Error> {
    let netlink = inside.netlink().map_err(kernel_error)?;
    let now: Snapshot = read_snapshot(netlink).map_err(kernel_error)?;
    Ok(primary::chained_result(record, &now))
}
