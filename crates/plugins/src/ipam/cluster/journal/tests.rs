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
        journal.begin(&header(container, "h:1"), soon()).unwrap();
        let found = journal.find(container, "net1").unwrap().unwrap();
        journal.make_due(&found, not_before).unwrap();
    }
    let early = journal.claim_due(1999, 9).unwrap();
    let containers: Vec<_> = early.iter().map(|it| it.recorded.header.container.as_str()).collect();
    assert_eq!(containers, ["c1"]);
    let late = journal.claim_due(2000, 9).unwrap();
    assert_eq!(late.len(), 1, "the other one is held");
    let error = journal.begin(&header("c1", "h:1"), soon()).unwrap_err().to_string();
    assert!(error.ends_with("is held by another call"), "{error}");
    drop(early);
    journal.begin(&header("c1", "h:1"), soon()).unwrap();
}
