//! From a request to a plan: all the reading, in the order of the one-way flow (configuration, pod,
//! selections, definitions, policy), and the plan that is made of it. Changes nothing.

mod addition;
mod admission;
mod devices;
mod genie;
mod host;
mod node_interfaces;
mod pod_request;
pub(crate) mod primary;
mod redefinition;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::config::{Config, PrimarySource};
use crate::definition::{Api, Copies, Finder, NodeDefinitions, OnOutage};
use crate::delegate::Installed;
use crate::kube::ClusterPod;
use crate::plan::{self, HostLink, NodeNetwork, Plan, PrimaryNetwork, SelectedNetwork};
use crate::pod::name::{DefinitionName, Namespace};
use crate::pod::{DEFAULT_NETWORK_ANNOTATION, GENIE_ANNOTATION, NETWORKS_ANNOTATION, Pod};
use crate::policy::Path;
pub(crate) use addition::{AddedNetworks, plan_addition};
use cni::error::{Code, Error};
use cni::netconf::Missing;
use cni::request::Sandbox;
use linux::netlink::{Inside, LinkId, Netlink};
pub(crate) use node_interfaces::rename as use_node_interfaces;
use plugins::kernel::kernel_error;
pub(crate) use pod_request::PodRequest;
use primary::Resolved;
pub(crate) use redefinition::network_now;

/// Whether the API's pod is the one that the runtime starts, and is to stay. Of a static pod the
/// API has but a mirror, with another UID, and makes it anew at times.
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

/// Whether `config` attaches networks of the node's own to the pod, beside its primary.
pub(crate) fn has_node_networks(config: &Config, pod: &Pod) -> bool {
    let for_pod = !config.default_networks.is_empty() && !is_system_pod(config, pod);
    for_pod || !config.inline_networks.is_empty() || config.auxiliary_chain.is_some()
}

fn is_system_pod(config: &Config, pod: &Pod) -> bool {
    config.system_namespaces.iter().any(|namespace| namespace == pod.namespace.as_str())
}

/// The places where definitions are, for one call.
pub(crate) fn finder<'a>(
    config: &Config,
    node: NodeDefinitions,
    api: Api<'a>,
    on_outage: OnOutage,
) -> Finder<'a> {
    let copies = Copies::new(&config.state_dir, config.definition_cache_max_age, SystemTime::now);
    let version = config.version;
    let (warnings, named_interfaces, answers) = (Vec::new(), Vec::new(), BTreeMap::new());
    Finder { node, api, copies, on_outage, version, warnings, named_interfaces, answers }
}

/// Makes the plan and holds it against the node and the sandbox, if there is one already.
///
/// # Errors
/// [`Error`] for the first thing that makes the plan impossible.
pub(crate) fn plan(
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
    let wanted = definitions_of_cluster(config, pod, &pod_request, definitions);
    let primary = early_primary(config, &pod_request, definitions);
    let has_networks = pod_request.has_extras() || has_node_networks(config, pod);
    let links = inside.filter(|_| has_networks).map_or_else(|| Ok(BTreeSet::new()), link_names)?;
    definitions.fetch(&wanted.all());
    let admitted = admission::admit(config, pod, &pod_request, definitions)?;
    let chosen = genie::choose(config, pod, &pod_request.choices, definitions)?;
    let (selected, choices) = (admitted.networks, chosen.networks);
    let PodNetworks { primary, node_networks, selected, without_device } =
        PodNetworks::resolve(config, pod, selected, choices, has_default, primary, definitions)?;
    let mut plan =
        plan::make(plan::Inputs { config, sandbox, primary, node_networks, selected, links })?;
    plan.has_own_primary = pod_request.has_primary();
    plan.named_interfaces = std::mem::take(&mut definitions.named_interfaces);
    plan.admissions = [admitted.admissions, chosen.admissions].concat();
    let found = std::mem::take(&mut definitions.warnings);
    let on_node = std::mem::take(&mut definitions.node.warnings);
    let asked = pod_request.warnings;
    for warnings in [chosen.warnings, without_device, asked, admitted.warnings, found, on_node] {
        plan.warnings.extend(warnings);
    }
    let installed = Installed::new(plugin_path.to_vec(), config.built_in_plugins);
    plan.check_node(|kind| installed.executor(kind).map(drop), host_link, |path| path.exists())?;
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
    /// `selected` is what the annotations select: with `has_default`, the last of it replaces the
    /// primary. `choices` are networks of the node's conf directory, the first of them for the
    /// primary. `early` is the primary if it has been resolved before.
    fn resolve(
        config: &Config,
        pod: &Pod,
        mut selected: Vec<SelectedNetwork>,
        choices: Vec<NodeNetwork>,
        has_default: bool,
        early: Option<Result<Option<NodeNetwork>, Error>>,
        definitions: &mut Finder<'_>,
    ) -> Result<Self, Error> {
        let mut choices = choices.into_iter();
        let mut primary = match (choices.next(), early) {
            (None, None) => resolve_primary(config, has_default, definitions)?,
            (None, Some(early)) => early?,
            (chosen, _) => chosen,
        };
        let mut node_networks = node_networks(config, pod, definitions)?;
        node_networks.extend(choices);
        let of_node = primary.iter_mut().chain(&mut node_networks);
        let without_device = devices::assign(&mut selected, of_node, &[], config, pod)?;
        let replacement = has_default.then(|| selected.pop()).flatten();
        let of_pod = replacement.map(|replacement| PrimaryNetwork::OfPod(Box::new(replacement)));
        let primary = of_pod.or(primary.map(PrimaryNetwork::OfNode));
        Ok(Self { primary, node_networks, selected, without_device })
    }
}

/// What was refused leaves nothing on the disk, nor what no call could use: a pod that is owed a
/// status cannot start without the API, while those that ask for nothing, and the other verbs, need
/// the primary alone.
fn keep_copies(wanted: &OfCluster, definitions: &Finder<'_>) {
    definitions.keep_copies(&wanted.primary);
    if definitions.on_outage == OnOutage::UseCopies {
        definitions.keep_copies(&wanted.others);
    }
}

/// While Braid leaves the node (`braid uninstall`), a pod that would have an extra network is to
/// start on another one: here it would not be torn down.
fn refuse_while_draining(
    config: &Config,
    pod: &Pod,
    pod_request: &PodRequest,
) -> Result<(), Error> {
    if !config.drain || (!pod_request.has_extras() && !has_node_networks(config, pod)) {
        return Ok(());
    }
    let problem = "braid is leaving this node (drain), and attaches no extra network any more; \
                   start the pod on another node, or run braid install to stay";
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

/// The primary that the configuration names, if it is found without a definition and the pod has
/// chosen no other: read while the API server answers the start of a connection. What is wrong with
/// it is said behind what is wrong with the pod's networks.
fn early_primary(
    config: &Config,
    pod_request: &PodRequest,
    definitions: &mut Finder<'_>,
) -> Option<Result<Option<NodeNetwork>, Error>> {
    let is_named = matches!(config.primary, Some(PrimarySource::Named(_)));
    let is_early = !is_named && !pod_request.has_primary();
    is_early.then(|| resolve_primary(config, false, definitions))
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
        let network = primary::inline(value, &missing, "an entry of \"delegates\"")?;
        networks.push(node_interfaces::resolve_of_node(config, network, definitions).into());
    }
    if !is_system_pod(config, pod) {
        for source in &config.default_networks {
            networks.push(primary::resolve(source, config, definitions)?);
        }
    }
    if let Some(chain) = &config.auxiliary_chain {
        let network = primary::auxiliary_chain(chain, config)?;
        let resolve = |network| node_interfaces::resolve_of_node(config, network, definitions);
        networks.extend(network.map(resolve).map(Resolved::from));
    }
    let network = |Resolved { network, resource }| NodeNetwork::new(network, resource);
    Ok(networks.into_iter().map(network).collect())
}

fn link_names(inside: &mut Inside<'_>) -> Result<BTreeSet<String>, Error> {
    let netlink = inside.netlink().map_err(kernel_error)?;
    let links = netlink.links().map_err(kernel_error)?;
    Ok(links.into_iter().map(|link| link.name).collect())
}

/// The host's interface of this name or alternative name. If the kernel does not say, the plugin
/// will find out.
fn host_link(name: &str) -> HostLink {
    match Netlink::open().and_then(|mut netlink| netlink.find(LinkId::Name(name))) {
        Ok(Some(link)) => HostLink::Present(Some(link.mtu)),
        Ok(None) => HostLink::Absent,
        Err(_) => HostLink::Present(None),
    }
}
