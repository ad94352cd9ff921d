//! The rules that an attachment to a bridge has on the host: masquerading, and the check of
//! hardware addresses.

use cni::error::Error;
use cni::plugin::{Call, Context};
use cni::result::AttachmentResult;
use linux::netlink::LinkState;

use super::super::check::Reported;
use super::super::config::Keys;
use super::super::spoof_check::{self, Port};
use super::super::{masquerade, site};
use super::config::BridgeConfig;

/// Lets frames from the pair pass only from the container's own address. `ends` are the pair's: the
/// host's, the container's.
pub(super) fn check_source(
    config: &BridgeConfig,
    call: &Call,
    context: &Context<'_>,
    ends: [&LinkState; 2],
) -> Result<(), Error> {
    if config.checks_source { spoof_check::add(call, context, port(ends)?) } else { Ok(()) }
}

fn port(ends: [&LinkState; 2]) -> Result<Port<'_>, Error> {
    let [host, container] = ends;
    let mac = container.mac.as_deref().ok_or_else(|| site::gone(&container.name))?;
    Ok(Port { name: &host.name, mac })
}

/// Masquerades the addresses of the result.
pub(super) fn masquerade(
    config: &BridgeConfig,
    call: &Call,
    context: &Context<'_>,
    result: &AttachmentResult,
) -> Result<(), Error> {
    match config.masquerade {
        Some(masquerade) => masquerade.add(call, context, &masquerade::addresses(&result.ips)?),
        None => Ok(()),
    }
}

/// Removes what an ADD that failed has made.
pub(super) fn undo(config: &BridgeConfig, call: &Call) {
    if config.masquerade.is_some() {
        masquerade::undo(call);
    }
    if config.checks_source {
        spoof_check::undo(call);
    }
}

pub(super) fn del(call: &Call, context: &Context<'_>) -> Result<(), Error> {
    let keys = Keys::inside(call.object());
    let unmasqueraded = masquerade::del(keys, call, context);
    spoof_check::del(keys, call, context).and(unmasqueraded)
}

pub(super) fn check(
    config: &BridgeConfig,
    call: &Call,
    context: &Context<'_>,
    reported: &Reported,
    ends: [&LinkState; 2],
) -> Result<(), Error> {
    if config.checks_source {
        spoof_check::check(call, context, port(ends)?)?;
    }
    match config.masquerade.filter(|_| config.ipam.is_some()) {
        Some(masquerade) => {
            masquerade.check(call, context, &masquerade::addresses(&reported.own_ips())?)
        }
        None => Ok(()),
    }
}

pub(super) fn status(
    config: &BridgeConfig,
    call: &Call,
    context: &Context<'_>,
) -> Result<(), Error> {
    if config.checks_source {
        spoof_check::status(call, context)?;
    }
    match config.masquerade {
        Some(masquerade) => masquerade.status(call, context),
        None => Ok(()),
    }
}

pub(super) fn gc(call: &Call, context: &Context<'_>) -> Result<(), Error> {
    let unmasqueraded = masquerade::gc(call, context);
    spoof_check::gc(call, context).and(unmasqueraded)
}
