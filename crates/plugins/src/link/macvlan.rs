//! macvlan: an interface with a hardware address of its own on top of one of the host's.

use cni::error::Error;
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::AttachmentResult;
use linux::netlink::{LinkKind, MacVlan as Mode, NewLinkKind};

use super::check::Reported;
use super::config::{Keys, requested_mac};
use super::config::{LINK_IN_CONTAINER, MASTER, MTU};
use super::site::Site;
use super::stacked::{self, NewInterface, Source};
use super::{lease, teardown};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Property, Shape};

/// The plugin `macvlan`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MacVlan;

const KIND: &str = "macvlan";
/// The words for its modes. The first is the default.
const MODES: [(&str, Mode); 4] = [
    ("bridge", Mode::Bridge),
    ("private", Mode::Private),
    ("vepa", Mode::Vepa),
    ("passthru", Mode::Passthru),
];

/// What is known of it.
const FACTS: Facts = Facts {
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
    deletes: Some("macvlan"),
    host_state: HostState::None,
    failures: &[(
        "failed to create macvlan: device or resource busy",
        "a bridge, a bond or an ipvlan has its \"master\": name another in the definition",
    )],
    ..Facts::chain("macvlan")
};

impl BuiltIn for MacVlan {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for MacVlan {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let keys = Keys::of(call, &FACTS);
        let (mode, mac) = (stacked::read_mode(keys, &MODES)?, requested_mac(call, false, true)?);
        let (from_inside, broadcast_queue_len) =
            (keys.switch("linkInContainer")?, keys.size("bcqueuelen")?);
        let (source, dns) = (call.ipam()?.map_or(Source::None, Source::Ipam), keys.dns()?);
        let mut site = Site::open(call)?;
        let parent = stacked::parent(&mut site, keys, from_inside)?;
        let new = NewInterface {
            kind: NewLinkKind::MacVlan {
                parent: parent.index,
                mode: mode.unwrap_or(Mode::Bridge),
                broadcast_queue_len,
            },
            mtu: stacked::mtu(keys, &parent)?,
            mac: mac.as_deref(),
            from_inside,
            announcement: stacked::ANNOUNCED,
        };
        stacked::add(call, context, &mut site, new, source, dns)
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        teardown::del(call, context, KIND)
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let keys = Keys::of(call, &FACTS);
        let (mode, reported) = (stacked::read_mode(keys, &MODES)?, Reported::read(call)?);
        lease::forward(Command::Check, call, context)?;
        let mut site = Site::open(call)?;
        stacked::parent(&mut site, keys, keys.switch("linkInContainer")?)?;
        let now = match reported.compare(&mut site, KIND)?.kind {
            LinkKind::MacVlan(now) => now,
            _ => None,
        };
        stacked::check_mode(site.interface, &MODES, mode, now)
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let keys = Keys::of(call, &FACTS);
        stacked::read_mode(keys, &MODES)?;
        stacked::status(call, context, keys, KIND)
    }

    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        lease::collect(call, context)
    }
}
