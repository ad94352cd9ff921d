//! What a plan needs of the node: plugins that are installed, interfaces to build on, and the daemon of one of
//! them.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Plan, PlanError};
use crate::delegate::DelegateError;
use cni::netconf::PluginType;
use plugins::known;

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
            let mut daemons = attachment.network.plugins.iter().filter_map(known::daemon_socket);
            let missing =
                daemons.find(|(daemon, socket)| *socket == Path::new(daemon.socket) && !has_file(socket));
            if let Some((daemon, _)) = missing {
                return Err(PlanError::NoDaemon { label: attachment.label.clone(), socket: daemon.socket });
            }
        }
        Ok(())
    }

    /// Every `master` is there, or is a bridge that an earlier plugin of the plan makes.
    fn check_masters(&self, has_interface: impl Fn(&str) -> bool) -> Result<(), PlanError> {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        for attachment in &self.attachments {
            for plugin in &attachment.network.plugins {
                match known::host_master(plugin) {
                    Some(master) if !made.contains(master) && !has_interface(master) => {
                        return Err(PlanError::NoMaster {
                            label: attachment.label.clone(),
                            plugin: plugin.kind.clone(),
                            master: cni::error::one_line(master, 64),
                        });
                    }
                    _ => made.extend(known::made_on_host(plugin)),
                }
            }
        }
        Ok(())
    }
}
