//! Whether the sandbox shows what a pod asked of a network.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::AttachError;
use crate::plan::Attachment;
use crate::policy::grants;
use cni::netconf::{NetworkConfig, PluginConfig};
use cni::result::AttachmentResult;
use linux::netlink::Link;

/// Whether the sandbox shows what was asked of an attachment: the addresses in its result, the MAC
/// on its link, or in its result if it has no link.
///
/// # Errors
/// [`AttachError::NotAsAsked`], [`AttachError::NotGranted`].
pub(crate) fn verify(
    attachment: &Attachment,
    result: &AttachmentResult,
    link: Option<&Link>,
) -> Result<(), AttachError> {
    let addresses: Vec<IpNetwork> =
        result.ips.iter().filter_map(|ip| ip.address.parse().ok()).collect();
    check_asked_ips(attachment, result, &addresses)?;
    check_granted_networks(attachment, &addresses)?;
    check_asked_mac(attachment, result, link)
}

/// Whether the network gave every address that was asked for, with a prefix length of its own.
fn check_asked_ips(
    attachment: &Attachment,
    result: &AttachmentResult,
    addresses: &[IpNetwork],
) -> Result<(), AttachError> {
    let is_missing = |asked: &&IpAddr| addresses.iter().all(|address| address.ip() != **asked);
    match attachment.asked_ips.iter().find(is_missing) {
        Some(missing) => {
            let got = addresses.iter().map(ToString::to_string).collect();
            Err(not_as_asked(attachment, result, "ips", missing.to_string(), got))
        }
        None => Ok(()),
    }
}

/// Whether every address is in a network that the pod is granted. Only an IPAM claim has such
/// networks: its addresses are known no sooner than in the result.
fn check_granted_networks(
    attachment: &Attachment,
    addresses: &[IpNetwork],
) -> Result<(), AttachError> {
    let Some(networks) = &attachment.granted_networks else { return Ok(()) };
    let is_granted = |address: IpNetwork| networks.iter().any(|network| grants(*network, address));
    match addresses.iter().copied().find(|address| !is_granted(*address)) {
        Some(address) => {
            let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
            Err(AttachError::NotGranted { label, interface, address })
        }
        None => Ok(()),
    }
}

/// Whether the interface has the MAC that was asked for. What the kernel shows counts before the
/// result.
fn check_asked_mac(
    attachment: &Attachment,
    result: &AttachmentResult,
    link: Option<&Link>,
) -> Result<(), AttachError> {
    let name = attachment.interface.as_str();
    let reported = result.sandbox_interfaces().find(|(_, reported)| reported.name == name);
    let mac = match link {
        Some(link) => link.mac.as_deref(),
        None => reported.and_then(|(_, reported)| reported.mac.as_deref()),
    };
    match &attachment.asked_mac {
        Some(asked) if !mac.is_some_and(|mac| mac.eq_ignore_ascii_case(asked)) => {
            let got = mac.into_iter().map(str::to_owned).collect();
            Err(not_as_asked(attachment, result, "mac", asked.clone(), got))
        }
        _ => Ok(()),
    }
}

fn not_as_asked(
    attachment: &Attachment,
    result: &AttachmentResult,
    key: &'static str,
    asked: String,
    got: Vec<String>,
) -> AttachError {
    let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
    let advice = advice(&attachment.network, key, !result.ips.is_empty());
    let got = if got.is_empty() { "none".to_owned() } else { got.join(", ") };
    let (asked, got, advice) = (asked.into(), got.into(), advice.into());
    AttachError::NotAsAsked { label, interface, key, asked, got, advice }
}

/// What to change in a definition whose network did not give what was asked for: only what it
/// lacks.
fn advice(network: &NetworkConfig, key: &str, has_addresses: bool) -> String {
    let ipam = network.plugins.iter().find_map(PluginConfig::ipam);
    let declared = network.plugins.iter().find(|plugin| plugin.declares(key));
    let capability = format!("\"capabilities\": {{\"{key}\": true}}");
    match (key, ipam, declared) {
        ("ips", None, Some(plugin)) if !has_addresses => {
            format!(
                "add the missing IPAM plugin to plugin \"{}\", as in \"ipam\": {{\"type\": \
                 \"static\"}}",
                plugin.kind
            )
        }
        ("ips", None, None) if !has_addresses => {
            format!(
                "add {capability} and an IPAM plugin, as in \"ipam\": {{\"type\": \"static\"}}, to \
                 the plugin that can set it"
            )
        }
        ("ips", Some(ipam), Some(_)) => {
            format!("ask for an address that IPAM plugin \"{ipam}\" gives")
        }
        (_, _, Some(plugin)) => {
            format!(
                "plugin \"{}\" declares the capability and ignores it: use another",
                plugin.kind
            )
        }
        (_, _, None) => format!("add {capability} to the plugin that can set it"),
    }
}

#[cfg(test)]
mod tests;
