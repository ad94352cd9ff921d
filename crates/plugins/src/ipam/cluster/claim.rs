//! The `IPAMClaim` that a pod names (NPWG 1.3, section 8): its addresses stay for as long as it
//! exists, and its status says which they are and which pod has them.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::json;

use cni::deadline::Deadline;

use super::config::Config;
use super::entry::Owner;
use super::object::Claim;
use super::patch::Patch;
use super::place;
use super::range::Range;
use super::store::{Action, AddressStore, Kind, Request, StoreError};
use crate::ipam::result::Lease;

/// The claim that the pod names, as it is before its addresses are given.
///
/// # Errors
/// An error of the store: the claim must be there.
pub(super) fn read(
    config: &Config,
    owner: &Owner,
    store: &mut dyn AddressStore,
    deadline: Deadline,
) -> Result<Option<Claim>, StoreError> {
    let Some(name) = &config.claim else { return Ok(None) };
    place::get(store, Kind::Claim, namespace(owner), name, deadline).map(Some)
}

/// The addresses that a claim holds.
pub(super) fn addresses(claim: Option<&Claim>) -> Vec<IpAddr> {
    let address = |text: &String| text.parse::<IpNetwork>().ok().map(|network| network.ip());
    claim.iter().flat_map(|claim| claim.ips.iter().filter_map(address)).collect()
}

/// Says in the claim's status which addresses it has now, and the name of the pod that has them. The
/// addresses are kept by what the pool says of them, so that one whose status cannot be written is
/// kept all the same.
pub(super) fn note(
    claim: &Claim,
    owner: &Owner,
    given: &[(Lease, Range)],
    store: &mut dyn AddressStore,
    deadline: Deadline,
) {
    let Some(patch) = status(claim, owner, given) else { return };
    let request = Request {
        kind: Kind::Claim,
        namespace: namespace(owner).to_owned(),
        action: Action::PatchStatus(claim.metadata.name.clone(), patch),
    };
    if let Some(Err(error)) = store.send(&[request], deadline).pop() {
        let name = &claim.metadata.name;
        log::warn!("the status of IPAMClaim \"{name}\" does not say its addresses: {error}");
    }
}

/// The change of the status; none if it says so already. Addresses of other networks stay.
fn status(claim: &Claim, owner: &Owner, given: &[(Lease, Range)]) -> Option<Patch> {
    let pod = owner.podref.split_once('/').map_or("", |(_, pod)| pod);
    let is_of_given = |text: &String| {
        let address = text.parse::<IpNetwork>().ok().map(|network| network.ip());
        address.is_some_and(|ip| given.iter().any(|(_, range)| range.subnet().contains(ip)))
    };
    let others = claim.ips.iter().filter(|text| !is_of_given(text)).cloned();
    let ours = given.iter().map(|(lease, _)| lease.address.to_string());
    let ips: Vec<String> = others.chain(ours).collect();
    let is_same = claim.owner_pod == pod
        && claim.ips.len() == ips.len()
        && ips.iter().all(|ip| claim.ips.contains(ip));
    if is_same {
        return None;
    }
    Some(if claim.has_status {
        let patch = Patch::new().test(&["metadata", "uid"], claim.metadata.uid.clone());
        patch.add(&["status", "ips"], ips).add(&["status", "ownerPod"], pod)
    } else {
        let patch = Patch::new().test(&["metadata", "uid"], claim.metadata.uid.clone());
        patch.add(&["status"], json!({"ips": ips, "ownerPod": pod}))
    })
}

fn namespace(owner: &Owner) -> &str {
    owner.podref.split('/').next().unwrap_or_default()
}
