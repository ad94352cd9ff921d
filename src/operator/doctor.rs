//! `braid doctor`: whether a node is fit for pods with several networks. It looks, and changes
//! nothing.

mod addresses;
mod api;
mod finding;
mod kernel;
mod node_interfaces;
mod place;
mod plugins;
mod reading;
mod storage;

use std::path::{Path, PathBuf};

use clap::Args;

use super::CommandError;
use super::fault::{self, Fault};
use super::install::{Install, InstallError};
use super::installation::{InstallMode, Installation};
use super::node::{self, NodeOptions};
use super::runtime::{Kind, Runtime, below};
use crate::conf_file;
use crate::config::{CheckNetworks, Config, ResultScope};
use crate::definition::{Annotations, NodeDefinitions};
use crate::delegate::{self, Installed, Origin};
use crate::pod::ANNOTATIONS_CAPABILITY;
use crate::policy;
use ::plugins::facts::{self, Property};
use cni::netconf::{Missing, NetworkConfig, PluginConfig};
pub(super) use finding::Diagnosis;
use finding::{Finding, fail, ok, warn};

/// What `braid doctor` is told.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// End with 1 for warnings, too
    #[arg(long)]
    strict: bool,
    /// The root of the node's files, for an image or a mounted host
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    node: NodeOptions,
}

impl Doctor {
    pub(super) fn run(&self) -> Result<Diagnosis, CommandError> {
        let runtime = node::runtime(&self.node.directories, &self.root)?;
        let node = Examined::new(runtime, self.root.clone());
        let mut findings = vec![found_runtime(&node.runtime)];
        findings.extend(user());
        findings.extend(place::unreadable(&node.seen));
        let place = match &self.node.config {
            Some(file) => Some(node::place_in(&below(&self.root, file))?),
            None => Installation::all(&node.seen.conf_dir, &["braid"]).into_iter().next(),
        };
        match place {
            Some(place) => findings.extend(node.configured(&place, binary(&node.seen))),
            None => {
                findings.push(place::nowhere(&node.seen));
                findings.extend(self.before_installation(&node));
            }
        }
        Ok(Diagnosis { strict: self.strict, findings })
    }

    /// What is true already of a node that Braid is to be installed on.
    fn before_installation(&self, node: &Examined) -> Vec<Finding> {
        match Install::foreseen(&self.root, &self.node.directories) {
            // What stands in the way is said already, with what to do.
            Err(InstallError::Multus(_) | InstallError::Unreadable(_)) => vec![kernel::check()],
            Err(error) => {
                let advice = "braid install refuses until then";
                vec![fail("installation", error.to_string(), advice), kernel::check()]
            }
            Ok(place) => {
                let mut findings = node.configured(&place, None);
                if let Some(first) = findings.first_mut() {
                    first.message.insert_str(0, "braid install would write ");
                }
                findings
            }
        }
    }
}

/// The node that is looked at.
struct Examined {
    /// With the node's own paths.
    runtime: Runtime,
    /// With the paths by which we reach them.
    seen: Runtime,
    root: PathBuf,
}

/// Another user sees no records, and no file of root's.
fn user() -> Option<Finding> {
    let user = nix::unistd::geteuid();
    let message = format!(
        "this is user {user} and not root: what only root can see looks as if it were wrong"
    );
    (!user.is_root()).then(|| warn("user", message, "run it as root"))
}

fn found_runtime(runtime: &Runtime) -> Finding {
    let directories = format!("configurations in {}", runtime.conf_dir.display());
    match (runtime.kind, &runtime.file) {
        (Some(kind), Some(file)) => {
            ok("runtime", format!("{kind} ({}), {directories}", file.display()))
        }
        (Some(kind), None) => ok("runtime", format!("{kind}, {directories}")),
        (None, _) => warn(
            "runtime",
            format!(
                "no configuration of a known runtime is here; taken for granted: {directories}"
            ),
            "name the directories with --conf-dir and --bin-dir if they are others",
        ),
    }
}

impl Examined {
    fn new(runtime: Runtime, root: PathBuf) -> Self {
        let bin_dirs = runtime.bin_dirs.iter().map(|dir| below(&root, dir)).collect();
        let seen =
            Runtime { conf_dir: below(&root, &runtime.conf_dir), bin_dirs, ..runtime.clone() };
        Self { runtime, seen, root }
    }

    /// What is found with Braid in that place, now or once it is installed.
    fn configured(&self, place: &Installation, binary: Option<Finding>) -> Vec<Finding> {
        let config = match place.config() {
            Ok(config) => fault::below_root(config, &self.root),
            Err(error) => {
                let message = format!("{}: {error}", place.file.display());
                let fix = "correct it; until then no pod starts";
                return vec![fail("configuration", message, fix)];
            }
        };
        let runtime = &self.seen;
        let mut findings = vec![configuration(place, &config)];
        let faults = Fault::all(place, &self.runtime, &self.root);
        findings.push(place::order(place, runtime, &self.root, &faults));
        findings.extend(place::beside(runtime));
        findings.extend(reading::check(&self.runtime, &self.root, place, &config));
        findings.extend(binary);
        let (network, finding) = primary_network(&config, place, &faults);
        findings.push(finding);
        let path = config.plugin_path(&runtime.bin_dirs);
        findings.extend(match self.is_mounted() {
            // What is built for another machine cannot be started on this one.
            true => {
                let installed = Installed::new(path, config.built_in_plugins);
                plugins::installed(network.as_ref(), &installed).into_iter().collect()
            }
            false => plugins::check(&config, network.as_ref(), &path),
        });
        findings.push(capabilities(&config, network.as_ref(), place.stance));
        findings.extend(crio(runtime, &config, &config.plugin_path(&runtime.bin_dirs)));
        findings.extend(definitions(&config));
        findings.extend(node_interfaces::check(&config, self.is_mounted()));
        findings.push(kernel::check());
        findings.extend(storage::state(&config).into_iter().chain(storage::files(&config)));
        findings.extend(place::multus(runtime, &config.state_dir));
        findings.extend(api::check(&config));
        findings.extend(addresses::check(&config, &self.root));
        findings
    }

    /// Whether it is another node's root, or an image's.
    fn is_mounted(&self) -> bool {
        self.root != Path::new("/")
    }
}

fn configuration(place: &Installation, config: &Config) -> Finding {
    let stance = match place.stance {
        InstallMode::Delegating => "delegating",
        InstallMode::Chained => "chained",
        InstallMode::ChainedFile => "chained by a file of its own",
    };
    let message = format!("{} ({stance})", place.file.display());
    match config.warnings.as_slice() {
        _ if config.drain => {
            let message = message + ": draining, no new extra network is attached";
            warn("configuration", message, "run braid uninstall to go on, or braid install to stay")
        }
        // Without rules that can be read, no pod gets what it asks for.
        warnings if config.tenancy.policy.is_err() => fail(
            "configuration",
            format!("{message}: {}", warnings.join("; ")),
            "correct these keys: until then pods get no network that they ask for",
        ),
        [] => ok("configuration", message),
        warnings => warn(
            "configuration",
            format!("{message}: {}", warnings.join("; ")),
            "correct these keys",
        ),
    }
}

fn binary(runtime: &Runtime) -> Option<Finding> {
    let kind = "braid".parse().ok()?;
    Some(match delegate::find(&kind, &runtime.bin_dirs) {
        Ok(file) => ok("binary", file.display().to_string()),
        Err(error) => fail("binary", error.to_string(), "run braid install"),
    })
}

fn primary_network(
    config: &Config,
    place: &Installation,
    faults: &[Fault],
) -> (Option<NetworkConfig>, Finding) {
    if let Some(Fault::Entry { source, .. }) =
        faults.iter().find(|it| matches!(it, Fault::Entry { .. }))
    {
        return (None, fail("primary", source.to_string(), "correct it; until then no pod starts"));
    }
    match fault::primary(config) {
        Some(Ok(network)) => {
            let finding = ready(config, &network);
            (Some(network), finding)
        }
        Some(Err(error)) => {
            (None, fail("primary", error.to_string(), "see why the primary has written no file"))
        }
        None if config.is_delegating() => (
            None,
            ok("primary", "a definition of the cluster: the API is asked for it at each ADD"),
        ),
        None => {
            let finding = ok("primary", "the runtime runs it: braid stands in its chain");
            (chained_network(place), finding)
        }
    }
}

/// The network in whose chain Braid stands.
fn chained_network(place: &Installation) -> Option<NetworkConfig> {
    let file = match place.stance {
        InstallMode::ChainedFile => {
            let directory = place.file.parent()?.parent()?;
            conf_file::list(directory, &conf_file::EXTENSIONS).ok()?.into_iter().next()?
        }
        InstallMode::Chained | InstallMode::Delegating => place.file.clone(),
    };
    conf_file::load(&file, &Missing::default()).ok()
}

fn ready(config: &Config, network: &NetworkConfig) -> Finding {
    match config.readiness.file.as_ref().filter(|file| !file.exists()) {
        Some(file) => {
            let message = format!("{} is not ready: {} is missing", network.name, file.display());
            fail("primary", message, "see why the primary does not come up")
        }
        None => ok("primary", format!("network \"{}\"", network.name)),
    }
}

/// A runtime hands over only what our own entry declares.
fn capabilities(config: &Config, network: Option<&NetworkConfig>, stance: InstallMode) -> Finding {
    let declared = config.from_runtime.declared_capabilities.clone().unwrap_or_default();
    let mut wanted = vec![ANNOTATIONS_CAPABILITY];
    if let (InstallMode::Delegating, Some(network)) = (stance, network) {
        let taken =
            network.plugins.iter().flat_map(|plugin| plugin.capabilities()).filter(|(_, on)| *on);
        wanted.extend(taken.map(|(name, _)| name));
    }
    let missing: Vec<&str> =
        wanted.into_iter().filter(|name| !declared.contains_key(*name)).collect();
    if missing.is_empty() {
        return ok("capabilities", "what the primary takes is declared");
    }
    let message = format!("the runtime does not hand over {}", missing.join(", "));
    fail(
        "capabilities",
        message,
        "declare them in \"capabilities\" of braid's entry: braid install does",
    )
}

/// CRI-O takes no network but the one that its configuration names, if it names one.
fn other_default_network(runtime: &Runtime, config: &Config) -> Option<Finding> {
    let network = config.network.as_str();
    let name = runtime.default_network.as_deref().filter(|name| *name != network)?;
    let message = format!("CRI-O takes no network but \"{name}\" (cni_default_network)");
    let advice = format!("set cni_default_network to \"{network}\", or take it out");
    Some(fail("crio", message, advice))
}

fn crio(runtime: &Runtime, config: &Config, path: &[PathBuf]) -> Vec<Finding> {
    if runtime.kind != Some(Kind::Crio) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if config.result_scope == ResultScope::All {
        let message = "CRI-O reports every address of a result as the pod's";
        findings.push(fail("crio", message, "set \"resultScope\": \"primary\""));
    }
    findings.extend(other_default_network(runtime, config));
    // Braid's own plugin of that name compares the entry.
    let installed = Installed::new(path.to_vec(), config.built_in_plugins);
    let always_fails = |kind: &str| {
        let origin = kind.parse().map(|kind| installed.origin(&kind));
        let is_own = matches!(origin, Ok(Ok(origin)) if !matches!(origin, Origin::Foreign(_)));
        facts::has(kind, Property::CheckAlwaysFails) && !is_own
    };
    let uses_whereabouts = NodeDefinitions::read(&config.conf_dirs)
        .networks(config.version)
        .iter()
        .flat_map(|network| network.plugins.iter())
        .filter_map(PluginConfig::ipam)
        .any(always_fails);
    if uses_whereabouts && config.check_networks == CheckNetworks::All {
        let message = "CRI-O runs CHECK after every ADD, and whereabouts' always fails";
        findings.push(fail("crio", message, "set \"checkNetworks\": \"kernel\""));
    }
    findings
}

fn definitions(config: &Config) -> Vec<Finding> {
    let node = NodeDefinitions::read(&config.conf_dirs);
    let mut findings: Vec<Finding> = node
        .warnings
        .iter()
        .map(|warning| warn("definitions", warning.clone(), "repair or remove the file"))
        .collect();
    let networks = node.annotated_networks(config.version);
    if findings.is_empty() {
        findings.push(ok("definitions", format!("{} on this node", networks.len())));
    }
    findings.extend(open_addresses(config, &networks));
    findings
}

/// Networks on which a pod can take an address of the node or of a service.
fn open_addresses(config: &Config, networks: &[(NetworkConfig, Annotations)]) -> Vec<Finding> {
    let Ok(policy) = &config.tenancy.policy else { return Vec::new() };
    if let Some(policy) = policy.as_ref().filter(|policy| policy.is_enforced()) {
        let is_named =
            !policy.service_cidrs().is_empty() || !config.tenancy.keep_cluster_routes.is_empty();
        let message = "policy.serviceCIDRs is missing: a pod may be given an address of a service";
        let advice = "write what the API server has for --service-cluster-ip-range";
        return if is_named { Vec::new() } else { vec![warn("policy", message, advice)] };
    }
    let open = networks.iter().filter_map(|(network, annotations)| {
        let problem = policy::open_addresses(network, annotations)?;
        let message = format!("network \"{}\": {problem}", network.name);
        let advice =
            "add braid.io/allowed-ips to its definition, or enforce a policy (allowedSubnets)";
        Some(warn("addresses", message, advice))
    });
    open.collect()
}
