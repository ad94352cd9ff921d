//! sbr: packets with an address of the interface leave by the interface, whatever the container's
//! other routes say. Each address gets a routing table of its own, to which a rule leads.

mod config;
mod tables;

use std::net::IpAddr;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::result::AttachmentResult;
use ipnetwork::IpNetwork;
use linux::family::Family;
use linux::netlink::{Change, LinkId, Netlink, Rule};

use self::config::SbrConfig;
use self::tables::Tables;
use super::chain::{self, lock};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Shape};
use crate::link::check::drift;
use crate::link::container::{Granted, parse};
use crate::link::site::{Site, enter_if_there, kernel_error};

/// The plugin `sbr`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sbr;

/// What is known of it.
const FACTS: Facts = Facts {
    keys: &[
        Key::host("table", Shape::Integer(0, u32::MAX as i64)),
        Key::host("gateways", Shape::List(&Shape::Address)),
        Key::host("addSourceHints", Shape::Boolean),
    ],
    device: DeviceFact::None,
    host_state: HostState::None,
    ..Facts::chain("sbr")
};

impl BuiltIn for Sbr {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Sbr {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = SbrConfig::read(call)?;
        let result = chain::previous(call)?;
        let mut site = Site::open(call)?;
        let addresses = addresses_of(&result, site.interface)?;
        if addresses.is_empty() {
            let name = site.interface;
            let problem = format!("the plugin before has given interface {name:?} no address");
            return Err(Error::new(Code::CONFIG, problem));
        }
        let link = site.present()?;
        let _lock = lock(&site.netns, context)?;
        match config.table {
            Some(table) => add_rules(&mut site.container, &addresses, table)?,
            None => Tables::plan(&mut site.container, link.index, &addresses, &config)?
                .carry_out(&mut site.container)?,
        }
        Ok(result)
    }

    /// Deletes the rules of the addresses that the interface has, or had by the result of ADD. The
    /// tables empty themselves as the interface goes.
    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let Some((netns, mut netlink)) = enter_if_there(call)? else { return Ok(()) };
        let table = SbrConfig::read(call).ok().and_then(|config| config.table);
        let name = call.attachment()?.interface.as_str();
        let _lock = lock(&netns, context)?;
        let reported = call.prev_result().ok().flatten();
        let reported = reported.map(|result| addresses_of(&result, name).unwrap_or_default());
        let mut sources: Vec<IpAddr> =
            reported.unwrap_or_default().iter().map(|granted| granted.address.ip()).collect();
        if let Some(link) = netlink.find(LinkId::Name(name)).map_err(kernel_error)? {
            let there = netlink.link_addresses(link.index).map_err(kernel_error)?;
            sources.extend(there.iter().map(|there| there.address.ip()));
        }
        delete_rules(&mut netlink, |rule| {
            let is_ours = |source: IpNetwork| {
                source == IpNetwork::from(source.ip()) && sources.contains(&source.ip())
            };
            rule.source.is_some_and(is_ours) && table.is_none_or(|table| rule.table == Some(table))
        })
    }

    fn check(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let config = SbrConfig::read(call)?;
        let result = chain::previous(call)?;
        let mut site = Site::open(call)?;
        let rules = all_rules(&mut site.container)?;
        for Granted { address, .. } in addresses_of(&result, site.interface)? {
            let leads = |rule: &Rule| {
                rule.source == Some(IpNetwork::from(address.ip()))
                    && config.table.map_or(rule.table.is_some(), |table| rule.table == Some(table))
            };
            if !rules.iter().any(leads) {
                let ip = address.ip();
                return Err(drift(format!(
                    "the rule for packets from {ip} is gone from the container"
                )));
            }
        }
        Ok(())
    }

    fn status(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        SbrConfig::read(call).map(drop)
    }
}

/// The addresses of the interface: those that name it, and those that name none.
fn addresses_of(result: &AttachmentResult, interface: &str) -> Result<Vec<Granted>, Error> {
    let is_ours = |at: Option<usize>| {
        let entry = at.and_then(|at| result.interfaces.get(at));
        entry.is_none_or(|entry| entry.name == interface)
    };
    let ours = result.ips.iter().filter(|address| is_ours(address.interface));
    ours.map(Granted::read).collect()
}

/// The rules alone, to a table that another has filled. Leaves none if one is refused.
fn add_rules(netlink: &mut Netlink, addresses: &[Granted], table: u32) -> Result<(), Error> {
    let hosts: Vec<IpNetwork> =
        addresses.iter().map(|granted| IpNetwork::from(granted.address.ip())).collect();
    let before = all_rules(netlink)?;
    let is_missing = |host: &IpNetwork| {
        !before.iter().any(|rule| rule.source == Some(*host) && rule.table == Some(table))
    };
    let changes: Vec<_> = hosts
        .iter()
        .filter(|host| is_missing(host))
        .map(|host| Change::add_rule(*host, table).unless_present())
        .collect();
    netlink.apply(&changes).map_err(|error| {
        let undone = delete_rules(netlink, |rule| !before.contains(rule));
        undone.unwrap_or_else(|error| log::warn!("a rule of a failed ADD stays: {error}"));
        kernel_error(error)
    })
}

fn all_rules(netlink: &mut Netlink) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    for family in Family::ALL {
        rules.extend(netlink.rules(family).map_err(kernel_error)?);
    }
    Ok(rules)
}

fn delete_rules(netlink: &mut Netlink, is_meant: impl Fn(&Rule) -> bool) -> Result<(), Error> {
    let rules = all_rules(netlink)?;
    let changes: Vec<_> =
        rules.iter().filter(|rule| is_meant(rule)).map(Change::delete_rule).collect();
    netlink.apply(&changes).map_err(kernel_error)
}

/// The subnet of an address.
fn subnet_of(address: IpNetwork) -> Result<IpNetwork, Error> {
    parse("ips[].address", &format!("{}/{}", address.network(), address.prefix()))
}
