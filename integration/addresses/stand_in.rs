//! A writer that does as whereabouts 0.9 does: every ADD and DEL of the cluster one after the other
//! under a lease, the pool read and patched under its `resourceVersion`, the reservation written
//! behind it, and the errors of DEL dropped.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// How long a holder of the lease may be silent before another takes it: whereabouts' 1.5 s.
const LEASE: Duration = Duration::from_millis(1500);
/// How often the lease is tried, as whereabouts does.
const LEASE_RETRY: Duration = Duration::from_millis(500);
/// How often an ADD or DEL begins again.
const TRIES: u32 = 100;
const GROUP: &str = "/apis/whereabouts.cni.cncf.io/v1alpha1/namespaces/kube-system";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

/// A node's whereabouts.
pub(crate) struct StandIn {
    runtime: Runtime,
    client: Client,
    node: String,
    range: (Ipv4Addr, u8),
}

/// Whose address it is.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) container: String,
    pub(crate) podref: String,
    pub(crate) ifname: String,
}

/// A refusal's status; 0 without an answer.
type Refused = u16;

impl StandIn {
    /// On `node`, for the pods of one range.
    pub(crate) fn new(node: &str, kubeconfig: &Path, first: Ipv4Addr, prefix: u8) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let client = runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            config.read_timeout = Some(Duration::from_secs(2));
            Client::try_from(config).unwrap()
        });
        Self { runtime, client, node: node.to_owned(), range: (first, prefix) }
    }

    /// The address of `owner`, or `None` if whereabouts would have failed.
    pub(crate) fn add(&self, owner: &Owner) -> Option<Ipv4Addr> {
        self.under_lease(|| {
            (0..TRIES).find_map(|_| self.try_add(owner).transpose()).and_then(Result::ok)
        })
    }

    /// Releases what `owner` holds. It succeeds whatever comes of it.
    pub(crate) fn del(&self, owner: &Owner) {
        self.under_lease(|| (0..TRIES).find_map(|_| self.try_del(owner).ok().flatten()));
    }

    /// One try: `Ok(None)` begins again, an error ends the ADD.
    fn try_add(&self, owner: &Owner) -> Result<Option<Ipv4Addr>, Refused> {
        let Ok(pool) = self.pool() else { return Ok(None) };
        let mut passed = Vec::new();
        loop {
            let (offset, is_own) = self.choose(&pool, owner, &passed).ok_or(507_u16)?;
            let address = Ipv4Addr::from(u32::from(self.range.0) + offset);
            let reserved = match self.ask("GET", &self.reservation(address), &Value::Null) {
                Ok(found) => Some(found["spec"]["podref"].clone()),
                Err(404) => None,
                Err(_) => return Ok(None),
            };
            if reserved.as_ref().is_some_and(|podref| *podref != json!(owner.podref)) {
                passed.push(offset);
                continue;
            }
            return match self.write(&pool, offset, is_own, owner) {
                Ok(_) if reserved.is_some() => Ok(Some(address)),
                Ok(_) => self.reserve(address, owner).map(|()| Some(address)),
                Err(_) => Ok(None),
            };
        }
    }

    /// The entry of the same pod and interface, else the lowest address that is free.
    fn choose(&self, pool: &Value, owner: &Owner, passed: &[u32]) -> Option<(u32, bool)> {
        let entries = pool["spec"]["allocations"].as_object().unwrap();
        let own = entries.iter().find(|(_, entry)| {
            entry["podref"] == json!(owner.podref) && entry["ifname"] == json!(owner.ifname)
        });
        if let Some((key, _)) = own {
            return Some((key.parse().ok()?, true));
        }
        let size = 1_u32 << (32 - u32::from(self.range.1));
        let is_free = |at: &u32| !entries.contains_key(&at.to_string()) && !passed.contains(at);
        (1..size - 1).find(is_free).map(|at| (at, false))
    }

    fn write(
        &self,
        pool: &Value,
        offset: u32,
        is_own: bool,
        owner: &Owner,
    ) -> Result<Value, Refused> {
        let path = format!("/spec/allocations/{offset}");
        let entry = json!({"id": owner.container, "podref": owner.podref, "ifname": owner.ifname});
        let mut patch = vec![version_of(pool)];
        if is_own {
            patch.push(json!({"op": "replace", "path": path, "value": entry}));
        } else {
            patch.push(json!({"op": "test", "path": path, "value": null}));
            patch.push(json!({"op": "add", "path": path, "value": entry}));
        }
        self.ask("PATCH", &self.pool_path(), &Value::Array(patch))
    }

    fn reserve(&self, address: Ipv4Addr, owner: &Owner) -> Result<(), Refused> {
        let reservation = json!({
            "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "OverlappingRangeIPReservation",
            "metadata": {"name": address.to_string(), "namespace": "kube-system"},
            "spec": {"podref": owner.podref, "ifname": owner.ifname},
        });
        let collection = format!("{GROUP}/overlappingrangeipreservations");
        self.ask("POST", &collection, &reservation).map(drop)
    }

    /// One try: `Ok(None)` if nothing is left to release.
    fn try_del(&self, owner: &Owner) -> Result<Option<()>, Refused> {
        let pool = self.pool()?;
        let entries = pool["spec"]["allocations"].as_object().unwrap();
        let is_own = |entry: &Value| {
            entry["id"] == json!(owner.container) && entry["ifname"] == json!(owner.ifname)
        };
        let Some((key, _)) = entries.iter().find(|(_, entry)| is_own(entry)) else {
            return Ok(Some(()));
        };
        let path = format!("/spec/allocations/{key}");
        let patch = json!([version_of(&pool), {"op": "remove", "path": path}]);
        self.ask("PATCH", &self.pool_path(), &patch)?;
        let address = Ipv4Addr::from(u32::from(self.range.0) + key.parse::<u32>().unwrap());
        let _ = self.ask("DELETE", &self.reservation(address), &Value::Null);
        Ok(Some(()))
    }

    /// The pool, which is made if it is missing.
    fn pool(&self) -> Result<Value, Refused> {
        match self.ask("GET", &self.pool_path(), &Value::Null) {
            Err(404) => {
                let (first, prefix) = self.range;
                let pool = json!({
                    "apiVersion": "whereabouts.cni.cncf.io/v1alpha1", "kind": "IPPool",
                    "metadata": {"name": format!("{first}-{prefix}"), "namespace": "kube-system"},
                    "spec": {"range": format!("{first}/{prefix}"), "allocations": {}},
                });
                let _ = self.ask("POST", &format!("{GROUP}/ippools"), &pool);
                self.ask("GET", &self.pool_path(), &Value::Null)
            }
            answer => answer,
        }
    }

    fn pool_path(&self) -> String {
        format!("{GROUP}/ippools/{}-{}", self.range.0, self.range.1)
    }

    fn reservation(&self, address: Ipv4Addr) -> String {
        format!("{GROUP}/overlappingrangeipreservations/{address}")
    }

    /// Does `work` as the holder of the lease `whereabouts`, which is given back.
    fn under_lease<T>(&self, work: impl FnOnce() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !self.acquire() {
            assert!(Instant::now() < deadline, "{} waits too long for the lease", self.node);
            std::thread::sleep(LEASE_RETRY + Duration::from_millis(fastrand::u64(0..100)));
        }
        let outcome = work();
        let _ = self.write_lease("");
        outcome
    }

    fn acquire(&self) -> bool {
        match self.ask("GET", &format!("{LEASES}/whereabouts"), &Value::Null) {
            Err(404) => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": "whereabouts", "namespace": "kube-system"},
                    "spec": {"holderIdentity": self.node, "renewTime": now()},
                });
                self.ask("POST", LEASES, &lease).is_ok()
            }
            Ok(lease) => {
                let (holder, renewed) =
                    (&lease["spec"]["holderIdentity"], &lease["spec"]["renewTime"]);
                let is_free = holder == "" || *holder == json!(self.node);
                let is_over = now().saturating_sub(renewed.as_u64().unwrap_or_default())
                    > u64::try_from(LEASE.as_millis()).unwrap();
                (is_free || is_over) && self.put_lease(lease, &self.node)
            }
            Err(_) => false,
        }
    }

    fn write_lease(&self, holder: &str) -> Option<()> {
        let lease = self.ask("GET", &format!("{LEASES}/whereabouts"), &Value::Null).ok()?;
        let is_ours = lease["spec"]["holderIdentity"] == json!(self.node);
        (is_ours && self.put_lease(lease, holder)).then_some(())
    }

    /// An update under the version that was read.
    fn put_lease(&self, mut lease: Value, holder: &str) -> bool {
        lease["spec"] = json!({"holderIdentity": holder, "renewTime": now()});
        self.ask("PUT", &format!("{LEASES}/whereabouts"), &lease).is_ok()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
        let content =
            if method == "PATCH" { "application/json-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("content-type", content).body(body).unwrap();
        match self.runtime.block_on(self.client.request::<Value>(request)) {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(status.code),
            Err(_) => Err(0),
        }
    }
}

fn version_of(object: &Value) -> Value {
    let version = &object["metadata"]["resourceVersion"];
    json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})
}

/// Milliseconds; a real lease has a time in text.
fn now() -> u64 {
    u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}
