//! A change of links, addresses or routes as data: several are sent together, see `Netlink::apply`.

use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{BridgeVlanInfoFlags, LinkAttribute, LinkMessage};
use netlink_packet_route::route::RouteProtocol;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::{
    AddressMessageBuilder, LinkBridgePort, LinkBridgeVlan, LinkMessageBuilder, LinkUnspec,
};

use super::address::ListedAddress;
use super::connection::Request;
use super::error::{Object, Operation};
use super::new_link::NewLink;
use super::new_route::NewRoute;
use super::route::{self, Route};
use super::state::LinkId;
use crate::netns::Netns;

/// A change that is still to be asked for. What it names must live until then: a namespace's
/// descriptor, say.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    message: Message,
    flags: u16,
    operation: Operation,
    object: Object,
    /// The refusal which says that there is nothing left to do.
    done: Option<Errno>,
    lifetime: PhantomData<&'a ()>,
}

/// What is set on a link that exists; the rest stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkSettings<'a> {
    /// Sets it up or down.
    pub up: Option<bool>,
    /// Makes it a port of the link of this index; 0 of none.
    pub master: Option<u32>,
    /// Hardware address.
    pub mac: Option<&'a [u8]>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// `ifalias`; empty for none.
    pub alias: Option<&'a str>,
    /// Whether it takes frames to any address.
    pub promiscuous: Option<bool>,
    /// Whether it takes all multicast frames.
    pub all_multicast: Option<bool>,
    /// Length of its transmit queue in packets.
    pub tx_queue_len: Option<u32>,
    /// The group that it is in, for requests about all links of a group; 0 is the default.
    pub group: Option<u32>,
}

/// What is set on a port of a bridge; the rest stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortSettings {
    /// Whether a frame may leave through the port that it came in by.
    pub hairpin: Option<bool>,
    /// Whether it exchanges no frames with other isolated ports.
    pub isolated: Option<bool>,
}

/// A VLAN on a port of a bridge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PortVlan {
    /// Frames with its tag, in and out.
    Tagged(u16),
    /// Frames without a tag: the port's own VLAN (PVID), untagged on the way out.
    Native(u16),
}

impl<'a> Change<'a> {
    /// Creates a link; one of its name is an error.
    pub fn create_link(link: &NewLink<'a>) -> Self {
        Self {
            flags: NLM_F_CREATE | NLM_F_EXCL,
            ..Self::new(Message::NewLink(link.message()), Operation::Create, link.object())
        }
    }

    /// Creates a link, if none has its name.
    pub fn ensure_link(link: &NewLink<'a>) -> Self {
        Self { done: Some(Errno::EEXIST), ..Self::create_link(link) }
    }

    /// Deletes a link; done also if it is gone.
    pub fn delete_link(link: LinkId<'a>) -> Self {
        let message = named(link, LinkUnspec::new_with_index).build();
        let change = Self::new(Message::DelLink(message), Operation::Delete, link.object());
        Self { done: Some(Errno::ENODEV), ..change }
    }

    /// Deletes all links of a group at once, which takes hardly longer than to delete one. The
    /// kernel deletes none if one of them cannot be deleted: a physical device, say.
    pub fn delete_group(group: u32) -> Self {
        let message = LinkUnspec::new_with_index(0)
            .append_extra_attribute(LinkAttribute::Group(group))
            .build();
        Self::new(Message::DelLink(message), Operation::Delete, Object::Links)
    }

    /// Sets what `settings` name.
    pub fn set_link(link: LinkId<'a>, settings: &LinkSettings<'a>) -> Self {
        let message = settings.message(named(link, LinkUnspec::new_with_index));
        Self::new(Message::NewLink(message), Operation::Configure, link.object())
    }

    /// Renames the link of this index, which kernels before 6.3 refuse of one that is up.
    pub fn rename_link(index: u32, name: &'a str) -> Self {
        let message = LinkUnspec::new_with_index(index).name(name).build();
        Self::new(Message::NewLink(message), Operation::Rename, Object::LinkIndex(index))
    }

    /// Moves the link of this index into another namespace, where it has the name `name` and the
    /// alias `alias`, empty for none. It is down there, and has lost its addresses and routes. One
    /// whose new name is taken there stays, or has moved under its old name.
    pub fn move_link(index: u32, netns: &'a Netns, name: &'a str, alias: &'a str) -> Self {
        let builder = LinkUnspec::new_with_index(index).name(name).alias(alias);
        let message = builder.setns_by_fd(netns.as_fd().as_raw_fd()).build();
        Self::new(Message::NewLink(message), Operation::Move, Object::LinkIndex(index))
    }

    /// Sets what `settings` name on a link that is a port of a bridge.
    pub fn set_port(link: LinkId<'a>, settings: PortSettings) -> Self {
        let mut builder = named(link, LinkBridgePort::new);
        if let Some(hairpin) = settings.hairpin {
            builder = builder.hairpin(hairpin);
        }
        if let Some(isolated) = settings.isolated {
            builder = builder.isolated(isolated);
        }
        Self::new(Message::NewLink(builder.build()), Operation::Configure, link.object())
    }

    /// Adds a VLAN to the port of this index.
    pub fn add_vlan(port: u32, vlan: PortVlan) -> Self {
        let (id, flags) = match vlan {
            PortVlan::Tagged(id) => (id, BridgeVlanInfoFlags::empty()),
            PortVlan::Native(id) => (id, BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged),
        };
        let message = LinkBridgeVlan::new(port).vlan(id, flags).build();
        Self::new(Message::SetLink(message), Operation::Add, Object::Vlan { port, vlan: id })
    }

    /// Deletes a VLAN from the port of this index; done also if it does not have it.
    pub fn delete_vlan(port: u32, vlan: u16) -> Self {
        let message = LinkBridgeVlan::new(port).vlan(vlan, BridgeVlanInfoFlags::empty()).build();
        let change =
            Self::new(Message::DelLink(message), Operation::Delete, Object::Vlan { port, vlan });
        Self { done: Some(Errno::ENOENT), ..change }
    }

    /// Adds an address to the link of this index. Of IPv4 it has the subnet's broadcast address if
    /// it has one, a prefix shorter than 31 bits.
    pub fn add_address(index: u32, address: IpNetwork) -> Self {
        Self {
            flags: NLM_F_CREATE | NLM_F_EXCL,
            ..Self::new(
                Message::NewAddress(address_message(index, address)),
                Operation::Add,
                Object::Address { address, link: index },
            )
        }
    }

    /// Deletes an address of the link of this index; done also if it does not have it.
    pub fn delete_address(index: u32, address: IpNetwork) -> Self {
        let message = Message::DelAddress(address_message(index, address));
        let change =
            Self::new(message, Operation::Delete, Object::Address { address, link: index });
        Self { done: Some(Errno::EADDRNOTAVAIL), ..change }
    }

    /// Puts an address back as it was listed, lifetimes and all; done also if it is there.
    pub fn restore_address(listed: &ListedAddress) -> Self {
        let index = listed.message().header.index;
        let message = Message::NewAddress(listed.message().clone());
        let object = Object::Address { address: listed.address, link: index };
        Self::with_flags(message, NLM_F_CREATE | NLM_F_EXCL, Operation::Restore, object)
            .unless_present()
    }

    /// Adds a route. An identical one is an error; IPv4 uses the newer of two that differ by their
    /// gateway alone.
    pub fn add_route(route: &NewRoute) -> Self {
        let change = Self::new(Message::NewRoute(route.message()), Operation::Add, route.object());
        Self { flags: NLM_F_CREATE, ..change }
    }

    /// Adds a route in place of the one to the same destination, of the same metric and table.
    pub fn replace_route(route: &NewRoute) -> Self {
        let change = Self::add_route(route);
        Self { flags: NLM_F_CREATE | NLM_F_REPLACE, ..change }
    }

    /// Deletes a route, of any protocol; done also if it is gone.
    pub fn delete_route(route: &NewRoute) -> Self {
        let mut message = route.message();
        message.header.protocol = RouteProtocol::Unspec;
        let change = Self::new(Message::DelRoute(message), Operation::Delete, route.object());
        Self { done: Some(Errno::ESRCH), ..change }
    }

    /// Adds a listed route to another table, in place of one that is like it there.
    pub fn copy_route(listed: &Route, table: u32) -> Self {
        let message = Message::NewRoute(route::in_table(listed.message(), table));
        Self::with_flags(message, NLM_F_CREATE | NLM_F_REPLACE, Operation::Add, listed.object())
    }

    /// Deletes a listed route, all next hops of it; done also if it is gone.
    pub fn delete_listed_route(listed: &Route) -> Self {
        let message = Message::DelRoute(route::request(listed.message()));
        Self { done: Some(Errno::ESRCH), ..Self::new(message, Operation::Delete, listed.object()) }
    }

    /// Puts a deleted route back as it was listed; done also if it is there.
    pub fn restore_listed_route(listed: &Route) -> Self {
        let message = Message::NewRoute(route::request(listed.message()));
        // Appending, since exclusive creation refuses what differs by its next hop alone.
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        Self::with_flags(message, flags, Operation::Restore, listed.object()).unless_present()
    }

    /// The change, done also if the kernel says that what it adds is there.
    #[must_use]
    pub fn unless_present(self) -> Self {
        Self { done: Some(Errno::EEXIST), ..self }
    }

    /// The change, done also if the kernel says that what it deletes is not there.
    #[must_use]
    pub(super) fn unless_absent(self) -> Self {
        Self { done: Some(Errno::ENOENT), ..self }
    }

    pub(super) fn with_flags(
        message: Message,
        flags: u16,
        operation: Operation,
        object: Object,
    ) -> Self {
        Self { flags, ..Self::new(message, operation, object) }
    }

    fn new(message: Message, operation: Operation, object: Object) -> Self {
        Self { message, flags: 0, operation, object, done: None, lifetime: PhantomData }
    }

    pub(super) fn request(&self) -> Request {
        (self.message.clone(), self.flags)
    }

    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    pub(super) fn about(&self) -> (Operation, Object) {
        (self.operation, self.object.clone())
    }

    /// Whether the kernel's refusal means that there is nothing left to do.
    pub(super) fn is_done(&self, errno: &io::Error) -> bool {
        self.done.is_some_and(|done| errno.raw_os_error() == Some(done as i32))
    }
}

impl LinkSettings<'_> {
    fn message(&self, mut builder: LinkMessageBuilder<LinkUnspec>) -> LinkMessage {
        builder = match self.up {
            Some(true) => builder.up(),
            Some(false) => builder.down(),
            None => builder,
        };
        if let Some(on) = self.promiscuous {
            builder = builder.promiscuous(on);
        }
        if let Some(on) = self.all_multicast {
            builder = builder.allmulticast(on);
        }
        if let Some(master) = self.master {
            builder = builder.controller(master);
        }
        if let Some(mac) = self.mac {
            builder = builder.address(mac.to_vec());
        }
        if let Some(mtu) = self.mtu {
            builder = builder.mtu(mtu);
        }
        if let Some(alias) = self.alias {
            builder = builder.alias(alias);
        }
        if let Some(length) = self.tx_queue_len {
            builder = builder.txqueuelen(length);
        }
        if let Some(group) = self.group {
            builder = builder.append_extra_attribute(LinkAttribute::Group(group));
        }
        builder.build()
    }
}

/// A request about a link by its index, or by its name alone.
fn named<T>(link: LinkId<'_>, by_index: fn(u32) -> LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
    match link {
        LinkId::Index(index) => by_index(index),
        LinkId::Name(name) => by_index(0).name(name),
    }
}

fn address_message(index: u32, address: IpNetwork) -> AddressMessage {
    match address.ip() {
        IpAddr::V4(ip) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(index)
            .address(ip, address.prefix())
            .build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(index)
            .address(ip, address.prefix())
            .build(),
    }
}

#[cfg(test)]
mod tests;
