//! What `braid keep` shows to Prometheus: the counts of the runtime's calls as the calls have left
//! them in `metricsFile`, and what only a program that runs on can tell.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ledger::{Ledger, Listed, Record};
use crate::observe::metrics;
use crate::operator::install::MULTUS;
use crate::operator::installation::Installation;
use crate::operator::node::{self, Directories};
use crate::operator::records::{Entry, Kernel, Records, now};
use crate::operator::runtime::below;

/// How long what was read is shown again: many may ask.
const FRESH: Duration = Duration::from_secs(10);

/// The node whose state is shown.
#[derive(Debug)]
pub(super) struct Exposition {
    root: PathBuf,
    directories: Directories,
    shown: Option<(Instant, String)>,
}

/// What is read beside the counts.
#[derive(Debug, Default, Eq, PartialEq)]
struct Gauges {
    /// Whether the runtime's directory names Braid, and Multus.
    runs: [bool; 2],
    /// How long ago DEL failed first for the record that has waited longest; 0 if none waits.
    oldest_teardown: u64,
    /// Records from which the kernel differs; none if this process cannot see the sandboxes.
    drifted: Option<u64>,
}

impl Exposition {
    pub(super) fn new(root: &Path, directories: &Directories) -> Self {
        Self { root: root.to_owned(), directories: directories.clone(), shown: None }
    }

    /// The text, in Prometheus's format 0.0.4.
    pub(super) fn text(&mut self) -> String {
        if let Some((at, text)) = self.shown.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            log::trace!("shown again after {} ms", at.elapsed().as_millis());
            return text.clone();
        }
        let text = self.read();
        self.shown = Some((Instant::now(), text.clone()));
        text
    }

    fn read(&self) -> String {
        let Ok(runtime) = node::runtime(&self.directories, &self.root) else {
            return Gauges::default().to_string() + &build_info();
        };
        let directory = below(&self.root, &runtime.conf_dir);
        let places = Installation::all(&directory, &["braid"]);
        let config = places.first().and_then(|place| place.config_for_teardown().ok());
        let mut gauges = Gauges {
            runs: [!places.is_empty(), !Installation::all(&directory, &MULTUS).is_empty()],
            ..Gauges::default()
        };
        let Some(config) = config else { return gauges.to_string() + &build_info() };
        gauges.survey(&Ledger::new(&below(&self.root, &config.state_dir)), self.sees_sandboxes());
        let counts = config.log.metrics.map(|path| metrics::exposed(&below(&self.root, &path)));
        match counts {
            Some(Ok(counts)) => counts + &gauges.to_string(),
            Some(Err(problem)) => {
                log::warn!("the counts are not shown: {problem}");
                gauges.to_string() + &build_info()
            }
            None => gauges.to_string() + &build_info(),
        }
    }

    /// A container sees neither the paths nor the processes of the node's sandboxes.
    fn sees_sandboxes(&self) -> bool {
        self.root == Path::new("/")
    }
}

impl Gauges {
    /// Reads every record, one at a time. What cannot be read is another gauge's.
    fn survey(&mut self, ledger: &Ledger, sees_sandboxes: bool) {
        let Ok(records) = Records::read(ledger) else { return };
        let open = |listed: &Listed| records.open(listed).ok().flatten();
        let since = |record: &Record| record.failing_since;
        let all = records.live.iter().chain(&records.orphans).filter_map(open);
        let first = all.filter_map(|record| since(&record)).min();
        self.oldest_teardown = first.map_or(0, |first| now().saturating_sub(first));
        self.drifted = sees_sandboxes.then(|| {
            let differs = |record: &Record| {
                matches!(Entry::of(record).kernel, Kernel::Drifted | Kernel::TornDown)
            };
            let drifted = records.live.iter().filter_map(open).filter(differs).count();
            u64::try_from(drifted).unwrap_or(u64::MAX)
        });
    }
}

impl fmt::Display for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = "braid_node_network";
        gauge(f, name, "Whether the runtime's directory names a plugin for pods' networks.")?;
        for (plugin, runs) in ["braid", "multus"].iter().zip(self.runs) {
            writeln!(f, "{name}{{plugin=\"{plugin}\"}} {}", u8::from(runs))?;
        }
        let name = "braid_oldest_unfinished_teardown_seconds";
        gauge(f, name, "How long ago DEL failed first for what has waited longest.")?;
        writeln!(f, "{name} {}", self.oldest_teardown)?;
        let Some(drifted) = self.drifted else { return Ok(()) };
        let name = "braid_drifted_records";
        gauge(f, name, "Pods from whose record the kernel differs.")?;
        writeln!(f, "{name} {drifted}")
    }
}

fn gauge(f: &mut impl Write, name: &str, help: &str) -> fmt::Result {
    writeln!(f, "# HELP {name} {help}\n# TYPE {name} gauge")
}

/// The version, if no counts say it.
fn build_info() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "# HELP braid_build_info The version of braid that wrote this last.\n# TYPE \
         braid_build_info gauge\nbraid_build_info{{version=\"{version}\"}} 1\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_that_cannot_be_seen_is_not_shown_as_none() {
        let gauges = Gauges { runs: [true, false], oldest_teardown: 7, drifted: None };
        let text = gauges.to_string();
        assert!(text.contains("braid_node_network{plugin=\"braid\"} 1\n"), "{text}");
        assert!(text.contains("braid_node_network{plugin=\"multus\"} 0\n"), "{text}");
        assert!(text.ends_with("braid_oldest_unfinished_teardown_seconds 7\n"), "{text}");
        let text = Gauges { drifted: Some(2), ..gauges }.to_string();
        assert!(text.ends_with("# TYPE braid_drifted_records gauge\nbraid_drifted_records 2\n"));
    }
}
