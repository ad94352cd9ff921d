//! macvlan: an interface with a hardware address of its own on top of one of the host's.

use cni::error::Error;
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::AttachmentResult;
use linux::netlink::{LinkKind, MacVlan as Mode, NewLinkKind};

use super::check::{Reported, drift};
use super::config::{Keys, invalid, requested_mac};
use super::container::Manners;
use super::site::Site;
use super::stacked::{self, NewInterface, Source};
use super::{lease, teardown};

/// The plugin `macvlan`.
#[derive(Clone, Copy, Debug)]
pub struct MacVlan;

const KIND: &str = "macvlan";
const KEYS: &[&str] = &["master", "mode", "mtu", "mac", "linkInContainer", "bcqueuelen"];

impl Plugin for MacVlan {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let keys = Keys::of(call, KEYS);
        let (mode, mac) = (read_mode(keys)?, requested_mac(call, false, true)?);
        let (from_inside, broadcast_queue_len) =
            (keys.switch("linkInContainer")?, keys.size("bcqueuelen")?);
        let (source, dns) = (call.ipam()?.map_or(Source::None, Source::Ipam), keys.dns()?);
        let mut site = Site::open(call)?;
        let parent = stacked::parent(&mut site, keys, from_inside)?;
        let new = NewInterface {
            kind: NewLinkKind::MacVlan { parent: parent.index, mode, broadcast_queue_len },
            mtu: stacked::mtu(keys, &parent)?,
            mac: mac.as_deref(),
            from_inside,
            manners: Manners {
                arp_notify: true,
                ndisc_notify: true,
                detects_duplicates: None,
                never_settles: false,
            },
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
        stacked::parent(&mut site, keys, keys.switch("linkInContainer")?)?;
        match reported.compare(&mut site, KIND)?.kind {
            LinkKind::MacVlan(Some(now)) if now == mode => Ok(()),
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

fn read_mode(keys: Keys<'_>) -> Result<Mode, Error> {
    match keys.text("mode")? {
        None | Some("bridge") => Ok(Mode::Bridge),
        Some("private") => Ok(Mode::Private),
        Some("vepa") => Ok(Mode::Vepa),
        Some("passthru") => Ok(Mode::Passthru),
        Some(other) => Err(invalid("mode", "one of bridge, private, vepa, passthru", other)),
    }
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Bridge => "bridge",
        Mode::Private => "private",
        Mode::Vepa => "vepa",
        Mode::Passthru => "passthru",
    }
}
