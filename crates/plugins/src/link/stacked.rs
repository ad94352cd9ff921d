//! Links on top of another one, and links that need none: how macvlan, ipvlan, vlan and dummy make
//! theirs.

use cni::error::{Code, Error};
use cni::netconf::PluginType;
use cni::plugin::{Call, Context};
use cni::request::Command;
use cni::result::{AttachmentResult, Interface};
use linux::netlink::{Change, LinkId, LinkState, Netlink, NewLink, NewLinkKind};
use serde_json::Value;

use super::check::drift;
use super::config::{Keys, invalid};
use super::container::{self, AnnouncementSettings, PluginRoutes};
use super::lease::{self, with_lease};
use super::site::{Site, kernel_error, random_name};
use super::status;

/// An interface that is to be made in the container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewInterface<'a> {
    /// What it is.
    pub(crate) kind: NewLinkKind<'a>,
    /// Largest packet in bytes; the kernel's choice without one.
    pub(crate) mtu: Option<u32>,
    /// Hardware address; the kernel's choice without one.
    pub(crate) mac: Option<&'a [u8]>,
    /// Whether it is made from inside the container, where the link below is.
    pub(crate) from_inside: bool,
    /// How it announces and checks its addresses.
    pub(crate) announcement: AnnouncementSettings,
}

/// Where an interface's addresses come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// From nowhere: it has none.
    None,
    /// From an IPAM plugin.
    Ipam(PluginType),
    /// From the result of the plugin before.
    Given(Box<AttachmentResult>),
}

/// How macvlan and ipvlan announce their addresses: neighbours may know the host's for them.
pub(crate) const ANNOUNCED: AnnouncementSettings = AnnouncementSettings {
    arp_notify: true,
    ndisc_notify: true,
    detects_duplicates: None,
    never_settles: false,
};

/// The words for the modes of a kind of link. The first is the default.
pub(crate) type Modes<M> = [(&'static str, M)];

/// The key `mode`.
///
/// # Errors
/// Code 7 for another word.
pub(crate) fn read_mode<M: Copy>(keys: Keys<'_>, modes: &Modes<M>) -> Result<Option<M>, Error> {
    let Some(text) = keys.text("mode")? else { return Ok(modes.first().map(|(_, mode)| *mode)) };
    match modes.iter().find(|(word, _)| *word == text) {
        Some((_, mode)) => Ok(Some(*mode)),
        None => {
            let words: Vec<&str> = modes.iter().map(|(word, _)| *word).collect();
            Err(invalid("mode", &format!("one of {}", words.join(", ")), text))
        }
    }
}

/// Fails if the interface is in another mode than the configuration says.
///
/// # Errors
/// Code 101.
pub(crate) fn check_mode<M: PartialEq>(
    interface: &str,
    modes: &Modes<M>,
    wanted: Option<M>,
    now: Option<M>,
) -> Result<(), Error> {
    if now.is_some() && now == wanted {
        return Ok(());
    }
    let word = modes.iter().find(|(_, mode)| Some(mode) == wanted.as_ref()).map(|(word, _)| *word);
    let word = word.unwrap_or_default();
    Err(drift(format!("interface {interface:?} is not in mode {word}")))
}

/// STATUS of a plugin that builds links of a kind on a `master`: whether the kernel can make them,
/// and the host has the master that the configuration names.
///
/// # Errors
/// Code 50, and 7 for a wrong value.
pub(crate) fn status(
    call: &Call,
    context: &mut Context<'_>,
    keys: Keys<'_>,
    kind: &'static str,
) -> Result<(), Error> {
    status::check_kind(kind)?;
    if let Some(master) =
        keys.interface("master")?.filter(|_| keys.switch("linkInContainer") == Ok(false))
    {
        let mut host = Netlink::open().map_err(kernel_error)?;
        named(&mut host, master, "the host")
            .map_err(|error| Error { code: Code::NOT_AVAILABLE, ..error })?;
    }
    lease::forward(Command::Status, call, context)
}

/// The link below, and which namespace it is in.
pub(crate) fn parent(
    site: &mut Site<'_>,
    keys: Keys<'_>,
    in_container: bool,
) -> Result<LinkState, Error> {
    let netlink = if in_container { &mut site.container } else { &mut site.host };
    let place = if in_container { "the container" } else { "the host" };
    match keys.interface("master")? {
        Some(name) => named(netlink, name, place),
        None => of_default_route(netlink, place),
    }
}

/// The link of this name.
pub(crate) fn named(netlink: &mut Netlink, name: &str, place: &str) -> Result<LinkState, Error> {
    let found = netlink.find(LinkId::Name(name)).map_err(kernel_error)?;
    found.ok_or_else(|| {
        Error::new(
            Code::CONFIG,
            format!("\"master\" is {name:?}, an interface that {place} does not have"),
        )
    })
}

fn of_default_route(netlink: &mut Netlink, place: &str) -> Result<LinkState, Error> {
    let index = netlink.default_link().map_err(kernel_error)?;
    let none = || {
        let problem = format!(
            "there is no \"master\", and {place} has no default route to take it from: set \
             \"master\""
        );
        Error::new(Code::CONFIG, problem)
    };
    let link = netlink.find(LinkId::Index(index.ok_or_else(none)?)).map_err(kernel_error)?;
    link.ok_or_else(none)
}

/// The MTU that is asked for, which is no larger than the parent's.
pub(crate) fn mtu(keys: Keys<'_>, parent: &LinkState) -> Result<Option<u32>, Error> {
    match keys.size("mtu")? {
        Some(mtu) if mtu > parent.mtu => {
            let problem = format!(
                "\"mtu\" must be at most {}, that of interface {:?}, not {mtu}",
                parent.mtu, parent.name
            );
            Err(Error::new(Code::CONFIG, problem))
        }
        mtu => Ok(mtu),
    }
}

/// Makes the interface in the container, and configures it with what IPAM grants. An ADD that fails
/// leaves neither.
pub(crate) fn add<'a>(
    call: &Call,
    context: &mut Context<'a>,
    site: &mut Site<'_>,
    new: NewInterface<'_>,
    source: Source,
    dns: Option<Value>,
) -> Result<AttachmentResult, Error> {
    context.proceed()?;
    let link = make(site, new)?;
    let outcome = match source {
        Source::None => container::set_up(site, &link).map(|()| AttachmentResult::default()),
        Source::Given(result) => configure(context, site, &link, new.announcement, *result),
        Source::Ipam(ipam) => with_lease(&ipam, call, context, |context, granted| {
            configure(context, site, &link, new.announcement, granted)
        }),
    };
    match outcome {
        Ok(result) => Ok(AttachmentResult {
            interfaces: vec![reported(site, &link)],
            dns: dns.or(result.dns),
            ips: result.ips,
            routes: result.routes,
            other: serde_json::Map::new(),
        }),
        Err(error) => {
            site.delete_in_container(site.interface);
            Err(error)
        }
    }
}

fn configure(
    context: &Context<'_>,
    site: &mut Site<'_>,
    link: &LinkState,
    announcement: AnnouncementSettings,
    mut result: AttachmentResult,
) -> Result<AttachmentResult, Error> {
    context.proceed()?;
    result.ips.iter_mut().for_each(|address| address.interface = Some(0));
    container::configure(
        site,
        link,
        &result,
        announcement,
        &PluginRoutes::default(),
        context.deadline,
    )?;
    context.proceed()?;
    Ok(result)
}

/// A link that is made from the host gets a name of its own first: older kernels would refuse one
/// that a link of the host has.
fn make(site: &mut Site<'_>, new: NewInterface<'_>) -> Result<LinkState, Error> {
    let link =
        |name, netns| NewLink { mtu: new.mtu, mac: new.mac, netns, ..NewLink::new(name, new.kind) };
    if new.from_inside {
        let change = Change::create_link(&link(site.interface, None));
        site.container.apply(&[change]).map_err(kernel_error)?;
        return site.made();
    }
    let temporary = random_name();
    site.host
        .apply(&[Change::create_link(&link(&temporary, Some(&site.netns)))])
        .map_err(kernel_error)?;
    site.rename(&temporary)
}

fn reported(site: &Site<'_>, link: &LinkState) -> Interface {
    Interface {
        name: site.interface.to_owned(),
        mac: link.mac.clone(),
        sandbox: Some(site.netns.path().display().to_string()),
        ..Interface::default()
    }
}
