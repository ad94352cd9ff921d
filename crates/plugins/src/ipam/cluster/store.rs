//! Where the objects are kept, as the engine sees it: requests that are made at the same time, and
//! why one has no answer.

use std::path::PathBuf;
use std::time::Duration;

use cni::deadline::Deadline;
use serde_json::Value;

use super::object::Metadata;
use super::patch::Patch;

/// The kinds of objects.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// [`super::object::Pool`].
    Pool,
    /// [`super::object::Reservation`].
    Reservation,
    /// [`super::object::NodeSlices`].
    NodeSlices,
    /// [`super::object::Claim`].
    Claim,
}

impl Kind {
    /// The group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Pool | Self::Reservation | Self::NodeSlices => "whereabouts.cni.cncf.io",
            Self::Claim => "k8s.cni.cncf.io",
        }
    }

    /// The resource in a path.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Pool => "ippools",
            Self::Reservation => "overlappingrangeipreservations",
            Self::NodeSlices => "nodeslicepools",
            Self::Claim => "ipamclaims",
        }
    }

    /// The resource as RBAC and `kubectl` name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Pool => "ippools.whereabouts.cni.cncf.io",
            Self::Reservation => "overlappingrangeipreservations.whereabouts.cni.cncf.io",
            Self::NodeSlices => "nodeslicepools.whereabouts.cni.cncf.io",
            Self::Claim => "ipamclaims.k8s.cni.cncf.io",
        }
    }

    /// The object in a message.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Pool => "address pool",
            Self::Reservation => "address reservation",
            Self::NodeSlices => "node slice pool",
            Self::Claim => "IPAMClaim",
        }
    }
}

/// A request about one object, or about those of a kind in a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The kind.
    pub kind: Kind,
    /// The namespace.
    pub namespace: String,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The object of this name.
    Get(String),
    /// At most `limit` objects; `next` is of the page before, empty for the first.
    List {
        /// The most objects of a page.
        limit: u32,
        /// [`super::object::Page::next`].
        next: String,
    },
    /// A new object with a name of ours.
    Create(Value),
    /// The object of this name, changed.
    Patch(String, Patch),
    /// The status of the object of this name, changed.
    PatchStatus(String, Patch),
    /// The object of this name, gone. A UID or version that is given must be the object's.
    Delete {
        /// The name.
        name: String,
        /// The UID that it must have.
        uid: Option<String>,
        /// The version that it must have.
        resource_version: Option<String>,
    },
}

impl Action {
    /// The object of this metadata gone, if nothing has changed it since it was read.
    pub fn delete_unchanged(metadata: &Metadata) -> Self {
        Self::Delete {
            name: metadata.name.clone(),
            uid: Some(metadata.uid.clone()),
            resource_version: Some(metadata.resource_version.clone()),
        }
    }

    /// The object's name; empty for a list.
    pub fn name(&self) -> &str {
        match self {
            Self::Get(name)
            | Self::Patch(name, _)
            | Self::PatchStatus(name, _)
            | Self::Delete { name, .. } => name,
            Self::List { .. } => "",
            Self::Create(object) => {
                object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
            }
        }
    }

    /// The verb of the right.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::List { .. } => "list",
            Self::Create(_) => "create",
            Self::Patch(..) | Self::PatchStatus(..) => "patch",
            Self::Delete { .. } => "delete",
        }
    }
}

/// Why a request has no answer. Each holds a sentence that names the object or the server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// 404: there is no such object.
    #[error("{0}")]
    Missing(String),
    /// 404 for the whole kind.
    #[error("{0}")]
    NoKind(String),
    /// 409: there is an object of this name, it is another one, or others have changed it.
    #[error("{0}")]
    Conflict(String),
    /// 422: the object is not what the patch expects, or is against its schema.
    #[error("{0}")]
    Invalid(String),
    /// The object would be larger than the server takes.
    #[error("{0}")]
    TooLarge(String),
    /// 429: the server is overloaded.
    #[error("{message}")]
    Throttled {
        /// The sentence.
        message: String,
        /// The server's Retry-After.
        retry_after: Option<Duration>,
    },
    /// No answer, one of 500 and above, or a broken connection: the request may have been carried
    /// out.
    #[error("{0}")]
    Unavailable(String),
    /// SIGTERM or SIGINT arrived: the request may have been carried out.
    #[error("{0}")]
    Stopped(String),
    /// A right is missing, the credential is not accepted, or the configuration is wrong.
    #[error("{0}")]
    Refused(String),
    /// An answer that cannot be used.
    #[error("{0}")]
    Answer(String),
}

impl StoreError {
    /// Whether the store as a whole cannot answer now.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable(_))
    }

    /// Whether a write with this outcome may have been carried out all the same.
    pub fn may_have_been_done(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Stopped(_) | Self::Answer(_))
    }
}

/// The store.
pub trait AddressStore {
    /// Carries the requests out, all at the same time and each once, until `deadline` at the
    /// latest. One answer for each, in their order: the body of the response.
    fn send(
        &mut self,
        requests: &[Request],
        deadline: Deadline,
    ) -> Vec<Result<Vec<u8>, StoreError>>;

    /// Whether we may change pools in a namespace.
    ///
    /// # Errors
    /// [`StoreError`] if it is not known.
    fn may_allocate(&mut self, namespace: &str, deadline: Deadline) -> Result<bool, StoreError>;
}

/// How the API is reached (`kubernetes` of the configuration).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ApiAccess {
    /// The kubeconfig, which is required.
    pub kubeconfig: Option<PathBuf>,
    /// The server's URL in place of that of the kubeconfig (`k8s_api_root`).
    pub server: Option<String>,
}

/// A store that is open.
pub struct Opened {
    /// The store.
    pub store: Box<dyn AddressStore>,
    /// The server, as `host:port`.
    pub server: String,
    /// The namespace of the kubeconfig's current context; `kube-system` if it has none.
    pub namespace: String,
}

/// Opens stores. Those of an equal server and credential share a connection.
pub trait OpenStore: Sync {
    /// Reads the kubeconfig, and runs its exec plugin, until `deadline`. Nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a kubeconfig that cannot be used.
    fn open(&self, access: &ApiAccess, deadline: Deadline) -> Result<Opened, StoreError>;
}
