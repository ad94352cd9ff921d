//! The counts as text: Prometheus's exposition format 0.0.4, written whole and read back.
//!
//! Every series is there from the first call on, zeros too, so that rates can be told from the
//! start. Labels have few values, so the file stays small whatever tenants do.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::ledger::Census;
use crate::observe::event_log::Outcome;

use super::Observation;

/// What a file of ours begins with.
pub(super) const FIRST_LINE: &str = "# HELP braid_operations_total ";

/// The verbs that are counted, and the changes of running pods.
const VERBS: [&str; 7] = ["ADD", "DEL", "CHECK", "STATUS", "GC", "ATTACH", "DETACH"];

/// Those that Braid counts since 0.2: a file from before has none of them.
const NEW_VERBS: [&str; 2] = ["ATTACH", "DETACH"];

/// The upper bounds of the histogram's buckets, in seconds as they are written and in microseconds.
const BOUNDS: [(&str, u128); 14] = [
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("10", 10_000_000),
    ("30", 30_000_000),
    ("100", 100_000_000),
];

/// All that is counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    verbs: [OfVerb; VERBS.len()],
    /// What the ledger holds.
    pub gauges: Census,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct OfVerb {
    /// By outcome.
    operations: [u64; Outcome::ALL.len()],
    /// By bound, each with the calls of that bound alone.
    buckets: [u64; BOUNDS.len()],
    /// Calls beyond the last bound.
    beyond: u64,
    microseconds: u64,
}

/// What is wrong with a file of counts.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidCounts {
    /// A line is no sample.
    #[error("line {0} is no sample")]
    Line(usize),
    /// A sample is missing.
    #[error("{0} is missing")]
    Missing(String),
    /// A bucket holds less than the one before it.
    #[error("the buckets of {0} do not grow")]
    Buckets(&'static str),
}

impl Counts {
    /// Adds a call; one of another verb counts nowhere.
    pub(crate) fn add(&mut self, observation: Observation) {
        let Some(at) = VERBS.iter().position(|verb| *verb == observation.verb) else { return };
        let Some(of_verb) = self.verbs.get_mut(at) else { return };
        of_verb.add(observation.outcome, observation.took);
    }
}

impl OfVerb {
    fn add(&mut self, outcome: Outcome, took: Duration) {
        let outcomes = Outcome::ALL.iter().zip(&mut self.operations);
        outcomes
            .filter(|(known, _)| **known == outcome)
            .for_each(|(_, count)| *count = count.saturating_add(1));
        let microseconds = took.as_micros();
        let mut buckets = BOUNDS.iter().zip(&mut self.buckets);
        match buckets.find(|((_, bound), _)| microseconds <= *bound) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.beyond = self.beyond.saturating_add(1),
        }
        self.microseconds =
            self.microseconds.saturating_add(u64::try_from(microseconds).unwrap_or(u64::MAX));
    }

    fn write(&self, verb: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sum: u64 = 0;
        for ((bound, _), count) in BOUNDS.iter().zip(self.buckets) {
            sum = sum.saturating_add(count);
            writeln!(f, "{} {sum}", bucket(verb, bound))?;
        }
        let count = sum.saturating_add(self.beyond);
        writeln!(f, "{} {count}", bucket(verb, "+Inf"))?;
        let (seconds, rest) = (self.microseconds / 1_000_000, self.microseconds % 1_000_000);
        writeln!(f, "{} {seconds}.{rest:06}", sum_of(verb))?;
        writeln!(f, "braid_operation_duration_seconds_count{{verb=\"{verb}\"}} {count}")
    }

    fn read(verb: &'static str, samples: &Samples<'_>) -> Result<Self, InvalidCounts> {
        let mut of_verb = Self::default();
        for (outcome, count) in Outcome::ALL.iter().zip(&mut of_verb.operations) {
            *count = samples.count(&operations(verb, *outcome))?;
        }
        let mut sum = 0;
        let difference = |sum: &mut u64, until: u64| {
            let count = until.checked_sub(*sum).ok_or(InvalidCounts::Buckets(verb));
            *sum = until;
            count
        };
        for ((bound, _), count) in BOUNDS.iter().zip(&mut of_verb.buckets) {
            *count = difference(&mut sum, samples.count(&bucket(verb, bound))?)?;
        }
        of_verb.beyond = difference(&mut sum, samples.count(&bucket(verb, "+Inf"))?)?;
        of_verb.microseconds = samples.microseconds(&sum_of(verb))?;
        Ok(of_verb)
    }
}

fn operations(verb: &str, outcome: Outcome) -> String {
    format!("braid_operations_total{{verb=\"{verb}\",outcome=\"{}\"}}", outcome.as_str())
}

fn bucket(verb: &str, bound: &str) -> String {
    format!("braid_operation_duration_seconds_bucket{{verb=\"{verb}\",le=\"{bound}\"}}")
}

fn sum_of(verb: &str) -> String {
    format!("braid_operation_duration_seconds_sum{{verb=\"{verb}\"}}")
}

const ATTACHMENTS: [&str; 2] =
    ["braid_attachments{role=\"primary\"}", "braid_attachments{role=\"extra\"}"];
const ORPHANS: &str = "braid_orphans";
const SET_ASIDE: &str = "braid_records_set_aside";

fn head(f: &mut fmt::Formatter<'_>, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        head(
            f,
            "braid_operations_total",
            "counter",
            "Calls of the runtime and changes of running pods, by verb and outcome.",
        )?;
        for (verb, of_verb) in VERBS.iter().zip(&self.verbs) {
            for (outcome, count) in Outcome::ALL.into_iter().zip(of_verb.operations) {
                writeln!(f, "{} {count}", operations(verb, outcome))?;
            }
        }
        let help = "How long calls and changes took, delegates included.";
        head(f, "braid_operation_duration_seconds", "histogram", help)?;
        for (verb, of_verb) in VERBS.iter().zip(&self.verbs) {
            of_verb.write(verb, f)?;
        }
        head(
            f,
            "braid_attachments",
            "gauge",
            "Attachments that are recorded on this node, by role.",
        )?;
        let [primary, extra] = ATTACHMENTS;
        writeln!(f, "{primary} {}\n{extra} {}", self.gauges.primary, self.gauges.extra)?;
        head(f, ORPHANS, "gauge", "Networks that could not be torn down and wait for GC.")?;
        writeln!(f, "{ORPHANS} {}", self.gauges.orphans)?;
        head(
            f,
            SET_ASIDE,
            "gauge",
            "Records that could not be read and wait for an administrator.",
        )?;
        writeln!(f, "{SET_ASIDE} {}", self.gauges.set_aside)?;
        head(f, "braid_build_info", "gauge", "The version of braid that wrote this last.")?;
        writeln!(f, "braid_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
    }
}

/// Samples by name and labels.
struct Samples<'t>(HashMap<&'t str, &'t str>);

impl Samples<'_> {
    fn get(&self, name: &str) -> Result<&str, InvalidCounts> {
        self.0.get(name).copied().ok_or_else(|| InvalidCounts::Missing(name.to_owned()))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn count(&self, name: &str) -> Result<u64, InvalidCounts> {
        self.get(name)?.parse().map_err(|_| InvalidCounts::Missing(name.to_owned()))
    }

    /// Seconds with six digits behind the point.
    fn microseconds(&self, name: &str) -> Result<u64, InvalidCounts> {
        let (seconds, rest) =
            self.get(name)?.split_once('.').filter(|(_, rest)| rest.len() == 6).unzip();
        let digits = format!("{}{}", seconds.unwrap_or_default(), rest.unwrap_or_default());
        digits.parse().map_err(|_| InvalidCounts::Missing(name.to_owned()))
    }
}

impl FromStr for Counts {
    type Err = InvalidCounts;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        let samples: Result<HashMap<&str, &str>, InvalidCounts> = lines
            .map(|(at, line)| line.rsplit_once(' ').ok_or(InvalidCounts::Line(at + 1)))
            .collect();
        let samples = Samples(samples?);
        let mut counts = Self::default();
        for (verb, of_verb) in VERBS.into_iter().zip(&mut counts.verbs) {
            let is_there = samples.has(&operations(verb, Outcome::Success));
            if is_there || !NEW_VERBS.contains(&verb) {
                *of_verb = OfVerb::read(verb, &samples)?;
            }
        }
        let [primary, extra] = ATTACHMENTS;
        counts.gauges = Census {
            primary: samples.count(primary)?,
            extra: samples.count(extra)?,
            orphans: samples.count(ORPHANS)?,
            set_aside: samples.count(SET_ASIDE)?,
        };
        Ok(counts)
    }
}
