//! What is wrong with the ledger, as data.

use std::path::PathBuf;

use cni::request::ContainerId;
use linux::directory::DirectoryError;
use linux::file::FileError;

/// What is wrong with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file could not be read, written, renamed or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory could not be read or made, or cannot be trusted.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The record's plan is not whole. It has been moved to `aside`.
    #[error("record {} cannot be read ({problem}) and was set aside", path.display())]
    Unreadable {
        /// Where the record was.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The record cannot be read, and is left where it is by those who only look.
    #[error("record {} cannot be read ({problem})", path.display())]
    Damaged {
        /// Where the record is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The record cannot be read, nor moved out of the way: the disk is broken, say.
    #[error("record {} cannot be read ({problem}), and could not be set aside: {source}", path.display())]
    Stuck {
        /// Where the record is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// Why it stays there.
        #[source]
        source: Box<LedgerError>,
    },
    /// The deadline came first.
    #[error("there was no time for {0} records more: the next GC begins with them")]
    NoTime(usize),
    /// Another call for the same container did not end in time.
    #[error("another call for container {0} is still at work")]
    Busy(ContainerId),
    /// The runtime asked Braid to stop.
    #[error("braid was asked to stop while it waited for another call for the same container")]
    Stopped,
}
