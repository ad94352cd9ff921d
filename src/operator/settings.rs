//! Keys of Braid's configuration that are kept in a file of their own, a ConfigMap's for example.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::conf_file::{self, ConfFileError};
use crate::config::{Config, ConfigError};
use cni::keys;

/// What the network's configuration says around the entry, and what is not for an administrator to
/// say.
const NOT_SET: [&str; 8] =
    ["type", "name", "cniVersion", "cniVersions", "prevResult", "runtimeConfig", "args", "drain"];

/// Why a file's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] ConfFileError),
    /// It is not JSON, or no object.
    #[error("{}: {problem}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It sets what it may not.
    #[error("{}: \"{key}\" is not for this file to set: remove it", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// The configuration would not be valid with it.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<ConfigError>,
    },
}

/// The keys of one file.
#[derive(Debug)]
pub(super) struct Settings {
    path: PathBuf,
    keys: Map<String, Value>,
}

impl Settings {
    /// Reads a file: one JSON object.
    pub(super) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = conf_file::read(path)?;
        let form = |problem: String| SettingsError::Form { path: path.to_owned(), problem };
        let keys = match serde_json::from_str(&text) {
            Ok(Value::Object(keys)) => keys,
            Ok(_) => {
                return Err(form(
                    "must be a JSON object with keys of braid's configuration".to_owned(),
                ));
            }
            Err(error) => return Err(form(error.to_string())),
        };
        let is_not_set = |key: &&String| NOT_SET.iter().any(|name| name.eq_ignore_ascii_case(key));
        match keys.keys().find(is_not_set) {
            Some(key) => Err(SettingsError::Key { path: path.to_owned(), key: key.clone() }),
            None => Ok(Self { path: path.to_owned(), keys }),
        }
    }

    /// Sets them, and returns the configuration that comes of it; `null` takes a key out, and
    /// capabilities add to those that are there. With keys that braid would refuse, no pod of the
    /// node would start: so they are refused here.
    pub(super) fn apply(&self, entry: &mut Map<String, Value>) -> Result<Config, SettingsError> {
        for (key, value) in &self.keys {
            match (value, keys::get(entry, key)) {
                (Value::Null, _) => drop(keys::take(entry, key)),
                (Value::Object(more), Some(Value::Object(old)))
                    if key.eq_ignore_ascii_case("capabilities") =>
                {
                    let mut all = old.clone();
                    all.extend(more.clone());
                    keys::set(entry, key, Value::Object(all));
                }
                _ => keys::set(entry, key, value.clone()),
            }
        }
        self.check(entry.clone())
    }

    fn check(&self, mut entry: Map<String, Value>) -> Result<Config, SettingsError> {
        keys::set(&mut entry, "name", json!("braid"));
        keys::set(&mut entry, "cniVersion", json!("1.0.0"));
        let text = Value::Object(entry).to_string();
        Config::parse(text.as_bytes()).map_err(|source| SettingsError::Config {
            path: self.path.clone(),
            source: Box::new(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, entry: Value) -> Result<Value, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut entry = entry.as_object().unwrap().clone();
        let settings = Settings::read(file.path()).map_err(|error| error.to_string())?;
        settings.apply(&mut entry).map_err(|error| error.to_string())?;
        Ok(Value::Object(entry))
    }

    #[test]
    fn keys_are_set_added_to_and_taken_out() {
        let entry = json!({
            "type": "braid", "LogLevel": "debug", "maxNetworks": 4, "capabilities": {"dns": true, "ips": true}
        });
        let text = r#"{"logLevel": "info", "maxNetworks": null, "capabilities": {"dns": false}}"#;
        let expected = json!({"type": "braid", "logLevel": "info", "capabilities": {"dns": false, "ips": true}});
        assert_eq!(applied(text, entry.clone()).unwrap(), expected);
        assert_eq!(applied("{}", entry.clone()).unwrap(), entry);
    }

    #[test]
    fn what_would_stop_every_pod_is_refused() {
        let error = |text: &str| applied(text, json!({"type": "braid"})).unwrap_err();
        assert!(
            error(r#"{"Name": "x"}"#).ends_with("\"Name\" is not for this file to set: remove it")
        );
        assert!(error("[]").ends_with("must be a JSON object with keys of braid's configuration"));
        assert!(error("{").contains("EOF"), "{}", error("{"));
        assert!(error(r#"{"maxNetworks": "many"}"#).contains("maxNetworks"));
        let missing = Settings::read(Path::new("/nowhere/settings.json")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/settings.json"), "{missing}");
    }
}
