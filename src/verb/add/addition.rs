//! An ADD under way: what has been attached so far, and the record of it.

use serde_json::Value;

use super::advertisements::Advertisements;
use super::chained_result;
use super::growth::{Former, Growth};
use crate::attach::default_route::RouteChange;
use crate::attach::routes::{Moved, OriginalDefaultRoutes};
use crate::attach::snapshot::Snapshot;
use crate::attach::{AttachError, Attacher, Place, reject_foreign_interfaces, verify};
use crate::config::Config;
use crate::kube::PodReference;
use crate::ledger::{Event, Journal, Mode, RecordPlan, RecordedNetns};
use crate::plan::{Attachment, Plan, Role};
use crate::pod::Pod;
use crate::verb::{Session, boot_id, key_of, now, publish};
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::name::InterfaceName;
use cni::request::Sandbox;
use cni::result::AttachmentResult;
use cni::version::Version;
use linux::netlink::Inside;
use plugins::kernel::kernel_error;

/// An ADD under way, or the addition of networks to a pod that runs.
pub(in crate::verb) struct Addition<'s, 'a> {
    pub(super) session: &'s mut Session<'a>,
    pub(super) sandbox: &'s Sandbox,
    pub(super) inside: Inside<'s>,
    pub(super) pod: &'s Pod,
    pub(super) plan: &'s Plan,
    /// How many attachments of the plan are there already, on a pod that runs.
    pub(super) first: usize,
    /// The running pod as it is without the addition; none for an ADD.
    pub(super) former: Option<Former<'s>>,
    /// The primary's result if Braid stands behind it.
    pub(super) chained: Option<AttachmentResult>,
    /// The record; none if the pod runs unrecorded.
    pub(super) journal: Option<Journal>,
    /// Positions in the record of what stays pending.
    pub(super) resisting: Vec<usize>,
    /// One result for each attachment that succeeded, in its network's version.
    pub(super) results: Vec<Value>,
    /// How many attachments were tried.
    pub(super) tried: usize,
    /// The words in which a plugin has refused the last attachment that was tried, for good.
    pub(super) refusal: Option<String>,
    pub(super) moved: Option<Moved>,
    /// The default routes before the first extra network.
    pub(super) original_routes: Option<OriginalDefaultRoutes>,
    /// Networks and interfaces that were there once their plugins had run.
    pub(super) seen: Vec<(String, InterfaceName)>,
    /// What becomes of router advertisements.
    pub(super) advertisements: Advertisements,
    /// The pod whose status is due.
    pub(super) status_of: Option<PodReference>,
}

impl<'s, 'a> Addition<'s, 'a> {
    /// One that has attached nothing.
    fn new(
        session: &'s mut Session<'a>,
        sandbox: &'s Sandbox,
        inside: Inside<'s>,
        pod: &'s Pod,
        plan: &'s Plan,
        status_of: Option<PodReference>,
    ) -> Self {
        Self {
            session,
            sandbox,
            inside,
            pod,
            plan,
            first: 0,
            former: None,
            chained: None,
            journal: None,
            resisting: Vec::new(),
            results: Vec::new(),
            tried: 0,
            refusal: None,
            moved: None,
            original_routes: None,
            seen: Vec::new(),
            advertisements: Advertisements::default(),
            status_of,
        }
    }

    /// Writes the record before the first side effect.
    pub(super) fn start(
        session: &'s mut Session<'a>,
        sandbox: &'s Sandbox,
        mut inside: Inside<'s>,
        pod: &'s Pod,
        plan: &'s Plan,
        status_of: Option<PodReference>,
    ) -> Result<Self, Error> {
        let chained = read_chained_result(session.config)?;
        let record = record_of(session, sandbox, &mut inside, pod, plan, chained.as_ref());
        let journal = start_journal(session, record, plan.needs_record())?;
        let addition = Self::new(session, sandbox, inside, pod, plan, status_of);
        Ok(Self { chained, journal, ..addition })
    }

    /// The addition of networks to a running pod.
    pub(in crate::verb) fn to_running(
        session: &'s mut Session<'a>,
        sandbox: &'s Sandbox,
        inside: Inside<'s>,
        pod: &'s Pod,
        growth: Growth<'s>,
        status_of: Option<PodReference>,
    ) -> Self {
        let Growth { plan, results, chained, former, grown } = growth;
        Self {
            first: results.len(),
            former: Some(former),
            chained,
            journal: Some(grown.journal),
            resisting: grown.resisting,
            tried: results.len(),
            results,
            ..Self::new(session, sandbox, inside, pod, plan, status_of)
        }
    }

    pub(in crate::verb) fn carry_out(mut self, deadline: Deadline) -> Result<Value, Error> {
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
        for (attachment, result) in self.plan.attachments.iter().zip(&results).skip(self.first) {
            reject_foreign_interfaces(attachment, result, |interface| {
                self.owner(attachment, interface)
            })?;
        }
        let changes = self.route_changes(&results);
        let snapshot = self.settle(&changes)?;
        self.check_interfaces_still_present(&snapshot)?;
        for (attachment, result) in self.plan.attachments.iter().zip(&results).skip(self.first) {
            verify(attachment, result, snapshot.link(attachment.interface.as_str()))?;
        }
        self.publish_status(&results, &snapshot)?;
        let merged = self.merge(results, &changes, &snapshot);
        self.note_completion(self.expected(snapshot, &changes))?;
        self.finish(deadline)?;
        Ok(merged)
    }

    fn attach_all(&mut self, deadline: Deadline) -> Result<(), Error> {
        if !self.session.config.is_delegating() {
            let network = self.session.config.network.as_str();
            self.see(network, &self.sandbox.interface)?;
        }
        for attachment in self.plan.attachments.iter().take(self.first) {
            self.see(&attachment.label, &attachment.interface)?;
        }
        for (at, attachment) in self.plan.attachments.iter().enumerate().skip(self.first) {
            self.read_original_routes(attachment)?;
            self.close_to_routers(attachment);
            let was_there = self.is_primary_there(attachment);
            self.tried = at + 1;
            let result = self.attacher().add(attachment, deadline);
            if let Err(AttachError::NotStarted { .. } | AttachError::NotHeld { .. }) = result {
                self.tried = at;
            }
            let refusal = result.as_ref().err().and_then(AttachError::refusal);
            self.refusal = refusal.filter(|_| !was_there).map(str::to_owned);
            let result = result?;
            self.note(&Event::Attached(at, result.clone()))?;
            self.results.push(result);
            self.see(&attachment.label, &attachment.interface)?;
        }
        Ok(())
    }

    /// The attachments that this call makes.
    pub(super) fn added(&self) -> &'s [Attachment] {
        self.plan.attachments.get(self.first..).unwrap_or_default()
    }

    /// What the sandbox is expected to show from now on.
    fn expected(
        &self,
        now: Snapshot,
        changes: &Option<(&Attachment, Vec<RouteChange>)>,
    ) -> Snapshot {
        let Some(then) = self.former.and_then(|former| former.record.complete.as_ref()) else {
            return now;
        };
        let added: Vec<_> = self.added().iter().map(|attachment| &attachment.interface).collect();
        let changes = changes.iter().flat_map(|(_, changes)| changes);
        let moved: Vec<_> = changes.map(|change| change.family).collect();
        then.grown(&now, &added, &moved)
    }

    /// Whether the interface of the primary is there before its ADD, or that is not known: it is
    /// not what its plugins have left then. The plan has looked for those of extra networks.
    fn is_primary_there(&mut self, attachment: &Attachment) -> bool {
        attachment.role == Role::Primary
            && self.has_link(attachment.interface.as_str()).unwrap_or(true)
    }

    /// Whose `interface` is, in words, if it is another attachment's than `attachment`.
    fn owner(&self, attachment: &Attachment, interface: &str) -> Option<String> {
        if interface == self.sandbox.interface.as_str() {
            return Some("the pod's primary interface".to_owned());
        }
        let others =
            self.plan.attachments.iter().filter(|other| other.interface != attachment.interface);
        let owner = others.into_iter().find(|other| other.interface.as_str() == interface)?;
        Some(format!("the interface of network \"{}\"", owner.label))
    }

    fn has_link(&mut self, name: &str) -> Result<bool, Error> {
        let netlink = self.inside.netlink().map_err(kernel_error)?;
        netlink.link_exists(name).map_err(kernel_error)
    }

    /// Remembers an interface that is there, for [`Addition::check_interfaces_still_present`]. A
    /// network may have none, DPDK say.
    fn see(&mut self, label: &str, interface: &InterfaceName) -> Result<(), Error> {
        if self.plan.needs_record() && self.has_link(interface.as_str())? {
            self.seen.push((label.to_owned(), interface.clone()));
        }
        Ok(())
    }

    /// An interface that a later network's plugins have taken away is in the result, and would be
    /// missing in the pod.
    fn check_interfaces_still_present(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        for (label, interface) in self.seen.clone() {
            let name = interface.as_str();
            if snapshot.link(name).is_none() && !self.has_link(name)? {
                return Err(AttachError::Vanished { label, interface }.into());
            }
        }
        Ok(())
    }

    pub(super) fn attacher(&mut self) -> Attacher<'_, 'a> {
        let place = Place { container: &self.sandbox.container, netns: &self.sandbox.netns };
        self.session.attacher(place)
    }

    /// Notes that all is attached. That ends whatever was pending, but for what still resists.
    fn note_completion(&mut self, snapshot: Snapshot) -> Result<(), Error> {
        let pending = self.resisting.iter().map(|at| Event::Pending(*at));
        let complete = Event::Complete(Box::new(snapshot));
        self.note_all(&[complete].into_iter().chain(pending).collect::<Vec<_>>())
    }

    /// Appends to the record. Without extra networks a full disk delays no pod.
    pub(super) fn note(&mut self, event: &Event) -> Result<(), Error> {
        self.note_all(std::slice::from_ref(event))
    }

    fn note_all(&mut self, events: &[Event]) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.append_all(events) {
            Err(error) if self.plan.needs_record() => Err(error.into()),
            Err(error) => {
                log::warn!("{error}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn finish(&mut self, deadline: Deadline) -> Result<(), Error> {
        if let Some(Err(error)) =
            self.journal.as_mut().map(|journal| journal.wait_for_disk(deadline))
        {
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

    /// The results as values. The primary's is taken as it is; an extra's has passed the strict
    /// reading.
    fn read_results(&self) -> Result<Vec<AttachmentResult>, Error> {
        let pairs = self.plan.attachments.iter().zip(&self.results);
        let results = pairs.map(|(attachment, result)| {
            AttachmentResult::read_lenient(result, attachment.network.version)
        });
        Ok(results.collect::<Result<_, _>>()?)
    }

    /// Publishes the network status if it is due. A status that is not taken undoes the ADD:
    /// clients that wait for it would wait for ever. A pod that asks for nothing is not held up.
    fn publish_status(
        &mut self,
        results: &[AttachmentResult],
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        let (Some(pod), Some(cluster)) = (&self.status_of, &mut self.session.cluster) else {
            return Ok(());
        };
        let config = self.session.config;
        let primary = self
            .chained
            .as_ref()
            .map(|result| (config.network.as_str(), &self.sandbox.interface, result));
        let attachments = self.plan.attachments.iter().zip(results);
        match publish::status(
            cluster,
            pod,
            primary,
            attachments,
            snapshot,
            &self.session.device_infos,
        ) {
            Err(error) if !self.plan.needs_record() => {
                log::warn!("the network status is not published: {error}");
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// The same as a value, read before anything is done.
fn read_chained_result(config: &Config) -> Result<Option<AttachmentResult>, Error> {
    let read =
        chained_result(config).map(|result| AttachmentResult::read_lenient(result, config.version));
    read.transpose().map_err(|error| Error::from(error).about("prevResult"))
}

/// What is recorded of an ADD before its first side effect.
fn record_of(
    session: &Session<'_>,
    sandbox: &Sandbox,
    inside: &mut Inside<'_>,
    pod: &Pod,
    plan: &Plan,
    chained: Option<&AttachmentResult>,
) -> RecordPlan {
    RecordPlan {
        layout: crate::ledger::LAYOUT,
        key: key_of(sandbox),
        network: session.config.network.clone(),
        mode: if session.config.is_delegating() { Mode::Delegating } else { Mode::Chained },
        netns: recorded_netns(inside, sandbox),
        pod: pod.to_string(),
        args: sandbox.args.clone(),
        created: now(),
        attachments: plan.attachments.clone(),
        primary: chained.map(|result| result.write(Version::NEWEST)),
        declined: Vec::new(),
    }
}

/// What identifies the sandbox's namespace. The socket that is asked for the cookie is needed later
/// in any case; if it cannot be opened, that is said then.
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
