//! A pod as its runtime knows it, and how its calls may end.

use serde_json::{Value, json};

use super::weather::Weather;
use crate::call::{Call, Outcome, Running, start_tool};
use crate::node::{BRAID, PLUGIN_DIR, text};
use crate::pod::Pod;

/// What the runtime knows of a sandbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Life {
    /// There was no call yet.
    New,
    /// ADD has succeeded.
    Attached,
    /// A call has failed or was killed: DEL is due, again and again until it succeeds.
    Doubtful,
    /// The namespace is gone, and the runtime has forgotten it: DEL will never come.
    Forgotten,
    /// DEL has succeeded, or GC has collected it.
    Gone,
}

/// One sandbox.
pub(super) struct Sandbox<'n> {
    pub(super) pod: Pod<'n>,
    pub(super) networks: Vec<&'static str>,
    chained: bool,
    host_port: u16,
    pub(super) life: Life,
    pub(super) has_netns: bool,
    /// What was attached since, by interface; what was detached.
    pub(super) attached: Vec<String>,
    pub(super) detached: Vec<String>,
    /// Whether an attach or a detach was cut short or failed: the next change, or DEL, ends it.
    pub(super) is_uncertain: bool,
    /// How many networks it was given since its start.
    pub(super) changes: usize,
    /// Whether a pod that asks for nothing may have started without a record.
    pub(super) may_be_unrecorded: bool,
}

impl<'n> Sandbox<'n> {
    pub(super) fn new(pod: Pod<'n>, number: usize, dice: &mut fastrand::Rng) -> Self {
        let mut networks = vec!["lan", "ported", "link", "moody"];
        dice.shuffle(&mut networks);
        networks.truncate(dice.usize(0..=3));
        Self {
            pod,
            networks,
            chained: dice.u8(0..4) == 0,
            host_port: 20_000 + u16::try_from(number % 20_000).unwrap(),
            life: Life::New,
            has_netns: true,
            attached: Vec::new(),
            detached: Vec::new(),
            is_uncertain: false,
            changes: 0,
            may_be_unrecorded: false,
        }
    }

    /// How the history names it.
    pub(super) fn title(&self) -> String {
        let primary = if self.chained { "chained" } else { "delegating" };
        let networks: Vec<&str> =
            [primary].into_iter().chain(self.networks.iter().copied()).collect();
        format!("{} ({}) {:?}", self.pod.name, networks.join(", "), self.life)
    }

    /// Whether a call makes a record: a plain pod behind a chained Braid has none.
    pub(super) fn is_recorded(&self) -> bool {
        let asks_nothing_of_braid = self.chained && self.networks.is_empty();
        !(self.may_be_unrecorded || asks_nothing_of_braid)
    }

    /// Whether a fault of network `moody` concerns it.
    fn is_moody(&self) -> bool {
        self.networks.contains(&"moody")
    }

    /// Whether an uninterrupted call must succeed.
    pub(super) fn must_succeed(&self, weather: Weather) -> bool {
        match weather {
            Weather::Calm => true,
            Weather::Refusing | Weather::FailingLate => !self.is_moody(),
            // The limit that ends a hanging plugin would end a slow one too.
            Weather::Hanging | Weather::Full => false,
        }
    }

    /// ADD with the node's primary, or behind one.
    pub(super) fn add(&self, primary: &Value, weather: Weather) -> Call<'_> {
        let call = match self.chained {
            true => self.pod.add_chained(json!({})),
            false => self.pod.add(primary.clone()),
        };
        call.with(weather.configuration()).networks_json(self.selections())
    }

    fn selections(&self) -> Value {
        let select = |name: &&str| match *name {
            "ported" => {
                let port =
                    json!({"hostPort": self.host_port, "containerPort": 80, "protocol": "tcp"});
                json!({"name": "ported", "portMappings": [port]})
            }
            name => json!({"name": name}),
        };
        self.networks.iter().map(select).collect()
    }

    /// CHECK, without that of the plugin portmap: it looks for rules of IPv6 even without IPv6.
    pub(super) fn check(&self, weather: Weather) -> Call<'_> {
        let scope = if self.networks.contains(&"ported") { "kernel" } else { "all" };
        self.pod.check().with(weather.configuration()).with(json!({"checkNetworks": scope}))
    }

    pub(super) fn del(&self, weather: Weather) -> Call<'_> {
        self.pod.del().with(weather.configuration())
    }

    /// The interfaces that ADD has made.
    pub(super) fn expected_links(&self) -> Vec<String> {
        let primary = (!self.chained).then(|| "eth0".to_owned());
        let at_start = (1..=self.networks.len()).map(|at| format!("net{at}"));
        let there = primary.into_iter().chain(at_start).chain(self.attached.iter().cloned());
        let mut there: Vec<String> = there.filter(|it| !self.detached.contains(it)).collect();
        there.sort();
        there
    }

    /// The addresses that no other pod may have, from ADD's result.
    pub(super) fn addresses(&self) -> Vec<String> {
        let result = self.pod.memory.borrow().result.clone().unwrap_or_default();
        let ips = result["ips"].as_array().cloned().unwrap_or_default();
        let addresses = ips.iter().map(|ip| text(&ip["address"]).to_owned());
        // The double's address is the same for all, and so is the one of a primary that was never
        // run.
        addresses
            .filter(|address| !address.starts_with("10.14.") && address != "10.1.0.2/24")
            .collect()
    }

    /// `braid attach` of a network on an interface of its own, or `braid detach` of one that it
    /// has.
    pub(super) fn change(&self, is_attach: bool) -> Running<'_> {
        let node = self.pod.node;
        let (conf_dir, bin_dir) = (node.path_text("tool.d"), node.path_text("bin"));
        let container = self.pod.container.as_str();
        let network = format!("team-a/lan@{}", self.next_interface());
        let changed = if is_attach { network } else { self.last_interface() };
        let verb = if is_attach { "attach" } else { "detach" };
        let arguments = [
            verb,
            "--json",
            "--container",
            container,
            &changed,
            "--conf-dir",
            &conf_dir,
            "--bin-dir",
            &bin_dir,
            "--bin-dir",
            PLUGIN_DIR,
        ];
        start_tool(node, BRAID.as_ref(), &arguments)
    }

    fn next_interface(&self) -> String {
        format!("hot{}", self.changes)
    }

    /// The interface that a detach takes: the last that the pod has, beside its primary's.
    fn last_interface(&self) -> String {
        let mut extras = self.expected_links().into_iter().filter(|it| it != "eth0");
        extras.next_back().unwrap_or_else(|| "net1".to_owned())
    }

    /// How an attach or a detach has ended.
    pub(super) fn after_change(&mut self, is_attach: bool, outcome: &Outcome, must: bool) {
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        let has_any = self.expected_links().iter().any(|it| it != "eth0");
        let (next, last) = (self.next_interface(), self.last_interface());
        self.changes += usize::from(is_attach);
        if outcome.status.success() {
            match is_attach {
                true => self.attached.push(next),
                false => self.detached.push(last),
            }
            return;
        }
        let excused = self.is_uncertain || (!is_attach && !has_any);
        assert!(!must || excused, "a change of {} failed: {}", self.title(), outcome.stderr);
        self.is_uncertain = true;
    }

    /// How ADD has ended.
    pub(super) fn after_add(&mut self, outcome: &Outcome, undisturbed: bool, weather: Weather) {
        self.may_be_unrecorded |= weather == Weather::Full && self.networks.is_empty();
        let again = self.life != Life::New;
        if outcome.status.success() {
            outcome.assert_success();
            self.life = Life::Attached;
            return;
        }
        // A DEL that was killed has left the record of an ADD that was complete.
        let refused = again && outcome.stdout.contains("call DEL first");
        let excused = refused || (again && self.may_be_unrecorded);
        let must = undisturbed && self.must_succeed(weather) && !excused;
        assert!(!must, "ADD failed in {weather:?}: {}\n{}", outcome.stdout, outcome.stderr);
        self.life = Life::Doubtful;
    }

    /// How DEL has ended.
    pub(super) fn after_del(&mut self, outcome: &Outcome, undisturbed: bool, weather: Weather) {
        if outcome.status.success() {
            self.life = Life::Gone;
            return;
        }
        let must = undisturbed && self.must_succeed(weather);
        assert!(!must, "DEL failed in {weather:?}: {}\n{}", outcome.stdout, outcome.stderr);
        self.life = Life::Doubtful;
    }
}
