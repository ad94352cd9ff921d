//! The kubeconfig that Braid is to use, before a node depends on it: without it, or without the
//! rights, no pod starts that asks for a network of the cluster.

use std::path::{Path, PathBuf};

use super::runtime::below;
use crate::conf_file::{self, ConfFileError};
use crate::config::{Config, StatusPolicy};
use crate::kube::{Cluster, ClusterConfig, ClusterError, NeededRight, PodReference};
use crate::pod::name::Namespace;
use cni::request::Environment;

/// A name that no object has: what is asked about it is answered by the rights alone.
const PROBE: &str = "braid-doctor";
/// Where it says how a credential is made.
const PAGE: &str = "docs/cluster.md, \"Node by node\", says how to make one";

/// Why Braid could not work with a kubeconfig.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    /// The path depends on where it is read from.
    #[error("the kubeconfig {} must have an absolute path, as the node sees it", .0.display())]
    Relative(PathBuf),
    /// The kubeconfig, or the token that it names, cannot be read.
    #[error("the kubeconfig cannot be used: {0}; {PAGE}")]
    File(#[from] ConfFileError),
    /// It is another file.
    #[error("{} is not a kubeconfig; {PAGE}", .0.display())]
    Form(PathBuf),
    /// The API does not accept it, or does not allow what Braid needs.
    #[error("the kubeconfig {}: {source}", path.display())]
    Api {
        /// The kubeconfig.
        path: PathBuf,
        /// What the API says.
        #[source]
        source: Box<ClusterError>,
    },
    /// It has what Braid needs in one namespace only.
    #[error(
        "the kubeconfig {} may {right} in namespace \"{namespace}\", but not in every namespace, \
         and pods of the others would not start: grant it by a ClusterRoleBinding, as \
         conf/kubernetes/base/rbac.yaml does",
        path.display()
    )]
    NotEverywhere {
        /// The kubeconfig.
        path: PathBuf,
        /// What it may do there.
        right: NeededRight,
        /// Where it may.
        namespace: Namespace,
    },
}

impl CredentialError {
    /// Whether it may be otherwise later, though nothing is corrected.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Api { source, .. } if source.is_transient())
    }
}

/// Checks the kubeconfig of `config`, if it has one, on the node whose files are below `root`: the
/// files, and on this very node the rights.
///
/// # Errors
/// [`CredentialError`].
pub(super) fn review(config: &Config, root: &Path) -> Result<(), CredentialError> {
    let Some(path) = &config.kubeconfig else { return Ok(()) };
    check_files(path, root)?;
    // Another root's API may be out of reach from here, and its paths lead elsewhere.
    if root != Path::new("/") {
        return Ok(());
    }
    let Some(mut cluster) = cluster(config) else { return Ok(()) };
    let reviewed = may_read(&mut cluster, config).and_then(|()| may_publish(&mut cluster, config));
    let lacks = reviewed.and_then(|()| lacks_everywhere(&mut cluster, config));
    let namespace = config.tenancy.multus_namespace.clone();
    match lacks {
        Ok(None) => Ok(()),
        Ok(Some(right)) => {
            Err(CredentialError::NotEverywhere { path: path.clone(), right, namespace })
        }
        Err(source) => Err(CredentialError::Api { path: path.clone(), source: Box::new(source) }),
    }
}

/// The first right that Braid needs and has not in every namespace.
///
/// # Errors
/// [`ClusterError`] if it is unknown.
pub(super) fn lacks_everywhere(
    cluster: &mut Cluster,
    config: &Config,
) -> Result<Option<NeededRight>, ClusterError> {
    let publishes = config.status_policy != StatusPolicy::Never;
    let status = publishes.then_some(NeededRight::PublishStatus);
    for right in std::iter::once(NeededRight::GetDefinitions).chain(status) {
        if !cluster.has_right(right, None)? {
            return Ok(Some(right));
        }
    }
    Ok(None)
}

/// The kubeconfig and the token that it names are there, and can be read.
fn check_files(path: &Path, root: &Path) -> Result<(), CredentialError> {
    if path.is_relative() {
        return Err(CredentialError::Relative(path.to_owned()));
    }
    let text = conf_file::read(&below(root, path))?;
    // What the parser says may quote a token.
    let read =
        crate::kube::parse_kubeconfig(&text).map_err(|_| CredentialError::Form(path.to_owned()))?;
    if read.clusters.is_empty() {
        return Err(CredentialError::Form(path.to_owned()));
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let users = read.auth_infos.into_iter().filter_map(|user| user.auth_info);
    let tokens = users.filter_map(|user| user.token_file).filter(|file| !file.is_empty());
    for token in tokens {
        conf_file::read(&below(root, &directory.join(token)))?;
    }
    Ok(())
}

/// The API that a configuration has behind it.
pub(super) fn cluster(config: &Config) -> Option<Cluster> {
    let settings = ClusterConfig {
        kubeconfig: config.kubeconfig.clone(),
        timeout: config.api_timeout,
        ..ClusterConfig::default()
    };
    Cluster::configured(&settings, &Environment::of_process())
}

/// Asks for a definition that is not there, which needs the right to read one.
///
/// # Errors
/// [`ClusterError`].
pub(super) fn may_read(cluster: &mut Cluster, config: &Config) -> Result<(), ClusterError> {
    let Ok(probe) = PROBE.parse() else { return Ok(()) };
    match cluster.definitions(&[(config.tenancy.multus_namespace.clone(), probe)]).pop() {
        Some(Err(error)) if !matches!(error, ClusterError::NotFound { .. }) => Err(error),
        _ => Ok(()),
    }
}

/// Asks for a status to be published, if one is ever due. The pod is none: rights come before
/// names, and a UID that no pod has keeps the request from changing anything.
///
/// # Errors
/// [`ClusterError`].
pub(super) fn may_publish(cluster: &mut Cluster, config: &Config) -> Result<(), ClusterError> {
    if config.status_policy == StatusPolicy::Never {
        return Ok(());
    }
    let namespace = config.tenancy.multus_namespace.clone();
    let pod = PodReference { namespace, name: PROBE.to_owned(), uid: Some(PROBE.to_owned()) };
    match cluster.publish_status(&pod, "[]") {
        Err(ClusterError::NotFound { .. } | ClusterError::Conflict { .. }) => Ok(()),
        answer => answer,
    }
}
