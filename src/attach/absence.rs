//! Whether anything is there of an attachment whose ADD ended without a result.
//!
//! A plugin that refuses its configuration refuses it in DEL as well. Such an attachment is gone if
//! it is proven that nothing is left of it: what its plugins keep is known, none of it is outside
//! the node, what is on the host was read and is empty, and the sandbox, which is there to be
//! asked, shows no interface of it.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::Attachment;
use crate::reservation;
use cni::deadline::Deadline;
use cni::error::Error;
use cni::netconf::PluginConfig;
use cni::request::{ContainerId, Environment};
use linux::netlink::{Change, Inside, LinkId, Netlink};
use linux::netns::Netns;
use plugins::facts::{self, Facts, HostState, Property};
use plugins::kernel::kernel_error;
use plugins::rules::{self, Attached, Keeper};

/// How long the programs of the packet filter may take to list an attachment's rules.
const READING_RULES: Duration = Duration::from_secs(10);

/// Why it is not proven that nothing is left of an attachment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trace {
    /// What a plugin leaves is not known, or cannot be read.
    #[error("what plugin \"{0}\" leaves is not known")]
    Unknown(String),
    /// A plugin keeps state outside the node.
    #[error("plugin \"{0}\" keeps state outside the node")]
    Outside(String),
    /// An address is reserved, by this file.
    #[error("an address is reserved by {}", .0.display())]
    Reserved(PathBuf),
    /// A plugin's file is there.
    #[error("{} is there", .0.display())]
    File(PathBuf),
    /// A link is there.
    #[error("the sandbox has interface \"{0}\"")]
    Link(String),
    /// A link of the host is there.
    #[error("the host has interface \"{0}\"")]
    HostLink(String),
    /// The packet filter has rules of it.
    #[error("the packet filter has rules of {0}")]
    Rules(Keeper),
    /// The kernel or a file does not say.
    #[error("{0}")]
    Unreadable(Box<Error>),
    /// A directory cannot be read.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Whether the plugins of an attachment keep nothing that this module cannot read.
///
/// # Errors
/// [`Trace`] of the first that may.
pub(crate) fn check_plugins(attachment: &Attachment) -> Result<(), Trace> {
    attachment.network.plugins.iter().try_for_each(|plugin| {
        kinds(plugin).try_for_each(|kind| match plugins::facts(kind) {
            None => Err(Trace::Unknown(kind.to_owned())),
            Some(facts) if facts.has(Property::StateOutsideNode) => {
                Err(Trace::Outside(kind.to_owned()))
            }
            Some(facts) => check_readable(facts, plugin, attachment),
        })
    })
}

fn kinds(plugin: &PluginConfig) -> impl Iterator<Item = &str> {
    std::iter::once(plugin.kind.as_str()).chain(plugin.ipam())
}

fn check_readable(
    facts: &Facts,
    plugin: &PluginConfig,
    attachment: &Attachment,
) -> Result<(), Trace> {
    let is_readable = match facts.host_state {
        HostState::None
        | HostState::Reservations
        | HostState::File { .. }
        | HostState::IntermediateDevice
        | HostState::Rules(_) => true,
        HostState::MovedLink { others, .. } => {
            attachment.device.is_none() && !facts::names_any(plugin, others)
        }
        HostState::Unknown => false,
    };
    if is_readable { Ok(()) } else { Err(Trace::Unknown(facts.kind.to_owned())) }
}

/// Whether nothing is left of an attachment whose sandbox is of an earlier boot. What the kernel
/// had of it has gone with that boot; reservations and files outlive one.
///
/// # Errors
/// [`Trace`] of what is there, or may be.
pub(crate) fn prove_after_boot(
    attachment: &Attachment,
    container: &ContainerId,
) -> Result<(), Trace> {
    for kind in attachment.network.plugins.iter().flat_map(kinds) {
        match plugins::facts(kind) {
            None => return Err(Trace::Unknown(kind.to_owned())),
            Some(facts) if facts.has(Property::StateOutsideNode) => {
                return Err(Trace::Outside(kind.to_owned()));
            }
            Some(facts) if is_unknown_after_boot(facts) => {
                return Err(Trace::Unknown(kind.to_owned()));
            }
            Some(_) => {}
        }
    }
    check_reservations(attachment, container)?;
    check_files(attachment, container)
}

fn is_unknown_after_boot(facts: &Facts) -> bool {
    facts.host_state == HostState::Unknown && !facts.has(Property::HostStateOfBoot)
}

/// What may be left of an attachment that is forgotten without a DEL that succeeded: what is seen,
/// and what cannot be. `is_of_boot` if its sandbox is of this boot, or that is not known.
pub(crate) fn remains(
    attachment: &Attachment,
    container: &ContainerId,
    is_of_boot: bool,
) -> Vec<Trace> {
    let by_plugin = match is_of_boot {
        true => check_plugins(attachment),
        false => prove_after_boot(attachment, container),
    };
    let seen = [check_reservations(attachment, container), check_files(attachment, container)];
    let mut remains: Vec<Trace> = Vec::new();
    for trace in std::iter::once(by_plugin).chain(seen).filter_map(Result::err) {
        if remains.iter().all(|known| known.to_string() != trace.to_string()) {
            remains.push(trace);
        }
    }
    remains
}

/// Whether host-local has no address for an attachment.
///
/// # Errors
/// [`Trace`] of what is there, or may be.
fn check_reservations(attachment: &Attachment, container: &ContainerId) -> Result<(), Trace> {
    reservation::directories(&attachment.network).into_iter().try_for_each(|path| {
        match reservation::find_reserved(&path, container, &attachment.interface) {
            Ok(None) => Ok(()),
            Ok(Some(file)) => Err(Trace::Reserved(file)),
            Err(source) => Err(Trace::Directory { path, source }),
        }
    })
}

/// Whether nothing is left of an attachment, neither on the host nor in its sandbox.
///
/// # Errors
/// [`Trace`] of what is there, or may be.
pub(crate) fn prove(
    attachment: &Attachment,
    container: &ContainerId,
    netns: &Netns,
) -> Result<(), Trace> {
    check_plugins(attachment)?;
    check_reservations(attachment, container)?;
    check_files(attachment, container)?;
    check_intermediate_device(attachment, container)?;
    check_rules(attachment, container)?;
    let mut inside = Inside::new(netns);
    let netlink = inside.netlink().map_err(unreadable)?;
    let moved =
        attachment.network.plugins.iter().filter_map(facts::moved_link).map(|(_, device)| device);
    for name in std::iter::once(attachment.interface.as_str()).chain(moved) {
        if netlink.link_exists(name).map_err(unreadable)? {
            return Err(Trace::Link(name.to_owned()));
        }
    }
    check_temporary_links(netlink)
}

/// Whether the packet filter of the host has no rules of an attachment.
fn check_rules(attachment: &Attachment, container: &ContainerId) -> Result<(), Trace> {
    let attached = Attached {
        network: attachment.network.name.as_str(),
        container: container.as_str(),
        interface: attachment.interface.as_str(),
    };
    for keeper in attachment.network.plugins.iter().flat_map(facts::keepers) {
        let programs = Environment::of_process().programs();
        let deadline = Deadline::after(READING_RULES);
        match rules::has_rules(keeper, attached, &programs, deadline) {
            Ok(false) => {}
            Ok(true) => return Err(Trace::Rules(keeper)),
            Err(error) => return Err(Trace::Unreadable(Box::new(error))),
        }
    }
    Ok(())
}

fn check_files(attachment: &Attachment, container: &ContainerId) -> Result<(), Trace> {
    for plugin in &attachment.network.plugins {
        let state = plugins::facts(plugin.kind.as_str()).map(|facts| facts.host_state);
        let Some(HostState::File { key, directory }) = state else { continue };
        let directory = plugin.text(key).unwrap_or(directory);
        let path =
            PathBuf::from(directory).join(format!("{container}_{}.json", attachment.interface));
        match path.symlink_metadata() {
            Ok(_) => return Err(Trace::File(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Trace::Directory { path, source }),
        }
    }
    Ok(())
}

fn check_intermediate_device(
    attachment: &Attachment,
    container: &ContainerId,
) -> Result<(), Trace> {
    let has_one = |plugin: &PluginConfig| {
        let state = plugins::facts(plugin.kind.as_str()).map(|facts| facts.host_state);
        state == Some(HostState::IntermediateDevice)
    };
    if !attachment.network.plugins.iter().any(has_one) {
        return Ok(());
    }
    let name = facts::intermediate_device(attachment.network.name.as_str(), container.as_str());
    let mut host = Netlink::open().map_err(unreadable)?;
    if host.link_exists(&name).map_err(unreadable)? { Err(Trace::HostLink(name)) } else { Ok(()) }
}

/// Whether the sandbox of this path has no interface of an attachment; one that is gone has none.
pub(crate) fn has_no_interface(attachment: &Attachment, netns: &str) -> bool {
    let Ok(netns) = Netns::open(netns.as_ref()) else { return true };
    let mut inside = Inside::new(&netns);
    let exists = inside.netlink().map(|netlink| netlink.link_exists(attachment.interface.as_str()));
    matches!(exists, Ok(Ok(false)))
}

/// The reference plugins make a link under a name like `veth3f2a9c01`, and rename it once it is in
/// the sandbox.
fn check_temporary_links(netlink: &mut Netlink) -> Result<(), Trace> {
    let is_temporary = |name: &str| {
        let random = name.strip_prefix("veth");
        random.is_some_and(|it| it.len() == 8 && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let links = netlink.links().map_err(unreadable)?;
    match links.into_iter().find(|link| is_temporary(&link.name)) {
        Some(link) => Err(Trace::Link(link.name)),
        None => Ok(()),
    }
}

/// Removes the link that a failed ADD has left in the sandbox under the attachment's name. A link
/// that was moved there stays: it is the host's.
///
/// # Errors
/// [`Trace`] if it is not known to be the plugins' own, or the kernel refuses.
pub(crate) fn remove_link(attachment: &Attachment, netns: &Netns) -> Result<(), Trace> {
    check_plugins(attachment)?;
    let is_moved = |plugin: &PluginConfig| {
        let state = plugins::facts(plugin.kind.as_str()).map(|facts| facts.host_state);
        matches!(state, Some(HostState::MovedLink { .. }))
    };
    if attachment.network.plugins.iter().any(is_moved) {
        return Ok(());
    }
    let mut inside = Inside::new(netns);
    let netlink = inside.netlink().map_err(unreadable)?;
    let name = attachment.interface.as_str();
    if netlink.link_exists(name).map_err(unreadable)? {
        let removal = [Change::delete_link(LinkId::Name(name))];
        netlink.apply(&removal).map_err(unreadable)?;
        log::warn!(
            "network \"{}\": interface \"{name}\", which its failed ADD has left, is removed",
            attachment.label
        );
    }
    Ok(())
}

fn unreadable(error: impl Into<linux::netlink::InsideError>) -> Trace {
    Trace::Unreadable(Box::new(kernel_error(error)))
}
