//! Moving a link into the container and back.
//!
//! A link in the container has its name on the host as `ifalias`, as the reference plugin's has.
//! The kernel moves, renames and marks it for one message, so that a killed call leaves it on the
//! host as it was, or in the container with its mark.

use cni::error::{Code, Error};
use cni::plugin::Call;
use linux::netlink::{Change, LinkId, LinkKind, LinkSettings, LinkState, Netlink};
use linux::netns::Netns;

use super::super::config::Keys;
use super::super::site::{Site, kernel_error};

/// A link that has moved into the container.
#[derive(Debug)]
pub(super) struct Moved {
    /// The link there.
    pub(super) link: LinkState,
    /// The link as it was on the host.
    before: LinkState,
    host: Netns,
}

impl Moved {
    /// Moves a link of the host. If that fails, the link is on the host as it was.
    pub(super) fn into_container(site: &mut Site<'_>, link: &LinkState) -> Result<Self, Error> {
        let host = Netns::current().map_err(kernel_error)?;
        let name = site.interface;
        let change = Change::move_link(link.index, &site.netns, name, &link.name);
        let outcome = site.host.apply(&[change]).map_err(kernel_error).and_then(|()| site.made());
        match outcome {
            Ok(moved) => Ok(Self { link: moved, before: link.clone(), host }),
            Err(error) => {
                put_back(site, link, &host);
                Err(error.about(format!("interface {:?} of the host", link.name)))
            }
        }
    }

    /// Moves it back after an ADD that failed.
    pub(super) fn back(self, site: &mut Site<'_>) {
        put_back(site, &self.before, &self.host);
    }
}

/// Puts a link back that may have moved, under its own name or already under that in the container.
fn put_back(site: &mut Site<'_>, link: &LinkState, host: &Netns) {
    if let Err(error) = try_to_put_back(site, link, host) {
        log::error!("interface {:?} of the host stays changed by a failed ADD: {error}", link.name);
    }
}

fn try_to_put_back(site: &mut Site<'_>, link: &LinkState, host: &Netns) -> Result<(), Error> {
    let on_host = site.host.find(LinkId::Name(&link.name)).map_err(kernel_error)?;
    if on_host.is_none_or(|found| found.index != link.index) {
        let is_it = |found: &LinkState| found.kind == link.kind && found.mac == link.mac;
        for name in [site.interface, &link.name] {
            let found = site.container.find(LinkId::Name(name)).map_err(kernel_error)?;
            if let Some(found) = found.filter(is_it) {
                let change = Change::move_link(found.index, host, &link.name, "");
                site.container.apply(&[change]).map_err(kernel_error)?;
                break;
            }
        }
    }
    let alias = link.alias.as_deref().unwrap_or_default();
    let settings =
        LinkSettings { up: Some(link.up), alias: Some(alias), ..LinkSettings::default() };
    site.host.apply(&[Change::set_link(LinkId::Name(&link.name), &settings)]).map_err(kernel_error)
}

/// Moves the container's interface to the host, under the name that it has had there; done also if
/// it is not there any more. It is down then.
pub(super) fn move_out(call: &Call, container: &mut Netlink) -> Result<(), Error> {
    let interface = call.attachment()?.interface.as_str();
    let found = container.find(LinkId::Name(interface)).map_err(kernel_error)?;
    let Some(link) = found else { return Ok(()) };
    let mut host = Netlink::open().map_err(kernel_error)?;
    let Some(name) = name_on_host(call, &mut host, &link)? else { return Ok(()) };
    if host.link_exists(&name).map_err(kernel_error)? {
        let problem = format!(
            "interface {interface:?} cannot go back to the host, which has another interface \
             {name:?}: rename that"
        );
        return Err(Error::new(Code::TEARDOWN, problem));
    }
    let netns = Netns::current().map_err(kernel_error)?;
    let about = |error| kernel_error(error).about(format!("interface {interface:?}"));
    container.apply(&[Change::move_link(link.index, &netns, &name, "")]).map_err(about)
}

/// The name that a link has had on the host; `None` for a link that no ADD of ours has moved.
fn name_on_host(
    call: &Call,
    host: &mut Netlink,
    link: &LinkState,
) -> Result<Option<String>, Error> {
    if let Some(alias) = link.alias.as_deref().filter(|alias| is_name(alias)) {
        return Ok(Some(alias.to_owned()));
    }
    // The mark was taken away: the configuration may still say the name.
    let device = Keys::inside(call.object()).text("device").ok().flatten().filter(|it| is_name(it));
    if let Some(device) = device
        && !host.link_exists(device).map_err(kernel_error)?
    {
        return Ok(Some(device.to_owned()));
    }
    let name = &link.name;
    if link.kind == LinkKind::Device {
        let problem = format!(
            "interface {name:?} has no alias that says its name on the host: set it, `ip link set \
             {name} alias NAME` in the container"
        );
        return Err(Error::new(Code::TEARDOWN, problem));
    }
    log::warn!("interface {name:?} is none that was moved: another plugin's, it stays");
    Ok(None)
}

/// What a link of the host can be called. A container may write any alias.
pub(super) fn is_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte))
        && !matches!(text, "." | ".." | "lo" | "all" | "default")
}
