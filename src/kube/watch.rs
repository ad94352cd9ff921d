//! The pods of one node as they change: a list, then a watch from where the list ends, for as long
//! as the process lives.
//!
//! Only metadata is asked for, and of that no more kept than what says which networks a pod wants.
//! A page of the list and an event are in memory one at a time, within a bound. Whatever ends a
//! watch, it goes on where it was; a place that the server does not remember (410) is listed anew.

mod backoff;
mod event;
mod lines;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Bytes, Incoming};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

use backoff::{FIRST_WAIT, next, pause};
pub use event::PodNetworks;
use event::{Event, Page};
use lines::{Lines, Text};

use super::access::Access;
use super::api_request::ApiRequest;
use super::connection::Connection;
use super::error::ClusterError;
use super::failure::{Failure, Judge};
use super::retry::jittered;
use super::session::Session;
use super::{ClusterConfig, Source, exec};
use cni::request::Environment;

/// Pods of one page of a list. A page that is too large is asked for again with fewer.
const PAGE: usize = 50;
/// For how long the server is asked to keep a watch, at least; up to as much again, so that nodes
/// do not come back at the same moment.
const WATCH: Duration = Duration::from_mins(4);
/// A watch is taken for dead that says nothing for so long: a server sends a bookmark each minute.
const SILENCE: Duration = Duration::from_secs(150);
/// How often it is looked whether the watch is to end.
const STOP_LOOK: Duration = Duration::from_millis(500);
/// A watch that lasted so long was no failure.
const GOOD: Duration = Duration::from_secs(10);

/// What becomes known of the node's pods.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// A pod is there, with what it wants now.
    Pod(PodNetworks),
    /// The pod with this UID is gone.
    Gone(String),
    /// A list begins: pods that do not come before it ends are gone.
    ListBegins,
    /// The list has ended.
    ListEnds,
    /// Nothing has changed.
    Alive,
    /// The API cannot be asked now, and is asked again.
    Failing(ClusterError),
}

/// Watches the pods of one node.
pub struct PodWatch {
    source: Source,
    variables: exec::Variables,
    timeout: Duration,
    session: Session,
    node: String,
}

/// How a watch ended.
enum End {
    /// It goes on from where it was.
    AtRest,
    /// The server does not remember the version.
    Expired,
}

impl PodWatch {
    /// Watches until `is_stopping`; `see` hears of everything, and says whether a new list is
    /// wanted.
    ///
    /// # Errors
    /// [`ClusterError`] if the configuration of the API cannot be used.
    pub fn run(
        config: &ClusterConfig,
        environment: &Environment,
        node: &str,
        see: &mut dyn FnMut(Seen) -> bool,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<(), ClusterError> {
        let in_cluster = Source::in_cluster(environment, &config.service_account);
        let kubeconfig = config.kubeconfig.clone();
        let source =
            in_cluster.or_else(|| kubeconfig.map(|path| Source::Kubeconfig { path, server: None }));
        let no_api = || ClusterError::Kubeconfig {
            path: config.service_account.clone(),
            problem: "no API is configured: pods cannot be watched".to_owned(),
        };
        let source = source.ok_or_else(no_api)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| ClusterError::Kubeconfig {
            path: source.path().to_owned(),
            problem: format!("cannot start a client: {error}"),
        })?;
        let variables = exec::variables(environment, &config.pass_environment);
        let (node, timeout) = (node.to_owned(), config.timeout);
        let watching = async {
            let mut wait = FIRST_WAIT;
            let session = loop {
                match session(&source, &variables, timeout).await {
                    Ok(session) => break session,
                    Err(error) => pause(error, &mut wait, see).await,
                }
            };
            Self { source, variables, timeout, session, node }.follow(see).await;
        };
        runtime.block_on(select(pin!(watching), pin!(stopped(is_stopping))));
        // Without waiting: a name lookup that hangs must not hold up the end.
        runtime.shutdown_background();
        Ok(())
    }

    /// Lists and watches for ever.
    async fn follow(mut self, see: &mut dyn FnMut(Seen) -> bool) {
        let mut wait = FIRST_WAIT;
        loop {
            let mut version = match self.list(see).await {
                Ok(version) => version,
                Err(error) => {
                    pause(error, &mut wait, see).await;
                    self.renew().await;
                    continue;
                }
            };
            loop {
                let started = Instant::now();
                let ended = self.watch(&mut version, see).await;
                if started.elapsed() >= GOOD {
                    wait = FIRST_WAIT;
                }
                match ended {
                    Ok(End::Expired) => break,
                    // One that ends at once, again and again, is a failure as well.
                    Ok(End::AtRest) if started.elapsed() >= GOOD => {}
                    Ok(End::AtRest) => sleep(next(&mut wait)).await,
                    Err(error) => {
                        pause(error, &mut wait, see).await;
                        self.renew().await;
                    }
                }
            }
            sleep(jittered(FIRST_WAIT)).await;
        }
    }

    /// Reads credential and authorities again: they are replaced while the process lives, and what
    /// has failed may have done so for that. Those that cannot be read are kept.
    async fn renew(&mut self) {
        match session(&self.source, &self.variables, self.timeout).await {
            Ok(session) => self.session = session,
            Err(error) => log::debug!("{error}"),
        }
    }

    fn request(&self, verb: &'static str) -> ApiRequest {
        ApiRequest {
            verb,
            resource: "pods",
            namespace: String::new(),
            name: String::new(),
            what: format!("the pods of node {}", self.node),
            metadata_only: false,
        }
    }

    /// Lists the pods, page by page; returns the version to watch from.
    async fn list(&self, see: &mut dyn FnMut(Seen) -> bool) -> Result<String, ClusterError> {
        let request = self.request("list");
        let mut connection = self.connect(&request).await?;
        let (mut limit, mut next_page) = (PAGE, String::new());
        see(Seen::ListBegins);
        loop {
            let query = format!("limit={limit}&continue={}", escaped(&next_page));
            let sending = self.send(&request, &connection, &query);
            let response = self.in_time(sending).await??;
            let Some(page) = self.read_page(&request, response).await? else {
                if limit == 1 {
                    return Err(self.session.invalid_response(&request, "a pod is too large"));
                }
                limit = (limit / 4).max(1);
                // The rest of the page is still on its way on the other one.
                connection = self.connect(&request).await?;
                continue;
            };
            for pod in page.pods {
                see(Seen::Pod(pod));
            }
            next_page = page.next;
            if next_page.is_empty() {
                see(Seen::ListEnds);
                return Ok(page.version);
            }
        }
    }

    /// A page of the list; `None` if it is too large.
    async fn read_page(
        &self,
        request: &ApiRequest,
        response: Response<Incoming>,
    ) -> Result<Option<Page>, ClusterError> {
        let mut text = Text::new(&response);
        let read = timeout(self.session.timeout(), text.read_to_end(response.into_body()));
        match read.await {
            Err(_) => Err(self.timed_out("list")),
            Ok(Err(problem)) => Err(self.unreachable(problem)),
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(bytes))) => event::page(&bytes)
                .map(Some)
                .map_err(|problem| self.session.invalid_response(request, &problem)),
        }
    }

    /// Watches from `version`, which follows, until the watch ends.
    async fn watch(
        &self,
        version: &mut String,
        see: &mut dyn FnMut(Seen) -> bool,
    ) -> Result<End, ClusterError> {
        let request = self.request("watch");
        let connection = self.connect(&request).await?;
        let limit = WATCH + jittered(WATCH);
        let query = format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            limit.as_secs(),
            escaped(version)
        );
        let sending = self.send(&request, &connection, &query);
        let response = match self.in_time(sending).await? {
            Err(ClusterError::Answer { problem, .. }) if problem.starts_with("410") => {
                return Ok(End::Expired);
            }
            response => response?,
        };
        let mut lines = Lines::new(&response);
        let mut body = response.into_body();
        loop {
            let line = match timeout(SILENCE, lines.next(&mut body)).await {
                Ok(Ok(Some(line))) => line,
                // The server's own end of it, or the connection's: it goes on from here.
                Ok(Ok(None)) | Err(_) => return Ok(End::AtRest),
                Ok(Err(problem)) => return Err(self.unreachable(problem)),
            };
            if self.hear(&request, &line, version, see)? {
                return Ok(End::Expired);
            }
        }
    }

    /// Takes in an event of a watch. Returns whether the pods have to be listed anew.
    fn hear(
        &self,
        request: &ApiRequest,
        line: &[u8],
        version: &mut String,
        see: &mut dyn FnMut(Seen) -> bool,
    ) -> Result<bool, ClusterError> {
        let (seen, at) = match event::read(line) {
            Ok(Event::Pod(pod, at)) => (Seen::Pod(pod), at),
            Ok(Event::Gone(uid, at)) => (Seen::Gone(uid), at),
            Ok(Event::Bookmark(at)) => (Seen::Alive, at),
            Ok(Event::Expired) => return Ok(true),
            Ok(Event::Error(problem)) | Err(problem) => {
                return Err(self.session.invalid_response(request, &problem));
            }
        };
        *version = at;
        Ok(see(seen))
    }

    async fn connect(&self, request: &ApiRequest) -> Result<Connection, ClusterError> {
        let opening = Connection::open(self.session.access(), self.session.timeout(), None);
        let judge = Judge { access: self.session.access(), request };
        opening.await.map_err(|error| error_of(judge.transport(error)))
    }

    /// Sends a request about the node's pods; the response has a status of success.
    async fn send(
        &self,
        request: &ApiRequest,
        connection: &Connection,
        query: &str,
    ) -> Result<Response<Incoming>, ClusterError> {
        let node = escaped(&self.node);
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&{query}");
        let kind = if request.verb == "list" {
            "PartialObjectMetadataList"
        } else {
            "PartialObjectMetadata"
        };
        let accept = format!("application/json;as={kind};g=meta.k8s.io;v=v1");
        let invalid = |problem: &dyn std::fmt::Display| {
            self.session.invalid_response(request, &problem.to_string())
        };
        let mut outgoing =
            Request::get(path).body(Bytes::new()).map_err(|error| invalid(&error))?;
        let accept = HeaderValue::from_str(&accept).map_err(|error| invalid(&error))?;
        outgoing.headers_mut().insert(ACCEPT, accept);
        outgoing.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let outgoing = self.session.prepare(request, &outgoing).await?;
        let access = self.session.access();
        let judge = Judge { access, request };
        let response = connection.begin(outgoing, access).await;
        let response = response.map_err(|error| error_of(judge.transport(error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(judge, response).await)
    }

    /// What a response says that has no status of success.
    async fn refusal(&self, judge: Judge<'_>, response: Response<Incoming>) -> ClusterError {
        let (parts, body) = response.into_parts();
        if parts.status == StatusCode::GONE {
            return judge.invalid_response("410 Gone");
        }
        let whole = Response::from_parts(parts, ());
        let mut text = Text::new(&whole);
        let bytes = text.read_to_end(body).await.ok().flatten().unwrap_or_default();
        match judge.response(whole.map(|()| Bytes::from(bytes))) {
            Err(failure) => error_of(failure),
            Ok(_) => judge.invalid_response("it has a status that means nothing here"),
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, ClusterError> {
        let limit = pin!(sleep(self.session.timeout()));
        match select(pin!(work), limit).await {
            Either::Left((outcome, _)) => Ok(outcome),
            Either::Right(_) => Err(self.timed_out("answer")),
        }
    }

    fn timed_out(&self, step: &'static str) -> ClusterError {
        let (server, limit) = (self.session.server(), self.session.timeout());
        ClusterError::TimedOut { server, step, limit }
    }

    fn unreachable(&self, problem: String) -> ClusterError {
        ClusterError::Unreachable { server: self.session.server(), problem }
    }
}

/// A session with the credential and the authorities as they are now.
async fn session(
    source: &Source,
    variables: &exec::Variables,
    timeout: Duration,
) -> Result<Session, ClusterError> {
    let access = Access::open(source, variables, timeout).await?;
    Ok(Session::new(Arc::new(access), Arc::default(), timeout))
}

/// Ends once the watch is to end. The signal itself is read by another thread.
async fn stopped(is_stopping: &dyn Fn() -> bool) {
    while !is_stopping() {
        sleep(STOP_LOOK).await;
    }
}

fn error_of(failure: Failure) -> ClusterError {
    match failure {
        Failure::Final(error)
        | Failure::Transient { error, .. }
        | Failure::Refused(error)
        | Failure::Stale(error) => *error,
    }
}

/// A value of a query: what is neither a letter, a digit, nor one of `-._~` is written as its bytes
/// (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests;
