//! Where the addresses of an attachment are: the pools of its ranges, by node slices and by claim.

use std::net::IpAddr;

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::plugin::Call;

use super::allocation::Wish;
use super::config::Config;
use super::engine::code_of;
use super::entry::Owner;
use super::journal::{self, Header};
use super::name;
use super::object::{NodeSlices, Object};
use super::range::Range;
use super::store::{Action, AddressStore, Kind, Opened, Request, StoreError};
use crate::ipam::arguments;
use crate::ipam::fields::invalid;
use crate::mark;

/// The attachment as whereabouts' objects name it.
///
/// # Errors
/// Code 4 without an attachment, 7 without the names of a pod.
pub(crate) fn owner(call: &Call) -> Result<Owner, Error> {
    let attachment = call.attachment()?;
    let name = |key: &str| arguments::get(call, key).filter(|name| !name.is_empty());
    let pod = name("K8S_POD_NAMESPACE").zip(name("K8S_POD_NAME"));
    let missing = || {
        invalid(
            "CNI_ARGS has no K8S_POD_NAMESPACE and K8S_POD_NAME: a cluster-wide address is a pod's",
        )
    };
    let (namespace, pod) = pod.ok_or_else(missing)?;
    Ok(Owner {
        container: attachment.container.to_string(),
        podref: format!("{namespace}/{pod}"),
        interface: attachment.interface.to_string(),
    })
}

/// The head of the attachment's record in the journal.
pub(crate) fn header(call: &Call, config: &Config, owner: &Owner, opened: &Opened) -> Header {
    Header {
        version: journal::version(),
        server: opened.server.clone(),
        namespace: opened.namespace.clone(),
        kubeconfig: config.access.kubeconfig.clone().unwrap_or_default(),
        api_root: config.access.server.clone(),
        network: call.network.to_string(),
        caller: mark::caller(call).to_owned(),
        container: owner.container.clone(),
        interface: owner.interface.clone(),
        podref: owner.podref.clone(),
        network_name: config.network.clone(),
        overlapping: config.overlapping,
        sticky: config.sticky.map(|kept| kept.as_secs()),
        claim: config.claim.clone(),
        by_whereabouts: false,
        made: journal::now(),
        not_before: None,
    }
}

/// The ranges with the names of their pools. With node slices, a range is this node's part of it.
///
/// # Errors
/// Code 7 for a node without a slice, or an error of the store.
pub(crate) fn pools(
    config: &Config,
    namespace: &str,
    store: &mut dyn AddressStore,
    deadline: Deadline,
) -> Result<Vec<(String, Range)>, StoreError> {
    let network = config.network.as_deref();
    let Some(slices) = &config.slices else {
        let named = |range: &Range| (name::pool(range.subnet(), network, None), range.clone());
        return Ok(config.ranges.iter().map(named).collect());
    };
    let found: NodeSlices = get(store, Kind::NodeSlices, namespace, slices, deadline)?;
    let node = config.node.as_str();
    let slice = found.slices.get(node).ok_or_else(|| {
        StoreError::Refused(format!(
            "node slice pool \"{namespace}/{slices}\" has no slice for node \"{node}\": \
             whereabouts' controller makes it; is the node's name right?"
        ))
    })?;
    let in_slice = |whole: &Range| {
        let range = Range::of_slice(slice, whole).map_err(|problem| {
            StoreError::Refused(format!("slice \"{slice}\" of node \"{node}\" {problem}"))
        })?;
        Ok((name::pool(range.subnet(), network, Some(node)), range))
    };
    config.ranges.iter().take(1).map(in_slice).collect()
}

/// An object that must be there.
///
/// # Errors
/// An error of the store.
pub(super) fn get<T: Object>(
    store: &mut dyn AddressStore,
    kind: Kind,
    namespace: &str,
    name: &str,
    deadline: Deadline,
) -> Result<T, StoreError> {
    let action = Action::Get(name.to_owned());
    let request = Request { kind, namespace: namespace.to_owned(), action };
    let lost = || Err(StoreError::Answer("the store has lost a request".to_owned()));
    let bytes = store.send(&[request], deadline).pop().unwrap_or_else(lost)?;
    let what = || format!("{} \"{namespace}/{name}\"", kind.noun());
    T::decode(&bytes)
        .map_err(|problem| StoreError::Answer(format!("{} cannot be read: {problem}", what())))
}

/// What the attachment wants of each range.
///
/// # Errors
/// Code 7 for a requested address in no range, or one too many.
pub(crate) fn wishes(
    config: &Config,
    owner: &Owner,
    namespace: &str,
    pools: &[(String, Range)],
    claimed: &[IpAddr],
) -> Result<Vec<Wish>, Error> {
    // A claim's addresses are of all networks of the claim; those of other ranges are not asked
    // for.
    let ours = claimed.iter().filter(|ip| pools.iter().any(|(_, range)| range.contains(**ip)));
    let mut left: Vec<IpAddr> = ours.copied().collect();
    if left.is_empty() {
        left.clone_from(&config.requested);
    }
    let pod = owner.podref.split('/').next().unwrap_or_default();
    let wishes = pools.iter().map(|(pool, range)| Wish {
        namespace: namespace.to_owned(),
        pool: pool.clone(),
        network: config.network.clone(),
        overlapping: config.overlapping,
        asked: left.iter().position(|ip| range.contains(*ip)).map(|at| left.remove(at)),
        claim: config.claim.as_ref().map(|claim| format!("{pod}/{claim}")),
        start: config.allocation.start(range, &config.node),
        range: range.clone(),
        owner: owner.clone(),
    });
    let wishes: Vec<Wish> = wishes.collect();
    let statics: Vec<IpAddr> = config.addresses.iter().map(|lease| lease.address.ip()).collect();
    left.retain(|ip| !statics.contains(ip));
    match left.first() {
        None => Ok(wishes),
        Some(ip) => Err(not_given(*ip, pools)),
    }
}

/// The error for a requested address that no range has left.
fn not_given(ip: IpAddr, pools: &[(String, Range)]) -> Error {
    if pools.iter().any(|(_, range)| range.contains(ip)) {
        return invalid(format!(
            "requested address {ip} is one too many: a range gives one address, and another of it \
             is requested"
        ));
    }
    let ranges: Vec<String> = pools.iter().take(8).map(|(_, range)| range.to_string()).collect();
    invalid(format!(
        "requested address {ip} lies in no range of the network ({})",
        ranges.join(", ")
    ))
}

/// The error of a call in the store's words.
pub(crate) fn store_error(error: StoreError) -> Error {
    Error::new(code_of(&error), error)
}

/// The error of a call that has no kubeconfig.
pub(crate) fn no_kubeconfig() -> Error {
    let problem = "no \"kubernetes.kubeconfig\" is configured: name one in \"ipam\", or in \
                   /etc/cni/net.d/whereabouts.d/whereabouts.conf";
    Error::new(Code::CONFIG, problem)
}
