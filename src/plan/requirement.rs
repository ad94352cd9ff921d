//! What a plan needs of the node: plugins that are installed, interfaces to build on, and the
//! daemon of one of them.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Plan, PlanError};
use crate::delegate::DelegateError;
use cni::netconf::{PluginConfig, PluginType};
use plugins::facts;

impl Plan {
    /// Holds the plan against the node: every plugin installed, every `master` there, and every
    /// daemon.
    ///
    /// # Errors
    /// [`PlanError::NotInstalled`], [`PlanError::NoMaster`], [`PlanError::MtuAboveMaster`],
    /// [`PlanError::NoDevice`], [`PlanError::NoDaemon`].
    pub(crate) fn check_node(
        &self,
        installed: impl Fn(&PluginType) -> Result<(), DelegateError>,
        host_link: impl Fn(&str) -> HostLink,
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
        self.check_masters(&host_link)?;
        self.check_devices(&host_link)?;
        self.check_daemons(has_file)
    }

    /// Without its daemon the dhcp plugin fails in ADD, and in the DEL that is to undo it as well.
    /// At a socket that a definition names only the plugin looks, which can be killed: behind the
    /// path may be a file system that hangs.
    fn check_daemons(&self, has_file: impl Fn(&Path) -> bool) -> Result<(), PlanError> {
        for attachment in &self.attachments {
            let mut daemons = attachment.network.plugins.iter().filter_map(facts::daemon_socket);
            let missing = daemons
                .find(|(daemon, socket)| *socket == Path::new(daemon.socket) && !has_file(socket));
            if let Some((daemon, _)) = missing {
                return Err(PlanError::NoDaemon {
                    label: attachment.label.clone(),
                    socket: daemon.socket,
                });
            }
        }
        Ok(())
    }

    /// Every `master` is there, with the MTU that is asked of it, or is a bridge that an earlier
    /// plugin of the plan makes.
    fn check_masters(&self, host_link: impl Fn(&str) -> HostLink) -> Result<(), PlanError> {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        for attachment in &self.attachments {
            for plugin in &attachment.network.plugins {
                let master = facts::host_master(plugin).filter(|master| !made.contains(master));
                if let Some(master) = master {
                    check_master(&attachment.label, plugin, master, host_link(master))?;
                }
                made.extend(facts::made_on_host(plugin));
            }
        }
        Ok(())
    }

    /// Every interface that a plugin moves into the pod is on the host.
    fn check_devices(&self, host_link: impl Fn(&str) -> HostLink) -> Result<(), PlanError> {
        for attachment in &self.attachments {
            for plugin in &attachment.network.plugins {
                match facts::moved_link(plugin) {
                    Some((key, device)) if host_link(device) == HostLink::Absent => {
                        let (label, plugin) = (attachment.label.clone(), plugin.kind.clone());
                        let device = cni::error::one_line(device, 64);
                        return Err(PlanError::NoDevice { label, plugin, key, device });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// An interface of the host by a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HostLink {
    /// There is none.
    Absent,
    /// It is there, with this MTU if that is known.
    Present(Option<u32>),
}

fn check_master(
    label: &str,
    plugin: &PluginConfig,
    master: &str,
    link: HostLink,
) -> Result<(), PlanError> {
    let (label, kind) = (label.to_owned(), plugin.kind.clone());
    let shown = cni::error::one_line(master, 64);
    match link {
        HostLink::Absent => Err(PlanError::NoMaster { label, plugin: kind, master: shown }),
        HostLink::Present(Some(most)) => match facts::mtu_within_master(plugin) {
            Some(mtu) if mtu > u64::from(most) => {
                Err(PlanError::MtuAboveMaster { label, plugin: kind, mtu, master: shown, most })
            }
            _ => Ok(()),
        },
        HostLink::Present(None) => Ok(()),
    }
}
