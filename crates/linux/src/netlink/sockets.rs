//! The sockets of one namespace, shared by all that asks the kernel about it in one call: entering
//! a namespace takes a thread, and a socket a dozen system calls, which the plugins of a pod's
//! networks would all pay for.

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use super::Netlink;
use super::connection::Connection;
use super::dump::Dumps;
use crate::netns::NetnsId;

/// A namespace; `None` for that of the thread itself.
type Place = Option<NetnsId>;

thread_local! {
    /// What a [`SocketSharing`] of this thread has kept.
    static KEPT: RefCell<Option<Vec<(Place, Netlink)>>> = const { RefCell::new(None) };
}

/// Most namespaces whose sockets are kept: a call is about one container and the host, and GC about
/// many containers.
const MOST: usize = 4;

/// While it lives, this thread opens the sockets of a namespace once. They keep the namespace in
/// being, so a process that lives on drops it after each call.
#[derive(Debug)]
pub struct SocketSharing {
    is_first: bool,
    /// It is about its own thread.
    thread: PhantomData<*const ()>,
}

impl SocketSharing {
    /// Begins to share the sockets of the calling thread, which does not change its own namespace
    /// meanwhile.
    #[must_use]
    pub fn start() -> Self {
        let is_first = KEPT.with_borrow_mut(|kept| {
            let is_first = kept.is_none();
            kept.get_or_insert_default();
            is_first
        });
        Self { is_first, thread: PhantomData }
    }
}

impl Drop for SocketSharing {
    fn drop(&mut self) {
        if self.is_first {
            drop(KEPT.take());
        }
    }
}

/// One socket for requests and one for dumps.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) connection: Connection,
    pub(super) dumps: Dumps,
}

/// The sockets of a namespace, for one exchange at a time.
pub(super) type SharedSockets = Arc<Mutex<Sockets>>;

impl Sockets {
    /// Opens them in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { connection: Connection::open()?, dumps: Dumps::open()? })
    }
}

/// The sockets of a namespace: those that are open already, or what `open` makes.
pub(super) fn shared<E>(
    place: Place,
    open: impl FnOnce() -> Result<Netlink, E>,
) -> Result<Netlink, E> {
    let found = KEPT.with_borrow(|kept| {
        let (_, netlink) = kept.iter().flatten().find(|(of, _)| *of == place)?;
        Some(netlink.share())
    });
    if let Some(netlink) = found {
        return Ok(netlink);
    }
    let netlink = open()?;
    KEPT.with_borrow_mut(|kept| {
        if let Some(kept) = kept {
            kept.truncate(MOST - 1);
            kept.insert(0, (place, netlink.share()));
        }
    });
    Ok(netlink)
}

impl Netlink {
    fn share(&self) -> Self {
        Self { sockets: Arc::clone(&self.sockets), thread: self.thread.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Netns;
    use crate::netns::testing::{ip, sandbox};

    fn is_same(one: &Netlink, other: &Netlink) -> bool {
        Arc::ptr_eq(&one.sockets, &other.sockets)
    }

    #[test]
    fn a_namespace_is_entered_once_while_sockets_are_shared() {
        let (one, other) = (sandbox(), sandbox());
        ip(&one, &["link add only type bridge"]);
        let sharing = SocketSharing::start();
        let mut inside = Netlink::open_in(&one).unwrap();
        assert!(is_same(&inside, &Netlink::open_in(&one).unwrap()));
        assert!(!is_same(&inside, &Netlink::open_in(&other).unwrap()));
        let own = Netlink::open().unwrap();
        assert!(is_same(&own, &Netlink::open().unwrap()));
        assert!(inside.link_exists("only").unwrap());
        assert!(!Netlink::open().unwrap().link_exists("only").unwrap());
        drop(sharing);
        assert!(!is_same(&inside, &Netlink::open_in(&one).unwrap()), "nothing is shared");
    }

    #[test]
    fn a_socket_of_another_thread_is_not_that_of_the_thread() {
        let netns = sandbox();
        let _sharing = SocketSharing::start();
        let inside = netns.run(Netlink::open).unwrap().unwrap();
        assert!(!is_same(&inside, &Netlink::open().unwrap()));
    }

    #[test]
    fn what_is_shared_ends_with_the_call() {
        let netns = sandbox();
        let (device, inode) = (netns.id().device, netns.id().inode);
        let outer = SocketSharing::start();
        let inner = SocketSharing::start();
        Netlink::open_in(&netns).unwrap();
        drop(inner);
        let kept = |place| KEPT.with_borrow(|kept| kept.iter().flatten().any(|it| it.0 == place));
        assert!(kept(Some(NetnsId { device, inode })), "the outer one lives");
        drop(outer);
        assert!(!kept(Some(NetnsId { device, inode })));
        assert!(Netns::current().is_ok());
    }
}
