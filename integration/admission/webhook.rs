//! A running webhook, and a client of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::node::BRAID;

/// The name that the API server asks for.
pub(super) const NAME: &str = "braid-admission.braid.svc";
/// How long something may take that takes a moment.
const LIMIT: Duration = Duration::from_secs(30);

/// A certificate in PEM, with its key, and whom to trust for it.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Pair {
    /// One that signs itself, for the service's name.
    pub(super) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Writes it as the kubelet mounts a Secret of cert-manager's.
    pub(super) fn write(&self, directory: &Path) {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("tls.crt"), &self.certificate).unwrap();
        std::fs::write(directory.join("tls.key"), &self.key).unwrap();
    }
}

/// A running `braid admission`. It is killed when it goes.
pub(super) struct Webhook {
    child: Child,
    pub(super) address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Webhook {
    /// Starts it with these arguments, and waits until it listens.
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(BRAID)
            .args(["admission", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (reader, written) = (BufReader::new(child.stderr.take().unwrap()), lines.clone());
        std::thread::spawn(move || {
            reader
                .lines()
                .map_while(Result::ok)
                .for_each(|line| written.lock().unwrap().push(line));
        });
        let mut webhook = Self { child, address: "127.0.0.1:0".parse().unwrap(), lines };
        let line = webhook.wait_for("listening on ");
        webhook.address = line.rsplit(' ').next().unwrap().parse().unwrap();
        webhook
    }

    /// Waits for a line of standard error with this text.
    pub(super) fn wait_for(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            let found = self.said().into_iter().find(|line| line.contains(text));
            if let Some(line) = found {
                return line;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended: {:?}", self.said());
            assert!(started.elapsed() < LIMIT, "no {text:?}: {:?}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Standard error so far.
    pub(super) fn said(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// The status that it ends with.
    pub(super) fn end(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end: {:?}", self.said());
    }

    /// A client that trusts the issuer of this certificate.
    pub(super) fn client(&self, trusted: &str) -> Client {
        Client { address: self.address, trusted: trusted.to_owned(), identity: None }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTPS client that opens a connection for each request.
pub(super) struct Client {
    address: SocketAddr,
    trusted: String,
    /// A client certificate in PEM, and its key.
    pub(super) identity: Option<Pair>,
}

pub(super) type Stream = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    /// A connection after the handshake.
    pub(super) fn connect(&self) -> std::io::Result<Stream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.trusted.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        let name = ServerName::try_from(NAME).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(self.address)?;
        tcp.set_read_timeout(Some(LIMIT))?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// The status and the body of an answer.
    pub(super) fn request(&self, line: &str, body: &[u8]) -> (u16, String) {
        let mut stream = self.connect().unwrap();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that has heard enough answers before all is sent.
        let _ = stream.write_all(body);
        read_answer(&mut stream)
    }

    pub(super) fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path}"), b"")
    }

    /// The response to a review.
    pub(super) fn review(&self, review: &Value) -> Value {
        let (status, body) = self.request("POST /validate", review.to_string().as_bytes());
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["kind"], "AdmissionReview");
        assert_eq!(answer["apiVersion"], review["apiVersion"]);
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        answer["response"].clone()
    }
}

/// Reads an answer to the end of its connection.
pub(super) fn read_answer(stream: &mut Stream) -> (u16, String) {
    let mut answer = Vec::new();
    // A connection that ends without TLS's own farewell has still said all.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Waits until a condition holds.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
