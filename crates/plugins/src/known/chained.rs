//! The reference plugins that change what an earlier one of their chain has made.

use crate::rules::Keeper;

use super::shape::{Key, Shape};
use super::{DeviceFact, Facts, HostState, Property};

pub(super) const FACTS: &[Facts] = &[
    Facts {
        properties: &[Property::OpenToTenants, Property::ReadsKeysInArgs],
        keys: &[
            Key::open("sysctl", Shape::Sysctls),
            Key::open("mac", Shape::Text),
            Key::open("mtu", Shape::Mtu),
            Key::host("promisc", Shape::Boolean),
            Key::host("allmulti", Shape::Boolean),
            Key::host("txQLen", Shape::Integer(0, i32::MAX as i64)),
            Key::host("dataDir", Shape::Text),
        ],
        device: DeviceFact::None,
        host_state: HostState::File { key: "dataDir", directory: "/run/cni/tuning" },
        ..Facts::chain("tuning")
    },
    Facts {
        properties: &[Property::OpenToTenants, Property::HostStateOfBoot],
        keys: &[
            Key::open("ingressRate", Shape::Integer(0, i64::MAX)),
            Key::open("ingressBurst", Shape::Integer(0, MAX_BURST)),
            Key::open("egressRate", Shape::Integer(0, i64::MAX)),
            Key::open("egressBurst", Shape::Integer(0, MAX_BURST)),
        ],
        pairs: &[("ingressRate", "ingressBurst"), ("egressRate", "egressBurst")],
        device: DeviceFact::None,
        host_state: HostState::IntermediateDevice,
        ..Facts::chain("bandwidth")
    },
    Facts {
        properties: &[Property::HostStateOfBoot],
        keys: &[
            Key::host("snat", Shape::Boolean),
            Key::host("masqAll", Shape::Boolean),
            Key::host("markMasqBit", Shape::Integer(0, 31)),
            Key::host("backend", Shape::Word { words: RULE_BACKENDS, exclusive: &[] }),
            Key::host("externalSetMarkChain", Shape::Text),
            Key::host("conditionsV4", Shape::List(&Shape::Text)),
            Key::host("conditionsV6", Shape::List(&Shape::Text)),
        ],
        device: DeviceFact::None,
        host_state: HostState::Rules(&[(None, Keeper::PortMap)]),
        ..Facts::chain("portmap")
    },
    Facts {
        properties: &[Property::HostStateOfBoot],
        keys: &[
            Key::host("backend", Shape::Text),
            Key::host("iptablesAdminChainName", Shape::Text),
            Key::host("firewalldZone", Shape::Text),
            Key::host(
                "ingressPolicy",
                Shape::Word { words: &["", "open", "same-bridge", "isolated"], exclusive: &[] },
            ),
        ],
        device: DeviceFact::None,
        ..Facts::chain("firewall")
    },
    Facts {
        keys: &[
            Key::host("table", Shape::Integer(0, u32::MAX as i64)),
            Key::host("gateways", Shape::List(&Shape::Address)),
            Key::host("addSourceHints", Shape::Boolean),
        ],
        device: DeviceFact::None,
        host_state: HostState::None,
        ..Facts::chain("sbr")
    },
    Facts {
        keys: &[
            Key::host("vrfname", Shape::Text),
            Key::host("table", Shape::Integer(0, u32::MAX as i64)),
        ],
        device: DeviceFact::None,
        host_state: HostState::None,
        ..Facts::chain("vrf")
    },
];

/// The programs that keep rules, and the choice that is the plugin's.
const RULE_BACKENDS: &[&str] = &["", "iptables", "nftables"];

/// In bits: the plugin takes no burst of 4 GiB or more.
const MAX_BURST: i64 = (u32::MAX as i64 - 1) * 8;
