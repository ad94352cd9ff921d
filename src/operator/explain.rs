//! `braid explain`: the plan of a pod as ADD would carry it out, without carrying it out. The steps
//! are ADD's own; the API is asked if one is configured, and told nothing.

mod addresses;
mod attempt;
mod foresight;
mod manifest;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::CommandError;
use super::console::{Exit, OutputStyle, Tone, View};
use super::credential;
use super::fault::Fault;
use super::manifests::read_text;
use super::node::{Node, NodeOptions};
use crate::conf_file::ConfFileError;
use crate::delegate::Installed;
use crate::kube::{ApiStores, Cluster, ClusterError, ClusterPod};
use crate::plan::{Attachment, Plan, Role};
use crate::pod::Pod;
use crate::pod::name::Namespace;
use crate::verb::releases::own_journal;
use attempt::Attempt;
use cni::error::Error;
use cni::netconf::NetworkConfig;
use cni::request::{Environment, Sandbox};

/// What `braid explain` is told.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// Manifests of pods or of what makes pods, in YAML or JSON; - reads standard input
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
    File(#[from] ConfFileError),
    /// The manifest is no pod's.
    #[error("the manifest is not valid: {0}")]
    Manifest(String),
    /// The pod is not named as it must be.
    #[error("\"{0}\" is no pod: name it as namespace/name")]
    Pod(String),
    /// There is no such pod.
    #[error(
        "the API has no pod \"{namespace}/{name}\": see kubectl get pods --namespace {namespace}"
    )]
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

/// The plan of each pod.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    pods: Vec<Explanation>,
}

/// A pod's plan.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    pod: String,
    /// The kind of the object that makes the pod, if it is one of many.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<String>,
    /// Why ADD would fail: the first is what it would say.
    refusals: Vec<String>,
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
    /// The plugins, and those that give addresses, that Braid calls in the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    built_in: Vec<String>,
    /// The name that the plugins get, if it is not the definition's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    scoped_name: Option<String>,
    /// The interfaces of this node for the names that the definition has for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    node_interfaces: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    capabilities: Map<String, Value>,
    /// The gateways of the default route that it takes; empty for the network's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_route: Option<Vec<std::net::IpAddr>>,
}

/// Who is explained, and what it asks for: a pod that the API has, or that it would have.
struct Subject {
    namespace: String,
    name: String,
    object: ClusterPod,
    /// The kind of what makes the pod, with the path to the template if it has more than one.
    made_by: Option<String>,
    /// What its manifest says if it is not read.
    warnings: Vec<String>,
}

impl Explain {
    pub(super) fn run(&self) -> Result<Explained, CommandError> {
        let node = Node::find(&self.node)?;
        ApiStores::provide(&own_journal(&node.config.state_dir));
        let mut cluster = credential::cluster(&node.config);
        let subjects = match &self.pod {
            Some(pod) => vec![Ok(of_cluster(pod, cluster.as_mut())?)],
            None => {
                let file = self.manifest.as_deref().unwrap_or(Path::new("-"));
                manifest::pods(&read_text(file).map_err(ExplainError::File)?)?
            }
        };
        let mut pods = Vec::new();
        for subject in subjects {
            pods.push(match subject {
                Ok(subject) => Explanation::of(subject, &node, cluster.as_mut())?,
                Err(unreadable) => *unreadable,
            });
        }
        Ok(Explained { pods })
    }
}

/// The pod that the API has under `namespace/name`.
fn of_cluster(pod: &str, cluster: Option<&mut Cluster>) -> Result<Subject, CommandError> {
    let named =
        pod.split_once('/').filter(|(_, name)| !name.is_empty() && !name.contains('/')).and_then(
            |(namespace, name)| Some((namespace.parse::<Namespace>().ok()?, name.to_owned())),
        );
    let (namespace, name) = named.ok_or_else(|| ExplainError::Pod(pod.to_owned()))?;
    let object = match cluster.ok_or(ExplainError::NoApi)?.pod(&namespace, &name) {
        Err(ClusterError::NotFound { .. }) => {
            return Err(ExplainError::NoPod { namespace, name }.into());
        }
        answer => answer.map_err(Error::from)?,
    };
    Ok(Subject {
        namespace: namespace.to_string(),
        name,
        object,
        made_by: None,
        warnings: Vec::new(),
    })
}

impl Explanation {
    fn of(subject: Subject, node: &Node, cluster: Option<&mut Cluster>) -> Result<Self, Error> {
        let sandbox = sandbox(&subject.namespace, &subject.name, &subject.object.uid);
        let pod = Pod::from_args(&sandbox.args).map_err(Error::from)?;
        let (made_by, warnings) = (subject.made_by.clone(), subject.warnings.clone());
        let mut explanation = Self { pod: pod.to_string(), made_by, warnings, ..Self::default() };
        // A fault of the node stops every pod, whatever this one asks for.
        let faults = Fault::all(&node.place, &node.runtime, Path::new("/"));
        explanation.refusals.extend(faults.iter().map(ToString::to_string));
        Attempt { node, sandbox: &sandbox, pod: &pod, subject: &subject, cluster }
            .explain(&mut explanation);
        Ok(explanation)
    }

    fn warn(&mut self, sentences: impl IntoIterator<Item = String>) {
        for sentence in sentences {
            if !self.warnings.contains(&sentence) {
                self.warnings.push(sentence);
            }
        }
    }

    fn refuse(&mut self, sentence: String) {
        if !self.refusals.contains(&sentence) {
            self.refusals.push(sentence);
        }
    }
}

/// The sandbox of a pod that is not there.
pub(super) fn sandbox(namespace: &str, name: &str, uid: &str) -> Sandbox {
    let args = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID={uid}"
    );
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

/// Each attachment with what the policy has said for it; what the node's configuration names needs
/// no word of it.
fn attachments(plan: &Plan, installed: &Installed) -> Vec<Planned> {
    let planned = |attachment: &Attachment| {
        let admission =
            plan.admissions.iter().find(|admission| admission.label == attachment.label);
        let (source, allowed) = match admission {
            Some(admission) => (admission.source.as_str(), admission.granted_by.as_str()),
            None => ("node configuration", "node configuration"),
        };
        let network = &attachment.network;
        Planned {
            interface: attachment.interface.to_string(),
            network: attachment.label.clone(),
            role: attachment.role,
            source: source.to_owned(),
            allowed: allowed.to_owned(),
            plugins: network.plugins.iter().map(|plugin| plugin.kind.to_string()).collect(),
            built_in: built_in(network, installed),
            scoped_name: attachment.is_scoped().then(|| attachment.network.name.to_string()),
            node_interfaces: node_interfaces(plan, attachment),
            capabilities: crate::pod::without_annotations(&attachment.runtime_config),
            default_route: attachment.default_route.clone(),
        }
    };
    plan.attachments.iter().map(planned).collect()
}

/// The interfaces of this node for the names that the attachment's definition has for them.
fn node_interfaces(plan: &Plan, attachment: &Attachment) -> BTreeMap<String, String> {
    let named = plan.named_interfaces.iter().filter(|named| named.label == attachment.label);
    named.map(|named| (named.name.clone(), named.interface.clone())).collect()
}

/// The plugins of a network that are called in the process, each once.
fn built_in(network: &NetworkConfig, installed: &Installed) -> Vec<String> {
    let mut found = Vec::new();
    for kind in network.plugin_types() {
        let origin = installed.origin(&kind);
        if origin.is_ok_and(|origin| origin.is_in_process()) && !found.contains(&kind.to_string()) {
            found.push(kind.to_string());
        }
    }
    found
}

impl View for Explained {
    fn text(&self, style: &OutputStyle) -> String {
        let pods: Vec<String> = self.pods.iter().map(|pod| pod.text(style)).collect();
        pods.join("\n")
    }

    fn exit(&self) -> Exit {
        if self.pods.iter().any(|pod| !pod.refusals.is_empty()) { Exit::Failed } else { Exit::Done }
    }
}

impl Explanation {
    fn text(&self, style: &OutputStyle) -> String {
        let made_by = self.made_by.as_ref().map(|kind| format!(" of {kind}")).unwrap_or_default();
        let pod = format!("{}{made_by}", self.pod);
        let word = style.paint(Tone::Bad, "refused");
        let refusals = self.refusals.iter();
        let mut text: String = refusals.map(|it| format!("pod {pod}: {word}: {it}\n")).collect();
        if text.is_empty() {
            text = format!("pod {pod}: {}\n", style.paint(Tone::Good, "would be attached"));
        }
        if !self.attachments.is_empty() {
            let rows = self.attachments.iter().map(row).collect();
            text.push('\n');
            text.push_str(
                &style.table(["INTERFACE", "NETWORK", "PLUGINS", "ALLOWED BY", "DEFINITION"], rows),
            );
            text.push('\n');
        }
        for planned in &self.attachments {
            text.push_str(&details(planned));
        }
        text.extend(self.requests.iter().map(|request| format!("asks the API: {request}\n")));
        text.extend(
            self.warnings.iter().map(|it| format!("{}: {it}\n", style.paint(Tone::Odd, "warning"))),
        );
        text
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
    for (name, node_interface) in &planned.node_interfaces {
        text.push_str(&format!(
            "{interface}: {name} is this node's {node_interface} (nodeInterfaces)\n"
        ));
    }
    if !planned.built_in.is_empty() {
        text.push_str(&format!("{interface}: {} inside braid\n", planned.built_in.join(", ")));
    }
    if let Some(name) = &planned.scoped_name {
        text.push_str(&format!(
            "{interface}: the plugins know the network as {name}; its own name may be another \
             namespace's too\n"
        ));
    }
    if let Some(gateways) = &planned.default_route {
        let gateways: Vec<String> = gateways.iter().map(ToString::to_string).collect();
        let through = if gateways.is_empty() {
            "the network's own gateways".to_owned()
        } else {
            gateways.join(", ")
        };
        text.push_str(&format!("{interface} gets the default route, through {through}\n"));
    }
    text
}
