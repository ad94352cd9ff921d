//! The executable under the name of a built-in plugin: it is that plugin then, for every verb and
//! version, for a runtime and for a plugin that delegates to it.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use cni::deadline::Deadline;
use cni::plugin::{Answer, Context, Plugin};
use cni::request::{Command, Environment, Request, RequestError, Verb};
use cni::version::Version;
use linux::signal::Signals;

use crate::config::LogConfig;
use crate::delegate::{BuiltInPlugins, Inherited, Installed, StopSignal};
use crate::kube::ApiStores;
use crate::observe::logging;

/// How long ADD may take, and each call of an IPAM plugin in it: as long as one of Braid's.
const ADD: Duration = Duration::from_secs(150);

/// How long another call may take: CRI-O kills DEL at 60 s.
const OTHER: Duration = Duration::from_secs(50);

/// A built-in plugin that the executable is.
#[derive(Clone, Copy)]
pub struct BuiltIn {
    name: &'static str,
    plugin: &'static dyn Plugin,
}

impl BuiltIn {
    /// The plugin that the executable was started as: the file name of `argv[0]`, which a runtime
    /// gives as an absolute path.
    pub fn started_as(program: Option<&OsStr>) -> Option<Self> {
        let name = Path::new(program?).file_name()?.to_str()?;
        let name = plugins::names().find(|known| *known == name)?;
        Some(Self { name, plugin: plugins::find(name)? })
    }

    /// Reads the request; none if no runtime has started the executable.
    ///
    /// # Errors
    /// [`RequestError`] for a request that is none.
    pub fn read_request(&self, environment: Environment) -> Option<Result<Request, RequestError>> {
        if self.name == "loopback" {
            Request::read_for_loopback(environment)
        } else {
            Request::read(environment)
        }
    }

    /// Answers one call; `input` is standard input.
    pub fn answer(&self, request: &Request, input: &[u8], signals: &Signals) -> Answer {
        logging::start(&LogConfig { to_stderr: true, ..LogConfig::default() });
        ApiStores::provide(Path::new(plugins::ipam::cluster::JOURNAL));
        let installed = Installed::new(request.path.clone(), BuiltInPlugins::Linked);
        let inherited = Inherited::of(&request.environment);
        let limit = if matches!(request.verb, Verb::Add(_)) { ADD } else { OTHER };
        let mut door = inherited.door(&installed, limit, signals);
        let stop = StopSignal(signals);
        let mut context =
            Context { delegate: &mut door, deadline: Deadline::after(limit), stop: &stop };
        cni::plugin::answer(self.plugin, request, input, &mut context)
    }

    /// Takes back an ADD whose result could not be delivered, as [`crate::withdraw`] does.
    pub fn withdraw(&self, request: &Request, input: &[u8], signals: &Signals) {
        let Verb::Add(sandbox) = &request.verb else { return };
        let request = Request { verb: Verb::Del(sandbox.clone()), ..request.clone() };
        if let Err(error) =
            signals.while_ignoring_stop(|| self.answer(&request, input, signals)).outcome
        {
            log::error!("{error}");
        }
    }
}

/// What it is, for a person who has started it.
impl fmt::Display for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, plugin } = self;
        let known = Version::ALL.into_iter().filter(|version| *version >= plugin.oldest_version());
        let known: Vec<&str> = known.map(Version::as_str).collect();
        writeln!(
            f,
            "This is the CNI plugin \"{name}\" of braid {}: a container runtime starts it, with {} \
             in CNI_COMMAND.",
            env!("CARGO_PKG_VERSION"),
            Command::Add
        )?;
        write!(f, "CNI versions: {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_says_which_plugin_it_is() {
        let started =
            |name: &str| BuiltIn::started_as(Some(OsStr::new(name))).map(|built_in| built_in.name);
        assert_eq!(started("/opt/cni/bin/bridge"), Some("bridge"));
        assert_eq!(started("host-local"), Some("host-local"));
        for other in ["/opt/cni/bin/braid", "multus", "/opt/bridge/braid", "", "/", "bridge "] {
            assert_eq!(started(other), None, "{other}");
        }
    }
}
