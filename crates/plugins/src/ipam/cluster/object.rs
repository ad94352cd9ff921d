//! whereabouts' objects (`whereabouts.cni.cncf.io/v1alpha1`) and the claims of the NPWG
//! (`k8s.cni.cncf.io/v1alpha1`), as the API returns them.
//!
//! An error is a sentence about the object; the caller adds which one it is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use cni::error::one_line;

/// The version of whereabouts' objects.
const API_VERSION: &str = "whereabouts.cni.cncf.io/v1alpha1";

/// An `IPPool`: who has which address of a range.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pool {
    /// What every object has.
    pub metadata: Metadata,
    /// The range (`spec.range`), as it was written.
    pub range: String,
    /// Who has an address, by its offset from the first address of the range. Keys that are no
    /// number are left out, as whereabouts does.
    pub entries: BTreeMap<u128, Entry>,
    /// Whether `spec.allocations` is there: nothing can be added to a map that is not.
    pub has_allocations: bool,
    /// The size of the object as it was sent, `managedFields` included. etcd has a limit for it.
    pub bytes: usize,
}

/// What every object has.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default)]
    pub namespace: String,
    /// Its UID.
    #[serde(default)]
    pub uid: String,
    /// Its version, which changes with each write.
    #[serde(default)]
    pub resource_version: String,
    /// Its annotations.
    #[serde(default, deserialize_with = "null_as_default")]
    pub annotations: BTreeMap<String, String>,
    /// When its removal began.
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
}

/// An address of a pool that is taken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entry {
    /// Its key in `spec.allocations`: the offset in decimal, perhaps with zeros in front.
    pub key: String,
    /// The container's ID.
    pub id: String,
    /// The pod, as `namespace/name`.
    pub podref: String,
    /// The interface; empty in entries of old releases.
    pub ifname: String,
}

/// An `OverlappingRangeIPReservation`: who has an address, whatever pool it is from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reservation {
    /// What every object has.
    pub metadata: Metadata,
    /// The pod, as `namespace/name`.
    pub podref: String,
    /// The interface; empty in those of old releases.
    pub ifname: String,
    /// The container's ID; empty in those that whereabouts makes.
    pub container: String,
}

/// A `NodeSlicePool`: which node has which part of a range.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeSlices {
    /// What every object has.
    pub metadata: Metadata,
    /// The whole range (`spec.range`).
    pub range: String,
    /// The part of each node, by the node's name (`status.allocations`).
    pub slices: BTreeMap<String, String>,
}

/// An `IPAMClaim`: addresses that stay for as long as it exists.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claim {
    /// What every object has.
    pub metadata: Metadata,
    /// The network that it is for (`spec.network`).
    pub network: String,
    /// The interface that it is for (`spec.interface`); empty for any.
    pub interface: String,
    /// The addresses that it holds (`status.ips`), with their prefix lengths.
    pub ips: Vec<String>,
    /// The name of the pod that holds them (`status.ownerPod`).
    pub owner_pod: String,
    /// Whether the object has a `status`.
    pub has_status: bool,
}

/// Objects of one kind, a page at a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T> {
    /// The objects.
    pub items: Vec<T>,
    /// What the next page is asked for with (`metadata.continue`); empty if this is the last.
    pub next: String,
}

/// An object of the API.
pub trait Object: Sized {
    /// Its form in JSON.
    #[doc(hidden)]
    type Raw: DeserializeOwned;

    /// The object, of `bytes` bytes in JSON.
    #[doc(hidden)]
    fn from_raw(raw: Self::Raw, bytes: usize) -> Self;

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    fn decode(bytes: &[u8]) -> Result<Self, String> {
        Ok(Self::from_raw(parse(bytes)?, bytes.len()))
    }

    /// Reads a page of a list. The size of an object is that of its JSON without white space.
    ///
    /// # Errors
    /// What is wrong with it.
    fn decode_list(bytes: &[u8]) -> Result<Page<Self>, String> {
        let list: RawList = parse(bytes)?;
        let read = |item: Value| -> Result<Self, String> {
            let bytes = item.to_string().len();
            let raw =
                serde_json::from_value(item).map_err(|error| one_line(&error.to_string(), 300))?;
            Ok(Self::from_raw(raw, bytes))
        };
        let items = list.items.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Page { items, next: list.metadata.next })
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| one_line(&error.to_string(), 300))
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
struct RawList {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(default, deserialize_with = "null_as_default")]
    items: Vec<Value>,
}

#[derive(Default, Deserialize)]
struct ListMetadata {
    #[serde(default, rename = "continue")]
    next: String,
}

/// A pool in JSON.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawPool {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_as_default")]
    spec: RawPoolSpec,
}

#[derive(Default, Deserialize)]
struct RawPoolSpec {
    #[serde(default)]
    range: String,
    #[serde(default)]
    allocations: Option<BTreeMap<String, RawEntry>>,
}

#[derive(Deserialize)]
struct RawEntry {
    #[serde(default)]
    id: String,
    #[serde(default)]
    podref: String,
    #[serde(default)]
    ifname: String,
}

/// A reservation in JSON.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawReservation {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_as_default")]
    spec: RawReservationSpec,
}

#[derive(Default, Deserialize)]
struct RawReservationSpec {
    #[serde(default)]
    podref: String,
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    containerid: String,
}

/// Slices in JSON.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawSlices {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_as_default")]
    spec: RawSlicesSpec,
    #[serde(default, deserialize_with = "null_as_default")]
    status: RawSlicesStatus,
}

#[derive(Default, Deserialize)]
struct RawSlicesSpec {
    #[serde(default)]
    range: String,
}

#[derive(Default, Deserialize)]
struct RawSlicesStatus {
    #[serde(default, deserialize_with = "null_as_default")]
    allocations: Vec<RawSlice>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSlice {
    #[serde(default)]
    node_name: String,
    #[serde(default)]
    slice_range: String,
}

/// A claim in JSON.
#[doc(hidden)]
#[derive(Deserialize)]
pub struct RawClaim {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_as_default")]
    spec: RawClaimSpec,
    #[serde(default)]
    status: Option<RawClaimStatus>,
}

#[derive(Default, Deserialize)]
struct RawClaimSpec {
    #[serde(default)]
    network: String,
    #[serde(default)]
    interface: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClaimStatus {
    #[serde(default, deserialize_with = "null_as_default")]
    ips: Vec<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    owner_pod: String,
}

impl Object for Pool {
    type Raw = RawPool;

    fn from_raw(RawPool { metadata, spec }: RawPool, bytes: usize) -> Self {
        let has_allocations = spec.allocations.is_some();
        let mut entries = BTreeMap::new();
        for (key, RawEntry { id, podref, ifname }) in spec.allocations.unwrap_or_default() {
            let Some(offset) = offset(&key) else { continue };
            entries.insert(offset, Entry { key, id, podref, ifname });
        }
        Self { metadata, range: spec.range, entries, has_allocations, bytes }
    }
}

/// The offset that a key stands for.
fn offset(key: &str) -> Option<u128> {
    key.parse().ok()
}

impl Object for Reservation {
    type Raw = RawReservation;

    fn from_raw(RawReservation { metadata, spec }: RawReservation, _: usize) -> Self {
        let RawReservationSpec { podref, ifname, containerid } = spec;
        Self { metadata, podref, ifname, container: containerid }
    }
}

impl Object for NodeSlices {
    type Raw = RawSlices;

    fn from_raw(RawSlices { metadata, spec, status }: RawSlices, _: usize) -> Self {
        let slices = status.allocations.into_iter().filter(|slice| !slice.node_name.is_empty());
        let slices = slices.map(|slice| (slice.node_name, slice.slice_range)).collect();
        Self { metadata, range: spec.range, slices }
    }
}

impl Object for Claim {
    type Raw = RawClaim;

    fn from_raw(RawClaim { metadata, spec, status }: RawClaim, _: usize) -> Self {
        let has_status = status.is_some();
        let RawClaimStatus { ips, owner_pod } = status.unwrap_or_default();
        let RawClaimSpec { network, interface } = spec;
        Self { metadata, network, interface, ips, owner_pod, has_status }
    }
}

impl Pool {
    /// A new pool without an entry, as the API takes it.
    pub fn empty(name: &str, range: IpNetwork) -> Value {
        json!({
            "apiVersion": API_VERSION,
            "kind": "IPPool",
            "metadata": {"name": name},
            "spec": {"range": range.to_string(), "allocations": {}},
        })
    }

    /// The range, host bits kept.
    pub fn network(&self) -> Option<IpNetwork> {
        self.range.parse().ok()
    }

    /// The address at an offset; none behind the end of the address space.
    pub fn address(&self, offset: u128) -> Option<IpAddr> {
        match self.network()?.ip() {
            IpAddr::V4(first) => {
                let number = u32::from(first).checked_add(u32::try_from(offset).ok()?)?;
                Some(IpAddr::V4(number.into()))
            }
            IpAddr::V6(first) => Some(IpAddr::V6(u128::from(first).checked_add(offset)?.into())),
        }
    }

    /// The offset of an address; none of another family, or in front of the range.
    pub fn offset(&self, address: IpAddr) -> Option<u128> {
        match (self.network()?.ip(), address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                u32::from(address).checked_sub(first.into()).map(u128::from)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                u128::from(address).checked_sub(first.into())
            }
            _ => None,
        }
    }
}

impl Entry {
    /// An entry as the API takes it.
    pub fn to_value(&self) -> Value {
        json!({"id": self.id, "podref": self.podref, "ifname": self.ifname})
    }
}

impl Reservation {
    /// A new reservation, as the API takes it.
    pub fn made(name: &str, podref: &str, ifname: &str, container: &str) -> Value {
        json!({
            "apiVersion": API_VERSION,
            "kind": "OverlappingRangeIPReservation",
            "metadata": {"name": name},
            "spec": {"podref": podref, "ifname": ifname, "containerid": container},
        })
    }
}

#[cfg(test)]
mod tests;
