//! ipvlan: an interface with the hardware address of one of the host's, which addresses or routes
//! tell apart.

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::AttachmentResult;
use linux::netlink::{IpVlan as Mode, LinkKind, LinkState, NewLinkKind};

use super::check::Reported;
use super::config::Keys;
use super::config::{LINK_IN_CONTAINER, MASTER, MTU};
use super::site::Site;
use super::stacked::{self, NewInterface, Source};
use super::{lease, teardown};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, GatewayFact, HostState, Key, Property, Shape};

/// The plugin `ipvlan`. In a chain, without a `master` of its own, it is on top of the one
/// interface that the plugin before has made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpVlan;

const KIND: &str = "ipvlan";
/// The words for its modes. The first is the default.
const MODES: [(&str, Mode); 3] = [("l2", Mode::L2), ("l3", Mode::L3), ("l3s", Mode::L3s)];

/// What is known of it.
const FACTS: Facts = Facts {
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
    deletes: Some("ipvlan"),
    host_state: HostState::None,
    failures: &[(
        "failed to create ipvlan: device or resource busy",
        "a bridge, a bond or a macvlan has its \"master\": name another in the definition",
    )],
    ..Facts::chain("ipvlan")
};

impl BuiltIn for IpVlan {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for IpVlan {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let keys = Keys::of(call, &FACTS);
        let (mode, from_inside) =
            (stacked::read_mode(keys, &MODES)?, keys.switch("linkInContainer")?);
        let (previous, dns) = (call.prev_result()?, keys.dns()?);
        let mut site = Site::open(call)?;
        let parent = parent(&mut site, keys, from_inside, previous.as_ref())?;
        let new = NewInterface {
            kind: NewLinkKind::IpVlan { parent: parent.index, mode: mode.unwrap_or(Mode::L2) },
            mtu: stacked::mtu(keys, &parent)?,
            mac: None,
            from_inside,
            announcement: stacked::ANNOUNCED,
        };
        let source = match (call.ipam()?, previous.filter(|previous| !previous.ips.is_empty())) {
            (None, Some(previous)) => Source::Given(Box::new(previous)),
            _ => Source::Ipam(lease::required(call)?),
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
        let now = match reported.compare(&mut site, KIND)?.kind {
            LinkKind::IpVlan(now) => now,
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

fn parent(
    site: &mut Site<'_>,
    keys: Keys<'_>,
    in_container: bool,
    previous: Option<&AttachmentResult>,
) -> Result<LinkState, Error> {
    let Some(previous) = previous.filter(|_| matches!(keys.text("master"), Ok(None))) else {
        return stacked::parent(site, keys, in_container);
    };
    match previous.interfaces.as_slice() {
        [only] if !only.name.is_empty() => {
            let netlink = if in_container { &mut site.container } else { &mut site.host };
            stacked::named(
                netlink,
                &only.name,
                if in_container { "the container" } else { "the host" },
            )
        }
        _ => {
            let problem = "there is no \"master\", and the plugin before has not made exactly one \
                           interface to take it from: set \"master\"";
            Err(Error::new(Code::CONFIG, problem))
        }
    }
}
