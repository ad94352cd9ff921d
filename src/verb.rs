//! The runtime's verbs, each as the list of its steps.

mod add;
mod adoption;
mod check;
mod del;
mod gc;
pub(crate) mod leftovers;
pub(crate) mod limit;
pub mod network_status;
mod publish;
mod record_event;
pub(crate) mod releases;
pub(crate) mod repair;
pub(crate) mod running;
mod status;
mod teardown;

use std::path::PathBuf;
use std::time::Instant;

use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::attach::{Attacher, Place};
use crate::config::{Config, ConfigError};
use crate::definition::{Api, Finder, NodeDefinitions, OnOutage};
use crate::delegate::{self, Delegates, Installed};
use crate::device::DeviceInfoStore;
use crate::kube::{ApiStores, Cluster, ClusterConfig, Refusals};
use crate::ledger::{Key, Ledger, LedgerError, Lock, Moment};
use crate::observe::logging;
use crate::prepare;
use cni::deadline::Deadline;
use cni::error::{Code, Error};
pub use cni::plugin::Answer;
use cni::plugin::version_of;
use cni::request::{ContainerId, Request, Sandbox, Verb};
use cni::version::Version;
use linux::netlink::SocketSharing;
use linux::netns::{Netns, NetnsError};
use linux::signal::Signals;
use plugins::caller::is_braid;
use plugins::kernel::kernel_error;

/// Answers one call of the runtime; `input` is standard input.
pub fn answer(request: &Request, input: &[u8], signals: &mut Signals) -> Answer {
    let started = Instant::now();
    if request.verb == Verb::Version {
        return Answer { version: Version::NEWEST, outcome: Ok(Some(versions(input))) };
    }
    let config = match read_config(&request.verb, input) {
        Ok(config) => config,
        Err(error) => {
            let error = Error::from(error);
            let error = if matches!(request.verb, Verb::Del(_)) { error.for_del() } else { error };
            return Answer { version: version_of(input), outcome: Err(error) };
        }
    };
    logging::start(&config.log);
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    let version = config.version;
    let _sharing = SocketSharing::start();
    let mut session = Session::new(&config, request, signals);
    let observed = record_event::is_wanted(&config, request);
    if observed {
        session.delegates.keep_timings();
    }
    let outcome = session.run(&request.verb);
    if observed {
        let subject = (&request.verb).into();
        record_event::observe(&session, subject, outcome.as_ref().err(), started.elapsed());
    }
    Answer { version, outcome }
}

/// What ends attachments, or looks at them, works with a configuration that has become invalid
/// since.
fn read_config(verb: &Verb, input: &[u8]) -> Result<Config, ConfigError> {
    match verb {
        Verb::Del(_) | Verb::Check(_) | Verb::Gc => Config::parse_for_teardown(input),
        Verb::Add(_) | Verb::Status | Verb::Version => Config::parse(input),
    }
}

/// Takes back an ADD whose result could not be delivered: a runtime that was killed meanwhile knows
/// of no attachment, and may never call DEL for it. What resists stays recorded.
pub fn withdraw(request: &Request, input: &[u8], signals: &mut Signals) {
    let Verb::Add(sandbox) = &request.verb else { return };
    let request = Request { verb: Verb::Del(sandbox.clone()), ..request.clone() };
    if let Err(error) = answer(&request, input, signals).outcome {
        log::error!("{error}");
    }
}

/// VERSION (CNI 1.1.0, section 5): the version asked in, and every version known.
fn versions(input: &[u8]) -> Value {
    json!({
        "cniVersion": version_of(input).as_str(),
        "supportedVersions": Version::ALL.map(Version::as_str),
    })
}

/// One call: configuration, request, and the doors to plugins and ledger.
#[derive(Debug)]
struct Session<'a> {
    config: &'a Config,
    request: &'a Request,
    path: Vec<PathBuf>,
    delegates: Delegates<'a>,
    ledger: Ledger,
    device_infos: DeviceInfoStore,
    /// The API if one is configured; nothing of it is started before the first question.
    cluster: Option<Cluster>,
}

impl<'a> Session<'a> {
    fn new(config: &'a Config, request: &'a Request, signals: &'a mut Signals) -> Self {
        ApiStores::provide(&releases::own_journal(&config.state_dir));
        let path = config.plugin_path(&request.path);
        let pass = &config.pass_environment;
        let delegates = Delegates::new(
            Installed::new(path.clone(), config.built_in_plugins),
            &request.environment,
            pass,
            config.delegate_timeout,
            signals,
        );
        let cluster = Cluster::configured(
            &ClusterConfig {
                kubeconfig: config.kubeconfig.clone(),
                timeout: config.api_timeout,
                pass_environment: pass.clone(),
                refusals: Some(Refusals::new(&config.state_dir)),
                ..ClusterConfig::default()
            },
            &request.environment,
        );
        let device_infos = DeviceInfoStore::new(&config.device_info_dir);
        Self {
            config,
            request,
            path,
            delegates,
            ledger: Ledger::new(&config.state_dir),
            device_infos,
            cluster,
        }
    }

    fn attacher<'p>(&'p mut self, place: Place<'p>) -> Attacher<'p, 'a> {
        Attacher { delegates: &mut self.delegates, place, device_infos: &self.device_infos }
    }

    /// Holds off other calls for a container. If the one before was killed, what its plugins
    /// have left running has ended on return, and the files that it had begun are gone.
    fn hold(&mut self, container: &ContainerId, deadline: Deadline) -> Result<Lock, LedgerError> {
        let lock = self.ledger.lock(container, deadline, self.delegates.signals())?;
        if lock.was_left() {
            delegate::reap_orphaned_plugins(container);
            self.ledger.remove_beginnings(container);
        }
        Ok(lock)
    }

    /// The definitions as a verb sees them that must not ask the API: all but ADD.
    fn definitions(&self) -> Finder<'static> {
        let api = if self.cluster.is_some() { Api::NotAsked } else { Api::Absent };
        let node = NodeDefinitions::read(&self.config.conf_dirs);
        prepare::finder(self.config, node, api, OnOutage::UseCopies)
    }

    fn run(&mut self, verb: &Verb) -> Result<Option<Value>, Error> {
        match verb {
            Verb::Add(sandbox) => {
                self.refuse_nested().and_then(|()| add::add(self, sandbox)).map(Some)
            }
            Verb::Check(sandbox) => {
                self.refuse_nested().and_then(|()| check::check(self, sandbox)).map(|()| None)
            }
            // A nested ADD was refused, so there is nothing to tear down, and an error would be
            // retried for ever.
            Verb::Del(_) | Verb::Gc if is_braid(&self.request.environment) => Ok(None),
            Verb::Del(sandbox) => del::del(self, sandbox).map(|()| None).map_err(Error::for_del),
            Verb::Gc => gc::gc(self).map(|()| None),
            Verb::Status => status::status(self).map(|()| None),
            Verb::Version => Ok(None),
        }
    }

    /// Braid in a network that Braid delegates to would start itself without end.
    fn refuse_nested(&self) -> Result<(), Error> {
        if !is_braid(&self.request.environment) {
            return Ok(());
        }
        let problem = "braid was started by a braid: a network that it delegates to has braid in \
                       its chain; take it out there";
        Err(Error::new(Code::CONFIG, problem))
    }
}

fn key_of(sandbox: &Sandbox) -> Key {
    Key { container: sandbox.container.clone(), interface: sandbox.interface.clone() }
}

/// The sandbox's namespace, which must be one and not the host's.
fn open_netns(sandbox: &Sandbox) -> Result<Netns, Error> {
    let netns = Netns::open(sandbox.netns.as_ref()).map_err(kernel_error)?;
    if netns.is_own().map_err(kernel_error)? {
        let problem = format!(
            "CNI_NETNS {} is the host's own network namespace, which no pod may have",
            sandbox.netns
        );
        return Err(Error::new(Code::ENVIRONMENT, problem));
    }
    Ok(netns)
}

/// The namespace at `path` if there is one that is not the host's.
fn netns_at(path: &str) -> Result<Option<Netns>, NetnsError> {
    if path.is_empty() {
        return Ok(None);
    }
    let netns = match Netns::open(path.as_ref()) {
        Ok(netns) => netns,
        Err(NetnsError::Missing(_) | NetnsError::NotANamespace(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok((!netns.is_own()?).then_some(netns))
}

/// The kernel's boot ID: a namespace of another boot is gone, whatever its inode.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

/// Now, by the monotonic clock.
fn moment() -> Moment {
    let uptime =
        clock_gettime(ClockId::CLOCK_MONOTONIC).map(|since| since.tv_sec()).unwrap_or_default();
    Moment { boot: boot_id(), uptime: u64::try_from(uptime).unwrap_or_default() }
}
