//! dummy: an interface that leads nowhere, for an address that is the container's own.

use cni::error::Error;
use cni::plugin::{Call, Context, Plugin};
use cni::request::Command;
use cni::result::AttachmentResult;
use linux::netlink::NewLinkKind;

use super::check::{Reported, drift};
use super::config::Keys;
use super::container::AnnouncementSettings;
use super::site::Site;
use super::stacked::{self, NewInterface, Source};
use super::{lease, status, teardown};
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState};

/// The plugin `dummy`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dummy;

const KIND: &str = "dummy";

/// What is known of it.
const FACTS: Facts = Facts {
    device: DeviceFact::None,
    deletes: Some("dummy"),
    host_state: HostState::None,
    ..Facts::chain("dummy")
};

impl BuiltIn for Dummy {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Dummy {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let keys = Keys::of(call, &FACTS);
        let (source, dns) = (Source::Ipam(lease::required(call)?), keys.dns()?);
        let mut site = Site::open(call)?;
        let new = NewInterface {
            kind: NewLinkKind::Dummy,
            mtu: None,
            mac: None,
            from_inside: true,
            announcement: AnnouncementSettings::default(),
        };
        stacked::add(call, context, &mut site, new, source, dns)
    }

    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        teardown::del(call, context, KIND)
    }

    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let reported = Reported::read(call)?;
        lease::forward(Command::Check, call, context)?;
        let link = reported.compare(&mut Site::open(call)?, KIND)?;
        if link.up { Ok(()) } else { Err(drift(format!("interface {:?} is down", link.name))) }
    }

    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        status::check_kind(KIND)?;
        lease::forward(Command::Status, call, context)
    }

    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        lease::collect(call, context)
    }
}
