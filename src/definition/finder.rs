//! Finds definitions in every place that has them, for one call, in the order that [`super`] gives.

use std::collections::BTreeMap;

use super::copies::Copies;
use super::node::NodeDefinitions;
use super::{Annotations, Definition, DefinitionError, DefinitionKind, Lack, Source, Wanted};
use crate::kube::{Cluster, ClusterDefinition, ClusterError};
use crate::pod::name::{DefinitionName, Namespace};
use cni::netconf::{Missing, NetworkConfig};
use cni::version::Version;

/// Whether copies may stand in for an API that cannot be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OnOutage {
    /// The newest copy is used, with a warning.
    UseCopies,
    /// The call fails: a status is due, which the API must take anyway.
    Refuse,
}

/// The API as one call may use it.
#[derive(Debug)]
pub(crate) enum Api<'a> {
    /// None is configured: definitions are the node's alone.
    Absent,
    /// One is configured, and this verb must not ask it: what it once said counts.
    NotAsked,
    /// It is asked.
    Asked(&'a mut Cluster),
}

/// All the places where definitions are, for one call.
#[derive(Debug)]
pub(crate) struct Finder<'a> {
    /// The node's directories.
    pub node: NodeDefinitions,
    /// The API.
    pub api: Api<'a>,
    /// Copies of what the API said.
    pub copies: Copies,
    /// What to do while the API cannot be reached.
    pub on_outage: OnOutage,
    /// The version of a configuration that has none.
    pub version: Version,
    /// What an administrator should know.
    pub warnings: Vec<String>,
    /// The interfaces of the node that networks have been given for the names in their
    /// definitions.
    pub named_interfaces: Vec<NamedInterface>,
    /// What the API has said in this call: nothing is asked twice.
    pub answers: Answers,
}

/// An interface of the node that a network is given for a name in its definition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NamedInterface {
    /// The label of the network's attachment.
    pub label: String,
    /// The name in the definition.
    pub name: String,
    /// The interface.
    pub interface: String,
}

/// What the API said of each definition.
pub(crate) type Answers =
    BTreeMap<(Namespace, DefinitionName), Result<ClusterDefinition, ClusterError>>;

impl Finder<'_> {
    /// Asks the API for all of `wanted` that the node does not define, at the same time, for the
    /// calls to [`Finder::find_all`] that follow.
    pub(crate) fn fetch(&mut self, wanted: &[(Namespace, DefinitionName)]) {
        let Api::Asked(cluster) = &mut self.api else { return };
        let is_missing = |(namespace, name): &&(Namespace, DefinitionName)| {
            self.node.find_manifest(namespace, name.as_str(), self.version).is_none()
        };
        let missing: Vec<_> = wanted.iter().filter(is_missing).cloned().collect();
        Self::ask(cluster, &mut self.answers, missing);
    }

    fn ask(
        cluster: &mut Cluster,
        answers: &mut Answers,
        mut names: Vec<(Namespace, DefinitionName)>,
    ) {
        names.retain(|name| !answers.contains_key(name));
        names.sort();
        names.dedup();
        if !names.is_empty() {
            let said = cluster.definitions(&names);
            answers.extend(names.into_iter().zip(said));
        }
    }

    /// Asks the API for what the node hides from its viewer, as it would be asked were nothing
    /// there: during an outage, too, both sound the same.
    fn ask_for_hidden(&mut self, wanted: &[Wanted<'_>]) {
        let is_hidden = |wanted: &&Wanted<'_>| {
            matches!(self.on_node(wanted), Some(Err(DefinitionError::NotShared { .. })))
        };
        let name = |wanted: &Wanted<'_>| (wanted.namespace.clone(), wanted.name.clone());
        let hidden: Vec<_> = wanted.iter().filter(is_hidden).map(name).collect();
        if let Api::Asked(cluster) = &mut self.api {
            Self::ask(cluster, &mut self.answers, hidden);
        }
    }

    /// The definition of each of `wanted`, in their order, fetched if that is still to be done.
    /// What a viewer is not to know of is [`DefinitionError::NotShared`], whether it is there or
    /// not.
    pub(crate) fn find_all(
        &mut self,
        wanted: &[Wanted<'_>],
    ) -> Vec<Result<Definition, DefinitionError>> {
        let names: Vec<_> =
            wanted.iter().map(|wanted| (wanted.namespace.clone(), wanted.name.clone())).collect();
        self.fetch(&names);
        self.ask_for_hidden(wanted);
        let pairs = wanted.iter().zip(names);
        pairs
            .map(|(wanted, name)| match self.on_node(wanted) {
                Some(Err(DefinitionError::NotShared { .. })) => {
                    Err(self.hide(wanted, self.answers.get(&name)))
                }
                Some(definition) => definition,
                None => self.resolve(wanted, self.answers.get(&name).cloned()),
            })
            .collect()
    }

    /// The manifest of the node, if it has a configuration.
    fn on_node(&self, wanted: &Wanted<'_>) -> Option<Result<Definition, DefinitionError>> {
        let Wanted { namespace, name, viewer } = wanted;
        let found = self.node.find_manifest(namespace, name.as_str(), self.version)?;
        let sees = viewer.sees(namespace, self.node.annotations(namespace, name.as_str())?);
        Some(if sees { found } else { Err(not_shared(wanted)) })
    }

    /// What is said of a manifest that the viewer is not to know of: what would be said without it.
    fn hide(
        &self,
        wanted: &Wanted<'_>,
        answer: Option<&Result<ClusterDefinition, ClusterError>>,
    ) -> DefinitionError {
        match answer {
            Some(Err(error)) if !matches!(error, ClusterError::NotFound { .. }) => {
                self.refused_answer(wanted, error.clone())
            }
            _ => not_shared(wanted),
        }
    }

    /// The API has an answer that cannot be used. What is wrong with an object tells that there is
    /// one, so that only a viewer who may know of it without the owner's word hears it: the owner's
    /// word is in the object.
    fn refused_answer(&self, wanted: &Wanted<'_>, error: ClusterError) -> DefinitionError {
        let is_about_object = matches!(error, ClusterError::Answer { .. });
        if is_about_object && !wanted.viewer.sees(wanted.namespace, &Annotations::new()) {
            log::warn!(
                "network \"{}/{}\" is hidden from the pod: {error}",
                wanted.namespace,
                wanted.name
            );
            return not_shared(wanted);
        }
        self.no_answer(wanted, error)
    }

    /// The API does not say, and no copy stands in.
    fn no_answer(&self, wanted: &Wanted<'_>, error: ClusterError) -> DefinitionError {
        let more = if error.is_outage() && self.on_outage == OnOutage::UseCopies {
            ", and there is no copy of it that is young enough (definitionCacheMaxAge)"
        } else {
            ""
        };
        cannot_look_up(wanted, error, more.to_owned())
    }

    fn resolve(
        &mut self,
        wanted: &Wanted<'_>,
        answer: Option<Result<ClusterDefinition, ClusterError>>,
    ) -> Result<Definition, DefinitionError> {
        let Wanted { namespace, name, viewer } = wanted;
        if let Some(Ok(object)) = &answer {
            self.copies.forget_outdated(object);
        }
        match answer {
            Some(Ok(object)) if !viewer.sees(namespace, &object.annotations) => {
                Err(not_shared(wanted))
            }
            Some(Ok(object)) => self.of_object(object, Source::Api, wanted),
            Some(Err(error)) if error.is_outage() => self.without_api(wanted, error),
            Some(Err(ClusterError::NotFound { .. })) => {
                self.copies.forget(namespace, name);
                self.of_file(wanted, DefinitionKind::NodeNetwork, Annotations::new())
            }
            Some(Err(error)) => Err(self.refused_answer(wanted, error)),
            None => match self.copy_without_asking(wanted) {
                Some(object) => self.of_object(object, Source::Copy, wanted),
                None => self.of_file(wanted, DefinitionKind::NodeNetwork, Annotations::new()),
            },
        }
    }

    /// Keeps copies of what the API has said of these: definitions that a pod was admitted to.
    pub(crate) fn keep_copies<'n>(
        &self,
        names: impl IntoIterator<Item = &'n (Namespace, DefinitionName)>,
    ) {
        let said = names.into_iter().filter_map(|name| self.answers.get(name)?.as_ref().ok());
        said.for_each(|object| self.copies.keep(object));
    }

    /// A verb that must not ask the API still knows what it said once.
    fn copy_without_asking(&self, wanted: &Wanted<'_>) -> Option<ClusterDefinition> {
        let copy = || self.copies.any(wanted.namespace, wanted.name);
        let copy = matches!(self.api, Api::NotAsked).then(copy).flatten();
        copy.filter(|object| wanted.viewer.sees(wanted.namespace, &object.annotations))
    }

    /// The network of an object; one without `spec.config` stands for a file of the node (section
    /// 3.4.1).
    fn of_object(
        &mut self,
        object: ClusterDefinition,
        source: Source,
        wanted: &Wanted<'_>,
    ) -> Result<Definition, DefinitionError> {
        let annotations = object.annotations;
        let Some(config) = object.config.filter(|config| !config.trim().is_empty()) else {
            return self.of_file(wanted, DefinitionKind::EmptyObject, annotations);
        };
        let missing = Missing { name: Some(object.name.as_str()), version: self.version };
        match NetworkConfig::parse(&config, &missing) {
            Ok(network) => {
                let (kind, bytes) = (DefinitionKind::Object, config.len());
                Ok(Definition { source, kind, annotations, bytes, network })
            }
            Err(error) => Err(DefinitionError::Invalid {
                network: format!("{}/{}", object.namespace, object.name),
                origin: source,
                source: error.into(),
            }),
        }
    }

    /// The network file that the name stands for. A manifest of the node that leads there comes
    /// before what the API says.
    fn of_file(
        &mut self,
        wanted: &Wanted<'_>,
        kind: DefinitionKind,
        annotations: Annotations,
    ) -> Result<Definition, DefinitionError> {
        let Wanted { namespace, name, viewer } = wanted;
        let (kind, annotations) = match self.node.annotations(namespace, name.as_str()) {
            Some(annotations) => (DefinitionKind::Manifest, annotations.clone()),
            None => (kind, annotations),
        };
        if !viewer.sees(namespace, &annotations) {
            return Err(not_shared(wanted));
        }
        let found = viewer
            .sees_node_network(namespace, name, kind)
            .then(|| self.node.find_file_for(namespace, name.as_str(), self.version))
            .flatten();
        match found {
            Some(definition) => definition.map(|found| Definition { kind, annotations, ..found }),
            None if kind == DefinitionKind::EmptyObject => {
                Err(self.node.without_config(namespace, name.as_str()))
            }
            None => Err(self.unknown(namespace, name)),
        }
    }

    /// Names what there is, nearest first, as far as the API's rights allow.
    fn unknown(&mut self, namespace: &Namespace, name: &DefinitionName) -> DefinitionError {
        let on_node = self.node.unknown(namespace, name.as_str());
        let Api::Asked(cluster) = &mut self.api else { return on_node };
        if matches!(on_node, DefinitionError::Unknown { lack: Lack::Config, .. }) {
            return on_node;
        }
        let mut names = cluster.definition_names(namespace).unwrap_or_else(|error| {
            log::debug!("the names of definitions are not known: {error}");
            Vec::new()
        });
        names.extend(self.node.names(namespace));
        names.sort();
        names.dedup();
        let hint =
            match crate::spelling::by_nearness(name.as_str(), names.iter().map(String::as_str))
                .get(..5.min(names.len()))
            {
                Some([]) | None => {
                    format!(": create it with kubectl apply, in namespace {namespace}")
                }
                Some(nearest) => format!(": namespace {namespace} has {}", nearest.join(", ")),
            };
        let (namespace, name) = (namespace.clone(), name.to_string());
        DefinitionError::Unknown { namespace, name, lack: Lack::Anywhere, hint }
    }

    /// While the API cannot be reached, the last copy stands in, unless a status is due. A copy
    /// that the viewer is not to know of is as good as none.
    fn without_api(
        &mut self,
        wanted: &Wanted<'_>,
        error: ClusterError,
    ) -> Result<Definition, DefinitionError> {
        if self.on_outage == OnOutage::Refuse {
            return Err(self.no_answer(wanted, error));
        }
        let Wanted { namespace, name, viewer } = wanted;
        let copy = self.copies.fresh(namespace, name);
        match copy.filter(|object| viewer.sees(namespace, &object.annotations)) {
            Some(object) => {
                self.warnings.push(format!(
                    "{error}: the last-known-good copy of network \"{namespace}/{name}\" is used"
                ));
                self.of_object(object, Source::Copy, wanted)
            }
            None => Err(self.no_answer(wanted, error)),
        }
    }
}

fn not_shared(wanted: &Wanted<'_>) -> DefinitionError {
    DefinitionError::NotShared { namespace: wanted.namespace.clone(), name: wanted.name.clone() }
}

fn cannot_look_up(wanted: &Wanted<'_>, source: ClusterError, more: String) -> DefinitionError {
    let network = format!("{}/{}", wanted.namespace, wanted.name);
    DefinitionError::Cluster { network, source: Box::new(source), more }
}
