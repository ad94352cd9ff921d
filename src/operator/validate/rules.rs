//! What a node's configuration says of definitions and pods: its policy, its limits, the
//! annotations that it heeds. Without one, what holds on every node.

use std::path::Path;

use serde_json::{Map, Value};

use super::pools::Pool;
use super::{Node, Report, Spot};
use crate::config::Config;
use crate::definition::{Annotations, Definition, DefinitionKind, Source};
use crate::operator::node::{self, NodeError};
use crate::pod::ANNOTATIONS_CAPABILITY;
use crate::pod::name::{DefinitionName, Namespace};
use crate::pod::{GENIE_ANNOTATION, Pod};
use crate::policy;
use crate::prepare::PodRequest;
use crate::selection::Limits;
use cni::netconf::{Missing, NetworkConfig};

/// A node that takes all that some node takes.
const ANY_NODE: &[u8] =
    br#"{"cniVersion": "1.0.0", "name": "node", "clusterNetwork": "auto", "genieAnnotation": true}"#;

/// The rules that files are held against.
#[derive(Debug)]
pub(super) struct Rules {
    config: Config,
    /// Whether it is a node's own, and not the stand-in for all of them.
    is_known: bool,
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
    /// Those of the configuration in `file`; those of every node where there is none.
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
            return Ok(Self { config, is_known: false });
        };
        Ok(Self { config: node::config_in(file)?, is_known: true })
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
        let Some(definition) = self.definition(subject) else { return };
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

    fn definition(&self, subject: &Subject<'_>) -> Option<Definition> {
        let missing = Missing { name: Some(subject.name.as_str()), version: self.config.version };
        let config = subject.config.filter(|config| !config.trim().is_empty());
        // What a file of the node says that has the name is the administrator's word.
        let text = config.unwrap_or(r#"{"type": "unknown"}"#);
        let mut network = NetworkConfig::parse(text, &missing).ok()?;
        crate::prepare::use_node_interfaces(&self.config, &mut network);
        Some(Definition {
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
    /// names. Whether the node heeds CNI-Genie's is known only where the node is.
    pub(super) fn check_together(
        &self,
        namespace: &Namespace,
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
        let Err(error) = PodRequest::read(&config, &pod, None) else { return };
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
