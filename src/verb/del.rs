//! DEL (CNI 1.1.0, section 2): tear down what the record holds. Neither the API nor an annotation
//! is asked. A pod without a record is torn down by the primary's DEL and by what Multus remembers.

use serde_json::Value;

use super::teardown::{Teardown, code_of};
use super::{Session, adoption, key_of, netns_at};
use crate::attach::Place;
use crate::ledger::LedgerError;
use crate::multus::cache::{self, MultusCache, Remembered};
use crate::plan::{Attachment, Role};
use crate::pod::{Pod, for_primary};
use crate::prepare::primary;
use cni::deadline::Deadline;
use cni::error::Error;
use cni::request::Sandbox;
use cni::result::AttachmentResult;

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
        Ok(Some(record)) => {
            Teardown::of(session, &record, &sandbox.netns, deadline).run().map_err(about)
        }
        Ok(None) => without_record(session, sandbox, cache, deadline).map_err(about),
        Err(error @ (LedgerError::Unreadable { .. } | LedgerError::Stuck { .. })) => {
            log::error!("{error}; what it held is left to GC and to the administrator");
            without_record(session, sandbox, cache, deadline).map_err(about)
        }
        Err(error) => Err(about(error.into())),
    }
}

/// Teardown goes on without a lock if the disk is full or read-only.
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
            Ok(Some(record)) => {
                return Teardown::of(session, &record, &sandbox.netns, deadline).run();
            }
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
    Err(Error::new(code_of(failures.iter()), sentences.join("; ")))
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

/// The primary of a delegating Braid as it is configured now. If there is none yet, nothing can
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
    let runtime_config = for_primary(&config.from_runtime.runtime_config, &network);
    let attachment =
        Attachment::new(network.name.to_string(), Role::Primary, interface, network, args);
    Ok(Some(Attachment { runtime_config, ..attachment }))
}

/// The result that an attachment's plugins get as `prevResult` if only the request has one, in
/// their version: plugins refuse every other. One that cannot be read is none.
pub(super) fn requested_result(session: &Session<'_>, attachment: &Attachment) -> Option<Value> {
    let result = AttachmentResult::read_lenient(
        session.config.from_runtime.prev_result.as_ref()?,
        session.config.version,
    );
    result.ok().map(|result| result.write(attachment.network.version))
}
