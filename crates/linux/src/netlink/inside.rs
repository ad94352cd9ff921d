//! The socket of a sandbox, opened at the first question and kept: entering a namespace takes a
//! thread, and the socket a runtime, which a call then pays for once.

use crate::netns::{Netns, NetnsError};

use super::{Netlink, NetlinkError};

/// Why a sandbox could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// The way to ask the kernel about one namespace.
#[derive(Debug)]
pub struct Inside<'n> {
    netns: &'n Netns,
    netlink: Option<Netlink>,
}

impl<'n> Inside<'n> {
    /// Opens nothing yet.
    pub fn new(netns: &'n Netns) -> Self {
        Self { netns, netlink: None }
    }

    /// The namespace.
    pub fn netns(&self) -> &'n Netns {
        self.netns
    }

    /// The socket, which works in the namespace from any thread.
    ///
    /// # Errors
    /// [`InsideError`] if it is not open yet and cannot be opened.
    pub fn netlink(&mut self) -> Result<&mut Netlink, InsideError> {
        let netlink = match self.netlink.take() {
            Some(netlink) => netlink,
            None => Netlink::open_in(self.netns)?,
        };
        Ok(self.netlink.insert(netlink))
    }
}
