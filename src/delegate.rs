//! The only door to a plugin: finds what carries its calls out, calls it, decodes what it says.
//!
//! A plugin is trusted to change the network, not to behave: it may hang, flood, print garbage,
//! leave a child behind or vanish. Each call of a process ends within its limit, with the whole
//! process group gone if it did not end by itself. A built-in plugin may be called in this process
//! instead. Which plugin runs, and with which request, is decided elsewhere.

mod advice;
mod environment;
mod error;
mod executor;
mod in_process;
mod output;
mod passed;
mod timing;

use std::time::{Duration, Instant};

use serde_json::Value;

use cni::deadline::Deadline;
use cni::name::InterfaceName;
use cni::netconf::PluginType;
use cni::plugin::{Context, Plugin};
use cni::request::{CniArgs, Command, ContainerId, Environment};
use cni::version::Version;
use linux::child;
use linux::signal::Signals;
use plugins::caller::BRAID_VARIABLE;

use self::environment::Variables;
use self::output::{Said, judge};
use self::timing::MAX_TIMINGS;

pub use self::error::DelegateError;
pub(crate) use self::executor::{BuiltInPlugins, Executor, Installed, Origin, find};
pub(crate) use self::in_process::StopSignal;
pub use self::output::decode;
pub(crate) use self::passed::{Inherited, PassedOn};
pub(crate) use self::timing::Timing;
pub(crate) use linux::child::die_with_us;

/// The attachment that a plugin is called for (CNI 1.1.0, section 2, "Parameters").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// `CNI_CONTAINERID`.
    pub container: &'a ContainerId,
    /// `CNI_NETNS`; empty on DEL if the namespace is gone.
    pub netns: &'a str,
    /// `CNI_IFNAME`.
    pub interface: &'a InterfaceName,
    /// `CNI_ARGS`.
    pub args: &'a CniArgs,
}

/// One call of one plugin.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// The verb.
    pub command: Command,
    /// The plugin.
    pub plugin: &'a PluginType,
    /// The network whose chain it is in, as people know it.
    pub network: &'a str,
    /// The attachment; STATUS and GC have none.
    pub target: Option<Target<'a>>,
    /// The request that goes to standard input.
    pub request: Value,
}

/// Waits until no process is left of the plugins that a killed call for `container` has started,
/// and kills those that do not end. The lock of the container must be held, so that no other call
/// is at work.
pub(crate) fn reap_orphaned_plugins(container: &ContainerId) {
    child::reap_orphaned_processes(&[
        format!("{BRAID_VARIABLE}=1"),
        format!("CNI_CONTAINERID={container}"),
    ]);
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
struct Limit {
    deadline: Deadline,
    /// The same in seconds, rounded up, since a moment of it has passed already.
    seconds: u64,
}

impl Limit {
    /// # Errors
    /// Started without time or after a signal, a plugin would be killed at an arbitrary point.
    fn new(
        plugin: &PluginType,
        deadline: Deadline,
        signals: &Signals,
    ) -> Result<Self, DelegateError> {
        let remaining = deadline.remaining();
        if signals.stop_requested() {
            return Err(DelegateError::Stopped { plugin: plugin.clone() });
        }
        if remaining.is_zero() {
            return Err(DelegateError::NoTime { plugin: plugin.clone() });
        }
        let seconds = remaining.saturating_add(Duration::from_millis(999)).as_secs();
        Ok(Self { deadline, seconds })
    }
}

/// Runs plugins.
#[derive(Debug)]
pub(crate) struct Delegates<'a> {
    installed: Installed,
    environment: Variables,
    limit: Duration,
    signals: &'a mut Signals,
    timings: Option<Vec<Timing>>,
}

impl<'a> Delegates<'a> {
    /// The plugins that are installed, each call ending within `limit`. Of our own environment they
    /// get `PATH` and the variables named in `pass`, nothing else.
    pub(crate) fn new(
        installed: Installed,
        ours: &Environment,
        pass: &[String],
        limit: Duration,
        signals: &'a mut Signals,
    ) -> Self {
        let environment = environment::of_delegates(installed.path(), ours, pass);
        Self { installed, environment, limit, signals, timings: None }
    }

    /// From now on, remembers how long each call takes.
    pub(crate) fn keep_timings(&mut self) {
        self.timings = Some(Vec::new());
    }

    /// The calls since [`Delegates::keep_timings`], in their order; the first `MAX_TIMINGS` of
    /// them.
    pub(crate) fn timings(&self) -> &[Timing] {
        self.timings.as_deref().unwrap_or_default()
    }

    /// The signals that a wait must notice.
    pub(crate) fn signals(&mut self) -> &mut Signals {
        self.signals
    }

    /// The plugins that are installed.
    pub(crate) fn installed(&self) -> &Installed {
        &self.installed
    }

    /// Runs a plugin that answers with a result (ADD).
    ///
    /// # Errors
    /// [`DelegateError`]; what the plugin changed before it failed is for the caller to undo.
    pub(crate) fn run_for_result(
        &mut self,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<Value, DelegateError> {
        self.timed(call, |delegates| delegates.run(call, deadline)?.into_result(call.plugin))
    }

    /// Runs a plugin that need not answer (DEL, CHECK, STATUS, GC). What it prints on success is
    /// ignored, unless it is an error.
    ///
    /// # Errors
    /// [`DelegateError`].
    pub(crate) fn run_for_effect(
        &mut self,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<(), DelegateError> {
        self.timed(call, |delegates| match delegates.run(call, deadline) {
            // Its ADD was refused, so that there is nothing to tear down.
            Err(DelegateError::IsBraid { .. })
                if matches!(call.command, Command::Del | Command::Gc) =>
            {
                Ok(())
            }
            said => said?.into_effect(call.plugin),
        })
    }

    fn timed<T>(
        &mut self,
        call: &Call<'_>,
        run: impl FnOnce(&mut Self) -> Result<T, DelegateError>,
    ) -> Result<T, DelegateError> {
        let started = Instant::now();
        let outcome = run(self);
        let took = started.elapsed();
        let interface = call.target.map(|target| target.interface);
        let shown = interface.map_or("", InterfaceName::as_str);
        log::debug!(
            "{} {} {shown} took {:.1} ms",
            call.plugin,
            call.command,
            took.as_secs_f64() * 1e3
        );
        if let Some(timings) = self.timings.as_mut().filter(|timings| timings.len() < MAX_TIMINGS) {
            timings.push(Timing {
                network: call.network.to_owned(),
                interface: interface.cloned(),
                plugin: call.plugin.clone(),
                command: call.command,
                took,
                code: outcome.as_ref().err().map(|error| error.to_protocol().code),
            });
        }
        outcome
    }

    fn run(&self, call: &Call<'_>, deadline: Deadline) -> Result<Said, DelegateError> {
        let executor = self.installed.executor(call.plugin)?;
        let limit = Limit::new(call.plugin, deadline.within(self.limit), self.signals)?;
        match executor {
            Executor::Process(file) => {
                let input = call.request.to_string();
                let environment =
                    environment::of_call(&self.environment, call.command, call.target);
                let end = limit.deadline.instant();
                let output = child::run(&file, &environment, input.as_bytes(), end, self.signals);
                judge(call.plugin, limit.seconds, output).map(Said::Output)
            }
            Executor::InProcess(built_in) => {
                self.run_in_process(call, built_in, limit.deadline).map(Said::Value)
            }
        }
    }

    fn run_in_process(
        &self,
        call: &Call<'_>,
        built_in: &dyn Plugin,
        deadline: Deadline,
    ) -> Result<Option<Value>, DelegateError> {
        if call.command == Command::Version {
            return Ok(Some(cni::plugin::versions(built_in, Version::NEWEST)));
        }
        let read = in_process::read(call, built_in, self.installed.path(), &self.environment)?;
        let mut door = PassedOn {
            installed: &self.installed,
            environment: &self.environment,
            limit: self.limit,
            signals: self.signals,
        };
        let stop = StopSignal(self.signals);
        let mut context = Context { delegate: &mut door, deadline, stop: &stop };
        in_process::run(call.plugin, built_in, &read, &mut context)
    }
}

#[cfg(test)]
mod tests;
