//! What must be true of the node between two rounds, when no call is at work.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use super::sandbox::{Life, Sandbox};
use crate::node::Node;

/// The networks whose addresses come from host-local.
const WITH_RESERVATIONS: [&str; 4] = ["cni0", "lan", "ported", "link"];

/// Holds the node against what the runtime knows.
pub(super) fn check(node: &Node, sandboxes: &[Sandbox<'_>]) {
    assert_no_process_is_left(node);
    assert_addresses_are_distinct(sandboxes);
    let known: BTreeMap<&str, &Sandbox<'_>> =
        sandboxes.iter().map(|sandbox| (sandbox.pod.container.as_str(), sandbox)).collect();
    assert_reservations_have_owners(node, &known);
    assert_state_has_owners(node, &known);
    for sandbox in sandboxes {
        match sandbox.life {
            Life::Attached => assert_recorded(node, sandbox),
            Life::Gone => assert_gone(node, sandbox),
            Life::New | Life::Doubtful | Life::Forgotten => {}
        }
    }
}

/// Plugins die with Braid. What they had started themselves may take a moment.
fn assert_no_process_is_left(node: &Node) {
    let started = Instant::now();
    loop {
        let left = crate::node::succeed("ip", &["netns", "pids", node.host().name()]);
        if left.trim().is_empty() {
            return;
        }
        let command = |process: &str| {
            fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default()
        };
        let commands: Vec<String> = left.split_whitespace().map(command).collect();
        assert!(started.elapsed() < Duration::from_secs(10), "processes are left: {commands:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_addresses_are_distinct(sandboxes: &[Sandbox<'_>]) {
    let mut seen = BTreeSet::new();
    for sandbox in sandboxes.iter().filter(|sandbox| sandbox.life == Life::Attached) {
        for address in sandbox.addresses() {
            assert!(
                seen.insert(address.clone()),
                "{address} is given twice, also to {}",
                sandbox.title()
            );
        }
    }
}

/// The container that each reserved address belongs to.
fn reservations(node: &Node) -> Vec<(String, String)> {
    let of_network = |network: &str| {
        let files = node.reservations(network).into_iter();
        let owner = |address: &str| {
            let content = fs::read_to_string(node.path("ipam").join(network).join(address))
                .unwrap_or_default();
            content.lines().next().unwrap_or_default().to_owned()
        };
        files.map(|address| (owner(&address), format!("{network} {address}"))).collect::<Vec<_>>()
    };
    WITH_RESERVATIONS.into_iter().flat_map(of_network).collect()
}

fn assert_reservations_have_owners(node: &Node, known: &BTreeMap<&str, &Sandbox<'_>>) {
    for (container, address) in reservations(node) {
        let owner = known.get(container.as_str());
        let alive = owner.is_some_and(|sandbox| !matches!(sandbox.life, Life::New | Life::Gone));
        let whose =
            owner.map_or_else(|| format!("container {container:?}"), |sandbox| sandbox.title());
        assert!(alive, "{address} is reserved for {whose}");
    }
}

/// No record is set aside or given up, and each file belongs to a sandbox that the runtime knows
/// of. What a killed call leaves of a lock or a temporary file goes with GC.
fn assert_state_has_owners(node: &Node, known: &BTreeMap<&str, &Sandbox<'_>>) {
    for directory in ["aside", "orphans"] {
        assert_eq!(node.state(directory), Vec::<String>::new(), "{directory}");
    }
    let records = node.state("records").into_iter().filter(|name| !name.starts_with('.'));
    for record in records {
        let container = record.split('@').next().unwrap_or_default();
        let owner = known.get(container).unwrap_or_else(|| panic!("no pod is known of {record}"));
        assert!(
            !matches!(owner.life, Life::New | Life::Gone),
            "{record} belongs to {}",
            owner.title()
        );
    }
}

fn assert_recorded(node: &Node, sandbox: &Sandbox<'_>) {
    let record = node.path("state/records").join(format!("{}@eth0", sandbox.pod.container));
    assert!(record.exists() || !sandbox.is_recorded(), "no record of {}", sandbox.title());
}

/// The sandbox shows what ADD has made, and nothing else.
pub(super) fn assert_links(sandbox: &Sandbox<'_>) {
    assert_eq!(sandbox.pod.links(), sandbox.expected_links(), "{}", sandbox.title());
}

fn assert_gone(node: &Node, sandbox: &Sandbox<'_>) {
    if sandbox.has_netns {
        assert_eq!(sandbox.pod.links(), Vec::<String>::new(), "{}", sandbox.title());
    }
    let rules = node.host().command("iptables-save").output().unwrap();
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    let id = format!("id: \\\"{}\\\"", sandbox.pod.container);
    assert!(!rules.contains(&id), "rules of {} are left:\n{rules}", sandbox.title());
}
