//! What a sweep reads of a record: the beginning of its first line, which has a checksum of its
//! own. The configurations behind it are as long as tenants have made them, and a call for another
//! pod reads none.
//!
//! ```text
//! <crc32> {"layout":1,"key":…,…,"summary":[…],"sum":"<crc32>","args":…,"attachments":[…]}
//!         |---------- the header -----------|
//! ```
//!
//! Braid before 0.2 writes no header, and reads a record that has one.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::record::{Declined, Key, LAYOUT, Mode, RecordPlan, RecordedNetns};
use crate::plan::{Attachment, Role};
use crate::reservation;
use cni::name::InterfaceName;
use cni::netconf::NetworkName;
use cni::request::CniArgs;

/// As many bytes of a record as are searched for its header: sixteen networks have some 3 KiB.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 10;
/// As many bytes of directories as a header names.
const MAX_DIRECTORY_BYTES: usize = 32 << 10;
/// What follows the header. No text in JSON has a quotation mark in it that is not escaped.
const SUM: &[u8] = b",\"sum\":\"";

/// The plan of a record without its configurations.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RecordHeader {
    /// The layout of the record.
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
    /// Seconds since 1970.
    pub created: u64,
    /// The attachments, in the order of ADD.
    #[serde(rename = "summary")]
    pub attachments: Vec<AttachmentHeader>,
}

/// An attachment without its configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AttachmentHeader {
    /// The network's name.
    pub network: NetworkName,
    /// Whose network it is.
    pub role: Role,
    /// The interface in the sandbox.
    pub interface: InterfaceName,
    /// Whether its plugins are to have GC.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_gc: bool,
    /// The directories in which host-local keeps the network's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<PathBuf>,
}

impl From<&Attachment> for AttachmentHeader {
    fn from(attachment: &Attachment) -> Self {
        Self {
            network: attachment.network.name.clone(),
            role: attachment.role,
            interface: attachment.interface.clone(),
            has_gc: attachment.network.has_gc(),
            reservations: reservation::directories(&attachment.network),
        }
    }
}

impl From<&RecordPlan> for RecordHeader {
    fn from(plan: &RecordPlan) -> Self {
        let mut header = Self {
            layout: plan.layout,
            key: plan.key.clone(),
            network: plan.network.clone(),
            mode: plan.mode,
            netns: plan.netns.clone(),
            pod: plan.pod.clone(),
            created: plan.created,
            attachments: plan.attachments.iter().map(AttachmentHeader::from).collect(),
        };
        header.bound_directories();
        header
    }
}

/// The JSON of a plan, the header first.
pub(super) fn plan_json(plan: &RecordPlan) -> io::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Rest<'a> {
        args: &'a CniArgs,
        attachments: &'a [Attachment],
        #[serde(skip_serializing_if = "Option::is_none")]
        primary: Option<&'a Value>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        declined: &'a [Declined],
    }
    let mut json = serde_json::to_vec(&RecordHeader::from(plan))?;
    json.pop();
    let sum = crc32fast::hash(&json);
    json.extend_from_slice(SUM);
    json.extend_from_slice(format!("{sum:08x}\",").as_bytes());
    let rest = serde_json::to_vec(&Rest {
        args: &plan.args,
        attachments: &plan.attachments,
        primary: plan.primary.as_ref(),
        declined: &plan.declined,
    })?;
    json.extend_from_slice(rest.strip_prefix(b"{").unwrap_or(&rest));
    Ok(json)
}

impl RecordHeader {
    /// The header at the beginning of a record's bytes; none if there is none, or it is not whole.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        let json = bytes.get(9..)?;
        let ends = memchr::memmem::find(json, SUM)?;
        let (header, rest) = json.split_at_checked(ends)?;
        let sum = rest.get(SUM.len()..SUM.len() + 8)?;
        let sum = u32::from_str_radix(str::from_utf8(sum).ok()?, 16).ok()?;
        if sum != crc32fast::hash(header) {
            return None;
        }
        let found: Self = serde_json::from_slice(&[header, b"}"].concat()).ok()?;
        (found.layout == LAYOUT).then_some(found)
    }

    /// The header of a plan that was written without one. Its configurations are read one after the
    /// other.
    pub(super) fn of_whole_plan(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Whole<'a> {
            layout: u32,
            key: Key,
            network: NetworkName,
            mode: Mode,
            netns: RecordedNetns,
            pod: String,
            created: u64,
            #[serde(borrow)]
            attachments: Vec<&'a RawValue>,
        }
        let Whole { layout, key, network, mode, netns, pod, created, attachments } =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if layout != LAYOUT {
            return Err(format!("its layout is {layout}, and this braid knows {LAYOUT}"));
        }
        let read = |raw: &RawValue| {
            let attachment: Attachment = serde_json::from_str(raw.get())?;
            Ok(AttachmentHeader::from(&attachment))
        };
        let attachments: Result<_, serde_json::Error> = attachments.into_iter().map(read).collect();
        let attachments = attachments.map_err(|error| error.to_string())?;
        let mut header = Self { layout, key, network, mode, netns, pod, created, attachments };
        header.bound_directories();
        Ok(header)
    }

    /// What names the directories only helps to find addresses that have leaked: too many of them
    /// go.
    fn bound_directories(&mut self) {
        let directories = self.attachments.iter().flat_map(|attachment| &attachment.reservations);
        let bytes: usize = directories.map(|directory| directory.as_os_str().len()).sum();
        if bytes > MAX_DIRECTORY_BYTES {
            self.attachments.iter_mut().for_each(|attachment| attachment.reservations.clear());
        }
    }
}

/// Attachments of a plan by their positions, read out of its JSON without the others.
pub(super) fn attachments(json: &[u8], positions: &[usize]) -> Result<Vec<Attachment>, String> {
    #[derive(Deserialize)]
    struct Attachments<'a> {
        #[serde(borrow)]
        attachments: Vec<&'a RawValue>,
    }
    let plan: Attachments<'_> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let chosen = positions.iter().filter_map(|at| plan.attachments.get(*at));
    let read: Result<_, serde_json::Error> =
        chosen.map(|raw| serde_json::from_str(raw.get())).collect();
    read.map_err(|error| error.to_string())
}
