//! A question to the API: one request, put again while that makes sense, and what its answer means.

use std::time::Duration;

use chrono::Utc;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use kube::core::Status;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::access::Access;
use super::connection::{Broken, Connection, Response};
use super::error::ClusterError;
use super::retry::Retries;
use cni::error::one_line;

/// For how long a refusal is asked again: a server that starts refuses for some hundred milliseconds, until its
/// caches of rights are filled.
const DOUBT: Duration = Duration::from_secs(2);
/// How much of the server's own words is shown.
const SHOWN_CHARS: usize = 300;

/// A request, and the words for it.
#[derive(Debug)]
pub(super) struct Question {
    /// The verb of the right that it needs.
    pub(super) verb: &'static str,
    /// Resource and group, as `kubectl` writes them.
    pub(super) resource: &'static str,
    /// The namespace that it is about.
    pub(super) namespace: String,
    /// The object that it is about; empty for one that has no name yet, and for a list.
    pub(super) name: String,
    /// The object, for a message.
    pub(super) what: String,
    /// The request, whose target is a path; or why there is none.
    pub(super) request: Result<Request<Vec<u8>>, String>,
}

/// The API server, and the connection to it while there is one.
pub(super) struct Session {
    access: Access,
    /// The limit for a connection: half of what a question may take, so that a second try has time.
    connect_limit: Duration,
    slot: Mutex<Slot>,
}

/// The place for the connection.
#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// How many have been opened: tells the one that failed from the one that took its place.
    opened: u64,
}

/// Why one attempt failed.
enum Failure {
    /// Asking again would not change it.
    Final(ClusterError),
    /// It may pass.
    Passing { error: Box<ClusterError>, retry_after: Option<Duration> },
    /// 403: a right is missing, or the server has yet to read it.
    Refused(Box<ClusterError>),
    /// A connection that was open from before has ended, as a server may do at any time.
    Stale(Box<ClusterError>),
}

impl Session {
    /// A session without a connection, whose questions may take `limit`.
    pub(super) fn new(access: Access, limit: Duration) -> Self {
        Self { access, connect_limit: limit / 2, slot: Mutex::default() }
    }

    /// The body of the answer.
    pub(super) async fn ask(
        &self,
        question: &Question,
        limit: Duration,
        mut retries: Retries,
    ) -> Result<Bytes, ClusterError> {
        let deadline = Instant::now() + limit;
        let mut may_be_stale = true;
        let mut refused_since = None;
        loop {
            let Ok(attempt) = timeout_at(deadline, self.attempt(question)).await else {
                self.slot.lock().await.connection = None;
                return Err(ClusterError::TimedOut { server: self.server(), step: "answer", limit });
            };
            let (error, retry_after, until) = match attempt {
                Ok(body) => return Ok(body),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Stale(_)) if std::mem::take(&mut may_be_stale) => continue,
                Err(Failure::Stale(error)) => (error, None, deadline),
                Err(Failure::Passing { error, retry_after }) => (error, retry_after, deadline),
                Err(Failure::Refused(error)) => {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    (error, None, deadline.min(since + DOUBT))
                }
            };
            let Some(wait) = retries.next(retry_after) else { return Err(*error) };
            if Instant::now() + wait >= until {
                return Err(*error);
            }
            log::debug!("asking for {} again in {} ms: {error}", question.what, wait.as_millis());
            sleep(wait).await;
        }
    }

    fn server(&self) -> String {
        self.access.server.to_string()
    }

    async fn attempt(&self, question: &Question) -> Result<Bytes, Failure> {
        let request = self.request(question).await.map_err(Failure::Final)?;
        let (connection, number, is_new) =
            self.connected().await.map_err(|broken| self.broken(broken, question))?;
        match connection.send(request, &self.access).await {
            Ok(response) => self.judge(question, response),
            Err(broken) => {
                self.forget(number).await;
                Err(match self.broken(broken, question) {
                    Failure::Passing { error, .. } if !is_new => Failure::Stale(error),
                    failure => failure,
                })
            }
        }
    }

    /// The connection, its number, and whether it was made for this attempt. Whoever comes while it is
    /// being made waits and shares it.
    async fn connected(&self) -> Result<(Connection, u64, bool), Broken> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection {
            return Ok((connection.clone(), slot.opened, false));
        }
        let connection = Connection::open(&self.access, self.connect_limit).await?;
        slot.opened += 1;
        slot.connection = Some(connection.clone());
        Ok((connection, slot.opened, true))
    }

    async fn forget(&self, number: u64) {
        let mut slot = self.slot.lock().await;
        if slot.opened == number {
            slot.connection = None;
        }
    }

    async fn request(&self, question: &Question) -> Result<Request<Full<Bytes>>, ClusterError> {
        let request = question.request.clone().map_err(|problem| self.useless(question, &problem))?;
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        parts.uri = Uri::try_from(format!("{}{path}", self.access.server.prefix))
            .map_err(|error| self.useless(question, &error.to_string()))?;
        parts.headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        parts
            .headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("braid/", env!("CARGO_PKG_VERSION"))));
        if let Some(authorization) = self.access.credential.authorization(self.connect_limit).await? {
            parts.headers.insert(AUTHORIZATION, authorization);
        }
        Ok(Request::from_parts(parts, Full::from(body)))
    }

    fn broken(&self, broken: Broken, question: &Question) -> Failure {
        match broken {
            Broken::Connection(problem) => {
                passing(ClusterError::Unreachable { server: self.server(), problem }, None)
            }
            Broken::Final(error) => Failure::Final(error),
            Broken::TooLarge => Failure::Final(self.useless(question, "it is larger than 4 MiB")),
        }
    }

    /// What an answer is worth.
    fn judge(&self, question: &Question, response: Response) -> Result<Bytes, Failure> {
        let status = response.status;
        if status.is_success() {
            return Ok(response.body);
        }
        let said = Said::read(&response);
        let server = self.server();
        let shown = said.with_status(status);
        Err(match status {
            StatusCode::UNAUTHORIZED => Failure::Final(self.access.credential.refused(&server, Utc::now())),
            StatusCode::FORBIDDEN if said.is_starting() => {
                passing(ClusterError::Failing { server, problem: shown }, said.retry_after)
            }
            StatusCode::FORBIDDEN => self.forbidden(question, &said, &shown),
            StatusCode::NOT_FOUND => Failure::Final(self.not_found(question, &said)),
            StatusCode::CONFLICT if said.is_race() => {
                passing(ClusterError::Contended { what: question.what.clone(), problem: shown }, None)
            }
            StatusCode::CONFLICT => Failure::Final(conflict(question, &said)),
            StatusCode::UNPROCESSABLE_ENTITY if said.is_about("metadata.uid") => {
                Failure::Final(conflict(question, &said))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let retry_after = said.retry_after;
                passing(ClusterError::Throttled { server, problem: shown, retry_after }, retry_after)
            }
            _ if status.is_server_error() => {
                passing(ClusterError::Failing { server, problem: shown }, said.retry_after)
            }
            _ => Failure::Final(self.useless(question, &shown)),
        })
    }

    /// An answer that is none.
    pub(super) fn useless(&self, question: &Question, problem: &str) -> ClusterError {
        ClusterError::Answer {
            server: self.server(),
            what: question.what.clone(),
            problem: problem.to_owned(),
        }
    }

    fn not_found(&self, question: &Question, said: &Said) -> ClusterError {
        // Without its definition, the server knows no such path, and says so without naming an object.
        if question.resource == super::DEFINITIONS && !said.names_an_object {
            ClusterError::NoDefinitions { server: self.server() }
        } else if !said.names_an_object {
            // Something on the way, or a server that does not know the kind: it says nothing about the object.
            self.useless(question, &said.with_status(StatusCode::NOT_FOUND))
        } else {
            ClusterError::NotFound { what: question.what.clone() }
        }
    }

    fn forbidden(&self, question: &Question, said: &Said, shown: &str) -> Failure {
        // Admission refuses with 403 too, and no right would help there.
        let Some(user) = said.user_without_right(question.verb) else {
            return Failure::Final(self.useless(question, shown));
        };
        Failure::Refused(Box::new(ClusterError::Forbidden {
            kubectl: grant(question, &user),
            user: format!("user \"{user}\""),
            verb: question.verb,
            resource: question.resource.to_owned(),
            namespace: question.namespace.clone(),
        }))
    }
}

fn passing(error: ClusterError, retry_after: Option<Duration>) -> Failure {
    Failure::Passing { error: Box::new(error), retry_after }
}

fn conflict(question: &Question, said: &Said) -> ClusterError {
    ClusterError::Conflict { what: question.what.clone(), problem: said.message.clone() }
}

/// The command that gives `user` the right that `question` needs, in every namespace: a node's pods are
/// in all of them. What Braid asks about itself is one object in one namespace.
fn grant(question: &Question, user: &str) -> String {
    let (verb, resource) = (question.verb, question.resource);
    let plain = resource.split('.').next().unwrap_or(resource).replace('/', "-");
    let role = format!("braid-{verb}-{plain}");
    let subject = match user.strip_prefix("system:serviceaccount:") {
        Some(account) => format!("--serviceaccount={account}"),
        None => format!("--user={user}"),
    };
    if [super::DAEMON_SETS, super::TOKENS].contains(&resource) {
        let (namespace, name) = (&question.namespace, &question.name);
        return format!(
            "kubectl create role {role} -n {namespace} --verb={verb} --resource={resource} --resource-name={name} && \
             kubectl create rolebinding {role} -n {namespace} --role={role} {subject}"
        );
    }
    format!(
        "kubectl create clusterrole {role} --verb={verb} --resource={resource} && \
         kubectl create clusterrolebinding {role} --clusterrole={role} {subject}"
    )
}

/// What the server says in an answer that is an error.
#[derive(Debug, Default)]
struct Said {
    message: String,
    reason: String,
    fields: Vec<String>,
    names_an_object: bool,
    retry_after: Option<Duration>,
}

impl Said {
    /// A `Status` of the API, or whatever something on the way there said instead.
    fn read(response: &Response) -> Self {
        let header = retry_after(&response.headers);
        let Ok(status) = serde_json::from_slice::<Status>(&response.body) else {
            let text = String::from_utf8_lossy(&response.body);
            return Self { message: one_line(&text, SHOWN_CHARS), retry_after: header, ..Self::default() };
        };
        let details = status.details.as_ref();
        let in_body = details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
        Self {
            message: one_line(&status.message, SHOWN_CHARS),
            reason: status.reason,
            fields: details
                .map(|details| details.causes.iter().map(|cause| cause.field.clone()).collect())
                .unwrap_or_default(),
            names_an_object: details.is_some_and(|details| !details.name.is_empty()),
            retry_after: header.or(in_body.map(|seconds| Duration::from_secs(seconds.into()))),
        }
    }

    fn with_status(&self, status: StatusCode) -> String {
        let words = if self.message.is_empty() {
            status.canonical_reason().unwrap_or("no reason given")
        } else {
            &self.message
        };
        format!("{}: {words}", status.as_u16())
    }

    /// Somebody else changed the object between the server's reading and writing; the same request may do.
    fn is_race(&self) -> bool {
        self.reason == "Conflict" && self.message.contains("the object has been modified")
    }

    /// Admission plugins refuse everything until their caches are filled.
    fn is_starting(&self) -> bool {
        self.message.contains("not yet ready to handle request")
    }

    fn is_about(&self, field: &str) -> bool {
        self.fields.iter().any(|name| name == field) || self.message.contains(field)
    }

    /// The user, where the answer says that a right is missing (Kubernetes' RBAC authorizer).
    fn user_without_right(&self, verb: &str) -> Option<String> {
        let (user, rest) = self.message.split_once("User \"")?.1.split_once('"')?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@/".contains(c);
        let usable = rest.starts_with(&format!(" cannot {verb} resource")) && user.chars().all(is_plain);
        usable.then(|| user.to_owned())
    }
}

/// Seconds; the other form, a date, is not one that an API server uses.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(verb: &'static str, resource: &'static str) -> Question {
        Question {
            verb,
            resource,
            namespace: "team-a".to_owned(),
            name: String::new(),
            what: "x".to_owned(),
            request: Ok(Request::default()),
        }
    }

    #[test]
    fn the_grant_is_a_line_to_paste() {
        assert_eq!(
            grant(&question("get", super::super::DEFINITIONS), "system:serviceaccount:braid:braid"),
            "kubectl create clusterrole braid-get-network-attachment-definitions --verb=get \
             --resource=network-attachment-definitions.k8s.cni.cncf.io && \
             kubectl create clusterrolebinding braid-get-network-attachment-definitions \
             --clusterrole=braid-get-network-attachment-definitions --serviceaccount=braid:braid"
        );
        let own = Question { name: "braid".to_owned(), ..question("create", super::super::TOKENS) };
        assert_eq!(
            grant(&own, "system:serviceaccount:braid:keeper"),
            "kubectl create role braid-create-serviceaccounts-token -n team-a --verb=create \
             --resource=serviceaccounts/token --resource-name=braid && \
             kubectl create rolebinding braid-create-serviceaccounts-token -n team-a \
             --role=braid-create-serviceaccounts-token --serviceaccount=braid:keeper"
        );
        let line = grant(&question("patch", "pods/status"), "system:node:n1");
        assert!(
            line.contains("braid-patch-pods-status") && line.ends_with("--user=system:node:n1"),
            "{line}"
        );
    }

    #[test]
    fn a_user_is_only_believed_where_it_can_stand_in_a_command() {
        let said = |message: &str| Said { message: message.to_owned(), ..Said::default() };
        let message = "pods \"x\" is forbidden: User \"a:b\" cannot get resource \"pods\" in API group";
        assert_eq!(said(message).user_without_right("get").as_deref(), Some("a:b"));
        assert_eq!(said(message).user_without_right("list"), None);
        let hostile = "User \"x; rm -rf /\" cannot get resource";
        assert_eq!(said(hostile).user_without_right("get"), None);
        assert_eq!(said("admission webhook denied the request").user_without_right("get"), None);
    }

    #[test]
    fn what_is_no_status_is_shown_as_it_is() {
        let response = |body: &'static str| Response {
            status: StatusCode::BAD_GATEWAY,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let shown = |body| Said::read(&response(body)).with_status(StatusCode::BAD_GATEWAY);
        assert_eq!(shown("<html>\nbad</html>"), "502: <html> bad</html>");
        assert_eq!(shown(""), "502: Bad Gateway");
        assert_eq!(shown(r#"{"kind": "Status", "message": "no endpoints"}"#), "502: no endpoints");
        assert_eq!(shown("[1]"), "502: [1]");
    }
}
