//! The interfaces of the node that definitions call by other names (`nodeInterfaces`).

use super::{Finding, ok, warn};
use crate::config::{Config, NodeInterfaces};
use cni::name::InterfaceName;
use linux::netlink::{LinkId, Netlink, NetlinkError};

/// Whether each of them is there; nothing if there are no such names. Of another node's root the
/// kernel is not known.
pub(super) fn check(config: &Config, is_mounted: bool) -> Vec<Finding> {
    let names = &config.node_interfaces;
    if names.is_empty() {
        return Vec::new();
    }
    if is_mounted {
        let message = format!("{}: not looked for, because this is another root", listed(names));
        return vec![ok(CHECK, message)];
    }
    match Netlink::open() {
        Ok(netlink) => on_node(names, netlink),
        Err(error) => vec![warn(CHECK, error.to_string(), "run it as root")],
    }
}

const CHECK: &str = "interfaces";

fn listed(names: &NodeInterfaces) -> String {
    let words = names.iter().map(|(name, interfaces)| format!("{name} is {}", any_of(interfaces)));
    words.collect::<Vec<_>>().join(", ")
}

fn any_of(interfaces: &[InterfaceName]) -> String {
    let words: Vec<String> = interfaces.iter().map(ToString::to_string).collect();
    words.join(" or ")
}

fn on_node(names: &NodeInterfaces, mut netlink: Netlink) -> Vec<Finding> {
    let (mut there, mut findings) = (Vec::new(), Vec::new());
    for (name, interfaces) in names.iter() {
        match first_on_node(interfaces, &mut netlink) {
            Ok(Some(interface)) => there.push(format!("{name} is {interface}")),
            Ok(None) => findings.push(missing(name, interfaces)),
            Err(error) => findings.push(warn(CHECK, error.to_string(), "run it as root")),
        }
    }
    if !there.is_empty() {
        findings.insert(0, ok(CHECK, there.join(", ")));
    }
    findings
}

fn first_on_node<'i>(
    interfaces: &'i [InterfaceName],
    netlink: &mut Netlink,
) -> Result<Option<&'i InterfaceName>, NetlinkError> {
    for interface in interfaces {
        if netlink.find(LinkId::Name(interface.as_str()))?.is_some() {
            return Ok(Some(interface));
        }
    }
    Ok(None)
}

fn missing(name: &str, interfaces: &[InterfaceName]) -> Finding {
    let message = format!("{name} is {}, which this node does not have", any_of(interfaces));
    let advice =
        "correct \"nodeInterfaces\"; harmless if no pod of this node asks for a network on it";
    warn(CHECK, message, advice)
}
