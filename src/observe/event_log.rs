//! The event log: one line of JSON for each call of the runtime, with what it came to and how long
//! each delegate took. It goes where `eventLog` says, and is rotated as the log file is.
//!
//! Who reads it learns what a node's pods wait for; so it names pods and networks, and neither
//! addresses nor configurations.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::config::Rotation;
use crate::delegate::Timing;
use crate::observe::logging;
use crate::pod::Pod;
use cni::error::Error;
use cni::request::{Sandbox, Verb};

/// Most calls of plugins that a line names: GC calls those of every network of the node.
const MOST_DELEGATES: usize = 256;

/// Most bytes of a name in a line: more than Kubernetes allows.
const MAX_NAME_BYTES: usize = 512;

/// What a line is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject<'a> {
    /// The verb.
    pub verb: &'static str,
    /// `namespace/name` of the pod.
    pub pod: Option<String>,
    /// The container and the primary's interface.
    pub sandbox: Option<(&'a str, &'a str)>,
}

/// One call of the runtime, or one change of a running pod, as it ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Event<'a> {
    /// When it ended, in UTC.
    pub time: String,
    /// The verb.
    pub verb: &'static str,
    /// The network that the runtime called for.
    pub network: &'a str,
    /// `namespace/name` of the pod, if the runtime says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<&'a str>,
    /// The primary's interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<&'a str>,
    /// The networks whose delegates were called, in the order of their first calls.
    pub networks: Vec<Network<'a>>,
    /// How many calls of plugins were more than a line names.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
    /// What the call came to.
    pub outcome: Outcome,
    /// The code of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u64>,
    /// The sentence of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<&'a str>,
    /// How long it took altogether, in milliseconds.
    pub ms: f64,
}

/// One network of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Network<'a> {
    /// `namespace/name` of its definition, or the network's name.
    pub name: &'a str,
    /// Its interface; STATUS and GC have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<&'a str>,
    /// The calls of its plugins, in their order.
    pub delegates: Vec<Delegate<'a>>,
}

/// One call of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Delegate<'a> {
    /// The plugin.
    pub plugin: &'a str,
    /// Its verb: a failed ADD calls DEL, too.
    pub verb: &'static str,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// The code of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u64>,
}

/// What a call came to, by what its code means to the one who has to do something.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It succeeded.
    Success,
    /// Not now: trying again helps.
    TryAgain,
    /// What was asked for is not valid, or may not be had: trying again does not help.
    Refused,
    /// It failed.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub(crate) const ALL: [Self; 4] = [Self::Success, Self::TryAgain, Self::Refused, Self::Failed];

    /// The outcome of an error, or of none.
    pub(crate) fn of(error: Option<&Error>) -> Self {
        match error.map(|error| error.code.0) {
            None => Self::Success,
            Some(11) => Self::TryAgain,
            Some(1..=4 | 6 | 7) => Self::Refused,
            Some(_) => Self::Failed,
        }
    }

    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::TryAgain => "try_again",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl<'a> Event<'a> {
    /// The event of a call for `network` that has just ended.
    pub(crate) fn of(
        subject: Subject<'a>,
        network: &'a str,
        timings: &'a [Timing],
        error: Option<&'a Error>,
        took: Duration,
    ) -> Self {
        let Subject { verb, pod, sandbox } = subject;
        Self {
            time: chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            verb,
            network: shortened(network),
            pod: pod.map(|pod| shortened(&pod).to_owned()),
            container: sandbox.map(|(container, _)| shortened(container)),
            interface: sandbox.map(|(_, interface)| interface),
            networks: networks(timings.get(..MOST_DELEGATES).unwrap_or(timings)),
            omitted: timings.len().saturating_sub(MOST_DELEGATES),
            outcome: Outcome::of(error),
            code: error.map(|error| error.code.0),
            msg: error.map(|error| error.msg.as_str()),
            ms: milliseconds(took),
        }
    }

    /// Appends the event to the log at `path`. A line that cannot be written is lost, and a warning
    /// says so.
    pub(crate) fn append(&self, path: &Path, rotation: &Rotation) {
        let Ok(mut line) = serde_json::to_string(self) else { return };
        line.push('\n');
        // One write, so that lines of several processes stay whole.
        let written =
            logging::open(path, rotation).and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            log::warn!("{}", logging::unwritten("event log", path, &error));
        }
    }
}

impl<'a> From<&'a Verb> for Subject<'a> {
    fn from(verb: &'a Verb) -> Self {
        let sandbox = verb.sandbox();
        Self {
            verb: verb.command().as_str(),
            pod: sandbox.and_then(pod_of),
            sandbox: sandbox.map(|it| (it.container.as_str(), it.interface.as_str())),
        }
    }
}

fn pod_of(sandbox: &Sandbox) -> Option<String> {
    let pod = Pod::from_args(&sandbox.args).ok()?;
    (!pod.name.is_empty()).then(|| pod.to_string())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn shortened(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or(name)
}

fn networks(timings: &[Timing]) -> Vec<Network<'_>> {
    let mut networks: Vec<Network<'_>> = Vec::new();
    for timing in timings {
        let (name, interface) =
            (shortened(&timing.network), timing.interface.as_ref().map(|it| it.as_str()));
        let delegate = Delegate {
            plugin: shortened(timing.plugin.as_str()),
            verb: timing.command.as_str(),
            ms: milliseconds(timing.took),
            code: timing.code.map(|code| code.0),
        };
        match networks.iter_mut().find(|known| (known.name, known.interface) == (name, interface)) {
            Some(known) => known.delegates.push(delegate),
            None => networks.push(Network { name, interface, delegates: vec![delegate] }),
        }
    }
    networks
}

/// Milliseconds to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::error::Code;
    use cni::request::Command;

    fn timing(
        network: &str,
        interface: &str,
        plugin: &str,
        command: Command,
        code: Option<u64>,
    ) -> Timing {
        Timing {
            network: network.to_owned(),
            interface: interface.parse().ok(),
            plugin: plugin.parse().unwrap(),
            command,
            took: Duration::from_micros(1500),
            code: code.map(Code),
        }
    }

    #[test]
    fn an_event_says_what_happened_to_which_network() {
        let sandbox = Sandbox {
            container: "c1".parse().unwrap(),
            netns: String::new(),
            interface: "eth0".parse().unwrap(),
            args: "K8S_POD_NAMESPACE=team-a;K8S_POD_NAME=web".into(),
        };
        let timings = [
            timing("cluster", "eth0", "bridge", Command::Add, None),
            timing("team-a/blue", "net1", "macvlan", Command::Add, Some(42)),
            timing("team-a/blue", "net1", "macvlan", Command::Del, None),
            timing("cluster", "eth0", "bridge", Command::Del, None),
        ];
        let error = Error::new(Code(42), "no");
        let verb = Verb::Add(sandbox);
        let event =
            Event::of((&verb).into(), "node", &timings, Some(&error), Duration::from_millis(9));
        let event = Event { time: "T".to_owned(), ..event };
        insta::assert_snapshot!(serde_json::to_string(&event).unwrap(), @r#"{"time":"T","verb":"ADD","network":"node","pod":"team-a/web","container":"c1","interface":"eth0","networks":[{"name":"cluster","interface":"eth0","delegates":[{"plugin":"bridge","verb":"ADD","ms":1.5},{"plugin":"bridge","verb":"DEL","ms":1.5}]},{"name":"team-a/blue","interface":"net1","delegates":[{"plugin":"macvlan","verb":"ADD","ms":1.5,"code":42},{"plugin":"macvlan","verb":"DEL","ms":1.5}]}],"outcome":"failed","code":42,"msg":"no","ms":9.0}"#);
    }

    /// GC with 12,000 networks, whose names are as long as a configuration lets them be.
    #[test]
    fn a_line_has_a_bound() {
        let name = |at: usize| format!("{at}{}", "é".repeat(1000));
        let timings: Vec<_> =
            (0..12_000).map(|at| timing(&name(at), "", "bridge", Command::Gc, Some(1))).collect();
        let sandbox = Sandbox {
            container: "c1".parse().unwrap(),
            netns: String::new(),
            interface: "eth0".parse().unwrap(),
            args: format!("K8S_POD_NAMESPACE=team-a;K8S_POD_NAME={}", "p".repeat(100_000))
                .as_str()
                .into(),
        };
        let (verb, network) = (Verb::Add(sandbox), name(0));
        let error = Error::new(Code(1), name(0).repeat(100));
        let event = Event::of((&verb).into(), &network, &timings, Some(&error), Duration::ZERO);
        let line = serde_json::to_string(&event).unwrap();
        assert!(line.len() < 512 << 10, "{}", line.len());
        assert_eq!((event.networks.len(), event.omitted), (256, 11_744));
        assert!(serde_json::to_value(&event).unwrap()["omitted"] == 11_744);
    }

    #[test]
    fn outcomes_are_by_what_helps() {
        let table = [
            (11, Outcome::TryAgain),
            (7, Outcome::Refused),
            (1, Outcome::Refused),
            (5, Outcome::Failed),
        ];
        for (code, outcome) in table {
            assert_eq!(Outcome::of(Some(&Error::new(Code(code), ""))), outcome, "{code}");
        }
        assert_eq!(Outcome::of(None), Outcome::Success);
    }

    #[test]
    fn a_call_without_a_pod_names_none() {
        let event = Event::of((&Verb::Status).into(), "node", &[], None, Duration::ZERO);
        assert_eq!((event.pod, event.container, event.verb), (None, None, "STATUS"));
    }
}
