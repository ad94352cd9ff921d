//! A record of the journal: its lines, and how they are read again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{JournalError, now};

/// The form of the file.
pub(crate) const VERSION: u32 = 1;

/// An attachment, and where its addresses are kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Header {
    /// The form of the file.
    pub(crate) version: u32,
    /// The API server, as `host:port`.
    pub(crate) server: String,
    /// The namespace of the objects.
    pub(crate) namespace: String,
    /// The kubeconfig that leads to the server.
    pub(crate) kubeconfig: PathBuf,
    /// The server's URL, if it is not that of the kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_root: Option<String>,
    /// The network's name, for GC.
    pub(crate) network: String,
    /// Who has called ADD, for GC.
    pub(crate) caller: String,
    /// The container's ID.
    pub(crate) container: String,
    /// The interface.
    pub(crate) interface: String,
    /// The pod, as `namespace/name`.
    pub(crate) podref: String,
    /// What names of reservations begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) network_name: Option<String>,
    /// Whether there may be reservations.
    pub(crate) overlapping: bool,
    /// How long an address outlives its pod, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sticky: Option<u64>,
    /// The claim for which the addresses are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claim: Option<String>,
    /// Whether whereabouts may have made the entry: there was no record of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) by_whereabouts: bool,
    /// When the record was made, in seconds since 1970.
    pub(crate) made: u64,
    /// Before when nothing is given back, in seconds since 1970: it is kept for a pod of the same
    /// name until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<u64>,
}

/// A place of a pool that was written, or may have been.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Written {
    /// The pool.
    pub(crate) pool: String,
    /// The offset, in decimal: JSON has no number of 128 bits. None if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<String>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
}

impl Written {
    pub(crate) fn new(pool: &str, place: Option<(u128, IpAddr)>) -> Self {
        let offset = place.map(|(offset, _)| offset.to_string());
        Self { pool: pool.to_owned(), offset, address: place.map(|(_, address)| address) }
    }

    /// The offset.
    pub(crate) fn offset(&self) -> Option<u128> {
        self.offset.as_ref()?.parse().ok()
    }
}

/// What is recorded of one attachment.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) header: Header,
    pub(crate) written: Vec<Written>,
    pub(crate) path: PathBuf,
}

impl Header {
    /// Until when the addresses of an attachment that ends now are kept for a pod of the same name,
    /// in seconds since 1970.
    pub(crate) fn keep_until(&self) -> Option<u64> {
        self.sticky.map(|kept| now().saturating_add(kept))
    }
}

impl Recorded {
    /// A claim keeps its addresses for as long as it exists.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.header.claim.is_some() || self.written.is_empty()
    }
}

pub(super) fn name_of(container: &str, interface: &str) -> String {
    format!("{container}@{interface}")
}

/// An attachment may have something to give back on several servers.
pub(super) fn due_name(header: &Header) -> String {
    let place = format!("{} {}", header.server, header.namespace);
    let hash = place.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{}@{hash:016x}", name_of(&header.container, &header.interface))
}

pub(super) fn lines(header: &Header, written: &[Written]) -> Vec<u8> {
    let mut bytes = line(header);
    for written in written {
        bytes.extend(line(written));
    }
    bytes
}

pub(super) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Recorded, JournalError> {
    let unreadable = |problem: String| JournalError::Unreadable { path: path.to_owned(), problem };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let header: Header =
        serde_json::from_slice(first).map_err(|error| unreadable(error.to_string()))?;
    if header.version != VERSION {
        return Err(unreadable(format!("it is of version {}", header.version)));
    }
    let (mut written, mut is_damaged) = (Vec::<Written>::new(), false);
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        match serde_json::from_slice(line) {
            Ok(place) => written.push(place),
            // The last one, without its end, was torn.
            Err(_) => is_damaged |= lines.peek().is_some(),
        }
    }
    if is_damaged && written.is_empty() {
        return Err(unreadable("no line of it can be read".to_owned()));
    }
    if is_damaged {
        // The place of a line that cannot be read is in one of the pools.
        let pools: BTreeSet<String> = written.iter().map(|it| it.pool.clone()).collect();
        written.extend(pools.iter().map(|pool| Written::new(pool, None)));
    }
    Ok(Recorded { header, written, path: path.to_owned() })
}

/// The form of new records.
pub(crate) const fn version() -> u32 {
    VERSION
}
