//! The system's message bus (D-Bus specification 0.43): calls of a service with texts, each with
//! its reply. Bounded in time and bytes.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::deadline::Deadline;
use cni::error::one_line;
use cni::request::Environment;

/// The bus if the environment does not say.
const DEFAULT_SOCKET: &str = "/run/dbus/system_bus_socket";

/// The most bytes of a message that is read.
const MAX_MESSAGE: usize = 1 << 20;

/// The most messages that are no reply of ours before the reply comes.
const MAX_OTHERS: usize = 1000;

/// The longest line of the greeting.
const MAX_LINE: usize = 4096;

/// Most characters of an error that is quoted.
const QUOTED: usize = 300;

const BUS: Address = Address {
    service: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

// Types of messages, and fields of their headers.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The socket of the system's bus: that of `DBUS_SYSTEM_BUS_ADDRESS`, or the usual one if that
/// names no path.
pub(crate) fn socket(environment: &Environment) -> PathBuf {
    let addresses = environment.text("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
    let mut paths = addresses.split(';').filter_map(|it| it.strip_prefix("unix:path="));
    let path = paths.next().and_then(|path| path.split(',').next());
    PathBuf::from(path.unwrap_or(DEFAULT_SOCKET))
}

/// Why a call has no reply that counts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    /// The bus cannot be reached.
    #[error("the message bus cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// The bus says something that is no message.
    #[error("the message bus cannot be understood: {0}")]
    Unreadable(&'static str),
    /// The service, or the bus, answers with an error.
    #[error("{member} fails: {name}: {words}")]
    Failed {
        /// What was called.
        member: String,
        /// The error's name.
        name: String,
        /// What it says.
        words: String,
    },
}

impl BusError {
    /// Whether the error says this.
    pub(crate) fn says(&self, what: &str) -> bool {
        matches!(self, Self::Failed { name, words, .. } if name.contains(what) || words.contains(what))
    }
}

impl From<io::Error> for BusError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

/// An object of a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    /// The service's name on the bus.
    pub(crate) service: &'static str,
    /// The object.
    pub(crate) path: &'static str,
    /// Its interface.
    pub(crate) interface: &'static str,
}

/// What a call returns.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    body: Vec<u8>,
    is_little: bool,
}

impl Reply {
    /// Whether it is the boolean `true`.
    pub(crate) fn is_true(&self) -> bool {
        number(&self.body, 0, self.is_little) == Some(1)
    }
}

/// A connection to the bus.
#[derive(Debug)]
pub(crate) struct Bus {
    stream: UnixStream,
    deadline: Deadline,
    serial: u32,
}

impl Bus {
    /// Connects as the user of this process.
    pub(crate) fn open(socket: &Path, deadline: Deadline) -> Result<Self, BusError> {
        let stream = UnixStream::connect(socket)?;
        let mut bus = Self { stream, deadline, serial: 0 };
        let user = nix::unistd::geteuid().to_string();
        let user: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        bus.send(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        if !bus.read_line()?.starts_with(b"OK ") {
            return Err(BusError::Unreadable("it does not let this user in"));
        }
        bus.send(b"BEGIN\r\n")?;
        bus.call(&BUS, "Hello", &[])?;
        Ok(bus)
    }

    /// Whether a service of this name runs.
    pub(crate) fn has_owner(&mut self, service: &str) -> Result<bool, BusError> {
        match self.call(&BUS, "GetNameOwner", &[service]) {
            Ok(_) => Ok(true),
            Err(BusError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Calls a method with texts, and waits for its reply.
    pub(crate) fn call(
        &mut self,
        address: &Address,
        member: &str,
        texts: &[&str],
    ) -> Result<Reply, BusError> {
        self.serial += 1;
        let message = message(self.serial, address, member, texts)
            .ok_or(BusError::Unreadable("the call is too long for it"))?;
        self.send(&message)?;
        for _ in 0..MAX_OTHERS {
            let Received { kind, reply_to, error, reply } = receive(|length| self.read(length))?;
            if reply_to != Some(self.serial) {
                continue;
            }
            return match kind {
                RETURN => Ok(reply),
                ERROR => {
                    let words = text(&reply.body, 0, reply.is_little).unwrap_or_default();
                    let (name, words) = (one_line(&error, QUOTED), one_line(&words, QUOTED));
                    Err(BusError::Failed { member: member.to_owned(), name, words })
                }
                _ => Err(BusError::Unreadable("a reply is neither a result nor an error")),
            };
        }
        Err(BusError::Unreadable("it sends everything but the reply"))
    }

    /// What is left of the time, for one exchange with the system.
    fn time_left(&self) -> Result<Option<Duration>, BusError> {
        let left = self.deadline.remaining();
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        Ok(Some(left))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        self.stream.set_write_timeout(self.time_left()?)?;
        Ok(self.stream.write_all(bytes)?)
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>, BusError> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            self.stream.set_read_timeout(self.time_left()?)?;
            match self.stream.read(rest)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => filled += count,
            }
        }
        Ok(bytes)
    }

    fn read_line(&mut self) -> Result<Vec<u8>, BusError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() > MAX_LINE {
                return Err(BusError::Unreadable("its greeting has no end"));
            }
            line.extend(self.read(1)?);
        }
        Ok(line)
    }
}

/// The next message of what `read` gives, which has as many bytes as it is asked for.
fn receive(mut read: impl FnMut(usize) -> Result<Vec<u8>, BusError>) -> Result<Received, BusError> {
    let start = read(16)?;
    let bad = BusError::Unreadable("a message has no header");
    let is_little = match start.first() {
        Some(b'l') => true,
        Some(b'B') => false,
        _ => return Err(bad),
    };
    let length = |at| number(&start, at, is_little).and_then(|it| usize::try_from(it).ok());
    let (Some(body), Some(fields)) = (length(4), length(12)) else { return Err(bad) };
    if body > MAX_MESSAGE || fields > MAX_MESSAGE {
        return Err(BusError::Unreadable("a message has more than 1 MiB"));
    }
    let header = read(fields.next_multiple_of(8))?;
    let body = read(body)?;
    let fields = header.get(..fields).unwrap_or_default();
    let kind = start.get(1).copied().unwrap_or_default();
    let (reply_to, error) = read_fields(fields, is_little);
    Ok(Received { kind, reply_to, error, reply: Reply { body, is_little } })
}

/// The first message of these bytes: the serial of the call that it answers, the name of its error,
/// and the first text of its body.
///
/// # Errors
/// Why it is none.
pub fn read_bus_message(bytes: &[u8]) -> Result<(Option<u32>, String, Option<String>), String> {
    let mut rest = bytes;
    let read = |length| {
        let (taken, left) = rest
            .split_at_checked(length)
            .ok_or_else(|| BusError::from(io::Error::from(io::ErrorKind::UnexpectedEof)))?;
        rest = left;
        Ok(taken.to_vec())
    };
    let Received { reply_to, error, reply, .. } =
        receive(read).map_err(|error| error.to_string())?;
    Ok((reply_to, error, text(&reply.body, 0, reply.is_little)))
}

struct Received {
    kind: u8,
    reply_to: Option<u32>,
    error: String,
    reply: Reply,
}

/// The serial of the call that a message answers, and the name of its error.
fn read_fields(fields: &[u8], is_little: bool) -> (Option<u32>, String) {
    let (mut reply_to, mut error) = (None, String::new());
    let mut at = 0_usize;
    while let Some(code) = fields.get(at).copied() {
        // The code, then the signature of the value: its length, one letter, a zero.
        let letter = fields.get(at + 2).copied();
        let value = at + 4;
        let end = match letter {
            Some(b'u') => {
                let found = number(fields, value, is_little);
                reply_to = if code == REPLY_SERIAL { found } else { reply_to };
                value + 4
            }
            Some(b's' | b'o') => {
                let Some(found) = text(fields, value, is_little) else { break };
                let end = value + 4 + found.len() + 1;
                if code == ERROR_NAME {
                    error = found;
                }
                end
            }
            Some(b'g') => match fields.get(value) {
                Some(length) => value + 1 + usize::from(*length) + 1,
                None => break,
            },
            _ => break,
        };
        at = end.next_multiple_of(8);
    }
    (reply_to, error)
}

fn number(bytes: &[u8], at: usize, is_little: bool) -> Option<u32> {
    let bytes: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
}

fn text(bytes: &[u8], at: usize, is_little: bool) -> Option<String> {
    let length = usize::try_from(number(bytes, at, is_little)?).ok()?;
    let start = at.checked_add(4)?;
    let text = bytes.get(start..start.checked_add(length)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// A method call; none if a text is longer than a message may be.
fn message(serial: u32, address: &Address, member: &str, texts: &[&str]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for text in texts {
        put_text(&mut body, text)?;
    }
    let mut fields = Vec::new();
    for (code, letter, value) in [
        (PATH, b'o', address.path),
        (INTERFACE, b's', address.interface),
        (MEMBER, b's', member),
        (DESTINATION, b's', address.service),
    ] {
        align(&mut fields, 8);
        fields.extend([code, 1, letter, 0]);
        put_text(&mut fields, value)?;
    }
    if !texts.is_empty() {
        align(&mut fields, 8);
        let count = u8::try_from(texts.len()).ok()?;
        fields.extend([SIGNATURE, 1, b'g', 0, count]);
        fields.extend(texts.iter().map(|_| b's'));
        fields.push(0);
    }
    let mut message = vec![b'l', CALL, 0, 1];
    message.extend(u32::try_from(body.len()).ok()?.to_le_bytes());
    message.extend(serial.to_le_bytes());
    message.extend(u32::try_from(fields.len()).ok()?.to_le_bytes());
    message.extend(fields);
    align(&mut message, 8);
    message.extend(body);
    Some(message)
}

fn put_text(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    align(bytes, 4);
    bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
    bytes.extend(text.bytes());
    bytes.push(0);
    Some(())
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_laid_out_as_the_specification_has_it() {
        let message = message(7, &BUS, "GetNameOwner", &["a.b"]).unwrap();
        assert_eq!(message[..16], [b'l', 1, 0, 1, 8, 0, 0, 0, 7, 0, 0, 0, 127, 0, 0, 0]);
        assert_eq!(message.len() % 8, 0);
        assert!(message.ends_with(&[3, 0, 0, 0, b'a', b'.', b'b', 0]));
        let at = |field: &[u8]| message.windows(field.len()).position(|it| it == field).unwrap();
        for field in
            [&[1, 1, b'o', 0][..], &[2, 1, b's', 0], &[3, 1, b's', 0], &[8, 1, b'g', 0, 1, b's', 0]]
        {
            assert_eq!(at(field) % 8, 0, "{field:?}");
        }
    }

    #[test]
    fn fields_of_any_bytes_are_read_to_their_end() {
        for bytes in [
            &[][..],
            &[0; 3],
            &[255; 64],
            &[4, 1, b's', 0, 255, 255, 255, 255],
            &[5, 1, b'u', 0, 9],
        ] {
            assert_eq!(read_fields(bytes, true), (None, String::new()));
        }
        let fields = [5, 1, b'u', 0, 9, 0, 0, 0, 4, 1, b's', 0, 1, 0, 0, 0, b'E', 0];
        assert_eq!(read_fields(&fields, true), (Some(9), "E".to_owned()));
    }

    #[test]
    fn the_bus_is_at_the_path_that_the_environment_names() {
        for (address, path) in [
            ("unix:path=/x/bus,guid=1", "/x/bus"),
            ("tcp:host=a;unix:path=/y", "/y"),
            ("unix:abstract=/z", DEFAULT_SOCKET),
            ("", DEFAULT_SOCKET),
        ] {
            let environment = [("DBUS_SYSTEM_BUS_ADDRESS", address)];
            assert_eq!(socket(&environment.into()), Path::new(path), "{address}");
        }
    }
}
