//! Exchanges with the kernel: requests, their replies, and a limit on the wait.
//!
//! What a request asks and what a reply means belong to `link`, `address` and `route`; dumps to
//! `dump`.
//!
//! Several requests travel in one datagram and their replies are read together: the kernel works on
//! them in order, and on the later ones also if it has refused an earlier one. rtnetlink's own
//! `Handle` sends one request at a time, so the connection's handle is used below it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::Stream;
use netlink_packet_route::RouteNetlinkMessage as Message;
use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::proto::{self, ConnectionHandle};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, SocketAddr};
use tokio::runtime::{self, Runtime};

use crate::netns::NetnsCookie;

/// The longest wait for the replies to what was sent together.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Most requests in one datagram: their acknowledgements fit the socket's buffer many times.
const TOGETHER: usize = 32;

/// The kernel's port. A process that may administer the namespace's network can write to ours too.
pub(super) const KERNEL: u32 = 0;

type Packet = NetlinkMessage<Message>;

/// What answers no request of ours: of it, only that the kernel had to drop replies counts.
type Unsolicited = Pin<Box<dyn Stream<Item = (Packet, SocketAddr)> + Send>>;

/// A socket and what drives it.
pub(super) struct Connection {
    runtime: Runtime,
    handle: ConnectionHandle<Message>,
    unsolicited: Unsolicited,
    /// That of the namespace in which the socket works.
    cookie: Option<NetnsCookie>,
}

/// A message to the kernel and the request's own flags, `NLM_F_CREATE` say.
pub(super) type Request = (Message, u16);

impl Connection {
    /// Opens a socket in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        refuse_to_stall()?;
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let inside = runtime.enter();
        let (mut connection, handle, unsolicited) =
            proto::new_connection::<Message>(NETLINK_ROUTE)?;
        drop(inside);
        // The end of an answer is told from the end of the socket.
        connection.set_forward_ack(true);
        let cookie = NetnsCookie::of_socket(connection.socket_mut().socket_mut());
        runtime.spawn(connection);
        Ok(Self { runtime, handle, unsolicited: Box::pin(unsolicited), cookie })
    }

    /// The cookie of the namespace in which it was opened.
    pub(super) fn cookie(&self) -> Option<NetnsCookie> {
        self.cookie
    }

    /// Asks for a change and waits until it is made. `flags` are the request's own, `NLM_F_CREATE`
    /// say.
    pub(super) fn act(&mut self, request: Message, flags: u16) -> io::Result<()> {
        self.exchange((request, flags | NLM_F_ACK)).map(drop)
    }

    /// Asks for one object.
    pub(super) fn get(&mut self, request: Message) -> io::Result<Vec<Message>> {
        self.exchange((request, NLM_F_ACK))
    }

    /// Sends all requests before it reads the first answer. Each has its own outcome: the replies,
    /// or why the kernel refuses.
    pub(super) fn send_together(
        &mut self,
        requests: Vec<Request>,
    ) -> io::Result<Vec<io::Result<Vec<Message>>>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut requests =
            requests.into_iter().map(|(message, flags)| (message, flags | NLM_F_ACK)).peekable();
        while requests.peek().is_some() {
            let some: Vec<Request> = requests.by_ref().take(TOGETHER).collect();
            outcomes.extend(self.exchange_all(some)?);
        }
        Ok(outcomes)
    }

    fn exchange(&mut self, request: Request) -> io::Result<Vec<Message>> {
        self.exchange_all(vec![request])?.pop().unwrap_or_else(|| Err(closed()))
    }

    fn exchange_all(
        &mut self,
        requests: Vec<Request>,
    ) -> io::Result<Vec<io::Result<Vec<Message>>>> {
        refuse_to_stall()?;
        let count = requests.len();
        let messages: Vec<Packet> = requests.into_iter().map(packet).collect();
        let replies = self
            .handle
            .request_batch(messages, SocketAddr::new(KERNEL, 0))
            .map_err(|_| closed())?;
        let collected = collect(replies, &mut self.unsolicited, count);
        let answers = self.runtime.block_on(async { tokio::time::timeout(LIMIT, collected).await });
        answers.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel gave no answer in 10 s"))
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

fn packet((message, flags): Request) -> Packet {
    let mut packet = NetlinkMessage::from(message);
    packet.header.flags = NLM_F_REQUEST | flags;
    packet
}

/// The answers to `count` requests, which the kernel gives one after the other: each ends with an
/// acknowledgement or an error.
async fn collect(
    replies: impl Stream<Item = Packet>,
    unsolicited: &mut Unsolicited,
    count: usize,
) -> io::Result<Vec<io::Result<Vec<Message>>>> {
    let mut replies = pin!(replies);
    let mut answers = Vec::with_capacity(count);
    let mut answer = Vec::new();
    while answers.len() < count {
        let reply = next(replies.as_mut(), unsolicited).await?;
        match reply.payload {
            NetlinkPayload::InnerMessage(inner) => answer.push(inner),
            NetlinkPayload::Error(error) => {
                answers.push(outcome(error.raw_code(), mem::take(&mut answer)));
            }
            _ => {}
        }
    }
    Ok(answers)
}

/// The next reply; an error once the kernel has dropped some.
async fn next(
    mut replies: Pin<&mut impl Stream<Item = Packet>>,
    unsolicited: &mut Unsolicited,
) -> io::Result<Packet> {
    let next = poll_fn(|cx| {
        while let Poll::Ready(Some((message, source))) = unsolicited.as_mut().poll_next(cx) {
            if source.port_number() == KERNEL
                && matches!(message.payload, NetlinkPayload::Overrun(_))
            {
                return Poll::Ready(Err(Errno::ENOBUFS.into()));
            }
        }
        replies.as_mut().poll_next(cx).map(|reply| reply.ok_or_else(closed))
    });
    next.await
}

/// The answer that ends with `code`: 0 or a negative errno.
fn outcome(code: i32, answer: Vec<Message>) -> io::Result<Vec<Message>> {
    if code < 0 { Err(io::Error::from_raw_os_error(code.saturating_neg())) } else { Ok(answer) }
}

/// Refuses on a thread that drives asynchronous tasks: tokio panics when one blocks.
pub(super) fn refuse_to_stall() -> io::Result<()> {
    match runtime::Handle::try_current() {
        Ok(_) => Err(io::Error::other("called from an asynchronous task: use a thread of its own")),
        Err(_) => Ok(()),
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the netlink socket failed")
}
