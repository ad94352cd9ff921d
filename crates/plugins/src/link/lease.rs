//! What an IPAM plugin grants for an attachment, and giving it back.

use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::netconf::PluginType;
use cni::plugin::{Call, Context};
use cni::request::Command;
use cni::result::AttachmentResult;

/// How long giving back may take after an ADD that failed, whatever time the call has left.
const UNDO: Duration = Duration::from_secs(10);

/// The IPAM plugin of a network that cannot do without one.
pub(crate) fn required(call: &Call) -> Result<PluginType, Error> {
    let missing = || {
        let problem = "the network has no \"ipam\": name an IPAM plugin in its \"type\", such as \
                       \"host-local\"";
        Error::new(Code::CONFIG, problem)
    };
    call.ipam()?.ok_or_else(missing)
}

/// Runs `work` with what the IPAM plugin grants, and gives that back if `work` fails.
pub(crate) fn with_lease<'a>(
    ipam: &PluginType,
    call: &Call,
    context: &mut Context<'a>,
    work: impl FnOnce(&mut Context<'a>, AttachmentResult) -> Result<AttachmentResult, Error>,
) -> Result<AttachmentResult, Error> {
    let granted = request(ipam, call, context);
    let outcome = granted.and_then(|granted| work(context, granted));
    if outcome.is_err() {
        let undone = context.delegate.delegate(ipam, Command::Del, call, Deadline::after(UNDO));
        if let Err(error) = undone {
            log::warn!(
                "IPAM plugin {ipam} has not taken back the address of a failed ADD: {error}"
            );
        }
    }
    outcome
}

fn request(
    ipam: &PluginType,
    call: &Call,
    context: &mut Context<'_>,
) -> Result<AttachmentResult, Error> {
    let deadline = context.deadline;
    let value = context.delegate.delegate(ipam, Command::Add, call, deadline)?.unwrap_or_default();
    let granted = if value.is_null() {
        Ok(AttachmentResult::default())
    } else {
        AttachmentResult::read(&value, call.version)
    };
    let granted = granted.map_err(|error| {
        Error::new(
            Code::DECODE,
            format!("the result of IPAM plugin {ipam} cannot be read: {error}"),
        )
    })?;
    if granted.ips.is_empty() {
        return Err(Error::new(Code::IO, format!("IPAM plugin {ipam} has given no address")));
    }
    Ok(granted)
}

/// Gives back what the IPAM plugin of the network, if it has one, holds for the attachment.
pub(crate) fn release(call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
    forward(Command::Del, call, context)
}

/// GC of the IPAM plugin of the network, if it has one. One that is older than GC has nothing to
/// collect: it does not know the version (code 1) or the command (code 4).
pub(crate) fn collect(call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
    match forward(Command::Gc, call, context) {
        Err(error) if matches!(error.code, Code::VERSION | Code::ENVIRONMENT) => {
            log::debug!("network {}: IPAM has no GC: {error}", call.network.as_str());
            Ok(())
        }
        outcome => outcome,
    }
}

/// Calls the IPAM plugin of the network, if it has one, with the same operation.
pub(crate) fn forward(
    command: Command,
    call: &Call,
    context: &mut Context<'_>,
) -> Result<(), Error> {
    let Some(ipam) = call.ipam()? else { return Ok(()) };
    let deadline = context.deadline;
    context.delegate.delegate(&ipam, command, call, deadline).map(drop)
}
