//! A link that is to be made, and the message that makes it.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, InfoVlan, InfoVrf,
    IpVlanFlags, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
    VlanFlags,
};

use super::error::Object;
use crate::netns::Netns;

/// A link that is to be made. It is down, and in the socket's namespace, unless it says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct NewLink<'a> {
    /// Its name, of 15 bytes at most.
    pub name: &'a str,
    /// What it is.
    pub kind: NewLinkKind<'a>,
    /// Largest packet in bytes; the kernel's choice without one.
    pub mtu: Option<u32>,
    /// Hardware address; the kernel's choice without one.
    pub mac: Option<&'a [u8]>,
    /// Length of its transmit queue in packets; the kernel's choice without one.
    pub tx_queue_len: Option<u32>,
    /// The link whose port it becomes, by its index.
    pub master: Option<u32>,
    /// Whether it is set up.
    pub up: bool,
    /// The namespace in which it appears. A link on top of another keeps it, whose index is one of
    /// the socket's namespace. Kernels before 6.14 refuse a name that a link of the socket's
    /// namespace has.
    pub netns: Option<&'a Netns>,
}

/// What a new link is.
#[derive(Clone, Copy, Debug)]
pub enum NewLinkKind<'a> {
    /// A bridge.
    Bridge {
        /// Whether its ports have VLANs.
        vlan_filtering: bool,
    },
    /// A veth pair, of which this is one end.
    Veth {
        /// The other end.
        peer: NewLinkEnd<'a>,
    },
    /// A link with an Ethernet address of its own on top of `parent`.
    MacVlan {
        /// Index of the link below.
        parent: u32,
        /// How its links reach each other.
        mode: MacVlan,
        /// Length of its queue for broadcasts; the kernel's choice without one.
        broadcast_queue_len: Option<u32>,
    },
    /// A link with the Ethernet address of `parent`.
    IpVlan {
        /// Index of the link below.
        parent: u32,
        /// Which layer tells its links apart.
        mode: IpVlan,
    },
    /// A link for the frames of `parent` with a tag (802.1Q).
    Vlan {
        /// Index of the link below.
        parent: u32,
        /// The tag.
        id: u16,
    },
    /// A link that leads nowhere.
    Dummy,
    /// A link whose members are routed by a table of their own.
    Vrf {
        /// Number of the table.
        table: u32,
    },
    /// A link that queues what other links are to send or have received.
    Ifb,
}

/// The other end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct NewLinkEnd<'a> {
    /// Its name, of 15 bytes at most.
    pub name: &'a str,
    /// Largest packet in bytes; the kernel's choice without one.
    pub mtu: Option<u32>,
    /// Hardware address; the kernel's choice without one.
    pub mac: Option<&'a [u8]>,
    /// The namespace in which it appears.
    pub netns: Option<&'a Netns>,
}

/// How macvlan links of one parent reach each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MacVlan {
    /// Directly.
    Bridge,
    /// Not at all.
    Private,
    /// By way of a switch that sends frames back.
    Vepa,
    /// There is one alone, and it has the parent's address.
    Passthru,
}

/// Which layer tells ipvlan links of one parent apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IpVlan {
    /// The second: they answer ARP.
    L2,
    /// The third: the parent's namespace routes.
    L3,
    /// The third, with the netfilter hooks of the parent's namespace.
    L3s,
}

impl<'a> NewLink<'a> {
    /// A link of this name and kind, and nothing else said.
    pub fn new(name: &'a str, kind: NewLinkKind<'a>) -> Self {
        Self {
            name,
            kind,
            mtu: None,
            mac: None,
            tx_queue_len: None,
            master: None,
            up: false,
            netns: None,
        }
    }
}

impl NewLink<'_> {
    pub(super) fn object(&self) -> Object {
        Object::NewLink { name: self.name.to_owned(), kind: self.kind.name() }
    }

    pub(super) fn message(&self) -> LinkMessage {
        let end = NewLinkEnd { name: self.name, mtu: self.mtu, mac: self.mac, netns: self.netns };
        let mut message = end.message();
        if self.up {
            message.header.flags |= LinkFlags::Up;
            message.header.change_mask |= LinkFlags::Up;
        }
        let attributes = &mut message.attributes;
        attributes.extend(self.tx_queue_len.map(LinkAttribute::TxQueueLen));
        attributes.extend(self.master.map(LinkAttribute::Controller));
        attributes.extend(self.kind.parent().map(LinkAttribute::Link));
        let kind = LinkInfo::Kind(self.kind.info());
        let info = std::iter::once(kind).chain(self.kind.data().map(LinkInfo::Data));
        attributes.push(LinkAttribute::LinkInfo(info.collect()));
        message
    }
}

/// A link of a kind that no kernel makes, since its hardware address has one byte: it refuses the
/// address if it knows the kind, and the kind otherwise.
pub(super) fn impossible(kind: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName("braid-probe".to_owned()),
        LinkAttribute::Address(vec![0]),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Other(kind.to_owned()))]),
    ];
    message
}

impl NewLinkEnd<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(self.name.to_owned()));
        message.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        message.attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        let netns = self.netns.map(|netns| netns.as_fd().as_raw_fd());
        message.attributes.extend(netns.map(LinkAttribute::NetNsFd));
        message
    }
}

impl NewLinkKind<'_> {
    /// The kind as the kernel names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge { .. } => "bridge",
            Self::Veth { .. } => "veth",
            Self::MacVlan { .. } => "macvlan",
            Self::IpVlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
            Self::Dummy => "dummy",
            Self::Vrf { .. } => "vrf",
            Self::Ifb => "ifb",
        }
    }

    fn parent(&self) -> Option<u32> {
        match self {
            Self::MacVlan { parent, .. }
            | Self::IpVlan { parent, .. }
            | Self::Vlan { parent, .. } => Some(*parent),
            Self::Bridge { .. }
            | Self::Veth { .. }
            | Self::Dummy
            | Self::Vrf { .. }
            | Self::Ifb => None,
        }
    }

    fn info(&self) -> InfoKind {
        match self {
            Self::Bridge { .. } => InfoKind::Bridge,
            Self::Veth { .. } => InfoKind::Veth,
            Self::MacVlan { .. } => InfoKind::MacVlan,
            Self::IpVlan { .. } => InfoKind::IpVlan,
            Self::Vlan { .. } => InfoKind::Vlan,
            Self::Dummy => InfoKind::Dummy,
            Self::Vrf { .. } => InfoKind::Vrf,
            Self::Ifb => InfoKind::Ifb,
        }
    }

    fn data(&self) -> Option<InfoData> {
        Some(match self {
            Self::Bridge { vlan_filtering: false } | Self::Dummy | Self::Ifb => return None,
            Self::Vrf { table } => InfoData::Vrf(vec![InfoVrf::TableId(*table)]),
            Self::Bridge { vlan_filtering } => {
                InfoData::Bridge(vec![InfoBridge::VlanFiltering(*vlan_filtering)])
            }
            Self::Veth { peer } => InfoData::Veth(InfoVeth::Peer(peer.message())),
            Self::MacVlan { mode, broadcast_queue_len, .. } => {
                let queue = broadcast_queue_len.map(InfoMacVlan::BcQueueLen);
                let mode = InfoMacVlan::Mode(MacVlanMode::from(*mode));
                InfoData::MacVlan(std::iter::once(mode).chain(queue).collect())
            }
            Self::IpVlan { mode, .. } => InfoData::IpVlan(vec![
                InfoIpVlan::Mode(IpVlanMode::from(*mode)),
                InfoIpVlan::Flags(IpVlanFlags::empty()),
            ]),
            Self::Vlan { id, .. } => InfoData::Vlan(vec![
                InfoVlan::Id(*id),
                InfoVlan::Flags((VlanFlags::empty(), VlanFlags::empty())),
            ]),
        })
    }
}

impl From<MacVlan> for MacVlanMode {
    fn from(mode: MacVlan) -> Self {
        match mode {
            MacVlan::Bridge => Self::Bridge,
            MacVlan::Private => Self::Private,
            MacVlan::Vepa => Self::Vepa,
            MacVlan::Passthru => Self::Passthrough,
        }
    }
}

impl From<IpVlan> for IpVlanMode {
    fn from(mode: IpVlan) -> Self {
        match mode {
            IpVlan::L2 => Self::L2,
            IpVlan::L3 => Self::L3,
            IpVlan::L3s => Self::L3S,
        }
    }
}
