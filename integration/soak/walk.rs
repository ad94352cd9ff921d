//! The rounds of the walk: each draws a few calls, makes them at once, interrupts some, and looks
//! at the node when all have ended.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::fs::File;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::invariant;
use super::sandbox::{Life, Sandbox};
use super::weather::Weather;
use crate::call::{Call, Outcome, Running};
use crate::node::Node;

/// How many sandboxes there are at most.
const SANDBOXES: usize = 12;
/// Calls of one round.
const AT_ONCE: usize = 4;
/// After so many rounds everything is taken down, and the node must be as it was.
const ROUNDS_TO_TIDYING: usize = 40;

/// Networks, plugins, and a state directory that can be filled.
pub(super) fn equip(node: &Node) {
    let bridge = |name: &str, subnets: &str| json!({"type": "bridge", "bridge": name, "isGateway": true, "ipam": node.host_local(subnets)});
    node.define("team-a", "lan", bridge("br-lan", "10.10.0.0/22 fd00:10::/64"));
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
    let plugins = json!([bridge("br-ported", "10.12.0.0/22"), portmap]);
    node.define(
        "team-a",
        "ported",
        json!({"cniVersion": "1.0.0", "name": "ported", "plugins": plugins}),
    );
    node.define("team-a", "link", json!({"type": "ptp", "ipam": node.host_local("10.13.0.0/22")}));
    node.network("moody", json!({"addresses": ["10.14.0.2/24"], "link": true}));
    node.mount("state", "mode=0700,size=2m");
}

/// What was done so far.
#[derive(Default)]
pub(super) struct Tally {
    rounds: usize,
    adds: usize,
    dels: usize,
    changes: usize,
    checks: usize,
    collections: usize,
    failures: usize,
    kills: usize,
    forgotten: usize,
    tidyings: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rounds,
            adds,
            dels,
            changes,
            checks,
            collections,
            failures,
            kills,
            forgotten,
            tidyings,
        } = self;
        write!(
            to,
            "{rounds} rounds, {adds} ADDs, {dels} DELs, {changes} changes, {checks} CHECKs, \
             {collections} GCs; {failures} failed, {kills} killed, {forgotten} sandboxes \
             forgotten, {tidyings} times as before"
        )
    }
}

impl Tally {
    /// A walk in which nothing happens proves nothing.
    pub(super) fn assert_busy(&self, seconds: u64) {
        let least = usize::try_from(seconds / 2).unwrap();
        assert!(self.adds > least && self.dels > least, "it did too little: {self}");
        assert!(
            self.kills > 0 && self.failures > 0 && self.collections > 0,
            "it met too little: {self}"
        );
    }
}

/// What one sandbox is put through in a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Add,
    Check,
    Del,
    /// Both at once.
    AddAndDel,
    /// An ADD that is killed, and at once the DEL after it, while the plugins' own children may
    /// still run.
    KilledAddThenDel,
    /// `braid attach`.
    Attach,
    /// `braid detach`.
    Detach,
}

/// A step of a sandbox, and the signal that its first call gets meanwhile.
#[derive(Clone, Copy, Debug)]
struct Move {
    at: usize,
    step: Step,
    interruption: Option<(Duration, Signal)>,
}

impl fmt::Display for Move {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}", self.step)?;
        match self.interruption {
            Some((moment, signal)) => write!(to, ", {signal} after {moment:?},"),
            None => Ok(()),
        }
    }
}

pub(super) struct Walk<'n> {
    pub(super) node: &'n Node,
    pub(super) primary: Value,
    dice: fastrand::Rng,
    pub(super) weather: Weather,
    pub(super) sandboxes: Vec<Sandbox<'n>>,
    made: usize,
    before: BTreeSet<String>,
    history: VecDeque<String>,
    seed: u64,
    tally: Tally,
}

impl<'n> Walk<'n> {
    pub(super) fn new(node: &'n Node, seed: u64) -> Self {
        let primary = json!({"delegates": [node.bridge("cni0", "10.1.0.0/22 fd00:1::/64")]});
        let mut walk = Self {
            node,
            primary,
            dice: fastrand::Rng::with_seed(seed),
            weather: Weather::Calm,
            sandboxes: Vec::new(),
            made: 0,
            before: BTreeSet::new(),
            history: VecDeque::new(),
            seed,
            tally: Tally::default(),
        };
        walk.warm_up();
        walk
    }

    /// The first pod makes what plugins keep for every pod: bridges, portmap's chains, directories.
    fn warm_up(&mut self) {
        let pod = self.node.pod("team-a", "first");
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
        let all = json!([
            {"name": "lan"}, {"name": "ported", "portMappings": ports}, {"name": "link"}, {"name": "moody"}
        ]);
        pod.add(self.primary.clone()).networks_json(all).run().assert_success();
        pod.del().run().assert_success();
        self.before = self.node.dump();
        self.write_conflist();
    }

    /// Walks for so long, and tidies up.
    pub(super) fn run(mut self, limit: Duration) -> Tally {
        let started = Instant::now();
        let pace = (limit / 10).clamp(Duration::from_secs(5), Duration::from_secs(60));
        let mut due = pace;
        while started.elapsed() < limit {
            self.round();
            if self.tally.rounds.is_multiple_of(ROUNDS_TO_TIDYING) {
                self.tidy_up();
            }
            if started.elapsed() > due {
                eprintln!("soak: {:4} s: {}", started.elapsed().as_secs(), self.tally);
                due += pace;
            }
        }
        self.tidy_up();
        std::mem::take(&mut self.tally)
    }

    fn round(&mut self) {
        self.tally.rounds += 1;
        self.node.forget_calls();
        self.change_weather();
        self.forget_one();
        self.age_the_last_look();
        let moves = self.draw_moves();
        for step in &moves {
            let line = format!("{step} of {}", self.sandboxes[step.at].title());
            self.write_down(line);
        }
        let endings = self.carry_out(&moves);
        for (step, ending) in moves.iter().zip(&endings) {
            self.judge(*step, ending);
        }
        if self.dice.u8(0..6) == 0 {
            self.collect();
        }
        self.look();
        self.sandboxes.retain(|sandbox| sandbox.life != Life::Gone);
    }

    fn write_down(&mut self, line: String) {
        self.history.push_back(format!("round {}: {line}", self.tally.rounds));
        if self.history.len() > 60 {
            self.history.pop_front();
        }
    }

    fn change_weather(&mut self) {
        if self.dice.u8(0..4) != 0 {
            return;
        }
        self.set_weather(Weather::next(&mut self.dice.clone()));
        self.dice.u8(..);
    }

    fn set_weather(&mut self, weather: Weather) {
        if weather != self.weather {
            self.weather = weather;
            weather.set_in(self.node);
            self.write_down(format!("{weather:?}"));
        }
    }

    /// A sandbox loses its namespace without DEL; sometimes its runtime loses its memory, too.
    fn forget_one(&mut self) {
        if self.dice.u8(0..10) != 0 {
            return;
        }
        let forget = self.dice.bool();
        let attached = |sandbox: &&mut Sandbox<'_>| {
            sandbox.life == Life::Attached && sandbox.has_netns && sandbox.is_recorded()
        };
        let Some(sandbox) = self.sandboxes.iter_mut().find(attached) else { return };
        sandbox.pod.lose_netns();
        sandbox.has_netns = false;
        sandbox.life = if forget { Life::Forgotten } else { Life::Doubtful };
        self.tally.forgotten += usize::from(forget);
        let line = format!("loses its namespace: {}", sandbox.title());
        self.write_down(line);
    }

    /// The next ADD looks for what is left of sandboxes that are gone.
    fn age_the_last_look(&mut self) {
        if self.dice.u8(0..6) != 0 {
            return;
        }
        let last = File::options().write(true).open(self.node.path("state/looks/last"));
        if let Ok(last) = last {
            last.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
            self.write_down("a look is due".to_owned());
        }
    }

    /// Draws some sandboxes, and what each is put through.
    fn draw_moves(&mut self) -> Vec<Move> {
        while self.sandboxes.len() < SANDBOXES && self.dice.u8(0..3) != 0 {
            self.made += 1;
            let pod = self.node.pod("team-a", &format!("p{}", self.made));
            let sandbox = Sandbox::new(pod, self.made, &mut self.dice);
            self.sandboxes.push(sandbox);
        }
        let mut order: Vec<usize> = (0..self.sandboxes.len()).collect();
        self.dice.shuffle(&mut order);
        order.truncate(self.dice.usize(1..=AT_ONCE));
        order.into_iter().filter_map(|at| self.draw_move(at)).collect()
    }

    fn draw_move(&mut self, at: usize) -> Option<Move> {
        let has_netns = self.sandboxes[at].has_netns;
        let step = match (self.sandboxes[at].life, self.dice.u8(0..10)) {
            (Life::New, 0) => Step::AddAndDel,
            (Life::New, 1 | 2) => Step::KilledAddThenDel,
            (Life::New, _) => Step::Add,
            (Life::Attached, 0..2) if self.is_changeable(at) => Step::Attach,
            (Life::Attached, 2) if self.is_changeable(at) => Step::Detach,
            (Life::Attached, 0..5) => Step::Check,
            (Life::Attached, _) => Step::Del,
            (Life::Doubtful, 0..3) if has_netns => Step::Add,
            (Life::Doubtful, _) => Step::Del,
            (Life::Forgotten | Life::Gone, _) => return None,
        };
        let signal = match self.dice.u8(0..10) {
            0..3 => Some(Signal::SIGKILL),
            3 => Some(Signal::SIGTERM),
            _ => None,
        };
        let signal = if step == Step::KilledAddThenDel { Some(Signal::SIGKILL) } else { signal };
        let moment = Duration::from_millis(self.dice.u64(0..250));
        Some(Move { at, step, interruption: signal.map(|signal| (moment, signal)) })
    }

    /// Makes all calls at once, interrupts some, and waits for all.
    fn carry_out(&self, moves: &[Move]) -> Vec<Vec<Outcome>> {
        let mut running: Vec<Vec<Running<'_>>> =
            moves.iter().map(|step| self.start(*step)).collect();
        let started = Instant::now();
        let mut interruptions: Vec<(Duration, Signal, usize)> = moves
            .iter()
            .enumerate()
            .filter_map(|(at, step)| step.interruption.map(|(moment, signal)| (moment, signal, at)))
            .collect();
        interruptions.sort_by_key(|(moment, ..)| *moment);
        for (moment, signal, at) in interruptions {
            std::thread::sleep(moment.saturating_sub(started.elapsed()));
            running[at][0].signal(signal);
            if moves[at].step == Step::KilledAddThenDel {
                running[at].push(self.sandboxes[moves[at].at].del(self.weather).start());
            }
        }
        running.drain(..).map(|calls| calls.into_iter().map(Running::wait).collect()).collect()
    }

    fn start(&self, step: Move) -> Vec<Running<'_>> {
        let sandbox = &self.sandboxes[step.at];
        let add = || sandbox.add(&self.primary, self.weather).start();
        let del = || sandbox.del(self.weather).start();
        match step.step {
            Step::Add | Step::KilledAddThenDel => vec![add()],
            Step::Check => vec![sandbox.check(self.weather).start()],
            Step::Del => vec![del()],
            Step::AddAndDel => vec![add(), del()],
            Step::Attach => vec![sandbox.change(true)],
            Step::Detach => vec![sandbox.change(false)],
        }
    }

    fn judge(&mut self, step: Move, ending: &[Outcome]) {
        let undisturbed = step.interruption.is_none();
        let is_change = matches!(step.step, Step::Attach | Step::Detach);
        if !is_change {
            ending.iter().for_each(|outcome| assert_orderly(outcome, !undisturbed));
        }
        let killed = |outcome: &&Outcome| outcome.status.code().is_none();
        self.tally.kills += ending.iter().filter(killed).count();
        self.tally.failures +=
            ending.iter().filter(|outcome| outcome.status.code() == Some(1)).count();
        let weather = self.weather;
        let sandbox = &mut self.sandboxes[step.at];
        match step.step {
            Step::Add => sandbox.after_add(&ending[0], undisturbed, weather),
            // SIGTERM does not interrupt DEL once it has begun.
            Step::Del => sandbox.after_del(
                &ending[0],
                ending.iter().all(|outcome| !killed(&outcome)),
                weather,
            ),
            // Which of the two came first is not known.
            Step::AddAndDel => {
                sandbox.may_be_unrecorded |= weather == Weather::Full;
                sandbox.life = Life::Doubtful;
            }
            Step::KilledAddThenDel => {
                sandbox.may_be_unrecorded |= weather == Weather::Full;
                // The ADD may have been faster than its end, and the DEL after it finds nothing
                // wrong.
                sandbox.after_del(&ending[1], true, weather);
            }
            Step::Check if undisturbed && weather != Weather::Hanging => {
                drop(ending[0].assert_success())
            }
            Step::Check => {}
            Step::Attach | Step::Detach => {
                let must = undisturbed && sandbox.must_succeed(weather);
                sandbox.after_change(step.step == Step::Attach, &ending[0], must);
            }
        }
        match step.step {
            Step::Add => self.tally.adds += 1,
            Step::Check => self.tally.checks += 1,
            Step::Del => self.tally.dels += 1,
            Step::Attach | Step::Detach => self.tally.changes += 1,
            Step::AddAndDel | Step::KilledAddThenDel => {
                (self.tally.adds, self.tally.dels) = (self.tally.adds + 1, self.tally.dels + 1)
            }
        }
    }

    /// GC with every sandbox that the runtime knows of, save for some whose DEL is due.
    fn collect(&mut self) {
        self.tally.collections += 1;
        let mut listed = Vec::new();
        let mut unlisted = Vec::new();
        for (at, sandbox) in self.sandboxes.iter().enumerate() {
            let left_out =
                sandbox.life == Life::Doubtful && sandbox.is_recorded() && self.dice.bool();
            match sandbox.life == Life::Forgotten || left_out {
                true => unlisted.push(at),
                false => listed.push(sandbox.pod.container.as_str()),
            }
        }
        let list: Value = listed
            .iter()
            .map(|id| json!({"containerID": id, "ifname": "eth0"}))
            .collect::<Vec<_>>()
            .into();
        let outcome = self.gc(list).run();
        let line = format!("GC without {unlisted:?}: {}", outcome.status);
        assert_orderly(&outcome, false);
        let must = unlisted.iter().all(|at| self.sandboxes[*at].must_succeed(self.weather));
        let fine = matches!(self.weather, Weather::Hanging | Weather::Full)
            || !must
            || outcome.status.success();
        assert!(fine, "GC failed: {}", outcome.stdout);
        self.write_down(line);
        if outcome.status.success() {
            let gone = |at: &usize| self.sandboxes[*at].life == Life::Forgotten;
            for at in unlisted.into_iter().filter(gone).collect::<Vec<_>>() {
                self.sandboxes[at].life = Life::Gone;
            }
        } else {
            self.tally.failures += 1;
        }
    }

    fn gc(&self, list: Value) -> Call<'n> {
        let call = self.node.call("GC", self.primary.clone()).with(self.weather.configuration());
        call.with(json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list}))
    }

    /// What must be true now.
    fn look(&mut self) {
        invariant::check(self.node, &self.sandboxes);
        let attached = |sandbox: &&Sandbox<'_>| {
            sandbox.life == Life::Attached && sandbox.has_netns && !sandbox.is_uncertain
        };
        let attached: Vec<_> = self.sandboxes.iter().filter(attached).collect();
        if let Some(sandbox) = self.dice.choice(attached) {
            invariant::assert_links(sandbox);
        }
    }

    /// Everything goes, and the node is as it was before the walk.
    fn tidy_up(&mut self) {
        self.set_weather(Weather::Calm);
        let calls = self.sandboxes.iter().filter(|sandbox| deletable(sandbox));
        let running: Vec<_> = calls.map(|sandbox| sandbox.del(Weather::Calm).start()).collect();
        let outcomes: Vec<_> = running.into_iter().map(Running::wait).collect();
        let sandboxes = self.sandboxes.iter_mut().filter(|sandbox| deletable(sandbox));
        for (sandbox, outcome) in sandboxes.zip(&outcomes) {
            sandbox.after_del(outcome, true, Weather::Calm);
            self.tally.dels += 1;
        }
        self.gc(json!([])).run().assert_success();
        for sandbox in &mut self.sandboxes {
            sandbox.life = Life::Gone;
        }
        invariant::check(self.node, &self.sandboxes);
        self.sandboxes.clear();
        let now = self.node.dump();
        // Bridges have no address of their own while they have no port.
        let lost = self
            .before
            .difference(&now)
            .filter(|line| !line.contains("br-") && !line.contains("cni0"));
        let lost: Vec<&String> = lost.collect();
        let left = self.node.leftovers(&self.before);
        assert!(lost.is_empty() && left.is_empty(), "lost: {lost:#?}\nleft: {left:#?}");
        self.tally.tidyings += 1;
    }
}

/// Whether DEL is for it: it has had an ADD, and its runtime remembers it.
fn deletable(sandbox: &Sandbox<'_>) -> bool {
    matches!(sandbox.life, Life::Attached | Life::Doubtful)
}

/// A call may fail, but says so as the protocol has it; only one that was killed may be silent.
#[track_caller]
fn assert_orderly(outcome: &Outcome, killed: bool) {
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    match outcome.status.code() {
        Some(0) => {
            outcome.assert_success();
        }
        Some(1) => {
            assert!(outcome.json()["code"].as_u64().is_some_and(|code| code > 0), "{outcome:?}")
        }
        _ => assert!(killed, "{outcome:?}"),
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("soak: seed {}, after {}; the last steps:", self.seed, self.tally);
            self.history.iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}
