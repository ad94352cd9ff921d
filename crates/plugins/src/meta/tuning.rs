//! tuning: sysctls of the container, and settings of its interface, which DEL puts back.

mod allow_list;
mod config;
mod saved;

use cni::error::{Code, Error};
use cni::plugin::{Attachment, Call, Context, Plugin};
use cni::result::AttachmentResult;
use linux::netlink::{LinkId, LinkState};
use linux::sysctl::SysctlError;

use self::config::{Setting, Settings, TuningConfig};
use self::saved::SavedFile;
use super::chain;
use crate::BuiltIn;
use crate::facts::{DeviceFact, Facts, HostState, Key, Property, Shape};
use crate::link::check::{compare_mac, drift};
use crate::link::site::{Site, container_if_there, kernel_error};

/// The plugin `tuning`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning;

/// What is known of it.
const FACTS: Facts = Facts {
    properties: &[Property::NeedsNoLinkOnDel, Property::OpenToTenants, Property::ReadsKeysInArgs],
    keys: &[
        Key::open("sysctl", Shape::Sysctls),
        Key::open("mac", Shape::Text),
        Key::open("mtu", Shape::Mtu),
        Key::host("promisc", Shape::Boolean),
        Key::host("allmulti", Shape::Boolean),
        Key::host("txQLen", Shape::Integer(0, i32::MAX as i64)),
        Key::host("dataDir", Shape::Text),
    ],
    device: DeviceFact::None,
    host_state: HostState::File { key: "dataDir", directory: "/run/cni/tuning" },
    ..Facts::chain("tuning")
};

impl BuiltIn for Tuning {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

impl Plugin for Tuning {
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config = TuningConfig::read(call)?;
        allow_list::check(config.sysctls.iter().map(|setting| setting.key))?;
        let mut result = chain::previous(call)?;
        let mut site = Site::open(call)?;
        let link = site.present()?;
        context.proceed()?;
        let before = set_sysctls(&site, &config.sysctls)?;
        if let Err(error) = tune(call, &config, &mut site, &link) {
            restore_sysctls(&site, &before);
            return Err(error);
        }
        report(&mut result, &config.settings, site.interface);
        Ok(result)
    }

    /// Puts the interface's settings back. What the kernel refuses is logged: the interface of a
    /// pod that goes is no reason to keep the pod.
    fn del(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let Attachment { container, interface, .. } = call.attachment()?;
        let file = SavedFile::new(&config::directory(call)?, container, interface.as_str());
        let Some(saved) = file.read()? else { return Ok(()) };
        let Some(mut netlink) = container_if_there(call)? else { return file.remove() };
        let name = interface.as_str();
        let Some(link) = netlink.find(LinkId::Name(name)).map_err(kernel_error)? else {
            return file.remove();
        };
        match netlink.apply(&saved.changes(link.index)) {
            Ok(()) => file.remove(),
            Err(error) => {
                log::warn!("interface {name:?} does not have all of its settings back: {error}");
                Ok(())
            }
        }
    }

    fn check(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let config = TuningConfig::read(call)?;
        chain::previous(call)?;
        let mut site = Site::open(call)?;
        check_sysctls(&site, &config.sysctls)?;
        let name = site.interface;
        let found = site.container.find(LinkId::Name(name)).map_err(kernel_error)?;
        let link =
            found.ok_or_else(|| drift(format!("interface {name:?} is gone from the container")))?;
        check_settings(&link, &config.settings)
    }

    fn status(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let config = TuningConfig::read(call)?;
        allow_list::check(config.sysctls.iter().map(|setting| setting.key))
            .map_err(|error| Error { code: Code::NOT_AVAILABLE, ..error })
    }

    /// Removes the saved settings of attachments that are gone.
    fn gc(&self, call: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        let Some(valid) = call.valid_attachments()? else { return Ok(()) };
        saved::collect(&config::directory(call)?, call, &valid)
    }
}

/// Sets the interface as the configuration says, with a file that says how it was. Leaves neither
/// if it fails.
fn tune(
    call: &Call,
    config: &TuningConfig<'_>,
    site: &mut Site<'_>,
    link: &LinkState,
) -> Result<(), Error> {
    if config.settings.is_empty() {
        return Ok(());
    }
    let before = Settings::of(link, &config.settings)?;
    let file = SavedFile::new(&config.directory, call.attachment()?.container, site.interface);
    let is_first = file.save(&before, call)?;
    let outcome = site.container.apply(&config.settings.changes(link.index));
    let Err(error) = outcome else { return Ok(()) };
    if let Err(error) = site.container.apply(&before.changes(link.index)) {
        log::warn!("interface {:?} stays changed by a failed ADD: {error}", link.name);
    }
    if is_first {
        file.remove().unwrap_or_else(|error| log::warn!("{error}"));
    }
    Err(kernel_error(error).about(format!("interface {:?}", link.name)))
}

/// Writes the sysctls in order. If one is refused, those before it get back what they had.
fn set_sysctls<'s>(
    site: &Site<'_>,
    settings: &'s [Setting<'s>],
) -> Result<Vec<(&'s Setting<'s>, String)>, Error> {
    let mut before = Vec::with_capacity(settings.len());
    let outcome = site.inside(|| {
        for setting in settings {
            before.extend(setting.read()?.map(|value| (setting, value)));
        }
        settings.iter().try_for_each(|setting| setting.sysctl.write(setting.value))
    });
    match outcome {
        Ok(()) => Ok(before),
        Err(error) => {
            restore_sysctls(site, &before);
            Err(error)
        }
    }
}

fn restore_sysctls(site: &Site<'_>, before: &[(&Setting<'_>, String)]) {
    let restore = || {
        for (setting, value) in before.iter().rev() {
            setting.sysctl.ensure(value)?;
        }
        Ok(())
    };
    if let Err(error) = site.inside(restore) {
        log::warn!("a sysctl stays changed by a failed ADD: {error}");
    }
}

impl Setting<'_> {
    /// The value; `None` for a setting that can only be written.
    fn read(&self) -> Result<Option<String>, SysctlError> {
        match self.sysctl.read() {
            Err(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}

fn check_sysctls(site: &Site<'_>, settings: &[Setting<'_>]) -> Result<(), Error> {
    let read = || settings.iter().map(Setting::read).collect::<Result<Vec<_>, _>>();
    for (setting, now) in settings.iter().zip(site.inside(read)?) {
        // The kernel separates several numbers with tabs.
        let is_same = |now: &String| now.split_whitespace().eq(setting.value.split_whitespace());
        if let Some(now) = now.filter(|now| !is_same(now)) {
            return Err(drift(format!(
                "sysctl {} is {now:?}, not {:?}",
                setting.key, setting.value
            )));
        }
    }
    Ok(())
}

fn check_settings(link: &LinkState, settings: &Settings) -> Result<(), Error> {
    let name = &link.name;
    compare_mac(link, settings.mac_text().as_deref())?;
    if settings.promiscuous == Some(true) && !link.promiscuous {
        return Err(drift(format!("interface {name:?} is not promiscuous any more")));
    }
    if let Some(mtu) = settings.mtu.filter(|mtu| *mtu != link.mtu) {
        return Err(drift(format!("interface {name:?} has the MTU {}, not {mtu}", link.mtu)));
    }
    if let Some(on) = settings.all_multicast.filter(|on| *on != link.all_multicast) {
        let state = if on { "takes not all" } else { "takes all" };
        return Err(drift(format!("interface {name:?} {state} multicast frames")));
    }
    match settings.tx_queue_len.filter(|length| *length != link.tx_queue_len) {
        Some(length) => {
            let now = link.tx_queue_len;
            Err(drift(format!(
                "interface {name:?} has a transmit queue of {now} packets, not {length}"
            )))
        }
        None => Ok(()),
    }
}

/// The result says what the interface has now.
fn report(result: &mut AttachmentResult, settings: &Settings, interface: &str) {
    let is_ours =
        |entry: &&mut cni::result::Interface| entry.name == interface && entry.is_in_sandbox();
    for entry in result.interfaces.iter_mut().filter(is_ours) {
        if let Some(mac) = settings.mac_text() {
            entry.mac = Some(mac);
        }
        if let (Some(_), Some(mtu)) = (entry.mtu, settings.mtu) {
            entry.mtu = Some(mtu.into());
        }
    }
}
