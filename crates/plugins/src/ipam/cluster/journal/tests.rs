use super::record::VERSION;
use super::*;

fn header(container: &str, server: &str) -> Header {
    Header {
        version: VERSION,
        server: server.to_owned(),
        namespace: "kube-system".to_owned(),
        kubeconfig: "/k".into(),
        api_root: None,
        network: "lan".to_owned(),
        caller: "runtime".to_owned(),
        container: container.to_owned(),
        interface: "net1".to_owned(),
        podref: "a/b".to_owned(),
        network_name: None,
        overlapping: true,
        sticky: None,
        claim: None,
        by_whereabouts: false,
        made: 1000,
        not_before: None,
    }
}

fn place(offset: u128) -> Written {
    Written::new("10.0.0.0-24", Some((offset, "10.0.0.5".parse().unwrap())))
}

fn all() -> Wanted<'static> {
    Wanted { limit: 9, server: None }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(50))
}

#[test]
fn what_is_noted_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(&dir.path().join("addresses"));
    assert!(journal.find("c1", "net1").unwrap().is_none());
    let mut open = journal.begin(&header("c1", "h:1"), soon()).unwrap();
    for written in [place(5), place(5), place(u128::MAX)] {
        open.note(written).unwrap();
    }
    let found = journal.find("c1", "net1").unwrap().unwrap();
    assert_eq!(found.header, header("c1", "h:1"));
    assert_eq!(found.written, [place(5), place(u128::MAX)]);
    assert_eq!(found.written[1].offset(), Some(u128::MAX));
    assert_eq!(journal.all_held().unwrap().len(), 1);
}

#[test]
fn a_torn_line_is_a_write_that_was_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path());
    journal.begin(&header("c1", "h:1"), soon()).unwrap().note(place(5)).unwrap();
    let path = journal.held().join("c1@net1");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(b"{\"pool\": \"10.0");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(journal.find("c1", "net1").unwrap().unwrap().written, [place(5)]);
    std::fs::write(&path, "{").unwrap();
    let error = journal.find("c1", "net1").unwrap_err().to_string();
    assert!(error.contains("is no record of addresses"), "{error}");
    assert!(journal.all_held().unwrap().is_empty());
}

#[test]
fn an_add_of_the_same_attachment_takes_over_what_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path());
    journal.begin(&header("c1", "h:1"), soon()).unwrap().note(place(5)).unwrap();
    journal.make_due(&journal.find("c1", "net1").unwrap().unwrap(), None).unwrap();
    assert!(journal.find("c1", "net1").unwrap().is_none());
    assert_eq!(journal.count_due(), 1);
    let mut open = journal.begin(&header("c1", "h:1"), soon()).unwrap();
    open.note(place(6)).unwrap();
    assert_eq!(journal.count_due(), 0, "it would be given back while it is held");
    assert_eq!(journal.find("c1", "net1").unwrap().unwrap().written, [place(5), place(6)]);
    drop(open);
    // On another server, it is given back there.
    journal.begin(&header("c1", "h:2"), soon()).unwrap();
    assert_eq!(journal.count_due(), 1);
    assert!(journal.find("c1", "net1").unwrap().unwrap().written.is_empty());
}

#[test]
fn what_is_due_is_claimed_by_one_call_and_not_before_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path());
    for (container, not_before) in [("c1", None), ("c2", Some(2000))] {
        journal.begin(&header(container, "h:1"), soon()).unwrap().note(place(5)).unwrap();
        let found = journal.find(container, "net1").unwrap().unwrap();
        journal.make_due(&found, not_before).unwrap();
    }
    let early = journal.claim_due(1999, &all(), soon()).unwrap();
    let containers: Vec<_> = early.iter().map(|it| it.recorded.header.container.as_str()).collect();
    assert_eq!(containers, ["c1"]);
    let late = journal.claim_due(2000, &all(), soon()).unwrap();
    assert_eq!(late.len(), 1, "the other one is held");
    let error = journal.begin(&header("c1", "h:1"), soon()).unwrap_err().to_string();
    assert!(error.ends_with("is held by another call"), "{error}");
    drop(early);
    journal.begin(&header("c1", "h:1"), soon()).unwrap();
}

#[test]
fn what_is_wanted_of_one_server_is_found_among_what_others_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path());
    for number in 0..20 {
        let header = header(&format!("c{number}"), if number == 7 { "h:1" } else { "h:2" });
        journal.add_due(&header, &[place(number)]).unwrap();
    }
    let wanted = Wanted { limit: 2, server: Some("h:1") };
    let found = journal.claim_due(2000, &wanted, soon()).unwrap();
    let containers: Vec<_> = found.iter().map(|it| it.recorded.header.container.as_str()).collect();
    assert_eq!(containers, ["c7"]);
}

/// The place of a line that cannot be read is looked for in the pools of the others, and what stands
/// behind it counts.
#[test]
fn a_line_that_was_damaged_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path());
    let mut open = journal.begin(&header("c1", "h:1"), soon()).unwrap();
    for offset in 5..8 {
        open.note(place(offset)).unwrap();
    }
    let path = journal.held().join("c1@net1");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(r#""offset":"6""#, r#""offset":6"#)).unwrap();
    let found = journal.find("c1", "net1").unwrap().unwrap();
    assert_eq!(found.written, [place(5), place(7), Written::new("10.0.0.0-24", None)]);
    let header = text.lines().next().unwrap();
    std::fs::write(&path, format!("{header}\n{{}}\n")).unwrap();
    let error = journal.find("c1", "net1").unwrap_err().to_string();
    assert!(error.contains("no line of it can be read"), "{error}");
}

#[test]
fn what_a_claim_or_a_name_keeps_is_not_given_back_without_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path());
    let claimed = Header { claim: Some("vm".to_owned()), ..header("c1", "h:1") };
    let sticky = Header { sticky: Some(600), ..header("c2", "h:1") };
    for header in [&claimed, &sticky] {
        journal.begin(header, soon()).unwrap().note(place(5)).unwrap();
        let found = journal.find(&header.container, "net1").unwrap().unwrap();
        journal.postpone(&found).unwrap();
    }
    assert_eq!((journal.count_held(), journal.count_due()), (0, 1));
    assert_eq!(journal.claim_due(now() + 590, &all(), soon()).unwrap().len(), 0);
    assert_eq!(journal.claim_due(now() + 610, &all(), soon()).unwrap().len(), 1);
}
