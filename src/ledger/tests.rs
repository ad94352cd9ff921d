mod keeping;
mod scanning;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink,
};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::attach::snapshot::Snapshot;
use crate::plan::{Attachment, Role};
use cni::netconf::{Missing, NetworkConfig};
use cni::version::Version;
use linux::directory::DirectoryError;
use linux::netns::NetnsId;

struct State {
    _dir: tempfile::TempDir,
    root: PathBuf,
    ledger: Ledger,
}

impl State {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        Self { ledger: Ledger::new(&root), root, _dir: dir }
    }

    fn record(&self) -> PathBuf {
        self.root.join("records/c1@eth0")
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(directory)).into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn scan(&self) -> Result<Vec<Result<Listed, LedgerError>>, LedgerError> {
        let deadline = Deadline::after(Duration::from_secs(60));
        Ok(self.ledger.scan(Sweep::Gc, Depth::Whole, deadline)?.collect())
    }

    fn orphans(&self) -> Vec<(PathBuf, Record)> {
        let deadline = Deadline::after(Duration::from_secs(60));
        let orphans = self.ledger.scan_orphans(Depth::Whole, deadline).unwrap().map(Result::unwrap);
        let read = |orphan: Listed| {
            let record = self.ledger.read_listed(&orphan).unwrap().unwrap();
            (orphan.as_ref().to_owned(), record)
        };
        orphans.map(read).collect()
    }

    fn lock(&self, container: &str) -> Result<Lock, LedgerError> {
        let mut signals = Signals::block().unwrap();
        let now = Deadline::after(Duration::ZERO);
        self.ledger.lock(&container.parse().unwrap(), now, &mut signals)
    }
}

fn key(container: &str, interface: &str) -> Key {
    Key { container: container.parse().unwrap(), interface: interface.parse().unwrap() }
}

fn attachment(name: &str, interface: &str) -> Attachment {
    let value = json!({"name": name, "type": "bridge", "x": {"n": 1.50, "u": "ü\n"}});
    let missing = Missing { name: None, version: Version::V1_0_0 };
    Attachment {
        label: format!("team-a/{name}"),
        role: Role::Extra,
        interface: interface.parse().unwrap(),
        network: NetworkConfig::parse(&value.to_string(), &missing).unwrap(),
        runtime_config: json!({"ips": ["10.0.0.5/24"]}).as_object().cloned().unwrap(),
        args: "IgnoreUnknown=1".into(),
        asked_ips: vec!["10.0.0.5".parse().unwrap()],
        granted_networks: None,
        asked_mac: Some("02:00:00:00:00:01".to_owned()),
        default_route: Some(vec!["fd00::1".parse().unwrap()]),
        device: None,
        device_info_file: None,
        origin: None,
        other_name: None,
    }
}

fn plan_of(key: Key) -> RecordPlan {
    RecordPlan {
        layout: LAYOUT,
        key,
        network: "node".parse().unwrap(),
        mode: Mode::Delegating,
        netns: RecordedNetns {
            boot: "b".to_owned(),
            id: NetnsId { device: 4, inode: u64::MAX },
            cookie: Some(serde_json::from_str("18446744073709551615").unwrap()),
            path: "/run/netns/x".to_owned(),
        },
        pod: "team-a/web".to_owned(),
        args: "K8S_POD_NAME=web".into(),
        created: 1,
        attachments: vec![attachment("blue", "net1"), attachment("red", "net2")],
        primary: None,
        declined: Vec::new(),
    }
}

fn plan() -> RecordPlan {
    plan_of(key("c1", "eth0"))
}

/// What an ADD of two networks writes, and a DEL that succeeded for the second of them.
fn events() -> [Event; 5] {
    [
        Event::Attached(0, json!({"ips": [{"address": "10.0.0.5/24"}]})),
        Event::Attached(1, json!({})),
        Event::Complete(Box::default()),
        Event::Failing(7),
        Event::Gone(1),
    ]
}

fn written(state: &State) -> Vec<u8> {
    let mut journal = state.ledger.create(plan()).unwrap();
    for event in events() {
        journal.append(&event).unwrap();
    }
    journal.wait_for_disk(Deadline::after(Duration::from_secs(20))).unwrap();
    std::fs::read(state.record()).unwrap()
}

fn read(state: &State) -> Record {
    state.ledger.read(&key("c1", "eth0")).unwrap().unwrap()
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let state = State::new();
    written(&state);
    let record = read(&state);
    assert_eq!(record.plan, plan());
    let first = State::result(&record, 0);
    assert_eq!(first, Some(&json!({"ips": [{"address": "10.0.0.5/24"}]})));
    assert_eq!(record.states[1], super::State::Gone);
    assert_eq!((record.complete, record.failing_since), (Some(Snapshot::default()), Some(7)));
}

impl State {
    fn result(record: &Record, at: usize) -> Option<&Value> {
        record
            .remaining()
            .find(|(position, _, _)| *position == at)
            .and_then(|(_, _, result)| result)
    }
}

#[test]
fn a_plan_alone_is_a_record_of_what_may_be_there() {
    let state = State::new();
    drop(state.ledger.create(plan()).unwrap());
    let record = read(&state);
    let remaining: Vec<_> =
        record.remaining().map(|(at, _, result)| (at, result.is_some())).collect();
    assert_eq!((remaining, record.complete), (vec![(0, false), (1, false)], None));
}

#[test]
fn a_journal_goes_on_where_another_stopped() {
    let state = State::new();
    drop(state.ledger.create(plan()).unwrap());
    for event in events() {
        state.ledger.journal(&key("c1", "eth0")).unwrap().append(&event).unwrap();
    }
    assert_eq!(read(&state).failing_since, Some(7));
    state.ledger.journal(&key("c1", "eth0")).unwrap().append(&Event::Failing(9)).unwrap();
    assert_eq!(read(&state).failing_since, Some(7), "the first failure counts");
    let moment = |boot: &str, uptime| Moment { boot: boot.to_owned(), uptime };
    for moment in [moment("a", 9), moment("b", 3)] {
        state
            .ledger
            .journal(&key("c1", "eth0"))
            .unwrap()
            .append(&Event::Resisting(moment))
            .unwrap();
    }
    assert_eq!(read(&state).resisting_since, Some(moment("b", 3)), "the last boot counts");
    // A position that the plan has not, an event of a later braid: neither breaks the record.
    let mut journal = state.ledger.journal(&key("c1", "eth0")).unwrap();
    journal.append(&Event::Gone(99)).unwrap();
    assert_eq!(read(&state).states.len(), 2);
    assert!(state.ledger.journal(&key("absent", "eth0")).is_err());
}

#[test]
fn a_record_cut_at_any_byte_keeps_its_whole_lines() {
    let state = State::new();
    let whole = written(&state);
    let plan_ends = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in plan_ends..whole.len() {
        std::fs::write(state.record(), &whole[..length]).unwrap();
        let record = read(&state);
        let lines = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(record.plan, plan());
        assert_eq!(record.complete.is_some(), lines > 3, "cut at {length}");
        assert_eq!(record.failing_since.is_some(), lines > 4, "cut at {length}");
        assert_eq!(record.remaining().count(), 2, "cut at {length}");
    }
    assert_eq!(state.names("aside"), Vec::<String>::new());
}

#[test]
fn what_is_appended_after_a_torn_line_counts() {
    let state = State::new();
    let whole = written(&state);
    let plan_ends = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in plan_ends..whole.len() {
        std::fs::write(state.record(), &whole[..length]).unwrap();
        state.ledger.journal(&key("c1", "eth0")).unwrap().append(&Event::Gone(0)).unwrap();
        assert_eq!(read(&state).states[0], super::State::Gone, "cut at {length}");
    }
}

#[test]
fn a_plan_cut_at_any_byte_is_set_aside() {
    let state = State::new();
    let whole = written(&state);
    let plan_ends = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in (0..plan_ends).step_by(7) {
        std::fs::write(state.record(), &whole[..length]).unwrap();
        let error = state.ledger.read(&key("c1", "eth0")).unwrap_err();
        assert!(matches!(error, LedgerError::Unreadable { .. }), "cut at {length}: {error}");
        assert!(!state.ledger.has(&key("c1", "eth0")));
        let names = state.names("aside");
        let [name] = names.as_slice() else { panic!("cut at {length}: {names:?}") };
        assert!(name.starts_with("c1@eth0."), "{name}");
        let kept = state.root.join("aside").join(name);
        assert_eq!(std::fs::read(&kept).unwrap(), &whole[..length], "what is set aside is kept");
        std::fs::remove_file(kept).unwrap();
    }
}

#[test]
fn a_plan_with_a_flipped_bit_is_set_aside() {
    let state = State::new();
    let whole = written(&state);
    let plan_ends = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for at in (0..plan_ends).step_by(11) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(state.record(), &bytes).unwrap();
        let outcome = state.ledger.read(&key("c1", "eth0"));
        assert!(matches!(outcome, Err(LedgerError::Unreadable { .. })), "bit {at}: {outcome:?}");
    }
    assert!(state.ledger.has_set_aside());
}

#[test]
fn a_record_of_another_container_or_layout_is_set_aside() {
    let state = State::new();
    let line = |plan: &RecordPlan| record::plan_line(plan).unwrap();
    let foreign = [
        line(&plan_of(key("c2", "eth0"))),
        line(&plan_of(key("c1", "eth1"))),
        line(&plan_of(key("c1", "eth"))),
        line(&RecordPlan { layout: LAYOUT + 1, ..plan() }),
        b"{}\n".to_vec(),
        b"00000000 \n".to_vec(),
        vec![0; 4096],
        vec![b'x'; 100],
    ];
    written(&state);
    for (count, bytes) in foreign.into_iter().enumerate() {
        std::fs::write(state.record(), bytes).unwrap();
        let outcome = state.ledger.read(&key("c1", "eth0"));
        assert!(matches!(outcome, Err(LedgerError::Unreadable { .. })), "{count}: {outcome:?}");
        assert_eq!(state.names("aside").len(), count + 1);
    }
    assert_eq!(
        state.ledger.read(&key("c1", "eth0")).unwrap(),
        None,
        "set aside, it is no longer there"
    );
}

#[test]
fn an_oversized_record_is_not_read_whole() {
    let state = State::new();
    written(&state);
    let file = OpenOptions::new().append(true).open(state.record()).unwrap();
    file.set_len(1 << 40).unwrap();
    let started = Instant::now();
    assert_eq!(read(&state).failing_since, Some(7));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn what_is_no_file_is_neither_read_nor_waited_for() {
    let state = State::new();
    written(&state);
    let elsewhere = state.root.join("elsewhere");
    std::fs::rename(state.record(), &elsewhere).unwrap();
    let set_aside = |what: &str| {
        assert!(state.ledger.journal(&key("c1", "eth0")).is_err(), "{what} was opened to append");
        let error = state.ledger.read(&key("c1", "eth0")).unwrap_err();
        assert!(matches!(error, LedgerError::Unreadable { .. }), "{what}: {error}");
        assert!(!state.ledger.has(&key("c1", "eth0")), "{what}");
    };
    symlink(&elsewhere, state.record()).unwrap();
    set_aside("a symbolic link");
    std::fs::create_dir(state.record()).unwrap();
    set_aside("a directory");
    nix::unistd::mkfifo(&state.record(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    set_aside("a fifo");
    assert_eq!(state.names("aside").len(), 3);
    // A new record takes the place of one that only was looked at, and leaves what it pointed to
    // alone.
    symlink(&elsewhere, state.record()).unwrap();
    drop(state.ledger.create(plan()).unwrap());
    assert!(state.record().symlink_metadata().unwrap().file_type().is_file());
    assert!(!elsewhere.metadata().unwrap().file_type().is_fifo());
}

#[test]
fn the_state_is_roots_alone() {
    let state = State::new();
    written(&state);
    state.ledger.orphan(&read(&state), 0).unwrap();
    let lock = state.lock("c1").unwrap();
    let mode = |path: PathBuf| path.metadata().unwrap().mode() & 0o7777;
    for directory in ["", "records", "orphans", "locks"] {
        assert_eq!(mode(state.root.join(directory)), 0o700, "{directory}");
    }
    for file in ["records/c1@eth0", "orphans/c1@eth0.0", "locks/c1"] {
        assert_eq!(mode(state.root.join(file)), 0o600, "{file}");
    }
    drop(lock);
}

#[test]
fn a_state_directory_that_others_can_change_is_refused() {
    let state = State::new();
    written(&state);
    for directory in ["", "records"] {
        let path = state.root.join(directory);
        for mode in [0o777, 0o770, 0o702] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = state.ledger.create(plan()).unwrap_err();
            assert!(
                matches!(error, LedgerError::Directory(DirectoryError::Untrusted { .. })),
                "{directory} {mode:o}: {error}"
            );
            let outcome = state.ledger.read(&key("c1", "eth0"));
            assert!(
                matches!(outcome, Err(LedgerError::Directory(DirectoryError::Untrusted { .. }))),
                "{directory} {mode:o}: {outcome:?}"
            );
            assert!(state.scan().is_err(), "{directory} {mode:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::fs::set_permissions(state.root.join("records"), std::fs::Permissions::from_mode(0o755))
        .unwrap();
    assert!(state.ledger.create(plan()).is_ok(), "others may look, as in Multus's directory");
}

#[test]
fn a_state_directory_behind_a_symbolic_link_is_refused() {
    for linked in ["", "records", "locks"] {
        let state = State::new();
        drop(state.lock("c0").unwrap());
        written(&state);
        let path = state.root.join(linked);
        let moved = state._dir.path().join("moved");
        std::fs::rename(&path, &moved).unwrap();
        // Without the slash that an empty last part leaves.
        symlink(&moved, path.components().as_path()).unwrap();
        let outcome = if linked == "locks" {
            state.lock("c1").map(drop)
        } else {
            state.ledger.create(plan()).map(drop)
        };
        assert!(
            matches!(outcome, Err(LedgerError::Directory(DirectoryError::Untrusted { .. }))),
            "{linked:?}: {outcome:?}"
        );
    }
}

#[test]
fn a_state_directory_that_is_a_file_is_refused() {
    let state = State::new();
    std::fs::write(&state.root, "x").unwrap();
    assert!(state.ledger.create(plan()).is_err());
    assert!(state.lock("c1").is_err());
    assert_eq!(state.ledger.read(&key("c1", "eth0")).unwrap(), None);
}

#[test]
fn nothing_is_there_before_the_first_record() {
    let state = State::new();
    assert_eq!(state.ledger.read(&key("c1", "eth0")).unwrap(), None);
    assert!(!state.ledger.has(&key("c1", "eth0")));
    assert!(state.scan().unwrap().is_empty() && state.orphans().is_empty());
    state.ledger.remove(&key("c1", "eth0")).unwrap();
    state.ledger.sweep();
    assert!(!state.root.exists());
}

#[test]
fn a_lock_keeps_other_threads_out() {
    let state = State::new();
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut signals = Signals::block().unwrap();
                    let deadline = Deadline::after(Duration::from_secs(30));
                    let lock =
                        state.ledger.lock(&"c1".parse().unwrap(), deadline, &mut signals).unwrap();
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(state.names("locks"), Vec::<String>::new(), "a lock stayed behind");
}

#[test]
fn a_lock_keeps_another_process_out_until_that_ends() {
    let state = State::new();
    drop(state.lock("c1").unwrap());
    let path = state.root.join("locks/c1");
    std::fs::write(&path, "").unwrap();
    let mut holder = std::process::Command::new("flock")
        .args([path.as_os_str(), "-c".as_ref(), "echo held; read _".as_ref()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("this test needs flock of util-linux");
    let mut word = [0; 5];
    holder.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    let error = state.lock("c1").unwrap_err();
    assert_eq!(error.to_string(), "another call for container c1 is still at work");
    assert!(state.lock("c2").is_ok(), "another container's");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(state.lock("c1").is_ok(), "its holder has ended");
    assert_eq!(state.names("locks"), Vec::<String>::new());
}

#[test]
fn a_lock_is_waited_for_no_longer_than_its_deadline() {
    let state = State::new();
    let _held = state.lock("c1").unwrap();
    let mut signals = Signals::block().unwrap();
    let started = Instant::now();
    let deadline = Deadline::after(Duration::from_millis(200));
    let outcome = state.ledger.lock(&"c1".parse().unwrap(), deadline, &mut signals);
    assert!(matches!(outcome, Err(LedgerError::Busy(_))), "{outcome:?}");
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(200) && waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_stop_ends_the_wait_for_a_lock() {
    let state = State::new();
    let _held = state.lock("c1").unwrap();
    let mut signals = Signals::block().unwrap();
    // To this thread alone, where the signal is blocked.
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
    let deadline = Deadline::after(Duration::from_secs(30));
    let outcome = state.ledger.lock(&"c1".parse().unwrap(), deadline, &mut signals);
    assert!(matches!(outcome, Err(LedgerError::Stopped)), "{outcome:?}");
}

#[test]
fn what_is_no_lock_is_not_waited_for() {
    let state = State::new();
    drop(state.lock("c1").unwrap());
    let path = state.root.join("locks/c1");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(state.lock("c1"), Err(LedgerError::File(_))));
    state.ledger.sweep();
    std::fs::remove_file(&path).unwrap();
    let elsewhere = state.root.join("elsewhere");
    symlink(&elsewhere, &path).unwrap();
    assert!(matches!(state.lock("c1"), Err(LedgerError::File(_))));
    assert!(!elsewhere.exists(), "the link was followed");
}

#[test]
fn an_orphan_is_one_attachment_of_its_record() {
    let state = State::new();
    written(&state);
    let record = read(&state);
    state.ledger.orphan(&record, 0).unwrap();
    state.ledger.orphan(&record, 1).unwrap();
    state.ledger.orphan(&record, 2).unwrap();
    let orphans = state.orphans();
    let [(first, blue), (second, red)] = orphans.as_slice() else { panic!("{orphans:?}") };
    assert_eq!(blue.plan.attachments, [attachment("blue", "net1")]);
    assert_eq!(State::result(blue, 0), State::result(&record, 0));
    assert_eq!((blue.plan.key.clone(), blue.plan.netns.clone()), (key("c1", "eth0"), plan().netns));
    assert_eq!(red.plan.attachments, [attachment("red", "net2")]);
    state.ledger.remove_orphan(first).unwrap();
    state.ledger.remove_orphan(first).unwrap();
    assert_eq!(state.orphans().len(), 1);
    state.ledger.remove_orphan(second).unwrap();
    assert_eq!(read(&state), record, "the record itself is left alone");
}

#[test]
fn names_that_look_alike_are_different_records() {
    let state = State::new();
    let keys = [
        key("c1", "eth0"),
        key("c1", "eth01"),
        key("c1", "eth0.1"),
        key("c1", "@eth0"),
        key("c10", "eth0"),
        key("C1", "eth0"),
        key("c1.eth0", "e"),
        key(&"x".repeat(200), "123456789012345"),
    ];
    for key in &keys {
        drop(state.ledger.create(plan_of(key.clone())).unwrap());
    }
    for key in &keys {
        let record = state.ledger.read(key).unwrap().unwrap();
        assert_eq!(record.plan.key, *key);
        state.ledger.orphan(&record, 1).unwrap();
    }
    assert_eq!(state.scan().unwrap().len(), keys.len());
    assert_eq!(state.orphans().len(), keys.len());
    state.ledger.remove(&keys[0]).unwrap();
    assert_eq!(state.scan().unwrap().len(), keys.len() - 1);
}

#[test]
fn a_record_is_replaced_whole_and_a_killed_writers_file_is_taken_away() {
    let state = State::new();
    written(&state);
    std::fs::write(state.root.join("records/.c1@eth0"), "half a pl").unwrap();
    assert_eq!(state.scan().unwrap().len(), 1, "a temporary file is no record");
    drop(state.ledger.create(plan()).unwrap());
    assert_eq!(read(&state).failing_since, None, "a new plan starts anew");
    assert_eq!(state.names("records"), ["c1@eth0"]);
}

#[test]
fn a_sweep_takes_what_killed_calls_left_and_nothing_else() {
    let state = State::new();
    written(&state);
    let held = state.lock("held").unwrap();
    std::fs::write(state.root.join("locks/left"), "").unwrap();
    let (old, fresh) = (state.root.join("records/.old"), state.root.join("records/.fresh"));
    std::fs::write(&fresh, "").unwrap();
    let file = File::create(&old).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let record = File::options().append(true).open(state.record()).unwrap();
    record.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600)).unwrap();
    // The beginning of a container's file is stale as soon as no call holds the container.
    for name in ["records/.dead@eth0", "records/.held@eth0", "orphans/.dead@eth0.1"] {
        let path = state.root.join(name);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path.parent().unwrap())
            .unwrap();
        std::fs::write(path, "half a pl").unwrap();
    }
    state.ledger.sweep();
    assert_eq!(state.names("locks"), ["held"]);
    assert_eq!(state.names("records"), [".fresh", ".held@eth0", "c1@eth0"]);
    assert_eq!(state.names("orphans"), Vec::<String>::new());
    drop(held);
}

#[test]
fn a_killed_call_is_traced_by_what_it_left() {
    let state = State::new();
    let key = key("c1", "eth0");
    drop(state.lock("other").unwrap());
    for directory in ["records", "definitions"] {
        std::fs::DirBuilder::new().mode(0o700).create(state.root.join(directory)).unwrap();
    }
    assert!(!state.ledger.has_traces(&key));
    for left in ["records/c1@eth0", "locks/c1"] {
        let path = state.root.join(left);
        std::fs::write(&path, "").unwrap();
        assert!(state.ledger.has_traces(&key), "{left}");
        std::fs::remove_file(path).unwrap();
    }
    for left in
        ["records/.c1@eth0", "records/.c11@eth0", "definitions/.c1@0badcafe", "definitions/lan"]
    {
        std::fs::write(state.root.join(left), "half").unwrap();
    }
    state.ledger.remove_beginnings(&key.container);
    assert_eq!(state.names("records"), [".c11@eth0"]);
    assert_eq!(state.names("definitions"), ["lan"]);
}

#[test]
fn a_lock_tells_whether_its_holder_was_killed() {
    let state = State::new();
    assert!(!state.lock("c1").unwrap().was_left());
    assert!(!state.lock("c1").unwrap().was_left(), "the one before has removed it");
    std::fs::write(state.root.join("locks/c1"), "").unwrap();
    assert!(state.lock("c1").unwrap().was_left());
}

#[test]
fn a_plan_that_could_not_be_read_back_is_not_written() {
    let state = State::new();
    let mut deep = plan();
    let nested = (0..126).fold(json!(1), |inner, _| json!([inner]));
    deep.attachments[0].runtime_config.insert("deep".to_owned(), nested);
    assert!(state.ledger.create(deep).is_err());
    assert!(!state.ledger.has(&key("c1", "eth0")));
    assert_eq!(state.names("records"), Vec::<String>::new());
}

#[test]
fn a_count_reads_what_has_changed_and_nothing_else() {
    let state = State::new();
    let census = |tally: &mut Tally| {
        let Census { primary, extra, orphans, set_aside } = state.ledger.census(tally).unwrap();
        (primary, extra, orphans, set_aside)
    };
    let mut tally = Tally::default();
    assert_eq!(census(&mut tally), (0, 0, 0, 0));
    for container in ["c1", "c2"] {
        state.ledger.create(plan_of(key(container, "eth0"))).unwrap();
    }
    assert_eq!(census(&mut tally), (0, 4, 0, 0));
    let mut tally = Tally::decode(&tally.encode());
    // What no change shows is not read again.
    let path = state.root.join("records/c1@eth0");
    let (content, modified) =
        (std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&vec![b'x'; content.len()], 0).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(census(&mut tally), (0, 4, 0, 0));
    file.write_all_at(&content, 0).unwrap();
    // A call that was killed has changed one and counted nothing; another record is gone, and one
    // is new.
    state.ledger.journal(&key("c1", "eth0")).unwrap().append(&Event::Gone(0)).unwrap();
    state.ledger.remove(&key("c2", "eth0")).unwrap();
    state.ledger.create(plan_of(key("c3", "eth0"))).unwrap();
    assert_eq!(census(&mut tally), (0, 3, 0, 0));
    assert_eq!(census(&mut Tally::default()), (0, 3, 0, 0), "the same as from nothing");
    let whole = tally.encode();
    for length in 0..whole.len() {
        assert_eq!(Tally::decode(&whole[..length]), Tally::default(), "cut at {length}");
    }
    assert_eq!(Tally::decode(&whole), tally);
}
