//! The service below the typed clients. A [`kube::Client`] is made for each call: its requests have
//! the call's retry policy and deadline, and share the session's connection. hyper-util's pool is
//! not used, because it opens a connection for each of several requests that start at the same
//! time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::client::Body;
use tower_service::Service;

use super::api_request::ApiRequest;
use super::error::ClusterError;
use super::retry::RetryPolicy;
use super::session::Session;
use cni::error::one_line;

/// How many characters of a decoder's message are shown.
const SHOWN_CHARS: usize = 300;

/// Sends the requests of one call. Its responses have a status of success and a bounded body.
#[derive(Clone)]
struct CallService {
    session: Arc<Session>,
    request: Arc<ApiRequest>,
    policy: RetryPolicy,
}

impl Service<Request<Body>> for CallService {
    type Response = Response<Full<Bytes>>;
    type Error = ClusterError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ClusterError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClusterError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Request<Body>) -> Self::Future {
        let Self { session, request, policy } = self.clone();
        Box::pin(async move {
            let (parts, body) = outgoing.into_parts();
            let body = body.collect_bytes().await;
            let body =
                body.map_err(|error| session.invalid_response(&request, &error.to_string()))?;
            let response = session.send(&request, Request::from_parts(parts, body), policy).await?;
            Ok(response.map(Full::from))
        })
    }
}

/// Why a typed call has no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// The client's error: the service's, or one of encoding and decoding.
    Client(kube::Error),
    /// What is wrong with the object in the response.
    Response(String),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        Self::Client(error)
    }
}

impl From<String> for CallError {
    fn from(problem: String) -> Self {
        Self::Response(problem)
    }
}

impl CallError {
    /// The same, if it is about the response, without what the decoder quotes of a secret.
    pub(super) fn without_quotes(error: kube::Error, problem: &str) -> Self {
        match error {
            kube::Error::Service(_) => Self::Client(error),
            _ => Self::Response(problem.to_owned()),
        }
    }

    fn into_cluster_error(self, session: &Session, request: &ApiRequest) -> ClusterError {
        let problem = match self {
            Self::Client(kube::Error::Service(error)) => match error.downcast::<ClusterError>() {
                Ok(error) => return *error,
                Err(error) => error.to_string(),
            },
            Self::Client(kube::Error::SerdeError(error)) => error.to_string(),
            Self::Client(kube::Error::BuildRequest(error)) => error.to_string(),
            Self::Client(error) => error.to_string(),
            Self::Response(problem) => return session.invalid_response(request, &problem),
        };
        session.invalid_response(request, &one_line(&problem, SHOWN_CHARS))
    }
}

/// The result of `operation` with a client for `request`.
pub(super) async fn call<T, F>(
    session: &Arc<Session>,
    request: Arc<ApiRequest>,
    policy: RetryPolicy,
    operation: impl FnOnce(kube::Client) -> F,
) -> Result<T, ClusterError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let service = CallService { session: session.clone(), request: request.clone(), policy };
    let client = kube::Client::new(service, request.namespace.as_str());
    operation(client).await.map_err(|error| error.into_cluster_error(session, &request))
}
