//! Many nodes give out addresses of one range at the same time, some with whereabouts, while the
//! API server fails in every way and calls are killed: no address is given twice, none is lost.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::{AddressNode, Call, Kill};
use super::stand_in::{Owner, StandIn};
use crate::apiserver::{ApiServer, Fault, Setup, User};
use crate::crash::injection::Point;

/// The nodes, each a process at a time.
const NODES: usize = 32;
/// Each third of them has whereabouts.
const STAND_INS: usize = 3;
/// The most pods of a node.
const PODS: usize = 6;
/// The one range.
const RANGE: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 9, 0, 0), 20);
const POOL: &str = "10.9.0.0-20";
/// When the API server is away, in milliseconds of each period.
const AWAY: std::ops::Range<u128> = 6000..7500;
const EVERY: u128 = 15_000;

/// Who has which address, as the runtimes know it: from the result of ADD to the call of DEL.
#[derive(Default)]
struct Model {
    held: BTreeMap<Ipv4Addr, String>,
    violations: Vec<String>,
}

impl Model {
    fn hold(&mut self, address: Ipv4Addr, container: &str) {
        if let Some(other) = self.held.insert(address, container.to_owned()) {
            self.violations.push(format!("{address} of {other} is given to {container}"));
        }
    }

    fn release(&mut self, address: Ipv4Addr) {
        self.held.remove(&address);
    }

    /// Judges a change of the pool: what is held keeps its entry, and an entry never becomes
    /// another pod's.
    fn judge(&mut self, old: &Value, new: &Value) {
        let (old, new) = (&old["spec"]["allocations"], &new["spec"]["allocations"]);
        for (key, before) in old.as_object().into_iter().flatten() {
            let after = &new[key];
            if after == before {
                continue;
            }
            let Ok(offset) = key.parse::<u32>() else { continue };
            let address = Ipv4Addr::from(u32::from(RANGE.0) + offset);
            if let Some(container) = self.held.get(&address) {
                let problem = format!("{address} of {container} is {after} and no more {before}");
                self.violations.push(problem);
            }
            if !after.is_null() && after["podref"] != before["podref"] {
                self.violations.push(format!("{address}: {after} in place of {before}"));
            }
        }
    }
}

/// When the nodes begin nothing more: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// ADDs and DELs of all nodes.
    pub(crate) operations: usize,
    /// Since the start.
    pub(crate) time: Duration,
}

/// What is done.
pub(crate) struct Storm {
    /// Decides what the nodes do; what a kill meets is up to the machine.
    pub(crate) seed: u64,
    pub(crate) end: End,
    /// Braid's executable.
    pub(crate) program: PathBuf,
    /// Whether calls are also killed at each system call that changes something.
    pub(crate) kills_at_each_step: bool,
}

/// Where calls are still to be killed: the points of ADD and of DEL, each with how often it was not
/// met, since a call that meets a fault goes another way.
#[derive(Default)]
struct Steps(BTreeMap<&'static str, VecDeque<(Point, u32)>>);

impl Steps {
    /// How often a point is tried.
    const TRIES: u32 = 12;

    /// Learns them from calls that succeed.
    fn learn(node: &AddressNode) -> Self {
        let owner = Owner {
            container: "observed".to_owned(),
            podref: "braid/observed".to_owned(),
            ifname: "net1".to_owned(),
        };
        // The pool and the directories are made by the first one.
        for verb in ["ADD", "DEL"] {
            assert!(matches!(node.call(verb, &owner, &Kill::Never), Call::Done(_)), "{verb}");
        }
        let adds = node.points("ADD", &owner);
        assert!(matches!(node.call("ADD", &owner, &Kill::Never), Call::Done(_)));
        let dels = node.points("DEL", &owner);
        node.call("DEL", &owner, &Kill::Never);
        let queue = |points: Vec<Point>| points.into_iter().map(|point| (point, 0)).collect();
        Self(BTreeMap::from([("ADD", queue(adds)), ("DEL", queue(dels))]))
    }

    fn left(&self) -> Vec<String> {
        let of = |(verb, queue): (&&str, &VecDeque<(Point, u32)>)| {
            queue.iter().map(|(point, _)| format!("{verb}: {point}")).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }
}

/// What the nodes share.
struct Cluster {
    steps: Mutex<Steps>,
    missed: Mutex<Vec<String>>,
    server: ApiServer,
    started: Instant,
    end: End,
    model: Arc<Mutex<Model>>,
    begun: AtomicUsize,
    given: AtomicUsize,
    killed: AtomicUsize,
}

impl Cluster {
    fn new(storm: &Storm) -> Self {
        let (seed, end) = (storm.seed, storm.end);
        let manifests = vec!["rbac.yaml", "rbac-addresses.yaml"];
        let server = ApiServer::with(Setup { manifests, ..Setup::default() });
        let model: Arc<Mutex<Model>> = Arc::default();
        let judge = model.clone();
        server.objects().watch(move |resource, old, new| {
            if resource == "ippools" {
                judge.lock().unwrap().judge(old, new);
            }
        });
        let mut steps = Steps::default();
        if storm.kills_at_each_step {
            let ipam = json!({"range": format!("{}/{}", RANGE.0, RANGE.1)});
            let kubeconfig = server.usual_kubeconfig();
            steps = Steps::learn(&AddressNode::new("first", &storm.program, &kubeconfig, ipam));
            eprintln!("{} points of ADD and DEL", steps.left().len());
        }
        let (steps, missed) = (Mutex::new(steps), Mutex::default());
        let (mut dice, started) = (fastrand::Rng::with_seed(seed), Instant::now());
        server.weather(move |_| bad_weather(&mut dice, started.elapsed()));
        let [begun, given, killed] = [(); 3].map(|()| AtomicUsize::new(0));
        Self { steps, missed, server, started, end, model, begun, given, killed }
    }

    /// When a call is killed: at a point that is still to be met, or at any time, or not.
    fn kill(&self, verb: &str, dice: &mut fastrand::Rng) -> (Kill, u32) {
        let mut steps = self.steps.lock().unwrap();
        let queue = steps.0.get_mut(verb).filter(|queue| !queue.is_empty() && dice.u32(0..4) == 0);
        if let Some((point, tries)) = queue.and_then(VecDeque::pop_front) {
            return (Kill::At(point), tries);
        }
        match dice.u32(0..12) {
            0 => (Kill::After(Duration::from_millis(dice.u64(0..60))), 0),
            _ => (Kill::Never, 0),
        }
    }

    /// A call of a node that has Braid.
    fn call(
        &self,
        node: &AddressNode,
        verb: &'static str,
        owner: &Owner,
        dice: &mut fastrand::Rng,
    ) -> Call {
        let (kill, tries) = self.kill(verb, dice);
        let outcome = node.call(verb, owner, &kill);
        if outcome == Call::Killed {
            self.killed.fetch_add(1, Ordering::SeqCst);
        } else if let Kill::At(point) = kill {
            if tries < Steps::TRIES {
                let mut steps = self.steps.lock().unwrap();
                steps.0.entry(verb).or_default().push_back((point, tries + 1));
            } else {
                self.missed.lock().unwrap().push(format!("{verb}: {point}"));
            }
        }
        outcome
    }

    /// Whether another operation is due.
    fn begins(&self) -> bool {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst);
        begun < self.end.operations && self.started.elapsed() < self.end.time
    }

    /// Notes an address that ADD has returned, and looks whether the pool says so, too.
    fn note_given(&self, address: Ipv4Addr, container: &str) {
        self.model.lock().unwrap().hold(address, container);
        self.given.fetch_add(1, Ordering::SeqCst);
        let offset = u32::from(address) - u32::from(RANGE.0);
        let objects = self.server.objects();
        let pool = objects.get("ippools", "kube-system", POOL).unwrap();
        let id = pool["spec"]["allocations"][offset.to_string()]["id"].clone();
        drop(objects);
        if id != container {
            let problem = format!("{address} is given to {container}, and the pool has {id}");
            self.model.lock().unwrap().violations.push(problem);
        }
    }

    fn note_del(&self, address: Option<Ipv4Addr>) {
        if let Some(address) = address {
            self.model.lock().unwrap().release(address);
        }
    }

    /// The pods that have entries, and those that have reservations.
    fn left(&self) -> [Vec<String>; 2] {
        let objects = self.server.objects();
        let pool = objects.get("ippools", "kube-system", POOL).unwrap();
        let entries = pool["spec"]["allocations"].as_object().unwrap().values();
        let podref = |value: &Value| value.as_str().unwrap().to_owned();
        let reservations = objects.all("overlappingrangeipreservations");
        [
            entries.map(|entry| podref(&entry["podref"])).collect(),
            reservations.iter().map(|it| podref(&it["spec"]["podref"])).collect(),
        ]
    }
}

/// What one in thirty requests meets, and each while the server is away. A write may have been done
/// before.
fn bad_weather(dice: &mut fastrand::Rng, time: Duration) -> Option<Fault> {
    if AWAY.contains(&(time.as_millis() % EVERY)) {
        return Some(Fault::Reset);
    }
    let afterwards = |fault| Fault::Afterwards(Box::new(fault));
    let internal = || Fault::status(500, "InternalError", "etcdserver: request timed out");
    match dice.u32(0..1000) {
        0..8 => Some(Fault::busy(429, 0)),
        8..10 => Some(Fault::busy(429, 1)),
        10..16 => Some(internal()),
        16..21 => Some(Fault::Reset),
        21..27 => Some(afterwards(Fault::Reset)),
        27..32 => Some(afterwards(internal())),
        32..34 => Some(afterwards(Fault::Late(Duration::from_secs(3)))),
        _ => None,
    }
}

/// A node at work: Braid's plugin as processes, or the stand-in.
enum Worker {
    Braid(AddressNode),
    StandIn(StandIn),
}

impl Worker {
    fn new(cluster: &Cluster, program: &Path, number: usize) -> Self {
        let name = format!("node-{number}");
        if number.is_multiple_of(STAND_INS) {
            let kubeconfig = cluster.server.administrators_kubeconfig();
            return Self::StandIn(StandIn::new(&name, &kubeconfig, RANGE.0, RANGE.1));
        }
        let token = cluster.server.token(&User::braid(), 3600);
        let kubeconfig = cluster.server.kubeconfig(json!({"token": token}));
        let ipam = json!({
            "range": format!("{}/{}", RANGE.0, RANGE.1),
            "allocation": if number.is_multiple_of(2) { "lowest" } else { "spread" },
        });
        Self::Braid(AddressNode::new(&name, program, &kubeconfig, ipam))
    }

    /// The address; `None` after an error, or if the call was killed.
    fn add(&self, owner: &Owner, dice: &mut fastrand::Rng, cluster: &Cluster) -> Option<Ipv4Addr> {
        match self {
            Self::StandIn(stand_in) => stand_in.add(owner),
            Self::Braid(node) => cluster.call(node, "ADD", owner, dice).address(),
        }
    }

    /// DEL, until a call has ended by itself, as runtimes repeat it.
    fn del(&self, owner: &Owner, dice: &mut fastrand::Rng, cluster: &Cluster) {
        match self {
            Self::StandIn(stand_in) => stand_in.del(owner),
            Self::Braid(node) => while cluster.call(node, "DEL", owner, dice) == Call::Killed {},
        }
    }
}

/// Starts and ends pods, until all operations are done; then ends those that are left.
fn work(cluster: &Cluster, worker: &Worker, number: usize, seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed ^ u64::try_from(number).unwrap());
    let mut pods: Vec<(Owner, Option<Ipv4Addr>)> = Vec::new();
    let mut made = 0;
    while cluster.begins() {
        if pods.is_empty() || (pods.len() < PODS && dice.bool()) {
            made += 1;
            let owner = owner(worker, number, made);
            let address = worker.add(&owner, &mut dice, cluster);
            if let Some(address) = address {
                cluster.note_given(address, &owner.container);
            }
            // A runtime sends DEL for a sandbox that did not come up, too.
            pods.push((owner, address));
        } else {
            let (owner, address) = pods.swap_remove(dice.usize(0..pods.len()));
            cluster.note_del(address);
            worker.del(&owner, &mut dice, cluster);
        }
    }
    for (owner, address) in pods {
        cluster.note_del(address);
        worker.del(&owner, &mut dice, cluster);
    }
}

fn owner(worker: &Worker, number: usize, made: usize) -> Owner {
    let kind = if matches!(worker, Worker::StandIn(_)) { "whereabouts" } else { "braid" };
    Owner {
        container: format!("{kind}-{number}-{made}"),
        podref: format!("{kind}/pod-{number}-{made}"),
        ifname: "net1".to_owned(),
    }
}

/// Lets the nodes work until `end`, and then holds what is left against the model.
pub(crate) fn storm(storm: &Storm) {
    let cluster = Cluster::new(storm);
    let seed = storm.seed;
    let new = |number| Worker::new(&cluster, &storm.program, number);
    let workers: Vec<_> = (0..NODES).map(new).collect();
    std::thread::scope(|scope| {
        for (number, worker) in workers.iter().enumerate() {
            let cluster = &cluster;
            scope.spawn(move || work(cluster, worker, number, seed));
        }
    });
    let counts = [&cluster.begun, &cluster.given, &cluster.killed];
    let [begun, given, killed] = counts.map(|count| count.load(Ordering::SeqCst));
    let seconds = cluster.started.elapsed().as_secs();
    eprintln!("{begun} calls, {given} addresses given, {killed} calls killed in {seconds} s");
    assert!(given > begun / 4 && killed > begun / 100, "{begun} {given} {killed}");
    let left = [cluster.steps.lock().unwrap().left(), cluster.missed.lock().unwrap().clone()];
    assert_eq!(left.concat(), Vec::<String>::new(), "no call was killed there");
    // The weather has cleared up: what is due is released with the next call of the node.
    cluster.server.forget_faults();
    // GC spares what was begun in the second in which the runtime made its list.
    std::thread::sleep(Duration::from_millis(1100));
    for worker in &workers {
        if let Worker::Braid(node) = worker {
            node.collect();
        }
    }
    let model = cluster.model.lock().unwrap();
    assert_eq!(model.violations, Vec::<String>::new());
    // What whereabouts could not release, it has forgotten.
    for mut left in cluster.left() {
        left.retain(|podref| !podref.starts_with("whereabouts/"));
        assert_eq!(left, Vec::<String>::new());
    }
}
