//! The HTTPS server: connections, requests and their limits.
//!
//! An API server waits for each review, and a client that is none may connect too. So everything
//! has a bound: connections, reviews at once, bytes, and time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::certificate::HTTP2;
use super::review;
use crate::operator::validate::Rules;
use linux::signal::unless_stopped;

/// Connections at once: API servers hold some, and the kubelet asks after the health.
const MAX_CONNECTIONS: usize = 128;
/// How long a connection is kept; an API server opens another one.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// How long a handshake, the headers and a body may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
const HEADER_LIMIT: Duration = Duration::from_secs(10);
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// The largest review: a request to the API has at most 3 MiB, and a change the stored object too.
const MAX_BODY_BYTES: usize = 6 << 20;
/// Reviews at once; the rest wait for [`BODY_LIMIT`].
const MAX_REVIEWS: usize = 4;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// What is accepted of one stream, and of one connection, before it is read.
const STREAM_BYTES: u32 = 256 << 10;
const CONNECTION_BYTES: u32 = 1 << 20;
/// After the request to stop: how long new connections are still served, since the cluster learns
/// late that this server is not ready; and how long reviews may take to end.
const LEAVING: Duration = Duration::from_secs(3);
const ENDING: Duration = Duration::from_secs(10);
/// How long to wait if the system has no more descriptors.
const AFTER_ACCEPT_FAILURE: Duration = Duration::from_millis(100);

/// Where reviews come.
const REVIEW_PATH: &str = "/validate";

/// What every request is answered from.
pub(super) struct State {
    rules: RwLock<Arc<Rules>>,
    is_ready: AtomicBool,
    reviews: Semaphore,
    /// Whether only clients with a certificate may ask for a review.
    wants_client_certificate: bool,
}

impl State {
    pub(super) fn new(rules: Rules, wants_client_certificate: bool) -> Self {
        Self {
            rules: RwLock::new(Arc::new(rules)),
            is_ready: AtomicBool::new(false),
            reviews: Semaphore::new(MAX_REVIEWS),
            wants_client_certificate,
        }
    }

    /// Holds objects against these rules from now on.
    pub(super) fn replace_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether there is a certificate to serve with.
    pub(super) fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::SeqCst);
    }
}

type Answer = Response<Full<Bytes>>;

/// A listener with TLS.
pub(super) struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    state: Arc<State>,
    connections: Arc<Semaphore>,
    open: GracefulShutdown,
}

impl Server {
    /// Listens on an address.
    ///
    /// # Errors
    /// What the system says.
    pub(super) async fn bind(
        address: SocketAddr,
        tls: rustls::ServerConfig,
        state: Arc<State>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            tls: TlsAcceptor::from(Arc::new(tls)),
            state,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            open: GracefulShutdown::new(),
        })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until SIGTERM or SIGINT, and ends without breaking a review off.
    pub(super) async fn run(self) {
        unless_stopped(self.accept_all()).await;
        self.state.set_ready(false);
        log::info!("told to stop: not ready any more, and gone in a few seconds");
        let _ = timeout(LEAVING, self.accept_all()).await;
        let Self { listener, open, .. } = self;
        drop(listener);
        if timeout(ENDING, open.shutdown()).await.is_err() {
            log::warn!("connections did not end within {} s", ENDING.as_secs());
        }
    }

    async fn accept_all(&self) {
        loop {
            // Those that find no place wait in the system's queue.
            let Ok(place) = self.connections.clone().acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    sleep(AFTER_ACCEPT_FAILURE).await;
                    continue;
                }
            };
            let (tls, state, open) = (self.tls.clone(), self.state.clone(), self.open.watcher());
            tokio::spawn(async move {
                let _ = timeout(CONNECTION_LIFE, converse(stream, tls, state, open)).await;
                drop(place);
            });
        }
    }
}

/// One connection to its end.
async fn converse(
    stream: TcpStream,
    tls: TlsAcceptor,
    state: Arc<State>,
    open: hyper_util::server::graceful::Watcher,
) {
    // An answer does not wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return log::debug!("a TLS handshake has failed: {error}"),
        Err(_) => return,
    };
    let is_authenticated = stream.get_ref().1.peer_certificates().is_some();
    let builder = builder(&stream);
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(request, &state, is_authenticated).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = open.watch(connection).await {
        log::debug!("a connection has failed: {error}");
    }
}

/// The protocol that the handshake has agreed on: a client that says nothing is not waited for
/// without a limit.
fn builder(stream: &TlsStream<TcpStream>) -> auto::Builder<TokioExecutor> {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_LIMIT)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES);
    builder
}

async fn answer(request: Request<Incoming>, state: &State, is_authenticated: bool) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok"),
        (&Method::GET, "/readyz") if state.is_ready.load(Ordering::SeqCst) => {
            text(StatusCode::OK, "ok")
        }
        (&Method::GET, "/readyz") => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        (&Method::POST, REVIEW_PATH) if state.wants_client_certificate && !is_authenticated => {
            text(StatusCode::UNAUTHORIZED, "show a client certificate")
        }
        (&Method::POST, REVIEW_PATH) => {
            let reviewed = timeout(BODY_LIMIT, review(request.into_body(), state)).await;
            reviewed
                .unwrap_or_else(|_| text(StatusCode::REQUEST_TIMEOUT, "the review came too late"))
        }
        (_, REVIEW_PATH) => text(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview"),
        _ => text(StatusCode::NOT_FOUND, "reviews go to /validate"),
    }
}

async fn review(body: Incoming, state: &State) -> Answer {
    let Ok(_place) = state.reviews.acquire().await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "ending");
    };
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "a review has at most 6 MiB");
        }
        Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match review::answer(&body, &state.rules()) {
        Ok(review) => match serde_json::to_vec(&review) {
            Ok(review) => respond(StatusCode::OK, "application/json", review),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn text(status: StatusCode, line: &str) -> Answer {
    respond(status, "text/plain; charset=utf-8", format!("{line}\n").into_bytes())
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
