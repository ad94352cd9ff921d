//! The pods of the cluster, as far as it matters to who holds their addresses: whether they are
//! there, whether they have ended, and the addresses of their network status.

use std::net::IpAddr;

use kube::core::PartialObjectMeta;
use kube::core::params::ListParams;
use kube::{Api, core::ObjectList};
use serde::Deserialize;

use super::answer::{self, Pod};
use super::api_request::ApiRequest;
use super::pods::STATUS_ANNOTATION;
use super::retry::RetryPolicy;
use super::{Cluster, ClusterError};
use crate::pod::name::Namespace;

/// How many pods a page has. The metadata of one is a few KiB, and a response is at most 4 MiB.
const PAGE_PODS: u32 = 200;

/// How far a pod has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PodState {
    /// It is not known to run: it may be being started, or its node is silent.
    Starting,
    /// It runs, with the addresses that its network status names; `None` without a status.
    Running(Option<Vec<IpAddr>>),
    /// It has succeeded or failed, and its sandbox is to go.
    Ended,
}

/// A page of pods.
#[derive(Debug)]
pub(crate) struct PodPage {
    /// Each as `namespace/name`.
    pub(crate) pods: Vec<(String, PodState)>,
    /// What the next page is asked for with; empty if this is the last.
    pub(crate) next: String,
}

impl Cluster {
    /// A page of the pods of all namespaces that have not ended: those that run, or all others.
    /// Needs the right to list pods.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub(crate) fn living_pods(
        &mut self,
        are_running: bool,
        next: &str,
    ) -> Result<PodPage, ClusterError> {
        let request = ApiRequest {
            verb: "list",
            resource: "pods",
            namespace: String::new(),
            name: String::new(),
            what: "the pods of the cluster".to_owned(),
            metadata_only: false,
        };
        let selector = match are_running {
            true => "status.phase=Running",
            false => "status.phase!=Running,status.phase!=Succeeded,status.phase!=Failed",
        };
        let mut parameters = ListParams::default().fields(selector).limit(PAGE_PODS);
        parameters.continue_token = (!next.is_empty()).then(|| next.to_owned());
        self.call(request, RetryPolicy::Default, async |client| {
            let pods: Api<Pod> = Api::all(client);
            Ok(page(pods.list_metadata(&parameters).await?, are_running))
        })
    }

    /// How far each of these pods has come, in their order; all are requested at the same time. An
    /// error is [`ClusterError::NotFound`] if there is no such pod.
    pub(crate) fn pod_states(
        &mut self,
        wanted: &[(Namespace, String)],
    ) -> Vec<Result<PodState, ClusterError>> {
        let mut calls = Vec::with_capacity(wanted.len());
        let mut known = Vec::with_capacity(wanted.len());
        for (namespace, name) in wanted {
            match super::pods::pod_request("get", "pods", namespace, name) {
                Ok(request) => {
                    known.push(None);
                    let get = async move |client: kube::Client| {
                        let pods: Api<Pod> = Api::namespaced(client, namespace.as_str());
                        let found = pods.get(name).await?;
                        Ok(answer::pod_state(namespace.as_str(), name, &found)?)
                    };
                    calls.push((request, get));
                }
                Err(error) => known.push(Some(error)),
            }
        }
        let mut answers = self.call_all(calls, RetryPolicy::Default).into_iter();
        let lost = || Err(self.cannot_start("the call was lost"));
        known
            .into_iter()
            .map(|error| error.map_or_else(|| answers.next().unwrap_or_else(lost), Err))
            .collect()
    }
}

fn page(list: ObjectList<PartialObjectMeta<Pod>>, are_running: bool) -> PodPage {
    let pods = list.items.into_iter().filter_map(|item| {
        let metadata = item.metadata;
        let name = format!("{}/{}", metadata.namespace?, metadata.name?);
        let status = metadata.annotations.and_then(|mut all| all.remove(STATUS_ANNOTATION));
        let addresses = status.and_then(|status| addresses(&status));
        let state = if are_running { PodState::Running(addresses) } else { PodState::Starting };
        Some((name, state))
    });
    PodPage { pods: pods.collect(), next: list.metadata.continue_.unwrap_or_default() }
}

/// The addresses of a network status (NPWG 1.3, section 5); `None` if it cannot be read.
pub(super) fn addresses(status: &str) -> Option<Vec<IpAddr>> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        ips: Vec<String>,
    }
    let entries: Vec<Entry> = serde_json::from_str(status).ok()?;
    Some(entries.iter().flat_map(|entry| &entry.ips).filter_map(|ip| ip.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_addresses_of_all_networks() {
        let status = r#"[{"name": "a", "ips": ["10.1.0.2"]}, {"name": "b", "ips": ["10.9.0.7", "fd00::7"]},
            {"name": "c"}]"#;
        let named: Vec<String> = addresses(status).unwrap().iter().map(IpAddr::to_string).collect();
        assert_eq!(named, ["10.1.0.2", "10.9.0.7", "fd00::7"]);
        assert_eq!(addresses("[]"), Some(Vec::new()));
        assert_eq!(addresses("{"), None);
    }
}
