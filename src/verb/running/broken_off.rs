//! Attaches and detaches that were killed, of pods that run on: nobody may ever change such a pod
//! again, and it may lack its default route until somebody does. Every call removes its lock, so
//! that one which nobody holds is a killed call's, and only its container's records are read.

use std::time::Duration;

use super::finish;
use crate::ledger::{Key, LedgerError};
use crate::verb::Session;
use cni::deadline::Deadline;
use cni::error::{Code, Error};

/// Takes back what killed attaches and detaches of the request's network have left, until
/// `deadline`. Returns the pods, and an [`Error`] for each of which something resists: it stays
/// recorded.
pub(in crate::verb) fn end(
    session: &mut Session<'_>,
    deadline: Deadline,
) -> (Vec<String>, Vec<Error>) {
    let (mut ended, mut failures) = (Vec::new(), Vec::new());
    let locked = session.ledger.locked().unwrap_or_else(|error| {
        failures.push(error.into());
        Vec::new()
    });
    for container in locked {
        if deadline.remaining().is_zero() {
            break;
        }
        match session.hold(&container, Deadline::after(Duration::ZERO)) {
            Ok(lock) if lock.was_left() => {
                for key in session.ledger.keys_of(&container).unwrap_or_default() {
                    match end_one(session, &key, deadline) {
                        Ok(pod) => ended.extend(pod),
                        Err(error) => failures.push(error),
                    }
                }
            }
            // It has ended meanwhile, or is at work.
            Ok(_) | Err(LedgerError::Busy(_) | LedgerError::Stopped) => {}
            Err(error) => failures.push(error.into()),
        }
    }
    (ended, failures)
}

/// An ADD that was killed is the runtime's affair, and so is a sandbox that is gone.
fn end_one(
    session: &mut Session<'_>,
    key: &Key,
    deadline: Deadline,
) -> Result<Option<String>, Error> {
    let Some(record) = session.ledger.read(key)? else { return Ok(None) };
    let is_ours = record.plan.network == session.config.network;
    if !is_ours || record.complete.is_none() || record.pending.is_empty() {
        return Ok(None);
    }
    let pod = record.plan.pod.clone();
    // The lock that tells of it is gone behind this: it is not begun a second time.
    let before = session.delegates.signals().set_ignoring_stop(true);
    let outcome = finish(session, &record, deadline.share(2));
    session.delegates.signals().set_ignoring_stop(before);
    match outcome {
        Ok(()) => Ok(Some(pod)),
        Err(error) if error.code == Code::UNKNOWN_CONTAINER => Ok(None),
        Err(error) => Err(error.about(format!("pod {pod}"))),
    }
}
