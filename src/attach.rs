//! Carries out what a plan or a record says, one network at a time: its chain's ADD, DEL, CHECK, GC
//! and STATUS (CNI 1.1.0, section 3). Decides nothing: which networks, and in which order, is the
//! caller's affair.

pub mod advertisements;
pub mod default_route;
pub mod routes;
pub mod snapshot;

use crate::delegate::{Call, DelegateError, Delegates, Target};
use crate::device::DeviceInfoStore;
use crate::plan::{Attachment, Role};
use crate::policy::grants;
use crate::reservation::former::{self, HoldError};
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::name::InterfaceName;
use cni::netconf::{Inputs, NetworkConfig, PluginConfig};
use cni::request::{Command, ContainerId};
use cni::result::{AttachmentResult, ResultError};
use linux::netlink::Link;
use serde_json::{Map, Value};

/// How one network failed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A plugin of the chain failed.
    #[error("network \"{label}\" on {interface}: {source}")]
    Delegate {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// How.
        #[source]
        source: Box<DelegateError>,
    },
    /// The first plugin of the chain could not be started: nothing of the network is there.
    #[error("network \"{label}\" on {interface}: {source}")]
    NotStarted {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// Why.
        #[source]
        source: Box<DelegateError>,
    },
    /// The addresses that pods have under the network's other name cannot be held.
    #[error(
        "network \"{label}\" on {interface}: addresses that host-local has given out under its other name \
         cannot be kept for the pods that have them: {source}"
    )]
    NotHeld {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// What the system says.
        #[source]
        source: HoldError,
    },
    /// The interface was there after the network's plugins had run, and is not there any more.
    #[error(
        "network \"{label}\" on {interface}: its interface was there and is gone: the plugins of a network that was \
         attached after it have removed or renamed it"
    )]
    Vanished {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
    },
    /// A plugin's result is none.
    #[error(
        "network \"{label}\" on {interface}: plugin \"{plugin}\" printed a result that is not valid: {source}"
    )]
    Result {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// The last plugin of the chain.
        plugin: String,
        /// What is wrong with it.
        #[source]
        source: Box<ResultError>,
    },
    /// The network gave an address that the pod has not been granted.
    #[error(
        "network \"{label}\" on {interface}: its claim (\"ipam-claim-reference\") gave {address}, which is in no network \
         that the pod is granted: braid.io/allowed-ips, or policy.allowedSubnets, can have it"
    )]
    NotGranted {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// The address.
        address: ipnetwork::IpNetwork,
    },
    /// What was asked for is not what is there.
    #[error(
        "network \"{label}\" on {interface}: {key} {asked} was asked for, and the network gave {got}; {advice}, or leave \
         \"{key}\" out"
    )]
    NotAsAsked {
        /// The network.
        label: String,
        /// Its interface.
        interface: InterfaceName,
        /// The annotation's key.
        key: &'static str,
        /// What was asked.
        asked: Box<str>,
        /// What is there.
        got: Box<str>,
        /// What to change in the definition.
        advice: Box<str>,
    },
}

impl AttachError {
    /// The error as the protocol has it; a plugin's own code and details are kept.
    pub fn to_protocol(&self) -> Error {
        match self {
            Self::Delegate { source, .. } | Self::NotStarted { source, .. } => {
                let protocol = source.to_protocol();
                Error { details: protocol.details, ..Error::new(protocol.code, self) }
            }
            Self::Result { .. } | Self::Vanished { .. } => Error::new(Code::DELEGATE, self),
            Self::NotAsAsked { .. } | Self::NotGranted { .. } => Error::new(Code::NOT_AS_ASKED, self),
            Self::NotHeld { .. } => Error::new(Code::IO, self),
        }
    }
}

impl AttachError {
    /// Whether a plugin says that it does not know the network's version.
    fn is_of_version(&self) -> bool {
        match self {
            Self::Delegate { source, .. } => source.to_protocol().code == Code::VERSION,
            _ => false,
        }
    }
}

/// The sandbox that attachments are made in.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The container.
    pub container: &'a ContainerId,
    /// The namespace's path; empty if it is gone.
    pub netns: &'a str,
}

/// Runs chains of plugins.
#[derive(Debug)]
pub struct Attacher<'a, 's> {
    /// The door to the plugins.
    pub delegates: &'a mut Delegates<'s>,
    /// The sandbox.
    pub place: Place<'a>,
    /// Files that describe devices.
    pub device_infos: &'a DeviceInfoStore,
}

impl Attacher<'_, '_> {
    /// ADD: every plugin in order, each with the result of the one before. Returns the last result in
    /// the network's version.
    ///
    /// # Errors
    /// [`AttachError`] of the first plugin that fails. What the chain has done by then is for the
    /// caller to undo.
    pub fn add(&mut self, attachment: &Attachment, deadline: Deadline) -> Result<Value, AttachError> {
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
    pub fn del(
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

    /// DEL of an attachment that an ADD of ours was to make, and that has no `result` where the ADD did not end. A
    /// plugin that does not know the network's version has refused such an ADD too: nothing of it is there, and an
    /// error would keep the pod from going for as long as the plugin is that old.
    pub fn undo(
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

    /// What the device plugin says of the device is there before the plugins run. An attachment can do
    /// without it.
    fn prepare_device_info(&self, attachment: &Attachment) {
        let device =
            attachment.device.as_ref().and_then(|device| Some((device.resource.as_ref()?, &device.id)));
        let (Some(file), Some((resource, device))) = (&attachment.device_info_file, device) else { return };
        if let Err(error) = self.device_infos.prepare(file, resource, device) {
            log::warn!("network \"{}\": {error}", attachment.label);
        }
    }

    fn remove_device_info(&self, attachment: &Attachment) {
        let removed = attachment.device_info_file.as_ref().map(|file| self.device_infos.remove(file));
        if let Some(Err(error)) = removed {
            log::warn!("network \"{}\": {error}", attachment.label);
        }
    }

    /// CHECK: every plugin in order, to the first that fails. A network whose version has no CHECK, or
    /// that has it switched off, passes.
    ///
    /// # Errors
    /// [`AttachError`] of the plugin that fails.
    pub fn check(
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

/// The plugins may have known the network by another name: addresses that pods have under that one stay theirs.
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
    let inputs = Inputs { prev_result, runtime_config: &attachment.runtime_config, valid_attachments: None };
    let Place { container, netns } = place;
    let target = Target { container, netns, interface: &attachment.interface, args: &attachment.args };
    let request = plugin.request(&attachment.network, &inputs);
    Call { command, plugin: &plugin.kind, network: &attachment.label, target: Some(target), request }
}

fn failed(attachment: &Attachment) -> impl FnOnce(DelegateError) -> AttachError {
    let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
    move |source| AttachError::Delegate { label, interface, source: Box::new(source) }
}

/// The result in the network's version, as the next plugin of the chain must get it. One that is in
/// that version already stays as it was printed. The primary's is taken as the runtime would take it.
fn normalise(printed: Value, attachment: &Attachment, plugin: &PluginConfig) -> Result<Value, AttachError> {
    let version = attachment.network.version;
    let read = match attachment.role {
        Role::Primary => AttachmentResult::read_lenient,
        Role::Extra => AttachmentResult::read,
    };
    let result = read(&printed, version).map_err(|source| invalid(attachment, Some(plugin), source))?;
    let same = printed.get("cniVersion").and_then(Value::as_str) == Some(version.as_str());
    Ok(if same { printed } else { result.write(version) })
}

fn invalid(attachment: &Attachment, plugin: Option<&PluginConfig>, source: ResultError) -> AttachError {
    AttachError::Result {
        label: attachment.label.clone(),
        interface: attachment.interface.clone(),
        plugin: plugin.map(|plugin| plugin.kind.to_string()).unwrap_or_default(),
        source: Box::new(source),
    }
}

/// Whether the result of an extra network leaves the interfaces of others alone: `owner` tells whose an
/// interface is, in words, where it is not this attachment's.
///
/// # Errors
/// [`AttachError::Result`].
pub fn reject_foreign_interfaces(
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

/// Whether the sandbox shows what was asked of an attachment: the addresses in its result, the MAC on
/// its link, or in its result where it has no link.
///
/// # Errors
/// [`AttachError::NotAsAsked`], [`AttachError::NotGranted`].
pub fn verify(
    attachment: &Attachment,
    result: &AttachmentResult,
    link: Option<&Link>,
) -> Result<(), AttachError> {
    let not_as_asked = |key, asked: String, got: Vec<String>| {
        let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
        let advice = advice(&attachment.network, key, !result.ips.is_empty());
        let got = if got.is_empty() { "none".to_owned() } else { got.join(", ") };
        let (asked, got, advice) = (asked.into(), got.into(), advice.into());
        Err(AttachError::NotAsAsked { label, interface, key, asked, got, advice })
    };
    let given: Vec<_> =
        result.ips.iter().filter_map(|ip| ip.address.parse::<ipnetwork::IpNetwork>().ok()).collect();
    if let Some(missing) =
        attachment.asked_ips.iter().find(|asked| !given.iter().any(|given| given.ip() == **asked))
    {
        return not_as_asked("ips", missing.to_string(), given.iter().map(ToString::to_string).collect());
    }
    if let Some(networks) = &attachment.granted_networks {
        let is_granted =
            |address: ipnetwork::IpNetwork| networks.iter().any(|network| grants(*network, address));
        if let Some(address) = given.iter().copied().find(|address| !is_granted(*address)) {
            let (label, interface) = (attachment.label.clone(), attachment.interface.clone());
            return Err(AttachError::NotGranted { label, interface, address });
        }
    }
    let reported =
        result.sandbox_interfaces().find(|(_, reported)| reported.name == attachment.interface.as_str());
    let mac = match link {
        Some(link) => link.mac.as_deref(),
        None => reported.and_then(|(_, reported)| reported.mac.as_deref()),
    };
    match &attachment.asked_mac {
        Some(asked) if !mac.is_some_and(|mac| mac.eq_ignore_ascii_case(asked)) => {
            not_as_asked("mac", asked.clone(), mac.into_iter().map(str::to_owned).collect())
        }
        _ => Ok(()),
    }
}

/// What to change in a definition whose network did not give what was asked for: only what it lacks.
fn advice(network: &NetworkConfig, key: &str, has_addresses: bool) -> String {
    let ipam = network.plugins.iter().find_map(PluginConfig::ipam);
    let declared = network.plugins.iter().find(|plugin| plugin.declares(key));
    let capability = format!("\"capabilities\": {{\"{key}\": true}}");
    match (key, ipam, declared) {
        ("ips", None, Some(plugin)) if !has_addresses => {
            format!(
                "add the missing IPAM plugin to plugin \"{}\", as in \"ipam\": {{\"type\": \"static\"}}",
                plugin.kind
            )
        }
        ("ips", None, None) if !has_addresses => {
            format!(
                "add {capability} and an IPAM plugin, as in \"ipam\": {{\"type\": \"static\"}}, to the plugin that can set it"
            )
        }
        ("ips", Some(ipam), Some(_)) => format!("ask for an address that IPAM plugin \"{ipam}\" gives"),
        (_, _, Some(plugin)) => {
            format!("plugin \"{}\" declares the capability and does not heed it: take another", plugin.kind)
        }
        (_, _, None) => format!("add {capability} to the plugin that can set it"),
    }
}

/// STATUS of every plugin of a network; one whose version has no STATUS is ready.
///
/// # Errors
/// [`DelegateError`] of the first plugin that is not ready.
pub fn status(
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

/// GC of every plugin of a network, past failures. A network whose version has no GC, or that has it
/// switched off, has nothing to do. Returns what failed.
pub fn gc(
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
mod tests {
    use super::*;
    use cni::netconf::Missing;
    use cni::version::Version;
    use serde_json::json;

    fn attachment(version: &str) -> Attachment {
        let value = json!({"cniVersion": version, "name": "blue", "type": "fake"});
        Attachment {
            label: "team-a/blue".to_owned(),
            role: Role::Extra,
            interface: "net1".parse().unwrap(),
            network: NetworkConfig::parse(&value.to_string(), &Missing::default()).unwrap(),
            runtime_config: Map::new(),
            args: "".into(),
            asked_ips: Vec::new(),
            granted_networks: None,
            asked_mac: None,
            default_route: None,
            device: None,
            device_info_file: None,
            other_name: None,
        }
    }

    fn normalised(printed: Value, attachment: &Attachment) -> Result<Value, String> {
        normalise(printed, attachment, &attachment.network.plugins[0]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_result_in_the_networks_version_stays_as_it_was_printed() {
        let printed = json!({"cniVersion": "1.0.0", "x": [1, {"y": null}], "ips": [{"address": "10.0.0.5/24", "z": 1}]});
        assert_eq!(normalised(printed.clone(), &attachment("1.0.0")), Ok(printed));
    }

    #[test]
    fn another_versions_result_is_converted_and_a_missing_version_filled_in() {
        let old = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.5/24"}});
        let lists = |version: &str| json!({"cniVersion": version, "ips": [{"address": "10.0.0.5/24"}]});
        assert_eq!(normalised(old, &attachment("1.0.0")), Ok(lists("1.0.0")));
        assert_eq!(normalised(lists("1.1.0"), &attachment("1.0.0")), Ok(lists("1.0.0")));
        let bare = json!({"ips": [{"address": "10.0.0.5/24"}]});
        assert_eq!(normalised(bare, &attachment("1.0.0")), Ok(lists("1.0.0")));
        let with_family = json!([{"version": "4", "address": "10.0.0.5/24"}]);
        let converted = normalised(lists("1.0.0"), &attachment("0.4.0")).unwrap();
        assert_eq!(converted, json!({"cniVersion": "0.4.0", "ips": with_family}));
    }

    #[test]
    fn an_extra_networks_result_is_read_strictly_and_the_primarys_is_not() {
        let broken = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24", "interface": 7}]});
        let mut attachment = attachment("1.0.0");
        let error = normalised(broken.clone(), &attachment).unwrap_err();
        let start = "network \"team-a/blue\" on net1: plugin \"fake\" printed a result that is not valid: ";
        assert!(error.starts_with(start) && error.contains("ips[0].interface"), "{error}");
        attachment.role = Role::Primary;
        assert_eq!(normalised(broken.clone(), &attachment), Ok(broken));
        assert!(normalised(json!({"cniVersion": "7.0.0"}), &attachment).unwrap_err().contains("cniVersion"));
    }

    fn verified(attachment: &Attachment, result: Value, link_mac: Option<&str>) -> Result<(), String> {
        let result = AttachmentResult::read(&result, Version::V1_0_0).unwrap();
        let link = link_mac.map(|mac| Link {
            index: 2,
            name: "net1".to_owned(),
            mac: Some(mac.to_owned()),
            mtu: None,
            up: true,
            addresses: Vec::new(),
        });
        verify(attachment, &result, link.as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_address_asked_for_must_be_in_the_result() {
        let mut attachment = attachment("1.0.0");
        let ips = |list: &[&str]| {
            let ips: Vec<_> = list.iter().map(|address| json!({"address": address})).collect();
            json!({ "ips": ips })
        };
        assert_eq!(verified(&attachment, ips(&[]), None), Ok(()), "nothing was asked for");
        attachment.asked_ips = vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        assert_eq!(
            verified(&attachment, ips(&["fd00:0:0::5/64", "10.0.0.5/16", "10.0.0.6/24"]), None),
            Ok(())
        );
        assert_eq!(
            verified(&attachment, ips(&["10.0.0.5/24", "10.0.0.6/24"]), None).unwrap_err(),
            "network \"team-a/blue\" on net1: ips fd00::5 was asked for, and the network gave 10.0.0.5/24, \
             10.0.0.6/24; add \"capabilities\": {\"ips\": true} to the plugin that can set it, or leave \
             \"ips\" out"
        );
        assert!(verified(&attachment, ips(&[]), None).unwrap_err().contains("the network gave none"));
        let error = verify(&attachment, &AttachmentResult::default(), None).unwrap_err();
        assert_eq!(error.to_protocol().code, Code::NOT_AS_ASKED);
    }

    #[test]
    fn every_address_of_a_claim_must_be_granted() {
        let mut attachment = attachment("1.0.0");
        attachment.granted_networks =
            Some(vec!["10.0.0.0/24".parse().unwrap(), "fd00::9/64".parse().unwrap()]);
        let given = |list: &[&str]| {
            let ips: Vec<_> = list.iter().map(|address| json!({"address": address})).collect();
            verified(&attachment, json!({ "ips": ips }), None)
        };
        assert_eq!(given(&["10.0.0.5/24", "fd00::9/64"]), Ok(()));
        assert_eq!(
            given(&["10.0.0.5/24", "10.96.0.10/12"]).unwrap_err(),
            "network \"team-a/blue\" on net1: its claim (\"ipam-claim-reference\") gave 10.96.0.10/12, which is in no \
             network that the pod is granted: braid.io/allowed-ips, or policy.allowedSubnets, can have it"
        );
        assert!(given(&["10.0.0.5/23"]).is_err() && given(&["fd00::8/64"]).is_err());
    }

    #[test]
    fn the_mac_asked_for_must_be_on_the_link_or_where_there_is_none_in_the_result() {
        let mut attachment = attachment("1.0.0");
        let reported =
            |name: &str, mac: &str| json!({"interfaces": [{"name": name, "mac": mac, "sandbox": "/n"}]});
        assert_eq!(verified(&attachment, json!({}), None), Ok(()), "nothing was asked for");
        attachment.asked_mac = Some("02:00:00:00:00:0a".to_owned());
        let table = [
            (reported("net1", "02:00:00:00:00:0A"), None, true),
            (reported("net1", "02:00:00:00:00:0a"), Some("02:00:00:00:00:0a"), true),
            (json!({}), Some("02:00:00:00:00:0a"), true),
            (reported("net1", "02:00:00:00:00:0b"), Some("02:00:00:00:00:0a"), true),
            (reported("net1", "02:00:00:00:00:0a"), Some("02:00:00:00:00:0b"), false),
            (reported("net2", "02:00:00:00:00:0a"), None, false),
            (json!({"interfaces": [{"name": "net1", "mac": "02:00:00:00:00:0a"}]}), None, false),
            (json!({}), None, false),
        ];
        for (result, link, expected) in table {
            let outcome = verified(&attachment, result.clone(), link);
            assert_eq!(outcome.is_ok(), expected, "{result} {link:?}: {outcome:?}");
        }
        let error = verified(&attachment, json!({}), Some("02:00:00:00:00:0b")).unwrap_err();
        assert!(
            error.contains("mac 02:00:00:00:00:0a was asked for, and the network gave 02:00:00:00:00:0b"),
            "{error}"
        );
    }
}
