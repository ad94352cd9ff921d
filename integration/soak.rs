//! A random walk of ADD, CHECK, DEL and GC with kills and faults, held against what must be true
//! throughout.
//!
//! A short one runs with the other tests; `scripts/soak MINUTES [SEED]` runs the same for as long
//! as one likes. The seed decides what is done; when a kill meets a call is up to the machine.
//!
//! - [`walk`]: the rounds, each a few calls at once and a look at the node afterwards;
//! - [`sandbox`]: a pod as its runtime knows it;
//! - [`weather`]: what is broken on the node for a while;
//! - [`invariant`]: what must be true between two rounds.

mod changes;
mod invariant;
mod sandbox;
mod walk;
mod weather;

use std::time::Duration;

use crate::addresses::many_nodes::{End, Storm, storm};
use crate::node::{BRAID, Node};
use walk::Walk;

/// The seed of the short walk.
const SEED: u64 = 20_260_725;
/// How long the short walk takes, its last tidying apart.
const SECONDS: u64 = 25;
/// How many ADDs and DELs nodes make that share a range, and for how long at most.
const OPERATIONS: usize = 2000;
const MINUTE: Duration = Duration::from_mins(1);

fn number(variable: &str, otherwise: u64) -> u64 {
    let said = std::env::var(variable).ok();
    said.map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}"))
    })
}

#[test]
fn a_random_walk_loses_nothing_and_leaks_nothing() {
    walk(&Node::new());
}

/// The same with the plugins in Braid's process, where a kill meets them in the middle.
#[test]
fn a_random_walk_with_built_in_plugins_loses_nothing_and_leaks_nothing() {
    let node = Node::new();
    node.built_ins(["bridge", "host-local", "portmap", "ptp"]);
    walk(&node);
}

/// Nodes that share a range of addresses: 2,000 ADDs and DELs of theirs or what they do in a
/// minute, or for as long as is said.
#[test]
fn a_random_walk_of_many_nodes_gives_no_address_twice_and_loses_none() {
    let seed = number("BRAID_SOAK_SEED", SEED);
    let seconds = number("BRAID_SOAK_SECONDS", 0);
    eprintln!("soak: seed {seed}");
    let end = match seconds {
        0 => End { operations: OPERATIONS, time: MINUTE },
        seconds => End { operations: usize::MAX, time: Duration::from_secs(seconds) },
    };
    storm(&Storm { seed, end, program: BRAID.into(), kills_at_each_step: false });
}

fn walk(node: &Node) {
    let seed = number("BRAID_SOAK_SEED", SEED);
    let seconds = number("BRAID_SOAK_SECONDS", SECONDS);
    eprintln!("soak: seed {seed}, {seconds} s");
    walk::equip(node);
    let tally = Walk::new(node, seed).run(Duration::from_secs(seconds));
    eprintln!("soak: seed {seed}: {tally}, and nothing was lost or left");
    tally.assert_busy(seconds);
}
