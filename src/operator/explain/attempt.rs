//! One pod's ADD up to its first side effect; if it is refused, each part of what the pod asks for
//! alone, so that one refusal does not hide another.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{Explanation, Subject, addresses, attachments, foresight};
use crate::config::{Config, StatusPolicy};
use crate::definition::{Api, Copies, Finder, NodeDefinitions, OnOutage};
use crate::delegate::Installed;
use crate::kube::{Cluster, NeededRight};
use crate::operator::node::Node;
use crate::plan::Plan;
use crate::pod::ANNOTATIONS_CAPABILITY;
use crate::pod::{DEFAULT_NETWORK_ANNOTATION, GENIE_ANNOTATION, NETWORKS_ANNOTATION, Pod};
use crate::prepare::{self, PodRequest};
use crate::selection::Selection;
use cni::error::{Code, Error};
use cni::request::Sandbox;

/// What is tried, and with what.
pub(super) struct Attempt<'a> {
    pub(super) node: &'a Node,
    pub(super) sandbox: &'a Sandbox,
    pub(super) pod: &'a Pod,
    pub(super) subject: &'a Subject,
    pub(super) cluster: Option<&'a mut Cluster>,
}

impl Attempt<'_> {
    /// Fills in the plan, or why there is none.
    pub(super) fn explain(mut self, explanation: &mut Explanation) {
        let annotations = self.subject.object.annotations.iter();
        let all: Map<String, Value> =
            annotations.map(|(key, value)| (key.clone(), json!(value))).collect();
        let pod_request = match self.read(all.clone()) {
            Ok(pod_request) => pod_request,
            Err(error) => {
                explanation.refuse(error.to_string());
                return self.read_each(&all, explanation);
            }
        };
        let config = self.config(all);
        let selected = pod_request.networks.iter().chain(&pod_request.default_network);
        if self.cluster.is_some() {
            explanation.requests = requests(&config, selected);
        }
        let is_due = is_status_due(&config, self.pod, &pod_request);
        match self.plan(&config, pod_request, explanation) {
            Err(error) if error.code == Code::TRY_AGAIN => {}
            _ if is_due => self.review_status(&config, explanation),
            _ => {}
        }
    }

    /// The node's configuration with the annotations that the runtime would hand over.
    fn config(&self, annotations: Map<String, Value>) -> Config {
        let mut config = self.node.config.clone();
        config
            .from_runtime
            .runtime_config
            .insert(ANNOTATIONS_CAPABILITY.to_owned(), Value::Object(annotations));
        config
    }

    fn read(&self, annotations: Map<String, Value>) -> Result<PodRequest, Error> {
        let object = Some(self.subject.object.clone());
        Ok(PodRequest { object, ..PodRequest::read(&self.config(annotations), self.pod, None)? })
    }

    /// What is wrong with each annotation by itself.
    fn read_each(&self, all: &Map<String, Value>, explanation: &mut Explanation) {
        for key in [NETWORKS_ANNOTATION, DEFAULT_NETWORK_ANNOTATION, GENIE_ANNOTATION] {
            let alone = all.iter().filter(|(name, _)| *name == key);
            let alone = alone.map(|(name, value)| (name.clone(), value.clone())).collect();
            if let Err(error) = self.read(alone) {
                explanation.refuse(error.to_string());
            }
        }
    }

    /// The plan of all that the pod asks for; if it is refused, what is wrong with each network by
    /// itself.
    fn plan(
        &mut self,
        config: &Config,
        pod_request: PodRequest,
        explanation: &mut Explanation,
    ) -> Result<(), Error> {
        let api = self.cluster.as_deref_mut().map_or(Api::Absent, Api::Asked);
        let mut definitions =
            prepare::finder(config, NodeDefinitions::default(), api, OnOutage::Refuse);
        // Nothing is kept of what the API says: this is no ADD.
        definitions.copies = Copies::new(Path::new("/dev/null"), Duration::ZERO, SystemTime::now);
        let singles = singles(&pod_request);
        let path = self.node.plugin_path();
        let plan = |pod_request, definitions: &mut Finder<'_>| -> Result<Plan, Error> {
            prepare::plan(config, &path, self.sandbox, None, self.pod, pod_request, definitions)
        };
        let error = match plan(pod_request, &mut definitions) {
            Ok(plan) => {
                let installed = Installed::new(path.clone(), config.built_in_plugins);
                explanation.attachments = attachments(&plan, &installed);
                addresses::explain(&plan, &installed, self.sandbox, explanation);
                explanation.warn(foresight::warnings(&plan, self.sandbox.interface.as_str()));
                explanation.warn(plan.warnings);
                return Ok(());
            }
            Err(error) => error,
        };
        explanation.refuse(error.to_string());
        // An API that is away is away for all of them.
        if error.code != Code::TRY_AGAIN {
            for (number, single) in singles {
                if let Err(error) = plan(single, &mut definitions) {
                    explanation.refuse(renumbered(&error.to_string(), number));
                }
            }
        }
        Err(error)
    }

    /// What the API would say to the status of the pod, once that is attached.
    fn review_status(&mut self, config: &Config, explanation: &mut Explanation) {
        const STEP: &str = "PATCH the pod's network-status";
        let Some(cluster) = self.cluster.as_deref_mut() else { return };
        match cluster.has_right(NeededRight::PublishStatus, Some(&self.pod.namespace)) {
            Ok(true) => explanation.requests.push(STEP.to_owned()),
            Ok(false) => explanation.refuse(may_not_publish(config, self.pod)),
            Err(error) => {
                explanation.requests.push(format!("{STEP} (whether it may is not known: {error})"));
            }
        }
    }
}

fn may_not_publish(config: &Config, pod: &Pod) -> String {
    let kubeconfig = config.kubeconfig.as_ref();
    let credential =
        kubeconfig.map_or("of this pod".to_owned(), |path| format!("of {}", path.display()));
    format!(
        "its network status cannot be published: the credential {credential} may not patch \
         pods/status in namespace \"{}\": grant it the rights of conf/kubernetes/base/rbac.yaml, \
         or set \"statusPolicy\": \"never\"",
        pod.namespace
    )
}

/// Whether ADD would publish a status.
fn is_status_due(config: &Config, pod: &Pod, pod_request: &PodRequest) -> bool {
    match config.status_policy {
        StatusPolicy::Never => false,
        StatusPolicy::Always => true,
        StatusPolicy::Attached => {
            pod_request.has_extras() || prepare::has_node_networks(config, pod)
        }
    }
}

/// What the pod asks for, one network at a time, each with its number among the automatic interface
/// names.
fn singles(pod_request: &PodRequest) -> Vec<(usize, PodRequest)> {
    let mut singles = Vec::new();
    let mut unnamed = 0;
    let default = pod_request.default_network.as_ref();
    if pod_request.networks.len() + usize::from(default.is_some()) < 2 {
        return singles;
    }
    for network in &pod_request.networks {
        unnamed += usize::from(network.interface.is_none());
        let networks = vec![network.clone()];
        singles
            .push((unnamed, PodRequest { networks, default_network: None, ..pod_request.clone() }));
    }
    if let Some(network) = default {
        let default_network = Some(network.clone());
        singles
            .push((1, PodRequest { networks: Vec::new(), default_network, ..pod_request.clone() }));
    }
    singles
}

/// A message about a network that was planned alone, with the interface name that it has beside the
/// others.
fn renumbered(message: &str, number: usize) -> String {
    message.replacen(" on net1:", &format!(" on net{number}:"), 1)
}

/// The definitions that the API would be asked for.
fn requests<'s>(config: &Config, selected: impl Iterator<Item = &'s Selection>) -> Vec<String> {
    let node = NodeDefinitions::read(&config.conf_dirs);
    let unknown = selected.filter(|selection| {
        node.find_manifest(&selection.namespace, selection.name.as_str(), config.version).is_none()
    });
    let get =
        |it: &Selection| format!("GET network-attachment-definition {}/{}", it.namespace, it.name);
    let mut requests: Vec<String> = unknown.map(get).collect();
    requests.sort();
    requests.dedup();
    requests
}
