//! From a request to a plan: all the reading, in the order of the one-way flow (configuration, pod,
//! selections, definitions, policy), and the plan that is made of it. Changes nothing.

mod admission;
mod devices;
mod genie;
mod host;
pub mod primary;

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Config, PrimarySource};
use crate::definition::{Api, Copies, Finder, NodeDefinitions, OnOutage};
use crate::delegate;
use crate::kernel::kernel_error;
use crate::kube::{Cluster, ClusterPod};
use crate::plan::{self, NodeNetwork, Plan, PrimaryNetwork, SelectedNetwork};
use crate::pod::ANNOTATIONS_CAPABILITY;
use crate::pod::name::{DefinitionName, Namespace};
use crate::pod::{Annotations, DEFAULT_NETWORK_ANNOTATION, GENIE_ANNOTATION, NETWORKS_ANNOTATION, Pod};
use crate::policy::Path;
use crate::selection::{self, Selection};
use cni::error::{Code, Error};
use cni::netconf::{Missing, NetworkName};
use cni::request::Sandbox;
use linux::netlink::{Inside, Netlink};
use primary::Resolved;

/// What a pod's annotations ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodRequest {
    /// Extra networks, in the annotation's order.
    pub networks: Vec<Selection>,
    /// Another primary.
    pub default_network: Option<Selection>,
    /// Networks of the node's conf directory, the first of them for the primary.
    pub choices: Vec<NetworkName>,
    /// Whether the pod is a static one, which the API knows by another UID, or not yet.
    pub is_static: bool,
    /// The pod as the API has it, where it had to be asked.
    pub object: Option<ClusterPod>,
    /// What an administrator should know.
    pub warnings: Vec<String>,
}

impl PodRequest {
    /// Reads what the pod asks for: from the runtime, else from the API where there is one.
    ///
    /// # Errors
    /// [`Error`] if an annotation is not valid, or not to be had from the runtime.
    pub fn read(config: &Config, pod: &Pod, cluster: Option<&mut Cluster>) -> Result<Self, Error> {
        let (annotations, object, mut warnings) =
            match Annotations::from_runtime_config(&config.runtime_config)? {
                Some(annotations) => (annotations, None, Vec::new()),
                None => {
                    let cost = if cluster.is_some() {
                        "; until then every pod costs a request to the API"
                    } else {
                        ""
                    };
                    let warning = undeclared_annotations() + cost;
                    let object = fetch_pod(config, pod, cluster)?;
                    let annotations =
                        object.as_ref().map(|object| Annotations::from_object(&object.annotations));
                    (annotations.unwrap_or_default(), object, vec![warning])
                }
            };
        let Annotations { networks, default_network, genie, is_static, misspelt } = annotations;
        let read = |annotation: Option<&str>, path| {
            selections(annotation, path, config, pod)
                .inspect_err(|error| admission::refuse_annotation(path, pod, error))
        };
        let choices = choices(genie.as_deref(), default_network.is_some(), config)
            .inspect_err(|error| admission::refuse_annotation(Path::Genie, pod, error))?;
        let networks = read(networks.as_deref(), Path::Networks)?;
        let default_network = read(default_network.as_deref(), Path::DefaultNetwork)?.pop();
        warnings.extend(misspelt.iter().map(ToString::to_string));
        warnings.extend(ignored_keys(&networks, Path::Networks));
        warnings.extend(ignored_keys(default_network.as_slice(), Path::DefaultNetwork));
        Ok(Self { choices, networks, default_network, object, is_static, warnings })
    }

    /// Whether the pod asks for anything of its own.
    pub fn is_empty(&self) -> bool {
        !self.has_extras() && !self.has_primary()
    }

    /// Whether it asks for networks beside its primary.
    pub fn has_extras(&self) -> bool {
        !self.networks.is_empty() || self.choices.len() > 1
    }

    /// Whether it asks for another primary.
    pub fn has_primary(&self) -> bool {
        self.default_network.is_some() || !self.choices.is_empty()
    }
}

fn undeclared_annotations() -> String {
    format!(
        "the runtime does not hand over the pod's annotations: add \
         \"capabilities\": {{\"{ANNOTATIONS_CAPABILITY}\": true}} to braid's configuration \
         (containerd 1.5, CRI-O 1.29 and later know it)"
    )
}

/// The pod from the API. Without one, a chained Braid has nothing to go by; a delegating one still has its
/// own configuration.
fn fetch_pod(config: &Config, pod: &Pod, cluster: Option<&mut Cluster>) -> Result<Option<ClusterPod>, Error> {
    match cluster {
        Some(cluster) => {
            let object = cluster.pod(&pod.namespace, &pod.name)?;
            check_identity(pod, &object)?;
            Ok(Some(object))
        }
        None if config.is_delegating() => Ok(None),
        None => Err(Error::new(Code::CONFIG, undeclared_annotations())),
    }
}

/// Whether the API's pod is the one that the runtime starts, and is to stay. Of a static pod the API has but a
/// mirror, with another UID, and makes it anew at times.
fn check_identity(pod: &Pod, object: &ClusterPod) -> Result<(), Error> {
    let problem = match pod.uid.as_deref() {
        _ if object.is_static() => return Ok(()),
        Some(uid) if uid != object.uid => {
            "the API has another pod of this name by now: the one being started was deleted"
        }
        _ if object.deletion => "the pod is being deleted: nothing is attached to it any more",
        _ => return Ok(()),
    };
    Err(Error::new(Code::TRY_AGAIN, problem))
}

/// The key of the annotation that takes this path.
fn annotation_key(path: Path) -> &'static str {
    match path {
        Path::Networks => NETWORKS_ANNOTATION,
        Path::DefaultNetwork => DEFAULT_NETWORK_ANNOTATION,
        Path::Genie => GENIE_ANNOTATION,
    }
}

/// What CNI-Genie's annotation chooses, where the configuration heeds it.
fn choices(annotation: Option<&str>, has_default: bool, config: &Config) -> Result<Vec<NetworkName>, Error> {
    let Some(annotation) = annotation.filter(|_| config.genie_annotation) else { return Ok(Vec::new()) };
    let limits = config.limits();
    let choices = selection::genie::parse(annotation, limits).map_err(Error::from);
    let checked = choices.and_then(|choices| match choices.is_empty() {
        false if !config.is_delegating() => Err(Error::new(Code::CONFIG, CHAINED)),
        false if has_default => Err(Error::new(
            Code::CONFIG,
            format!(
                "chooses the pod's primary, and so does {DEFAULT_NETWORK_ANNOTATION}; remove one of them"
            ),
        )),
        _ => Ok(choices),
    });
    checked.map_err(|error| error.about(format!("annotation {}", annotation_key(Path::Genie))))
}

/// Why a pod cannot choose its primary behind one.
const CHAINED: &str =
    "braid stands behind the primary network here and cannot replace it; remove the annotation";

fn selections(
    annotation: Option<&str>,
    path: Path,
    config: &Config,
    pod: &Pod,
) -> Result<Vec<Selection>, Error> {
    let Some(annotation) = annotation else { return Ok(Vec::new()) };
    let namespace = match path {
        Path::Networks | Path::Genie => &pod.namespace,
        Path::DefaultNetwork => &config.tenancy.multus_namespace,
    };
    let limits = config.limits();
    let selections = selection::parse(annotation, namespace, limits).map_err(Error::from);
    let checked = selections.and_then(|selections| match path {
        Path::Networks | Path::Genie => Ok(selections),
        Path::DefaultNetwork => check_default(selections, config),
    });
    checked.map_err(|error| error.about(format!("annotation {}", annotation_key(path))))
}

/// A warning for each key of the annotation that was passed over (`lenientAnnotations`).
fn ignored_keys(selections: &[Selection], path: Path) -> impl Iterator<Item = String> {
    let ignored = selections.iter().flat_map(|selection| &selection.ignored);
    ignored.map(move |error| {
        format!("annotation {}: {error}; it was passed over (lenientAnnotations)", annotation_key(path))
    })
}

/// A pod has one primary, on the runtime's interface.
fn check_default(selections: Vec<Selection>, config: &Config) -> Result<Vec<Selection>, Error> {
    let problem = match selections.as_slice() {
        _ if !config.is_delegating() => CHAINED,
        [_, _, ..] => "names more than one network; a pod has one primary",
        [Selection { interface: Some(_), .. }] => {
            "\"interface\" is the runtime's choice for the primary network; leave it out"
        }
        _ => return Ok(selections),
    };
    Err(Error::new(Code::CONFIG, problem))
}

/// Whether `config` attaches networks of the node's own to the pod, beside its primary.
pub fn has_node_networks(config: &Config, pod: &Pod) -> bool {
    let for_pod = !config.default_networks.is_empty() && !is_system_pod(config, pod);
    for_pod || !config.inline_networks.is_empty() || config.auxiliary_chain.is_some()
}

fn is_system_pod(config: &Config, pod: &Pod) -> bool {
    config.system_namespaces.iter().any(|namespace| namespace == pod.namespace.as_str())
}

/// The places where definitions are, for one call.
pub fn finder<'a>(config: &Config, node: NodeDefinitions, api: Api<'a>, on_outage: OnOutage) -> Finder<'a> {
    let copies = Copies::new(&config.state_dir, config.definition_cache_max_age);
    let (version, warnings) = (config.version, Vec::new());
    Finder { node, api, copies, on_outage, version, warnings, answers: BTreeMap::new() }
}

/// Makes the plan and holds it against the node and the sandbox, where there is one already.
///
/// # Errors
/// [`Error`] for the first thing that makes the plan impossible.
pub fn plan(
    config: &Config,
    plugin_path: &[std::path::PathBuf],
    sandbox: &Sandbox,
    inside: Option<&mut Inside<'_>>,
    pod: &Pod,
    pod_request: PodRequest,
    definitions: &mut Finder<'_>,
) -> Result<Plan, Error> {
    refuse_while_draining(config, pod, &pod_request)?;
    if needs_definitions(config, &pod_request) {
        definitions.node = NodeDefinitions::read(&config.conf_dirs);
    }
    let has_default = pod_request.default_network.is_some();
    let has_own_primary = pod_request.has_primary();
    let wanted = definitions_of_cluster(config, pod, &pod_request, definitions);
    definitions.fetch(&wanted.all());
    let admitted = admission::admit(config, pod, &pod_request, definitions)?;
    let chosen = genie::choose(config, pod, &pod_request.choices)?;
    let (selected, choices) = (admitted.networks, chosen.networks);
    let networks = PodNetworks::resolve(config, pod, selected, choices, has_default, definitions)?;
    let PodNetworks { primary, node_networks, selected, without_device } = networks;
    let links = match inside {
        Some(inside) if !selected.is_empty() || !node_networks.is_empty() => link_names(inside)?,
        _ => BTreeSet::new(),
    };
    let mut plan = plan::make(plan::Inputs { config, sandbox, primary, node_networks, selected, links })?;
    plan.has_own_primary = has_own_primary;
    plan.admissions = admitted.admissions;
    plan.admissions.extend(chosen.admissions);
    plan.warnings.extend(chosen.warnings);
    plan.warnings.extend(without_device);
    plan.warnings.extend(pod_request.warnings);
    plan.warnings.extend(admitted.warnings);
    plan.warnings.append(&mut definitions.warnings);
    plan.warnings.append(&mut definitions.node.warnings);
    plan.check_node(|kind| delegate::find(kind, plugin_path).map(|_| ()), host_has, std::path::Path::exists)?;
    keep_copies(&wanted, definitions);
    Ok(plan)
}

/// Every network of a pod, with the devices that the kubelet has allocated to it.
struct PodNetworks {
    /// The primary; none if Braid is chained behind it.
    primary: Option<PrimaryNetwork>,
    /// Networks of the node's own, in order.
    node_networks: Vec<NodeNetwork>,
    /// The networks annotation's, in its order.
    selected: Vec<SelectedNetwork>,
    /// Warnings about networks that run without the device that they name.
    without_device: Vec<String>,
}

impl PodNetworks {
    /// `selected` is what the annotations select: with `has_default`, the last of it replaces the primary.
    /// `choices` are networks of the node's conf directory, the first of them for the primary.
    fn resolve(
        config: &Config,
        pod: &Pod,
        mut selected: Vec<SelectedNetwork>,
        choices: Vec<NodeNetwork>,
        has_default: bool,
        definitions: &mut Finder<'_>,
    ) -> Result<Self, Error> {
        let mut choices = choices.into_iter();
        let mut primary = match choices.next() {
            None => resolve_primary(config, has_default, definitions)?,
            chosen => chosen,
        };
        let mut node_networks = node_networks(config, pod, definitions)?;
        node_networks.extend(choices);
        let of_node = primary.iter_mut().chain(&mut node_networks);
        let without_device = devices::assign(&mut selected, of_node, config, pod)?;
        let replacement = has_default.then(|| selected.pop()).flatten();
        let of_pod = replacement.map(|replacement| PrimaryNetwork::OfPod(Box::new(replacement)));
        let primary = of_pod.or(primary.map(PrimaryNetwork::OfNode));
        Ok(Self { primary, node_networks, selected, without_device })
    }
}

/// What was refused leaves nothing on the disk, nor what no call could use: a pod that is owed a status cannot start
/// without the API, while those that ask for nothing, and the other verbs, need the primary alone.
fn keep_copies(wanted: &OfCluster, definitions: &Finder<'_>) {
    definitions.keep_copies(&wanted.primary);
    if definitions.on_outage == OnOutage::UseCopies {
        definitions.keep_copies(&wanted.others);
    }
}

/// While Braid leaves the node (`braid uninstall`), a pod that would have an extra network is to start on
/// another one: here nobody would tear it down.
fn refuse_while_draining(config: &Config, pod: &Pod, pod_request: &PodRequest) -> Result<(), Error> {
    if !config.drain || (!pod_request.has_extras() && !has_node_networks(config, pod)) {
        return Ok(());
    }
    let problem = "braid is leaving this node (drain), and attaches no extra network any more; start the pod on \
                   another node, or run braid install to stay";
    Err(Error::new(Code::TRY_AGAIN, problem))
}

fn needs_definitions(config: &Config, pod_request: &PodRequest) -> bool {
    let named = |source: &PrimarySource| matches!(source, PrimarySource::Named(_));
    !pod_request.networks.is_empty()
        || pod_request.default_network.is_some()
        || config.primary.iter().chain(&config.default_networks).any(named)
}

/// Definitions that the plan needs of the API.
#[derive(Default)]
struct OfCluster {
    primary: Option<(Namespace, DefinitionName)>,
    others: Vec<(Namespace, DefinitionName)>,
}

impl OfCluster {
    fn all(&self) -> Vec<(Namespace, DefinitionName)> {
        self.primary.iter().chain(&self.others).cloned().collect()
    }
}

/// What the API is asked for, all at the same time; nothing if there is none.
fn definitions_of_cluster(
    config: &Config,
    pod: &Pod,
    pod_request: &PodRequest,
    definitions: &Finder<'_>,
) -> OfCluster {
    if !matches!(definitions.api, Api::Asked(_)) {
        return OfCluster::default();
    }
    let of_node = |source| primary::wanted_of_cluster(source, config, &definitions.node);
    let primary = config.primary.as_ref().filter(|_| !pod_request.has_primary());
    let defaults = config.default_networks.iter().filter(|_| !is_system_pod(config, pod));
    let of_pod = pod_request
        .networks
        .iter()
        .chain(&pod_request.default_network)
        .map(|selection| (selection.namespace.clone(), selection.name.clone()));
    OfCluster {
        primary: primary.and_then(of_node),
        others: of_pod.chain(defaults.filter_map(of_node)).collect(),
    }
}

/// The primary that the configuration names, unless the pod has chosen another.
fn resolve_primary(
    config: &Config,
    is_replaced: bool,
    definitions: &mut Finder<'_>,
) -> Result<Option<NodeNetwork>, Error> {
    let Some(source) = config.primary.as_ref().filter(|_| !is_replaced) else { return Ok(None) };
    let Resolved { network, resource } = primary::resolve(source, config, definitions)?;
    Ok(Some(NodeNetwork::new(network, resource)))
}

/// Networks for every pod: inline delegates, default networks, the auxiliary chain.
fn node_networks(
    config: &Config,
    pod: &Pod,
    definitions: &mut Finder<'_>,
) -> Result<Vec<NodeNetwork>, Error> {
    let missing = Missing { name: Some(config.network.as_str()), version: config.version };
    let mut networks: Vec<Resolved> = Vec::new();
    for value in &config.inline_networks {
        networks.push(primary::inline(value, &missing, "an entry of \"delegates\"")?.into());
    }
    if !is_system_pod(config, pod) {
        for source in &config.default_networks {
            networks.push(primary::resolve(source, config, definitions)?);
        }
    }
    if let Some(chain) = &config.auxiliary_chain {
        networks.extend(primary::auxiliary_chain(chain, config)?.map(Resolved::from));
    }
    let network = |Resolved { network, resource }| NodeNetwork::new(network, resource);
    Ok(networks.into_iter().map(network).collect())
}

fn link_names(inside: &mut Inside<'_>) -> Result<BTreeSet<String>, Error> {
    let netlink = inside.netlink().map_err(kernel_error)?;
    let links = netlink.links().map_err(kernel_error)?;
    Ok(links.into_iter().map(|link| link.name).collect())
}

/// Whether the host has an interface of this name or alternative name. Where the kernel does not say,
/// the plugin will find out.
fn host_has(name: &str) -> bool {
    Netlink::open().and_then(|mut netlink| netlink.link_exists(name)).unwrap_or(true)
}
