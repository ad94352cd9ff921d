//! What is known of the plugin `bridge`.

use crate::facts::{DeviceFact, Facts, GatewayFact, HostState, Key, Property, Shape, VlanDefault};
use crate::link::config::MTU;
use crate::rules::Keeper;

const TRUNK: &[Key] = &[
    Key::open("id", Shape::Integer(0, 4094)),
    Key::open("minID", Shape::Integer(0, 4094)),
    Key::open("maxID", Shape::Integer(0, 4094)),
];

/// What is known of it.
pub(super) const FACTS: Facts = Facts {
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
    deletes: Some("veth"),
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
