//! Carries out what a plan or a record says, one network at a time: its chain's ADD, DEL, CHECK, GC
//! and STATUS (CNI 1.1.0, section 3). Decides nothing: the caller says which networks, and in which
//! order.

pub(crate) mod absence;
pub(crate) mod advertisements;
pub(crate) mod default_route;
mod deletion;
mod error;
pub(crate) mod routes;
pub mod snapshot;
mod verify;

pub(crate) use deletion::delete_links_together;
pub(crate) use error::AttachError;
pub(crate) use verify::verify;

use crate::delegate::{Call, DelegateError, Delegates, Target};
use crate::device::DeviceInfoStore;
use crate::plan::{Attachment, Role};
use crate::reservation::former;
use cni::deadline::Deadline;
use cni::netconf::{Inputs, NetworkConfig, PluginConfig};
use cni::request::{Command, ContainerId};
use cni::result::{AttachmentResult, ResultError};
use serde_json::{Map, Value};

/// The sandbox that attachments are made in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The container.
    pub container: &'a ContainerId,
    /// The namespace's path; empty if it is gone.
    pub netns: &'a str,
}

/// Runs chains of plugins.
#[derive(Debug)]
pub(crate) struct Attacher<'a, 's> {
    /// The door to the plugins.
    pub delegates: &'a mut Delegates<'s>,
    /// The sandbox.
    pub place: Place<'a>,
    /// Files that describe devices.
    pub device_infos: &'a DeviceInfoStore,
}

impl Attacher<'_, '_> {
    /// ADD: every plugin in order, each with the result of the one before. Returns the last result
    /// in the network's version.
    ///
    /// # Errors
    /// [`AttachError`] of the first plugin that fails. What the chain has done by then is for the
    /// caller to undo.
    pub(crate) fn add(
        &mut self,
        attachment: &Attachment,
        deadline: Deadline,
    ) -> Result<Value, AttachError> {
        hold_former_addresses(attachment)?;
        self.prepare_device_info(attachment);
        let mut result = None;
        for plugin in &attachment.network.plugins {
            let call = call(self.place, Command::Add, attachment, plugin, result.as_ref());
            let outcome = self.delegates.run_for_result(&call, deadline);
            let printed = outcome.map_err(|source| match result {
                None if !source.was_started() => self.not_started(attachment, source),
                _ => failed(attachment)(source),
            })?;
            result = Some(normalise(printed, attachment, plugin)?);
        }
        Ok(result.unwrap_or_default())
    }

    /// Takes back what was prepared for the plugins of a network, none of which has run.
    fn not_started(&self, attachment: &Attachment, source: DelegateError) -> AttachError {
        self.remove_device_info(attachment);
        let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
        AttachError::NotStarted { label, interface, source: Box::new(source) }
    }

    /// DEL: every plugin in reverse order, past failures. Returns what failed.
    pub(crate) fn del(
        &mut self,
        attachment: &Attachment,
        result: Option<&Value>,
        deadline: Deadline,
    ) -> Vec<AttachError> {
        let result = result.filter(|_| attachment.network.version.has_result_on_del());
        let plugins = &attachment.network.plugins;
        let mut failures = Vec::new();
        for (left, plugin) in plugins.iter().enumerate().rev() {
            let call = call(self.place, Command::Del, attachment, plugin, result);
            let outcome = self.delegates.run_for_effect(&call, deadline.share(left + 1));
            failures.extend(outcome.map_err(failed(attachment)).err());
        }
        if failures.is_empty() {
            self.remove_device_info(attachment);
        }
        failures
    }

    /// DEL of an attachment that an ADD of ours was to make, and that has no `result` if the ADD
    /// did not end. A plugin that does not know the network's version has refused such an ADD too:
    /// nothing of it is there, and an error would keep the pod from going for as long as the plugin
    /// is that old.
    pub(crate) fn undo(
        &mut self,
        attachment: &Attachment,
        result: Option<&Value>,
        deadline: Deadline,
    ) -> Vec<AttachError> {
        let mut failures = self.del(attachment, result, deadline);
        if result.is_none() && !failures.is_empty() {
            failures.retain(|error| !error.is_of_version());
            if failures.is_empty() {
                self.remove_device_info(attachment);
            }
        }
        failures
    }

    /// What the device plugin says of the device is there before the plugins run. An attachment can
    /// do without it.
    fn prepare_device_info(&self, attachment: &Attachment) {
        let device = attachment
            .device
            .as_ref()
            .and_then(|device| Some((device.resource.as_ref()?, &device.id)));
        let (Some(file), Some((resource, device))) = (&attachment.device_info_file, device) else {
            return;
        };
        if let Err(error) = self.device_infos.prepare(file, resource, device) {
            log::warn!("network \"{}\": {error}", attachment.label);
        }
    }

    fn remove_device_info(&self, attachment: &Attachment) {
        let removed =
            attachment.device_info_file.as_ref().map(|file| self.device_infos.remove(file));
        if let Some(Err(error)) = removed {
            log::warn!("network \"{}\": {error}", attachment.label);
        }
    }

    /// CHECK: every plugin in order, to the first that fails. A network whose version has no CHECK,
    /// or that has it switched off, passes.
    ///
    /// # Errors
    /// [`AttachError`] of the plugin that fails.
    pub(crate) fn check(
        &mut self,
        attachment: &Attachment,
        result: &Value,
        deadline: Deadline,
    ) -> Result<(), AttachError> {
        if attachment.network.disable_check || !attachment.network.version.has_check() {
            return Ok(());
        }
        for plugin in &attachment.network.plugins {
            let call = call(self.place, Command::Check, attachment, plugin, Some(result));
            self.delegates.run_for_effect(&call, deadline).map_err(failed(attachment))?;
        }
        Ok(())
    }
}

/// The plugins may have known the network by another name: addresses that pods have under that one
/// stay theirs.
fn hold_former_addresses(attachment: &Attachment) -> Result<(), AttachError> {
    let Some(other_name) = &attachment.other_name else { return Ok(()) };
    former::hold(&attachment.network, other_name).map_err(|source| {
        let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
        AttachError::NotHeld { label, interface, source }
    })
}

fn call<'c>(
    place: Place<'c>,
    command: Command,
    attachment: &'c Attachment,
    plugin: &'c PluginConfig,
    prev_result: Option<&Value>,
) -> Call<'c> {
    let inputs =
        Inputs { prev_result, runtime_config: &attachment.runtime_config, valid_attachments: None };
    let Place { container, netns } = place;
    let target =
        Target { container, netns, interface: &attachment.interface, args: &attachment.args };
    let request = plugin.request(&attachment.network, &inputs);
    Call {
        command,
        plugin: &plugin.kind,
        network: &attachment.label,
        target: Some(target),
        request,
    }
}

fn failed(attachment: &Attachment) -> impl FnOnce(DelegateError) -> AttachError {
    let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
    move |source| AttachError::Delegate { label, interface, source: Box::new(source) }
}

/// The result in the network's version, as the next plugin of the chain must get it. One that is in
/// that version already stays as it was printed. The primary's is taken as the runtime would take
/// it.
fn normalise(
    printed: Value,
    attachment: &Attachment,
    plugin: &PluginConfig,
) -> Result<Value, AttachError> {
    let version = attachment.network.version;
    let read = match attachment.role {
        Role::Primary => AttachmentResult::read_lenient,
        Role::Extra => AttachmentResult::read,
    };
    let result =
        read(&printed, version).map_err(|source| invalid(attachment, Some(plugin), source))?;
    let same = printed.get("cniVersion").and_then(Value::as_str) == Some(version.as_str());
    Ok(if same { printed } else { result.write(version) })
}

fn invalid(
    attachment: &Attachment,
    plugin: Option<&PluginConfig>,
    source: ResultError,
) -> AttachError {
    AttachError::Result {
        label: attachment.label.clone(),
        interface: attachment.interface.clone(),
        plugin: plugin.map(|plugin| plugin.kind.to_string()).unwrap_or_default(),
        source: Box::new(source),
    }
}

/// Whether the result of an extra network leaves the interfaces of others alone: `owner` tells
/// whose an interface is, in words, if it is not this attachment's.
///
/// # Errors
/// [`AttachError::Result`].
pub(crate) fn reject_foreign_interfaces(
    attachment: &Attachment,
    result: &AttachmentResult,
    owner: impl Fn(&str) -> Option<String>,
) -> Result<(), AttachError> {
    if attachment.role == Role::Primary {
        return Ok(());
    }
    result
        .reject_foreign_interfaces(attachment.interface.as_str(), owner)
        .map_err(|source| invalid(attachment, attachment.network.plugins.last(), source))
}

/// STATUS of every plugin of a network; one whose version has no STATUS is ready.
///
/// # Errors
/// [`DelegateError`] of the first plugin that is not ready.
pub(crate) fn status(
    delegates: &mut Delegates<'_>,
    network: &NetworkConfig,
    deadline: Deadline,
) -> Result<(), DelegateError> {
    if !network.version.has_gc_and_status() {
        return Ok(());
    }
    network.plugins.iter().try_for_each(|plugin| {
        let call = network_call(Command::Status, network, plugin, None);
        delegates.run_for_effect(&call, deadline)
    })
}

/// GC of every plugin of a network, past failures. A network whose version has no GC, or that has
/// it switched off, has nothing to do. Returns what failed.
pub(crate) fn gc(
    delegates: &mut Delegates<'_>,
    network: &NetworkConfig,
    valid_attachments: &Value,
    deadline: Deadline,
) -> Vec<DelegateError> {
    if !network.has_gc() {
        return Vec::new();
    }
    let calls = network
        .plugins
        .iter()
        .map(|plugin| network_call(Command::Gc, network, plugin, Some(valid_attachments)));
    calls.filter_map(|call| delegates.run_for_effect(&call, deadline).err()).collect()
}

fn network_call<'c>(
    command: Command,
    network: &'c NetworkConfig,
    plugin: &'c PluginConfig,
    valid_attachments: Option<&Value>,
) -> Call<'c> {
    let inputs = Inputs { prev_result: None, runtime_config: &Map::new(), valid_attachments };
    let request = plugin.request(network, &inputs);
    Call { command, plugin: &plugin.kind, network: network.name.as_str(), target: None, request }
}

#[cfg(test)]
mod tests;
