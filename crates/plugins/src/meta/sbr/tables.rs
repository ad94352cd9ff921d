//! The tables of the addresses: which numbers they have, and what they hold.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cni::error::{Code, Error};
use ipnetwork::IpNetwork;
use linux::family::Family;
use linux::netlink::{Change, Netlink, NewRoute, Route, Rule, Scope};

use super::super::chain::sort_for_adding;
use super::config::SbrConfig;
use super::{all_rules, subnet_of};
use crate::link::container::Granted;
use crate::link::site::kernel_error;

/// The lowest number that is chosen.
const FIRST: u32 = 100;

/// What is to be changed, and what undoes it.
#[derive(Debug)]
pub(super) struct Tables {
    link: u32,
    /// An address, and the number of its table.
    numbers: Vec<(Granted, u32)>,
    /// Default routes in the tables.
    defaults: Vec<NewRoute>,
    /// The interface's routes in the main table.
    main: Vec<Route>,
    /// The families whose gateway the configuration says.
    configured: Vec<Family>,
    /// Routes to the subnets that the main table keeps.
    kept: Vec<NewRoute>,
    rules: Vec<Rule>,
}

impl Tables {
    /// Chooses a table for each address of the link, and reads what moves there.
    pub(super) fn plan(
        netlink: &mut Netlink,
        link: u32,
        addresses: &[Granted],
        config: &SbrConfig,
    ) -> Result<Self, Error> {
        let rules = all_rules(netlink)?;
        let mut main = Vec::new();
        let mut taken: BTreeSet<u32> = rules.iter().filter_map(|rule| rule.table).collect();
        for family in Family::ALL {
            let routes = netlink.routes(family, 0..=128, |_| true).map_err(kernel_error)?;
            taken.extend(routes.iter().map(|route| route.table));
            main.extend(
                routes.into_iter().filter(|route| route.key.is_main && route.is_through(&[link])),
            );
        }
        sort_for_adding(&mut main);
        let free = (FIRST..=u32::MAX).filter(|number| !taken.contains(number));
        let numbers: Vec<(Granted, u32)> = addresses.iter().copied().zip(free).collect();
        let defaults =
            numbers.iter().map(|(granted, table)| default_route(link, granted, *table, config));
        let defaults = defaults.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let kept = addresses.iter().filter(|_| config.keeps_subnets);
        let kept = kept.map(|granted| subnet_route(link, granted)).collect::<Result<_, _>>()?;
        let is_configured = |family: &Family| config.gateway(*family).is_some();
        let configured = Family::ALL.into_iter().filter(is_configured).collect();
        Ok(Self { configured, link, numbers, defaults, main, kept, rules })
    }

    /// Fills the tables, and takes the interface's routes out of the main one. Leaves everything as
    /// it was if something is refused.
    pub(super) fn carry_out(&self, netlink: &mut Netlink) -> Result<(), Error> {
        let mut changes = Vec::new();
        for (granted, table) in &self.numbers {
            changes.push(Change::add_rule(IpNetwork::from(granted.address.ip()), *table));
            let own = self.defaults.iter().filter(|route| route.table == Some(*table));
            changes.extend(own.map(Change::add_route));
            let subnet = subnet_of(granted.address)?;
            let moved = self.main.iter().filter(|route| self.moves(route, subnet));
            changes.extend(moved.map(|route| Change::copy_route(route, *table)));
        }
        changes.extend(self.kept.iter().map(Change::replace_route));
        let deleted = self.main.iter().filter(|route| self.kept.is_empty() || !route.is_on_link());
        changes.extend(deleted.map(Change::delete_listed_route));
        netlink.apply(&changes).map_err(|error| {
            let undone = self.undo(netlink);
            undone
                .unwrap_or_else(|error| log::warn!("routes stay changed by a failed ADD: {error}"));
            kernel_error(error)
        })
    }

    /// Whether a route of the main table is one of this subnet's: by its source or its gateway, or
    /// if it has neither, of any. A default route stands back behind that of the configuration.
    fn moves(&self, route: &Route, subnet: IpNetwork) -> bool {
        let destination = route.key.destination;
        if destination.prefix() == 0 && self.configured.contains(&Family::of(destination.ip())) {
            return false;
        }
        let mut ways = route.source().into_iter().chain(route.gateways()).peekable();
        ways.peek().is_none() || ways.any(|ip| subnet.contains(ip))
    }

    fn undo(&self, netlink: &mut Netlink) -> Result<(), Error> {
        let rules = all_rules(netlink)?;
        let mut changes: Vec<_> = rules
            .iter()
            .filter(|rule| !self.rules.contains(rule))
            .map(Change::delete_rule)
            .collect();
        let is_ours = |route: &Route| {
            route.is_through(&[self.link])
                && self.numbers.iter().any(|(_, table)| route.table == *table)
        };
        let mut routes = Vec::new();
        for family in Family::ALL {
            let listed =
                netlink.routes(family, 0..=128, |key| !key.is_main).map_err(kernel_error)?;
            routes.extend(listed.into_iter().filter(is_ours));
        }
        changes.extend(routes.iter().map(Change::delete_listed_route));
        changes.extend(self.main.iter().map(Change::restore_listed_route));
        netlink.apply(&changes).map_err(kernel_error)
    }
}

/// The route of a table by the configured gateway of the family, or else by the address's own.
fn default_route(
    link: u32,
    granted: &Granted,
    table: u32,
    config: &SbrConfig,
) -> Result<Option<NewRoute>, Error> {
    let family = Family::of(granted.address.ip());
    let Some(gateway) = config.gateway(family).or(granted.gateway) else { return Ok(None) };
    let anywhere: IpAddr = match family {
        Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let destination =
        IpNetwork::new(anywhere, 0).map_err(|error| Error::new(Code::DECODE, error))?;
    let route =
        NewRoute { gateway: Some(gateway), table: Some(table), ..NewRoute::new(destination, link) };
    Ok(Some(route))
}

/// A route to the subnet that names the address as the source.
fn subnet_route(link: u32, granted: &Granted) -> Result<NewRoute, Error> {
    let subnet = subnet_of(granted.address)?;
    let source = Some(granted.address.ip());
    Ok(NewRoute { source, scope: Scope::Link, ..NewRoute::new(subnet, link) })
}
