//! Reading and changing routes.

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::RouteMessage;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

use super::error::{NetlinkError, Object, Operation, RouteLink};
use super::link::{self, Link};
use super::route::{self, DefaultRoute, NextHop, Route, RouteKey};
use super::{Netlink, fault, unless};
use crate::family::Family;

/// A route that was not there before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddedRoute(RouteMessage);

impl Netlink {
    /// The default routes of a family that were configured: unicast, in the main table, of any
    /// metric. A multipath route appears once per next hop.
    ///
    /// Those that a router advertised are left out: they expire, the next advertisement brings
    /// them back, and no request restores them as they were.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses; that it has no such family is none.
    pub fn default_routes(&mut self, family: Family) -> Result<Vec<DefaultRoute>, NetlinkError> {
        self.main_table(family, |message| route::read_default(message, family))
    }

    /// The default routes of the main table that lead nowhere: blackhole, unreachable, prohibit and
    /// throw. The kernel orders them by their metric, as it does the others.
    ///
    /// # Errors
    /// As [`Netlink::default_routes`].
    pub fn rejecting_default_routes(
        &mut self,
        family: Family,
    ) -> Result<Vec<DefaultRoute>, NetlinkError> {
        self.main_table(family, |message| route::read_rejecting(message, family))
    }

    /// The routes of a family that `keep` takes, of every table, whatever they are there for:
    /// unicast ones, the host's own addresses, and those that lead nowhere. Those whose destination
    /// has no prefix of one of these lengths cost next to nothing.
    ///
    /// # Errors
    /// As [`Netlink::default_routes`].
    pub fn routes(
        &mut self,
        family: Family,
        prefixes: RangeInclusive<u8>,
        keep: impl Fn(&RouteKey) -> bool,
    ) -> Result<Vec<Route>, NetlinkError> {
        let is_wanted = |bytes: &[u8]| route::has_prefix(bytes, &prefixes);
        let read = |reply| route::read(reply, family).filter(|route| keep(&route.key));
        let routes = self.sockets().dumps.dump(&route::all(family), is_wanted, read);
        routes.map_err(|errno| fault(Operation::List, Object::Routes(family), errno))
    }

    /// Index of the link that packets from this namespace to an address leave through; `None` if
    /// no route leads there.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses.
    pub fn link_towards(&mut self, ip: IpAddr) -> Result<Option<u32>, NetlinkError> {
        let family = Family::of(ip);
        match self.sockets().connection.get(route::towards(ip)) {
            Ok(replies) => Ok(replies.into_iter().find_map(route::read_link)),
            Err(error) if error.raw_os_error() == Some(Errno::ENETUNREACH as i32) => Ok(None),
            Err(error) => Err(fault(Operation::Find, Object::Routes(family), error)),
        }
    }

    /// Deletes a route, all next hops of it; done also if it is gone already.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses.
    pub fn delete_route(&mut self, route: &DefaultRoute) -> Result<(), NetlinkError> {
        self.delete_listed(route.message())
    }

    /// Deletes a route of any destination, all next hops of it; done also if it is gone already.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses.
    pub fn delete_any_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        self.delete_listed(route.message())
    }

    fn delete_listed(&mut self, listed: &RouteMessage) -> Result<(), NetlinkError> {
        let request = Message::DelRoute(route::request(listed));
        let outcome = unless(Errno::ESRCH, self.sockets().connection.act(request, 0));
        outcome.map_err(|errno| self.route_fault(Operation::Delete, listed, errno))
    }

    /// Puts a deleted route back as it was; done also if it is there already.
    ///
    /// Several routes keep their order if they are put back in the order in which they were listed.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses: the link or the address that led to the gateway
    /// is gone, say.
    pub fn restore_route(&mut self, route: &DefaultRoute) -> Result<(), NetlinkError> {
        let request = Message::NewRoute(route::request(route.message()));
        // Appending, since exclusive creation refuses what differs by its next hop alone.
        let outcome = unless(
            Errno::EEXIST,
            self.sockets().connection.act(request, NLM_F_CREATE | NLM_F_APPEND),
        );
        outcome.map_err(|errno| self.route_fault(Operation::Restore, route.message(), errno))
    }

    /// Adds a default route through a link, by way of a gateway or without one. Without `metric`
    /// the kernel's default applies: 0 for IPv4, 1024 for IPv6.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses; that the family has a default route of this
    /// metric is one.
    pub fn add_default_route(
        &mut self,
        family: Family,
        link_index: u32,
        gateway: Option<IpAddr>,
        metric: Option<u32>,
    ) -> Result<(), NetlinkError> {
        let message =
            route::new_default(family, NextHop { link_index: Some(link_index), gateway }, metric);
        let outcome = self.create(&message);
        outcome.map_err(|errno| self.route_fault(Operation::Add, &message, errno))
    }

    /// Adds a default route by way of a gateway that is taken to be on the link (`onlink`), whether
    /// or not a route of the main table leads there. Without `metric` as
    /// [`Netlink::add_default_route`].
    ///
    /// # Errors
    /// As [`Netlink::add_default_route`].
    pub fn add_onlink_default_route(
        &mut self,
        family: Family,
        link_index: u32,
        gateway: IpAddr,
        metric: Option<u32>,
    ) -> Result<(), NetlinkError> {
        let hop = NextHop { link_index: Some(link_index), gateway: Some(gateway) };
        let message = route::onlink(route::new_default(family, hop, metric));
        let outcome = self.create(&message);
        outcome.map_err(|errno| self.route_fault(Operation::Add, &message, errno))
    }

    /// Adds a route to `destination` that leaves through a link as the default route `like` does:
    /// by the same next hops, on the link or not, with the same MTU and source; done also if
    /// there is one already: then none is returned.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses.
    pub fn add_route(
        &mut self,
        destination: IpNetwork,
        link_index: u32,
        like: &DefaultRoute,
    ) -> Result<Option<AddedRoute>, NetlinkError> {
        let message = route::alike(like.message(), destination, link_index);
        let added = self.create(&message).map(|()| Some(AddedRoute(message.clone())));
        let outcome = unless(Errno::EEXIST, added);
        outcome.map_err(|errno| self.route_fault(Operation::Add, &message, errno))
    }

    /// Deletes a route that [`Netlink::add_route`] has added; done also if it is gone already.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses.
    pub fn delete_added_route(
        &mut self,
        AddedRoute(message): &AddedRoute,
    ) -> Result<(), NetlinkError> {
        let outcome = unless(
            Errno::ESRCH,
            self.sockets().connection.act(Message::DelRoute(message.clone()), 0),
        );
        outcome.map_err(|errno| self.route_fault(Operation::Delete, message, errno))
    }

    /// Index of the link of the first default route of the main table that has one: IPv4 before
    /// IPv6, the lowest metric first, those of routers too.
    ///
    /// # Errors
    /// As [`Netlink::default_routes`].
    pub fn default_link(&mut self) -> Result<Option<u32>, NetlinkError> {
        for family in Family::ALL {
            let links = self.main_table(family, |reply| route::read_default_link(reply, family))?;
            if let Some(first) = links.first() {
                return Ok(Some(*first));
            }
        }
        Ok(None)
    }

    /// What `read` makes of the default routes of the main table, which a kernel that does not know
    /// strict dumps mixes with those of others.
    fn main_table<T, I: IntoIterator<Item = T>>(
        &mut self,
        family: Family,
        read: impl Fn(Message) -> I,
    ) -> Result<Vec<T>, NetlinkError> {
        let is_default = |bytes: &[u8]| route::has_prefix(bytes, &(0..=0));
        // A namespace in which there has been no route yet has no such table.
        let listed = unless(
            Errno::ENOENT,
            self.sockets().dumps.dump(&route::main_table(family), is_default, read),
        );
        listed.map_err(|errno| fault(Operation::List, Object::Routes(family), errno))
    }

    fn create(&mut self, message: &RouteMessage) -> io::Result<()> {
        self.sockets().connection.act(Message::NewRoute(message.clone()), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// An error about a route, with the name of its link if the kernel still knows it.
    pub(super) fn route_fault(
        &mut self,
        operation: Operation,
        message: &RouteMessage,
        errno: io::Error,
    ) -> NetlinkError {
        let hop = route::next_hops(message).into_iter().next().unwrap_or_default();
        let link = hop.link_index.map(|index| self.route_link(index));
        let (family, destination) = (route::family_of(message), route::destination(message));
        fault(operation, Object::Route { family, destination, gateway: hop.gateway, link }, errno)
    }

    fn route_link(&mut self, index: u32) -> RouteLink {
        let replies = self.sockets().connection.get(link::by_index(index)).unwrap_or_default();
        match replies.into_iter().find_map(link::read) {
            Some(Link { name, up: true, .. }) => RouteLink::Up(name),
            Some(Link { name, .. }) => RouteLink::Down(name),
            None => RouteLink::Gone(index),
        }
    }
}
