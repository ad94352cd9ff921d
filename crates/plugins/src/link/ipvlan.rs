//! ipvlan: an interface with the hardware address of one of the host's, which addresses or routes
//! tell apart.

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::AttachmentResult;
use linux::netlink::{IpVlan as Mode, LinkKind, LinkState, NewLinkKind};

use super::check::{Reported, drift};
use super::config::{Keys, invalid};
use super::container::Manners;
use super::site::Site;
use super::stacked::{self, NewInterface, Source};
use super::{lease, teardown};

/// The plugin `ipvlan`. In a chain, without a `master` of its own, it is on top of the one
/// interface that the plugin before has made.
#[derive(Clone, Copy, Debug)]
pub struct IpVlan;

const KIND: &str = "ipvlan";
const KEYS: &[&str] = &["master", "mode", "mtu", "linkInContainer"];

impl Plugin for IpVlan {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let keys = Keys::of(call, KEYS);
        let (mode, from_inside) = (read_mode(keys)?, keys.switch("linkInContainer")?);
        let (previous, dns) = (call.prev_result()?, keys.dns()?);
        let mut site = Site::open(call)?;
        let parent = parent(&mut site, keys, from_inside, previous.as_ref())?;
        let new = NewInterface {
            kind: NewLinkKind::IpVlan { parent: parent.index, mode },
            mtu: stacked::mtu(keys, &parent)?,
            mac: None,
            from_inside,
            manners: Manners {
                arp_notify: true,
                ndisc_notify: true,
                detects_duplicates: None,
                never_settles: false,
            },
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
        let keys = Keys::of(call, KEYS);
        let (mode, reported) = (read_mode(keys)?, Reported::read(call)?);
        lease::forward(Command::Check, call, context)?;
        let mut site = Site::open(call)?;
        match reported.compare(&mut site, KIND)?.kind {
            LinkKind::IpVlan(Some(now)) if now == mode => Ok(()),
            _ => Err(drift(format!(
                "interface {:?} is not in mode {}",
                site.interface,
                mode_name(mode)
            ))),
        }
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        lease::forward(Command::Status, call, context)
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
            let problem = "there is no \"master\", and the plugin before has not made exactly one interface to take \
                           it from: set \"master\"";
            Err(Error::new(Code::CONFIG, problem))
        }
    }
}

fn read_mode(keys: Keys<'_>) -> Result<Mode, Error> {
    match keys.text("mode")? {
        None | Some("l2") => Ok(Mode::L2),
        Some("l3") => Ok(Mode::L3),
        Some("l3s") => Ok(Mode::L3s),
        Some(other) => Err(invalid("mode", "one of l2, l3, l3s", other)),
    }
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::L2 => "l2",
        Mode::L3 => "l3",
        Mode::L3s => "l3s",
    }
}
