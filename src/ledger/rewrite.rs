//! A record that grows or shrinks: it is written whole beside its place and renamed, so that a call
//! that is killed leaves the one or the other, and Braid before 0.2 reads it as any record.

use std::io;

use super::record::{self, Event, Record, State};
use super::{Journal, Ledger, LedgerError, MAX_RECORD_BYTES};

impl Record {
    /// What has happened so far, as few events as say it.
    fn events(&self) -> Vec<Event> {
        let states = self.states.iter().enumerate();
        let state = |(at, state): (usize, &State)| match state {
            State::Planned => None,
            State::Attached(result) => Some(Event::Attached(at, result.clone())),
            State::Gone => Some(Event::Gone(at)),
        };
        let mut events: Vec<Event> = states.filter_map(state).collect();
        let refusals = self.refusals.iter();
        events.extend(refusals.map(|(at, words)| Event::Refused(*at, words.clone())));
        // It clears what is pending, and so comes before it.
        let complete = self.complete.clone();
        events.extend(complete.map(|snapshot| Event::Complete(Box::new(snapshot))));
        events.extend(self.pending.iter().map(|at| Event::Pending(*at)));
        events.extend(self.failing_since.map(Event::Failing));
        events.extend(self.resisting_since.clone().map(Event::Resisting));
        events
    }
}

impl Ledger {
    /// Writes `record` in place of the one of its key, if there is one. The lock of the container
    /// must be held.
    ///
    /// # Errors
    /// As [`Ledger::create`], and if the results have no room; the record is as it was then.
    pub fn replace(&self, record: &Record) -> Result<Journal, LedgerError> {
        let key = &record.plan.key;
        let line = record::plan_line(&record.plan).map_err(self.failure("encode", key))?;
        let events: io::Result<Vec<Vec<u8>>> =
            record.events().iter().map(record::event_line).collect();
        let events = events.map_err(self.failure("encode", key))?.concat();
        let bytes = u64::try_from(line.len() + events.len()).unwrap_or(u64::MAX);
        if bytes > MAX_RECORD_BYTES {
            let problem = format!(
                "the results of the pod's networks are too large: a record of them may have \
                 {MAX_RECORD_BYTES} bytes"
            );
            return Err(self.failure("write", key)(io::Error::other(problem)).into());
        }
        self.write(key, line, &events)
    }
}
