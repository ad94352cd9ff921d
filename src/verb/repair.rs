//! What a person may do with records, beside the runtime: look whether they are true, and tear down
//! what is stale. The ways are DEL's and GC's own.

mod redefined;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::redefined::Redefined;
use super::leftovers::StaleSandboxDetector;
use super::teardown::{self, Teardown};
use super::{Session, add, boot_id, running};
use crate::attach::absence;
use crate::attach::snapshot::{Drift, Snapshot};
use crate::config::Config;
use crate::ledger::{Key, Record};
use crate::plan::Attachment;
use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::request::{Environment, Request, Verb};
use linux::netlink::Inside;
use linux::netns::Netns;
use linux::signal::Signals;
use plugins::kernel::kernel_error;

/// How long a person waits for a call that holds the container.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

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
        let path = teardown::living_netns(&record.plan.netns, "");
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
}

fn drift(record: &Record, then: &Snapshot, now: &Snapshot) -> Vec<(usize, Drift)> {
    let of_attachment = |(at, attachment): (usize, &Attachment)| {
        let drift = then.drift(now, &[&attachment.interface]);
        drift.into_iter().map(move |drift| (at, drift)).collect::<Vec<_>>()
    };
    let interfaces = record.remaining().map(|(at, attachment, _)| (at, attachment));
    let interfaces = interfaces.filter(|(at, _)| !record.pending.contains(at));
    let changing = record.changing().map(|(at, attachment)| (at, pending(attachment)));
    let torn_down = record.torn_down().map(|(at, attachment)| (at, lacking(attachment)));
    interfaces.flat_map(of_attachment).chain(changing).chain(torn_down).collect()
}

/// What the living pod of a record lacks, since this attachment of it is torn down.
pub(super) fn lacking(attachment: &Attachment) -> Drift {
    Drift::TornDown {
        network: attachment.label.clone(),
        interface: attachment.interface.to_string(),
    }
}

/// What an attach or a detach that has not ended may have left.
fn pending(attachment: &Attachment) -> Drift {
    Drift::Pending {
        network: attachment.label.clone(),
        interface: attachment.interface.to_string(),
    }
}

/// The request that stands for a person's: no sandbox, plugins from `plugin_path`.
pub(crate) fn request(plugin_path: Vec<PathBuf>, environment: Environment) -> Request {
    Request { verb: Verb::Gc, path: plugin_path, environment }
}

/// Tears down by hand.
#[derive(Debug)]
pub(crate) struct ManualTeardown<'a> {
    session: Session<'a>,
    /// Whether definitions are tried as they are now.
    tries_definitions: bool,
}

impl<'a> ManualTeardown<'a> {
    /// One with the plugins and the state directory of `config`.
    pub(crate) fn new(config: &'a Config, request: &'a Request, signals: &'a mut Signals) -> Self {
        Self { session: Session::new(config, request, signals), tries_definitions: false }
    }

    /// The same, trying the definitions as they are now if the recorded ones keep failing.
    #[must_use]
    pub(crate) fn trying_definitions(self) -> Self {
        Self { tries_definitions: true, ..self }
    }

    /// Tears down all that is left of a record that looked like `record` a moment ago.
    ///
    /// # Errors
    /// One [`Error`] that lists what remains, or says that a call for the container is at work.
    pub(crate) fn tear_down(&mut self, record: &Record) -> Result<(), Error> {
        let tries_definitions = self.tries_definitions && record.failing_since.is_some();
        self.held(record, |session, record, deadline| {
            let Err(error) = Teardown::of(session, record, "", deadline).run() else {
                return Ok(());
            };
            if !tries_definitions {
                return Err(error);
            }
            let redefined = Redefined::of(session, record);
            if redefined.positions.is_empty() {
                return Err(redefined.explain(error, None));
            }
            Teardown::of(session, &redefined.record, "", deadline)
                .run_some(&redefined.positions)
                .map_err(|tried| redefined.explain(error, Some(&tried)))?;
            // What is left of the record is tried as recorded; of none, the record goes.
            match session.ledger.read(&record.plan.key)? {
                Some(left) => Teardown::of(session, &left, "", deadline).run(),
                None => Ok(()),
            }
        })
    }

    /// Tears down some attachments of a record, by their positions, and leaves the others.
    ///
    /// # Errors
    /// As [`ManualTeardown::tear_down`].
    pub(crate) fn tear_down_networks(
        &mut self,
        record: &Record,
        positions: &[usize],
    ) -> Result<(), Error> {
        self.held(record, |session, record, deadline| {
            if positions.iter().all(|at| record.pending.contains(at)) {
                return running::finish(session, record, deadline);
            }
            Teardown::of(session, record, "", deadline).run_some(positions)
        })
    }

    /// Takes back what killed attaches and detaches have left of running pods, until `deadline`.
    /// Returns the pods, and an [`Error`] for each of which something resists.
    pub(crate) fn end_broken_off(&mut self, deadline: Deadline) -> (Vec<String>, Vec<Error>) {
        running::end_broken_off(&mut self.session, deadline)
    }

    /// Tears down an orphan; its file goes with it.
    ///
    /// # Errors
    /// As [`ManualTeardown::tear_down`].
    pub(crate) fn tear_down_orphan(&mut self, file: &Path, record: &Record) -> Result<(), Error> {
        let deadline = Deadline::after(super::limit::OTHER);
        let session = &mut self.session;
        let recorded = Teardown::of(session, record, "", deadline.share(2)).run_orphan(file);
        let Err(error) = recorded else { return Ok(()) };
        if !self.tries_definitions {
            return Err(error);
        }
        let redefined = Redefined::of(session, record);
        if redefined.positions.is_empty() {
            return Err(redefined.explain(error, None));
        }
        Teardown::of(session, &redefined.record, "", deadline)
            .run_redefined_orphan(file)
            .map_err(|tried| redefined.explain(error, Some(&tried)))
    }

    /// What may be left on the node, and elsewhere, of a record or an orphan that is forgotten.
    pub(crate) fn may_be_left(record: &Record) -> Vec<String> {
        let plan = &record.plan;
        let is_of_boot = plan.netns.is_of_boot(&boot_id()) != Some(false);
        let of_network = |attachment: &Attachment| {
            let remains = absence::remains(attachment, &plan.key.container, is_of_boot);
            remains.into_iter().map(|trace| trace.to_string()).collect::<Vec<_>>()
        };
        record.remaining().flat_map(|(_, attachment, _)| of_network(attachment)).collect()
    }

    /// Drops a record whose networks could not be torn down: nothing knows of them then.
    ///
    /// # Errors
    /// [`Error`] if the file cannot be removed, or a call for the container is at work.
    pub(crate) fn forget(&mut self, record: &Record) -> Result<(), Error> {
        let key = &record.plan.key;
        let _lock = self.session.hold(&key.container, Deadline::after(LOCK_LIMIT))?;
        Ok(self.session.ledger.remove(key)?)
    }

    /// Drops an orphan.
    ///
    /// # Errors
    /// As [`ManualTeardown::forget`].
    pub(crate) fn forget_orphan(&mut self, file: &Path) -> Result<(), Error> {
        Ok(self.session.ledger.remove_orphan(file)?)
    }

    /// Does something with the record while no call for its container is at work; nothing if it has
    /// changed or gone meanwhile.
    fn held(
        &mut self,
        record: &Record,
        work: impl FnOnce(&mut Session<'a>, &Record, Deadline) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let key: &Key = &record.plan.key;
        let session = &mut self.session;
        let deadline = Deadline::after(LOCK_LIMIT);
        let _lock = session.hold(&key.container, deadline)?;
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
