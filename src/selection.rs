//! What a pod asks for in its networks annotation (NPWG 1.3, section 4): text to selections,
//! nothing else.
//!
//! Whether the pod may have it is the policy's question, and whether the network's plugins can do
//! it the plan's. Both annotations, `k8s.v1.cni.cncf.io/networks` and
//! `v1.multus-cni.io/default-network`, have this grammar.

mod canonical;
mod dict;
mod error;
pub mod genie;
mod json_form;
mod request;
mod short_form;

use std::net::IpAddr;

use serde_json::{Map, Value};

pub(crate) use self::error::{Element, ElementError, Refusal, Rule, SelectionError};
pub use self::request::Bandwidth;
pub(crate) use self::request::{InfinibandGuid, MacAddress, PortMapping, RequestedAddress};
use crate::pod::name::{DefinitionName, Namespace};
use cni::name::InterfaceName;
use cni::quoted::Quoted;

/// Longest annotation that is read, in bytes. Kubernetes allows 256 KiB for all annotations of a
/// pod together.
pub const MAX_ANNOTATION_BYTES: usize = 64 * 1024;

/// What the administrator allows one pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most elements an annotation may have.
    pub networks: usize,
    /// What becomes of keys that are not known.
    pub unknown_keys: UnknownKeys,
}

/// What becomes of a key that is not known, and has no period in it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnknownKeys {
    /// The annotation is refused.
    #[default]
    Refuse,
    /// It is passed over, as Multus does, and [`Selection::ignored`] has it.
    Ignore,
}

impl Default for Limits {
    fn default() -> Self {
        Self { networks: 16, unknown_keys: UnknownKeys::default() }
    }
}

/// One attachment that a pod asks for: an element of the annotation (NPWG 1.3, section 4.1.2.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selection {
    /// Namespace of the network definition; the pod's own if the element names none.
    pub namespace: Namespace,
    /// Name of the network definition.
    pub name: DefinitionName,
    /// The interface name that the pod wants (4.1.2.1.5).
    pub interface: Option<InterfaceName>,
    /// Addresses for the interface, all different (4.1.2.1.3); empty if none were asked for.
    pub ips: Vec<RequestedAddress>,
    /// Its hardware address (4.1.2.1.4).
    pub mac: Option<MacAddress>,
    /// Its InfiniBand GUID (4.1.2.1.10).
    pub infiniband_guid: Option<InfinibandGuid>,
    /// Members for the delegate's `args.cni` (4.1.2.1.6), as they were written.
    pub cni_args: Option<Map<String, Value>>,
    /// Ports of the host that lead to it (4.1.2.1.7); empty if none were asked for.
    pub port_mappings: Vec<PortMapping>,
    /// Limits on its traffic (4.1.2.1.8).
    pub bandwidth: Option<Bandwidth>,
    /// Present if this attachment gets the default route, through these gateways (4.1.2.1.9).
    /// The list may be empty: then the network's own gateways are meant.
    pub default_route: Option<Vec<IpAddr>>,
    /// Name of an IPAMClaim object (4.1.2.1.11), a DNS-1123 subdomain. Never together with `ips`.
    pub ipam_claim: Option<String>,
    /// The device to use (Multus): visible ASCII without `/`, `;` and `=`.
    pub device_id: Option<String>,
    /// Unknown keys that were passed over ([`UnknownKeys::Ignore`]), each with its rule.
    pub ignored: Vec<ElementError>,
    /// Number of the element in the annotation, from 0.
    pub position: usize,
}

impl Selection {
    /// A selection of a network with nothing else asked for.
    pub fn new(namespace: Namespace, name: DefinitionName, position: usize) -> Self {
        Self {
            namespace,
            name,
            interface: None,
            ips: Vec::new(),
            mac: None,
            infiniband_guid: None,
            cni_args: None,
            port_mappings: Vec::new(),
            bandwidth: None,
            default_route: None,
            ipam_claim: None,
            device_id: None,
            ignored: Vec::new(),
            position,
        }
    }

    /// How messages name this selection: `element 2 (team-a/blue)`.
    pub fn element(&self) -> Element {
        Element {
            position: self.position,
            network: Some((self.namespace.clone(), self.name.clone())),
        }
    }
}

/// Reads a networks annotation in either form. A blank one asks for nothing.
///
/// A definition without a namespace is looked for in `pod_namespace`.
///
/// # Errors
/// [`SelectionError`] for the first rule that is broken; the annotation is then invalid as a whole.
pub fn parse(
    annotation: &str,
    pod_namespace: &Namespace,
    limits: Limits,
) -> Result<Vec<Selection>, SelectionError> {
    if annotation.len() > MAX_ANNOTATION_BYTES {
        return Err(SelectionError::TooLong { bytes: annotation.len() });
    }
    let selections = match annotation.trim_ascii_start().bytes().next() {
        None => Vec::new(),
        Some(b'[') => json_form::parse(annotation, pod_namespace, limits)?,
        Some(b'{') => return Err(SelectionError::SingleObject),
        Some(_) => short_form::parse(annotation, pod_namespace, limits)?,
    };
    check_interfaces(&selections)?;
    check_default_routes(&selections)?;
    Ok(selections)
}

/// One interface, one attachment (4.1.2.1.5). The kernel tells upper and lower case apart, and so
/// does this.
fn check_interfaces(selections: &[Selection]) -> Result<(), SelectionError> {
    let mut asking: Vec<(&InterfaceName, &Selection)> = Vec::new();
    for selection in selections {
        let Some(name) = &selection.interface else { continue };
        if let Some((_, first)) = asking.iter().find(|(other, _)| *other == name) {
            let rule = Rule::InterfaceTaken { other: first.element() };
            return Err(selection.element().refuse(Refusal::value(
                "interface",
                Quoted::text(name.as_str()),
                rule,
            )));
        }
        asking.push((name, selection));
    }
    Ok(())
}

/// At most one attachment has the default route (4.1.2.1.9).
fn check_default_routes(selections: &[Selection]) -> Result<(), SelectionError> {
    let mut with_route = selections.iter().filter(|selection| selection.default_route.is_some());
    let (Some(first), Some(second)) = (with_route.next(), with_route.next()) else { return Ok(()) };
    let rule = Rule::DefaultRouteTwice { other: first.element() };
    Err(second.element().refuse(Refusal::key("default-route", rule)))
}

#[cfg(test)]
mod tests;
