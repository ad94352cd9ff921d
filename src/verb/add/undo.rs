//! Undoes an ADD that failed.

use super::Addition;
use super::growth::Former;
use crate::attach::{AttachError, Place};
use crate::ledger::Event;
use crate::verb::{key_of, limit, teardown};
use cni::deadline::Deadline;
use cni::error::Error;

impl Addition<'_, '_> {
    /// Undoes in reverse what was done. What resists stays in the record for DEL.
    pub(super) fn undo(&mut self, error: Error) -> Error {
        let deadline = Deadline::after(limit::UNDO);
        self.session.delegates.signals().ignore_stop();
        if let Some(moved) = self.moved.take() {
            // A sandbox that cannot be asked any more has no routes to put back.
            let _ = self.inside.netlink().map(|netlink| moved.undo(netlink));
        }
        let mut failures: Vec<AttachError> = Vec::new();
        for (at, attachment) in
            self.plan.attachments.iter().enumerate().take(self.tried).skip(self.first).rev()
        {
            let result = self.results.get(at).cloned();
            let share = deadline.share(at + 1 - self.first);
            let refusal = self.refusal.take().filter(|_| result.is_none());
            let place = Place { container: &self.sandbox.container, netns: &self.sandbox.netns };
            let is_refused = refusal.is_some();
            let failed =
                teardown::one(self.session, place, attachment, result.as_ref(), is_refused, share);
            if failed.is_empty() {
                let _ = self.note(&Event::Gone(at));
            } else if let Some(words) = refusal {
                let _ = self.note(&Event::Refused(at, words));
            }
            failures.extend(failed);
        }
        self.close_record(failures.is_empty(), deadline);
        if failures.is_empty() {
            return error;
        }
        let left: Vec<_> = failures.iter().map(ToString::to_string).collect();
        let details =
            [error.details.clone(), format!("not undone yet, left to DEL: {}", left.join("; "))];
        error.with_details(
            details.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; "),
        )
    }

    /// Removes the record once nothing is left; otherwise marks what was never tried as gone.
    fn close_record(&mut self, undone: bool, deadline: Deadline) {
        if self.journal.is_none() {
            return;
        }
        if let Some(former) = self.former.filter(|_| undone) {
            return self.restore_record(former, deadline);
        }
        for at in self.tried..self.plan.attachments.len() {
            let _ = self.note(&Event::Gone(at));
        }
        let _ = self.journal.as_mut().map(|journal| journal.wait_for_disk(deadline));
        if undone && let Err(error) = self.session.ledger.remove(&key_of(self.sandbox)) {
            log::warn!("{error}");
        }
    }

    /// Shrinks the record of a running pod to what it was. If that cannot be written, what is
    /// noted as gone stays in it until the next change.
    fn restore_record(&mut self, former: Former<'_>, deadline: Deadline) {
        for at in self.first..self.plan.attachments.len() {
            let _ = self.note(&Event::Gone(at));
        }
        let ledger = &self.session.ledger;
        let restored = match former.is_recorded {
            true => ledger
                .replace(former.record)
                .and_then(|mut journal| journal.wait_for_disk(deadline)),
            false => ledger.remove(&former.record.plan.key),
        };
        if let Err(error) = restored {
            log::warn!("{error}");
        }
    }
}
