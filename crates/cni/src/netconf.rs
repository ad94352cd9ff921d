//! Network configurations: a conf or a conflist, normalised to one shape, and the request that each
//! plugin of it gets (CNI 1.1.0, sections 1 and 3).
//!
//! What a plugin's configuration means to the plugin is not known here: it passes through as it was
//! written.

mod error;
mod plugin;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::error::NetconfError;
pub use self::plugin::{Inputs, PluginConfig};

use super::error::one_line;
use super::keys;
use super::request::is_identifier;
use super::version::Version;

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
                if $rule(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err($error(one_line(text, 64)))
                }
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
    /// The types of the chain's plugins, in order, and behind them those of their IPAM plugins.
    pub fn plugin_types(&self) -> impl Iterator<Item = PluginType> {
        let ipam = self.plugins.iter().filter_map(|plugin| plugin.ipam()?.parse().ok());
        self.plugins.iter().map(|plugin| plugin.kind.clone()).chain(ipam)
    }

    /// Whether GC is run: the version has it (CNI 1.1.0), and the configuration does not forbid it.
    pub fn has_gc(&self) -> bool {
        self.version.has_gc_and_status() && !self.disable_gc
    }

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
    /// [`NetconfError`] if a key breaks the rules of CNI 1.1.0, section 1.
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

    /// Whether runtimes append the files of its sub-directory to the chain: a conflist without
    /// `loadOnlyInlinedPlugins`.
    pub const fn appends_files(&self) -> bool {
        self.appends_files
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
            "plugins": self.plugins.iter().map(|plugin| Value::Object(plugin.object().clone())).collect::<Vec<_>>(),
        })
    }

    /// Whether any plugin declares `capability` (CNI 1.1.0, section 3, "Deriving runtimeConfig").
    pub fn declares(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.declares(capability))
    }
}

impl Serialize for NetworkConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NetworkConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::read(&value, &Missing::default())
            .and_then(Self::complete)
            .map_err(serde::de::Error::custom)
    }
}

fn read_name(
    object: &Map<String, Value>,
    missing: &Missing<'_>,
) -> Result<NetworkName, NetconfError> {
    let given = keys::decode::<String>(object, "name")?.filter(|name| !name.is_empty());
    given.as_deref().or(missing.name).ok_or(NetconfError::NoName)?.parse()
}

/// The highest supported version of `cniVersion` and `cniVersions` (CNI 1.1.0, section 1, "Version
/// considerations").
pub fn read_version(
    object: &Map<String, Value>,
    missing: Version,
) -> Result<Version, NetconfError> {
    let single =
        keys::decode::<String>(object, "cniVersion")?.filter(|version| !version.is_empty());
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

#[cfg(test)]
mod tests;
