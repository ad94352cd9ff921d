//! Dumps: all objects of a kind, read one datagram after the other.
//!
//! A pod that may administer its network makes hundreds of thousands of routes or addresses, and
//! the kernel filters a dump by table and link alone. rtnetlink decodes each message and queues it,
//! so a dump has a socket of its own: what is not wanted is dropped by its header, before it costs
//! more than its place in the buffer.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage as Message;
use nix::errno::Errno;
use nix::libc::MSG_TRUNC;
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::connection::{KERNEL, LIMIT, refuse_to_stall};

/// How often a dump is tried that changes while the kernel writes it: on a busy host, some do.
const ATTEMPTS: u32 = 10;

/// Most objects of a dump that are kept: more than any host has of links, or of routes that matter.
const MOST: usize = 65_536;

/// The kernel fills no more than 32 KiB at a time, unless one object needs more.
const BUFFER_BYTES: usize = 32 << 10;

/// A netlink message's header.
const HEADER_BYTES: usize = 16;

/// A socket for dumps.
#[derive(Debug)]
pub(super) struct Dumps {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    /// Most objects of a dump that are kept.
    most: usize,
}

/// How one attempt went.
enum Attempt<T> {
    Whole(Vec<T>),
    /// What was dumped changed meanwhile (`NLM_F_DUMP_INTR`), or a datagram did not fit the buffer:
    /// entries may be missing.
    Torn,
}

/// What a message means for the dump.
enum Step {
    More(Option<Message>),
    End,
}

impl Dumps {
    /// Opens a socket in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        // Kernels before 4.20 do not filter dumps, and send more than is asked for.
        let _ = socket.set_netlink_get_strict_chk(true);
        let seconds = i64::try_from(LIMIT.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(seconds, 0))?;
        Ok(Self { socket, buffer: vec![0; BUFFER_BYTES], sequence: 0, most: MOST })
    }

    /// Asks for all objects of a kind, again as long as they change meanwhile. `is_wanted` sees a
    /// message as the kernel wrote it, without its netlink header; `read` makes values of those
    /// that it takes.
    ///
    /// # Errors
    /// What the kernel says; that more than 65,536 values were to be kept.
    pub(super) fn dump<T, I: IntoIterator<Item = T>>(
        &mut self,
        request: &Message,
        is_wanted: impl Fn(&[u8]) -> bool,
        read: impl Fn(Message) -> I,
    ) -> io::Result<Vec<T>> {
        refuse_to_stall()?;
        for _ in 0..ATTEMPTS {
            self.send(request)?;
            if let Attempt::Whole(values) = self.receive_all(&is_wanted, &read)? {
                return Ok(values);
            }
        }
        Err(Errno::EINTR.into())
    }

    fn send(&mut self, request: &Message) -> io::Result<()> {
        let bytes = self.packet(request, NLM_F_DUMP);
        self.socket.send_to(&bytes, &SocketAddr::new(KERNEL, 0), 0).map(drop)
    }

    /// A request that is no dump, as it is sent; its answer is passed over by what is asked later.
    pub(super) fn request(&mut self, request: &Message) -> Vec<u8> {
        self.packet(request, 0)
    }

    fn packet(&mut self, request: &Message, flags: u16) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = NetlinkMessage::from(request.clone());
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        bytes
    }

    /// The socket.
    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn receive_all<T, I: IntoIterator<Item = T>>(
        &mut self,
        is_wanted: &impl Fn(&[u8]) -> bool,
        read: &impl Fn(Message) -> I,
    ) -> io::Result<Attempt<T>> {
        let (until, mut values, mut is_torn) = (Instant::now() + LIMIT, Vec::new(), false);
        loop {
            let (length, is_whole) = self.receive(until)?;
            is_torn |= !is_whole;
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Some(bytes) = next_message(&mut rest) {
                let packet = NetlinkBuffer::new(bytes);
                if packet.sequence_number() != self.sequence {
                    continue;
                }
                is_torn |= packet.flags() & NLM_F_DUMP_INTR != 0;
                match step(bytes, is_wanted)? {
                    Step::End if is_torn => return Ok(Attempt::Torn),
                    Step::End => return Ok(Attempt::Whole(values)),
                    Step::More(message) => values.extend(message.into_iter().flat_map(read)),
                }
                if values.len() > self.most {
                    return Err(self.refuse_the_rest());
                }
            }
            if !is_whole {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
    }

    /// The next datagram of the kernel's: how much of it is in the buffer, and whether that is all.
    fn receive(&mut self, until: Instant) -> io::Result<(usize, bool)> {
        loop {
            if Instant::now() >= until {
                return Err(no_answer(LIMIT));
            }
            let mut buffer = self.buffer.as_mut_slice();
            match self.socket.recv_from(&mut buffer, MSG_TRUNC) {
                // A process that may administer the namespace's network can write to our port too.
                Ok((length, from)) if from.port_number() == KERNEL => {
                    return Ok((length.min(self.buffer.len()), length <= self.buffer.len()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(no_answer(LIMIT));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The kernel goes on with its dump until the socket is read to its end, and refuses another
    /// one before.
    fn refuse_the_rest(&mut self) -> io::Error {
        let until = Instant::now() + LIMIT;
        let mut is_over = false;
        while !is_over && let Ok((length, _)) = self.receive(until) {
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Some(bytes) = next_message(&mut rest) {
                is_over |= !matches!(step(bytes, &|_: &[u8]| false), Ok(Step::More(_)));
            }
        }
        io::Error::other(format!("there are more than {}", self.most))
    }
}

fn no_answer(limit: Duration) -> io::Error {
    let problem = format!("the kernel gave no answer in {} s", limit.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, problem)
}

/// The first message of a datagram, which is then behind it.
fn next_message<'b>(datagram: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(NetlinkBuffer::new_checked(*datagram).ok()?.length()).ok()?;
    let (message, rest) = datagram.split_at_checked(length)?;
    // Messages begin at multiples of four bytes.
    *datagram = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
    Some(message)
}

fn step(bytes: &[u8], is_wanted: &impl Fn(&[u8]) -> bool) -> io::Result<Step> {
    const FIRST_OF_ROUTE: u16 = 16;
    let is_object = NetlinkBuffer::new(bytes).message_type() >= FIRST_OF_ROUTE;
    if is_object && !bytes.get(HEADER_BYTES..).is_some_and(is_wanted) {
        return Ok(Step::More(None));
    }
    // What a newer kernel writes otherwise is passed over, as it always was.
    let Ok(message) = NetlinkMessage::<Message>::deserialize(bytes) else {
        return Ok(Step::More(None));
    };
    let code = match message.payload {
        NetlinkPayload::InnerMessage(message) => return Ok(Step::More(Some(message))),
        NetlinkPayload::Done(done) => done.code,
        NetlinkPayload::Error(error) => error.raw_code(),
        _ => return Ok(Step::More(None)),
    };
    if code < 0 { Err(io::Error::from_raw_os_error(code.saturating_neg())) } else { Ok(Step::End) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::io::Write as _;

    use crate::family::Family;
    use crate::netlink::route;
    use crate::netns::Netns;
    use crate::netns::testing::{ip, sandbox};

    /// The most memory that this process has had since it was last asked, in KiB.
    fn peak_memory() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Runs lines of `ip` in one process.
    fn ip_batch(netns: &Netns, lines: &str) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        ip(netns, &[&format!("-batch {}", file.path().display())]);
    }

    /// What a pod that administers its network can do to those who look at it.
    #[test]
    fn of_many_routes_none_is_in_memory_but_those_that_are_wanted() {
        const ROUTES: u32 = 50_000;
        let netns = sandbox();
        let request = route::main_table(Family::V4);
        let is_default = |bytes: &[u8]| route::has_prefix(bytes, &(0..=0));
        let mut dumps = netns.run(Dumps::open).unwrap().unwrap();
        // The buffer and the pages of code that a dump touches are no routes.
        ip_batch(&netns, "link set lo up\nroute add default dev lo\n");
        dumps.dump(&request, is_default, Some).unwrap();
        let mut lines = String::new();
        (0..ROUTES).for_each(|at| {
            writeln!(lines, "route add 10.{}.{}.{} dev lo", at >> 16, at >> 8 & 255, at & 255)
                .unwrap();
        });
        ip_batch(&netns, &lines);
        peak_memory();
        let before = peak_memory();
        let wanted = dumps.dump(&request, is_default, Some).unwrap();
        let grown = peak_memory().saturating_sub(before);
        assert_eq!(wanted.len(), 1);
        assert!(grown < 1024, "{grown} KiB");
        assert_eq!(
            dumps.dump(&request, |_| true, |_| Some(())).unwrap().len(),
            50_001,
            "of {ROUTES} and the default"
        );
    }

    #[test]
    fn a_dump_of_too_many_is_refused_and_the_next_one_works() {
        let netns = sandbox();
        let mut lines = String::from("link set lo up\n");
        (0..5000).for_each(|at| {
            writeln!(lines, "route add 10.0.{}.{} dev lo", at >> 8, at & 255).unwrap()
        });
        ip_batch(&netns, &lines);
        let mut dumps = netns.run(Dumps::open).unwrap().unwrap();
        dumps.most = 100;
        let request = route::main_table(Family::V4);
        let refused = dumps.dump(&request, |_| true, Some).unwrap_err();
        assert_eq!(refused.to_string(), "there are more than 100");
        dumps.most = MOST;
        assert_eq!(dumps.dump(&request, |_| true, Some).unwrap().len(), 5000);
    }

    #[test]
    fn an_object_that_does_not_fit_the_buffer_is_read_with_a_larger_one() {
        let netns = sandbox();
        ip(&netns, &["link set lo up", "route add 10.0.0.0/8 dev lo"]);
        let mut dumps = netns.run(Dumps::open).unwrap().unwrap();
        dumps.buffer.truncate(64);
        assert_eq!(dumps.dump(&route::main_table(Family::V4), |_| true, Some).unwrap().len(), 1);
    }

    #[test]
    fn messages_of_a_datagram_are_told_apart_by_their_lengths() {
        let message = |length: u32, fill: u8| {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.resize(usize::try_from(length).unwrap().next_multiple_of(4), fill);
            bytes
        };
        let datagram = [message(18, 1), message(16, 2), vec![9; 5]].concat();
        let mut rest = datagram.as_slice();
        let lengths: Vec<_> =
            std::iter::from_fn(|| next_message(&mut rest)).map(<[u8]>::len).collect();
        assert_eq!(lengths, [18, 16]);
        for hostile in [0_u32, 15, 21, u32::MAX] {
            let bytes = [hostile.to_ne_bytes().as_slice(), &[0; 16]].concat();
            assert_eq!(next_message(&mut bytes.as_slice()), None, "{hostile}");
        }
    }
}
