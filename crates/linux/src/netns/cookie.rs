//! The kernel's own number of a namespace, which it gives once in a boot. Inodes it gives again at
//! once: the next sandbox very often gets that of the sandbox that has just gone.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::{Deserialize, Serialize};

use super::Netns;

/// The cookie of a namespace (`SO_NETNS_COOKIE`, Linux 5.14): unlike device and inode, no other
/// namespace has had it since the node's start, nor will have it until the next.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct NetnsCookie(u64);

impl NetnsCookie {
    /// That of the namespace in which `socket` was opened; none if the kernel has no cookies.
    #[allow(unsafe_code, reason = "nix has no word for this option")]
    pub(crate) fn of_socket(socket: &impl AsRawFd) -> Option<Self> {
        let mut cookie = 0_u64;
        let mut length = libc::socklen_t::try_from(size_of::<u64>()).ok()?;
        // SAFETY: the descriptor is open for the whole call. The kernel writes `length` bytes at
        // most to the first pointer, which leads to as many, and to the second how many they were.
        // It keeps neither.
        let outcome = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        };
        (outcome == 0 && usize::try_from(length) == Ok(size_of::<u64>())).then_some(Self(cookie))
    }

    /// That of the calling thread's namespace; none if the kernel has no cookies.
    pub fn of_thread() -> Option<Self> {
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        Self::of_socket(&socket.ok()?)
    }

    /// The number: of a namespace that the node started with, 1.
    pub fn number(self) -> u64 {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn for_test(number: u64) -> Self {
        Self(number)
    }
}

impl Netns {
    /// The namespace's cookie, at the price of a visit; none if the kernel has no cookies or does
    /// not let us in.
    pub fn cookie(&self) -> Option<NetnsCookie> {
        let open = || socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        let inside: OwnedFd = self.run(open).ok()?.ok()?;
        NetnsCookie::of_socket(&inside)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::sandbox;
    use super::*;
    use std::path::Path;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    #[test]
    fn a_namespace_keeps_its_cookie_and_no_other_has_it() {
        let (one, other) = (sandbox(), sandbox());
        let cookie = one.cookie().expect("these tests want Linux 5.14");
        assert_eq!(one.cookie(), Some(cookie));
        assert_eq!(one.run(NetnsCookie::of_thread).unwrap(), Some(cookie));
        assert_ne!(cookie.number(), 0);
        let again = Netns::open(&Path::new("/proc/self/fd").join(one.file.as_raw_fd().to_string()))
            .unwrap();
        assert_eq!(again.cookie(), Some(cookie));
        assert_ne!(other.cookie(), Some(cookie));
    }

    #[test]
    fn a_namespace_with_the_inode_of_one_that_is_gone_has_another_cookie() {
        let started = Instant::now();
        let (heir, cookie) = loop {
            if let Some(found) = heir_of_some() {
                break found;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the kernel has given no inode again"
            );
        };
        assert_ne!(heir.cookie(), Some(cookie));
    }

    /// A namespace with the inode of one that is gone, and the cookie of that. Other processes'
    /// namespaces may get an inode first, so there are a few.
    fn heir_of_some() -> Option<(Netns, NetnsCookie)> {
        let gone: Vec<_> =
            (0..16).map(|_| sandbox()).map(|netns| (netns.id(), netns.cookie().unwrap())).collect();
        let mut others = Vec::new();
        for _ in 0..100 {
            let next = sandbox();
            match gone.iter().find(|(id, _)| *id == next.id()) {
                Some((_, cookie)) => return Some((next, *cookie)),
                None => others.push(next),
            }
            // It cleans up behind a namespace a little later.
            sleep(Duration::from_millis(5));
        }
        None
    }

    #[test]
    fn what_is_no_socket_has_no_cookie() {
        assert_eq!(NetnsCookie::of_socket(&std::fs::File::open("/dev/null").unwrap()), None);
    }
}
