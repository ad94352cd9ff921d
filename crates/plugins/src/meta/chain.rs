//! What a plugin of a chain has from the one before.

use std::thread::sleep;
use std::time::Duration;

use cni::error::{Code, Error};
use cni::keys;
use cni::plugin::{Call, Context};
use cni::result::AttachmentResult;
use linux::netlink::Route;
use linux::netns::{Netns, NetnsLock};

use crate::link::site::kernel_error;

/// The longest wait between two tries to lock a namespace.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The result of the plugin before, which there must be.
pub(super) fn previous(call: &Call) -> Result<AttachmentResult, Error> {
    let missing = || {
        let problem = "the plugin has no \"prevResult\": put it behind the plugin that makes the \
                       interface, in \"plugins\" of the network";
        Error::new(Code::CONFIG, problem)
    };
    let value = keys::get(call.object(), "prevResult").ok_or_else(missing)?;
    // An index past the end, which some plugins write, is passed on: it does no harm here.
    AttachmentResult::read_lenient(value, call.version)
        .map_err(|error| Error::new(Code::DECODE, format!("prevResult: {error}")))
}

/// Other calls for the namespace wait meanwhile, the reference plugin's too: two would choose the
/// same table.
pub(super) fn lock(netns: &Netns, context: &Context<'_>) -> Result<NetnsLock, Error> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(lock) = netns.try_lock().map_err(kernel_error)? {
            return Ok(lock);
        }
        context
            .proceed()
            .map_err(|error| error.about("another call holds the namespace's lock"))?;
        sleep(pause.min(context.deadline.remaining()));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Routes in an order in which they can be added: those that lead to gateways before those that
/// need them.
pub(super) fn sort_for_adding(routes: &mut [Route]) {
    routes.sort_by_key(|route| !route.gateways().is_empty());
}
