//! Why a node does not change hands.

use std::path::PathBuf;

use super::DAEMON_FILE;
use crate::conf_file::ConfFileError;
use crate::delegate::DelegateError;
use crate::operator::credential::CredentialError;
use crate::operator::install;
use crate::operator::settings::SettingsError;

/// Why a node does not change hands.
#[derive(Debug, thiserror::Error)]
pub(in crate::operator) enum MigrateError {
    /// Multus is not there.
    #[error("no configuration in {} has multus in it, and none was retired there: there is nothing \
             to migrate", .0.display())]
    NoMultus(PathBuf),
    /// Multus is not the first plugin.
    #[error("{} has multus behind other plugins, which no translation fits: put it first, or write \
             braid's configuration by hand", .0.display())]
    Behind(PathBuf),
    /// What would be written starts no pod.
    #[error(
        "{} cannot be translated as it is, since braid would start no pod with it: {problem}; \
         nothing was changed",
        file.display()
    )]
    Untranslated {
        /// Multus's file.
        file: PathBuf,
        /// Why no pod would start.
        problem: String,
    },
    /// Cilium has taken the file out of the runtime's sight.
    #[error(
        "cilium has renamed {} (its cni.exclusive), and would do so with braid's file: set \
         cni.exclusive to false in cilium's configuration, rename that file back, and run this \
         again",
        .0.display()
    )]
    Renamed(PathBuf),
    /// Another file would be read before ours.
    #[error("{} sorts before {}, so that the runtime would not read braid's: rename it", .0.display(), install::FILE)]
    NotFirst(PathBuf),
    /// The daemon's configuration cannot be used.
    #[error("the configuration of multus's daemon cannot be used: {0}")]
    Daemon(#[source] ConfFileError),
    /// The daemon's configuration is not on this node.
    #[error(
        "multus is the thick plugin, whose settings are in a ConfigMap and not on this node: get \
         them with kubectl get configmap multus-daemon-config --namespace kube-system -o \
         jsonpath='{{.data.daemon-config\\.json}}' >{DAEMON_FILE}, then run braid migrate multus \
         --daemon-config {DAEMON_FILE} (if there is none, with {{}} in that file)"
    )]
    NoDaemonConfig,
    /// Only a file of Multus's is left that runs Braid.
    #[error(
        "{} names braid's file as multus's primary network, and no file of before is kept beside \
         it: name the primary's own file there, then run this again",
        .0.display()
    )]
    RunsBraid(PathBuf),
    /// The keys of an administrator's file cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Braid could not work with the kubeconfig.
    #[error(
        "{0}: give braid its own with --kubeconfig before pods depend on it, or no new pod gets \
         its networks"
    )]
    Credential(#[from] CredentialError),
    /// The daemon's configuration is no object.
    #[error("the configuration of multus's daemon, {}, must be a JSON object", .0.display())]
    DaemonForm(PathBuf),
    /// Multus's plugin is not there any more.
    #[error("{0}: install multus again before the node goes back to it, or no pod would start")]
    Plugin(#[source] DelegateError),
}

impl MigrateError {
    /// Whether it may be otherwise later.
    pub(in crate::operator) fn may_pass(&self) -> bool {
        matches!(self, Self::Credential(error) if error.may_pass())
    }
}
