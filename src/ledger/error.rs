//! What is wrong with the ledger, as data.

use std::path::PathBuf;

use crate::cni::request::ContainerId;
use crate::file::FileError;

/// What is wrong with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file or directory could not be read, written, renamed or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A directory is a symbolic link, another user's, or writable by others.
    #[error("state directory {} {problem}: braid keeps its records only where root alone can write", path.display())]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
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
