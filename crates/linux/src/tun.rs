//! Persistent tap devices, which the kernel makes at the request of /dev/net/tun.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use nix::libc::{IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_TUN_EXCL, IFF_VNET_HDR, c_int};

/// Where the kernel is asked.
const PATH: &str = "/dev/net/tun";

/// Bytes of a link's name with its NUL (`IFNAMSIZ`), and of the rest of `struct ifreq`.
const NAME: usize = 16;
const REST: usize = 22;

/// A tap device that is to be made. It stays when the process ends.
#[derive(Clone, Copy, Debug)]
pub struct NewTap<'a> {
    /// Its name, of 15 bytes at most.
    pub name: &'a str,
    /// Whether several programs read and write it at once.
    pub multi_queue: bool,
    /// Whether a header for offloading is in front of each frame.
    pub vnet_header: bool,
    /// Whether frames have no header of the kernel's own in front.
    pub no_packet_info: bool,
    /// The user that may open it; any administrator's without one.
    pub owner: Option<u32>,
    /// The group that may open it.
    pub group: Option<u32>,
}

/// A step of making a tap device that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {}", reason(source))]
pub struct TunError {
    /// What was to be done.
    pub action: String,
    /// What the kernel says.
    #[source]
    pub source: io::Error,
}

/// Whether the kernel has tap devices.
pub fn is_supported() -> bool {
    std::path::Path::new(PATH).exists()
}

/// Makes a tap device in the namespace of the calling thread. One of its name is an error.
///
/// # Errors
/// [`TunError`]; there is no device then.
pub fn create(tap: &NewTap<'_>) -> Result<(), TunError> {
    let failed = |action: String| move |source| TunError { action, source };
    let opened = OpenOptions::new().read(true).write(true).open(PATH);
    let file = opened.map_err(failed(format!("open {PATH}")))?;
    // Without the last call the device goes with the file.
    request(&file, tap)
        .and_then(|()| settle(&file, tap))
        .map_err(failed(format!("create tap interface {:?}", tap.name)))
}

/// `struct ifreq`, as far as TUNSETIFF reads it.
#[repr(C)]
struct TunRequest {
    name: [u8; NAME],
    flags: u16,
    rest: [u8; REST],
}

#[allow(unsafe_code, reason = "nix has no safe wrapper for these ioctls")]
mod ioctl {
    use super::{TunRequest, c_int};

    nix::ioctl_readwrite_bad!(
        tun_set_iff,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        TunRequest
    );
    nix::ioctl_write_int_bad!(
        tun_set_persist,
        nix::request_code_write!(b'T', 203, size_of::<c_int>())
    );
    nix::ioctl_write_int_bad!(
        tun_set_owner,
        nix::request_code_write!(b'T', 204, size_of::<c_int>())
    );
    nix::ioctl_write_int_bad!(
        tun_set_group,
        nix::request_code_write!(b'T', 206, size_of::<c_int>())
    );
}

#[allow(unsafe_code, reason = "nix has no safe wrapper for this ioctl")]
fn request(file: &File, tap: &NewTap<'_>) -> io::Result<()> {
    let mut name = [0; NAME];
    let bytes = tap.name.as_bytes();
    let place = name.get_mut(..bytes.len()).filter(|place| place.len() < NAME);
    place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
    let flag = |on: bool, flag: c_int| if on { flag } else { 0 };
    let flags = IFF_TAP
        | IFF_TUN_EXCL
        | flag(tap.multi_queue, IFF_MULTI_QUEUE)
        | flag(tap.vnet_header, IFF_VNET_HDR)
        | flag(tap.no_packet_info, IFF_NO_PI);
    let flags = u16::try_from(flags).map_err(io::Error::other)?;
    let mut request = TunRequest { name, flags, rest: [0; REST] };
    // SAFETY: the descriptor is open, and `request` is as large as the struct ifreq that the kernel
    // reads, and writes the device's name back to.
    unsafe { ioctl::tun_set_iff(file.as_raw_fd(), &raw mut request) }?;
    Ok(())
}

#[allow(unsafe_code, reason = "nix has no safe wrapper for these ioctls")]
fn settle(file: &File, tap: &NewTap<'_>) -> io::Result<()> {
    // The kernel takes the number as it is, and refuses the one that means none.
    let id = |id: u32| c_int::from_ne_bytes(id.to_ne_bytes());
    let fd = file.as_raw_fd();
    if let Some(owner) = tap.owner {
        // SAFETY: the descriptor is open, and the kernel takes the number as it is.
        unsafe { ioctl::tun_set_owner(fd, id(owner)) }?;
    }
    if let Some(group) = tap.group {
        // SAFETY: as above.
        unsafe { ioctl::tun_set_group(fd, id(group)) }?;
    }
    // SAFETY: as above.
    unsafe { ioctl::tun_set_persist(fd, 1) }?;
    Ok(())
}

fn reason(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::NotFound => "the kernel has no tap devices: load its module tun".to_owned(),
        _ => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::testing::{ip, sandbox};

    const TAP: NewTap<'static> = NewTap {
        name: "tap0",
        multi_queue: false,
        vnet_header: false,
        no_packet_info: true,
        owner: None,
        group: None,
    };

    #[test]
    fn a_tap_device_stays_and_is_made_once() {
        let netns = sandbox();
        netns.run(|| create(&TAP)).unwrap().unwrap();
        assert!(ip(&netns, &["-d link show tap0"]).contains("persist on"));
        netns.run(|| create(&TAP)).unwrap().unwrap_err();
        let owned =
            NewTap { name: "tap1", multi_queue: true, owner: Some(4242), group: Some(4243), ..TAP };
        netns.run(|| create(&owned)).unwrap().unwrap();
        let shown = ip(&netns, &["-d link show tap1"]);
        assert!(shown.contains(" multi_queue ") && shown.contains("user 4242"), "{shown}");
        let invalid = NewTap { name: "a-name-of-16-char", ..TAP };
        netns.run(|| create(&invalid)).unwrap().unwrap_err();
    }
}
