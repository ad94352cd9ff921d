//! Records as sweeps read them.

use super::*;

/// A plan with as many networks, each of which has a configuration of so many bytes.
fn plan_with(networks: usize, bytes: usize) -> RecordPlan {
    let mut plan = plan();
    plan.attachments =
        (0..networks).map(|at| attachment(&format!("n{at}"), &format!("net{at}"))).collect();
    for attachment in &mut plan.attachments {
        attachment.runtime_config.insert("filler".to_owned(), json!("x".repeat(bytes)));
    }
    plan
}

/// A plan as Braid before 0.2 wrote it.
fn line_without_header(plan: &RecordPlan) -> Vec<u8> {
    let json = serde_json::to_vec(plan).unwrap();
    [format!("{:08x} ", crc32fast::hash(&json)).as_bytes(), &json, b"\n"].concat()
}

fn later() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

impl State {
    fn at(&self, depth: Depth) -> Vec<Result<Listed, LedgerError>> {
        self.ledger.scan(Sweep::Add, depth, later()).unwrap().collect()
    }

    fn only(&self, depth: Depth) -> Listed {
        let mut listed = self.at(depth);
        assert_eq!(listed.len(), 1, "{listed:?}");
        listed.pop().unwrap().unwrap()
    }

    fn order(&self, sweep: Sweep) -> Vec<String> {
        let scan = self.ledger.scan(sweep, Depth::Header, later()).unwrap();
        scan.map(|listed| listed.unwrap().header().key.container.to_string()).collect()
    }
}

#[test]
fn a_header_says_what_the_plan_does() {
    let state = State::new();
    let mut plan = plan_with(3, 100);
    let ipam = json!({
        "cniVersion": "1.1.0", "name": "lan", "type": "bridge", "ipam": {"type": "host-local", "dataDir": "/run/ipam"}
    });
    plan.attachments[1].network =
        NetworkConfig::parse(&ipam.to_string(), &Missing::default()).unwrap();
    plan.attachments[2].role = Role::Primary;
    drop(state.ledger.create(plan.clone()).unwrap());
    let written = state.only(Depth::Header).header().clone();
    assert_eq!(
        (&written.key, &written.netns, written.created),
        (&plan.key, &plan.netns, plan.created)
    );
    let of_each: Vec<_> = written
        .attachments
        .iter()
        .map(|it| (it.network.as_str(), it.role, it.has_gc, it.reservations.as_slice()))
        .collect();
    assert_eq!(
        of_each,
        [
            ("n0", Role::Extra, false, &[][..]),
            ("lan", Role::Extra, true, &[PathBuf::from("/run/ipam/lan")][..]),
            ("n2", Role::Primary, false, &[][..]),
        ]
    );
    std::fs::write(state.record(), line_without_header(&plan)).unwrap();
    for depth in [Depth::Header, Depth::Whole] {
        assert_eq!(*state.only(depth).header(), written, "a record of before, {depth:?}");
    }
    assert_eq!(read(&state).plan, plan);
}

#[test]
fn a_header_is_read_without_the_configurations_behind_it() {
    let state = State::new();
    drop(state.ledger.create(plan_with(16, 64 << 10)).unwrap());
    let whole = state.only(Depth::Whole).header().clone();
    assert_eq!(whole.attachments.len(), 16);
    OpenOptions::new().write(true).open(state.record()).unwrap().set_len(8 << 10).unwrap();
    assert_eq!(*state.only(Depth::Header).header(), whole);
    let error = state.at(Depth::Whole).pop().unwrap().unwrap_err();
    assert!(matches!(error, LedgerError::Unreadable { .. }), "{error}");
    assert!(!state.ledger.has(&key("c1", "eth0")));
}

/// Directories that are as long as paths may be take the header of no record away.
#[test]
fn a_header_is_bounded() {
    let state = State::new();
    let mut plan = plan_with(16, 1);
    for attachment in &mut plan.attachments {
        let ipam = json!({"type": "host-local", "dataDir": format!("/{}", "x".repeat(4000))});
        let value = json!({"cniVersion": "1.0.0", "name": attachment.network.name, "type": "bridge", "ipam": ipam});
        attachment.network = NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap();
    }
    drop(state.ledger.create(plan).unwrap());
    OpenOptions::new().write(true).open(state.record()).unwrap().set_len(8 << 10).unwrap();
    let listed = state.only(Depth::Header);
    assert!(
        listed.header().attachments.iter().all(|attachment| attachment.reservations.is_empty())
    );
}

#[test]
fn a_header_that_is_not_the_plans_does_not_count() {
    let state = State::new();
    let whole = written(&state);
    // The plan is whole and its header is not: as one that was changed by hand.
    let json = String::from_utf8(whole[9..].to_vec()).unwrap();
    let json = json.lines().next().unwrap().replacen("team-a/web", "team-b/web", 1);
    let line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
    std::fs::write(state.record(), line).unwrap();
    for depth in [Depth::Header, Depth::Whole] {
        assert_eq!(state.only(depth).header().pod, "team-b/web", "{depth:?}");
    }
    let header_ends = memchr::memmem::find(&whole, b",\"sum\"").unwrap();
    for at in (9..header_ends).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(state.record(), &bytes).unwrap();
        let damaged = state.at(Depth::Header).pop().unwrap();
        assert!(matches!(damaged, Err(LedgerError::Damaged { .. })), "bit {at}: {damaged:?}");
    }
    assert!(state.ledger.has(&key("c1", "eth0")), "it is left where it is by those who only look");
}

#[test]
fn a_scan_knows_what_is_gone_of_a_record() {
    let state = State::new();
    written(&state);
    let left = |listed: &Listed| listed.remaining().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(left(&state.only(Depth::Whole)), [0]);
    assert_eq!(left(&state.only(Depth::Header)), [0, 1]);
    // What a torn line or a result says is no event.
    let mut journal = state.ledger.journal(&key("c1", "eth0")).unwrap();
    journal.append(&Event::Attached(0, json!({"gone": 0, "x": "{\"gone\":0}"}))).unwrap();
    let mut torn = record::event_line(&Event::Gone(0)).unwrap();
    torn[3] ^= 1;
    std::io::Write::write_all(
        &mut OpenOptions::new().append(true).open(state.record()).unwrap(),
        &torn,
    )
    .unwrap();
    assert_eq!(left(&state.only(Depth::Whole)), [0]);
}

#[test]
fn a_scan_begins_behind_the_record_at_which_the_last_one_stopped() {
    let state = State::new();
    for container in ["c1", "c2", "c3", "c4"] {
        drop(state.ledger.create(plan_of(key(container, "eth0"))).unwrap());
    }
    assert_eq!(state.order(Sweep::Add), ["c1", "c2", "c3", "c4"]);
    state.ledger.stopped_at(Sweep::Add, "c2@eth0");
    assert_eq!(state.order(Sweep::Add), ["c3", "c4", "c1", "c2"]);
    assert_eq!(state.order(Sweep::Gc), ["c1", "c2", "c3", "c4"], "another sweep's");
    state.ledger.remove(&key("c2", "eth0")).unwrap();
    assert_eq!(state.order(Sweep::Add), ["c3", "c4", "c1"], "wherever that one was");
    for last in ["c4@eth0", "zzz"] {
        state.ledger.stopped_at(Sweep::Add, last);
        assert_eq!(state.order(Sweep::Add), ["c1", "c3", "c4"], "{last}");
    }
}

#[test]
fn a_scan_ends_at_its_deadline() {
    let state = State::new();
    for container in ["c1", "c2"] {
        drop(state.ledger.create(plan_of(key(container, "eth0"))).unwrap());
    }
    let mut scan =
        state.ledger.scan(Sweep::Gc, Depth::Whole, Deadline::after(Duration::ZERO)).unwrap();
    assert!(scan.next().is_none());
    assert_eq!(scan.unread(), 2);
}

#[test]
fn a_record_that_has_not_changed_is_not_read_again() {
    let state = State::new();
    for container in ["c1", "c2"] {
        drop(state.ledger.create(plan_of(key(container, "eth0"))).unwrap());
    }
    let known: Vec<Listed> = state.at(Depth::Whole).into_iter().map(Result::unwrap).collect();
    state.ledger.journal(&key("c2", "eth0")).unwrap().append(&Event::Gone(0)).unwrap();
    assert!(state.ledger.is_unchanged(&known[0]) && !state.ledger.is_unchanged(&known[1]));
    // The bytes of the first are others now, which its size and time do not show.
    let modified = state.record().metadata().unwrap().modified().unwrap();
    let length = usize::try_from(state.record().metadata().unwrap().len()).unwrap();
    let file = File::options().write(true).open(state.record()).unwrap();
    file.write_all_at(&vec![b'x'; length], 0).unwrap();
    file.set_modified(modified).unwrap();
    let again = state.ledger.scan(Sweep::Add, Depth::Whole, later()).unwrap().knowing(known);
    let left: Vec<_> = again.map(|listed| listed.unwrap().remaining().count()).collect();
    assert_eq!(left, [2, 1]);
}

#[test]
fn one_attachment_is_read_without_the_others() {
    let state = State::new();
    let plan = plan_with(3, 10);
    drop(state.ledger.create(plan.clone()).unwrap());
    let listed = state.only(Depth::Header);
    let read = state.ledger.attachments(&listed, &[2, 0, 7]).unwrap();
    assert_eq!(read, [plan.attachments[2].clone(), plan.attachments[0].clone()]);
    state.ledger.remove(&key("c1", "eth0")).unwrap();
    assert_eq!(state.ledger.attachments(&listed, &[0]).unwrap(), []);
}

/// 33 definitions of 1 MB were written once, and could not be read.
#[test]
fn what_is_written_can_be_read_back() {
    let state = State::new();
    let largest = plan_with(33, plan::MAX_BYTES / 33 - 700);
    let mut journal = state.ledger.create(largest.clone()).unwrap();
    let result = |bytes: usize| Event::Attached(0, json!({"x": "y".repeat(bytes)}));
    let error = (0..8).find_map(|_| journal.append(&result(1 << 20)).err()).unwrap();
    assert!(error.to_string().contains("too large"), "{error}");
    let length = state.record().metadata().unwrap().len();
    assert!(length > 7 << 20 && length <= MAX_RECORD_BYTES, "{length}");
    journal.append(&Event::Failing(7)).unwrap();
    journal.append(&Event::Gone(32)).unwrap();
    let record = read(&state);
    assert_eq!(record.plan, largest);
    assert_eq!((record.failing_since, &record.states[32]), (Some(7), &super::super::State::Gone));
    let error = state.ledger.create(plan_with(33, 1 << 20)).unwrap_err();
    assert!(error.to_string().contains("and may have 4194304"), "{error}");
    assert_eq!(read(&state).plan, largest, "the record before is as it was");
}

/// Braid before 0.2 has written such a record.
#[test]
fn a_record_of_33_mib_is_read() {
    let state = State::new();
    written(&state);
    let large = plan_with(33, 1 << 20);
    std::fs::write(state.record(), line_without_header(&large)).unwrap();
    assert_eq!(read(&state).plan, large);
    assert_eq!(state.only(Depth::Whole).header().attachments.len(), 33);
}

#[test]
fn damage_is_told_from_what_passes() {
    use nix::errno::Errno;
    let of = |errno: Errno| Unread::from(io::Error::from(errno));
    for errno in
        [Errno::EIO, Errno::EISDIR, Errno::ELOOP, Errno::ENXIO, Errno::EUCLEAN, Errno::EBADMSG]
    {
        assert!(matches!(of(errno), Unread::Damaged(_)), "{errno}");
    }
    for errno in
        [Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::EINTR, Errno::EACCES, Errno::EPERM]
    {
        assert!(matches!(of(errno), Unread::Refused(_)), "{errno}");
    }
    assert!(matches!(of(Errno::ENOENT), Unread::Missing));
}
