//! What a response, or its absence, means for the call: an error, and whether another attempt may
//! help.

use std::time::Duration;

use chrono::Utc;
use http::{Response, StatusCode};
use hyper::body::Bytes;

use super::access::Access;
use super::answer::MAX_DEFINITION_BYTES;
use super::api_request::{ADDRESS_RESOURCES, ApiRequest, DEFINITIONS};
use super::error::ClusterError;
use super::server_message::ServerMessage;
use super::transport_error::TransportError;

/// Why one attempt failed.
pub(super) enum Failure {
    /// Another attempt would not change it.
    Final(Box<ClusterError>),
    /// It may pass.
    Transient { error: Box<ClusterError>, retry_after: Option<Duration> },
    /// 403: a right is missing, or the server has yet to read it.
    Refused(Box<ClusterError>),
    /// A connection that was open from before has ended, as a server may do at any time.
    Stale(Box<ClusterError>),
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::Final(Box::new(error))
    }
}

fn transient(error: ClusterError, retry_after: Option<Duration>) -> Failure {
    Failure::Transient { error: Box::new(error), retry_after }
}

/// Judges the attempts of one call.
#[derive(Clone, Copy)]
pub(super) struct Judge<'c> {
    pub(super) access: &'c Access,
    pub(super) request: &'c ApiRequest,
}

impl Judge<'_> {
    fn server(&self) -> String {
        self.access.server.to_string()
    }

    fn what(&self) -> String {
        self.request.what.clone()
    }

    /// The failure of an attempt without a response.
    pub(super) fn transport(&self, error: TransportError) -> Failure {
        match error {
            TransportError::Connection(problem) => {
                transient(ClusterError::Unreachable { server: self.server(), problem }, None)
            }
            TransportError::Final(error) => error.into(),
            TransportError::TooLarge => self.invalid_response("it is larger than 4 MiB").into(),
        }
    }

    /// The response, if its status is one of success.
    pub(super) fn response(&self, response: Response<Bytes>) -> Result<Response<Bytes>, Failure> {
        if !response.status().is_success() {
            return Err(self.failure(response.status(), &ServerMessage::read(&response)));
        }
        let is_definition = self.request.resource == DEFINITIONS && self.request.verb == "get";
        if is_definition && response.body().len() > MAX_DEFINITION_BYTES {
            return Err(self.invalid_response("a definition is at most 1 MiB").into());
        }
        Ok(response)
    }

    fn failure(&self, status: StatusCode, said: &ServerMessage) -> Failure {
        let server = self.server();
        let problem = said.with_status(status);
        let retry_after = said.retry_after;
        match status {
            StatusCode::UNAUTHORIZED => self.access.credential.refused(&server, Utc::now()).into(),
            StatusCode::FORBIDDEN if said.is_starting() => {
                transient(ClusterError::Failing { server, problem }, retry_after)
            }
            StatusCode::FORBIDDEN => self.forbidden(said, &problem),
            StatusCode::NOT_FOUND => self.not_found(said).into(),
            StatusCode::CONFLICT if said.is_race() => {
                transient(ClusterError::Contended { what: self.what(), problem }, None)
            }
            StatusCode::CONFLICT => self.conflict(said).into(),
            StatusCode::UNPROCESSABLE_ENTITY if said.is_about("metadata.uid") => {
                self.conflict(said).into()
            }
            StatusCode::UNPROCESSABLE_ENTITY if self.is_about_addresses() => {
                ClusterError::Invalid { what: self.what(), problem }.into()
            }
            _ if self.is_about_addresses() && said.is_too_large(status) => {
                ClusterError::TooLarge { what: self.what(), problem }.into()
            }
            StatusCode::TOO_MANY_REQUESTS => {
                transient(ClusterError::Throttled { server, problem, retry_after }, retry_after)
            }
            _ if status.is_server_error() => {
                transient(ClusterError::Failing { server, problem }, retry_after)
            }
            _ => self.invalid_response(&problem).into(),
        }
    }

    /// The error for a response that is not what it must be.
    pub(super) fn invalid_response(&self, problem: &str) -> ClusterError {
        ClusterError::Answer {
            server: self.server(),
            what: self.what(),
            problem: problem.to_owned(),
        }
    }

    fn is_about_addresses(&self) -> bool {
        ADDRESS_RESOURCES.contains(&self.request.resource)
    }

    fn conflict(&self, said: &ServerMessage) -> ClusterError {
        ClusterError::Conflict { what: self.what(), problem: said.message.clone() }
    }

    fn not_found(&self, said: &ServerMessage) -> ClusterError {
        // Without the resource's definition, the server knows no such path, and its 404 names no
        // object.
        if self.request.resource == DEFINITIONS && !said.names_an_object {
            ClusterError::NoDefinitions { server: self.server() }
        } else if self.is_about_addresses() && said.is_no_path() {
            let resource = self.request.resource.to_owned();
            ClusterError::NoResource { server: self.server(), resource }
        } else if !said.names_an_object {
            // A proxy, or a server that does not know the kind: this is no statement about the
            // object.
            self.invalid_response(&said.with_status(StatusCode::NOT_FOUND))
        } else {
            ClusterError::NotFound { what: self.what() }
        }
    }

    fn forbidden(&self, said: &ServerMessage, problem: &str) -> Failure {
        // Admission refuses with 403 too, and no right would help there.
        let Some(user) = said.user_without_right(self.request.verb) else {
            return self.invalid_response(problem).into();
        };
        Failure::Refused(Box::new(ClusterError::Forbidden {
            kubectl: self.request.grant(&user),
            user: format!("user \"{user}\""),
            verb: self.request.verb,
            resource: self.request.resource.to_owned(),
            namespace: self.request.namespace.clone(),
        }))
    }
}
