//! host-device: an interface of the host that moves into the container, and back. Of a device that
//! a userspace driver has (DPDK), addresses alone are granted.

mod device;
mod moving;

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::{AttachmentResult, Interface};
use linux::netlink::{LinkId, LinkState};
use serde_json::Value;

use self::device::Device;
use self::moving::Moved;
use super::check::Reported;
use super::config::Keys;
use super::container::{self, AnnouncementSettings, PluginRoutes};
use super::lease;
use super::site::{Site, container_if_there, kernel_error};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Property, Shape};

/// The plugin `host-device`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostDevice;

/// What is known of it.
const FACTS: Facts = Facts {
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

impl BuiltIn for HostDevice {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for HostDevice {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let keys = Keys::of(call, &FACTS);
        let (device, dns, ipam) = (Device::read(call, keys)?, keys.dns()?, call.ipam()?);
        let mut site = Site::open(call)?;
        if site.container.find(LinkId::Name(site.interface)).map_err(kernel_error)?.is_some() {
            let problem = format!("the container has an interface {:?} already", site.interface);
            return Err(Error::new(Code::IO, problem));
        }
        let link = if device.is_userspace { None } else { Some(device.find(&mut site.host)?) };
        context.proceed()?;
        let Some(ipam) = ipam else {
            return attach(context, &mut site, link.as_ref(), AttachmentResult::default(), dns);
        };
        lease::with_lease(&ipam, call, context, |context, granted| {
            attach(context, &mut site, link.as_ref(), granted, dns)
        })
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        match container_if_there(call)? {
            Some(mut container) => moving::move_out(call, &mut container)?,
            None => device::take_name_back(call)?,
        }
        lease::release(call, context)
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let device = Device::read(call, Keys::of(call, &FACTS))?;
        let reported = Reported::read(call)?;
        lease::forward(Command::Check, call, context)?;
        if device.is_userspace {
            return Ok(());
        }
        reported.compare_any_kind(&mut Site::open(call)?).map(drop)
    }

    /// A device that a pod has is not missing: that there is none to take is no fault of the node.
    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        Device::read(call, Keys::of(call, &FACTS))
            .map_err(|error| Error { code: Code::NOT_AVAILABLE, ..error })?;
        lease::forward(Command::Status, call, context)
    }

    /// A device whose container vanished without DEL gets its name back.
    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        device::take_name_back(call).and(lease::collect(call, context))
    }
}

/// Moves the link, if there is one, into the container, and configures it with what IPAM grants. If
/// that fails, it is back on the host as it was.
fn attach(
    context: &Context<'_>,
    site: &mut Site<'_>,
    link: Option<&LinkState>,
    mut granted: AttachmentResult,
    dns: Option<Value>,
) -> Result<AttachmentResult, Error> {
    context.proceed()?;
    granted.ips.iter_mut().for_each(|address| address.interface = Some(0));
    let mac = match link {
        Some(link) => configure(context, site, link, &granted)?,
        None => None,
    };
    let interface = Interface {
        name: site.interface.to_owned(),
        mac,
        sandbox: Some(site.netns.path().display().to_string()),
        ..Interface::default()
    };
    Ok(AttachmentResult {
        interfaces: vec![interface],
        dns: dns.or(granted.dns.take()),
        other: serde_json::Map::new(),
        ..granted
    })
}

/// Returns the hardware address.
fn configure(
    context: &Context<'_>,
    site: &mut Site<'_>,
    link: &LinkState,
    granted: &AttachmentResult,
) -> Result<Option<String>, Error> {
    let moved = Moved::into_container(site, link)?;
    let announcement = AnnouncementSettings::default();
    let around = PluginRoutes::default();
    let outcome =
        container::configure(site, &moved.link, granted, announcement, &around, context.deadline);
    match outcome.and_then(|()| context.proceed()) {
        Ok(()) => Ok(moved.link.mac),
        Err(error) => {
            moved.back(site);
            Err(error)
        }
    }
}
