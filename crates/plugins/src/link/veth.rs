//! The veth pair of bridge and ptp: one end on the host, the other in the container, made by one
//! message.

use cni::error::{Code, Error};
use cni::result::Interface;
use linux::family::Family;
use linux::netlink::{
    Change, LinkId, LinkState, NetlinkError, NewLink, NewLinkEnd, NewLinkKind, PortSettings,
};
use linux::sysctl::Sysctl;

use super::site::{Site, kernel_error, random_name};

/// How often a name for the host's end is tried.
const NAMES: usize = 10;

/// A pair that was made.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The end on the host, which is up.
    pub(crate) host: LinkState,
    /// The end in the container, which is down.
    pub(crate) container: LinkState,
}

/// What the host's end is a port of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Port {
    /// Index of the bridge.
    pub(crate) bridge: Option<u32>,
    /// Whether a frame may leave through the port that it came in by.
    pub(crate) hairpin: bool,
    /// Whether it exchanges no frames with other isolated ports.
    pub(crate) isolated: bool,
}

impl Pair {
    /// Makes a pair. Leaves nothing if it fails.
    pub(crate) fn make(
        site: &mut Site<'_>,
        mtu: Option<u32>,
        mac: Option<&[u8]>,
        port: &Port,
    ) -> Result<Self, Error> {
        let host = make_named(site, mtu, mac, port)?;
        let outcome = site.made();
        // The bridge's own address would follow router advertisements of its containers.
        let _ = Sysctl::of_interface(Family::V6, &host.name, "accept_ra").write("0");
        match outcome {
            Ok(container) => Ok(Self { host, container }),
            Err(error) => {
                site.delete_on_host(&host.name);
                Err(error)
            }
        }
    }
}

/// A name that another link of the host has is tried no second time.
fn make_named(
    site: &mut Site<'_>,
    mtu: Option<u32>,
    mac: Option<&[u8]>,
    port: &Port,
) -> Result<LinkState, Error> {
    for _ in 1..NAMES {
        match make_once(site, mtu, mac, port) {
            Err(error) if is_taken(&error) => reject_present(site)?,
            outcome => return outcome.map_err(kernel_error)?.ok_or_else(vanished),
        }
    }
    make_once(site, mtu, mac, port).map_err(kernel_error)?.ok_or_else(vanished)
}

/// The kernel says of neither end's name that it is that which is taken.
fn reject_present(site: &mut Site<'_>) -> Result<(), Error> {
    if site.container.find(LinkId::Name(site.interface)).map_err(kernel_error)?.is_none() {
        return Ok(());
    }
    let problem = format!("the container has an interface {:?} already", site.interface);
    Err(Error::new(Code::IO, problem))
}

fn make_once(
    site: &mut Site<'_>,
    mtu: Option<u32>,
    mac: Option<&[u8]>,
    port: &Port,
) -> Result<Option<LinkState>, NetlinkError> {
    let name = random_name();
    let peer = NewLinkEnd { name: site.interface, mtu, mac, netns: Some(&site.netns) };
    let link = NewLink {
        mtu,
        tx_queue_len: Some(0),
        master: port.bridge,
        up: true,
        ..NewLink::new(&name, NewLinkKind::Veth { peer })
    };
    let mut changes = vec![Change::create_link(&link)];
    if port.hairpin || port.isolated {
        let settings = PortSettings { hairpin: Some(port.hairpin), isolated: Some(port.isolated) };
        changes.push(Change::set_port(LinkId::Name(&name), settings));
    }
    let found = site.host.apply_then_find(&changes, &[LinkId::Name(&name)]);
    if found.as_ref().is_err_and(|error| !is_taken(error)) {
        site.delete_on_host(&name);
    }
    Ok(found?.pop().flatten())
}

fn is_taken(error: &NetlinkError) -> bool {
    error.errno.kind() == std::io::ErrorKind::AlreadyExists
}

fn vanished() -> Error {
    Error::new(Code::IO, "the host's end of the veth pair has vanished while it was set up")
}

/// An entry of the result for a link of the host.
pub(crate) fn on_host(link: &LinkState) -> Interface {
    Interface { name: link.name.clone(), mac: link.mac.clone(), ..Interface::default() }
}

/// An entry of the result for the container's interface.
pub(crate) fn in_container(link: &LinkState, site: &Site<'_>) -> Interface {
    Interface { sandbox: Some(site.netns.path().display().to_string()), ..on_host(link) }
}
