//! A route that is to be made or deleted, and its message.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
    RouteType,
};

use super::error::{Object, RouteLink};
use super::route::{address_family, gateway_attribute};
use crate::family::Family;

/// A route that is to be made or deleted: unicast, of protocol "boot".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewRoute {
    /// Where it leads; 0.0.0.0/0 or ::/0 for a default route. Host bits do not count.
    pub destination: IpNetwork,
    /// Index of the link that it leaves through.
    pub link: u32,
    /// Address of the next router; an IPv4 route may have one of IPv6.
    pub gateway: Option<IpAddr>,
    /// The address that packets get which have none yet.
    pub source: Option<IpAddr>,
    /// Metric; the kernel's default without one: 0 for IPv4, 1024 for IPv6.
    pub metric: Option<u32>,
    /// Table; the main one without one.
    pub table: Option<u32>,
    /// Scope, which IPv6 does not have.
    pub scope: Scope,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Largest TCP segment that is announced, in bytes.
    pub advmss: Option<u32>,
    /// Whether the gateway is taken to be on the link without a route to it.
    pub onlink: bool,
}

/// How far a route leads (rtnetlink(7), `rtm_scope`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scope {
    /// Anywhere.
    #[default]
    Universe,
    /// Onto the link.
    Link,
    /// To this host.
    Host,
    /// Nowhere: on deletion, any.
    Any,
    /// One by its number.
    Number(u8),
}

impl NewRoute {
    /// A route to `destination` through a link, and nothing else said.
    pub fn new(destination: IpNetwork, link: u32) -> Self {
        Self {
            destination,
            link,
            gateway: None,
            source: None,
            metric: None,
            table: None,
            scope: Scope::Universe,
            mtu: None,
            advmss: None,
            onlink: false,
        }
    }

    fn family(&self) -> Family {
        match self.destination {
            IpNetwork::V4(_) => Family::V4,
            IpNetwork::V6(_) => Family::V6,
        }
    }

    pub(super) fn object(&self) -> Object {
        Object::Route {
            family: self.family(),
            destination: Some(self.destination).filter(|destination| destination.prefix() > 0),
            gateway: self.gateway,
            link: Some(RouteLink::Gone(self.link)),
        }
    }

    pub(super) fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: address_family(self.family()),
            destination_prefix_length: self.destination.prefix(),
            table: self
                .table
                .map_or(RouteHeader::RT_TABLE_MAIN, |table| u8::try_from(table).unwrap_or(0)),
            protocol: RouteProtocol::Boot,
            scope: self.scope.into(),
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        if self.onlink {
            message.header.flags |= RouteFlags::Onlink;
        }
        let metrics: Vec<RouteMetric> =
            [self.mtu.map(RouteMetric::Mtu), self.advmss.map(RouteMetric::Advmss)]
                .into_iter()
                .flatten()
                .collect();
        let attributes = [
            Some(self.destination.network()).map(|ip| RouteAttribute::Destination(ip.into())),
            self.gateway.map(|gateway| gateway_attribute(self.family(), gateway)),
            self.source.map(|source| RouteAttribute::PrefSource(source.into())),
            self.metric.map(RouteAttribute::Priority),
            self.table.filter(|table| *table > u8::MAX.into()).map(RouteAttribute::Table),
            Some(metrics).filter(|metrics| !metrics.is_empty()).map(RouteAttribute::Metrics),
            Some(RouteAttribute::Oif(self.link)),
        ];
        message.attributes.extend(attributes.into_iter().flatten());
        message
    }
}

impl From<Scope> for RouteScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Universe => Self::Universe,
            Scope::Link => Self::Link,
            Scope::Host => Self::Host,
            Scope::Any => Self::NoWhere,
            Scope::Number(number) => Self::from(number),
        }
    }
}
