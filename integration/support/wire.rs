//! What passes over the wires of a node, frame by frame, and programs that put something on them.
//!
//! Python has packet sockets without a line of unsafe code; the tests need no more of it than that.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::node::Namespace;

/// Debian's own, which needs no more than `python3-minimal`.
const PYTHON: &str = "/usr/bin/python3";

/// Hears every frame of every interface of a namespace, in both directions, and counts those with
/// the marker in them, until its standard input ends.
const LISTEN: &str = r#"
import select, socket, sys
marker = bytes.fromhex(sys.argv[1])
ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
ear.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
print("ready", flush=True)
heard = {}
while True:
    ready = select.select([ear, sys.stdin], [], [])[0]
    if ear in ready:
        frame, where = ear.recvfrom(65535)
        if marker in frame:
            heard[where[0]] = heard.get(where[0], 0) + 1
    else:
        break
for name in heard:
    print(name, heard[name])
"#;

/// Sends five raw Ethernet frames of a protocol of its own to a multicast address.
const SHOUT: &str = r#"
import socket, sys
interface, kind, marker = sys.argv[1], int(sys.argv[2], 16), bytes.fromhex(sys.argv[3])
mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
mouth.bind((interface, 0))
ours = mouth.getsockname()[4]
for _ in range(5):
    mouth.send(b"\x03\xb1\xad\x00\x00\x01" + ours + kind.to_bytes(2, "big") + marker * 8)
"#;

/// Joins an IPv6 group on an interface; says what it gets and from where, or nothing within 5 s.
const JOIN: &str = r#"
import socket, struct, sys
interface, group = sys.argv[1], sys.argv[2]
ear = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
ear.bind(("::", 5000))
member = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", socket.if_nametoindex(interface))
ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
ear.settimeout(float(sys.argv[3]))
print("ready", flush=True)
try:
    data, sender = ear.recvfrom(2048)
    print(sender[0].split("%")[0], data.decode())
except socket.timeout:
    pass
"#;

/// Sends a few datagrams to an IPv6 group by an interface.
const TELL: &str = r#"
import socket, struct, sys, time
interface, group, text = sys.argv[1:4]
mouth = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
index = socket.if_nametoindex(interface)
mouth.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("@I", index))
for _ in range(5):
    mouth.sendto(text.encode(), (group, 5000, 0, index))
    time.sleep(0.1)
"#;

/// Answers every connection to a port of TCP or SCTP with a text, until its standard input ends.
const SERVE: &str = r#"
import select, socket, sys
protocol, port, text = sys.argv[1:4]
door = socket.socket(socket.AF_INET, socket.SOCK_STREAM, getattr(socket, "IPPROTO_" + protocol))
door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
door.bind(("", int(port)))
door.listen()
print("ready", flush=True)
while True:
    ready = select.select([door, sys.stdin], [], [])[0]
    if sys.stdin in ready:
        break
    guest = door.accept()[0]
    guest.sendall(text.encode())
    guest.close()
"#;

/// A program that runs in a namespace until this is dropped or asked for its answer.
pub(crate) struct Script {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Script {
    /// Starts it and waits until it is ready.
    fn start(namespace: &Namespace, program: &str, arguments: &[&str]) -> Self {
        let mut command = python(namespace, program, arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "a listener did not start; install python3-minimal");
        Self { child, stdin, stdout }
    }

    /// What it printed after it was ready.
    fn answer(mut self) -> String {
        self.stdin = None;
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python(namespace: &Namespace, program: &str, arguments: &[&str]) -> Command {
    let mut command = namespace.command(PYTHON);
    command.args(["-c", program]).args(arguments);
    command
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An ear at every interface of a namespace, for frames with `marker` (hexadecimal) in them.
pub(crate) struct Ear(Script);

impl Ear {
    pub(crate) fn at(namespace: &Namespace, marker: &str) -> Self {
        Self(Script::start(namespace, LISTEN, &[marker]))
    }

    /// How many frames it has heard, by the interface they passed.
    pub(crate) fn heard(self) -> BTreeMap<String, u32> {
        let text = self.0.answer();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(name, count)| (name.to_owned(), count.parse().unwrap())).collect()
    }

    /// The interfaces at which it has heard any.
    pub(crate) fn heard_at(self) -> Vec<String> {
        self.heard().into_keys().collect()
    }
}

/// Whether an echo request that carries `marker` is answered, within the time that a fresh IPv6
/// address may take to become usable.
pub(crate) fn reaches(namespace: &Namespace, address: &str, marker: &str) -> bool {
    ping(namespace, address, marker, ["1", "8"])
}

/// Whether three echo requests that carry `marker` stay without an answer. Ask it only if
/// addresses have been usable for a while.
pub(crate) fn cannot_reach(namespace: &Namespace, address: &str, marker: &str) -> bool {
    !ping(namespace, address, marker, ["3", "2"])
}

fn ping(namespace: &Namespace, address: &str, marker: &str, [count, seconds]: [&str; 2]) -> bool {
    let mut command = namespace.command("ping");
    command.args(["-c", count, "-w", seconds, "-i", "0.2", "-s", "200", "-p", marker, address]);
    command.output().unwrap().status.success()
}

/// Puts raw multicast frames of Ethernet protocol `kind` (hexadecimal) on an interface.
pub(crate) fn shout(namespace: &Namespace, interface: &str, kind: &str, marker: &str) {
    run(python(namespace, SHOUT, &[interface, kind, marker]));
}

/// A member of an IPv6 multicast group.
pub(crate) struct Member(Script);

impl Member {
    pub(crate) fn join(namespace: &Namespace, interface: &str, group: &str, seconds: &str) -> Self {
        Self(Script::start(namespace, JOIN, &[interface, group, seconds]))
    }

    /// "sender text" of the first datagram; empty if none came.
    pub(crate) fn heard(self) -> String {
        self.0.answer().trim().to_owned()
    }
}

/// Sends `text` to an IPv6 multicast group by an interface.
pub(crate) fn tell(namespace: &Namespace, interface: &str, group: &str, text: &str) {
    run(python(namespace, TELL, &[interface, group, text]));
}

/// A TCP server that says `text`; it ends when dropped.
pub(crate) fn serve(namespace: &Namespace, port: &str, text: &str) -> Script {
    Script::start(namespace, SERVE, &["TCP", port, text])
}

/// What the server at an IPv4 address says; empty if none does within 3 s.
pub(crate) fn ask(namespace: &Namespace, address: &str, port: &str) -> String {
    let program = format!("timeout 3 cat < /dev/tcp/{address}/{port}");
    let output = namespace.command("timeout").args(["4", "bash", "-c", &program]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Prints what the SCTP server at an address says within 10 s.
const ASK_BY_SCTP: &str = r#"
import socket, sys
guest = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
guest.settimeout(10)
try:
    guest.connect((sys.argv[1], int(sys.argv[2])))
    print(guest.recv(100).decode(), end="")
except OSError:
    pass
"#;

/// A server that says `text` to each guest of this SCTP port.
pub(crate) fn serve_by_sctp(namespace: &Namespace, port: &str, text: &str) -> Script {
    Script::start(namespace, SERVE, &["SCTP", port, text])
}

/// What the SCTP server at an IPv4 address says; empty if none does.
pub(crate) fn ask_by_sctp(namespace: &Namespace, address: &str, port: &str) -> String {
    let output = python(namespace, ASK_BY_SCTP, &[address, port]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
