//! The connections of this process: one for each server and credential.
//!
//! A call may have several kubeconfigs, Braid's own and that of an IPAM plugin. If both lead to the
//! same server with the same credential, their requests share a connection; with another credential
//! they never do.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Runtime;

use super::access::Access;
use super::session::Link;

/// The most connections that are kept. A call has two or three; `braid keep` lives longer than its
/// credentials.
const MOST: usize = 4;

/// Server, trust and credential, as bytes: equal if a request of one may go through the connection
/// of the other.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Identity(Vec<u8>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// One without parts.
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a part. Its length stands in front, so that no two lists of parts are the same bytes.
    pub(super) fn push(&mut self, part: Option<&[u8]>) {
        let bytes = part.unwrap_or_default();
        self.0.extend(part.map_or(u64::MAX, |it| it.len() as u64).to_le_bytes());
        self.0.extend(bytes);
    }
}

/// A runtime that ends without waiting: a name lookup that hangs must not hold up a pod.
#[derive(Debug)]
pub(super) struct Background(Option<Runtime>);

impl Background {
    pub(super) fn new(runtime: Runtime) -> Self {
        Self(Some(runtime))
    }

    pub(super) fn runtime(&self) -> Option<&Runtime> {
        self.0.as_ref()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A connection, and the runtime that it lives on.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) runtime: Arc<Background>,
    pub(super) access: Arc<Access>,
    pub(super) link: Arc<Link>,
}

static SHARED: Mutex<Vec<(Identity, Shared)>> = Mutex::new(Vec::new());

/// The connection for this access: the one that is there, or a new one.
pub(super) fn shared(runtime: Background, access: Access) -> Shared {
    let mut all = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, found)) = all.iter().find(|(identity, _)| *identity == access.identity) {
        return found.clone();
    }
    let identity = access.identity.clone();
    let made =
        Shared { runtime: Arc::new(runtime), access: Arc::new(access), link: Arc::default() };
    if all.len() >= MOST {
        all.remove(0);
    }
    all.push((identity, made.clone()));
    made
}
