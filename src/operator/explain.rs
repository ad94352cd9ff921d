//! `braid explain`: the plan of a pod as ADD would carry it out, without carrying it out. The steps are
//! ADD's own; the API is asked where one is configured, and told nothing.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::CommandError;
use super::console::{Exit, Look, Tone, View};
use super::fault::Fault;
use super::node::{Node, NodeOptions};
use crate::cluster::{Cluster, ClusterConfig, ClusterError, ClusterPod};
use crate::config::{ANNOTATIONS_CAPABILITY, Config};
use crate::definition::field;
use crate::definition::{Api, Copies, NodeDefinitions, OnOutage};
use crate::name::Namespace;
use crate::plan::{Attachment, Plan, Role};
use crate::pod::Pod;
use crate::prepare::{self, Wishes};
use crate::selection::Selection;
use cni::error::Error;
use cni::netconf::{self, NetconfError};
use cni::request::{Environment, Sandbox};

/// What `braid explain` is told.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// A pod's manifest, in YAML or JSON; - reads standard input
    #[arg(required_unless_present = "pod", conflicts_with = "pod", value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// A pod that the API has, as namespace/name
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    #[command(flatten)]
    node: NodeOptions,
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExplainError {
    /// The manifest cannot be read.
    #[error(transparent)]
    File(#[from] NetconfError),
    /// The manifest is no pod's.
    #[error("the manifest is not valid: {0}")]
    Manifest(String),
    /// The pod is not named as it must be.
    #[error("\"{0}\" is no pod: name it as namespace/name")]
    Pod(String),
    /// There is no such pod.
    #[error("the API has no pod \"{namespace}/{name}\": see kubectl get pods --namespace {namespace}")]
    NoPod {
        /// The namespace that was asked for.
        namespace: Namespace,
        /// The name that was asked for.
        name: String,
    },
    /// No API is configured.
    #[error("no API is configured on this node: give a manifest, or set \"kubeconfig\"")]
    NoApi,
}

/// A pod's plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explained {
    pod: String,
    /// Why ADD would fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    attachments: Vec<Planned>,
    requests: Vec<String>,
    warnings: Vec<String>,
}

/// One attachment of the plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    interface: String,
    network: String,
    role: Role,
    /// Where its definition is.
    source: String,
    /// Why the pod may have it.
    allowed: String,
    plugins: Vec<String>,
    /// The name that the plugins get, if it is not the definition's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    scoped_name: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    capabilities: Map<String, Value>,
    /// The gateways of the default route that it takes; empty for the network's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_route: Option<Vec<std::net::IpAddr>>,
}

#[derive(Deserialize)]
struct Manifest {
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    service_account_name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Who is explained, and what it asks for: a pod that the API has, or that it would have.
struct Subject {
    namespace: String,
    name: String,
    object: ClusterPod,
}

impl Subject {
    fn annotations(&self) -> Map<String, Value> {
        self.object.annotations.iter().map(|(key, value)| (key.clone(), json!(value))).collect()
    }
}

impl From<Manifest> for Subject {
    fn from(Manifest { metadata, spec, .. }: Manifest) -> Self {
        let object = ClusterPod {
            uid: "explained".to_owned(),
            annotations: metadata.annotations,
            service_account: Some(spec.service_account_name.unwrap_or_else(|| "default".to_owned())),
            node_name: None,
            deletion: false,
        };
        let namespace = metadata.namespace.unwrap_or_else(|| "default".to_owned());
        Self { namespace, name: metadata.name, object }
    }
}

impl Explain {
    pub(super) fn run(&self) -> Result<Explained, CommandError> {
        let node = Node::find(&self.node)?;
        let mut cluster = cluster(&node.config);
        let subject = self.subject(cluster.as_mut())?;
        let mut config = node.config.clone();
        config.runtime_config.insert(ANNOTATIONS_CAPABILITY.to_owned(), Value::Object(subject.annotations()));
        let sandbox = sandbox(&subject.namespace, &subject.name, &subject.object.uid);
        let pod = Pod::from_args(&sandbox.args).map_err(Error::from)?;
        let mut explained = Explained {
            pod: pod.to_string(),
            refused: None,
            attachments: Vec::new(),
            requests: Vec::new(),
            warnings: Vec::new(),
        };
        // A fault of the node stops every pod, whatever this one asks for.
        let fault = Fault::all(&node.place, &node.runtime, Path::new("/")).into_iter().next();
        let filled = fill(&mut explained, &node, &config, &sandbox, &pod, subject.object, cluster);
        let refused = fault.map(|fault| fault.to_string());
        explained.refused = refused.or_else(|| filled.err().map(|error| error.to_string()));
        Ok(explained)
    }

    fn subject(&self, cluster: Option<&mut Cluster>) -> Result<Subject, CommandError> {
        let Some(pod) = &self.pod else { return Ok(self.read_manifest()?) };
        let named = pod
            .split_once('/')
            .filter(|(_, name)| !name.is_empty() && !name.contains('/'))
            .and_then(|(namespace, name)| Some((namespace.parse::<Namespace>().ok()?, name.to_owned())));
        let (namespace, name) = named.ok_or_else(|| ExplainError::Pod(pod.clone()))?;
        let object = match cluster.ok_or(ExplainError::NoApi)?.pod(&namespace, &name) {
            Err(ClusterError::NotFound { .. }) => return Err(ExplainError::NoPod { namespace, name }.into()),
            answer => answer.map_err(Error::from)?,
        };
        Ok(Subject { namespace: namespace.to_string(), name, object })
    }

    fn read_manifest(&self) -> Result<Subject, ExplainError> {
        let text = read_text(self.manifest.as_deref().unwrap_or(Path::new("-")))?;
        let manifests: Vec<Value> = serde_saphyr::from_multiple(&text)
            .map_err(|error| ExplainError::Manifest(cni::error::one_line(&error.to_string(), 300)))?;
        for manifest in &manifests {
            field::check(manifest).map_err(|wrong| ExplainError::Manifest(wrong.to_string()))?;
        }
        let pods = manifests.into_iter().filter_map(|value| serde_json::from_value::<Manifest>(value).ok());
        let pod = pods.into_iter().find(|manifest| manifest.kind == "Pod");
        let missing = || ExplainError::Manifest("no object of kind Pod is in it".to_owned());
        pod.map(Subject::from).ok_or_else(missing)
    }
}

/// A file's text, or standard input's where its name is `-`.
pub(super) fn read_text(file: &Path) -> Result<String, NetconfError> {
    if file != Path::new("-") {
        return netconf::read_file(file);
    }
    let failed = |source| NetconfError::File { path: "standard input".into(), source };
    let mut text = String::new();
    std::io::stdin().lock().take(netconf::MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// The API of a node's configuration, if there is one.
pub(super) fn cluster(config: &Config) -> Option<Cluster> {
    let cluster = ClusterConfig {
        kubeconfig: config.kubeconfig.clone(),
        timeout: config.api_timeout,
        ..ClusterConfig::default()
    };
    Cluster::configured(&cluster, &Environment::of_process())
}

/// The sandbox of a pod that is not there.
pub(super) fn sandbox(namespace: &str, name: &str, uid: &str) -> Sandbox {
    let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={uid}");
    let request = Environment::from([
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "explained"),
        ("CNI_NETNS", "/none"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", args.as_str()),
    ]);
    match cni::request::Request::read(request) {
        Some(Ok(cni::request::Request { verb: cni::request::Verb::Add(sandbox), .. })) => sandbox,
        _ => sandbox("default", "", ""),
    }
}

fn fill(
    explained: &mut Explained,
    node: &Node,
    config: &Config,
    sandbox: &Sandbox,
    pod: &Pod,
    object: ClusterPod,
    mut cluster: Option<Cluster>,
) -> Result<(), Error> {
    let wishes = Wishes { object: Some(object), ..Wishes::read(config, pod, cluster.as_mut())? };
    let selections: Vec<Selection> = wishes.networks.iter().chain(&wishes.default_network).cloned().collect();
    explained.requests = requests(config, &selections, cluster.is_some());
    let api = cluster.as_mut().map_or(Api::Absent, Api::Asked);
    let mut definitions = prepare::finder(config, NodeDefinitions::default(), api, OnOutage::Refuse);
    // Nothing is kept of what the API says: this is no ADD.
    definitions.copies = Copies::new(Path::new("/dev/null"), Duration::ZERO);
    let plan = prepare::plan(config, &node.plugin_path(), sandbox, None, pod, wishes, &mut definitions)?;
    explained.attachments = attachments(&plan);
    explained.warnings = plan.warnings;
    Ok(())
}

/// What the API would be asked, and told.
fn requests(config: &Config, selections: &[Selection], has_api: bool) -> Vec<String> {
    if !has_api || selections.is_empty() {
        return Vec::new();
    }
    let node = NodeDefinitions::read(&config.conf_dirs);
    let unknown = selections.iter().filter(|selection| {
        node.find_manifest(&selection.namespace, selection.name.as_str(), config.version).is_none()
    });
    let mut requests: Vec<String> = unknown
        .map(|selection| {
            format!("GET network-attachment-definition {}/{}", selection.namespace, selection.name)
        })
        .collect();
    requests.sort();
    requests.dedup();
    if config.status_policy != crate::config::StatusPolicy::Never {
        requests.push("PATCH the pod's network-status".to_owned());
    }
    requests
}

/// Each attachment with what the policy has said for it; what the node's configuration names needs no word
/// of it.
fn attachments(plan: &Plan) -> Vec<Planned> {
    let planned = |attachment: &Attachment| {
        let admission = plan.admissions.iter().find(|admission| admission.label == attachment.label);
        let (source, allowed) = match admission {
            Some(admission) => (admission.source.as_str(), admission.granted_by.as_str()),
            None => ("the node's configuration", "the administrator's word"),
        };
        Planned {
            interface: attachment.interface.to_string(),
            network: attachment.label.clone(),
            role: attachment.role,
            source: source.to_owned(),
            allowed: allowed.to_owned(),
            plugins: attachment.network.plugins.iter().map(|plugin| plugin.kind.to_string()).collect(),
            scoped_name: attachment.own_name.as_ref().map(|_| attachment.network.name.to_string()),
            capabilities: crate::pod::without_annotations(&attachment.runtime_config),
            default_route: attachment.default_route.clone(),
        }
    };
    plan.attachments.iter().map(planned).collect()
}

impl View for Explained {
    fn text(&self, look: &Look) -> String {
        let mut text = match &self.refused {
            Some(problem) => format!("pod {}: {}: {problem}\n", self.pod, look.paint(Tone::Bad, "refused")),
            None => format!("pod {}: {}\n", self.pod, look.paint(Tone::Good, "would be attached")),
        };
        if !self.attachments.is_empty() {
            let rows = self.attachments.iter().map(row).collect();
            text.push('\n');
            text.push_str(&look.table(["INTERFACE", "NETWORK", "PLUGINS", "ALLOWED BY", "DEFINITION"], rows));
            text.push('\n');
        }
        for planned in &self.attachments {
            text.push_str(&details(planned));
        }
        text.extend(self.requests.iter().map(|request| format!("asks the API: {request}\n")));
        text.extend(self.warnings.iter().map(|it| format!("{}: {it}\n", look.paint(Tone::Odd, "warning"))));
        text
    }

    fn exit(&self) -> Exit {
        if self.refused.is_some() { Exit::Failed } else { Exit::Done }
    }
}

fn row(planned: &Planned) -> [String; 5] {
    [
        planned.interface.clone(),
        planned.network.clone(),
        planned.plugins.join(", "),
        planned.allowed.clone(),
        planned.source.clone(),
    ]
}

fn details(planned: &Planned) -> String {
    let interface = &planned.interface;
    let mut text: String = planned
        .capabilities
        .iter()
        .map(|(name, value)| format!("{interface} asks for {name}: {value}\n"))
        .collect();
    if let Some(name) = &planned.scoped_name {
        text.push_str(&format!(
            "{interface}: the plugins know the network as {name}; its own name may be another namespace's too\n"
        ));
    }
    if let Some(gateways) = &planned.default_route {
        let gateways: Vec<String> = gateways.iter().map(ToString::to_string).collect();
        let through =
            if gateways.is_empty() { "the network's own gateways".to_owned() } else { gateways.join(", ") };
        text.push_str(&format!("{interface} gets the default route, through {through}\n"));
    }
    text
}
