//! Calls for one attachment at the same time. Runtimes make one after the other; a call that they
//! gave up may still be at work.

use super::*;

#[test]
fn two_adds_of_one_attachment_have_one_address_between_them() {
    for round in 0..20 {
        let node = Node::new(overlapping());
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| node.add("c1", "p1"))).collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        for outcome in outcomes {
            assert_eq!(outcome.unwrap(), ["10.0.0.1/24"], "{round}");
        }
        assert_eq!(node.world().entries(POOL), [("1".to_owned(), "c1".to_owned())]);
        node.del("c1", "p1");
        assert!(node.world().entries(POOL).is_empty(), "{round}");
        assert!(node.world().names(Kind::Reservation).is_empty(), "{round}");
        assert_eq!((node.journal().count_held(), node.journal().count_due()), (0, 0));
    }
}

/// Whichever is first: nothing is lost.
#[test]
fn a_del_beside_an_add_leaves_nothing_that_is_not_written_down() {
    for round in 0..40 {
        let node = Node::new(plain());
        std::thread::scope(|scope| {
            scope.spawn(|| node.add("c1", "p1"));
            std::thread::sleep(Duration::from_micros(round * 150));
            node.del("c1", "p1");
        });
        let entries = node.world().entries(POOL).len();
        let written = node.journal().count_held() + node.journal().count_due();
        assert!(entries <= written, "{round}: {entries} {written}");
        node.del("c1", "p1");
        assert_eq!(node.carry_on().left, 0, "{round}");
        assert!(node.world().entries(POOL).is_empty(), "{round}");
    }
}

#[test]
fn the_lock_of_a_call_that_was_killed_holds_nothing_up_and_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(&dir.path().join("addresses"));
    let soon = || cni::deadline::Deadline::after(Duration::from_millis(50));
    let lock = journal.hold("c1", "net1", soon()).unwrap();
    assert!(journal.hold("c1", "net1", soon()).is_err());
    // Killed: the file stays, and the kernel gives up the lock.
    let file = dir.path().join("addresses/locks/c1@net1");
    drop(lock);
    std::fs::write(&file, "").unwrap();
    drop(journal.hold("c1", "net1", soon()).unwrap());
    assert!(!file.exists());
    std::fs::write(&file, "").unwrap();
    journal.sweep_locks();
    assert!(!file.exists());
}
