//! DEL (CNI 1.1.0, section 2): tear down what the record holds, in reverse, past failures. Neither
//! the API nor an annotation is asked. What cannot be torn down stays recorded, and is set aside
//! once it has resisted for too long.

use std::time::Duration;

use serde_json::Value;

use super::{Session, adoption, boot_id, key_of, moment, netns_at, now};
use crate::attach::{AttachError, Place, absence};
use crate::delegate;
use crate::ledger::{Event, LedgerError, Record, RecordedNetns};
use crate::multus::cache::{self, MultusCache, Remembered};
use crate::plan::{Attachment, Role};
use crate::pod::{Pod, without_annotations};
use crate::prepare::primary;
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::request::Sandbox;
use cni::result::AttachmentResult;

/// How long DEL of a network fails before it is given up whose ADD was refused in the same words,
/// and whose interface is not there.
const HOPELESS: Duration = Duration::from_secs(60);

/// The keys that say whether there is a primary, and which. Unread, they could hide one whose
/// addresses a pod without a record still has.
pub(super) const PRIMARY_KEYS: [&str; 2] = ["clusterNetwork", "delegates"];

pub(super) fn del(session: &mut Session<'_>, sandbox: &Sandbox) -> Result<(), Error> {
    let about = |error: Error| match Pod::from_args(&sandbox.args) {
        Ok(pod) => error.about(format!("pod {pod}")),
        Err(_) => error.about(format!("container {}", sandbox.container)),
    };
    let deadline = Deadline::after(super::limit::DEL);
    // Stopping halfway would leave more behind than going on, which ends within the limit.
    session.delegates.signals().ignore_stop();
    // A DEL of a pod that asked for nothing costs a few looks, and no lock.
    let mut cache = None;
    if !session.ledger.has_traces(&key_of(sandbox)) {
        cache = cache::find(&session.config.state_dir, &sandbox.container);
        if cache.is_none() {
            return without_record(session, sandbox, None, deadline).map_err(about);
        }
    }
    let _lock = lock(session, sandbox, deadline).map_err(about)?;
    let record = session.ledger.read(&key_of(sandbox));
    if let Ok(None) | Err(LedgerError::Unreadable { .. } | LedgerError::Stuck { .. }) = record {
        cache = cache.or_else(|| cache::find(&session.config.state_dir, &sandbox.container));
    }
    match record {
        Ok(Some(record)) => tear_down(session, &record, &sandbox.netns, deadline).map_err(about),
        Ok(None) => without_record(session, sandbox, cache, deadline).map_err(about),
        Err(error @ (LedgerError::Unreadable { .. } | LedgerError::Stuck { .. })) => {
            log::error!("{error}; what it held is left to GC, and to whoever reads it");
            without_record(session, sandbox, cache, deadline).map_err(about)
        }
        Err(error) => Err(about(error.into())),
    }
}

/// Teardown goes on without a lock where the disk is full or read-only.
fn lock(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    deadline: Deadline,
) -> Result<Option<crate::ledger::Lock>, Error> {
    match session.hold(&sandbox.container, deadline.share(2)) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ (LedgerError::Busy(_) | LedgerError::Stopped)) => Err(error.into()),
        Err(error) => {
            log::warn!("{error}");
            Ok(None)
        }
    }
}

/// Tears down what a record holds. The lock of the container must be held. The record goes when
/// nothing of it is left; `netns` is what the runtime says.
///
/// # Errors
/// One [`Error`] that lists what remains.
pub(super) fn tear_down(
    session: &mut Session<'_>,
    record: &Record,
    netns: &str,
    deadline: Deadline,
) -> Result<(), Error> {
    if record.complete.is_none() {
        delegate::reap_orphaned_plugins(&record.plan.key.container);
    }
    let netns = living_netns(record, netns);
    let remaining: Vec<_> = record
        .remaining()
        .map(|(at, attachment, result)| (at, attachment, result.cloned()))
        .collect();
    let mut failures: Vec<(usize, &Attachment, Vec<AttachError>)> = Vec::new();
    for (left, (at, attachment, result)) in remaining.into_iter().enumerate().rev() {
        let place = Place { container: &record.plan.key.container, netns: &netns };
        let mut attacher = session.attacher(place);
        let mut failed = attacher.undo(attachment, result.as_ref(), deadline.share(left + 1));
        if record.refusals.contains_key(&at) && never_was(attachment, place, &failed) {
            failed.clear();
        }
        if failed.is_empty() {
            note(session, record, &Event::Gone(at));
        } else {
            failures.push((at, attachment, failed));
        }
    }
    if !failures.is_empty() {
        give_up(session, record, &netns, &mut failures);
    }
    finish(session, record, &failures)
}

fn finish(
    session: &Session<'_>,
    record: &Record,
    failures: &[(usize, &Attachment, Vec<AttachError>)],
) -> Result<(), Error> {
    let sentences: Vec<_> =
        failures.iter().flat_map(|(_, _, failed)| failed).map(ToString::to_string).collect();
    if failures.is_empty() || !session.config.retry_delete {
        // On a read-only disk the record stays; GC removes it, and running DEL again is harmless.
        if let Err(error) = session.ledger.remove(&record.plan.key) {
            log::warn!("{error}");
        }
    }
    if sentences.is_empty() {
        return Ok(());
    }
    let problem = format!(
        "{} of {} networks could not be torn down: {}",
        failures.len(),
        record.plan.attachments.len(),
        sentences.join("; ")
    );
    let code = if let [(_, _, failed)] = failures { code_of(failed) } else { Code::TEARDOWN };
    Err(Error::new(code, problem))
}

/// The code of the one plugin that failed, or our own for several.
fn code_of(failed: &[AttachError]) -> Code {
    match failed {
        [only] => only.to_protocol().code,
        _ => Code::TEARDOWN,
    }
}

/// Extra networks that have resisted for too long become orphans, so that the pod can go. The
/// primary never does: its addresses are the cluster's.
fn give_up(
    session: &Session<'_>,
    record: &Record,
    netns: &str,
    failures: &mut Vec<(usize, &Attachment, Vec<AttachError>)>,
) {
    let resisted_for = resisted_for(session, record);
    let drops_at_once = !session.config.retry_delete;
    failures.retain(|(at, attachment, failed)| {
        let is_hopeless = record.refusals.get(at).is_some_and(|words| repeats(words, failed))
            && absence::has_no_interface(attachment, netns);
        let limit = if is_hopeless { HOPELESS } else { Duration::MAX };
        let resisted = resisted_for >= session.config.delete_give_up.min(limit);
        if attachment.role == Role::Primary || !(resisted || drops_at_once) {
            return true;
        }
        let reason = failed.first().map(ToString::to_string).unwrap_or_default();
        match session.ledger.orphan(record, *at) {
            Ok(()) => log::error!("given up, and kept as an orphan for GC to try again: {reason}"),
            Err(error) => {
                log::warn!("{error}");
                return true;
            }
        }
        note(session, record, &Event::Gone(*at));
        // With retryDeleteOnError off, the runtime still hears of it once, as from Multus.
        !resisted
    });
}

/// Whether DEL fails in the words in which ADD was refused.
fn repeats(words: &str, failed: &[AttachError]) -> bool {
    let said = failed.iter().filter_map(AttachError::refusal);
    // A plugin that says nothing repeats nothing: every text ends with an empty one.
    said.filter(|said| !said.is_empty() && !words.is_empty())
        .any(|said| said.ends_with(words) || words.ends_with(said))
}

/// Whether an attachment whose ADD was refused for good is proven to have left nothing, so that it
/// needs no successful DEL: what its plugins have left of a link in the sandbox is removed first. A
/// sandbox that is gone proves nothing.
pub(super) fn never_was(attachment: &Attachment, place: Place<'_>, failed: &[AttachError]) -> bool {
    let (Some(first), Ok(Some(netns))) = (failed.first(), netns_at(place.netns)) else {
        return false;
    };
    delegate::reap_orphaned_plugins(place.container);
    let proven = absence::remove_link(attachment, &netns)
        .and_then(|()| absence::prove(attachment, place.container, &netns));
    match proven {
        Ok(()) => {
            log::warn!(
                "{first}; its ADD was refused as well, and nothing of it is there: it counts as torn down"
            );
            true
        }
        Err(trace) => {
            log::warn!(
                "network \"{}\" whose ADD was refused stays recorded: {trace}",
                attachment.label
            );
            false
        }
    }
}

/// How long DEL has failed, by the monotonic clock; a start of the node begins anew.
fn resisted_for(session: &Session<'_>, record: &Record) -> Duration {
    if record.failing_since.is_none() {
        note(session, record, &Event::Failing(now()));
    }
    let now = moment();
    match &record.resisting_since {
        Some(then) if then.boot == now.boot => {
            Duration::from_secs(now.uptime.saturating_sub(then.uptime))
        }
        _ => {
            note(session, record, &Event::Resisting(now));
            Duration::ZERO
        }
    }
}

pub(super) fn note(session: &Session<'_>, record: &Record, event: &Event) {
    let noted =
        session.ledger.journal(&record.plan.key).and_then(|mut journal| journal.append(event));
    if let Err(error) = noted {
        log::warn!("{error}");
    }
}

/// The path of the record's namespace, or nothing once it is gone. A path alone proves nothing: it
/// may belong to another sandbox by now.
pub(super) fn living_netns(record: &Record, given: &str) -> String {
    living_netns_of(&record.plan.netns, given)
}

/// The same for what a record says of its namespace.
pub(super) fn living_netns_of(recorded: &RecordedNetns, given: &str) -> String {
    if recorded.is_of_boot(&boot_id()) == Some(false) {
        return String::new();
    }
    let is_it = |path: &&str| {
        let Some(netns) = netns_at(path).ok().flatten() else { return false };
        // The runtime knows where it has mounted its sandbox, and is not held up. A process'
        // number, and what a record says, may lead elsewhere by now.
        let is_certain = *path == given && !given.starts_with("/proc/");
        if is_certain { netns.id() == recorded.id } else { recorded.is(&netns) }
    };
    [given, &recorded.path].into_iter().find(is_it).unwrap_or_default().to_owned()
}

/// A pod without a record: it asked for nothing, its ADD failed, it is gone already, or it is older
/// than Braid's installation. The primary's DEL is harmless in each case; what Multus attached is
/// in Multus's cache.
fn without_record(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    cache: Option<MultusCache>,
    deadline: Deadline,
) -> Result<(), Error> {
    let recalled = cache.as_ref().map(|cache| recall(session, sandbox, cache)).unwrap_or_default();
    let known = recalled.len();
    let remembered = unrecorded(session, sandbox, recalled)?;
    // A primary that the configuration has added is looked up anew at each DEL, and stays out of
    // records.
    if let Some(cache) = &cache
        && (1..=known).contains(&remembered.len())
    {
        match adoption::adopt(session, sandbox, cache, &remembered, deadline.share(4)) {
            Ok(Some(record)) => return tear_down(session, &record, &sandbox.netns, deadline),
            Ok(None) => {}
            Err(error) => log::warn!("{error}"),
        }
    }
    let netns =
        netns_at(&sandbox.netns).ok().flatten().map(|_| sandbox.netns.as_str()).unwrap_or_default();
    let mut failures = Vec::new();
    for (left, Remembered { attachment, result }) in remembered.iter().enumerate().rev() {
        let place = Place { container: &sandbox.container, netns };
        let mut attacher = session.attacher(place);
        failures.extend(attacher.del(attachment, result.as_ref(), deadline.share(left + 1)));
    }
    if failures.is_empty() {
        if let Some(cache) = &cache {
            cache.remove(&sandbox.container, &remembered);
        }
        return Ok(());
    }
    let sentences: Vec<_> = failures.iter().map(ToString::to_string).collect();
    Err(Error::new(code_of(&failures), sentences.join("; ")))
}

/// What may be attached to a sandbox that no record is of, the primary first. Multus may have run
/// another primary than the one that is configured now, so its word counts first.
fn unrecorded(
    session: &Session<'_>,
    sandbox: &Sandbox,
    recalled: Vec<Remembered>,
) -> Result<Vec<Remembered>, Error> {
    let mut found = recalled;
    session.config.require(&PRIMARY_KEYS)?;
    if !session.config.is_delegating() {
        found.retain(|remembered| remembered.attachment.role == Role::Extra);
        return Ok(found);
    }
    if found.first().is_none_or(|first| first.attachment.role == Role::Extra) {
        let primary = current_primary(session, sandbox)?.into_iter();
        found.splice(0..0, primary.map(|attachment| Remembered { attachment, result: None }));
    }
    for Remembered { attachment, result } in
        found.iter_mut().filter(|remembered| remembered.attachment.role == Role::Primary)
    {
        *result = result.take().or_else(|| requested_result(session, attachment));
    }
    Ok(found)
}

fn recall(session: &Session<'_>, sandbox: &Sandbox, cache: &MultusCache) -> Vec<Remembered> {
    cache.attachments(sandbox, session.config.version).unwrap_or_else(|problem| {
        log::error!("multus's record {} {problem}; it is set aside", cache.path().display());
        cache.set_aside();
        Vec::new()
    })
}

/// The primary of a delegating Braid as it is configured now. Where there is none yet, nothing can
/// have been attached through it.
pub(super) fn current_primary(
    session: &Session<'_>,
    sandbox: &Sandbox,
) -> Result<Option<Attachment>, Error> {
    let config = session.config;
    config.require(&PRIMARY_KEYS)?;
    let Some(source) = &config.primary else { return Ok(None) };
    config.require(source.places())?;
    let mut definitions = session.definitions();
    let network = match primary::resolve(source, config, &mut definitions) {
        Ok(resolved) => resolved.network,
        Err(error) if error.is_transient() => {
            log::warn!("{error}");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let (interface, args) = (sandbox.interface.clone(), sandbox.args.clone());
    let attachment =
        Attachment::new(network.name.to_string(), Role::Primary, interface, network, args);
    Ok(Some(Attachment {
        runtime_config: without_annotations(&config.from_runtime.runtime_config),
        ..attachment
    }))
}

/// The result that an attachment's plugins get as `prevResult` where only the request has one, in
/// their version: plugins refuse every other. One that cannot be read is none.
pub(super) fn requested_result(session: &Session<'_>, attachment: &Attachment) -> Option<Value> {
    let result = AttachmentResult::read_lenient(
        session.config.from_runtime.prev_result.as_ref()?,
        session.config.version,
    );
    result.ok().map(|result| result.write(attachment.network.version))
}
