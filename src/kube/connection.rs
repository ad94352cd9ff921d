//! One connection to the API server: TCP, TLS, and HTTP/2 with all requests at once, or HTTP/1.1 with
//! one after the other where the server speaks no HTTP/2.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::access::Access;
use super::error::ClusterError;

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 << 20;

type Body = Full<Bytes>;

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection, or the way to it: another one may do.
    Connection(String),
    /// Nothing that another connection would change.
    Final(ClusterError),
    /// The answer is larger than any that we could use.
    TooLarge,
}

/// A connection that requests can share.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    sender: Sender,
    /// What TLS said when the connection ended: HTTP only says that it did.
    last_words: LastWords,
}

#[derive(Clone, Debug)]
enum Sender {
    Http1(Arc<Mutex<http1::SendRequest<Body>>>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    /// Connects within `limit`.
    pub(super) async fn open(access: &Access, limit: Duration) -> Result<Self, Broken> {
        match timeout(limit, Self::connect(access)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Broken::Connection(format!("no connection within {} s", limit.as_secs_f64()))),
        }
    }

    async fn connect(access: &Access) -> Result<Self, Broken> {
        let server = &access.server;
        let tcp = TcpStream::connect((server.host.as_str(), server.port))
            .await
            .map_err(|error| Broken::Connection(error.to_string()))?;
        // A request is one small write; waiting for more would cost 40 ms.
        let _ = tcp.set_nodelay(true);
        let tls = TlsConnector::from(access.tls.clone())
            .connect(access.name.clone(), tcp)
            .await
            .map_err(|error| broken(&error, access))?;
        let last_words = LastWords::default();
        match Self::speak(tls, last_words.clone()).await {
            Ok(sender) => Ok(Self { sender, last_words }),
            Err(error) => Err(ended(&error, &last_words, access)),
        }
    }

    async fn speak(tls: TlsStream<TcpStream>, last_words: LastWords) -> hyper::Result<Sender> {
        let speaks_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
        let io = TokioIo::new(Overheard { tls, last_words, failed: None });
        Ok(if speaks_http2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(driver);
            Sender::Http2(sender)
        } else {
            let (sender, driver) = http1::handshake(io).await?;
            tokio::spawn(driver);
            Sender::Http1(Arc::new(Mutex::new(sender)))
        })
    }

    /// Sends `request`, whose target is a path, and reads the answer.
    pub(super) async fn send(&self, request: Request<Body>, access: &Access) -> Result<Response, Broken> {
        let server = access.server.to_string();
        let outcome = match &self.sender {
            Sender::Http1(sender) => {
                // Held until the answer is read: the next request may not come before.
                let mut sender = sender.lock().await;
                let response = async {
                    sender.ready().await?;
                    sender.send_request(with_host(request, &server)).await
                };
                read(response.await).await
            }
            Sender::Http2(sender) => {
                let mut sender = sender.clone();
                let response = async {
                    sender.ready().await?;
                    sender.send_request(with_authority(request, &server)).await
                };
                read(response.await).await
            }
        };
        outcome.map_err(|error| {
            let is_too_large = error.is::<LengthLimitError>();
            if is_too_large { Broken::TooLarge } else { ended(error.as_ref(), &self.last_words, access) }
        })
    }
}

/// TLS knows better than HTTP why a connection ended.
fn ended(error: &(dyn StdError + 'static), last_words: &LastWords, access: &Access) -> Broken {
    match last_words.get() {
        Some(tls) => broken(tls, access),
        None => broken(error, access),
    }
}

type LastWords = Arc<OnceLock<rustls::Error>>;

/// A stream that notes the error of TLS that ends it. A server judges a client's certificate after the
/// client may begin to speak (RFC 8446, section 4.4.2.4), so that the refusal meets the first request.
struct Overheard {
    tls: TlsStream<TcpStream>,
    last_words: LastWords,
    /// Why a write failed, until it is reported.
    failed: Option<io::Error>,
}

impl Overheard {
    fn note<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &outcome
            && let Some(tls) = tls_error(error)
        {
            let _ = self.last_words.set(tls.clone());
        }
        outcome
    }

    /// A peer that has closed may have said why before; nobody reads that once a write has failed. So a
    /// failed write is reported after all that came has been read, which on such a connection is soon.
    fn after_write<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = outcome else { return outcome };
        let mut scratch = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let heard = Pin::new(&mut self.tls).poll_read(cx, &mut buffer);
            match self.note(heard) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.failed = Some(error);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncRead for Overheard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.tls).poll_read(cx, buffer);
        this.note(outcome)
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = match this.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut this.tls).poll_write(cx, bytes),
        };
        this.after_write(cx, outcome)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = match this.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut this.tls).poll_flush(cx),
        };
        this.after_write(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_shutdown(cx)
    }
}

/// HTTP/1.1 has the host in a header (RFC 9112, section 3.2.1).
fn with_host(mut request: Request<Body>, server: &str) -> Request<Body> {
    if let Ok(host) = HeaderValue::from_str(server) {
        request.headers_mut().insert(HOST, host);
    }
    request
}

/// HTTP/2 has it in the target (RFC 9113, section 8.3.1).
fn with_authority(mut request: Request<Body>, server: &str) -> Request<Body> {
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTPS);
    parts.authority = server.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

async fn read(
    response: hyper::Result<http::Response<Incoming>>,
) -> Result<Response, Box<dyn StdError + Send + Sync>> {
    let (parts, body) = response?.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
    Ok(Response { status: parts.status, headers: parts.headers, body })
}

/// What an error of the connection means: most pass, what TLS says of a certificate does not.
fn broken(error: &(dyn StdError + 'static), access: &Access) -> Broken {
    let server = access.server.to_string();
    match tls_error(error) {
        Some(rustls::Error::AlertReceived(alert)) if is_about_our_certificate(*alert) => {
            Broken::Final(access.credential.refused(&server, chrono::Utc::now()))
        }
        Some(tls @ rustls::Error::InvalidCertificate(_)) => Broken::Final(ClusterError::Untrusted {
            server,
            problem: tls.to_string(),
            check: access.trust.clone(),
        }),
        _ => Broken::Connection(innermost(error)),
    }
}

fn is_about_our_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

/// The error of TLS inside `error`: below sources and below what an I/O error wraps.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

/// The innermost cause says what happened; those around it, who noticed.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    // Bounded: an error may name itself as its source.
    std::iter::successors(Some(error), |error| cause(*error)).take(16)
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>() {
        // An I/O error hides what it wraps: its source is that error's source.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_tls_is_found_inside_an_io_error() {
        let tls = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        let error = io::Error::other(tls.clone());
        assert_eq!(tls_error(&error), Some(&tls));
        assert!(innermost(&error).contains("CertificateExpired"), "{}", innermost(&error));
        assert_eq!(tls_error(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
    }
}
