//! A conf or conflist: the network as a whole, each plugin, and Braid's own entry, key by key.

use serde_json::{Value, json};

use super::{Node, Report, Spot, Tree};
use crate::config::Config;
use crate::operator::fault::EntryFault;
use crate::operator::installation::InstallMode;
use crate::policy::Tenancy;
use cni::netconf::{Missing, NetconfError, NetworkConfig};
use plugins::facts::{self, Property};

/// Whether an object of a JSON file is a network configuration, and not something else's: a
/// manifest, or the settings of any program.
pub(super) fn is_one(document: &Node) -> bool {
    if document.get("kind").is_some() {
        return false;
    }
    let plugins = document.get("plugins").map(Node::elements).unwrap_or_default();
    let kind = document.get("type").and_then(Node::text);
    let is_known = kind.is_some_and(|kind| {
        // Braid's own, and those that it takes the place of, are known without a `cniVersion`.
        facts::has(kind, Property::MetaPlugin) || document.get("ipam").is_some()
    });
    let has_version = document.get("cniVersion").or_else(|| document.get("cniVersions")).is_some();
    has_version || is_known || plugins.iter().any(|plugin| plugin.get("type").is_some())
}

/// A conf or conflist; `name` stands in if it has none.
pub(super) fn check(document: &Node, name: Option<&str>, report: &mut Report) {
    let before = report.problems.len();
    check_key(document, "cniVersion", report);
    check_key(document, "cniVersions", report);
    if document.get("name").is_some() {
        check_key(document, "name", report);
    } else if name.is_none() && document.get("type").is_none_or(|kind| kind.text() != Some("braid"))
    {
        report.error(document.spot, NetconfError::NoName.to_string());
    }
    let plugins = document.get("plugins");
    let inline = plugins.is_none().then_some(document);
    for (at, plugin) in
        plugins.map(Node::elements).unwrap_or_default().iter().chain(inline).enumerate()
    {
        check_plugin(plugin, report);
        check_place(document, at, plugin, report);
    }
    if report.problems.len() == before {
        let missing = Missing { name: name.or(Some("x")), ..Missing::default() };
        let whole =
            NetworkConfig::read(&document.to_value(), &missing).and_then(NetworkConfig::complete);
        if let Err(error) = whole {
            report.error(plugins.map_or(document.spot, |plugins| plugins.spot), error.to_string());
        }
    }
}

/// One key of a network by itself, so that one mistake does not hide another.
fn check_key(document: &Node, key: &str, report: &mut Report) {
    let Some(value) = document.get(key) else { return };
    let mut network = json!({"name": "x", "plugins": [{"type": "x"}]});
    if let Some(network) = network.as_object_mut() {
        network.insert(key.to_owned(), value.to_value());
    }
    if let Err(error) = NetworkConfig::read(&network, &Missing::default()) {
        report.error(value.spot, error.to_string());
    }
}

fn check_plugin(plugin: &Node, report: &mut Report) {
    let network = json!({"name": "x", "plugins": [plugin.to_value()]});
    let kind = plugin.get("type").map_or(plugin.spot, |kind| kind.spot);
    match NetworkConfig::read(&network, &Missing::default()) {
        // What ADD says of a plugin's own keys.
        Ok(network) => {
            let checked = network.plugins.iter().map(facts::check_config);
            checked.filter_map(Result::err).for_each(|error| report.error(kind, error.to_string()));
        }
        Err(error) => report.error(kind, error.to_string()),
    }
    if plugin.get("type").and_then(Node::text) == Some("braid") {
        check_braid(plugin, report);
    }
}

/// Whether Braid can work in its place. An entry alone, without a name, says nothing of its
/// place.
fn check_place(document: &Node, at: usize, plugin: &Node, report: &mut Report) {
    if plugin.get("type").and_then(Node::text) != Some("braid") {
        return;
    }
    let stance = match (at, document.get("name")) {
        (0, Some(_)) => InstallMode::Delegating,
        (0, None) => return,
        _ => InstallMode::Chained,
    };
    let mut entry = plugin.to_value();
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("name".to_owned(), json!("x"));
    }
    // What is wrong with a key is reported at the key.
    let Ok(config) = Config::parse(entry.to_string().as_bytes()) else { return };
    if let Some(fault) = EntryFault::of(stance, &config) {
        report.error(plugin.get("type").map_or(plugin.spot, |kind| kind.spot), fault.to_string());
    }
}

/// Braid's own entry, each key by itself.
fn check_braid(plugin: &Node, report: &mut Report) {
    let Tree::Map(entries) = &plugin.tree else { return };
    for (key, spot, value) in
        entries.iter().filter(|(key, _, _)| !["name", "type", "plugins"].contains(&key.as_str()))
    {
        let before = report.problems.len();
        if let ("policy", Tree::Map(rules)) = (key.as_str(), &value.tree) {
            for (rule, spot, value) in rules {
                check_braids_key(key, json!({rule: value.to_value()}), *spot, value.spot, report);
            }
        }
        if report.problems.len() == before {
            check_braids_key(key, value.to_value(), *spot, value.spot, report);
        }
    }
}

fn check_braids_key(key: &str, value: Value, at_key: Spot, at_value: Spot, report: &mut Report) {
    let mut alone = json!({"name": "x", "type": "braid"});
    if let Some(alone) = alone.as_object_mut() {
        alone.insert(key.to_owned(), value);
    }
    match Config::parse(alone.to_string().as_bytes()) {
        // Without rules that can be read, no pod gets what it asks for.
        Ok(Config { tenancy: Tenancy { policy: Err(problem), .. }, .. }) => {
            report.error(at_value, problem.to_string());
        }
        Ok(config) => {
            config.warnings.into_iter().for_each(|warning| report.warning(at_key, warning))
        }
        Err(error) => report.error(at_value, error.to_string()),
    }
}
