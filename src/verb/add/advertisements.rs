//! Extra interfaces take no router advertisements unless their network's definition says so.

use super::Addition;
use crate::attach::advertisements::{AcceptRaError, set_accept_ra};
use crate::plan::{Attachment, Role};
use linux::netns::Netns;

/// What the sandbox's new interfaces do with advertisements, while extra networks are attached.
#[derive(Debug, Default)]
pub(super) struct Advertisements {
    /// What was set before the first extra network; `None` as long as nothing was changed.
    before: Option<String>,
    /// What was set last.
    now: String,
    /// Interfaces that take none.
    closed: Vec<String>,
}

impl Advertisements {
    /// Sets what the next interface does. Returns whether the kernel knows IPv6.
    fn set(&mut self, wanted: &str, netns: &Netns) -> Result<bool, AcceptRaError> {
        if self.before.is_some() && self.now == wanted {
            return Ok(true);
        }
        let Some(before) = set_accept_ra(netns, wanted)? else { return Ok(false) };
        self.before.get_or_insert(before);
        wanted.clone_into(&mut self.now);
        Ok(true)
    }
}

impl Addition<'_, '_> {
    /// Before the plugins of an extra network make its interface. A sandbox whose setting cannot be
    /// changed keeps it: the pod has its networks all the same.
    pub(super) fn close_to_routers(&mut self, attachment: &Attachment) {
        if attachment.role != Role::Extra {
            return;
        }
        let wanted = attachment.accept_ra().unwrap_or("0");
        match self.advertisements.set(wanted, self.inside.netns()) {
            Ok(true) if wanted == "0" => {
                self.advertisements.closed.push(attachment.interface.to_string());
            }
            Ok(_) => {}
            Err(error) => log::warn!(
                "pod {}: network \"{}\" on {} may take router advertisements: {error}",
                self.pod,
                attachment.label,
                attachment.interface
            ),
        }
    }

    /// After the last extra network: interfaces that the pod makes itself keep the pod's settings.
    pub(super) fn open_to_routers(&mut self) {
        let Some(before) = self.advertisements.before.take() else { return };
        if let Err(error) = set_accept_ra(self.inside.netns(), &before) {
            log::warn!("pod {}: {error}", self.pod);
        }
    }

    /// The interfaces that take no advertisements.
    pub(super) fn closed_to_routers(&self) -> Vec<String> {
        self.advertisements.closed.clone()
    }
}
