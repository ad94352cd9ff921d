//! The interfaces of this node for the names that definitions have for them (`nodeInterfaces`), put
//! in before anything is judged or planned: policy, plan, plugins and record know the interface.

use std::collections::BTreeMap;

use super::host_link;
use crate::config::Config;
use crate::definition::{Definition, DefinitionError, Finder, NamedInterface, Wanted};
use crate::plan::HostLink;
use cni::netconf::NetworkConfig;
use plugins::facts;

/// Puts this node's interfaces into a network. Returns the names that they are put in for, each
/// with the interface.
pub(crate) fn rename(config: &Config, network: &mut NetworkConfig) -> BTreeMap<String, String> {
    let names = &config.node_interfaces;
    if names.is_empty() {
        return BTreeMap::new();
    }
    let is_on_node = |interface: &str| host_link(interface) != HostLink::Absent;
    let interface =
        |name: &str| names.interface(name, is_on_node).map(|interface| interface.to_string());
    facts::rename_host_interfaces(network, &interface)
}

/// As [`rename`], remembered for those who are told; `label` is that of the network's attachment.
fn resolve(
    config: &Config,
    label: &str,
    network: &mut NetworkConfig,
    definitions: &mut Finder<'_>,
) {
    for (name, interface) in rename(config, network) {
        let label = label.to_owned();
        definitions.named_interfaces.push(NamedInterface { label, name, interface });
    }
}

/// A network that the node's own configuration names, with this node's interfaces.
pub(super) fn resolve_of_node(
    config: &Config,
    mut network: NetworkConfig,
    definitions: &mut Finder<'_>,
) -> NetworkConfig {
    let label = network.name.to_string();
    resolve(config, &label, &mut network, definitions);
    network
}

/// The definition of each of `wanted`, with this node's interfaces.
pub(super) fn find_all(
    config: &Config,
    wanted: &[Wanted<'_>],
    definitions: &mut Finder<'_>,
) -> Vec<Result<Definition, DefinitionError>> {
    let mut found = definitions.find_all(wanted);
    for (wanted, definition) in wanted.iter().zip(&mut found) {
        if let Ok(definition) = definition {
            let label = format!("{}/{}", wanted.namespace, wanted.name);
            resolve(config, &label, &mut definition.network, definitions);
        }
    }
    found
}
