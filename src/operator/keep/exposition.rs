//! What `braid keep` shows to Prometheus: the counts of the runtime's calls as the calls have left
//! them in `metricsFile`, and what only a program that runs on can tell.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::shared_pools::{Left, SharedPools};
use crate::ledger::{Ledger, Listed, Record, State};
use crate::observe::metrics;
use crate::operator::install::MULTUS;
use crate::operator::installation::Installation;
use crate::operator::node::{self, Directories};
use crate::operator::records::{Entry, Kernel, Records, now};
use crate::operator::runtime::below;
use crate::reservation;
use cni::netconf::NetworkConfig;
use plugins::ipam::host_local::RangeUsage;

/// How long what was read is shown again: many may ask.
const FRESH: Duration = Duration::from_secs(10);

/// How many networks of this node are looked at for what is left of their ranges.
const MOST_NETWORKS: usize = 1024;
/// How many ranges are shown: the fullest.
const MOST_RANGES: usize = 64;

/// The node whose state is shown.
#[derive(Debug)]
pub(super) struct Exposition {
    root: PathBuf,
    directories: Directories,
    pools: SharedPools,
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
    /// What is left of host-local's ranges, with their network's name.
    ranges: Vec<(String, RangeUsage)>,
    /// What is left of the cluster's pools.
    pools: BTreeMap<String, Left>,
}

impl Exposition {
    pub(super) fn new(root: &Path, directories: &Directories) -> Self {
        let pools = SharedPools::watch(root, directories);
        Self { root: root.to_owned(), directories: directories.clone(), pools, shown: None }
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
            pools: self.pools.shown(),
            ..Gauges::default()
        };
        let Some(config) = config else { return gauges.to_string() + &build_info() };
        let ledger = Ledger::new(&below(&self.root, &config.state_dir));
        gauges.survey(&ledger, self.sees_sandboxes(), &self.root);
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
    fn survey(&mut self, ledger: &Ledger, sees_sandboxes: bool, root: &Path) {
        let Ok(records) = Records::read(ledger) else { return };
        let open = |listed: &Listed| records.open(listed).ok().flatten();
        let (mut first, mut networks) = (None, BTreeMap::new());
        for record in records.live.iter().chain(&records.orphans).filter_map(open) {
            first = [first, record.failing_since].into_iter().flatten().min();
            note_networks(record, &mut networks);
        }
        self.ranges = fullest(&networks, root);
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

/// The networks of a record, by what tells them apart: their name and their directories.
fn note_networks(record: Record, networks: &mut BTreeMap<(String, Vec<PathBuf>), NetworkConfig>) {
    let Record { plan, states, .. } = record;
    for (attachment, state) in plan.attachments.into_iter().zip(states) {
        let network = attachment.network;
        let directories = reservation::directories(&network);
        let is_one = !directories.is_empty() && state != State::Gone;
        if is_one && networks.len() < MOST_NETWORKS {
            networks.insert((network.name.to_string(), directories), network);
        }
    }
}

/// What is left of their ranges, the fullest first.
fn fullest(
    networks: &BTreeMap<(String, Vec<PathBuf>), NetworkConfig>,
    root: &Path,
) -> Vec<(String, RangeUsage)> {
    let ranges_of = |((name, _), network): (&(String, _), &NetworkConfig)| {
        let ranges = reservation::usage(network, root).into_iter();
        ranges.map(|range| (name.clone(), range)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = networks.iter().flat_map(ranges_of).collect();
    // In a thousandth of the range: two definitions may have one name and one range.
    all.sort_by_key(|(name, it)| {
        let share = it.free.saturating_mul(1000).checked_div(it.size).unwrap_or_default();
        (share, name.clone(), it.ranges.clone())
    });
    all.dedup_by(|one, other| one.0 == other.0 && one.1.ranges == other.1.ranges);
    all.truncate(MOST_RANGES);
    all
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
        self.addresses(f)?;
        let Some(drifted) = self.drifted else { return Ok(()) };
        let name = "braid_drifted_records";
        gauge(f, name, "Pods from whose record the kernel differs.")?;
        writeln!(f, "{name} {drifted}")
    }
}

impl Gauges {
    fn addresses(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.ranges.iter().map(|(network, it)| {
            let labels = format!("network=\"{network}\",range=\"{}\"", it.ranges);
            (labels, (it.size, it.free))
        });
        let pools = self.pools.iter().map(|(pool, left)| (format!("pool=\"{pool}\""), *left));
        let of = [
            ("braid_range", "a range of host-local's on this node", ranges.collect::<Vec<_>>()),
            (
                "braid_pool",
                "a pool of the cluster of which this node has addresses",
                pools.collect(),
            ),
        ];
        for (name, what, all) in of.into_iter().filter(|(.., all)| !all.is_empty()) {
            gauge(f, &format!("{name}_addresses"), &format!("Addresses for pods in {what}."))?;
            for (labels, (size, _)) in &all {
                writeln!(f, "{name}_addresses{{{labels}}} {size}")?;
            }
            gauge(f, &format!("{name}_addresses_free"), &format!("Addresses left in {what}."))?;
            for (labels, (_, free)) in &all {
                writeln!(f, "{name}_addresses_free{{{labels}}} {free}")?;
            }
        }
        Ok(())
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
    use cni::netconf::Missing;

    #[test]
    fn drift_that_cannot_be_seen_is_not_shown_as_none() {
        let gauges =
            Gauges { runs: [true, false], oldest_teardown: 7, drifted: None, ..Gauges::default() };
        let text = gauges.to_string();
        assert!(text.contains("braid_node_network{plugin=\"braid\"} 1\n"), "{text}");
        assert!(text.contains("braid_node_network{plugin=\"multus\"} 0\n"), "{text}");
        assert!(text.ends_with("braid_oldest_unfinished_teardown_seconds 7\n"), "{text}");
        let text = Gauges { drifted: Some(2), ..gauges }.to_string();
        assert!(text.ends_with("# TYPE braid_drifted_records gauge\nbraid_drifted_records 2\n"));
    }

    #[test]
    fn the_fullest_ranges_are_shown() {
        let root = tempfile::tempdir().unwrap();
        let mut networks = BTreeMap::new();
        for at in 0..=MOST_RANGES {
            let subnet = format!("10.{at}.0.0/30");
            let ipam = serde_json::json!({"type": "host-local", "subnet": subnet});
            let network = serde_json::json!(
                {"cniVersion": "1.0.0", "name": format!("n{at}"), "type": "bridge", "ipam": ipam}
            );
            let network = NetworkConfig::read(&network, &Missing::default()).unwrap();
            networks.insert((format!("n{at}"), Vec::new()), network);
        }
        let used = root.path().join("var/lib/cni/networks/n64");
        std::fs::create_dir_all(&used).unwrap();
        std::fs::write(used.join("10.64.0.2"), "").unwrap();
        let shown = fullest(&networks, root.path());
        assert_eq!(shown.len(), MOST_RANGES);
        assert_eq!((&*shown[0].0, shown[0].1.size, shown[0].1.free), ("n64", 1, 0));
        let pools = BTreeMap::from([("10.9.0.0-20".to_owned(), (4094, 4093))]);
        let text = Gauges { ranges: shown, pools, ..Gauges::default() }.to_string();
        let line = "braid_range_addresses_free{network=\"n64\",range=\"10.64.0.1-10.64.0.2\"} 0\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("braid_pool_addresses_free{pool=\"10.9.0.0-20\"} 4093\n"), "{text}");
    }
}
