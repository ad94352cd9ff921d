//! Braid's entry in a configuration: what the node needs said in it, what the administrator says,
//! and what it declares to the runtime.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Install, InstallError, Primary, RunMode, definitions};
use crate::config::DEFAULT_CONF_DIR;
use crate::operator::runtime::{Kind, Runtime};
use crate::operator::settings::Settings;
use crate::pod::ANNOTATIONS_CAPABILITY;
use cni::keys;

/// Braid's entry in a file of any form.
pub(in crate::operator) fn of(document: &mut Value) -> Option<&mut Map<String, Value>> {
    let is_ours = |entry: &Value| entry.get("type").is_some_and(|kind| kind == "braid");
    if is_ours(document) {
        return document.as_object_mut();
    }
    document
        .get_mut("plugins")?
        .as_array_mut()?
        .iter_mut()
        .find(|entry| is_ours(entry))?
        .as_object_mut()
}

/// Declares the union of what runtimes offer and what the primary takes; what was switched off
/// stays so.
pub(in crate::operator) fn declare(
    entry: &mut Map<String, Value>,
    runtime: &Runtime,
    primary: Option<&Primary>,
) {
    let mut declared =
        keys::get(entry, "capabilities").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut offered = vec![ANNOTATIONS_CAPABILITY, "portMappings", "bandwidth", "cgroupPath"];
    offered.extend((runtime.kind != Some(Kind::Crio)).then_some("dns"));
    let plugins = primary.iter().flat_map(|primary| &primary.network.plugins);
    let taken = plugins.flat_map(|plugin| plugin.capabilities()).filter(|(_, on)| *on);
    offered.extend(taken.map(|(name, _)| name));
    for name in offered {
        declared.entry(name).or_insert(Value::Bool(true));
    }
    keys::set(entry, "capabilities", Value::Object(declared));
}

/// What an entry needs on this node.
pub(super) struct Settle<'a> {
    /// What the command line says.
    pub(super) install: &'a Install,
    /// The node's runtime.
    pub(super) runtime: &'a Runtime,
    /// Why it is installed.
    pub(super) occasion: RunMode,
    /// The administrator's keys.
    pub(super) settings: Option<Settings>,
}

impl Settle<'_> {
    /// An entry for the end of a chain.
    pub(super) fn new_entry(&self) -> Result<Map<String, Value>, InstallError> {
        let mut entry = Map::new();
        entry.insert("type".to_owned(), json!("braid"));
        entry.insert("capabilities".to_owned(), json!({ANNOTATIONS_CAPABILITY: true}));
        self.entry(&mut entry)?;
        Ok(entry)
    }

    /// The node's keys, then the administrator's, then what the command line says.
    pub(super) fn entry(&self, entry: &mut Map<String, Value>) -> Result<(), InstallError> {
        let drain =
            keys::get(entry, "drain").cloned().filter(|_| self.occasion == RunMode::Reconcile);
        settle(entry, self.runtime, None);
        if let Some(settings) = &self.settings {
            settings.apply(entry)?;
        }
        let kubeconfig = self.install.account.kubeconfig(&definitions(self.runtime));
        if let Some(kubeconfig) = kubeconfig.or_else(|| self.install.kubeconfig.clone()) {
            keys::set(entry, "kubeconfig", json!(kubeconfig));
        }
        if let Some(drain) = drain {
            keys::set(entry, "drain", drain);
        }
        Ok(())
    }
}

/// What this node needs said, on top of what is said already.
pub(in crate::operator) fn settle(
    entry: &mut Map<String, Value>,
    runtime: &Runtime,
    kubeconfig: Option<&Path>,
) {
    keys::take(entry, "drain");
    let mut set = |key: &str, value: Value, due: bool| {
        if due && keys::get(entry, key).is_none() {
            keys::set(entry, key, value);
        }
    };
    let definitions = definitions(runtime);
    let bin_dir = runtime.bin_dirs.first().filter(|dir| **dir != Path::new("/opt/cni/bin"));
    set("primaryConfDir", json!(runtime.conf_dir), runtime.conf_dir != Path::new("/etc/cni/net.d"));
    set("confDir", json!(definitions), definitions != Path::new(DEFAULT_CONF_DIR));
    set("binDir", json!(bin_dir), bin_dir.is_some());
    // CRI-O reports every address of a result as the pod's.
    set("resultScope", json!("primary"), runtime.kind == Some(Kind::Crio));
    if let Some(kubeconfig) = kubeconfig {
        keys::set(entry, "kubeconfig", json!(kubeconfig));
    }
}
