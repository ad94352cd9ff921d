//! vrf: makes the interface a member of a virtual routing and forwarding device (VRF) of the
//! container, which has a routing table of its own.

use std::thread::sleep;
use std::time::Duration;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::result::AttachmentResult;
use cni::version::Version;
use linux::family::Family;
use linux::netlink::{
    Change, LinkId, LinkKind, LinkSettings, LinkState, ListedAddress, Netlink, NewLink,
    NewLinkKind, Origin, Route,
};

use super::chain::{self, lock, sort_for_adding};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Shape};
use crate::link::check::drift;
use crate::link::config::Keys;
use crate::link::site::{Site, enter_if_there, kernel_error};
use crate::link::status;

/// The plugin `vrf`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vrf;

/// How long IPv6 addresses may take until they are checked for duplicates again.
const SETTLED: Duration = Duration::from_secs(5);

/// The longest wait between two looks at them.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Tables of the kernel's own (rtnetlink(7)): "default", "main" and "local".
const KERNEL_TABLES: std::ops::RangeInclusive<u32> = 253..=255;

/// What a network asks for.
#[derive(Clone, Copy, Debug)]
struct VrfConfig<'c> {
    name: &'c str,
    /// Its table; one that is free without a number.
    table: Option<u32>,
}

impl<'c> VrfConfig<'c> {
    fn read(call: &'c Call) -> Result<Self, Error> {
        let keys = Keys::of(call, &FACTS);
        let name = keys.interface("vrfname")?.filter(|name| name.len() <= 15);
        let missing = "the network has no \"vrfname\": name the VRF, with 15 characters at most";
        let name = name.ok_or_else(|| Error::new(Code::CONFIG, missing))?;
        let table = keys.number("table", u32::MAX.into())?.filter(|table| *table != 0);
        Ok(Self { name, table: table.and_then(|table| u32::try_from(table).ok()) })
    }
}

/// What is known of it.
const FACTS: Facts = Facts {
    keys: &[
        Key::host("vrfname", Shape::Text),
        Key::host("table", Shape::Integer(0, u32::MAX as i64)),
    ],
    device: DeviceFact::None,
    host_state: HostState::None,
    ..Facts::chain("vrf")
};

impl BuiltIn for Vrf {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Vrf {
    fn oldest_version(&self) -> Version {
        Version::V0_3_1
    }

    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = VrfConfig::read(call)?;
        let result = chain::previous(call)?;
        let mut site = Site::open(call)?;
        let _lock = lock(&site.netns, context)?;
        let link = site.present()?;
        context.proceed()?;
        let member = Member::read(&mut site.container, link)?;
        let (vrf, is_new) = ensure_vrf(&mut site.container, config)?;
        if member.link.master == Some(vrf.device.index) {
            return Ok(result);
        }
        let outcome = member.join(context, &mut site.container, &vrf);
        if outcome.is_err() {
            member.leave_again(&mut site.container);
            if is_new {
                site.delete_in_container(config.name);
            }
        }
        outcome.map(|()| result)
    }

    /// The last member takes the VRF with it.
    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let Some((netns, mut netlink)) = enter_if_there(call)? else { return Ok(()) };
        let config = VrfConfig::read(call)?;
        let _lock = lock(&netns, context)?;
        let Some(vrf) = find_vrf(&mut netlink, config.name)? else { return Ok(()) };
        let links = netlink.link_states().map_err(kernel_error)?;
        let members: Vec<&LinkState> =
            links.iter().filter(|link| link.master == Some(vrf.device.index)).collect();
        let name = call.attachment()?.interface.as_str();
        let mut changes = Vec::new();
        if let Some(ours) = members.iter().find(|link| link.name == name) {
            changes.push(Change::set_link(LinkId::Index(ours.index), &without_master()));
        }
        if members.iter().all(|link| link.name == name) {
            changes.push(Change::delete_link(LinkId::Index(vrf.device.index)));
        }
        netlink.apply(&changes).map_err(kernel_error)
    }

    fn check(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let config = VrfConfig::read(call)?;
        chain::previous(call)?;
        let mut site = Site::open(call)?;
        let name = config.name;
        let vrf = find_vrf(&mut site.container, name)?
            .ok_or_else(|| drift(format!("VRF {name:?} is gone from the container")))?;
        if config.table.is_some_and(|table| table != vrf.table) {
            return Err(drift(format!("VRF {name:?} has the table {}", vrf.table)));
        }
        let interface = site.interface;
        let link = site.container.find(LinkId::Name(interface)).map_err(kernel_error)?;
        match link {
            Some(link) if link.master == Some(vrf.device.index) => Ok(()),
            _ => Err(drift(format!("interface {interface:?} is no member of VRF {name:?}"))),
        }
    }

    fn status(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        VrfConfig::read(call)?;
        status::check_kind("vrf")
    }
}

/// A VRF device and its table.
#[derive(Debug)]
struct VrfDevice {
    device: LinkState,
    table: u32,
}

fn find_vrf(netlink: &mut Netlink, name: &str) -> Result<Option<VrfDevice>, Error> {
    let Some(device) = netlink.find(LinkId::Name(name)).map_err(kernel_error)? else {
        return Ok(None);
    };
    match device.kind {
        LinkKind::Vrf(table) => Ok(Some(VrfDevice { device, table })),
        _ => {
            let kind = device.kind.name();
            let problem = format!("\"vrfname\" names {name:?}, which is a {kind} and no VRF");
            Err(Error::new(Code::CONFIG, problem))
        }
    }
}

/// The VRF, which is made if there is none, and whether it was.
fn ensure_vrf(netlink: &mut Netlink, config: VrfConfig<'_>) -> Result<(VrfDevice, bool), Error> {
    let name = config.name;
    if let Some(vrf) = find_vrf(netlink, name)? {
        return match config.table.filter(|table| *table != vrf.table) {
            None => Ok((vrf, false)),
            Some(table) => {
                let problem = format!("VRF {name:?} has the table {}, not {table}", vrf.table);
                Err(Error::new(Code::CONFIG, problem))
            }
        };
    }
    let table = match config.table {
        Some(table) => table,
        None => free_table(netlink)?,
    };
    let link = NewLink { up: true, ..NewLink::new(name, NewLinkKind::Vrf { table }) };
    let about = |error| kernel_error(error).about(format!("VRF {name:?}"));
    netlink.apply(&[Change::create_link(&link)]).map_err(about)?;
    let made = find_vrf(netlink, name)?;
    let gone = || Error::new(Code::IO, format!("VRF {name:?} has vanished while it was set up"));
    Ok((made.ok_or_else(gone)?, true))
}

/// The lowest number that no other VRF has, and that holds no routes.
fn free_table(netlink: &mut Netlink) -> Result<u32, Error> {
    let links = netlink.link_states().map_err(kernel_error)?;
    let mut taken: Vec<u32> = links
        .iter()
        .filter_map(|link| if let LinkKind::Vrf(table) = link.kind { Some(table) } else { None })
        .collect();
    for family in Family::ALL {
        let routes = netlink.routes(family, 0..=128, |key| !key.is_main).map_err(kernel_error)?;
        taken.extend(routes.iter().map(|route| route.table));
    }
    let is_free = |table: &u32| !taken.contains(table) && !KERNEL_TABLES.contains(table);
    (1..=u32::MAX).find(is_free).ok_or_else(|| Error::new(Code::IO, "no routing table is free"))
}

/// The interface as it was before it became a member: the kernel takes it down for a moment, and
/// with that addresses and routes away.
#[derive(Debug)]
struct Member {
    link: LinkState,
    addresses: Vec<ListedAddress>,
    routes: Vec<Route>,
}

impl Member {
    fn read(netlink: &mut Netlink, link: LinkState) -> Result<Self, Error> {
        let listed = netlink.listed_addresses(link.index).map_err(kernel_error)?;
        let addresses = listed.into_iter().filter(|it| it.is_global && it.address.is_ipv6());
        let mut routes = Vec::new();
        for family in Family::ALL {
            // The kernel moves what IPv4 addresses bring with them by itself.
            let is_kept = |route: &Route| {
                route.is_through(&[link.index])
                    && (family == Family::V6 || route.key.origin != Origin::Connected)
            };
            let listed =
                netlink.routes(family, 0..=128, |key| key.is_main).map_err(kernel_error)?;
            routes.extend(listed.into_iter().filter(is_kept));
        }
        sort_for_adding(&mut routes);
        Ok(Self { addresses: addresses.collect(), routes, link })
    }

    fn join(
        &self,
        context: &Context<'_>,
        netlink: &mut Netlink,
        vrf: &VrfDevice,
    ) -> Result<(), Error> {
        let name = &self.link.name;
        if let Some(master) = self.link.master {
            let problem = format!(
                "interface {name:?} has another master already, the interface of index {master}"
            );
            return Err(Error::new(Code::CONFIG, problem));
        }
        let about = |error| kernel_error(error).about(format!("interface {name:?}"));
        let settings = LinkSettings { master: Some(vrf.device.index), ..LinkSettings::default() };
        let change = Change::set_link(LinkId::Index(self.link.index), &settings);
        netlink.apply(&[change]).map_err(about)?;
        self.restore_addresses(netlink)?;
        self.wait_for_addresses(context, netlink, vrf.table)?;
        let routes = self.routes.iter().map(|route| Change::copy_route(route, vrf.table));
        netlink.apply(&routes.collect::<Vec<_>>()).map_err(about)
    }

    fn restore_addresses(&self, netlink: &mut Netlink) -> Result<(), Error> {
        let changes: Vec<_> = self.addresses.iter().map(Change::restore_address).collect();
        netlink.apply(&changes).map_err(kernel_error)
    }

    /// A route cannot have a source that is still being checked.
    fn wait_for_addresses(
        &self,
        context: &Context<'_>,
        netlink: &mut Netlink,
        table: u32,
    ) -> Result<(), Error> {
        let wanted: Vec<_> = self.addresses.iter().map(|it| it.address.ip()).collect();
        let deadline = context.deadline.within(SETTLED);
        let mut pause = Duration::from_millis(1);
        while !wanted.is_empty() && self.link.up {
            let hosts = netlink.routes(Family::V6, 128..=128, |key| key.origin == Origin::Address);
            let hosts = hosts.map_err(kernel_error)?;
            let is_there = |ip| {
                let is_its =
                    |route: &&Route| route.table == table && route.key.destination.ip() == ip;
                hosts.iter().any(|route| is_its(&route))
            };
            if wanted.iter().all(|ip| is_there(*ip)) {
                break;
            }
            if deadline.remaining().is_zero() {
                let name = &self.link.name;
                let problem =
                    format!("the IPv6 addresses of interface {name:?} are not ready in its VRF");
                return Err(Error::new(Code::TRY_AGAIN, problem));
            }
            sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Takes the interface out again after an ADD that failed.
    fn leave_again(&self, netlink: &mut Netlink) {
        if self.link.master.is_some() {
            return;
        }
        let change = Change::set_link(LinkId::Index(self.link.index), &without_master());
        let restored = self.routes.iter().map(Change::restore_listed_route);
        let outcome = netlink
            .apply(&[change])
            .map_err(kernel_error)
            .and_then(|()| self.restore_addresses(netlink))
            .and_then(|()| netlink.apply(&restored.collect::<Vec<_>>()).map_err(kernel_error));
        if let Err(error) = outcome {
            let name = &self.link.name;
            log::warn!("interface {name:?} stays changed by a failed ADD: {error}");
        }
    }
}

fn without_master() -> LinkSettings<'static> {
    LinkSettings { master: Some(0), ..LinkSettings::default() }
}
