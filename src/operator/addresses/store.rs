//! The pools of a cluster, as an administrator reads and changes them: in pages, and again if the
//! server cannot answer now.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::AddressesError;
use crate::kube::{Cluster, ClusterConfig};
use crate::operator::node::{Node, NodeError, NodeOptions};
use cni::deadline::Deadline;
use cni::request::Environment;
use plugins::ipam::cluster::HeldPool;
use plugins::ipam::cluster::object::{Object, Page, Pool};
use plugins::ipam::cluster::store::{Action, AddressStore, Kind, Request, StoreError};

/// Where pools are if the kubeconfig names no namespace, as whereabouts has it.
const DEFAULT_NAMESPACE: &str = "kube-system";
/// The limit of one request with all its repetitions.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How often a request is sent that the server cannot answer now.
const ATTEMPTS: u32 = 5;
/// The wait before the first repetition; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Two pools of the largest size that etcd takes fit into a response.
const PAGE_POOLS: u32 = 2;
/// The share of its addresses or bytes with which a pool is nearly full.
const NEARLY: u128 = 90;
/// The size from which a pool is worth a warning: each ADD and DEL reads and writes all of it.
const LARGE_BYTES: usize = 256 << 10;
/// The size that etcd takes (`--max-request-bytes`).
pub(super) const MAX_BYTES: usize = 3 << 19;

/// Where the API and the pools are.
#[derive(Args, Debug, Default)]
pub(super) struct ApiOptions {
    /// The kubeconfig [default: that of this node's configuration, else the service account of the
    /// pod that this runs in]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace that the pools are in [default: the kubeconfig's, else kube-system]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    node: NodeOptions,
}

impl ApiOptions {
    /// The pools that these options name.
    ///
    /// # Errors
    /// [`AddressesError`] if no API is configured, or a configuration cannot be read.
    pub(super) fn pools(&self) -> Result<Pools, AddressesError> {
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Some(path.clone()),
            None => self.kubeconfig_of_node()?,
        };
        Pools::open(kubeconfig, None, self.namespace.clone())
    }

    fn kubeconfig_of_node(&self) -> Result<Option<PathBuf>, NodeError> {
        match Node::find(&self.node) {
            Ok(node) => Ok(node.config.kubeconfig),
            // In a container of the cluster there is none.
            Err(NodeError::NotInstalled { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The pools of one namespace, and the API that they are in.
#[derive(Debug)]
pub(in crate::operator) struct Pools {
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
}

impl Pools {
    /// The pools of `namespace`, or else of the kubeconfig's, on `server`, or else the
    /// kubeconfig's.
    ///
    /// # Errors
    /// [`AddressesError`] if no API is configured, or the kubeconfig cannot be read.
    fn open(
        kubeconfig: Option<PathBuf>,
        server: Option<String>,
        namespace: Option<String>,
    ) -> Result<Self, AddressesError> {
        let config = ClusterConfig {
            kubeconfig,
            server,
            timeout: REQUEST_LIMIT,
            ..ClusterConfig::default()
        };
        let mut cluster = Cluster::configured(&config, &Environment::of_process())
            .ok_or(AddressesError::NoApi)?;
        let (_, of_context) = cluster.place()?;
        let namespace = namespace.or(of_context).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        Ok(Self { cluster, namespace })
    }

    /// The pools of which this node has one.
    ///
    /// # Errors
    /// [`AddressesError`] if the kubeconfig cannot be read.
    pub(in crate::operator) fn of_held(held: &HeldPool) -> Result<Self, AddressesError> {
        let HeldPool { access, namespace, .. } = held;
        Self::open(access.kubeconfig.clone(), access.server.clone(), Some(namespace.clone()))
    }

    /// The pools of `namespace`, read with the service account of the pod that this runs in.
    ///
    /// # Errors
    /// [`AddressesError::NoApi`] if it runs in none.
    pub(in crate::operator) fn of_pod(namespace: &str) -> Result<Self, AddressesError> {
        Self::open(None, None, Some(namespace.to_owned()))
    }

    /// Shows each pool to `visit`, a few in memory at a time.
    ///
    /// # Errors
    /// [`AddressesError`], of `visit` too.
    pub(super) fn each_pool(
        &mut self,
        mut visit: impl FnMut(&mut Self, Pool) -> Result<(), AddressesError>,
    ) -> Result<(), AddressesError> {
        let mut next = String::new();
        loop {
            let page: Page<Pool> = self.page(Kind::Pool, PAGE_POOLS, &next)?;
            for pool in page.items {
                visit(self, pool)?;
            }
            if page.next.is_empty() {
                return Ok(());
            }
            next = page.next;
        }
    }

    /// The pool of this name.
    ///
    /// # Errors
    /// [`AddressesError::NoPool`] if there is none; or why it cannot be read.
    pub(in crate::operator) fn pool(&mut self, name: &str) -> Result<Pool, AddressesError> {
        match self.send(Kind::Pool, Action::Get(name.to_owned())) {
            Ok(body) => self.decoded(Kind::Pool, Pool::decode(&body)),
            Err(StoreError::Missing(_)) => Err(AddressesError::NoPool {
                namespace: self.namespace.clone(),
                name: name.to_owned(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// A page of objects.
    ///
    /// # Errors
    /// [`AddressesError`].
    pub(super) fn page<T: Object>(
        &mut self,
        kind: Kind,
        limit: u32,
        next: &str,
    ) -> Result<Page<T>, AddressesError> {
        let body = self.send(kind, Action::List { limit, next: next.to_owned() })?;
        self.decoded(kind, T::decode_list(&body))
    }

    fn decoded<T>(&self, kind: Kind, read: Result<T, String>) -> Result<T, AddressesError> {
        let what = || format!("{} in namespace {}", kind.noun(), self.namespace);
        read.map_err(|problem| AddressesError::Object { what: what(), problem })
    }

    /// Sends a request about an object of the pools' namespace, again if the server cannot answer
    /// now. A change that is sent again was conditional.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn send(&mut self, kind: Kind, action: Action) -> Result<Vec<u8>, StoreError> {
        let request = Request { kind, namespace: self.namespace.clone(), action };
        self.send_request(&request)
    }

    /// The same for any namespace.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn send_request(&mut self, request: &Request) -> Result<Vec<u8>, StoreError> {
        let mut wait = FIRST_WAIT;
        for _ in 1..ATTEMPTS {
            match self.send_once(request) {
                Err(StoreError::Throttled { retry_after, .. }) => {
                    std::thread::sleep(wait + retry_after.unwrap_or_default().min(LONGEST_WAIT));
                }
                Err(error) if error.is_outage() => std::thread::sleep(wait),
                answer => return answer,
            }
            wait *= 2;
        }
        self.send_once(request)
    }

    fn send_once(&mut self, request: &Request) -> Result<Vec<u8>, StoreError> {
        let requests = std::slice::from_ref(request);
        let mut answers = self.cluster.send(requests, Deadline::after(REQUEST_LIMIT));
        let lost = || Err(StoreError::Unavailable("the call was lost".to_owned()));
        answers.pop().unwrap_or_else(lost)
    }
}

/// How many addresses of a pool can be given to pods: those of the range without the first and the
/// last; `None` if the range cannot be read.
pub(super) fn size(pool: &Pool) -> Option<u128> {
    let network = pool.network()?;
    let bits = if network.is_ipv4() { 32 } else { 128 } - u32::from(network.prefix());
    Some(1_u128.checked_shl(bits).unwrap_or(u128::MAX).saturating_sub(2))
}

/// How many addresses of a pool can be given to pods, and how many of them no entry has; `None` if
/// the range cannot be read.
pub(in crate::operator) fn usage(pool: &Pool) -> Option<(u128, u128)> {
    let size = size(pool)?;
    Some((size, size.saturating_sub(u128::try_from(pool.entries.len()).ok()?)))
}

/// What is to be said of a pool that is nearly full, or large.
pub(in crate::operator) fn nearly_full(pool: &Pool) -> Option<String> {
    let used = pool.entries.len();
    let size = size(pool)?;
    let is_nearly =
        |part: u128, whole: u128| part.saturating_mul(100) >= whole.saturating_mul(NEARLY);
    let (kib, name) = (pool.bytes >> 10, &pool.metadata.name);
    if is_nearly(u128::try_from(used).ok()?, size) {
        return Some(format!("pool {name} has {used} of {size} addresses in use"));
    }
    if is_nearly(u128::try_from(pool.bytes).ok()?, u128::try_from(MAX_BYTES).ok()?) {
        let limit = MAX_BYTES >> 10;
        return Some(format!(
            "pool {name} has {kib} KiB, and etcd takes no object above {limit} KiB"
        ));
    }
    (pool.bytes >= LARGE_BYTES)
        .then(|| format!("pool {name} has {kib} KiB, which each ADD and DEL reads and writes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(range: &str, used: u128, bytes: usize) -> Pool {
        let entries = (1..=used).map(|offset| (offset, Default::default())).collect();
        let mut pool = Pool { range: range.to_owned(), entries, bytes, ..Pool::default() };
        pool.metadata.name = "p".to_owned();
        pool
    }

    #[test]
    fn a_range_has_neither_its_first_address_nor_its_last() {
        for (range, expected) in [
            ("10.9.0.0/24", Some(254)),
            ("10.9.0.0/31", Some(0)),
            ("fd00::/64", Some((1 << 64) - 2)),
            ("::/0", Some(u128::MAX - 2)),
            ("x", None),
        ] {
            assert_eq!(size(&pool(range, 0, 0)), expected, "{range}");
        }
    }

    #[test]
    fn a_pool_is_nearly_full_by_addresses_or_by_bytes() {
        assert_eq!(nearly_full(&pool("10.9.0.0/24", 228, 9000)), None);
        let full = nearly_full(&pool("10.9.0.0/24", 229, 9000)).unwrap();
        assert_eq!(full, "pool p has 229 of 254 addresses in use");
        let large = nearly_full(&pool("10.9.0.0/16", 9, 256 << 10)).unwrap();
        assert!(large.contains("256 KiB, which each ADD"), "{large}");
        let heavy = nearly_full(&pool("10.9.0.0/16", 9, 1400 << 10)).unwrap();
        assert!(heavy.contains("1400 KiB, and etcd takes no object above 1536 KiB"), "{heavy}");
    }
}
