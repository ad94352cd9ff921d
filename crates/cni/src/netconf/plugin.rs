//! One plugin of a chain: its configuration as it was written, and the request that it gets.

use serde_json::{Map, Value};

use super::{NetconfError, NetworkConfig, PluginType};
use crate::keys;

/// One plugin of a chain, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// Its executable.
    pub kind: PluginType,
    object: Map<String, Value>,
}

impl PluginConfig {
    /// Reads one entry of `plugins`, or a conf file.
    ///
    /// # Errors
    /// [`NetconfError`] if it is no object, or names no plugin.
    pub fn read(value: &Value) -> Result<Self, NetconfError> {
        let object = value
            .as_object()
            .ok_or_else(|| NetconfError::NotAnObject("a plugin's configuration".to_owned()))?;
        let kind = keys::decode::<String>(object, "type")?
            .filter(|kind| !kind.is_empty())
            .ok_or(NetconfError::NoType)?;
        keys::decode::<Map<String, Value>>(object, "capabilities")?;
        check_ipam_types(object)?;
        Ok(Self { kind: kind.parse()?, object: object.clone() })
    }

    /// The configuration as it was written.
    pub fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// A text value of the plugin's own, such as macvlan's `master`.
    pub fn text(&self, key: &str) -> Option<&str> {
        keys::get(&self.object, key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The `type` of the IPAM plugin that this plugin delegates to.
    pub fn ipam(&self) -> Option<&str> {
        let ipam = keys::get(&self.object, "ipam")?.as_object()?;
        keys::get(ipam, "type")?.as_str().filter(|kind| !kind.is_empty())
    }

    /// Whether the plugin declares `capability`.
    pub fn declares(&self, capability: &str) -> bool {
        self.capabilities().any(|(name, on)| on && name == capability)
    }

    /// The declared capabilities, each with whether it is switched on.
    pub fn capabilities(&self) -> impl Iterator<Item = (&str, bool)> {
        let declared = keys::get(&self.object, "capabilities").and_then(Value::as_object);
        declared
            .into_iter()
            .flatten()
            .map(|(name, on)| (name.as_str(), on.as_bool().unwrap_or(false)))
    }

    /// Merges `args.cni`, the pod's word before the definition's (NPWG 1.3, section 4.1.2.1.6).
    ///
    /// # Errors
    /// [`NetconfError::NotAnObject`] if the configuration's own `args` is something else.
    pub fn merge_cni_args(&mut self, requested: &Map<String, Value>) -> Result<(), NetconfError> {
        let mut args = object_at(&self.object, "args")?;
        let mut cni = object_at(&args, "cni")?;
        cni.extend(requested.clone());
        keys::set(&mut args, "cni", Value::Object(cni));
        keys::set(&mut self.object, "args", Value::Object(args));
        Ok(())
    }

    /// Sets a key of the plugin's own configuration, such as the `deviceID` that SR-IOV plugins
    /// read.
    pub fn set(&mut self, key: &str, value: Value) {
        keys::set(&mut self.object, key, value);
    }

    /// Hands each key and value to `change`, but the `type`, which is to stay what it was read as.
    pub fn change_values(&mut self, mut change: impl FnMut(&str, &mut Value)) {
        let others = self.object.iter_mut().filter(|(key, _)| !keys::is_same(key, "type"));
        others.for_each(|(key, value)| change(key, value));
    }

    /// The plugin's request (CNI 1.1.0, section 3, "Deriving request configuration").
    pub fn request(&self, network: &NetworkConfig, inputs: &Inputs<'_>) -> Value {
        let mut object = self.object.clone();
        object.retain(|key, _| !is_reserved(key));
        keys::set(&mut object, "cniVersion", Value::from(network.version.as_str()));
        keys::set(&mut object, "name", Value::from(network.name.as_str()));
        let runtime_config = self.runtime_config(inputs.runtime_config);
        if !runtime_config.is_empty() {
            keys::set(&mut object, "runtimeConfig", Value::Object(runtime_config));
        }
        if let Some(result) = inputs.prev_result {
            keys::set(&mut object, "prevResult", result.clone());
        }
        if let Some(attachments) = inputs.valid_attachments {
            object.insert("cni.dev/valid-attachments".to_owned(), attachments.clone());
            // The specification had this name for a while; libcni writes both.
            object.insert("cni.dev/attachments".to_owned(), attachments.clone());
        }
        Value::Object(object)
    }

    /// Those of `offered` that the plugin declares.
    fn runtime_config(&self, offered: &Map<String, Value>) -> Map<String, Value> {
        let wanted = self.capabilities().filter(|(_, on)| *on);
        wanted
            .filter_map(|(name, _)| offered.get(name).map(|value| (name.to_owned(), value.clone())))
            .collect()
    }
}

/// The plugin looks for its IPAM plugin's executable itself, some by joining paths: whatever
/// spelling it reads, the type must be a file's name.
fn check_ipam_types(object: &Map<String, Value>) -> Result<(), NetconfError> {
    let ipams = spellings(object, "ipam").filter_map(Value::as_object);
    let kinds = ipams.flat_map(|ipam| spellings(ipam, "type")).filter_map(Value::as_str);
    kinds.filter(|kind| !kind.is_empty()).try_for_each(|kind| kind.parse::<PluginType>().map(drop))
}

/// The values of `key` in all its spellings.
fn spellings<'o>(
    object: &'o Map<String, Value>,
    key: &'static str,
) -> impl Iterator<Item = &'o Value> {
    object.iter().filter(move |(name, _)| keys::is_same(name, key)).map(|(_, value)| value)
}

/// Keys that the runtime makes anew for each request, wherever they came from.
fn is_reserved(key: &str) -> bool {
    keys::is_same(key, "capabilities")
        || keys::is_same(key, "prevResult")
        || key.starts_with("cni.dev/")
}

fn object_at(object: &Map<String, Value>, key: &str) -> Result<Map<String, Value>, NetconfError> {
    match keys::get(object, key) {
        None => Ok(Map::new()),
        Some(Value::Object(inner)) => Ok(inner.clone()),
        Some(_) => Err(NetconfError::NotAnObject(format!("the configuration's \"{key}\""))),
    }
}

/// What a request carries beside the plugin's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The previous plugin's result on ADD, the final one on DEL and CHECK.
    pub prev_result: Option<&'a Value>,
    /// Capability arguments, before filtering by what the plugin declares.
    pub runtime_config: &'a Map<String, Value>,
    /// GC's list (CNI 1.1.0, section 2, "GC").
    pub valid_attachments: Option<&'a Value>,
}
