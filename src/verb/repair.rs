//! What a person may do with records, beside the runtime: look whether they are true, and tear down
//! what is stale. The ways are DEL's and GC's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::leftovers::StaleSandboxDetector;
use super::{Session, add, del};
use crate::attach::Place;
use crate::attach::snapshot::{Drift, Snapshot};
use crate::config::Config;
use crate::kernel::kernel_error;
use crate::ledger::{Event, Key, Record};
use crate::plan::Attachment;
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::request::{Environment, Request, Verb};
use linux::netlink::Inside;
use linux::netns::Netns;
use linux::signal::Signals;

/// How long a person waits for a call that holds the container.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is left of a record's sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum RecordStatus {
    /// The kernel shows what it showed when ADD ended.
    AsAttached,
    /// The kernel shows something else: each difference with its attachment's position.
    Drifted(Vec<(usize, Drift)>),
    /// Its ADD has not ended: it is under way, or was killed.
    Unfinished,
    /// The namespace is alive, and not where it was: what it shows is unknown.
    Elsewhere,
    /// The namespace is gone, and everything in it.
    Gone,
}

impl RecordStatus {
    /// What the kernel says about a record.
    ///
    /// # Errors
    /// [`Error`] if the kernel does not let us look.
    pub(crate) fn of(record: &Record) -> Result<Self, Error> {
        let path = del::living_netns(record, "");
        if path.is_empty() {
            let gone = StaleSandboxDetector::default().is_gone(&record.plan.netns);
            return Ok(if gone { Self::Gone } else { Self::Elsewhere });
        }
        let Some(then) = &record.complete else { return Ok(Self::Unfinished) };
        let netns = Netns::open(path.as_ref()).map_err(kernel_error)?;
        let now = add::read_snapshot(Inside::new(&netns).netlink().map_err(kernel_error)?)
            .map_err(kernel_error)?;
        let drift = drift(record, then, &now);
        Ok(if drift.is_empty() { Self::AsAttached } else { Self::Drifted(drift) })
    }

    /// Whether nothing of the record can be in use any more.
    pub(crate) fn is_stale(&self) -> bool {
        *self == Self::Gone
    }
}

fn drift(record: &Record, then: &Snapshot, now: &Snapshot) -> Vec<(usize, Drift)> {
    let of_attachment = |(at, interface): (usize, _)| {
        then.drift(now, &[interface]).into_iter().map(move |drift| (at, drift)).collect::<Vec<_>>()
    };
    let interfaces = record.remaining().map(|(at, attachment, _)| (at, &attachment.interface));
    let torn_down = record.torn_down().map(|(at, attachment)| (at, lacking(attachment)));
    interfaces.flat_map(of_attachment).chain(torn_down).collect()
}

/// What the living pod of a record lacks, since this attachment of it is torn down.
pub(super) fn lacking(attachment: &Attachment) -> Drift {
    Drift::TornDown {
        network: attachment.label.clone(),
        interface: attachment.interface.to_string(),
    }
}

/// The request that stands for a person's: no sandbox, plugins from `plugin_path`.
pub(crate) fn request(plugin_path: Vec<PathBuf>, environment: Environment) -> Request {
    Request { verb: Verb::Gc, path: plugin_path, nested: false, environment }
}

/// Tears down by hand.
#[derive(Debug)]
pub(crate) struct Mender<'a>(Session<'a>);

impl<'a> Mender<'a> {
    /// One with the plugins and the state directory of `config`.
    pub(crate) fn new(config: &'a Config, request: &'a Request, signals: &'a mut Signals) -> Self {
        Self(Session::new(config, request, signals))
    }

    /// Tears down all that is left of a record that looked like `record` a moment ago.
    ///
    /// # Errors
    /// One [`Error`] that lists what remains, or says that a call for the container is at work.
    pub(crate) fn tear_down(&mut self, record: &Record) -> Result<(), Error> {
        self.held(record, |session, record, deadline| del::tear_down(session, record, "", deadline))
    }

    /// Tears down some attachments of a record, by their positions, and leaves the others.
    ///
    /// # Errors
    /// As [`Mender::tear_down`].
    pub(crate) fn tear_down_networks(
        &mut self,
        record: &Record,
        positions: &[usize],
    ) -> Result<(), Error> {
        self.held(record, |session, record, deadline| {
            let failures = undo(session, record, positions, deadline);
            match failures.is_empty() {
                true => Ok(()),
                false => Err(Error::new(Code::TEARDOWN, failures.join("; "))),
            }
        })
    }

    /// Tears down an orphan; its file goes with it.
    ///
    /// # Errors
    /// As [`Mender::tear_down`].
    pub(crate) fn tear_down_orphan(&mut self, file: &Path, record: &Record) -> Result<(), Error> {
        let deadline = Deadline::after(super::limit::OTHER);
        let netns = del::living_netns(record, "");
        let mut attacher =
            self.0.attacher(Place { container: &record.plan.key.container, netns: &netns });
        let failures: Vec<String> = record
            .remaining()
            .flat_map(|(_, attachment, result)| attacher.del(attachment, result, deadline))
            .map(|error| error.to_string())
            .collect();
        match failures.is_empty() {
            true => Ok(self.0.ledger.remove_orphan(file)?),
            false => Err(Error::new(Code::TEARDOWN, failures.join("; "))),
        }
    }

    /// Does something with the record while no call for its container is at work; nothing if it has
    /// changed or gone meanwhile.
    fn held(
        &mut self,
        record: &Record,
        work: impl FnOnce(&mut Session<'a>, &Record, Deadline) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let key: &Key = &record.plan.key;
        let session = &mut self.0;
        let patience = Deadline::after(PATIENCE);
        let _lock = session.hold(&key.container, patience)?;
        match session.ledger.read(key)? {
            Some(current) if current == *record => {
                work(session, record, Deadline::after(super::limit::OTHER))
            }
            _ => Err(Error::new(
                Code::TRY_AGAIN,
                format!("container {} has changed meanwhile", key.container),
            )),
        }
    }
}

/// DEL of some attachments in reverse, past failures; the sentences of what failed.
fn undo(
    session: &mut Session<'_>,
    record: &Record,
    positions: &[usize],
    deadline: Deadline,
) -> Vec<String> {
    let netns = del::living_netns(record, "");
    let chosen = record.remaining().filter(|(at, _, _)| positions.contains(at));
    let mut failures = Vec::new();
    for (at, attachment, result) in chosen.rev() {
        let place = Place { container: &record.plan.key.container, netns: &netns };
        let failed =
            session.attacher(place).del(attachment, result, deadline.share(positions.len()));
        if failed.is_empty() {
            del::note(session, record, &Event::Gone(at));
        }
        failures.extend(failed.iter().map(ToString::to_string));
    }
    failures
}
