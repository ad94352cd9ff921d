//! Router advertisements in a sandbox. On a network that tenants share, any pod can send one, and a
//! pod that takes it has a default route, addresses and name servers from the sender.

use std::fs;
use std::io;

use linux::netns::{Netns, NetnsError};

/// What an interface that is made in the namespace of the reading thread does with advertisements.
const ACCEPT_RA: &str = "/proc/sys/net/ipv6/conf/default/accept_ra";

/// Why the sandbox goes on to take advertisements.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptRaError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused.
    #[error("{ACCEPT_RA}: {0}")]
    Sysctl(#[from] io::Error),
}

/// Sets `accept_ra` for the interfaces that are made in the namespace from now on: an interface has
/// taken an advertisement by the time that its plugin returns. Returns what was set before; `None`
/// in a kernel without IPv6.
///
/// # Errors
/// [`AcceptRaError`].
pub(crate) fn set_accept_ra(netns: &Netns, value: &str) -> Result<Option<String>, AcceptRaError> {
    let set = || match fs::read_to_string(ACCEPT_RA) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(before) => {
            let before = before.trim().to_owned();
            if before != value {
                fs::write(ACCEPT_RA, value)?;
            }
            Ok(Some(before))
        }
    };
    Ok(netns.run(set)??)
}
