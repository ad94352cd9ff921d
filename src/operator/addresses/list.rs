//! `braid addresses list`: the pools, and who holds what.

use std::net::IpAddr;

use clap::Args;
use serde::Serialize;

use super::AddressesError;
use super::holder::HolderState;
use super::kept::{Claims, notes};
use super::pods::PodIndex;
use super::store::{ApiOptions, MAX_BYTES, Pools, nearly_full, size};
use crate::operator::console::{OutputStyle, Tone, View};
use crate::operator::records;
use plugins::ipam::cluster::object::{Entry, Pool};

/// How many characters of a container ID are shown.
const SHORT_ID: usize = 13;

/// What `braid addresses list` is told.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only this pool, with who holds each of its addresses
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    #[command(flatten)]
    api: ApiOptions,
}

/// The pools of a namespace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listing {
    namespace: String,
    pools: Vec<PoolSummary>,
    /// Who holds what of the one pool that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    holders: Option<Vec<Holder>>,
}

/// One pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolSummary {
    name: String,
    range: String,
    used: usize,
    /// Addresses of the range that no entry has; `None` if the range cannot be read. A number of
    /// more than 64 bits is the largest that has 64.
    free: Option<u64>,
    /// Entries whose pod is gone or has ended.
    stale: usize,
    /// Entries whose running pod's network status does not name the address.
    not_in_status: usize,
    /// The size of the object.
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// An address that is taken.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Holder {
    pub(super) pool: String,
    /// `None` for an entry outside of the range.
    pub(super) address: Option<IpAddr>,
    pub(super) pod: String,
    pub(super) interface: String,
    pub(super) container: String,
    pub(super) state: HolderState,
    /// The key of the entry.
    #[serde(skip)]
    pub(super) key: String,
    /// The pool's annotations of the entry.
    #[serde(skip)]
    pub(super) notes: Vec<(String, String)>,
}

impl Holder {
    /// The address, or the entry's key if it has none.
    pub(super) fn place(&self) -> String {
        self.address.map_or_else(|| format!("#{}", self.key), |address| address.to_string())
    }
}

/// What is known of pods and claims, for any number of pools.
#[derive(Debug)]
pub(super) struct Holders {
    pub(super) pods: PodIndex,
    claims: Claims,
    /// In seconds since 1970.
    now: u64,
}

impl Holders {
    /// Lists the pods of the cluster.
    ///
    /// # Errors
    /// [`AddressesError`].
    pub(super) fn new(pools: &mut Pools) -> Result<Self, AddressesError> {
        let pods = PodIndex::of_living(&mut pools.cluster)?;
        Ok(Self { pods, claims: Claims::default(), now: records::now() })
    }

    /// Who holds the entries of `pool`.
    ///
    /// # Errors
    /// [`AddressesError`] if a pod or a claim can be neither found nor known to be absent.
    pub(super) fn of(
        &mut self,
        pools: &mut Pools,
        pool: &Pool,
    ) -> Result<Vec<Holder>, AddressesError> {
        let podrefs = pool.entries.values().map(|entry| entry.podref.as_str());
        self.pods.look_up(&mut pools.cluster, podrefs)?;
        let entries = pool.entries.iter();
        entries.map(|(offset, entry)| self.holder(pools, pool, *offset, entry)).collect()
    }

    fn holder(
        &mut self,
        pools: &mut Pools,
        pool: &Pool,
        offset: u128,
        entry: &Entry,
    ) -> Result<Holder, AddressesError> {
        let Entry { key, id, podref, ifname } = entry.clone();
        let address = pool.address(offset);
        let state = HolderState::of(self.pods.get(&podref), address, false);
        let is_kept = state.is_stale() && self.claims.keep(pools, pool, offset, self.now)?;
        Ok(Holder {
            pool: pool.metadata.name.clone(),
            address,
            pod: podref,
            interface: ifname,
            container: id,
            state: if is_kept { HolderState::Kept } else { state },
            key,
            notes: notes(pool, offset),
        })
    }
}

impl List {
    pub(super) fn run(&self) -> Result<Listing, AddressesError> {
        let mut pools = self.api.pools()?;
        let only = self.pool.as_deref().map(|name| pools.pool(name)).transpose()?;
        let mut known = Holders::new(&mut pools)?;
        let mut summaries = Vec::new();
        let mut shown = None;
        match only {
            Some(pool) => {
                let holders = known.of(&mut pools, &pool)?;
                summaries.push(PoolSummary::of(&pool, &holders));
                shown = Some(holders);
            }
            None => pools.each_pool(|pools, pool| {
                let holders = known.of(pools, &pool)?;
                summaries.push(PoolSummary::of(&pool, &holders));
                Ok(())
            })?,
        }
        Ok(Listing { namespace: pools.namespace, pools: summaries, holders: shown })
    }
}

impl PoolSummary {
    fn of(pool: &Pool, holders: &[Holder]) -> Self {
        let used = holders.len();
        let count = |is_it: fn(HolderState) -> bool| {
            holders.iter().filter(|holder| is_it(holder.state)).count()
        };
        let free = size(pool)
            .map(|size| size.saturating_sub(u128::try_from(used).unwrap_or(u128::MAX)))
            .map(|free| u64::try_from(free).unwrap_or(u64::MAX));
        Self {
            name: pool.metadata.name.clone(),
            range: pool.range.clone(),
            used,
            free,
            stale: count(HolderState::is_stale),
            not_in_status: count(|state| state == HolderState::NotInStatus),
            bytes: pool.bytes,
            warning: nearly_full(pool),
        }
    }

    fn row(&self) -> [String; 6] {
        let free = match self.free {
            None => "?".to_owned(),
            // The exact number helps no person.
            Some(free) if free > u64::from(u32::MAX) => "many".to_owned(),
            Some(free) => free.to_string(),
        };
        let size = format!("{} of {} KiB", self.bytes.div_ceil(1 << 10), MAX_BYTES >> 10);
        [
            self.name.clone(),
            self.range.clone(),
            self.used.to_string(),
            free,
            self.stale.to_string(),
            size.replace(' ', "\u{a0}"),
        ]
    }
}

impl View for Listing {
    fn text(&self, style: &OutputStyle) -> String {
        if self.pools.is_empty() {
            return format!("namespace {} has no pools\n", self.namespace);
        }
        let rows = self.pools.iter().map(PoolSummary::row).collect();
        let mut text = style
            .table(["POOL", "RANGE", "USED", "FREE", "STALE", "SIZE"], rows)
            .replace('\u{a0}', " ");
        if let Some(holders) = self.holders.as_ref().filter(|holders| !holders.is_empty()) {
            text.push('\n');
            text.push_str(&table(style, holders));
        }
        let warnings = self.pools.iter().filter_map(|pool| pool.warning.as_ref());
        for warning in warnings {
            let line = style.wrap(2, &format!("warning: {warning}"));
            let rest = line.strip_prefix("warning").unwrap_or_default();
            text.push_str(&format!("{}{rest}\n", style.paint(Tone::Odd, "warning")));
        }
        text
    }
}

/// Holders in the order of their addresses.
pub(super) fn table(style: &OutputStyle, holders: &[Holder]) -> String {
    let rows = holders.iter().map(|holder| {
        [
            holder.place(),
            holder.pod.clone(),
            holder.interface.clone(),
            holder.container.chars().take(SHORT_ID).collect(),
            holder.state.words().to_owned(),
        ]
    });
    style.table(["ADDRESS", "POD", "INTERFACE", "CONTAINER", "STATE"], rows.collect())
}
