//! A record of the ledger, whole, torn or made up.

use braid::internals::ledger::{Event, Record, RecordPlan, State, event_line, plan_line};

use super::assert_file_name;
use super::definition::check_network;

/// A record is read the same once it is written again; cut anywhere behind its plan, it keeps its
/// plan; each attachment of it can be an orphan. The input is taken as it is, and as lines that
/// only want checksums.
pub fn record(bytes: &[u8]) {
    let _ = Record::parse(bytes, "c1@eth0");
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let plan = serde_json::from_slice::<RecordPlan>(lines.next().unwrap_or_default());
    let Ok(plan) = plan else { return };
    let name = plan.key.file_name();
    let file: Vec<u8> =
        bytes.split_inclusive(|byte| *byte == b'\n').flat_map(with_checksum).collect();
    // A first line without an end is no plan.
    let Ok(record) = Record::parse(&file, &name) else { return };
    assert_eq!(record.plan, plan);
    check(&record, &name);
    let plan_ends = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in (0..file.len()).step_by(file.len().div_ceil(64)) {
        let torn = Record::parse(file.get(..cut).unwrap(), &name);
        assert_eq!(torn.is_ok(), cut >= plan_ends, "cut at {cut}: {torn:?}");
        assert!(torn.is_ok_and(|torn| torn.plan == plan) || cut < plan_ends);
    }
    let other = Record::parse(&file, "somebody@else");
    assert!(other.is_err() || name == "somebody@else");
}

fn with_checksum(line: &[u8]) -> Vec<u8> {
    let json = line.strip_suffix(b"\n").unwrap_or(line);
    [format!("{:08x} ", crc32fast::hash(json)).as_bytes(), line].concat()
}

fn check(record: &Record, name: &str) {
    assert_file_name(name);
    assert_eq!(record.states.len(), record.plan.attachments.len());
    record.plan.attachments.iter().for_each(|attachment| check_network(&attachment.network));
    let left = record.states.iter().filter(|state| **state != State::Gone).count();
    assert_eq!(record.remaining().count(), left);
    let written = write(record);
    match Record::parse(&written, name) {
        Ok(again) => {
            assert_eq!(write(&again), written);
            assert_eq!(again.states, record.states);
            assert_eq!(
                (&again.complete, again.failing_since),
                (&record.complete, record.failing_since)
            );
            assert_eq!(again.resisting_since, record.resisting_since);
            check_orphans(&again, name);
        }
        // A chain of one is written as a list: two levels more than it had.
        Err(problem) => assert!(problem.contains("recursion limit"), "{problem}"),
    }
}

/// The lines that make this record.
fn write(record: &Record) -> Vec<u8> {
    let states = record.states.iter().enumerate().filter_map(|(at, state)| match state {
        State::Planned => None,
        State::Attached(result) => Some(Event::Attached(at, result.clone())),
        State::Gone => Some(Event::Gone(at)),
    });
    let complete =
        record.complete.iter().map(|snapshot| Event::Complete(Box::new(snapshot.clone())));
    let failing = record.failing_since.map(Event::Failing);
    let resisting = record.resisting_since.clone().map(Event::Resisting);
    let events = states
        .chain(complete)
        .chain(failing)
        .chain(resisting)
        .map(|event| event_line(&event).unwrap());
    [plan_line(&record.plan).unwrap()].into_iter().chain(events).flatten().collect()
}

fn check_orphans(record: &Record, name: &str) {
    for (at, attachment) in record.plan.attachments.iter().enumerate().take(4) {
        let orphan = Record::parse(&record.orphan_lines(at).unwrap().unwrap(), name).unwrap();
        assert_eq!(orphan.plan.attachments.as_slice(), std::slice::from_ref(attachment));
        assert_eq!(orphan.remaining().count(), 1);
    }
    assert!(record.orphan_lines(record.plan.attachments.len()).is_none());
}
