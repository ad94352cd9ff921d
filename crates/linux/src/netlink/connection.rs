//! One exchange with the kernel: a request, its replies, and a limit on the wait.
//!
//! What a request asks and what a reply means belong to `link` and `route`.
//!
//! Replies are read from the connection's stream of "unsolicited" messages, where those of a
//! request that is sent with `notify` arrive. Of rtnetlink's own response streams only `futures`
//! can read, and they hide that a dump was interrupted.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage as Message;
use nix::errno::Errno;
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::{AsyncSocket, SocketAddr};
use tokio::runtime::{self, Runtime};

use crate::netns::NetnsCookie;

/// The longest wait for the replies to one request.
const LIMIT: Duration = Duration::from_secs(10);

/// How often a dump is tried that changes while the kernel writes it: on a busy host, some do.
const DUMP_ATTEMPTS: u32 = 10;

/// The kernel's port. Whoever may administer the namespace's network can write to ours too.
const KERNEL: u32 = 0;

type Reply = (NetlinkMessage<Message>, SocketAddr);

/// Polls for the next message; `None` when the socket has failed.
type Replies = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Reply>> + Send>;

/// A socket and what drives it.
pub(super) struct Connection {
    runtime: Runtime,
    handle: Handle,
    replies: Replies,
    /// The number of the last request. The connection numbers them likewise, from 1.
    sequence: u32,
    /// That of the namespace in which the socket works.
    cookie: Option<NetnsCookie>,
}

/// What came back for one request.
#[derive(Default)]
struct Answer {
    messages: Vec<Message>,
    /// Whether what was dumped changed meanwhile (`NLM_F_DUMP_INTR`), so that entries may be missing.
    interrupted: bool,
}

impl Connection {
    /// Opens a socket in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        refuse_to_stall()?;
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let inside = runtime.enter();
        let (mut connection, handle, mut replies) = rtnetlink::new_connection()?;
        drop(inside);
        let cookie = NetnsCookie::of_socket(connection.socket_mut().socket_ref());
        runtime.spawn(connection);
        let replies: Replies = Box::new(move |cx| pin!(replies.recv()).poll(cx).map(Result::ok));
        Ok(Self { runtime, handle, replies, sequence: 0, cookie })
    }

    /// The cookie of the namespace in which it was opened.
    pub(super) fn cookie(&self) -> Option<NetnsCookie> {
        self.cookie
    }

    /// Asks for a change and waits until it is made. `flags` are the request's own, `NLM_F_CREATE` say.
    pub(super) fn act(&mut self, request: Message, flags: u16) -> io::Result<()> {
        self.exchange(request, flags | NLM_F_ACK, &|_| false).map(drop)
    }

    /// Asks for one object.
    pub(super) fn get(&mut self, request: Message) -> io::Result<Vec<Message>> {
        self.exchange(request, NLM_F_ACK, &|_| true).map(|answer| answer.messages)
    }

    /// Asks for all objects of a kind, again as long as they change meanwhile.
    pub(super) fn dump(&mut self, request: &Message) -> io::Result<Vec<Message>> {
        self.dump_those(request, &|_| true)
    }

    /// As [`Connection::dump`], and keeps only what `keep` takes: of a long table, few entries.
    pub(super) fn dump_those(
        &mut self,
        request: &Message,
        keep: &dyn Fn(&Message) -> bool,
    ) -> io::Result<Vec<Message>> {
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self.exchange(request.clone(), NLM_F_DUMP, keep)?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(Errno::EINTR.into())
    }

    fn exchange(
        &mut self,
        request: Message,
        flags: u16,
        keep: &dyn Fn(&Message) -> bool,
    ) -> io::Result<Answer> {
        refuse_to_stall()?;
        self.send(request, flags)?;
        let (replies, sequence) = (&mut self.replies, self.sequence);
        let collected = collect(replies, sequence, keep);
        let answer = self.runtime.block_on(async { tokio::time::timeout(LIMIT, collected).await });
        answer.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel gave no answer in 10 s"))
        })
    }

    fn send(&mut self, request: Message, flags: u16) -> io::Result<()> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        self.handle.notify(message).map_err(|_| closed())?;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// Everything up to the end of the answer. What answers an earlier request, one that was waited
/// for in vain, is passed over.
async fn collect(
    replies: &mut Replies,
    sequence: u32,
    keep: &dyn Fn(&Message) -> bool,
) -> io::Result<Answer> {
    let mut answer = Answer::default();
    while let Some((message, source)) = poll_fn(|cx| replies(cx)).await {
        let ours = message.header.sequence_number == sequence;
        match message.payload {
            _ if source.port_number() != KERNEL => {}
            NetlinkPayload::Overrun(_) => return Err(Errno::ENOBUFS.into()),
            _ if !ours => {}
            payload => {
                answer.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match payload {
                    NetlinkPayload::InnerMessage(inner) if keep(&inner) => answer.messages.push(inner),
                    NetlinkPayload::Error(error) => return outcome(error.raw_code(), answer),
                    NetlinkPayload::Done(done) => return outcome(done.code, answer),
                    _ => {}
                }
            }
        }
    }
    Err(closed())
}

/// The answer that ends with `code`: 0 or a negative errno.
fn outcome(code: i32, answer: Answer) -> io::Result<Answer> {
    if code < 0 { Err(io::Error::from_raw_os_error(code.saturating_neg())) } else { Ok(answer) }
}

/// Refuses on a thread that drives asynchronous tasks: tokio panics when one blocks.
fn refuse_to_stall() -> io::Result<()> {
    match runtime::Handle::try_current() {
        Ok(_) => Err(io::Error::other("called from an asynchronous task: use a thread of its own")),
        Err(_) => Ok(()),
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the netlink socket failed")
}
