//! Why a call to the API has no result, in sentences that say what an administrator can do about
//! it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// Why a call to the API has no result. No variant ever holds a token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClusterError {
    /// No connection, or one that ended before the answer.
    #[error("the API server at {server} cannot be reached: {problem}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// The error of the system, of TLS or of HTTP.
        problem: String,
    },
    /// No answer within the limit.
    #[error("the API server at {server} did not {step} within {}", seconds(*limit))]
    TimedOut {
        /// Host and port.
        server: String,
        /// What it did not do.
        step: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// An answer of 500 and above, each time.
    #[error("the API server at {server} cannot answer now: {problem}")]
    Failing {
        /// Host and port.
        server: String,
        /// The status and the server's words.
        problem: String,
    },
    /// 429: the server is overloaded, or limits our requests.
    #[error("the API server at {server} is overloaded: {problem}{}", later(*retry_after))]
    Throttled {
        /// Host and port.
        server: String,
        /// The server's words.
        problem: String,
        /// The server's Retry-After.
        retry_after: Option<Duration>,
    },
    /// The server's certificate is not one that we trust.
    #[error(
        "the certificate of the API server at {server} is not accepted: {problem}; check {check}"
    )]
    Untrusted {
        /// Host and port.
        server: String,
        /// What is wrong with the certificate.
        problem: String,
        /// What the certificate was verified against.
        check: String,
    },
    /// 401, or a client certificate that the server rejects.
    #[error("the API server at {server} does not accept {credential}{}", because(expiry.as_ref()))]
    Unauthorized {
        /// Host and port.
        server: String,
        /// The credential, with the file that it comes from.
        credential: String,
        /// The file to renew.
        file: Option<PathBuf>,
        /// The token's expiry, if it has one.
        expiry: Option<Expiry>,
    },
    /// 403: a right is missing.
    #[error(
        "{user} may not {verb} {resource} in namespace \"{namespace}\": grant it with: {kubectl}"
    )]
    Forbidden {
        /// The user as the server knows us.
        user: String,
        /// The verb of the right.
        verb: &'static str,
        /// Resource and group, as `kubectl` writes them.
        resource: String,
        /// The namespace of the request.
        namespace: String,
        /// The command that grants the right.
        kubectl: String,
    },
    /// 403 for a few seconds so far: a right is missing, or the server has yet to read it.
    #[error(
        "{user} may not {verb} {resource} in namespace \"{namespace}\" so far: an API server that \
         has just started may have to read the rights first, and is asked again at the next try"
    )]
    NotYetAllowed {
        /// The user as the server knows us.
        user: String,
        /// The verb of the right.
        verb: &'static str,
        /// Resource and group, as `kubectl` writes them.
        resource: String,
        /// The namespace of the request.
        namespace: String,
    },
    /// 404: there is no such object.
    #[error("{what} does not exist in the cluster")]
    NotFound {
        /// The object.
        what: String,
    },
    /// 404 for the whole kind.
    #[error(
        "the cluster at {server} has no NetworkAttachmentDefinitions: \
         install the resource definition with: kubectl apply -f conf/kubernetes/crd.yaml"
    )]
    NoDefinitions {
        /// Host and port.
        server: String,
    },
    /// 404 for the whole kind, of objects that a definition of resources has to bring.
    #[error("the cluster at {server} does not know {resource}: {}", install(resource))]
    NoResource {
        /// Host and port.
        server: String,
        /// Resource and group, as `kubectl` writes them.
        resource: String,
    },
    /// 422: the object is not what the change expects, or is against its schema.
    #[error("{what} cannot be changed so: {problem}")]
    Invalid {
        /// The object.
        what: String,
        /// The server's words.
        problem: String,
    },
    /// The object would be larger than the server or etcd takes.
    #[error("{what} is too large for the API server: {problem}")]
    TooLarge {
        /// The object.
        what: String,
        /// The server's words.
        problem: String,
    },
    /// The object of that name is another one now.
    #[error("{what} is not the one that was asked for: {problem}")]
    Conflict {
        /// The object.
        what: String,
        /// The server's words.
        problem: String,
    },
    /// Others changed the object each time before our change was in.
    #[error("{what} is being changed by others at the same time: {problem}")]
    Contended {
        /// The object.
        what: String,
        /// The server's words.
        problem: String,
    },
    /// SIGTERM or SIGINT arrived.
    #[error("braid was asked to stop while it asked the API for {what}")]
    Stopped {
        /// The object of the request.
        what: String,
    },
    /// The configured credential or connection cannot be used.
    #[error("{}: {problem}", path.display())]
    Kubeconfig {
        /// The kubeconfig, or the file that it names.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Any other response that cannot be used.
    #[error("the API server at {server} gave an answer for {what} that cannot be used: {problem}")]
    Answer {
        /// Host and port.
        server: String,
        /// The object of the request.
        what: String,
        /// The status and the server's words, or what is wrong with the answer.
        problem: String,
    },
}

impl ClusterError {
    /// Whether the API as a whole cannot answer now. Never true for a clear refusal, nor for a
    /// credential or certificate that is not accepted: an older copy of a definition must not be
    /// used then.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::TimedOut { .. }
                | Self::Failing { .. }
                | Self::Throttled { .. }
        )
    }
}

impl ClusterError {
    /// Whether the same call may succeed soon without a change by an administrator.
    pub fn is_transient(&self) -> bool {
        let passes = matches!(
            self,
            Self::Contended { .. } | Self::Stopped { .. } | Self::NotYetAllowed { .. }
        );
        passes || self.is_outage()
    }

    /// The same, if it is a refusal, as one that may pass.
    pub(super) fn into_not_yet_allowed(self) -> Self {
        match self {
            Self::Forbidden { user, verb, resource, namespace, .. } => {
                Self::NotYetAllowed { user, verb, resource, namespace }
            }
            error => error,
        }
    }
}

/// The expiry of a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// It is in the past.
    Expired(DateTime<Utc>),
    /// It is in the future, by this node's clock.
    ValidUntil(DateTime<Utc>),
}

impl Expiry {
    /// The expiry at `end`, seen from `now`.
    pub(super) fn at(end: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        if end <= now { Self::Expired(end) } else { Self::ValidUntil(end) }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        match self {
            Self::Expired(end) => write!(f, "it expired at {}", time(end)),
            Self::ValidUntil(end) => write!(
                f,
                "it would be valid until {}, so it was revoked or belongs to another cluster",
                time(end)
            ),
        }
    }
}

/// What brings a kind.
fn install(resource: &str) -> String {
    let file = match resource {
        "ipamclaims.k8s.cni.cncf.io" => "crd-ipam-claims.yaml",
        _ => "crd-addresses.yaml",
    };
    format!("install it with: kubectl apply -f conf/kubernetes/optional/{file}")
}

fn because(expiry: Option<&Expiry>) -> String {
    expiry.map_or_else(String::new, |expiry| format!(": {expiry}"))
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

fn later(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(" (it asks to wait {})", seconds(wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_and_overload_are_an_outage() {
        let server = || "10.0.0.1:6443".to_owned();
        let unauthorized = ClusterError::Unauthorized {
            server: server(),
            credential: "the token".to_owned(),
            file: None,
            expiry: None,
        };
        let throttled = ClusterError::Throttled {
            server: server(),
            problem: "busy".to_owned(),
            retry_after: None,
        };
        assert!(!unauthorized.is_outage() && throttled.is_outage() && throttled.is_transient());
        let contended = ClusterError::Contended { what: "x".to_owned(), problem: "y".to_owned() };
        assert!(!contended.is_outage() && contended.is_transient() && !unauthorized.is_transient());
        assert!(!ClusterError::NotFound { what: "x".to_owned() }.is_outage());
        assert!(!ClusterError::NoDefinitions { server: server() }.is_outage());
    }

    #[test]
    fn limits_are_shown_in_seconds() {
        let error = ClusterError::TimedOut {
            server: "h:1".to_owned(),
            step: "answer",
            limit: Duration::from_millis(1500),
        };
        assert_eq!(error.to_string(), "the API server at h:1 did not answer within 1.5 s");
    }
}
