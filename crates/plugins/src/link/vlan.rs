//! vlan: an interface for the frames of one of the host's interfaces that bear a tag (802.1Q).

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::AttachmentResult;
use linux::netlink::{LinkKind, NewLinkKind};

use super::check::{Reported, drift};
use super::config::Keys;
use super::config::{LINK_IN_CONTAINER, MASTER, MTU};
use super::container::AnnouncementSettings;
use super::site::Site;
use super::stacked::{self, NewInterface, Source};
use super::{lease, teardown};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Property, Shape, VlanDefault};

/// The plugin `vlan`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vlan;

const KIND: &str = "vlan";
/// What is known of it.
const FACTS: Facts = Facts {
    properties: &[Property::OpenToTenants],
    keys: &[MASTER, Key::open("vlanId", Shape::Vlan), MTU, LINK_IN_CONTAINER],
    key_of_host_interface: Some("master"),
    master: Some("master"),
    mtu_within_master: true,
    vlan_default: VlanDefault::Zero("vlanId"),
    device: DeviceFact::None,
    deletes: Some("vlan"),
    host_state: HostState::None,
    ..Facts::chain("vlan")
};

impl BuiltIn for Vlan {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Vlan {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let keys = Keys::of(call, &FACTS);
        check_master(keys)?;
        let (id, from_inside) =
            (keys.vlan("vlanId")?.unwrap_or_default(), keys.switch("linkInContainer")?);
        let (source, dns) = (Source::Ipam(lease::required(call)?), keys.dns()?);
        let mut site = Site::open(call)?;
        let parent = stacked::parent(&mut site, keys, from_inside)?;
        let new = NewInterface {
            kind: NewLinkKind::Vlan { parent: parent.index, id },
            mtu: stacked::mtu(keys, &parent)?,
            mac: None,
            from_inside,
            announcement: AnnouncementSettings::default(),
        };
        stacked::add(call, context, &mut site, new, source, dns)
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        teardown::del(call, context, KIND)
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let keys = Keys::of(call, &FACTS);
        check_master(keys)?;
        let (id, mtu) = (keys.vlan("vlanId")?.unwrap_or_default(), keys.size("mtu")?);
        let reported = Reported::read(call)?;
        lease::forward(Command::Check, call, context)?;
        let mut site = Site::open(call)?;
        stacked::parent(&mut site, keys, keys.switch("linkInContainer")?)?;
        let link = reported.compare(&mut site, KIND)?;
        if link.kind != LinkKind::Vlan(id) {
            return Err(drift(format!("interface {:?} has not the VLAN ID {id}", link.name)));
        }
        match mtu.filter(|mtu| *mtu != link.mtu) {
            Some(mtu) => {
                Err(drift(format!("interface {:?} has the MTU {}, not {mtu}", link.name, link.mtu)))
            }
            None => Ok(()),
        }
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let keys = Keys::of(call, &FACTS);
        check_master(keys)?;
        keys.vlan("vlanId")?;
        stacked::status(call, context, keys, KIND)
    }

    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        lease::collect(call, context)
    }
}

/// A VLAN is one of an interface: the one of the default route would be a guess.
fn check_master(keys: Keys<'_>) -> Result<(), Error> {
    let missing = "the network has no \"master\": name the interface whose VLAN it is";
    keys.interface("master")?.map(drop).ok_or_else(|| Error::new(Code::CONFIG, missing))
}
