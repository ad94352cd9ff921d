//! One connection of the server: TLS, HTTP, faults, and the answer to a request.

use std::convert::Infallible;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::select;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::identity::User;
use super::objects::{Call, Target, metadata_only, status};
use super::{Fault, Latency, Recorded, Shared, pod_watch, watch};

/// What an API server takes in one frame and on one stream (`pkg/server/secure_serving.go` of
/// k8s.io/apiserver).
const STREAM_BYTES: u32 = 256 << 10;
/// How many streams it allows on one connection.
const MAX_STREAMS: u32 = 100;
/// Its limit of the headers, with what Go adds to it.
const MAX_HEADER_BYTES: u32 = (1 << 20) + 320;

/// The server's thread: everything ends with it.
pub(super) fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    tls: Arc<ServerConfig>,
    stop: &Notify,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let accepting = async {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(tcp, shared.clone(), tls.clone()));
            }
        };
        select(Box::pin(accepting), Box::pin(stop.notified())).await;
    });
}

/// One connection to its end.
async fn converse(tcp: tokio::net::TcpStream, shared: Arc<Shared>, tls: Arc<ServerConfig>) {
    if shared.is_mute.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    // As Go does it: an answer does not wait for the acknowledgement of the one before.
    tcp.set_nodelay(true).unwrap();
    let tcp = tcp.into_std().unwrap();
    let line = Arc::new(Line { tcp: tcp.try_clone().unwrap(), hang_up: Notify::new() });
    let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
    let Ok(stream) = TlsAcceptor::from(tls).accept(tcp).await else { return };
    let certificate =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let certificate = certificate.map(CertificateDer::into_owned);
    let (shared, answering) = (shared.clone(), line.clone());
    let service = service_fn(move |request| {
        let (shared, line, certificate) = (shared.clone(), answering.clone(), certificate.clone());
        async move { Ok::<_, Infallible>(answer(request, &shared, &line, certificate.as_ref()).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .max_frame_size(STREAM_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(STREAM_BYTES * MAX_STREAMS);
    let serving = server.serve_connection(TokioIo::new(stream), service);
    select(Box::pin(serving), Box::pin(line.hang_up.notified())).await;
}

/// A connection, from below TLS.
struct Line {
    tcp: TcpStream,
    hang_up: Notify,
}

pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

async fn answer(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    line: &Line,
    certificate: Option<&CertificateDer<'static>>,
) -> Response<Body> {
    let came = Instant::now();
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let user =
        shared.users.lock().unwrap().of(certificate, header(&parts.headers, "authorization"));
    let place = record(shared, &parts, &body, user.as_ref());
    let fault = take_fault(shared, &format!("{} {}", parts.method, parts.uri.path()));
    let (done, fault) = match fault {
        Some(Fault::Afterwards(fault)) => {
            (Some(obey(shared, &parts, &body, user.as_ref())), Some(*fault))
        }
        fault => (None, fault),
    };
    match &fault {
        Some(Fault::Late(wait)) => tokio::time::sleep(*wait).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Close) => {
            line.hang_up.notify_one();
            std::future::pending().await
        }
        Some(Fault::Reset) => {
            let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&line.tcp, Linger, &at_once).unwrap();
            line.hang_up.notify_one();
            std::future::pending().await
        }
        Some(Fault::HalfClose) => {
            line.tcp.shutdown(Shutdown::Write).unwrap();
            std::future::pending().await
        }
        _ => {}
    }
    if let (None, Some(user), Some(target)) = (&fault, &user, watched(shared, &parts)) {
        return watch(shared, user, target, &parts, place);
    }
    if done.is_none()
        && fault.is_none()
        && let Some(response) = pod_watch::answer(shared, &parts, user.as_ref())
    {
        shared.requests.lock().unwrap()[place].status = response.status().as_u16();
        return response;
    }
    if fault.is_none()
        && let Some(body) = watch::start(shared, &parts, user.as_ref())
    {
        shared.requests.lock().unwrap()[place].status = 200;
        return Response::builder().header("content-type", "application/json").body(body).unwrap();
    }
    let (status, headers, text) = match &fault {
        Some(Fault::Answer(status, headers, text)) => (*status, headers.clone(), text.clone()),
        Some(Fault::Flood(size)) => (200, Vec::new(), format!("[{}]", " ".repeat(*size))),
        _ => done.unwrap_or_else(|| obey(shared, &parts, &body, user.as_ref())),
    };
    shared.requests.lock().unwrap()[place].status = status;
    let Latency { read, write } = *shared.latency.lock().unwrap();
    linger(if parts.method == Method::GET { read } else { write }, came).await;
    let mut response =
        Response::builder().status(status).header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(if matches!(fault, Some(Fault::Cut)) { cut(&text) } else { whole(text) }).unwrap()
}

fn watched(shared: &Shared, parts: &http::request::Parts) -> Option<Target> {
    let path = parts.uri.path().strip_prefix(shared.prefix.as_str())?;
    Target::parse(path)?.watched(parts.uri.query()?)
}

/// How often a watched object is looked at.
const TICK: Duration = Duration::from_millis(10);

/// A watch: rights are checked now and never again, as an API server does it.
fn watch(
    shared: &Arc<Shared>,
    user: &User,
    target: Target,
    parts: &http::request::Parts,
    place: usize,
) -> Response<Body> {
    let refusal = shared.objects.lock().unwrap().begin_watch(user, &target);
    let status = refusal.as_ref().map_or(200, |(status, _)| *status);
    shared.requests.lock().unwrap()[place].status = status;
    let response = Response::builder().status(status).header("content-type", "application/json");
    if let Some((_, text)) = refusal {
        return response.body(whole(text.to_string())).unwrap();
    }
    let mut pairs = parts.uri.query().unwrap_or_default().split('&');
    let version = pairs.find_map(|pair| pair.strip_prefix("resourceVersion=")).unwrap().to_owned();
    let events =
        stream::unfold((shared.clone(), target, version), |(shared, target, version)| async move {
            loop {
                let event = shared.objects.lock().unwrap().event(&target, &version);
                if let Some((event, version)) = event {
                    let line = Bytes::from(format!("{event}\n"));
                    return Some((Ok(Frame::data(line)), (shared, target, version)));
                }
                tokio::time::sleep(TICK).await;
            }
        });
    response.body(StreamBody::new(events).boxed_unsync()).unwrap()
}

/// Waits until the request has taken as long as it takes. tokio's timer counts in whole
/// milliseconds, rounded up.
async fn linger(latency: Duration, came: Instant) {
    let rest = latency.saturating_sub(came.elapsed());
    if !rest.is_zero() {
        tokio::task::spawn_blocking(move || std::thread::sleep(rest)).await.unwrap();
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// Its place in the list.
fn record(
    shared: &Shared,
    parts: &http::request::Parts,
    body: &[u8],
    user: Option<&User>,
) -> usize {
    let text = |name| header(&parts.headers, name).unwrap_or_default().to_owned();
    let mut requests = shared.requests.lock().unwrap();
    requests.push(Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        content_type: text("content-type"),
        accept: text("accept"),
        body: serde_json::from_slice(body).unwrap_or_default(),
        user: user.map(|user| user.name.clone()),
        version: parts.version,
        status: 0,
    });
    requests.len() - 1
}

fn take_fault(shared: &Shared, line: &str) -> Option<Fault> {
    let mut faults = shared.faults.lock().unwrap();
    if let Some(place) = faults.iter().position(|(part, _)| line.contains(part.as_str())) {
        return faults.remove(place).map(|(_, fault)| fault);
    }
    drop(faults);
    shared.weather.lock().unwrap().as_mut().and_then(|weather| weather(line))
}

/// What a server without a fault answers.
fn obey(
    shared: &Shared,
    parts: &http::request::Parts,
    body: &[u8],
    user: Option<&User>,
) -> (u16, Vec<(&'static str, String)>, String) {
    let Some(user) = user else {
        return (401, Vec::new(), status(401, "Unauthorized", "Unauthorized", None).1.to_string());
    };
    let target = parts.uri.path().strip_prefix(shared.prefix.as_str()).and_then(Target::parse);
    let call = Call {
        method: parts.method.as_str(),
        target: target.clone(),
        query: parts.uri.query().unwrap_or_default(),
        content_type: header(&parts.headers, "content-type").unwrap_or_default(),
        agent: header(&parts.headers, "user-agent").unwrap_or_default(),
        body,
    };
    let wants_metadata =
        header(&parts.headers, "accept").unwrap_or_default().contains("as=PartialObjectMetadata");
    let answer = shared.objects.lock().unwrap().answer(user, &call);
    match answer {
        Ok((201, value)) if value["kind"] == "TokenRequest" => {
            (201, Vec::new(), with_token(shared, target.as_ref(), value).to_string())
        }
        Ok((code, value)) if wants_metadata && code < 300 => {
            (code, Vec::new(), metadata_only(value).to_string())
        }
        Ok((code, value)) => (code, Vec::new(), value.to_string()),
        Err(text) => (404, Vec::new(), text.to_owned()),
    }
}

/// A token of the service account, as it was asked for.
fn with_token(shared: &Shared, target: Option<&Target>, mut request: Value) -> Value {
    let Some(Target { namespace, name: Some(name), .. }) = target else { return request };
    let user = User::service_account(namespace, name);
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap();
    let token = shared.users.lock().unwrap().add_token(&user, seconds);
    request["status"] = json!({"token": token, "expirationTimestamp": "2026-01-01T00:00:00Z"});
    request
}

fn whole(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

/// Half of `text`, and then the end of the connection.
fn cut(text: &str) -> Body {
    let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
    let frames = [Ok(Frame::data(half)), Err(std::io::Error::other("cut"))];
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}
