//! What a plugin of a chain has from the one before.

use cni::error::{Code, Error};
use cni::plugin::Call;
use cni::result::AttachmentResult;

/// The result of the plugin before, which there must be.
pub(super) fn previous(call: &Call) -> Result<AttachmentResult, Error> {
    let missing = || {
        let problem = "the plugin has no \"prevResult\": put it behind the plugin that makes the interface, in \
                       \"plugins\" of the network";
        Error::new(Code::CONFIG, problem)
    };
    call.prev_result()?.ok_or_else(missing)
}
