//! What a node's configuration says of definitions and pods: its policy, its limits, the
//! annotations that it reads. Without one, what holds on every node.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::catalogue::Catalogue;
use super::networks::{self, Asking};
use super::pools::Pool;
use super::{Node, Report, Spot};
use crate::conf_file::ConfFileError;
use crate::config::Config;
use crate::definition::{Annotations, Definition, DefinitionKind, Source};
use crate::operator::CommandError;
use crate::operator::node::{self, NodeError};
use crate::operator::settings::Settings;
use crate::pod::ANNOTATIONS_CAPABILITY;
use crate::pod::name::{DefinitionName, Namespace};
use crate::pod::{DEFAULT_NETWORK_ANNOTATION, GENIE_ANNOTATION, NETWORKS_ANNOTATION, Pod};
use crate::policy::{self, Tenancy};
use crate::prepare::PodRequest;
use crate::selection::Limits;
use cni::netconf::{Missing, NetworkConfig};

/// A node that takes all that some node takes.
const ANY_NODE: &[u8] =
    br#"{"cniVersion": "1.0.0", "name": "node", "clusterNetwork": "auto", "genieAnnotation": true}"#;

/// The rules that files are held against.
#[derive(Debug)]
pub(in crate::operator) struct Rules {
    config: Config,
    /// Whether it is a node's own, and not the stand-in for all of them.
    is_known: bool,
    /// The cluster's definitions, if they are at hand.
    catalogue: Option<Arc<Catalogue>>,
}

/// A definition whose own form is valid.
pub(super) struct Subject<'a> {
    pub(super) namespace: Namespace,
    pub(super) name: DefinitionName,
    pub(super) annotations: Annotations,
    /// `spec.config`.
    pub(super) config: Option<&'a str>,
}

impl Rules {
    /// Those of the configuration in `file`; those of every node if there is none.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(super) fn read(file: Option<&Path>) -> Result<Self, NodeError> {
        let Some(file) = file else {
            let config = Config::parse(ANY_NODE);
            let config = config.map_err(|source| NodeError::Config {
                file: "the rules of every node".into(),
                source: Box::new(source),
            })?;
            return Ok(Self { config, is_known: false, catalogue: None });
        };
        Ok(Self { config: node::config_in(file)?, is_known: true, catalogue: None })
    }

    /// Those of every node with the keys of a file beside, which all nodes have; and with the
    /// definitions of the cluster.
    ///
    /// # Errors
    /// [`NodeError::Config`], [`SettingsError`].
    pub(in crate::operator) fn of_cluster(
        settings: Option<&Path>,
        catalogue: Arc<Catalogue>,
    ) -> Result<Self, CommandError> {
        let Some(settings) = settings else {
            return Ok(Self { catalogue: Some(catalogue), ..Self::read(None)? });
        };
        let mut entry = Map::new();
        entry.insert("clusterNetwork".to_owned(), "auto".into());
        entry.insert("genieAnnotation".to_owned(), true.into());
        let config = Settings::read(settings)?.apply(&mut entry)?;
        Ok(Self { config, is_known: true, catalogue: Some(catalogue) })
    }

    /// What they say of tenants.
    pub(super) fn tenancy(&self) -> &Tenancy {
        &self.config.tenancy
    }

    /// How much an annotation may ask for.
    pub(super) fn limits(&self) -> Limits {
        self.config.limits()
    }

    /// The namespace of networks that the default-network annotation names without one.
    pub(super) fn multus_namespace(&self) -> &Namespace {
        &self.config.tenancy.multus_namespace
    }

    /// Holds a definition against the policy, as one that the cluster's API has: on the node itself
    /// it would be the administrator's word.
    pub(super) fn judge(&self, subject: &Subject<'_>, spot: Spot, report: &mut Report) {
        let Ok(definition) = self.definition(subject) else { return };
        let verdict = policy::judge_definition(
            &self.config.tenancy,
            &subject.namespace,
            &subject.name,
            &definition,
        );
        if let Some(refusal) = verdict.refusal {
            report.error(spot, refusal.to_string());
        }
        for refusal in verdict.would_refuse {
            let message = format!("policy.mode is \"audit\", or pods would be refused: {refusal}");
            report.warning(spot, message);
        }
        self.warn_of_open_addresses(&definition.network, &definition.annotations, spot, report);
        let scoped_name = verdict.scoped_name.or(verdict.would_scope);
        let label = format!("{}/{}", subject.namespace, subject.name);
        report.pools.push(Pool::new(label, spot, &definition.network, scoped_name));
    }

    /// Without a policy that is enforced, only its owner keeps pods from taking any address on a
    /// network.
    pub(super) fn warn_of_open_addresses(
        &self,
        network: &NetworkConfig,
        annotations: &Annotations,
        spot: Spot,
        report: &mut Report,
    ) {
        let open = policy::open_addresses(network, annotations);
        if let Some(problem) = open.filter(|_| !self.config.tenancy.is_enforced()) {
            let advice =
                "add braid.io/allowed-ips to its definition, or enforce a policy (allowedSubnets)";
            report.warning(spot, format!("network \"{}\": {problem}; {advice}", network.name));
        }
    }

    /// As [`Rules::warn_of_open_addresses`] for a conf or conflist, which has no annotations.
    pub(super) fn check_file(&self, document: &Node, report: &mut Report) {
        let network = NetworkConfig::read(&document.to_value(), &Missing::default());
        if let Ok(network) = network {
            self.warn_of_open_addresses(&network, &Annotations::new(), document.spot, report);
        }
    }

    /// The definition as one of the cluster's API.
    ///
    /// # Errors
    /// [`ConfFileError`] for a configuration that is not valid.
    pub(super) fn definition(&self, subject: &Subject<'_>) -> Result<Definition, ConfFileError> {
        let missing = Missing { name: Some(subject.name.as_str()), version: self.config.version };
        let config = subject.config.filter(|config| !config.trim().is_empty());
        // What a file of the node says that has the name is the administrator's word.
        let text = config.unwrap_or(r#"{"type": "unknown"}"#);
        let mut network = NetworkConfig::parse(text, &missing)?;
        crate::prepare::use_node_interfaces(&self.config, &mut network);
        Ok(Definition {
            source: Source::Api,
            kind: if config.is_some() {
                DefinitionKind::Object
            } else {
                DefinitionKind::EmptyObject
            },
            annotations: subject.annotations.clone(),
            bytes: text.len(),
            network,
        })
    }

    /// What ADD would say of all annotations of a pod together, at the place of the one that it
    /// names; then of its networks, if the cluster's definitions are at hand. Whether CNI-Genie's
    /// annotation is read depends on the node, and is known only with one.
    pub(super) fn check_together(
        &self,
        (namespace, account): (&Namespace, &str),
        annotations: &Map<String, Value>,
        spot_of: impl Fn(&str) -> Option<Spot>,
        report: &mut Report,
    ) {
        let mut config = self.config.clone();
        config
            .from_runtime
            .runtime_config
            .insert(ANNOTATIONS_CAPABILITY.to_owned(), Value::Object(annotations.clone()));
        let pod = Pod { namespace: namespace.clone(), name: String::new(), uid: None };
        let error = match PodRequest::read(&config, &pod, None) {
            Err(error) => error,
            Ok(request) => {
                let spot_of = |path| spot_of(annotation_of(path));
                let asking = Asking { namespace, account, request: &request, spot_of: &spot_of };
                if let Some(catalogue) = &self.catalogue {
                    networks::check(&asking, self, catalogue, report);
                }
                return;
            }
        };
        let message = error.to_string();
        let named =
            annotations.keys().find(|key| message.starts_with(&format!("annotation {key}: ")));
        let Some(spot) = named.and_then(|key| spot_of(key)) else { return };
        if named.is_some_and(|key| key == GENIE_ANNOTATION) && !self.is_known {
            report.warning(spot, format!("{message} (on a node with \"genieAnnotation\")"));
        } else {
            report.error(spot, message);
        }
    }
}

/// The annotation by which a pod names its networks so.
fn annotation_of(path: policy::Path) -> &'static str {
    match path {
        policy::Path::Networks => NETWORKS_ANNOTATION,
        policy::Path::DefaultNetwork => DEFAULT_NETWORK_ANNOTATION,
        policy::Path::Genie => GENIE_ANNOTATION,
    }
}
