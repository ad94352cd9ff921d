//! What a change of a running pod leaves behind for those who watch a node, as the runtime's calls
//! do.

use std::time::Instant;

use crate::ledger::Key;
use crate::observe::event_log::Subject;
use crate::verb::{Session, record_event};
use cni::error::Error;

/// The verb of an attach.
pub(super) const ATTACH: &str = "ATTACH";
/// The verb of a detach.
pub(super) const DETACH: &str = "DETACH";

/// Makes a change and notes what came of it. `change` says which pod it is once it knows.
pub(super) fn observed<'a, T>(
    session: &mut Session<'a>,
    verb: &'static str,
    key: &Key,
    change: impl FnOnce(&mut Session<'a>, &mut Option<String>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut pod = None;
    if !record_event::is_wanted(session.config, session.request) {
        return change(session, &mut pod);
    }
    session.delegates.keep_timings();
    let started = Instant::now();
    let outcome = change(session, &mut pod);
    let sandbox = Some((key.container.as_str(), key.interface.as_str()));
    let subject = Subject { verb, pod, sandbox };
    record_event::observe(session, subject, outcome.as_ref().err(), started.elapsed());
    outcome
}
