//! Many who want an address of one range at the same moment: how often they lose, and what it costs.

use super::*;
use crate::ipam::Fields;
use crate::ipam::cluster::allocation::{Allocation, Pause, Wish};
use crate::ipam::cluster::engine::skip;
use crate::ipam::cluster::entry::Owner;

/// What it has cost all of them.
struct Cost {
    /// The most lost races of one.
    lost: u32,
    /// The requests of all.
    requests: usize,
    /// The addresses, in order.
    addresses: Vec<u128>,
}

fn wish(number: usize, is_overlapping: bool) -> Wish {
    let value = json!({"range": "10.0.0.0/20"});
    let range = Range::read(&Fields::root(value.as_object().unwrap())).unwrap().unwrap();
    Wish {
        namespace: "kube-system".to_owned(),
        pool: "10.0.0.0-20".to_owned(),
        start: range.limits().0,
        range,
        network: None,
        overlapping: is_overlapping,
        asked: None,
        claim: None,
        owner: Owner {
            container: format!("c{number}"),
            podref: format!("a/p{number}"),
            interface: "net1".into(),
        },
    }
}

/// All make each request at the same moment, which is the worst that can come to pass.
fn contend(count: usize, is_overlapping: bool) -> Cost {
    let stores = Stores::default();
    let deadline = cni::deadline::Deadline::after(Duration::from_secs(60));
    let mut store = stores.open(&ApiAccess::default(), deadline).unwrap().store;
    let wishes = (0..count).map(|number| wish(number, is_overlapping));
    let mut allocations: Vec<Allocation> = wishes.map(Allocation::new).collect();
    let mut lost = 0;
    loop {
        let mut open: Vec<&mut Allocation> =
            allocations.iter_mut().filter(|it| it.request().is_some()).collect();
        if open.is_empty() {
            break;
        }
        let requests: Vec<_> = open.iter().filter_map(|it| it.request()).collect();
        let answers = store.send(&requests, deadline);
        for (allocation, answer) in open.iter_mut().zip(answers) {
            if let Pause::Lost(times) = allocation.answer(answer).unwrap() {
                allocation.set_skip(skip(times));
                lost = lost.max(times);
            }
        }
    }
    let mut addresses: Vec<u128> = allocations.iter().filter_map(Allocation::address).collect();
    addresses.sort_unstable();
    let requests = stores.0.lock().unwrap().requests;
    Cost { lost, requests, addresses }
}

/// In step, one of them would win each race over the lowest address: the last of 200 would lose 199.
#[test]
fn those_who_lose_races_spread_over_the_lowest_free_addresses() {
    for is_overlapping in [false, true] {
        for (count, most_lost, most_requests) in [(21, 10, 14), (200, 12, 24)] {
            let cost = contend(count, is_overlapping);
            let distinct: BTreeSet<&u128> = cost.addresses.iter().collect();
            assert_eq!((cost.addresses.len(), distinct.len()), (count, count));
            let context = format!("{count} {is_overlapping}: {} {}", cost.lost, cost.requests);
            assert!(cost.lost <= most_lost, "{context}");
            assert!(cost.requests <= most_requests * count, "{context}");
            let first = cost.addresses.first().unwrap();
            let width = cost.addresses.last().unwrap() - first;
            assert!(width < 512 + u128::try_from(count).unwrap(), "{context}: {width}");
        }
    }
}

#[test]
fn one_alone_has_the_lowest_address() {
    let cost = contend(1, true);
    assert_eq!((cost.lost, cost.addresses), (0, vec![u128::from(0x0a00_0001_u32)]));
}
