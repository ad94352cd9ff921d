//! NetworkAttachmentDefinitions, by name and listed.

use std::collections::BTreeMap;

use kube::Api;
use kube::core::params::ListParams;

use super::answer::{self, Definition};
use super::api_request::{ApiRequest, DEFINITIONS};
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError};
use crate::pod::name::{DefinitionName, Namespace};

/// The most names that are listed.
const MAX_NAMES: u32 = 500;

/// A definition as the cluster has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterDefinition {
    /// `metadata.namespace`.
    pub namespace: Namespace,
    /// `metadata.name`.
    pub name: DefinitionName,
    /// `spec.config`, unless it is empty.
    pub config: Option<String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
}

impl Cluster {
    /// The definitions, in the order of `wanted`; each is requested once, all at the same time.
    pub fn definitions(
        &mut self,
        wanted: &[(Namespace, DefinitionName)],
    ) -> Vec<Result<ClusterDefinition, ClusterError>> {
        let mut distinct: Vec<_> = wanted.iter().collect();
        distinct.sort();
        distinct.dedup();
        let calls = distinct.iter().map(|(namespace, name)| {
            let get = async move |client: kube::Client| {
                let definitions: Api<Definition> = Api::namespaced(client, namespace.as_str());
                let found = definitions.get(name.as_str()).await?;
                Ok(answer::definition(namespace.as_str(), name.as_str(), found)?)
            };
            (definition_request(namespace, name), get)
        });
        let results = self.call_all(calls.collect(), RetryPolicy::Default);
        let found: BTreeMap<_, _> = distinct.into_iter().zip(results).collect();
        wanted.iter().filter_map(|wanted| found.get(wanted).cloned()).collect()
    }

    /// The names of the definitions in `namespace`, up to 500, requested once and for 3 seconds:
    /// they are for a message. Needs the optional right to list them.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn definition_names(&mut self, namespace: &Namespace) -> Result<Vec<String>, ClusterError> {
        let request = ApiRequest {
            verb: "list",
            resource: DEFINITIONS,
            namespace: namespace.to_string(),
            name: String::new(),
            what: format!("the definitions in namespace {namespace}"),
            metadata_only: false,
        };
        self.call(request, RetryPolicy::Once, async |client| {
            let definitions: Api<Definition> = Api::namespaced(client, namespace.as_str());
            Ok(answer::names(
                definitions.list_metadata(&ListParams::default().limit(MAX_NAMES)).await?,
            ))
        })
    }
}

fn definition_request(namespace: &Namespace, name: &DefinitionName) -> ApiRequest {
    ApiRequest {
        verb: "get",
        resource: DEFINITIONS,
        namespace: namespace.to_string(),
        name: name.to_string(),
        what: format!("network \"{namespace}/{name}\""),
        metadata_only: false,
    }
}
