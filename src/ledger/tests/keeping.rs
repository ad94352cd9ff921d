//! What is kept of pods that are gone, and within which bound.

use super::*;

const BLOCK: u64 = 4 << 10;

/// Three orphans of team-a and then one of team-b, each a block.
fn orphans(state: &State) {
    for (at, pod) in
        ["team-a/one", "team-a/two", "team-a/three", "team-b/one"].into_iter().enumerate()
    {
        let mut plan = plan_of(key(&format!("c{at}"), "eth0"));
        plan.pod = pod.to_owned();
        let key = plan.key.clone();
        drop(state.ledger.create(plan).unwrap());
        state.ledger.orphan(&state.ledger.read(&key).unwrap().unwrap(), 1).unwrap();
    }
}

fn pods(state: &State) -> Vec<String> {
    state.orphans().into_iter().map(|(_, record)| record.plan.pod).collect()
}

#[test]
fn the_namespace_with_most_orphans_loses_its_oldest() {
    let state = State::new();
    orphans(&state);
    state.ledger.make_room_for_orphan(1, 5 * BLOCK);
    assert_eq!(pods(&state).len(), 4, "there is room");
    state.ledger.make_room_for_orphan(1, 3 * BLOCK);
    assert_eq!(pods(&state), ["team-a/three", "team-b/one"]);
}

#[test]
fn a_sweep_of_orphans_begins_behind_the_one_at_which_the_last_one_stopped() {
    let state = State::new();
    orphans(&state);
    state.ledger.stopped_at(Sweep::Orphans, "c1@eth0.1");
    assert_eq!(pods(&state), ["team-a/three", "team-b/one", "team-a/one", "team-a/two"]);
}

#[test]
fn of_too_many_records_that_were_set_aside_the_oldest_go() {
    let state = State::new();
    for name in ["c1", "c2", "c3"] {
        let plan = plan_of(key(name, "eth0"));
        let key = plan.key.clone();
        drop(state.ledger.create(plan).unwrap());
        std::fs::write(state.root.join("records").join(key.file_name()), "broken").unwrap();
        state.ledger.read(&key).unwrap_err();
    }
    assert_eq!(state.ledger.set_aside_files().unwrap().len(), 3);
    state.ledger.bound_set_aside(2 * BLOCK);
    let left = state.ledger.set_aside_files().unwrap();
    assert!(
        left.len() == 2 && left.iter().all(|path| !name_of(path).starts_with("c1@")),
        "{left:?}"
    );
    state.ledger.bound_set_aside(0);
    assert_eq!(state.ledger.set_aside_files().unwrap().len(), 1, "the newest stays");
}
