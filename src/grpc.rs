//! gRPC over a unix socket, as the kubelet and the container runtimes speak it.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};

/// Connects to `socket` within a tokio runtime. Answers of more than `max_bytes` are refused.
///
/// # Errors
/// The system's error, or the HTTP/2 handshake's.
pub async fn connect(socket: &Path, max_bytes: usize) -> io::Result<Grpc<Connection>> {
    let stream = UnixStream::connect(socket).await?;
    let (requests, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Its outcome is that of the request that is under way.
    tokio::spawn(async move { drop(driver.await) });
    // The authority that grpc-go's clients send on a unix socket.
    let origin = Uri::from_static("http://localhost");
    Ok(Grpc::with_origin(Connection(requests), origin).max_decoding_message_size(max_bytes))
}

/// The sending half of an HTTP/2 connection, as tonic asks for it.
pub struct Connection(SendRequest<Body>);

impl GrpcService<Body> for Connection {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
