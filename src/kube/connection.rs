//! One connection to the API server: TCP, TLS, and HTTP/2 with all requests at once, or HTTP/1.1
//! with one after the other if the server speaks no HTTP/2.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::access::Access;
use super::tls_alert::{TlsAlert, TlsAlertRecorder};
use super::transport_error::TransportError;

/// The largest response that is read.
const MAX_RESPONSE_BYTES: usize = 4 << 20;

type Body = Full<Bytes>;

/// A connection that requests can share.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    sender: Sender,
    alert: TlsAlert,
}

#[derive(Clone, Debug)]
enum Sender {
    Http1(Arc<Mutex<http1::SendRequest<Body>>>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    /// Connects within `limit`. `begun` is told when the server has accepted the connection and is
    /// to answer in TLS, and dropped if it never accepts.
    pub(super) async fn open(
        access: &Access,
        limit: Duration,
        begun: Option<oneshot::Sender<()>>,
    ) -> Result<Self, TransportError> {
        let connecting = timeout(limit, Self::connect(access, begun));
        connecting.await.unwrap_or_else(|_| {
            Err(TransportError::Connection(format!(
                "no connection within {} s",
                limit.as_secs_f64()
            )))
        })
    }

    async fn connect(
        access: &Access,
        begun: Option<oneshot::Sender<()>>,
    ) -> Result<Self, TransportError> {
        let server = &access.server;
        let tcp = TcpStream::connect((server.host.as_str(), server.port))
            .await
            .map_err(|error| TransportError::Connection(error.to_string()))?;
        // A request is one small write; waiting for more would cost 40 ms.
        let _ = tcp.set_nodelay(true);
        // TLS sends its first message before anything else runs on this thread.
        let _ = begun.map(|begun| begun.send(()));
        let tls = TlsConnector::from(access.tls.clone())
            .connect(access.name.clone(), tcp)
            .await
            .map_err(|error| TransportError::from_connection(&error, access))?;
        let alert = TlsAlert::default();
        match handshake(tls, alert.clone()).await {
            Ok(sender) => Ok(Self { sender, alert }),
            Err(error) => Err(explain(&error, &alert, access)),
        }
    }

    /// Sends `request`, whose target is a path, and returns the response with its body still to
    /// come. No other request may be sent meanwhile.
    pub(super) async fn begin(
        &self,
        request: Request<Body>,
        access: &Access,
    ) -> Result<Response<Incoming>, TransportError> {
        let server = access.server.to_string();
        let response = match &self.sender {
            Sender::Http1(sender) => {
                let mut sender = sender.lock().await;
                let response = async {
                    sender.ready().await?;
                    sender.send_request(with_host(request, &server)).await
                };
                response.await
            }
            Sender::Http2(sender) => {
                let mut sender = sender.clone();
                let response = async {
                    sender.ready().await?;
                    sender.send_request(with_authority(request, &server)).await
                };
                response.await
            }
        };
        response.map_err(|error: hyper::Error| explain(&error, &self.alert, access))
    }

    /// Sends `request`, whose target is a path, and reads the whole response.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
        access: &Access,
    ) -> Result<Response<Bytes>, TransportError> {
        let server = access.server.to_string();
        let outcome = match &self.sender {
            Sender::Http1(sender) => {
                // Held until the response is read: the next request may not start before.
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
            if error.is::<LengthLimitError>() {
                TransportError::TooLarge
            } else {
                explain(error.as_ref(), &self.alert, access)
            }
        })
    }
}

async fn handshake(tls: TlsStream<TcpStream>, alert: TlsAlert) -> hyper::Result<Sender> {
    let speaks_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
    let io = TokioIo::new(TlsAlertRecorder::new(tls, alert));
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

/// The TLS alert, if there was one, names the reason; HTTP's error only reports the end.
fn explain(error: &(dyn StdError + 'static), alert: &TlsAlert, access: &Access) -> TransportError {
    match alert.get() {
        Some(tls) => TransportError::from_connection(tls, access),
        None => TransportError::from_connection(error, access),
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
    response: hyper::Result<Response<Incoming>>,
) -> Result<Response<Bytes>, Box<dyn StdError + Send + Sync>> {
    let (parts, body) = response?.into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await?.to_bytes();
    Ok(Response::from_parts(parts, body))
}
