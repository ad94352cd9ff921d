//! What a plan needs of the node: plugins that are installed, interfaces to build on, and the daemon of one of
//! them.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Plan, PlanError};
use crate::delegate::DelegateError;
use cni::keys;
use cni::netconf::{PluginConfig, PluginType};

/// Where the daemon of the dhcp plugin listens unless the definition says otherwise.
const DHCP_SOCKET: &str = "/run/cni/dhcp.sock";

impl Plan {
    /// Holds the plan against the node: every plugin installed, every `master` there, and every daemon.
    ///
    /// # Errors
    /// [`PlanError::NotInstalled`], [`PlanError::NoMaster`], [`PlanError::NoDaemon`].
    pub fn check_node(
        &self,
        installed: impl Fn(&PluginType) -> Result<(), DelegateError>,
        has_interface: impl Fn(&str) -> bool,
        has_file: impl Fn(&Path) -> bool,
    ) -> Result<(), PlanError> {
        for attachment in &self.attachments {
            for plugin in attachment.network.plugins.iter() {
                let ipam = plugin.ipam().and_then(|kind| kind.parse().ok());
                for kind in std::iter::once(plugin.kind.clone()).chain(ipam) {
                    installed(&kind).map_err(|source| PlanError::NotInstalled {
                        label: attachment.label.clone(),
                        source,
                    })?;
                }
            }
        }
        self.check_masters(has_interface)?;
        self.check_daemons(has_file)
    }

    /// Without its daemon the dhcp plugin fails in ADD, and in the DEL that is to undo it as well. At a socket that
    /// a definition names only the plugin looks, which can be killed: behind the path may be a file system that hangs.
    fn check_daemons(&self, has_file: impl Fn(&Path) -> bool) -> Result<(), PlanError> {
        for attachment in &self.attachments {
            let mut sockets = attachment.network.plugins.iter().filter_map(dhcp_socket);
            if sockets.any(|socket| socket == Path::new(DHCP_SOCKET) && !has_file(socket)) {
                return Err(PlanError::NoDaemon { label: attachment.label.clone(), socket: DHCP_SOCKET });
            }
        }
        Ok(())
    }

    /// Every `master` is there, or is a bridge that an earlier plugin of the plan makes.
    fn check_masters(&self, has_interface: impl Fn(&str) -> bool) -> Result<(), PlanError> {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        for attachment in &self.attachments {
            for plugin in &attachment.network.plugins {
                match host_master(plugin) {
                    Some(master) if !made.contains(master) && !has_interface(master) => {
                        return Err(PlanError::NoMaster {
                            label: attachment.label.clone(),
                            plugin: plugin.kind.clone(),
                            master: cni::error::one_line(master, 64),
                        });
                    }
                    _ => made.extend(bridge_of(plugin)),
                }
            }
        }
        Ok(())
    }
}

/// The interface of the host that a plugin builds on. With `linkInContainer` it is in the sandbox, where
/// an earlier network may make it.
fn host_master(plugin: &PluginConfig) -> Option<&str> {
    let in_container = keys::get(plugin.object(), "linkInContainer").is_some_and(|value| *value == true);
    plugin.text("master").filter(|_| builds_on_master(plugin.kind.as_str()) && !in_container)
}

/// Where the daemon of the dhcp plugin listens, if a plugin has its addresses from that.
pub fn dhcp_socket(plugin: &PluginConfig) -> Option<&Path> {
    let ipam = keys::get(plugin.object(), "ipam").filter(|_| plugin.ipam() == Some("dhcp"))?;
    Some(Path::new(keys::get_text(ipam, "daemonSocketPath").unwrap_or(DHCP_SOCKET)))
}

/// The bridge that a plugin makes where it is missing; `cni0` is the bridge plugin's own default.
fn bridge_of(plugin: &PluginConfig) -> Option<&str> {
    (plugin.kind.as_str() == "bridge").then(|| plugin.text("bridge").unwrap_or("cni0"))
}

fn builds_on_master(kind: &str) -> bool {
    matches!(kind, "macvlan" | "ipvlan" | "vlan" | "macvtap" | "bond")
}
