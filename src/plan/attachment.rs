//! One network on one interface.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::origin::{Origin, Source};
use cni::keys;
use cni::name::InterfaceName;
use cni::netconf::{NetworkConfig, NetworkName};
use cni::request::CniArgs;

/// Whose network an attachment is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The cluster's: the pod's own addresses.
    Primary,
    /// One that the pod, or the node's configuration, has added.
    Extra,
}

/// One network on one interface, with all that its plugins will be told. The ledger keeps it whole.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Attachment {
    /// `namespace/name` of the definition, or the network's name if the node's configuration
    /// names it.
    pub label: String,
    /// Whose network it is.
    pub role: Role,
    /// The interface in the sandbox.
    pub interface: InterfaceName,
    /// The chain.
    pub network: NetworkConfig,
    /// Capability arguments, each for the plugins that declare it.
    pub runtime_config: Map<String, Value>,
    /// `CNI_ARGS`.
    pub args: CniArgs,
    /// Addresses that the result must show.
    pub asked_ips: Vec<IpAddr>,
    /// The networks that every address of the result must lie in; `None` if any may be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_networks: Option<Vec<IpNetwork>>,
    /// The MAC that the result must show.
    pub asked_mac: Option<String>,
    /// Where this attachment gets the default route: the gateways asked for, none meaning its own.
    pub default_route: Option<Vec<IpAddr>>,
    /// The device that its plugins use.
    #[serde(default)]
    pub device: Option<Device>,
    /// Where its plugins say what they know of the device (Device Information Specification,
    /// section 4.2).
    #[serde(default)]
    pub device_info_file: Option<PathBuf>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The other name that the network's plugins may have known it by, when a policy came or went:
    /// the definition's own if the policy has scoped it, the scoped one if not. Of use to ADD
    /// alone.
    #[serde(skip)]
    pub other_name: Option<NetworkName>,
}

/// A device that an attachment has for itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Device {
    /// The resource that it is of, if the definition names one.
    pub resource: Option<String>,
    /// Its ID, such as a PCI address.
    pub id: String,
}

impl Attachment {
    /// Where it comes from. What records of Braid before 0.2 do not say, the label does: only what
    /// a pod selects has a namespace in it.
    pub(crate) fn source(&self) -> Source<'_> {
        match &self.origin {
            Some(Origin::Node) => Source::Node,
            Some(Origin::Annotation { element }) => Source::Annotation(Some(element)),
            Some(Origin::Attach) => Source::Attach,
            Some(Origin::Other) => Source::Other,
            None if self.role == Role::Extra && self.label.contains('/') => {
                Source::Annotation(None)
            }
            None => Source::Node,
        }
    }

    /// Whether the network's plugins know it by another name than its definition's: that one is
    /// longer.
    pub fn is_scoped(&self) -> bool {
        let name = self.network.name.as_str();
        self.other_name.as_ref().is_some_and(|other| other.as_str().len() < name.len())
    }

    /// What the network's tuning plugin sets for router advertisements (`accept_ra`, 0 to 2) on the
    /// attachment's interface; `None` if it does not say.
    pub fn accept_ra(&self) -> Option<&str> {
        let tuning = self.network.plugins.iter().filter(|plugin| plugin.kind.as_str() == "tuning");
        let sysctls = tuning.filter_map(|plugin| keys::get(plugin.object(), "sysctl")?.as_object());
        let values = sysctls.flatten().filter(|(name, _)| self.is_accept_ra(name));
        values
            .filter_map(|(_, value)| value.as_str())
            .rfind(|value| matches!(*value, "0" | "1" | "2"))
    }

    fn is_accept_ra(&self, name: &str) -> bool {
        let name = name.replace('/', ".");
        let interface =
            name.strip_prefix("net.ipv6.conf.").and_then(|rest| rest.strip_suffix(".accept_ra"));
        interface
            .is_some_and(|interface| interface == "IFNAME" || interface == self.interface.as_str())
    }

    /// An attachment of which nothing in particular is asked.
    pub fn new(
        label: String,
        role: Role,
        interface: InterfaceName,
        network: NetworkConfig,
        args: CniArgs,
    ) -> Self {
        Self {
            label,
            role,
            interface,
            network,
            runtime_config: Map::new(),
            args,
            asked_ips: Vec::new(),
            granted_networks: None,
            asked_mac: None,
            default_route: None,
            device: None,
            device_info_file: None,
            origin: None,
            other_name: None,
        }
    }
}
