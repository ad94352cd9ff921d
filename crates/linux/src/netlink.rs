//! The few link, address and route calls: what the kernel shows of links, and changes to routes.
//!
//! They say what they do to a link, not for whom: which link is whose is the caller's. Each works
//! in the namespace in which its [`Netlink`] was opened (see [`crate::netns::Netns::run`]).

mod address;
mod change;
mod connection;
mod deletion;
mod dump;
mod error;
mod inside;
mod link;
mod new_link;
mod new_route;
mod packet_clock;
mod qdisc;
mod route;
mod routes;
mod rule;
mod sockets;
mod state;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use crate::netns::{Netns, NetnsCookie, NetnsError, NetnsThread};
use sockets::{SharedSockets, Sockets};

pub use address::{LinkAddress, ListedAddress};
pub use change::{Change, LinkSettings, PortSettings, PortVlan};
pub use error::{NetlinkError, Object, Operation, RouteLink};
pub use inside::{Inside, InsideError};
pub use link::Link;
pub use new_link::{IpVlan, MacVlan, NewLink, NewLinkEnd, NewLinkKind};
pub use new_route::{NewRoute, Scope};
pub use packet_clock::PacketClock;
pub use qdisc::{Qdisc, TokenBucket};
pub use route::{DefaultRoute, Origin, Route, RouteKey};
pub use routes::AddedRoute;
pub use rule::Rule;
pub use sockets::SocketSharing;
pub use state::{LinkId, LinkKind, LinkState, OperState};

/// A route netlink socket, bound to the namespace in which it was opened.
///
/// Its calls block, each exchange with the kernel for at most 10 s. They refuse to run on a thread
/// that drives asynchronous tasks, which they would stall. A value that was opened inside a
/// namespace may leave the thread that entered it and still works there.
#[derive(Debug)]
pub struct Netlink {
    sockets: SharedSockets,
    /// The thread in its namespace; `None` if the thread that opened it was there already.
    thread: Option<Arc<NetnsThread>>,
}

impl Netlink {
    /// Opens a socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// [`NetlinkError`] if the process has no descriptor left, or a thread drives tasks.
    pub fn open() -> Result<Self, NetlinkError> {
        sockets::shared(None, Self::open_unshared)
    }

    fn open_unshared() -> Result<Self, NetlinkError> {
        let failed = |errno| fault(Operation::Open, Object::Socket, errno);
        let sockets = Arc::new(Mutex::new(Sockets::open().map_err(failed)?));
        Ok(Self { sockets, thread: None })
    }

    /// Opens a socket in another namespace.
    ///
    /// # Errors
    /// [`InsideError`] if it cannot be entered, or as [`Netlink::open`].
    pub fn open_in(netns: &Netns) -> Result<Self, InsideError> {
        let open = || {
            let thread = NetnsThread::start(netns)?;
            let Self { sockets, .. } = thread.run(Self::open_unshared)??;
            Ok(Self { sockets, thread: Some(Arc::new(thread)) })
        };
        sockets::shared(Some(netns.id()), open)
    }

    /// Runs `work` in the namespace that [`Netlink::open_in`] was given; on the calling thread if
    /// it was opened otherwise.
    ///
    /// # Errors
    /// [`NetnsError::Panicked`].
    pub fn run_inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetnsError> {
        match &self.thread {
            Some(thread) => thread.run(work),
            None => Ok(work()),
        }
    }

    /// The sockets, for one exchange.
    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cookie of the namespace in which it was opened; none if the kernel has no cookies.
    pub fn netns_cookie(&self) -> Option<NetnsCookie> {
        self.sockets().connection.cookie()
    }

    /// All links with their addresses, ordered by index: one dump of links, one of addresses.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses, or kept changing them while they were read.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = self.dump(&link::all(), Object::Links, link::read)?;
        let mut addresses = self.addresses()?;
        for link in &mut links {
            link.addresses = addresses.remove(&link.index).unwrap_or_default();
        }
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Whether a link has this name or alternative name: a `master` on the host, say.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses; that no link has the name is none.
    pub fn link_exists(&mut self, name: &str) -> Result<bool, NetlinkError> {
        Ok(self.link_by_name(name)?.is_some())
    }

    /// Makes changes: sends all before it reads the first answer. The kernel works on them in
    /// order, and on the later ones also if it has refused an earlier one.
    ///
    /// # Errors
    /// [`NetlinkError`] for the first that the kernel refuses.
    pub fn apply(&mut self, changes: &[Change<'_>]) -> Result<(), NetlinkError> {
        self.apply_then_find(changes, &[]).map(drop)
    }

    /// As [`Netlink::apply`], and looks links up once the changes are made; `None` for those that
    /// are not there.
    ///
    /// # Errors
    /// As [`Netlink::apply`]; that a link is not there is none.
    pub fn apply_then_find(
        &mut self,
        changes: &[Change<'_>],
        links: &[LinkId<'_>],
    ) -> Result<Vec<Option<LinkState>>, NetlinkError> {
        let asked: Vec<_> = links.iter().map(LinkId::request).collect();
        let questions = asked.iter().flatten().map(|message| (message.clone(), 0));
        let requests: Vec<_> = changes.iter().map(Change::request).chain(questions).collect();
        let sent = self.sockets().connection.send_together(requests);
        let mut answers =
            sent.map_err(|errno| fault(Operation::Reach, Object::Socket, errno))?.into_iter();
        for (change, answer) in changes.iter().zip(&mut answers) {
            match answer {
                Err(errno) if !change.is_done(&errno) => {
                    return Err(self.change_fault(change, errno));
                }
                _ => {}
            }
        }
        let mut found = Vec::with_capacity(links.len());
        for (link, asked) in links.iter().zip(&asked) {
            let answer = asked.as_ref().and_then(|_| answers.next());
            found.push(answer.map_or(Ok(None), |answer| read_found(link, answer))?);
        }
        Ok(found)
    }

    /// The link, with what its kind says of it; `None` if there is none.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses.
    pub fn find(&mut self, link: LinkId<'_>) -> Result<Option<LinkState>, NetlinkError> {
        Ok(self.apply_then_find(&[], &[link])?.pop().flatten())
    }

    /// All links, with what their kinds say of them.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses, or kept changing them while they were read.
    pub fn link_states(&mut self) -> Result<Vec<LinkState>, NetlinkError> {
        self.dump(&link::all(), Object::Links, state::read)
    }

    /// Whether the kernel can make links of a kind, named as it names it. It loads the module that
    /// it needs for that.
    ///
    /// # Errors
    /// [`NetlinkError`] if that cannot be told.
    pub fn supports_kind(&mut self, kind: &'static str) -> Result<bool, NetlinkError> {
        let request = (Message::NewLink(new_link::impossible(kind)), NLM_F_CREATE | NLM_F_EXCL);
        let object = || Object::NewLink { name: String::new(), kind };
        let sent = self.sockets().connection.send_together(vec![request]);
        let answer = sent.map_err(|errno| fault(Operation::Create, object(), errno))?.pop();
        match answer.map(|answer| answer.map_err(|error| error.raw_os_error().map(Errno::from_raw)))
        {
            Some(Err(Some(Errno::EOPNOTSUPP))) => Ok(false),
            Some(Err(Some(errno @ (Errno::EPERM | Errno::ENOBUFS)))) => {
                Err(fault(Operation::Create, object(), errno.into()))
            }
            _ => Ok(true),
        }
    }

    /// The addresses of the link of this index.
    ///
    /// # Errors
    /// [`NetlinkError`] if the kernel refuses; that there is no such link is none.
    pub fn link_addresses(&mut self, index: u32) -> Result<Vec<LinkAddress>, NetlinkError> {
        let read = |reply| address::read(&reply, index);
        let listed = unless(
            Errno::ENODEV,
            self.sockets().dumps.dump(&address::of_link(index), |_| true, read),
        );
        listed.map_err(|errno| fault(Operation::List, Object::Addresses, errno))
    }

    /// The addresses of the link of this index, with all that the kernel shows of them.
    ///
    /// # Errors
    /// As [`Netlink::link_addresses`].
    pub fn listed_addresses(&mut self, index: u32) -> Result<Vec<ListedAddress>, NetlinkError> {
        let read = |reply| address::read_listed(reply, index);
        let listed = unless(
            Errno::ENODEV,
            self.sockets().dumps.dump(&address::of_link(index), |_| true, read),
        );
        listed.map_err(|errno| fault(Operation::List, Object::Addresses, errno))
    }

    fn change_fault(&mut self, change: &Change<'_>, errno: io::Error) -> NetlinkError {
        let (operation, object) = change.about();
        match change.message() {
            Message::NewRoute(message) | Message::DelRoute(message) => {
                self.route_fault(operation, message, errno)
            }
            _ => fault(operation, object, errno),
        }
    }

    fn dump<T, I: IntoIterator<Item = T>>(
        &mut self,
        request: &Message,
        object: Object,
        read: impl Fn(Message) -> I,
    ) -> Result<Vec<T>, NetlinkError> {
        self.sockets()
            .dumps
            .dump(request, |_| true, read)
            .map_err(|errno| fault(Operation::List, object, errno))
    }

    /// Every link's addresses by the link's index.
    fn addresses(&mut self) -> Result<HashMap<u32, Vec<IpNetwork>>, NetlinkError> {
        let listed = self.dump(&link::all_addresses(), Object::Addresses, link::read_address)?;
        Ok(link::by_link(listed))
    }

    fn link_by_name(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let Some(request) = link::by_name(name) else { return Ok(None) };
        match self.sockets().connection.get(request) {
            Ok(replies) => Ok(replies.into_iter().find_map(link::read)),
            Err(errno) if link::is_absence(&errno, name) => Ok(None),
            Err(errno) => Err(fault(Operation::Find, Object::Link(name.to_owned()), errno)),
        }
    }
}

fn read_found(
    link: &LinkId<'_>,
    answer: io::Result<Vec<Message>>,
) -> Result<Option<LinkState>, NetlinkError> {
    match answer {
        Ok(replies) => Ok(replies.into_iter().find_map(state::read)),
        Err(errno) if link.is_absence(&errno) => Ok(None),
        Err(errno) => Err(fault(Operation::Find, link.object(), errno)),
    }
}

fn fault(operation: Operation, object: Object, errno: io::Error) -> NetlinkError {
    NetlinkError { operation, object, errno }
}

/// Success instead of `done`, the error which says that there is nothing left to do.
fn unless<T: Default>(done: Errno, outcome: io::Result<T>) -> io::Result<T> {
    match outcome {
        Err(errno) if errno.raw_os_error() == Some(done as i32) => Ok(T::default()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
