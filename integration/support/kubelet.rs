//! A double of the kubelet's PodResources socket: the real wire, with messages made from the
//! published proto by reflection, so that it shares no code and no mistake with the client.
//!
//! ```ignore
//! let kubelet = Kubelet::start(&socket)                     // Get and List are unimplemented
//!     .get([pod("shop", "cart", json!([{"resourceName": "a.b/x", "deviceIds": ["1"]}]))])
//!     .list([Answer::Status(2, "no")]);                     // the last answer is repeated
//! // …
//! assert_eq!(kubelet.requests(), ["Get shop/cart"]);
//! ```
//!
//! HTTP/2 is spoken by hand, so that it can also answer wrongly. The socket goes when it is
//! dropped.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread::JoinHandle;

use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hyper::body::Bytes;
use hyper::http::{HeaderMap, HeaderValue, Request, Response};
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ServiceDescriptor};
use serde_json::{Value, json};
use tokio::net::UnixListener;

/// How the kubelet answers one request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A message, as the proto's JSON mapping has it (`podResources`, `resourceName`, …).
    Message(Value),
    /// A gRPC status and its message, as grpc-go sends it: headers and trailers in one frame.
    Status(u32, &'static str),
    /// Bytes in place of a message, framed and ended as one.
    Bytes(Vec<u8>),
    /// A message of that many bytes, all of them sent.
    Huge(usize),
    /// The headers and half a message, and then nothing.
    Stuck,
    /// Nothing at all.
    Silence,
    /// A message without a status.
    NoStatus,
    /// The request is reset.
    Reset,
    /// Another HTTP status, with no gRPC in it.
    Http(u16),
}

/// Codes of gRPC.
pub(crate) const UNKNOWN: u32 = 2;
pub(crate) const NOT_FOUND: u32 = 5;
pub(crate) const PERMISSION_DENIED: u32 = 7;
pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
pub(crate) const UNIMPLEMENTED: u32 = 12;

/// One pod with one container, as `Get` answers.
pub(crate) fn pod(namespace: &str, name: &str, devices: Value) -> Answer {
    Answer::Message(json!({"podResources": resources(namespace, name, devices)}))
}

/// One pod with one container, as `List` has many.
pub(crate) fn resources(namespace: &str, name: &str, devices: Value) -> Value {
    json!({"namespace": namespace, "name": name, "containers": [{"name": "main", "devices": devices}]})
}

/// The kubelet at its socket.
pub(crate) struct Kubelet {
    socket: PathBuf,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    get: Mutex<VecDeque<Answer>>,
    list: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Kubelet {
    /// Listens at `socket`, whose directory is made.
    pub(crate) fn start(socket: &Path) -> Self {
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let state = Arc::new(State::default());
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn({
            let (socket, state) = (socket.to_owned(), Arc::clone(&state));
            move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = UnixListener::bind(&socket).unwrap();
                    ready.send(()).unwrap();
                    serve(listener, &state).await;
                });
            }
        });
        is_ready.recv().expect("the kubelet's double cannot listen at its socket");
        Self { socket: socket.to_owned(), state, thread: Some(thread) }
    }

    /// What it answers to `Get`, one after the other; the last one stays.
    pub(crate) fn get(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        *self.state.get.lock().unwrap() = answers.into_iter().collect();
        self
    }

    /// What it answers to `List`, one after the other; the last one stays.
    pub(crate) fn list(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        *self.state.list.lock().unwrap() = answers.into_iter().collect();
        self
    }

    /// What it was asked: `Get namespace/name`, `List`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        drop(UnixStream::connect(&self.socket));
        let ended = self.thread.take().map(JoinHandle::join);
        let _ = fs::remove_file(&self.socket);
        if !std::thread::panicking() {
            ended.unwrap().expect("the kubelet's double has failed");
        }
    }
}

async fn serve(listener: UnixListener, state: &Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if state.stopped.load(Ordering::SeqCst) {
            return;
        }
        let state = Arc::clone(state);
        // A client that goes away, or is not one, ends its connection and nothing else.
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.map_err(io::Error::other)?;
            while let Some(request) = connection.accept().await {
                let (request, respond) = request.map_err(io::Error::other)?;
                tokio::spawn(answer(request, respond, Arc::clone(&state)));
            }
            io::Result::Ok(())
        });
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, state: Arc<State>) {
    let method = method(request.uri().path());
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    // A client may be killed while it asks.
    let Some(asked) = read_message(request.into_body()).await else { return };
    let asked =
        DynamicMessage::decode(method.input(), asked.as_slice()).expect("a request of the proto");
    let answers = if method.name() == "Get" { &state.get } else { &state.list };
    state.requests.lock().unwrap().push(show(&method, &asked));
    let answer = next(&mut answers.lock().unwrap());
    // A client may have given up.
    let _ = send(answer, &method, &mut respond).await;
}

fn method(path: &str) -> MethodDescriptor {
    static SERVICE: LazyLock<ServiceDescriptor> = LazyLock::new(|| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/support");
        let files = protox::compile(["podresources.proto"], [directory]).unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
        pool.get_service_by_name("v1.PodResourcesLister").unwrap()
    });
    let name = path.strip_prefix("/v1.PodResourcesLister/").expect("the service's path");
    SERVICE.methods().find(|method| method.name() == name).expect("a method of the service")
}

/// The one message of a request, without its frame; none if the client has gone meanwhile.
async fn read_message(mut body: RecvStream) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        body.flow_control().release_capacity(chunk.len()).unwrap();
        content.extend_from_slice(&chunk);
    }
    let message = content.split_off(5);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    assert_eq!(content, [&[0][..], &length].concat(), "an uncompressed message, and only one");
    Some(message)
}

fn show(method: &MethodDescriptor, asked: &DynamicMessage) -> String {
    let asked = serde_json::to_value(asked).unwrap();
    match (asked["podNamespace"].as_str(), asked["podName"].as_str()) {
        (Some(namespace), Some(name)) => format!("{} {namespace}/{name}", method.name()),
        _ => method.name().to_owned(),
    }
}

fn next(answers: &mut VecDeque<Answer>) -> Answer {
    let unimplemented = Answer::Status(UNIMPLEMENTED, "unknown method");
    let answer = answers.front().cloned().unwrap_or(unimplemented);
    if answers.len() > 1 {
        answers.pop_front();
    }
    answer
}

async fn send(
    answer: Answer,
    method: &MethodDescriptor,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let headers = |status: u16| {
        Response::builder()
            .status(status)
            .header("content-type", "application/grpc")
            .body(())
            .unwrap()
    };
    match answer {
        Answer::Message(json) => {
            let message =
                DynamicMessage::deserialize(method.output(), json).expect("an answer of the proto");
            let stream = respond.send_response(headers(200), false)?;
            send_all(stream, frame(&message.encode_to_vec()), Some(status(0, ""))).await
        }
        Answer::Bytes(bytes) => {
            let stream = respond.send_response(headers(200), false)?;
            send_all(stream, frame(&bytes), Some(status(0, ""))).await
        }
        Answer::Huge(length) => {
            let stream = respond.send_response(headers(200), false)?;
            send_all(stream, frame(&vec![0; length]), Some(status(0, ""))).await
        }
        Answer::NoStatus => {
            let stream = respond.send_response(headers(200), false)?;
            send_all(stream, frame(&[]), None).await
        }
        Answer::Stuck => {
            let mut stream = respond.send_response(headers(200), false)?;
            stream.send_data(Bytes::from_static(&[0, 0, 0, 1, 0, 10]), false)?;
            std::future::pending().await
        }
        Answer::Silence => std::future::pending().await,
        Answer::Reset => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Answer::Status(code, message) => {
            let mut response = headers(200);
            response.headers_mut().extend(status(code, message));
            respond.send_response(response, true).map(drop)
        }
        Answer::Http(code) => {
            let response = Response::builder().status(code).body(()).unwrap();
            respond.send_response(response, true).map(drop)
        }
    }
}

fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

fn status(code: u32, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers.insert("grpc-message", HeaderValue::from_static(message));
    trailers
}

/// Sends content as far as the client's window lets it, then the trailers, if any.
async fn send_all(
    mut stream: SendStream<Bytes>,
    mut content: Bytes,
    trailers: Option<HeaderMap>,
) -> Result<(), h2::Error> {
    while !content.is_empty() {
        stream.reserve_capacity(content.len());
        let granted = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(granted) = granted.transpose()? else { return Ok(()) };
        stream.send_data(content.split_to(granted.min(content.len())), false)?;
    }
    match trailers {
        Some(trailers) => stream.send_trailers(trailers),
        None => stream.send_data(Bytes::new(), true),
    }
}
