//! A name server on a node's loopback that knows one name, as `127.0.0.1` (RFC 1035, section 4).

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use linux::netns::Netns;

use crate::node::Node;

/// The length of a message's head.
const HEAD: usize = 12;
/// What stands for an IPv4 address.
const A: [u8; 2] = [0, 1];

/// The server; it ends when it goes.
pub(crate) struct NameServer {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Answers at port 53 of the node's loopback.
    pub(crate) fn start(node: &Node, name: &str) -> Self {
        let host = Netns::open(node.host().path().as_ref()).unwrap();
        let socket = host.run(|| UdpSocket::bind("127.0.0.1:53").unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let wire: Vec<u8> = name
            .split('.')
            .chain([""])
            .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
            .collect();
        let (stopped, counter) = (stop.clone(), asked.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let mut buffer = [0; 512];
                let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
                counter.fetch_add(1, Ordering::SeqCst);
                socket.send_to(&answer(&buffer[..length], &wire), client).unwrap();
            }
        });
        Self { stop, asked, thread: Some(thread) }
    }

    /// How many questions came so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The address where it is asked for, nothing for another type, and no such name for every other
/// one.
fn answer(question: &[u8], known: &[u8]) -> Vec<u8> {
    let (kind_at, end) = (HEAD + known.len(), HEAD + known.len() + 4);
    let is_known = question.get(HEAD..kind_at) == Some(known);
    let has_address = is_known && question.get(kind_at..kind_at + 2) == Some(&A);
    let mut message =
        question[..question.len().min(if is_known { end } else { usize::MAX })].to_vec();
    // An authoritative answer, recursion available; code 3 is "no such name". One question, no
    // other records.
    message[2..HEAD].copy_from_slice(&[0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    if !is_known {
        message[3] |= 3;
    }
    if has_address {
        message[7] = 1;
        // The name of byte 12, A, IN, 60 seconds, 4 bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    message
}
