//! tap: a persistent tap device in the container, for a virtual machine.

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::{AttachmentResult, Interface};
use linux::netlink::{Change, LinkId, LinkKind, LinkSettings, LinkState};
use linux::tun::{self, NewTap};
use serde_json::Value;

use super::check::Reported;
use super::config::{Keys, requested_mac};
use super::container::{self, AnnouncementSettings, PluginRoutes};
use super::site::{Site, kernel_error};
use super::{lease, status, teardown};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Shape};
use crate::rules::program::Programs;

/// The plugin `tap`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap;

const KIND: &str = "tun";
/// Where a thread says what label the next program that it starts has.
const LABEL: &str = "/proc/thread-self/attr/exec";

/// What a network asks for.
struct TapConfig<'c> {
    multi_queue: bool,
    mtu: Option<u32>,
    mac: Option<Vec<u8>>,
    owner: Option<u32>,
    group: Option<u32>,
    /// SELinux's label of the device.
    label: Option<&'c str>,
    /// The bridge of the container whose port it becomes.
    bridge: Option<&'c str>,
    dns: Option<Value>,
}

impl<'c> TapConfig<'c> {
    fn read(call: &'c Call) -> Result<Self, Error> {
        let keys = Keys::of(call, &FACTS);
        let id = |key| {
            let number = keys.number(key, u32::MAX.into())?;
            Ok::<_, Error>(number.and_then(|number| u32::try_from(number).ok()))
        };
        let label = keys.text("selinuxContext")?;
        if label.is_some_and(|label| label.len() > 4096 || label.contains(char::is_control)) {
            let problem = "\"selinuxContext\" must be a label of one line, such as \
                           \"system_u:system_r:container_t:s0\"";
            return Err(Error::new(Code::CONFIG, problem));
        }
        Ok(Self {
            multi_queue: keys.switch("multiQueue")?,
            mtu: keys.size("mtu")?,
            mac: requested_mac(call, false, true)?,
            owner: id("owner")?,
            group: id("group")?,
            label,
            bridge: keys.interface("bridge")?,
            dns: keys.dns()?,
        })
    }

    /// The device's flags are those of the way by which the reference plugin makes it: itself if it
    /// has both IDs and no label, and else by `ip tuntap`.
    fn device(&self, name: &'c str) -> NewTap<'c> {
        let is_direct = self.owner.is_some() && self.group.is_some() && self.label.is_none();
        NewTap {
            name,
            multi_queue: self.multi_queue,
            vnet_header: is_direct,
            no_packet_info: !is_direct || self.multi_queue,
            owner: self.owner,
            group: self.group,
        }
    }
}

/// What is known of it.
const FACTS: Facts = Facts {
    keys: &[
        Key::host("mtu", Shape::Mtu),
        Key::host("mac", Shape::Text),
        Key::host("multiQueue", Shape::Boolean),
        Key::host("owner", Shape::Integer(0, u32::MAX as i64)),
        Key::host("group", Shape::Integer(0, u32::MAX as i64)),
        Key::host("selinuxContext", Shape::Text),
        Key::host("bridge", Shape::HostInterface),
    ],
    device: DeviceFact::None,
    host_state: HostState::None,
    ..Facts::chain("tap")
};

impl BuiltIn for Tap {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Tap {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = TapConfig::read(call)?;
        let ipam = call.ipam()?;
        let mut site = Site::open(call)?;
        let name = site.interface;
        if site.container.find(LinkId::Name(name)).map_err(kernel_error)?.is_some() {
            let problem = format!("the container has an interface {name:?} already");
            return Err(Error::new(Code::IO, problem));
        }
        let bridge = config.bridge.map(|bridge| find_bridge(&mut site, bridge)).transpose()?;
        context.proceed()?;
        let programs = Programs::of(call, context);
        make(&site, &config, &programs)?;
        let outcome = configure(&mut site, &config, bridge).and_then(|link| match &ipam {
            None => {
                container::set_up(&mut site, &link).map(|()| (link, AttachmentResult::default()))
            }
            Some(ipam) => lease::with_lease(ipam, call, context, |context, granted| {
                assign(context, &mut site, &link, granted)
            })
            .map(|granted| (link, granted)),
        });
        match outcome {
            Ok((link, granted)) => Ok(report(&site, link, granted, config.dns)),
            Err(error) => {
                site.delete_in_container(name);
                Err(error)
            }
        }
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        teardown::del(call, context, KIND)
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        TapConfig::read(call)?;
        let reported = Reported::read(call)?;
        lease::forward(Command::Check, call, context)?;
        reported.compare(&mut Site::open(call)?, KIND).map(drop)
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        TapConfig::read(call)?;
        status::check_tap()?;
        lease::forward(Command::Status, call, context)
    }

    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        lease::collect(call, context)
    }
}

fn find_bridge(site: &mut Site<'_>, name: &str) -> Result<u32, Error> {
    let found = site.container.find(LinkId::Name(name)).map_err(kernel_error)?;
    match found {
        Some(LinkState { kind: LinkKind::Bridge { .. }, index, .. }) => Ok(index),
        Some(other) => {
            let kind = other.kind.name();
            let problem = format!(
                "\"bridge\" names {name:?}, which is a {kind} of the container and no bridge"
            );
            Err(Error::new(Code::CONFIG, problem))
        }
        None => {
            let problem =
                format!("\"bridge\" is {name:?}, an interface that the container does not have");
            Err(Error::new(Code::CONFIG, problem))
        }
    }
}

fn make(site: &Site<'_>, config: &TapConfig<'_>, programs: &Programs<'_>) -> Result<(), Error> {
    let device = config.device(site.interface);
    let make = || match config.label {
        None => tun::create(&device).map_err(|error| Error::new(Code::IO, error)),
        Some(label) => make_labelled(&device, label, programs),
    };
    site.netns.run(make).map_err(kernel_error)?
}

/// A device has the label of the program that makes it, and a thread cannot take another one.
fn make_labelled(device: &NewTap<'_>, label: &str, programs: &Programs<'_>) -> Result<(), Error> {
    std::fs::write(LABEL, label).map_err(|error| {
        let problem = format!("a program cannot have the label of \"selinuxContext\": {error}");
        Error::new(Code::IO, problem)
    })?;
    let (owner, group) =
        (device.owner.map(|id| id.to_string()), device.group.map(|id| id.to_string()));
    let mut words = vec!["tuntap", "add", "mode", "tap", "name", device.name];
    words.extend(Some("multi_queue").filter(|_| device.multi_queue));
    words.extend(owner.as_deref().into_iter().flat_map(|owner| ["user", owner]));
    words.extend(group.as_deref().into_iter().flat_map(|group| ["group", group]));
    Ok(programs.run("ip", &words, "").map(drop)?)
}

/// Sets what the kernel does not take when it makes the device. It is down.
fn configure(
    site: &mut Site<'_>,
    config: &TapConfig<'_>,
    bridge: Option<u32>,
) -> Result<LinkState, Error> {
    let settings = LinkSettings {
        mtu: config.mtu,
        mac: config.mac.as_deref(),
        master: bridge,
        ..LinkSettings::default()
    };
    let id = LinkId::Name(site.interface);
    let about = |error| kernel_error(error).about(format!("interface {:?}", site.interface));
    site.container.apply(&[Change::set_link(id, &settings)]).map_err(about)?;
    site.made()
}

fn assign(
    context: &Context<'_>,
    site: &mut Site<'_>,
    link: &LinkState,
    mut granted: AttachmentResult,
) -> Result<AttachmentResult, Error> {
    context.proceed()?;
    granted.ips.iter_mut().for_each(|address| address.interface = Some(0));
    // No address is checked before a program holds the device's other end.
    let announcement = AnnouncementSettings {
        arp_notify: true,
        never_settles: true,
        ..AnnouncementSettings::default()
    };
    container::configure(
        site,
        link,
        &granted,
        announcement,
        &PluginRoutes::default(),
        context.deadline,
    )?;
    context.proceed()?;
    Ok(granted)
}

fn report(
    site: &Site<'_>,
    link: LinkState,
    granted: AttachmentResult,
    dns: Option<Value>,
) -> AttachmentResult {
    AttachmentResult {
        interfaces: vec![Interface {
            name: link.name,
            mac: link.mac,
            sandbox: Some(site.netns.path().display().to_string()),
            ..Interface::default()
        }],
        ips: granted.ips,
        routes: granted.routes,
        dns: dns.or(granted.dns),
        other: serde_json::Map::new(),
    }
}
