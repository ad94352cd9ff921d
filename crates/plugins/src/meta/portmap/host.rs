//! What ports need of the host beside rules.

use std::net::IpAddr;

use cni::error::{Code, Error};
use linux::conntrack;
use linux::family::Family;
use linux::netlink::{LinkId, Netlink};
use linux::sysctl::Sysctl;

use super::Target;
use super::mapping::Protocol;

/// Forgets connections of UDP to the ports: they would go on to where they went before. A failure
/// costs no more than that.
pub(super) fn forget_connections(target: &Target<'_>) {
    let family = target.family();
    let mappings = target.config.of_family(family);
    let ports: Vec<u16> = mappings
        .filter(|mapping| mapping.protocol == Protocol::Udp)
        .map(|mapping| mapping.host_port)
        .collect();
    if ports.is_empty() {
        return;
    }
    if let Err(error) = conntrack::forget_udp(family, &ports) {
        log::warn!("connections of UDP to mapped ports may go on as before: {error}");
    }
}

/// Lets packets from 127.0.0.1 leave through the link that leads to the container.
pub(super) fn route_loopback(ip: IpAddr) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(Code::IO, format!("the link that leads to {ip} cannot be told: {error}"))
    };
    let mut netlink = Netlink::open().map_err(|error| failed(&error))?;
    let index = netlink.link_towards(ip).map_err(|error| failed(&error))?;
    let link = match index {
        Some(index) => netlink.find(LinkId::Index(index)).map_err(|error| failed(&error))?,
        None => None,
    };
    let Some(link) = link else {
        log::warn!("no route leads to {ip}: 127.0.0.1 does not reach its ports");
        return Ok(());
    };
    let setting = Sysctl::of_interface(Family::V4, &link.name, "route_localnet");
    setting.ensure("1").map_err(|error| Error::new(Code::IO, error))
}
