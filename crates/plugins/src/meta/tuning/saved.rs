//! The settings that an interface had before ADD, in a file of the node as the reference plugin
//! writes it: `<dataDir>/<container ID>_<interface>.json`.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cni::error::{Code, Error};
use cni::plugin::{Call, ValidAttachment};
use cni::request::ContainerId;
use linux::directory;
use linux::file::{FileError, is_missing, open_regular, read_regular};
use serde_json::{Map, Value};

use super::config::Settings;
use crate::link::config::{Keys, read_mac};
use crate::mark;

/// The settings of one interface are shorter.
const MAX_BYTES: u64 = 4096;

/// The file of one attachment.
#[derive(Debug)]
pub(super) struct SavedFile {
    directory: PathBuf,
    name: String,
}

impl SavedFile {
    /// Neither of the names can lead out of the directory: that is checked where they are read.
    pub(super) fn new(directory: &Path, container: &ContainerId, interface: &str) -> Self {
        Self { directory: directory.to_owned(), name: name(container.as_str(), interface) }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Saves settings, but for those that an earlier ADD of the attachment has saved. Returns
    /// whether there was none.
    ///
    /// # Errors
    /// Code 5.
    pub(super) fn save(&self, settings: &Settings, call: &Call) -> Result<bool, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o600).create(&self.directory);
        made.map_err(FileError::of("create", &self.directory)).map_err(refused)?;
        let earlier = self.read()?;
        let is_first = earlier.is_none();
        let mut settings = settings.clone();
        settings.replace_by(earlier.unwrap_or_default());
        let bytes = to_json(&settings);
        let file = directory::write_file(&self.directory, &self.name, &self.name, &bytes);
        mark::write(&file.map_err(refused)?, &mark::of(call));
        Ok(is_first)
    }

    /// What was saved; `None` if nothing was, and for a file that says nothing: it is of no use.
    ///
    /// # Errors
    /// Code 5 if it cannot be read.
    pub(super) fn read(&self) -> Result<Option<Settings>, Error> {
        let path = self.path();
        let bytes = match read_regular(&path, MAX_BYTES) {
            Err(error) if is_missing(&error) => return Ok(None),
            outcome => outcome.map_err(FileError::of("read", &path)).map_err(refused)?,
        };
        let settings = from_json(&bytes).unwrap_or_else(|error| {
            log::warn!("{} says nothing of the interface's settings: {error}", path.display());
            Settings::default()
        });
        Ok(Some(settings))
    }

    /// Removes the file; done also if it is gone.
    ///
    /// # Errors
    /// Code 5.
    pub(super) fn remove(&self) -> Result<(), Error> {
        for path in [directory::temporary_path(&self.directory, &self.name), self.path()] {
            remove(&path)?;
        }
        Ok(())
    }
}

/// Removes the files of attachments that are gone: those that carry the mark of this caller and
/// network, and are older than the list of valid attachments.
///
/// # Errors
/// Code 5.
pub(super) fn collect(
    directory: &Path,
    call: &Call,
    valid: &[ValidAttachment],
) -> Result<(), Error> {
    let listed_at = mark::listed_at(call, SystemTime::now());
    let kept: Vec<String> = valid.iter().map(|it| name(&it.container, &it.interface)).collect();
    let entries = match std::fs::read_dir(directory) {
        Err(error) if is_missing(&error) => return Ok(()),
        outcome => outcome.map_err(FileError::of("list", directory)).map_err(refused)?,
    };
    for entry in entries {
        let entry = entry.map_err(FileError::of("list", directory)).map_err(refused)?;
        let is_kept = |name: &str| !name.ends_with(".json") || kept.iter().any(|it| it == name);
        if entry.file_name().to_str().is_none_or(is_kept) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = open_regular(&path) else { continue };
        if is_older(&file, listed_at) && mark::read(&file) == Some(mark::of(call)) {
            log::info!("{} is removed: the attachment is gone", path.display());
            remove(&path)?;
        }
    }
    Ok(())
}

fn is_older(file: &File, than: SystemTime) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified < than)
}

fn name(container: &str, interface: &str) -> String {
    format!("{container}_{interface}.json")
}

fn to_json(settings: &Settings) -> Vec<u8> {
    let mut object = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        object.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("mac", settings.mac_text().map(Value::from));
    put("promisc", settings.promiscuous.map(Value::from));
    put("mtu", settings.mtu.map(Value::from));
    put("allmulti", settings.all_multicast.map(Value::from));
    put("txQLen", settings.tx_queue_len.map(Value::from));
    // serde_json indents by two blanks, the reference plugin by one.
    format!("{:#}", Value::Object(object)).replace("\n  ", "\n ").into_bytes()
}

fn from_json(bytes: &[u8]) -> Result<Settings, Error> {
    let value: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| Error::new(Code::DECODE, error))?;
    let keys = Keys::inside(&value);
    let switch = |key| keys.value(key).map(|_| keys.switch(key)).transpose();
    Ok(Settings {
        mac: keys.text("mac")?.map(|mac| read_mac("mac", mac)).transpose()?,
        promiscuous: switch("promisc")?,
        mtu: keys.size("mtu")?,
        all_multicast: switch("allmulti")?,
        tx_queue_len: keys.number("txQLen", u32::MAX.into())?.and_then(|it| u32::try_from(it).ok()),
    })
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if !is_missing(&error) => Err(refused(FileError::of("remove", path)(error))),
        _ => Ok(()),
    }
}

fn refused(error: FileError) -> Error {
    Error::new(Code::IO, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_content_of_a_file_is_fatal(bytes: Vec<u8>, text in "\\PC{0,60}") {
            let _ = (from_json(&bytes), from_json(text.as_bytes()));
        }
    }

    #[test]
    fn saved_settings_are_read_as_they_were_written() {
        let settings = Settings {
            mac: Some(vec![2, 0, 0, 0, 0, 1]),
            promiscuous: Some(false),
            mtu: Some(1500),
            all_multicast: Some(true),
            tx_queue_len: Some(0),
        };
        assert_eq!(from_json(&to_json(&settings)).unwrap(), settings);
        assert_eq!(
            to_json(&Settings { mtu: Some(9), ..Settings::default() }),
            b"{\n \"mtu\": 9\n}"
        );
        for text in ["", "[]", "{\"mac\": 5}", "{\"mtu\": -1}"] {
            assert!(from_json(text.as_bytes()).is_err(), "{text}");
        }
    }
}
