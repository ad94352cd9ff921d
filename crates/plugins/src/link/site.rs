//! The two places where an attachment is made: the namespace of the calling thread, which is the
//! host's, and the container's. One socket in each.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use cni::error::{Code, Error};
use cni::plugin::{Attachment, Call};
use linux::netlink::{Change, LinkId, LinkState, Netlink};
use linux::netns::{Netns, NetnsError};
use linux::sysctl::SysctlError;

pub(crate) use crate::kernel::kernel_error;

/// The places of one attachment.
#[derive(Debug)]
pub(crate) struct Site<'c> {
    /// The container's namespace.
    pub(crate) netns: Netns,
    /// The host.
    pub(crate) host: Netlink,
    /// The container.
    pub(crate) container: Netlink,
    /// The name of the interface in the container.
    pub(crate) interface: &'c str,
}

impl<'c> Site<'c> {
    /// Opens the namespace that the call names, and a socket in each place.
    pub(crate) fn open(call: &'c Call) -> Result<Self, Error> {
        let Attachment { interface, netns, .. } = call.attachment()?;
        let netns = Netns::open(netns).map_err(kernel_error)?;
        if netns.is_own().map_err(kernel_error)? {
            let problem =
                format!("CNI_NETNS {} is the host's own network namespace", netns.path().display());
            return Err(Error::new(Code::ENVIRONMENT, problem));
        }
        let container = Netlink::open_in(&netns).map_err(kernel_error)?;
        let host = Netlink::open().map_err(kernel_error)?;
        Ok(Self { netns, host, container, interface: interface.as_str() })
    }

    /// The interface in the container, which was just made there.
    pub(crate) fn made(&mut self) -> Result<LinkState, Error> {
        let found = self.container.find(LinkId::Name(self.interface)).map_err(kernel_error)?;
        found.ok_or_else(|| gone(self.interface))
    }

    /// The interface in the container, which an earlier plugin has made.
    pub(crate) fn present(&mut self) -> Result<LinkState, Error> {
        let name = self.interface;
        let found = self.container.find(LinkId::Name(name)).map_err(kernel_error)?;
        found
            .ok_or_else(|| Error::new(Code::IO, format!("the container has no interface {name:?}")))
    }

    /// Gives the link that was made in the container under another name its own.
    pub(crate) fn rename(&mut self, temporary: &str) -> Result<LinkState, Error> {
        let renamed = self.rename_or_fail(temporary);
        if renamed.is_err() {
            self.delete_in_container(temporary);
        }
        renamed
    }

    fn rename_or_fail(&mut self, temporary: &str) -> Result<LinkState, Error> {
        let made = self.container.find(LinkId::Name(temporary)).map_err(kernel_error)?;
        let index = made.ok_or_else(|| gone(temporary))?.index;
        let change = Change::rename_link(index, self.interface);
        let found = self.container.apply_then_find(&[change], &[LinkId::Index(index)]);
        let about = |error| kernel_error(error).about(format!("interface {:?}", self.interface));
        found.map_err(about)?.pop().flatten().ok_or_else(|| gone(self.interface))
    }

    /// Deletes a link of the container after an ADD that failed.
    pub(crate) fn delete_in_container(&mut self, name: &str) {
        undo(&mut self.container, name);
    }

    /// Deletes a link of the host after an ADD that failed.
    pub(crate) fn delete_on_host(&mut self, name: &str) {
        undo(&mut self.host, name);
    }

    /// Runs `work` in the container's namespace.
    pub(crate) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, SysctlError> + Send,
    ) -> Result<T, Error> {
        self.netns.run(work).map_err(kernel_error)?.map_err(sysctl_error)
    }
}

fn undo(netlink: &mut Netlink, name: &str) {
    if let Err(error) = netlink.apply(&[Change::delete_link(LinkId::Name(name))]) {
        log::warn!("an interface of a failed ADD stays: {error}");
    }
}

/// An interface that was just made, and is not there any more.
pub(crate) fn gone(interface: &str) -> Error {
    Error::new(
        Code::IO,
        format!("interface {interface:?} has vanished from the container while it was set up"),
    )
}

/// The container's namespace; `None` if it is gone, or if the runtime names none any more.
pub(crate) fn open_if_there(path: &Path) -> Result<Option<Netns>, Error> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    match Netns::open(path) {
        Ok(netns) => Ok(Some(netns)),
        // What is left at the path after the mount is gone is an empty file.
        Err(NetnsError::Missing(_) | NetnsError::NotANamespace(_)) => Ok(None),
        Err(error) => Err(kernel_error(error)),
    }
}

/// A socket in the container's namespace; `None` if that is gone, or is the host's own.
pub(crate) fn container_if_there(call: &Call) -> Result<Option<Netlink>, Error> {
    Ok(enter_if_there(call)?.map(|(_, netlink)| netlink))
}

/// The container's namespace and a socket in it; `None` if it is gone, or is the host's own.
pub(crate) fn enter_if_there(call: &Call) -> Result<Option<(Netns, Netlink)>, Error> {
    let Some(netns) = open_if_there(call.attachment()?.netns)? else { return Ok(None) };
    if netns.is_own().map_err(kernel_error)? {
        return Ok(None);
    }
    let netlink = Netlink::open_in(&netns).map_err(kernel_error)?;
    Ok(Some((netns, netlink)))
}

/// The protocol's error for a setting that cannot be read or written.
pub(crate) fn sysctl_error(error: SysctlError) -> Error {
    Error::new(Code::IO, error)
}

/// A name for the host's end of a pair, or for a link before it has its own: `veth` and 8
/// hexadecimal digits.
pub(crate) fn random_name() -> String {
    let number = RandomState::new().hash_one(std::process::id());
    format!("veth{:08x}", number & 0xffff_ffff)
}
