//! A NetworkAttachmentDefinition, and the places one is found: the node's directories, the
//! cluster's API, and last-known-good copies of what the API said.
//!
//! The order for `namespace/name` is NPWG 1.3, section 3.4.1, with the node's own manifests first,
//! since they are the administrator's word and cost no request:
//!
//! 1. a manifest of that namespace and name on the node, with `spec.config`;
//! 2. the object in the API, with `spec.config`; while the API cannot be reached, its last copy;
//! 3. a conflist, then a conf, on the node whose network has the name.

mod copies;
pub(crate) mod field;
mod finder;
mod node;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub(crate) use copies::COPIES_DIRECTORY;
pub(crate) use copies::Copies;
pub(crate) use finder::{Api, Finder, NamedInterface, OnOutage};
pub use node::NodeDefinitions;

use crate::conf_file::ConfFileError;
use crate::device::RESOURCE_ANNOTATION;
use crate::kube::ClusterError;
use crate::pod::name::{DefinitionName, Namespace};
use cni::netconf::NetworkConfig;

/// A definition, resolved to the network that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Where its configuration comes from.
    pub source: Source,
    /// What stands for the name.
    pub kind: DefinitionKind,
    /// Its owner's annotations; none if nothing but a network file has the name.
    pub annotations: Annotations,
    /// How many bytes its configuration was written in; 0 for a network file of the node.
    pub bytes: usize,
    /// The network, with name and version filled in where they were missing.
    pub network: NetworkConfig,
}

impl Definition {
    /// The device resource that the network needs.
    pub fn resource(&self) -> Option<&String> {
        self.annotations.get(RESOURCE_ANNOTATION).filter(|name| !name.is_empty())
    }
}

/// `metadata.annotations` of a definition.
pub type Annotations = BTreeMap<String, String>;

/// What stands for the name that was asked for, and so whose word the network is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DefinitionKind {
    /// Nothing but a network file of the node: the administrator's network, asked for past any
    /// definition.
    NodeNetwork,
    /// A manifest of the node, with a configuration or with a network file of the node for one.
    Manifest,
    /// An object of the API without a configuration, for which a network file of the node counts.
    EmptyObject,
    /// An object of the API with its own configuration.
    Object,
}

/// The viewer for whom definitions are looked up. Asked before anything that was found is
/// disclosed.
pub(crate) trait Viewer {
    /// Whether they may know of a definition in `namespace` with these annotations.
    fn sees(&self, namespace: &Namespace, annotations: &Annotations) -> bool;

    /// Whether they may know of the network file `name` of the node, which `kind` in `namespace`
    /// leads to.
    fn sees_node_network(
        &self,
        namespace: &Namespace,
        name: &DefinitionName,
        kind: DefinitionKind,
    ) -> bool;
}

/// The node's administrator, who sees everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Administrator;

impl Viewer for Administrator {
    fn sees(&self, _: &Namespace, _: &Annotations) -> bool {
        true
    }

    fn sees_node_network(&self, _: &Namespace, _: &DefinitionName, _: DefinitionKind) -> bool {
        true
    }
}

/// A name to look up, and for whom.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'v> {
    /// The definition's namespace.
    pub namespace: &'v Namespace,
    /// Its name.
    pub name: &'v DefinitionName,
    /// Who is going to hear of it.
    pub viewer: &'v dyn Viewer,
}

/// Where a definition comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A file of the node.
    File(PathBuf),
    /// The cluster's API.
    Api,
    /// The copy of what the API once said.
    Copy,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Api => f.write_str("from the API"),
            Self::Copy => f.write_str("last-known-good copy"),
        }
    }
}

/// Why a definition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// There is none of that name, or none with a configuration.
    #[error("network \"{namespace}/{name}\" {lack}{hint}")]
    Unknown {
        /// The namespace that was asked for.
        namespace: Namespace,
        /// The name that was asked for.
        name: String,
        /// What is missing.
        lack: Lack,
        /// The nearest name that a pod of the namespace may see, or where to look.
        hint: String,
    },
    /// There may be one or not: existence must not be disclosed.
    #[error("network \"{namespace}/{name}\" is not shared")]
    NotShared {
        /// The namespace that was asked for.
        namespace: Namespace,
        /// The name that was asked for.
        name: DefinitionName,
    },
    /// There is one, and its configuration is not valid.
    #[error("network \"{network}\" is not valid ({origin}): {source}")]
    Invalid {
        /// `namespace/name`, or the network's name.
        network: String,
        /// Where it comes from.
        origin: Source,
        /// What is wrong.
        #[source]
        source: ConfFileError,
    },
    /// The API does not say.
    #[error("network \"{network}\" cannot be looked up: {source}{more}")]
    Cluster {
        /// `namespace/name`.
        network: String,
        /// Why the API does not say.
        #[source]
        source: Box<ClusterError>,
        /// Why no copy stood in.
        more: String,
    },
}

/// What is missing of a definition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lack {
    /// It is not in the node's directories, and there is no API to ask.
    OnNode,
    /// It is neither in the API nor in the node's directories.
    Anywhere,
    /// It is there without `spec.config`, and stands for a network file that the node does not
    /// have.
    Config,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnNode => "is not defined on this node",
            Self::Anywhere => "is not defined in the cluster or on this node",
            Self::Config => {
                "is defined without \"spec.config\", and this node has no network file of that name"
            }
        })
    }
}

impl DefinitionError {
    /// Whether trying again may help: the API cannot be reached, say.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Cluster { source, .. } if source.is_transient())
    }
}
