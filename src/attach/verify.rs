//! Whether the sandbox shows what a pod asked of a network.

use super::AttachError;
use crate::plan::Attachment;
use crate::policy::grants;
use cni::netconf::{NetworkConfig, PluginConfig};
use cni::result::AttachmentResult;
use linux::netlink::Link;

/// Whether the sandbox shows what was asked of an attachment: the addresses in its result, the MAC on
/// its link, or in its result where it has no link.
///
/// # Errors
/// [`AttachError::NotAsAsked`], [`AttachError::NotGranted`].
pub fn verify(
    attachment: &Attachment,
    result: &AttachmentResult,
    link: Option<&Link>,
) -> Result<(), AttachError> {
    let not_as_asked = |key, asked: String, got: Vec<String>| {
        let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
        let advice = advice(&attachment.network, key, !result.ips.is_empty());
        let got = if got.is_empty() { "none".to_owned() } else { got.join(", ") };
        let (asked, got, advice) = (asked.into(), got.into(), advice.into());
        Err(AttachError::NotAsAsked { label, interface, key, asked, got, advice })
    };
    let given: Vec<_> =
        result.ips.iter().filter_map(|ip| ip.address.parse::<ipnetwork::IpNetwork>().ok()).collect();
    if let Some(missing) =
        attachment.asked_ips.iter().find(|asked| !given.iter().any(|given| given.ip() == **asked))
    {
        return not_as_asked("ips", missing.to_string(), given.iter().map(ToString::to_string).collect());
    }
    if let Some(networks) = &attachment.granted_networks {
        let is_granted =
            |address: ipnetwork::IpNetwork| networks.iter().any(|network| grants(*network, address));
        if let Some(address) = given.iter().copied().find(|address| !is_granted(*address)) {
            let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
            return Err(AttachError::NotGranted { label, interface, address });
        }
    }
    let reported =
        result.sandbox_interfaces().find(|(_, reported)| reported.name == attachment.interface.as_str());
    let mac = match link {
        Some(link) => link.mac.as_deref(),
        None => reported.and_then(|(_, reported)| reported.mac.as_deref()),
    };
    match &attachment.asked_mac {
        Some(asked) if !mac.is_some_and(|mac| mac.eq_ignore_ascii_case(asked)) => {
            not_as_asked("mac", asked.clone(), mac.into_iter().map(str::to_owned).collect())
        }
        _ => Ok(()),
    }
}

/// What to change in a definition whose network did not give what was asked for: only what it lacks.
fn advice(network: &NetworkConfig, key: &str, has_addresses: bool) -> String {
    let ipam = network.plugins.iter().find_map(PluginConfig::ipam);
    let declared = network.plugins.iter().find(|plugin| plugin.declares(key));
    let capability = format!("\"capabilities\": {{\"{key}\": true}}");
    match (key, ipam, declared) {
        ("ips", None, Some(plugin)) if !has_addresses => {
            format!(
                "add the missing IPAM plugin to plugin \"{}\", as in \"ipam\": {{\"type\": \"static\"}}",
                plugin.kind
            )
        }
        ("ips", None, None) if !has_addresses => {
            format!(
                "add {capability} and an IPAM plugin, as in \"ipam\": {{\"type\": \"static\"}}, to the plugin that can set it"
            )
        }
        ("ips", Some(ipam), Some(_)) => format!("ask for an address that IPAM plugin \"{ipam}\" gives"),
        (_, _, Some(plugin)) => {
            format!("plugin \"{}\" declares the capability and does not heed it: take another", plugin.kind)
        }
        (_, _, None) => format!("add {capability} to the plugin that can set it"),
    }
}

#[cfg(test)]
mod tests;
