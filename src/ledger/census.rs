//! How much the ledger holds, without reading every record at every count.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::reading::{Version, read_summary};
use super::{Ledger, LedgerError, directory, name_of};
use crate::plan::Role;

/// How much the ledger holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Census {
    /// Attachments of primary networks.
    pub primary: u64,
    /// Attachments of extra networks.
    pub extra: u64,
    /// Networks that could not be torn down.
    pub orphans: u64,
    /// Records that could not be read.
    pub set_aside: u64,
}

/// What earlier counts have read, by the names of the records' files. One is read again if its
/// file has changed since; so whatever a call has done that was killed before it could count, the
/// next count is right.
///
/// Written as lines, since JSON would cost more than reading it saves:
///
/// ```text
/// <crc32 of the rest, 8 hex digits>
/// <inode> <size> <seconds> <nanoseconds> <primary> <extra> <name>
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally(BTreeMap<String, Counted>);

/// What a record holds, primary and extra networks, in this version of its file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Counted(Version, u64, u64);

impl Counted {
    /// One that goes meanwhile is gone, and one that cannot be read is the next call's to set
    /// aside.
    fn read(path: &Path, version: Version) -> Self {
        let Ok(summary) = read_summary(path, &name_of(path)) else { return Self(version, 0, 0) };
        let left = summary.header.attachments.iter().enumerate();
        let left = left
            .filter(|(at, _)| !summary.gone.contains(at))
            .map(|(_, attachment)| attachment.role);
        left.fold(Self(version, 0, 0), |Self(version, primary, extra), role| match role {
            Role::Primary => Self(version, primary + 1, extra),
            Role::Extra => Self(version, primary, extra + 1),
        })
    }
}

impl Tally {
    /// What [`Tally::encode`] has written; nothing if that is not whole.
    pub fn decode(bytes: &[u8]) -> Self {
        let whole = str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n'));
        let lines = whole
            .filter(|(checksum, lines)| *checksum == checksum_of(lines))
            .map(|(_, lines)| lines);
        Self(lines.unwrap_or_default().lines().filter_map(decode_line).collect())
    }

    /// What [`Tally::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut lines = String::with_capacity(128 * self.0.len());
        for (name, Counted(Version(inode, size, seconds, nanoseconds), primary, extra)) in &self.0 {
            // Writing to a text does not fail.
            let _ =
                writeln!(lines, "{inode} {size} {seconds} {nanoseconds} {primary} {extra} {name}");
        }
        format!("{}\n{lines}", checksum_of(&lines)).into_bytes()
    }
}

fn checksum_of(lines: &str) -> String {
    format!("{:08x}", crc32fast::hash(lines.as_bytes()))
}

fn decode_line(line: &str) -> Option<(String, Counted)> {
    let mut fields = line.splitn(7, ' ');
    let mut next = || fields.next();
    let version = Version(
        next()?.parse().ok()?,
        next()?.parse().ok()?,
        next()?.parse().ok()?,
        next()?.parse().ok()?,
    );
    let counted = Counted(version, next()?.parse().ok()?, next()?.parse().ok()?);
    Some((next()?.to_owned(), counted))
}

impl Ledger {
    /// Counts what the ledger holds, at the price of a look at each record and of reading those
    /// that have changed since `tally` was written, which is brought up to date.
    ///
    /// # Errors
    /// What a directory or a record cannot be read with.
    pub fn census(&self, tally: &mut Tally) -> Result<Census, LedgerError> {
        let count = |directory: &Path| -> Result<u64, LedgerError> {
            Ok(u64::try_from(directory::list(&self.root, directory)?.len()).unwrap_or(u64::MAX))
        };
        let mut census = Census {
            orphans: count(&self.orphans())?,
            set_aside: count(&self.aside())?,
            ..Census::default()
        };
        let files = directory::list(&self.root, &self.records())?;
        let mut known = std::mem::take(&mut tally.0);
        for path in files {
            // Looked at before it is read: one that changes between the two is read again next
            // time.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            let (name, version) = (name_of(&path), Version::of(&metadata));
            let counted = known.remove(&name).filter(|counted| counted.0 == version);
            let counted = counted.unwrap_or_else(|| Counted::read(&path, version));
            census.primary += counted.1;
            census.extra += counted.2;
            tally.0.insert(name, counted);
        }
        Ok(census)
    }
}
