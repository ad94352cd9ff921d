//! A NetworkAttachmentDefinition, and the places one is found: the node's directories, the cluster's
//! API, and last-known-good copies of what the API said.
//!
//! The order for `namespace/name` is NPWG 1.3, section 3.4.1, with the node's own manifests first, since
//! they are the administrator's word and cost no request:
//!
//! 1. a manifest of that namespace and name on the node, with `spec.config`;
//! 2. the object in the API, with `spec.config`; while the API cannot be reached, its last copy;
//! 3. a conflist, then a conf, on the node whose network has the name.

mod copies;
mod node;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use copies::Copies;
pub use node::NodeDefinitions;

use crate::cluster::{Cluster, ClusterDefinition, ClusterError};
use crate::cni::keys;
use crate::cni::netconf::{Missing, NetconfError, NetworkConfig};
use crate::cni::version::Version;
use crate::device::RESOURCE_ANNOTATION;
use crate::name::{DefinitionName, Namespace};

/// A definition, resolved to the network that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Where it comes from.
    pub source: Source,
    /// The network, with name and version filled in where they were missing.
    pub network: NetworkConfig,
    /// The device resource that the network needs.
    pub resource: Option<String>,
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
    /// There is none of that name.
    #[error("network \"{namespace}/{name}\" is not defined {place}{hint}")]
    Unknown {
        /// The namespace that was asked for.
        namespace: Namespace,
        /// The name that was asked for.
        name: String,
        /// Where it was looked for: "on this node", "in the cluster or on this node".
        place: &'static str,
        /// The nearest name that a pod of the namespace may see, or where to look.
        hint: String,
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
        source: NetconfError,
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

impl DefinitionError {
    /// Whether trying again may help: the API cannot be reached, say.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Cluster { source, .. } if source.is_transient())
    }
}

/// The device resource that a definition's annotations name.
fn resource_name(annotations: &BTreeMap<String, String>) -> Option<String> {
    annotations.get(RESOURCE_ANNOTATION).filter(|name| !name.is_empty()).cloned()
}

/// Whether copies may stand in for an API that cannot be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnOutage {
    /// The newest copy is used, with a warning.
    UseCopies,
    /// The call fails: a status is due, which the API must take anyway.
    Refuse,
}

/// The API as one call may use it.
#[derive(Debug)]
pub enum Api<'a> {
    /// None is configured: definitions are the node's alone.
    Absent,
    /// One is configured, and this verb must not ask it: what it once said counts.
    NotAsked,
    /// It is asked.
    Asked(&'a mut Cluster),
}

/// All the places where definitions are, for one call.
#[derive(Debug)]
pub struct Finder<'a> {
    /// The node's directories.
    pub node: NodeDefinitions,
    /// The API.
    pub api: Api<'a>,
    /// Copies of what the API said.
    pub copies: Copies,
    /// What to do while the API cannot be reached.
    pub on_outage: OnOutage,
    /// Fills in where a configuration has no version.
    pub version: Version,
    /// What an administrator should know.
    pub warnings: Vec<String>,
    /// What the API has said in this call: nothing is asked twice.
    pub answers: Answers,
}

/// What the API said of each definition.
pub type Answers = BTreeMap<(Namespace, DefinitionName), Result<ClusterDefinition, ClusterError>>;

impl Finder<'_> {
    /// Asks the API for all of `wanted` that the node does not define, at the same time, for the calls
    /// to [`Finder::find_all`] that follow.
    pub fn fetch(&mut self, wanted: &[(Namespace, DefinitionName)]) {
        let Api::Asked(cluster) = &mut self.api else { return };
        let is_missing = |(namespace, name): &&(Namespace, DefinitionName)| {
            self.node.find_manifest(namespace, name.as_str(), self.version).is_none()
        };
        let is_new = |wanted: &&(Namespace, DefinitionName)| !self.answers.contains_key(wanted);
        let mut missing: Vec<_> = wanted.iter().filter(is_new).filter(is_missing).cloned().collect();
        missing.sort();
        missing.dedup();
        if !missing.is_empty() {
            let answers = cluster.definitions(&missing);
            self.answers.extend(missing.into_iter().zip(answers));
        }
    }

    /// The definition of each of `wanted`, in their order, fetched where that is still to be done.
    ///
    /// # Errors
    /// The first [`DefinitionError`].
    pub fn find_all(
        &mut self,
        wanted: &[(Namespace, DefinitionName)],
    ) -> Result<Vec<Definition>, DefinitionError> {
        self.fetch(wanted);
        wanted.iter().map(|wanted| self.find(wanted)).collect()
    }

    fn find(&mut self, wanted: &(Namespace, DefinitionName)) -> Result<Definition, DefinitionError> {
        let (namespace, name) = wanted;
        match self.node.find_manifest(namespace, name.as_str(), self.version) {
            Some(definition) => definition,
            None => self.resolve(namespace, name, self.answers.get(wanted).cloned()),
        }
    }

    fn resolve(
        &mut self,
        namespace: &Namespace,
        name: &DefinitionName,
        answer: Option<Result<ClusterDefinition, ClusterError>>,
    ) -> Result<Definition, DefinitionError> {
        match answer {
            Some(Ok(object)) => {
                self.copies.keep(&object);
                self.of_object(&object, Source::Api)
            }
            Some(Err(error)) if error.is_outage() => self.without_api(namespace, name, error),
            Some(Err(ClusterError::NotFound { .. })) => {
                self.copies.forget(namespace, name);
                self.of_file(namespace, name)
            }
            Some(Err(error)) => Err(cannot_look_up(namespace, name, error, String::new())),
            None => match self.copy_without_asking(namespace, name) {
                Some(object) => self.of_object(&object, Source::Copy),
                None => self.of_file(namespace, name),
            },
        }
    }

    /// A verb that must not ask the API still knows what it said once.
    fn copy_without_asking(&self, namespace: &Namespace, name: &DefinitionName) -> Option<ClusterDefinition> {
        matches!(self.api, Api::NotAsked).then(|| self.copies.any(namespace, name)).flatten()
    }

    /// The network of an object; one without `spec.config` stands for a file of the node (section 3.4.1).
    fn of_object(
        &mut self,
        object: &ClusterDefinition,
        source: Source,
    ) -> Result<Definition, DefinitionError> {
        let resource = resource_name(&object.annotations);
        let Some(config) = object.config.as_ref().filter(|config| !config.trim().is_empty()) else {
            let file = self.of_file(&object.namespace, &object.name)?;
            return Ok(Definition { resource, ..file });
        };
        let missing = Missing { name: Some(object.name.as_str()), version: self.version };
        match NetworkConfig::parse(config, &missing) {
            Ok(network) => Ok(Definition { source, network, resource }),
            Err(error) => Err(DefinitionError::Invalid {
                network: format!("{}/{}", object.namespace, object.name),
                origin: source,
                source: error,
            }),
        }
    }

    fn of_file(
        &mut self,
        namespace: &Namespace,
        name: &DefinitionName,
    ) -> Result<Definition, DefinitionError> {
        match self.node.find_file_for(namespace, name.as_str(), self.version) {
            Some(definition) => definition,
            None => Err(self.unknown(namespace, name)),
        }
    }

    /// Names what there is, nearest first, as far as the API's rights allow.
    fn unknown(&mut self, namespace: &Namespace, name: &DefinitionName) -> DefinitionError {
        let on_node = self.node.unknown(namespace, name.as_str());
        let Api::Asked(cluster) = &mut self.api else { return on_node };
        let mut names = cluster.definition_names(namespace).unwrap_or_else(|error| {
            log::debug!("the names of definitions are not known: {error}");
            Vec::new()
        });
        names.extend(self.node.names(namespace));
        names.sort();
        names.dedup();
        let hint = match keys::by_nearness(name.as_str(), names.iter().map(String::as_str))
            .get(..5.min(names.len()))
        {
            Some([]) | None => format!(": create it with kubectl apply, in namespace {namespace}"),
            Some(nearest) => format!(": namespace {namespace} has {}", nearest.join(", ")),
        };
        let (namespace, name) = (namespace.clone(), name.to_string());
        DefinitionError::Unknown { namespace, name, place: "in the cluster or on this node", hint }
    }

    /// While the API cannot be reached, the last copy stands in, unless a status is due.
    fn without_api(
        &mut self,
        namespace: &Namespace,
        name: &DefinitionName,
        error: ClusterError,
    ) -> Result<Definition, DefinitionError> {
        if self.on_outage == OnOutage::Refuse {
            return Err(cannot_look_up(namespace, name, error, String::new()));
        }
        match self.copies.fresh(namespace, name) {
            Some(object) => {
                self.warnings.push(format!(
                    "{error}: the last-known-good copy of network \"{namespace}/{name}\" is used"
                ));
                self.of_object(&object, Source::Copy)
            }
            None => {
                let more =
                    ", and there is no copy of it that is young enough (definitionCacheMaxAge)".to_owned();
                Err(cannot_look_up(namespace, name, error, more))
            }
        }
    }
}

fn cannot_look_up(
    namespace: &Namespace,
    name: &DefinitionName,
    source: ClusterError,
    more: String,
) -> DefinitionError {
    DefinitionError::Cluster { network: format!("{namespace}/{name}"), source: Box::new(source), more }
}
