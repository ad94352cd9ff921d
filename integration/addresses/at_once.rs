//! Pods that start at the same moment on many nodes of one range, from its lowest address on.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::json;

use super::node::{AddressNode, Call, Kill};
use super::stand_in::Owner;
use crate::apiserver::{ApiServer, Setup};
use crate::node::BRAID;

const NODES: usize = 20;
const PODS: usize = 3;
/// The most requests of an ADD on average: four and those of the races that it loses.
const REQUESTS: usize = 16;

fn owner(node: usize, pod: usize) -> Owner {
    Owner {
        container: format!("c-{node}-{pod}"),
        podref: format!("team-a/web-{node}-{pod}"),
        ifname: "net1".to_owned(),
    }
}

#[test]
fn pods_that_start_at_once_have_an_address_each_after_few_requests() {
    let manifests = vec!["rbac.yaml", "rbac-addresses.yaml"];
    let server = ApiServer::with(Setup { manifests, ..Setup::default() });
    let kubeconfig = server.usual_kubeconfig();
    let node = |number: usize| {
        let name = format!("node-{number}");
        AddressNode::new(&name, Path::new(BRAID), &kubeconfig, json!({"range": "10.9.0.0/20"}))
    };
    let nodes: Vec<AddressNode> = (0..NODES).map(node).collect();
    let outcomes: Vec<Call> = std::thread::scope(|scope| {
        let numbers = (0..NODES * PODS).map(|number| (number % NODES, number / NODES));
        let calls: Vec<_> = numbers
            .map(|(at, pod)| {
                let node = &nodes[at];
                scope.spawn(move || node.call("ADD", &owner(at, pod), &Kill::Never))
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let given: BTreeSet<Ipv4Addr> = outcomes.iter().filter_map(Call::address).collect();
    assert_eq!(given.len(), NODES * PODS, "{outcomes:?}");
    let requests = server.lines().len();
    let last = u32::from(*given.last().unwrap()) & 0xfff;
    eprintln!("{requests} requests of {} ADDs, addresses up to {last}", given.len());
    assert!(requests <= REQUESTS * given.len(), "{requests}");
    assert!(last <= 256 + 60, "{last}");
    for (at, node) in nodes.iter().enumerate() {
        for pod in 0..PODS {
            let ended = node.call("DEL", &owner(at, pod), &Kill::Never);
            assert!(matches!(ended, Call::Done(_)), "{ended:?}");
        }
    }
    let objects = server.objects();
    let pool = objects.get("ippools", "kube-system", "10.9.0.0-20").unwrap();
    assert_eq!(pool["spec"]["allocations"], json!({}));
    assert!(objects.all("overlappingrangeipreservations").is_empty());
}
