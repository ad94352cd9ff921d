//! The way from a node's network namespace to an API server outside it: TCP, byte for byte. Cutting
//! it is an outage, whatever server is behind it, and it knows how many connections there were.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use linux::netns::Netns;
use nix::sys::socket::{Shutdown as Ends, shutdown};

/// A running relay. It ends when it goes.
pub(crate) struct Relay {
    address: SocketAddr,
    line: Arc<Line>,
}

/// What the relay's threads share.
struct Line {
    listener: Mutex<Option<Arc<TcpListener>>>,
    /// Both ends of each connection.
    streams: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    is_cut: AtomicBool,
}

impl Relay {
    /// Listens inside `netns` on its loopback, and leads to `target`, seen from here.
    pub(crate) fn start(netns: &Netns, target: SocketAddr) -> Self {
        let listener = netns.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Arc::new(listener);
        let line = Arc::new(Line {
            listener: Mutex::new(Some(listener.clone())),
            streams: Mutex::default(),
            connections: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
        });
        let accepting = line.clone();
        std::thread::spawn(move || accept(&listener, target, &accepting));
        Self { address, line }
    }

    /// Listens again where it did, inside `netns`, after it was cut.
    pub(crate) fn resume(&self, netns: &Netns, target: SocketAddr) {
        let listener = netns.run(|| TcpListener::bind(self.address).unwrap()).unwrap();
        let listener = Arc::new(listener);
        *self.line.listener.lock().unwrap() = Some(listener.clone());
        self.line.is_cut.store(false, Ordering::SeqCst);
        let accepting = self.line.clone();
        std::thread::spawn(move || accept(&listener, target, &accepting));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.line.connections.load(Ordering::SeqCst)
    }

    /// Ends every connection and takes no more.
    pub(crate) fn cut(&self) {
        self.line.is_cut.store(true, Ordering::SeqCst);
        if let Some(listener) = self.line.listener.lock().unwrap().take() {
            // Wakes the thread that waits for connections, and refuses new ones from now on.
            shutdown(std::os::fd::AsRawFd::as_raw_fd(&*listener), Ends::Both).unwrap();
        }
        for stream in self.line.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Takes connections until the relay is cut.
fn accept(listener: &TcpListener, target: SocketAddr, line: &Line) {
    while let Ok((near, _)) = listener.accept() {
        line.connections.fetch_add(1, Ordering::SeqCst);
        // A target that is away is a connection that ends at once.
        let Ok(far) = TcpStream::connect(target) else { continue };
        for stream in [&near, &far] {
            stream.set_nodelay(true).unwrap();
            line.streams.lock().unwrap().push(stream.try_clone().unwrap());
        }
        if line.is_cut.load(Ordering::SeqCst) {
            break;
        }
        carry(&near, &far);
        carry(&far, &near);
    }
}

/// Carries what `from` says to `to`, until its end.
fn carry(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
