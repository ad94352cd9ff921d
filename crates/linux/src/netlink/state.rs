//! One link as the kernel shows it, with what its kind says of it.

use std::io;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, InfoVrf, IpVlanMode,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode, State,
};

use super::error::Object;
use super::link::{self, mac};
use super::new_link::{IpVlan, MacVlan};

/// Which link is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkId<'a> {
    /// The one of this index.
    Index(u32),
    /// The one of this name.
    Name(&'a str),
}

/// A link as the kernel shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkState {
    /// Number of the link in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Hardware address, lower-case with colons; `None` for a link that has none.
    pub mac: Option<String>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Whether it is set up (`IFF_UP`).
    pub up: bool,
    /// What it is in: "up", "down", "lower-layer-down", …
    pub oper_state: OperState,
    /// Whether it was set to take frames to any address. What listens to it, tcpdump say, does not
    /// count.
    pub promiscuous: bool,
    /// Whether it was set to take all multicast frames (`IFF_ALLMULTI`).
    pub all_multicast: bool,
    /// Length of its transmit queue in packets.
    pub tx_queue_len: u32,
    /// `ifalias`, if it has one.
    pub alias: Option<String>,
    /// Index of the link whose port it is.
    pub master: Option<u32>,
    /// Index of the link below; of a veth, that of its other end. One of another namespace if that
    /// is elsewhere.
    pub parent: Option<u32>,
    /// What it is.
    pub kind: LinkKind,
}

/// The operational state (RFC 2863).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OperState {
    /// Packets pass.
    Up,
    /// The driver does not tell, as lo's.
    Unknown,
    /// Packets do not pass; how `ip link` says it.
    Other(&'static str),
}

/// What a link is, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkKind {
    /// A bridge.
    Bridge {
        /// Whether its ports have VLANs.
        vlan_filtering: bool,
        /// The VLAN that new ports get; 0 for none.
        default_vlan: u16,
    },
    /// One end of a veth pair.
    Veth,
    /// A macvlan link; no mode for those that have no name here.
    MacVlan(Option<MacVlan>),
    /// An ipvlan link; no mode for those that have no name here.
    IpVlan(Option<IpVlan>),
    /// A VLAN link and its tag.
    Vlan(u16),
    /// A link that leads nowhere.
    Dummy,
    /// A link whose members are routed by the table of this number.
    Vrf(u32),
    /// A link of another kind, which the kernel names so.
    Other(String),
    /// Hardware, or lo.
    Device,
}

impl LinkId<'_> {
    pub(super) fn object(&self) -> Object {
        match self {
            Self::Index(index) => Object::LinkIndex(*index),
            Self::Name(name) => Object::Link((*name).to_owned()),
        }
    }

    /// A request for the link; `None` if no link can have the name.
    pub(super) fn request(&self) -> Option<Message> {
        match self {
            Self::Index(index) => Some(link::by_index(*index)),
            Self::Name(name) => link::by_name(name),
        }
    }

    /// Whether the kernel's refusal means that there is no such link.
    pub(super) fn is_absence(&self, errno: &io::Error) -> bool {
        let name = if let Self::Name(name) = self { name } else { "" };
        link::is_absence(errno, name)
    }
}

impl LinkKind {
    /// The kind as the kernel names it.
    pub fn name(&self) -> &str {
        match self {
            Self::Bridge { .. } => "bridge",
            Self::Veth => "veth",
            Self::MacVlan(_) => "macvlan",
            Self::IpVlan(_) => "ipvlan",
            Self::Vlan(_) => "vlan",
            Self::Dummy => "dummy",
            Self::Vrf(_) => "vrf",
            Self::Other(name) => name,
            Self::Device => "device",
        }
    }
}

/// The link in a reply.
pub(super) fn read(reply: Message) -> Option<LinkState> {
    let Message::NewLink(message) = reply else { return None };
    let LinkMessage { header, attributes, .. } = message;
    let mut state = LinkState {
        index: header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up),
        oper_state: OperState::Unknown,
        promiscuous: header.flags.contains(LinkFlags::Promisc),
        all_multicast: header.flags.contains(LinkFlags::Allmulti),
        tx_queue_len: 0,
        alias: None,
        master: None,
        parent: None,
        kind: LinkKind::Device,
    };
    for attribute in attributes {
        state.read(attribute);
    }
    Some(state)
}

impl LinkState {
    fn read(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::Address(bytes) if !bytes.is_empty() => self.mac = Some(mac(&bytes)),
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::TxQueueLen(length) => self.tx_queue_len = length,
            LinkAttribute::IfAlias(alias) => self.alias = Some(alias).filter(|it| !it.is_empty()),
            LinkAttribute::OperState(state) => self.oper_state = oper_state(state),
            LinkAttribute::Controller(index) => {
                self.master = Some(index).filter(|index| *index != 0)
            }
            LinkAttribute::Link(index) => self.parent = Some(index).filter(|index| *index != 0),
            LinkAttribute::LinkInfo(info) => self.kind = kind(&info),
            _ => {}
        }
    }
}

fn oper_state(state: State) -> OperState {
    match state {
        State::Up => OperState::Up,
        State::Unknown => OperState::Unknown,
        State::NotPresent => OperState::Other("not present"),
        State::LowerLayerDown => OperState::Other("down because of the link below"),
        State::Testing => OperState::Other("in a test"),
        State::Dormant => OperState::Other("dormant"),
        _ => OperState::Other("down"),
    }
}

fn kind(info: &[LinkInfo]) -> LinkKind {
    let data = info
        .iter()
        .find_map(|info| if let LinkInfo::Data(data) = info { Some(data) } else { None });
    let kind = info
        .iter()
        .find_map(|info| if let LinkInfo::Kind(kind) = info { Some(kind) } else { None });
    match (kind, data) {
        (None, _) => LinkKind::Device,
        (Some(InfoKind::Bridge), data) => bridge(data),
        (Some(InfoKind::Veth), _) => LinkKind::Veth,
        (Some(InfoKind::Dummy), _) => LinkKind::Dummy,
        (Some(InfoKind::MacVlan), data) => LinkKind::MacVlan(data.and_then(macvlan_mode)),
        (Some(InfoKind::IpVlan), data) => LinkKind::IpVlan(data.and_then(ipvlan_mode)),
        (Some(InfoKind::Vlan), data) => LinkKind::Vlan(data.and_then(vlan_id).unwrap_or_default()),
        (Some(InfoKind::Vrf), data) => LinkKind::Vrf(data.and_then(vrf_table).unwrap_or_default()),
        (Some(other), _) => LinkKind::Other(other.to_string()),
    }
}

fn bridge(data: Option<&InfoData>) -> LinkKind {
    let options = match data {
        Some(InfoData::Bridge(options)) => options.as_slice(),
        _ => &[],
    };
    let filtering = |option: &InfoBridge| matches!(option, InfoBridge::VlanFiltering(true));
    let vlan = |option: &InfoBridge| match option {
        InfoBridge::VlanDefaultPvid(id) => Some(*id),
        _ => None,
    };
    LinkKind::Bridge {
        vlan_filtering: options.iter().any(filtering),
        default_vlan: options.iter().find_map(vlan).unwrap_or_default(),
    }
}

fn macvlan_mode(data: &InfoData) -> Option<MacVlan> {
    let InfoData::MacVlan(options) = data else { return None };
    options.iter().find_map(|option| match option {
        InfoMacVlan::Mode(MacVlanMode::Bridge) => Some(MacVlan::Bridge),
        InfoMacVlan::Mode(MacVlanMode::Private) => Some(MacVlan::Private),
        InfoMacVlan::Mode(MacVlanMode::Vepa) => Some(MacVlan::Vepa),
        InfoMacVlan::Mode(MacVlanMode::Passthrough) => Some(MacVlan::Passthru),
        _ => None,
    })
}

fn ipvlan_mode(data: &InfoData) -> Option<IpVlan> {
    let InfoData::IpVlan(options) = data else { return None };
    options.iter().find_map(|option| match option {
        InfoIpVlan::Mode(IpVlanMode::L2) => Some(IpVlan::L2),
        InfoIpVlan::Mode(IpVlanMode::L3) => Some(IpVlan::L3),
        InfoIpVlan::Mode(IpVlanMode::L3S) => Some(IpVlan::L3s),
        _ => None,
    })
}

fn vrf_table(data: &InfoData) -> Option<u32> {
    let InfoData::Vrf(options) = data else { return None };
    options.iter().find_map(|option| match option {
        InfoVrf::TableId(table) => Some(*table),
        _ => None,
    })
}

fn vlan_id(data: &InfoData) -> Option<u16> {
    let InfoData::Vlan(options) = data else { return None };
    options.iter().find_map(|option| if let InfoVlan::Id(id) = option { Some(*id) } else { None })
}
