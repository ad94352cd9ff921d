//! What is wrong with a network configuration.

use super::MAX_PLUGINS;
use crate::keys::KeyError;
use crate::version::UnknownVersion;

/// What is wrong with a network configuration.
#[derive(Debug, thiserror::Error)]
pub enum NetconfError {
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
        "network name \"{0}\" must be 1 to 200 letters, digits, \"_\", \".\" or \"-\", the first a \
         letter or digit"
    )]
    Name(String),
    /// The type is missing.
    #[error("\"type\" is missing: every plugin names its executable with it")]
    NoType,
    /// The type would be a path.
    #[error(
        "plugin type \"{0}\" must be a file name: no \"/\", no leading \".\", at most 128 \
         characters"
    )]
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
