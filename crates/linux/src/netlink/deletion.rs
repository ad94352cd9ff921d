//! Deleting links without the kernel's wait behind it.
//!
//! `RTM_DELLINK` takes links out of their namespace at once, addresses and routes with them, and is
//! answered a grace period of RCU later (`netdev_run_todo`), when no reader can have them any more:
//! most of the time that a deletion takes. So a child process makes the request and waits for the
//! answer, while we look the links up, and go on when none is there.
//!
//! The child may outlive us by that wait, which no signal ends. It holds nothing of ours meanwhile,
//! neither the runtime's streams nor a lock, and has nothing left to do.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::connection::{LIMIT, refuse_to_stall};
use super::{Change, LinkId, Netlink, NetlinkError, Object, Operation, fault};

/// The shortest and the longest wait between two looks.
const PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(5)];

/// Children that have not been waited for: the kernel still makes them wait.
static WAITING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

impl Netlink {
    /// Deletes links by one request, and returns when none of those of these indices is there any
    /// more. One that was not there is deleted.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses, or has not done it in 10 s.
    pub fn delete_links(
        &mut self,
        deletion: &Change<'_>,
        indices: &[u32],
    ) -> Result<(), NetlinkError> {
        let failed = |errno| fault(Operation::Reach, Object::Socket, errno);
        refuse_to_stall().map_err(failed)?;
        let mut sockets = self.sockets();
        let request = sockets.dumps.request(deletion.message());
        let started = start(sockets.dumps.descriptor(), &request);
        drop(sockets);
        match started {
            Ok(child) => self.wait_until_gone(deletion, indices, child),
            // There is no room for another process.
            Err(_) => self.apply(std::slice::from_ref(deletion)),
        }
    }

    fn wait_until_gone(
        &mut self,
        deletion: &Change<'_>,
        indices: &[u32],
        mut child: Child,
    ) -> Result<(), NetlinkError> {
        let links: Vec<LinkId<'_>> = indices.iter().map(|index| LinkId::Index(*index)).collect();
        let until = Instant::now() + LIMIT;
        let [mut pause, longest] = PAUSES;
        loop {
            let has_ended = child.has_ended();
            // The look waits for the lock that the kernel holds while it takes the links away.
            if self.apply_then_find(&[], &links)?.iter().all(Option::is_none) {
                return Ok(());
            }
            if has_ended {
                // Refused, or the request was never made.
                return self.apply(std::slice::from_ref(deletion));
            }
            if Instant::now() >= until {
                let (operation, object) = deletion.about();
                return Err(fault(operation, object, io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }
}

/// A process that makes one request and ends when the kernel has answered.
#[derive(Debug)]
struct Child {
    pid: Pid,
    has_ended: bool,
}

impl Child {
    fn has_ended(&mut self) -> bool {
        self.has_ended = self.has_ended || has_ended(self.pid);
        self.has_ended
    }
}

impl Drop for Child {
    /// A process that lives on after this call waits for its children at the next one.
    fn drop(&mut self) {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|pid| !has_ended(*pid));
        if !self.has_ended() {
            waiting.push(self.pid);
        }
    }
}

/// Whether a child has ended; waits for it then.
fn has_ended(pid: Pid) -> bool {
    !matches!(
        waitpid(pid, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)
    )
}

#[allow(unsafe_code, reason = "nix has no safe wrapper for fork")]
fn start(socket: RawFd, request: &[u8]) -> io::Result<Child> {
    // SAFETY: the child makes system calls alone, on memory of its own that was prepared before,
    // and ends without exit handlers: nothing allocates, locks or panics, whatever other threads
    // of ours did at the time.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Child { pid: child, has_ended: false }),
        ForkResult::Child => make_request(socket, request),
    }
}

/// Runs in the child: closes all but the socket, so that a runtime sees the end of our output and
/// a lock of ours ends with us, and asks the kernel.
#[allow(unsafe_code, reason = "system calls behind fork, for which nothing may allocate")]
fn make_request(socket: RawFd, request: &[u8]) -> ! {
    // SAFETY: plain system calls on values, and on a slice that the child has a copy of.
    unsafe {
        if libc::dup2(socket, 0) == 0 && close_all_but_first() {
            libc::send(0, request.as_ptr().cast(), request.len(), 0);
        }
        libc::_exit(0)
    }
}

/// Closes every descriptor but 0; not on kernels before 5.9, which cannot.
#[allow(unsafe_code, reason = "nix has no wrapper for close_range")]
fn close_all_but_first() -> bool {
    // SAFETY: three integers; no descriptor of the child is used behind it but 0.
    unsafe { libc::syscall(libc::SYS_close_range, 1_u32, u32::MAX, 0_u32) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::LinkSettings;
    use crate::netns::testing::{ip, sandbox};
    use std::io::Read;

    fn index(netlink: &mut Netlink, name: &str) -> u32 {
        netlink.find(LinkId::Name(name)).unwrap().unwrap().index
    }

    #[test]
    fn a_deleted_link_is_gone_with_its_other_end() {
        let netns = sandbox();
        ip(&netns, &["link add one type veth peer name two", "link set one up", "link set two up"]);
        let mut netlink = netns.run(Netlink::open).unwrap().unwrap();
        let deleted = index(&mut netlink, "one");
        let deletion = Change::delete_link(LinkId::Index(deleted));
        netlink.delete_links(&deletion, &[deleted]).unwrap();
        let left =
            netlink.apply_then_find(&[], &[LinkId::Name("one"), LinkId::Name("two")]).unwrap();
        assert_eq!(left, [None, None]);
        // The name is free, and the socket works.
        ip(&netns, &["link add one type veth peer name two"]);
        assert!(netlink.links().unwrap().len() > 2);
        netlink.delete_links(&deletion, &[deleted]).unwrap();
    }

    #[test]
    fn links_of_a_group_are_gone_together() {
        let netns = sandbox();
        ip(
            &netns,
            &["link add one type bridge", "link add two type bridge", "link add three type bridge"],
        );
        let mut netlink = netns.run(Netlink::open).unwrap().unwrap();
        let group = LinkSettings { group: Some(70_000), ..LinkSettings::default() };
        let indices = ["one", "two"].map(|name| index(&mut netlink, name));
        let joined = indices.map(|index| Change::set_link(LinkId::Index(index), &group));
        netlink.apply(&joined).unwrap();
        netlink.delete_links(&Change::delete_group(70_000), &indices).unwrap();
        let names = ["one", "two", "three"].map(LinkId::Name);
        let left = netlink.apply_then_find(&[], &names).unwrap();
        assert_eq!(left.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn a_refusal_of_the_kernel_is_an_error() {
        let netns = sandbox();
        let mut netlink = netns.run(Netlink::open).unwrap().unwrap();
        let deleted = index(&mut netlink, "lo");
        let deletion = Change::delete_link(LinkId::Index(deleted));
        let error = netlink.delete_links(&deletion, &[deleted]).unwrap_err();
        assert_eq!(error.errno.raw_os_error(), Some(libc::EOPNOTSUPP), "{error}");
    }

    #[test]
    fn the_child_holds_no_descriptor_of_ours() {
        let netns = sandbox();
        let netlink = netns.run(Netlink::open).unwrap().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let deletion = Change::delete_link(LinkId::Index(4711));
        let request = netlink.sockets().dumps.request(deletion.message());
        let _child = start(netlink.sockets().dumps.descriptor(), &request).unwrap();
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the end of the stream");
    }

    #[test]
    fn children_that_have_ended_are_waited_for() {
        let netns = sandbox();
        let mut netlink = netns.run(Netlink::open).unwrap().unwrap();
        for name in ["one", "two", "three"] {
            ip(&netns, &[&format!("link add {name} type bridge")]);
            let deleted = index(&mut netlink, name);
            let deletion = Change::delete_link(LinkId::Index(deleted));
            netlink.delete_links(&deletion, &[deleted]).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        let waiting = WAITING.lock().unwrap();
        assert!(waiting.len() <= 1, "{waiting:?}");
    }
}
