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
    /// Another call for the same container did not end in time.
    #[error("another call for container {0} is still at work")]
    Busy(ContainerId),
    /// The runtime asked Braid to stop.
    #[error("braid was asked to stop while it waited for another call for the same container")]
    Stopped,
}
