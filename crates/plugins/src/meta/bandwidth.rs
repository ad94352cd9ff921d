//! bandwidth: limits how fast the container receives and sends, on the host's end of its veth pair.
//!
//! What the container receives is limited where the host sends it. What it sends is handed to an
//! intermediate device (ifb) as it arrives on the host, and limited there.

mod config;
mod shaping;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::result::{AttachmentResult, Interface};
use cni::version::Version;
use linux::netlink::{Change, LinkId, LinkKind, LinkState, Netlink, Qdisc, TokenBucket};

use self::config::Limits;
use super::chain;
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Property, Shape};
use crate::link::check::drift;
use crate::link::site::{Site, kernel_error};
use crate::link::status;

pub(crate) use shaping::device_name;

/// The plugin `bandwidth`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bandwidth;

/// What is known of it.
const FACTS: Facts = Facts {
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
};

/// In bits: the plugin takes no burst of 4 GiB or more.
const MAX_BURST: i64 = (u32::MAX as i64 - 1) * 8;

impl BuiltIn for Bandwidth {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Bandwidth {
    fn oldest_version(&self) -> Version {
        Version::V0_3_0
    }

    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let limits = Limits::read(call)?;
        let mut result = chain::previous(call)?;
        if limits.is_empty() {
            return Ok(result);
        }
        let mut site = Site::open(call)?;
        let port = host_end(&mut site)?;
        context.proceed()?;
        if let Some(device) = shaping::limit(call, &mut site.host, &port, &limits)? {
            let entry = Interface { name: device.name, mac: device.mac, ..Interface::default() };
            result.interfaces.push(entry);
        }
        Ok(result)
    }

    /// The qdiscs go with the veth pair.
    fn del(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let name = device_name(call.network.as_str(), call.attachment()?.container.as_str());
        let mut host = Netlink::open().map_err(kernel_error)?;
        host.apply(&[Change::delete_link(LinkId::Name(&name))]).map_err(kernel_error)
    }

    fn check(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let limits = Limits::read(call)?;
        chain::previous(call)?;
        if limits.is_empty() {
            return Ok(());
        }
        let mut site = Site::open(call)?;
        let port = host_end(&mut site)?;
        if let Some(bucket) = limits.ingress {
            check_bucket(&mut site.host, &port, bucket)?;
        }
        let Some(bucket) = limits.egress else { return Ok(()) };
        let name = device_name(call.network.as_str(), call.attachment()?.container.as_str());
        let device = site.host.find(LinkId::Name(&name)).map_err(kernel_error)?;
        let device = device.ok_or_else(|| {
            drift(format!("interface {name:?}, which limits what is sent, is gone"))
        })?;
        check_bucket(&mut site.host, &device, bucket)?;
        let received = site.host.qdiscs(port.index).map_err(kernel_error)?;
        if received.contains(&Qdisc::Ingress) {
            return Ok(());
        }
        let port = &port.name;
        Err(drift(format!("what interface {port:?} receives is not handed to {name:?} any more")))
    }

    fn status(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        Limits::read(call)?;
        status::check_kind("ifb")
    }

    /// Deletes the intermediate devices of attachments that are gone.
    fn gc(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let Some(valid) = call.valid_attachments()? else { return Ok(()) };
        shaping::collect(call, &valid)
    }
}

/// The host's end of the veth pair that is the container's interface.
fn host_end(site: &mut Site<'_>) -> Result<LinkState, Error> {
    let container = site.present()?;
    let name = &container.name;
    let refuse = |problem: String| Error::new(Code::CONFIG, problem);
    if container.kind != LinkKind::Veth {
        let kind = container.kind.name();
        return Err(refuse(format!(
            "interface {name:?} is a {kind}: only that of a veth pair, as bridge and ptp make, can \
             be limited"
        )));
    }
    let index = container.parent.unwrap_or_default();
    let found = site.host.find(LinkId::Index(index)).map_err(kernel_error)?;
    let is_other_end =
        |link: &LinkState| link.kind == LinkKind::Veth && link.parent == Some(container.index);
    found
        .filter(is_other_end)
        .ok_or_else(|| refuse(format!("the other end of interface {name:?} is not on the host")))
}

fn check_bucket(host: &mut Netlink, link: &LinkState, wanted: TokenBucket) -> Result<(), Error> {
    let qdiscs = host.qdiscs(link.index).map_err(kernel_error)?;
    if qdiscs.contains(&Qdisc::TokenBucket(wanted)) {
        return Ok(());
    }
    let name = &link.name;
    let bytes = wanted.rate;
    Err(drift(format!("interface {name:?} is not limited to {bytes} bytes a second any more")))
}
