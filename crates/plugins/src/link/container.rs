//! Configuring the interface in the container: addresses, routes, and the settings that go before
//! them.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::keys;
use cni::result::{Address, AttachmentResult, Route};
use ipnetwork::IpNetwork;
use linux::family::Family;
use linux::netlink::{Change, LinkId, LinkSettings, LinkState, NewRoute, OperState, Scope};
use linux::sysctl::{Sysctl, SysctlError};
use serde_json::Value;

use super::site::{Site, kernel_error, sysctl_error};

/// How long duplicate detection may take.
const DETECTION: Duration = Duration::from_secs(5);

/// The longest wait between two looks at it.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The lowest scope of what is on the link (`RT_SCOPE_LINK`).
const ON_LINK: u32 = 253;

/// How the interface announces and checks its addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AnnouncementSettings {
    /// IPv4 neighbours are told when it goes up.
    pub(crate) arp_notify: bool,
    /// IPv6 neighbours are told when it goes up.
    pub(crate) ndisc_notify: bool,
    /// Whether IPv6 addresses are checked for duplicates; the kernel's choice without a word.
    pub(crate) detects_duplicates: Option<bool>,
    /// Whether it has no carrier when it is made, so that no address is checked.
    pub(crate) never_settles: bool,
}

/// An address that the container's interface gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    /// The address with the length of its subnet's prefix.
    pub(crate) address: IpNetwork,
    /// The gateway of the subnet.
    pub(crate) gateway: Option<IpAddr>,
}

impl Granted {
    /// Reads an entry of `ips`.
    pub(crate) fn read(address: &Address) -> Result<Self, Error> {
        Ok(Self {
            address: parse("ips[].address", &address.address)?,
            gateway: address
                .gateway
                .as_deref()
                .map(|gateway| parse("ips[].gateway", gateway))
                .transpose()?,
        })
    }
}

/// Sets what `announcement` say, gives the interface its addresses, sets it up, and adds the routes
/// of `result`, with those `own_routes` around them.
pub(crate) fn configure(
    site: &mut Site<'_>,
    link: &LinkState,
    result: &AttachmentResult,
    announcement: AnnouncementSettings,
    own_routes: &PluginRoutes,
    deadline: Deadline,
) -> Result<(), Error> {
    let granted: Vec<Granted> = result.ips.iter().map(Granted::read).collect::<Result<_, _>>()?;
    let routes = routes(link.index, result, &granted)?;
    let has_ipv6 = granted.iter().any(|granted| granted.address.is_ipv6());
    let interface = site.interface;
    let name = interface.to_owned();
    let prepared = site.container.run_inside(move || prepare(&name, announcement, has_ipv6));
    prepared.map_err(kernel_error)?.map_err(sysctl_error)?;
    let up = LinkSettings { up: Some(true), ..LinkSettings::default() };
    let mut changes: Vec<Change<'_>> =
        granted.iter().map(|granted| Change::add_address(link.index, granted.address)).collect();
    changes.push(Change::set_link(LinkId::Index(link.index), &up));
    let about = |error| kernel_error(error).about(format!("interface {interface:?}"));
    let is_checked =
        granted.iter().any(|granted| granted.address.is_ipv6() && granted.gateway.is_some());
    if is_checked && announcement.detects_duplicates != Some(false) && !announcement.never_settles {
        // A route cannot have a source that is still being checked.
        site.container.apply(&changes).map_err(about)?;
        changes.clear();
        wait_for_detection(site, link, deadline)?;
    }
    changes.extend(own_routes.before_routes.iter().chain(&routes).map(Change::add_route));
    changes.extend(own_routes.deleted_routes.iter().map(Change::delete_route));
    changes.extend(own_routes.after_routes.iter().map(Change::add_route));
    site.container.apply(&changes).map_err(about)
}

/// Routes of the plugin's own around those of the result.
#[derive(Clone, Debug, Default)]
pub(crate) struct PluginRoutes {
    /// Added before the result's.
    pub(crate) before_routes: Vec<NewRoute>,
    /// Deleted after the result's are there.
    pub(crate) deleted_routes: Vec<NewRoute>,
    /// Added last.
    pub(crate) after_routes: Vec<NewRoute>,
}

/// Sets the interface up, which has no addresses.
pub(crate) fn set_up(site: &mut Site<'_>, link: &LinkState) -> Result<(), Error> {
    let up = LinkSettings { up: Some(true), ..LinkSettings::default() };
    site.container.apply(&[Change::set_link(LinkId::Index(link.index), &up)]).map_err(kernel_error)
}

/// Runs in the container's namespace.
fn prepare(
    interface: &str,
    announcement: AnnouncementSettings,
    has_ipv6: bool,
) -> Result<(), SysctlError> {
    let set = |family, key: &str, value: &str| {
        // A kernel without the setting announces and checks as it does.
        let _ = Sysctl::of_interface(family, interface, key).write(value);
    };
    if announcement.arp_notify {
        set(Family::V4, "arp_notify", "1");
    }
    if announcement.ndisc_notify {
        set(Family::V6, "ndisc_notify", "1");
    }
    match announcement.detects_duplicates {
        Some(true) => {
            set(Family::V6, "enhanced_dad", "1");
            set(Family::V6, "accept_dad", "1");
        }
        Some(false) => set(Family::V6, "accept_dad", "0"),
        None => {}
    }
    if !has_ipv6 {
        return Ok(());
    }
    for name in ["lo", interface] {
        let disabled = Sysctl::of_interface(Family::V6, name, "disable_ipv6");
        // A kernel without IPv6 says so when it gets the address.
        if disabled.exists() {
            disabled.ensure("0")?;
        }
    }
    let keep = Sysctl::of_interface(Family::V6, interface, "keep_addr_on_down");
    if keep.exists() { keep.write("1") } else { Ok(()) }
}

/// The result's routes. One without a next hop goes by the first gateway of its family, if there is
/// one.
fn routes(
    link: u32,
    result: &AttachmentResult,
    granted: &[Granted],
) -> Result<Vec<NewRoute>, Error> {
    let fallback = |family| {
        granted
            .iter()
            .filter_map(|granted| granted.gateway)
            .find(|gateway| Family::of(*gateway) == family)
    };
    let read = |route: &Route| read_route(link, route, fallback);
    result.routes.iter().map(read).collect()
}

fn read_route(
    link: u32,
    route: &Route,
    fallback: impl Fn(Family) -> Option<IpAddr>,
) -> Result<NewRoute, Error> {
    let destination: IpNetwork = parse("routes[].dst", &route.dst)?;
    let gateway = route.gw.as_deref().map(|gw| parse("routes[].gw", gw)).transpose()?;
    let number = |key| route_number(route, key);
    let scope = number("scope")?.filter(|scope| *scope != 0);
    let number_of =
        scope.map(|scope| u8::try_from(scope).map_err(|_| wrong_number("scope", scope)));
    // What is on the link itself has no router before it.
    let is_on_link = scope.is_some_and(|scope| scope >= ON_LINK);
    Ok(NewRoute {
        gateway: gateway.or_else(|| fallback(Family::of(destination.ip())).filter(|_| !is_on_link)),
        metric: number("priority")?.filter(|priority| *priority != 0),
        table: number("table")?.filter(|table| *table != 0),
        scope: number_of.transpose()?.map_or(Scope::Universe, Scope::Number),
        mtu: number("mtu")?.filter(|mtu| *mtu != 0),
        advmss: number("advmss")?.filter(|advmss| *advmss != 0),
        ..NewRoute::new(destination, link)
    })
}

fn route_number(route: &Route, key: &str) -> Result<Option<u32>, Error> {
    let Some(value) = keys::get(&route.other, key) else { return Ok(None) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.map(Some).ok_or_else(|| wrong_number(key, value.clone()))
}

fn wrong_number(key: &str, value: impl Into<Value>) -> Error {
    let value = value.into();
    Error::new(
        Code::DECODE,
        format!("the IPAM plugin's routes[].{key} is {value}, which is no such number"),
    )
}

/// An address in a result, as it was written.
pub(crate) fn parse<T: std::str::FromStr>(key: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| {
        Error::new(Code::DECODE, format!("the result's {key} {text:?} is no such address"))
    })
}

/// Waits until the kernel has checked the interface's IPv6 addresses for duplicates.
fn wait_for_detection(
    site: &mut Site<'_>,
    link: &LinkState,
    deadline: Deadline,
) -> Result<(), Error> {
    let deadline = deadline.within(DETECTION);
    let mut pause = Duration::from_millis(1);
    loop {
        let addresses = site.container.link_addresses(link.index).map_err(kernel_error)?;
        if let Some(taken) = addresses.iter().find(|address| address.duplicate) {
            let problem = format!(
                "address {} of interface {:?} is in use on the network already",
                taken.address.ip(),
                link.name
            );
            return Err(Error::new(Code::IO, problem));
        }
        if !addresses.iter().any(|address| address.tentative) {
            return Ok(());
        }
        if deadline.remaining().is_zero() {
            return if is_up(site, link)? { Err(still_tentative(link)) } else { Ok(()) };
        }
        sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Without carrier no address is checked.
fn is_up(site: &mut Site<'_>, link: &LinkState) -> Result<bool, Error> {
    let state = site.container.find(LinkId::Index(link.index)).map_err(kernel_error)?;
    Ok(state.is_some_and(|state| state.oper_state == OperState::Up))
}

fn still_tentative(link: &LinkState) -> Error {
    let problem = format!(
        "the IPv6 addresses of interface {:?} are still being checked for duplicates after 5 s",
        link.name
    );
    Error::new(Code::TRY_AGAIN, problem)
}
