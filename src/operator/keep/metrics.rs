//! `/metrics` of `braid keep`, for Prometheus: one path, a few connections at a time, each with an
//! end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::exposition::Exposition;

/// The format (Prometheus, "Exposition formats").
const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 8;
/// How long a request may take to arrive.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long a connection lasts at most.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15);
/// The largest request: hyper allows no smaller one.
const MAX_REQUEST_BYTES: usize = 8 << 10;
/// The wait before the address is tried again, which another process may hold yet.
const PAUSE: Duration = Duration::from_secs(10);

/// An address to listen on: one of this node, and not every one.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    // A pod's address stands there as Kubernetes writes it: without brackets.
    let plain = text.rsplit_once(':').and_then(|(ip, port)| {
        Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?))
    });
    let address = text.parse().ok().or(plain);
    let address: SocketAddr =
        address.ok_or_else(|| "must be an address and a port, as 127.0.0.1:9750".to_owned())?;
    if address.ip().is_unspecified() {
        return Err(
            "must name one address, loopback or the pod's own: this one is every one".to_owned()
        );
    }
    Ok(address)
}

/// Serves on a thread of its own, for as long as the process lives.
pub(super) fn serve(address: SocketAddr, exposition: Exposition) {
    let exposition = Arc::new(Mutex::new(exposition));
    let serving = move || match Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime.block_on(listen(address, &exposition)),
        Err(error) => log::error!("no metrics are served: {error}"),
    };
    if let Err(error) = std::thread::Builder::new().name("metrics".to_owned()).spawn(serving) {
        log::error!("no metrics are served: {error}");
    }
}

async fn listen(address: SocketAddr, exposition: &Arc<Mutex<Exposition>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => log::warn!("cannot listen on {address}: {error}: trying again"),
        }
        sleep(PAUSE).await;
    };
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let exposition = exposition.clone();
                tokio::spawn(async move {
                    let _ = timeout(CONNECTION_LIMIT, converse(stream, exposition)).await;
                    drop(place);
                });
            }
            // Out of descriptors, say: it passes.
            Err(error) => {
                log::warn!("cannot accept a connection: {error}");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One connection, with one request.
async fn converse(stream: TcpStream, exposition: Arc<Mutex<Exposition>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let exposition = exposition.clone();
        async move { Ok::<_, Infallible>(answer(&request, exposition).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        log::debug!("a connection for metrics has failed: {error}");
    }
}

async fn answer<B>(
    request: &Request<B>,
    exposition: Arc<Mutex<Exposition>>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if ![Method::GET, Method::HEAD].contains(request.method()) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    } else {
        // What asks the kernel has a runtime of its own, which none inside this one may have.
        let read = move || exposition.lock().unwrap_or_else(PoisonError::into_inner).text();
        match spawn_blocking(read).await {
            Ok(text) => {
                response.headers_mut().insert(CONTENT_TYPE, FORMAT);
                *response.body_mut() = Full::from(text);
            }
            Err(error) => {
                log::error!("what is to be shown cannot be read: {error}");
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_the_node() {
        assert!(address("127.0.0.1:9750").is_ok());
        assert_eq!(address("[fd00::1]:9750"), address("fd00::1:9750"));
        for text in ["0.0.0.0:9750", "[::]:9750", "9750", "localhost:9750", ""] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
