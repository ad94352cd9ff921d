//! Why Braid is not installed.

use std::path::PathBuf;

use super::FILE;
use super::migration::MigrationError;
use crate::conf_file::ConfFileError;
use crate::operator::account::AccountError;
use crate::operator::change::ChangeError;
use crate::operator::credential::CredentialError;
use crate::operator::settings::SettingsError;

/// Why Braid is not installed.
#[derive(Debug, thiserror::Error)]
pub(in crate::operator) enum InstallError {
    /// Another installation is under way.
    #[error("another installation is at work in {}: try again when it has ended", .0.display())]
    Busy(PathBuf),
    /// The directory cannot be locked.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Braid stands in several files.
    #[error("braid stands in several files, {0}: keep one of them, and remove it from the others")]
    Several(String),
    /// Braid stands otherwise already.
    #[error("braid stands in {} already, in another way than --mode asks for: run braid uninstall \
             first", .0.display())]
    Otherwise(PathBuf),
    /// Multus is there.
    #[error("multus stands in {}: run braid migrate multus, which translates its configuration", .0.display())]
    Multus(PathBuf),
    /// There is no network to be chained to.
    #[error("no primary network in {} to stand behind: install it first, or use --mode delegating", .0.display())]
    NoPrimary(PathBuf),
    /// The primary's file has no room for Braid.
    #[error("{} is a single plugin and no conflist, so that braid cannot be chained: use --mode \
             delegating", .0.display())]
    NotAList(PathBuf),
    /// The primary's file excludes those of its sub-directory.
    #[error("{} has \"loadOnlyInlinedPlugins\": true, so that no runtime reads a file of its \
             chain: remove that key, or use --mode chained", .0.display())]
    OnlyInlined(PathBuf),
    /// Another file would be read before ours.
    #[error("{} sorts before {FILE}, so that the runtime would not read braid's: rename it, or use \
             --mode chained", .0.display())]
    NotFirst(PathBuf),
    /// The runtime would not read the file.
    #[error(
        "this runtime does not read files of sub-directories (containerd 2.1, CRI-O 1.33 and later \
         do): use another --mode"
    )]
    TooOld,
    /// Another file would not stay.
    #[error("cilium removes the files of others from {}, and this runtime is not known to read \
             those of sub-directories: set cni.exclusive to false in cilium's chart, then use \
             --mode delegating", .0.display())]
    Exclusive(PathBuf),
    /// Our own executable cannot be read.
    #[error("cannot read this program: {0}")]
    Program(#[source] std::io::Error),
    /// The keys of an administrator's file cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no way to the API to be had.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Braid could not work with the kubeconfig that is named.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// It is unknown whether it is the node's turn.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// A file cannot be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The directory cannot be listed.
    #[error(transparent)]
    Directory(#[from] ConfFileError),
    /// Braid's own file is there and says nothing.
    #[error(
        "braid's own file cannot be read: {0}: repair it, or remove it to have it written anew"
    )]
    Unreadable(#[source] ConfFileError),
}

impl InstallError {
    /// Whether it may be otherwise later.
    pub(in crate::operator) fn may_pass(&self) -> bool {
        match self {
            Self::Busy(_) => true,
            Self::Credential(error) => error.may_pass(),
            Self::Account(AccountError::Cluster(error)) => error.is_outage(),
            Self::Migration(error) => error.may_pass(),
            _ => false,
        }
    }
}
