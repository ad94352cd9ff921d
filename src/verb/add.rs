//! ADD (CNI 1.1.0, section 2): plan, then attach in order; on any failure undo in reverse.

mod advertisements;
mod default_route;
mod merged_result;

use std::collections::BTreeMap;

use serde_json::Value;

use self::advertisements::Advertisements;
use super::publish::{self, Stage};
use super::{Session, boot_id, del, key_of, leftovers, now, open_netns};
use crate::attach::routes::{Moved, OriginalDefaultRoutes};
use crate::attach::snapshot::{SeenRoute, Snapshot};
use crate::attach::{AttachError, Attacher, Place, reject_foreign_interfaces, verify};
use crate::config::Config;
use crate::definition::{Api, NodeDefinitions, OnOutage};
use crate::kernel::kernel_error;
use crate::kernel::kernel_family;
use crate::kube::PodReference;
use crate::ledger::{Event, Journal, LedgerError, Lock, Mode, RecordPlan, RecordedNetns};
use crate::plan::{Attachment, Plan};
use crate::pod::Pod;
use crate::prepare::{self, PodRequest};
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::family::Family;
use cni::name::InterfaceName;
use cni::request::Sandbox;
use cni::result::AttachmentResult;
use linux::netlink::{Inside, Netlink, NetlinkError, Origin, RouteKey};
use linux::netns::Netns;

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
    let status_of =
        publish::status_is_due(session, asks_nothing).then(|| publish::reference(pod, pod_request.is_static));
    let untouched = asks_nothing && status_of.is_none() && !session.ledger.has(&key_of(sandbox));
    if untouched && let Some(result) = chained_result(config) {
        log_warnings(&pod_request.warnings, pod);
        return Ok(result.clone());
    }
    wait_until_ready(session, deadline)?;
    let lock = hold_container(session, sandbox, asks_nothing && !has_own_primary, deadline)?;
    settle_leftover(session, sandbox, &netns, deadline)?;
    // While we waited, a DEL may have come and gone, and the sandbox with it.
    if open_netns(sandbox)?.id() != netns.id() {
        return Err(Error::new(
            Code::TRY_AGAIN,
            format!("network namespace {} was replaced while braid waited", sandbox.netns),
        ));
    }
    let must_publish = status_of.is_some() && !asks_nothing;
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

/// The plan, with the API to ask where there is one. Where a status must be published, copies of definitions are no
/// help while the API cannot be reached: it could not take the status either.
fn make_plan(
    session: &mut Session<'_>,
    sandbox: &Sandbox,
    inside: &mut Inside<'_>,
    pod: &Pod,
    pod_request: PodRequest,
    must_publish: bool,
) -> Result<Plan, Error> {
    let api = session.cluster.as_mut().map_or(Api::Absent, Api::Asked);
    let on_outage = if must_publish { OnOutage::Refuse } else { OnOutage::UseCopies };
    let mut definitions = prepare::finder(session.config, NodeDefinitions::default(), api, on_outage);
    definitions.copies.writer = Some(sandbox.container.clone());
    prepare::plan(session.config, &session.path, sandbox, Some(inside), pod, pod_request, &mut definitions)
}

/// The mode comes from the configuration; on ADD the runtime's `prevResult` must agree with it.
fn check_mode(config: &Config) -> Result<(), Error> {
    let problem = match (config.is_delegating(), config.prev_result.is_some()) {
        (false, false) => {
            "braid has no prevResult and no primary network: put it behind the primary in its conflist, or configure \
             \"clusterNetwork\" or \"delegates\""
        }
        (true, true) => {
            "braid got a prevResult and has a primary network of its own: put it first in its conflist, or remove \
             \"clusterNetwork\" and \"delegates\""
        }
        _ => return Ok(()),
    };
    Err(Error::new(Code::CONFIG, problem))
}

/// What a chained Braid returns for a pod that asks for nothing: what it was given, untouched.
fn chained_result(config: &Config) -> Option<&Value> {
    config.prev_result.as_ref().filter(|_| !config.is_delegating())
}

/// The same as a value, read before anything is done.
fn read_chained_result(config: &Config) -> Result<Option<AttachmentResult>, Error> {
    let read = chained_result(config).map(|result| AttachmentResult::read_lenient(result, config.version));
    read.transpose().map_err(|error| Error::from(error).about("prevResult"))
}

/// Waits for the primary's readiness file.
fn wait_until_ready(session: &mut Session<'_>, deadline: Deadline) -> Result<(), Error> {
    let Some(file) = &session.config.readiness_file else { return Ok(()) };
    let limit = deadline.within(session.config.readiness_timeout);
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
        let plugins: Vec<_> = attachment.network.plugins.iter().map(|plugin| plugin.kind.as_str()).collect();
        log::debug!(
            "pod {pod}: plan: {} on {} through {} in {}",
            attachment.label,
            attachment.interface,
            plugins.join(", "),
            attachment.network.version
        );
    }
}

/// Holds the container's lock. A pod that asks for nothing does without where there is no state directory.
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

/// A record that is there already is an ADD that was killed, or one of a sandbox that is gone: it is
/// torn down first. One that is complete, in this very sandbox, is refused.
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
    del::tear_down(session, &record, place, deadline.within(super::limit::DEL))
}

/// What identifies the sandbox's namespace. The socket that is asked for the cookie is needed later in any case;
/// where it cannot be opened, that is said then.
fn recorded_netns(inside: &mut Inside<'_>, sandbox: &Sandbox) -> RecordedNetns {
    let cookie = inside.netlink().ok().and_then(|netlink| netlink.netns_cookie());
    RecordedNetns { boot: boot_id(), id: inside.netns().id(), cookie, path: sandbox.netns.clone() }
}

/// The record of an ADD; none if the pod can do without, and it cannot be written.
fn start_journal(
    session: &Session<'_>,
    record: RecordPlan,
    is_needed: bool,
) -> Result<Option<Journal>, Error> {
    match session.ledger.create(record) {
        Ok(journal) => Ok(Some(journal)),
        Err(error) if is_needed => Err(error.into()),
        Err(error) => {
            log::warn!("{error}; the pod runs unrecorded");
            Ok(None)
        }
    }
}

/// An ADD under way.
struct Addition<'s, 'a> {
    session: &'s mut Session<'a>,
    sandbox: &'s Sandbox,
    inside: Inside<'s>,
    pod: &'s Pod,
    plan: &'s Plan,
    /// The primary's result where Braid stands behind it.
    chained: Option<AttachmentResult>,
    /// The record; none if the pod runs unrecorded.
    journal: Option<Journal>,
    /// One result for each attachment that succeeded, in its network's version.
    results: Vec<Value>,
    /// How many attachments were tried.
    tried: usize,
    moved: Option<Moved>,
    /// The default routes before the first extra network.
    original_routes: Option<OriginalDefaultRoutes>,
    /// Networks and interfaces that were there once their plugins had run.
    seen: Vec<(String, InterfaceName)>,
    /// What becomes of router advertisements.
    advertisements: Advertisements,
    /// The pod whose status is due.
    status_of: Option<PodReference>,
}

impl<'s, 'a> Addition<'s, 'a> {
    /// Writes the record before the first side effect.
    fn start(
        session: &'s mut Session<'a>,
        sandbox: &'s Sandbox,
        mut inside: Inside<'s>,
        pod: &'s Pod,
        plan: &'s Plan,
        status_of: Option<PodReference>,
    ) -> Result<Self, Error> {
        let chained = read_chained_result(session.config)?;
        let record = RecordPlan {
            layout: crate::ledger::LAYOUT,
            key: key_of(sandbox),
            network: session.config.network.clone(),
            mode: if session.config.is_delegating() { Mode::Delegating } else { Mode::Chained },
            netns: recorded_netns(&mut inside, sandbox),
            pod: pod.to_string(),
            args: sandbox.args.clone(),
            created: now(),
            attachments: plan.attachments.clone(),
        };
        let journal = start_journal(session, record, plan.needs_record())?;
        Ok(Self {
            session,
            sandbox,
            inside,
            pod,
            plan,
            chained,
            journal,
            results: Vec::new(),
            tried: 0,
            moved: None,
            original_routes: None,
            seen: Vec::new(),
            advertisements: Advertisements::default(),
            status_of,
        })
    }

    fn carry_out(mut self, deadline: Deadline) -> Result<Value, Error> {
        match self.attempt(deadline) {
            Ok(result) => Ok(result),
            Err(error) => Err(self.undo(error)),
        }
    }

    fn attempt(&mut self, deadline: Deadline) -> Result<Value, Error> {
        let attached = self.attach_all(deadline);
        self.open_to_routers();
        attached?;
        let results = self.read_results()?;
        for (attachment, result) in self.plan.attachments.iter().zip(&results) {
            reject_foreign_interfaces(attachment, result, |interface| self.owner(attachment, interface))?;
        }
        let changes = self.route_changes(&results);
        let snapshot = self.settle(&changes)?;
        self.check_interfaces_still_present(&snapshot)?;
        for (attachment, result) in self.plan.attachments.iter().zip(&results) {
            verify(attachment, result, snapshot.link(attachment.interface.as_str()))?;
        }
        self.publish_status(&results, &snapshot)?;
        let merged = self.merge(results, &changes, &snapshot);
        self.note(&Event::Complete(Box::new(snapshot)))?;
        self.finish(deadline)?;
        Ok(merged)
    }

    fn attach_all(&mut self, deadline: Deadline) -> Result<(), Error> {
        if !self.session.config.is_delegating() {
            let network = self.session.config.network.as_str();
            self.see(network, &self.sandbox.interface)?;
        }
        for (at, attachment) in self.plan.attachments.iter().enumerate() {
            self.read_original_routes(attachment)?;
            self.close_to_routers(attachment);
            self.tried = at + 1;
            let result = self.attacher().add(attachment, deadline);
            if let Err(AttachError::NotStarted { .. } | AttachError::NotHeld { .. }) = result {
                self.tried = at;
            }
            let result = result?;
            self.note(&Event::Attached(at, result.clone()))?;
            self.results.push(result);
            self.see(&attachment.label, &attachment.interface)?;
        }
        Ok(())
    }

    /// Whose `interface` is, in words, where it is another attachment's than `attachment`.
    fn owner(&self, attachment: &Attachment, interface: &str) -> Option<String> {
        if interface == self.sandbox.interface.as_str() {
            return Some("the pod's primary interface".to_owned());
        }
        let others = self.plan.attachments.iter().filter(|other| other.interface != attachment.interface);
        let owner = others.into_iter().find(|other| other.interface.as_str() == interface)?;
        Some(format!("the interface of network \"{}\"", owner.label))
    }

    fn has_link(&mut self, name: &str) -> Result<bool, Error> {
        let netlink = self.inside.netlink().map_err(kernel_error)?;
        netlink.link_exists(name).map_err(kernel_error)
    }

    /// Remembers an interface that is there, for [`Addition::check_interfaces_still_present`]. A network may have none, DPDK say.
    fn see(&mut self, label: &str, interface: &InterfaceName) -> Result<(), Error> {
        if self.plan.needs_record() && self.has_link(interface.as_str())? {
            self.seen.push((label.to_owned(), interface.clone()));
        }
        Ok(())
    }

    /// An interface that a later network's plugins have taken away is in the result, and would be missing in
    /// the pod.
    fn check_interfaces_still_present(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        for (label, interface) in self.seen.clone() {
            let name = interface.as_str();
            if snapshot.link(name).is_none() && !self.has_link(name)? {
                return Err(AttachError::Vanished { label, interface }.into());
            }
        }
        Ok(())
    }

    fn attacher(&mut self) -> Attacher<'_, 'a> {
        let place = Place { container: &self.sandbox.container, netns: &self.sandbox.netns };
        self.session.attacher(place)
    }

    /// Appends to the record. Without extra networks a full disk holds up nobody.
    fn note(&mut self, event: &Event) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.append(event) {
            Err(error) if self.plan.needs_record() => Err(error.into()),
            Err(error) => {
                log::warn!("{error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn finish(&mut self, deadline: Deadline) -> Result<(), Error> {
        if let Some(Err(error)) = self.journal.as_mut().map(|journal| journal.wait_for_disk(deadline)) {
            if self.plan.needs_record() {
                return Err(error.into());
            }
            log::warn!("{error}");
        }
        if self.session.delegates.signals().stop_requested() {
            return Err(Error::new(Code::TRY_AGAIN, "braid was asked to stop"));
        }
        Ok(())
    }

    /// The results as values. The primary's is taken as it is; an extra's has passed the strict reading.
    fn read_results(&self) -> Result<Vec<AttachmentResult>, Error> {
        let pairs = self.plan.attachments.iter().zip(&self.results);
        let results = pairs
            .map(|(attachment, result)| AttachmentResult::read_lenient(result, attachment.network.version));
        Ok(results.collect::<Result<_, _>>()?)
    }

    /// Publishes the network status where it is due. A status that is not taken undoes the ADD: clients
    /// that wait for it would wait for ever. A pod that asks for nothing is not held up.
    fn publish_status(&mut self, results: &[AttachmentResult], snapshot: &Snapshot) -> Result<(), Error> {
        let (Some(pod), Some(cluster)) = (&self.status_of, &mut self.session.cluster) else { return Ok(()) };
        let config = self.session.config;
        let primary =
            self.chained.as_ref().map(|result| (config.network.as_str(), &self.sandbox.interface, result));
        let attachments = self.plan.attachments.iter().zip(results);
        match publish::status(cluster, pod, primary, attachments, snapshot, &self.session.device_infos) {
            Err(error) if !self.plan.needs_record() => {
                log::warn!("the network status is not published: {error}");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Undoes in reverse what was done. What resists stays in the record for DEL.
    fn undo(&mut self, error: Error) -> Error {
        let deadline = Deadline::after(super::limit::UNDO);
        self.session.delegates.signals().ignore_stop();
        if let Some(moved) = self.moved.take() {
            // A sandbox that cannot be asked any more has no routes to put back.
            let _ = self.inside.netlink().map(|netlink| moved.undo(netlink));
        }
        let mut failures: Vec<AttachError> = Vec::new();
        for (at, attachment) in self.plan.attachments.iter().enumerate().take(self.tried).rev() {
            let result = self.results.get(at).cloned();
            let share = deadline.share(at + 1);
            let failed = self.attacher().undo(attachment, result.as_ref(), share);
            if failed.is_empty() {
                let _ = self.note(&Event::Gone(at));
            }
            failures.extend(failed);
        }
        self.close_record(failures.is_empty(), deadline);
        if failures.is_empty() {
            return error;
        }
        let left: Vec<_> = failures.iter().map(ToString::to_string).collect();
        let details = [error.details.clone(), format!("not undone yet, left to DEL: {}", left.join("; "))];
        error.with_details(details.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; "))
    }

    /// Removes the record once nothing is left; otherwise marks what was never tried as gone.
    fn close_record(&mut self, undone: bool, deadline: Deadline) {
        if self.journal.is_none() {
            return;
        }
        for at in self.tried..self.plan.attachments.len() {
            let _ = self.note(&Event::Gone(at));
        }
        let _ = self.journal.as_mut().map(|journal| journal.wait_for_disk(deadline));
        if undone && let Err(error) = self.session.ledger.remove(&key_of(self.sandbox)) {
            log::warn!("{error}");
        }
    }
}

/// What the kernel shows in the namespace of the calling thread.
pub(super) fn read_snapshot(netlink: &mut Netlink) -> Result<Snapshot, NetlinkError> {
    let links = netlink.links()?;
    let names: BTreeMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
    let mut default_routes = Vec::new();
    for family in Family::ALL {
        default_routes.extend(netlink.default_routes(kernel_family(family))?.iter().map(|route| SeenRoute {
            family,
            interface: route.link_index.and_then(|index| names.get(&index).cloned()),
            gateway: route.gateway,
        }));
    }
    let is_advertised =
        |key: &RouteKey| key.is_main && key.origin == Origin::Router && key.destination.prefix() == 0;
    let hops =
        netlink.routes(kernel_family(Family::V6), is_advertised)?.into_iter().flat_map(|route| route.hops);
    let advertised = hops.map(|hop| SeenRoute {
        family: Family::V6,
        interface: hop.link_index.and_then(|index| names.get(&index).cloned()),
        gateway: hop.gateway,
    });
    Ok(Snapshot { links, default_routes, advertised: advertised.collect(), ..Snapshot::default() })
}
