//! loopback: sets `lo` up in the container, whatever interface the call names.

use cni::error::{Code, Error};
use cni::plugin::{Attachment, Call, Context, Plugin};
use cni::result::{Address, AttachmentResult, Interface};
use linux::netlink::{Change, LinkId, LinkSettings, Netlink};
use linux::netns::Netns;

use super::check::drift;
use super::config::Keys;
use super::site::{kernel_error, open_if_there};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState};

/// The plugin `loopback`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loopback;

const NAME: &str = "lo";

/// What is known of it.
const FACTS: Facts =
    Facts { device: DeviceFact::None, host_state: HostState::None, ..Facts::chain("loopback") };

impl BuiltIn for Loopback {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Loopback {
    fn add(&self, call: &Call, _: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        Keys::of(call, &FACTS);
        let previous = call.prev_result()?;
        let Attachment { netns: path, .. } = call.attachment()?;
        let mut netlink = open(&Netns::open(path).map_err(kernel_error)?)?;
        let link = set(&mut netlink, true)?.ok_or_else(no_loopback)?;
        let addresses = netlink.link_addresses(link).map_err(kernel_error)?;
        if let Some(other) = addresses.iter().find(|there| !there.address.ip().is_loopback()) {
            let problem =
                format!("lo has the address {}, which is no loopback address", other.address);
            return Err(Error::new(Code::IO, problem));
        }
        Ok(previous.unwrap_or_else(|| AttachmentResult {
            interfaces: vec![Interface {
                name: NAME.to_owned(),
                mac: Some("00:00:00:00:00:00".to_owned()),
                sandbox: Some(path.display().to_string()),
                ..Interface::default()
            }],
            ips: addresses.iter().map(|there| on_loopback(&there.address.to_string())).collect(),
            ..AttachmentResult::default()
        }))
    }

    fn del(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let Some(netns) = open_if_there(call.attachment()?.netns)? else { return Ok(()) };
        if netns.is_own().map_err(kernel_error)? {
            return Ok(());
        }
        set(&mut open(&netns)?, false).map(drop)
    }

    fn check(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let netns = Netns::open(call.attachment()?.netns).map_err(kernel_error)?;
        let link = open(&netns)?.find(LinkId::Name(NAME)).map_err(kernel_error)?;
        if link.ok_or_else(no_loopback)?.up { Ok(()) } else { Err(drift("interface lo is down")) }
    }
}

fn open(netns: &Netns) -> Result<Netlink, Error> {
    Netlink::open_in(netns).map_err(kernel_error)
}

/// Sets `lo` up or down, and returns its index.
fn set(netlink: &mut Netlink, up: bool) -> Result<Option<u32>, Error> {
    let settings = LinkSettings { up: Some(up), ..LinkSettings::default() };
    let change = Change::set_link(LinkId::Name(NAME), &settings);
    let found = netlink.apply_then_find(&[change], &[LinkId::Name(NAME)]).map_err(kernel_error)?;
    Ok(found.into_iter().flatten().next().map(|link| link.index))
}

fn on_loopback(address: &str) -> Address {
    Address { address: address.to_owned(), interface: Some(0), ..Address::default() }
}

fn no_loopback() -> Error {
    Error::new(Code::IO, "the container has no interface lo")
}
