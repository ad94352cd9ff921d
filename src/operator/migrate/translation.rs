//! A configuration of Multus's in Braid's words. Nothing is read or written here but whether files
//! exist.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::nested;
use crate::config::{self, MULTUS_CONF_DIR, MULTUS_DAEMON_KEYS};
use crate::operator::install::{self, MULTUS, Primary, entry};
use crate::operator::installation::Installation;
use crate::operator::runtime::{Runtime, below};
use cni::keys;

/// Where Multus's pods have the host's directories, and the host has not.
const POD_ROOTS: [&str; 2] = ["/hostroot", "/host"];
/// Keys that hold one path.
const PATHS: [&str; 9] = [
    "clusterNetwork",
    "kubeconfig",
    "confDir",
    "cniDir",
    "binDir",
    "logFile",
    "readinessindicatorfile",
    "primaryConfDir",
    "kubeletSocket",
];
/// Keys of the network and of the runtime, not of the plugin's own.
pub(super) const NETWORK_KEYS: [&str; 6] =
    ["cniVersion", "cniVersions", "name", "type", "prevResult", "runtimeConfig"];

/// The node that the configuration is for.
pub(super) struct TargetNode<'a> {
    pub(super) root: &'a Path,
    pub(super) runtime: &'a Runtime,
    /// What can be the primary, in the runtime's order; files below the root.
    pub(super) primaries: &'a [Primary],
    /// Braid's own kubeconfig, if one was named.
    pub(super) kubeconfig: Option<&'a Path>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Translation {
    /// The conflist.
    pub(super) document: Value,
    /// What the administrator should know.
    pub(super) notes: Vec<String>,
}

/// Translates Multus's file, of which it is the first plugin, with what its daemon was told on top,
/// since the daemon's word counts.
pub(super) fn translate(
    document: &Value,
    daemon: &Map<String, Value>,
    site: &TargetNode<'_>,
) -> Translation {
    let mut list = document.as_object().cloned().unwrap_or_default();
    let mut plugins = match keys::take(&mut list, "plugins") {
        Some(Value::Array(plugins)) => plugins,
        _ => vec![Value::Object(list.clone())],
    };
    let mut multus = plugins.first().and_then(Value::as_object).cloned().unwrap_or_default();
    let mut notes = Vec::new();
    let layers = nested::unwrap(&mut multus);
    if layers > 0 {
        notes.push(format!(
            "multus has taken its own file for the primary network's, {layers} deep: the innermost \
             one's primary network is kept"
        ));
    }
    let entry = entry(&multus, daemon, site, &mut notes);
    if let Some(first) = plugins.first_mut() {
        *first = Value::Object(entry);
    }
    list.retain(|key, _| {
        is_one_of(key, &["cniVersion", "cniVersions", "name", "disableCheck", "disableGC"])
    });
    list.insert("plugins".to_owned(), Value::Array(plugins));
    Translation { document: Value::Object(list), notes }
}

fn is_one_of(key: &str, keys: &[&str]) -> bool {
    keys.iter().any(|known| known.eq_ignore_ascii_case(key))
}

fn entry(
    multus: &Map<String, Value>,
    daemon: &Map<String, Value>,
    site: &TargetNode<'_>,
    notes: &mut Vec<String>,
) -> Map<String, Value> {
    let mut entry = known_keys(multus.iter().chain(daemon), notes);
    let pod_roots = pod_roots(daemon.iter().chain(multus));
    for key in PATHS {
        if let Some(path) = keys::get(&entry, key).and_then(Value::as_str) {
            let path = on_host(path, &pod_roots, site.root);
            keys::set(&mut entry, key, json!(path));
        }
    }
    find_primary(&mut entry, site, notes);
    name_default_networks(&mut entry, notes);
    keep_isolation(&mut entry, notes);
    keep_definitions(&mut entry, site);
    let primary = current_primary(&entry, site);
    entry::settle(&mut entry, site.runtime, site.kubeconfig);
    entry::declare(&mut entry, site.runtime, primary);
    note_kubeconfig(&entry, site, notes);
    entry
}

/// Those of Multus's keys that Braid has too, and notes.
fn known_keys<'v>(
    written: impl Iterator<Item = (&'v String, &'v Value)>,
    notes: &mut Vec<String>,
) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("type".to_owned(), json!("braid"));
    let mut left_out = Vec::new();
    for (key, value) in written.filter(|(key, _)| !is_one_of(key, &NETWORK_KEYS)) {
        match config::known_keys().find(|known| known.eq_ignore_ascii_case(key)) {
            Some(known) => keys::set(&mut entry, known, value.clone()),
            None if key.contains(['.', '/']) => keys::set(&mut entry, key, value.clone()),
            None if is_one_of(key, &MULTUS_DAEMON_KEYS) => {}
            None => left_out.push(key.as_str()),
        }
    }
    if !left_out.is_empty() {
        notes.push(format!("left out, because braid has no such key: {}", left_out.join(", ")));
    }
    entry
}

/// Where the pods of Multus see the host's files.
fn pod_roots<'v>(keys: impl Iterator<Item = (&'v String, &'v Value)>) -> Vec<String> {
    let chroot = keys.filter(|(key, _)| key.eq_ignore_ascii_case("chrootDir"));
    let chroot = chroot.filter_map(|(_, value)| value.as_str()).filter(|path| path.len() > 1);
    let named = chroot.map(|path| path.trim_end_matches('/').to_owned());
    named.chain(POD_ROOTS.map(str::to_owned)).collect()
}

/// A path as the host has it.
fn on_host(path: &str, pod_roots: &[String], root: &Path) -> String {
    let of_pod = pod_roots.iter().find_map(|pod_root| {
        let rest = path.strip_prefix(pod_root.as_str())?;
        (rest.starts_with('/') && !below(root, Path::new(pod_root)).exists()).then_some(rest)
    });
    of_pod.unwrap_or(path).to_owned()
}

/// Multus keeps a copy of the primary's configuration, which its pod renews; Braid reads the
/// primary's file.
fn find_primary(entry: &mut Map<String, Value>, site: &TargetNode<'_>, notes: &mut Vec<String>) {
    let named = keys::get(entry, "clusterNetwork").and_then(Value::as_str).map(PathBuf::from);
    if let Some(path) = named.filter(|path| path.is_absolute()) {
        return find_primary_of_file(&path, entry, site, notes);
    }
    let delegates =
        keys::get(entry, "delegates").and_then(Value::as_array).cloned().unwrap_or_default();
    let name = delegates.first().and_then(|first| first.get("name")?.as_str());
    let at =
        name.and_then(|name| site.primaries.iter().position(|it| it.network.name.as_str() == name));
    match (delegates.len(), at.and_then(|at| Some((at, site.primaries.get(at)?)))) {
        (0, _) if keys::get(entry, "clusterNetwork").is_none() => {
            keys::set(entry, "clusterNetwork", json!("auto"));
        }
        (0, _) => {}
        (1, Some((at, primary))) => {
            keys::take(entry, "delegates");
            let file = install::on_node(site.root, &primary.file);
            let source = if at == 0 { json!("auto") } else { json!(file) };
            keys::set(entry, "clusterNetwork", source);
        }
        _ => notes.push(
            "the primary network stays written out in \"delegates\", and is no longer kept up to \
             date: set \"clusterNetwork\" once the primary has a file of its own"
                .to_owned(),
        ),
    }
}

/// The primary of a file that is named stays named, unless it is the first one anyway, is gone, or
/// is Multus's own.
fn find_primary_of_file(
    path: &Path,
    entry: &mut Map<String, Value>,
    site: &TargetNode<'_>,
    notes: &mut Vec<String>,
) {
    let file = below(site.root, path);
    let is_of_multus = !Installation::in_file(&file, &MULTUS).is_empty();
    if is_of_multus {
        notes.push(format!(
            "\"clusterNetwork\" named multus's own file, {}: braid takes the first configuration \
             without multus",
            path.display()
        ));
    }
    let is_first = site.primaries.first().is_some_and(|first| first.file == file);
    if is_of_multus || is_first || !file.exists() {
        keys::set(entry, "clusterNetwork", json!("auto"));
    }
}

/// A default network is named without its namespace, which is `multusNamespace`. One of another
/// namespace stays as it is written, and stops the migration.
fn name_default_networks(entry: &mut Map<String, Value>, notes: &mut Vec<String>) {
    let namespace =
        keys::get(entry, "multusNamespace").and_then(Value::as_str).unwrap_or("kube-system");
    let prefix = format!("{namespace}/");
    let Some(Value::Array(names)) = keys::get(entry, "defaultNetworks") else { return };
    let own =
        |name: &Value| name.as_str().and_then(|name| name.strip_prefix(&prefix)).map(Value::from);
    let named: Vec<Value> =
        names.iter().map(|name| own(name).unwrap_or_else(|| name.clone())).collect();
    if named != *names {
        notes.push(format!(
            "networks of \"defaultNetworks\" are written without {prefix}, where they are looked \
             for"
        ));
        keys::set(entry, "defaultNetworks", Value::Array(named));
    }
}

/// The primary whose capabilities are declared.
fn current_primary<'p>(
    entry: &Map<String, Value>,
    site: &'p TargetNode<'_>,
) -> Option<&'p Primary> {
    match keys::get(entry, "clusterNetwork").and_then(Value::as_str) {
        Some(path) if path.starts_with('/') => {
            site.primaries.iter().find(|primary| primary.file == below(site.root, Path::new(path)))
        }
        Some("auto") => site.primaries.first(),
        _ => None,
    }
}

/// Pods must not lose, by the way, what they may use now.
fn keep_isolation(entry: &mut Map<String, Value>, notes: &mut Vec<String>) {
    let isolated =
        keys::get(entry, "namespaceIsolation").is_some_and(|value| *value == json!(true));
    if !isolated {
        keys::set(entry, "namespaceIsolation", json!(false));
        notes.push(
            "\"namespaceIsolation\" was off and stays off, so that pods keep the networks of other \
             namespaces: set it to true when none needs them"
                .to_owned(),
        );
    }
}

/// Multus's directory of definitions is read after Braid's, but only if neither is named.
fn keep_definitions(entry: &mut Map<String, Value>, site: &TargetNode<'_>) {
    let directory = below(site.root, Path::new(MULTUS_CONF_DIR));
    let has_files = std::fs::read_dir(directory).is_ok_and(|mut files| files.next().is_some());
    let elsewhere =
        install::definitions(site.runtime) != Path::new(crate::config::DEFAULT_CONF_DIR);
    if has_files && elsewhere && keys::get(entry, "confDir").is_none() {
        keys::set(entry, "confDir", json!(MULTUS_CONF_DIR));
    }
}

fn note_kubeconfig(entry: &Map<String, Value>, site: &TargetNode<'_>, notes: &mut Vec<String>) {
    let kept =
        keys::get(entry, "kubeconfig").and_then(Value::as_str).filter(|path| !path.is_empty());
    match kept {
        _ if site.kubeconfig.is_some() => {}
        Some(path) => notes.push(format!(
            "{path} is multus's: its token ends with multus's pods, and its account may not patch \
             pods/status; give braid its own with --kubeconfig (docs/cluster.md, \"Node by node\") \
             before multus's DaemonSet goes"
        )),
        None => notes.push(
            "no kubeconfig is configured, so definitions come from this node's directory alone: \
             give braid one with --kubeconfig (docs/cluster.md, \"Node by node\")"
                .to_owned(),
        ),
    }
}
