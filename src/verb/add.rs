//! ADD (CNI 1.1.0, section 2): plan, then attach in order; on any failure undo in reverse.

pub(super) mod addition;
mod advertisements;
mod default_route;
pub(super) mod growth;
mod merged_result;
mod undo;

use std::collections::BTreeMap;

use serde_json::Value;

use self::addition::Addition;
use super::publish::{self, Stage};
use super::teardown::Teardown;
use super::{Session, boot_id, key_of, leftovers, open_netns};
use crate::attach::snapshot::{SeenRoute, Snapshot};
use crate::config::Config;
use crate::definition::{Api, Finder, NodeDefinitions, OnOutage};
use crate::kube::Cluster;
use crate::ledger::{LedgerError, Lock};
use crate::plan::Plan;
use crate::pod::Pod;
use crate::prepare::{self, PodRequest};
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::family::Family;
use cni::request::Sandbox;
use linux::netlink::{Inside, Netlink, NetlinkError, Origin, RouteKey};
use linux::netns::Netns;
use plugins::kernel::kernel_family;

pub(super) fn add(session: &mut Session<'_>, sandbox: &Sandbox) -> Result<Value, Error> {
    let pod = Pod::from_args(&sandbox.args)?;
    let mut stage = Stage::Plan;
    let outcome = add_pod(session, sandbox, &pod, &mut stage);
    let outcome = outcome.map_err(|error| error.about(format!("pod {pod}")));
    if let Err(error) = &outcome {
        publish::failure(session, &pod, stage, error);
    }
    outcome
}

fn add_pod(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    pod: &Pod,
    stage: &mut Stage,
) -> Result<Value, Error> {
    let deadline = Deadline::after(super::limit::ADD);
    let config = session.config;
    check_mode(config)?;
    let netns = open_netns(sandbox)?;
    let pod_request = PodRequest::read(config, pod, session.cluster.as_mut())?;
    let asks_nothing = !pod_request.has_extras() && !prepare::has_node_networks(config, pod);
    let has_own_primary = pod_request.has_primary();
    let status_of = publish::status_is_due(session, asks_nothing)
        .then(|| publish::reference(pod, pod_request.is_static));
    let untouched = asks_nothing && status_of.is_none() && !session.ledger.has(&key_of(sandbox));
    if untouched && let Some(result) = chained_result(config) {
        log_warnings(&pod_request.warnings, pod);
        return Ok(result.clone());
    }
    let must_publish = status_of.is_some() && !asks_nothing;
    wait_until_ready(session, deadline)?;
    if let Some(cluster) = session.cluster.as_mut().filter(|_| must_publish) {
        cluster.connect_ahead();
    }
    let lock = hold_container(session, sandbox, asks_nothing && !has_own_primary, deadline)?;
    settle_leftover(session, sandbox, &netns, deadline)?;
    check_not_replaced(sandbox, &netns)?;
    let mut inside = Inside::new(&netns);
    let mut plan = make_plan(session, sandbox, &mut inside, pod, pod_request, must_publish)?;
    plan.warnings.extend(publish::unnamed_addresses(&plan, status_of.is_some()));
    log_plan(&plan, pod);
    *stage = Stage::Attach;
    let addition = Addition::start(session, sandbox, inside, pod, &plan, status_of)?;
    let result = addition.carry_out(deadline);
    drop(lock);
    leftovers::tear_down_a_few(session);
    result
}

/// Refuses an ADD whose sandbox was removed, and perhaps made anew, by a DEL that ran while this
/// call waited.
fn check_not_replaced(sandbox: &Sandbox, netns: &Netns) -> Result<(), Error> {
    if open_netns(sandbox)?.id() == netns.id() {
        return Ok(());
    }
    let problem = format!("network namespace {} was replaced while braid waited", sandbox.netns);
    Err(Error::new(Code::TRY_AGAIN, problem))
}

/// Finds definitions for a sandbox, in the API if there is one. If a status must be published,
/// copies are no help while the API cannot be reached: it could not take the status either.
pub(super) fn finder<'c>(
    config: &Config,
    cluster: Option<&'c mut Cluster>,
    sandbox: &Sandbox,
    must_publish: bool,
) -> Finder<'c> {
    let api = cluster.map_or(Api::Absent, Api::Asked);
    let on_outage = if must_publish { OnOutage::Refuse } else { OnOutage::UseCopies };
    let mut finder = prepare::finder(config, NodeDefinitions::default(), api, on_outage);
    finder.copies.writer = Some(sandbox.container.clone());
    finder
}

fn make_plan(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    inside: &mut Inside<'_>,
    pod: &Pod,
    pod_request: PodRequest,
    must_publish: bool,
) -> Result<Plan, Error> {
    let mut definitions = finder(session.config, session.cluster.as_mut(), sandbox, must_publish);
    prepare::plan(
        session.config,
        &session.path,
        sandbox,
        Some(inside),
        pod,
        pod_request,
        &mut definitions,
    )
}

/// The mode comes from the configuration; on ADD the runtime's `prevResult` must agree with it.
fn check_mode(config: &Config) -> Result<(), Error> {
    let problem = match (config.is_delegating(), config.from_runtime.prev_result.is_some()) {
        (false, false) => {
            "braid has no prevResult and no primary network: put it behind the primary in its \
             conflist, or configure \"clusterNetwork\" or \"delegates\""
        }
        (true, true) => {
            "braid got a prevResult and has a primary network of its own: put it first in its \
             conflist, or remove \"clusterNetwork\" and \"delegates\""
        }
        _ => return Ok(()),
    };
    Err(Error::new(Code::CONFIG, problem))
}

/// What a chained Braid returns for a pod that asks for nothing: what it was given, untouched.
fn chained_result(config: &Config) -> Option<&Value> {
    config.from_runtime.prev_result.as_ref().filter(|_| !config.is_delegating())
}

/// Waits for the primary's readiness file.
fn wait_until_ready(session: &mut Session<'_>, deadline: Deadline) -> Result<(), Error> {
    let Some(file) = &session.config.readiness.file else { return Ok(()) };
    let limit = deadline.within(session.config.readiness.timeout);
    while !file.exists() {
        if limit.remaining().is_zero() || session.delegates.signals().stop_requested() {
            let problem = format!(
                "the primary network is not ready: {} is missing (readinessindicatorfile)",
                file.display()
            );
            return Err(Error::new(Code::TRY_AGAIN, problem));
        }
        std::thread::sleep(std::time::Duration::from_millis(100).min(limit.remaining()));
    }
    Ok(())
}

fn log_warnings(warnings: &[String], pod: &Pod) {
    for warning in warnings {
        log::warn!("pod {pod}: {warning}");
    }
}

fn log_plan(plan: &Plan, pod: &Pod) {
    log_warnings(&plan.warnings, pod);
    for attachment in &plan.attachments {
        let plugins: Vec<_> =
            attachment.network.plugins.iter().map(|plugin| plugin.kind.as_str()).collect();
        log::debug!(
            "pod {pod}: plan: {} on {} through {} in {}",
            attachment.label,
            attachment.interface,
            plugins.join(", "),
            attachment.network.version
        );
    }
}

/// Holds the container's lock. A pod that asks for nothing does without if there is no state
/// directory.
fn hold_container(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    asks_nothing: bool,
    deadline: Deadline,
) -> Result<Option<Lock>, Error> {
    match session.hold(&sandbox.container, deadline) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ (LedgerError::File(_) | LedgerError::Directory(_))) if asks_nothing => {
            log::warn!("{error}; the pod runs unrecorded");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A record that is there already is an ADD that was killed, or one of a sandbox that is gone: it
/// is torn down first. One that is complete, in this very sandbox, is refused.
fn settle_leftover(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    netns: &Netns,
    deadline: Deadline,
) -> Result<(), Error> {
    let key = key_of(sandbox);
    if !session.ledger.has(&key) {
        return Ok(());
    }
    let record = match session.ledger.read(&key) {
        Ok(Some(record)) => record,
        Ok(None) => return Ok(()),
        Err(error) => {
            log::warn!("{error}");
            return Ok(());
        }
    };
    let recorded = &record.plan.netns;
    let same_sandbox = recorded.is_of_boot(&boot_id()) != Some(false) && recorded.is(netns);
    if record.complete.is_some() && same_sandbox {
        let problem = format!(
            "container {} has its networks on {} already: call DEL first",
            key.container, key.interface
        );
        return Err(Error::new(Code::CONFIG, problem));
    }
    log::warn!("an unfinished ADD of container {} is torn down first", key.container);
    let place = if same_sandbox { sandbox.netns.as_str() } else { "" };
    Teardown::of(session, &record, place, deadline.within(super::limit::DEL)).run()
}

/// What the kernel shows in the namespace of the calling thread.
pub(super) fn read_snapshot(netlink: &mut Netlink) -> Result<Snapshot, NetlinkError> {
    let links = netlink.links()?;
    let names: BTreeMap<u32, String> =
        links.iter().map(|link| (link.index, link.name.clone())).collect();
    let mut default_routes = Vec::new();
    for family in Family::ALL {
        default_routes.extend(netlink.default_routes(kernel_family(family))?.iter().map(|route| {
            SeenRoute {
                family,
                interface: route.link_index.and_then(|index| names.get(&index).cloned()),
                gateway: route.gateway,
            }
        }));
    }
    let is_advertised = |key: &RouteKey| key.is_main && key.origin == Origin::Router;
    let routes = netlink.routes(kernel_family(Family::V6), 0..=0, is_advertised)?;
    let hops = routes.into_iter().flat_map(|route| route.hops);
    let advertised = hops.map(|hop| SeenRoute {
        family: Family::V6,
        interface: hop.link_index.and_then(|index| names.get(&index).cloned()),
        gateway: hop.gateway,
    });
    Ok(Snapshot { links, default_routes, advertised: advertised.collect(), ..Snapshot::default() })
}
