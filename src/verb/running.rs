//! Networks on running pods: `braid attach`, `braid detach`, and the pods' annotations as `braid
//! keep --watch-pods` follows them. A change is a plan that is carried out as an ADD is, and a
//! teardown that is a DEL; the record grows and shrinks with it:
//!
//! ```text
//! attach   record with the new one, pending ──> ADD of its plugins ──> the snapshot: it is there
//! detach   pending ──> DEL of its plugins ──> record without it
//! ```
//!
//! A call that is killed leaves an attachment pending. DEL and GC tear it down as any other, CHECK
//! does not expect it, and the next change takes it away, or GC, `braid repair` or `braid keep`.

mod attach;
mod broken_off;
mod default_route;
mod detach;
mod difference;
mod follow;
mod held;
mod names;
mod observed;
mod primary;
mod unrecorded;

pub(super) use broken_off::end as end_broken_off;
pub(crate) use follow::Followed;
use held::Held;
use observed::{ATTACH, DETACH, observed};
pub(crate) use unrecorded::{CachedSandbox, cached_sandboxes};

use crate::config::Config;
use crate::ledger::{Key, Record};
use crate::verb::Session;
use cni::deadline::Deadline;
use cni::error::Error;
use cni::request::Request;
use linux::signal::Signals;

/// The sandbox that is changed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What its record is found by.
    pub(crate) key: Key,
    /// The sandbox as the runtime knows it, of a pod behind a chained Braid that has no record.
    pub(crate) cached: Option<CachedSandbox>,
}

/// What has changed, each as `network on interface`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Changed {
    /// What the pod has now.
    pub(crate) attached: Vec<String>,
    /// What it has no more.
    pub(crate) detached: Vec<String>,
    /// What an administrator should know.
    pub(crate) warnings: Vec<String>,
}

/// Who wants a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trigger {
    /// An administrator, on the node.
    Administrator,
    /// The pod's annotation.
    Annotation,
}

/// Changes the networks of running pods.
#[derive(Debug)]
pub(crate) struct Changer<'a> {
    session: Session<'a>,
}

/// Takes away what a broken-off change has left of a record; nothing if its sandbox is gone. The
/// lock of its container must be held.
///
/// # Errors
/// [`Error`] of what resists.
pub(super) fn finish(
    session: &mut Session<'_>,
    record: &Record,
    deadline: Deadline,
) -> Result<(), Error> {
    let mut held = Held::of(record.clone(), true, None)?;
    detach::finish_pending(session, &mut held, deadline)
}

impl<'a> Changer<'a> {
    /// One with the plugins and the state directory of `config`.
    pub(crate) fn new(config: &'a Config, request: &'a Request, signals: &'a mut Signals) -> Self {
        Self { session: Session::new(config, request, signals) }
    }

    /// Attaches networks to a running pod. `networks` is what an annotation would have. The pod
    /// gets all of them or none.
    ///
    /// # Errors
    /// [`Error`], as an ADD has it; what was done is undone then.
    pub(crate) fn attach(&mut self, target: &Target, networks: &str) -> Result<Changed, Error> {
        observed(&mut self.session, ATTACH, &target.key, |session, pod| {
            attach::by_administrator(session, target, networks, pod)
        })
    }

    /// Detaches the network on `interface` from a running pod.
    ///
    /// # Errors
    /// [`Error`] if it is the primary, or cannot be torn down: it stays recorded for DEL then.
    pub(crate) fn detach(&mut self, target: &Target, interface: &str) -> Result<Changed, Error> {
        observed(&mut self.session, DETACH, &target.key, |session, pod| {
            detach::by_administrator(session, target, interface, pod)
        })
    }

    /// Has a running pod have what its annotation asks for.
    ///
    /// # Errors
    /// [`Error`] if nothing could be tried. What failed of it is in [`Followed`].
    pub(crate) fn follow(
        &mut self,
        target: &Target,
        networks: &str,
        publish: bool,
    ) -> Result<Followed, Error> {
        follow::annotation(&mut self.session, target, networks, publish)
    }
}
