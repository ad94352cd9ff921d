//! The door of a built-in plugin to IPAM plugins: plugin delegation (CNI 1.1.0, section 4).

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::netconf::PluginType;
use cni::plugin::{self, Context, Delegate, NoDelegates, Plugin};
use cni::request::{Command, Environment};
use linux::child;
use linux::signal::Signals;
use serde_json::Value;

use super::environment::{self, Variables};
use super::executor::{Executor, Installed};
use super::in_process::{self, StopSignal};
use super::output::{Said, judge};
use super::{DelegateError, Limit, Target};

/// Calls IPAM plugins for a plugin, each within a limit.
#[derive(Debug)]
pub(crate) struct PassedOn<'a> {
    pub(super) installed: &'a Installed,
    pub(super) environment: &'a Variables,
    pub(super) limit: std::time::Duration,
    pub(super) signals: &'a Signals,
}

/// What a plugin that is a process of its own hands on to those that it delegates to.
#[derive(Debug)]
pub(crate) struct Inherited(Variables);

impl Inherited {
    /// From the environment that the plugin was started with.
    pub(crate) fn of(environment: &Environment) -> Self {
        Self(environment::handed_on(environment))
    }

    /// The door of a plugin, each call through which ends within `limit`.
    pub(crate) fn door<'a>(
        &'a self,
        installed: &'a Installed,
        limit: std::time::Duration,
        signals: &'a Signals,
    ) -> PassedOn<'a> {
        PassedOn { installed, environment: &self.0, limit, signals }
    }
}

impl Delegate for PassedOn<'_> {
    fn delegate(
        &mut self,
        plugin: &PluginType,
        command: Command,
        call: &plugin::Call,
        deadline: Deadline,
    ) -> Result<Option<Value>, Error> {
        let call_again = || self.call(plugin, command, call, deadline);
        // What gives back the address of a failed ADD is not to be stopped.
        let undoes = call.command == Command::Add && command == Command::Del;
        let outcome =
            if undoes { self.signals.while_ignoring_stop(call_again) } else { call_again() };
        outcome.map_err(|error| about_ipam(&error))
    }
}

impl PassedOn<'_> {
    fn call(
        &self,
        kind: &PluginType,
        command: Command,
        call: &plugin::Call,
        deadline: Deadline,
    ) -> Result<Option<Value>, DelegateError> {
        let executor = self.installed.executor(kind)?;
        let limit = Limit::new(kind, deadline.within(self.limit), self.signals)?;
        let said = match executor {
            // It would delegate to itself without end.
            Executor::InProcess(_) if !plugins::is_ipam(kind.as_str()) => {
                return Err(not_ipam(kind));
            }
            Executor::InProcess(built_in) => {
                Said::Value(self.call_in_process(kind, built_in, command, call, limit.deadline)?)
            }
            Executor::Process(file) => {
                let target = call.sandbox.as_ref().map(Target::from);
                let environment = environment::of_call(self.environment, command, target);
                let input = Value::Object(call.object().clone()).to_string();
                let end = limit.deadline.instant();
                let output = child::run(&file, &environment, input.as_bytes(), end, self.signals);
                Said::Output(judge(kind, limit.seconds, output)?)
            }
        };
        if command == Command::Add {
            said.into_result(kind).map(Some)
        } else {
            said.into_effect(kind).map(|()| None)
        }
    }

    fn call_in_process(
        &self,
        kind: &PluginType,
        built_in: &dyn Plugin,
        command: Command,
        call: &plugin::Call,
        deadline: Deadline,
    ) -> Result<Option<Value>, DelegateError> {
        let stop = StopSignal(self.signals);
        let mut context = Context { delegate: &mut NoDelegates, deadline, stop: &stop };
        in_process::run(kind, built_in, &call.with_command(command), &mut context)
    }
}

fn not_ipam(kind: &PluginType) -> DelegateError {
    DelegateError::Failed {
        plugin: kind.clone(),
        code: Code::CONFIG.0,
        msg: "gives no addresses: name an IPAM plugin in the \"type\" of \"ipam\", such as \
              \"host-local\""
            .to_owned(),
        details: String::new(),
    }
}

/// What an IPAM plugin says of itself is handed on; the advice comes once, with the plugin that has
/// called it.
fn about_ipam(error: &DelegateError) -> Error {
    match error {
        DelegateError::Failed { plugin, code, msg, details } => {
            let error = Error::new(Code(*code), format!("IPAM plugin \"{plugin}\": {msg}"));
            if details.is_empty() { error } else { error.with_details(details) }
        }
        error => error.to_protocol(),
    }
}
