//! Many calls, many at once, and some that fail: afterwards nothing is left.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::{Call, Outcome, Running};
use crate::node::{Node, PLUGIN_DIR, text};
use crate::pod::Pod;

const NOTHING: [String; 0] = [];

/// Defines `lan` (bridge, dual stack), `ported` (bridge with portmap) and `link` (ptp, which would
/// wait a second for each IPv6 address), with room for a thousand pods.
fn define_extras(node: &Node) {
    let bridge = |name: &str, subnets: &str| json!({"type": "bridge", "bridge": name, "isGateway": true, "ipam": node.host_local(subnets)});
    node.define("team-a", "lan", bridge("br-lan", "10.10.0.0/22 fd00:10::/64"));
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let ported = json!({
        "cniVersion": "1.0.0", "name": "ported", "plugins": [bridge("br-ported", "10.12.0.0/22"), portmap]
    });
    node.define("team-a", "ported", ported);
    let ipam = node.host_local("10.13.0.0/22");
    node.define("team-a", "link", json!({"type": "ptp", "ipam": ipam}));
}

fn primary(node: &Node) -> Value {
    json!({"delegates": [node.bridge("cni0", "10.1.0.0/22 fd00:1::/64")]})
}

/// What is left of the calls since `before`, everything that was given away and lost included.
fn difference(node: &Node, before: &BTreeSet<String>) -> Vec<String> {
    let now = node.dump();
    // Bridges have no address of their own while they have no port.
    let lost =
        before.difference(&now).filter(|line| !line.contains("br-") && !line.contains("cni0"));
    node.leftovers(before).into_iter().chain(lost.map(|line| format!("lost: {line}"))).collect()
}

#[test]
fn a_hundred_adds_and_dels_leave_nothing() {
    let node = Node::new();
    define_extras(&node);
    let pod = node.pod("team-a", "web");
    let round = || {
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let asked =
            json!([{"name": "lan"}, {"name": "ported", "portMappings": ports}, {"name": "link"}]);
        pod.add(primary(&node)).networks_json(asked).run().assert_success();
        assert_eq!(pod.links(), ["eth0", "net1", "net2", "net3"]);
        pod.del().run().assert_success();
    };
    // The first round makes what plugins keep for every pod: bridges, portmap's chains,
    // directories.
    round();
    let inside =
        || [pod.ip("addr show"), pod.ip("route show table all"), pod.ip("-6 route show table all")];
    let (before, inside_before) = (node.dump(), inside());
    for _ in 0..100 {
        round();
    }
    assert_eq!(difference(&node, &before), NOTHING);
    assert_eq!(inside(), inside_before);
    for directory in ["records", "locks", "orphans", "aside"] {
        assert_eq!(node.state(directory), NOTHING, "{directory}");
    }
    for network in ["cni0", "lan", "ported", "link"] {
        assert_eq!(node.reservations(network), NOTHING, "{network}");
    }
}

/// A call that may fail, but not fall over.
#[track_caller]
fn assert_orderly(outcome: &Outcome) {
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    if !outcome.status.success() {
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert!(outcome.json()["code"].as_u64().is_some_and(|code| code > 0), "{outcome:?}");
    }
}

#[test]
fn calls_for_one_container_at_once() {
    let node = Node::new();
    define_extras(&node);
    let warm = node.pod("team-a", "warm");
    warm.add(primary(&node)).networks("lan, link").run().assert_success();
    warm.del().run().assert_success();
    let before = node.dump();
    for round in 0..10 {
        let pod = node.pod("team-a", &format!("twice{round}"));
        let add = || pod.add(primary(&node)).networks("lan, link");
        let outcomes = [add().start(), add().start()].map(Running::wait);
        let (won, lost): (Vec<_>, Vec<_>) =
            outcomes.iter().partition(|outcome| outcome.status.success());
        assert_eq!((won.len(), lost.len()), (1, 1), "{outcomes:?}");
        won[0].assert_success();
        lost[0].assert_error(7, [&pod.container, "already"]);
        assert_eq!(pod.links(), ["eth0", "net1", "net2"]);
        // The winner's result, whichever of the two has ended last.
        pod.memory.borrow_mut().result = Some(won[0].json());
        pod.check().run().assert_success();
        pod.del().run().assert_success();
        assert_eq!(pod.links(), NOTHING);
        assert_eq!(difference(&node, &before), NOTHING, "after two ADDs");

        let pod = node.pod("team-a", &format!("both{round}"));
        let add = pod.add(primary(&node)).networks("lan, link").start();
        let del = pod.del().start();
        assert_orderly(&add.wait());
        assert_orderly(&del.wait());
        pod.del().run().assert_success();
        assert_eq!(pod.links(), NOTHING);
        assert_eq!(difference(&node, &before), NOTHING, "after ADD and DEL");
    }
}

/// How many pods, and how many calls at once.
const PODS: usize = 250;
const PROCESSES: usize = 32;
/// Decides which calls of the moody network fail, whatever the order that they come in.
const SEED: &str = "braid";

/// What the kubelet has tried, and how often it was refused.
#[derive(Default)]
struct Refusals {
    adds: AtomicUsize,
    dels: AtomicUsize,
    checks: AtomicUsize,
}

/// A network whose plugin is the real bridge, and that fails one call in ten: half of them before
/// it has done anything, half after.
fn define_moody(node: &Node) {
    node.recorder("moody");
    let answer =
        json!({"unlucky": {"seed": SEED, "one_in": 10}, "run": format!("{PLUGIN_DIR}/bridge")});
    node.script("moody", json!({"ADD": answer, "CHECK": answer, "DEL": answer}));
    let ipam = node.host_local("10.14.0.0/22");
    node.define("team-a", "moody", json!({"type": "moody", "bridge": "br-moody", "ipam": ipam}));
}

/// Three extra networks; one pod in ten has a port of the host, too.
fn selections(number: usize) -> Value {
    let port = json!([{"hostPort": 20_000 + number, "containerPort": 80, "protocol": "tcp"}]);
    let last = match number % 10 {
        0 => json!({"name": "ported", "portMappings": port}),
        _ => json!({"name": "link"}),
    };
    json!([{"name": "lan"}, {"name": "moody"}, last])
}

/// Starts a pod as the kubelet does: for each try a sandbox of its own, and DEL after each that
/// failed.
fn start<'n>(node: &'n Node, number: usize, refusals: &Refusals) -> Pod<'n> {
    for attempt in 0..20 {
        let name = format!("p{number}");
        let pod = Pod::new(node, "team-a", &name, format!("{name}-{attempt}"));
        let outcome = pod.add(primary(node)).networks_json(selections(number)).run();
        if outcome.status.success() {
            outcome.assert_success();
            return pod;
        }
        outcome.assert_error(99, ["network \"team-a/moody\" on net2", "out of luck"]);
        refusals.adds.fetch_add(1, Ordering::Relaxed);
        delete(&pod, refusals);
        assert_eq!(pod.links(), NOTHING, "{}", pod.container);
    }
    panic!("pod {number} does not start");
}

/// Calls until it succeeds; `refused` counts the failures.
fn insist<'p>(call: impl Fn() -> Call<'p>, refused: &AtomicUsize) {
    for _ in 0..20 {
        let outcome = call().run();
        if outcome.status.success() {
            return;
        }
        outcome.assert_error(99, ["out of luck"]);
        refused.fetch_add(1, Ordering::Relaxed);
    }
    panic!("it never succeeds");
}

fn delete(pod: &Pod<'_>, refusals: &Refusals) {
    insist(|| pod.del(), &refusals.dels);
}

/// CHECK of some pods by every plugin, of the others by the primary's and the kernel. That of the
/// plugin portmap looks for rules of IPv6 even without IPv6.
fn check(pod: &Pod<'_>, refusals: &Refusals) {
    let scope = if pod.name.ends_with(['1', '6']) { "all" } else { "kernel" };
    insist(|| pod.check().with(json!({"checkNetworks": scope})), &refusals.checks);
}

/// Does something with each, by so many threads at once, and returns what came of it in any order.
fn at_once<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let (items, done) = (Mutex::new(items), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let worker = || {
            loop {
                let Some(item) = items.lock().unwrap().pop() else { return };
                let result = work(item);
                done.lock().unwrap().push(result);
            }
        };
        let workers: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().for_each(|worker| worker.join().expect("a pod failed"));
    });
    done.into_inner().unwrap()
}

/// Each address of the results comes once.
fn assert_distinct(pods: &[Pod<'_>]) {
    let mut seen = BTreeSet::new();
    for pod in pods {
        let result = pod.memory.borrow().result.clone().unwrap();
        let ips = result["ips"].as_array().unwrap();
        // Both families on the primary and on lan, one on each of the others.
        assert_eq!(ips.len(), 6, "{result}");
        for ip in ips {
            assert!(
                seen.insert(text(&ip["address"]).to_owned()),
                "{} is given twice",
                ip["address"]
            );
        }
    }
}

/// Every rule of the firewall, also those of others, without counters.
fn ruleset(node: &Node) -> String {
    let output =
        node.host().command("nft").args(["--stateless", "list", "ruleset"]).output().unwrap();
    assert!(
        output.status.success(),
        "nft: {}: install nftables",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_hundred_and_fifty_pods_by_thirty_two_processes_with_a_plugin_that_fails() {
    let node = Node::new();
    define_extras(&node);
    define_moody(&node);
    let refusals = Refusals::default();
    // Makes what plugins keep for every pod.
    delete(&start(&node, 10_000, &refusals), &refusals);
    let (before, rules) = (node.dump(), ruleset(&node));
    assert!(rules.contains("CNI-HOSTPORT-DNAT"), "the first pod has a port: {rules}");

    let started = Instant::now();
    let mut pods = at_once((0..PODS).collect(), |number| start(&node, number, &refusals));
    assert_eq!(pods.len(), PODS);
    assert_distinct(&pods);
    let with_port = PODS.div_ceil(10);
    let reserved =
        ["cni0", "lan", "moody", "ported", "link"].map(|network| node.reservations(network).len());
    assert_eq!(reserved, [2 * PODS, 2 * PODS, PODS, with_port, PODS - with_port]);
    assert_eq!(node.state("records").len(), PODS);
    let added = started.elapsed();

    pods = at_once(pods, |pod| {
        check(&pod, &refusals);
        pod
    });
    let neighbour = pods[PODS - 1].addresses("net1")[0].split('/').next().unwrap().to_owned();
    assert!(pods[0].pings(&neighbour), "the first pod does not reach the last");
    let checked = started.elapsed();

    at_once(pods, |pod| {
        delete(&pod, &refusals);
        assert_eq!(pod.links(), NOTHING, "{}", pod.container);
    });
    let deleted = started.elapsed();
    let left = difference(&node, &before);
    assert_eq!(left, NOTHING);
    assert_eq!(ruleset(&node), rules);
    for directory in ["records", "locks", "orphans", "aside"] {
        assert_eq!(node.state(directory), NOTHING, "{directory}");
    }
    let counts = [&refusals.adds, &refusals.checks, &refusals.dels]
        .map(|count| count.load(Ordering::Relaxed));
    assert!(counts.iter().all(|count| *count > 1), "the plugin was too kind: {counts:?}");
    eprintln!(
        "{PODS} pods: started after {added:?}, checked after {checked:?}, deleted after \
         {deleted:?}; {counts:?} ADDs, CHECKs, DELs were refused"
    );
}

/// A shell command that ends once as many calls of this verb are in it as there are containers; a
/// file says so if it had to give up.
fn meeting(node: &Node, containers: usize) -> Value {
    let place = node.path_text("meeting");
    let script = format!(
        "mkdir -p {place}/$CNI_COMMAND && touch {place}/$CNI_COMMAND/$CNI_CONTAINERID
         for _ in $(seq 1 1200); do
             [ $(ls {place}/$CNI_COMMAND | wc -l) -ge {containers} ] && exit
             sleep 0.05
         done
         touch {place}/in-vain"
    );
    json!({"shell": script})
}

/// Each waits in its plugin for all the others: were one held off by another, none would ever go
/// on.
#[test]
fn calls_for_different_containers_do_not_wait_for_each_other() {
    let node = Node::new();
    node.network("blue", json!({}));
    node.script(
        "blue",
        ["ADD", "CHECK", "DEL"].map(|verb| (verb, meeting(&node, PROCESSES))).into_iter().collect(),
    );
    let pods: Vec<Pod<'_>> =
        (0..PROCESSES).map(|number| node.pod("team-a", &format!("p{number}"))).collect();
    let all = |verb: &str, calls: Vec<Call<'_>>| {
        let running: Vec<Running<'_>> = calls.into_iter().map(Call::start).collect();
        running.into_iter().map(Running::wait).for_each(|outcome| drop(outcome.assert_success()));
        let arrivals = fs::read_dir(node.path("meeting").join(verb)).unwrap().flatten();
        let arrivals: BTreeSet<_> =
            arrivals.map(|file| file.metadata().unwrap().modified().unwrap()).collect();
        let spread = arrivals
            .last()
            .unwrap()
            .duration_since(*arrivals.first().unwrap())
            .unwrap_or(Duration::ZERO);
        eprintln!("{verb}: the last of {PROCESSES} was in its plugin {spread:?} after the first");
    };
    all("ADD", pods.iter().map(|pod| pod.add(node.delegating()).networks("blue")).collect());
    all("CHECK", pods.iter().map(Pod::check).collect());
    all("DEL", pods.iter().map(Pod::del).collect());
    assert!(!node.path("meeting/in-vain").exists(), "a call was held off by another container's");
    assert_eq!((node.state("records"), node.state("locks")), (vec![], vec![]));
}
