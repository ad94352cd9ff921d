//! Has a running pod have what its annotation asks for, now that it has changed.

use std::time::Duration;

use super::difference::{Difference, Had, difference};
use super::held::{Held, check_detachable};
use super::observed::{ATTACH, DETACH, observed};
use super::{Changed, Target, Trigger, attach, detach};
use crate::plan::{Attachment, Role, Source};
use crate::pod::NETWORKS_ANNOTATION;
use crate::selection::{self, Selection};
use crate::verb::publish;
use crate::verb::{Session, limit};
use cni::deadline::Deadline;
use cni::error::Error;

/// How long another call of the container is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// What has changed.
    pub(crate) changed: Changed,
    /// What could not be done.
    pub(crate) failed: Vec<Error>,
}

/// Compares the annotation with the record and changes what differs. Attachments that do not come
/// from the annotation stay as they are.
pub(super) fn annotation(
    session: &mut Session<'_>,
    target: &Target,
    networks: &str,
    publish: bool,
) -> Result<Followed, Error> {
    let deadline = Deadline::after(limit::ADD);
    // Another call of the pod may take as long as an ADD: it is asked for again then.
    let mut held = Held::open(session, target, deadline.within(LOCK_LIMIT))?;
    let mut followed = Followed::default();
    let wanted = match read(session, &held, networks) {
        Ok(wanted) => wanted,
        Err(error) => {
            let error = error.about(format!("pod {}", held.pod));
            let refused = observed_of(session, &mut held, ATTACH, |_, _| Err(error));
            if let Err(error) = refused {
                warn(session, &held, "NetworkRefused", &error);
                followed.failed.push(error);
            }
            return Ok(followed);
        }
    };
    if let Err(error) = detach::finish_pending(session, &mut held, deadline) {
        followed.fail(session, &held, error);
    }
    let steps = compare(session, &mut held, wanted, deadline)?;
    if followed.carry_out(session, &mut held, steps, publish, deadline)
        && let Err(error) = detach::publish_status(session, &held)
    {
        followed.failed.push(error.about(format!("pod {}", held.pod)));
    }
    Ok(followed)
}

impl Followed {
    /// Detaches and attaches. Returns whether the status is to be published afterwards: an attach
    /// publishes what is there with it.
    fn carry_out(
        &mut self,
        session: &mut Session<'_>,
        held: &mut Held,
        steps: Steps,
        publish: bool,
        deadline: Deadline,
    ) -> bool {
        let mut must_publish = publish;
        for element in steps.reordered {
            let sentence = format!(
                "{element} has no \"interface\", and the order has changed: it is attached anew, \
                 on another interface"
            );
            log::warn!("pod {}: {sentence}", held.pod);
            self.changed.warnings.push(sentence);
        }
        for interface in steps.gone {
            must_publish = true;
            let outcome = observed_of(session, held, DETACH, |session, held| {
                detach_interface(session, held, &interface, deadline)
            });
            self.note(session, held, "NetworkDetached", outcome);
        }
        for selection in steps.new {
            let outcome = observed_of(session, held, ATTACH, |session, held| {
                attach::attach(session, held, vec![selection], None, deadline)
            });
            must_publish = must_publish && outcome.is_err();
            self.note(session, held, "NetworkAttached", outcome);
        }
        must_publish
    }

    /// Takes a change or a failure in, and tells the cluster of it.
    fn note(
        &mut self,
        session: &mut Session<'_>,
        held: &Held,
        reason: &'static str,
        outcome: Result<Changed, Error>,
    ) {
        match outcome {
            Ok(changed) => {
                for label in changed.attached.iter().chain(&changed.detached) {
                    let verb = if reason == "NetworkAttached" { "attached" } else { "detached" };
                    let sentence = format!("network {label} is {verb}, as the annotation asks");
                    tell(session, held, reason, &sentence);
                }
                self.changed.attached.extend(changed.attached);
                self.changed.detached.extend(changed.detached);
                self.changed.warnings.extend(changed.warnings);
            }
            Err(error) => self.fail(session, held, error),
        }
    }

    fn fail(&mut self, session: &mut Session<'_>, held: &Held, error: Error) {
        let error = error.about(format!("pod {}", held.pod));
        warn(session, held, publish::reason_on_running(&error), &error);
        self.failed.push(error);
    }
}

/// An event about a change.
fn tell(session: &mut Session<'_>, held: &Held, reason: &str, sentence: &str) {
    let pod = publish::reference(&held.pod, false);
    let Some(cluster) = session.cluster.as_mut() else { return };
    if let Err(problem) = cluster.publish_note(&pod, reason, sentence) {
        log::debug!("no event was published: {problem}");
    }
}

/// An event about a failure.
fn warn(session: &mut Session<'_>, held: &Held, reason: &str, error: &Error) {
    let pod = publish::reference(&held.pod, false);
    let Some(cluster) = session.cluster.as_mut() else { return };
    if let Err(problem) = cluster.publish_event(&pod, reason, &error.to_string()) {
        log::debug!("no event was published: {problem}");
    }
}

/// One change of a pod, noted for those who watch the node.
fn observed_of<'a>(
    session: &mut Session<'a>,
    held: &mut Held,
    verb: &'static str,
    change: impl FnOnce(&mut Session<'a>, &mut Held) -> Result<Changed, Error>,
) -> Result<Changed, Error> {
    let key = held.record.plan.key.clone();
    observed(session, verb, &key, |session, pod| {
        *pod = Some(held.pod.to_string());
        change(session, held)
    })
}

fn read(session: &Session<'_>, held: &Held, networks: &str) -> Result<Vec<Selection>, Error> {
    let limits = session.config.limits();
    let selections = selection::parse(networks, &held.pod.namespace, limits);
    selections
        .map_err(|error| Error::from(error).about(format!("annotation {NETWORKS_ANNOTATION}")))
}

/// What is to change. Networks that are to go are named by their interfaces: each change moves the
/// positions in the record.
struct Steps {
    gone: Vec<String>,
    new: Vec<Selection>,
    reordered: Vec<String>,
}

/// What is to change for the pod to have what is `wanted`. What an administrator has taken away is
/// forgotten once the annotation does not ask for it any more.
fn compare(
    session: &Session<'_>,
    held: &mut Held,
    mut wanted: Vec<Selection>,
    deadline: Deadline,
) -> Result<Steps, Error> {
    let before = held.record.plan.declined.len();
    // One element for each that was taken away, wherever it stands.
    held.record.plan.declined.retain(|declined| {
        let interface = declined.interface.as_str();
        let had = Had { label: &declined.label, interface, element: declined.element.as_deref() };
        let is_it = |selection: &Selection| had.may_be(selection);
        let found = wanted.iter().position(is_it);
        found.map(|at| wanted.remove(at)).is_some()
    });
    if held.record.plan.declined.len() < before {
        let snapshot = held.record.complete.clone().unwrap_or_default();
        held.shrink(session, snapshot, deadline)?;
    }
    let living: Vec<Had<'_>> = held.living().filter_map(|(_, it, _)| had(it)).collect();
    let Difference { gone, new, reordered } = difference(&living, wanted);
    let interface = |at: &usize| Some(living.get(*at)?.interface.to_owned());
    Ok(Steps { gone: gone.iter().filter_map(interface).collect(), new, reordered })
}

/// An attachment of the annotation's.
fn had(attachment: &Attachment) -> Option<Had<'_>> {
    let Source::Annotation(element) = attachment.source() else { return None };
    let interface = attachment.interface.as_str();
    Some(Had { label: &attachment.label, interface, element })
        .filter(|_| attachment.role == Role::Extra)
}

fn detach_interface(
    session: &mut Session<'_>,
    held: &mut Held,
    interface: &str,
    deadline: Deadline,
) -> Result<Changed, Error> {
    let mut living = held.living();
    let Some((at, attachment, _)) = living.find(|(_, it, _)| it.interface.as_str() == interface)
    else {
        return Ok(Changed::default());
    };
    check_detachable(attachment)?;
    drop(living);
    detach::detach(session, held, at, Trigger::Annotation, deadline)
}
