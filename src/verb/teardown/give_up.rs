//! What becomes of networks that resist: after `deleteGiveUp` an extra one is an orphan, so that
//! the pod can go.

use std::time::Duration;

use super::{Failure, Teardown, note};
use crate::attach::{AttachError, absence};
use crate::ledger::Event;
use crate::plan::Role;
use crate::verb::{moment, now};

/// How long DEL of a network fails before it is given up whose ADD was refused in the same words,
/// and whose interface is not there.
const HOPELESS: Duration = Duration::from_secs(60);

impl Teardown<'_, '_> {
    /// Extra networks that have resisted for too long become orphans. The primary never does: its
    /// addresses are the cluster's.
    pub(super) fn give_up(&self, failures: &mut Vec<Failure<'_>>) {
        let resisted_for = self.resisted_for();
        let drops_at_once = !self.session.config.retry_delete;
        failures.retain(|failure| {
            let resisted = resisted_for >= self.limit(failure);
            if failure.attachment.role == Role::Primary || !(resisted || drops_at_once) {
                return true;
            }
            // With retryDeleteOnError off, the runtime still hears of it once, as from Multus.
            !self.orphan(failure) || !resisted
        });
    }

    fn limit(&self, failure: &Failure<'_>) -> Duration {
        let words = self.record.refusals.get(&failure.at);
        let is_hopeless = words.is_some_and(|words| repeats(words, &failure.errors))
            && absence::has_no_interface(failure.attachment, &self.netns);
        let limit = if is_hopeless { HOPELESS } else { Duration::MAX };
        self.session.config.delete_give_up.min(limit)
    }

    /// Keeps the attachment as an orphan; whether that could be written.
    fn orphan(&self, failure: &Failure<'_>) -> bool {
        let reason = failure.errors.first().map(ToString::to_string).unwrap_or_default();
        if let Err(error) = self.session.ledger.orphan(self.record, failure.at) {
            log::warn!("{error}");
            return false;
        }
        log::error!("given up, and kept as an orphan for GC to try again: {reason}");
        note(self.session, self.record, &Event::Gone(failure.at));
        true
    }

    /// How long DEL has failed, by the monotonic clock; a start of the node begins anew.
    fn resisted_for(&self) -> Duration {
        let note = |event: &Event| note(self.session, self.record, event);
        if self.record.failing_since.is_none() {
            note(&Event::Failing(now()));
        }
        let now = moment();
        match &self.record.resisting_since {
            Some(then) if then.boot == now.boot => {
                Duration::from_secs(now.uptime.saturating_sub(then.uptime))
            }
            _ => {
                note(&Event::Resisting(now));
                Duration::ZERO
            }
        }
    }
}

/// Whether DEL fails in the words in which ADD was refused.
fn repeats(words: &str, failed: &[AttachError]) -> bool {
    let said = failed.iter().filter_map(AttachError::refusal);
    // A plugin that says nothing repeats nothing: every text ends with an empty one.
    said.filter(|said| !said.is_empty() && !words.is_empty())
        .any(|said| said.ends_with(words) || words.ends_with(said))
}
