//! Plugins: there, new enough for the networks that name them, and the primary's ready.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Finding, fail, ok, warn};
use crate::attach;
use crate::config::Config;
use crate::definition::NodeDefinitions;
use crate::delegate::{Call, DelegateError, Delegates, Installed, Origin};
use crate::prepare;
use ::plugins::facts;
use cni::deadline::Deadline;
use cni::netconf::{NetworkConfig, PluginType};
use cni::request::{Command, Environment};
use cni::version::Version;
use linux::child;
use linux::netlink::Netlink;
use linux::signal::Signals;

/// How long one plugin may take to say its versions, and the primary to say that it is ready.
const LIMIT: Duration = Duration::from_secs(5);

/// What every plugin of the node's networks needs.
pub(super) fn check(
    config: &Config,
    primary: Option<&NetworkConfig>,
    path: &[PathBuf],
) -> Vec<Finding> {
    let mut signals = match Signals::block() {
        Ok(signals) => signals,
        Err(errno) => {
            return vec![warn("plugins", format!("they cannot be asked: {errno}"), "try again")];
        }
    };
    let environment = Environment::of_process();
    let installed = Installed::new(path.to_vec(), config.built_in_plugins);
    let delegates = Delegates::new(installed, &environment, &[], LIMIT, &mut signals);
    Plugins { delegates, versions: BTreeMap::new() }.check(config, primary)
}

/// Whether the primary's plugins are there, without starting them.
pub(super) fn installed(primary: Option<&NetworkConfig>, installed: &Installed) -> Option<Finding> {
    let missing = |kind: PluginType| installed.executor(&kind).err().map(|error| error.to_string());
    // Braid itself is in the chain that it stands in.
    let others = primary?.plugin_types().filter(|kind| kind.as_str() != "braid");
    let problems: Vec<String> = others.filter_map(missing).collect();
    Some(if problems.is_empty() {
        ok("plugins", "every plugin of the primary is installed")
    } else {
        fail("plugins", problems.join("; "), "install them, or set binDir to where they are")
    })
}

/// The plugins that were asked so far, with the versions that they know.
struct Plugins<'a> {
    delegates: Delegates<'a>,
    versions: BTreeMap<String, Result<Vec<String>, String>>,
}

impl Plugins<'_> {
    fn check(&mut self, config: &Config, primary: Option<&NetworkConfig>) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(primary) = primary {
            findings.push(self.of_primary(primary));
            findings.extend(self.origins(primary));
            findings.extend(config.is_delegating().then(|| self.status(primary)).flatten());
        }
        for mut network in NodeDefinitions::read(&config.conf_dirs).networks(config.version) {
            prepare::use_node_interfaces(config, &mut network);
            let problems = self.problems(&network).into_iter().chain(missing_host_parts(&network));
            findings.extend(problems.map(|problem| {
                let message = format!("network \"{}\": {problem}", network.name);
                warn("networks", message, "pods that ask for it are refused here until then")
            }));
        }
        findings
    }

    fn of_primary(&mut self, network: &NetworkConfig) -> Finding {
        let problems = self.problems(network);
        if problems.is_empty() {
            let version = network.version.as_str();
            ok(
                "plugins",
                format!("every plugin of the primary is installed, and knows CNI {version}"),
            )
        } else {
            let advice = "install them, or newer ones, or set binDir to where they are";
            fail("plugins", problems.join("; "), advice)
        }
    }

    /// Where the primary's plugins come from.
    fn origins(&self, network: &NetworkConfig) -> Option<Finding> {
        let mut said: Vec<String> = Vec::new();
        for kind in network.plugin_types() {
            let origin = self.delegates.installed().origin(&kind).ok()?;
            let version = version(&kind, &origin).map(|it| format!(" {it}")).unwrap_or_default();
            let sentence = format!("{kind}{version}: {origin}");
            if !said.contains(&sentence) {
                said.push(sentence);
            }
        }
        Some(ok("plugins", said.join("; ")))
    }

    /// What the primary says of itself (CNI 1.1.0, section 2, "STATUS").
    fn status(&mut self, network: &NetworkConfig) -> Option<Finding> {
        let error = attach::status(&mut self.delegates, network, Deadline::after(LIMIT)).err()?;
        Some(fail("status", error.to_string(), "see to it: the node is NotReady until then"))
    }

    fn problems(&mut self, network: &NetworkConfig) -> Vec<String> {
        network.plugin_types().filter_map(|kind| self.problem(&kind, network.version)).collect()
    }

    fn problem(&mut self, kind: &PluginType, version: Version) -> Option<String> {
        if !self.versions.contains_key(kind.as_str()) {
            let versions = self.ask(kind).map_err(|error| error.to_string());
            self.versions.insert(kind.to_string(), versions);
        }
        match self.versions.get(kind.as_str())? {
            Err(problem) => Some(problem.clone()),
            Ok(known) if known.iter().any(|known| known == version.as_str()) => None,
            Ok(known) => Some(format!(
                "plugin \"{kind}\" does not know CNI {}, which its network is in: it knows {}",
                version.as_str(),
                known.join(", ")
            )),
        }
    }

    /// VERSION (CNI 1.1.0, section 5): the versions that a plugin knows.
    fn ask(&mut self, kind: &PluginType) -> Result<Vec<String>, DelegateError> {
        let request = json!({"cniVersion": Version::NEWEST.as_str()});
        let call =
            Call { command: Command::Version, plugin: kind, network: "", target: None, request };
        let said = self.delegates.run_for_result(&call, Deadline::after(LIMIT))?;
        let versions = said.get("supportedVersions").and_then(Value::as_array);
        Ok(versions.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }
}

/// The version of a plugin: a reference plugin says it if it is started without a command. Others
/// are not started: what they do without a command is unknown.
fn version(kind: &PluginType, origin: &Origin) -> Option<String> {
    let Origin::Foreign(file) = origin else { return Some(env!("CARGO_PKG_VERSION").to_owned()) };
    ::plugins::find(kind.as_str())?;
    let program =
        child::Program { executable: file, arguments: &[], environment: &[], max_output: 4096 };
    let output =
        child::run_program(&program, b"", Deadline::after(LIMIT).instant(), &|| false).ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let word = said.split_whitespace().find(|word| is_version(word))?;
    Some(word.trim_start_matches('v').to_owned())
}

/// `v1.9.0`, as Go's modules have it.
fn is_version(word: &str) -> bool {
    let numbers = word.strip_prefix('v').map(|numbers| numbers.split('.'));
    numbers.is_some_and(|mut it| it.clone().count() == 3 && it.all(|it| it.parse::<u32>().is_ok()))
}

/// What a network needs of the host beside its plugins.
fn missing_host_parts(network: &NetworkConfig) -> Vec<String> {
    let mut problems = Vec::new();
    for plugin in &network.plugins {
        if let Some(master) = plugin.text("master")
            && Netlink::open()
                .and_then(|mut netlink| netlink.link_exists(master))
                .is_ok_and(|there| !there)
        {
            problems.push(format!("this node has no interface \"{master}\", its \"master\""));
        }
        if let Some((_, socket)) =
            facts::daemon_socket(plugin).filter(|(_, socket)| !socket.exists())
        {
            problems.push(format!(
                "the daemon of the dhcp plugin is not running: {} is missing",
                socket.display()
            ));
        }
    }
    problems
}
