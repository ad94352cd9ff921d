//! Network configurations: a conf or a conflist, normalised to one shape, and the request that each
//! plugin of it gets (CNI 1.1.0, sections 1 and 3).
//!
//! Reading files is the business of [`load`] and [`list`] alone; all else is pure. What a plugin's
//! configuration means to the plugin is not known here: it passes through as it was written.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::one_line;
use super::keys::{self, KeyError};
use super::request::is_identifier;
use super::version::{UnknownVersion, Version};

/// The largest configuration file that is read.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The most plugins that one chain may have.
const MAX_PLUGINS: usize = 32;

/// A network's name: starts with an alphanumeric character, then alphanumerics, `_`, `.`, `-`
/// (CNI 1.1.0, section 1). It becomes a directory name in plugins (host-local) and in libcni.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

/// A plugin's type: the file name of its executable (CNI 1.1.0, section 1).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginType(String);

/// What is wrong with a network configuration.
#[derive(Debug, thiserror::Error)]
pub enum NetconfError {
    /// The file could not be read.
    #[error("{}: {}", path.display(), source)]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is larger than [`MAX_FILE_BYTES`], or not a regular file.
    #[error("{}: {problem}", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// Which of the two.
        problem: &'static str,
    },
    /// The text is not JSON.
    #[error("not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// The configuration, or one of its plugins, is not an object.
    #[error("{0} must be a JSON object")]
    NotAnObject(String),
    /// A key has a value of the wrong type.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No version that Braid knows is among those offered.
    #[error(transparent)]
    Version(#[from] UnknownVersion),
    /// The name is missing.
    #[error("\"name\" is missing: give the network a name")]
    NoName,
    /// The name breaks the rule.
    #[error(
        "network name \"{0}\" must be 1 to 200 letters, digits, \"_\", \".\" or \"-\", the first a letter or digit"
    )]
    Name(String),
    /// The type is missing.
    #[error("\"type\" is missing: every plugin names its executable with it")]
    NoType,
    /// The type would be a path.
    #[error("plugin type \"{0}\" must be a file name: no \"/\", no leading \".\", at most 128 characters")]
    Type(String),
    /// The chain is empty.
    #[error("no plugin is named: a network has a \"type\", or \"plugins\" with at least one entry")]
    NoPlugins,
    /// The chain is too long.
    #[error("\"plugins\" has {0} entries: at most {MAX_PLUGINS} are allowed")]
    TooManyPlugins(usize),
    /// A switch is neither a boolean nor a boolean's name.
    #[error("\"{0}\" must be true or false")]
    Switch(&'static str),
}

impl NetconfError {
    /// Whether the error is an unknown version, which has a code of its own.
    pub fn is_version(&self) -> bool {
        matches!(self, Self::Version(_))
    }
}

macro_rules! text_newtype {
    ($name:ident, $rule:expr, $error:path) => {
        impl $name {
            /// The text as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NetconfError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if $rule(text) { Ok(Self(text.to_owned())) } else { Err($error(one_line(text, 64))) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NetconfError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_newtype!(NetworkName, is_identifier, NetconfError::Name);
text_newtype!(PluginType, is_file_name, NetconfError::Type);

fn is_file_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with(['.', '-'])
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '\\'))
}

/// One network: a chain of plugins under one name and version.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The network's name, which every plugin of the chain gets.
    pub name: NetworkName,
    /// The version that the chain runs in: the highest known one of `cniVersion` and `cniVersions`.
    pub version: Version,
    /// CHECK is not run (`disableCheck`).
    pub disable_check: bool,
    /// GC is not run (`disableGC`).
    pub disable_gc: bool,
    /// The plugins, in the order of ADD. Never empty once [`NetworkConfig::complete`] has passed.
    pub plugins: Vec<PluginConfig>,
    /// Plugin files of a sub-directory belong to the chain too, unless the conflist says otherwise.
    appends_files: bool,
}

/// What stands in for a name or version that a configuration leaves out (NPWG 1.3, section 3.4.2).
#[derive(Clone, Debug)]
pub struct Missing<'a> {
    /// The network's name, such as the definition's.
    pub name: Option<&'a str>,
    /// The version.
    pub version: Version,
}

impl Default for Missing<'_> {
    /// What libcni assumes: no name, and the oldest version.
    fn default() -> Self {
        Self { name: None, version: Version::V0_1_0 }
    }
}

impl NetworkConfig {
    /// Reads a conf or conflist from its text, complete in itself.
    ///
    /// # Errors
    /// [`NetconfError`], for text that is no JSON, or as [`NetworkConfig::read`] and
    /// [`NetworkConfig::complete`].
    pub fn parse(text: &str, missing: &Missing<'_>) -> Result<Self, NetconfError> {
        let value = serde_json::from_str(text).map_err(NetconfError::Json)?;
        Self::read(&value, missing)?.complete()
    }

    /// Reads a conf or conflist. A conflist may still be empty: its plugins can be files.
    ///
    /// # Errors
    /// [`NetconfError`] where a key breaks the rules of CNI 1.1.0, section 1.
    pub fn read(value: &Value, missing: &Missing<'_>) -> Result<Self, NetconfError> {
        let object = value
            .as_object()
            .ok_or_else(|| NetconfError::NotAnObject("a network configuration".to_owned()))?;
        let chain = keys::get(object, "plugins").is_some() || keys::get(object, "type").is_none();
        let config = Self {
            name: read_name(object, missing)?,
            version: read_version(object, missing.version)?,
            disable_check: chain && read_switch(object, "disableCheck")?,
            disable_gc: chain && read_switch(object, "disableGC")?,
            plugins: if chain { read_chain(object)? } else { vec![PluginConfig::read(value)?] },
            appends_files: chain && !read_switch(object, "loadOnlyInlinedPlugins")?,
        };
        Ok(config)
    }

    /// The configuration, once it is known to have plugins.
    ///
    /// # Errors
    /// [`NetconfError::NoPlugins`], [`NetconfError::TooManyPlugins`].
    pub fn complete(self) -> Result<Self, NetconfError> {
        match self.plugins.len() {
            0 => Err(NetconfError::NoPlugins),
            1..=MAX_PLUGINS => Ok(self),
            more => Err(NetconfError::TooManyPlugins(more)),
        }
    }

    /// The configuration as a conflist, for the ledger: complete, and read back the same.
    pub fn to_value(&self) -> Value {
        json!({
            "cniVersion": self.version.as_str(),
            "name": self.name.as_str(),
            "disableCheck": self.disable_check,
            "disableGC": self.disable_gc,
            "loadOnlyInlinedPlugins": true,
            "plugins": self.plugins.iter().map(|plugin| Value::Object(plugin.object.clone())).collect::<Vec<_>>(),
        })
    }

    /// Whether any plugin declares `capability` (CNI 1.1.0, section 3, "Deriving runtimeConfig").
    pub fn declares(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.declares(capability))
    }

    /// Whether the chain holds one of Braid's own kind, which must not be delegated to.
    pub fn has_meta_plugin(&self) -> bool {
        self.plugins.iter().any(|plugin| is_meta_plugin(plugin.kind.as_str()))
    }
}

/// Plugin types that delegate as Braid does; `genie` is what a migration from CNI-Genie may have left.
fn is_meta_plugin(kind: &str) -> bool {
    matches!(kind, "braid" | "multus" | "multus-shim" | "genie")
}

impl Serialize for NetworkConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NetworkConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(&value, &Missing::default()).and_then(Self::complete).map_err(serde::de::Error::custom)
    }
}

fn read_name(object: &Map<String, Value>, missing: &Missing<'_>) -> Result<NetworkName, NetconfError> {
    let given = keys::decode::<String>(object, "name")?.filter(|name| !name.is_empty());
    given.as_deref().or(missing.name).ok_or(NetconfError::NoName)?.parse()
}

/// The highest supported version of `cniVersion` and `cniVersions` (CNI 1.1.0, section 1, "Version
/// considerations").
pub fn read_version(object: &Map<String, Value>, missing: Version) -> Result<Version, NetconfError> {
    let single = keys::decode::<String>(object, "cniVersion")?.filter(|version| !version.is_empty());
    let several = keys::decode::<Vec<String>>(object, "cniVersions")?.unwrap_or_default();
    let offered: Vec<&String> = several.iter().chain(&single).collect();
    match offered.iter().filter_map(|version| version.parse().ok()).max() {
        Some(version) => Ok(version),
        None => offered.first().map_or(Ok(missing), |version| Ok(version.parse()?)),
    }
}

/// A boolean, or its name in a string, as libcni reads it.
fn read_switch(object: &Map<String, Value>, key: &'static str) -> Result<bool, NetconfError> {
    match keys::get(object, key) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(NetconfError::Switch(key)),
    }
}

fn read_chain(object: &Map<String, Value>) -> Result<Vec<PluginConfig>, NetconfError> {
    match keys::get(object, "plugins") {
        None => Ok(Vec::new()),
        Some(Value::Array(plugins)) if plugins.len() > MAX_PLUGINS => {
            Err(NetconfError::TooManyPlugins(plugins.len()))
        }
        Some(Value::Array(plugins)) => plugins.iter().map(PluginConfig::read).collect(),
        Some(_) => Err(NetconfError::NotAnObject("each entry of \"plugins\", a list,".to_owned())),
    }
}

/// One plugin of a chain, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// Its executable.
    pub kind: PluginType,
    object: Map<String, Value>,
}

impl PluginConfig {
    fn read(value: &Value) -> Result<Self, NetconfError> {
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
        declared.into_iter().flatten().map(|(name, on)| (name.as_str(), on.as_bool().unwrap_or(false)))
    }

    /// Merges `args.cni`, the pod's word before the definition's (NPWG 1.3, section 4.1.2.1.6).
    ///
    /// # Errors
    /// [`NetconfError::NotAnObject`] where the configuration's own `args` is something else.
    pub fn merge_cni_args(&mut self, requested: &Map<String, Value>) -> Result<(), NetconfError> {
        let mut args = object_at(&self.object, "args")?;
        let mut cni = object_at(&args, "cni")?;
        cni.extend(requested.clone());
        keys::set(&mut args, "cni", Value::Object(cni));
        keys::set(&mut self.object, "args", Value::Object(args));
        Ok(())
    }

    /// Sets a key of the plugin's own configuration, such as the `deviceID` that SR-IOV plugins read.
    pub fn set(&mut self, key: &str, value: Value) {
        keys::set(&mut self.object, key, value);
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

/// The plugin looks for its IPAM plugin's executable itself, some by joining paths: whatever spelling it
/// reads, the type must be a file's name.
fn check_ipam_types(object: &Map<String, Value>) -> Result<(), NetconfError> {
    let ipams = spellings(object, "ipam").filter_map(Value::as_object);
    let kinds = ipams.flat_map(|ipam| spellings(ipam, "type")).filter_map(Value::as_str);
    kinds.filter(|kind| !kind.is_empty()).try_for_each(|kind| kind.parse::<PluginType>().map(drop))
}

/// The values of `key` in all its spellings.
fn spellings<'o>(object: &'o Map<String, Value>, key: &'static str) -> impl Iterator<Item = &'o Value> {
    object.iter().filter(move |(name, _)| keys::is_same(name, key)).map(|(_, value)| value)
}

/// Keys that the runtime makes anew for each request, wherever they came from.
fn is_reserved(key: &str) -> bool {
    keys::is_same(key, "capabilities") || keys::is_same(key, "prevResult") || key.starts_with("cni.dev/")
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

/// Reads a conf or conflist from a file, with the plugin files of `<directory>/<network name>/*.conf`
/// where the conflist leaves room for them (CNI 1.1.0, section 1; libcni from 1.3).
///
/// # Errors
/// [`NetconfError`] for this file or one that it appends.
pub fn load(path: &Path, missing: &Missing<'_>) -> Result<NetworkConfig, NetconfError> {
    let value = serde_json::from_str(&read_file(path)?).map_err(NetconfError::Json)?;
    let mut config = NetworkConfig::read(&value, missing)?;
    if config.appends_files
        && let Some(directory) = path.parent()
    {
        config.plugins.extend(load_plugins(&directory.join(config.name.as_str()))?);
    }
    config.complete()
}

/// The plugins of a sub-directory chain, in the order of their file names; none without the directory.
///
/// # Errors
/// [`NetconfError`] for the first file that cannot be read.
pub fn load_plugins(directory: &Path) -> Result<Vec<PluginConfig>, NetconfError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut plugins = Vec::new();
    for path in list(directory, &["conf"])? {
        let value: Value = serde_json::from_str(&read_file(&path)?).map_err(NetconfError::Json)?;
        plugins.push(PluginConfig::read(&value)?);
    }
    Ok(plugins)
}

/// The files of a directory with one of `extensions`, sorted by name as runtimes sort them. As with them, a
/// directory of such a name is passed over.
///
/// # Errors
/// [`NetconfError::File`] where the directory cannot be read.
pub fn list(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, NetconfError> {
    let file_error = |source| NetconfError::File { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(file_error)? {
        let entry = entry.map_err(file_error)?;
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory && extension.is_some_and(|extension| extensions.contains(&extension)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A regular file's text, at most [`MAX_FILE_BYTES`] of it.
///
/// # Errors
/// [`NetconfError`] where it cannot be read, is no regular file, is too large or not UTF-8.
pub fn read_file(path: &Path) -> Result<String, NetconfError> {
    let file_error = |source| NetconfError::File { path: path.to_owned(), source };
    let not_a_file = |problem| NetconfError::NotAFile { path: path.to_owned(), problem };
    // Looked at before it is opened, since opening a FIFO would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(file_error)?;
    if !metadata.is_file() {
        return Err(not_a_file("is not a regular file"));
    }
    // Room for all of it and its end, so that it is read in one go.
    let mut text =
        String::with_capacity(usize::try_from(metadata.len().min(MAX_FILE_BYTES) + 1).unwrap_or_default());
    let file = std::fs::File::open(path).map_err(file_error)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(file_error)?;
    if text.len() as u64 > MAX_FILE_BYTES { Err(not_a_file("is larger than 1 MiB")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Result<NetworkConfig, NetconfError> {
        NetworkConfig::parse(&value.to_string(), &Missing::default())
    }

    fn request(plugin: Value, inputs: &Inputs<'_>) -> Value {
        let network = parse(json!({"cniVersion": "1.0.0", "name": "n", "plugins": [plugin]})).unwrap();
        network.plugins[0].request(&network, inputs)
    }

    fn offered(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_conf_is_a_chain_of_one() {
        let network = parse(json!({"cniVersion": "0.4.0", "name": "n", "type": "ptp", "mtu": 9000})).unwrap();
        assert_eq!((network.plugins.len(), network.version), (1, Version::V0_4_0));
    }

    #[test]
    fn the_highest_known_version_wins() {
        let version = |value: Value| parse(value).map(|network| network.version);
        let base = |more: Value| {
            let mut value = json!({"name": "n", "plugins": [{"type": "x"}]});
            value.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            value
        };
        let table = [
            (json!({"cniVersion": "0.4.0", "cniVersions": ["0.3.1", "1.0.0", "9.9.9"]}), Version::V1_0_0),
            (json!({"cniVersion": "1.1.0", "cniVersions": ["0.3.1"]}), Version::V1_1_0),
            (json!({"cniVersions": ["1.1.0", "1.0.0"]}), Version::V1_1_0),
            (json!({"cniVersion": ""}), Version::V0_1_0),
            (json!({}), Version::V0_1_0),
        ];
        for (more, expected) in table {
            assert_eq!(version(base(more.clone())).unwrap(), expected, "{more}");
        }
        assert!(version(base(json!({"cniVersion": "2.0.0"}))).unwrap_err().is_version());
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let missing = Missing { name: Some("blue"), version: Version::V1_0_0 };
        let network = NetworkConfig::parse(r#"{"type": "x"}"#, &missing).unwrap();
        assert_eq!((network.name.as_str(), network.version), ("blue", Version::V1_0_0));
        assert!(matches!(
            NetworkConfig::parse(r#"{"type": "x"}"#, &Missing::default()),
            Err(NetconfError::NoName)
        ));
    }

    #[test]
    fn switches_may_be_text() {
        let network = parse(
            json!({"name": "n", "disableCheck": "True", "disableGC": true, "plugins": [{"type": "x"}]}),
        )
        .unwrap();
        assert!(network.disable_check && network.disable_gc);
        assert!(parse(json!({"name": "n", "disableCheck": 1, "plugins": [{"type": "x"}]})).is_err());
    }

    #[test]
    fn names_and_types_never_become_paths() {
        for name in ["../x", "a/b", ".x", "", "a b", "a\u{0}"] {
            assert!(parse(json!({"name": name, "type": "x"})).is_err(), "{name}");
        }
        for kind in ["../sh", "/bin/sh", ".x", "", "a b", "-x", "a\\b", "x\n"] {
            assert!(parse(json!({"name": "n", "type": kind})).is_err(), "{kind}");
        }
        for ipam in ["ipam", "IPAM"] {
            for key in ["type", "Type"] {
                let value = |kind: &str| json!({"name": "n", "type": "x", ipam: {key: kind}});
                assert!(parse(value("../sh")).is_err(), "{ipam} {key}");
                assert!(parse(value("host-local")).is_ok() && parse(value("")).is_ok(), "{ipam} {key}");
            }
        }
    }

    #[test]
    fn a_request_is_the_configuration_with_what_the_runtime_adds() {
        let plugin = json!({
            "type": "x", "Name": "other", "number": 12345678901234567890123u128.to_string(), "float": 1.10,
            "capabilities": {"mac": true, "ips": false}, "prevResult": {"stale": 1}, "cni.dev/x": 1, "nested": {"a": [null]}
        });
        let inputs = Inputs {
            prev_result: Some(&json!({"ips": []})),
            runtime_config: &offered(json!({"mac": "m", "ips": ["i"], "portMappings": []})),
            valid_attachments: None,
        };
        let expected = json!({
            "type": "x", "number": 12345678901234567890123u128.to_string(), "float": 1.10, "nested": {"a": [null]},
            "cniVersion": "1.0.0", "name": "n", "runtimeConfig": {"mac": "m"}, "prevResult": {"ips": []}
        });
        assert_eq!(request(plugin, &inputs), expected);
    }

    #[test]
    fn numbers_survive_digit_for_digit() {
        let text = r#"{"name":"n","type":"x","big":123456789012345678901234567890,"exact":1.10}"#;
        let network = NetworkConfig::parse(text, &Missing::default()).unwrap();
        let inputs = Inputs { prev_result: None, runtime_config: &Map::new(), valid_attachments: None };
        let request = network.plugins[0].request(&network, &inputs).to_string();
        assert!(request.contains("123456789012345678901234567890") && request.contains("1.10"), "{request}");
    }

    #[test]
    fn gc_carries_the_list_under_both_names() {
        let list = json!([{"containerID": "c", "ifname": "eth0"}]);
        let inputs =
            Inputs { prev_result: None, runtime_config: &Map::new(), valid_attachments: Some(&list) };
        let request = request(json!({"type": "x"}), &inputs);
        assert_eq!((&request["cni.dev/valid-attachments"], &request["cni.dev/attachments"]), (&list, &list));
    }

    #[test]
    fn the_pods_arguments_win_over_the_definitions() {
        let mut network =
            parse(json!({"name": "n", "type": "x", "Args": {"cni": {"a": 1, "b": 1}, "other": true}}))
                .unwrap();
        network.plugins[0].merge_cni_args(&offered(json!({"b": 2}))).unwrap();
        assert_eq!(network.plugins[0].object["args"], json!({"cni": {"a": 1, "b": 2}, "other": true}));
    }

    #[test]
    fn arguments_that_are_no_object_are_refused() {
        for args in [json!("x"), json!({"cni": []})] {
            let mut network = parse(json!({"name": "n", "type": "x", "args": args})).unwrap();
            assert!(network.plugins[0].merge_cni_args(&Map::new()).is_err());
        }
    }

    #[test]
    fn a_chain_reads_back_from_the_ledger() {
        let network =
            parse(json!({"cniVersion": "0.3.1", "name": "n", "disableGC": true, "plugins": [{"type": "x", "k": 1}]}))
                .unwrap();
        let text = serde_json::to_string(&network).unwrap();
        let again: NetworkConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(again.to_value(), network.to_value());
    }

    #[test]
    fn files_of_the_sub_directory_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("10-n.conflist");
        std::fs::write(&file, r#"{"name": "n", "plugins": [{"type": "a"}]}"#).unwrap();
        std::fs::create_dir_all(dir.path().join("n/15-directory.conf")).unwrap();
        for (name, kind) in [("20-c.conf", "c"), ("10-b.conf", "b"), ("00-ignored.json", "z")] {
            std::fs::write(dir.path().join("n").join(name), json!({"type": kind}).to_string()).unwrap();
        }
        let kinds = |file: &Path| {
            let network = load(file, &Missing::default()).unwrap();
            network.plugins.iter().map(|plugin| plugin.kind.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(&file), ["a", "b", "c"]);
        std::fs::write(&file, r#"{"name": "n", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "a"}]}"#)
            .unwrap();
        assert_eq!(kinds(&file), ["a"]);
    }

    #[test]
    fn files_that_are_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read_file(dir.path()), Err(NetconfError::NotAFile { .. })));
        let large = dir.path().join("large.conf");
        std::fs::write(&large, vec![b' '; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]).unwrap();
        assert!(matches!(read_file(&large), Err(NetconfError::NotAFile { .. })));
    }
}
