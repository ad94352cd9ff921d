//! STATUS: whether the node has what ADD needs.

use cni::error::{Code, Error};
use linux::netlink::Netlink;
use linux::tun;

use super::site::kernel_error;

/// Whether the kernel can make links of a kind.
///
/// # Errors
/// Code 50.
pub(crate) fn check_kind(kind: &'static str) -> Result<(), Error> {
    let mut host = Netlink::open().map_err(kernel_error)?;
    if host.supports_kind(kind).map_err(kernel_error)? {
        return Ok(());
    }
    let problem = format!("the kernel cannot make interfaces of the kind {kind}: load its module");
    Err(Error::new(Code::NOT_AVAILABLE, problem))
}

/// Whether the kernel can make tap devices.
///
/// # Errors
/// Code 50.
pub(crate) fn check_tap() -> Result<(), Error> {
    if tun::is_supported() {
        return Ok(());
    }
    let problem = "the kernel cannot make tap interfaces: load its module tun";
    Err(Error::new(Code::NOT_AVAILABLE, problem))
}
