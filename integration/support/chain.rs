//! A conflist walked as the runtime's libcni does it: each plugin in order with the result of the
//! one before, DEL in reverse with the final one. Braid may be any of them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::call::{ANNOTATIONS, Call, NETWORKS, Outcome};
use crate::node::{BRAID, Node, text};
use crate::pod::Pod;

/// One network of the runtime.
pub(crate) struct Chain {
    conflist: Value,
    runtime_config: Map<String, Value>,
}

impl Chain {
    /// The chain of these plugins, in 1.0.0 and under the name `node`. An entry `{"type": "braid"}`
    /// gets the node's directories and the annotations capability if it does not set them
    /// itself.
    pub(crate) fn new(node: &Node, plugins: Value) -> Self {
        let mut conflist = json!({"cniVersion": "1.0.0", "name": "node", "plugins": plugins});
        for plugin in conflist["plugins"].as_array_mut().unwrap() {
            if plugin["type"] == "braid" {
                complete(node, plugin.as_object_mut().unwrap());
            }
        }
        let runtime_config = [(ANNOTATIONS.to_owned(), json!({}))].into_iter().collect();
        Self { conflist, runtime_config }
    }

    /// Runs in another version.
    pub(crate) fn version(mut self, version: &str) -> Self {
        self.conflist["cniVersion"] = json!(version);
        self
    }

    /// A capability argument that the runtime offers.
    pub(crate) fn runtime_config(mut self, key: &str, value: Value) -> Self {
        self.runtime_config.insert(key.to_owned(), value);
        self
    }

    /// The pod asks for these networks.
    pub(crate) fn networks(mut self, value: &str) -> Self {
        self.runtime_config[ANNOTATIONS][NETWORKS] = json!(value);
        self
    }

    /// ADD: the final result.
    ///
    /// # Errors
    /// The outcome of the first plugin that fails.
    pub(crate) fn add(&self, pod: &Pod<'_>) -> Result<Value, Outcome> {
        let mut result = Value::Null;
        for plugin in self.plugins() {
            let outcome = self.run("ADD", plugin, pod, &result);
            if !outcome.status.success() {
                return Err(outcome);
            }
            result = outcome.json();
        }
        Ok(result)
    }

    /// CHECK of every plugin against the final result.
    ///
    /// # Errors
    /// The outcome of the first plugin that fails.
    pub(crate) fn check(&self, pod: &Pod<'_>, result: &Value) -> Result<(), Outcome> {
        let outcomes = self.plugins().iter().map(|plugin| self.run("CHECK", plugin, pod, result));
        outcomes.into_iter().find(|outcome| !outcome.status.success()).map_or(Ok(()), Err)
    }

    /// DEL in reverse, to the first that fails, as libcni does.
    ///
    /// # Errors
    /// The outcome of the plugin that failed.
    pub(crate) fn del(&self, pod: &Pod<'_>, result: &Value) -> Result<(), Outcome> {
        let outcomes =
            self.plugins().iter().rev().map(|plugin| self.run("DEL", plugin, pod, result));
        outcomes.into_iter().find(|outcome| !outcome.status.success()).map_or(Ok(()), Err)
    }

    fn plugins(&self) -> &[Value] {
        self.conflist["plugins"].as_array().unwrap()
    }

    fn run(&self, verb: &str, plugin: &Value, pod: &Pod<'_>, result: &Value) -> Outcome {
        let call = Call::again(pod.node, verb, self.request(plugin, result));
        call.of_pod(pod).program(executable(pod.node, text(&plugin["type"]))).run()
    }

    /// The request of one plugin (CNI 1.1.0, section 3).
    fn request(&self, plugin: &Value, result: &Value) -> Value {
        let mut request = plugin.as_object().cloned().unwrap();
        for key in ["cniVersion", "name"] {
            request.insert(key.to_owned(), self.conflist[key].clone());
        }
        let capabilities = request.remove("capabilities").unwrap_or_default();
        let declared = |key: &String| capabilities[key.as_str()] == true;
        let arguments: Map<String, Value> =
            self.runtime_config.clone().into_iter().filter(|(key, _)| declared(key)).collect();
        if !arguments.is_empty() {
            request.insert("runtimeConfig".to_owned(), Value::Object(arguments));
        }
        if !result.is_null() {
            request.insert("prevResult".to_owned(), result.clone());
        }
        Value::Object(request)
    }
}

fn complete(node: &Node, braid: &mut Map<String, Value>) {
    let defaults = [
        ("confDir", json!(node.path_text("braid.d"))),
        ("cniDir", json!(node.path_text("state"))),
        ("primaryConfDir", json!(node.path_text("net.d"))),
        ("capabilities", json!({ANNOTATIONS: true})),
    ];
    for (key, value) in defaults {
        braid.entry(key).or_insert(value);
    }
}

/// The executable of a plugin, in the node's `CNI_PATH`.
pub(crate) fn executable(node: &Node, kind: &str) -> PathBuf {
    if kind == "braid" {
        return BRAID.into();
    }
    let path = node.plugin_path();
    let files = path.split(':').map(|directory| Path::new(directory).join(kind));
    files
        .into_iter()
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("no plugin {kind} in {path}"))
}
