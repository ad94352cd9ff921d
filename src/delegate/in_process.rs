//! Carrying out a call of a built-in plugin in this process, with the same request in and the same
//! answer out as by a process of its own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use cni::error::Error;
use cni::netconf::PluginType;
use cni::plugin::{self, Context, Plugin, Stop, carry_out};
use cni::request::{Command, Request, Sandbox, Verb};
use cni::version::Version;
use linux::signal::Signals;
use serde_json::Value;

use super::environment::Variables;
use super::error::{DelegateError, Quote};
use super::output::reported_error;
use super::{Call, Target};

/// SIGTERM and SIGINT as a plugin sees them.
#[derive(Debug)]
pub(crate) struct StopSignal<'s>(pub(crate) &'s Signals);

impl Stop for StopSignal<'_> {
    fn requested(&self) -> bool {
        self.0.stop_requested()
    }
}

/// The request that the plugin reads, in the environment that a process of it would get.
pub(super) fn read(
    call: &Call<'_>,
    plugin: &dyn Plugin,
    path: &[PathBuf],
    environment: &Variables,
) -> Result<plugin::Call, DelegateError> {
    let request = Request {
        verb: verb(call),
        path: path.to_vec(),
        environment: environment.iter().cloned().collect(),
    };
    let read = plugin::Call::from_value(&request, call.request.clone(), plugin.oldest_version());
    read.map_err(|error| failed(call.plugin, &error))
}

fn verb(call: &Call<'_>) -> Verb {
    let sandbox = |Target { container, netns, interface, args }: Target<'_>| Sandbox {
        container: container.clone(),
        netns: netns.to_owned(),
        interface: interface.clone(),
        args: args.clone(),
    };
    match (call.command, call.target.map(sandbox)) {
        (Command::Add, Some(sandbox)) => Verb::Add(sandbox),
        (Command::Del, Some(sandbox)) => Verb::Del(sandbox),
        (Command::Check, Some(sandbox)) => Verb::Check(sandbox),
        (Command::Gc, _) => Verb::Gc,
        (Command::Status, _) => Verb::Status,
        (Command::Add | Command::Del | Command::Check | Command::Version, _) => Verb::Version,
    }
}

/// Carries the call out. A panic ends the plugin's call and no other.
///
/// # Errors
/// [`DelegateError::Failed`], or [`DelegateError::Ended`] after a panic.
pub(super) fn run(
    kind: &PluginType,
    plugin: &dyn Plugin,
    call: &plugin::Call,
    context: &mut Context<'_>,
) -> Result<Option<Value>, DelegateError> {
    // Of what a panic may leave half done, nothing is used again: the call's own values and doors.
    match catch_unwind(AssertUnwindSafe(|| carry_out(plugin, call, context))) {
        Ok(outcome) => outcome.map_err(|error| failed(kind, &error)),
        Err(panic) => Err(DelegateError::Ended {
            plugin: kind.clone(),
            end: "panicked".to_owned(),
            quote: Quote::first_line(&[words(panic.as_ref()).as_bytes()]),
        }),
    }
}

/// The error as a process would have printed it.
fn failed(kind: &PluginType, error: &Error) -> DelegateError {
    let reported = reported_error(kind, &error.to_value(Version::NEWEST));
    reported.unwrap_or_else(|| DelegateError::Failed {
        plugin: kind.clone(),
        code: error.code.0,
        msg: error.msg.clone(),
        details: error.details.clone(),
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni::deadline::Deadline;
    use cni::plugin::{NeverStop, NoDelegates};
    use cni::result::AttachmentResult;
    use serde_json::json;
    use std::time::Duration;

    /// Panics on ADD, fails on CHECK, and succeeds on DEL.
    struct Faulty;

    impl Plugin for Faulty {
        fn add(&self, _: &plugin::Call, _: &mut Context<'_>) -> Result<AttachmentResult, Error> {
            panic!("slipped on a\nbanana");
        }

        fn del(&self, _: &plugin::Call, _: &mut Context<'_>) -> Result<(), Error> {
            Ok(())
        }

        fn check(&self, _: &plugin::Call, _: &mut Context<'_>) -> Result<(), Error> {
            Err(Error::new(cni::error::Code(101), "drifted").with_details("far"))
        }
    }

    fn outcome(command: Command) -> Result<Option<Value>, DelegateError> {
        let (container, interface) = ("c1".parse().unwrap(), "net1".parse().unwrap());
        let (kind, args) = ("faulty".parse().unwrap(), cni::request::CniArgs::default());
        let target =
            Target { container: &container, netns: "/run/x", interface: &interface, args: &args };
        let request = json!({"cniVersion": "1.0.0", "name": "n", "type": "faulty"});
        let call = Call { command, plugin: &kind, network: "n", target: Some(target), request };
        let read = read(&call, &Faulty, &[], &Variables::new()).unwrap();
        let mut context = Context {
            delegate: &mut NoDelegates,
            deadline: Deadline::after(Duration::from_secs(9)),
            stop: &NeverStop,
        };
        run(&kind, &Faulty, &read, &mut context)
    }

    #[test]
    fn a_panic_is_the_plugins_error() {
        let error = outcome(Command::Add).unwrap_err();
        let said =
            "plugin \"faulty\" panicked without an error in the protocol's form: \"slipped on a\"";
        assert_eq!(error.to_string(), said);
        assert!(error.was_started(), "it may have done something");
        assert_eq!(outcome(Command::Del).unwrap(), None);
    }

    #[test]
    fn an_error_keeps_its_code_and_details() {
        let error = outcome(Command::Check).unwrap_err().to_protocol();
        assert_eq!((error.code.0, error.details.as_str()), (101, "far"));
        assert_eq!(error.msg, "plugin \"faulty\": drifted");
    }
}
