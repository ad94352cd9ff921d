//! The host's side of a gateway: the bridge, or an interface in the port's VLAN, has the gateways'
//! addresses.

use std::net::IpAddr;

use cni::error::{Code, Error};
use cni::result::{AttachmentResult, Route};
use ipnetwork::IpNetwork;
use linux::family::Family;
use linux::netlink::{
    Change, LinkId, LinkSettings, LinkState, Netlink, NewLink, NewLinkEnd, NewLinkKind, PortVlan,
};
use linux::sysctl::Sysctl;

use super::super::config::read_mac;
use super::super::container::Granted;
use super::super::site::{kernel_error, random_name, sysctl_error};
use super::config::BridgeConfig;

/// Names the gateways in the result: an address without one has the first of its subnet, and a
/// family whose default route IPAM leaves to the gateway gets one.
pub(super) fn complete(config: &BridgeConfig, result: &mut AttachmentResult) -> Result<(), Error> {
    for at in 0..result.ips.len() {
        let Some(entry) = result.ips.get_mut(at) else { continue };
        let granted = Granted::read(entry)?;
        let gateway = granted.gateway.or_else(|| first_of(granted.address));
        entry.gateway = gateway.map(|gateway| gateway.to_string());
        let family = Family::of(granted.address.ip());
        let default = default_destination(family);
        let has_default = result.routes.iter().any(|route| is_default(route, family));
        if config.is_default_gateway && !has_default {
            let gw = gateway.map(|gateway| gateway.to_string());
            result.routes.push(Route { dst: default.to_owned(), gw, ..Route::default() });
        }
    }
    Ok(())
}

fn is_default(route: &Route, family: Family) -> bool {
    let default = route.default_family();
    matches!(
        (default, family),
        (Some(cni::family::Family::V4), Family::V4) | (Some(cni::family::Family::V6), Family::V6)
    )
}

const fn default_destination(family: Family) -> &'static str {
    match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "::/0",
    }
}

/// The first address behind that of the subnet.
fn first_of(address: IpNetwork) -> Option<IpAddr> {
    match address.network() {
        IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

/// Gives `link`, the bridge or the interface in its VLAN, the gateways' addresses, and forwards
/// their families. `mac` is the hardware address that the link keeps from then on.
pub(super) fn serve(
    host: &mut Netlink,
    link: &LinkState,
    mac: Option<&str>,
    result: &AttachmentResult,
    force: bool,
) -> Result<(), Error> {
    let granted: Vec<Granted> = result.ips.iter().map(Granted::read).collect::<Result<_, _>>()?;
    let gateways: Vec<IpNetwork> = granted.iter().filter_map(gateway_of).collect();
    let there = host.link_addresses(link.index).map_err(kernel_error)?;
    let there: Vec<IpNetwork> = there.iter().map(|there| there.address).collect();
    let mut changes = change_addresses(link, &there, &gateways, force)?;
    let mac = mac.filter(|_| !changes.is_empty()).map(|mac| read_mac("mac", mac)).transpose()?;
    if let Some(mac) = &mac {
        // A bridge takes the lowest address of its ports otherwise, and changes it as containers
        // come and go.
        let settings = LinkSettings { mac: Some(mac), ..LinkSettings::default() };
        changes.push(Change::set_link(LinkId::Index(link.index), &settings));
    }
    if !changes.is_empty() {
        let about =
            |error| kernel_error(error).about(format!("gateway on interface {:?}", link.name));
        host.apply(&changes).map_err(about)?;
    }
    for family in Family::ALL {
        if gateways.iter().any(|gateway| Family::of(gateway.ip()) == family) {
            Sysctl::forwarding(family).ensure("1").map_err(sysctl_error)?;
        }
    }
    Ok(())
}

/// Adds the gateways that are not `there`, in place of what stands against them if `force` says so.
fn change_addresses<'c>(
    link: &LinkState,
    there: &[IpNetwork],
    gateways: &[IpNetwork],
    force: bool,
) -> Result<Vec<Change<'c>>, Error> {
    let mut changes = Vec::new();
    for gateway in gateways.iter().filter(|gateway| !there.contains(gateway)) {
        let against =
            there.iter().filter(|other| !gateways.contains(other) && conflicts(**other, *gateway));
        for other in against {
            if !force {
                return Err(conflict(link, *other, *gateway));
            }
            changes.push(Change::delete_address(link.index, *other));
        }
        changes.push(Change::add_address(link.index, *gateway).unless_present());
    }
    Ok(changes)
}

fn gateway_of(granted: &Granted) -> Option<IpNetwork> {
    IpNetwork::new(granted.gateway?, granted.address.prefix()).ok()
}

/// Of IPv4, any other address stands against a gateway's; of IPv6, one of the same subnet.
fn conflicts(other: IpNetwork, gateway: IpNetwork) -> bool {
    match (other, gateway) {
        (IpNetwork::V4(_), IpNetwork::V4(_)) => true,
        (IpNetwork::V6(other), IpNetwork::V6(gateway)) => {
            other.contains(gateway.network()) || gateway.contains(other.network())
        }
        _ => false,
    }
}

fn conflict(link: &LinkState, other: IpNetwork, gateway: IpNetwork) -> Error {
    let problem = format!(
        "interface {:?} has the address {other} already, which stands against the gateway's \
         {gateway}: set \"forceAddress\" to replace it, or name another bridge",
        link.name
    );
    Error::new(Code::CONFIG, problem)
}

/// The interface of the host in VLAN `id` of the bridge: one end of a veth pair whose other end is
/// a port.
pub(super) fn vlan_interface(
    host: &mut Netlink,
    bridge: &LinkState,
    id: u16,
    config: &BridgeConfig,
    default_vlan: u16,
) -> Result<LinkState, Error> {
    let name = format!("{}.{id}", bridge.name);
    if let Some(link) = host.find(LinkId::Name(&name)).map_err(kernel_error)? {
        return if link.up { Ok(link) } else { set_up(host, &name) };
    }
    let port = random_name();
    let outcome = make_vlan_port(host, bridge, &name, &port)
        .and_then(|port| set_vlan(host, &port, id, config, default_vlan))
        .and_then(|()| set_up(host, &name));
    if outcome.is_err() {
        let undone = host.apply(&[Change::delete_link(LinkId::Name(&port))]);
        undone.unwrap_or_else(|error| log::warn!("an interface of a failed ADD stays: {error}"));
    }
    outcome
}

fn make_vlan_port(
    host: &mut Netlink,
    bridge: &LinkState,
    name: &str,
    port: &str,
) -> Result<LinkState, Error> {
    let mtu = Some(bridge.mtu);
    let peer = NewLinkEnd { name, mtu, mac: None, netns: None };
    let link = NewLink {
        mtu,
        tx_queue_len: Some(0),
        master: Some(bridge.index),
        up: true,
        ..NewLink::new(port, NewLinkKind::Veth { peer })
    };
    let found = host.apply_then_find(&[Change::create_link(&link)], &[LinkId::Name(port)]);
    found
        .map_err(kernel_error)?
        .pop()
        .flatten()
        .ok_or_else(|| Error::new(Code::IO, format!("interface {port:?} has vanished")))
}

fn set_vlan(
    host: &mut Netlink,
    port: &LinkState,
    id: u16,
    config: &BridgeConfig,
    default_vlan: u16,
) -> Result<(), Error> {
    let drops = !config.preserve_default_vlan && default_vlan != 0 && default_vlan != id;
    let dropped = drops.then(|| Change::delete_vlan(port.index, default_vlan));
    let changes: Vec<_> =
        dropped.into_iter().chain([Change::add_vlan(port.index, PortVlan::Native(id))]).collect();
    host.apply(&changes).map_err(kernel_error)
}

fn set_up(host: &mut Netlink, name: &str) -> Result<LinkState, Error> {
    let up = LinkSettings { up: Some(true), ..LinkSettings::default() };
    let found =
        host.apply_then_find(&[Change::set_link(LinkId::Name(name), &up)], &[LinkId::Name(name)]);
    found
        .map_err(kernel_error)?
        .pop()
        .flatten()
        .ok_or_else(|| Error::new(Code::IO, format!("interface {name:?} has vanished")))
}
