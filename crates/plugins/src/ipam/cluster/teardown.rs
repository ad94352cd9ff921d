//! DEL and GC: what the node's journal holds is given back, at once or later.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cni::deadline::Deadline;
use cni::error::Error;
use cni::plugin::{Call, Context};

use super::attachment::journal_error;
use super::config::Config;
use super::entry::Owner;
use super::give_back::{self, Ended};
use super::journal::{Header, Journal, JournalError, Recorded, Written};
use super::place;
use super::store::{OpenStore, Opened, StoreError};
use crate::mark;

/// How long DEL waits for an ADD of the same attachment.
const HELD: Duration = Duration::from_secs(1);

/// DEL: gives back what the journal holds for the attachment.
///
/// # Errors
/// [`Error`] only if what is due cannot be noted.
pub(super) fn del(
    call: &Call,
    stores: &dyn OpenStore,
    context: &mut Context<'_>,
) -> Result<(), Error> {
    let owner = {
        let attachment = call.attachment()?;
        (attachment.container.to_string(), attachment.interface.to_string())
    };
    let config = Config::read(call);
    let journal = journal_of(call, &config);
    // An ADD that is still at work hears of it at its end.
    let _lock = journal.hold_to_end(&owner.0, &owner.1, context.deadline.within(HELD));
    journal.forget_begun(&owner.0, &owner.1);
    let recorded = journal.find(&owner.0, &owner.1);
    let ended = match recorded {
        Ok(Some(recorded)) => {
            give_back::end(&journal, &recorded, stores, context.deadline).map_err(journal_error)?
        }
        Ok(None) | Err(JournalError::Unreadable { .. }) => match config {
            Ok(config) => without_record(call, &config, &journal, stores, context)?,
            // ADD has refused it, too.
            Err(_) => Ended::Unasked,
        },
        Err(error) => return Err(journal_error(error)),
    };
    if let Ended::Answered(server) = ended {
        give_back::a_few(&journal, &server, stores, context.deadline);
    }
    Ok(())
}

/// The journal, also if the rest of the configuration is not valid.
fn journal_of(call: &Call, config: &Result<Config, Error>) -> Journal {
    let named = || {
        let ipam = cni::keys::get(call.object(), "ipam")?.as_object()?;
        Some(cni::keys::get(ipam, "dataDir")?.as_str()?.to_owned()).filter(|path| !path.is_empty())
    };
    match config {
        Ok(config) => Journal::new(&config.directory),
        Err(_) => Journal::new(named().unwrap_or_else(|| super::JOURNAL.to_owned()).as_ref()),
    }
}

/// An attachment that whereabouts may have made, before this plugin took its place: its entry is
/// looked for in the pools.
fn without_record(
    call: &Call,
    config: &Config,
    journal: &Journal,
    stores: &dyn OpenStore,
    context: &Context<'_>,
) -> Result<Ended, Error> {
    let Ok(owner) = place::owner(call) else { return Ok(Ended::Unasked) };
    if config.ranges.is_empty() || config.access.kubeconfig.is_none() || config.claim.is_some() {
        return Ok(Ended::Unasked);
    }
    if journal.is_due(&owner.container, &owner.interface) {
        return Ok(Ended::Unasked);
    }
    let deadline = context.deadline.within(give_back::TRY);
    let found = stores.open(&config.access, deadline).and_then(|mut opened| {
        let recorded = possible(call, config, &owner, &mut opened, deadline)?;
        Ok((opened, recorded))
    });
    let (mut opened, recorded) = match found {
        Ok(found) => found,
        Err(error) => {
            log::warn!("whether an address is to be given back is not known: {error}");
            return Ok(Ended::Unanswered);
        }
    };
    match give_back::release(&recorded, &mut opened, None, false, deadline) {
        Ok(()) => Ok(Ended::Answered(opened.server)),
        Err(error) => {
            log::warn!("whether an address is to be given back is not known yet: {error}");
            journal.add_due(&recorded.header, &recorded.written).map_err(journal_error)?;
            Ok(Ended::Unanswered)
        }
    }
}

/// What the attachment may hold in each of its pools.
fn possible(
    call: &Call,
    config: &Config,
    owner: &Owner,
    opened: &mut Opened,
    deadline: Deadline,
) -> Result<Recorded, StoreError> {
    let namespace = opened.namespace.clone();
    let pools = place::pools(config, &namespace, &mut *opened.store, deadline)?;
    let header = place::header(call, config, owner, opened);
    Ok(Recorded {
        header: Header { by_whereabouts: true, sticky: None, ..header },
        written: pools.iter().map(|(pool, _)| Written::new(pool, None)).collect(),
        path: PathBuf::new(),
    })
}

/// GC: ends the attachments of the network that are in the journal and not in the runtime's list.
///
/// # Errors
/// [`Error`] if the journal cannot be read or written.
pub(super) fn gc(
    call: &Call,
    stores: &dyn OpenStore,
    context: &mut Context<'_>,
) -> Result<(), Error> {
    let started = SystemTime::now();
    let Some(valid) = call.valid_attachments()? else { return Ok(()) };
    let journal = journal_of(call, &Config::read(call));
    let listed_at = mark::listed_at(call, started);
    let listed_at = listed_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let is_stale = |recorded: &Recorded| {
        let Header { network, caller, container, interface, made, .. } = &recorded.header;
        network == call.network.as_str()
            && caller == mark::caller(call)
            && *made < listed_at
            && !valid.iter().any(|it| it.container == *container && it.interface == *interface)
    };
    let mut answers = true;
    for recorded in journal.all_held().map_err(journal_error)?.iter().filter(|it| is_stale(it)) {
        let Header { podref, interface, .. } = &recorded.header;
        log::info!(
            "the address of pod {podref} on {interface} is given back: the attachment is gone"
        );
        if answers && !context.deadline.remaining().is_zero() {
            let ended = give_back::end(&journal, recorded, stores, context.deadline);
            answers = ended.map_err(journal_error)? != Ended::Unanswered;
        } else {
            journal.postpone(recorded).map_err(journal_error)?;
        }
    }
    journal.sweep_locks();
    give_back::all(&journal, stores, context.deadline).map_err(journal_error)
}
