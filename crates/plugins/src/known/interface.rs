//! The reference plugins that make an interface.

use crate::rules::Keeper;

use super::shape::{Key, Shape};
use super::{DeviceFact, Facts, GatewayFact, HostState, Property, VlanDefault};

const MASTER: Key = Key::open("master", Shape::HostInterface);
const MTU: Key = Key::open("mtu", Shape::Mtu);
const LINK_IN_CONTAINER: Key = Key::host("linkInContainer", Shape::Boolean);

pub(super) const FACTS: &[Facts] = &[
    BRIDGE,
    MACVLAN,
    IPVLAN,
    VLAN,
    PTP,
    HOST_DEVICE,
    Facts { device: DeviceFact::None, host_state: HostState::None, ..Facts::chain("dummy") },
    Facts { device: DeviceFact::None, host_state: HostState::None, ..Facts::chain("loopback") },
    TAP,
];

const TRUNK: &[Key] = &[
    Key::open("id", Shape::Integer(0, 4094)),
    Key::open("minID", Shape::Integer(0, 4094)),
    Key::open("maxID", Shape::Integer(0, 4094)),
];

const BRIDGE: Facts = Facts {
    properties: &[Property::OpenToTenants],
    keys: &[
        Key::open("bridge", Shape::HostInterface),
        Key::open("isGateway", Shape::Boolean),
        Key::open("hairpinMode", Shape::Boolean),
        MTU,
        Key::open("vlan", Shape::Vlan),
        Key::open("vlanTrunk", Shape::VlanTrunk(TRUNK)),
        Key::open("preserveDefaultVlan", Shape::Boolean),
        Key::open("macspoofchk", Shape::Boolean),
        Key::open("enabledad", Shape::Boolean),
        Key::open("portIsolation", Shape::Boolean),
        Key::open("disableContainerInterface", Shape::Boolean),
        Key::host("isDefaultGateway", Shape::Boolean),
        Key::host("forceAddress", Shape::Boolean),
        Key::host("ipMasq", Shape::Boolean),
        Key::host("ipMasqBackend", Shape::Text),
        Key::host("promiscMode", Shape::Boolean),
    ],
    key_of_host_interface: Some("bridge"),
    makes: Some(("bridge", "cni0")),
    vlan_default: VlanDefault::NativeOfTrunk,
    device: DeviceFact::None,
    gateway: GatewayFact::OnBridge {
        switches: &["isGateway", "isDefaultGateway"],
        default: "cni0",
    },
    host_state: HostState::Rules(&[
        (Some("ipMasq"), Keeper::Masquerade),
        (Some("macspoofchk"), Keeper::SpoofCheck),
    ]),
    failures: &[(
        "already exists but is not a bridge",
        "choose another name for \"bridge\" in the definition",
    )],
    ..Facts::chain("bridge")
};

const MACVLAN: Facts = Facts {
    properties: &[Property::OpenToTenants],
    keys: &[
        MASTER,
        Key::open(
            "mode",
            Shape::Word {
                words: &["", "bridge", "private", "vepa", "passthru"],
                exclusive: &["passthru"],
            },
        ),
        MTU,
        LINK_IN_CONTAINER,
        Key::host("mac", Shape::Text),
        Key::host("bcqueuelen", Shape::Integer(0, u32::MAX as i64)),
    ],
    key_of_host_interface: Some("master"),
    master: Some("master"),
    mtu_within_master: true,
    device: DeviceFact::None,
    host_state: HostState::None,
    failures: &[(
        "failed to create macvlan: device or resource busy",
        "a bridge, a bond or an ipvlan has its \"master\": name another in the definition",
    )],
    ..Facts::chain("macvlan")
};

const IPVLAN: Facts = Facts {
    properties: &[Property::OpenToTenants],
    keys: &[
        MASTER,
        Key::open("mode", Shape::Word { words: &["", "l2", "l3", "l3s"], exclusive: &[] }),
        MTU,
        LINK_IN_CONTAINER,
    ],
    key_of_host_interface: Some("master"),
    master: Some("master"),
    device: DeviceFact::None,
    gateway: GatewayFact::RoutePerPodInModes(&["l3", "l3s"]),
    host_state: HostState::None,
    failures: &[(
        "failed to create ipvlan: device or resource busy",
        "a bridge, a bond or a macvlan has its \"master\": name another in the definition",
    )],
    ..Facts::chain("ipvlan")
};

const VLAN: Facts = Facts {
    properties: &[Property::OpenToTenants],
    keys: &[MASTER, Key::open("vlanId", Shape::Vlan), MTU, LINK_IN_CONTAINER],
    key_of_host_interface: Some("master"),
    master: Some("master"),
    mtu_within_master: true,
    vlan_default: VlanDefault::Zero("vlanId"),
    device: DeviceFact::None,
    host_state: HostState::None,
    ..Facts::chain("vlan")
};

const PTP: Facts = Facts {
    properties: &[Property::OpenToTenants],
    keys: &[MTU, Key::host("ipMasq", Shape::Boolean), Key::host("ipMasqBackend", Shape::Text)],
    device: DeviceFact::None,
    gateway: GatewayFact::RoutePerPod,
    host_state: HostState::Rules(&[(Some("ipMasq"), Keeper::Masquerade)]),
    ..Facts::chain("ptp")
};

const HOST_DEVICE: Facts = Facts {
    properties: &[Property::FailsWithoutDevice],
    keys: &[
        Key::host("device", Shape::HostInterface),
        Key::host("hwaddr", Shape::Text),
        Key::host("kernelpath", Shape::Text),
        Key::host("pciBusID", Shape::Text),
        Key::host("DPDKMode", Shape::Boolean),
    ],
    key_of_host_interface: Some("device"),
    device: DeviceFact::Needed(&["device", "hwaddr", "kernelpath", "pciBusID"]),
    host_state: HostState::MovedLink {
        name: "device",
        others: &["hwaddr", "kernelpath", "pciBusID"],
    },
    ..Facts::chain("host-device")
};

const TAP: Facts = Facts {
    keys: &[
        Key::host("mtu", Shape::Mtu),
        Key::host("mac", Shape::Text),
        Key::host("multiQueue", Shape::Boolean),
        Key::host("owner", Shape::Integer(0, u32::MAX as i64)),
        Key::host("group", Shape::Integer(0, u32::MAX as i64)),
        Key::host("selinuxContext", Shape::Text),
        Key::host("bridge", Shape::HostInterface),
    ],
    device: DeviceFact::None,
    host_state: HostState::None,
    ..Facts::chain("tap")
};
