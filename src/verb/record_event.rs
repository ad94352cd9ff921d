//! What a call leaves behind for those who watch a node, if the configuration wants it: a line
//! in the event log, and counts. It comes after the call's work, and never changes what came of it.

use std::time::Duration;

use super::Session;
use crate::config::Config;
use crate::ledger::{Census, Tally};
use crate::observe::event_log::{Event, Outcome, Subject};
use crate::observe::metrics::{self, Observation};
use cni::error::Error;
use cni::request::Request;
use plugins::caller::is_braid;

/// Whether the node is observed. A Braid that was started by a Braid is not the runtime's call.
pub(super) fn is_wanted(config: &Config, request: &Request) -> bool {
    (config.log.events.is_some() || config.log.metrics.is_some()) && !is_braid(&request.environment)
}

/// Writes the line and counts the call. `subject` is what the session's timings are of.
pub(super) fn observe(
    session: &Session<'_>,
    subject: Subject<'_>,
    error: Option<&Error>,
    took: Duration,
) {
    let (config, verb) = (session.config, subject.verb);
    if let Some(path) = &config.log.events {
        let timings = session.delegates.timings();
        Event::of(subject, config.network.as_str(), timings, error, took)
            .append(path, &config.log.rotation);
    }
    if let Some(path) = &config.log.metrics {
        let observation = Observation { verb, outcome: Outcome::of(error), took };
        let gauges = |tally: &mut Tally| census(session, verb, tally);
        if let Err(problem) = metrics::count(path, observation, gauges) {
            log::warn!("the call is not counted: {problem}");
        }
    }
}

/// What the ledger holds now; nothing new if the verb changes none of it.
fn census(session: &Session<'_>, verb: &str, tally: &mut Tally) -> Option<Census> {
    match verb {
        "CHECK" | "STATUS" | "VERSION" => None,
        _ => session.ledger.census(tally).ok(),
    }
}
