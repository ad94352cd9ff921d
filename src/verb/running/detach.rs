//! Detaches networks from a running pod.

use super::attach::label;
use super::default_route::{self, GivenBack};
use super::held::{Held, check_detachable, gone};
use super::{Changed, Target, Trigger, primary};
use crate::attach::snapshot::Snapshot;
use crate::ledger::{Declined, Event, Record, State};
use crate::plan::{Attachment, Source};
use crate::verb::add::read_snapshot;
use crate::verb::{Session, limit, publish};
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::result::AttachmentResult;
use linux::netlink::Inside;
use plugins::kernel::kernel_error;

/// Detaches what an administrator names by its interface.
pub(super) fn by_administrator(
    session: &mut Session<'_>,
    target: &Target,
    interface: &str,
    pod: &mut Option<String>,
) -> Result<Changed, Error> {
    let deadline = Deadline::after(limit::OTHER);
    let mut held = Held::open(session, target, deadline)?;
    let pod = pod.insert(held.pod.to_string()).clone();
    let detached = detach_interface(session, &mut held, interface, deadline);
    let changed = detached.map_err(|error| error.about(format!("pod {pod}")))?;
    publish_status(session, &held).map_err(|error| error.about(format!("pod {pod}")))?;
    Ok(changed)
}

fn detach_interface(
    session: &mut Session<'_>,
    held: &mut Held,
    interface: &str,
    deadline: Deadline,
) -> Result<Changed, Error> {
    if !held.is_recorded {
        return Err(gone(&held.record.plan.key));
    }
    let is_named =
        |(_, it, _): &(usize, &Attachment, Option<_>)| it.interface.as_str() == interface;
    let Some((at, attachment, _)) = held.record.remaining().find(is_named) else {
        return Err(unknown(held, interface));
    };
    check_detachable(attachment)?;
    // Stopping halfway would leave more behind than going on, which ends within the limit.
    session.delegates.signals().ignore_stop();
    detach(session, held, at, Trigger::Administrator, deadline)
}

/// Detaches the attachment at a position of the record.
///
/// # Errors
/// [`Error`] if it cannot be torn down: it stays recorded for DEL, and the pod is not expected to
/// have it.
pub(super) fn detach(
    session: &mut Session<'_>,
    held: &mut Held,
    at: usize,
    trigger: Trigger,
    deadline: Deadline,
) -> Result<Changed, Error> {
    let Some(attachment) = held.record.plan.attachments.get(at).cloned() else {
        return Ok(Changed::default());
    };
    if trigger == Trigger::Administrator {
        held.record.plan.declined.extend(declined(&attachment));
    }
    mark(session, held, at, trigger, deadline)?;
    finish_pending(session, held, deadline)?;
    let detached = vec![label(&attachment)];
    Ok(Changed { detached, ..Changed::default() })
}

/// Notes that the detach has begun. What an administrator takes away is not attached again because
/// the annotation still asks for it: that is on the disk before anything is done.
fn mark(
    session: &mut Session<'_>,
    held: &mut Held,
    at: usize,
    trigger: Trigger,
    deadline: Deadline,
) -> Result<(), Error> {
    held.record.pending.insert(at);
    if trigger == Trigger::Administrator {
        let mut journal = session.ledger.replace(&held.record)?;
        return Ok(journal.wait_for_disk(deadline)?);
    }
    Ok(session.ledger.journal(&held.record.plan.key)?.append(&Event::Pending(at))?)
}

/// What the annotation is not to bring back.
fn declined(attachment: &Attachment) -> Option<Declined> {
    let Source::Annotation(element) = attachment.source() else { return None };
    Some(Declined {
        label: attachment.label.clone(),
        interface: attachment.interface.clone(),
        element: element.map(str::to_owned),
    })
}

/// Takes away what is pending, of this change and of those that were broken off, and shrinks the
/// record.
///
/// # Errors
/// [`Error`] of what resists.
pub(super) fn finish_pending(
    session: &mut Session<'_>,
    held: &mut Held,
    deadline: Deadline,
) -> Result<(), Error> {
    if held.record.pending.is_empty() {
        return Ok(());
    }
    let outcome = held.tear_down_pending(session, deadline);
    let snapshot = snapshot_without_gone(held)?;
    held.shrink(session, snapshot, deadline)?;
    outcome
}

/// What the kernel is expected to show once the pending attachments that are torn down are gone.
/// If one had the default route, or was to have it, the pod has its former one again.
fn snapshot_without_gone(held: &Held) -> Result<Snapshot, Error> {
    let record = &held.record;
    let gone: Vec<&Attachment> = gone_attachments(record).collect();
    let interfaces: Vec<_> = gone.iter().map(|attachment| &attachment.interface).collect();
    let mut snapshot = record.complete.clone().unwrap_or_default();
    for interface in &interfaces {
        snapshot = snapshot.without(interface);
    }
    if gone.iter().any(|attachment| attachment.default_route.is_some()) {
        let mut inside = Inside::new(&held.netns);
        let netlink = inside.netlink().map_err(kernel_error)?;
        let given_back =
            default_route::give_back(record, &interfaces, netlink).map_err(kernel_error)?;
        for GivenBack { family, routes } in given_back {
            default_route::remove_kept(record, family, netlink).map_err(kernel_error)?;
            snapshot = snapshot.with_default_routes(family, routes);
        }
    }
    Ok(snapshot)
}

fn gone_attachments(record: &Record) -> impl Iterator<Item = &Attachment> {
    let states = record.plan.attachments.iter().zip(&record.states).enumerate();
    let gone =
        states.filter(|(at, (_, state))| **state == State::Gone && record.pending.contains(at));
    gone.map(|(_, (attachment, _))| attachment)
}

fn unknown(held: &Held, interface: &str) -> Error {
    let has: Vec<String> = held.living().map(|(_, attachment, _)| label(attachment)).collect();
    let has = if has.is_empty() { "nothing".to_owned() } else { has.join(", ") };
    let interface = cni::error::one_line(interface, 64);
    Error::new(
        Code::CONFIG,
        format!("no network is attached on \"{interface}\"; braid has attached {has}"),
    )
}

/// Publishes the status of what the pod has.
///
/// # Errors
/// [`Error`] if the API does not take it.
pub(super) fn publish_status(session: &mut Session<'_>, held: &Held) -> Result<(), Error> {
    if !publish::status_is_due(session, false) {
        return Ok(());
    }
    let mut inside = Inside::new(&held.netns);
    let now = read_snapshot(inside.netlink().map_err(kernel_error)?).map_err(kernel_error)?;
    let chained = primary::chained_result(&held.record, &now);
    let network = held.record.plan.network.as_str();
    let chained = chained.as_ref().map(|result| (network, &held.record.plan.key.interface, result));
    let mut attachments = Vec::new();
    for (_, attachment, result) in held.living() {
        let result = AttachmentResult::read_lenient(result, attachment.network.version)?;
        attachments.push((attachment, result));
    }
    let attachments = attachments.iter().map(|(attachment, result)| (*attachment, result));
    let pod = publish::running(&held.pod);
    let Some(cluster) = session.cluster.as_mut() else { return Ok(()) };
    publish::status(cluster, &pod, chained, attachments, &now, &session.device_infos)
}
