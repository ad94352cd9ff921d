use super::*;
use crate::ipam::Fields;
use serde_json::json;

fn allocation() -> Allocation {
    let value = json!({"range": "10.0.0.0/29"});
    Allocation::new(Wish {
        namespace: "kube-system".to_owned(),
        pool: "10.0.0.0-29".to_owned(),
        range: Range::read(&Fields::root(value.as_object().unwrap())).unwrap().unwrap(),
        network: None,
        overlapping: false,
        asked: None,
        claim: None,
        start: u128::from(u32::from_be_bytes([10, 0, 0, 1])),
        owner: Owner { container: "c1".into(), podref: "a/b".into(), interface: "net1".into() },
    })
}

fn pool(range: &str) -> Result<Vec<u8>, StoreError> {
    let object = json!({"metadata": {"name": "10.0.0.0-29"},
        "spec": {"range": range, "allocations": {"1": {"id": "x", "podref": "a/x"}}}});
    Ok(object.to_string().into_bytes())
}

#[test]
fn a_write_that_is_always_refused_ends_with_the_servers_words() {
    let mut allocation = allocation();
    let refused = || Err(StoreError::Invalid("podref is wrong".to_owned()));
    let mut rounds = 0;
    let error = loop {
        rounds += 1;
        assert_eq!(allocation.answer(pool("10.0.0.0/29")), Ok(Pause::None));
        if let Err(error) = allocation.answer(refused()) {
            break error;
        }
    };
    assert_eq!((error.to_string().as_str(), rounds), ("podref is wrong", 4));
}

#[test]
fn a_pool_of_another_range_is_refused() {
    let error = allocation().answer(pool("10.0.0.0/24")).unwrap_err().to_string();
    assert!(error.contains("is of range \"10.0.0.0/24\" and not of 10.0.0.0/29"), "{error}");
}

#[test]
fn a_pool_that_is_too_large_says_what_to_do() {
    let mut allocation = allocation();
    allocation.answer(pool("10.0.0.0/29")).unwrap();
    let refused = StoreError::TooLarge("etcdserver: request is too large".to_owned());
    let error = allocation.answer(Err(refused)).unwrap_err().to_string();
    assert!(error.contains("has 1 entries in 0 KiB, and takes no more: etcdserver"), "{error}");
    assert!(error.contains("node_slice_size"), "{error}");
}

#[test]
fn others_may_have_every_address_first() {
    let mut allocation = allocation();
    allocation.set_skip(0);
    let error = loop {
        if let Err(error) = allocation.answer(pool("10.0.0.0/29")) {
            break error;
        }
        // A different address each time, so that no refusal is the same.
        let skip = usize::try_from(allocation.lost % 3).unwrap();
        allocation.set_skip(skip);
        if let Err(error) = allocation.answer(Err(StoreError::Invalid("raced".to_owned()))) {
            break error;
        }
    };
    assert!(matches!(error, Refusal::Lost { .. }), "{error}");
}

#[test]
fn an_object_that_others_change_is_written_again_with_the_same_address() {
    let mut allocation = allocation();
    allocation.answer(pool("10.0.0.0/29")).unwrap();
    let first = allocation.request();
    for times in 1..=TRIES {
        let conflict = StoreError::Conflict("the object has been modified".to_owned());
        assert_eq!(allocation.answer(Err(conflict)), Ok(Pause::Contended(times)));
        assert_eq!(allocation.request(), first, "{times}");
    }
    let conflict = StoreError::Conflict("the object has been modified".to_owned());
    assert!(matches!(allocation.answer(Err(conflict)), Err(Refusal::Lost { .. })));
}
