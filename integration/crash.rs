//! Braid killed before each system call that changes something, one run for each, and what the
//! calls after it find and leave.
//!
//! [`injection`] kills, [`stage`] is the node and the calls on it. A point is one occurrence of one
//! system call in one scenario; it is visited once for each way in which a runtime may go on: DEL
//! twice, or GC. Then the container is added and deleted again, and so is another one in the same
//! sandbox. After each of these steps the node and the sandbox must look as before.
//!
//! The executable is the one that `scripts/build` makes for nodes. `scripts/test` visits every
//! point of eight scenarios; `scripts/crash` those of all of them, and goes on in both ways.

pub(crate) mod injection;
mod stage;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::addresses::many_nodes::{End, Storm, storm};
use crate::node::{Node, PLUGIN_DIR};
use injection::Point;
use stage::{Api, Mode, Recovery, Scenario, Stage, Verb};

/// Visits every point of a scenario, and says how many there were.
fn visit(scenario: Scenario, ways: &[Recovery]) {
    let stage = Stage::new(scenario);
    let mut pod = stage.pod();
    let mut points = 0;
    for (scope, call) in stage.calls(&mut pod) {
        for number in 1.. {
            let point = Point { scope, call: call.clone(), number };
            if !stage.visit(&mut pod, &point, ways) {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 10, "{scenario}: {points} points are too few to be all");
    eprintln!("{scenario}: {points} crash points visited, {} kills", points * ways.len());
}

const fn scenario(verb: Verb, mode: Mode, extras: usize) -> Scenario {
    Scenario {
        verb,
        mode,
        extras,
        moves_default_route: false,
        publishes: false,
        built_in: false,
        addresses: None,
    }
}

// What `scripts/test` visits.

#[test]
fn add_delegating_with_a_default_route_moved() {
    visit(
        Scenario { moves_default_route: true, ..scenario(Verb::Add, Mode::Delegating, 1) },
        &[Recovery::Del],
    );
}

#[test]
fn add_chained_with_a_status_published() {
    visit(Scenario { publishes: true, ..scenario(Verb::Add, Mode::Chained, 1) }, &[Recovery::Gc]);
}

#[test]
fn del_chained() {
    visit(scenario(Verb::Del, Mode::Chained, 1), &[Recovery::Del]);
}

#[test]
fn gc_delegating() {
    visit(scenario(Verb::Gc, Mode::Delegating, 1), &[Recovery::Gc]);
}

#[test]
fn attach_to_a_running_pod_with_the_default_route_moved() {
    let attach = scenario(Verb::Attach, Mode::Delegating, 2);
    visit(Scenario { moves_default_route: true, ..attach }, &[Recovery::Del]);
}

#[test]
fn detach_from_a_running_pod_behind_a_chained_braid() {
    visit(scenario(Verb::Detach, Mode::Chained, 2), &[Recovery::Gc]);
}

#[test]
fn add_with_built_in_plugins() {
    let built_in = Scenario { built_in: true, ..scenario(Verb::Add, Mode::Delegating, 1) };
    visit(built_in, &[Recovery::Del]);
}

const fn with_addresses(verb: Verb, api: Api) -> Scenario {
    let scenario = scenario(verb, Mode::Delegating, 1);
    Scenario { built_in: true, addresses: Some(api), ..scenario }
}

#[test]
fn add_with_cluster_wide_addresses() {
    visit(with_addresses(Verb::Add, Api::There), &[Recovery::Del]);
}

// What `scripts/crash` visits.

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_add_and_del_with_cluster_wide_addresses() {
    for api in [Api::There, Api::ComesBack, Api::Slow] {
        for verb in [Verb::Add, Verb::Del] {
            visit(with_addresses(verb, api), &[Recovery::Del, Recovery::Gc]);
        }
    }
}

/// 32 nodes share a range, some of them with whereabouts, on an API server that fails; one call in
/// four is killed at one of the system calls that change something, until each was met.
#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_two_thousand_calls_of_nodes_that_share_a_range() {
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    eprintln!("seed {seed}");
    let end = End { operations: 2000, time: Duration::from_hours(1) };
    storm(&Storm { seed, end, program: injection::executable(), kills_at_each_step: true });
}

/// Plugins in the process are killed in the middle of their own work.
#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_add_del_and_gc_with_built_in_plugins() {
    for (verb, extras) in [(Verb::Add, 3), (Verb::Del, 3), (Verb::Gc, 3)] {
        let built_in = Scenario { built_in: true, ..scenario(verb, Mode::Delegating, extras) };
        visit(built_in, &[Recovery::Del, Recovery::Gc]);
    }
}

fn visit_all(verb: Verb, mode: Mode, extras: usize) {
    for (moves_default_route, publishes) in
        [(false, false), (true, false), (false, true), (true, true)]
    {
        // DEL and GC move no routes and publish no status.
        let is_change = matches!(verb, Verb::Add | Verb::Attach | Verb::Detach);
        if is_change || !(moves_default_route || publishes) {
            let scenario =
                Scenario { moves_default_route, publishes, ..scenario(verb, mode, extras) };
            visit(scenario, &[Recovery::Del, Recovery::Gc]);
        }
    }
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_add_delegating_with_one_extra() {
    visit_all(Verb::Add, Mode::Delegating, 1);
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_add_delegating_with_two_extras() {
    visit_all(Verb::Add, Mode::Delegating, 2);
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_add_delegating_with_three_extras() {
    visit_all(Verb::Add, Mode::Delegating, 3);
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_add_chained_with_one_extra() {
    visit_all(Verb::Add, Mode::Chained, 1);
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_add_chained_with_two_extras() {
    visit_all(Verb::Add, Mode::Chained, 2);
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_add_chained_with_three_extras() {
    visit_all(Verb::Add, Mode::Chained, 3);
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_del_delegating() {
    (1..=3).for_each(|extras| visit_all(Verb::Del, Mode::Delegating, extras));
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_del_chained() {
    (1..=3).for_each(|extras| visit_all(Verb::Del, Mode::Chained, extras));
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_attach() {
    for mode in [Mode::Delegating, Mode::Chained] {
        for extras in [2, 3] {
            visit_all(Verb::Attach, mode, extras);
        }
    }
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_detach() {
    for mode in [Mode::Delegating, Mode::Chained] {
        for extras in [2, 3] {
            visit_all(Verb::Detach, mode, extras);
        }
    }
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_gc_delegating() {
    (1..=3).for_each(|extras| visit_all(Verb::Gc, Mode::Delegating, extras));
}

#[test]
#[ignore = "takes long: scripts/crash"]
fn all_of_gc_chained() {
    (1..=3).for_each(|extras| visit_all(Verb::Gc, Mode::Chained, extras));
}

// What plugins leave running.

/// A plugin dies with Braid. Its IPAM plugin does not, and reserves the address after the DEL that
/// gives it back, unless that waits.
#[test]
fn an_ipam_plugin_that_outlives_a_killed_add_has_ended_before_del_gives_its_address_back() {
    let node = Node::new();
    let slow =
        format!("#!/bin/sh\n[ $CNI_COMMAND = DEL ] || sleep 2\nexec {PLUGIN_DIR}/host-local\n");
    node.write("bin/host-local", &slow);
    fs::set_permissions(node.path("bin/host-local"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = node.dump();
    let pod = node.pod("team-a", "web");
    let config = json!({"delegates": [node.bridge("cni0", "10.1.0.0/24")]});
    let killed = pod.add(config).start();
    // The bridge plugin makes the interface before it asks for an address.
    wait_until(|| !pod.links().is_empty());
    std::thread::sleep(Duration::from_millis(300));
    killed.signal(Signal::SIGKILL);
    killed.wait();
    let deleted = pod.del().run();
    deleted.assert_success();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((node.reservations("cni0"), pod.links()), (vec![], vec![]));
    assert_eq!(node.leftovers(&before), Vec::<String>::new());
    assert!(
        deleted.took > Duration::from_millis(800),
        "nothing was waited for: {:?}",
        deleted.took
    );
}

fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
