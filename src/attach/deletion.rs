//! Deleting the links of several attachments in one request: the kernel waits for each request as
//! long as for one link.

use std::hash::{BuildHasher, RandomState};

use crate::delegate::{Executor, Installed};
use crate::plan::Attachment;
use cni::keys;
use cni::netconf::PluginConfig;
use linux::netlink::{Change, InsideError, LinkId, LinkSettings, LinkState, Netlink};
use linux::netns::Netns;
use plugins::facts::{self, Property};
use serde_json::Value;

/// Groups below are the administrator's.
const FIRST_GROUP: u32 = 1 << 16;

/// Deletes the links in the sandbox of those attachments whose plugins would do no more with them,
/// if there are several. DEL of each must run all the same; what stays here it deletes.
pub(crate) fn delete_links_together<'a>(
    attachments: impl Iterator<Item = &'a Attachment>,
    installed: &Installed,
    netns: &Netns,
) {
    let wanted: Vec<_> = attachments.filter_map(|it| deletable(it, installed)).collect();
    if wanted.len() < 2 {
        return;
    }
    match delete(&wanted, netns) {
        Ok(count) => log::debug!("{count} interfaces deleted together"),
        Err(error) => log::debug!("interfaces are deleted one by one: {error}"),
    }
}

/// The interface of an attachment, and its kind, if the plugins that are called for it are built in
/// and only delete it.
fn deletable<'a>(
    attachment: &'a Attachment,
    installed: &Installed,
) -> Option<(&'a str, &'static str)> {
    let chain = &attachment.network.plugins;
    let (first, others) = chain.split_first()?;
    let kind = plugins::facts(first.kind.as_str())?.deletes?;
    let leaves_alone =
        |plugin: &PluginConfig| facts::has(plugin.kind.as_str(), Property::NeedsNoLinkOnDel);
    let is_built_in = |plugin: &PluginConfig| {
        matches!(installed.executor(&plugin.kind), Ok(Executor::InProcess(_)))
    };
    let deletes = !is_on_another(first) && others.iter().all(leaves_alone);
    (deletes && chain.iter().all(is_built_in)).then(|| (attachment.interface.as_str(), kind))
}

/// Whether the link below is in the sandbox, too: it would go first.
fn is_on_another(plugin: &PluginConfig) -> bool {
    keys::get(plugin.object(), "linkInContainer") == Some(&Value::Bool(true))
}

fn delete(wanted: &[(&str, &str)], netns: &Netns) -> Result<usize, InsideError> {
    let mut netlink = Netlink::open_in(netns)?;
    let names: Vec<LinkId<'_>> = wanted.iter().map(|(name, _)| LinkId::Name(name)).collect();
    let found = netlink.apply_then_find(&[], &names)?;
    let is_ours = |(link, (name, kind)): (Option<LinkState>, &(&str, &str))| {
        link.filter(|link| link.kind.name() == *kind && link.name == *name)
    };
    let links: Vec<LinkState> = found.into_iter().zip(wanted).filter_map(is_ours).collect();
    if links.len() < 2 {
        return Ok(0);
    }
    // A number that no process in the sandbox can have put another link into beforehand.
    let random = RandomState::new().hash_one(links.len()) & u64::from(u32::MAX >> 1);
    let group = u32::try_from(random).unwrap_or_default() | FIRST_GROUP;
    let settings = LinkSettings { group: Some(group), ..LinkSettings::default() };
    let joined = links.iter().map(|link| Change::set_link(LinkId::Index(link.index), &settings));
    netlink.apply(&joined.collect::<Vec<_>>())?;
    let indices: Vec<u32> = links.iter().map(|link| link.index).collect();
    netlink.delete_links(&Change::delete_group(group), &indices)?;
    Ok(links.len())
}
