//! Records of the ledger as commands show them: who is attached to what, and whether the kernel
//! agrees.

mod survey;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

pub(super) use survey::{Records, Unreadable};

use super::console::{OutputStyle, Tone};
use crate::attach::snapshot::Drift;
use crate::ledger::{Listed, Mode, Record, State};
use crate::plan::{Attachment, Role};
use crate::verb::repair::RecordStatus;
use cni::error::Error;
use cni::result::AttachmentResult;
use cni::version::Version;

/// How much of a container's ID a table shows, as crictl does.
const SHORT_ID: usize = 13;

/// What the kernel says of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kernel {
    /// As it was attached.
    Agrees,
    /// Something has changed.
    Drifted,
    /// ADD has not ended.
    Unfinished,
    /// The sandbox is gone.
    Gone,
    /// It could not be looked at.
    Unknown,
    /// One attachment is torn down, and its pod lives.
    TornDown,
}

impl Kernel {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Drifted => "drifted",
            Self::Unfinished => "unfinished",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
            Self::TornDown => "torn down",
        }
    }

    pub(super) fn painted(self, style: &OutputStyle) -> String {
        let tone = match self {
            Self::Agrees => Tone::Good,
            Self::Drifted | Self::Gone | Self::TornDown => Tone::Bad,
            Self::Unfinished | Self::Unknown => Tone::Odd,
        };
        style.paint(tone, self.word())
    }
}

/// One record, as shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// `namespace/name` of the pod.
    pub(super) pod: String,
    /// The container's whole ID.
    pub(super) container: String,
    /// The primary's interface.
    pub(super) interface: String,
    /// The network that the runtime called for.
    pub(super) network: String,
    /// How Braid stood on the node.
    pub(super) mode: Mode,
    /// When, in seconds since 1970.
    pub(super) created: u64,
    /// The namespace's path then.
    pub(super) netns: String,
    /// What the kernel says.
    pub(super) kernel: Kernel,
    /// What differs, or why it could not be looked at.
    pub(super) drift: Vec<String>,
    /// Since when DEL has failed, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failing_since: Option<u64>,
    /// What is attached.
    pub(super) attachments: Vec<Attached>,
}

/// One attachment of a record.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attached {
    /// `namespace/name` of its definition, or the network's name.
    pub(super) name: String,
    /// The cluster's network, or an extra one.
    pub(super) role: Role,
    /// Its interface in the pod.
    pub(super) interface: String,
    /// Where it comes from.
    pub(super) source: &'static str,
    /// How far ADD, or DEL, came with it.
    pub(super) state: &'static str,
    /// What the kernel says of it.
    pub(super) kernel: Kernel,
    /// Its addresses with prefix lengths.
    pub(super) addresses: Vec<String>,
    /// Its hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mac: Option<String>,
    /// The types of its plugins.
    #[serde(skip)]
    pub(super) plugins: Vec<String>,
    /// The version of its configuration.
    #[serde(skip)]
    pub(super) version: Version,
    /// The configuration that its plugins got, as the record has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Box<RawValue>>,
    /// The capability arguments that they were offered; none if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime_config: Option<Box<RawValue>>,
    /// The device that they have for the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    /// What ADD returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Value>,
}

impl Entry {
    pub(super) fn of(record: &Record) -> Self {
        Self::with(record, RecordStatus::of(record))
    }

    /// An entry for a record about which this much is known.
    pub(super) fn with(record: &Record, status: Result<RecordStatus, Error>) -> Self {
        let plan = &record.plan;
        let pairs = plan.attachments.iter().zip(&record.states).enumerate();
        let attached = |(at, (attachment, state)): (usize, (&Attachment, &State))| {
            Attached::of(attachment, state, kernel_of_attachment(&status, at))
        };
        let attachments = pairs.map(attached).collect();
        Self {
            pod: plan.pod.clone(),
            container: plan.key.container.to_string(),
            interface: plan.key.interface.to_string(),
            network: plan.network.to_string(),
            mode: plan.mode,
            created: plan.created,
            netns: plan.netns.path.clone(),
            kernel: kernel(&status),
            drift: sentences(&status),
            failing_since: record.failing_since,
            attachments,
        }
    }

    /// The entry without what a table does not show, which is as long as tenants have made it.
    pub(super) fn without_results(mut self) -> Self {
        self.attachments.iter_mut().for_each(|attached| attached.result = None);
        self
    }

    /// The entry with all that is recorded of it now. A record that has gone, or cannot be read any
    /// more, adds nothing.
    pub(super) fn completed(mut self, records: &Records, listed: &Listed) -> Self {
        if let Ok(Some(record)) = records.open_outline(listed) {
            for (attached, state) in self.attachments.iter_mut().zip(&record.states) {
                attached.result = result(state);
            }
        }
        let configurations = records.configurations(listed).ok().flatten().unwrap_or_default();
        for (attached, configuration) in self.attachments.iter_mut().zip(configurations) {
            let runtime_config = configuration.runtime_config;
            attached.config = Some(configuration.network);
            attached.runtime_config = Some(runtime_config).filter(|object| object.get() != "{}");
        }
        self
    }

    /// The container's ID as tables show it.
    pub(super) fn short_container(&self) -> String {
        self.container.chars().take(SHORT_ID).collect()
    }

    /// How old it is.
    pub(super) fn age(&self) -> String {
        age(now().saturating_sub(self.created))
    }
}

fn kernel(status: &Result<RecordStatus, Error>) -> Kernel {
    match status {
        Ok(RecordStatus::AsAttached) => Kernel::Agrees,
        Ok(RecordStatus::Drifted(drift)) if drift.iter().all(|(_, it)| is_pending(it)) => {
            Kernel::Unfinished
        }
        Ok(RecordStatus::Drifted(_)) => Kernel::Drifted,
        Ok(RecordStatus::Unfinished) => Kernel::Unfinished,
        Ok(RecordStatus::Gone) => Kernel::Gone,
        Ok(RecordStatus::Elsewhere) | Err(_) => Kernel::Unknown,
    }
}

fn is_pending(drift: &Drift) -> bool {
    matches!(drift, Drift::Pending { .. })
}

/// What the kernel says of the attachment at one position: drift is that of single attachments, all
/// else is the whole sandbox's.
fn kernel_of_attachment(status: &Result<RecordStatus, Error>, at: usize) -> Kernel {
    let Ok(RecordStatus::Drifted(drift)) = status else { return kernel(status) };
    let mut own = drift.iter().filter(|(of, _)| *of == at).peekable();
    match own.peek() {
        None => Kernel::Agrees,
        Some((_, Drift::TornDown { .. })) => Kernel::TornDown,
        Some((_, Drift::Pending { .. })) => Kernel::Unfinished,
        Some(_) => Kernel::Drifted,
    }
}

/// What differs, or why it is not known.
fn sentences(status: &Result<RecordStatus, Error>) -> Vec<String> {
    let one = |sentence: &str| vec![sentence.to_owned()];
    match status {
        Ok(RecordStatus::AsAttached) => Vec::new(),
        Ok(RecordStatus::Drifted(drift)) => {
            drift.iter().map(|(_, drift)| drift.to_string()).collect()
        }
        Ok(RecordStatus::Unfinished) => one("its ADD is under way, or was killed"),
        Ok(RecordStatus::Elsewhere) => one("its network namespace is alive, and not at that path"),
        Ok(RecordStatus::Gone) => one("its network namespace is gone"),
        Err(error) => one(&error.to_string()),
    }
}

fn result(state: &State) -> Option<Value> {
    match state {
        State::Attached(result) => Some(result.clone()),
        State::Planned | State::Gone => None,
    }
}

impl Attached {
    fn of(attachment: &Attachment, state: &State, kernel: Kernel) -> Self {
        let result = result(state);
        let read = result.as_ref().and_then(|result| {
            AttachmentResult::read_lenient(result, attachment.network.version).ok()
        });
        let mac = read.as_ref().and_then(|read| {
            let mut ours = read.sandbox_interfaces();
            ours.find(|(_, interface)| interface.name == attachment.interface.as_str())?
                .1
                .mac
                .clone()
        });
        let addresses = read.iter().flat_map(|read| read.attachment_addresses());
        Self {
            name: attachment.label.clone(),
            role: attachment.role,
            interface: attachment.interface.to_string(),
            source: attachment.source().word(),
            state: match state {
                State::Planned => "planned",
                State::Attached(_) => "attached",
                State::Gone => "gone",
            },
            kernel,
            addresses: addresses.map(|address| address.address.clone()).collect(),
            mac,
            plugins: attachment.network.plugins.iter().map(|it| it.kind.to_string()).collect(),
            version: attachment.network.version,
            config: None,
            runtime_config: None,
            device: attachment.device.as_ref().map(|device| device.id.clone()),
            result,
        }
    }

    /// The addresses in a cell.
    pub(super) fn address_list(&self) -> String {
        if self.addresses.is_empty() { "-".to_owned() } else { self.addresses.join(", ") }
    }
}

/// Seconds as people say them.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

/// A time as people write it.
pub(super) fn time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    chrono::DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| "?".to_owned(), |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (86_399, "23h"),
            (200_000, "2d"),
        ];
        for (seconds, shown) in table {
            assert_eq!(age(seconds), shown);
        }
    }
}
