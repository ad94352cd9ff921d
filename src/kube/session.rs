//! The API server and the connection to it: sends a request, again while the retry policy and the
//! deadline allow it.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::access::Access;
use super::api_request::ApiRequest;
use super::connection::Connection;
use super::error::ClusterError;
use super::failure::{Failure, Judge};
use super::retry::RetryPolicy;
use super::transport_error::TransportError;

/// For how long a refusal is asked again: a server that starts refuses for some hundred
/// milliseconds, until its caches of rights are filled.
const REFUSAL_RETRY: Duration = Duration::from_secs(2);
/// How long the start of a connection that no call waits for yet may take: a server on the same
/// network has accepted it by then.
const AHEAD_LIMIT: Duration = Duration::from_millis(1);
/// The header of a request for the object's metadata alone.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// The API server, and the connection to it while there is one.
pub(super) struct Session {
    access: Arc<Access>,
    /// The limit of a call.
    timeout: Duration,
    link: Arc<Link>,
}

/// The connection, which sessions of an equal server and credential share.
pub(super) type Link = Mutex<Slot>;

/// The place for the connection.
#[derive(Default)]
pub(super) struct Slot {
    connection: Option<Connection>,
    /// One that was begun before a request needed it, or why it failed: the outcome of the first
    /// attempt that asks for a connection.
    ahead: Option<Result<Connection, TransportError>>,
    /// How many have been opened: tells the one that failed from the one that took its place.
    opened: u64,
}

impl Session {
    /// A session without a connection, whose calls may take `timeout`.
    pub(super) fn new(access: Arc<Access>, link: Arc<Link>, timeout: Duration) -> Self {
        Self { access, timeout, link }
    }

    /// What the connection needs.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// The limit of a call.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Host and port of the server.
    pub(super) fn server(&self) -> String {
        self.access.server.to_string()
    }

    /// The response to `outgoing`, which has a status of success. The first part of a request's
    /// target is its path.
    pub(super) async fn send(
        &self,
        request: &ApiRequest,
        outgoing: Request<Bytes>,
        policy: RetryPolicy,
    ) -> Result<Response<Bytes>, ClusterError> {
        let limit = policy.limit(self.timeout);
        let deadline = Instant::now() + limit;
        let mut backoff = policy.backoff();
        let mut may_be_stale = true;
        let mut refused_since = None;
        loop {
            let Ok(attempt) = timeout_at(deadline, self.attempt(request, &outgoing)).await else {
                self.forget_any();
                return Err(ClusterError::TimedOut {
                    server: self.server(),
                    step: "answer",
                    limit,
                });
            };
            let (error, retry_after, until) = match attempt {
                Ok(response) => return Ok(response),
                Err(Failure::Final(error)) => return Err(*error),
                Err(Failure::Stale(_)) if std::mem::take(&mut may_be_stale) => continue,
                Err(Failure::Stale(error)) => (error, None, deadline),
                Err(Failure::Transient { error, retry_after }) => (error, retry_after, deadline),
                Err(Failure::Refused(error)) => {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    (error, None, deadline.min(since + REFUSAL_RETRY))
                }
            };
            let Some(wait) = backoff.next(retry_after) else { return Err(*error) };
            if Instant::now() + wait >= until {
                return Err(*error);
            }
            log::debug!("asking for {} again in {} ms: {error}", request.what, wait.as_millis());
            sleep(wait).await;
        }
    }

    async fn attempt(
        &self,
        request: &ApiRequest,
        outgoing: &Request<Bytes>,
    ) -> Result<Response<Bytes>, Failure> {
        let judge = Judge { access: &self.access, request };
        let outgoing = self.prepare(request, outgoing).await?;
        let (connection, number, is_new) =
            self.connected().await.map_err(|error| judge.transport(error))?;
        match connection.send(outgoing, &self.access).await {
            Ok(response) => judge.response(response),
            Err(error) => {
                self.forget(number).await;
                Err(match judge.transport(error) {
                    Failure::Transient { error, .. } if !is_new => Failure::Stale(error),
                    failure => failure,
                })
            }
        }
    }

    /// Half of a call's limit, so that a second attempt has time.
    fn connect_limit(&self) -> Duration {
        self.timeout / 2
    }

    /// Begins to connect, on a task that the calls to come wait for. Returns when the server is to
    /// answer, or after [`AHEAD_LIMIT`].
    pub(super) async fn connect_ahead(self: &Arc<Self>) {
        let (begun, is_begun) = oneshot::channel();
        let session = self.clone();
        tokio::spawn(async move {
            let mut slot = session.link.lock().await;
            if slot.connection.is_none() {
                let limit = session.connect_limit();
                slot.ahead = Some(Connection::open(&session.access, limit, Some(begun)).await);
            }
        });
        let _ = timeout(AHEAD_LIMIT, is_begun).await;
    }

    /// The connection, its number, and whether it was made for this attempt. A request that starts
    /// while it is being made waits and shares it.
    async fn connected(&self) -> Result<(Connection, u64, bool), TransportError> {
        let mut slot = self.link.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((connection.clone(), slot.opened, false));
        }
        let connection = match slot.ahead.take() {
            Some(outcome) => outcome?,
            None => Connection::open(&self.access, self.connect_limit(), None).await?,
        };
        slot.opened += 1;
        slot.connection = Some(connection.clone());
        Ok((connection, slot.opened, true))
    }

    /// Without waiting: the slot is held while a connection is made, and is empty then.
    fn forget_any(&self) {
        if let Ok(mut slot) = self.link.try_lock() {
            slot.connection = None;
        }
    }

    async fn forget(&self, number: u64) {
        let mut slot = self.link.lock().await;
        if slot.opened == number {
            slot.connection = None;
        }
    }

    /// `outgoing` below the server's prefix, with the credential as it is now: a token's file is
    /// read again for each attempt.
    pub(super) async fn prepare(
        &self,
        request: &ApiRequest,
        outgoing: &Request<Bytes>,
    ) -> Result<Request<Full<Bytes>>, ClusterError> {
        let (mut parts, body) = outgoing.clone().into_parts();
        let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        parts.uri = Uri::try_from(format!("{}{path}", self.access.server.prefix))
            .map_err(|error| self.invalid_response(request, &error.to_string()))?;
        if request.metadata_only {
            parts.headers.insert(ACCEPT, METADATA_ONLY);
        }
        parts.headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        parts.headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("braid/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(authorization) =
            self.access.credential.authorization(self.connect_limit()).await?
        {
            parts.headers.insert(AUTHORIZATION, authorization);
        }
        Ok(Request::from_parts(parts, Full::from(body)))
    }

    /// The error for a response to `request` that is not what it must be.
    pub(super) fn invalid_response(&self, request: &ApiRequest, problem: &str) -> ClusterError {
        Judge { access: &self.access, request }.invalid_response(problem)
    }
}
