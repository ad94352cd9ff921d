//! A record: the plan of one ADD, and what has happened since.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::header;
use super::outline::outline;
use super::reading::{check_key, first_line};
use crate::attach::snapshot::Snapshot;
use crate::plan::Attachment;
use cni::name::InterfaceName;
use cni::netconf::NetworkName;
use cni::request::{CniArgs, ContainerId};
use linux::netns::{Netns, NetnsCookie, NetnsId};

/// What a record is found by (CNI 1.1.0, section 2: an attachment is a container and an interface).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Key {
    /// The container.
    pub container: ContainerId,
    /// The primary's interface.
    pub interface: InterfaceName,
}

impl Key {
    /// The record's file name. `@` is in no container ID, so the two cannot be mixed up.
    pub fn file_name(&self) -> String {
        format!("{}@{}", self.container, self.interface)
    }
}

/// How Braid stood on the node when the record was made.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The primary is in the record.
    Delegating,
    /// The primary is the runtime's business.
    Chained,
}

/// The sandbox's namespace. It is the same one only if boot, identity and cookie are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecordedNetns {
    /// The kernel's boot ID.
    pub boot: String,
    /// Device and inode.
    pub id: NetnsId,
    /// What no other namespace of the boot has ever had; records of old kernels have none, nor have
    /// those of Braid before 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<NetnsCookie>,
    /// Where it was; a hint, never an identity.
    pub path: String,
}

impl RecordedNetns {
    /// Whether it is of the boot with this ID; `None` if one of the two IDs could not be read.
    pub fn is_of_boot(&self, boot: &str) -> Option<bool> {
        (!self.boot.is_empty() && !boot.is_empty()).then(|| self.boot == boot)
    }

    /// Whether a living namespace, of the same boot, is this one. Costs a visit if only the
    /// cookie can tell.
    pub fn is(&self, netns: &Netns) -> bool {
        let has_cookie = |then| netns.cookie().is_none_or(|now| now == then);
        self.id == netns.id() && self.cookie.is_none_or(has_cookie)
    }
}

/// The plan of an ADD, as the first line of a record has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RecordPlan {
    /// The layout of the record; 1.
    pub layout: u32,
    /// Container and interface.
    pub key: Key,
    /// The name of the network that the runtime called for.
    pub network: NetworkName,
    /// How Braid stood on the node.
    pub mode: Mode,
    /// The sandbox.
    pub netns: RecordedNetns,
    /// `namespace/name` of the pod, if it is known.
    pub pod: String,
    /// `CNI_ARGS` of the ADD.
    pub args: CniArgs,
    /// Seconds since 1970.
    pub created: u64,
    /// The attachments, in the order of ADD.
    pub attachments: Vec<Attachment>,
    /// The result of the primary that Braid stands behind, in the newest layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<Value>,
    /// What the annotation asks for, and an administrator has detached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<Declined>,
}

/// A network that the pod's annotation asks for, and that an administrator has detached.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Declined {
    /// `namespace/name` of the definition.
    pub label: String,
    /// The interface that it had.
    pub interface: InterfaceName,
    /// The element of the annotation, if it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
}

/// A point in time by the node's monotonic clock, which counts while the node runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Moment {
    /// The kernel's boot ID.
    pub boot: String,
    /// Seconds since that start, without those that the node has slept (`CLOCK_MONOTONIC`).
    pub uptime: u64,
}

/// Something that has happened to a record's attachments, by their position.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// ADD of an attachment succeeded with this result, in its network's version.
    Attached(usize, Value),
    /// ADD of an attachment ended without a result: a plugin has refused it for good, in these
    /// words.
    Refused(usize, String),
    /// An attachment is torn down, or was moved to `orphans/`.
    Gone(usize),
    /// ADD is complete, and this is what the kernel showed then.
    Complete(Box<Snapshot>),
    /// DEL has failed for the first time, in seconds since 1970: what people are told.
    Failing(u64),
    /// DEL has failed for the first time since the node's start: what is counted from.
    Resisting(Moment),
    /// On the running pod an attachment is being attached or detached: until that ends, the pod is
    /// not expected to have it.
    Pending(usize),
}

/// How far one attachment came.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// ADD may have been tried.
    Planned,
    /// ADD succeeded.
    Attached(Value),
    /// Nothing is left of it.
    Gone,
}

/// A record as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The plan.
    pub plan: RecordPlan,
    /// One state for each attachment of the plan.
    pub states: Vec<State>,
    /// The words in which a plugin has refused an attachment's ADD for good, by position.
    pub refusals: BTreeMap<usize, String>,
    /// The attachments that the running pod is not expected to have: those whose attach or detach
    /// has not ended.
    pub pending: BTreeSet<usize>,
    /// What the kernel showed when ADD ended; `None` if ADD did not end.
    pub complete: Option<Snapshot>,
    /// When DEL failed first.
    pub failing_since: Option<u64>,
    /// When DEL failed first since the node's last start with a failing DEL.
    pub resisting_since: Option<Moment>,
}

impl Record {
    /// The record of a pod that runs, of which nothing has happened yet.
    pub(crate) fn new(plan: RecordPlan, snapshot: Snapshot) -> Self {
        Self {
            states: vec![State::Planned; plan.attachments.len()],
            plan,
            refusals: BTreeMap::new(),
            pending: BTreeSet::new(),
            complete: Some(snapshot),
            failing_since: None,
            resisting_since: None,
        }
    }

    /// Reads a record from a file's bytes; `name` is what the file of its key is called.
    ///
    /// # Errors
    /// What is wrong with its first line. Later lines that are not whole are passed over.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self, String> {
        Self::with_plan(first_line(bytes)?, bytes, name)
    }

    /// The same without what is only for the plugins.
    ///
    /// # Errors
    /// As [`Record::parse`].
    pub(super) fn outline(bytes: &[u8], name: &str) -> Result<Self, String> {
        let json = str::from_utf8(first_line(bytes)?).map_err(|error| error.to_string())?;
        let short = outline(json).map_err(|error| error.to_string())?;
        Self::with_plan(short.get().as_bytes(), bytes, name)
    }

    fn with_plan(plan: &[u8], bytes: &[u8], name: &str) -> Result<Self, String> {
        let plan: RecordPlan = serde_json::from_slice(plan).map_err(|error| error.to_string())?;
        if plan.layout != LAYOUT {
            return Err(format!("its layout is {}, and this braid knows {LAYOUT}", plan.layout));
        }
        check_key(&plan.key, name)?;
        let mut record = Self { complete: None, ..Self::new(plan, Snapshot::default()) };
        // A line that is not whole is an append that was cut short: by a full disk, say. The next
        // one has begun a line of its own.
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').skip(1);
        for line in lines.filter_map(decode_line) {
            if let Ok(event) = serde_json::from_slice(line) {
                record.apply(event);
            }
        }
        Ok(record)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Attached(at, result) => self.set(at, State::Attached(result)),
            Event::Refused(at, words) => {
                self.refusals.insert(at, words);
            }
            Event::Gone(at) => self.set(at, State::Gone),
            Event::Complete(snapshot) => {
                self.complete = Some(*snapshot);
                self.pending.clear();
            }
            Event::Failing(since) => self.failing_since = self.failing_since.or(Some(since)),
            Event::Resisting(moment) => self.resisting_since = Some(moment),
            Event::Pending(at) => {
                self.pending.insert(at);
            }
        }
    }

    fn set(&mut self, at: usize, state: State) {
        if let Some(known) = self.states.get_mut(at) {
            *known = state;
        }
    }

    /// The attachments that may still be there, in the order of ADD, with their positions and
    /// results.
    pub fn remaining(
        &self,
    ) -> impl DoubleEndedIterator<Item = (usize, &Attachment, Option<&Value>)> {
        let pairs = self.plan.attachments.iter().zip(&self.states).enumerate();
        pairs.filter_map(|(at, (attachment, state))| match state {
            State::Planned => Some((at, attachment, None)),
            State::Attached(result) => Some((at, attachment, Some(result))),
            State::Gone => None,
        })
    }

    /// The attachments of a complete ADD that are torn down and were not detached, with their
    /// positions: a pod that lives lacks them.
    pub fn torn_down(&self) -> impl Iterator<Item = (usize, &Attachment)> {
        let pairs = self.plan.attachments.iter().zip(&self.states).enumerate();
        let gone = pairs.filter(|(at, (_, state))| {
            self.complete.is_some() && **state == State::Gone && !self.pending.contains(at)
        });
        gone.map(|(at, (attachment, _))| (at, attachment))
    }

    /// The attachments that an attach or a detach is changing, or was when it was killed, with their
    /// positions: there, half there, or gone already.
    pub fn changing(&self) -> impl Iterator<Item = (usize, &Attachment)> {
        let attachments = self.plan.attachments.iter().enumerate();
        attachments.filter(|(at, _)| self.pending.contains(at))
    }

    /// The record's lines with one attachment alone; `None` if it has no attachment at `at`.
    ///
    /// # Errors
    /// [`io::Error`] inside, if it cannot be written as JSON.
    pub fn orphan_lines(&self, at: usize) -> Option<io::Result<Vec<u8>>> {
        let attachment = self.plan.attachments.get(at)?.clone();
        let plan = RecordPlan {
            attachments: vec![attachment],
            primary: None,
            declined: Vec::new(),
            ..self.plan.clone()
        };
        let lines = || {
            let mut lines = plan_line(&plan)?;
            if let Some(State::Attached(result)) = self.states.get(at) {
                lines.extend(event_line(&Event::Attached(0, result.clone()))?);
            }
            Ok(lines)
        };
        Some(lines())
    }
}

/// The layout that this program writes and reads.
pub(crate) const LAYOUT: u32 = 1;

/// The first line of a record.
///
/// # Errors
/// [`io::Error`] if the plan cannot be written as JSON.
pub fn plan_line(plan: &RecordPlan) -> io::Result<Vec<u8>> {
    encode_line(&header::plan_json(plan)?)
}

/// A later line of a record.
///
/// # Errors
/// As [`plan_line`].
pub fn event_line(event: &Event) -> io::Result<Vec<u8>> {
    encode_line(&serde_json::to_vec(event)?)
}

fn encode_line(json: &[u8]) -> io::Result<Vec<u8>> {
    let mut line = format!("{:08x} ", crc32fast::hash(json)).into_bytes();
    line.extend_from_slice(json);
    line.push(b'\n');
    Ok(line)
}

/// The JSON of a line that is whole.
pub(super) fn decode_line(line: &[u8]) -> Option<&[u8]> {
    let (checksum, rest) = line.strip_suffix(b"\n")?.split_at_checked(8)?;
    let json = rest.strip_prefix(b" ")?;
    let checksum = u32::from_str_radix(str::from_utf8(checksum).ok()?, 16).ok()?;
    (checksum == crc32fast::hash(json)).then_some(json)
}
