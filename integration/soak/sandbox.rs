//! A pod as its runtime knows it, and what its calls may come to.

use serde_json::{Value, json};

use super::weather::Weather;
use crate::call::{Call, Outcome};
use crate::node::text;
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
        primary.into_iter().chain((1..=self.networks.len()).map(|at| format!("net{at}"))).collect()
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
