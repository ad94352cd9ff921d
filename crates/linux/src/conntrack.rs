//! Connection tracking: forgetting connections, through the kernel's own interface (ctnetlink).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use crate::family::Family;

/// The longest wait for an answer of the kernel, and for the whole.
const ANSWER: i64 = 5;
const LIMIT: Duration = Duration::from_secs(10);

/// The kernel's dumps come in datagrams of at most 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// The most connections that are forgotten in one call.
const MOST: usize = 100_000;

// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const HEADER: usize = 16;
/// Flags of an attribute's type.
const TYPE_MASK: u16 = 0x3fff;

// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const CONNTRACK: u16 = 1 << 8;
const GET: u16 = CONNTRACK | 1;
const DELETE: u16 = CONNTRACK | 2;
const GENERIC: usize = 4;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION: u16 = 3;
const ZONE: u16 = 18;
const ID: u16 = 12;
const UDP: u8 = 17;

/// Forgets the connections of UDP that were begun to one of the ports, in the namespace of the
/// calling thread. Returns how many.
///
/// # Errors
/// What the kernel answers: that it tracks no connections, for example.
pub fn forget_udp(family: Family, ports: &[u16]) -> io::Result<usize> {
    let mut socket = Socket::open()?;
    let connections = socket.connections(family, |original| {
        is_udp(original) && destination(original).is_some_and(|port| ports.contains(&port))
    })?;
    for connection in &connections {
        socket.delete(family, connection)?;
    }
    Ok(connections.len())
}

fn is_udp(original: &[u8]) -> bool {
    attribute(protocol(original), PROTOCOL_NUMBER).first() == Some(&UDP)
}

fn destination(original: &[u8]) -> Option<u16> {
    let bytes = attribute(protocol(original), PROTOCOL_DESTINATION);
    Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?))
}

fn protocol(original: &[u8]) -> &[u8] {
    attribute(original, TUPLE_PROTOCOL)
}

struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    deadline: Instant,
}

impl Socket {
    fn open() -> io::Result<Self> {
        let descriptor = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        setsockopt(&descriptor, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER, 0))?;
        Ok(Self { descriptor, sequence: 0, deadline: Instant::now() + LIMIT })
    }

    /// The attributes that name each connection whose original direction `is_meant` takes.
    fn connections(
        &mut self,
        family: Family,
        is_meant: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Vec<Vec<u8>>> {
        self.request(GET, NLM_F_DUMP, family, &[])?;
        let mut found = Vec::new();
        loop {
            let datagram = self.receive()?;
            for message in Messages(&datagram) {
                match message.kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => return Err(message.error()),
                    _ => {
                        let attributes = message.body.get(GENERIC..).unwrap_or_default();
                        if found.len() < MOST && is_meant(attribute(attributes, TUPLE_ORIGINAL)) {
                            found.push(naming(attributes));
                        }
                    }
                }
            }
        }
    }

    /// Forgets a connection; done also if it has ended meanwhile.
    fn delete(&mut self, family: Family, naming: &[u8]) -> io::Result<()> {
        self.request(DELETE, NLM_F_ACK, family, naming)?;
        let datagram = self.receive()?;
        let error = Messages(&datagram).next().map(|message| message.error());
        match error {
            Some(error) if error.raw_os_error() != Some(0) && !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn request(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        attributes: &[u8],
    ) -> io::Result<()> {
        self.sequence += 1;
        let length = HEADER + GENERIC + attributes.len();
        let mut message = Vec::with_capacity(length);
        let length = u32::try_from(length).map_err(io::Error::other)?;
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend([number(family), 0, 0, 0]);
        message.extend(attributes);
        send(self.descriptor.as_raw_fd(), &message, MsgFlags::empty())?;
        Ok(())
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        if Instant::now() > self.deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel's list has no end"));
        }
        let mut buffer = vec![0; DATAGRAM];
        let length = recv(self.descriptor.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// What names a connection in a request: its original direction, its zone and its number.
fn naming(attributes: &[u8]) -> Vec<u8> {
    let is_naming = |(kind, _): &(u16, &[u8])| matches!(*kind, TUPLE_ORIGINAL | ZONE | ID);
    Attributes(attributes).filter(is_naming).flat_map(|(_, whole)| whole.to_vec()).collect()
}

/// The value of an attribute; empty if it is missing.
fn attribute(bytes: &[u8], wanted: u16) -> &[u8] {
    let found = Attributes(bytes).find(|(kind, _)| *kind == wanted);
    found.and_then(|(_, whole)| value_of(whole)).unwrap_or_default()
}

fn value_of(whole: &[u8]) -> Option<&[u8]> {
    let length = u16::from_ne_bytes(whole.get(..2)?.try_into().ok()?);
    whole.get(4..usize::from(length))
}

/// The attributes in a message, each with its header and its padding.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?);
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let padded = usize::from(length).next_multiple_of(4);
        if length < 4 || usize::from(length) > self.0.len() {
            return None;
        }
        let (whole, rest) = self.0.split_at(padded.min(self.0.len()));
        self.0 = rest;
        Some((kind, whole))
    }
}

struct Message<'a> {
    kind: u16,
    body: &'a [u8],
}

impl Message<'_> {
    /// The error that the kernel answers with; 0 is none.
    fn error(&self) -> io::Error {
        let bytes = self.body.get(..4).and_then(|bytes| bytes.try_into().ok());
        io::Error::from_raw_os_error(bytes.map_or(0, i32::from_ne_bytes).saturating_neg())
    }
}

/// The messages in a datagram.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        let kind = u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?);
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::testing::sandbox;
    use std::process::Command;

    /// A rule that needs connection tracking makes the kernel track.
    const TRACK: &str = "ip link set lo up; nft add table ip t; \
        nft 'add chain ip t c { type filter hook output priority 0 ; }'; \
        nft add rule ip t c ct state new accept";

    fn shell(line: &str) {
        let status = Command::new("sh").args(["-c", line]).status().unwrap();
        assert!(status.success(), "{line}");
    }

    fn connect(ports: &[u16]) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for port in ports {
            // A port without a listener is answered by ICMP; the connection is tracked.
            let _ = socket.send_to(b"x", ("127.0.0.1", *port));
        }
    }

    #[test]
    fn connections_to_the_ports_are_forgotten_and_others_are_not() {
        let netns = sandbox();
        netns
            .run(|| {
                shell(TRACK);
                connect(&[5001, 5002, 5003]);
                assert_eq!(forget_udp(Family::V4, &[5001, 5003]).unwrap(), 2);
                assert_eq!(forget_udp(Family::V4, &[5001, 5002, 5003]).unwrap(), 1);
                assert_eq!(forget_udp(Family::V6, &[5002]).unwrap(), 0);
                assert_eq!(forget_udp(Family::V4, &[]).unwrap(), 0);
            })
            .unwrap();
    }

    #[test]
    fn bytes_of_any_kind_are_read_to_their_end() {
        for bytes in [&[][..], &[0; 3], &[0; 64], &[255; 64], &[5, 0, 1, 0, 9], &[4, 0, 1, 0]] {
            let _ = attribute(bytes, 1);
            let _ = naming(bytes);
            for message in Messages(bytes) {
                let _ = message.error();
            }
        }
        assert_eq!(attribute(&[5, 0, 1, 0x80, 9, 0, 0, 0], 1), [9]);
    }
}
