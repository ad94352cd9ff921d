//! What the configuration of `bridge` says, checked before anything is changed.

use std::collections::BTreeSet;

use cni::error::{Code, Error};
use cni::netconf::PluginType;
use cni::plugin::Call;
use linux::netlink::PortVlan;
use serde_json::Value;

use super::super::config::{Keys, invalid, requested_mac, wrong_type};
use super::super::masquerade::Masquerade;
use super::super::spoof_check;

/// The bridge's name without a word of the configuration.
const DEFAULT_NAME: &str = "cni0";

/// Most bytes of an interface's name.
const MAX_NAME: usize = 15;

/// The configuration of `bridge`.
#[derive(Clone, Debug)]
pub(super) struct BridgeConfig {
    /// The bridge's name.
    pub(super) name: String,
    /// Whether the bridge has the gateways' addresses.
    pub(super) is_gateway: bool,
    /// Whether the container's default routes lead there.
    pub(super) is_default_gateway: bool,
    /// Whether an address of the bridge that stands against a gateway's goes.
    pub(super) force_address: bool,
    /// Largest packet in bytes, of the pair and of a bridge that is made.
    pub(super) mtu: Option<u32>,
    /// Whether a frame may leave through the port that it came in by.
    pub(super) hairpin: bool,
    /// Whether the bridge takes frames to any address.
    pub(super) promiscuous: bool,
    /// The port's own VLAN.
    pub(super) vlan: Option<u16>,
    /// Whether the configuration names it, and so a VLAN for the gateway.
    pub(super) has_own_vlan: bool,
    /// Its tagged VLANs, without its own one.
    pub(super) trunk: BTreeSet<u16>,
    /// Whether a bridge that is made has VLANs on its ports.
    pub(super) vlan_filtering: bool,
    /// Whether the port keeps the VLAN that the bridge gives to new ones.
    pub(super) preserve_default_vlan: bool,
    /// Whether IPv6 addresses are checked for duplicates.
    pub(super) detects_duplicates: bool,
    /// Whether the container's interface stays down.
    pub(super) stays_down: bool,
    /// Whether the port exchanges no frames with other isolated ones.
    pub(super) isolated: bool,
    /// How packets to other networks are masqueraded, if they are.
    pub(super) masquerade: Option<Masquerade>,
    /// Whether frames from another hardware address than the container's are dropped.
    pub(super) checks_source: bool,
    /// The container's hardware address.
    pub(super) mac: Option<Vec<u8>>,
    /// Where addresses come from; nowhere on an L2 network.
    pub(super) ipam: Option<PluginType>,
    /// What the result says of DNS before IPAM's.
    pub(super) dns: Option<Value>,
}

impl BridgeConfig {
    /// Reads the configuration of a call.
    pub(super) fn read(call: &Call) -> Result<Self, Error> {
        let keys = Keys::of(call, &super::facts::FACTS);
        let is_default_gateway = keys.switch("isDefaultGateway")?;
        let vlan = keys.vlan("vlan")?.filter(|id| *id != 0);
        let mut trunk = read_trunk(keys)?;
        let has_trunk = !trunk.is_empty();
        // Frames without a tag belonged to VLAN 1 before trunks had a VLAN of their own.
        let (has_own_vlan, vlan) = (vlan.is_some(), vlan.or(has_trunk.then_some(1)));
        trunk.retain(|id| Some(*id) != vlan);
        let config = Self {
            name: read_name(keys)?,
            is_gateway: keys.switch("isGateway")? || is_default_gateway,
            is_default_gateway,
            force_address: keys.switch("forceAddress")?,
            mtu: keys.size("mtu")?,
            hairpin: keys.switch("hairpinMode")?,
            promiscuous: keys.switch("promiscMode")?,
            vlan,
            has_own_vlan,
            trunk,
            vlan_filtering: vlan.is_some() || keys.value("vlanTrunk").is_some(),
            preserve_default_vlan: keys.switch("preserveDefaultVlan")?,
            detects_duplicates: keys.switch("enabledad")?,
            stays_down: keys.switch("disableContainerInterface")?,
            isolated: keys.switch("portIsolation")?,
            masquerade: Masquerade::read(keys)?,
            checks_source: spoof_check::read(keys, call)?,
            mac: requested_mac(call, true, false)?,
            ipam: call.ipam()?,
            dns: keys.dns()?,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Error> {
        let problem = if self.hairpin && self.promiscuous {
            "\"hairpinMode\" and \"promiscMode\" exclude each other: leave one out".to_owned()
        } else if self.stays_down && self.ipam.is_some() {
            "an interface that stays down (\"disableContainerInterface\") has no addresses: leave \
             out \"ipam\""
                .to_owned()
        } else if let Some(name) =
            self.gateway_vlan_interface().filter(|name| name.len() > MAX_NAME)
        {
            format!(
                "the gateway's interface {name:?} has more than 15 bytes: give the bridge a \
                 shorter name"
            )
        } else {
            return Ok(());
        };
        Err(Error::new(Code::CONFIG, problem))
    }

    /// Whether the gateway's address is on an interface in the port's VLAN, not on the bridge.
    pub(super) fn gateway_is_in_vlan(&self) -> bool {
        self.is_gateway && self.has_own_vlan && self.ipam.is_some()
    }

    /// The name of that interface.
    fn gateway_vlan_interface(&self) -> Option<String> {
        self.vlan.filter(|_| self.gateway_is_in_vlan()).map(|id| format!("{}.{id}", self.name))
    }

    /// The VLANs of the port that a bridge with them gets.
    pub(super) fn port_vlans(&self) -> Vec<PortVlan> {
        let native = self.vlan.map(PortVlan::Native);
        native.into_iter().chain(self.trunk.iter().copied().map(PortVlan::Tagged)).collect()
    }
}

fn read_name(keys: Keys<'_>) -> Result<String, Error> {
    let name = keys.interface("bridge")?.unwrap_or(DEFAULT_NAME);
    if name.len() > MAX_NAME || name.contains(['%', ':']) {
        return Err(invalid("bridge", "the name of an interface, of 15 bytes at most", name));
    }
    Ok(name.to_owned())
}

/// The union of the entries, each a VLAN, a range of them, or both.
fn read_trunk(keys: Keys<'_>) -> Result<BTreeSet<u16>, Error> {
    let Some(value) = keys.value("vlanTrunk") else { return Ok(BTreeSet::new()) };
    let list = value.as_array().ok_or_else(|| wrong_type("vlanTrunk", "a list", value))?;
    let mut trunk = BTreeSet::new();
    for entry in list {
        let object = entry.as_object();
        let entry = Keys::inside(
            object.ok_or_else(|| wrong_type("vlanTrunk", "a list of objects", entry))?,
        );
        let bound = |key| match entry.vlan(key)? {
            Some(0) => Err(Error::new(
                Code::CONFIG,
                format!("\"{key}\" of \"vlanTrunk\" must be 1 to 4094"),
            )),
            id => Ok(id),
        };
        trunk.extend(bound("id")?);
        match (bound("minID")?, bound("maxID")?) {
            (None, None) => {}
            (Some(first), Some(last)) if first <= last => trunk.extend(first..=last),
            _ => {
                let problem =
                    "\"vlanTrunk\": \"minID\" and \"maxID\" belong together, the smaller one first";
                return Err(Error::new(Code::CONFIG, problem));
            }
        }
    }
    Ok(trunk)
}
