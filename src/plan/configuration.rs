//! Whether the plugins of a network can work with what they are to get: most mistakes in a
//! definition are refused by a plugin in ADD, and again in the DEL that is to undo it, so that they
//! must not come that far.

use super::{Attachment, PlanError};
use plugins::facts::{self, Property};

/// Holds what the plugins of an attachment are to get against what is known of them.
///
/// # Errors
/// [`PlanError::Config`], [`PlanError::NoCapability`].
pub(super) fn check_configuration(attachment: &Attachment) -> Result<(), PlanError> {
    let has_device = attachment.device.is_some();
    for plugin in &attachment.network.plugins {
        facts::check_config(plugin)
            .and_then(|()| facts::check_device(plugin, has_device && plugin.declares("deviceID")))
            .map_err(|source| PlanError::Config { label: attachment.label.clone(), source })?;
    }
    let takes_one = facts::ipam_has(&attachment.network, Property::OneAddressInArgs);
    if takes_one && attachment.asked_ips.len() > 1 && !attachment.network.declares("ips") {
        let label = attachment.label.clone();
        return Err(PlanError::NoCapability { label, key: "ips", capability: "ips" });
    }
    Ok(())
}
